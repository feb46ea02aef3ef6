"""`bench report` and `bench history`: their options, and what becomes of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report` and `history` to the commands of `bench`."""
    report = commands.add_parser(
        "report",
        help="what a run of benchmarks measured: tables and pictures",
        description="Show what pytest --history-benchmark --benchmark-json=RESULT.json measured: "
        "each backend beside its floor and its peers. Without a path, Markdown is printed.",
    )
    report.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    _add_outputs(report)
    report.set_defaults(run=_report)

    history = commands.add_parser(
        "history",
        help="results over commits: kept in a file and drawn",
        description="Add results to a line, a file with one JSON object for each commit and "
        "backend, and show it. A result of the same commit, backend, machine, server and Python "
        "takes the place of the one before. Without RESULT.json, the line is only shown.",
    )
    history.add_argument("line", type=Path, metavar="LINE.jsonl")
    history.add_argument("results", nargs="*", type=Path, metavar="RESULT.json")
    history.add_argument(
        "--commit", metavar="ID", help="what was measured (default: what the results say)"
    )
    _add_outputs(history)
    history.set_defaults(run=_history)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--md", type=Path, metavar="PATH", help="write it as Markdown")
    parser.add_argument("--html", type=Path, metavar="PATH", help="write it as a page")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="write the pictures alone")


def _report(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.measure import results
    from chat_history_conformance.bench.report import result_pages as pages
    from chat_history_conformance.bench.report import wording as telling

    try:
        _check_outputs(options)
        found = [result for path in options.results for result in results.load(path)]
        written = _write_outputs(options, found, (pages.markdown, pages.html, pages.svg))
    except (OSError, ValueError) as error:
        return _refused(error)
    if not written:
        print(pages.markdown(found), end="")
        return 0
    for result in found:
        print(f"{result.backend}: {telling.headline(result)}")
        for line in telling.callouts(result.operations):
            print(f"  {line}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.measure import results
    from chat_history_conformance.bench.report import timeline as line
    from chat_history_conformance.bench.report import timeline_pages as pages
    from chat_history_conformance.bench.report import wording as telling

    try:
        _check_outputs(options)
        kept = line.load(options.line)
        new = [
            line.with_commit(result, options.commit)
            for path in options.results
            for result in results.load(path)
        ]
        if not kept and not new:
            raise ValueError(f"{options.line}: holds nothing yet; name a RESULT.json to begin it")
        together = line.added(kept, new)
        if new:
            line.save(options.line, together)
        tracks = line.tracks(together)
        _write_outputs(options, tracks, (pages.markdown, pages.html, pages.svg))
    except (OSError, ValueError) as error:
        return _refused(error)
    replaced = len(kept) + len(new) - len(together)
    number = telling.count(len(together), "result")
    print(f"{options.line}: {number}, {len(new)} new, {replaced} replaced")
    for track in tracks:
        print(f"{track.backend}: {pages.headline(track)}")
        for sentence in (*pages.told(track), *line.apart(track)):
            print(f"  {sentence}")
    return 0


def _outputs(options: argparse.Namespace) -> list[Path | None]:
    return [options.md, options.html, options.svg]


def _check_outputs(options: argparse.Namespace) -> None:
    from chat_history_conformance.reports import check_place

    for path in _outputs(options):
        if path is not None:
            check_place(path)


def _write_outputs(
    options: argparse.Namespace, shown: T, renderers: Sequence[Callable[[T], str]]
) -> bool:
    """Write what was asked for, and return whether anything was."""
    from chat_history_conformance.reports import write_text

    for path, render in zip(_outputs(options), renderers, strict=True):
        if path is not None:
            write_text(path, render(shown))
    return any(_outputs(options))


def _refused(error: Exception) -> int:
    print(f"history-conformance: {error}", file=sys.stderr)
    return 2
