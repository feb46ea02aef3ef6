"""The embedded histories, each on a new store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_history_backends.memory import MemoryChatMessageHistory, MemoryStore
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from tests.backends.embedded import History, Open


@pytest.fixture(params=["memory", "sqlite"])
def open_history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open handles on one store: by default all on the session "s"."""
    store = MemoryStore()
    opened: list[SQLiteChatMessageHistory] = []

    def open_one(session_id: str = "s", *, ttl_ms: int | None = None) -> History:
        if request.param == "memory":
            return MemoryChatMessageHistory(session_id, store=store, ttl_ms=ttl_ms)
        opened.append(SQLiteChatMessageHistory(session_id, tmp_path / "h.db", ttl_ms=ttl_ms))
        return opened[-1]

    yield open_one
    for history in opened:
        history.close()
