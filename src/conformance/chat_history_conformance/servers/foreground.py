"""A server in the foreground until Ctrl-C: `history-conformance server`."""

from __future__ import annotations

import sys
import time

from chat_history_conformance.servers import ServerError, choice, launcher, variable
from chat_history_conformance.servers.kind import load

__all__ = [
    "run",
]

_LOOK_SECONDS = 0.5


def run(
    kind: str,
    way: str,
    *,
    port: int = 0,
    image: str = "",
    offline: bool = False,
    nodes: int = 1,
) -> int:
    """Start a server, print its address on stdout, and stop it on `KeyboardInterrupt`.

    Args:
        kind: The kind of server.
        way: `auto`, `container`, `jvm`, `local` or `mock`.
        port: The port on loopback; 0 for any free port.
        image: The image of a container; empty for the default.
        offline: Download nothing.
        nodes: The number of nodes. More than one are a cluster, which only `auto` and `jvm` start.

    Returns:
        The exit status: 0 if it was stopped, 130 if it was interrupted before it was ready.

    Raises:
        ServerError: It cannot be started, or ended by itself.
    """
    if nodes != 1:
        way = f"{'jvm' if way == 'auto' else way}:{nodes}"
    ready = False
    try:
        with launcher.start(
            kind,
            way,
            offline=offline,
            announce=_say,
            images={kind: image} if image else None,
            port=port,
        ) as server:
            if not server.owned:
                raise ServerError(
                    f"A {kind} server already runs at {choice.shown(server.address)}. "
                    f"Unset {variable(kind)}, or name a way, such as {load(kind).ways[-1]}."
                )
            ready = True
            print(server.address, flush=True)
            _say(f"use it with: {variable(kind)}={server.address} pytest --history-backend=NAME")
            _say("Ctrl-C stops it and removes its data")
            while not (how := server.ended()):
                time.sleep(_LOOK_SECONDS)
            raise ServerError(f"{kind} {server.description}: {how}. Its last lines:\n{server.log}")
    except KeyboardInterrupt:
        _say("stopped")
        return 0 if ready else 130


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
