"""Broken histories that clear too few messages, too many, or the wrong ones."""

from __future__ import annotations

import time
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import faulty


@faulty(
    "clear.error_swallowed",
    breaks="clear.empties",
    kind="resurrected",
    seen="langchain-couchbase 1.1.1, clear: except Exception: logger.error",
)
class ErrorSwallowed(MemoryChatMessageHistory):
    """Logs the failure of `clear` and returns as if it had worked."""

    def clear(self) -> None:
        try:
            raise OSError("no answer")
        except OSError:
            return


@faulty(
    "clear.leaves_derived_store",
    breaks="clear.empties",
    kind="resurrected",
    seen="langchain-azure-ai 1.2.12, azure_ai_memory.py clear: only self._base.clear()",
)
class LeavesFirstMessage(MemoryChatMessageHistory):
    """Keeps the first message of the session on `clear`, because a second store holds it."""

    def clear(self) -> None:
        first = super().messages[:1]
        super().clear()
        self.add_messages(first)


@faulty(
    "clear.leaves_other_handle_cache",
    breaks="clear.every_handle",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: `messages` returns "
    "self.cache unless it is empty",
)
class LeavesOtherHandleCache(MemoryChatMessageHistory):
    """Keeps returning a handle's cache after another handle has cleared the session."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._cache: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._cache = super().messages or self._cache
        return list(self._cache)

    def clear(self) -> None:
        super().clear()
        self._cache = []


@faulty(
    "clear.missing_raises",
    breaks="clear.idempotent",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py clear: unguarded "
    "delete_item",
)
class MissingRaises(MemoryChatMessageHistory):
    """Raises from `clear` if the session does not exist."""

    def clear(self) -> None:
        del self._store._sessions[self.session_id]


@faulty(
    "clear.name_error",
    breaks="clear.unused_session",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py: except NotFoundError, which is "
    "imported under TYPE_CHECKING only",
)
class NameErrorOnUnused(MemoryChatMessageHistory):
    """Raises a NameError from an error handler if a session that was never written is cleared."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        self._known = True

    def clear(self) -> None:
        if not getattr(self, "_known", False) and not self.messages:
            raise NameError("name 'NotFoundError' is not defined")
        super().clear()


@faulty(
    "clear.drops_all_sessions",
    breaks="clear.other_sessions",
    kind="lost",
    seen="langchain-redis 0.2.6, chat_message_history.py delete(): self.index.delete(drop=True)",
)
class DropsAllSessions(MemoryChatMessageHistory):
    """Drops the index that all sessions share on `clear`."""

    def clear(self) -> None:
        self._store._sessions.clear()


@faulty(
    "clear.breaks_writer",
    breaks="clear.add_after",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: clear deletes the topic, "
    "which only __init__ creates",
)
class BreaksWriter(MemoryChatMessageHistory):
    """Loses the next add of the same handle after a `clear`."""

    _gone = False

    def clear(self) -> None:
        super().clear()
        self._gone = True

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if not self._gone:
            super().add_messages(messages)
        self._gone = False


@faulty(
    "clear.breaks_other_writer",
    breaks="clear.add_after_by_other_handles",
    kind="lost",
    control="sqlite",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: other handles continue to "
    "write to the topic that clear deleted",
)
class BreaksOtherWriter(SQLiteChatMessageHistory):
    """Loses messages that another handle adds after a `clear`."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._generation = _generations.get(session_id, 0)

    def clear(self) -> None:
        super().clear()
        _generations[self.session_id] = self._generation = self._generation + 1

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if self._generation >= _generations.get(self.session_id, 0):
            super().add_messages(messages)


_generations: dict[str, int] = {}


@faulty(
    "clear.cache_outlives_clear",
    breaks="clear.add_after_by_other_handles",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: other handles keep their "
    "cache",
)
class CacheOutlivesClear(MemoryChatMessageHistory):
    """Keeps a handle's cache unless the store is empty or holds more messages than the cache."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._cache: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        stored = super().messages
        if not stored or len(stored) > len(self._cache):
            self._cache = stored
        return list(self._cache)


@faulty(
    "clear.resurrected_on_close",
    breaks="clear.nothing_returns",
    kind="resurrected",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py __exit__: always "
    "upsert_messages()",
)
class ResurrectedOnClose(MemoryChatMessageHistory):
    """Writes back the messages that it has read when a handle closes and the session is empty."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._seen: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._seen = super().messages or self._seen
        return super().messages

    def clear(self) -> None:
        super().clear()
        self._seen = []

    def close(self) -> None:
        if not super().messages:
            self.add_messages(self._seen)


@faulty(
    "clear.stale_handle_writes_back",
    breaks="clear.nothing_returns",
    kind="resurrected",
    seen="langchain-community 0.4.2, chat_message_histories/firestore.py upsert_messages: writes "
    "the cached list as the whole document",
)
class StaleHandleWritesBack(MemoryChatMessageHistory):
    """Writes the handle's cached list back with the first add to an emptied session."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._seen: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._seen = super().messages
        return list(self._seen)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        emptied = not super().messages
        super().add_messages([*(self._seen if emptied else []), *messages])
        self._seen = super().messages

    def clear(self) -> None:
        super().clear()
        self._seen = []


@faulty(
    "clear.first_page_only",
    breaks="clear.long_history",
    kind="resurrected",
    seen="signalapp/Signal-Desktop#645: deleting a conversation deletes only its newest part",
)
class FirstPageOnly(MemoryChatMessageHistory):
    """Deletes only the first 1,000 messages on `clear`, the result of one query."""

    def clear(self) -> None:
        rest = self.messages[1000:]
        super().clear()
        self.add_messages(rest)


_deleted_at: dict[str, float] = {}


@faulty(
    "clear.dated_deletion",
    breaks="clear.clock_moves",
    kind="lost",
    seen="hashicorp/vault#4054; iconara/cql-rb#98: a deletion with the time of the client",
)
class DatedDeletion(MemoryChatMessageHistory):
    """Deletes what has an earlier time than the newest clear, even if it is added later."""

    def clear(self) -> None:
        super().clear()
        _deleted_at[self.session_id] = time.time()

    def _append(self, texts: Sequence[str]) -> None:
        if time.time() > _deleted_at.get(self.session_id, 0.0):
            super()._append(texts)
