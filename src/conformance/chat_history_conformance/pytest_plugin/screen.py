"""The terminal of a run of contracts: each cause once, the summary, and the verdicts at last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.pytest_plugin.options import setting
from chat_history_conformance.reports import terminal, wording
from chat_history_conformance.results.causes import MOST
from chat_history_conformance.results.model import BackendReport

__all__ = [
    "VERDICT_REQUIRED",
    "FailureText",
    "location_of",
    "print_verdicts",
    "show_each_cause_once",
    "summary",
    "written",
]

VERDICT_REQUIRED = "--history-require-verdict: the run fails because a verdict is INCOMPLETE"


def summary(reports: Sequence[BackendReport], config: pytest.Config, width: int) -> Iterator[str]:
    """Yield the lines below pytest's own lists, without the verdicts.

    Args:
        reports: The results of the run.
        config: The configuration of the run.
        width: The width of the terminal in columns.
    """
    rules = catalogue.rule_texts()
    for report in reports:
        lines = terminal.summary(report, rules, width)
        if lines and len(reports) > 1:
            yield f"{wording.visible(report.name)}:"
        yield from lines
    if setting(config, "write-deviations"):
        for report in reports:
            declared = ":" not in report.name and not setting(config, "deviations")
            yield ""
            yield from terminal.deviations_block(report, as_file=not declared)


def written(path: Path, error: str | None) -> str:
    """Return the line about a report.

    Args:
        path: The path of the report.
        error: Why it could not be written; None if it was.
    """
    if error is None:
        return f"report: {path}"
    return f"The report {path} could not be written: {error}. Name another path."


def show_each_cause_once(
    report: BackendReport,
    failed: Mapping[tuple[str, str], pytest.TestReport],
    contracts: Mapping[str, Contract],
    style: str,
    width: int,
) -> None:
    """Give the simplest failure of each cause its text, and hide the other failures.

    pytest leaves out failures that the debugger has shown, so the others are marked like that. Its
    list of failed tests still names them.

    Args:
        report: The results of one backend.
        failed: pytest's reports of the failures, by backend and label.
        contracts: The contracts by id.
        style: The value of pytest's `--tb`.
        width: The width of the terminal in columns.
    """
    chosen: terminal.Style = "short" if style == "short" else "long"
    groups = wording.grouped(terminal.counted_failures(report))
    for number, group in enumerate(groups, 1):
        for result in group.results:
            shown = failed[report.name, result.label]
            if result is not group.example or number > MOST:
                vars(shown)["_pdbshown"] = True
                continue
            contract = contracts[result.id]
            assert result.finding is not None
            location = location_of(contract, wording.visible(result.finding.summary))
            if style == "line":
                shown.longrepr = FailureText("", location)  # pytest prints the location
                continue
            text = terminal.failure(contract, result, style=chosen, width=width)
            shared = terminal.shared_by(group, number, len(groups), width)
            shown.longrepr = FailureText("\n\n".join(filter(None, [text, shared])), location)


def print_verdicts(
    reports: Sequence[BackendReport], terminalreporter: pytest.TerminalReporter
) -> None:
    """Print the verdict on each backend, below the least number of examples of its contracts."""
    for report in reports:
        good = report.verdict in ("conformant", "conformant_with_deviations")
        colour = {"green": good, "red": report.verdict == "not_conformant"}
        colour["yellow"] = report.verdict == "incomplete"
        if examples := terminal.examples_line(report):
            terminalreporter.write_line(examples)
        terminalreporter.write_line(terminal.verdict_line(report), bold=True, **colour)


def location_of(contract: Contract, message: str) -> ReprFileLocation:
    """Return the place of a contract in its file, with a message for pytest's short list."""
    code = contract.body.__code__
    return ReprFileLocation(code.co_filename, code.co_firstlineno, message)


class FailureText(TerminalRepr):
    """The text of a failure. pytest takes its summary line from `reprcrash`."""

    def __init__(self, text: str, reprcrash: ReprFileLocation) -> None:
        self.text = text
        self.reprcrash = reprcrash

    def toterminal(self, tw: TerminalWriter) -> None:
        """Write the text, if there is one, with the first line in bold red."""
        if not self.text:
            return
        first, _, rest = self.text.partition("\n")
        tw.line(first, red=True, bold=True)
        if rest:
            tw.line(rest)

    def __str__(self) -> str:
        return self.text
