"""Broken histories whose consuming reads skip or repeat messages when their server fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from langchain_core.messages import BaseMessage

from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.faulty.served import ServedByRun, ServedError
from chat_history_conformance.results.model import Kind


def _broken(id: str, *, breaks: str, kind: Kind, seen: str = INVENTED) -> Callable[[Any], Any]:
    return faulty(id, breaks=breaks, kind=kind, seen=seen, control="served")


class _Served(ServedByRun):
    """The control, with time-outs that are shorter than a stall."""

    answer_seconds: ClassVar[float | None] = 0.6


@_broken(
    "cursor.moved_and_raised",
    breaks="cursor.stalls_skip_nothing",
    kind="lost",
    seen="chat-history-conformance 0.1.0, kafka/history.py _consume: a read that raises may have "
    "moved the position",
)
class MovedAndRaised(_Served):
    """Moves the position, and raises without the messages if no answer to that comes."""

    def _consume(
        self, start: int, records: Sequence[tuple[int, str]], messages: list[BaseMessage]
    ) -> bool:
        try:
            return super()._consume(start, records, messages)
        except ServedError as error:
            error.messages = ()
            raise


@_broken("cursor.move_lost", breaks="cursor.restarts_skip_nothing", kind="duplicated")
class MoveLost(_Served):
    """Returns the messages although the request that moves the position failed."""

    patience_seconds: ClassVar[float] = 0.0

    def _consume(
        self, start: int, records: Sequence[tuple[int, str]], messages: list[BaseMessage]
    ) -> bool:
        time.sleep(0.05)  # a slow client
        with contextlib.suppress(ServedError):
            return super()._consume(start, records, messages)
        return True


@_broken("cursor.moved_by_a_lost_answer", breaks="cursor.restarts_skip_nothing", kind="lost")
class MovedByALostAnswer(_Served):
    """Moves the position before it fetches the messages."""

    patience_seconds: ClassVar[float] = 0.0

    def _consume(
        self, start: int, records: Sequence[tuple[int, str]], messages: list[BaseMessage]
    ) -> bool:
        try:
            moved = super()._consume(start, records, messages)
        except ServedError as error:
            error.messages = ()
            raise
        if moved:
            time.sleep(0.05)  # a slow fetch
            self._records(0, self.answer_seconds)
        return moved
