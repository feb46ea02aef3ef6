"""The findings of each backend, as values for the template `findings.html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat_history_conformance.reports import wording
from chat_history_conformance.reports.advice import advised, capability_hint
from chat_history_conformance.reports.wording import BRIEF, QUIET, STATUSES, Group, Status
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Finding,
    Mode,
    Rules,
    RuleText,
)

__all__ = [
    "Entry",
    "Line",
    "Other",
    "Pair",
    "Part",
    "Section",
    "anchors_of",
    "on_one_line",
    "parts",
]

_OPEN: frozenset[Status] = frozenset({"failed", "unexpected_pass"})
_MANY = 8
"""The number of findings of one backend above which they start closed, to show the list first."""
_FEW_LABELS = 3
_MARK_WORDS = {" ": "same", "-": "missing", "+": "too many", "≠": "different"}


@dataclass(frozen=True)
class Line:
    """A line in three parts. The middle part is marked as different; it may be empty."""

    start: str
    marked: str = ""
    end: str = ""


@dataclass(frozen=True)
class Pair:
    """An expected line next to a returned line. None if there is no such line."""

    same: bool
    expected: Line | None
    mark: str
    words: str
    returned: Line | None


@dataclass(frozen=True)
class Other:
    """Another contract with the same cause, with its modes, and its summary if it differs."""

    label: str
    summary: str


@dataclass(frozen=True)
class Entry:
    """One finding or one reason, with all results that share it.

    Attributes:
        anchor: Its id on the page.
        status: The status of the results.
        open: True if the details start open.
        title: The finding in one line.
        count: The number of contracts, in words.
        kind: The kind of the finding.
        first_labels: The contracts that the closed entry shows.
        more: The number of contracts that it does not show, in words, or an empty text.
        labels: All contracts.
        reasons: The reasons that the results give.
        seen_in: The contract that the finding is from, if the title is a shared cause.
        summary: The summary of that finding.
        steps: The steps.
        pairs: The expected lines next to the returned lines.
        notes: The notes.
        rule: The text of the rule of the contract that the finding is from, if it is known.
        hint: How to declare that the history lacks the capability, or an empty text.
        others: The other contracts with the same cause.
        raised_at: The line of the history that raised, or an empty text.
        script: The script that shows the finding, or an empty text.
    """

    anchor: str
    status: Status
    open: bool
    title: str
    count: str
    kind: str
    first_labels: Sequence[str]
    more: str
    labels: Sequence[str]
    reasons: Sequence[str]
    seen_in: Sequence[str] = ()
    summary: str = ""
    steps: Sequence[str] = ()
    pairs: Sequence[Pair] = ()
    notes: Sequence[str] = ()
    rule: RuleText | None = None
    hint: str = ""
    others: Sequence[Other] = ()
    raised_at: str = ""
    script: str = ""


@dataclass(frozen=True)
class Section:
    """The entries of one status.

    Attributes:
        heading: The heading.
        ranking: How much the causes explain, or an empty text.
        number: The number of results.
        brief: True if an entry shows only its title and labels.
        entries: The entries.
    """

    heading: str
    ranking: str
    number: int
    brief: bool
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Part:
    """One backend. `nothing` is the sentence to show if there is no finding."""

    anchor: str
    name: str
    nothing: str
    sections: Sequence[Section]


def anchors_of(index: int, backend: BackendReport) -> dict[tuple[str, Mode], str]:
    """Return the anchor of each result's entry, by contract id and mode."""
    return {
        (result.id, result.mode): _anchor(index, status, number)
        for status, groups in wording.sections(backend).items()
        for number, group in enumerate(groups)
        for result in group.results
    }


def parts(backends: Sequence[BackendReport], rules: Rules) -> list[Part]:
    """Return the findings of each backend."""
    return [_part(index, backend, rules) for index, backend in enumerate(backends)]


def _anchor(index: int, status: Status, number: int) -> str:
    return f"b{index}-{status}-{number}"


def _part(index: int, backend: BackendReport, rules: Rules) -> Part:
    by_status = wording.sections(backend)
    nothing = ""
    if not set(by_status) - QUIET:
        nothing = "Nothing was found." if backend.counts.exercised else "Nothing was exercised."
    many = sum(len(groups) for status, groups in by_status.items() if status in _OPEN) > _MANY
    return Part(
        anchor=f"b{index}",
        name=backend.name,
        nothing=nothing,
        sections=[
            Section(
                heading=STATUSES[status].heading,
                ranking=wording.ranked(groups) if status == "failed" else "",
                number=sum(len(group.results) for group in groups),
                brief=status in BRIEF,
                entries=[
                    _entry(_anchor(index, status, number), status, group, rules, many)
                    for number, group in enumerate(groups)
                ],
            )
            for status, groups in by_status.items()
        ],
    )


def _entry(anchor: str, status: Status, group: Group, rules: Rules, many: bool) -> Entry:
    finding, results = group.finding, group.results
    count = group.size
    several = len({result.id for result in results}) > 1
    title = group.title
    entry = Entry(
        anchor=anchor,
        status=status,
        open=status in _OPEN and (not many or anchor.endswith("-0")),
        title=f"{count}: {title}" if several and status not in BRIEF else title,
        count=count,
        kind=finding.kind.replace("_", " ") if finding else STATUSES[status].one,
        first_labels=_first_labels(group),
        more=_left_out(group),
        labels=wording.labels(results),
        reasons=wording.other_reasons(group),
        rule=_rule(group.example, rules),
        hint=capability_hint(results, rules),
    )
    return _with_finding(entry, finding, group) if finding is not None else entry


def _first_labels(group: Group) -> list[str]:
    """Return the contracts that a closed entry shows. A shared finding names its own contract."""
    if group.shared:
        return [group.labels_of(group.example)]
    return wording.labels(group.results)[:_FEW_LABELS]


def _left_out(group: Group) -> str:
    left_out = len(wording.labels(group.results)) - len(_first_labels(group))
    return f"and {wording.contracts(left_out, 'more ')}" if left_out else ""


def _with_finding(entry: Entry, finding: Finding, group: Group) -> Entry:
    return replace(
        entry,
        seen_in=[group.example.label] if group.shared else (),
        others=[
            Other(group.labels_of(result), group.own_text(result))
            for result in (group.others if group.shared else ())
        ],
        raised_at=finding.raised_at,
        summary=finding.summary,
        steps=finding.steps,
        pairs=[_pair(row) for row in wording.aligned(finding.expected, finding.returned)],
        notes=finding.notes,
        script=wording.visible(finding.reproducer.strip("\n"), keep="\n\t"),
    )


def _pair(row: wording.Row) -> Pair:
    left, right = wording.visible(row.expected or ""), wording.visible(row.returned or "")
    expected, returned = Line(left), Line(right)
    if row.mark == "≠":
        start, end = _common(left, right)
        expected, returned = _marked(left, start, end), _marked(right, start, end)
    return Pair(
        same=row.mark == " ",
        expected=expected if row.expected is not None else None,
        mark=row.mark.replace("-", "−").strip(),
        words=_MARK_WORDS[row.mark],
        returned=returned if row.returned is not None else None,
    )


def _common(left: str, right: str) -> tuple[int, int]:
    """Return the lengths of the common start and of the common end of two lines."""
    shortest = min(len(left), len(right))
    start = next((i for i in range(shortest) if left[i] != right[i]), shortest)
    rest = shortest - start
    end = next((i for i in range(rest) if left[-1 - i] != right[-1 - i]), rest)
    return start, end


def _marked(line: str, start: int, end: int) -> Line:
    stop = len(line) - end
    return Line(line[:start], line[start:stop], line[stop:])


def _rule(example: ContractResult, rules: Rules) -> RuleText | None:
    rule = advised(example, rules)
    return None if rule is None else on_one_line(rule)


def on_one_line(rule: RuleText) -> RuleText:
    """Return a rule without the line breaks of its source file."""
    return replace(
        rule,
        rule=" ".join(rule.rule.split()),
        cause=" ".join(rule.cause.split()),
        remedy=" ".join(rule.remedy.split()),
    )
