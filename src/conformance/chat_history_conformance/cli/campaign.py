"""The command `campaign`: disturb a server under traffic, record everything, and check it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from chat_history_conformance.cli.refusal import Refusal

if TYPE_CHECKING:
    from chat_history_conformance.campaign.run import Outcome

__all__ = ["add_parser"]

_EVENTS = 30
_ENDINGS = {
    "json": "the report as JSON",
    "html": "the report as a page",
    "md": "the report as Markdown",
    "svg": "the timeline as a picture",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `campaign` to the commands."""
    parser = commands.add_parser(
        "campaign",
        help="disturb a server while clients use a history, and check what happened",
        description="Start a server, let client processes write, read, clear and consume, kill and "
        "pause the server meanwhile, and check the record of all calls. The exit status is 0 "
        "without a defect, 1 with defects, and 2 if the campaign could not be run.",
        epilog="example: history-conformance campaign --backend kafka --nodes 3 --events 30 "
        "--seed 1",
    )
    _add_what(parser)
    _add_plan(parser)
    _add_output(parser)
    parser.set_defaults(run=_campaign)


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is disturbed")
    subject = what.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--backend",
        metavar="NAME",
        help="the backend, as for pytest --history-backend: a registered or declared name, or "
        "package.module:attribute",
    )
    subject.add_argument(
        "--check",
        type=Path,
        metavar="RECORD",
        help="run nothing, and check the record that a campaign with --keep has left",
    )
    what.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module or Python file, which declares backends; can be repeated "
        "(default: the conftest.py files that pytest would load here)",
    )
    what.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="[KIND=]WAY",
        help="how to start the server: auto, container or jvm; can be repeated (default: auto)",
    )
    what.add_argument(
        "--server-config", type=Path, metavar="FILE", help="a TOML file with client settings"
    )
    what.add_argument(
        "--nodes", type=_positive, default=0, metavar="N", help="nodes of the server (default: 1)"
    )
    what.add_argument("--offline", action="store_true", help="download nothing")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    from chat_history_conformance.campaign.server.faults import FAULTS

    plan = parser.add_argument_group("the plan")
    length = plan.add_mutually_exclusive_group()
    length.add_argument(
        "--events",
        type=_positive,
        default=_EVENTS,
        metavar="N",
        help=f"the number of faults (default: {_EVENTS})",
    )
    length.add_argument(
        "--duration",
        type=_seconds,
        metavar="SECONDS",
        help="only let the clients work for this time, without faults",
    )
    plan.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed draws the same plan"
    )
    plan.add_argument(
        "--faults",
        type=_fault_names,
        default=(),
        metavar="NAME,NAME",
        help=f"draw only from these faults: {', '.join(FAULTS)} (default: all that are possible)",
    )
    plan.add_argument(
        "--sessions", type=_positive, default=4, metavar="N", help="sessions (default: 4)"
    )
    plan.add_argument(
        "--writers", type=_positive, default=6, metavar="N", help="writing clients (default: 6)"
    )
    plan.add_argument(
        "--readers", type=_positive, default=4, metavar="N", help="reading clients (default: 4)"
    )
    plan.add_argument(
        "--limit",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="the limit of one call (default: 30)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("the report")
    output.add_argument(
        "--output",
        type=Path,
        metavar="DIRECTORY",
        help="write campaign.json, .html, .md and .svg here",
    )
    for ending, what in _ENDINGS.items():
        output.add_argument(f"--{ending}", type=Path, metavar="PATH", help=f"write {what} here")
    output.add_argument(
        "--keep",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="PATH",
        help="keep the record of all calls (default: campaign.jsonl in --output or here)",
    )


def _campaign(options: argparse.Namespace) -> int:
    from chat_history_conformance.campaign import recording, run

    places = _places(options)
    for place in places.values():
        _check_place(place)
    if options.check:
        try:
            return _finish(run.Outcome(recording.read([options.check])), places)
        except recording.RecordingError as error:
            raise Refusal(str(error)) from error
    kept = _kept_path(options)
    if kept is not None:
        _check_place(kept)
    try:
        outcome = _run(options)
    except KeyboardInterrupt:
        _say("stopped before there was something to report")
        return 130
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        recording.write(outcome.recording, kept)
        _say(f"the record of all calls is in {kept}")
    return _finish(outcome, places)


def _run(options: argparse.Namespace) -> Outcome:
    from chat_history_conformance.campaign import run
    from chat_history_conformance.campaign.clients import importing
    from chat_history_conformance.campaign.plan import Traffic
    from chat_history_conformance.declaration.errors import DeclarationError

    try:
        return run.run(
            run.Options(
                backend=importing.find(options.backend, options.modules, Path.cwd()),
                ways=tuple(options.server),
                nodes=options.nodes,
                events=0 if options.duration else options.events,
                duration_seconds=options.duration or 0.0,
                seed=options.seed,
                faults=tuple(options.faults),
                traffic=Traffic(options.sessions, options.writers, options.readers),
                limit_seconds=options.limit,
                offline=options.offline,
                config=options.server_config,
                command=shlex.join(["history-conformance", *sys.argv[1:]]),
            ),
            _say,
        )
    except (run.Refused, importing.ImportFailed, DeclarationError) as error:
        raise Refusal(str(error)) from error


def _finish(outcome: Outcome, places: Mapping[str, Path]) -> int:
    """Check a recording, print and write the report, and return the exit status."""
    from chat_history_conformance.campaign import report
    from chat_history_conformance.campaign.report import summary

    try:
        result = report.judge(outcome.recording)
    except ValueError as error:
        raise Refusal(f"the record cannot be checked: {error}") from error
    for path in places.values():
        report.write(result, path)
    print(summary.terminal(result, colours=_colours(sys.stdout)), end="")
    if outcome.stopped:
        print(outcome.stopped)
    if outcome.trouble:
        print(f"incomplete: {outcome.trouble}")
    if not result.clean:
        return 1
    return 2 if outcome.trouble else 0


def _places(options: argparse.Namespace) -> dict[str, Path]:
    """Return the files of the report by their ending.

    Raises:
        Refusal: The ending of a file is that of another format.
    """
    found = {ending: getattr(options, ending) for ending in _ENDINGS}
    if options.output is not None:
        for ending in _ENDINGS:
            found[ending] = found[ending] or options.output / f"campaign.{ending}"
    for ending, path in found.items():
        if path is not None and path.suffix.lower() != f".{ending}":
            raise Refusal(f"--{ending} {path}: the name of the file must end in .{ending}.")
    return {ending: path for ending, path in found.items() if path is not None}


def _kept_path(options: argparse.Namespace) -> Path | None:
    if options.keep is None or options.keep != Path():
        kept: Path | None = options.keep
        return kept
    return (options.output or Path()) / "campaign.jsonl"


def _check_place(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is started."""
    from chat_history_conformance.reports import check_place

    try:
        check_place(path)
    except ValueError as error:
        raise Refusal(str(error)) from error
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    place = path if path.exists() else parent
    if not os.access(place, os.W_OK):
        raise Refusal(f"{path} cannot be written: no right to write to {place}. Name another path.")


def _say(line: str) -> None:
    """Print a line about the progress, with colours if stderr is a terminal."""
    if _colours(sys.stderr):
        line = re.sub(r"^\d+ of \d+:", r"\033[1m\g<0>\033[0m", line)
        line = re.sub(r"^.* (died|is killed).*$", r"\033[31m\g<0>\033[0m", line)
    print(line, file=sys.stderr, flush=True)


def _colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return number


def _fault_names(text: str) -> tuple[str, ...]:
    from chat_history_conformance.campaign.server.faults import FAULTS
    from chat_history_conformance.declaration.errors import did_you_mean

    names = tuple(one.strip() for one in text.split(",") if one.strip())
    for name in names:
        if name not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"no fault is named {name!r}.{did_you_mean(name, FAULTS)} "
                f"Choose from: {', '.join(FAULTS)}"
            )
    return names
