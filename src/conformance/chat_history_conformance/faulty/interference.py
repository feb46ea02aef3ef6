"""Broken histories that fail while, or after, another user of the store interferes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.faulty import INVENTED, fault_errors, faulty
from chat_history_conformance.faulty.served import (
    INTERFERENCE,
    ServedByRun,
    ServedError,
)
from chat_history_conformance.results.model import Kind

logger = logging.getLogger(__name__)


def _broken(id: str, *, breaks: str, kind: Kind, seen: str = INVENTED) -> Callable[[Any], Any]:
    """Register a broken history with all that others can do to a session of its server."""
    return faulty(
        id, breaks=breaks, kind=kind, seen=seen, control="served", interference=INTERFERENCE
    )


@_broken(
    "interference.shows_the_visible_part",
    breaks="interference.hides_nothing",
    kind="lost",
    seen="confluentinc/librdkafka#3423: a read that ends at the last stable offset leaves out "
    "what was acknowledged behind an open transaction",
)
class ShowsTheVisiblePart(ServedByRun):
    """Returns the records that the server shows, and ignores that it hides others."""

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        return self._ask(request, seconds)


@_broken(
    "interference.refusal_logged",
    breaks="interference.hides_nothing",
    kind="lost",
    seen="langchain-mongodb, chat_message_histories.py add_message: `except WriteError: "
    "logger.error`",
)
class RefusalLogged(ServedByRun):
    """Logs that the server refused a write, and returns from the add."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            logger.error("adding failed: %s", error)


@_broken(
    "interference.newest_are_empty_without_permission",
    breaks="interference.hides_nothing",
    kind="lost",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py get_messages: `except ApiError`, "
    "logged as `Could not search index`",
)
class NewestAreEmptyWithoutPermission(ServedByRun):
    """Returns no newest messages if the server refuses the read."""

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        with contextlib.suppress(ServedError):
            return super().last_messages(max_message_count)
        return []


@_broken("interference.hidden_counts_as_consumed", breaks="interference.skips_nothing", kind="lost")
class HiddenCountsAsConsumed(ServedByRun):
    """Moves its position over records that the server hides."""

    _skip = 0

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        skip, self._skip = self._skip, 0
        return super().messages_from_last_consumed(max_message_count, max_time_sec)[skip:]

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        answer = self._ask(request, seconds)
        if request.get("unconsumed"):
            self._skip = answer["hidden"]
            return answer
        return super()._complete(request, seconds)


@_broken(
    "interference.starts_again_after_an_error",
    breaks="interference.skips_nothing",
    kind="duplicated",
)
class StartsAgainAfterAnError(ServedByRun):
    """Reads from the start after a consuming read that failed."""

    _failed = False

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        if "unconsumed" not in request:
            return super()._complete(request, seconds)
        try:
            answer = super()._complete({**request, "unconsumed": not self._failed}, seconds)
        except ServedError:
            self._failed = True
            raise
        self._failed = False
        return answer


@_broken(
    "interference.keeps_the_failed_client",
    breaks="interference.recovers",
    kind="other",
    seen="confluentinc/confluent-kafka-python#1151: a producer keeps its fatal error for ever",
)
class KeepsTheFailedClient(ServedByRun):
    """Raises the first refusal of a write again at each later write."""

    _fatal: ServedError | None = None

    def _append(self, texts: Sequence[str]) -> None:
        if self._fatal is not None:
            raise self._fatal
        try:
            super()._append(texts)
        except ServedError as error:
            self._fatal = error
            raise


@_broken("interference.sends_again_later", breaks="interference.recovers", kind="duplicated")
class SendsAgainLater(ServedByRun):
    """Sends a batch without an answer again before the next one, although it may be stored."""

    _waiting: Sequence[str] = ()

    def _append(self, texts: Sequence[str]) -> None:
        if self._waiting:
            super()._append(self._waiting)
            self._waiting = ()
        try:
            super()._append(texts)
        except ServedError as error:
            self._waiting = texts if error.outcome_unknown else ()
            raise


@_broken(
    "interference.no_answer_is_not_stored",
    breaks="interference.claims_are_true",
    kind="wrong_error",
)
class NoAnswerIsNotStored(fault_errors.NoAnswerIsNotStored):
    """Says that a batch is not stored if no answer came."""


@_broken(
    "interference.refused_is_sent_later", breaks="interference.claims_are_true", kind="wrong_error"
)
class RefusedIsSentLater(ServedByRun):
    """Keeps a refused batch, which its error calls not stored, and sends it with the next one."""

    _waiting: Sequence[str] = ()

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append([*self._waiting, *texts])
            self._waiting = ()
        except ServedError as error:
            self._waiting = () if error.outcome_unknown else [*self._waiting, *texts]
            raise


@_broken(
    "interference.only_the_last_is_unconfirmed", breaks="interference.claims_are_true", kind="lost"
)
class OnlyTheLastIsUnconfirmed(ServedByRun):
    """Names only the last message of a refused batch as unconfirmed."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            error.unconfirmed = (len(texts) - 1,)  # type: ignore[attr-defined]
            raise
