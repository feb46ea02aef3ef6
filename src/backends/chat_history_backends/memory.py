"""A chat history in the memory of this process, for tests and short-lived programs."""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from langchain_core.messages import BaseMessage

from .base import Record, ReferenceHistory
from .codec import decode_batch, decode_page
from .iteration import PageGenerator

__all__ = ["SHARED_STORE", "MemoryChatMessageHistory", "MemoryStore"]

_NEVER = float("inf")
_SHORT = 100
"""The most messages that a call may encode or decode on the event loop."""

T = TypeVar("T")


class _Stored(NamedTuple):
    position: int
    text: str
    expires_at: float  # a time of time.monotonic(), which cannot be set back


@dataclass
class _Session:
    records: list[_Stored] = field(default_factory=list)  # by increasing position
    position: int = 0

    def after(self, position: int) -> Iterator[Record]:
        """Yield the records after a position that have not expired."""
        now = time.monotonic()
        start = bisect_right(self.records, position, key=lambda record: record.position)
        for record in itertools.islice(self.records, start, None):
            if record.expires_at > now:
                yield record.position, record.text

    def remove(self, position: int) -> None:
        """Remove the record at a position, if there is one."""
        index = bisect_right(self.records, position, key=lambda record: record.position) - 1
        if index >= 0 and self.records[index].position == position:
            del self.records[index]


class MemoryStore:
    """The sessions of memory histories, by id. A store is safe for threads.

    Handles with the same store and session id share a conversation. A message stays until it is
    cleared or its time to live has passed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._positions = itertools.count(1)
        self._expiries: list[tuple[float, int, str]] = []  # a heap: the next to expire is first

    def _remove(self, session_id: str, position: int) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            session.remove(position)
            if not session.records:
                del self._sessions[session_id]

    def _remove_expired(self) -> None:
        now = time.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            _, position, session_id = heapq.heappop(self._expiries)
            self._remove(session_id, position)


SHARED_STORE = MemoryStore()
"""The store of all histories that are opened without one."""


class MemoryChatMessageHistory(ReferenceHistory):
    """A conversation in memory, shared by all handles of this process with its session id.

    `ReferenceHistory` describes the methods. A history is safe for threads. Asynchronous methods
    use a thread only for long work. The age of a message is measured by the monotonic clock. The
    next write to the store, in any session, frees the memory of expired messages.

    Args:
        session_id: Any string, including the empty one.
        store: The store for the messages; by default one store for the whole process.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.

    Raises:
        TypeError: ``session_id`` is not a string, or ``ttl_ms`` is not an int.
        ValueError: ``ttl_ms`` is less than 1.
    """

    def __init__(
        self, session_id: str, *, store: MemoryStore | None = None, ttl_ms: int | None = None
    ) -> None:
        super().__init__(session_id, ttl_ms=ttl_ms)
        self._store = SHARED_STORE if store is None else store

    def clear(self) -> None:
        """Remove the session's messages for every handle; other sessions are not touched.

        Consuming reads continue with the messages that are added next. Clearing an empty session
        does nothing.
        """
        # The position may be removed too: the next message comes after every earlier position.
        with self._store._lock:
            self._store._sessions.pop(self.session_id, None)

    def discard(self, position: int) -> None:
        """Remove the one record that an ``UndecodableRecordError`` names by its ``position``.

        Args:
            position: The error's ``position``. Nothing happens if this session has no such
                record.
        """
        with self._store._lock:
            self._store._remove(self.session_id, position)

    def _append(self, texts: Sequence[str]) -> None:
        store = self._store
        with store._lock:
            store._remove_expired()
            expires_at = _NEVER
            if self.ttl_ms is not None:
                expires_at = time.monotonic() + min(self.ttl_ms, sys.maxsize) / 1000
            session = store._sessions.setdefault(self.session_id, _Session())
            for text in texts:
                position = next(store._positions)
                session.records.append(_Stored(position, text, expires_at))
                if expires_at < _NEVER:
                    heapq.heappush(store._expiries, (expires_at, position, self.session_id))

    def _read(self, last: int | None = None) -> list[BaseMessage]:
        return decode_batch(self._fetch(last))[0]

    def _fetch(self, last: int | None = None) -> list[Record]:
        with self._store._lock:
            now = time.monotonic()
            newest_first = reversed(self._session().records)
            alive = ((r.position, r.text) for r in newest_first if r.expires_at > now)
            records: list[Record] = list(itertools.islice(alive, _limit(last)))
        records.reverse()
        return records

    def _pages(self, batch_size: int) -> PageGenerator:
        end, position, records = self._end(), 0, None
        while records is None or len(records) == batch_size:
            with self._store._lock:
                rest = self._session().after(position)
                page = itertools.takewhile(lambda record: record[0] <= end, rest)
                records = list(itertools.islice(page, _limit(batch_size)))
            yield from decode_page(records)
            position = records[-1][0] if records else end

    def _end(self) -> int:
        with self._store._lock:
            records = self._session().records
            return records[-1].position if records else 0

    def _has_unread(self, after: int, count: int) -> bool:
        with self._store._lock:
            session = self._session()
            unread = session.after(max(session.position, after))
            return sum(1 for _ in itertools.islice(unread, _limit(count))) >= count

    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: int = 0
    ) -> list[BaseMessage]:
        # Decode under the lock: another reader must not start from the same position.
        with self._store._lock:
            session = self._session()
            start = 0 if rewind else max(session.position, after)
            records = itertools.islice(session.after(start), _limit(count))
            messages, reached = decode_batch(records, deadline)
            session.position = start if reached is None else reached
            return messages

    async def _in_thread(
        self, function: Callable[..., T], *arguments: Any, limit_seconds: float | None = None
    ) -> T:
        # A thread costs more than a short call. A call is long if it encodes or decodes many
        # messages, or waits for another thread that does so.
        lock = self._store._lock
        if not lock.acquire(blocking=False):
            return await super()._in_thread(function, *arguments)
        stored = len(self._session().records)
        lock.release()
        if self._work(function, arguments, stored) > _SHORT:
            return await super()._in_thread(function, *arguments)
        return function(*arguments)

    def _work(
        self, function: Callable[..., Any], arguments: Sequence[object], stored: int
    ) -> float:
        """Return how many messages a call may encode or decode."""
        first = arguments[0] if arguments else None
        if function == self.add_messages:
            return len(first) if isinstance(first, Sized) else float("inf")
        if function == self.clear:
            return 0
        return min(stored, first) if isinstance(first, int) else stored

    def _session(self) -> _Session:
        # Reading a session that was never written must not create it.
        return self._store._sessions.get(self.session_id, _Session())


def _limit(count: int | None) -> int | None:
    return None if count is None else min(count, sys.maxsize)  # the most that islice accepts
