"""The servers of one run: chosen by its options, started, told to child processes, stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from chat_history_conformance import servers
from chat_history_conformance.servers import choice
from chat_history_conformance.servers.handle import Server

NO_VERDICT = "a mock server gives no verdict"
"""Why a verdict stays open where the server is a mock."""


class Servers:
    """What a run has of servers, from the first option read to the last server stopped.

    Args:
        ways: What `--history-server` named, `[KIND=]WAY` each.
        config: The file of `--history-server-config`, where one is given.
        offline: Whether nothing may be downloaded.

    Raises:
        ServerError: A way makes no sense, or the file cannot be read.
    """

    def __init__(
        self, ways: Sequence[str] = (), config: Path | None = None, *, offline: bool = False
    ) -> None:
        self._choices = [choice.parse(way) for way in ways]
        self._offline = offline
        self._before: dict[str, str | None] = {}
        self.running: dict[str, Server] = {}
        self.owned: frozenset[str] = frozenset()
        """The kinds that this run has started itself, in this process or in an xdist controller."""
        try:
            if config is not None:
                self._set(servers.CONFIG_VARIABLE, str(config))
            for kind in servers.KINDS:
                servers.settings(kind)
        except BaseException:
            self.stop()
            raise

    def start(self, kinds: Iterable[str], announce: Callable[[str], None]) -> None:
        """Find or start a server of each kind, and make its address known to child processes.

        Args:
            kinds: Of `servers.KINDS`.
            announce: Told what is being done, a line each.

        Raises:
            ServerError: One cannot be started; the text says what to do.
        """
        for kind in dict.fromkeys(kinds):
            from chat_history_conformance.servers import (
                ladder,  # with what it needs, only if it is needed
            )

            server = ladder.start(
                kind,
                choice.pick(kind, self._choices),
                offline=self._offline,
                announce=announce,
                config=servers.settings(kind),
            )
            self.running[kind] = server
            # By the kind that was asked for, whatever the one that came calls itself.
            known = {**server.environment, servers.variable(kind): server.address}
            for name, value in known.items():
                self._set(name, value)
        self.owned = frozenset(kind for kind, server in self.running.items() if server.owned)

    @property
    def handed_on(self) -> Mapping[str, object]:
        """What an xdist worker has to know, as plain values for `take_over`."""
        known = {kind: server.address for kind, server in self.running.items()}
        return {"addresses": known, "owned": sorted(self.owned)}

    def take_over(self, handed_on: Mapping[str, object]) -> None:
        """Know in an xdist worker what its controller has started; start and stop nothing."""
        addresses, owned = handed_on["addresses"], handed_on["owned"]
        assert isinstance(addresses, dict)
        assert isinstance(owned, list)
        for kind, address in addresses.items():
            self._set(servers.variable(kind), address)
        self.owned = frozenset(owned)

    def described(self) -> Mapping[str, str]:
        """What is used, for reports: `{"kafka": "4.1.1 (jvm)"}`."""
        return {kind: server.description for kind, server in self.running.items()}

    def header(self) -> list[str]:
        """What is used and where: `kafka: 4.1.1 (jvm) at 127.0.0.1:9092`; never a secret."""
        return [
            f"{kind}: {server.description} at {choice.shown(server.address)}"
            for kind, server in self.running.items()
        ]

    def why_no_verdict(self, kind: str | None) -> str | None:
        """Why a backend on a server of this kind gets no verdict, however much of it is right."""
        server = self.running.get(kind or "")
        return NO_VERDICT if server is not None and server.way == "mock" else None

    def stop(self) -> None:
        """Stop what was started here, and leave the environment as it was. Idempotent."""
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
