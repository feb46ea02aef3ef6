"""The timeline of a campaign as a picture: faults, calls, errors and defects over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.report.shapes import (
    Chart,
    Circle,
    Path,
    Polygon,
    Scale,
    Shape,
    Text,
    curve,
    horizontal,
    vertical,
    width_of,
)
from chat_history_conformance.campaign.checking.verdict import MEANINGS
from chat_history_conformance.campaign.report.result import Curve, Lane, Result, Shown
from chat_history_conformance.reports.wording import visible

__all__ = ["NARROW", "WIDE", "growth_charts", "timeline_chart"]

WIDE = 1180
"""The width of a picture on a page, in pixels."""

NARROW = 350
"""The width of a picture on a phone, in pixels."""

_LABELS = 170
_MOST_ERRORS = 8
_TONES = ("blue", "ochre", "green", "violet", "red")


class _Picture:
    """The shapes of a picture, from the top to the bottom."""

    def __init__(self, width: float, seconds: float) -> None:
        self.width = width
        self.is_narrow = width < 600
        self.left = 8.0 if self.is_narrow else float(_LABELS)
        self.time = Scale(0, seconds, self.left, width - 10, is_logarithmic=False)
        self.shapes: list[Shape] = []
        self.y = 0.0

    def heading(self, text: str) -> None:
        """Start a group of lanes."""
        self.y += 20
        self.shapes.append(Text(8, self.y, text, "title"))
        self.y += 8

    def lane(self, label: str, note: str, height: float) -> float:
        """Start a lane with its label, and return the position of its lower end."""
        room = (self.width if self.is_narrow else _LABELS) - 20 - width_of(f"  {note}")
        words = f"{_clipped(label, room)}  {note}".rstrip()
        if self.is_narrow:
            self.y += 13
            self.shapes.append(Text(8, self.y, words, "quiet"))
            self.y += 4
        else:
            self.shapes.append(Text(8, self.y + height / 2 + 4, words, "quiet"))
        self.y += height
        self.shapes.append(horizontal(self.y, self.left, self.width - 10))
        low = self.y
        self.y += 5
        return low


def timeline_chart(result: Result, width: float = WIDE) -> Chart:
    """Return the timeline of a campaign.

    Args:
        result: The result.
        width: The width of the picture in pixels. A narrow one has its labels above the lanes.
    """
    line = result.timeline
    picture = _Picture(width, line.seconds)
    _axis(picture)
    top = picture.y
    _faults(picture, line.faults)
    picture.heading("Calls")
    for lane in line.calls:
        _density(picture, lane)
    picture.heading("Errors")
    for lane in _joined(line.errors):
        _marks(picture, lane)
    if not line.errors:
        picture.lane("none", "", 12)
    picture.heading("Defects")
    for lane in line.defects:
        _flags(picture, lane)
    if not line.defects:
        picture.lane("none", "", 12)
    rules = [vertical(picture.time(tick), top, picture.y) for tick in _ticks(picture)]
    label = (
        f"Timeline of {line.seconds:.0f} seconds: {len(line.faults)} faults, "
        f"{sum(sum(lane.counts) for lane in line.errors)} errors, "
        f"{sum(sum(lane.counts) for lane in line.defects)} defects"
    )
    return Chart(width, picture.y + 6, label, (*rules, *picture.shapes))


def _axis(picture: _Picture) -> None:
    picture.y = 14
    for tick in _ticks(picture):
        x = picture.time(tick)
        last = x > picture.width - 40
        kind = "quiet end" if last else "quiet middle"
        picture.shapes.append(
            Text(picture.width - 10 if last else x, picture.y, _clock(tick), kind)
        )
    picture.y = 20


def _ticks(picture: _Picture) -> list[float]:
    most = 5 if picture.is_narrow else 12
    seconds = picture.time.high
    steps = (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 36000)
    step = next((step for step in steps if seconds / step <= most), seconds / most)
    return [step * number for number in range(math.floor(seconds / step) + 1)]


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"


def _faults(picture: _Picture, faults: Sequence[Shown]) -> None:
    picture.heading("Faults by member")
    if not faults:
        picture.lane("none", "", 12)
    numbered = list(enumerate(faults, 1))
    for member in sorted({fault.member for fault in faults}):
        mine = [(number, fault) for number, fault in numbered if fault.member == member]
        low = picture.lane(f"member {member}" if member else "all members", "", 26)
        for place, (number, fault) in enumerate(mine):
            begin, end = picture.time(fault.began), picture.time(fault.ended)
            end = max(end, begin + 2)
            following = mine[place + 1 :]
            room = picture.time(following[0][1].began) if following else picture.width - 10
            tip = f"{number}. {visible(fault.name)}, {_clock(fault.began)} to {_clock(fault.ended)}"
            picture.shapes.append(_box(begin, low - 11, end, low, "fault", tip))
            for words in (f"{number} {visible(fault.name)}", f"{number}"):
                if width_of(words) <= room - begin:
                    picture.shapes.append(Text(begin, low - 14, words, "quiet"))
                    break


def _box(left: float, top: float, right: float, low: float, kind: str, tip: str) -> Polygon:
    return Polygon(((left, top), (right, top), (right, low), (left, low)), kind, tip)


def _density(picture: _Picture, lane: Lane) -> None:
    total, most = sum(lane.counts), max(lane.counts)
    low = picture.lane(lane.name, f"{total:,}", 24)
    parts = len(lane.counts)
    step = (picture.time.end - picture.time.begin) / parts
    d = [f"M{picture.left:.1f} {low:.1f}"]
    for number, count in enumerate(lane.counts):
        d.append(f"V{low - 22 * count / most:.1f}H{picture.left + step * (number + 1):.1f}")
    picture.shapes.append(Path("".join(d) + f"V{low:.1f}Z", "density"))


def _joined(errors: Sequence[Lane]) -> list[Lane]:
    """Return the lanes of errors, the rare types in one lane."""
    if len(errors) <= _MOST_ERRORS:
        return list(errors)
    rare = errors[_MOST_ERRORS - 1 :]
    counts = tuple(map(sum, zip(*(lane.counts for lane in rare), strict=True)))
    return [*errors[: _MOST_ERRORS - 1], Lane(f"{len(rare)} other types", counts)]


def _marks(picture: _Picture, lane: Lane) -> None:
    low = picture.lane(lane.name, f"{sum(lane.counts):,}", 14)
    for x, count, part in _places(picture, lane):
        radius = min(5.0, 2 + math.log2(count) / 2)
        tip = f"{count} {visible(lane.name)} at {_clock(part)}"
        picture.shapes.append(Circle(x, low - 6, round(radius, 1), "error", tip))


def _flags(picture: _Picture, lane: Lane) -> None:
    kind = next((kind for kind in MEANINGS if kind == lane.name), None)
    name = MEANINGS[kind][0] if kind else lane.name
    low = picture.lane(name, f"{sum(lane.counts):,}", 18)
    for x, count, part in _places(picture, lane):
        x = min(x, picture.width - 18)
        picture.shapes.append(vertical(x, low - 16, low, "pole"))
        corners = ((x, low - 16), (x + 8, low - 12.5), (x, low - 9))
        picture.shapes.append(Polygon(corners, "flag", f"{count} {name} at {_clock(part)}"))


def _places(picture: _Picture, lane: Lane) -> Iterator[tuple[float, int, float]]:
    part = picture.time.high / len(lane.counts)
    for number, count in enumerate(lane.counts):
        if count:
            yield picture.time((number + 0.5) * part), count, number * part


def growth_charts(curves: Sequence[Curve], seconds: float, width: float) -> list[Chart]:
    """Return a chart for threads, descriptors and memory, each with one line for each process.

    Args:
        curves: The curves of the result.
        seconds: The length of the campaign.
        width: The width of a chart in pixels.
    """
    charts = []
    for what in ("threads", "descriptors", "memory"):
        mine = [one for one in curves if one.what == what and one.points]
        if not mine:
            continue
        unit = 2**20 if what == "memory" else 1
        highest = max(value for one in mine for _, value in one.points) / unit
        scale = Scale(0, max(1.0, highest * 1.1), 118, 22, is_logarithmic=False)
        time = Scale(0, seconds, 40, width - 12, is_logarithmic=False)
        name = f"{what} (MiB)" if what == "memory" else what
        shapes: list[Shape] = [Text(8, 12, name, "title")]
        for tick in scale.ticks(4):
            shapes.append(horizontal(scale(tick), 40, width - 12))
            shapes.append(Text(34, scale(tick) + 4, f"{tick:g}", "quiet end"))
        shapes.append(Text(40, 134, "0 s", "quiet"))
        shapes.append(Text(width - 12, 134, _clock(round(seconds)), "quiet end"))
        for number, one in enumerate(mine):
            points = [(time(at), scale(value / unit)) for at, value in one.points]
            shapes += curve(points, _TONES[number % len(_TONES)])
        charts.append(Chart(width, 142, f"{name} of {len(mine)} processes", tuple(shapes)))
    return charts


def _clipped(text: str, room: float) -> str:
    """Return a label that fits in `room` pixels."""
    most = max(2, int(room / 6.2))
    text = visible(text)
    return text if len(text) <= most else text[: most - 1] + "…"
