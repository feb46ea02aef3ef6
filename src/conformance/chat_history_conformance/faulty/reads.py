"""Histories whose reads change something, or differ from the messages that were written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, SystemMessage

from chat_history_backends.base import Record
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty(
    "reads.consuming_read",
    breaks="reads.repeatable",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py `messages`: "
    "messages_from_last_consumed() with committed offsets",
)
class ConsumingRead(MemoryChatMessageHistory):
    """Returns only unread messages from `messages`, and then counts them as read."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return self.messages_from_last_consumed(None, None)


@faulty(
    "reads.summary_grows",
    breaks="reads.repeatable",
    kind="foreign",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py `messages`: puts a "
    "SystemMessage with a summary first",
)
class SummaryOnSecondRead(MemoryChatMessageHistory):
    """Returns an extra summary message from the second read of a handle on."""

    _reads = 0

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._reads += 1
        found = super().messages
        return [SystemMessage("summary"), *found] if self._reads > 1 and found else found


@faulty(
    "reads.missing_session_raises",
    breaks="reads.unused_session",
    kind="other",
    seen="langchain-ai/langchain#6141: DynamoDB without any chat history raised",
)
class MissingSessionRaises(MemoryChatMessageHistory):
    """Raises KeyError when it reads a session that was never written."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        assert self._store._sessions[self.session_id]
        return super().messages


@faulty("reads.none_for_empty", breaks="reads.unused_session", kind="other", seen=INVENTED)
class NoneForEmpty(MemoryChatMessageHistory):
    """Returns None for a session without messages."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages or None  # type: ignore[return-value]


@faulty(
    "reads.not_a_list",
    breaks="reads.returns_list",
    kind="other",
    seen="langchain-core 1.7.2, runnables/history.py _enter_history: calls .copy() on what "
    "`messages` returns, which a tuple has not",
)
class NotAList(MemoryChatMessageHistory):
    """Returns a tuple from `messages`."""

    @property
    def messages(self) -> Any:  # type: ignore[override]
        return tuple(super().messages)


@faulty(
    "reads.internal_list_returned",
    breaks="reads.returns_list",
    kind="aliased",
    seen="langchain-core 1.7.2, InMemoryChatMessageHistory: h.messages is h.messages",
)
class InternalListReturned(MemoryChatMessageHistory):
    """Returns the list in which the handle caches messages until the next write."""

    _kept: list[BaseMessage] | None = None

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if self._kept is None:
            self._kept = super().messages
        return self._kept

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        self._kept = None

    def clear(self) -> None:
        super().clear()
        self._kept = None


@faulty("reads.printing_consumes", breaks="reads.printing", kind="lost", seen=INVENTED)
class PrintingConsumes(MemoryChatMessageHistory):
    """Removes the messages from the history when `str` prints them."""

    def __str__(self) -> str:
        text = super().__str__()
        self.clear()
        return text


@faulty("reads.repr_sorts", breaks="reads.printing", kind="reordered", seen=INVENTED)
class ReprReverses(MemoryChatMessageHistory):
    """Reverses the stored messages in `repr`, to show the newest one first."""

    def __repr__(self) -> str:
        messages = self.messages[::-1]
        self.clear()
        self.add_messages(messages)
        return f"{messages[:1]}"


@faulty(
    "reads.write_not_yet_visible",
    breaks="reads.own_writes",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/rocksetdb.py: sync=False by default",
)
class WriteNotYetVisible(MemoryChatMessageHistory):
    """Makes added messages visible only after the next read."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._waiting: list[BaseMessage] = []

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self._waiting.extend(messages)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        visible = super().messages
        super().add_messages(self._waiting)
        self._waiting.clear()
        return visible

    def clear(self) -> None:
        super().clear()
        self._waiting.clear()


@faulty(
    "reads.cached_at_construction",
    breaks="reads.other_handle",
    kind="stale",
    seen="langchain-google-firestore 0.5.0: _load_messages only in __init__",
)
class CachedAtConstruction(MemoryChatMessageHistory):
    """Loads messages when a handle is created, and misses later adds of other handles."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._cache = super().messages

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return list(self._cache)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        self._cache = super().messages

    def clear(self) -> None:
        super().clear()
        self._cache = []


@faulty(
    "reads.stale_cache_until_empty",
    breaks="reads.other_handle",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py `messages`",
)
class StaleCacheUntilEmpty(CachedAtConstruction):
    """Reads the store only while the handle's cache is empty."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._cache = self._cache or MemoryChatMessageHistory.messages.fget(self)  # type: ignore[attr-defined]
        return list(self._cache)


@faulty(
    "reads.cache_of_the_process",
    breaks="reads.other_process",
    kind="lost",
    seen="langchain-google-datastore 0.3.1: messages are loaded once and kept",
    control="sqlite",
)
class CacheOfTheProcess(SQLiteChatMessageHistory):
    """Caches messages for all handles of a process, and misses writes of other processes."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if self.session_id not in _cache:
            _cache[self.session_id] = super().messages
        return list(_cache[self.session_id])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        _cache.pop(self.session_id, None)

    def clear(self) -> None:
        super().clear()
        _cache.pop(self.session_id, None)


_cache: dict[str, list[BaseMessage]] = {}


@faulty("reads.store_per_day", breaks="reads.another_day", kind="lost", seen=INVENTED)
class StorePerDay(MemoryChatMessageHistory):
    """Keeps the messages of each day of the wall clock under another key."""

    def _append(self, texts: Sequence[str]) -> None:
        self._of_today()
        super()._append(texts)

    def _fetch(self, last: int | None = None) -> list[Record]:
        self._of_today()
        return super()._fetch(last)

    def _of_today(self) -> None:
        session_id = self.session_id.rpartition("@")[0] or self.session_id
        self.session_id = f"{session_id}@{time.time() // 86_400:.0f}"
