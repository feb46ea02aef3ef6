"""The time after which reads show each write, by the declared `eventual`."""

from __future__ import annotations

import time
from typing import Literal

from chat_history_conformance.diagnosis.code import fill
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.phrase import SLEEP

__all__ = ["Effect", "Settling"]


Effect = Literal["none", "modelled", "unknown"]
"""The effect of a call on stored messages; the caller updates the model if it is `modelled`."""


class Settling:
    """The writes of one example, and for how long its reads may miss them.

    Args:
        eventual: The seconds after which reads show a write; None if they show it at once.
    """

    def __init__(self, eventual: float | None) -> None:
        self._eventual = eventual
        self._last_write = self._last_unmodelled = float("-inf")

    def wrote(self, effect: Effect) -> None:
        """Remember a call that has just returned."""
        if effect != "none":
            self._last_write = time.monotonic()
        if effect == "unknown":
            self._last_unmodelled = self._last_write

    def seconds_left(self, began: float | None = None) -> float:
        """Return for how long a read may still miss writes.

        Args:
            began: The start of the read on the monotonic clock; None for now.
        """
        return self._left_of(self._last_write, began)

    @property
    def knows_the_model(self) -> bool:
        """True if reads show all writes that may be missing in the model."""
        return self._left_of(self._last_unmodelled, None) <= 0

    def wait(self) -> None:
        """Let the time pass until reads show all writes."""
        time.sleep(self.seconds_left())

    def steps(self) -> list[Step]:
        """Return the step that waits, or no step if reads show all writes."""
        if self.seconds_left() <= 0:
            return []
        text = f"wait until reads have settled, {self._eventual:g} s after the last write"
        return [Step(text, fill("{}({})", SLEEP, f"{self._eventual:g}"))]

    def _left_of(self, write: float, began: float | None) -> float:
        if self._eventual is None:
            return 0.0
        began = time.monotonic() if began is None else began
        return max(0.0, write + self._eventual - began)
