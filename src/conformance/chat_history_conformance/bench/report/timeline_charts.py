"""The picture of a line: ratio to the floor, round trips and time of operations over commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chat_history_conformance.bench.measure.results import Measured, Result
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.bench.report import plot as plotting
from chat_history_conformance.bench.report import wording as telling
from chat_history_conformance.bench.report.plot import TONES, WIDE, Scale
from chat_history_conformance.bench.report.timeline import Track, commit_of

_ROW = 76
_LABELS = 218
_MANY = 40
_ROOM_FOR_TIPS = 200


@dataclass(frozen=True)
class _Panel:
    """One of the three things that are drawn of each operation."""

    title: str
    value: Callable[[Measured], Estimate | None]
    tell: Callable[[float], str]
    tick: Callable[[float], str]
    is_logarithmic: bool = True


def _to_floor(one: Measured) -> Estimate | None:
    return None if one.floor is None else one.floor.ratio


def _counted(one: Measured) -> Estimate | None:
    if one.round_trips is None:
        return None
    return Estimate(one.round_trips, one.round_trips, one.round_trips)


_PANELS = (
    _Panel("ours / floor", _to_floor, telling.digits, lambda tick: f"{tick:g}"),
    _Panel(
        "round trips",
        _counted,
        lambda value: telling.count(int(value), "round trip"),
        lambda tick: f"{tick:g}",
        is_logarithmic=False,
    ),
    _Panel("median time", lambda one: one.median_s, telling.duration, telling.tick),
)


def picture(tracks: Sequence[Track]) -> str:
    """The pictures of all tracks below each other, as a file of its own."""
    parts: list[str] = []
    y = 14.0
    for track in tracks:
        parts.append(plotting.text(14, y + 12, track.backend, "title"))
        y += 28
        height, lines = draw(track)
        parts += plotting.moved(lines, 14, y)
        y += height + 18
    label = f"Benchmarks over commits of {', '.join(track.backend for track in tracks)}"
    return plotting.svg(WIDE + 28, y, label, parts, alone=True)


def draw(track: Track, width: float = WIDE) -> tuple[float, list[str]]:
    """One backend's operations over its commits.

    Lines join only what can be compared; each series has its tone.

    Args:
        track: What to draw.
        width: In pixels; where there is little, names stand above their panels.

    Returns:
        The height in pixels, and what is drawn.
    """
    titles = {one.label: f"{one.title}" for one in _operations(track)}
    modes = {one.label: one.mode for one in _operations(track)}
    panels = [
        panel
        for panel in _PANELS
        if any(panel.value(one) is not None for one in _operations(track))
    ]
    stacked = width < 600
    left = 0.0 if stacked else float(_LABELS)
    step = (width - left) / len(panels)
    lines = list(_legend(track, width))
    y = 18.0 * len(lines) / 2 if len(track.series) > 1 else 0.0
    y += 14
    for place, panel in enumerate(panels):
        lines.append(plotting.text(left + place * step + 44, y, panel.title, "quiet"))
    y += 8
    row = _ROW + (20 if stacked else 0)
    for number, (label, title) in enumerate(titles.items()):
        if number:
            lines.append(plotting.along(y, 0, width))
        if stacked:
            lines.append(plotting.text(0, y + 15, f"{title} ({modes[label]})"))
        else:
            lines.append(plotting.text(left - 66, y + row / 2 + 4, title, "end"))
            lines.append(plotting.text(left - 14, y + row / 2 + 4, modes[label], "end quiet"))
        top = y + (20 if stacked else 0)
        for place, panel in enumerate(panels):
            drawn = _panel(track, label, panel, step)
            lines += plotting.moved(drawn, left + place * step, top)
        y += row
    for place in range(len(panels)):
        lines += plotting.moved(_commits(track, step), left + place * step, y)
    return y + 20, lines


def _operations(track: Track) -> list[Measured]:
    """Each operation once, in the order of the newest result."""
    found: dict[str, Measured] = {}
    for series in track.series:
        for result in reversed(series.results):
            for one in result.operations:
                found.setdefault(one.label, one)
    return list(found.values())


def _across(track: Track, step: float) -> Callable[[Result], float]:
    places = {(one.id, one.dirty): place for place, one in enumerate(track.commits)}
    begin, end = _sides(step)
    gap = (end - begin) / max(1, len(places) - 1)

    def x(result: Result) -> float:
        commit = commit_of(result)
        return begin + places[commit.id, commit.dirty] * gap

    return x


def _sides(step: float) -> tuple[float, float]:
    return 50.0, step - 22.0


def _panel(track: Track, label: str, panel: _Panel, step: float) -> Iterator[str]:
    found = [
        [
            (result, value)
            for result in series.results
            for one in result.operations
            if one.label == label and (value := panel.value(one)) is not None
        ]
        for series in track.series
    ]
    values = [end for run in found for _, value in run for end in (value.low, value.high)]
    if not values:
        return
    if panel.is_logarithmic:
        up = Scale.logarithmic(values, _ROW - 10, 10, least=2)
    else:
        up = Scale.counting(values, _ROW - 10, 10)
    begin, end = _sides(step)
    for tick in up.ticks(3):
        yield plotting.along(up(tick), begin - 6, end + 6)
        yield plotting.text(begin - 10, up(tick) + 4, panel.tick(tick), "end quiet")
    x = _across(track, step)
    size = 2.0 if len(track.commits) > _MANY else 3.0
    for tone, run in reversed(list(zip(_tones(track), found, strict=True))):
        yield from plotting.spans(
            [(x(result), up(value.low), up(value.high)) for result, value in run], tone
        )
        yield from plotting.curve([(x(result), up(value.value)) for result, value in run], tone)
        for result, value in run:
            tip = f"{commit_of(result).short}, {result.measured_at[:10]}: {panel.tell(value.value)}"
            if value.high > value.low:
                tip += f" ({panel.tell(value.low)} to {panel.tell(value.high)})"
            # Where there is little room, nothing points at a mark to read its tip.
            tip = "" if step < _ROOM_FOR_TIPS else tip
            yield plotting.mark(x(result), up(value.value), tone, tip, size)


def _commits(track: Track, step: float) -> Iterator[str]:
    begin, end = _sides(step)
    first, last = track.commits[0], track.commits[-1]
    if len(track.commits) == 1:
        yield plotting.text(begin, 14, first.short, "middle quiet")
        return
    if plotting.width_of(first.short + last.short) + 8 < end - begin + 40:
        yield plotting.text(begin - 6, 14, first.short, "quiet")
    yield plotting.text(end + 6, 14, last.short, "end quiet")


def _tones(track: Track) -> list[str]:
    return [TONES[place % len(TONES)] for place in range(len(track.series))]


def _legend(track: Track, width: float) -> Iterator[str]:
    """What parts the series, a line each; nothing where there is one."""
    if len(track.series) < 2:
        return
    differing = [
        name
        for name in track.series[0].traits
        if len({series.traits[name] for series in track.series}) > 1
    ]
    for place, (tone, series) in enumerate(zip(_tones(track), track.series, strict=True)):
        told = ", ".join(
            f"{name} {series.traits[name]}" if name == "server" else series.traits[name]
            for name in differing
        )
        longest = int((width - 20) / 6.2)
        shown = told if len(told) <= longest else f"{told[: longest - 1]}…"
        yield plotting.mark(5, 8 + 18 * place, tone)
        yield plotting.text(15, 12 + 18 * place, shown)
