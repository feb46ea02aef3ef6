"""Benchmarks and comparisons as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.compare.decision import Comparison, VersionSummary
from chat_history_conformance.bench.measure.results import Measured, Rival
from chat_history_conformance.bench.report import comparison as words
from chat_history_conformance.bench.report import wording
from chat_history_conformance.reports.wording import visible

__all__ = ["LEGEND", "comparison", "table"]

LEGEND = (
    "Medians. A ratio is our time divided by the other's, measured alternately in this run: below "
    "1, ours is faster. The floor is the raw client.\nMemory is the most that Python held during a "
    "read. Growth is the power of the conversation's "
    "length that the time grows with; ! if it is more than allowed."
)


def table(backend: str, operations: Sequence[Measured]) -> Iterator[str]:
    """Yield the lines of one backend: medians, ratios, round trips, memory and growth.

    Args:
        backend: Its name.
        operations: The measured operations, one at least.
    """
    rivals = wording.rivals(operations)
    head = [backend, "", "ours", *(f"/ {name}" for name in rivals), "trips", "memory", "growth"]
    yield from _aligned([head, *(_row(one, rivals) for one in operations)], left=(0, 1))


def _row(one: Measured, rivals: Sequence[str]) -> list[str]:
    growth = one.growth
    return [
        one.title,
        one.mode,
        wording.duration(one.median_s),
        *(_ratio(one.rivals.get(name)) for name in rivals),
        wording.round_trips(one),
        wording.size(one.peak_bytes),
        ""
        if growth is None
        else f"{wording.power(growth.exponent)}{'!' if growth.too_fast else ' '}",
    ]


def _ratio(rival: Rival | None) -> str:
    if rival is None:
        return ""
    return f"{wording.digits(rival.ratio)} ({wording.interval(rival.estimate)})"


def comparison(comparison: Comparison) -> str:
    """Return a table for each backend; the headline comes last, next to the prompt."""
    lines = [f"base: {_side(comparison.base)}", f"head: {_side(comparison.head)}"]
    lines += [f"another difference: {visible(line)}" for line in words.differing(comparison)]
    for backend in comparison.backends:
        on = f" on {backend.server}" if backend.server else ""
        lines += ["", visible(f"{backend.name}{on}")]
        rows = [("operation", "base", "head", "ratio", "interval", "round trips", "verdict")]
        for operation in backend.operations:
            base, head = map(wording.duration, words.median_seconds(operation.counted))
            rows.append(
                (
                    visible(operation.name),
                    base,
                    head,
                    words.ratio(operation.counted.estimate.value),
                    words.interval(operation.counted),
                    words.round_trips(operation),
                    f"{words.mark(operation)} {words.verdict(operation)}",
                )
            )
        lines += (f"  {line}" for line in _aligned(rows, left=(0, len(rows[0]) - 1)))
        lines += [f"  {visible(line)}" for of, line in words.skipped(comparison) if of is backend]
    lines += ["", f"({words.legend(comparison)})", "", words.headline(comparison)]
    for backend, operation in comparison.regressions:
        name = visible(f"{backend.name} {operation.name}")
        lines.append(f"  {name} {words.sentence(operation)}")
    return "\n".join(lines) + "\n"


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    """Yield rows as lines; the columns named by `left` are aligned on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _side(side: VersionSummary) -> str:
    return visible(f"{side.asked}: {words.version(side)}")
