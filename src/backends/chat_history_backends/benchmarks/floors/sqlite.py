"""The floor of the history in an SQLite file: `sqlite3`, one table, and one connection."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded

__all__ = ["SQLiteFloor"]

_FILE = "floor.sqlite3"
_PAGE = 1000


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
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS positions (session_id TEXT PRIMARY KEY, id INTEGER)"
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

    def messages_from_beginning(
        self, max_message_count: int, max_time_sec: float
    ) -> list[BaseMessage]:
        """Set the position to the start, and read on from there; the time is ignored."""
        return self._read_on(0, max_message_count)

    def messages_from_last_consumed(
        self, max_message_count: int, max_time_sec: float
    ) -> list[BaseMessage]:
        """Read on from the position; the time is ignored."""
        return self._read_on(None, max_message_count)

    def _read_on(self, start: int | None, count: int) -> list[BaseMessage]:
        """Read and store the new position in one transaction, so that it survives a crash."""
        file, session = self._opened(), self._session_id
        with file.lock:
            file.connection.execute("BEGIN IMMEDIATE")
            with file.connection:
                if start is None:
                    found = file.connection.execute(
                        "SELECT id FROM positions WHERE session_id = ?", (session,)
                    ).fetchone()
                    start = found[0] if found else 0
                rows = self._page(start, count)
                messages = decoded(text for _, text in rows)
                file.connection.execute(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?)",
                    (session, rows[-1][0] if rows else start),
                )
        return messages

    def iter_messages(self) -> Iterator[BaseMessage]:
        """Yield one message after the other, from one page of rows at a time."""
        after = 0
        while True:
            with self._opened().lock:
                rows = self._page(after, _PAGE)
            for _, text in rows:
                yield from decoded([text])
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def _page(self, after: int, count: int) -> list[tuple[int, str]]:
        """Return the ids and texts of the rows after an id. The caller holds the lock."""
        statement = (
            "SELECT id, message FROM messages WHERE session_id = ? AND id > ? ORDER BY id LIMIT ?"
        )
        values = (self._session_id, after, count)
        return self._opened().connection.execute(statement, values).fetchall()

    def clear(self) -> None:
        """Remove the conversation and the position, because SQLite uses ids again."""
        file = self._opened()
        with file.lock:
            file.connection.execute("BEGIN IMMEDIATE")
            with file.connection:
                for table in ("messages", "positions"):
                    file.connection.execute(
                        f"DELETE FROM {table} WHERE session_id = ?", (self._session_id,)
                    )

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
