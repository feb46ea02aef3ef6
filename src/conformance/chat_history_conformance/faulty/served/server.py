"""A small server that keeps sessions of texts in an SQLite file and listens on loopback.

Usage: `python -I -S server.py PORT FILE`. A request is one line of JSON, and so is its answer. The
server commits a request to the file before it acknowledges it, so killing the process loses no
acknowledged request. The exception is a request with `lazily`, which is acknowledged first.

Another user of the server can disturb a session with the request `disturb`, until it ends that or
the server ends. For a moment after a restart the server is busy and carries out nothing.
"""

from __future__ import annotations

import json
import os
import socketserver
import sqlite3
import sys
import threading
import time
from typing import Any

__all__ = ["Handler", "Service", "Store"]

_LAZY_SECONDS = 0.5
_BUSY_SECONDS = 0.15
"""Time for which the server is busy after a restart."""

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS texts (
    position INTEGER PRIMARY KEY AUTOINCREMENT, session BLOB NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_session ON texts (session, position);
CREATE TABLE IF NOT EXISTS requests (identifier TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS consumed (session BLOB PRIMARY KEY, position INTEGER NOT NULL);
"""


class Store:
    """The SQLite file; one request at a time uses it."""

    def __init__(self, file: str) -> None:
        self._lock = threading.Lock()
        self._disturbed: dict[bytes, str] = {}
        self._hidden_after: dict[bytes, int] = {}
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Carry out a request and return its answer, or None to close the connection."""
        session = request["session"].encode("utf-8", "surrogatepass")
        with self._lock:
            if request["do"] == "disturb":
                return self._disturb(session, request["how"])
            how = self._disturbed.get(session, "")
            if how == "forbid" or (how == "refuse" and request["do"] != "read"):
                return {"error": f"{request['do']} is not permitted: {how}"}
            answer = self._carry_out(session, request)
        return None if how == "close" else answer

    def _disturb(self, session: bytes, how: str) -> dict[str, Any]:
        """Begin to disturb a session, or end that if `how` is empty.

        `refuse` refuses writes, `forbid` all requests. `close` carries out requests and closes the
        connection instead of answering. `hide` hides records that are added from now on.
        """
        (end,) = self._connection.execute("SELECT max(position) FROM texts").fetchone()
        self._disturbed[session], self._hidden_after[session] = how, end or 0
        return {}

    def _carry_out(self, session: bytes, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "read":
            return self._read(session, request)
        if request["do"] not in ("append", "clear", "consume"):
            return {"error": f"unknown request {request['do']!r}"}
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        answer = self._change(session, request)
        if request.get("lazily"):
            threading.Timer(_LAZY_SECONDS, self._commit).start()
        else:
            self._connection.commit()
        return answer

    def _read(self, session: bytes, request: dict[str, Any]) -> dict[str, Any]:
        """Return the oldest or the newest texts, or those after the consumed ones."""
        consumed = self._connection.execute(
            "SELECT position FROM consumed WHERE session = ?", (session,)
        ).fetchone()
        start = consumed[0] if consumed else 0
        order = "DESC" if request.get("newest") else "ASC"
        found = self._connection.execute(
            "SELECT position, text FROM texts WHERE session = ? AND position > ? "
            f"ORDER BY position {order} LIMIT ?",
            (
                session,
                start if request.get("unconsumed") else 0,
                -1 if request["count"] is None else request["count"],
            ),
        )
        records = sorted(found.fetchall())
        shown = records
        if self._disturbed.get(session) == "hide":
            shown = [record for record in records if record[0] <= self._hidden_after[session]]
        return {"records": shown, "consumed": start, "hidden": len(records) - len(shown)}

    def _change(self, session: bytes, request: dict[str, Any]) -> dict[str, Any]:
        try:
            if request["do"] == "append":
                self._append(session, request["texts"], request["identifier"])
            elif not self._is_new(request["identifier"]):
                return {"moved": True}
            elif request["do"] == "clear":
                self._connection.execute("DELETE FROM texts WHERE session = ?", (session,))
            elif not self._consume(session, request["start"], request["end"]):
                self._connection.rollback()  # a repetition has to be answered in the same way
                return {"moved": False}
        except BaseException:
            self._connection.rollback()
            raise
        return {"moved": True}

    def _append(self, session: bytes, texts: list[str], identifier: str) -> None:
        """Store the texts, unless a request with this identifier has already stored them."""
        if self._is_new(identifier):
            self._connection.executemany(
                "INSERT INTO texts (session, text) VALUES (?, ?)",
                [(session, text) for text in texts],
            )

    def _consume(self, session: bytes, start: int, end: int) -> bool:
        """Move the position of consuming reads, unless another reader has moved it."""
        self._connection.execute("INSERT OR IGNORE INTO consumed VALUES (?, 0)", (session,))
        moved = self._connection.execute(
            "UPDATE consumed SET position = ? WHERE session = ? AND position = ?",
            (end, session, start),
        )
        return moved.rowcount == 1

    def _is_new(self, identifier: str) -> bool:
        """Record the identifier of a request, and return whether it is new."""
        return bool(
            self._connection.execute(
                "INSERT OR IGNORE INTO requests VALUES (?)", (identifier,)
            ).rowcount
        )

    def _commit(self) -> None:
        with self._lock:
            self._connection.commit()


class Handler(socketserver.StreamRequestHandler):
    """The handler of one connection."""

    def handle(self) -> None:
        """Answer requests until the client closes the connection."""
        service: Service = self.server  # type: ignore[assignment]
        for line in self.rfile:
            if time.monotonic() < service.busy_until:
                answer: dict[str, Any] | None = {"error": "busy"}
            else:
                answer = service.store.answer(json.loads(line))
            if answer is None:
                return
            self.wfile.write(json.dumps(answer).encode("ascii") + b"\n")


class Service(socketserver.ThreadingTCPServer):
    """The listening socket; it can reuse the port of a server that was just killed."""

    allow_reuse_address = os.name == "posix"  # on Windows it would share the port with another
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, file: str) -> None:
        again = os.path.exists(file)
        self.store = Store(file)
        self.busy_until = time.monotonic() + (_BUSY_SECONDS if again else 0.0)
        super().__init__(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    Service(int(sys.argv[1]), sys.argv[2]).serve_forever()
