"""The floor of the history in an SQLite file: `sqlite3`, one table, and one connection."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded

__all__ = ["SQLiteFloor"]

_FILE = "floor.sqlite3"


class _File:
    """The connection that all floors of this process share, with a lock.

    It uses WAL and `synchronous=FULL`, so an added message is on the disk, as with the history.
    """

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self.connection.close)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS messages"
            " (id INTEGER PRIMARY KEY, session_id TEXT NOT NULL, message TEXT NOT NULL)"
        )
        self.connection.execute(
            "CREATE INDEX IF NOT EXISTS messages_of_session ON messages (session_id, id)"
        )


_OPEN: weakref.WeakValueDictionary[str, _File] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


class SQLiteFloor:
    """A conversation in `floor.sqlite3` in the working directory.

    Args:
        session_id: The id of the session.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        path = os.path.abspath(_FILE)  # the working directory may change
        with _OPENING:
            self._file: _File | None = _OPEN.get(path)
            if self._file is None:
                self._file = _OPEN[path] = _File(path)

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        rows = self._execute(
            "SELECT message FROM messages WHERE session_id = ? ORDER BY id", self._session_id
        )
        return decoded(text for (text,) in rows)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch in one transaction."""
        rows = [(self._session_id, text) for text in encoded(messages)]
        file = self._opened()
        with file.lock:
            file.connection.execute("BEGIN IMMEDIATE")
            with file.connection:  # commits, or rolls back
                file.connection.executemany(
                    "INSERT INTO messages (session_id, message) VALUES (?, ?)", rows
                )

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the last messages, at most `max_message_count`."""
        rows = self._execute(
            "SELECT message FROM messages WHERE session_id = ? ORDER BY id DESC LIMIT ?",
            self._session_id,
            max_message_count,
        )
        return decoded(text for (text,) in reversed(rows))

    def clear(self) -> None:
        """Remove the conversation."""
        self._execute("DELETE FROM messages WHERE session_id = ?", self._session_id)

    def close(self) -> None:
        """Release the file. It is closed with the last handle."""
        self._file = None

    def _execute(self, statement: str, *values: str | int) -> list[tuple[str]]:
        file = self._opened()
        with file.lock:
            return file.connection.execute(statement, values).fetchall()

    def _opened(self) -> _File:
        if self._file is None:
            raise RuntimeError(f"the floor of session {self._session_id!r} is closed")
        return self._file
