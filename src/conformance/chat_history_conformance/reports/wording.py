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
    "labels",
    "name_parts",
    "other_reasons",
    "prose_lines",
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
    """Results that share a reason, to be shown once.

    Attributes:
        title: The reason in one line.
        results: The results.
        finding: The shortest of their findings.
        shared: True if the findings name the same cause. The title is that cause then.
    """

    title: str
    results: tuple[ContractResult, ...]
    finding: Finding | None
    shared: bool = False


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


def _groups(results: Iterable[ContractResult]) -> list[Group]:
    by_key: dict[object, list[ContractResult]] = {}
    for result in results:
        by_key.setdefault(_key(result), []).append(result)
    groups = [_group(members) for members in by_key.values()]
    # The sort is stable: groups of the same size stay in the order of the catalogue.
    return sorted(groups, key=lambda group: -len(group.results))


def _key(result: ContractResult) -> object:
    finding = result.finding
    if finding is None:
        return result.reason or ""
    if finding.cause:
        # The reason of a deviation is from the declaration, so each reason must be shown.
        return finding.cause, result.reason or ""
    # A contract that fails in the same way in several modes is one finding; only scripts differ.
    shown = (finding.kind, finding.summary, finding.steps, finding.expected, finding.returned)
    return result.id, shown, finding.notes, result.reason or ""


def _group(members: Sequence[ContractResult]) -> Group:
    findings = [result.finding for result in members if result.finding is not None]
    if not findings:
        return Group(members[0].reason or "no reason was recorded", tuple(members), None)
    shortest = min(findings, key=lambda finding: (len(finding.steps), len(finding.summary)))
    shared = bool(shortest.cause) and len(members) > 1
    title = shortest.cause if shared else shortest.summary
    return Group(title or "no summary was recorded", tuple(members), shortest, shared)


def other_reasons(group: Group) -> list[str]:
    """Return the reasons that the results of a group give, except its title."""
    reasons = dict.fromkeys(result.reason for result in group.results if result.reason)
    return [reason for reason in reasons if reason != group.title]


def contracts(number: int) -> str:
    """Return `1 contract` or `31 contracts`. Each mode counts, as it does in the verdict."""
    return f"{number:,} contract{'s'[: number != 1]}"


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
