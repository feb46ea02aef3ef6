"""The plot of a compared operation: a dot for each pair, and the median with its interval.

We draw the plot ourselves: it follows the reader's light or dark mode, needs no script, and adds no
dependency. Positions along the axis are shares of the width, so the plot fits every window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chat_history_conformance.bench.compare.decision import Measured, Operation
from chat_history_conformance.bench.report import comparison as words
from chat_history_conformance.bench.report.wording import duration

__all__ = ["Dot", "Lane", "PairPlot", "Tick", "plot"]

_SCALES: tuple[tuple[float, ...], ...] = (
    (1.05, 1.1),
    (1.1, 1.25),
    (1.25, 1.5),
    (1.5, 2),
    (2, 5),
    (5, 20),
    (10, 100),
    (30, 1000),
)
"""The labels of an axis on each side of 1. The axis ends at the last one, plus a margin."""

_MARGIN = 1.12
_LANE_PX = 62
_AXIS_PX = 22
_DOTS_FROM_PX, _DOTS_TO_PX, _MEDIAN_PX = 8, 40, 51

_Position = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A label of the axis: its position in percent, and whether it is 1."""

    x: float
    label: str
    is_one: bool


@dataclass(frozen=True)
class Dot:
    """A pair: its position in percent and in pixels, and whether its ratio is beyond the axis."""

    x: float
    y: float
    is_outside: bool
    tip: str


@dataclass(frozen=True)
class Lane:
    """One of the two measurements.

    Attributes:
        top: Its upper edge in pixels.
        is_counted: Whether it is the measurement that counts.
        dots: Its pairs.
        low, median, high: The median and its interval, in percent of the width.
        median_y: The position of the median in pixels.
    """

    top: int
    is_counted: bool
    dots: tuple[Dot, ...]
    low: float
    median: float
    high: float
    median_y: int


@dataclass(frozen=True)
class PairPlot:
    """The plot of one operation.

    Attributes:
        label: Its description for screen readers.
        height, total_height: Its height in pixels, without and with the axis.
        band, band_width: The range within the threshold, in percent of the width.
        ticks: The labels of the axis.
        lanes: The measurements.
    """

    label: str
    height: int
    total_height: int
    band: float
    band_width: float
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]


def plot(operation: Operation) -> PairPlot:
    """Return the plot of an operation."""
    measurements = [operation.first, *([operation.second] if operation.second else [])]
    labels = _scale(operation, measurements)
    end = math.log(labels[-1]) * _MARGIN

    def at(ratio: float) -> float:
        """Return the position of a ratio in percent of the width."""
        return 50 + 50 * max(-1.0, min(1.0, math.log(ratio) / end))

    fastest, slowest = map(at, operation.settings.band)
    ticks = sorted([1.0, *labels, *(1 / label for label in labels)])
    height = _LANE_PX * len(measurements)
    return PairPlot(
        label=_description(operation, measurements),
        height=height,
        total_height=height + _AXIS_PX,
        band=fastest,
        band_width=slowest - fastest,
        ticks=tuple(Tick(at(tick), f"{tick:.3g}", tick == 1) for tick in ticks),
        lanes=tuple(
            Lane(
                top=number * _LANE_PX,
                is_counted=one is operation.counted,
                dots=tuple(_dots(one, number * _LANE_PX, at, end)),
                low=at(one.estimate.low),
                median=at(one.estimate.value),
                high=at(one.estimate.high),
                median_y=number * _LANE_PX + _MEDIAN_PX,
            )
            for number, one in enumerate(measurements)
        ),
    )


def _dots(measured: Measured, top: int, at: _Position, end: float) -> Iterator[Dot]:
    step = (_DOTS_TO_PX - _DOTS_FROM_PX) / max(1, len(measured.pairs) - 1)
    for number, (base, head) in enumerate(measured.pairs):
        yield Dot(
            x=at(head / base),
            y=top + _DOTS_FROM_PX + step * number,
            is_outside=abs(math.log(head / base)) > end,
            tip=f"pair {number + 1}: {duration(base)}, {duration(head)}, "
            f"ratio {words.ratio(head / base)}",
        )


def _scale(operation: Operation, measurements: Sequence[Measured]) -> tuple[float, ...]:
    """Return the narrowest scale that shows every interval, the threshold, and nine of ten dots."""
    needed = [operation.settings.band[1]]
    for one in measurements:
        needed += [1 / one.estimate.low, one.estimate.high]
        distances = sorted(abs(math.log(head / base)) for base, head in one.pairs)
        needed.append(math.exp(distances[int(0.9 * (len(distances) - 1))]))
    fitting = (labels for labels in _SCALES if labels[-1] * 1.05 >= max(needed))
    return next(fitting, _SCALES[-1])


def _description(operation: Operation, measurements: Sequence[Measured]) -> str:
    parts = []
    for name, one in zip(("first", "second"), measurements, strict=False):
        found = one.estimate
        parts.append(
            f"{name} measurement, {len(one.pairs)} pairs: median {words.ratio(found.value)}, "
            f"interval {words.ratio(found.low)} to {words.ratio(found.high)}"
        )
    return f"{operation.name}, {words.verdict(operation)}; {'; '.join(parts)}"
