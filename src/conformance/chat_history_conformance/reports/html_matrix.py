"""The matrix of contracts and backends, as values for the template `matrix.html`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chat_history_conformance.reports import wording
from chat_history_conformance.reports.html_cards import Amount, amounts
from chat_history_conformance.reports.html_findings import anchors_of
from chat_history_conformance.reports.wording import QUIET, STATUSES, Status, Word
from chat_history_conformance.results.model import (
    MODES,
    BackendReport,
    ContractResult,
    Mode,
    Rules,
)

__all__ = ["Cell", "Family", "Matrix", "ModeColumn", "Row", "matrix"]

_LETTERS: Mapping[Mode, str] = {"sync": "S", "async": "A", "mixed": "M", "process": "P"}
_MODE_WORDS: Mapping[Mode, str] = {
    "sync": "sync",
    "async": "async",
    "mixed": "sync and async, alternating",
    "process": "second process",
}
_COLUMN_REM = 2.0
_NARROWEST_BACKEND_REM = 7.0
_FIRST_COLUMN_REM = 21.0
_PAGE_REM = 74.0
_LONGEST_TITLE = 300


@dataclass(frozen=True)
class ModeColumn:
    """The heading of a column.

    Attributes:
        mode: The mode.
        letter: The letter that the heading shows.
        words: The words that the key shows for the letter.
        width_rem: The width of the column in rem.
        first: True for the first column of a backend.
    """

    mode: Mode
    letter: str
    words: str
    width_rem: float
    first: bool


@dataclass(frozen=True)
class Cell:
    """One contract in one mode on one backend. Without a status, the cell is empty."""

    first: bool
    status: Status | None = None
    title: str = ""
    symbol: str = ""
    words: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Row:
    """One contract.

    Attributes:
        contract: Its id.
        title: The title of the rule, or an empty text if it is not known.
        level: The level, or an empty text for `must`.
        statuses: The statuses that occur, separated by spaces.
        calm: True if no cell needs attention. The row is folded then.
        cells: The cells of all backends.
    """

    contract: str
    title: str
    level: str
    statuses: str
    calm: bool
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Family:
    """One family of contracts.

    Attributes:
        name: Its name.
        size: The number of its contracts, in words.
        folds: True if some of its rows are folded.
        tallies: For each backend, the number of contracts with each status that is shown.
        rows: Its contracts.
    """

    name: str
    size: str
    folds: bool
    tallies: Sequence[Sequence[Amount]]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Matrix:
    """The whole matrix.

    Attributes:
        backends: The names of the backends.
        modes: The columns of each backend.
        statuses: The statuses that occur.
        scroll_below_rem: The width of the window in rem below which the matrix scrolls in its own
            frame, or None if it always does. Above it, the head of the table sticks to the window.
        families: The families of contracts.
    """

    backends: Sequence[str]
    modes: Sequence[ModeColumn]
    statuses: Sequence[tuple[Status, Word]]
    scroll_below_rem: float | None
    families: Sequence[Family]


class _Column(NamedTuple):
    """The results of one backend, and the anchors of its findings."""

    results: Mapping[tuple[str, Mode], ContractResult]
    anchors: Mapping[tuple[str, Mode], str]


def matrix(backends: Sequence[BackendReport], rules: Rules) -> Matrix | None:
    """Return the matrix, or None if no backend has a result."""
    ran = {result.mode for backend in backends for result in backend.contracts}
    modes = [mode for mode in MODES if mode in ran]
    if not modes:
        return None
    backend_rem = max(len(modes) * _COLUMN_REM, _NARROWEST_BACKEND_REM)
    width = backend_rem / len(modes)
    all_rem = _FIRST_COLUMN_REM + len(backends) * (backend_rem + 1)
    columns = [
        _Column(
            {(result.id, result.mode): result for result in backend.contracts},
            anchors_of(index, backend),
        )
        for index, backend in enumerate(backends)
    ]
    occurring = wording.tally(result for backend in backends for result in backend.contracts)
    return Matrix(
        backends=[backend.name for backend in backends],
        modes=[
            # The first column of a backend includes the gap to the backend before it.
            ModeColumn(
                mode,
                _LETTERS[mode],
                _MODE_WORDS[mode],
                width + (mode == modes[0]),
                mode == modes[0],
            )
            for mode in modes
        ],
        statuses=[(status, STATUSES[status]) for status in occurring],
        scroll_below_rem=all_rem + 4 if all_rem <= _PAGE_REM else None,
        families=[
            _family(family, contracts, modes, columns, rules)
            for family, contracts in _by_family(backends).items()
        ],
    )


def _by_family(backends: Sequence[BackendReport]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for contract in dict.fromkeys(r.id for backend in backends for r in backend.contracts):
        families.setdefault(wording.family(contract), []).append(contract)
    return families


def _family(
    family: str,
    contracts: Sequence[str],
    modes: Sequence[Mode],
    columns: Sequence[_Column],
    rules: Rules,
) -> Family:
    rows = [_row(contract, modes, columns, rules) for contract in contracts]
    tallies = [
        _shown_tally(
            result for result in column.results.values() if wording.family(result.id) == family
        )
        for column in columns
    ]
    size = wording.contracts(len(contracts))
    return Family(family, size, any(row.calm for row in rows), tallies, rows)


def _shown_tally(results: Iterable[ContractResult]) -> list[Amount]:
    """Return the statuses that need attention, or all of them if none does."""
    tally = wording.tally(results)
    shown = {status: number for status, number in tally.items() if status not in QUIET} or tally
    if set(shown) > {"passed"}:
        shown.pop("not_applicable", None)
    return amounts(shown)


def _row(contract: str, modes: Sequence[Mode], columns: Sequence[_Column], rules: Rules) -> Row:
    ran = [
        column.results[contract, mode]
        for column in columns
        for mode in modes
        if (contract, mode) in column.results
    ]
    statuses = wording.tally(ran)
    rule = rules.get(contract)
    return Row(
        contract=contract,
        title=_clipped(rule.title) if rule else "",
        level="" if ran[0].level == "must" else ran[0].level,
        statuses=" ".join(statuses),
        calm=set(statuses) <= QUIET,
        cells=[
            _cell(column, contract, mode, mode == modes[0]) for column in columns for mode in modes
        ],
    )


def _cell(column: _Column, contract: str, mode: Mode, first: bool) -> Cell:
    result = column.results.get((contract, mode))
    if result is None:
        return Cell(first)
    status = wording.status(result)
    word = STATUSES[status]
    title = f"{result.label}: {word.one}"
    if result.examples:
        title += f", {result.examples} example{'s'[: result.examples != 1]}"
    if result.duration_s:
        title += f" in {result.duration_s:.2g} s"
    because = result.finding.summary if result.finding else result.reason
    if because:
        title += f": {because}"
    anchor = column.anchors.get((contract, mode), "")
    return Cell(first, status, _clipped(title), word.symbol, word.one, anchor)


def _clipped(text: str) -> str:
    shown = wording.visible(text)
    return shown if len(shown) <= _LONGEST_TITLE else f"{shown[:_LONGEST_TITLE]} …"
