"""Tests of `iter_messages` and `aiter_messages` of the embedded histories."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends import base
from chat_history_backends.codec import UndecodableRecordError, encode_batch
from chat_history_backends.iteration import PageGenerator, amessages_of, messages_of
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from tests.backends.embedded import History, Open, batch, contents

SOURCE = str(Path(base.__file__).parents[1])
PROC = Path("/proc/self/status")


def taken(iterator: Iterator[BaseMessage], count: int) -> list[Any]:
    return contents([next(iterator) for _ in range(count)])


async def every(iterator: AsyncIterator[BaseMessage]) -> list[Any]:
    return [message.content async for message in iterator]


def texts(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# What is yielded


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 6, 7])
def test_every_batch_size_yields_the_whole_conversation_in_order(
    open_history: Open, length: int
) -> None:
    history = open_history()
    open_history("other").add_messages(batch("other"))
    for number in range(length):
        open_history().add_messages(batch(number))
    for size in (1, 2, 3, length or 1, length + 1, 1000, 10**30):
        assert contents(history.iter_messages(size)) == texts(length)
        assert asyncio.run(every(history.aiter_messages(size))) == texts(length)
    assert contents(history.iter_messages()) == texts(length)


def test_a_message_is_equal_to_the_one_that_a_read_returns(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch("a", "\x00", "\ud800", "é"))
    assert list(history.iter_messages(3)) == history.messages


def test_messages_that_are_added_after_the_first_next_are_not_yielded(open_history: Open) -> None:
    history, other = open_history(), open_history()
    history.add_messages(batch(0, 1))
    iterator = history.iter_messages(2)
    other.add_messages(batch(2))  # before the first `next`
    assert taken(iterator, 1) == ["0"]
    for number in range(3, 9):
        (history, other)[number % 2].add_messages(batch(number))
    assert contents(iterator) == ["1", "2"]
    assert contents(history.iter_messages(4)) == texts(9)


def test_after_a_clear_only_removed_messages_may_come(open_history: Open) -> None:
    history, other = open_history(), open_history()
    history.add_messages(batch(*range(6)))
    iterator = history.iter_messages(2)
    assert taken(iterator, 1) == ["0"]
    other.clear()
    other.add_messages(batch(*(f"new{number}" for number in range(9))))
    assert contents(iterator) == ["1"]  # of the page that was read before


def test_a_discarded_record_hides_no_other(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(*range(6)))
    iterator = history.iter_messages(2)
    assert taken(iterator, 1) == ["0"]
    first = _positions(history)[0]
    for number in (1, 2, 3):
        history.discard(first + number)
    assert contents(iterator) == ["1", "4", "5"]


def _positions(history: History) -> list[int]:
    return [int(record[0]) for record in history._fetch()]


def test_expired_messages_are_left_out(open_history: Open) -> None:
    history = open_history()
    short = open_history(ttl_ms=300)
    history.add_messages(batch(0))
    short.add_messages(batch(1, 2, 3))
    history.add_messages(batch(4))
    iterator = history.iter_messages(2)
    assert taken(iterator, 1) == ["0"]
    time.sleep(0.4)
    assert contents(iterator) == ["1", "4"]
    assert contents(history.iter_messages(1)) == ["0", "4"]


def test_iterations_and_consuming_reads_do_not_disturb_each_other(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(*range(7)))
    first, second = history.iter_messages(2), history.iter_messages(3)
    got: tuple[list[Any], list[Any]] = ([], [])
    for number in range(7):
        got[0].extend(taken(first, 1))
        assert contents(history.messages_from_last_consumed(1)) == [str(number)]
        got[1].extend(taken(second, 1))
    assert got == (texts(7), texts(7))
    assert list(first) == list(second) == []
    assert history.messages_from_last_consumed() == []


# Errors


@pytest.mark.parametrize(
    ("nonsense", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (None, TypeError),
        (True, TypeError),
        ("3", TypeError),
        (1.0, TypeError),
    ],
)
def test_a_nonsense_batch_size_is_refused_by_the_call(
    open_history: Open, nonsense: Any, kind: type[Exception]
) -> None:
    history = open_history()
    with pytest.raises(kind, match="batch_size must be"):
        history.iter_messages(nonsense)
    with pytest.raises(kind, match="batch_size must be"):
        history.aiter_messages(nonsense)


def test_an_undecodable_record_raises_after_all_messages_before_it(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(0, 1, 2))
    history._append(["broken"])
    history.add_messages(batch(3))
    for size in (1, 2, 3, 4, 5, 1000):
        came: list[Any] = []
        iterator = history.iter_messages(size)
        with pytest.raises(UndecodableRecordError, match="remove the record") as caught:
            came.extend(message.content for message in iterator)
        assert came == ["0", "1", "2"]
        assert caught.value.messages == []
        assert list(iterator) == []

        async def use(size: int = size) -> None:
            iterator = history.aiter_messages(size)
            assert [(await anext(iterator)).content for _ in range(3)] == ["0", "1", "2"]
            with pytest.raises(UndecodableRecordError):
                await anext(iterator)
            assert await every(iterator) == []

        asyncio.run(use())
    assert isinstance(caught.value.position, int)
    history.discard(caught.value.position)
    assert contents(history.iter_messages(2)) == texts(4)


def test_a_store_that_fails_between_two_pages_raises_there(tmp_path: Path) -> None:
    history = SQLiteChatMessageHistory("s", tmp_path / "h.db")
    history.add_messages(batch(*range(5)))
    iterator = history.iter_messages(2)
    assert taken(iterator, 1) == ["0"]
    history.close()
    assert taken(iterator, 1) == ["1"]
    with pytest.raises(RuntimeError, match="is closed"):
        next(iterator)


# Leaving early


class Pages:
    """Two pages at a time, and a record of when they are read and when they are closed.

    It keeps the generators alive, so that only `close` ends them.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.events: list[str] = []
        self._wait = wait
        self._begun: list[PageGenerator] = []

    def begin(self) -> PageGenerator:
        self._begun.append(self._pages())
        return self._begun[-1]

    def _pages(self) -> PageGenerator:
        try:
            for number in (0, 2):
                self.events.append("page")
                self._wait()
                yield batch(number, number + 1)
        finally:
            self.events.append("closed")


def test_closing_or_leaving_an_iteration_closes_its_pages_at_once() -> None:
    pages = Pages()
    iterator = messages_of(pages.begin())
    next(iterator)
    iterator.close()
    assert pages.events == ["page", "closed"]
    for _ in messages_of(pages.begin()):
        break
    assert pages.events == ["page", "closed"] * 2


def test_closing_an_asynchronous_iteration_closes_its_pages_at_once() -> None:
    pages = Pages()

    async def use() -> None:
        iterator = amessages_of(pages.begin(), asyncio.to_thread)
        await anext(iterator)
        await iterator.aclose()
        assert pages.events == ["page", "closed"]
        async for _ in amessages_of(pages.begin(), asyncio.to_thread):
            break
        await until(lambda: pages.events == ["page", "closed"] * 2)
        unused = amessages_of(pages.begin(), asyncio.to_thread)
        await unused.aclose()

    asyncio.run(use())
    assert pages.events == ["page", "closed"] * 2


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_cancelled_iteration_does_not_wait_for_its_page_and_closes_it_afterwards() -> None:
    may_end = threading.Event()
    pages = Pages(wait=lambda: may_end.wait(30))

    async def use() -> None:
        iterator = amessages_of(pages.begin(), asyncio.to_thread)
        reading = asyncio.ensure_future(anext(iterator))
        await until(lambda: pages.events == ["page"])
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 10)
        assert pages.events == ["page"]
        may_end.set()
        await until(lambda: pages.events == ["page", "closed"])
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)

    asyncio.run(use())


def test_an_asynchronous_iteration_keeps_no_thread_between_two_messages(
    open_history: Open,
) -> None:
    history = open_history()
    history.add_messages(batch(*range(6)))

    async def use() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        iterators = [history.aiter_messages(2) for _ in range(4)]
        for number in range(6):
            for iterator in iterators:
                message = await asyncio.wait_for(anext(iterator), 30)
                assert message.content == str(number)
            await asyncio.wait_for(history.aadd_messages(batch("new")), 30)
        for iterator in iterators[1:]:
            await iterator.aclose()
        assert await every(iterators[0]) == []

    asyncio.run(use())


def test_tasks_that_are_cancelled_at_any_moment_leave_the_history_usable(
    open_history: Open,
) -> None:
    history = open_history()
    history.add_messages(batch(*range(30)))

    async def use() -> None:
        for turns in range(40):
            task = asyncio.ensure_future(every(history.aiter_messages(2)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await task == texts(30)
        await history.aadd_messages(batch(30))
        assert await every(history.aiter_messages(7)) == texts(31)

    asyncio.run(use())


# Only SQLite


def test_a_slow_reader_keeps_no_writer_and_no_checkpoint_waiting(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    history, writer = (SQLiteChatMessageHistory("s", path) for _ in range(2))
    history.add_messages(batch(*range(5)))
    iterator = history.iter_messages(2)
    assert taken(iterator, 1) == ["0"]
    writer.add_messages(batch("new"))
    history.add_messages(batch("new"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA busy_timeout = 0")
        # An open read transaction would keep the WAL file from being emptied.
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    writer.clear()
    assert contents(iterator) == ["1"]
    history.close()
    writer.close()


def test_a_page_is_found_by_the_index_of_its_session(tmp_path: Path) -> None:
    history = SQLiteChatMessageHistory("s", tmp_path / "h.db")
    history.add_messages(batch(*range(3)))
    statements: list[str] = []
    history._connection.set_trace_callback(statements.append)
    assert contents(history.iter_messages(2)) == texts(3)
    reads = [text for text in statements if text.startswith("SELECT")]
    history._connection.set_trace_callback(None)
    assert len(reads) == 3
    for read in reads:
        plan = [row[3] for row in history._connection.execute(f"EXPLAIN QUERY PLAN {read}")]
        assert len(plan) == 1
        assert b"chat_messages_of_session (session_id=?" in plan[0]
    history.close()


PEAK = """
import sys
from chat_history_backends.sqlite import SQLiteChatMessageHistory

def peak_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

history = SQLiteChatMessageHistory("s", sys.argv[1])
history.last_messages(10)
before = peak_kib()
if sys.argv[2] == "messages":
    number = len(history.messages)
else:
    number = sum(1 for _ in history.iter_messages())
print(number, peak_kib() - before)
"""


@pytest.mark.skipif(not PROC.exists(), reason="needs the peak of memory in /proc")
def test_an_iteration_takes_a_small_part_of_the_memory_of_a_read(tmp_path: Path) -> None:
    path, length = tmp_path / "h.db", 30_000
    SQLiteChatMessageHistory("s", path).close()
    texts = encode_batch(batch(*range(length)))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO chat_messages (session_id, message) VALUES (?, ?)",
            [(b"s", text) for text in texts],
        )
    peaks = {way: _peak_kib(path, way, length) for way in ("messages", "iter_messages")}
    assert peaks["iter_messages"] < peaks["messages"] / 5, peaks


def _peak_kib(path: Path, way: str, length: int) -> int:
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), way],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    number, kib = map(int, run.stdout.split())
    assert number == length
    return kib
