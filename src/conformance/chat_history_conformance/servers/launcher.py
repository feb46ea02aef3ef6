"""Find or start a server in the chosen way; `auto` tries one way after the other."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from chat_history_conformance.servers import (
    ServerError,
    choice,
    cluster,
    container,
    process,
    settings,
    variable,
)
from chat_history_conformance.servers.choice import Choice
from chat_history_conformance.servers.jvm import JvmKind
from chat_history_conformance.servers.kind import Kind, NotReady, Options, Refused, load
from chat_history_conformance.servers.server import Server

__all__ = [
    "REACHED_SECONDS",
    "ExternalServer",
    "start",
]

REACHED_SECONDS = 10.0
"""Time limit for the first answer of a server at an address."""


def start(
    kind: str,
    way: str | Choice,
    *,
    offline: bool = False,
    announce: Callable[[str], None],
    images: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    properties: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
    port: int = 0,
    configuration: Mapping[str, str] | None = None,
) -> Server:
    """Find or start a server. Stop it when it is no longer needed.

    Args:
        kind: The kind of server, such as `redis`.
        way: `auto`, `container`, `jvm`, `local`, `mock` or an address. `jvm:3` is a cluster of
            three nodes.
        offline: Download nothing.
        announce: Called with a line of text for each download, each way that did not work, and the
            server that is used.
        images: Images by kind, for the container way.
        config: Client settings for a server at an address. Defaults to `settings(kind)`.
        properties: Properties of a started server, beyond the defaults.
        credentials: Passwords by user that a started server demands.
        port: The port of a started server; 0 for any free port.
        configuration: Text of files to add to the configuration of a started server, by file name:
            certificates and roles for Elasticsearch.

    Raises:
        ServerError: There is no server this way, or for `auto` in any way.
    """
    found = load(kind)
    if found.client and importlib.util.find_spec(found.client) is None:
        raise ServerError(
            f"The package {found.client} is not installed: pip install '{found.requirement}'"
        )
    config = settings(kind) if config is None else config
    chosen = choice.parse(way, kind) if isinstance(way, str) else way
    options = Options(properties or {}, credentials or {}, port, configuration or {})
    image = (images or {}).get(kind, found.image)

    def take(one: str, *, promptly: bool = False) -> Server:
        began = time.monotonic()
        server: Server
        takes_files = isinstance(found, JvmKind) and found.takes_files
        if options.configuration and not (one == "jvm" and takes_files):
            raise ServerError(
                f"{kind} by {one} does not take configuration files. "
                "Only Elasticsearch by jvm does."
            )
        if one == "container":
            server = container.start(
                found, image, options, announce, offline=offline, promptly=promptly
            )
        elif one == "mock":
            server = found.mock(options)
        else:
            program = found.obtain(announce, offline=offline)
            if chosen.nodes > 1:
                assert isinstance(found, JvmKind)  # the only way to a cluster
                server = cluster.start(found, program, options, chosen.nodes)
            else:
                server = process.start(found, program, options)
        taken = time.monotonic() - began
        announce(f"{kind} {server.description} is ready at {server.address} after {taken:.1f} s")
        return server

    started = [one for one in found.ways if one != "mock"]
    if chosen.way == "address":
        return _reach(found, chosen.address, config)
    if chosen.way != "auto":
        return take(chosen.way)
    reasons = {}
    if named := os.environ.get(variable(kind)):
        try:
            return _reach(found, choice.parse(named, kind).address, config)
        except ServerError as error:
            reasons[variable(kind)] = str(error)
            announce(f"skipping {variable(kind)}: {error}")
    for one in started:
        try:
            return take(one, promptly=one != started[-1])
        except ServerError as error:
            reasons[one] = str(error)
            announce(f"skipping {kind} by {one}: {error}")
    raise ServerError(_no_way(found, reasons))


class ExternalServer(Server):
    """A server that this run did not start.

    Args:
        kind: Its kind.
        address: Its address.
        version: Its version; empty if it is unknown.
    """

    def __init__(self, kind: Kind, address: str, version: str) -> None:
        self.kind = kind.name
        self.way = "address"
        self.address = address
        self.version = version

    def stop(self) -> None:
        """Do nothing: this run did not start it."""


def _reach(kind: Kind, address: str, config: Mapping[str, Any]) -> Server:
    try:
        process.wait_until_ready(
            lambda seconds: kind.ask(address, config, "", seconds), lambda: "", REACHED_SECONDS
        )
    except (NotReady, Refused) as error:
        raise ServerError(f"the {kind.name} server at {choice.shown(address)}: {error}") from None
    return ExternalServer(kind, address, kind.version_at(address, config, REACHED_SECONDS))


_NEEDS = {
    "container": "a running Docker engine and the image",
    "jvm": "needs a network the first time",
    "mock": "for a first look, without a verdict",
}


def _no_way(kind: Kind, reasons: Mapping[str, str]) -> str:
    name = kind.name
    needs = {**_NEEDS, "local": f"an installed {' or '.join(kind.programs)}: {kind.install}"}
    without = "for all ways below" if "local" not in kind.ways else "for the way container"
    return "\n".join(
        [
            f"No {name} server is available:",
            *(f"  {way}: {reason}" for way, reason in reasons.items()),
            "Do one of these:",
            f"  pip install '{kind.requirement}'  ({without})",
            f"  --history-server={name}={kind.form} or {variable(name)}={kind.form}  (it runs)",
            *(f"  --history-server={name}={way}  ({needs[way]})" for way in kind.ways),
        ]
    )
