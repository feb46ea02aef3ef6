"""Servers of any kind as processes on this machine, and helpers to start any server."""

from __future__ import annotations

import os
import random
import socket
import textwrap
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TypeVar

from chat_history_conformance.servers import ServerError, counted_variable, unprivileged
from chat_history_conformance.servers.keeper_client import KeeperClient
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Member, Server, State, Unsupported
from chat_history_conformance.servers.unprivileged import Account

__all__ = [
    "READY_SECONDS",
    "SHUT_DOWN_SECONDS",
    "PortTaken",
    "ProcessServer",
    "StartedServer",
    "free_ports",
    "not_in_time",
    "start",
    "until_free",
    "wait_until_ready",
]

READY_SECONDS = 120.0
"""Time limit until a server serves clients."""

SHUT_DOWN_SECONDS = 30.0
"""Time limit until a server has ended in an orderly way. Then it is killed."""

_S = TypeVar("_S", bound=Server)

_ATTEMPTS = 5
_ASK_SECONDS = 2.0


class PortTaken(Exception):
    """Another program took the port in the meantime."""


class StartedServer(Server):
    """A server that this run starts, as a process or a container.

    Args:
        kind: The kind of server.
        launch: How to run it and how to ask it.
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
            PortTaken: Another program has the port; try another port.
            ServerError: It ended, or was not ready in time.
        """

    def restart(self) -> None:
        self.kill()
        try:
            self.start()
        except PortTaken:
            raise ServerError(
                f"Another program took {self.address} while the server was down."
            ) from None

    def wait_until_healthy(self, seconds: float) -> None:
        try:
            self._wait_until_ready(seconds)
        except (NotReady, Refused) as error:
            raise ServerError(f"{self.kind} at {self.address}: {error}") from None

    def _wait_until_ready(self, seconds: float) -> None:
        wait_until_ready(
            lambda limit_seconds: self._of_kind.ask(
                self.address, self._launch.config, self._launch.identity, limit_seconds
            ),
            self.ended,
            seconds,
        )


class ProcessServer(StartedServer):
    """A server process with a keeper.

    Args:
        kind: The kind of server.
        program: The program that runs it.
        keeper: The keeper and its directory, in which the server was prepared.
        launch: How to run it.
        account: The account that runs it. Defaults to the current user.
    """

    name = "1"

    def __init__(
        self,
        kind: Kind,
        program: Program,
        keeper: KeeperClient,
        launch: Launch,
        account: Account | None = None,
    ) -> None:
        super().__init__(kind, launch)
        self.way = program.way
        self.version = program.version
        self._keeper = keeper
        self._account = account
        self._paused = False

    @property
    def members(self) -> tuple[Member, ...]:
        return (self,)

    @property
    def state(self) -> State:
        if self.ended():
            return "down"
        return "paused" if self._paused else "up"

    @property
    def why_no_faults(self) -> str:
        return "" if os.name == "posix" else "Windows cannot pause a process"

    @property
    def log(self) -> str:
        return self._keeper.log

    def start(self) -> None:
        self.begin()
        try:
            self._wait_until_ready(READY_SECONDS)
        except (NotReady, Refused) as error:
            raise self.failure(error) from None

    def set_up(self) -> None:
        """Run the command that prepares the directory.

        Raises:
            ServerError: It failed.
        """
        if self._launch.setup:
            self._keeper.set_up(self._launch.setup, self._launch.environment, self._account)

    def begin(self) -> None:
        """Run it without waiting until it is ready."""
        self._paused = False
        self._keeper.start(
            self._launch.command,
            self._launch.environment,
            self._account,
            end_signal=self._launch.end_signal,
        )

    def failure(self, error: Exception) -> Exception:
        """Return the error about a start that failed, with the end of the log.

        Args:
            error: The problem.
        """
        if self.ended() and self._keeper.has_said(self._of_kind.taken):
            return PortTaken()
        return ServerError(
            f"{self._of_kind.title} {self.version} did not start: {error}. "
            f"Its log is in {self._keeper.keep_log()}; the last lines:\n"
            + textwrap.indent(self._keeper.log, "    ")
        )

    def ended(self) -> str:
        return self._keeper.ended()

    def pause(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        self._keeper.pause()
        self._paused = True

    def resume(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        self._keeper.resume()
        self._paused = False

    def kill(self) -> None:
        self._paused = False
        self._keeper.kill()

    def shut_down(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        self._paused = False
        if not self._keeper.shut_down(SHUT_DOWN_SECONDS, self._launch.stop_signal):
            raise ServerError(not_in_time(self, self._launch.stop_signal))

    def terminate(self) -> None:
        """Ask it to end, and do not wait. A paused server is resumed first."""
        self._paused = False
        self._keeper.terminate(self._launch.stop_signal)

    @property
    def gone(self) -> bool:
        """True if no process of it is left."""
        return self._keeper.gone

    def stop(self) -> None:
        self._keeper.stop()


def not_in_time(server: Server, signal: str = "SIGTERM") -> str:
    """Return the message about a server that did not end in an orderly way after a signal."""
    return (
        f"{server.kind} at {server.address} did not end within {SHUT_DOWN_SECONDS:.0f} s after "
        f"{signal}, so it was killed"
    )


def start(kind: Kind, program: Program, options: Options) -> ProcessServer:
    """Start a server on free ports, and on other ports if another program takes one of them.

    Raises:
        ServerError: It did not start.
    """

    def attempt() -> ProcessServer:
        keeper = KeeperClient(kind.name)
        try:
            account = (
                unprivileged.account(kind.title, keeper.directory) if kind.unprivileged else None
            )
            if account is not None and program.way == "local":
                unprivileged.check_reach(kind.title, program.path)
            ports = free_ports(kind.ports, options.port)
            launch = kind.process(program, keeper.directory, ports, options)
            if account is not None:
                account.own(keeper.directory)
            server = ProcessServer(kind, program, keeper, launch, account)
            server.set_up()
            server.start()
        except BaseException:
            keeper.stop()
            raise
        return server

    return until_free(attempt, options)


def until_free(attempt: Callable[[], _S], options: Options) -> _S:
    """Start a server; try again if another program took its port.

    Args:
        attempt: Starts it on free ports; raises `PortTaken` if one is no longer free.
        options: A port that is named there is tried once.

    Raises:
        ServerError: It did not start.
    """
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except PortTaken:
            if options.port:
                raise ServerError(
                    f"Another program has port {options.port}. Name another port, or none."
                ) from None
    raise ServerError(f"Another program took the free port {_ATTEMPTS} times. Try again.")


def free_ports(number: int, first: int = 0) -> list[int]:
    """Return free ports on loopback.

    They are below the ephemeral ports of the system, so that no client connection takes the port of
    a server that is down for a moment.

    Args:
        number: The number of ports.
        first: The first of them; 0 for any.

    Raises:
        PortTaken: The first port is not free.
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
        if os.name == "posix":  # on Windows this would let two servers have the same port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until_ready(
    ask: Callable[[float], None], ended: Callable[[], str], seconds: float
) -> None:
    """Ask a server repeatedly until it is ready.

    Args:
        ask: Asks once, with a time limit in seconds; raises `NotReady`.
        ended: Describes how it ended; empty while it runs.
        seconds: The time limit.

    Raises:
        NotReady: It ended, or the time limit has passed.
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
