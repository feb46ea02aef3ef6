"""The command `report`: show several runs side by side."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from chat_history_conformance.cli.refusal import Refusal

if TYPE_CHECKING:
    from chat_history_conformance.results.model import RunReport

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report` to the commands."""
    parser = commands.add_parser(
        "report",
        help="show several runs side by side",
        description="Show several runs side by side, as a matrix of contracts and backends. "
        "Prints the verdict on each backend.",
        epilog="example: history-conformance report linux.json mac.json --html matrix.html",
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="a file that pytest --history-report=RESULT.json wrote",
    )
    parser.add_argument("--html", type=Path, metavar="PATH", help="write the matrix as a page")
    parser.add_argument("--md", type=Path, metavar="PATH", help="write the matrix as Markdown")
    parser.add_argument(
        "--scripts",
        type=Path,
        metavar="DIRECTORY",
        help="write a script for each finding, which reproduces it",
    )
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.reports import load_report, matrix, terminal, write_report

    try:
        loaded = [load_report(path) for path in options.results]
        merged = matrix.merge(loaded, matrix.labels_of(options.results))
        for path in (options.html, options.md):
            if path is not None:
                write_report(merged, path, catalogue.rule_texts())
        if options.scripts is not None:
            _write_scripts(merged, options.scripts)
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error
    for backend in merged.backends:
        print(terminal.verdict_line(backend))
    return 0


def _write_scripts(report: RunReport, directory: Path) -> None:
    """Write a file for each finding, such as `sql-clear.empties-sync.py`.

    Findings with the same cause share one file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for backend in report.backends:
        written: set[str] = set()
        for result in backend.contracts:
            finding = result.finding
            if finding is None or finding.cause in written:
                continue
            written |= {finding.cause} - {""}
            name = re.sub(r"[^\w.-]+", "_", f"{backend.name}-{result.id}-{result.mode}")
            (directory / f"{name}.py").write_text(finding.reproducer, encoding="utf-8")
