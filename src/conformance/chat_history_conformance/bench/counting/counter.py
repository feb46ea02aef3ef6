"""The base class of the counters of round trips."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod

__all__ = ["CannotCount", "RoundTripCounter"]


class CannotCount(Exception):
    """Round trips that cannot be counted. The text says why."""


class RoundTripCounter(ABC):
    """Counts round trips while it is entered. Open the backend's history after that.

    Several counters may be entered at once, and in several threads. Each counts the round trips of
    all threads of the process.
    """

    problem: str | None = None
    """The reason why it cannot count and what would help, or None. Read it after entering, because
    some reasons are only known then. `total` means nothing if there is one."""

    def __init__(self) -> None:
        self._before = 0
        self._after: int | None = 0
        self._entered = contextlib.ExitStack()

    @property
    def total(self) -> int:
        """The number of round trips since the counter was entered, until it was left.

        Raises:
            CannotCount: A client sent something that the counter does not understand.
        """
        return (self._so_far() if self._after is None else self._after) - self._before

    def __enter__(self) -> RoundTripCounter:
        if self._after is None:
            raise RuntimeError("this counter is already counting: make another one")
        if self.problem is None:
            try:
                self._entered.enter_context(self._watching())
                self._before, self._after = self._so_far(), None
            except CannotCount as error:
                self._entered.close()
                self.problem = str(error)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._after is None:
            try:
                self._after = self._so_far()
            except CannotCount as error:
                self.problem, self._after = str(error), self._before
        self._entered.close()

    @abstractmethod
    def _so_far(self) -> int:
        """Return a number that grows by one with each round trip."""

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which the process is watched.

        Raises:
            CannotCount: It cannot be watched.
        """
        return contextlib.nullcontext()
