"""The control `served` of the fault contracts: a small real server and a correct history on it.

Only the self-test uses it, with a separate server for each history. The broken histories of
`faulty/faults.py` are this history with one defect each.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance import servers
from chat_history_conformance.declaration.backend import Backend, Interference
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.faulty.served.cluster import start_cluster
from chat_history_conformance.faulty.served.clustered import ClusteredChatMessageHistory
from chat_history_conformance.faulty.served.history import ServedChatMessageHistory, ServedError
from chat_history_conformance.servers import process
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Server

__all__ = [
    "BACKEND",
    "CLUSTERED",
    "CLUSTERED_BACKEND",
    "CLUSTERED_LIMIT",
    "INTERFERENCE",
    "LIMIT",
    "SERVED",
    "ClusteredChatMessageHistory",
    "ServedByRun",
    "ServedChatMessageHistory",
    "ServedError",
    "close_connections",
    "forbid_requests",
    "hide_records",
    "in_second_process",
    "open_clustered",
    "open_served",
    "refuse_writes",
    "serving",
    "start",
]

SERVED = "served"

CLUSTERED = "served-cluster"

LIMIT = 8.0
"""Limit of one call in seconds. The timeouts of the control itself end after half of it."""

CLUSTERED_LIMIT = 12.0
"""The same on a cluster, in which another member may have to take over first."""


class _Served(Kind):
    """The kind of server that runs on the same Python as the suite."""

    name = SERVED
    title = "the served control"
    form = "HOST:PORT"
    ways = ("local",)
    unprivileged = False

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        source = Path(__file__).with_name("server.py")
        file = directory / "sessions.sqlite3"
        return Launch(
            command=[str(program.path), "-I", "-S", str(source), str(ports[0]), str(file)],
            address=f"127.0.0.1:{ports[0]}",
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        request = b'{"do": "read", "session": "", "count": 0}\n'
        try:  # a server that says that it is busy is there
            ServedChatMessageHistory("", address)._exchange(request, lambda: seconds)
        except OSError as error:
            raise NotReady(str(error)) from error


def start() -> Server:
    """Start a server of the control on a free loopback port.

    Raises:
        ServerError: The server did not start.
    """
    python = Program(Path(sys.executable), "1", "process")
    return process.start(_Served(), python, Options())


@contextlib.contextmanager
def serving(*, clustered: bool = False) -> Iterator[Server]:
    """Run a server for this process and its children while the context is open.

    Args:
        clustered: Whether the server has three members.
    """
    name = servers.variable(SERVED)
    before = os.environ.get(name)
    with start_cluster() if clustered else start() as server:
        os.environ[name] = server.address
        try:
            yield server
        finally:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


class ServedByRun(ServedChatMessageHistory):
    """The control, which needs only a session id: a history on the server of the run."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, servers.address(SERVED))


def open_served(session_id: str) -> ServedChatMessageHistory:
    """Open a history on the server that the run started."""
    return ServedChatMessageHistory(session_id, servers.address(SERVED))


def open_clustered(session_id: str) -> ClusteredChatMessageHistory:
    """Open a history on the cluster that the run started."""
    return ClusteredChatMessageHistory(session_id, servers.address(SERVED))


def in_second_process() -> bool:
    """Return whether this is the second process of the suite or of a script."""
    file = getattr(sys.modules["__main__"], "__file__", None) or ""
    return sys.argv[1:] == ["elsewhere"] or Path(file).name == "worker.py"


def _disturbing(session_id: str, how: str) -> contextlib.ExitStack:
    """Return a context in which another user of the server disturbs a session."""
    other = open_served(session_id)
    stack = contextlib.ExitStack()
    other._ask({"do": "disturb", "how": how}, other.answer_seconds)
    stack.callback(other._ask, {"do": "disturb", "how": ""}, other.answer_seconds)
    return stack


@contextlib.contextmanager
def refuse_writes(session_id: str) -> Iterator[None]:
    """Make the server refuse all writes of a session."""
    with _disturbing(session_id, "refuse"):
        yield


@contextlib.contextmanager
def forbid_requests(session_id: str) -> Iterator[None]:
    """Make the server refuse all requests of a session, as if a permission was taken away."""
    with _disturbing(session_id, "forbid"):
        yield


@contextlib.contextmanager
def close_connections(session_id: str) -> Iterator[None]:
    """Make the server close the connection of each request, after it has executed it."""
    with _disturbing(session_id, "close"):
        yield


@contextlib.contextmanager
def hide_records(session_id: str) -> Iterator[None]:
    """Make the server hide records that are added from now on, as an open transaction does."""
    with _disturbing(session_id, "hide"):
        yield


INTERFERENCE: Mapping[str, Interference] = {
    "writes refused": refuse_writes,
    "a missing permission": forbid_requests,
    "connections closed": close_connections,
    "an open transaction": hide_records,
}
"""All that another user of the server can do to a session."""

BACKEND = Backend(
    name=SERVED,
    factory=open_served,
    origin=Origin(__name__, "open_served"),
    server=SERVED,
    interference=INTERFERENCE,
)
"""The declaration of the control."""

CLUSTERED_BACKEND = Backend(
    name=CLUSTERED,
    factory=open_clustered,
    origin=Origin(__name__, "open_clustered"),
    server=SERVED,
)
"""The declaration of the control on a cluster."""
