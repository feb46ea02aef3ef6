"""From the way that was chosen to a server in use; `auto` tries one way after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from chat_history_conformance.servers import (
    ServerError,
    artifacts,
    choice,
    container,
    java,
    process,
    settings,
    variable,
)
from chat_history_conformance.servers.choice import Choice
from chat_history_conformance.servers.handle import Server
from chat_history_conformance.servers.kind import Kind, NotReady, Refused, Wishes, load

REACHED_SECONDS = 10.0
"""How long a server at an address may take to answer."""


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
        kind: `kafka` or `elasticsearch`.
        way: `auto`, `container`, `jvm`, `mock` or an address.
        offline: Download nothing.
        announce: Told, a line at a time, what is downloaded, which ways did not work, and what is
            used in the end.
        images: Images by kind, for the container way.
        config: Client settings to reach a server at an address, if not those of `settings(kind)`.
        properties: Properties of a server that is started, beyond the defaults.
        credentials: Passwords by user that a started server is to demand.
        port: Where a started server is to listen; 0 for any port that is free.
        configuration: Text of files to lay among those of a started server's configuration, by
            file name: certificates and roles for Elasticsearch.

    Raises:
        ServerError: None can be had this way, or, for `auto`, in any.
    """
    found = load(kind)
    config = settings(kind) if config is None else config
    chosen = choice.parse(way, kind) if isinstance(way, str) else way
    wishes = Wishes(properties or {}, credentials or {}, port, configuration or {})
    image = (images or {}).get(kind, found.image)

    def take(one: str, *, promptly: bool = False) -> Server:
        began = time.monotonic()
        server: Server
        if wishes.configuration and not (one == "jvm" and found.takes_files):
            raise ServerError(
                f"{kind} by {one} takes no files of configuration: only Elasticsearch by jvm does"
            )
        if one == "container":
            server = container.start(
                found, image, wishes, announce, offline=offline, promptly=promptly
            )
        elif one == "jvm":
            program = java.find(found.java, kind)
            files = artifacts.obtain(artifacts.Lock.read(found.lock), announce, offline=offline)
            server = process.start(found, program, files, wishes)
        else:
            server = found.mock(wishes)
        taken = time.monotonic() - began
        announce(f"{kind} {server.description} is ready at {server.address} after {taken:.1f} s")
        return server

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
            announce(f"{variable(kind)} is passed over: {error}")
    for one in ("container", "jvm"):
        try:
            return take(one, promptly=True)
        except ServerError as error:
            reasons[one] = str(error)
            announce(f"{kind} by {one} is passed over: {error}")
    raise ServerError(_no_way(found, reasons))


class Elsewhere(Server):
    """A server that somebody else runs.

    Args:
        kind: What it is.
        address: Where.
        version: Which, if that is known.
    """

    def __init__(self, kind: Kind, address: str, version: str) -> None:
        self.kind = kind.name
        self.way = "address"
        self.address = address
        self.version = version

    def stop(self) -> None:
        """Do nothing: it is not ours."""


def _reach(kind: Kind, address: str, config: Mapping[str, Any]) -> Server:
    try:
        process.wait_until_ready(
            lambda seconds: kind.ask(address, config, "", seconds), lambda: "", REACHED_SECONDS
        )
    except (NotReady, Refused) as error:
        raise ServerError(f"the {kind.name} server at {choice.shown(address)}: {error}") from None
    return Elsewhere(kind, address, kind.version_at(address, config, REACHED_SECONDS))


def _no_way(kind: Kind, reasons: Mapping[str, str]) -> str:
    name = kind.name
    lines = [f"no {name} server can be had here:"]
    lines += [f"  {way}: {reason}" for way, reason in reasons.items()]
    lines += [
        "Any one of these will do:",
        f"  pip install 'chat-history-conformance[{name}]'  (all that the ways below need)",
        f"  --history-server={name}={kind.form} or {variable(name)}={kind.form}  (one that runs)",
        f"  --history-server={name}=container  (a running Docker engine and the image)",
        f"  --history-server={name}=jvm  (the first time with a network)",
    ]
    if kind.has_mock:
        lines.append(f"  --history-server={name}=mock  (for a first look, without a verdict)")
    return "\n".join(lines)
