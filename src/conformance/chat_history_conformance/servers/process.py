"""A server that runs as a process on this machine, whatever its kind; what any start takes."""

from __future__ import annotations

import os
import random
import socket
import textwrap
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from chat_history_conformance.servers import ServerError, counted_variable, unprivileged
from chat_history_conformance.servers.handle import Server, Unsupported
from chat_history_conformance.servers.keeping import Keeping
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Refused, Wishes
from chat_history_conformance.servers.unprivileged import Account

READY_SECONDS = 120.0
"""How long a server may take until it serves clients."""

S = TypeVar("S", bound=Server)

_ATTEMPTS = 5
_ASK_SECONDS = 2.0


class PortTaken(Exception):
    """Somebody else got the port in between."""


class StartedServer(Server):
    """A server that is started from here, in whatever way.

    Args:
        kind: What it is.
        launch: How it is run and asked.
    """

    def __init__(self, kind: Kind, launch: Launch) -> None:
        self.kind = kind.name
        self.address = launch.address
        self._of_kind = kind
        self._launch = launch

    @property
    def environment(self) -> Mapping[str, str]:
        known = dict(super().environment)
        if self._launch.counted:
            known[counted_variable(self.kind)] = " ".join([self.address, *self._launch.counted])
        return known

    @abstractmethod
    def start(self) -> None:
        """Run it, for the first time or again, and wait until it is ready.

        Raises:
            PortTaken: Run the next one elsewhere.
            ServerError: It ended, or was not ready in time.
        """

    def restart(self) -> None:
        self.kill()
        try:
            self.start()
        except PortTaken:
            raise ServerError(
                f"{self.address} was taken by another program while the server was down"
            ) from None

    def _wait_until_ready(self, seconds: float) -> None:
        wait_until_ready(
            lambda a_while: self._of_kind.ask(
                self.address, self._launch.config, self._launch.identity, a_while
            ),
            self.ended,
            seconds,
        )


class ProcessServer(StartedServer):
    """A server kept by a keeper.

    Args:
        kind: What it is.
        keeping: The keeper with the directory in which it was prepared.
        launch: How to run it.
        account: As whom, if not as ourselves.
    """

    way = "jvm"

    def __init__(
        self, kind: Kind, keeping: Keeping, launch: Launch, account: Account | None = None
    ) -> None:
        super().__init__(kind, launch)
        self.version = kind.version
        self._keeping = keeping
        self._account = account

    @property
    def why_no_faults(self) -> str:
        return "" if os.name == "posix" else "Windows cannot stop a process and let it go on"

    @property
    def log(self) -> str:
        return self._keeping.log

    def start(self) -> None:
        self._keeping.start(self._launch.command, self._launch.environment, self._account)
        try:
            self._wait_until_ready(READY_SECONDS)
        except (NotReady, Refused) as error:
            if self.ended() and self._keeping.has_said(self._of_kind.taken):
                raise PortTaken from None
            raise ServerError(
                f"{self._of_kind.title} {self.version} did not start: {error}. "
                f"Its whole log is in {self._keeping.keep_log()}; the end of it:\n"
                + textwrap.indent(self._keeping.log, "    ")
            ) from None

    def ended(self) -> str:
        return self._keeping.ended()

    def pause(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        self._keeping.pause()

    def resume(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        self._keeping.resume()

    def kill(self) -> None:
        self._keeping.kill()

    def stop(self) -> None:
        self._keeping.stop()


def start(kind: Kind, java: Path, files: Sequence[Path], wishes: Wishes) -> ProcessServer:
    """Start a server of a kind on free ports, and on others where they turn out to be taken.

    Raises:
        ServerError: It did not start.
    """

    def attempt() -> ProcessServer:
        keeping = Keeping(kind.name)
        try:
            account = (
                unprivileged.account(kind.title, keeping.directory) if kind.refuses_root else None
            )
            launch = kind.process(
                java, files, keeping.directory, free_ports(kind.ports, wishes.port), wishes
            )
            if account is not None:
                account.own(keeping.directory)
            server = ProcessServer(kind, keeping, launch, account)
            server.start()
        except BaseException:
            keeping.stop()
            raise
        return server

    return until_free(attempt, wishes)


def until_free(attempt: Callable[[], S], wishes: Wishes) -> S:
    """Start a server, again where somebody else took its port in between.

    Args:
        attempt: Starts it on ports that are free; raises `PortTaken` where they no longer are.
        wishes: A port that is wished for is tried once.

    Raises:
        ServerError: It did not work out.
    """
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except PortTaken:
            if wishes.port:
                raise ServerError(
                    f"port {wishes.port} is taken by another program: name another one, or none"
                ) from None
    raise ServerError(f"{_ATTEMPTS} times another program took a port that was free before")


def free_ports(number: int, first: int = 0) -> list[int]:
    """Ports on loopback that nobody listens on now.

    They are below those that systems hand out by themselves, so that no client's connection takes
    the port of a server that is down for a moment.

    Args:
        number: How many.
        first: The first of them, where it is wished for.

    Raises:
        PortTaken: The first is not free.
    """
    if first and not _free(first):
        raise PortTaken
    found = [first] if first else []
    while len(found) < number:
        port = random.SystemRandom().randrange(20_000, 32_000)
        if port not in found and _free(port):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":  # elsewhere this would let two servers have the same port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until_ready(
    ask: Callable[[float], None], ended: Callable[[], str], seconds: float
) -> None:
    """Ask a server again and again until it is ready.

    Args:
        ask: Asks once, for so many seconds; raises `NotReady`.
        ended: How it ended; empty while it runs.
        seconds: How long it may take.

    Raises:
        NotReady: It ended, or time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(_ASK_SECONDS)
        except NotReady as error:
            if how := ended():
                raise NotReady(how) from None
            if time.monotonic() > deadline:
                raise NotReady(f"after {seconds:.0f} s {error}") from None
            time.sleep(0.05)
        else:
            return
