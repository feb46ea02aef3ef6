"""What a run that measures says on a terminal, beside pytest-benchmark's table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.measure.results import Measured, Rival
from chat_history_conformance.bench.report import wording as telling

LEGEND = (
    "Medians; a ratio is ours / other, by turns in this run: below 1 ours is faster. The floor is "
    "the raw client.\nGrowth: the power of the conversation's length that the time grows with; ! "
    "where that is more than allowed."
)


def table(backend: str, operations: Sequence[Measured]) -> Iterator[str]:
    """The operations of one backend: medians, ratios, round trips and growth, aligned.

    Args:
        backend: Its name.
        operations: What was measured of it, one at least.
    """
    names = dict.fromkeys(name for one in operations for name in one.rivals)
    rivals = sorted(names, key=lambda name: name != "floor")
    head = [backend, "", "ours", *(f"/ {name}" for name in rivals), "trips", "growth"]
    rows = [head, *(_row(one, rivals) for one in operations)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = (
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _row(one: Measured, rivals: Sequence[str]) -> list[str]:
    grows = one.growth
    return [
        one.title,
        one.mode,
        telling.duration(one.median_s.value),
        *(_ratio(one.rivals.get(name)) for name in rivals),
        telling.round_trips(one),
        ""
        if grows is None
        else f"{telling.power(grows.exponent.value)}{'!' if grows.too_fast else ' '}",
    ]


def _ratio(rival: Rival | None) -> str:
    if rival is None:
        return ""
    return f"{telling.digits(rival.ratio.value)} ({telling.interval(rival.ratio)})"
