"""Broken histories that hide errors, or cannot be used after one."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.codec import UndecodableRecordError, decode, encode_batch
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.registered import _corrupt_sqlite, _refuse_in_sqlite
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

logger = logging.getLogger(__name__)


@faulty(
    "errors.half_batch",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="langchain-core 1.7.2, chat_history.py BaseChatMessageHistory.add_messages: the default "
    "loop",
)
class HalfBatch(MemoryChatMessageHistory):
    """Stores a batch message by message, up to the one that is refused."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            super().add_messages([message])


@faulty(
    "errors.left_for_the_next_batch",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="microsoft/mssql-jdbc#1767: a batch that fails is not emptied, so the next one contains "
    "it; apache/iotdb#2191: what failed in one row is sent with the next one",
)
class LeftForTheNextBatch(MemoryChatMessageHistory):
    """Has the part of a refused batch before the refused message in a buffer, for the next one."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._buffer: list[BaseMessage] = []

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            encode_batch([message])
            self._buffer.append(message.model_copy(deep=True))
        added, self._buffer = self._buffer, []
        super().add_messages(added)


@faulty(
    "errors.truncate_then_fail",
    breaks="errors.refused_batch_stores_nothing",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: a message that cannot be "
    "encoded leaves an empty file",
)
class TruncateThenFail(MemoryChatMessageHistory):
    """Rewrites the whole conversation, and empties the old one before encoding the new one."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        everything = [*self.messages, *messages]
        self.clear()
        super().add_messages(everything)


@faulty(
    "errors.poisoned_connection",
    breaks="errors.usable_after_refusal",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: add_message has no "
    "rollback",
)
class PoisonedConnection(MemoryChatMessageHistory):
    """Fails all writes of a handle after an error, until a rollback that never comes."""

    _broken = False

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if self._broken and messages:
            raise RuntimeError("current transaction is aborted, commands are ignored")
        self._broken = True
        super().add_messages(messages)
        self._broken = False


@faulty(
    "errors.write_error_swallowed",
    breaks="errors.write_failure_raises",
    kind="swallowed_error",
    seen="langchain-mongodb 0.12.1 add_message: except WriteError: logger.error",
)
class WriteErrorSwallowed(MemoryChatMessageHistory):
    """Logs a write that fails, and returns from `add_messages`."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        with contextlib.suppress(Exception):
            super().add_messages(messages)


@faulty(
    "errors.refused_write_logged",
    breaks="errors.write_failure_raises",
    kind="swallowed_error",
    seen="langchain-mongodb 0.12.1 add_message: except WriteError: logger.error; messages that "
    "cannot be encoded raise",
    control="sqlite",
    refuse=_refuse_in_sqlite,
)
class RefusedWriteLogged(SQLiteChatMessageHistory):
    """Logs that the store has refused a write, and returns from the add."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except sqlite3.Error as error:
            logger.error("adding failed: %s", error)


@faulty(
    "errors.commits_each_message",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="langchain-redis, langchain-community 0.4.2 redis.py: one write for each message of a "
    "batch",
    control="sqlite",
    refuse=_refuse_in_sqlite,
)
class CommitsEachMessage(SQLiteChatMessageHistory):
    """Encodes the whole batch first, and then commits message by message."""

    def _append(self, texts: Sequence[str]) -> None:
        for text in texts:
            super()._append([text])


@faulty(
    "errors.no_rollback_after_a_refusal",
    breaks="errors.usable_after_refusal",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: no rollback, so every "
    "later statement fails",
    control="sqlite",
    refuse=_refuse_in_sqlite,
)
class NoRollbackAfterARefusal(SQLiteChatMessageHistory):
    """Fails all writes of a handle after the store has refused one."""

    _aborted = False

    def _append(self, texts: Sequence[str]) -> None:
        if self._aborted:
            raise sqlite3.OperationalError("current transaction is aborted, commands are ignored")
        try:
            super()._append(texts)
        except sqlite3.Error:
            self._aborted = True
            raise


@faulty(
    "errors.unwritable_skipped",
    breaks="errors.write_failure_raises",
    kind="swallowed_error",
    seen="langchain-couchbase 1.1.1 add_message(s): except Exception",
)
class UnwritableSkipped(MemoryChatMessageHistory):
    """Skips the messages of a batch that cannot be written."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            with contextlib.suppress(TypeError, ValueError):
                super().add_messages([message])


@faulty(
    "errors.corrupt_row_skipped",
    breaks="errors.undecodable_record",
    kind="swallowed_error",
    seen="openai-agents 0.24.0, memory/sqlite_session.py _decode_rows: except JSONDecodeError: "
    "continue",
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class CorruptRowSkipped(SQLiteChatMessageHistory):
    """Skips rows that cannot be decoded when reading."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        try:
            return super().messages
        except UndecodableRecordError as error:
            return error.messages


@faulty(
    "errors.clear_reads_first",
    breaks="errors.undecodable_record",
    kind="other",
    seen=INVENTED,
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class ClearReadsFirst(SQLiteChatMessageHistory):
    """Reads the session before clearing it, so a damaged session cannot be cleared."""

    def clear(self) -> None:
        if self.messages:
            super().clear()


@faulty(
    "errors.corrupt_row_hides_session",
    breaks="errors.undecodable_record_keeps_the_others",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: json.loads for each row "
    "without a guard",
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class CorruptRowHidesSession(SQLiteChatMessageHistory):
    """Ends a read at the first row that cannot be decoded, without the other messages."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [decode(text, position) for position, text in self._fetch()]


@faulty(
    "errors.refusal_without_text",
    breaks="errors.refusal_names_the_problem",
    kind="wrong_error",
    seen=INVENTED,
)
class RefusalWithoutText(MemoryChatMessageHistory):
    """Refuses every message that cannot be stored with the same text."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        refused = False
        try:
            super().add_messages(messages)
        except (TypeError, ValueError):
            refused = True
        if refused:
            raise ValueError("invalid input")


@faulty(
    "errors.attribute_error",
    breaks="errors.refusal_is_a_type_or_value_error",
    kind="wrong_error",
    seen=INVENTED,
)
class AttributeErrorForText(MemoryChatMessageHistory):
    """Uses a value that is not a message as one, which raises AttributeError."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        kinds = {message.type for message in messages}
        assert kinds or not messages
        encode_batch(messages)
        super().add_messages(messages)


@faulty(
    "errors.corrupt_row_skipped_at_the_end",
    breaks="errors.undecodable_record",
    kind="swallowed_error",
    seen=INVENTED,
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class CorruptRowSkippedAtTheEnd(SQLiteChatMessageHistory):
    """Skips a record that is not a message in `last_messages` only."""

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        try:
            return super().last_messages(max_message_count)
        except UndecodableRecordError as error:
            return error.messages


@faulty(
    "errors.stored_in_parts",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="langchain-couchbase 1.1.1, add_messages: requests of 100",
)
class StoredInParts(MemoryChatMessageHistory):
    """Encodes and stores a batch in parts of 100 messages, one after the other."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for start in range(0, len(messages), 100):
            super().add_messages(messages[start : start + 100])


@faulty(
    "errors.torn_record_continued",
    breaks="errors.add_after_undecodable_record",
    kind="lost",
    seen="Tracer-Cloud/opensre#5750: a torn final line swallows the next turn",
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class TornRecordContinued(SQLiteChatMessageHistory):
    """Writes a new message behind the text of the last one, if that has no end."""

    def _append(self, texts: Sequence[str]) -> None:
        records = self._fetch(1)
        if not records or records[0][1][-2:] in (b"}}", "}}"):
            super()._append(texts)
            return
        with self._transaction("IMMEDIATE") as connection:
            connection.execute(
                "UPDATE chat_messages SET message = message || ? WHERE id = ?",
                ("".join(texts), records[0][0]),
            )
