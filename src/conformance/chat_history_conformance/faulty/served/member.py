"""A member of a small cluster that keeps sessions of texts, and listens on loopback.

Usage: `python -I -S member.py PORT NUMBER DIRECTORY`. All members share the directory. One of them
is the leader and answers requests; the others refuse them. The protocol is that of `server.py`.

Everything is a line of one journal. A line counts only if it has the newest term before it, so a
leader that was paused and was replaced cannot change anything any more. A member that finds a file
`cut-NUMBER` in the directory behaves as if it did not reach the others.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time
import uuid
from typing import Any

__all__ = ["Handler", "Journal", "Member", "Service"]

_TICK_SECONDS = 0.2
_SILENCE_SECONDS = 1.0
"""Time without a sign of the leader after which another member takes over."""


class Journal:
    """The sessions, as the lines of the journal up to here make them."""

    def __init__(self, file: str) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._read = 0
        self.term = self.leader = self._position = 0
        self.seen_at = time.monotonic()
        self._texts: dict[str, list[tuple[int, str]]] = {}
        self._consumed: dict[str, int] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def append(self, **line: Any) -> None:
        """Write a line with one system call, so that the lines of members do not mix."""
        os.write(self._file, b"\n" + json.dumps(line).encode("ascii") + b"\n")

    def catch_up(self) -> None:
        """Read the new lines."""
        with open(self._file, "rb", closefd=False) as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # another member is writing it
                self._read += len(line)
                if line != b"\n" and (written := _written(line)) is not None:
                    self._apply(written)

    def answer_to(self, identifier: str) -> dict[str, Any] | None:
        """Return the answer to a change, or None if its line does not count."""
        return self._answers.get(identifier)

    def read(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the oldest or the newest texts, or those after the consumed ones."""
        start = self._consumed.get(request["session"], 0)
        after = start if request.get("unconsumed") else 0
        found = [one for one in self._texts.get(request["session"], []) if one[0] > after]
        count = len(found) if request["count"] is None else request["count"]
        chosen = found[max(0, len(found) - count) :] if request.get("newest") else found[:count]
        return {"records": chosen, "consumed": start, "hidden": 0}

    def _apply(self, line: dict[str, Any]) -> None:
        if "leader" in line:
            if line["term"] > self.term:
                self.term, self.leader, self.seen_at = line["term"], line["leader"], _now()
        elif line["term"] == self.term:
            self.seen_at = _now()
            if "change" in line and line["change"]["identifier"] not in self._answers:
                change = line["change"]
                self._answers[change["identifier"]] = {"moved": self._change(change)}

    def _change(self, change: dict[str, Any]) -> bool:
        session = change["session"]
        if change["do"] == "append":
            for text in change["texts"]:
                self._position += 1
                self._texts.setdefault(session, []).append((self._position, text))
        elif change["do"] == "clear":
            self._texts.pop(session, None)
        elif self._consumed.get(session, 0) != change["start"]:
            return False
        else:
            self._consumed[session] = change["end"]
        return True


class Member:
    """One member: a copy of the sessions, and the rules by which it leads."""

    def __init__(self, number: int, directory: str) -> None:
        self._number = number
        self._cut = os.path.join(directory, f"cut-{number}")
        self._lock = threading.Lock()
        self._journal = Journal(os.path.join(directory, "journal"))
        threading.Thread(target=self._tick, daemon=True).start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a request, or refuse it if another member leads.

        A request with `trusting` is answered by what this member knew last.
        """
        with self._lock:
            is_cut = self._is_cut()
            if not is_cut:
                self._journal.catch_up()
            leads = self._journal.leader == self._number
            trusting = bool(request.get("trusting"))
            if request["do"] == "who leads":
                return {"leader": 0 if is_cut else self._journal.leader}
            if not leads or (is_cut and not trusting):
                return {"error": "not leader"}
            if request["do"] == "read":
                return self._journal.read(request)
            if not request.get("identifier"):
                request["identifier"] = uuid.uuid4().hex
            if answer := self._journal.answer_to(request["identifier"]):
                return answer
            self._journal.append(term=0 if is_cut else self._journal.term, change=request)
            if trusting:
                return {"moved": True}
            self._journal.catch_up()
            return self._journal.answer_to(request["identifier"]) or {"error": "not leader"}

    def _is_cut(self) -> bool:
        return os.path.exists(self._cut)

    def _tick(self) -> None:
        """Show that this member leads, or lead if the leader is silent."""
        while True:
            time.sleep(_TICK_SECONDS)
            with self._lock:
                if self._is_cut():
                    continue
                journal = self._journal
                journal.catch_up()
                if journal.leader == self._number:
                    journal.append(term=journal.term)
                elif _now() - journal.seen_at > _SILENCE_SECONDS + 0.15 * self._number:
                    journal.append(term=journal.term + 1, leader=self._number)


class Handler(socketserver.StreamRequestHandler):
    """The handler of one connection."""

    def handle(self) -> None:
        """Answer requests until the client closes the connection."""
        service: Service = self.server  # type: ignore[assignment]
        for line in self.rfile:
            answer = service.member.answer(json.loads(line))
            self.wfile.write(json.dumps(answer).encode("ascii") + b"\n")


class Service(socketserver.ThreadingTCPServer):
    """The listening socket; it can reuse the port of a member that was just killed."""

    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, number: int, directory: str) -> None:
        self.member = Member(number, directory)
        super().__init__(("127.0.0.1", port), Handler)


def _written(line: bytes) -> dict[str, Any] | None:
    """Return a line of the journal, or None if a member was killed while it wrote it."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return found


def _now() -> float:
    return time.monotonic()


if __name__ == "__main__":
    Service(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).serve_forever()
