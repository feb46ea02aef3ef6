"""The command `completion`: print a script that completes commands in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from chat_history_conformance.cli.refusal import Refusal

__all__ = ["SHELLS", "add_parser"]

SHELLS = ("bash", "zsh", "fish")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    whole: Callable[[], argparse.ArgumentParser],
) -> None:
    """Add `completion` to the commands.

    Args:
        commands: The commands.
        whole: A function that returns the parser of all commands.
    """
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that completes the commands, their options, contracts, "
        "families and backends in a shell. It needs the extra `completion`.",
        epilog="example: history-conformance completion bash",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=lambda options: _completion(whole(), options.shell))


def _completion(parser: argparse.ArgumentParser, shell: str) -> int:
    try:
        import shtab
    except ImportError as error:
        raise Refusal(
            "completion needs shtab. Install it with: "
            "pip install 'chat-history-conformance[completion]'"
        ) from error
    names = _names()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.choices is None and action.dest in names:
            action.choices = names[action.dest]
    print(shtab.complete(parser, shell))
    return 0


def _names() -> Mapping[str, Collection[str]]:
    """Return the known values of arguments by the names of the arguments."""
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.declaration import registry

    return {
        "contract": list(catalogue.load()),
        "family": list(catalogue.FAMILIES),
        "backend": registry.names(),
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield all arguments of a parser and of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
