"""The line from the judging process to its supervisor: records, the operation, signs of life.

The judging process writes one JSON record a line to a pipe. The name of the operation that it calls
is in shared memory, because an operation may take a microsecond. Its sign of life is the time of a
file, so that workers of pytest-xdist, which do not inherit the pipe, have one too.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ALIVE", "PULSE_SECONDS", "Line", "Operation", "current", "keep_alive", "take", "use"]

ALIVE = "alive-"
"""The beginning of the name of a file whose time is the last sign of life of a process."""

PULSE_SECONDS = 1.0
"""The time between two signs of life."""

_SIZE = 512


class Operation:
    """The name of the operation that the judging process calls, in memory that a fork shares."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)

    def set(self, name: str) -> None:
        """Remember the operation that is called next."""
        data = name.encode("utf-8", "replace")[: _SIZE - 1] + b"\0"
        self._memory[: len(data)] = data

    def get(self) -> str:
        """Return the operation that was called last; empty if there was none."""
        return bytes(self._memory[:]).partition(b"\0")[0].decode("utf-8", "replace")


class Line:
    """The end of the line in the judging process.

    Args:
        root: The directory of the run, which the supervisor removes.
        pipe: The file descriptor of the pipe to the supervisor.
        operation: The shared name of the operation.
        supervisor: The process id of the supervisor.
    """

    def __init__(self, root: Path, pipe: int, operation: Operation, supervisor: int) -> None:
        self.root = root
        self.operation = operation
        self.supervisor = supervisor
        self._pipe = pipe
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def send(self, **record: Any) -> None:
        """Send one record. A history may have closed the pipe, or forked this process.

        Several threads may send. A long record is written in parts.
        """
        if os.getpid() != self._pid:
            return
        data = json.dumps(record).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._pipe, data) :]


_line: list[Line] = []
_taken: list[Line] = []


def use(line: Line) -> None:
    """Let the first run of this process use a line."""
    _line.append(line)


def take() -> Line | None:
    """Return the line for the run that starts, or None if this process is not supervised.

    A run inside a run gets none.
    """
    if not _line:
        return None
    _taken.append(_line.pop())
    return _taken[-1]


def current(operation: str) -> None:
    """Remember the operation that is called next, if this process is supervised."""
    if _taken:
        _taken[-1].operation.set(operation)


def keep_alive(root: Path, when_orphaned: Callable[[], None] | None, parent: int) -> None:
    """Give signs of life from now on, on a daemon thread.

    Args:
        root: The directory of the run.
        when_orphaned: Called once if the parent of this process has ended.
        parent: The process id of the parent.
    """
    path = root / f"{ALIVE}{os.getpid()}"
    with contextlib.suppress(OSError):
        path.touch()

    def pulse() -> None:
        orphaned = False
        while True:
            time.sleep(PULSE_SECONDS)
            with contextlib.suppress(OSError):
                os.utime(path)
            if when_orphaned and not orphaned and os.getppid() != parent:
                orphaned = True
                when_orphaned()

    threading.Thread(target=pulse, name="history-sign-of-life", daemon=True).start()
