"""What the benchmark measures: each operation by our history, by raw clients and by upstream."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmark_floor import WAIT_SEC, Raw
from benchmarking import (
    Operation,
    Turn,
    Watch,
    awaited,
    chunks,
    conversation,
    in_threads,
    need,
    timed,
)
from confluent_kafka import Producer
from langchain_core.messages import BaseMessage

from chat_history_backends.kafka import KafkaChatMessageHistory as Ours

with warnings.catch_warnings():
    # That langchain-community is no longer maintained is not what this is about.
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import KafkaChatMessageHistory as Upstream

THREADS = 8
IN_A_ROW = 20
OTHER_TOPICS = 1000
HANDLES = {"ours": 500, "upstream": 20}
"""How many open handles threads are counted with; 500 of upstream's would be thousands."""


class Bench:
    """The operations, on one broker. Each generator prepares a row, yields it, and tidies up.

    Args:
        address: `host:port` of a broker.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.prefix = f"benchmark-{uuid.uuid4().hex[:8]}-"
        self.raw = Raw(address)
        self._numbers = itertools.count(1)
        # One history stays open, as in any server: with it stay the clients.
        self._open = self._ours(self._session())
        for _ in range(300):  # a broker that has just started is slow at first
            self._open.add_messages(conversation(1))
            self._open.last_messages(1)

    def close(self) -> None:
        """Close all clients and delete the topics."""
        self._open.close()
        self.raw.delete_all(self.prefix)
        self.raw.close()

    def _session(self) -> str:
        return f"{self.prefix}{next(self._numbers)}"

    def _ours(self, session: str) -> Ours:
        return Ours(session, self.address, reads="replay")

    def _upstream(self, session: str) -> Upstream:
        return Upstream(session, self.address)

    def _written(self, count: int) -> str:
        """A new session that holds a conversation."""
        session = self._session()
        with self._ours(session) as history:
            _write(history, count)
        return session

    def _written_by_upstream(self, count: int) -> Upstream:
        """The same by upstream, which scatters it over the partitions of its topic."""
        history = self._upstream(self._session())
        _write(history, count)
        return history

    def operations(self) -> Iterator[Operation]:
        """All rows; what slows the broker down for the others comes last."""
        for count, share in ((1, 1.0), (100, 0.6)):
            yield from self._add(count, share)
        yield from self._add_in_threads()
        for count, share in ((10, 1.0), (1000, 0.5), (10_000, 0.16)):
            yield from self._read(count, share)
        for count, share in ((10, 0.2), (1000, 0.1)):
            yield from self._read_in_a_row(count, share)
        yield from self._read_the_last()
        yield from self._read_nothing()
        for count, share in ((1, 0.5), (100, 0.3)):
            yield from self._add_asynchronously(count, share)
        yield from self._read_asynchronously()
        yield from self._clear()
        yield from self._turn()
        yield from self._open_history("open", "open an existing session")
        yield from self._open_and_add_to_new()
        yield from self._open_and_add_to_unseen()
        yield from self._open_and_add_to_seen()
        yield from self._read_in_a_crowd()

    # Adding.

    def _add(self, count: int, share: float) -> Iterator[Operation]:
        messages = conversation(count)
        topic = self._session()
        self.raw.prepare(topic)
        upstream = self._upstream(self._session())
        with self._ours(self._session()) as history:
            yield Operation(
                f"add_{count}",
                f"add {count}",
                timed(lambda: history.add_messages(messages)),
                timed(lambda: self.raw.add(topic, messages)),
                timed(lambda: upstream.add_messages(messages)),
                share,
                upstream_rounds=30,
            )

    def _add_in_threads(self) -> Iterator[Operation]:
        messages = conversation(1)

        def by_history(history: Ours | Upstream) -> Callable[[], None]:
            return lambda: history.add_messages(messages)

        def by_producer(producer: Producer, topic: str) -> Callable[[], None]:
            return lambda: self.raw.add(topic, messages, producer)

        topics = [self._session() for _ in range(THREADS)]
        self.raw.prepare(*topics)
        upstream = [self._upstream(self._session()) for _ in range(THREADS)]
        with ExitStack() as stack:
            ours = [stack.enter_context(self._ours(self._session())) for _ in range(THREADS)]
            yield Operation(
                "add_1_in_threads",
                f"add 1, {THREADS} threads at once",
                in_threads([by_history(history) for history in ours]),
                in_threads([by_producer(self.raw.new_producer(), topic) for topic in topics]),
                in_threads([by_history(history) for history in upstream]),
                0.2,
            )

    def _add_asynchronously(self, count: int, share: float) -> Iterator[Operation]:
        messages = conversation(count)
        topic = self._session()
        self.raw.prepare(topic)
        with self._ours(self._session()) as history, asyncio.Runner() as runner:
            yield Operation(
                f"async_add_{count}",
                f"`aadd_messages`, {count}",
                awaited(runner, lambda: history.aadd_messages(messages)),
                timed(lambda: self.raw.add(topic, messages)),
                share=share,
            )

    # Reading.

    def _read_raw(self, session: str, count: int, start: int = 0, times: int = 1) -> Turn:
        def turn(watch: Watch) -> None:
            with watch:
                for _ in range(times):
                    need(count, self.raw.read(session, count, start))
            self.raw.rest()

        return turn

    def _read(
        self, count: int, share: float, suffix: str = "", where: str = ""
    ) -> Iterator[Operation]:
        session = self._written(count)
        upstream = self._written_by_upstream(count)
        with self._ours(session) as history:
            yield Operation(
                f"read_{count}{suffix}",
                f"read {count:,}{where}",
                timed(lambda: need(count, history.messages)),
                self._read_raw(session, count),
                timed(lambda: need(count, upstream.messages_from_beginning(count, WAIT_SEC))),
                share,
                upstream_rounds=5,
            )

    def _read_in_a_row(self, count: int, share: float) -> Iterator[Operation]:
        session = self._written(count)
        upstream = self._written_by_upstream(count)

        def many(read: Callable[[], list[BaseMessage]]) -> Turn:
            def all_of_them() -> None:
                for _ in range(IN_A_ROW):
                    need(count, read())

            return timed(all_of_them)

        with self._ours(session) as history:
            yield Operation(
                f"read_{count}_in_a_row",
                f"read {count:,}, {IN_A_ROW} times without a pause; each",
                many(lambda: history.messages),
                self._read_raw(session, count, times=IN_A_ROW),
                many(lambda: upstream.messages_from_beginning(count, WAIT_SEC)),
                share,
                upstream_rounds=1,
                per=IN_A_ROW,
            )

    def _read_the_last(self) -> Iterator[Operation]:
        session = self._written(10_000)
        with self._ours(session) as history:
            yield Operation(
                "last_10",
                "last 10 of 10,000",
                timed(lambda: need(10, history.last_messages(10))),
                self._read_raw(session, 10, start=9990),
            )

    def _read_nothing(self) -> Iterator[Operation]:
        session = self._session()
        self.raw.prepare(session)
        upstream = self._upstream(session)
        with self._ours(session) as history:
            yield Operation(
                "read_empty",
                "read an empty history",
                timed(lambda: need(0, history.messages)),
                upstream=timed(lambda: need(0, upstream.messages)),
                upstream_rounds=1,
            )

    def _read_asynchronously(self) -> Iterator[Operation]:
        session = self._written(1000)
        with self._ours(session) as history, asyncio.Runner() as runner:

            async def read() -> None:
                need(1000, await history.aget_messages())

            yield Operation(
                "async_read_1000",
                "`aget_messages`, 1,000",
                awaited(runner, read),
                self._read_raw(session, 1000),
                share=0.3,
            )

    def _read_in_a_crowd(self) -> Iterator[Operation]:
        others = [self._session() for _ in range(OTHER_TOPICS)]
        self.raw.prepare(*others, partitions=1)
        where = f"beside {OTHER_TOPICS:,} other topics"
        yield from self._read(10, 1.0, "_in_a_crowd", f", {where}")
        yield from self._open_history("open_in_a_crowd", f"open an existing session, {where}")

    # Sessions.

    def _open_history(self, name: str, title: str) -> Iterator[Operation]:
        session = self._written(10)

        def ours(watch: Watch) -> None:
            with watch:
                history = self._ours(session)
            history.close()

        def upstream(watch: Watch) -> None:
            with watch:
                self._kept = self._upstream(session)  # ending its clients is not part of it
            del self._kept

        yield Operation(name, title, ours, None, upstream)

    def _open_and_add(
        self, title: str, name: str, sessions: Iterator[str], *, create: bool = False
    ) -> Operation:
        messages = conversation(1)

        def ours(watch: Watch) -> None:
            session = next(sessions)
            with watch:
                history = self._ours(session)
                history.add_messages(messages)
            history.close()

        def floor(watch: Watch) -> None:
            session = next(sessions)
            with watch:
                if create:
                    self.raw.create(session)
                self.raw.add(session, messages)

        def upstream(watch: Watch) -> None:
            session = next(sessions)
            with watch:
                self._kept = self._upstream(session)
                self._kept.add_messages(messages)
            del self._kept

        return Operation(name, title, ours, floor, upstream, 0.2)

    def _open_and_add_to_new(self) -> Iterator[Operation]:
        sessions = iter(self._session, "")
        yield self._open_and_add("open + add 1, new session", "open_new", sessions, create=True)

    def _open_and_add_to_unseen(self) -> Iterator[Operation]:
        elsewhere = self.raw.new_producer()  # as if another process had written them

        def sessions() -> Iterator[str]:
            while True:
                some = [self._session() for _ in range(30)]
                self.raw.prepare(*some)
                for session in some:
                    for _ in range(3):
                        self.raw.add(session, conversation(2), elsewhere)
                yield from some

        title = "open + add 1, existing session, first time in this process"
        yield self._open_and_add(title, "open_unseen", sessions())

    def _open_and_add_to_seen(self) -> Iterator[Operation]:
        session = self._written(1)
        title = "open + add 1, existing session, seen before"
        yield self._open_and_add(title, "open_seen", itertools.repeat(session))

    def _clear(self) -> Iterator[Operation]:
        messages = conversation(100)
        topic = self._session()
        self.raw.prepare(topic)

        def floor(watch: Watch) -> None:
            self.raw.add(topic, messages)
            with watch:
                self.raw.clear(topic)

        def upstream(watch: Watch) -> None:
            history = self._upstream(self._session())  # after a clear, it is of no use
            history.add_messages(messages)
            with watch:
                history.clear()

        with self._ours(self._session()) as history:

            def ours(watch: Watch) -> None:
                history.add_messages(messages)
                with watch:
                    history.clear()

            yield Operation("clear_100", "clear 100", ours, floor, upstream, 0.3)

    def _turn(self) -> Iterator[Operation]:
        told = conversation(20)
        said = conversation(2)

        def ours(watch: Watch) -> None:
            session = self._written(len(told))
            with watch:
                history = self._ours(session)
                need(len(told), history.messages)
                need(len(told), history.messages)
                history.add_messages(said)
            history.close()

        known, other = self._written(len(told)), self._written(len(told))

        def floor(watch: Watch) -> None:
            with watch:
                need(len(told), self.raw.read(known, len(told)))
                need(len(told), self.raw.read(known, len(told)))
                self.raw.add(other, said)
            self.raw.rest()

        def upstream(watch: Watch) -> None:
            session = self._written_by_upstream(len(told)).session_id
            with watch:
                self._kept = self._upstream(session)
                need(len(told), self._kept.messages_from_beginning(len(told), WAIT_SEC))
                need(len(told), self._kept.messages_from_beginning(len(told), WAIT_SEC))
                self._kept.add_messages(said)
            del self._kept

        title = f"chat turn: open, read {len(told)}, read {len(told)}, add {len(said)}"
        yield Operation("chat_turn", title, ours, floor, upstream, 0.3)

    # What is no row of times.

    def after_clear(self) -> dict[str, dict[str, float | str | bool]]:
        """What adding a message on the same instance comes to after a clear.

        Returns:
            For ours and upstream: how long `add_messages` took in milliseconds, what it raised
            (or nothing), and whether the message was stored.
        """
        found: dict[str, dict[str, float | str | bool]] = {}
        for name, history in (
            ("ours", self._ours(self._session())),
            ("upstream", self._upstream(self._session())),
        ):
            history.add_messages(conversation(2))
            history.clear()
            watch, raised = Watch(), ""
            with watch, hushed():
                try:
                    history.add_messages(conversation(1))
                except Exception as error:
                    raised = type(error).__name__
            with self._ours(history.session_id) as reader:
                stored = len(reader.messages) == 1
            found[name] = {"ms": watch.samples[0], "raised": raised, "stored": stored}
            history.close()
        return found

    def prepared(self, count: int) -> list[str]:
        """So many new sessions with topics of one partition, for :func:`count_threads`."""
        sessions = [self._session() for _ in range(count)]
        self.raw.prepare(*sessions, partitions=1)
        return sessions


def count_threads(kind: str, address: str, sessions: Sequence[str]) -> dict[str, int]:
    """Open a history of each session, write to it, read it; count the threads. In a new process.

    Args:
        kind: `ours` or `upstream`.
        address: `host:port` of a broker.
        sessions: Sessions whose topics exist.

    Returns:
        How many threads there are more than at first: `one` with one history, `open` with all,
        `closed` after all were closed, the histories still being referred to.
    """
    before = _tasks()
    handles: list[Ours | Upstream] = []
    found = {"handles": len(sessions)}
    for session in sessions:
        handle: Ours | Upstream
        if kind == "ours":
            handle = Ours(session, address, reads="replay")
        else:
            handle = Upstream(session, address)
        handle.add_messages(conversation(1))
        need(1, handle.messages_from_beginning(1, WAIT_SEC))
        handles.append(handle)
        if "one" not in found:
            found["one"] = _tasks() - before
    found["open"] = _tasks() - before
    for handle in handles:
        handle.close()
    # A thread that was told to end takes a moment.
    until = time.monotonic() + 1.0
    while _tasks() > before and time.monotonic() < until:
        time.sleep(0.01)
    found["closed"] = _tasks() - before
    return found


def can_count_threads() -> bool:
    """Whether this platform shows a process its threads, those of libraries included."""
    return _TASKS.is_dir()


_TASKS = Path("/proc/self/task")


def _tasks() -> int:
    return len(list(_TASKS.iterdir()))


@contextmanager
def hushed() -> Iterator[None]:
    """Without what upstream logs of a failure that is expected here."""
    logger = logging.getLogger("langchain_community.chat_message_histories.kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write(history: Ours | Upstream, count: int) -> None:
    """Write a conversation in ten batches: a broker is slow with the first two to a new topic."""
    for some in chunks(conversation(count), math.ceil(count / 10)):
        history.add_messages(some, flush_timeout_seconds=WAIT_SEC)
