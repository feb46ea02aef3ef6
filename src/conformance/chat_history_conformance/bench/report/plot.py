"""Axes, marks and intervals as SVG that follows the reader's light or dark, without a library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from chat_history_conformance.reports.wording import visible

WIDE, NARROW = 980, 370
"""The widths that pictures are drawn for, in pixels: a page, and a telephone."""

TONES = ("red", "blue", "ochre", "green", "violet")
"""The colours of what is drawn side by side, by their class."""

STYLE = (
    ".plot{display:block;max-width:100%;height:auto}"
    ".plot text{font:12px system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;"
    "fill:#3c3a36}"
    ".plot .title{font-weight:600;font-size:13px}.plot .end{text-anchor:end}"
    ".plot .middle{text-anchor:middle}.plot .quiet{fill:#6f6b64;font-size:11px}"
    ".plot .number{font-size:11px}.plot .bad{fill:#a8322a;font-weight:600;font-size:11px}"
    ".plot .page{fill:#fdfcfa}.plot .rule{stroke:#e6e2da}.plot .one{stroke:#8b867d}"
    ".plot .line{fill:none;stroke-width:1.6}.plot .dashed{stroke-dasharray:4 3}"
    ".plot .span{stroke-width:1.6;stroke-opacity:.55}"
    ".plot .red{fill:#a8322a}.plot .blue{fill:#3f6f9f}.plot .ochre{fill:#8a6410}"
    ".plot .green{fill:#2f7550}.plot .violet{fill:#76538f}"
    ".plot path.red{stroke:#a8322a}.plot path.blue{stroke:#3f6f9f}.plot path.ochre{stroke:#8a6410}"
    ".plot path.green{stroke:#2f7550}.plot path.violet{stroke:#76538f}"
    ".plot path.line{fill:none}"
    "@media(prefers-color-scheme:dark){.plot text{fill:#d5d2cb}.plot .quiet{fill:#9a958b}"
    ".plot .bad{fill:#ef8278}.plot .page{fill:#1a1917}.plot .rule{stroke:#33312e}"
    ".plot .one{stroke:#8b867d}"
    ".plot .red{fill:#ef8278}.plot .blue{fill:#7ba9d6}.plot .ochre{fill:#d6ab52}"
    ".plot .green{fill:#7cc39a}.plot .violet{fill:#c09ddb}"
    ".plot path.red{stroke:#ef8278}.plot path.blue{stroke:#7ba9d6}.plot path.ochre{stroke:#d6ab52}"
    ".plot path.green{stroke:#7cc39a}.plot path.violet{stroke:#c09ddb}"
    ".plot path.line{fill:none}}"
)


@dataclass(frozen=True)
class Scale:
    """Where on a line of pixels a value stands.

    Attributes:
        low, high: The values at its ends.
        begin, end: The pixels at its ends.
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
        """From a round number below all values to one above, at least that factor apart."""
        found = list(values)
        low, high = min(found), max(found)
        if high / low < least:
            middle = math.sqrt(low * high)
            low, high = middle / math.sqrt(least), middle * math.sqrt(least)
        return cls(low / 1.08, high * 1.08, begin, end)

    @classmethod
    def counting(cls, values: Iterable[float], begin: float, end: float) -> Scale:
        """From 0 to above all values."""
        return cls(0, max(1, *values) * 1.15, begin, end, is_logarithmic=False)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.is_logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int = 7) -> list[float]:
        """Round values on the scale, at most so many."""
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


def svg(width: float, height: float, label: str, parts: Iterable[str], *, alone: bool) -> str:
    """A picture.

    Args:
        width, height: In pixels.
        label: What it shows, for those who do not see it.
        parts: What is drawn.
        alone: Whether it is a file of its own, with a background and its style.
    """
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" width="{width:g}" '
        f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{_escaped(label)}">'
    )
    ground = f'<style>{STYLE}</style><rect class="page" width="100%" height="100%"/>'
    return "\n".join([head, *([ground] if alone else ()), *parts, "</svg>", ""])


def moved(parts: Iterable[str], x: float, y: float) -> Iterator[str]:
    """Parts drawn at another place."""
    yield f'<g transform="translate({x:g} {y:g})">'
    yield from parts
    yield "</g>"


def text(x: float, y: float, content: str, kind: str = "") -> str:
    """A line of text; `kind` holds the classes."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}">{_escaped(content)}</text>'


def across(x: float, top: float, bottom: float, kind: str = "rule") -> str:
    """A line from top to bottom."""
    return f'<path class="{kind}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>'


def along(y: float, left: float, right: float, kind: str = "rule") -> str:
    """A line from left to right."""
    return f'<path class="{kind}" d="M{left:.1f} {y:.1f}H{right:.1f}"/>'


def curve(points: Sequence[tuple[float, float]], kind: str) -> Iterator[str]:
    """Lines between neighbouring points; none for a single one."""
    if len(points) > 1:
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        yield f'<path class="line {kind}" d="M{drawn}"/>'


def spans(ends: Iterable[tuple[float, float, float]], tone: str) -> Iterator[str]:
    """Intervals from top to bottom: where each stands, and both its ends."""
    drawn = "".join(f"M{x:.1f} {low:.1f}V{high:.1f}" for x, low, high in ends if low != high)
    if drawn:
        yield f'<path class="span {tone}" d="{drawn}"/>'


def mark(x: float, y: float, kind: str, tip: str = "", size: float = 4) -> str:
    """A point: round for the first tone, square and turned for the others."""
    title = f"<title>{_escaped(tip)}</title>" if tip else ""
    if TONES[0] in kind:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}">{title}</circle>'
    if TONES[1] in kind:
        return (
            f'<rect class="{kind}" x="{x - size + 0.5:.1f}" y="{y - size + 0.5:.1f}" '
            f'width="{2 * size - 1:g}" height="{2 * size - 1:g}">{title}</rect>'
        )
    reach = size + 0.8
    return (
        f'<polygon class="{kind}" points="{x:.1f},{y - reach:.1f} {x + reach:.1f},{y:.1f} '
        f'{x:.1f},{y + reach:.1f} {x - reach:.1f},{y:.1f}">{title}</polygon>'
    )


def width_of(content: str) -> float:
    """About how wide a small text is, in pixels."""
    return 6.2 * len(content)


def _escaped(content: str) -> str:
    return escape(visible(content))
