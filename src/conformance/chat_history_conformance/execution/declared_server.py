"""The server that a backend can stop and start with functions of its declaration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.drivers.calls import Call
from chat_history_conformance.drivers.errors import Hung
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.drivers.threads import SyncThread
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.server import Server, Unsupported

__all__ = ["DeclaredServer"]

_HOOK_SECONDS = 120.0
"""Time limit of `stop=` and of `start=`."""
_READY_SECONDS = 60.0
"""Time limit from the end of `start=` until a new history can be read."""
_PAUSE_SECONDS = 0.2
_MARK = "stored before the server is stopped"


class DeclaredServer(Server):
    """A server that `stop=` ends and `start=` starts again.

    Another process opens new histories to see whether the server is there. So this process keeps
    its connections, pools and errors as an application has them.

    Args:
        backend: The backend, with `stop` and `start`.
        limit: The time limit of one call, in seconds.
        session: An unused session id.
    """

    kind = "server"
    way = "declared"
    address = ""

    def __init__(self, backend: Backend, limit: float, session: str) -> None:
        self._backend = backend
        self._limit = limit
        self._session = session
        self._thread: SyncThread | None = None
        self._watcher: SecondProcess | None = None
        self._stop_works = self._marked = False
        self._number = 0

    @property
    def why_no_faults(self) -> str:
        """Empty: it can be stopped and started."""
        return ""

    @property
    def why_no_pause(self) -> str:
        """The reason why it cannot be paused."""
        return "stop= and start= do not pause a server: only servers that the run starts are paused"

    def kill(self) -> None:
        """End it with `stop=`.

        Raises:
            ServerError: `stop=` raised, did not end in time, or had no effect.
        """
        assert self._backend.stop is not None
        if not self._stop_works:
            self._leave_a_mark()
        self._call("stop", self._backend.stop)
        if not self._stop_works and self._is_there():
            raise ServerError(
                "stop= returned, and another process still reads the stored messages. Let stop= "
                "end the server that the histories use, and return when it has ended."
            )
        self._stop_works = True

    def shut_down(self) -> None:
        """End it with `stop=`, as `kill` does."""
        self.kill()

    def pause(self) -> None:
        """Raise an error, because it cannot be paused."""
        raise Unsupported(self.why_no_pause)

    def restart(self) -> None:
        """Start it with `start=`, and wait until a new history can be read.

        Raises:
            ServerError: `start=` raised or did not end in time, or no history could be read.
        """
        assert self._backend.start is not None
        self._call("start", self._backend.start)
        if self._backend.importable is not None:  # another process can look
            self._wait_until_ready()
        if self._marked:
            self._marked = False
            with contextlib.suppress(Exception):  # contracts judge clearing, not this
                self._mark("clear")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self._read()
            except Exception as error:
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"start= returned, and no new history could be read within "
                        f"{_READY_SECONDS:g} s: {type_name(error)}: {error}"
                    ) from error
            else:
                return
            time.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        """End the process that looks at the server. The server runs on."""
        if self._watcher is not None:
            self._watcher.stop()
        if self._thread is not None:
            self._thread.stop()
        self._watcher = self._thread = None

    def _call(self, name: str, function: Callable[[], Any]) -> None:
        self._thread = self._thread or SyncThread("history-declared-server")
        try:
            self._thread.run(function, _HOOK_SECONDS)
        except Hung:
            self._thread.stop()
            self._thread = None
            raise ServerError(f"{name}= did not return within {_HOOK_SECONDS:g} s") from None
        except Exception as error:
            raise ServerError(f"{name}= raised {type_name(error)}: {error}") from error

    def _leave_a_mark(self) -> None:
        """Store a message, by which another process sees whether the server is there."""
        try:
            self._mark("add_messages", [HumanMessage(_MARK)])
        except Exception as error:
            raise ServerError(
                f"before stop=, a message could not be added: {type_name(error)}: {error}"
            ) from error
        self._marked = True

    def _mark(self, operation: str, *args: Any) -> None:
        """Call one operation on the session of the mark in this process."""
        local, how = Local(self._backend, self._limit), self._backend.modes[0]
        try:
            local.open("mark", self._session, how, None)
            local.call(Call("mark", operation, args, how))
            local.release("mark", how)
        finally:
            local.stop()

    def _is_there(self) -> bool:
        """Return whether another process reads the mark."""
        if self._backend.importable is None or "durable" in self._backend.lacks:
            return False
        try:
            return any(getattr(item, "content", "") == _MARK for item in self._read())
        except Exception:  # a server that is away
            return False

    def _read(self) -> list[Any]:
        """Read the session with the mark through a new history in another process."""
        if self._watcher is not None and not self._watcher.alive:
            self._watcher.stop()
            self._watcher = None
        if self._watcher is None:
            self._watcher = SecondProcess(self._backend, self._limit)
        self._number += 1
        key, how = f"look{self._number}", self._backend.modes[0]
        self._watcher.open(key, self._session, how, None)
        try:
            return list(self._watcher.call(Call(key, "messages", (), how)))
        finally:
            self._watcher.release(key, how)
