"""What a run says on a terminal: a failure's text and the summary. Pure: values in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from chat_history_conformance.declaration.capabilities import catalogue
from chat_history_conformance.diagnosis.rendering import clip
from chat_history_conformance.results.model import BackendReport, ContractResult, Finding
from chat_history_conformance.results.verdict import headline

if TYPE_CHECKING:
    from chat_history_conformance.contracts.catalogue import Contract

NOT_FOUND = ("has no ", "has none ", "declares no ")
"""How the reason begins where a capability was looked for and not found."""

COLUMN = 58
"""Characters of one column where expected and returned stand side by side."""


def failure(contract: Contract, finding: Finding, *, same_as: str | None = None) -> str:
    """The text of a failure: what happened, the story, the rule, what to look for, a script.

    Args:
        contract: The rule that was broken.
        finding: How.
        same_as: The label of a failure with the same cause that was told in full already.
    """
    if same_as is not None:
        return f"{finding.summary}\n\n  The same cause as {same_as}, which tells it in full."
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
        parts.append(f"To see it without this suite, run this script:\n\n{code}")
    return "\n\n".join(parts)


def side_by_side(expected: Sequence[str], returned: Sequence[str]) -> Iterable[str]:
    """Two listings beside each other, a mark between the lines that differ."""
    yield f"  {'Expected':<{COLUMN}}   Returned"
    if not expected and not returned:
        yield f"  {'nothing':<{COLUMN}}   nothing"
    for one, other in zip_longest(expected, returned):
        mark = " " if one == other else "<" if other is None else ">" if one is None else "|"
        left, right = clip(one or "", COLUMN), clip(other or "", COLUMN)
        yield f"  {left:<{COLUMN}} {mark} {right}".rstrip()


def summary(report: BackendReport) -> list[str]:
    """The lines on one backend below the failures: causes told once, what is given up, notes."""
    lines: list[str] = []
    failed = [r for r in report.contracts if r.outcome == "failed" and r.finding and not r.informs]
    for cause, results in by_cause(failed).items():
        if len(results) > 1:
            lines.append(f"  {len(results)} contracts: {cause}")
            lines += wrapped([result.label for result in results])
    lines += [
        f"  deviation: {identifier}: {reason}"
        for identifier, reason in _reasons(report.contracts, "deviation").items()
    ]
    lines += [
        f"  for information: {result.label}: {result.reason}"
        for result in report.contracts
        if result.informs and result.outcome == "failed"
    ]
    for result in report.contracts:
        if result.outcome == "error":
            lines.append(f"  error: {result.label}: {result.reason}")
    for reason, number in _not_applicable(report.contracts).items():
        lines.append(
            f"  not applicable: {number} {'contracts' if number > 1 else 'contract'}: {reason}"
        )
    lines += [f"  note: {note}" for note in report.notes]
    return lines


def verdict_line(report: BackendReport) -> str:
    """The verdict on one backend: `kafka: CONFORMANT: 78 of 80 contracts exercised`."""
    return f"{report.name}: {headline(report)}"


def by_cause(results: Iterable[ContractResult]) -> Mapping[str, list[ContractResult]]:
    """Results with findings, those with one cause together; what has no cause stands alone."""
    groups: dict[str, list[ContractResult]] = {}
    for result in results:
        if result.finding is not None:
            groups.setdefault(result.finding.cause or result.label, []).append(result)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def deviations_block(report: BackendReport) -> list[str]:
    """The `deviations=` argument that would declare a run's failures, ready to be pasted."""
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
    """Labels in lines of at most `width` characters."""
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
    """Reasons with their numbers; what was merely not found on the history is one reason."""
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
