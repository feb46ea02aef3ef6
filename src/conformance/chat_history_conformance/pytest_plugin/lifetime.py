"""The life of the process of a run: its supervisor, its signals, and its signs of life."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from chat_history_conformance.pytest_plugin.options import is_worker
from chat_history_conformance.supervision.line import Line, keep_alive, take

__all__ = ["Lifetime"]

_ENDING = ("SIGTERM", "SIGHUP")


class Lifetime:
    """The life of the process of one run.

    SIGTERM and SIGHUP end the run as Ctrl-C does, with a verdict and without leftovers.

    Args:
        config: The configuration of pytest.

    Attributes:
        signal: The number of the signal that ended the run, or None.
        root: The directory of a supervised run, which the supervisor removes.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.signal: int | None = None
        self._line: Line | None = None
        self._handlers: dict[int, Any] = {}
        self._session: pytest.Session | None = None
        self.root: Path | None = None
        if is_worker(config):
            root = vars(config)["workerinput"]["history_root"]
            self.root = Path(root) if root else None
        else:
            self._line = take()
            self.root = self._line.root if self._line else None

    def begin(self) -> None:
        """Give signs of life from now on, and end in order when a signal asks for it."""
        supervisor = self._line.supervisor if self._line else None
        if self.root is not None:
            orphaned = None if supervisor is None else _terminate
            keep_alive(self.root, orphaned, supervisor or 0)
        if threading.current_thread() is threading.main_thread():
            for name in _ENDING:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, self._interrupt)

    def send(self, **record: Any) -> None:
        """Send a record to the supervisor, if there is one."""
        if self._line is not None:
            self._line.send(**record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Let the supervisor know that the run is ending, and let no further signal disturb it."""
        _add_lines(excinfo)
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)  # the supervisor kills this process if it must
        self.send(interrupted=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the exit status name the signal that ended the run."""
        self._session = session
        if self.signal is not None:
            session.exitstatus = 128 + self.signal

    def end(self) -> None:
        """Let the supervisor know that the run has ended in order, and with which status."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._session is None and self.signal is not None:
            self.send(received=self.signal)  # before a contract ran: pytest prints no verdict
        else:
            self.send(orderly=int(self._session.exitstatus) if self._session else 0)
        if self._line is not None and os.getppid() != self._line.supervisor:
            shutil.rmtree(self._line.root, ignore_errors=True)  # the supervisor was killed

    def _interrupt(self, number: int, frame: object) -> None:
        """End the run as Ctrl-C does. Contracts would judge pytest's own `Exit`, an Exception."""
        self.signal = number
        raise KeyboardInterrupt(f"the run received {signal.Signals(number).name}")


def _add_lines(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Give a line to each entry of the tracebacks, because pytest cannot print one without.

    Python knows no line for the jump at the end of many loops, and a signal may arrive there.
    """
    error: BaseException | None = excinfo.value
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = _with_lines(error.__traceback__)
        error = error.__cause__ or error.__context__
    if excinfo.value.__traceback__ is not None:
        excinfo.traceback = type(excinfo.traceback)(excinfo.value.__traceback__)


def _with_lines(entry: TracebackType | None) -> TracebackType | None:
    entries = []
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    for one in reversed(entries):
        if one.tb_lineno is None:
            entry = TracebackType(entry, one.tb_frame, one.tb_lasti, _line_before(one))
        else:
            one.tb_next = entry
            entry = one
    return entry


def _line_before(entry: TracebackType) -> int:
    """Return the line of the last instruction that has one and is not after the entry's."""
    code = entry.tb_frame.f_code
    before = itertools.islice(code.co_positions(), entry.tb_lasti // 2 + 1)  # 2 bytes for each
    lines = [line for line, *_ in before if line is not None]
    return lines[-1] if lines else code.co_firstlineno


def _terminate() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getpid(), signal.SIGTERM)
