"""A second process that opens histories of the same backend, as a second worker would."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import origin_of
from chat_history_conformance.drivers.calls import (
    Call,
    Done,
    How,
    Repeated,
    weight,
    weight_together,
)
from chat_history_conformance.drivers.errors import (
    Hung,
    RemoteError,
    SecondProcessCrashed,
    SecondProcessLost,
)
from chat_history_conformance.drivers.frames import read_frame, write_frame
from chat_history_conformance.drivers.local import FIRST_OPENING
from chat_history_conformance.drivers.repeating import Seen

__all__ = ["SecondProcess", "how_ended"]

_EXTRA_SECONDS = 20.0
"""Added to a time limit here, because the second process enforces the limit itself."""

_START = 120.0
"""Seconds that the start may take: Python, the imports of the backend, and nothing of a history."""

_ENDED_BY_OTHERS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
"""Signals that come from a user, or from a system without memory, and not from a history."""


class SecondProcess:
    """A new Python process with a `Local` in it.

    It is not forked. It imports the declaring file again and finds the backend by its name, so
    only messages and plain values are pickled.

    Args:
        backend: The backend whose histories are opened.
        limit: The time limit of one call, in seconds.
        environment: Environment variables that differ from those of this process.

    Raises:
        SecondProcessLost: The backend cannot be imported in another process.

    Attributes:
        has_hung: Whether a request got no answer in time. What the process still does for it may
            disturb later calls.
    """

    def __init__(
        self, backend: Backend, limit: float, environment: Mapping[str, str] | None = None
    ) -> None:
        if backend.importable is None:
            raise SecondProcessLost(backend.why_not_importable)
        self.backend = backend
        self.limit = limit
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chat_history_conformance.drivers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                **(environment or {}),
            },
        )
        self._answers: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._asked = self._answered = 0
        self.has_hung = False
        self._was_ended = False
        self._was_opened = False
        threading.Thread(target=self._listen, name="history-second-process", daemon=True).start()
        try:
            self.request(
                "start", backend.name, backend.importable, sys.path, limit, weight=_START / limit
            )
        except RemoteError as error:
            self.stop()
            raise SecondProcessLost(
                f"the second process cannot import the backend: {error.type_name}: {error}"
            ) from error

    @property
    def alive(self) -> bool:
        """True while the process is running."""
        return self._process.poll() is None

    def request(self, what: str, *args: Any, weight: float = 1.0) -> Any:
        """Send a request and wait for its answer.

        Args:
            what: The name of a method of `Local`.
            args: Its arguments.
            weight: The multiple of the time limit that the request may take.

        Raises:
            Hung: No answer came in time.
            RemoteError: The history raised an exception.
            SecondProcessCrashed: The process has ended by itself.
            SecondProcessLost: Somebody has ended it.
        """
        self._send(what, *args)
        return self._receive(weight)

    def begin(self, lanes: Sequence[Sequence[Call]]) -> Callable[[], list[list[Done]]]:
        """Start `Local.together` there, and return a function that waits for its results."""
        self._send("together", lanes)
        return lambda: self._receive(weight_together(lanes))

    def _send(self, what: str, *args: Any) -> None:
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise self._loss()
        try:
            write_frame(self._process.stdin, (what, args))
        except OSError as error:
            raise self._loss() from error
        self._asked += 1

    def _receive(self, weight: float) -> Any:
        """Return the answer to the newest request, skipping those to requests that hung."""
        limit = self.limit * weight
        until = time.monotonic() + limit + _EXTRA_SECONDS
        verdict: str = ""
        value: Any = None
        while self._answered < self._asked:
            try:
                answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self.has_hung = True
                raise Hung(f"no answer from the second process within {limit:g} s") from None
            if answer is None:
                raise self._loss()
            self._answered += 1
            verdict, value = answer
        if verdict == "error":
            raise value
        return value

    def check(self) -> None:
        """Raise if the process has ended by itself, and this was not reported yet.

        Raises:
            SecondProcessCrashed: It has.
        """
        loss = None if self.alive else self._loss()
        if isinstance(loss, SecondProcessCrashed):
            raise loss

    def _loss(self) -> SecondProcessLost:
        """Describe the end of the process: it crashed, unless somebody ended it."""
        status = self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # closing flushes requests that nothing reads any more
            self._process.stdin.close()
        name = _signal_name(status)
        was_ended, self._was_ended = self._was_ended, True  # a crash is reported once
        if was_ended or name in _ENDED_BY_OTHERS:
            return SecondProcessLost(f"the second process was ended ({name or status})")
        return SecondProcessCrashed(how_ended(status))

    def begin_repeating(self, lanes: Sequence[Repeated]) -> None:
        """Start calls that are repeated there; see `Local.begin_repeating`."""
        self.request("begin_repeating", lanes)

    def end_repeating(self, seconds: float) -> list[list[Seen]]:
        """End them, and return their results; see `Local.end_repeating`."""
        seen: list[list[Seen]] = self.request("end_repeating", seconds, weight=3.0)
        return seen

    def open(self, key: str, session_id: str, how: How, ttl: tuple[int | None] | None) -> None:
        """Open a history there; see `Local.open`."""
        weight = 1.0 if self._was_opened else FIRST_OPENING
        self._was_opened = True
        self.request("open", key, session_id, how, ttl, weight=weight)

    def call(self, call: Call) -> Any:
        """Call one operation there and return its result; see `Local.call`."""
        return self.request("call", call, weight=weight(call))

    def iterate(self, key: str, call: Call) -> None:
        """Begin an iteration there; see `Local.iterate`."""
        self.request("iterate", key, call)

    def enter_store(self, name: str) -> None:
        """Open histories there in the new store of this name; see `Local.enter_store`."""
        fresh = self.backend.fresh
        self.request("enter_store", name, None if fresh is None else origin_of(fresh))

    def leave_store(self) -> None:
        """Open histories there with the factory of the backend again."""
        self.request("leave_store")

    def release(self, key: str, how: How) -> None:
        """Close a history there; see `Local.release`."""
        self.request("release", key, how)

    def die(self) -> None:
        """Kill the process, without any clean-up in it, and wait for its end."""
        self._was_ended = True
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # closing flushes requests that nothing reads any more
            self._process.stdin.close()

    def stop(self) -> None:
        """Ask the process to end, and kill it if it does not end within 5 seconds."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.die()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                while True:
                    self._answers.put(read_frame(self._process.stdout))
        finally:  # a waiting thread must learn that no answer comes any more
            self._answers.put(None)
            self._process.stdout.close()


def how_ended(status: int) -> str:
    """Return how a process ended, such as `died of SIGSEGV`."""
    name = _signal_name(status)
    return f"died of {name}" if name else f"ended with status {status}"


def _signal_name(status: int) -> str:
    """Return the name of the signal that ended a process with this status, if one did."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return ""
