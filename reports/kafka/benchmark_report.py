"""What was measured of the Kafka history as a page, and as which limits hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmark_pages import CONTENDERS, TIMES, Limits, Measured, limits, line, number, times

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
    held = Limits()
    hold = held.hold
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
    return held.found


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
            *limits(measured),
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
    yield from TIMES
    for row in measured["rows"]:
        yield times(row)
        if row["name"] == "add_1_in_threads":
            tails = {who: row[who]["p99_ms"] for who in CONTENDERS}
            yield line(
                f"{row['title']}: 99th percentile",
                *map(number, tails.values()),
                number(tails["ours"] / tails["floor"]),
                number(tails["upstream"] / tails["ours"]),
            )
    yield ""


def _after_clear(measured: Measured) -> Iterator[str]:
    yield "## Adding a message on the same instance after a clear"
    yield ""
    yield "| | `add_messages` took, ms | raised | the message is stored |"
    yield "|---|--:|---|---|"
    for who, found in measured["after_clear"].items():
        stored = "yes" if found["stored"] else "**no**"
        yield line(who, number(found["ms"]), found["raised"] or "nothing", stored)
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
        yield line(who, *(str(found[name]) for name in ("handles", "one", "open", "closed")))
    yield ""


def _by_name(measured: Measured) -> dict[str, Any]:
    return {row["name"]: row for row in measured["rows"]}
