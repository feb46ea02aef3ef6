"""The chart of a timeline: ratio to the floor, round trips and time of each operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chat_history_conformance.bench.measure.results import Measured, Result
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.bench.report import wording
from chat_history_conformance.bench.report.charts import Drawn
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
    spans,
    width_of,
)
from chat_history_conformance.bench.report.timeline import Series, Track, commit_of

__all__ = ["draw", "picture"]

_ROW = 76
_LABELS = 218
_MANY = 40
_ROOM_FOR_TIPS = 200


@dataclass(frozen=True)
class _Panel:
    """One of the three values that are drawn for each operation."""

    title: str
    value: Callable[[Measured], Estimate | None]
    show: Callable[[float], str]
    tick: Callable[[float], str]
    is_logarithmic: bool = True


def _to_floor(one: Measured) -> Estimate | None:
    return None if one.floor is None else one.floor.estimate


def _counted(one: Measured) -> Estimate | None:
    if one.round_trips is None:
        return None
    return Estimate(one.round_trips, one.round_trips, one.round_trips)


_PANELS = (
    _Panel("ours / floor", _to_floor, wording.digits, lambda tick: f"{tick:g}"),
    _Panel(
        "round trips",
        _counted,
        lambda value: wording.count(int(value), "round trip"),
        lambda tick: f"{tick:g}",
        is_logarithmic=False,
    ),
    _Panel("median time", lambda one: one.estimate, wording.duration, wording.tick),
)


def picture(tracks: Sequence[Track]) -> Chart:
    """Return the charts of all tracks below each other."""
    shapes: list[Shape] = []
    y = 14.0
    for track in tracks:
        shapes.append(Text(14, y + 12, track.backend, "title"))
        y += 28
        height, parts = draw(track)
        shapes.append(Group(14, y, parts))
        y += height + 18
    label = f"Benchmarks over commits of {', '.join(track.backend for track in tracks)}"
    return Chart(WIDE + 28, y, label, tuple(shapes))


def draw(track: Track, width: float = WIDE) -> Drawn:
    """Draw the operations of one backend over its commits.

    Lines connect only results that can be compared. Each series has its own colour.

    Args:
        track: The results.
        width: The width in pixels; if it is small, names are above their panels.
    """
    operations = _operations(track)
    panels = [p for p in _PANELS if any(p.value(one) is not None for one in operations)]
    stacked = width < 600
    left = 0.0 if stacked else float(_LABELS)
    step = (width - left) / len(panels)
    shapes = list(_legend(track, width))
    y = 14 + (18.0 * len(track.series) if shapes else 0.0)
    for place, panel in enumerate(panels):
        shapes.append(Text(left + place * step + 44, y, panel.title, "quiet"))
    y += 8
    for number, one in enumerate(operations):
        if number:
            shapes.append(horizontal(y, 0, width))
        if stacked:
            shapes.append(Text(0, y + 15, f"{one.title} ({one.mode})"))
        else:
            shapes.append(Text(left - 66, y + _ROW / 2 + 4, one.title, "end"))
            shapes.append(Text(left - 14, y + _ROW / 2 + 4, one.mode, "end quiet"))
        y += 20 if stacked else 0
        for place, panel in enumerate(panels):
            drawn = tuple(_draw_panel(track, one.label, panel, step))
            shapes.append(Group(left + place * step, y, drawn))
        y += _ROW
    commits = tuple(_commits(track, step))
    shapes += (Group(left + place * step, y, commits) for place in range(len(panels)))
    return y + 20, tuple(shapes)


def _operations(track: Track) -> list[Measured]:
    """Return each operation once, in the order of the newest result."""
    found: dict[str, Measured] = {}
    for series in track.series:
        for result in reversed(series.results):
            for one in result.operations:
                found.setdefault(one.label, one)
    return list(found.values())


def _across(track: Track, step: float) -> Callable[[Result], float]:
    """Return a function that gives the x of a result, in pixels."""
    places = {(one.id, one.dirty): place for place, one in enumerate(track.commits)}
    begin, end = _ends(step)
    gap = (end - begin) / max(1, len(places) - 1)

    def x(result: Result) -> float:
        commit = commit_of(result)
        return begin + places[commit.id, commit.dirty] * gap

    return x


def _ends(step: float) -> tuple[float, float]:
    return 50.0, step - 22.0


def _draw_panel(track: Track, label: str, panel: _Panel, step: float) -> Iterator[Shape]:
    runs = [_values(series, label, panel) for series in track.series]
    values = [end for run in runs for _, value in run for end in (value.low, value.high)]
    if not values:
        return
    if panel.is_logarithmic:
        up = Scale.logarithmic(values, _ROW - 10, 10, least=2)
    else:
        up = Scale.counting(values, _ROW - 10, 10)
    begin, end = _ends(step)
    for tick in up.ticks(3):
        yield horizontal(up(tick), begin - 6, end + 6)
        yield Text(begin - 10, up(tick) + 4, panel.tick(tick), "end quiet")
    x = _across(track, step)
    size = 2.0 if len(track.commits) > _MANY else 3.0
    for tone, run in reversed(list(zip(_tones(track), runs, strict=True))):
        yield from spans([(x(result), up(one.low), up(one.high)) for result, one in run], tone)
        yield from curve([(x(result), up(one.value)) for result, one in run], tone)
        for result, one in run:
            # On a narrow screen no pointer can show a tip.
            tip = _tip(result, one, panel) if step >= _ROOM_FOR_TIPS else ""
            yield mark(x(result), up(one.value), tone, tip, size)


def _values(series: Series, label: str, panel: _Panel) -> list[tuple[Result, Estimate]]:
    """Return the values of one operation, with their results."""
    return [
        (result, value)
        for result in series.results
        for one in result.operations
        if one.label == label and (value := panel.value(one)) is not None
    ]


def _tip(result: Result, value: Estimate, panel: _Panel) -> str:
    tip = f"{commit_of(result).short}, {result.measured_at[:10]}: {panel.show(value.value)}"
    if value.high > value.low:
        tip += f" ({panel.show(value.low)} to {panel.show(value.high)})"
    return tip


def _commits(track: Track, step: float) -> Iterator[Shape]:
    """Yield the names of the first and the last commit."""
    begin, end = _ends(step)
    first, last = track.commits[0], track.commits[-1]
    if len(track.commits) == 1:
        yield Text(begin, 14, first.short, "middle quiet")
        return
    if width_of(first.short + last.short) + 8 < end - begin + 40:
        yield Text(begin - 6, 14, first.short, "quiet")
    yield Text(end + 6, 14, last.short, "end quiet")


def _tones(track: Track) -> list[str]:
    return [TONES[place % len(TONES)] for place in range(len(track.series))]


def _legend(track: Track, width: float) -> Iterator[Shape]:
    """Yield the differences between the series, a line for each; nothing if there is only one."""
    if len(track.series) < 2:
        return
    differing = [
        name
        for name in track.series[0].traits
        if len({series.traits[name] for series in track.series}) > 1
    ]
    longest = int((width - 20) / 6.2)
    for place, (tone, series) in enumerate(zip(_tones(track), track.series, strict=True)):
        text = ", ".join(
            f"{name} {series.traits[name]}" if name == "server" else series.traits[name]
            for name in differing
        )
        shown = text if len(text) <= longest else f"{text[: longest - 1]}…"
        yield mark(5, 8 + 18 * place, tone)
        yield Text(15, 12 + 18 * place, shown)
