"""The speed of a history: how long its operations take."""

from __future__ import annotations

import statistics
from collections import deque

__all__ = ["Pace"]

_KEPT = 200


class Pace:
    """The times of the last operations of a history. Several threads may record them."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def record(self, seconds: float) -> None:
        """Record the time of one operation."""
        self._seconds.append(seconds)

    @property
    def number(self) -> int:
        """The number of operations whose times are known."""
        return len(self._seconds)

    @property
    def mean_seconds(self) -> float:
        """The mean time of an operation; 0.0 if none has run. One of many seconds counts as one."""
        seconds = [min(one, 1.0) for one in tuple(self._seconds)]
        return statistics.fmean(seconds) if seconds else 0.0
