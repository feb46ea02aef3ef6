"""Titles, sentences and tables of results and timelines, which Markdown and HTML share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chat_history_conformance.bench.measure.results import Measured, Result, Rival
from chat_history_conformance.bench.measure.statistics import fewest
from chat_history_conformance.bench.report import wording
from chat_history_conformance.bench.report.timeline import (
    Change,
    Series,
    Track,
    changes,
    commit_of,
)

__all__ = [
    "RESULTS_LEGEND",
    "RESULTS_TITLE",
    "TIMELINE_LEGEND",
    "TIMELINE_TITLE",
    "Cell",
    "Row",
    "Table",
    "change_sentence",
    "change_sentences",
    "notes",
    "of_result",
    "of_series",
    "timeline_headline",
]

RESULTS_TITLE = "Benchmarks of chat histories"

RESULTS_LEGEND = (
    "Times are medians. A ratio is our time divided by the time of the other, measured alternately "
    "in the same run: below 1, ours is faster. The floor is a raw client that does the least "
    "correct work. Growth is the power of the conversation's length that the time grows with: 0 "
    "does not grow, 1 grows in proportion. Memory is the most bytes that Python held at "
    "once during a read, with the messages that it returned. Every interval has a confidence of "
    f"99 %; with fewer than {fewest()} samples it is the range of all samples."
)

TIMELINE_TITLE = "Benchmarks over commits"

TIMELINE_LEGEND = (
    "A ratio is our time divided by the time of the floor, a raw client that does the least "
    "correct work, measured alternately in the same run. It can be compared between days on which "
    "a machine is not equally fast; median times cannot. A change is reported if the intervals of "
    "both commits, with a confidence of 99 % each, do not overlap. Lines connect results of one "
    "kind of machine, with one server and one Python."
)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: a large text, a small text next to it, and whether it is bad."""

    large: str
    small: str = ""
    is_bad: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: an operation, its mode if that is shown apart, and its cells."""

    name: str
    mode: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table: its description, the names of its columns, and its rows."""

    label: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def notes(result: Result) -> list[str]:
    """Return a sentence for each gap in a result."""
    return [
        *(f"Not measured: {line}" for line in wording.missing(result.operations)),
        *(f"Round trips not counted: {reason}" for reason in wording.uncounted(result)),
    ]


def of_result(result: Result) -> Table:
    """Return the table of a result."""
    names = wording.rivals(result.operations)
    columns = ["operation", "ours"]
    for name in names:
        columns += [name, f"ours / {name}"]
    has_growth = any(one.growth for one in result.operations)
    has_trips = any(one.round_trips is not None for one in result.operations)
    has_memory = any(one.peak_bytes is not None for one in result.operations)
    columns += ["growth"] * has_growth + ["memory"] * has_memory + ["round trips"] * has_trips
    rows = []
    for one in result.operations:
        cells = [Cell(wording.duration(one.median_s))]
        for name in names:
            cells += _rival_cells(one.rivals.get(name))
        cells += [_growth_cell(one)] * has_growth + [_memory_cell(one)] * has_memory
        cells += [_trips_cell(one)] * has_trips
        rows.append(Row(one.title, one.mode, tuple(cells)))
    return Table(f"the numbers of {result.backend}", tuple(columns), tuple(rows))


def _rival_cells(rival: Rival | None) -> list[Cell]:
    if rival is None:
        return [Cell(""), Cell("")]
    return [
        Cell(wording.duration(rival.median_s)),
        Cell(wording.digits(rival.ratio), wording.interval(rival.estimate)),
    ]


def _growth_cell(one: Measured) -> Cell:
    growth = one.growth
    if growth is None:
        return Cell("")
    return Cell(
        wording.power(growth.exponent), wording.powers(growth.estimate), is_bad=growth.too_fast
    )


def _trips_cell(one: Measured) -> Cell:
    others = (
        f"{name} {wording.round_trips(rival)}"
        for name, rival in one.rivals.items()
        if rival.round_trips is not None
    )
    return Cell(wording.round_trips(one), ", ".join(others))


def _memory_cell(one: Measured) -> Cell:
    floor = None if one.floor is None else one.floor.peak_bytes
    return Cell(
        wording.size(one.peak_bytes), "" if floor is None else f"floor {wording.size(floor)}"
    )


def timeline_headline(track: Track) -> str:
    """Return the number of commits, and the outcome of the newest one."""
    newest = track.series[0]
    number = wording.count(len(track.commits), "commit")
    at = commit_of(newest.latest).short
    if len(newest.results) < 2:
        return f"{number}; nothing to compare {at} with"
    before = commit_of(newest.results[-2]).short
    worse = sum(change.is_worse for change in changes(newest))
    if worse:
        return f"{number}; {wording.count(worse, 'operation')} got worse at {at} since {before}"
    return f"{number}; nothing got worse at {at} since {before}"


def change_sentences(track: Track) -> list[str]:
    """Return a sentence for each operation that changed at the newest commit."""
    return [change_sentence(change) for change in changes(track.series[0])]


def change_sentence(change: Change) -> str:
    """Describe a change: `add_1[sync]` got slower, 1.5 times its floor, before 1.1."""
    now, before = change.now, change.before
    parts = []
    if change.is_slower is not None and now.floor is not None and before.floor is not None:
        word = "slower" if change.is_slower else "faster"
        parts.append(
            f"got {word}, {wording.digits(now.floor.ratio)} times its floor "
            f"({wording.interval(now.floor.estimate)}), before "
            f"{wording.digits(before.floor.ratio)} ({wording.interval(before.floor.estimate)})"
        )
    if change.more_round_trips:
        trips = wording.count(now.round_trips or 0, "round trip")
        parts.append(f"takes {trips}, before {before.round_trips}")
    return f"`{now.label}` {' and '.join(parts)}"


def of_series(series: Series) -> Table:
    """Return the table of the newest commit next to the commit before."""
    now = series.latest
    before = series.results[-2] if len(series.results) > 1 else None
    at = [commit_of(one).short for one in (now, before) if one is not None]
    known = {one.label: one for one in before.operations} if before else {}
    rows = []
    for one in now.operations:
        sides = [one, known.get(one.label)][: len(at)]
        cells = (show(side) if side else "" for show in _COLUMNS.values() for side in sides)
        rows.append(Row(f"{one.title} ({one.mode})", "", tuple(map(Cell, cells))))
    return Table(
        f"the newest numbers of {now.backend}",
        ("operation", *(f"{name}, {id}" for name in _COLUMNS for id in at)),
        tuple(rows),
    )


def _ratio(one: Measured) -> str:
    if one.floor is None:
        return ""
    return f"{wording.digits(one.floor.ratio)} ({wording.interval(one.floor.estimate)})"


_COLUMNS: dict[str, Callable[[Measured], str]] = {
    "ours / floor": _ratio,
    "round trips": wording.round_trips,
    "median": lambda one: wording.duration(one.median_s),
}
