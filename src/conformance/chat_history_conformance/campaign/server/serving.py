"""The server of a campaign: checked before anything starts, and started by this run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from chat_history_conformance import servers
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.faulty import served
from chat_history_conformance.servers import ServerError, choice
from chat_history_conformance.servers.kind import load
from chat_history_conformance.servers.run import Servers
from chat_history_conformance.servers.server import Server

__all__ = ["Refused", "ServerOptions", "kind_of", "serving", "way_of"]


class Refused(Exception):
    """A campaign that cannot be run; the text says what to do."""


class ServerOptions(Protocol):
    """The options of a campaign that are about its server."""

    @property
    def backend(self) -> Backend: ...

    @property
    def ways(self) -> tuple[str, ...]: ...

    @property
    def nodes(self) -> int: ...

    @property
    def offline(self) -> bool: ...

    @property
    def config(self) -> Path | None: ...


@contextlib.contextmanager
def serving(options: ServerOptions, say: Callable[[str], None]) -> Iterator[Server]:
    """Start the server of a campaign for this process and its children, and stop it in the end.

    Raises:
        Refused: There is no such server, or this run did not start it.
    """
    if options.backend.importable is None:
        raise Refused(options.backend.why_not_importable)
    for capability in ("durable", "shared"):
        if capability in options.backend.lacks:
            raise Refused(
                f"Backend {options.backend.name!r} lacks {capability!r} "
                f"({options.backend.lacks[capability]}), and the clients of a campaign share "
                "sessions among handles and processes. Choose another backend."
            )
    kind = kind_of(options.backend, options.ways)
    if kind == served.SERVED:
        if options.nodes > 1:
            raise Refused("The control server has one node. Remove --nodes.")
        with served.serving() as server:
            yield server
        return
    try:
        started = Servers(
            [way_of(kind, options.ways, options.nodes)], options.config, offline=options.offline
        )
        try:
            started.start([kind], say)
            server = started.running[kind]
            if server.why_no_faults:
                raise Refused(f"This server cannot be disturbed: {server.why_no_faults}.")
            yield server
        finally:
            started.stop()
    except ServerError as error:
        raise Refused(str(error)) from error


def kind_of(backend: Backend, ways: Sequence[str]) -> str:
    """Return the kind of server that a backend needs.

    Raises:
        Refused: It declares none, and no way names one.
    """
    known = servers.kinds()
    named = [kind for kind in (way.partition("=")[0] for way in ways) if kind in known]
    kind = backend.server or (named[-1] if named else "")
    if kind in (*known, served.SERVED):
        return kind
    kinds = " or ".join(map(repr, known))
    if not kind:
        raise Refused(
            f"Backend {backend.name!r} declares no server, and a campaign disturbs a server. "
            f"Declare it with @history_backend({backend.name!r}, server={kinds}), or name the "
            "kind: --server kafka=jvm."
        )
    raise Refused(
        f"Backend {backend.name!r} declares server={kind!r}, and a campaign can start only {kinds}."
    )


def way_of(kind: str, ways: Sequence[str], nodes: int) -> str:
    """Return the way to start a server with a number of nodes, as for `--history-server`.

    Args:
        kind: The kind of server.
        ways: The values of `--server`.
        nodes: The number of nodes; 0 for the number in `ways`, or one.

    Raises:
        Refused: The way leads to a server that this run does not start, or has no nodes.
        ServerError: A way is not valid.
    """
    chosen = choice.pick(kind, [choice.parse(way) for way in ways])
    variable = servers.variable(kind)
    by = " or ".join(f"--server {kind}={way}" for way in reversed(load(kind).ways) if way != "mock")
    if chosen.way == "auto" and os.environ.get(variable) and nodes < 2:
        raise Refused(
            f"{variable} names a server that this run did not start, and a campaign kills and "
            f"pauses its server. Unset {variable}, or start another one with {by}."
        )
    if chosen.way == "address":
        raise Refused(
            f"This run did not start the server at {chosen.shown}, and a campaign kills and pauses "
            f"its server. Start one with {by}."
        )
    if chosen.way == "mock":
        raise Refused(f"A mock server cannot be killed and paused. Start one with {by}.")
    if nodes and chosen.nodes not in (1, nodes):
        raise Refused(
            f"--server {kind}={chosen.shown} and --nodes {nodes} contradict each other. "
            "Remove one of them."
        )
    nodes = nodes or chosen.nodes
    if nodes == 1:
        return f"{kind}={chosen.way}"
    if chosen.way not in ("auto", "jvm"):
        raise Refused(
            f"A server by {chosen.way} has one node. Use --server {kind}=jvm with --nodes {nodes}."
        )
    return f"{kind}=jvm:{nodes}"
