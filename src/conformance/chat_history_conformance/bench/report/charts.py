"""The charts of a result: time relative to the floor and the peers, time and memory over length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chat_history_conformance.bench.measure.results import Measured, Result, Rival
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

__all__ = ["Drawn", "growth", "memory", "picture", "ratios"]

Drawn = tuple[float, tuple[Shape, ...]]
"""The height of a drawing in pixels, and its shapes."""

_LANE = 14
_LABELS = 236
_PANEL = 158
_PANEL_TITLE = 34
_MANY_WORDS = 600
_TONE_OF_MODE = {"sync": TONES[0], "async": TONES[1]}


def picture(results: Sequence[Result]) -> Chart:
    """Return the charts of some results below each other."""
    shapes: list[Shape] = []
    y = 14.0
    for result in results:
        drawn = [part for part in (ratios(result), growth(result), memory(result)) if part]
        server = f" {result.server}" if result.server else ""
        shapes.append(Text(14, y + 12, f"{result.backend}{server}", "title"))
        y += 30
        if not drawn:
            shapes.append(Text(14, y + 10, "neither floor nor peer nor growth nor memory", "quiet"))
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
    stacked = width < _MANY_WORDS
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


@dataclass(frozen=True)
class _Panel:
    """A small chart: lines over the length of the conversation.

    Attributes:
        title: Its title.
        note: The line below the title.
        is_bad: Whether the note is a warning.
        lines: The values by length, for each mode.
    """

    title: str
    note: str
    is_bad: bool
    lines: Mapping[str, Mapping[int, float]]


def growth(result: Result, width: float = WIDE) -> Drawn | None:
    """Draw time over the length of the conversation for each operation, both logarithmic.

    Args:
        result: The result.
        width: The width in pixels.

    Returns:
        None if no growth was measured.
    """
    panels = []
    for title, by_mode in _by_title(result).items():
        found = {mode: one.growth for mode, one in by_mode.items() if one.growth is not None}
        powers = [wording.power(one.exponent) for one in found.values()]
        if width >= _MANY_WORDS:
            powers = [f"{mode} {power}" for mode, power in zip(found, powers, strict=True)]
        too_fast = any(one.too_fast for one in found.values())
        note = f"{'too fast:' if too_fast else 'exponent'} {', '.join(powers)}"
        panels.append(_Panel(title, note, too_fast, {m: one.seconds for m, one in found.items()}))
    return _panels("Time", panels, width, wording.tick, wording.duration)


def memory(result: Result, width: float = WIDE) -> Drawn | None:
    """Draw the peak memory over the length of the conversation for each read, both logarithmic.

    Args:
        result: The result.
        width: The width in pixels.

    Returns:
        None if the memory was not measured at two lengths.
    """
    panels = []
    for title, by_mode in _by_title(result).items():
        # A logarithmic scale has no 0, the peak of a read that returns the store's own list.
        lines = {
            mode: {length: peak for length, peak in one.memory.by_length.items() if peak}
            for mode, one in by_mode.items()
            if one.memory is not None
        }
        lines = {mode: line for mode, line in lines.items() if len(line) > 1}
        peaks = [wording.size(line[max(line)]) for line in lines.values()]
        panels.append(_Panel(title, f"at most {', '.join(dict.fromkeys(peaks))}", False, lines))
    return _panels("Peak memory", panels, width, wording.tick_of_size, wording.size)


def _by_title(result: Result) -> dict[str, dict[str, Measured]]:
    """Return the operations by title and mode."""
    found: dict[str, dict[str, Measured]] = {}
    for one in result.operations:
        found.setdefault(one.title, {})[one.mode] = one
    return found


def _panels(
    heading: str,
    panels: Sequence[_Panel],
    width: float,
    tick: Callable[[float], str],
    words: Callable[[float], str],
) -> Drawn | None:
    """Draw panels with the same scales next to each other.

    Args:
        heading: The name of the values.
        panels: The panels. Those without lines are left out.
        width: The width in pixels.
        tick: Returns a value as a label of the axis.
        words: Returns a value as text.
    """
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return None
    columns = 2 if width < _MANY_WORDS else 4
    step = width / columns
    lines = [line for panel in panels for line in panel.lines.values()]
    across = Scale.logarithmic([length for line in lines for length in line], 54, step - 20)
    values = [value for line in lines for value in line.values()]
    up = Scale.logarithmic(values, _PANEL - 22, _PANEL_TITLE + 6)
    shapes: list[Shape] = [Text(0, 12, f"{heading} over messages in the conversation", "title")]
    x, y = 0.0, 32.0
    for mode in dict.fromkeys(mode for panel in panels for mode in panel.lines):
        shapes += curve([(x, y - 4), (x + 22, y - 4)], _line_of(mode))
        shapes.append(mark(x + 11, y - 4, _tone_of(mode), size=3.5))
        shapes.append(Text(x + 28, y, mode))
        x += 80
    top = y + 16
    for place, panel in enumerate(panels):
        drawn = tuple(_panel(panel, across, up, tick, words))
        shapes.append(Group(place % columns * step, top + place // columns * (_PANEL + 14), drawn))
    return top + -(-len(panels) // columns) * (_PANEL + 14), tuple(shapes)


def _panel(
    panel: _Panel,
    across: Scale,
    up: Scale,
    tick: Callable[[float], str],
    words: Callable[[float], str],
) -> Iterator[Shape]:
    left, right = across.begin - 6, across.end + 6
    bottom, top = up.begin, up.end
    yield Text(0, 12, panel.title)
    yield Text(0, 27, panel.note, "bad" if panel.is_bad else "quiet")
    for value in up.ticks(5):
        yield horizontal(up(value), left, right)
        yield Text(left - 6, up(value) + 4, tick(value), "end quiet")
    for length in dict.fromkeys(length for line in panel.lines.values() for length in line):
        yield vertical(across(length), top - 6, bottom)
        name = f"{length // 1000}k" if length % 1000 == 0 else f"{length}"
        yield Text(across(length), bottom + 16, name, "middle quiet")
    for mode, line in panel.lines.items():
        points = [(across(length), up(value)) for length, value in line.items()]
        yield from curve(points, _line_of(mode))
        for (length, value), (x, y) in zip(line.items(), points, strict=True):
            tip = f"{panel.title}, {mode}, {length:,} messages: {words(value)}"
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
