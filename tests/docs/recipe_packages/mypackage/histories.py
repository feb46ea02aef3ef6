"""Histories that need a declaration. They keep their messages in an SQLite file."""

import asyncio
import sqlite3
import sys
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from langchain_core.messages import BaseMessage
from minimal_history import MinimalHistory


class UuidHistory(MinimalHistory):
    """A history whose session ids have to be UUIDs."""

    def __init__(self, session_id: str) -> None:
        super().__init__(str(uuid.UUID(session_id)))


class TableHistory(MinimalHistory):
    """A history whose table has to be created first."""

    def __init__(self, session_id: str, path: str) -> None:
        if not Path(path).exists():
            raise RuntimeError(f"there are no tables in {path}: call create_tables")
        super().__init__(session_id, path)

    @staticmethod
    def create_tables(path: str) -> None:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, session, text)"
            )


class TenantHistory(MinimalHistory):
    """A history that takes more than a session id."""

    def __init__(self, tenant: str, conversation: str, *, directory: Path) -> None:
        super().__init__(conversation, str(directory / f"{tenant}.sqlite3"))


class SecretHistory(MinimalHistory):
    """A history that takes a password, as a client of a service does."""

    def __init__(self, session_id: str, password: str) -> None:
        if not password:
            raise PermissionError("the password is wrong")
        super().__init__(session_id)
        self._password = password


class AsyncHistory:
    """A history with asynchronous methods only."""

    def __init__(self, session_id: str) -> None:
        self._history = MinimalHistory(session_id)

    async def aget_messages(self) -> list[BaseMessage]:
        return await asyncio.to_thread(lambda: self._history.messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await asyncio.to_thread(self._history.add_messages, messages)

    async def aclear(self) -> None:
        await asyncio.to_thread(self._history.clear)


class SharedHistory(MinimalHistory):
    """A history with a line that only a second process of the suite reaches."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        if "drivers.worker" in str(sys.modules["__main__"].__spec__):
            self.is_elsewhere = True
