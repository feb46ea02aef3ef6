"""The command `server`: run a server in the foreground."""

from __future__ import annotations

import argparse

from chat_history_conformance.cli.ending import terminated_as_interrupted
from chat_history_conformance.cli.refusal import Refusal
from chat_history_conformance.servers import kinds

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `server` to the commands."""
    parser = commands.add_parser(
        "server",
        help="run a server in the foreground",
        description="Run a server in the foreground. Prints its address; Ctrl-C stops it.",
        epilog="example: history-conformance server kafka --nodes 3",
    )
    parser.add_argument("kind", choices=kinds(), help="the kind of server")
    parser.add_argument(
        "--way", default="auto", help="start it by container, jvm, local or mock (default: auto)"
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="listen on this port (default: a free one)"
    )
    parser.add_argument(
        "--image", default="", metavar="NAME", help="use this image, with --way container"
    )
    parser.add_argument(
        "--nodes",
        type=int,
        default=1,
        metavar="N",
        help="start a cluster of N nodes, such as 3 (default: a single server)",
    )
    parser.add_argument("--offline", action="store_true", help="download nothing")
    parser.set_defaults(run=_server)


def _server(options: argparse.Namespace) -> int:
    from chat_history_conformance.servers import ServerError, foreground

    try:
        with terminated_as_interrupted():
            return foreground.run(
                options.kind,
                options.way,
                port=options.port,
                image=options.image,
                offline=options.offline,
                nodes=options.nodes,
            )
    except ServerError as error:
        raise Refusal(str(error)) from None
