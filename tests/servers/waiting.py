"""Wait for servers in tests."""

from __future__ import annotations

import time
from collections.abc import Callable

from chat_history_conformance.servers.kind import NotReady, load
from chat_history_conformance.servers.server import Server

LIMIT_SECONDS = 30.0


def answers(server: Server, seconds: float = 5) -> bool:
    """Return whether a server answers within a time limit."""
    try:
        load(server.kind).ask(server.address, {}, "", seconds)
    except NotReady:
        return False
    return True


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail with `what` after the time limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
