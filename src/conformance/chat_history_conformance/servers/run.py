"""The servers of one run: chosen by its options, started, passed on to child processes, stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from chat_history_conformance import servers
from chat_history_conformance.servers import choice
from chat_history_conformance.servers.server import Server

__all__ = [
    "NO_VERDICT",
    "Servers",
]

NO_VERDICT = "a mock server gives no verdict"
"""The reason why a run on a mock server has no verdict."""


class Servers:
    """The servers of a run, from reading the options to stopping the last server.

    Args:
        ways: The values of `--history-server`, `[KIND=]WAY` each.
        config: The file of `--history-server-config`, if there is one.
        offline: Download nothing.

    Raises:
        ServerError: A way is not valid, or the file cannot be read.
    """

    def __init__(
        self, ways: Sequence[str] = (), config: Path | None = None, *, offline: bool = False
    ) -> None:
        self._choices = [choice.parse(way) for way in ways]
        self._offline = offline
        self._before: dict[str, str | None] = {}
        self.running: dict[str, Server] = {}
        self.owned: frozenset[str] = frozenset()
        """The kinds that this run has started, in this process or in the xdist controller."""
        try:
            if config is not None:
                self._set(servers.CONFIG_VARIABLE, str(config))
            for kind in servers.kinds():
                servers.settings(kind)
        except BaseException:
            self.stop()
            raise

    def start(self, kinds: Iterable[str], announce: Callable[[str], None]) -> None:
        """Find or start a server of each kind, and pass its address on to child processes.

        Args:
            kinds: Names of kinds.
            announce: Called with a line of text for each thing that is done.

        Raises:
            ServerError: A server cannot be started; the message says what to do.
        """
        for kind in dict.fromkeys(kinds):
            from chat_history_conformance.servers import (
                launcher,  # with what it needs, only if it is needed
            )

            server = launcher.start(
                kind,
                choice.pick(kind, self._choices),
                offline=self._offline,
                announce=announce,
                config=servers.settings(kind),
            )
            self.running[kind] = server
            # Use the requested kind, because a server may call itself something else.
            known = {**server.environment, servers.variable(kind): server.address}
            for name, value in known.items():
                self._set(name, value)
        self.owned = frozenset(kind for kind, server in self.running.items() if server.owned)

    @property
    def handed_on(self) -> Mapping[str, object]:
        """The plain values that an xdist worker passes to `take_over`."""
        known = {kind: server.address for kind, server in self.running.items()}
        return {"addresses": known, "owned": sorted(self.owned)}

    def take_over(self, handed_on: Mapping[str, object]) -> None:
        """Use the servers of the xdist controller in a worker; start and stop nothing."""
        addresses, owned = handed_on["addresses"], handed_on["owned"]
        assert isinstance(addresses, dict)
        assert isinstance(owned, list)
        for kind, address in addresses.items():
            self._set(servers.variable(kind), address)
        self.owned = frozenset(owned)

    def described(self) -> Mapping[str, str]:
        """Return the servers for reports: `{"kafka": "4.1.1 (jvm)"}`."""
        return {kind: server.description for kind, server in self.running.items()}

    def header(self) -> list[str]:
        """Return header lines: `kafka: 4.1.1 (jvm) at 127.0.0.1:9092`; never a secret."""
        return [
            f"{kind}: {server.description} at {choice.shown(server.address)}"
            for kind, server in self.running.items()
        ]

    def why_no_verdict(self, kind: str | None) -> str | None:
        """Return why a backend on this kind of server gets no verdict; None if it gets one."""
        server = self.running.get(kind or "")
        return NO_VERDICT if server is not None and server.way == "mock" else None

    def stop(self) -> None:
        """Stop the started servers and restore the environment. Idempotent."""
        try:
            while self.running:
                self.running.popitem()[1].stop()
        finally:
            while self._before:
                name, value = self._before.popitem()
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _set(self, name: str, value: str) -> None:
        self._before.setdefault(name, os.environ.get(name))
        os.environ[name] = value
