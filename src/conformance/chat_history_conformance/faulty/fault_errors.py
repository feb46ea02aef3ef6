"""Broken histories whose calls end in the wrong way while their server fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.faulty.served import ServedByRun, ServedError
from chat_history_conformance.results.model import Kind


def _broken(id: str, *, breaks: str, kind: Kind, seen: str = INVENTED) -> Callable[[Any], Any]:
    return faulty(id, breaks=breaks, kind=kind, seen=seen, control="served")


@_broken("faults.unprepared_answer", breaks="faults.error_class", kind="wrong_error")
class UnpreparedAnswer(ServedByRun):
    """Raises KeyError if the server answers that it is busy."""

    def _exchange(self, line: bytes, left: Callable[[], float | None]) -> dict[str, Any]:
        answer = super()._exchange(line, left)
        if "error" in answer:
            raise KeyError("records")
        return answer


@_broken(
    "faults.client_error_passed_on",
    breaks="faults.error_class",
    kind="wrong_error",
    seen="chat-history-conformance 0.1.0, kafka/log.py: KafkaHistoryError is not a ConnectionError",
)
class ClientErrorPassedOn(ServedByRun):
    """Raises an error of another class if an attempt gets no answer in time."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError as error:
            raise RuntimeError(str(error)) from error


@_broken("faults.no_answer_is_not_stored", breaks="faults.errors_are_true", kind="wrong_error")
class NoAnswerIsNotStored(ServedByRun):
    """Says that a batch is not stored if no answer came."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            error.outcome_unknown = False
            raise


@_broken("faults.last_one_unconfirmed", breaks="faults.errors_are_true", kind="lost")
class LastOneUnconfirmed(ServedByRun):
    """Names only the last message of a failed batch as unconfirmed."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            error.unconfirmed = (len(texts) - 1,)  # type: ignore[attr-defined]
            raise


@_broken("faults.short_attempt", breaks="faults.short_stall_is_waited_for", kind="other")
class ShortAttempt(ServedByRun):
    """Raises if a read gets no answer within a quarter of a second."""

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        return super()._complete(request, min(seconds or 0.25, 0.25))


@_broken("faults.short_add", breaks="faults.short_stall_is_waited_for", kind="other")
class ShortAdd(ServedByRun):
    """Raises if two attempts of an add get no answer within 0.2 s each."""

    def _change(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        return super()._change(request, 0.2)


@_broken("faults.busy_is_raised", breaks="faults.quick_restart_is_waited_for", kind="other")
class BusyIsRaised(ServedByRun):
    """Raises at once if the server answers that it is busy."""

    def _exchange(self, line: bytes, left: Callable[[], float | None]) -> dict[str, Any]:
        answer = super()._exchange(line, left)
        if answer.get("error") == "busy":
            raise TimeoutError("the server is busy")
        return answer


@_broken("faults.refused_is_raised", breaks="faults.quick_restart_is_waited_for", kind="other")
class RefusedIsRaised(ServedByRun):
    """Raises at once if the server refuses a connection."""

    patience_seconds: ClassVar[float] = 0.0


@_broken(
    "faults.one_call_at_a_time",
    breaks="faults.many_waiting",
    kind="hung",
    seen="chat-history-conformance 0.1.0, kafka/history.py: a pool of 8 threads for all calls",
)
class OneCallAtATime(ServedByRun):
    """Waits for a lock of the process before the time limit of a call begins."""

    _lock: ClassVar[threading.Lock] = threading.Lock()

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        with self._lock:
            return super()._ask(request, seconds)


@_broken("faults.thread_left_behind", breaks="faults.many_waiting", kind="other")
class ThreadLeftBehind(ServedByRun):
    """Leaves a thread behind for each call that gets no answer."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            threading.Thread(target=time.sleep, args=[30], daemon=True).start()
            raise
