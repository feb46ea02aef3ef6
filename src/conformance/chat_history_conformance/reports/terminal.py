"""The texts on the terminal: a failure, the summary of a run, and the verdict.

The functions take values and return lines; the plugin prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration.capabilities import catalogue
from chat_history_conformance.diagnosis.rendering import clip
from chat_history_conformance.results.model import BackendReport, ContractResult, Finding
from chat_history_conformance.results.verdict import headline

__all__ = [
    "COLUMN",
    "NOT_FOUND",
    "by_cause",
    "deviations_block",
    "failure",
    "side_by_side",
    "summary",
    "verdict_line",
    "wrapped",
]

NOT_FOUND = ("has no ", "has none ", "declares no ")
"""The beginnings of a reason that names a capability which the history does not have."""

COLUMN = 58
"""The width of the expected and of the returned column, in characters."""


def failure(contract: Contract, finding: Finding, *, same_as: str | None = None) -> str:
    """Return the text of a failure: the summary, the steps, the rule, what to do, and a script.

    Args:
        contract: The contract that failed.
        finding: The finding.
        same_as: The label of an earlier failure with the same cause. The text refers to it then,
            instead of repeating the details.
    """
    if same_as is not None:
        return f"{finding.summary}\n\n  Same cause as {same_as}, which shows the details."
    parts = [finding.summary]
    if finding.steps:
        numbered = (f"{number:>4}. {line}" for number, line in enumerate(finding.steps, 1))
        parts.append("\n".join(["Steps", *numbered]))
    if finding.expected or finding.returned:
        parts.append("\n".join(side_by_side(finding.expected, finding.returned)))
    if finding.notes:
        parts.append("\n".join(f"Note: {note}" for note in finding.notes))
    parts.append(
        "\n".join(
            [
                f"Rule  {contract.id} ({contract.level}): {contract.rule}",
                f"      from {contract.source}",
                f"Usual cause: {contract.cause}",
                f"What to do:  {contract.remedy}",
            ]
        )
    )
    if finding.reproducer:
        code = "\n".join(f"    {line}".rstrip() for line in finding.reproducer.splitlines())
        parts.append(f"To reproduce this failure without this suite, run this script:\n\n{code}")
    return "\n\n".join(parts)


def side_by_side(expected: Sequence[str], returned: Sequence[str]) -> Iterable[str]:
    """Yield two lists of lines next to each other, with a mark between lines that differ."""
    yield f"  {'Expected':<{COLUMN}}   Returned"
    if not expected and not returned:
        yield f"  {'nothing':<{COLUMN}}   nothing"
    for one, other in zip_longest(expected, returned):
        mark = " " if one == other else "<" if other is None else ">" if one is None else "|"
        left, right = clip(one or "", COLUMN), clip(other or "", COLUMN)
        yield f"  {left:<{COLUMN}} {mark} {right}".rstrip()


def summary(report: BackendReport) -> list[str]:
    """Return the lines about one backend that follow the failures.

    They list causes that several contracts share, deviations, failures that do not count, errors,
    the reasons of contracts that are not applicable, and notes.
    """
    return [
        *_shared_causes(report.contracts),
        *(
            f"  deviation: {identifier}: {reason}"
            for identifier, reason in _reasons(report.contracts, "deviation").items()
        ),
        *(
            f"  failed but not counted: {result.label} "
            f"(level {result.level}, since {result.since}): {result.reason}"
            for result in report.contracts
            if result.informs and result.outcome == "failed"
        ),
        *(
            f"  error: {result.label}: {result.reason}"
            for result in report.contracts
            if result.outcome == "error"
        ),
        *(
            f"  not applicable: {number} {'contracts' if number > 1 else 'contract'}: {reason}"
            for reason, number in _not_applicable(report.contracts).items()
        ),
        *(f"  note: {note}" for note in report.notes),
    ]


def _shared_causes(contracts: Iterable[ContractResult]) -> Iterable[str]:
    failed = [r for r in contracts if r.outcome == "failed" and r.finding and not r.informs]
    for cause, results in by_cause(failed).items():
        if len(results) > 1:
            yield f"  {len(results)} contracts: {cause}"
            yield from wrapped([result.label for result in results])


def verdict_line(report: BackendReport) -> str:
    """Return the verdict on one backend: `kafka: CONFORMANT: 78 of 80 contracts exercised`."""
    return f"{report.name}: {headline(report)}"


def by_cause(results: Iterable[ContractResult]) -> Mapping[str, list[ContractResult]]:
    """Group the results that have a finding by its cause, the most frequent cause first.

    A finding without a cause forms its own group.
    """
    groups: dict[str, list[ContractResult]] = {}
    for result in results:
        if result.finding is not None:
            groups.setdefault(result.finding.cause or result.label, []).append(result)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def deviations_block(report: BackendReport) -> list[str]:
    """Return a `deviations=` argument that declares the failures of a run, to be pasted."""
    findings: dict[str, str] = {}
    for result in report.contracts:
        if result.outcome in ("failed", "deviation") and not result.informs:
            findings.setdefault(result.id, result.reason or "")
    lines = [f"# {report.name}", "deviations={"]
    lines += [
        f"    {identifier!r}: {clip(f'{reason}: why, and since when?', 110)!r},"
        for identifier, reason in findings.items()
    ]
    return [*lines, "},"]


def wrapped(labels: Sequence[str], width: int = 96) -> list[str]:
    """Return indented lines of at most `width` characters with all labels."""
    lines, line = [], "     "
    for label in labels:
        if len(line) + len(label) > width and line.strip():
            lines.append(line)
            line = "     "
        line += f" {label}"
    return [*lines, line]


def _reasons(results: Iterable[ContractResult], outcome: str) -> Mapping[str, str]:
    return {r.id: r.reason or "" for r in results if r.outcome == outcome}


def _not_applicable(results: Iterable[ContractResult]) -> Mapping[str, int]:
    """Count the contracts by reason. All capabilities that were not found share one reason."""
    reasons: dict[str, int] = {}
    missing: dict[str, None] = {}
    number = 0
    for result in results:
        if result.outcome != "not_applicable":
            continue
        reason = result.reason or ""
        if reason.startswith(NOT_FOUND):
            number += 1
            missing |= {name: None for name in catalogue() if re.search(rf"\b{name}\b", reason)}
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    if number:
        reasons[f"the history has no {', '.join(missing)}"] = number
    return reasons
