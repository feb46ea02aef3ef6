"""The commands `history-conformance bench report` and `bench history`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

__all__ = ["add_parser"]

T = TypeVar("T")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `report` and `history` to the commands of `bench`."""
    report = commands.add_parser(
        "report",
        help="show the results of benchmarks as tables and charts",
        description="Show the results of pytest --history-benchmark --benchmark-json=RESULT.json: "
        "each backend next to its floor and its peers. Without --md, --html or --svg, print "
        "Markdown.",
    )
    report.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="a file that --benchmark-json=RESULT.json wrote",
    )
    _add_outputs(report)
    report.set_defaults(run=_report)

    history = commands.add_parser(
        "history",
        help="keep results of many commits in a file, and show them as a timeline",
        description="Add results to a timeline, a file with one JSON object for each commit and "
        "backend, and show it. A result replaces an older one of the same commit, backend, "
        "machine, server and Python. Without RESULT.json, only show the timeline.",
    )
    history.add_argument("timeline", type=Path, metavar="TIMELINE.jsonl")
    history.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULT.json",
        help="a file that --benchmark-json=RESULT.json wrote",
    )
    history.add_argument(
        "--commit", metavar="ID", help="the measured commit (default: that in the results)"
    )
    _add_outputs(history)
    history.set_defaults(run=_history)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--md", type=Path, metavar="PATH", help="write Markdown")
    parser.add_argument("--html", type=Path, metavar="PATH", help="write an HTML page")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="write the charts alone")


def _report(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.measure import benchmark_file
    from chat_history_conformance.bench.report import html, markdown, wording

    try:
        _check_outputs(options)
        found = [result for path in options.results for result in benchmark_file.load(path)]
        renderers = (markdown.results, html.results, html.results_picture)
        written = _write_outputs(options, found, renderers)
    except (OSError, ValueError) as error:
        return _refused(error)
    if not written:
        print(markdown.results(found), end="")
        return 0
    for result in found:
        print(f"{result.backend}: {wording.headline(result)}")
        for line in wording.callouts(result.operations):
            print(f"  {line}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from chat_history_conformance.bench.measure import benchmark_file
    from chat_history_conformance.bench.report import html, markdown, tables, timeline, wording

    try:
        _check_outputs(options)
        kept = timeline.load(options.timeline)
        new = [
            timeline.with_commit(result, options.commit)
            for path in options.results
            for result in benchmark_file.load(path)
        ]
        if not kept and not new:
            raise ValueError(f"{options.timeline} has no results: name a RESULT.json to add some")
        together = timeline.add(kept, new)
        if new:
            timeline.save(options.timeline, together)
        tracks = timeline.tracks(together)
        renderers = (markdown.timeline, html.timeline, html.timeline_picture)
        _write_outputs(options, tracks, renderers)
    except (OSError, ValueError) as error:
        return _refused(error)
    replaced = len(kept) + len(new) - len(together)
    number = wording.count(len(together), "result")
    print(f"{options.timeline}: {number}, {len(new)} new, {replaced} replaced")
    for track in tracks:
        print(f"{track.backend}: {tables.timeline_headline(track)}")
        for sentence in (*tables.change_sentences(track), *timeline.separate(track)):
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
    """Write the requested files. Return whether there are any."""
    from chat_history_conformance.reports import write_text

    for path, render in zip(_outputs(options), renderers, strict=True):
        if path is not None:
            write_text(path, render(shown))
    return any(_outputs(options))


def _refused(error: Exception) -> int:
    print(f"history-conformance: {error}", file=sys.stderr)
    return 2
