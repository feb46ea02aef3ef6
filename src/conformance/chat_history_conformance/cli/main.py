"""The entry point of `history-conformance`: choose a command and run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import chat_history_conformance
from chat_history_conformance.cli import (
    bench_compare,
    bench_results,
    campaign,
    completion,
    contracts,
    init,
    report,
    selftest,
    server,
)
from chat_history_conformance.cli.refusal import Refusal

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The words after `history-conformance`. Defaults to those of this process.

    Returns:
        0, or 1 if `selftest` or `bench compare` found something, or 2 after wrong use.
    """
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except Refusal as refusal:
        print(f"history-conformance: {refusal}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        sys.stderr.close()
        return 0
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = argparse.ArgumentParser(
        prog="history-conformance",
        description="Show the contracts for chat histories, and the reports of test runs. "
        "To run the contracts, use: pytest --history-backend=NAME",
    )
    whole.add_argument("--version", action="version", version=chat_history_conformance.__version__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    init.add_parser(commands)
    contracts.add_parsers(commands)
    report.add_parser(commands)
    campaign.add_parser(commands)
    server.add_parser(commands)
    bench = commands.add_parser(
        "bench",
        help="compare the speed of two versions, and show benchmark results",
        description="Compare the speed of two versions, and show benchmark results.",
    )
    benches = bench.add_subparsers(required=True, metavar="COMMAND")
    bench_compare.add_parser(benches)
    bench_results.add_parser(benches)
    selftest.add_parser(commands)
    completion.add_parser(commands, parser)
    return whole
