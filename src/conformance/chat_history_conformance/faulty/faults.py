"""Broken histories that fail when their server is paused, killed or unreachable."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from langchain_core.messages import BaseMessage

from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.faulty.served import (
    ServedByRun,
    ServedError,
    in_second_process,
)

logger = logging.getLogger(__name__)


class _Served(ServedByRun):
    """The control, but without patience: each error of a connection is raised at once."""

    patience_seconds: ClassVar[float] = 0.0


class _Impatient(_Served):
    """A correct history that waits for its first answer, and after it only for a moment."""

    _patience_seconds = 2.0

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        answer = super()._ask(request, self._patience_seconds)
        self._patience_seconds = 0.3
        return answer


@faulty(
    "faults.write_error_logged",
    breaks="faults.unreachable_raises",
    kind="swallowed_error",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py and redis.py __init__: the "
    "error of the connection goes to logger.error",
    control="served",
)
class WriteErrorLogged(_Served):
    """Logs connection errors of a write, and returns from the add."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            logger.error("adding failed: %s", error)


@faulty(
    "faults.empty_when_unreachable",
    breaks="faults.unreachable_raises",
    kind="swallowed_error",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py __read_messages: logs a "
    "consumer's error and returns the messages received so far",
    control="served",
)
class EmptyWhenUnreachable(_Served):
    """Returns an empty conversation if the server does not answer."""

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        with contextlib.suppress(ServedError):
            return super()._records(count, seconds)
        return []


@faulty(
    "faults.retries_for_a_minute",
    breaks="faults.unreachable_raises",
    kind="hung",
    seen=INVENTED,
    control="served",
)
class RetriesForAMinute(_Served):
    """Repeats a request for a minute if no server is running."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            with contextlib.suppress(ServedError):
                return super()._ask(request, seconds)
            time.sleep(0.1)
        return super()._ask(request, seconds)


@faulty(
    "faults.nameless_error",
    breaks="faults.unreachable_names_session_and_server",
    kind="wrong_error",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: raises the "
    "client's error as it is",
    control="served",
)
class NamelessError(_Served):
    """Raises an error that names neither the server nor the session."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            raise ConnectionError("the connection failed") from None


@faulty(
    "faults.session_not_named",
    breaks="faults.unreachable_names_session_and_server",
    kind="wrong_error",
    seen=INVENTED,
    control="served",
)
class SessionNotNamed(_Served):
    """Raises an error that names the server, as clients do, but not the session."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            raise ConnectionError(f"no answer from {self.address}") from None


@faulty(
    "faults.acknowledged_before_stored",
    breaks="faults.killed_server_keeps_acknowledged",
    kind="lost",
    seen=INVENTED,
    control="served",
)
class AcknowledgedBeforeStored(_Served):
    """Asks the server to acknowledge messages in memory, and to write them later."""

    def _append(self, texts: Sequence[str]) -> None:
        request = {"do": "append", "texts": texts, "identifier": uuid.uuid4().hex, "lazily": True}
        self._ask(request, self.answer_seconds)


@faulty(
    "faults.never_reconnects",
    breaks="faults.handle_survives_restart",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: one psycopg.connect for "
    "the life of the object",
    control="served",
)
class NeverReconnects(_Served):
    """Uses one connection for the life of a handle."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def _exchange(self, line: bytes, left: Callable[[], float | None]) -> dict[str, Any]:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(left)
            return self._converse(self._connection, line, left)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


@faulty(
    "faults.sent_behind_ones_back",
    breaks="faults.in_flight_once",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: messages in "
    "flight when the flush times out cause only a warning",
    control="served",
)
class SentByAThread(_Served):
    """Sends messages from a thread that drops those that fail; only reads wait for the thread."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._waiting: queue.Queue[Sequence[str]] = queue.Queue()
        threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        while True:
            texts = self._waiting.get()
            with contextlib.suppress(ServedError):
                super()._append(texts)
            self._waiting.task_done()

    def _append(self, texts: Sequence[str]) -> None:
        self._waiting.put(texts)
        time.sleep(0.001)

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        self._waiting.join()
        return super()._records(count, seconds)


@faulty(
    "faults.sent_again_after_reconnecting",
    breaks="faults.in_flight_once",
    kind="duplicated",
    seen=INVENTED,
    control="served",
)
class SentAgainAfterReconnecting(_Served):
    """Sends the last batch again after an error, although it may be stored already."""

    _last: Sequence[str] = ()
    _failed = False

    def _append(self, texts: Sequence[str]) -> None:
        if self._failed:
            super()._append(self._last)
            self._failed = False
        try:
            super()._append(texts)
            self._last = texts
        except ServedError:
            self._failed = True
            raise


@faulty(
    "faults.no_timeout",
    breaks="faults.paused_server",
    kind="hung",
    seen="langchain-community 0.4.2, chat_message_histories/redis.py __init__: "
    "get_client(redis_url=url), without a socket_timeout",
    control="served",
)
class NoTimeout(_Served):
    """Waits for an answer without a limit."""

    answer_seconds = None


@faulty(
    "faults.retried_as_new",
    breaks="faults.paused_server",
    kind="duplicated",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: a Producer that retries, "
    "without enable.idempotence",
    control="served",
)
class RetriedAsNew(_Served):
    """Sends a batch that received no answer again with a new id, so both are stored."""

    def _append(self, texts: Sequence[str]) -> None:
        for attempt in (1, 2):
            try:
                self._ask(
                    {"do": "append", "texts": texts, "identifier": uuid.uuid4().hex},
                    self.answer_seconds,
                )
            except ServedError:
                if attempt == 2:
                    raise
            else:
                return


@faulty(
    "faults.timeout_is_success",
    breaks="faults.paused_server",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: a timeout of "
    "the flush is a warning, and the add returns",
    control="served",
)
class TimeoutIsSuccess(_Served):
    """Returns from the add without sending it if the server does not answer in time."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            self._ask({"do": "read", "count": 0}, self.answer_seconds)
        except ServedError as error:
            logger.warning("the messages are still in flight: %s", error)
        else:
            super()._append(texts)


@faulty(
    "faults.unknown_means_empty",
    breaks="faults.dead_server_reads",
    kind="swallowed_error",
    seen="chat-history-conformance 0.1.0, kafka/log.py: the client's _UNKNOWN_PARTITION counts as "
    "a partition without messages",
    control="served",
)
class UnknownMeansEmpty(_Impatient):
    """Takes a connection that breaks for an empty conversation, if the handle was in use."""

    _was_read = False

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        try:
            records = super()._records(count, seconds)
        except ServedError as error:
            if self._was_read and isinstance(error.__cause__, ConnectionError):
                return []
            raise
        self._was_read = True
        return records


@faulty(
    "faults.first_page_when_dead",
    breaks="faults.dead_server_reads",
    kind="swallowed_error",
    seen=INVENTED,
    control="served",
)
class FirstPageWhenDead(_Served):
    """Returns the first page of the last read if the server does not answer."""

    _page: Sequence[tuple[int, str]] = ()

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        try:
            records = super()._records(count, seconds)
        except ServedError:
            if not self._page:
                raise
            return list(self._page)
        self._page = records[:2]
        return records


@faulty(
    "faults.no_newest_when_dead",
    breaks="faults.dead_server_reads",
    kind="swallowed_error",
    seen="chat-history-conformance 0.1.0, kafka/history.py last_messages: an empty list from a "
    "dead broker",
    control="served",
)
class NoNewestWhenDead(_Served):
    """Returns no newest messages if the server does not answer."""

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        try:
            return super().last_messages(max_message_count)
        except ServedError:
            return []


@faulty(
    "faults.clear_error_logged",
    breaks="faults.dead_server_clear",
    kind="swallowed_error",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py clear: a failed "
    "delete_records is only logged",
    control="served",
)
class ClearErrorLogged(_Served):
    """Logs the error of a clear, and returns."""

    def clear(self) -> None:
        try:
            super().clear()
        except ServedError as error:
            logger.error("clearing failed: %s", error)


@faulty(
    "faults.clear_sent_later",
    breaks="faults.dead_server_clear",
    kind="lost",
    seen=INVENTED,
    control="served",
)
class ClearSentLater(_Served):
    """Raises from a clear that fails, and repeats it in a thread when the server is back."""

    def clear(self) -> None:
        try:
            super().clear()
        except ServedError:
            threading.Thread(target=self._repeat, daemon=True).start()
            raise

    def _repeat(self) -> None:
        for _ in range(200):
            with contextlib.suppress(ServedError):
                self._records(0, self.answer_seconds)
                time.sleep(0.6)
                super().clear()
                return
            time.sleep(0.05)


@faulty(
    "faults.clear_acknowledged_early",
    breaks="faults.clear_survives_kill",
    kind="resurrected",
    seen="chat-history-conformance 0.1.0, kafka/history.py clear: the broker writes the new start "
    "of the log every 60 s",
    control="served",
)
class ClearAcknowledgedEarly(_Served):
    """Asks the server to acknowledge a clear in memory, and to write it later."""

    def clear(self) -> None:
        self._change({"do": "clear", "lazily": True}, self.answer_seconds)


@faulty(
    "faults.clear_known_to_the_process",
    breaks="faults.clear_survives_kill",
    kind="resurrected",
    seen=INVENTED,
    control="served",
)
class ClearKnownToTheProcess(_Served):
    """Clears in the server's memory, and hides cleared messages in its own process only."""

    _cleared: ClassVar[dict[str, int]] = {}

    def clear(self) -> None:
        records = super()._records(None, self.answer_seconds)
        self._cleared[self.session_id] = records[-1][0] if records else 0
        self._change({"do": "clear", "lazily": True}, self.answer_seconds)

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        start = self._cleared.get(self.session_id, 0)
        records = super()._records(None, seconds)
        return [record for record in records if record[0] > start][:count]


@faulty(
    "faults.dies_of_lost_connections",
    breaks="faults.survives_restarts",
    kind="crashed",
    seen="chat-history-conformance 0.1.0, kafka/log.py cursor: SIGSEGV in rd_kafka_cgrp_op when a "
    "broker ends in an orderly way",
    control="served",
)
class DiesOfLostConnections(_Impatient):
    """Ends the process with SIGSEGV when a consuming read fails."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        try:
            return super().messages_from_last_consumed(max_message_count, max_time_sec)
        except ServedError:
            if in_second_process():
                os.kill(os.getpid(), signal.SIGSEGV)
            raise


@faulty(
    "faults.consumes_before_it_reads",
    breaks="faults.survives_restarts",
    kind="lost",
    seen="chat-history-conformance 0.1.0, kafka/history.py _consume: the position is stored, and "
    "then the read raises",
    control="served",
)
class ConsumesBeforeItReads(_Impatient):
    """Stores the position of a consuming read, and raises if the next request fails."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        consumed = super().messages_from_last_consumed(max_message_count, max_time_sec)
        time.sleep(0.05)
        self._records(0, self.answer_seconds)
        return consumed


@faulty(
    "faults.late_is_acknowledged",
    breaks="faults.late_answers_once",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: a flush that "
    "times out is a warning, and the add returns",
    control="served",
)
class LateIsAcknowledged(_Served):
    """Sends a batch once, and returns if the answer is late."""

    def _append(self, texts: Sequence[str]) -> None:
        request = {"do": "append", "texts": texts, "identifier": uuid.uuid4().hex}
        try:
            self._ask(request, self.answer_seconds)
        except ServedError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            logger.warning("the messages are still in flight: %s", error)


@faulty(
    "faults.pending_sent_as_new",
    breaks="faults.late_answers_once",
    kind="duplicated",
    seen="chat-history-conformance 0.1.0, kafka/clients.py: one message is stored under two "
    "epochs of the producer",
    control="served",
)
class PendingSentAsNew(_Served):
    """Raises after a time-out, and sends the batch with the next add again, with a new id."""

    _pending: Sequence[str] = ()

    def _append(self, texts: Sequence[str]) -> None:
        pending, self._pending = self._pending, ()
        try:
            super()._append([*pending, *texts])
        except ServedError:
            self._pending = texts
            raise


@faulty(
    "faults.batch_in_pieces",
    breaks="faults.batch_whole_or_reported",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: one produce "
    "for each message",
    control="served",
)
class BatchInPieces(_Impatient):
    """Sends each message of a batch in a separate request."""

    def _append(self, texts: Sequence[str]) -> None:
        for text in texts:
            super()._append([text])


@faulty(
    "faults.outcome_claimed",
    breaks="faults.batch_whole_or_reported",
    kind="wrong_error",
    seen=INVENTED,
    control="served",
)
class OutcomeClaimed(_Impatient):
    """Looks at the server after an add, and if that fails says that nothing is stored."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        time.sleep(0.02)
        self._records(0, self.answer_seconds)


@faulty(
    "faults.time_bounds_the_loop",
    breaks="faults.paused_bounded_read",
    kind="wrong_bound",
    seen=INVENTED,
    control="served",
)
class TimeBoundsTheLoop(_Served):
    """Checks the time of a read only between messages, and uses the client's own timeout."""

    def _timeout_seconds(self, seconds: float | None) -> float | None:
        return 5.0


@faulty(
    "faults.silence_ends_the_read",
    breaks="faults.paused_bounded_read",
    kind="swallowed_error",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py __read_messages: returns the "
    "messages received so far when the time is over",
    control="served",
)
class SilenceEndsTheRead(_Served):
    """Returns an empty list if the time of a read is over without an answer."""

    def messages_from_beginning(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        try:
            return super().messages_from_beginning(max_message_count, max_time_sec)
        except ServedError:
            if max_time_sec is None:
                raise
            return []
