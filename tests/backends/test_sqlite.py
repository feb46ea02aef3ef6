"""Tests of the SQLite history: its file, other processes, closing.

The tests that it shares with the memory history are in `test_memory`.
"""

import asyncio
import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends import sqlite
from chat_history_backends.codec import UndecodableRecordError
from chat_history_backends.sqlite import SQLiteChatMessageHistory

SOURCE = str(Path(sqlite.__file__).parents[1])
PRELUDE = """
import sys
from langchain_core.messages import HumanMessage
from chat_history_backends.sqlite import SQLiteChatMessageHistory
path = sys.argv[1]
def batch(*contents): return [HumanMessage(str(c)) for c in contents]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def batch(*contents: object) -> list[BaseMessage]:
    return [HumanMessage(str(content)) for content in contents]


def contents(messages: list[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]


def start(code: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(path), *arguments],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_all(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Start all processes at the same time, and return the output of each."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


GO = 'print("ready", flush=True); sys.stdin.readline()\n'


# Processes


def test_another_process_continues_consuming_from_the_same_position(path: Path) -> None:
    with SQLiteChatMessageHistory("s\x00\ud800", path) as history:
        history.add_messages(batch(1, 2, 3))
        assert contents(history.messages_from_last_consumed(1)) == ["1"]
        code = """
history = SQLiteChatMessageHistory("s\\x00\\ud800", path)
print([m.content for m in history.messages], flush=True)
print([m.content for m in history.messages_from_last_consumed(1)], flush=True)
history.add_messages(batch(4))
import os; os._exit(0)  # end without closing or cleaning up
"""
        output = start(code, path).communicate(timeout=60)[0]

        assert output.splitlines() == ["['1', '2', '3']", "['2']"]
        assert contents(history.messages_from_last_consumed()) == ["3", "4"]
    assert contents(SQLiteChatMessageHistory("s\x00\ud800", path).messages) == list("1234")


def test_processes_that_create_the_file_together_lose_nothing(path: Path) -> None:
    code = (
        GO
        + """
history = SQLiteChatMessageHistory("s", path)
for n in range(10):
    history.add_messages(batch(*(f"{sys.argv[2]}.{n}.{part}" for part in range(2))))
"""
    )
    run_all([start(code, path, str(writer)) for writer in range(4)])

    found = contents(SQLiteChatMessageHistory("s", path).messages)
    assert len(found) == 80
    assert all(a[:-1] == b[:-1] for a, b in zip(found[::2], found[1::2], strict=True))
    for writer in range(4):
        mine = [content for content in found if content.startswith(f"{writer}.")]
        assert mine == [f"{writer}.{n}.{part}" for n in range(10) for part in range(2)]


def test_consumers_in_processes_get_each_message_once(path: Path) -> None:
    SQLiteChatMessageHistory("s", path).add_messages(batch(*range(120)))
    code = (
        GO
        + """
history = SQLiteChatMessageHistory("s", path)
while some := history.messages_from_last_consumed(2, 30.0):
    print(*(m.content for m in some), sep="\\n")
"""
    )
    outputs = run_all([start(code, path) for _ in range(3)])

    shares = [[int(line) for line in output.split()] for output in outputs]
    assert sorted(n for share in shares for n in share) == list(range(120))
    assert all(share == sorted(share) for share in shares)


def test_threads_may_create_the_file_together(tmp_path: Path) -> None:
    for attempt in range(10):
        path = tmp_path / f"{attempt}.db"
        barrier = threading.Barrier(8)

        def create(number: int, path: Path = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(30)
            with SQLiteChatMessageHistory("s", path) as history:
                history.add_messages(batch(number))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(8)))
        with SQLiteChatMessageHistory("s", path) as history:
            assert sorted(contents(history.messages)) == list("01234567")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_handle_is_refused_after_a_fork(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = SQLiteChatMessageHistory("s", path)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as if in a forked child

    with pytest.raises(RuntimeError, match="after a fork"):
        history.add_messages(batch(1))
    monkeypatch.undo()
    assert history.messages == []


# The file


def test_opening_and_reading_store_nothing(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)
    assert history.messages == history.messages_from_beginning() == history.last_messages(3) == []
    assert history.messages_from_latest(1, 0.01) == []

    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM chat_messages").fetchone() == (0,)
        assert raw.execute("SELECT count(*) FROM chat_positions").fetchone() == (0,)


def test_writes_are_synced_and_the_journal_is_a_wal(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)

    assert history._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert history._connection.execute("PRAGMA journal_mode").fetchone() == (b"wal",)


def test_a_relative_path_stays_the_same_file_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    history = SQLiteChatMessageHistory("s")
    monkeypatch.chdir(tmp_path / "elsewhere")
    history.add_messages(batch(1))

    assert contents(SQLiteChatMessageHistory("s", tmp_path / "chat_history.sqlite3").messages) == [
        "1"
    ]


@pytest.mark.parametrize("name", ["missing/history.db", "."])
def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    bad = tmp_path / name
    with pytest.raises(sqlite3.OperationalError) as caught:
        SQLiteChatMessageHistory("my session", bad)

    assert repr(os.path.abspath(bad)) in str(caught.value)
    assert "'my session'" in str(caught.value)


def test_a_file_that_is_not_a_database_is_named(path: Path) -> None:
    path.write_text("no database " * 100)
    with pytest.raises(sqlite3.DatabaseError, match=r"history\.db"):
        SQLiteChatMessageHistory("s", path)


@pytest.mark.parametrize("name", ["", ":memory:"])
def test_an_in_memory_database_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="MemoryChatMessageHistory"):
        SQLiteChatMessageHistory("s", name)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete a file that is open")
def test_a_deleted_or_replaced_file_is_an_error_and_not_a_silent_loss(path: Path) -> None:
    history = SQLiteChatMessageHistory("my session", path)
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)

    for use in (lambda: history.add_messages(batch(1)), lambda: history.messages):
        with pytest.raises(sqlite3.OperationalError, match=r"deleted.*'my session'.*history\.db"):
            use()
    with SQLiteChatMessageHistory("my session", path):  # a new file at the same path
        with pytest.raises(sqlite3.OperationalError, match="replaced"):
            history.clear()


def test_a_write_that_fails_halfway_stores_nothing_and_names_session_and_file(path: Path) -> None:
    history = SQLiteChatMessageHistory("my session", path)
    history._connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON chat_messages WHEN new.message LIKE '%bad%'"
        " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match=r"disk full.*'my session'.*history\.db"):
        history.add_messages(batch("good", "bad"))

    assert history.messages == []
    history.add_messages(batch("good"))
    assert contents(history.messages) == ["good"]


def test_a_text_that_is_not_utf8_is_one_undecodable_record(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)
    history.add_messages(batch(1, 2, 3))
    history._connection.execute(
        "UPDATE chat_messages SET message = CAST(x'ff' AS TEXT) WHERE id = 2"
    )
    with pytest.raises(UndecodableRecordError) as caught:
        _ = history.messages

    assert caught.value.position == 2
    assert contents(caught.value.messages) == ["1", "3"]


def test_positions_are_never_used_twice(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)
    history.add_messages(batch(1, 2))
    before = history._end()
    history.clear()
    history.add_messages(batch(3))

    assert history._end() > before


def test_expired_rows_are_deleted_by_the_next_write(path: Path) -> None:
    SQLiteChatMessageHistory("brief", path, ttl_ms=1).add_messages(batch(1, 2))
    keeping = SQLiteChatMessageHistory("s", path)
    time.sleep(0.01)
    keeping.add_messages(batch(3))

    rows = keeping._connection.execute("SELECT session_id FROM chat_messages").fetchall()
    assert rows == [(b"s",)]


def test_reading_one_session_uses_its_index(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)
    plan = history._connection.execute(
        f"EXPLAIN QUERY PLAN SELECT id, message FROM chat_messages WHERE {sqlite._ALIVE}"
        " ORDER BY id DESC LIMIT 5",
        (b"s", 0, 0),
    ).fetchall()

    assert len(plan) == 1  # no sorting step
    assert b"chat_messages_of_session" in plan[0][3]


# Locks


def test_a_write_waits_for_another_writer(path: Path) -> None:
    history = SQLiteChatMessageHistory("s", path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    assert history.messages == []  # a read does not wait
    history.add_messages(batch(1))
    timer.join()
    other.close()

    assert contents(history.messages) == ["1"]


def test_a_bounded_read_does_not_wait_longer_for_a_lock_and_consumes_nothing(path: Path) -> None:
    history = SQLiteChatMessageHistory("my session", path)
    history.add_messages(batch(1))
    began = time.monotonic()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match=r"locked.*'my session'"):
            history.messages_from_beginning(5, 0.1)
    assert time.monotonic() - began < 15

    assert contents(history.messages_from_last_consumed()) == ["1"]


# Closing


def test_closing_is_idempotent_loses_nothing_and_leaves_other_handles_alone(path: Path) -> None:
    one, two = SQLiteChatMessageHistory("my session", path), SQLiteChatMessageHistory("s", path)
    one.add_messages(batch(1))
    one.close()
    one.close()
    asyncio.run(one.aclose())

    for use in (lambda: one.messages, lambda: one.add_messages(batch(2)), one.clear):
        with pytest.raises(RuntimeError, match="'my session' is closed"):
            use()
    two.add_messages(batch(2))
    assert contents(two.messages) == ["2"]
    assert contents(SQLiteChatMessageHistory("my session", path).messages) == ["1"]


def test_both_context_managers_close(path: Path) -> None:
    async def use() -> SQLiteChatMessageHistory:
        async with SQLiteChatMessageHistory("s", path) as history:
            await history.aadd_messages(batch(1))
            return history

    with SQLiteChatMessageHistory("s", path) as entered:
        assert contents(entered.messages) == []
    for closed in (entered, asyncio.run(use())):
        with pytest.raises(RuntimeError, match="closed"):
            _ = closed.messages


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files by /proc")
def test_closed_and_collected_handles_free_their_files(path: Path) -> None:
    def open_files() -> int:
        names = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(1 for name in names if name.is_symlink() and str(path) in os.path.realpath(name))

    handles = [SQLiteChatMessageHistory("s", path) for _ in range(20)]
    assert handles[0].messages == []
    assert open_files() >= 20
    for handle in handles[:10]:
        handle.close()
    del handles[10:]
    del handle
    gc.collect()

    assert open_files() == 0


def test_a_collected_handle_raises_no_warning(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning in a finalizer fails the test through pytest
        history = SQLiteChatMessageHistory("s", path)
        connection = history._connection
        history.add_messages(batch(1))
        del history
        gc.collect()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
