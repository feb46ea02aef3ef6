"""Histories whose operations work one at a time, but not in some sequences."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.base import Record
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty("model.cache_by_length", breaks="model.agrees_with_list", kind="stale", seen=INVENTED)
class CacheByLength(MemoryChatMessageHistory):
    """Trusts the handle's cache while the session has as many messages as the cache."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._cache: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        stored = super().messages
        if len(stored) != len(self._cache):
            self._cache = stored
        return list(self._cache)

    def clear(self) -> None:
        super().clear()
        self._cache = []


@faulty(
    "model.stale_handle_overwrites",
    breaks="ordering.across_handles",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py upsert_messages: writes "
    "the cached list as the whole document",
)
class StaleHandleOverwrites(MemoryChatMessageHistory):
    """Adds after the messages that the handle last read, and overwrites later messages."""

    _seen: list[BaseMessage] | None = None

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._seen = super().messages
        return list(self._seen)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        (known, self._seen), stored = (self._seen, None), super().messages
        if known is not None and len(known) < len(stored):
            super().clear()
            super().add_messages(stored[: len(known)])
        super().add_messages(messages)

    def clear(self) -> None:
        super().clear()
        self._seen = None


@faulty("model.full_pages_cached", breaks="model.agrees_with_list", kind="stale", seen=INVENTED)
class FullPagesCached(MemoryChatMessageHistory):
    """Keeps full pages of 30 messages in each handle, and misses a clear by another handle."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._full: list[Record] = []

    def _fetch(self, last: int | None = None) -> list[Record]:
        records = super()._fetch()
        full = len(records) // 30 * 30
        self._full = [*self._full[:full], *records[len(self._full) : full]]
        records = [*self._full, *records[full:]]
        return records if last is None else records[max(0, len(records) - last) :]

    def clear(self) -> None:
        self._full = []
        super().clear()


@faulty("model.short_index", breaks="ordering.long_history", kind="lost", seen=INVENTED)
class ShortIndex(MemoryChatMessageHistory):
    """Counts at most 20 messages when it is opened, and its first add replaces later ones."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._short = len(self._session().records) > 20

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        if self._short:
            records = self._session().records
            del records[20 : max(20, len(records) - len(texts))]
            self._short = False


@faulty("model.count_kept", breaks="model.agrees_with_list", kind="wrong_bound", seen=INVENTED)
class CountKept(MemoryChatMessageHistory):
    """Counts the messages of a session at its first read of the last ones, and its own adds."""

    _count: int | None = None

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        self._count = None if self._count is None else self._count + len(texts)

    def clear(self) -> None:
        super().clear()
        self._count = None

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        super().last_messages(max_message_count)
        stored = self.messages
        self._count = len(stored) if self._count is None else self._count
        return stored[max(0, self._count - max_message_count) :][:max_message_count]
