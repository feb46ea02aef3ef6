"""The backend under test: its drivers, its capabilities, and fresh session ids."""

from __future__ import annotations

import itertools
import subprocess
import time
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.capabilities import Capabilities
from chat_history_conformance.drivers.calls import Call, How, has_operation
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.execution.declared_server import DeclaredServer
from chat_history_conformance.execution.pace import Pace
from chat_history_conformance.execution.quiet import Quiet
from chat_history_conformance.results.model import ContractResult, Mode
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.server import Server, Unsupported

__all__ = ["Ahead", "Subject"]

_HURRY_SECONDS = 2.0
_PAUSE_SECONDS = 0.1
_MOST_RESTARTS = 3
_MOST_REPEATS = 5
"""The restarts of a server in one run because a contract ended in an error of the server."""
_IN_A_ROW = 2
"""The histories that have to work one after another before a server counts as back."""


class Ahead(Protocol):
    """Contracts that run before their turn comes."""

    def take(self, identifier: str, mode: Mode, *, needs_quiet: bool) -> ContractResult | None:
        """Return the result of a contract that ran ahead, or None if it must run now."""

    def failure_of(self, identifier: str, mode: Mode) -> ContractResult | None:
        """Return the result of a contract that failed ahead, if it did."""

    def stop(self) -> None:
        """End all of it."""


class Subject:
    """The backend under test, shared by all contracts of one run.

    Args:
        backend: The backend.
        limit: Seconds after which an operation counts as hung.
        destructive: Whether contracts may use session ids that could belong to existing data.
        server: The server of the backend, if this process holds it.
        owned: Whether the run has started that server, in this process or in another.
        faults: Whether contracts may pause, kill and restart the server.
        apart: Whether contracts that can harm others get a separate process.

    Attributes:
        removes: Whether stories remove what they stored.
        ahead: The contracts that run at the same time, before their turn comes.
        quiet: Keeps an example that disturbs the clock or the store away from the others.
        options: The arguments with which another process makes the same subject.
        own_process: The process of the contract that now runs apart.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        limit: float = 30.0,
        destructive: bool = False,
        server: Server | None = None,
        owned: bool = False,
        faults: bool = False,
        apart: bool = False,
    ) -> None:
        self.backend = backend
        self.limit = limit
        self.server = server
        self.apart = apart and self.can_be_imported
        self.disposable = backend.disposable or owned
        self.destructive = destructive or self.disposable
        # The more a server holds, the longer each restart takes.
        self.removes = not self.disposable or (faults and backend.remove is not None)
        self._faults = faults
        self._restarts = 0
        self._repeats = 0
        self.local = Local(backend, limit)
        self.notes: list[str] = []
        self.pace = Pace()
        self.quiet = Quiet()
        self.ahead: Ahead | None = None
        self.own_process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._second_process: SecondProcess | None = None
        self._environment: dict[str, str] = {}
        self._run = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._declared: DeclaredServer | None = None
        if backend.stop is not None and (server is None or server.why_no_faults):
            self.server = self._declared = DeclaredServer(backend, limit, self.nonce())
        self.options = {
            "limit": limit,
            "destructive": destructive,
            "owned": self.disposable,
            "faults": faults and self._declared is not None,
        }

    @property
    def can_be_imported(self) -> bool:
        """True if another process can open the same histories."""
        return self.backend.importable is not None

    @property
    def how(self) -> How:
        """The way of calling that the backend supports, synchronous if it supports both."""
        return self.backend.modes[0]

    @property
    def second_process(self) -> SecondProcess:
        """The second process, which starts at first use and again after its end.

        Raises:
            SecondProcessCrashed: It has ended by itself since its last answer.
        """
        process = self._second_process
        if process is not None and not process.alive:
            self._second_process = None
            process.check()
        if self._second_process is None:
            self._second_process = SecondProcess(self.backend, self.limit, self._environment)
        return self._second_process

    def end_hung_process(self) -> None:
        """End the second process if it did not answer in time. The next contract gets a new one."""
        process = self._second_process
        if process is not None and process.has_hung:
            self._second_process = None
            process.die()

    def use_environment(self, environment: Mapping[str, str]) -> None:
        """End the second process. The next one gets other environment variables.

        Args:
            environment: Those that differ from the variables of this process.
        """
        if self._second_process is not None:
            self._second_process.stop()
        self._second_process, self._environment = None, dict(environment)

    @property
    def why_no_faults(self) -> str:
        """Why the server cannot be ended and restarted; empty if it can."""
        if self.backend.server is None and self.backend.stop is None:
            return "declares no server"
        if not self._faults:
            return "fault contracts pause, kill and restart the server: give --history-faults"
        if self.server is None:
            return "another process holds the server"
        return self.server.why_no_faults

    def why_not(self, capability: str) -> str | None:
        """Return why the server cannot do what a capability needs, or None for any other reason."""
        if capability == "faults" or (capability == "outage" and self.backend.stop is not None):
            return self.why_no_faults
        if capability == "pause":
            return self.why_no_faults or (self.server.why_no_pause if self.server else None)
        return None

    def nonce(self) -> str:
        """Return a prefix for the session ids of one example, unique among all runs."""
        return f"chc{self._run}{next(self._numbers)}x"

    @cached_property
    def capabilities(self) -> Capabilities:
        """The capabilities that the backend does not lack, and those found on a history.

        The first access opens a history of an unused session and closes it, and raises any
        exception of the factory.
        """
        names = set(capabilities.assumed()) - set(self.backend.lacks)
        self.local.open("probe", self.nonce(), self.how, None)
        try:
            history = self.local.history("probe")
            names |= {
                name
                for name in (*capabilities.READS, capabilities.ITERATION, "close")
                if has_operation(self.backend, history, name)
            }
        finally:
            self.local.release("probe", self.how)
        if self.backend.with_ttl is not None:
            names.add("with_ttl")
        if self.backend.corrupt is not None:
            names.add("corrupt")
        if self.backend.server is not None:
            names |= {"server", "outage"}
        if not self.why_no_faults:
            names |= {"faults", "outage"}
            if self.server is not None and not self.server.why_no_pause:
                names.add("pause")
            if self.server is not None and len(self.server.members) > 1:
                names.add("cluster")
        if self.backend.interference and self.disposable:
            names.add("interference")
        if self.destructive:
            names.add("disposable")
        return Capabilities(names)

    def sibling(self) -> Subject:
        """Return another subject for the same backend, to be used by another thread.

        It has separate threads and a separate second process, and the same event loop.
        """
        other = Subject(
            self.backend,
            limit=self.limit,
            destructive=self.destructive,
            server=self.server,
            owned=self.disposable,
            faults=self._faults,
        )
        other.local = Local(self.backend, self.limit, self.local)
        other.apart, other.notes, other.pace = self.apart, self.notes, self.pace
        other.quiet = self.quiet
        other.__dict__["capabilities"] = self.capabilities
        return other

    def use_until_it_works(self) -> bool:
        """Open and read histories until two in a row work, or the limit of one call has passed.

        A pool of the backend may keep connections from before a restart of the server. They must
        not become findings of the next contract.

        Returns:
            Whether two in a row worked.
        """
        hosts: list[Local | SecondProcess] = [self.local]
        if self._second_process is not None and self._second_process.alive:
            hosts.append(self._second_process)
        session, deadline = self.nonce(), time.monotonic() + self.limit
        for host in hosts:
            in_a_row = 0
            while in_a_row < _IN_A_ROW and time.monotonic() < deadline:
                try:
                    host.open("after", session, self.how, None)
                    try:
                        host.call(Call("after", "messages", (), self.how))
                    finally:
                        host.release("after", self.how)
                except Exception:  # contracts judge this, in their own stories
                    in_a_row = 0
                    time.sleep(_PAUSE_SECONDS)
                else:
                    in_a_row += 1
        return in_a_row >= _IN_A_ROW

    def recover_server(self) -> str | None:
        """Prepare another attempt of a contract that ended in an error of the server.

        A busy server answers a moment later. After an earlier fault, the server may run and not
        answer.

        Returns:
            The beginning of a sentence about it; None if the contract does not run again.
        """
        if self.server is not None and not self.why_no_faults:
            return "the server was restarted, and " if self.restart_server() else None
        self._repeats += 1
        if self._repeats > _MOST_REPEATS:
            return None
        if not self.use_until_it_works():
            self._repeats = _MOST_REPEATS  # it is not busy, but gone
            return None
        return ""

    def restart_server(self) -> bool:
        """Restart the server, if the run may do that and has not done it often; return whether."""
        if self.why_no_faults or self.server is None or self._restarts >= _MOST_RESTARTS:
            return False
        self._restarts += 1
        try:
            self.server.restart()
        except (ServerError, Unsupported):
            return False
        return True

    def hurry(self) -> None:
        """Let each call from now on end within two seconds, because the user ends the run."""
        self.local.limit = min(self.local.limit, _HURRY_SECONDS)

    def end_with_this(self, process: subprocess.Popen[bytes]) -> None:
        """Let `stop` end the process of a contract, also if it was called already."""
        self.own_process = process
        if self._is_stopped:
            process.kill()

    def stop(self) -> None:
        """Stop the threads and the other processes."""
        if self.ahead is not None:
            self.ahead.stop()
        self._is_stopped = True
        if (process := self.own_process) is not None:
            process.kill()
        self.local.stop()
        if self._declared is not None:
            self._declared.stop()
        if self._second_process is not None:
            self._second_process.stop()
