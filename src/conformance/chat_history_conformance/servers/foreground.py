"""A server in the foreground, for as long as somebody wants it: `history-conformance server`."""

from __future__ import annotations

import signal
import sys
import time
from typing import NoReturn

from chat_history_conformance.servers import ServerError, choice, ladder, variable

_LOOK_SECONDS = 0.5


def run(kind: str, way: str, *, port: int = 0, image: str = "", offline: bool = False) -> int:
    """Start a server, print its address on stdout, and stop it on Ctrl-C or SIGTERM.

    Args:
        kind: What to start.
        way: `auto`, `container`, `jvm`, or `mock` for Kafka.
        port: Where, on loopback; 0 for any port that is free.
        image: For a container, where it is not the default one.
        offline: Download nothing.

    Returns:
        The exit status: 0 where it was stopped, 130 where that came before it was ready.

    Raises:
        ServerError: It cannot be started, or ended by itself.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    ready = False
    try:
        with ladder.start(
            kind,
            way,
            offline=offline,
            announce=_say,
            images={kind: image} if image else None,
            port=port,
        ) as server:
            if not server.owned:
                raise ServerError(
                    f"there is nothing to start: a {kind} server runs at "
                    f"{choice.shown(server.address)} already. "
                    f"Unset {variable(kind)}, or name a way, such as jvm"
                )
            ready = True
            print(server.address, flush=True)
            _say(f"use it with: {variable(kind)}={server.address} pytest --history-backend={kind}")
            _say("Ctrl-C ends it, and what it stored goes with it")
            while not (how := server.ended()):
                time.sleep(_LOOK_SECONDS)
            raise ServerError(f"{kind} {server.description}: {how}. Its last lines:\n{server.log}")
    except KeyboardInterrupt:
        _say("stopped")
        return 0 if ready else 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
