"""The charts of a result: our time relative to the floor and the peers, and time over length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chat_history_conformance.bench.measure.results import Growth, Measured, Result, Rival
from chat_history_conformance.bench.report import wording
from chat_history_conformance.bench.report.shapes import (
    TONES,
    WIDE,
    Chart,
    Group,
    Scale,
    Shape,
    Text,
    curve,
    horizontal,
    mark,
    vertical,
    width_of,
)

__all__ = ["Drawn", "growth", "picture", "ratios"]

Drawn = tuple[float, tuple[Shape, ...]]
"""The height of a drawing in pixels, and its shapes."""

_LANE = 14
_LABELS = 236
_PANEL = 158
_PANEL_TITLE = 34
_TONE_OF_MODE = {"sync": TONES[0], "async": TONES[1]}


def picture(results: Sequence[Result]) -> Chart:
    """Return the charts of some results below each other."""
    shapes: list[Shape] = []
    y = 14.0
    for result in results:
        drawn = [part for part in (ratios(result), growth(result)) if part]
        server = f" {result.server}" if result.server else ""
        shapes.append(Text(14, y + 12, f"{result.backend}{server}", "title"))
        y += 30
        if not drawn:
            shapes.append(Text(14, y + 10, "neither floor nor peer nor growth", "quiet"))
            y += 24
        for height, parts in drawn:
            shapes.append(Group(14, y, parts))
            y += height + 18
    label = f"Benchmarks of {', '.join(result.backend for result in results)}"
    return Chart(WIDE + 28, y + 4, label, tuple(shapes))


def ratios(result: Result, width: float = WIDE) -> Drawn | None:
    """Draw our time relative to the floor and each peer, with intervals, on a logarithmic scale.

    Args:
        result: The result.
        width: The width in pixels; if it is small, names are above their marks.

    Returns:
        None if there is nothing to draw.
    """
    rows = [one for one in result.operations if one.rivals]
    if not rows:
        return None
    tones = _tones(result)
    stacked = width < 600
    ends = [end for one in rows for rival in one.rivals.values() for end in rival.interval]
    scale = Scale.logarithmic([*ends, 1.0], 8 if stacked else _LABELS, width - 62, least=4)
    shapes, top = _legend(tones, width)
    shapes += _directions(scale, top + 12)
    top += 20
    heights = [_LANE * len(one.rivals) + (26 if stacked else 10) for one in rows]
    shapes += _grid(scale, top, top + sum(heights), 4 if stacked else 9)
    y = top
    for number, (one, height) in enumerate(zip(rows, heights, strict=True)):
        if number and one.title != rows[number - 1].title:
            shapes.append(horizontal(y, 0, width))
        names, first = _names(one, y, height, stacked)
        shapes += names
        for lane, (name, rival) in enumerate(one.rivals.items()):
            shapes += _interval(one, name, rival, tones[name], scale, first + lane * _LANE)
        y += height
    return y + 20, tuple(shapes)


def _names(one: Measured, y: float, height: float, stacked: bool) -> tuple[list[Shape], float]:
    """Return the names of a row, and the y of its first mark."""
    if stacked:
        return [Text(0, y + 15, f"{one.title} ({one.mode})")], y + 27
    middle = y + height / 2
    title = Text(_LABELS - 66, middle + 4, one.title, "end")
    return [title, Text(_LABELS - 14, middle + 4, one.mode, "end quiet")], y + 5 + _LANE / 2


def _grid(scale: Scale, top: float, bottom: float, most: int) -> Iterator[Shape]:
    """Yield a line for each tick and for 1."""
    ticks = scale.ticks(most)
    for tick in ticks:
        x = scale(tick)
        yield vertical(x, top, bottom, "one" if tick == 1 else "rule")
        yield Text(x, bottom + 15, f"{tick:,g}", "middle quiet")
    if 1.0 not in ticks:
        yield vertical(scale(1.0), top, bottom, "one")


def growth(result: Result, width: float = WIDE) -> Drawn | None:
    """Draw time over the length of the conversation for each operation, both logarithmic.

    Args:
        result: The result.
        width: The width in pixels.

    Returns:
        None if no growth was measured.
    """
    panels: dict[str, dict[str, Growth]] = {}
    for one in result.operations:
        if one.growth is not None:
            panels.setdefault(one.title, {})[one.mode] = one.growth
    if not panels:
        return None
    columns = 2 if width < 600 else 4
    step = width / columns
    all_of_them = [one for modes in panels.values() for one in modes.values()]
    lengths = [length for one in all_of_them for length in one.lengths]
    across = Scale.logarithmic(lengths, 54, step - 20)
    seconds = [each for one in all_of_them for each in one.median_s]
    up = Scale.logarithmic(seconds, _PANEL - 22, _PANEL_TITLE + 6)
    modes = dict.fromkeys(mode for one in panels.values() for mode in one)
    shapes: list[Shape] = [Text(0, 12, "Time over messages in the conversation", "title")]
    x, y = 0.0, 32.0
    for mode in modes:
        shapes += curve([(x, y - 4), (x + 22, y - 4)], _line_of(mode))
        shapes.append(mark(x + 11, y - 4, _tone_of(mode), size=3.5))
        shapes.append(Text(x + 28, y, mode))
        x += 80
    top = y + 16
    for place, (title, by_mode) in enumerate(panels.items()):
        drawn = tuple(_panel(title, by_mode, across, up))
        shapes.append(Group(place % columns * step, top + place // columns * (_PANEL + 14), drawn))
    return top + -(-len(panels) // columns) * (_PANEL + 14), tuple(shapes)


def _panel(title: str, by_mode: Mapping[str, Growth], across: Scale, up: Scale) -> Iterator[Shape]:
    left, right = across.begin - 6, across.end + 6
    bottom, top = up.begin, up.end
    yield Text(0, 12, title)
    powers = [wording.power(one.exponent) for one in by_mode.values()]
    if right > 200:
        powers = [f"{mode} {power}" for mode, power in zip(by_mode, powers, strict=True)]
    if any(one.too_fast for one in by_mode.values()):
        yield Text(0, 27, f"too fast: {', '.join(powers)}", "bad")
    else:
        yield Text(0, 27, f"exponent {', '.join(powers)}", "quiet")
    for tick in up.ticks(5):
        yield horizontal(up(tick), left, right)
        yield Text(left - 6, up(tick) + 4, wording.tick(tick), "end quiet")
    lengths = dict.fromkeys(length for one in by_mode.values() for length in one.seconds)
    for length in lengths:
        yield vertical(across(length), top - 6, bottom)
        name = f"{length // 1000}k" if length % 1000 == 0 else f"{length}"
        yield Text(across(length), bottom + 16, name, "middle quiet")
    for mode, one in by_mode.items():
        points = [(across(length), up(seconds)) for length, seconds in one.seconds.items()]
        yield from curve(points, _line_of(mode))
        for (length, seconds), (x, y) in zip(one.seconds.items(), points, strict=True):
            tip = f"{title}, {mode}, {length:,} messages: {wording.duration(seconds)}"
            yield mark(x, y, _tone_of(mode), tip, size=3)


def _interval(
    one: Measured, name: str, rival: Rival, tone: str, scale: Scale, y: float
) -> Iterator[Shape]:
    low, high = rival.interval
    tip = (
        f"{one.label}: {wording.digits(rival.ratio)} times {name} "
        f"({wording.interval(rival.estimate)}), {wording.duration(one.median_s)} by "
        f"{wording.duration(rival.median_s)}"
    )
    yield horizontal(y, scale(low), max(scale(high), scale(low) + 1), f"span {tone}")
    yield mark(scale(rival.ratio), y, tone, tip)
    yield Text(scale(high) + 8, y + 4, wording.digits(rival.ratio), "number")


def _tones(result: Result) -> dict[str, str]:
    names = wording.rivals(result.operations)
    return {
        name: TONES[0] if name == "floor" else TONES[1 + (place - ("floor" in names)) % 4]
        for place, name in enumerate(names)
    }


def _legend(tones: Mapping[str, str], width: float) -> tuple[list[Shape], float]:
    shapes: list[Shape] = [Text(0, 12, "Our time divided by the time of the others", "title")]
    x, y = 0.0, 32.0
    for name, tone in tones.items():
        label = "floor: raw client, least work" if name == "floor" else name
        needed = 16 + width_of(label) + 22
        if x > 0 and x + needed > width:
            x, y = 0.0, y + 17
        shapes.append(mark(x + 5, y - 4, tone))
        shapes.append(Text(x + 15, y, label))
        x += needed
    return shapes, y + 10


def _directions(scale: Scale, y: float) -> Iterator[Shape]:
    """Explain the two sides of 1, if there is room."""
    one = scale(1.0)
    for words, kind, x, room in (
        ("ours faster", "end quiet", one - 7, one - scale.begin),
        ("ours slower", "quiet", one + 7, scale.end + 40 - one),
    ):
        if room > width_of(words):
            yield Text(x, y, words, kind)


def _tone_of(mode: str) -> str:
    return _TONE_OF_MODE.get(mode, TONES[2])


def _line_of(mode: str) -> str:
    return f"{_tone_of(mode)}{'' if mode == 'sync' else ' dashed'}"
