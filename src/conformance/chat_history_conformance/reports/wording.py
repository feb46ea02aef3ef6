"""How results are told, whatever the format: words, symbols, grouping and alignment.

No markup lives here; each format escapes what it is given.
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

Status = Outcome | Literal["informing"]
"""What a result counts as: its outcome, or `informing` for a failure that does not count."""


_ALIKE = 0.6
_PAIRS_COMPARED = 400


@dataclass(frozen=True)
class Word:
    """How a status is shown: a symbol that needs no colour, and its words."""

    symbol: str
    one: str
    many: str
    heading: str

    def words(self, number: int) -> str:
        """Return the words that follow `number`: `error` after 1, `errors` after 2."""
        return self.one if number == 1 else self.many


STATUSES: Mapping[Status, Word] = {
    "failed": Word("✗", "failed", "failed", "Failures"),
    "unexpected_pass": Word(
        "↑", "passed unexpectedly", "passed unexpectedly", "Deviations that are none"
    ),
    "error": Word("!", "error", "errors", "Errors"),
    "deviation": Word("≈", "deviation", "deviations", "Deviations"),
    "informing": Word(
        "i", "failed for information", "failed for information", "Failures that only inform"
    ),
    "not_run": Word("·", "not run", "not run", "Not run"),
    "not_applicable": Word("–", "not applicable", "not applicable", "Not applicable"),
    "passed": Word("✓", "passed", "passed", "Passed"),
}
"""Every status, the gravest first; reports tell them in this order."""

QUIET: frozenset[Status] = frozenset({"passed", "not_applicable"})
"""What needs nobody's attention."""


BRIEF: frozenset[Status] = frozenset({"not_applicable", "not_run"})
"""Statuses that reports show by their reason only."""


@dataclass(frozen=True)
class Group:
    """Results with one reason, told once.

    `title` is the reason in one line. `shared` is true where the findings name one cause, so that
    the title speaks of the cause and not of what one contract saw. `finding` is the shortest one.
    """

    title: str
    results: tuple[ContractResult, ...]
    finding: Finding | None
    shared: bool = False


@dataclass(frozen=True)
class Row:
    """One line of what was expected beside one line of what was returned; None where none is."""

    expected: str | None
    returned: str | None

    @property
    def mark(self) -> str:
        """` ` for equal lines, `-` for one that is missing, `+` for one too many, else `≠`."""
        if self.expected == self.returned:
            return " "
        if self.returned is None:
            return "-"
        return "+" if self.expected is None else "≠"


def status(result: ContractResult) -> Status:
    """What `result` counts as."""
    if result.informs and result.outcome in ("failed", "unexpected_pass"):
        return "informing"
    return result.outcome


def family(contract: str) -> str:
    """The part of a contract id before the dot."""
    return contract.partition(".")[0]


def tally(results: Iterable[ContractResult]) -> dict[Status, int]:
    """How many results have each status that occurs, the gravest first."""
    counts = Counter(status(result) for result in results)
    return {name: counts[name] for name in STATUSES if counts[name]}


def sections(backend: BackendReport) -> dict[Status, list[Group]]:
    """What there is to tell of `backend` beside its passes, the gravest first.

    What has a finding is grouped by cause, the cause with most contracts first; the rest by
    reason.
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
    # Stable: causes of one size stay in the order of the catalogue.
    return sorted(groups, key=lambda group: -len(group.results))


def _key(result: ContractResult) -> object:
    finding = result.finding
    if finding is None:
        return result.reason or ""
    if finding.cause:
        # A deviation's reason is the adopter's own and must not vanish behind another's.
        return finding.cause, result.reason or ""
    # One contract that breaks alike in several modes is one finding; only the snippet differs.
    told = (finding.kind, finding.summary, finding.steps, finding.expected, finding.returned)
    return result.id, told, finding.notes, result.reason or ""


def _group(members: Sequence[ContractResult]) -> Group:
    findings = [result.finding for result in members if result.finding is not None]
    if not findings:
        return Group(members[0].reason or "no reason was recorded", tuple(members), None)
    shortest = min(findings, key=lambda finding: (len(finding.steps), len(finding.summary)))
    shared = bool(shortest.cause) and len(members) > 1
    title = shortest.cause if shared else shortest.summary
    return Group(title or "no summary was recorded", tuple(members), shortest, shared)


def contracts(number: int) -> str:
    """`1 contract`, `31 contracts`: each mode counts, as it does in the verdict."""
    return f"{number:,} contract{'s'[: number != 1]}"


def labels(results: Iterable[ContractResult]) -> list[str]:
    """Each contract once, with the modes it ran in: `ordering.one_batch[sync,async]`."""
    modes: dict[str, list[str]] = {}
    for result in results:
        modes.setdefault(result.id, []).append(result.mode)
    return [f"{contract}[{','.join(ran)}]" for contract, ran in modes.items()]


def aligned(expected: Sequence[str], returned: Sequence[str]) -> list[Row]:
    """`expected` beside `returned`, equal lines opposite one another."""
    if len(expected) * len(returned) > 1_000_000:
        # Aligning is quadratic; lists of this size are compared place by place.
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
    """Lines of which none are equal, each beside the one that it resembles, if any does.

    A message that was altered then stands beside what became of it, and not beside its neighbour.
    """
    if len(expected) * len(returned) <= _PAIRS_COMPARED:
        places = [(i, j) for i in range(len(expected)) for j in range(len(returned))]
        alike = {(i, j): _alike(expected[i], returned[j]) for i, j in places}
        i, j = max(places, key=alike.__getitem__, default=(0, 0))
        if alike.get((i, j), 0.0) >= _ALIKE:
            return [
                *_paired(expected[:i], returned[:j]),
                Row(expected[i], returned[j]),
                *_paired(expected[i + 1 :], returned[j + 1 :]),
            ]
    return [Row(*pair) for pair in zip_longest(expected, returned)]


def _alike(left: str, right: str) -> float:
    """How alike two lines are, from 0 to 1; of long ones, the first characters are looked at."""
    return SequenceMatcher(a=left[:200], b=right[:200], autojunk=False).ratio()


def visible(text: str, *, keep: str = "") -> str:
    """`text` with every character that cannot be printed shown as its Python escape.

    Control and bidirectional characters, odd blanks and lone surrogates become visible, and what
    is left can be encoded and put in XML.

    Args:
        text: Any text.
        keep: Characters to leave alone, such as the newlines of a snippet.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1]
        for character in text
    )


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`values` as pairs of text, what is nested one level named `server kafka`."""
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
