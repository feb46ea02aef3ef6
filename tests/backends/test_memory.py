"""Tests that both embedded histories pass, and tests of the memory history."""

import asyncio
import gc
import threading
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends import memory
from chat_history_backends.codec import UndecodableRecordError, decode_batch
from chat_history_backends.memory import MemoryChatMessageHistory, MemoryStore
from tests.backends.embedded import History, Open, batch, contents

STRANGE_IDS = [
    *["", " ", "a", "A", "a ", " a", "a\x00", "a\x00b", "\x00", "1", "01", "%", "_", "a_", "a%"],
    *["*", "'", '"', "a'; DROP TABLE chat_messages; --", "../a", "/a", ".", "..", "é", "e\u0301"],
    *["\u0130", "i", "ss", "ß", "\ud800", "\udc00", "\ud83d\ude00", "\U0001f600", "x" * 5000],
]


def add_broken_record(history: History, text: str = "broken") -> None:
    """Store a record that is not a message after the existing ones."""
    history._append([text])


# Order, clear, isolation, aliasing


def test_a_conversation_is_read_in_order_through_every_handle(open_history: Open) -> None:
    first, second = open_history(), open_history()
    first.add_messages(batch(1, 2))
    second.add_message(HumanMessage("3"))
    first.add_user_message("4")
    second.add_ai_message("5")
    first.add_messages(iter(batch(6, 7)))  # type: ignore[arg-type]

    for handle in (first, second, open_history()):
        assert contents(handle.messages) == list("1234567")


def test_equal_messages_are_all_stored(open_history: Open) -> None:
    message = HumanMessage("same", id="1")
    open_history().add_messages([message, message])
    open_history().add_message(message)

    assert open_history().messages == [message] * 3


def test_clear_empties_the_session_for_every_handle_and_leaves_others(open_history: Open) -> None:
    one, same, other = open_history(), open_history(), open_history("other")
    one.add_messages(batch(1, 2))
    other.add_messages(batch("x"))
    same.clear()
    same.clear()

    assert one.messages == []
    assert contents(other.messages) == ["x"]
    one.add_messages(batch(3))
    assert contents(same.messages) == ["3"]


def test_no_two_session_ids_share_a_message(open_history: Open) -> None:
    handles = {session_id: open_history(session_id) for session_id in STRANGE_IDS}
    for number, handle in enumerate(handles.values()):
        handle.add_messages(batch(number))
        handle.messages_from_last_consumed()
    open_history("a").clear()

    for number, (session_id, handle) in enumerate(handles.items()):
        expected = [] if session_id == "a" else [str(number)]
        assert contents(handle.messages) == expected, ascii(session_id)
        assert handle.messages_from_last_consumed() == []


@pytest.mark.parametrize("session_id", [None, 1, b"s", ["s"]], ids=repr)
def test_a_session_id_that_is_not_a_string_is_refused(open_history: Open, session_id: Any) -> None:
    with pytest.raises(TypeError, match="session_id must be a str"):
        open_history(session_id)


def test_changes_to_added_or_returned_messages_do_not_reach_the_store(open_history: Open) -> None:
    history = open_history()
    given = [HumanMessage("1", additional_kwargs={"k": [1]})]
    history.add_messages(given)
    given[0].additional_kwargs["k"].append(2)
    given.append(HumanMessage("2"))
    returned = history.messages
    returned[0].additional_kwargs["k"].append(3)
    returned.clear()

    assert history.messages == [HumanMessage("1", additional_kwargs={"k": [1]})]


def test_a_refused_batch_stores_nothing_and_an_empty_one_raises_nothing(open_history: Open) -> None:
    history = open_history()
    with pytest.raises(TypeError, match="message 1 of the batch"):
        history.add_messages([*batch(1), HumanMessage("x", additional_kwargs={"k": b""})])
    with pytest.raises(TypeError, match="add_user_message"):
        history.add_messages("hello")  # type: ignore[arg-type]
    history.add_messages([])

    assert history.messages == []
    history.add_messages(batch(2))
    assert contents(history.messages) == ["2"]


def test_printing_a_history_changes_nothing(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1))

    assert "Human: 1" in str(history)
    assert repr(history)
    assert contents(history.messages_from_last_consumed()) == ["1"]


def test_a_long_history_comes_back_whole(open_history: Open) -> None:
    history = open_history()
    for start in range(0, 2500, 250):
        history.add_messages(batch(*range(start, start + 250)))

    assert contents(history.messages) == [str(n) for n in range(2500)]


def test_opening_and_using_a_history_raises_no_warning(open_history: Open) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = open_history()
        history.add_messages(batch(1))
        assert history.messages


# Bounded and consuming reads


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 10**30])
def test_the_last_messages_are_the_end_oldest_first(open_history: Open, count: int) -> None:
    history = open_history()
    history.add_messages(batch(1, 2, 3))

    assert contents(history.last_messages(count)) == ["1", "2", "3"][max(3 - count, 0) :]


def test_all_handles_together_consume_each_message_once(open_history: Open) -> None:
    one, two = open_history(), open_history()
    one.add_messages(batch(1, 2, 3, 4, 5, 6, 7))

    assert contents(one.messages_from_last_consumed(2)) == ["1", "2"]
    assert contents(two.messages_from_last_consumed()) == ["3", "4", "5", "6", "7"]
    assert one.messages_from_last_consumed() == []
    two.add_messages(batch(8))
    assert contents(one.messages_from_last_consumed(None, None)) == ["8"]


def test_reading_from_the_beginning_resets_the_position(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1, 2, 3, 4, 5, 6))
    history.messages_from_last_consumed(None)

    assert contents(history.messages_from_beginning()) == ["1", "2", "3", "4", "5"]
    assert contents(history.messages_from_last_consumed()) == ["6"]
    assert contents(history.messages_from_beginning(None)) == ["1", "2", "3", "4", "5", "6"]
    assert history.messages_from_beginning(0) == []
    assert contents(history.messages_from_last_consumed(1)) == ["1"]


def test_unconsumed_reads_never_move_the_position(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1, 2))
    assert history.messages
    assert history.last_messages(2)

    assert contents(history.messages_from_last_consumed()) == ["1", "2"]
    assert contents(history.messages) == ["1", "2"]


def test_after_clear_consuming_continues_with_the_next_messages(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1, 2))
    history.messages_from_last_consumed(1)
    history.clear()

    assert history.messages_from_last_consumed() == []
    history.add_messages(batch(3, 4))
    assert contents(history.messages_from_last_consumed(1)) == ["3"]
    history.clear()
    history.add_messages(batch(5))
    assert contents(history.messages_from_last_consumed()) == ["5"]


def test_a_time_bound_of_zero_reads_nothing_and_consumes_nothing(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1, 2))

    assert history.messages_from_last_consumed(5, 0) == []
    assert history.messages_from_latest(5, 0) == []
    history.add_messages(batch(3))
    assert contents(history.messages_from_last_consumed()) == ["3"]


def test_a_read_that_hits_its_time_bound_can_be_continued(
    open_history: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = open_history()
    history.add_messages(batch(*range(50)))
    real, fake = time.monotonic, [0.0]

    def clock() -> float:
        fake[0] += 0.1  # each call of the clock takes a tenth of a second
        return fake[0]

    monkeypatch.setattr("chat_history_backends.codec.time.monotonic", clock)
    some = history.messages_from_last_consumed(None, 2.0)
    monkeypatch.setattr("chat_history_backends.codec.time.monotonic", real)

    assert 0 < len(some) < 50
    rest = history.messages_from_last_consumed(None)
    assert contents(some + rest) == [str(n) for n in range(50)]


def test_a_read_without_new_messages_returns_at_once(open_history: Open) -> None:
    history = open_history()
    began = time.monotonic()

    assert history.messages_from_last_consumed(5, 60.0) == []
    assert history.messages_from_beginning(5, 60.0) == []
    assert time.monotonic() - began < 20


def test_from_latest_returns_only_new_messages(open_history: Open) -> None:
    history, writer = open_history(), open_history()
    history.add_messages(batch("old"))
    timer = threading.Timer(0.1, lambda: writer.add_messages(batch("a", "b", "c")))
    timer.start()
    began = time.monotonic()

    got = history.messages_from_latest(2, 60.0)

    timer.join()
    assert contents(got) == ["a", "b"]
    assert time.monotonic() - began < 30  # as soon as the count is reached
    assert contents(history.messages_from_last_consumed()) == ["c"]


def test_from_latest_waits_until_its_time_bound_if_too_few_messages_arrive(
    open_history: Open,
) -> None:
    history, writer = open_history(), open_history()
    history.add_messages(batch("old"))
    for count in (5, None):
        timer = threading.Timer(0.05, lambda: writer.add_messages(batch("new")))
        timer.start()
        began = time.monotonic()
        assert contents(history.messages_from_latest(count, 0.4)) == ["new"]
        assert time.monotonic() - began >= 0.39
        timer.join()

    assert history.messages_from_latest(1, 0.05) == []
    assert history.messages_from_last_consumed() == []


def test_from_latest_keeps_waiting_if_the_session_is_cleared(open_history: Open) -> None:
    history, other = open_history(), open_history()
    history.add_messages(batch("old", "older"))

    def clear_and_add() -> None:
        other.clear()
        other.add_messages(batch("new"))

    timer = threading.Timer(0.1, clear_and_add)
    timer.start()
    assert contents(history.messages_from_latest(1, 60.0)) == ["new"]
    timer.join()


@pytest.mark.parametrize(
    ("count", "seconds", "kind"),
    [(-1, 1.0, ValueError), (True, 1.0, TypeError), (1.5, 1.0, TypeError), (1, -1, ValueError),
     (1, float("nan"), ValueError), (1, "1", TypeError)],
)  # fmt: skip
def test_nonsense_bounds_are_refused_and_consume_nothing(
    open_history: Open, count: Any, seconds: Any, kind: type
) -> None:
    history = open_history()
    history.add_messages(batch(1))
    for read in (
        history.messages_from_beginning,
        history.messages_from_latest,
        history.messages_from_last_consumed,
    ):
        with pytest.raises(kind, match="must be"):
            read(count, seconds)
    assert contents(history.messages_from_last_consumed()) == ["1"]


def test_from_latest_without_any_bound_and_last_without_a_count_are_refused(
    open_history: Open,
) -> None:
    history = open_history()
    with pytest.raises(ValueError, match="wait for ever"):
        history.messages_from_latest(None, None)
    with pytest.raises(ValueError, match="wait for ever"):
        history.messages_from_latest(None, float("inf"))
    with pytest.raises(ValueError, match="wait for ever"):
        asyncio.run(history.amessages_from_latest(None, None))
    for nonsense, kind in [
        (None, TypeError),
        (True, TypeError),
        ("1", TypeError),
        (-1, ValueError),
    ]:
        with pytest.raises(kind):
            history.last_messages(nonsense)  # type: ignore[arg-type]


def test_an_undecodable_record_consumes_nothing_and_can_be_discarded(open_history: Open) -> None:
    history, other = open_history(), open_history("other")
    history.add_messages(batch(1, 2))
    add_broken_record(history)
    history.add_messages(batch(3))

    reads: list[Callable[[], list[BaseMessage]]] = [
        lambda: history.messages,
        lambda: history.last_messages(4),
        history.messages_from_beginning,
        history.messages_from_last_consumed,
    ]
    for read in reads:
        with pytest.raises(UndecodableRecordError) as caught:
            read()
        assert contents(caught.value.messages) == ["1", "2", "3"]
    position = caught.value.position
    assert isinstance(position, int)
    assert contents(history.messages_from_last_consumed(2)) == ["1", "2"]
    other.discard(position)  # another session does not have it
    with pytest.raises(UndecodableRecordError):
        history.messages_from_last_consumed()
    history.discard(position)
    history.discard(position)
    assert contents(history.messages_from_last_consumed()) == ["3"]
    assert contents(history.messages) == ["1", "2", "3"]


def test_a_failed_read_from_the_beginning_leaves_the_position(open_history: Open) -> None:
    history = open_history()
    history.add_messages(batch(1))
    add_broken_record(history)
    history.add_messages(batch(2, 3))
    history.messages_from_last_consumed(1)
    with pytest.raises(UndecodableRecordError):
        history.messages_from_beginning()
    with pytest.raises(UndecodableRecordError) as caught:
        history.messages_from_last_consumed()

    assert contents(caught.value.messages) == ["2", "3"]


# Time to live


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stop the clocks. Return a list whose one item sets how many milliseconds they are ahead."""
    ahead, monotonic, wall = [0], time.monotonic(), time.time_ns()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic + ahead[0] / 1000)
    monkeypatch.setattr(time, "time_ns", lambda: wall + ahead[0] * 1_000_000)
    return ahead


def test_each_message_expires_at_its_own_age_for_every_kind_of_read(
    open_history: Open, clock: list[int]
) -> None:
    history, keeping = open_history(ttl_ms=1000), open_history()
    keeping.add_messages(batch("kept"))
    history.add_messages(batch("old"))
    clock[0] = 500
    history.add_messages(batch("young"))

    for now, alive in [
        (999, ["kept", "old", "young"]),
        (1001, ["kept", "young"]),
        (1499, ["kept", "young"]),
        (1501, ["kept"]),
    ]:
        clock[0] = now
        for handle in (history, keeping):
            assert contents(handle.messages) == alive
            assert contents(handle.last_messages(3)) == alive
            assert contents(handle.last_messages(1)) == alive[-1:]
            assert contents(handle.messages_from_beginning(5, None)) == alive


def test_removing_expired_messages_touches_nothing_else(
    open_history: Open, clock: list[int]
) -> None:
    brief, long, other = open_history(ttl_ms=10), open_history(ttl_ms=1000), open_history("o")
    brief.add_messages(batch(1))
    long.add_messages(batch(2))
    brief.add_messages(batch(3))
    other.add_messages(batch("x"))
    assert contents(long.messages_from_last_consumed(2, None)) == ["1", "2"]
    clock[0] = 20
    long.add_messages(batch(4))  # the next write removes it

    assert contents(brief.messages) == ["2", "4"]
    assert contents(other.messages) == ["x"]
    assert contents(brief.messages_from_last_consumed(5, None)) == ["4"]


def test_messages_without_a_ttl_survive_a_handle_that_has_one(open_history: Open) -> None:
    open_history().add_messages(batch("for ever"))
    open_history("other").add_messages(batch("other"))
    short = open_history(ttl_ms=1)
    for _ in range(3):
        short.add_messages(batch("short"))
        time.sleep(0.01)

    assert contents(short.messages) == ["for ever"]
    assert contents(open_history("other").messages) == ["other"]


def test_a_ttl_beyond_all_clocks_means_never(open_history: Open) -> None:
    history = open_history(ttl_ms=10**400)
    history.add_messages(batch(1))

    assert contents(history.messages) == ["1"]


def test_expired_messages_do_not_end_the_wait_of_a_reader(open_history: Open) -> None:
    history = open_history()
    timer = threading.Timer(0.05, lambda: open_history(ttl_ms=100).add_messages(batch("brief")))
    timer.start()
    assert history.messages_from_latest(2, 0.5) == []
    timer.join()


@pytest.mark.parametrize("ttl_ms", [0, -1, 1.5, True, "1"])
def test_a_nonsense_ttl_is_refused(open_history: Open, ttl_ms: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="ttl_ms"):
        open_history(ttl_ms=ttl_ms)


def test_a_wall_clock_that_steps_back_reorders_and_loses_nothing(
    open_history: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = open_history()
    for number in range(5):
        monkeypatch.setattr(time, "time", lambda n=number: 1e9 - n * 1e6)
        monkeypatch.setattr(time, "time_ns", lambda n=number: 10**18 - n * 10**15)
        history.add_messages(batch(number))
        assert contents(history.last_messages(1)) == [str(number)]

    assert contents(history.messages) == list("01234")
    assert contents(history.messages_from_last_consumed()) == list("01234")


# Threads and tasks


def test_threads_lose_nothing_and_keep_the_order_of_each_writer(open_history: Open) -> None:
    shared = open_history()

    def write(writer: int) -> None:
        handle = shared if writer % 2 else open_history()
        for number in range(10):
            handle.add_messages(batch(*(f"{writer}.{number}.{part}" for part in range(3))))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    found = contents(shared.messages)
    triples = [tuple(found[i : i + 3]) for i in range(0, len(found), 3)]
    assert all(a[:-1] == c[:-1] and a[-1] == "0" and c[-1] == "2" for a, _, c in triples)
    for writer in range(8):
        mine = [content for content in found if content.startswith(f"{writer}.")]
        assert mine == [f"{writer}.{n}.{p}" for n in range(10) for p in range(3)]


def test_consumers_in_threads_get_each_message_once(open_history: Open) -> None:
    open_history().add_messages(batch(*range(200)))
    shared = open_history()

    def consume(reader: int) -> list[str]:
        handle = shared if reader % 2 else open_history()
        got: list[str] = []
        while some := handle.messages_from_last_consumed(3):
            got += contents(some)
        return got

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(consume, range(8)))

    assert sorted(int(c) for share in shares for c in share) == list(range(200))
    assert all([int(c) for c in share] == sorted(int(c) for c in share) for share in shares)


def test_the_async_methods_do_the_same(open_history: Open) -> None:
    history = open_history()

    async def use() -> None:
        await history.aadd_messages(batch(1, 2, 3))
        assert contents(await history.aget_messages()) == ["1", "2", "3"]
        assert contents(await history.alast_messages(1)) == ["3"]
        assert contents(await history.amessages_from_last_consumed(2)) == ["1", "2"]
        assert contents(await history.amessages_from_beginning(1)) == ["1"]
        waiting = asyncio.create_task(history.amessages_from_latest(1, 60.0))
        await asyncio.sleep(0.2)
        await history.aadd_messages(batch(4))
        assert contents(await waiting) == ["4"]
        await history.aclear()
        assert history.messages == []

    asyncio.run(use())


def test_waiting_readers_block_neither_the_loop_nor_the_writers(open_history: Open) -> None:
    history = open_history()

    async def use() -> None:
        waiting = [asyncio.create_task(history.amessages_from_latest(1, 60.0)) for _ in range(50)]
        await asyncio.sleep(0.2)
        for number in range(50):
            await asyncio.wait_for(history.aadd_messages(batch(number)), 30)
        done, late = await asyncio.wait(waiting, timeout=0.5)
        for task in late:
            task.cancel()
        got = [content for task in done for content in contents(task.result())]
        assert len(got) == len(set(got)) > 0  # no message was returned to two readers

    asyncio.run(use())


def test_a_cancelled_wait_consumes_nothing_and_leaves_the_history_usable(
    open_history: Open,
) -> None:
    history = open_history()
    history.add_messages(batch("old"))

    async def use() -> None:
        waiting = asyncio.create_task(history.amessages_from_latest(5, 60.0))
        await asyncio.sleep(0.1)
        await history.aadd_messages(batch("new"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        writing = asyncio.create_task(history.aadd_messages(batch(1, 2)))
        await asyncio.sleep(0)
        writing.cancel()
        await history.aadd_messages(batch("end"))

    asyncio.run(use())
    assert contents(history.messages_from_last_consumed(2)) == ["old", "new"]
    assert sorted(contents(history.messages_from_last_consumed(None))) in (
        ["end"],
        ["1", "2", "end"],
    )


# Only the memory history


def test_memory_handles_share_a_process_wide_store_by_default() -> None:
    session_id = str(uuid.uuid4())
    MemoryChatMessageHistory(session_id).add_messages(batch(1))
    gc.collect()

    assert contents(MemoryChatMessageHistory(session_id).messages) == ["1"]
    assert MemoryChatMessageHistory(session_id, store=MemoryStore()).messages == []
    MemoryChatMessageHistory(session_id).clear()


def test_a_slow_consumer_in_memory_keeps_its_messages_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = MemoryChatMessageHistory("s", store=MemoryStore())
    history.add_messages(batch(1, 2, 3, 4))

    def slow(*arguments: Any) -> Any:
        time.sleep(0.05)
        return decode_batch(*arguments)

    monkeypatch.setattr(memory, "decode_batch", slow)
    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda _: history.messages_from_last_consumed(1), range(4)))

    assert sorted(contents(share) for share in shares) == [["1"], ["2"], ["3"], ["4"]]


def test_memory_frees_sessions_that_were_only_read_or_cleared_or_have_expired() -> None:
    store = MemoryStore()
    history = MemoryChatMessageHistory("s", store=store)
    assert history.messages == history.messages_from_beginning() == []
    assert store._sessions == {}
    history.add_messages(batch(1))
    history.clear()
    assert store._sessions == {}
    MemoryChatMessageHistory("brief", store=store, ttl_ms=1).add_messages(batch(1, 2))
    time.sleep(0.01)
    history.add_messages(batch(1))
    assert list(store._sessions) == ["s"]
    assert store._expiries == []


def threads_used_by(call: Callable[[MemoryChatMessageHistory], Awaitable[Any]], stored: int) -> int:
    """Return the number of threads that the event loop starts for an awaited call."""
    history = MemoryChatMessageHistory("s", store=MemoryStore())
    history.add_messages([HumanMessage(str(number)) for number in range(stored)])
    before = {thread.name for thread in threading.enumerate()}

    async def run() -> int:
        await call(history)
        return sum(
            thread.name.startswith("asyncio_") and thread.name not in before
            for thread in threading.enumerate()
        )

    return asyncio.run(run())


ALWAYS_SHORT: list[Any] = [
    lambda history: history.aadd_messages([HumanMessage("new")]),
    lambda history: history.aclear(),
    lambda history: history.alast_messages(2),
    lambda history: history.amessages_from_beginning(2),
    lambda history: history.amessages_from_last_consumed(2),
]
AS_LONG_AS_THE_CONVERSATION: list[Any] = [
    lambda history: history.aget_messages(),
    lambda history: history.alast_messages(200),
    lambda history: history.amessages_from_beginning(None),
    lambda history: history.amessages_from_latest(1, 0.05),
    lambda history: anext(history.aiter_messages(1)),
]


@pytest.mark.parametrize("call", ALWAYS_SHORT + AS_LONG_AS_THE_CONVERSATION)
def test_short_work_uses_no_thread(call: Any) -> None:
    assert threads_used_by(call, 5) == 0


@pytest.mark.parametrize("call", ALWAYS_SHORT)
def test_work_on_few_messages_of_a_long_conversation_uses_no_thread(call: Any) -> None:
    assert threads_used_by(call, 500) == 0


@pytest.mark.parametrize("call", AS_LONG_AS_THE_CONVERSATION)
def test_long_work_uses_a_thread(call: Any) -> None:
    assert threads_used_by(call, 500) > 0


def test_a_long_or_unknown_batch_is_encoded_in_a_thread() -> None:
    long = [HumanMessage(str(number)) for number in range(500)]
    assert threads_used_by(lambda history: history.aadd_messages(long), 0) > 0
    unknown: Any = iter(long[:1])
    assert threads_used_by(lambda history: history.aadd_messages(unknown), 0) > 0


def test_an_event_loop_does_not_wait_for_the_lock_of_another_thread() -> None:
    store = MemoryStore()
    history = MemoryChatMessageHistory("s", store=store)
    history.add_messages([HumanMessage("1")])

    async def run() -> list[Any]:
        with store._lock:
            waiting = asyncio.ensure_future(history.aget_messages())
            await asyncio.sleep(0.05)  # the loop goes on
            assert not waiting.done()
        return [message.content for message in await waiting]

    assert asyncio.run(run()) == ["1"]


def test_a_subclass_changes_asynchronous_reads_too() -> None:
    class Backwards(MemoryChatMessageHistory):
        @property
        def messages(self) -> list[BaseMessage]:  # type: ignore[override]
            return super().messages[::-1]

    history = Backwards("s", store=MemoryStore())
    history.add_messages(batch(1, 2))
    assert contents(asyncio.run(history.aget_messages())) == ["2", "1"]
