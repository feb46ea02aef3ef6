"""Histories whose operations work one at a time, but not in some sequences."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

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
    breaks="model.agrees_with_list",
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
