"""Scales and shapes of a chart, as plain values that a template draws as SVG.

We draw the charts ourselves: they follow the reader's light or dark mode, need no script, and add
no dependency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "NARROW",
    "TONES",
    "WIDE",
    "Chart",
    "Circle",
    "Group",
    "Path",
    "Polygon",
    "Scale",
    "Shape",
    "Square",
    "Text",
    "curve",
    "horizontal",
    "mark",
    "spans",
    "vertical",
    "width_of",
]

WIDE = 980
"""The width of charts on a page, in pixels."""

NARROW = 370
"""The width of charts on a phone, in pixels."""

TONES = ("red", "blue", "ochre", "green", "violet")
"""The colours of series, by their class in the style sheet."""


@dataclass(frozen=True)
class Text:
    """A line of text.

    All coordinates of shapes are in pixels, and `kind` holds classes of the style sheet.
    """

    element: ClassVar[str] = "text"
    x: float
    y: float
    content: str
    kind: str = ""


@dataclass(frozen=True)
class Path:
    """Lines; `d` is the path in SVG's notation."""

    element: ClassVar[str] = "path"
    d: str
    kind: str


@dataclass(frozen=True)
class Circle:
    """A round mark around a point; `tip` is shown when the pointer is on it."""

    element: ClassVar[str] = "circle"
    x: float
    y: float
    radius: float
    kind: str
    tip: str = ""


@dataclass(frozen=True)
class Square:
    """A square mark with its upper left corner at a point."""

    element: ClassVar[str] = "square"
    x: float
    y: float
    side: float
    kind: str
    tip: str = ""


@dataclass(frozen=True)
class Polygon:
    """A mark with corners."""

    element: ClassVar[str] = "polygon"
    points: tuple[tuple[float, float], ...]
    kind: str
    tip: str = ""


@dataclass(frozen=True)
class Group:
    """Shapes that are moved together."""

    element: ClassVar[str] = "group"
    x: float
    y: float
    shapes: tuple[Shape, ...]


Shape = Text | Path | Circle | Square | Polygon | Group


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        width, height: Its size in pixels.
        label: Its description for screen readers.
        shapes: Its shapes, the lowest first.
    """

    width: float
    height: float
    label: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Scale:
    """The position of values on a line.

    Attributes:
        low, high: The values at its ends.
        begin, end: The positions of its ends in pixels.
        is_logarithmic: Whether equal factors are equal distances.
    """

    low: float
    high: float
    begin: float
    end: float
    is_logarithmic: bool = True

    @classmethod
    def logarithmic(
        cls, values: Iterable[float], begin: float, end: float, *, least: float = 1.5
    ) -> Scale:
        """Return a logarithmic scale with a margin around the values.

        Args:
            values: The values, one at least.
            begin: The position of its lower end in pixels.
            end: The position of its upper end in pixels.
            least: The least factor between its ends.
        """
        found = list(values)
        low, high = min(found), max(found)
        if high / low < least:
            middle = math.sqrt(low * high)
            low, high = middle / math.sqrt(least), middle * math.sqrt(least)
        return cls(low / 1.08, high * 1.08, begin, end)

    @classmethod
    def counting(cls, values: Iterable[float], begin: float, end: float) -> Scale:
        """Return a linear scale from 0 to above all values."""
        return cls(0, max(1, *values) * 1.15, begin, end, is_logarithmic=False)

    def __call__(self, value: float) -> float:
        """Return the position of a value in pixels."""
        if self.is_logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int = 7) -> list[float]:
        """Return round values on the scale, at most `most`."""
        if not self.is_logarithmic:
            step = next(
                size * 10**power
                for power in range(20)
                for size in (1, 2, 5)
                if self.high / (size * 10**power) < most
            )
            return [float(tick) for tick in range(0, math.floor(self.high) + 1, step)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found: list[float] = []
        for digits in ((1, 1.2, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            everywhere = (digit * 10.0**power for power in range(first, last) for digit in digits)
            found = [tick for tick in everywhere if self.low <= tick <= self.high]
            if len(found) <= most:
                return found
        return found[:: math.ceil(len(found) / most)]


def vertical(x: float, top: float, bottom: float, kind: str = "rule") -> Path:
    """Return a line from top to bottom."""
    return Path(f"M{x:.1f} {top:.1f}V{bottom:.1f}", kind)


def horizontal(y: float, left: float, right: float, kind: str = "rule") -> Path:
    """Return a line from left to right."""
    return Path(f"M{left:.1f} {y:.1f}H{right:.1f}", kind)


def curve(points: Sequence[tuple[float, float]], kind: str) -> list[Shape]:
    """Return lines between neighbouring points; a single point has none."""
    if len(points) < 2:
        return []
    return [Path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), f"line {kind}")]


def spans(ends: Iterable[tuple[float, float, float]], tone: str) -> list[Shape]:
    """Return vertical intervals.

    Args:
        ends: For each interval its x and its two ends. Equal ends are not drawn.
        tone: The colour.
    """
    d = "".join(f"M{x:.1f} {low:.1f}V{high:.1f}" for x, low, high in ends if low != high)
    return [Path(d, f"span {tone}")] if d else []


def mark(x: float, y: float, kind: str, tip: str = "", size: float = 4) -> Shape:
    """Return a mark: a circle for the first tone, a square for the second, else a diamond."""
    if TONES[0] in kind:
        return Circle(x, y, size, kind, tip)
    if TONES[1] in kind:
        return Square(x - size + 0.5, y - size + 0.5, 2 * size - 1, kind, tip)
    reach = size + 0.8
    return Polygon(((x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)), kind, tip)


def width_of(content: str) -> float:
    """Estimate the width of a small text in pixels."""
    return 6.2 * len(content)
