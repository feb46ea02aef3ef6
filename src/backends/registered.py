"""The names under which the reference backends are registered, and what they state of themselves.

The only module of this package that knows the conformance suite.
"""

from __future__ import annotations

import contextlib
import sqlite3

from conformance import history_backend

from .memory import SHARED_STORE, MemoryChatMessageHistory
from .sqlite import SQLiteChatMessageHistory


def _memory_with_ttl(session_id: str, ttl_ms: int | None) -> MemoryChatMessageHistory:
    return MemoryChatMessageHistory(session_id, ttl_ms=ttl_ms)


def _corrupt_memory(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    records = SHARED_STORE._sessions[session_id].records
    records[-1] = records[-1]._replace(text=records[-1].text[:-1])


@history_backend(
    "memory",
    lacks={"durable": "kept in process memory by design"},
    with_ttl=_memory_with_ttl,
    corrupt=_corrupt_memory,
    disposable=True,
)
def memory(session_id: str) -> MemoryChatMessageHistory:
    """A history in the memory of this process."""
    return MemoryChatMessageHistory(session_id)


def _sqlite_with_ttl(session_id: str, ttl_ms: int | None) -> SQLiteChatMessageHistory:
    return SQLiteChatMessageHistory(session_id, ttl_ms=ttl_ms)


def _corrupt_sqlite(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    connection = sqlite3.connect("chat_history.sqlite3")
    with contextlib.closing(connection), connection:
        connection.execute(
            "UPDATE chat_messages SET message = substr(message, 1, length(message) - 1) "
            "WHERE id = (SELECT max(id) FROM chat_messages WHERE session_id = ?)",
            (session_id.encode(),),
        )


@history_backend("sqlite", with_ttl=_sqlite_with_ttl, corrupt=_corrupt_sqlite, disposable=True)
def sqlite(session_id: str) -> SQLiteChatMessageHistory:
    """A history in `chat_history.sqlite3` in the working directory."""
    return SQLiteChatMessageHistory(session_id)
