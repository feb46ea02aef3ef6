"""The verdict on a backend, computed from its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Counts,
    VerdictName,
)

__all__ = ["count", "headline", "judge", "least_examples"]


def count(results: Iterable[ContractResult]) -> Counts:
    """Count the results by outcome. An unexpected pass counts as a failure."""
    results = list(results)
    outcomes = Counter(result.outcome for result in results)
    broken = [result for result in results if result.outcome in ("failed", "unexpected_pass")]
    informing = sum(result.informs for result in broken)
    return Counts(
        declared=len(results),
        exercised=outcomes["passed"] + outcomes["deviation"] + len(broken),
        passed=outcomes["passed"],
        failed=len(broken) - informing,
        deviations=outcomes["deviation"],
        not_applicable=outcomes["not_applicable"],
        errors=outcomes["error"],
        not_run=outcomes["not_run"],
        informing=informing,
    )


def judge(results: Iterable[ContractResult], *, unsettled: str | None = None) -> VerdictName:
    """Return the verdict on a backend.

    A failure that counts decides. Without one, the verdict is incomplete if an error or the run
    left a contract of level must unexercised, or if nothing at all was exercised.

    Args:
        results: The results of every declared contract.
        unsettled: The reason why the run cannot reach a verdict, if there is one. A failure that
            counts still decides.
    """
    results = list(results)
    counts = count(results)
    if counts.failed:
        return "not_conformant"
    unexercised = any(
        result.outcome in ("error", "not_run") and result.level == "must" for result in results
    )
    if unexercised or not counts.exercised or unsettled:
        return "incomplete"
    return "conformant_with_deviations" if counts.deviations else "conformant"


def least_examples(report: BackendReport) -> str:
    """Return the least number of examples that a contract had, in one line.

    A contract with few operations tries all its examples. The text is empty if no contract passed.

    Args:
        report: The report on one backend.
    """
    passed = [result for result in report.contracts if result.outcome == "passed"]
    cut = sorted((result.examples, result.label) for result in passed if result.cut)
    if not passed:
        return ""
    if not cut:
        return "each contract that passed tried all its examples"
    number, label = cut[0]
    others = f" and {len(cut) - 1} more" if len(cut) > 1 else ""
    return (
        f"each contract that passed tried all its examples, or at least {number}: {label}{others} "
        "used up the operations of the profile"
    )


def headline(report: BackendReport) -> str:
    """Return the verdict in one line: `CONFORMANT (without durable): 78 of 80 contracts exercised`.

    Args:
        report: The report on one backend.
    """
    verdict, counts = report.verdict, report.counts
    if verdict == "conformant_with_deviations":
        word = f"CONFORMANT WITH {counts.deviations} DEVIATION{'S'[: counts.deviations != 1]}"
    else:
        word = verdict.replace("_", " ").upper()
    qualified = [f"without {', '.join(sorted(report.lacks))}"] if report.lacks else []
    if verdict == "incomplete" and report.unsettled:
        qualified.append(report.unsettled)
    without = f" ({'; '.join(qualified)})" if qualified else ""
    tail = "".join(
        f", {number} {label}"
        for number, label in (
            (counts.failed, "failed"),
            (counts.errors, "error" if counts.errors == 1 else "errors"),
            (counts.not_applicable, "not applicable"),
            (counts.not_run, "not run"),
            (counts.informing, "failed but not counted"),
        )
        if number
    )
    return f"{word}{without}: {counts.exercised} of {counts.declared} contracts exercised{tail}"
