"""Broken histories whose consuming reads lose or repeat messages."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from langchain_core.messages import BaseMessage

from chat_history_backends import registered
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

Messages = list[BaseMessage]


@faulty("cursor.never_moves", breaks="cursor.once_in_order", kind="duplicated", seen=INVENTED)
class NeverMoves(MemoryChatMessageHistory):
    """Does not move the position if a read reaches the end."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        before = self._session().position
        messages = super().messages_from_last_consumed(max_message_count, max_time_sec)
        if not self._has_unread(0, 1):
            self._session().position = before
        return messages


@faulty(
    "cursor.skips_ties",
    breaks="cursor.once_in_order",
    kind="lost",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py get_messages: search_after on "
    "created_at alone",
)
class SkipsTies(MemoryChatMessageHistory):
    """Gives every fourth message the key of the one before, and continues a page after both."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        page = super().messages_from_last_consumed(max_message_count, max_time_sec)
        return [item for place, item in enumerate(page) if place % 4 != 3]


@faulty(
    "cursor.repeats_the_border",
    breaks="cursor.in_steps",
    kind="duplicated",
    seen="Shivayan09/Vector#538 [Bug] Chat message history duplicates, "
    "https://github.com/Shivayan09/Vector/issues/538",
)
class RepeatsTheBorder(MemoryChatMessageHistory):
    """Delivers the last message of a read again if more messages are left."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_last_consumed(max_message_count, max_time_sec)
        if self._has_unread(0, 1):
            self._session().position -= 1
        return messages


@faulty(
    "cursor.position_at_opening", breaks="cursor.across_handles", kind="duplicated", seen=INVENTED
)
class PositionAtOpening(MemoryChatMessageHistory):
    """Keeps a separate position for each handle."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        self._session().position = getattr(self, "_own", 0)
        messages = super().messages_from_last_consumed(max_message_count, max_time_sec)
        self._own = self._session().position
        return messages


@faulty(
    "cursor.forgotten_at_opening",
    breaks="cursor.survives_reopening",
    kind="duplicated",
    seen=INVENTED,
    control="sqlite",
)
class ForgottenAtOpening(SQLiteChatMessageHistory):
    """Resets the position to the start when a handle is opened."""

    def __init__(self, session_id: str, **options: Any) -> None:
        super().__init__(session_id, **options)
        with self._transaction("IMMEDIATE") as connection:
            connection.execute("DELETE FROM chat_positions WHERE session_id = ?", (self._key,))


@faulty(
    "cursor.stored_on_the_next_read",
    breaks="cursor.survives_reopening",
    kind="duplicated",
    seen=INVENTED,
    control="sqlite",
)
class StoredOnTheNextRead(SQLiteChatMessageHistory):
    """Stores the position only with the next read of the same handle, so the last move is lost."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        with self._transaction("DEFERRED") as connection:
            stored = self._position(connection)
        start = max(getattr(self, "_reached", 0), stored)
        messages = self._consume(max_message_count, None, after=start)
        with self._transaction("IMMEDIATE") as connection:
            self._reached = self._position(connection)
            connection.execute("UPDATE chat_positions SET position = ?", (start,))
        return messages


@faulty(
    "cursor.count_as_position",
    breaks="cursor.after_clear",
    kind="lost",
    seen="status-im/status-legacy#7097 Messages not loaded from the database, "
    "https://github.com/status-im/status-legacy/issues/7097",
)
class CountAsPosition(MemoryChatMessageHistory):
    """Uses the number of consumed messages as the position, and does not reset it on `clear`."""

    consumed: ClassVar[dict[str, int]] = {}

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        start = self.consumed.get(self.session_id, 0)
        end = None if max_message_count is None else start + max_message_count
        messages = self.messages[start:end]
        self.consumed[self.session_id] = start + len(messages)
        return messages


@faulty(
    "cursor.starts_at_the_end",
    breaks="cursor.new_session_from_the_start",
    kind="lost",
    seen=INVENTED,
)
class StartsAtTheEnd(MemoryChatMessageHistory):
    """Starts at the end if a handle is opened on a session without a position."""

    def __init__(self, session_id: str, **options: Any) -> None:
        super().__init__(session_id, **options)
        if not self._session().position:
            self._session().position = self._end()


@faulty("cursor.one_for_all", breaks="cursor.sessions_apart", kind="lost", seen=INVENTED)
class OneForAll(MemoryChatMessageHistory):
    """Keeps a single position for all sessions."""

    reached: ClassVar[dict[int, int]] = {}

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        reached = self.reached.get(id(self._store), 0)
        messages = self._consume(max_message_count, None, after=reached)
        self.reached[id(self._store)] = max(reached, self._session().position)
        return messages


@faulty(
    "cursor.full_reads_commit",
    breaks="cursor.reset_is_consistent",
    kind="other",
    seen=INVENTED,
)
class FullReadsCommit(MemoryChatMessageHistory):
    """Moves the position on a read from the beginning only if the read fills its count."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_beginning(max_message_count, max_time_sec)
        if max_message_count is not None and len(messages) < max_message_count:
            self._session().position = 0
        return messages


@faulty(
    "cursor.moves_before_checking",
    breaks="cursor.failed_read_consumes_nothing",
    kind="lost",
    seen=INVENTED,
)
class MovesBeforeChecking(MemoryChatMessageHistory):
    """Moves the position before it checks the bounds."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        if isinstance(max_message_count, int) and not (max_time_sec or 0) >= 0:
            self._consume(max_message_count, None)
        return super().messages_from_last_consumed(max_message_count, max_time_sec)


@faulty(
    "cursor.moves_before_decoding",
    breaks="cursor.undecodable_consumes_nothing",
    kind="lost",
    seen=INVENTED,
    control="sqlite",
    corrupt=registered._corrupt_sqlite,
)
class MovesBeforeDecoding(SQLiteChatMessageHistory):
    """Moves the position past the fetched records before it decodes them."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        try:
            return super().messages_from_last_consumed(max_message_count, max_time_sec)
        except ValueError:
            with self._transaction("IMMEDIATE") as connection:
                end = "SELECT session_id, max(id) FROM chat_messages WHERE session_id = ?"
                connection.execute(f"REPLACE INTO chat_positions {end}", (self._key,))
            raise


@faulty(
    "cursor.adds_to_the_position",
    breaks="cursor.overlapping_lose_nothing",
    kind="lost",
    seen=INVENTED,
)
class AddsToThePosition(MemoryChatMessageHistory):
    """Adds the number of returned messages to a position that another reader has moved."""

    counted: ClassVar[dict[str, int]] = {}

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = self.messages[self.counted.get(self.session_id, 0) :][:max_message_count]
        time.sleep(0.0005)
        self.counted[self.session_id] = self.counted.get(self.session_id, 0) + len(messages)
        return messages


@faulty(
    "cursor.takes_then_moves", breaks="cursor.overlapping_share", kind="duplicated", seen=INVENTED
)
class TakesThenMoves(MemoryChatMessageHistory):
    """Reads from the position and moves it later, so another reader takes the same messages."""

    reached: ClassVar[dict[str, int]] = {}

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        start = self.reached.get(self.session_id, 0)
        messages = self.messages[start:][:max_message_count]
        time.sleep(0.0005)
        self.reached[self.session_id] = start + len(messages)
        return messages
