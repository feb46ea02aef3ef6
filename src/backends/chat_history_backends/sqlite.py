"""A chat history in an SQLite file, shared by all threads and processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Literal

from langchain_core.messages import BaseMessage

from .base import Record, ReferenceHistory
from .closeable import Closeable
from .codec import decode_batch, decode_page
from .iteration import PageGenerator

__all__ = ["SQLiteChatMessageHistory"]

_BUSY_TIMEOUT_SECONDS = 30.0
_LEAST_WAIT_SECONDS = 0.5
_LARGEST_INT = 2**63 - 1
_REMOVED_PER_WRITE = 1000

# AUTOINCREMENT: no id is used twice, and ids increase in the order of commits. So the id gives the
# order of the conversation and serves as the position. No clock is involved.
# A session id is a BLOB because some functions end a TEXT at a NUL, and a TEXT cannot hold half a
# surrogate pair. Blobs are compared byte by byte.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS chat_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id BLOB NOT NULL,
    message TEXT NOT NULL,
    expires_at_ns INTEGER
);
CREATE INDEX IF NOT EXISTS chat_messages_of_session ON chat_messages (session_id, id);
CREATE INDEX IF NOT EXISTS chat_messages_expiring ON chat_messages (expires_at_ns)
    WHERE expires_at_ns IS NOT NULL;
CREATE TABLE IF NOT EXISTS chat_positions (
    session_id BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
"""
_SCHEMA_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'chat_positions'"

# Threads of one process that write to one file take turns by these locks. SQLite would make them
# try again and again, and sleep for longer than a write takes.
_WRITE_LOCKS: weakref.WeakValueDictionary[tuple[int, int], threading.Lock] = (
    weakref.WeakValueDictionary()
)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WRITE_LOCKS.clear)  # another thread may have held one

_ALIVE = "session_id = ? AND id > ? AND (expires_at_ns IS NULL OR expires_at_ns > ?)"


class SQLiteChatMessageHistory(ReferenceHistory, Closeable):
    """A conversation in an SQLite file, shared by all handles on that file with its session id.

    `ReferenceHistory` describes the methods. Each handle has its own connection. A handle may be
    used from any thread, but not after a fork. The constructor opens the file, and creates it if it
    is missing. The file is in WAL mode, so readers and a writer do not wait for each other. A
    writer waits up to 30 seconds for another one. The file must be on a local disk.

    When an add returns, its batch is in the file and synced to the disk (``synchronous=FULL``). It
    survives a crash of the process or of the system, and a loss of power.

    The age of a message is measured by the wall clock. If the clock is set back, messages with a
    time to live stay longer; nothing else changes. Each write to the file deletes up to 1,000
    expired rows.

    Args:
        session_id: Any string, including the empty one.
        path: The database file. Its directory must exist.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.

    Raises:
        TypeError: ``session_id`` is not a string, or ``ttl_ms`` is not an int.
        ValueError: ``ttl_ms`` is less than 1, or ``path`` names a database that is not a file.
        sqlite3.Error: The file cannot be opened. All methods raise it if the database fails, or if
            the file was deleted or replaced; the text names the session and the file.
        RuntimeError: By all methods: the handle is closed, or belongs to another process.
    """

    def __init__(
        self,
        session_id: str,
        path: str | os.PathLike[str] = "chat_history.sqlite3",
        *,
        ttl_ms: int | None = None,
    ) -> None:
        super().__init__(session_id, ttl_ms=ttl_ms)
        name = os.fspath(path)
        if name in ("", ":memory:"):
            raise ValueError(
                f"path {name!r} is a database of one connection, which no other handle could "
                "read: name a file, or use MemoryChatMessageHistory"
            )
        self.path = os.path.abspath(name)  # the working directory may change
        self._key = session_id.encode("utf-8", "surrogatepass")
        self._lock = threading.Lock()
        self._process = os.getpid()
        with self._errors_explained():
            self._connection = _open(self.path)
            # Closes at most once: by close(), when the handle is collected, or at exit.
            self._closer = weakref.finalize(self, self._connection.close)
            self._file = os.stat(self.path)
        self._patience = _BUSY_TIMEOUT_SECONDS
        self._write_lock = _WRITE_LOCKS.setdefault(
            (self._file.st_dev, self._file.st_ino), threading.Lock()
        )

    def close(self) -> None:
        """Close the file for this handle; a second time does nothing. Other handles stay open.

        Using a closed handle raises RuntimeError.
        """
        with self._lock:
            self._closer()

    def clear(self) -> None:
        """Remove the session's messages for every handle; other sessions are not touched.

        Consuming reads continue with the messages that are added next. Clearing an empty session
        does nothing.
        """
        # The position may be removed too: the next message comes after every earlier position.
        with self._transaction("IMMEDIATE") as connection:
            connection.execute("DELETE FROM chat_messages WHERE session_id = ?", (self._key,))
            connection.execute("DELETE FROM chat_positions WHERE session_id = ?", (self._key,))

    def discard(self, position: int) -> None:
        """Remove the one record that an ``UndecodableRecordError`` names by its ``position``.

        Args:
            position: The error's ``position``. Nothing happens if this session has no such
                record.
        """
        with self._transaction("IMMEDIATE") as connection:
            connection.execute(
                "DELETE FROM chat_messages WHERE session_id = ? AND id = ?", (self._key, position)
            )

    def _append(self, texts: Sequence[str]) -> None:
        with self._transaction("IMMEDIATE") as connection:
            now = time.time_ns()
            expires_at = None
            if self.ttl_ms is not None:
                expires_at = min(now + self.ttl_ms * 1_000_000, _LARGEST_INT)
            connection.execute(
                "DELETE FROM chat_messages WHERE id IN"
                " (SELECT id FROM chat_messages WHERE expires_at_ns <= ? LIMIT ?)",
                (now, _REMOVED_PER_WRITE),
            )
            connection.executemany(
                "INSERT INTO chat_messages (session_id, message, expires_at_ns) VALUES (?, ?, ?)",
                [(self._key, text, expires_at) for text in texts],
            )

    def _read(self, last: int | None = None) -> list[BaseMessage]:
        return decode_batch(self._fetch(last))[0]

    def _fetch(self, last: int | None = None) -> list[Record]:
        with self._transaction("DEFERRED") as connection:
            records: list[Record] = connection.execute(
                f"SELECT id, message FROM chat_messages WHERE {_ALIVE} ORDER BY id DESC LIMIT ?",
                (self._key, 0, time.time_ns(), _limit(last)),
            ).fetchall()
        records.reverse()
        return records

    def _pages(self, batch_size: int) -> PageGenerator:
        # Each page starts after the last id of the one before. An open cursor would keep a read
        # transaction open, and SQLite could not reuse the WAL file that writers fill.
        end, position, records = self._end(), 0, None
        while records is None or len(records) == batch_size:
            with self._transaction("DEFERRED") as connection:
                records = connection.execute(
                    f"SELECT id, message FROM chat_messages WHERE {_ALIVE} AND id <= ?"
                    " ORDER BY id LIMIT ?",
                    (self._key, position, time.time_ns(), end, _limit(batch_size)),
                ).fetchall()
            yield from decode_page(records)
            position = records[-1][0] if records else end

    def _end(self) -> int:
        with self._transaction("DEFERRED") as connection:
            newest = connection.execute(
                "SELECT max(id) FROM chat_messages WHERE session_id = ?", (self._key,)
            ).fetchone()[0]
        return int(newest or 0)

    def _has_unread(self, after: int, count: int) -> bool:
        with self._transaction("DEFERRED") as connection:
            start = max(self._position(connection), after)
            found = connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM chat_messages WHERE {_ALIVE} LIMIT ?)",
                (self._key, start, time.time_ns(), _limit(count)),
            ).fetchone()[0]
        return int(found) >= count

    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: int = 0
    ) -> list[BaseMessage]:
        # One transaction excludes all other readers of positions, and includes the decoding. If
        # decoding fails, the position stays, and no two readers start from the same position.
        with self._transaction("IMMEDIATE", deadline) as connection:
            position = self._position(connection)
            start = 0 if rewind else max(position, after)
            rows = connection.execute(
                f"SELECT id, message FROM chat_messages WHERE {_ALIVE} ORDER BY id LIMIT ?",
                (self._key, start, time.time_ns(), _limit(count)),
            )
            with closing(rows):
                messages, reached = decode_batch(rows, deadline)
            end = start if reached is None else reached
            if end != position:
                connection.execute(
                    "INSERT INTO chat_positions (session_id, position) VALUES (?, ?)"
                    " ON CONFLICT (session_id) DO UPDATE SET position = excluded.position",
                    (self._key, end),
                )
        return messages

    def _position(self, connection: sqlite3.Connection) -> int:
        row = connection.execute(
            "SELECT position FROM chat_positions WHERE session_id = ?", (self._key,)
        ).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _transaction(
        self, kind: Literal["IMMEDIATE", "DEFERRED"], deadline: float | None = None
    ) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction, the only one of this handle. Undo it if it raises."""
        wait = _BUSY_TIMEOUT_SECONDS
        if deadline is not None:
            # A read with a bound below half a second still waits that long for its turn.
            wait = min(max(deadline - time.monotonic(), _LEAST_WAIT_SECONDS), wait)
        with self._errors_explained(), ExitStack() as held:
            for lock in (self._lock, self._write_lock) if kind == "IMMEDIATE" else (self._lock,):
                if not lock.acquire(timeout=wait):
                    raise sqlite3.OperationalError("another thread keeps this history busy")
                held.callback(lock.release)
            self._check_usable()
            connection = self._connection
            if wait != self._patience:
                connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
                self._patience = wait
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # some errors have ended it already
                    connection.execute("ROLLBACK")
                raise

    def _check_usable(self) -> None:
        if not self._closer.alive:
            raise RuntimeError(f"the history of session {self.session_id!r} is closed")
        if os.getpid() != self._process:
            raise RuntimeError(
                "an SQLite connection must not be used after a fork: open a history in the child"
            )
        # SQLite would keep writing to a file that no longer has a name and cannot be read.
        try:
            same = os.path.samestat(os.stat(self.path), self._file)
        except OSError:
            same = False
        if not same:
            raise sqlite3.OperationalError("the file was deleted or replaced; open a new history")

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            place = f"session {self.session_id!r} in {self.path!r}"
            raise type(error)(f"{error} ({place})") from error


def _open(path: str) -> sqlite3.Connection:
    """Open the file, and create the tables if they are missing."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_SECONDS
    while True:
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            # Bytes: a text that is not UTF-8 then makes one record fail, and not the whole read.
            connection.text_factory = bytes
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if not connection.execute(_SCHEMA_EXISTS).fetchone():
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.OperationalError as error:
            connection.close()
            # If several connections switch a new file to WAL, some fail at once: SQLite does not
            # apply the timeout there.
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        except BaseException:
            connection.close()
            raise
        else:
            return connection


def _is_busy(error: sqlite3.Error) -> bool:
    return (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _limit(count: int | None) -> int:
    return -1 if count is None else min(count, _LARGEST_INT)  # SQLite takes -1 for no limit
