"""Contracts that run at the same time, each with separate sessions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult, Mode

__all__ = ["FEW", "LANES", "PROCESSES", "RunningAhead", "can_run_ahead", "has_company"]

LANES = 16
"""The contracts of a slow history that run at the same time."""

FEW = 4
"""The contracts of another history that run at the same time, because they mostly wait."""

PROCESSES = 3
"""The number of them that may use a second process, or another process."""

Pair = tuple[Contract, Mode]


def can_run_ahead(subject: Subject) -> bool:
    """Return whether contracts may run at the same time: on threads, or as tasks of one loop."""
    lacks = subject.backend.lacks
    try:
        assert subject.capabilities
    except Exception:  # contracts judge opening, one after the other
        return False
    return "threads" not in lacks or "sync" in lacks


def has_company(contract: Contract, subject: Subject) -> bool:
    """Return whether a contract may run next to others, perhaps in a separate process."""
    if contract.can_be_separate:
        return subject.apart
    return not contract.needs_quiet


class RunningAhead:
    """Threads that run contracts before their turn comes.

    A contract that fails here runs again alone when its turn comes.

    Args:
        subject: The backend under test.
        screen: Runs one contract up to the first failure.
        on_wait: Called about once a second while a result is waited for.
        on_change: Called when a contract begins or ends on a thread of this process, with its id,
            its mode, and True if it begins. Several threads call it.

    Attributes:
        lanes: The subjects of the contracts that run at the same time, one for each thread.
    """

    def __init__(
        self,
        subject: Subject,
        screen: Callable[[Contract, Subject, Mode], ContractResult],
        on_wait: Callable[[], None] = lambda: None,
        on_change: Callable[[str, Mode, bool], None] = lambda identifier, mode, begins: None,
    ) -> None:
        self._subject = subject
        self._screen = screen
        self._on_wait = on_wait
        self._on_change = on_change
        self._waiting: deque[Pair] = deque()
        self._offered: set[tuple[str, Mode]] = set()
        self._results: dict[tuple[str, Mode], ContractResult | None] = {}
        self._running: list[Pair] = []
        self._processes = PROCESSES
        self._ended = False
        self._changed = threading.Condition()
        self.lanes: list[Subject] = []

    @property
    def left(self) -> int:
        """The number of contracts that have not ended."""
        return len(self._waiting) + len(self._running)

    def offer(self, pairs: Iterable[Pair], lanes: int = LANES, processes: int = PROCESSES) -> None:
        """Let contracts run that will have their turn in this process.

        Args:
            pairs: The contracts with their modes, in the order of their turns. Long ones begin
                before others, and those that need quiet are left out.
            lanes: The number of contracts that run at the same time from now on.
            processes: The number of them that may use a second process, or another process.
        """
        with self._changed:
            self._processes = processes
            for contract, mode in pairs:
                key = contract.id, mode
                if has_company(contract, self._subject) and key not in self._offered:
                    self._offered.add(key)
                    self._waiting.append((contract, mode))
            self._waiting = deque(sorted(self._waiting, key=lambda pair: not pair[0].is_long))
            if self._waiting:
                self._widen(lanes)
            self._changed.notify_all()

    def _widen(self, lanes: int) -> None:
        """Start further threads."""
        if lanes > len(self.lanes):
            self._subject.local.loop.renew_pool(2 * lanes)
        for number in range(len(self.lanes), lanes):
            one = self._subject.sibling()
            self.lanes.append(one)
            name = f"history-ahead-{number}"
            threading.Thread(target=self._work, args=[one], name=name, daemon=True).start()

    def take(self, identifier: str, mode: Mode, *, needs_quiet: bool) -> ContractResult | None:
        """Return the result of a contract, or None when nothing hinders it and it must run.

        Args:
            identifier: The id of the contract.
            mode: The mode.
            needs_quiet: Whether the contract must not run next to others.
        """
        key = identifier, mode
        with self._changed:
            while key in self._offered and key not in self._results and not self._ended:
                self._wait()
            result = self._results.get(key)
            if result is not None and result.outcome in ("passed", "not_applicable"):
                return result
            is_again = key in self._offered  # it failed next to others, so it runs alone now
            while not self._ended and (self.left if is_again or needs_quiet else self._left_here):
                self._wait()
        return None

    @property
    def _left_here(self) -> bool:
        """True if contracts that run in this process have not ended."""
        left = (*self._running, *self._waiting)
        return not all(contract.can_be_separate for contract, _ in left)

    def _wait(self) -> None:
        self._changed.wait(1.0)
        self._on_wait()

    def ended(self) -> set[tuple[str, Mode]]:
        """Return the contracts that have run, with their modes."""
        with self._changed:
            return set(self._results)

    def failure_of(self, identifier: str, mode: Mode) -> ContractResult | None:
        """Return the result of a contract that failed ahead, if it did."""
        result = self._results.get((identifier, mode))
        return result if result is not None and result.outcome == "failed" else None

    def stop(self) -> None:
        """End the threads after the contracts that they are running."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
        for one in self.lanes:
            one.hurry()
            one.stop()

    def _work(self, subject: Subject) -> None:
        while (pair := self._next()) is not None:
            contract, mode = pair
            result: ContractResult | None = None
            is_here = not contract.can_be_separate
            if is_here:
                self._on_change(contract.id, mode, True)
            try:
                result = self._screen(contract, subject, mode)
            except BaseException:  # the contract runs again alone, and raises there
                result = None
            finally:
                if is_here:
                    self._on_change(contract.id, mode, False)
                with self._changed:
                    self._results[contract.id, mode] = result
                    self._running.remove(pair)
                    self._changed.notify_all()

    def _next(self) -> Pair | None:
        """Wait for a contract and return it, or None at the end.

        Those that need a process come first, as far as they may, so that they are not left in the
        end.
        """
        with self._changed:
            while not self._ended:
                has_process = sum(map(_needs_process, self._running)) < self._processes
                pairs = [pair for pair in self._waiting if has_process or not _needs_process(pair)]
                if pairs:
                    pair = next(filter(_needs_process, pairs), pairs[0])
                    self._waiting.remove(pair)
                    self._running.append(pair)
                    return pair
                self._changed.wait()
            return None


def _needs_process(pair: Pair) -> bool:
    contract, mode = pair
    return mode == "process" or contract.can_be_separate
