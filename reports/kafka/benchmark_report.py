"""What was measured as a table, as a picture, and as which limits hold: pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

Measured = Mapping[str, Any]

ADD_LIMIT = 1.5
READ_LIMIT = 1.3
OPEN_LIMIT_MS = 5.0
CLIFF = 1.5
"""What is more of a tail than so many times the floor's is a latency cliff."""
SAME = 1.3
"""What differs by less than this costs the same."""


def judge(measured: Measured) -> list[dict[str, Any]]:
    """Hold the limits that were set for the history against what was measured.

    Returns:
        For each limit its text, what was measured, the bound, and whether it holds.
    """
    rows = _by_name(measured)
    found = []

    def hold(limit: str, value: float, bound: float, unit: str = "times") -> None:
        found.append(
            {
                "limit": limit,
                "measured": value,
                "bound": bound,
                "unit": unit,
                "holds": value <= bound,
            }
        )

    for name, bound in (
        ("add_1", ADD_LIMIT),
        ("add_100", ADD_LIMIT),
        ("read_1000", READ_LIMIT),
        ("read_10000", READ_LIMIT),
        ("read_1000_in_a_row", READ_LIMIT),
    ):
        hold(f"{rows[name]['title']}: ours to the floor", rows[name]["ours_to_floor"], bound)
    threads = rows["add_1_in_threads"]
    tails = [threads[who]["p99_ms"] / threads[who]["median_ms"] for who in ("ours", "floor")]
    cliff = f"{threads['title']}: 99th percentile to the median, to the floor's (no latency cliff)"
    hold(cliff, tails[0] / tails[1], CLIFF)
    for name in ("open", "open_in_a_crowd"):
        hold(rows[name]["title"], rows[name]["ours"]["median_ms"], OPEN_LIMIT_MS, "ms")
    crowd, alone = rows["read_10_in_a_crowd"], rows["read_10"]
    # To the floor, for minutes lie between the two, and a machine is not the same all the time.
    change = crowd["ours_to_floor"] / alone["ours_to_floor"]
    hold(f"{crowd['title']}: ours to the floor, to the same without them", change, SAME)
    ours = measured["threads"].get("ours")
    if ours is not None:
        hold("threads left after the last `close()`", ours["closed"], 0, "threads")
        more = f"threads more with {ours['handles']} open handles than with one (shared clients)"
        hold(more, ours["open"] - ours["one"], 0, "threads")
    return found


def verdicts(measured: Measured) -> Iterator[str]:
    """Each limit on a line: whether it holds, what was measured, the bound."""
    for one in measured["limits"]:
        word = "holds" if one["holds"] else "DOES NOT HOLD"
        yield f"{word}: {one['limit']}: {_amount(one, 'measured')}, limit {_amount(one, 'bound')}"


def markdown(measured: Measured) -> str:
    """The whole measurement for reading."""
    return "\n".join(
        [
            "# Benchmark of the Kafka history",
            "",
            *_preface(measured),
            "![Ours to the floor and upstream to ours](benchmark.svg)",
            "",
            *_times(measured),
            *_limits(measured),
            *_after_clear(measured),
            *_threads(measured),
        ]
    )


def _preface(measured: Measured) -> Iterator[str]:
    found = measured["environment"]
    yield (
        f"Medians in milliseconds on {found['system']} with {found['cores']} cores: Kafka "
        f"{found['kafka']}, Python {found['python']}, confluent-kafka {found['confluent-kafka']} "
        f"(librdkafka {found['librdkafka']}), langchain-core {found['langchain-core']}, "
        f"langchain-community {found['langchain-community']}; messages of "
        f"{found['bytes_per_message']} bytes of JSON. What counts are the ratios: ours, floor and "
        "upstream did each operation by turns, in one run. What floor and upstream are and how to "
        "measure again is in [README.md](README.md); quartiles and numbers of samples are in "
        "[benchmark.json](benchmark.json)."
    )
    yield ""


def _times(measured: Measured) -> Iterator[str]:
    yield "| operation | upstream | ours | floor | ours / floor | upstream / ours |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in measured["rows"]:
        times = [_time(row, who, "median_ms") for who in ("upstream", "ours", "floor")]
        ratios = [_ratio(row, name) for name in ("ours_to_floor", "upstream_to_ours")]
        yield _line(row["title"], *times, *ratios)
        if row["name"] == "add_1_in_threads":
            tails = {who: row[who]["p99_ms"] for who in ("ours", "floor", "upstream") if who in row}
            yield _line(
                f"{row['title']}: 99th percentile",
                *(_number(tails[who]) for who in ("upstream", "ours", "floor")),
                _number(tails["ours"] / tails["floor"]),
                _number(tails["upstream"] / tails["ours"]),
            )
    yield ""


def _limits(measured: Measured) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield "| limit | measured | at most | holds |"
    yield "|---|--:|--:|---|"
    for one in measured["limits"]:
        holds = "yes" if one["holds"] else "**no**"
        yield _line(one["limit"], _amount(one, "measured"), _amount(one, "bound"), holds)
    yield ""


def _after_clear(measured: Measured) -> Iterator[str]:
    yield "## Adding a message on the same instance after a clear"
    yield ""
    yield "| | `add_messages` took, ms | raised | the message is stored |"
    yield "|---|--:|---|---|"
    for who, found in measured["after_clear"].items():
        stored = "yes" if found["stored"] else "**no**"
        yield _line(who, _number(found["ms"]), found["raised"] or "nothing", stored)
    yield ""


def _threads(measured: Measured) -> Iterator[str]:
    yield "## Threads"
    yield ""
    if not measured["threads"]:
        yield "Not counted: this platform does not show a process the threads of its libraries."
        yield ""
        return
    yield "In a process of its own, each history written to and read once:"
    yield ""
    yield "| | open handles | threads with one | threads with all | left after all were closed |"
    yield "|---|--:|--:|--:|--:|"
    for who, found in measured["threads"].items():
        yield _line(who, *(str(found[name]) for name in ("handles", "one", "open", "closed")))
    yield ""


_LEFT, _RIGHT, _TOP, _ROW, _BAR, _BOTTOM = 430, 70, 62, 32, 11, 34
_WIDTH = 980


def picture(measured: Measured) -> str:
    """The ratios as bars on a logarithmic scale, an SVG that follows the reader's light or dark."""
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
        'aria-label="Times of the Kafka history as ratios, on a logarithmic scale">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="{_LEFT}" y="22">Ratios of median times, logarithmic</text>',
    ]
    for number, (name, label) in enumerate(_BARS):
        left = _LEFT + number * 265
        lines.append(f'<rect class="{name}" x="{left}" y="33" width="11" height="11"/>')
        lines.append(f'<text x="{left + 17}" y="42.5">{label}</text>')
    for power in range(low, high + 1):
        x = across(10.0**power)
        kind = "one" if power == 0 else "rule"
        lines.append(f'<path class="{kind}" d="M{x:.1f} {_TOP - 4}V{bottom}"/>')
        lines.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}">{10.0**power:g}</text>')
    for number, row in enumerate(rows):
        y = float(_TOP + number * _ROW)
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
    yield f'<text class="number" x="{end + 5:.1f}" y="{y + 9.5}">{_number(ratio)}</text>'


_STYLE = (
    "text{font:12px system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;fill:#3c3a36}"
    ".title{font-weight:600}.row{text-anchor:end}.tick{text-anchor:middle;fill:#6f6b64}"
    ".number{font-size:11px}.page{fill:#fdfcfa}.rule{stroke:#e2ded6}.one{stroke:#8b867d}"
    ".ours_to_floor{fill:#a8322a}.upstream_to_ours{fill:#5b7fa6}"
    "@media(prefers-color-scheme:dark){text{fill:#d5d2cb}.tick{fill:#9a958b}.page{fill:#1a1917}"
    ".rule{stroke:#33312e}.one{stroke:#8b867d}.ours_to_floor{fill:#ef8278}"
    ".upstream_to_ours{fill:#7ba3cf}}"
)


def _by_name(measured: Measured) -> dict[str, Any]:
    return {row["name"]: row for row in measured["rows"]}


def _time(row: Mapping[str, Any], who: str, name: str) -> str:
    return _number(row[who][name]) if who in row else ""


def _ratio(row: Mapping[str, Any], name: str) -> str:
    return _number(row[name]) if name in row else ""


def _amount(one: Mapping[str, Any], name: str) -> str:
    unit = {"times": "x", "ms": " ms", "threads": ""}[one["unit"]]
    return f"{_number(one[name])}{unit}"


def _number(value: float) -> str:
    """Three digits, for a time as for a ratio."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
