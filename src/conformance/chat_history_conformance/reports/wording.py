"""The words, symbols, groups and aligned lines that all formats of a report use.

This module holds no markup. Each format escapes the texts itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from chat_history_conformance.results.causes import causes, ranking
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Finding,
    Outcome,
)

__all__ = [
    "BRIEF",
    "QUIET",
    "STATUSES",
    "Group",
    "Piece",
    "Row",
    "Status",
    "Word",
    "aligned",
    "contracts",
    "facts",
    "family",
    "grouped",
    "labels",
    "name_parts",
    "other_reasons",
    "prose_lines",
    "ranked",
    "sections",
    "status",
    "tally",
    "visible",
]

Status = Outcome | Literal["informing"]
"""The outcome of a result, or `informing` for a failure that does not count."""

_SIMILAR = 0.6
"""The ratio above which two different lines are shown next to each other."""

_MOST_PAIRS = 400
_MOST_ALIGNED = 1_000_000


@dataclass(frozen=True)
class Word:
    """The symbol and the words for a status. The symbol is clear without colour."""

    symbol: str
    one: str
    many: str
    heading: str

    def words(self, number: int) -> str:
        """Return the words that follow `number`: `error` after 1, `errors` after 2."""
        return self.one if number == 1 else self.many


STATUSES: Mapping[Status, Word] = {
    "failed": Word("✗", "failed", "failed", "Failures"),
    "unexpected_pass": Word("↑", "unexpected pass", "unexpected passes", "Unexpected passes"),
    "error": Word("!", "error", "errors", "Errors"),
    "deviation": Word("≈", "deviation", "deviations", "Deviations"),
    "informing": Word(
        "i", "failed but not counted", "failed but not counted", "Failures that do not count"
    ),
    "not_run": Word("·", "not run", "not run", "Not run"),
    "not_applicable": Word("–", "not applicable", "not applicable", "Not applicable"),
    "passed": Word("✓", "passed", "passed", "Passed"),
}
"""Every status, the most serious first. Reports use this order."""

QUIET: frozenset[Status] = frozenset({"passed", "not_applicable"})
"""Statuses that need no attention."""


BRIEF: frozenset[Status] = frozenset({"not_applicable", "not_run"})
"""Statuses that reports show by their reason only."""


@dataclass(frozen=True)
class Group:
    """Results with one cause or one reason, to be shown once.

    Attributes:
        title: The cause or the reason in one line.
        results: The results.
        example: The result whose finding is shown.
    """

    title: str
    results: tuple[ContractResult, ...]
    example: ContractResult

    @property
    def finding(self) -> Finding | None:
        """The finding that is shown."""
        return self.example.finding

    @property
    def shared(self) -> bool:
        """True if results of several contracts have the same cause."""
        return self.finding is not None and len({result.id for result in self.results}) > 1

    @property
    def others(self) -> list[ContractResult]:
        """One result of each other contract."""
        first = {result.id: result for result in reversed(self.results)}
        first.pop(self.example.id)
        return [result for result in self.results if first.get(result.id) is result]

    @property
    def size(self) -> str:
        """The number of results, in words. Each mode counts, as it does in the verdict."""
        number = len(self.results)
        if self.finding is None:
            return contracts(number)
        noun = "deviation" if self.example.outcome == "deviation" else "failure"
        return f"{number:,} {noun}{'s'[: number != 1]}"

    def own_text(self, result: ContractResult) -> str:
        """Return the summary of another result, or an empty text if the group shows the same."""
        shown = {self.title, self.finding.summary if self.finding else ""}
        summary = result.finding.summary if result.finding else ""
        return "" if summary in shown else summary

    def labels_of(self, result: ContractResult) -> str:
        """Return the contract of a result with all its modes in this group."""
        return labels(other for other in self.results if other.id == result.id)[0]


@dataclass(frozen=True)
class Row:
    """An expected line next to a returned line. None if there is no such line."""

    expected: str | None
    returned: str | None

    @property
    def mark(self) -> str:
        """A blank for equal lines, `-` for a missing line, `+` for an extra one, otherwise `≠`."""
        if self.expected == self.returned:
            return " "
        if self.returned is None:
            return "-"
        return "+" if self.expected is None else "≠"


def status(result: ContractResult) -> Status:
    """Return the status of `result`."""
    if result.informs and result.outcome in ("failed", "unexpected_pass"):
        return "informing"
    return result.outcome


def family(contract: str) -> str:
    """Return the family of a contract id, which is the part before the dot."""
    return contract.partition(".")[0]


def tally(results: Iterable[ContractResult]) -> dict[Status, int]:
    """Count the results of each status that occurs, the most serious status first."""
    counts = Counter(status(result) for result in results)
    return {name: counts[name] for name in STATUSES if counts[name]}


def sections(backend: BackendReport) -> dict[Status, list[Group]]:
    """Return everything to show about `backend` except passes, the most serious status first.

    Results with a finding are grouped by cause, and the cause with most contracts comes first.
    Other results are grouped by reason.
    """
    by_status: dict[Status, list[ContractResult]] = {name: [] for name in STATUSES}
    for result in backend.contracts:
        by_status[status(result)].append(result)
    del by_status["passed"]
    return {name: _groups(results) for name, results in by_status.items() if results}


def _groups(results: Sequence[ContractResult]) -> list[Group]:
    groups = grouped(results)
    by_reason: dict[str, list[ContractResult]] = {}
    for result in results:
        if result.finding is None:
            by_reason.setdefault(result.reason or "no reason was recorded", []).append(result)
    groups += [Group(reason, tuple(members), members[0]) for reason, members in by_reason.items()]
    # The sort is stable: groups of the same size stay in the order of the catalogue.
    return sorted(groups, key=lambda group: -len(group.results))


def grouped(results: Iterable[ContractResult]) -> list[Group]:
    """Return the results that have a finding, grouped by cause."""
    groups = []
    for cause in causes(results):
        alone = len({result.id for result in cause.results}) == 1
        title = cause.finding.summary if alone else cause.title
        groups.append(Group(title or "no summary was recorded", cause.results, cause.example))
    return groups


def ranked(groups: Iterable[Group]) -> str:
    """Return how much the causes of failures explain, and where to start."""
    return ranking(causes(result for group in groups for result in group.results))


def other_reasons(group: Group) -> list[str]:
    """Return the reasons of a group's results, except its title and summaries of findings."""
    reasons = dict.fromkeys(
        result.reason
        for result in group.results
        if result.reason and not (result.finding and result.reason == result.finding.summary)
    )
    return [reason for reason in reasons if reason != group.title]


def contracts(number: int, adjective: str = "") -> str:
    """Return `1 contract` or `31 contracts`. Each mode counts, as it does in the verdict."""
    return f"{number:,} {adjective}contract{'s'[: number != 1]}"


def labels(results: Iterable[ContractResult]) -> list[str]:
    """Return each contract once, with its modes: `ordering.one_batch[sync,async]`."""
    modes: dict[str, list[str]] = {}
    for result in results:
        modes.setdefault(result.id, []).append(result.mode)
    return [f"{contract}[{','.join(ran)}]" for contract, ran in modes.items()]


def aligned(expected: Sequence[str], returned: Sequence[str]) -> list[Row]:
    """Return the lines of `expected` next to those of `returned`, with equal lines in one row."""
    if len(expected) * len(returned) > _MOST_ALIGNED:
        # Aligning takes quadratic time, so the lines of long lists are paired by number.
        return [Row(*pair) for pair in zip_longest(expected, returned)]
    rows = []
    matcher = SequenceMatcher(a=expected, b=returned, autojunk=False)
    for tag, first, last, start, stop in matcher.get_opcodes():
        left, right = expected[first:last], returned[start:stop]
        if tag == "replace":
            rows += _paired(left, right)
        else:
            rows += [Row(*pair) for pair in zip_longest(left, right)]
    return rows


def _paired(expected: Sequence[str], returned: Sequence[str]) -> list[Row]:
    """Return lines of which no two are equal, each next to the most similar line if there is one.

    An altered message then appears next to the original, and not next to a neighbour.
    """
    if len(expected) * len(returned) <= _MOST_PAIRS:
        pairs = [(i, j) for i in range(len(expected)) for j in range(len(returned))]
        ratios = {(i, j): _similarity(expected[i], returned[j]) for i, j in pairs}
        i, j = max(pairs, key=ratios.__getitem__, default=(0, 0))
        if ratios.get((i, j), 0.0) >= _SIMILAR:
            return [
                *_paired(expected[:i], returned[:j]),
                Row(expected[i], returned[j]),
                *_paired(expected[i + 1 :], returned[j + 1 :]),
            ]
    return [Row(*pair) for pair in zip_longest(expected, returned)]


def _similarity(left: str, right: str) -> float:
    """Return a ratio from 0 to 1. Only the first 200 characters of long lines are compared."""
    return SequenceMatcher(a=left[:200], b=right[:200], autojunk=False).ratio()


def visible(text: str, *, keep: str = "") -> str:
    """Return `text` with every unprintable character replaced by its Python escape.

    Control and bidirectional characters, unusual blanks and lone surrogates become visible. The
    result can be encoded and put in XML.

    Args:
        text: Any text.
        keep: Characters to keep, such as the newlines of a script.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1]
        for character in text
    )


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return `values` as pairs of text. A nested value is named by both keys: `server kafka`."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += [(f"{key} {inner}", text) for inner, text in facts(value)]
        else:
            pairs.append((str(key), "none" if value is None else str(value)))
    return pairs


class Piece(NamedTuple):
    """A piece of a line: code or text."""

    text: str
    code: bool


def prose_lines(text: str) -> list[list[Piece]]:
    """Return the lines of `text` in pieces; text in single backticks is code."""
    return [
        [
            Piece(piece[1:-1], True) if index % 2 else Piece(piece, False)
            for index, piece in enumerate(re.split(r"((?<!`)`[^`]+`(?!`))", line))
        ]
        for line in visible(text.strip("\n"), keep="\n").split("\n")
    ]


def name_parts(name: str) -> list[str]:
    """Return a dotted name in parts, between which a line may break."""
    return re.split(r"(?<=[.:_/-])(?=[^.:_/-])", visible(name))
