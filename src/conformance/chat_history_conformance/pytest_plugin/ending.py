"""The reports and the verdict of a run whose process has ended without them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.pytest_plugin import screen
from chat_history_conformance.reports import terminal, wording, write_report
from chat_history_conformance.results.causes import MOST
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Finding,
    RunReport,
)
from chat_history_conformance.results.verdict import count, judge
from chat_history_conformance.supervision.supervisor import Ended

__all__ = ["finish"]

_FAILED = 1


def finish(ended: Ended) -> int:
    """Write the reports and print the verdict from the records of a run that has ended.

    Args:
        ended: The end of the judging process, and its records.

    Returns:
        The exit status of the run; never 0.
    """
    headers = ended.all("header")
    if not headers:
        print(
            f"\nchat-history-conformance: the process of the run {ended.how} before a contract "
            "ran, so there is no verdict. Look for an exit in a conftest.py, a plugin or the "
            "backend.",
            file=sys.stderr,
        )
        return _FAILED
    header = headers[-1]
    report, rules = _report(header, ended), catalogue.rule_texts()
    width = shutil.get_terminal_size().columns
    lines = ["", f"{' chat history conformance ':=^{width}}"]
    for backend in report.backends:
        lines += _failures(backend, width)
    lines.append(f"The process of the run {ended.how} {_place(ended)}.")
    for backend in report.backends:
        lines += terminal.summary(backend, rules, width)
    lines += [_written(report, Path(path)) for path in header["reports"]]
    for backend in report.backends:
        lines += filter(None, [terminal.examples_line(backend), terminal.verdict_line(backend)])
    for line in lines:
        print(line)
    sys.stdout.flush()
    if ended.from_outside:
        return 128 - ended.status
    return _FAILED


def _crashed(how: str, operation: str) -> Finding:
    """Return the finding about a history that ended the process in which a contract ran.

    Args:
        how: How the process ended, such as `died of SIGSEGV`.
        operation: The operation that was called last; empty if it is not known.
    """
    during = f" during `{operation}`" if operation else ""
    return Finding(
        kind="hung" if "no sign of life" in how else "crashed",
        summary=f"the process {how}{during}",
        cause=f"the process {how}",
        notes=("there is no script, because the steps were lost with the process",),
    )


def _report(header: dict[str, Any], ended: Ended) -> RunReport:
    found: dict[tuple[str, str], ContractResult] = {}
    for data in ended.all("result"):
        result = ContractResult.from_json({k: v for k, v in data.items() if k != "backend"})
        found[data["backend"], result.label] = result
    unfinished = _unfinished(ended)
    backends = []
    for name, described in header["backends"].items():
        results = []
        for data in described["contracts"]:
            result = ContractResult.from_json(data)
            if (name, result.label) in found:
                result = found[name, result.label]
            elif f"{name}::{result.label}" in unfinished:
                result = _interrupted(result, ended, len(unfinished) - 1)
            results.append(result)
        unsettled = f"the process of the run {ended.how}"
        backends.append(
            BackendReport(
                name=name,
                verdict=judge(results, unsettled=unsettled),
                lacks=described["lacks"],
                counts=count(results),
                contracts=tuple(results),
                notes=tuple(described["notes"]),
                unsettled=unsettled,
                origin=described["origin"],
            )
        )
    return RunReport(header["suite"], header["environment"], tuple(backends))


def _unfinished(ended: Ended) -> list[str]:
    """Return the node ids of contracts that ran when the process ended.

    A contract whose turn has come waits for those that run ahead.
    """
    begun: dict[str, None] = {}
    ahead: dict[str, None] = {}
    for record in ended.records:
        if "begin" in record:
            begun[record["begin"]] = None
        elif "end" in record:
            begun.pop(record["end"], None)
        elif record.get("begins"):
            ahead[record["ahead"]] = None
        elif "ahead" in record:
            ahead.pop(record["ahead"], None)
    return list(ahead or begun)


def _interrupted(result: ContractResult, ended: Ended, others: int) -> ContractResult:
    """Return the result of a contract that ran when the process ended.

    Args:
        result: The result before the contract ran.
        ended: The end of the process.
        others: The number of contracts that ran at the same time. It is not known which of them
            the history ended.
    """
    if ended.from_outside or others:
        reason = f"the process of the run {ended.how} during this contract"
        if others:
            reason += f" and {others} more that ran at the same time: run each of them alone"
        return replace(result, outcome="error", reason=reason)
    finding = _crashed(ended.how, ended.operation)
    return replace(result, outcome="failed", reason=finding.summary, finding=finding)


def _place(ended: Ended) -> str:
    unfinished = _unfinished(ended)
    if len(unfinished) > 1:
        return f"in one of {len(unfinished)} contracts that ran at the same time"
    if unfinished:
        return f"in {unfinished[0]}"
    return f"while {(ended.all('phase') or ['the run started'])[-1]}"


def _failures(backend: BackendReport, width: int) -> Iterable[str]:
    contracts = catalogue.load()
    groups = wording.grouped(terminal.counted_failures(backend))
    for number, group in enumerate(groups[:MOST], 1):
        result = group.example
        yield f"{f' {backend.name}::{result.label} ':_^{width}}"
        if result.id in contracts:
            yield terminal.failure(contracts[result.id], result, width=width)
        else:
            yield result.reason or ""
        yield terminal.shared_by(group, number, len(groups), width)


def _written(report: RunReport, path: Path) -> str:
    try:
        write_report(report, path, catalogue.rule_texts())
    except OSError as error:
        return screen.written(path, str(error))
    return screen.written(path, None)
