"""The command `campaign`: disturb a server under traffic, record everything, and check it."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from chat_history_conformance.cli.refusal import Refusal

__all__ = ["add_parser"]

_EVENTS = 30


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
    what.add_argument(
        "--backend",
        required=True,
        metavar="NAME",
        help="the backend, as for pytest --history-backend: a registered or declared name, or "
        "package.module:attribute",
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
        "--nodes", type=_positive, default=1, metavar="N", help="nodes of the server (default: 1)"
    )
    what.add_argument("--offline", action="store_true", help="download nothing")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    from chat_history_conformance.campaign.faults import FAULTS

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
        help="write campaign.json, campaign.html and campaign.md here",
    )
    for ending in ("json", "html", "md"):
        output.add_argument(
            f"--{ending}", type=Path, metavar="PATH", help=f"write the report as {ending} here"
        )
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
    from chat_history_conformance.campaign.plan import Traffic

    backend = _backend(options)
    try:
        outcome = run.run(
            run.Options(
                backend=backend,
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
    except run.Refused as refused:
        raise Refusal(str(refused)) from refused
    if options.keep is not None:
        recording.write(outcome.recording, options.keep)
    return 0


def _backend(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    from chat_history_conformance.campaign import importing
    from chat_history_conformance.declaration.errors import DeclarationError

    try:
        return importing.find(options.backend, options.modules, Path.cwd())
    except (importing.ImportFailed, DeclarationError) as error:
        raise Refusal(str(error)) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
    from chat_history_conformance.campaign.faults import FAULTS
    from chat_history_conformance.declaration.errors import did_you_mean

    names = tuple(one.strip() for one in text.split(",") if one.strip())
    for name in names:
        if name not in FAULTS:
            raise argparse.ArgumentTypeError(
                f"no fault is named {name!r}.{did_you_mean(name, FAULTS)} "
                f"Choose from: {', '.join(FAULTS)}"
            )
    return names
