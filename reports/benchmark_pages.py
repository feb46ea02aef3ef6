"""What every benchmark's report has: the table of times, the limits, and the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

Measured = Mapping[str, Any]


class Limits:
    """The limits of one history, each held against what was measured."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def hold(self, limit: str, value: float, bound: float, unit: str = "times") -> None:
        """Note what was measured, the bound, and whether it holds.

        Args:
            limit: What the limit is about.
            value: What was measured.
            bound: What it may be at most.
            unit: `times`, `ms`, or what is counted.
        """
        self.found.append(
            {
                "limit": limit,
                "measured": value,
                "bound": bound,
                "unit": unit,
                "holds": value <= bound,
            }
        )


def verdicts(measured: Measured) -> Iterator[str]:
    """Each limit on a line: whether it holds, what was measured, the bound."""
    for one in measured["limits"]:
        word = "holds" if one["holds"] else "DOES NOT HOLD"
        yield f"{word}: {one['limit']}: {_amount(one, 'measured')}, limit {_amount(one, 'bound')}"


TIMES = (
    "| operation | upstream | ours | floor | ours / floor | upstream / ours |",
    "|---|--:|--:|--:|--:|--:|",
)


def times(row: Mapping[str, Any]) -> str:
    """The medians of one operation, and their ratios, as a line of the table under `TIMES`."""
    shown = [number(row[who]["median_ms"]) if who in row else "" for who in CONTENDERS]
    ratios = [number(row[name]) if name in row else "" for name, _ in _BARS]
    return line(row["title"], *shown, *ratios)


CONTENDERS = ("upstream", "ours", "floor")


def limits(measured: Measured) -> Iterator[str]:
    """The limits and which of them hold, as a section."""
    yield "## Limits"
    yield ""
    yield "| limit | measured | at most | holds |"
    yield "|---|--:|--:|---|"
    for one in measured["limits"]:
        holds = "yes" if one["holds"] else "**no**"
        yield line(one["limit"], _amount(one, "measured"), _amount(one, "bound"), holds)
    yield ""


_LEFT, _RIGHT, _TOP, _ROW, _BAR, _BOTTOM = 430, 70, 62, 32, 11, 34
_WIDTH = 980


def picture(measured: Measured, of: str) -> str:
    """The ratios as bars on a logarithmic scale, an SVG that follows the reader's light or dark.

    Args:
        measured: What was measured.
        of: What is measured, such as "the Kafka history".
    """
    rows = [row for row in measured["rows"] if {"ours_to_floor", "upstream_to_ours"} & row.keys()]
    ratios = [row[name] for row in rows for name, _ in _BARS if name in row]
    low = math.floor(math.log10(min(0.9, *ratios)))
    high = math.ceil(math.log10(max(ratios)))
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)

    def across(ratio: float) -> float:
        return _LEFT + (math.log10(ratio) - low) * scale

    height = _TOP + _ROW * len(rows) + _BOTTOM
    bottom = height - _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Times of {of} as ratios, on a logarithmic scale">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="{_LEFT}" y="22">Ratios of median times, logarithmic</text>',
    ]
    for place, (name, label) in enumerate(_BARS):
        left = _LEFT + place * 265
        lines.append(f'<rect class="{name}" x="{left}" y="33" width="11" height="11"/>')
        lines.append(f'<text x="{left + 17}" y="42.5">{label}</text>')
    for power in range(low, high + 1):
        x = across(10.0**power)
        kind = "one" if power == 0 else "rule"
        lines.append(f'<path class="{kind}" d="M{x:.1f} {_TOP - 4}V{bottom}"/>')
        lines.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}">{10.0**power:g}</text>')
    for position, row in enumerate(rows):
        y = float(_TOP + position * _ROW)
        title = escape(row["title"].replace("`", ""))
        lines.append(f'<text class="row" x="{_LEFT - 12}" y="{y + 16}">{title}</text>')
        shown = [name for name, _ in _BARS if name in row]
        for place, name in enumerate(shown):
            middle = y + 13.5 + (place - (len(shown) - 1) / 2) * (_BAR + 1)
            lines.extend(_bar(name, row[name], middle - _BAR / 2, across))
    return "\n".join([*lines, "</svg>", ""])


_BARS = (
    ("ours_to_floor", "ours / floor: 1 is what raw clients take"),
    ("upstream_to_ours", "upstream / ours: above 1, ours is faster"),
)


def _bar(kind: str, ratio: float, y: float, across: Callable[[float], float]) -> Iterable[str]:
    begin, end = sorted((across(1.0), across(ratio)))
    yield (
        f'<rect class="{kind}" x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" '
        f'height="{_BAR}"/>'
    )
    # Right of the bar, also of one that goes to the left: there is always room.
    yield f'<text class="number" x="{end + 5:.1f}" y="{y + 9.5}">{number(ratio)}</text>'


_STYLE = (
    "text{font:12px system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;fill:#3c3a36}"
    ".title{font-weight:600}.row{text-anchor:end}.tick{text-anchor:middle;fill:#6f6b64}"
    ".number{font-size:11px}.page{fill:#fdfcfa}.rule{stroke:#e2ded6}.one{stroke:#8b867d}"
    ".ours_to_floor{fill:#a8322a}.upstream_to_ours{fill:#5b7fa6}"
    "@media(prefers-color-scheme:dark){text{fill:#d5d2cb}.tick{fill:#9a958b}.page{fill:#1a1917}"
    ".rule{stroke:#33312e}.one{stroke:#8b867d}.ours_to_floor{fill:#ef8278}"
    ".upstream_to_ours{fill:#7ba3cf}}"
)


def _amount(one: Mapping[str, Any], name: str) -> str:
    unit = {"times": "x", "ms": " ms"}.get(one["unit"], "")
    return f"{number(one[name])}{unit}"


def number(value: float) -> str:
    """Three digits, for a time as for a ratio."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
