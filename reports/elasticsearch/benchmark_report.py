"""What was measured of the Elasticsearch history as a page, and as which limits hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmark_pages import CONTENDERS, TIMES, Limits, Measured, limits, line, times

TO_THE_FLOOR = 1.3
TURN_REQUESTS = 5
TURN_TO_UPSTREAM = 0.6


def judge(measured: Measured) -> list[dict[str, Any]]:
    """Hold the limits that were set for the history against what was measured.

    Returns:
        For each limit its text, what was measured, the bound, and whether it holds.
    """
    rows = {row["name"]: row for row in measured["rows"]}
    held = Limits()
    for name in (
        *("add_1", "add_10", "add_100"),
        *("read_10", "read_1000", "read_5000", "read_20000"),
        "clear_1000",
    ):
        row = rows[name]
        held.hold(f"{row['title']}: ours to the floor", row["ours_to_floor"], TO_THE_FLOOR)
    turn = rows["chat_turn"]
    to_upstream = turn["ours"]["median_ms"] / turn["upstream"]["median_ms"]
    held.hold(f"{turn['title']}: ours to upstream", to_upstream, TURN_TO_UPSTREAM)
    for name, bound in (
        ("chat_turn", TURN_REQUESTS),
        ("add_100", 1),
        # A refresh beside it, so that what others wrote is seen.
        ("last_10", 2),
        # The floor's pages are as large as the index allows, and it knows which is the last one.
        ("read_20000", max(rows["read_20000"]["floor"]["requests"])),
    ):
        most = max(rows[name]["ours"]["requests"])
        held.hold(f"{rows[name]['title']}: requests", most, bound, "requests")
    return held.found


def markdown(measured: Measured) -> str:
    """The whole measurement for reading."""
    return "\n".join(
        [
            "# Benchmark of the Elasticsearch history",
            "",
            *_preface(measured),
            "![Ours to the floor and upstream to ours](benchmark.svg)",
            "",
            *TIMES,
            *map(times, measured["rows"]),
            "",
            *limits(measured),
            *_requests(measured),
        ]
    )


def _preface(measured: Measured) -> Iterator[str]:
    found = measured["environment"]
    yield (
        f"Medians in milliseconds on {found['system']} with {found['cores']} cores: Elasticsearch "
        f"{found['server']}, Python {found['python']}, elasticsearch {found['elasticsearch']}, "
        f"langchain-core {found['langchain-core']}, langchain-elasticsearch "
        f"{found['langchain-elasticsearch']}; messages of {found['bytes_per_message']} bytes of "
        "JSON. What counts are the ratios: ours, floor and upstream did each operation by turns, "
        "in one run. What floor and upstream are and how to measure again is in "
        "[README.md](README.md); quartiles and numbers of samples are in "
        "[benchmark.json](benchmark.json)."
    )
    yield ""


def _requests(measured: Measured) -> Iterator[str]:
    yield "## Requests"
    yield ""
    yield "Counted where they leave the client, in the same run, repeated attempts included:"
    yield ""
    yield "| operation | upstream | ours | floor |"
    yield "|---|--:|--:|--:|"
    for row in measured["rows"]:
        counts = [_count(row.get(who, {})) for who in CONTENDERS]
        if any(counts):
            yield line(row["title"], *counts)
    yield ""


def _count(found: Mapping[str, Any]) -> str:
    counts = found.get("requests", [])
    return " to ".join(f"{count:,}" for count in sorted({*counts[:1], *counts[-1:]}))
