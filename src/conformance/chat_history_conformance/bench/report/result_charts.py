"""The pictures of a result: ours by the floor and by the peers, and time over history length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chat_history_conformance.bench.measure.results import Growth, Measured, Result, Rival
from chat_history_conformance.bench.report import plot as plotting
from chat_history_conformance.bench.report import wording as telling
from chat_history_conformance.bench.report.plot import TONES, WIDE, Scale

_LANE = 14
_LABELS = 236
_PANEL = 158
_PANEL_TITLE = 34
_POINT_OF_MODE = {"sync": TONES[0], "async": TONES[1]}


def picture(results: Sequence[Result]) -> str:
    """All pictures of some results below each other, as a file of its own."""
    parts: list[str] = []
    y = 14.0
    for result in results:
        drawn = [part for part in (ratios(result), growth(result)) if part]
        server = f" {result.server}" if result.server else ""
        parts.append(plotting.text(14, y + 12, f"{result.backend}{server}", "title"))
        y += 30
        if not drawn:
            parts.append(plotting.text(14, y + 10, "neither floor nor peer nor growth", "quiet"))
            y += 24
        for height, lines in drawn:
            parts += plotting.moved(lines, 14, y)
            y += height + 18
    label = f"Benchmarks of {', '.join(result.backend for result in results)}"
    return plotting.svg(WIDE + 28, y + 4, label, parts, alone=True)


Drawn = tuple[float, list[str]]
"""How high something is in pixels, and its parts."""


def ratios(result: Result, width: float = WIDE) -> Drawn | None:
    """Ours by the floor and by each peer, with intervals, on a logarithmic scale.

    Args:
        result: What to draw.
        width: In pixels; where there is little, names stand above their marks.

    Returns:
        None where there is nothing to draw.
    """
    rows = [one for one in result.operations if one.rivals]
    if not rows:
        return None
    tones = _tones(result)
    stacked = width < 600
    ends = [
        end
        for one in rows
        for rival in one.rivals.values()
        for end in (rival.ratio.low, rival.ratio.high)
    ]
    scale = Scale.logarithmic([*ends, 1.0], 8 if stacked else _LABELS, width - 62, least=4)
    lines, top = _legend(tones, width)
    lines += _sides(scale, top + 12)
    top += 20
    heights = [_LANE * len(one.rivals) + (26 if stacked else 10) for one in rows]
    bottom = top + sum(heights)
    for tick in scale.ticks(4 if stacked else 9):
        x = scale(tick)
        lines.append(plotting.across(x, top, bottom, "one" if tick == 1 else "rule"))
        lines.append(plotting.text(x, bottom + 15, f"{tick:,g}", "middle quiet"))
    if 1.0 not in scale.ticks(4 if stacked else 9):
        lines.append(plotting.across(scale(1.0), top, bottom, "one"))
    y = top
    for number, (one, height) in enumerate(zip(rows, heights, strict=True)):
        if number and one.title != rows[number - 1].title:
            lines.append(plotting.along(y, 0, width))
        if stacked:
            lines.append(plotting.text(0, y + 15, f"{one.title} ({one.mode})"))
            first = y + 27.0
        else:
            middle = y + height / 2
            lines.append(plotting.text(_LABELS - 66, middle + 4, one.title, "end"))
            lines.append(plotting.text(_LABELS - 14, middle + 4, one.mode, "end quiet"))
            first = y + 5 + _LANE / 2
        for lane, (name, rival) in enumerate(one.rivals.items()):
            lines += _interval(one, name, rival, tones[name], scale, first + lane * _LANE)
        y += height
    return bottom + 20, lines


def growth(result: Result, width: float = WIDE) -> Drawn | None:
    """Time over the length of the conversation for each operation, both logarithmic.

    Args:
        result: What to draw.
        width: In pixels.

    Returns:
        None where no growth was measured.
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
    left = 48.0
    across = Scale.logarithmic(
        [length for one in all_of_them for length in one.median_s], left + 6, step - 20
    )
    up = Scale.logarithmic(
        [seconds for one in all_of_them for seconds in one.median_s.values()],
        _PANEL - 22,
        _PANEL_TITLE + 6,
    )
    modes = dict.fromkeys(mode for one in panels.values() for mode in one)
    lines = [plotting.text(0, 12, "Time over messages in the conversation", "title")]
    x, y = 0.0, 32.0
    for mode in modes:
        tone = _tone_of(mode)
        lines += plotting.curve([(x, y - 4), (x + 22, y - 4)], _line_of(mode))
        lines.append(plotting.mark(x + 11, y - 4, tone, size=3.5))
        lines.append(plotting.text(x + 28, y, mode))
        x += 80
    top = y + 16
    for place, (title, by_mode) in enumerate(panels.items()):
        drawn = _panel(title, by_mode, across, up)
        at = (place % columns * step, top + place // columns * (_PANEL + 14))
        lines += plotting.moved(drawn, *at)
    height = top + -(-len(panels) // columns) * (_PANEL + 14)
    return height, lines


def _panel(title: str, by_mode: Mapping[str, Growth], across: Scale, up: Scale) -> Iterator[str]:
    left, right = across.begin - 6, across.end + 6
    bottom, top = up.begin, up.end
    yield plotting.text(0, 12, title)
    powers = [telling.power(one.exponent.value) for one in by_mode.values()]
    if right > 200:
        powers = [f"{mode} {told}" for mode, told in zip(by_mode, powers, strict=True)]
    if any(one.too_fast for one in by_mode.values()):
        yield plotting.text(0, 27, f"too fast: {', '.join(powers)}", "bad")
    else:
        yield plotting.text(0, 27, f"exponent {', '.join(powers)}", "quiet")
    for tick in up.ticks(5):
        yield plotting.along(up(tick), left, right)
        yield plotting.text(left - 6, up(tick) + 4, telling.tick(tick), "end quiet")
    lengths = dict.fromkeys(length for one in by_mode.values() for length in one.median_s)
    for length in lengths:
        yield plotting.across(across(length), top - 6, bottom)
        name = f"{length // 1000}k" if length % 1000 == 0 else f"{length}"
        yield plotting.text(across(length), bottom + 16, name, "middle quiet")
    for mode, one in by_mode.items():
        points = [(across(length), up(seconds)) for length, seconds in one.median_s.items()]
        yield from plotting.curve(points, _line_of(mode))
        for (length, seconds), at in zip(one.median_s.items(), points, strict=True):
            tip = f"{title}, {mode}, {length:,} messages: {telling.duration(seconds)}"
            yield plotting.mark(*at, _tone_of(mode), tip, size=3)


def _interval(
    one: Measured, name: str, rival: Rival, tone: str, scale: Scale, y: float
) -> Iterator[str]:
    value, low, high = rival.ratio.value, rival.ratio.low, rival.ratio.high
    tip = (
        f"{one.label}: {telling.digits(value)} times {name} ({telling.interval(rival.ratio)}), "
        f"{telling.duration(one.median_s.value)} by {telling.duration(rival.median_s)}"
    )
    yield plotting.along(y, scale(low), max(scale(high), scale(low) + 1), f"span {tone}")
    yield plotting.mark(scale(value), y, tone, tip)
    yield plotting.text(scale(high) + 8, y + 4, telling.digits(value), "number")


def _tones(result: Result) -> dict[str, str]:
    names = telling.rivals([result])
    return {
        name: TONES[0] if name == "floor" else TONES[1 + (place - ("floor" in names)) % 4]
        for place, name in enumerate(names)
    }


def _legend(tones: Mapping[str, str], width: float) -> tuple[list[str], float]:
    lines = [plotting.text(0, 12, "Our time divided by that of the others", "title")]
    x, y = 0.0, 32.0
    for name, tone in tones.items():
        label = "floor: raw client, least work" if name == "floor" else name
        needed = 16 + plotting.width_of(label) + 22
        if x > 0 and x + needed > width:
            x, y = 0.0, y + 17
        lines.append(plotting.mark(x + 5, y - 4, tone))
        lines.append(plotting.text(x + 15, y, label))
        x += needed
    return lines, y + 10


def _sides(scale: Scale, y: float) -> Iterator[str]:
    """What left and right of 1 mean, where there is room to say so."""
    one = scale(1.0)
    for words, kind, x, room in (
        ("ours faster", "end quiet", one - 7, one - scale.begin),
        ("ours slower", "quiet", one + 7, scale.end + 40 - one),
    ):
        if room > plotting.width_of(words):
            yield plotting.text(x, y, words, kind)


def _tone_of(mode: str) -> str:
    return _POINT_OF_MODE.get(mode, TONES[2])


def _line_of(mode: str) -> str:
    return f"{_tone_of(mode)}{'' if mode == 'sync' else ' dashed'}"
