"""The texts on the terminal: a failure, the summary of a run, and the verdict.

The functions take values and return lines; the plugin prints them.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Literal

from chat_history_conformance.contracts.catalogue import Contract, rule_text
from chat_history_conformance.declaration.baseline import format_baseline
from chat_history_conformance.declaration.capabilities import catalogue
from chat_history_conformance.diagnosis.rendering import clip
from chat_history_conformance.execution.replay import Replayed
from chat_history_conformance.reports.advice import advised, capability_hint
from chat_history_conformance.reports.wording import Group, contracts, grouped, ranked, visible
from chat_history_conformance.results.causes import MOST
from chat_history_conformance.results.model import BackendReport, ContractResult, Rules
from chat_history_conformance.results.verdict import headline, least_examples

__all__ = [
    "NOT_FOUND",
    "WIDTH",
    "Style",
    "counted_failures",
    "deviations_block",
    "examples_line",
    "failure",
    "replayed",
    "shared_by",
    "side_by_side",
    "summary",
    "verdict_line",
]

NOT_FOUND = ("has no ", "has none ", "declares no ")
"""The beginnings of a reason that names a capability which the history does not have."""

WIDTH = 100
"""The width of a terminal that is not known, in characters."""

Style = Literal["long", "short"]
"""A failure with or without its script."""


def failure(
    contract: Contract,
    result: ContractResult,
    *,
    style: Style = "long",
    width: int = WIDTH,
) -> str:
    """Return the text of a failure: the summary, the steps, the rule, what to do, and a script.

    Args:
        contract: The contract that failed.
        result: The result, which has a finding.
        style: `short` leaves out the rule, the address of its page, and the script.
        width: The width of the terminal in characters. Scripts keep their lines.
    """
    finding = result.finding
    assert finding is not None
    parts = [visible(finding.summary)]
    if finding.raised_at:
        parts.append(f"Raised at {visible(finding.raised_at)}")
    if finding.steps:
        numbered = (
            _hanging(f"{number:>4}. ", line, width) for number, line in enumerate(finding.steps, 1)
        )
        parts.append("\n".join(["Steps", *numbered]))
    if finding.expected or finding.returned:
        parts.append("\n".join(side_by_side(finding.expected, finding.returned, width)))
    if finding.notes:
        parts.append("\n".join("Note: " + visible(note, keep="\n") for note in finding.notes))
    rules = {contract.id: rule_text(contract)}
    rule = advised(result, rules)
    assert rule is not None
    advice = [
        _hanging("Usual cause: ", rule.cause, width),
        _hanging("What to do:  ", rule.remedy, width),
    ]
    if style == "short":
        return "\n\n".join([*parts, f"Rule  {contract.id} ({contract.level})", "\n".join(advice)])
    head = f"Rule  {contract.id} ({contract.level}): "
    parts.append(
        "\n".join(
            [
                _hanging("Rule  ", f"{head.removeprefix('Rule  ')}{contract.rule}", width),
                _hanging("      ", f"from {contract.source}", width),
                *advice,
                *([f"See {contract.url}"] if contract.url else []),
            ]
        )
    )
    if finding.reproducer:
        script = visible(finding.reproducer, keep="\n\t")
        code = "\n".join(f"    {line}".rstrip() for line in script.splitlines())
        parts.append(f"To reproduce this failure without this suite, run this script:\n\n{code}")
    return "\n\n".join(parts)


def _hanging(head: str, text: str, width: int) -> str:
    """Return `text` after `head`, in lines that break between words and are indented below it."""
    indent = " " * len(head)
    first, *others = visible(text, keep="\n").split("\n")
    lines = [(head, first), *((indent, line) for line in others)]
    return "\n".join(
        textwrap.fill(
            line,
            max(width, len(head) + 20),
            initial_indent=start,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for start, line in lines
    )


def _cut(text: str, width: int) -> str:
    """Return `text` on one printable line, without its end if it is longer than `width`."""
    shown = visible(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def side_by_side(
    expected: Sequence[str], returned: Sequence[str], width: int = WIDTH
) -> Iterable[str]:
    """Yield two lists of lines next to each other, with a mark between lines that differ."""
    column = max((width - 6) // 2, 16)
    yield f"  {'Expected':<{column}}   Returned"
    if not expected and not returned:
        yield f"  {'nothing':<{column}}   nothing"
    for one, other in zip_longest(expected, returned):
        mark = " " if one == other else "<" if other is None else ">" if one is None else "|"
        left, right = clip(one or "", column), clip(other or "", column)
        yield f"  {left:<{column}} {mark} {right}".rstrip()


def shared_by(group: Group, number: int, total: int, width: int = WIDTH) -> str:
    """Return the lines about a cause that several contracts share, or an empty text.

    Args:
        group: The failures with the cause.
        number: The number of the cause in the ranking.
        total: The number of causes.
        width: The width of the terminal in characters.
    """
    if not group.shared:
        return ""
    others = group.others
    lines = [
        _hanging(
            f"Cause {number} of {total}: ",
            f"{group.title} ({group.size})",
            width,
        ),
        f"The same cause in {contracts(len(others), 'more ')}:",
    ]
    for result in others[:MOST]:
        label, text = group.labels_of(result), group.own_text(result)
        lines.append(_cut(f"  {label}: {text}" if text else f"  {label}", width))
    if len(others) > MOST:
        lines.append(f"  and {len(others) - MOST} more, listed in the reports")
    return "\n".join(lines)


def counted_failures(report: BackendReport) -> list[ContractResult]:
    """Return the failures of a backend that count and have a finding."""
    return [r for r in report.contracts if r.outcome == "failed" and r.finding and not r.informs]


def summary(report: BackendReport, rules: Rules, width: int = WIDTH) -> list[str]:
    """Return the lines about one backend that follow the failures.

    They rank the causes of failures and list deviations, failures that do not count, errors, the
    reasons of contracts that are not applicable, and notes.
    """
    lines = [
        *_causes(counted_failures(report), rules, width),
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
    return [visible(line, keep="\n") for line in lines]


def _causes(failed: Sequence[ContractResult], rules: Rules, width: int) -> Iterable[str]:
    """Yield the ranking of causes, and a line for each."""
    if not failed:
        return
    groups = grouped(failed)
    if ranks := ranked(groups):
        yield _hanging("  ", ranks, width)
    for number, group in enumerate(groups, 1):
        if number > 2 * MOST:
            yield f"  and {len(groups) - number + 1} more causes, listed in the reports"
            break
        where = group.labels_of(group.example)
        yield _hanging(f"  {number:>2}. ", f"{group.size}: {group.title}", width)
        others = f" and {contracts(len(group.others), 'more ')}" if group.shared else ""
        yield _cut(f"      {where}{others}", width)
        if hint := capability_hint(group.results, rules):
            yield _hanging("      ", hint, width)
    yield "  --history-write-deviations prints these failures as deviations, to accept them."


def replayed(name: str, done: Sequence[Replayed]) -> list[str]:
    """Return the lines about the findings of an earlier run that were tried again."""
    states = Counter(item.state for item in done)
    lines = [
        f"replay of {name}: {states['fixed']} fixed, {states['failing']} still failing"
        + (f", {states['unknown']} not tried" if states["unknown"] else "")
    ]
    for item in done:
        text = f": {item.text}" if item.text else ""
        lines.append(f"  {_STATES[item.state]}: {item.cause.example.label}{text}")
    return [visible(line) for line in lines]


_STATES = {"fixed": "fixed", "failing": "still failing", "unknown": "not tried"}


def verdict_line(report: BackendReport) -> str:
    """Return the verdict on one backend: `kafka: CONFORMANT: 78 of 80 contracts exercised`."""
    return visible(f"{report.name}: {headline(report)}")


def examples_line(report: BackendReport) -> str:
    """Return the line above the verdict: the least number of examples. It may be empty."""
    text = least_examples(report)
    return visible(f"{report.name}: {text}") if text else ""


def deviations_block(report: BackendReport, *, as_file: bool = False) -> list[str]:
    """Return the failures of a run as deviations, to be pasted.

    Args:
        report: The report on one backend.
        as_file: True for a table of `--history-deviations`, False for the `deviations=` argument of
            a declaration.
    """
    reasons: dict[str, str] = {}
    for result in report.contracts:
        if result.outcome in ("failed", "deviation") and not result.informs:
            why = result.reason or ""
            if result.outcome == "failed":
                why = clip(f"{why}: why, and since when?", 110)
            reasons.setdefault(result.id, visible(why))
    if as_file:
        return ["# a table for --history-deviations=FILE", *format_baseline(report.name, reasons)]
    lines = [f"    {identifier!r}: {reason!r}," for identifier, reason in reasons.items()]
    return [f"# {visible(report.name)}", "deviations={", *lines, "},"]


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
