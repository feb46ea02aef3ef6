"""Broken histories that lose or reorder messages when several callers use them at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from langchain_core.messages import BaseMessage

from chat_history_backends.base import Record
from chat_history_backends.memory import MemoryChatMessageHistory, _Session, _Stored
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.faulty.slowness import lasting

_PAUSE_SECONDS = 0.0005


class _Rewriting(MemoryChatMessageHistory):
    """A base class whose `_write` replaces the conversation by an extended copy."""

    def _write(self, records: Sequence[Record], texts: Sequence[str]) -> None:
        positions = self._store._positions
        rows = [*records, *((next(positions), text) for text in texts)]
        stored = [_Stored(position, str(text), float("inf")) for position, text in rows]
        self._store._sessions[self.session_id] = _Session(stored)


@faulty(
    "concurrency.read_modify_write",
    breaks="concurrency.threads_one_handle",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py add_messages: get_item, "
    "then update_item with the whole list",
)
class ReadModifyWrite(_Rewriting):
    """Reads the conversation, extends it and writes it back on each add, without a lock."""

    def _append(self, texts: Sequence[str]) -> None:
        before = self._fetch()
        time.sleep(_PAUSE_SECONDS)
        self._write(before, texts)


@faulty(
    "concurrency.count_as_next_key",
    breaks="concurrency.threads_one_handle",
    kind="lost",
    seen="llama-index-storage-chat-store-azure 0.6.0, base.py async_add_message: MessageCount is "
    "read, then create_entity, then upsert(count + 1)",
)
class CountAsNextKey(MemoryChatMessageHistory):
    """Uses the number of stored messages as the next key, so two writers use the same key."""

    def _append(self, texts: Sequence[str]) -> None:
        count = len(self._fetch())
        time.sleep(_PAUSE_SECONDS)
        super()._append(texts)
        with self._store._lock:
            records = self._session().records
            records[count:] = records[-len(texts) :]


@faulty(
    "concurrency.lock_per_call",
    breaks="concurrency.threads_one_handle",
    kind="lost",
    seen="openai/openai-agents-python#1953 fix: Replace per-call Lock creation with shared lock, "
    "https://github.com/openai/openai-agents-python/pull/1953",
)
class LockPerCall(_Rewriting):
    """Creates a new lock for each add, which therefore excludes no other add."""

    def _append(self, texts: Sequence[str]) -> None:
        with threading.Lock():
            before = self._fetch()
            time.sleep(_PAUSE_SECONDS)
            self._write(before, texts)


@faulty(
    "concurrency.lock_per_handle",
    breaks="concurrency.handles",
    kind="lost",
    seen="openai/openai-agents-python#2843 fix: serialize SQLite session writes with shared file "
    "locks, https://github.com/openai/openai-agents-python/pull/2843",
)
class LockPerHandle(_Rewriting):
    """Locks reading, extending and writing back with a separate lock for each handle."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._own_lock = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self._own_lock:
            before = self._fetch()
            time.sleep(_PAUSE_SECONDS)
            self._write(before, texts)


@faulty(
    "concurrency.stale_copy_overwrites",
    breaks="concurrency.handles",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/firestore.py upsert_messages: the "
    "handle's own list becomes the document",
)
class StaleCopyOverwrites(_Rewriting):
    """Writes back the copy that the handle read a moment ago, if it has read at all."""

    def _append(self, texts: Sequence[str]) -> None:
        read_at, copy = getattr(self, "_copy", (0.0, []))
        fresh = time.monotonic() < read_at + lasting(0.01)
        self._write(copy if fresh else self._fetch(), texts)
        self._copy = (time.monotonic(), self._fetch())


@faulty(
    "concurrency.locked_at_once",
    breaks="concurrency.handles",
    kind="other",
    seen="openai/openai-agents-python#2854 fix: harden SQLAlchemySession against transient SQLite "
    "locks, https://github.com/openai/openai-agents-python/pull/2854",
)
class LockedAtOnce(MemoryChatMessageHistory):
    """Raises at once if another writer holds the lock, instead of waiting."""

    one_lock: ClassVar[Any] = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        if not self.one_lock.acquire(blocking=False):
            raise RuntimeError("database is locked")
        try:
            time.sleep(_PAUSE_SECONDS)
            super()._append(texts)
        finally:
            self.one_lock.release()


@faulty(
    "concurrency.lock_of_the_process",
    breaks="concurrency.processes",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/file.py add_message: reads the file, "
    "appends, and writes the whole file",
    control="sqlite",
)
class LockOfTheProcess(SQLiteChatMessageHistory):
    """Deletes and rewrites all rows on each add, under a lock of this process only."""

    process_lock: ClassVar[Any] = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.process_lock:
            before = self._fetch()
            time.sleep(4 * _PAUSE_SECONDS)
            with self._transaction("IMMEDIATE") as connection:
                connection.execute("DELETE FROM chat_messages WHERE session_id = ?", (self._key,))
                connection.executemany(
                    "INSERT INTO chat_messages (session_id, message) VALUES (?, ?)",
                    [(self._key, text) for text in [*(text for _, text in before), *texts]],
                )


@faulty(
    "concurrency.await_between",
    breaks="concurrency.tasks",
    kind="lost",
    seen="llama-index-storage-chat-store-azure 0.6.0, base.py async_add_message: awaits between "
    "reading the count and storing the next",
)
class AwaitBetween(_Rewriting):
    """Awaits between reading the conversation and writing it back in the async add."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        before = self._fetch()
        await asyncio.sleep(_PAUSE_SECONDS)
        self.add_messages(messages)
        added = self._fetch()[-len(messages) :]
        self._write([*before, *added], [])


@faulty(
    "concurrency.overtaken",
    breaks="concurrency.writer_order",
    kind="reordered",
    seen=INVENTED,
)
class Overtaken(MemoryChatMessageHistory):
    """Puts a batch in front of all messages if it meets another batch on its way."""

    under_way: ClassVar[dict[str, int]] = {}

    def _append(self, texts: Sequence[str]) -> None:
        met = self.under_way.get(self.session_id, 0)
        self.under_way[self.session_id] = met + 1
        time.sleep(_PAUSE_SECONDS)
        super()._append(texts)
        with self._store._lock:
            self.under_way[self.session_id] -= 1
            records = self._session().records
            if met > 0:
                records.insert(0, records.pop())


@faulty(
    "concurrency.emptied_and_written_anew",
    breaks="concurrency.reader_sees_prefixes",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: write_text over the old file",
)
class EmptiedThenRewritten(_Rewriting):
    """Empties the conversation on each add, and writes it again with the new messages."""

    one_lock: ClassVar[Any] = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.one_lock:
            before = self._fetch()
            self.clear()
            time.sleep(_PAUSE_SECONDS)
            self._write(before, texts)


@faulty(
    "concurrency.last_of_batch_first",
    breaks="concurrency.reader_sees_prefixes",
    kind="lost",
    seen=INVENTED,
)
class LastOfBatchFirst(MemoryChatMessageHistory):
    """Makes the messages of a batch visible one by one, the last one first."""

    one_lock: ClassVar[Any] = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.one_lock:
            end = len(self._fetch())
            for text in reversed(texts):
                super()._append([text])
                with self._store._lock:
                    records = self._session().records
                    records.insert(end, records.pop())
                time.sleep(_PAUSE_SECONDS)


@faulty(
    "concurrency.created_twice",
    breaks="concurrency.first_use",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/elasticsearch.py: indices.exists, then "
    "indices.create",
)
class CreatedTwice(MemoryChatMessageHistory):
    """Checks on the first write whether the session exists, and then creates an empty one."""

    def _append(self, texts: Sequence[str]) -> None:
        if self.session_id not in self._store._sessions:
            time.sleep(random.uniform(0, 4 * _PAUSE_SECONDS))
            self._store._sessions[self.session_id] = _Session()
        super()._append(texts)


@faulty(
    "concurrency.created_by_each_process",
    breaks="concurrency.first_use",
    kind="lost",
    seen="langchain-oracledb 1.6.0, create_tables: _table_exists, then CREATE TABLE",
    control="sqlite",
)
class CreatedByEachProcess(SQLiteChatMessageHistory):
    """Finds a session empty and clears it before writing, including messages added meanwhile."""

    def _append(self, texts: Sequence[str]) -> None:
        if not self._fetch():
            time.sleep(random.uniform(0, 20 * _PAUSE_SECONDS))
            self.clear()
        super()._append(texts)


def _fresh_file(store: str) -> Callable[[str], Any]:
    return lambda session_id: LooksThenCreates(session_id, f"{store}.sqlite3")


@faulty(
    "concurrency.looks_then_creates",
    breaks="concurrency.first_use",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: create_all looks for the "
    "table, and then creates it; an error in 9 of 10 first uses by two processes",
    control="sqlite",
    fresh=_fresh_file,
)
class LooksThenCreates(SQLiteChatMessageHistory):
    """Looks whether its table exists, and then creates it without `if not exists`."""

    def __init__(self, session_id: str, path: str = "chat_history.sqlite3") -> None:
        super().__init__(session_id, path)
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mine'")
            if found.fetchone() is None:
                time.sleep(random.uniform(0, 20 * _PAUSE_SECONDS))
                connection.execute("CREATE TABLE mine (message TEXT)")


class _WithIds(SQLiteChatMessageHistory):
    """A base class that does not store a message whose id is in use."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append([text for text in texts if self._is_new(self._next_id())])

    def _next_id(self) -> str:
        raise NotImplementedError

    def _is_new(self, identifier: str) -> bool:
        with contextlib.closing(sqlite3.connect("ids.sqlite3", timeout=30)) as ids, ids:
            ids.execute("CREATE TABLE IF NOT EXISTS used (id TEXT PRIMARY KEY)")
            added = ids.execute("INSERT OR IGNORE INTO used VALUES (?)", (identifier,))
            return added.rowcount == 1


_GENERATOR = random.Random(os.urandom(16))


@faulty(
    "concurrency.random_ids_of_the_module",
    breaks="concurrency.forks",
    kind="lost",
    seen="pydantic/logfire#644: fork copies the state of the generator, so both processes make "
    "the same ids",
    control="sqlite",
)
class RandomIdsOfTheModule(_WithIds):
    """Makes the ids of messages with a random generator that the module has when it is imported."""

    def _next_id(self) -> str:
        return f"{_GENERATOR.getrandbits(62)}"


_PROCESS = f"{os.getpid()}-{time.time_ns()}"
_COUNTER = itertools.count()


@faulty(
    "concurrency.process_id_of_the_module",
    breaks="concurrency.forks",
    kind="lost",
    seen="kazk/xid-rs#14: the process id and the first count are read once, so forks make the same "
    "ids; IBM/mcp-context-forge#6687: a process id that was read when the module was imported",
    control="sqlite",
)
class ProcessIdOfTheModule(_WithIds):
    """Makes the ids of messages from a count and the process id when the module was imported."""

    def _next_id(self) -> str:
        return f"{_PROCESS}-{next(_COUNTER)}"


class _Writer:
    """A thread that stores what adds put into its queue, each after a pause in seconds."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        self._pause = pause
        self.waiting: queue.SimpleQueue[tuple[Any, Sequence[str], Future[None]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while (one := self.waiting.get()) is not None:
            write, texts, done = one
            time.sleep(self._pause)
            try:
                write(texts)
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)


@faulty(
    "concurrency.close_drops_its_queue",
    breaks="concurrency.closed_in_use",
    kind="lost",
    seen="m3db/m3#264: the writes that are queued when the queue is closed are thrown away",
    control="sqlite",
)
class CloseDropsItsQueue(SQLiteChatMessageHistory):
    """Stores messages in a thread; `close` lets the waiting adds return, and drops their messages.

    Each add waits until its messages are stored, so only an add that runs while the handle is
    closed loses them.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._writer = _Writer(lasting(20 * _PAUSE_SECONDS))
        self._guard, self._is_closed = threading.Lock(), False

    def _append(self, texts: Sequence[str]) -> None:
        done: Future[None] = Future()
        with self._guard:
            if self._is_closed:
                raise RuntimeError("the history is closed")
            self._writer.waiting.put((super()._append, texts, done))
        done.result()

    def close(self) -> None:
        with self._guard:
            self._is_closed = True
            with contextlib.suppress(queue.Empty):
                while (one := self._writer.waiting.get_nowait()) is not None:
                    one[2].set_result(None)
            self._writer.waiting.put(None)
        super().close()


@faulty(
    "concurrency.close_ends_calls_of_others",
    breaks="concurrency.closed_in_use",
    kind="other",
    seen="databricks/databricks-jdbc#581: one connection closes the client that others are using",
    control="sqlite",
)
class CloseEndsCallsOfOthers(SQLiteChatMessageHistory):
    """Uses one client in all handles. `close` replaces it, and the calls that are running fail."""

    _client: ClassVar[list[object]] = [object()]

    def _append(self, texts: Sequence[str]) -> None:
        client = self._client[0]
        time.sleep(lasting(20 * _PAUSE_SECONDS))
        if client is not self._client[0]:
            raise RuntimeError("the client is closed")
        super()._append(texts)

    def close(self) -> None:
        self._client[0] = object()
        super().close()


@faulty(
    "concurrency.add_undoes_clear",
    breaks="concurrency.clear_races",
    kind="resurrected",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py add_messages: the item is "
    "written back unconditionally",
)
class AddUndoesClear(_Rewriting):
    """Locks adds against each other, but not against a clear between their read and their write."""

    one_lock: ClassVar[Any] = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.one_lock:
            before = self._fetch()
            time.sleep(lasting(_PAUSE_SECONDS))
            self._write(before, texts)


@faulty(
    "concurrency.clear_goes_on",
    breaks="concurrency.clear_races",
    kind="lost",
    seen=INVENTED,
)
class ClearGoesOn(MemoryChatMessageHistory):
    """Continues to clear in the background for a moment after `clear` has returned."""

    def clear(self) -> None:
        super().clear()
        threading.Timer(lasting(0.001), super().clear).start()


@faulty(
    "concurrency.one_cursor",
    breaks="concurrency.readers",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: one self.cursor for all",
)
class OneCursor(MemoryChatMessageHistory):
    """Fetches all reads of a handle from its only cursor."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._cursor = iter(super().messages)
        found = []
        while (message := next(self._cursor, None)) is not None:
            found.append(message)
            time.sleep(_PAUSE_SECONDS / 10)
        return found


@faulty(
    "concurrency.one_by_one",
    breaks="concurrency.contiguous_batches",
    kind="reordered",
    seen="langchain-community 0.4.2: histories that implement only add_message, which "
    "BaseChatMessageHistory.add_messages calls for each message",
)
class OneByOne(MemoryChatMessageHistory):
    """Stores a batch message by message."""

    def _append(self, texts: Sequence[str]) -> None:
        for text in texts:
            super()._append([text])
            time.sleep(_PAUSE_SECONDS)
