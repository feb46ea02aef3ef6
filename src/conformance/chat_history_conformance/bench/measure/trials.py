"""The trials of benchmarks: each operation with its preparation and its check, on one contender."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.messages import AIMessage, BaseMessage

from chat_history_conformance.bench.measure.contenders import Contender, Handle, WrongResult
from chat_history_conformance.bench.measure.payload import Payload

__all__ = [
    "FEW",
    "IN_A_ROW",
    "OTHER_SESSIONS",
    "TURN_LENGTH",
    "Prepare",
    "Prepared",
    "Trial",
    "add",
    "add_concurrently",
    "agent_turn",
    "among_others",
    "bounded_middle",
    "chat_turn",
    "clear",
    "collector_off",
    "last",
    "open_history",
    "read",
    "read_in_a_row",
    "stream",
]

FEW = 10
"""The number of messages of a bounded read."""

IN_A_ROW = 20
"""The number of reads without a pause."""

OTHER_SESSIONS = 1_000
"""The number of other sessions of `among_others`."""

TURN_LENGTH = 20
"""The length of the conversation of a turn."""

_WAIT_SECONDS = 60.0
_MIN_ADDED = 1_000


class _GrowingSession:
    """An open session of about the same length: a new one replaces it before it grows too long.

    Args:
        contender: The owner of the session.
        length: The number of messages at the start.
        limit: The number of messages that may be added to one session.

    Attributes:
        session: The id of the session.
        stored: The messages of the session.
        handle: A history that is open on it.
    """

    def __init__(self, contender: Contender, length: int, limit: int) -> None:
        self._contender = contender
        self._start = length
        self._limit = limit

    def __enter__(self) -> Self:
        self.session = self._contender.filled_session(self._start)
        self.stored = self._contender.payload.conversation(self._start)
        self.handle = self._contender.open(self.session)
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def record_added(self, messages: Sequence[BaseMessage]) -> None:
        """Record that these messages were added."""
        self.stored += messages
        if len(self.stored) - self._start > self._limit:
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
"""A context in which a trial is ready."""

Prepare = Callable[[Contender, int], Prepared]
"""Prepares a trial, for a contender and a length of the conversation."""


@contextmanager
def open_history(contender: Contender, length: int) -> Iterator[Trial]:
    session = contender.shared_session(length)
    yield Trial(lambda: contender.open(session), finish=lambda handle: handle.close())


def add(chosen: Callable[[Payload], list[BaseMessage]]) -> Prepare:
    @contextmanager
    def prepared(contender: Contender, length: int) -> Iterator[Trial]:
        messages = chosen(contender.payload)
        with _GrowingSession(contender, length, max(length, _MIN_ADDED)) as growing:
            yield Trial(
                lambda: growing.handle.add(messages),
                finish=lambda _: growing.record_added(messages),
            )

    return prepared


@contextmanager
def read(contender: Contender, length: int) -> Iterator[Trial]:
    with contender.opened(contender.shared_session(length)) as handle:
        expected = contender.payload.conversation(length)
        yield Trial(handle.read, finish=lambda found: _check(contender, expected, found))


@contextmanager
def read_in_a_row(contender: Contender, length: int) -> Iterator[Trial]:
    """Read again and again without a pause. A client may fetch ahead, or pay for idle time."""
    with contender.opened(contender.shared_session(length)) as handle:
        expected = contender.payload.conversation(length)

        def finish(reads: list[list[BaseMessage]]) -> None:
            for found in reads:
                _check(contender, expected, found)

        yield Trial(lambda: [handle.read() for _ in range(IN_A_ROW)], finish=finish)


def _supporting(
    contender: Contender, length: int, needed: Callable[[Handle], object], use: str = ""
) -> str:
    """Return a shared session.

    Raises:
        NotSupported: `needed` raises it. No long conversation is stored then.
    """
    with contender.opened(contender.shared_session(0)) as handle:
        needed(handle)
    return contender.shared_session(length, use)


@contextmanager
def last(contender: Contender, length: int) -> Iterator[Trial]:
    def reading(handle: Handle) -> Callable[[], list[BaseMessage]]:
        return handle.bounded("last_messages", FEW)

    session = _supporting(contender, length, reading)
    expected = contender.payload.conversation(length)[-FEW:]
    with contender.opened(session) as handle:
        yield Trial(reading(handle), finish=lambda found: _check(contender, expected, found))


@contextmanager
def bounded_middle(contender: Contender, length: int) -> Iterator[Trial]:
    """Read on from the middle. The position is set back before it comes to the end."""

    def reading(handle: Handle) -> Callable[[], list[BaseMessage]]:
        return handle.bounded("messages_from_last_consumed", FEW, _WAIT_SECONDS)

    session, positions = _supporting(contender, length, reading, "consuming"), contender.positions
    stored, middle = contender.payload.conversation(length), length // 2
    positions.pop(session, None)  # so that each trial reads the same messages
    with contender.opened(session) as handle:
        go_to_middle = handle.bounded("messages_from_beginning", middle, _WAIT_SECONDS)

        def prepare() -> None:
            if positions.get(session, length) + FEW > length:
                _check(contender, stored[:middle], go_to_middle())
                positions[session] = middle

        def finish(found: list[BaseMessage]) -> None:
            begin = positions[session]
            positions[session] = begin + FEW
            _check(contender, stored[begin : begin + FEW], found)

        yield Trial(reading(handle), prepare, finish)


@contextmanager
def stream(contender: Contender, length: int) -> Iterator[Trial]:
    """Look at each message and let it go, as a program does that copies a conversation."""
    session = _supporting(contender, length, lambda handle: handle.stream())
    expected = contender.payload.conversation(length)
    with contender.opened(session) as handle:
        stream = handle.stream()

        def act() -> int:
            seen = 0

            def visit(message: BaseMessage) -> None:
                nonlocal seen
                if seen < length:
                    _check_one(seen, expected[seen], message)
                seen += 1

            stream(visit)
            return seen

        yield Trial(act, finish=lambda seen: _check_count(length, seen))


@contextmanager
def chat_turn(contender: Contender, length: int) -> Iterator[Trial]:
    """Open a history for each turn of the conversation, as an application does, and close it."""
    turn = contender.payload.turn
    with _GrowingSession(contender, length, max(length // 2, TURN_LENGTH)) as growing:

        def act() -> tuple[Handle, list[BaseMessage], list[BaseMessage]]:
            handle = contender.open(growing.session)
            # Copied, because a peer may return its own list, to which it adds.
            first, second = list(handle.read()), list(handle.read())
            handle.add(turn)
            return handle, first, second

        def finish(result: tuple[Handle, list[BaseMessage], list[BaseMessage]]) -> None:
            handle, *reads = result
            handle.close()
            for found in reads:
                _check(contender, growing.stored, found)
            growing.record_added(turn)

        yield Trial(act, finish=finish)


@contextmanager
def agent_turn(contender: Contender, length: int) -> Iterator[Trial]:
    """Read the conversation, and add the messages of an agent as they come up."""
    turn = contender.payload.agent_turn
    calls, results, answer = turn[:1], turn[1:-1], turn[-1:]
    with _GrowingSession(contender, length, max(length // 2, TURN_LENGTH)) as growing:

        def act() -> list[BaseMessage]:
            found = list(growing.handle.read())  # copied as in `chat_turn`
            growing.handle.add(calls)
            growing.handle.add(results)
            growing.handle.add(answer)
            return found

        def finish(found: list[BaseMessage]) -> None:
            _check(contender, growing.stored, found)
            growing.record_added(turn)

        yield Trial(act, finish=finish)


@contextmanager
def clear(contender: Contender, length: int) -> Iterator[Trial]:
    messages = contender.payload.conversation(length)
    with contender.opened(contender.new_session()) as handle:
        yield Trial(
            handle.clear,
            lambda: handle.fill(messages),
            lambda _: _check(contender, [], handle.read()),
        )


def add_concurrently(count: int) -> Prepare:
    @contextmanager
    def prepared(contender: Contender, length: int) -> Iterator[Trial]:
        message = contender.payload.answer
        with ExitStack() as stack:
            sessions = [contender.filled_session(length) for _ in range(count)]
            handles = [stack.enter_context(contender.opened(session)) for session in sessions]
            for handle in handles:
                handle.add(message)  # the first message may create the session
            latencies: list[float] = []
            yield Trial(
                lambda: contender.add_concurrently(handles, message),
                finish=latencies.extend,
                latencies=latencies,
            )

    return prepared


def among_others(
    prepared: Prepare,
) -> Prepare:
    """Return the preparation of the same operation while many other sessions exist."""

    @contextmanager
    def prepared_among_others(contender: Contender, length: int) -> Iterator[Trial]:
        contender.add_other_sessions(OTHER_SESSIONS)
        with prepared(contender, length) as trial:
            yield trial

    return prepared_among_others


def _check(
    contender: Contender, expected: Sequence[BaseMessage], found: Sequence[BaseMessage]
) -> None:
    """Raise `WrongResult` if a read did not return these messages."""
    _check_count(len(expected), len(found))
    if contender.strict:  # a peer may reorder and change messages: that is what its users get
        for number, both in enumerate(zip(expected, found, strict=True)):
            _check_one(number, *both)


def _check_count(expected: int, found: int) -> None:
    if found != expected:
        raise WrongResult(f"a read returned {found} messages instead of {expected}")


def _check_one(number: int, expected: BaseMessage, found: BaseMessage) -> None:
    """Compare the parts that make up most of a message. Contracts compare all of it."""
    same = expected.type == found.type and expected.content == found.content
    if not same or (
        isinstance(expected, AIMessage) and expected.tool_calls != getattr(found, "tool_calls", [])
    ):
        raise WrongResult(f"a read returned another message as number {number + 1}")
