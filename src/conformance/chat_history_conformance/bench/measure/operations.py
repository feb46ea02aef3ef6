"""The operations that benchmarks measure, each with its preparation and its check."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.messages import BaseMessage

from chat_history_conformance.bench.measure.contenders import (
    CONCURRENT_HANDLES,
    Contender,
    Handle,
    WrongResult,
    conversation,
)
from chat_history_conformance.drivers.calls import How

__all__ = ["LENGTHS", "OPERATIONS", "Operation", "Trial", "collector_off"]

LENGTHS = (10, 100, 1_000, 10_000)
"""The lengths of a conversation over which growth is measured."""

_LONGEST = LENGTHS[-1]
_USUAL = 100
_CHAT_TURN_LENGTH = 20
_MIN_ADDED = 1_000
_IN_A_ROW = 20
_OTHER_SESSIONS = 1_000


class _GrowingSession:
    """An open session of about the same length: a new one replaces it before it grows too long.

    Args:
        contender: The owner of the session.
        length: The number of messages at the start.
        limit: The number of messages that may be added to one session.
    """

    def __init__(self, contender: Contender, length: int, limit: int) -> None:
        self._contender = contender
        self._start = length
        self._limit = limit

    def __enter__(self) -> Self:
        self.session = self._contender.filled_session(self._start)
        self.length = self._start
        self.handle = self._contender.open(self.session)
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def record_added(self, count: int) -> None:
        """Record that `count` messages were added."""
        self.length += count
        if self.length - self._start > self._limit:
            self.handle.close()
            self.__enter__()


def _nothing(*_: object) -> None:
    pass


@contextmanager
def collector_off() -> Iterator[None]:
    """Switch Python's automatic garbage collection off while times are taken, as `timeit` does.

    A full collection takes as long as thousands of small operations. Its time would be added to
    the operation that happens to run.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True)
class Trial:
    """An operation that is ready to be timed on one contender.

    Attributes:
        act: The timed function.
        prepare: Runs before each time.
        finish: Takes the result after each time. Raises `WrongResult` if it is wrong.
        latencies: The seconds of each single add, if `act` adds with several handles at once.
    """

    act: Callable[[], Any]
    prepare: Callable[[], object] = _nothing
    finish: Callable[[Any], object] = _nothing
    latencies: list[float] = field(default_factory=list)

    def make_ready(self) -> None:
        """Do the work before each time."""
        self.prepare()
        # The garbage of others. A full collection would leave the processor's caches cold, which
        # costs more than a small operation.
        gc.collect(1)

    def time(self) -> float:
        """Do the operation once and return its seconds."""
        self.make_ready()
        began = time.perf_counter()
        result = self.act()
        took = time.perf_counter() - began
        self.finish(result)
        return took


Prepared = AbstractContextManager[Trial]


@dataclass(frozen=True)
class Operation:
    """An operation: one row of the table.

    Attributes:
        name: The name in ids, such as `read_1000`.
        title: The name in tables, such as `read 1,000`.
        size: The length of the conversation.
        prepared: Prepares a trial, for a contender and a length of the conversation.
        grows_over: The lengths over which growth is measured. Empty if it is not.
        allowed: The allowed growth with the length as an exponent: 0 for none, 1 for linear.
        has_floor: Whether the floor is measured too.
        has_peers: Whether the peers are measured too.
        is_optional: Whether it is measured only if the command line names it.
    """

    name: str
    title: str
    size: int
    prepared: Callable[[Contender, int], Prepared] = field(repr=False)
    grows_over: tuple[int, ...] = ()
    allowed: float = 0.0
    has_floor: bool = True
    has_peers: bool = True
    is_optional: bool = False

    def label(self, mode: How) -> str:
        """Return the name with a mode, such as `read_1000[sync]`."""
        return f"{self.name}[{mode}]"


@contextmanager
def _open(contender: Contender, length: int) -> Iterator[Trial]:
    session = contender.shared_session(length)
    yield Trial(lambda: contender.open(session), finish=lambda handle: handle.close())


def _add(count: int) -> Callable[[Contender, int], Prepared]:
    @contextmanager
    def prepared(contender: Contender, length: int) -> Iterator[Trial]:
        messages = list(conversation(count))
        with _GrowingSession(contender, length, max(length, _MIN_ADDED)) as growing:
            yield Trial(
                lambda: growing.handle.add(messages),
                finish=lambda _: growing.record_added(count),
            )

    return prepared


@contextmanager
def _read(contender: Contender, length: int) -> Iterator[Trial]:
    with contender.opened(contender.shared_session(length)) as handle:
        yield Trial(handle.read, finish=_expect(length))


@contextmanager
def _read_in_a_row(contender: Contender, length: int) -> Iterator[Trial]:
    """Read again and again without a pause. A client may fetch ahead, or pay for idle time."""
    with contender.opened(contender.shared_session(length)) as handle:

        def finish(counts: list[int]) -> None:
            for count in counts:
                _check(length, count)

        def act() -> list[int]:
            return [len(handle.read()) for _ in range(_IN_A_ROW)]

        yield Trial(act, finish=finish)


def _last(count: int) -> Callable[[Contender, int], Prepared]:
    @contextmanager
    def prepared(contender: Contender, length: int) -> Iterator[Trial]:
        with contender.opened(contender.shared_session(length)) as handle:
            yield Trial(handle.last(count), finish=_expect(min(count, length)))

    return prepared


@contextmanager
def _chat_turn(contender: Contender, length: int) -> Iterator[Trial]:
    """Open a history for each turn of the conversation, as an application does, and close it."""
    answer = list(conversation(2))
    with _GrowingSession(contender, length, max(length // 2, _CHAT_TURN_LENGTH)) as growing:

        def act() -> tuple[Handle, int, int]:
            handle = contender.open(growing.session)
            first, second = len(handle.read()), len(handle.read())
            handle.add(answer)
            return handle, first, second

        def finish(result: tuple[Handle, int, int]) -> None:
            handle, *reads = result
            handle.close()
            for count in reads:
                _check(growing.length, count)
            growing.record_added(len(answer))

        yield Trial(act, finish=finish)


@contextmanager
def _clear(contender: Contender, length: int) -> Iterator[Trial]:
    messages = conversation(length)
    with contender.opened(contender.new_session()) as handle:
        yield Trial(
            handle.clear, lambda: handle.fill(messages), lambda _: _expect(0)(handle.read())
        )


@contextmanager
def _add_concurrently(contender: Contender, length: int) -> Iterator[Trial]:
    message = list(conversation(1))
    with ExitStack() as stack:
        sessions = [contender.filled_session(length) for _ in range(CONCURRENT_HANDLES)]
        handles = [stack.enter_context(contender.opened(session)) for session in sessions]
        latencies: list[float] = []
        yield Trial(
            lambda: contender.add_concurrently(handles, message),
            finish=latencies.extend,
            latencies=latencies,
        )


def _among_others(
    prepared: Callable[[Contender, int], Prepared],
) -> Callable[[Contender, int], Prepared]:
    """Return the preparation of the same operation while many other sessions exist."""

    @contextmanager
    def prepared_among_others(contender: Contender, length: int) -> Iterator[Trial]:
        contender.add_other_sessions(_OTHER_SESSIONS)
        with prepared(contender, length) as trial:
            yield trial

    return prepared_among_others


def _expect(count: int) -> Callable[[Sequence[BaseMessage]], None]:
    return lambda messages: _check(count, len(messages))


def _check(expected: int, returned: int) -> None:
    if returned != expected:
        raise WrongResult(f"a read returned {returned} messages instead of {expected}")


def _all() -> Iterator[Operation]:
    yield Operation("open", "open", _USUAL, _open, LENGTHS)
    yield Operation("add_1", "add 1", _USUAL, _add(1), LENGTHS)
    yield Operation("add_100", "add 100", _USUAL, _add(100), LENGTHS)
    # No floor: it knows that the session is empty, and need not ask the server.
    yield Operation("read_empty", "read an empty session", 0, _read, has_floor=False)
    for length in LENGTHS:
        over = LENGTHS if length == _LONGEST else ()
        yield Operation(f"read_{length}", f"read {length:,}", length, _read, over, 1.0)
    title = f"read 10, {_IN_A_ROW} times in a row"
    yield Operation("read_10_in_a_row", title, 10, _read_in_a_row)
    yield Operation(
        f"last_10_of_{_LONGEST}", f"last 10 of {_LONGEST:,}", _LONGEST, _last(10), LENGTHS
    )
    title = f"chat turn of {_CHAT_TURN_LENGTH}"
    yield Operation("chat_turn", title, _CHAT_TURN_LENGTH, _chat_turn, LENGTHS, 1.0)
    yield Operation("clear", f"clear {_USUAL}", _USUAL, _clear, LENGTHS[:-1], 1.0)
    count = CONCURRENT_HANDLES
    title = f"add 1, {count} handles at once"
    yield Operation(f"add_1_by_{count}_handles", title, 0, _add_concurrently)
    for name, title, prepared in (("open", "open", _open), ("read_10", "read 10", _read)):
        yield Operation(
            f"{name}_among_{_OTHER_SESSIONS}_sessions",
            f"{title}, {_OTHER_SESSIONS:,} other sessions",
            10,
            _among_others(prepared),
            has_peers=False,  # preparing all these sessions would take some of them minutes
            is_optional=True,
        )


OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _all()}
"""All operations by name, in the order of the table."""
