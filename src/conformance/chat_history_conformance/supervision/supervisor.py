"""The supervisor: the parent of the process that runs pytest.

pytest's process forks before it has read a conftest. The child runs pytest as usual. The parent
waits for it, passes signals on, ends it if it gives no sign of life, and removes what it left. If
the child ends without a verdict, the parent writes the reports and prints the verdict.

It imports only the standard library, because every run waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_history_conformance.supervision.line import ALIVE, Line, Operation, use

__all__ = ["Ended", "can_supervise", "supervise"]

_SILENT_SECONDS = 30.0
_GRACE_SECONDS = 20.0
_AGAIN_SECONDS = 5.0
"""The time to wait before a signal is sent again. Python drops the exception of a signal that
arrives in a callback of the garbage collector or of a weak reference."""
_TICK_SECONDS = 1.0
_SUBREAPER = 36
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class Ended:
    """The end of a judging process, and the records that it sent before.

    Attributes:
        status: Its exit status; negative if it died of a signal.
        operation: The operation that it called last.
        silent: Whether the supervisor ended it because it gave no sign of life.
        records: Its records, in order.
    """

    status: int
    operation: str
    silent: bool
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def how(self) -> str:
        """The way it ended, such as `died of SIGSEGV`."""
        if self.silent:
            return (
                f"gave no sign of life for {_SILENT_SECONDS:g} s: a call kept Python's lock (GIL)"
            )
        if self.status < 0:
            return f"died of {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"

    @property
    def from_outside(self) -> bool:
        """True if a user or the system has ended it, and not the history."""
        return not self.silent and -self.status in _FROM_OUTSIDE

    def all(self, name: str) -> list[Any]:
        """Return the values of all records with this name."""
        return [record[name] for record in self.records if name in record]


def can_supervise() -> bool:
    """Return whether this process is pytest's own, and can be forked without harm."""
    if not hasattr(os, "fork") or threading.active_count() > 1:
        return False
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return spec.name in ("pytest.__main__", "pytest")
    return Path(getattr(main, "__file__", None) or "").stem in ("pytest", "py.test")


def supervise(finish: Callable[[Ended], int]) -> None:
    """Fork. Return in the child, and wait for it in the parent, which never returns.

    Args:
        finish: Writes the reports and prints the verdict of a run whose process has ended without
            them, and returns the exit status of the run.
    """
    root = Path(tempfile.mkdtemp(prefix="chat-history-conformance-"))
    reading, writing = os.pipe()
    operation, supervisor = Operation(), os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        use(Line(root, writing, operation, supervisor))
        return
    os.close(writing)
    try:
        status = _Watch(child, reading, root, operation, finish).until_ended()
    except BaseException as error:
        print(f"chat-history-conformance: the supervisor failed: {error!r}", file=sys.stderr)
        status = 3
    finally:
        shutil.rmtree(root, ignore_errors=True)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(status)


class _Watch:
    """The loop of the supervisor."""

    def __init__(
        self,
        child: int,
        pipe: int,
        root: Path,
        operation: Operation,
        finish: Callable[[Ended], int],
    ) -> None:
        self.child = child
        self.finish = finish
        self.root = root
        self.operation = operation
        self.silent = False
        self._pipe = pipe
        self._data = bytearray()
        self._signals: list[int] = []
        self._asked: int | None = None
        self._kill_at: float | None = None
        self._again_at: float | None = None
        self._next_look = 0.0
        self._silence: dict[int, tuple[float, int]] = {}

    def until_ended(self) -> int:
        """Wait for the child, account for its end, and return the exit status."""
        _adopt_orphans()
        os.set_blocking(self._pipe, False)
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.append(number))
        while (status := self._reaped()) is None:
            select.select([wake, self._pipe], [], [], _TICK_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 512)
            self._read()
            self._pass_signals_on()
            self._look_for_silence()
        self._read()
        if status == -signal.SIGKILL and self._asked is not None:
            status = -self._asked  # the child did not end in time
        ended = Ended(status, self.operation.get(), self.silent, self._records())
        return self._account_for(ended)

    def _reaped(self) -> int | None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 3
            if pid == 0:
                return None
            if pid == self.child:
                return os.waitstatus_to_exitcode(status)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 1 << 16):
                self._data += data

    def _records(self) -> list[dict[str, Any]]:
        lines = bytes(self._data).split(b"\n")[:-1]  # the last line may be cut
        return [json.loads(line) for line in lines]

    def _pass_signals_on(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGINT:
                # Ctrl-C reaches the child too. Only `kill -INT` may not.
                self._again_at = time.monotonic() + _TICK_SECONDS
            elif number in (signal.SIGTERM, signal.SIGHUP):
                self._send(self.child, number)
                self._asked = number
                self._kill_at = self._kill_at or time.monotonic() + _GRACE_SECONDS
                self._again_at = time.monotonic() + _AGAIN_SECONDS
        now = time.monotonic()
        if self._again_at is not None and now > self._again_at:
            self._again_at = None
            if b'"interrupted"' not in self._data:
                self._send(self.child, self._asked or signal.SIGINT)
                self._again_at = now + _AGAIN_SECONDS
        if self._kill_at is not None and now > self._kill_at:
            self._kill_at = None
            self._send(self.child, signal.SIGKILL)

    def _look_for_silence(self) -> None:
        """End the processes that gave no sign of life, counted in ticks of this process.

        A run that is suspended and continued is not silent, because then no ticks are counted.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK_SECONDS
        for path in self.root.glob(f"{ALIVE}*"):
            pid = int(path.name.removeprefix(ALIVE))
            with contextlib.suppress(FileNotFoundError):
                seen = path.stat().st_mtime
                last, ticks = self._silence.get(pid, (seen, 0))
                self._silence[pid] = (seen, ticks + 1 if seen == last else 0)
                if self._silence[pid][1] * _TICK_SECONDS >= _SILENT_SECONDS:
                    path.unlink()
                    self._end_silent(pid)

    def _end_silent(self, pid: int) -> None:
        # After the verdict, Python itself ends: frames would show nothing of the history.
        is_over = b'"orderly"' in self._data
        # On SIGABRT, faulthandler shows the frame of every thread.
        self._send(pid, signal.SIGKILL if is_over else signal.SIGABRT)
        if pid == self.child:
            self.silent = True
            self._kill_at = time.monotonic() + _TICK_SECONDS

    def _send(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _account_for(self, ended: Ended) -> int:
        orderly = ended.all("orderly")
        status = ended.status if ended.status >= 0 else 128 - ended.status
        self._end_orphans(forks_only=bool(orderly))
        for number in ended.all("received"):
            ended.status = -number
        if orderly:
            if ended.silent:  # the end of Python took long, on a busy machine
                return int(orderly[-1])
            return status or int(orderly[-1])
        if not ended.all("header") and ended.status:
            return status
        return self.finish(ended)

    def _end_orphans(self, forks_only: bool) -> None:
        """Kill the processes that the child has left, if they are still in its group.

        Args:
            forks_only: Whether to spare processes that run another program than pytest.
        """
        group, own = os.getpgrp(), _command("self")
        for _ in range(250):
            left = [
                pid
                for pid in _children()
                if _group(pid) == group and (not forks_only or _command(pid) == own)
            ]
            if not left:
                return
            for pid in left:
                self._send(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.02)


def _adopt_orphans() -> None:
    """Become the parent of processes that the child leaves, on Linux."""
    if sys.platform == "linux":
        import ctypes  # after the fork, so that the child does not wait for it

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _command(pid: int | str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
