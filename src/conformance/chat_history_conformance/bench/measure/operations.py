"""The operations that benchmarks measure, each with its preparation and its check."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.messages import AIMessage, BaseMessage

from chat_history_conformance.bench.measure.contenders import Contender, Handle, WrongResult
from chat_history_conformance.bench.measure.payload import Payload
from chat_history_conformance.drivers.calls import How

__all__ = ["LENGTHS", "OPERATIONS", "Operation", "Trial", "collector_off"]

LENGTHS = (10, 100, 1_000, 10_000)
"""The lengths of a conversation over which growth is measured."""

_LONGEST = LENGTHS[-1]
_VERY_LONG = 10 * _LONGEST
_USUAL = 100
_TURN_LENGTH = 20
_FEW = 10
_WAIT_SECONDS = 60.0
_MIN_ADDED = 1_000
_IN_A_ROW = 20
_OTHER_SESSIONS = 1_000
_HANDLES = 8
_MANY_HANDLES = 200


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
        is_read: Whether it only reads, so that its memory is measured.
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
    is_read: bool = False
    is_optional: bool = False

    def label(self, mode: How) -> str:
        """Return the name with a mode, such as `read_1000[sync]`."""
        return f"{self.name}[{mode}]"

    @property
    def memory_over(self) -> tuple[int, ...]:
        """The lengths of the conversation at which its memory is measured."""
        return (self.grows_over or (self.size,)) if self.is_read else ()


@contextmanager
def _open(contender: Contender, length: int) -> Iterator[Trial]:
    session = contender.shared_session(length)
    yield Trial(lambda: contender.open(session), finish=lambda handle: handle.close())


def _add(chosen: Callable[[Payload], list[BaseMessage]]) -> Callable[[Contender, int], Prepared]:
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
def _read(contender: Contender, length: int) -> Iterator[Trial]:
    with contender.opened(contender.shared_session(length)) as handle:
        expected = contender.payload.conversation(length)
        yield Trial(handle.read, finish=lambda found: _check(contender, expected, found))


@contextmanager
def _read_in_a_row(contender: Contender, length: int) -> Iterator[Trial]:
    """Read again and again without a pause. A client may fetch ahead, or pay for idle time."""
    with contender.opened(contender.shared_session(length)) as handle:
        expected = contender.payload.conversation(length)

        def finish(reads: list[list[BaseMessage]]) -> None:
            for found in reads:
                _check(contender, expected, found)

        yield Trial(lambda: [handle.read() for _ in range(_IN_A_ROW)], finish=finish)


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
def _last(contender: Contender, length: int) -> Iterator[Trial]:
    def reading(handle: Handle) -> Callable[[], list[BaseMessage]]:
        return handle.bounded("last_messages", _FEW)

    session = _supporting(contender, length, reading)
    expected = contender.payload.conversation(length)[-_FEW:]
    with contender.opened(session) as handle:
        yield Trial(reading(handle), finish=lambda found: _check(contender, expected, found))


@contextmanager
def _bounded_middle(contender: Contender, length: int) -> Iterator[Trial]:
    """Read on from the middle. The position is set back before it comes to the end."""

    def reading(handle: Handle) -> Callable[[], list[BaseMessage]]:
        return handle.bounded("messages_from_last_consumed", _FEW, _WAIT_SECONDS)

    session, positions = _supporting(contender, length, reading, "consuming"), contender.positions
    stored, middle = contender.payload.conversation(length), length // 2
    positions.pop(session, None)  # so that each trial reads the same messages
    with contender.opened(session) as handle:
        go_to_middle = handle.bounded("messages_from_beginning", middle, _WAIT_SECONDS)

        def prepare() -> None:
            if positions.get(session, length) + _FEW > length:
                _check(contender, stored[:middle], go_to_middle())
                positions[session] = middle

        def finish(found: list[BaseMessage]) -> None:
            begin = positions[session]
            positions[session] = begin + _FEW
            _check(contender, stored[begin : begin + _FEW], found)

        yield Trial(reading(handle), prepare, finish)


@contextmanager
def _stream(contender: Contender, length: int) -> Iterator[Trial]:
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
def _chat_turn(contender: Contender, length: int) -> Iterator[Trial]:
    """Open a history for each turn of the conversation, as an application does, and close it."""
    turn = contender.payload.turn
    with _GrowingSession(contender, length, max(length // 2, _TURN_LENGTH)) as growing:

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
def _agent_turn(contender: Contender, length: int) -> Iterator[Trial]:
    """Read the conversation, and add the messages of an agent as they come up."""
    turn = contender.payload.agent_turn
    calls, results, answer = turn[:1], turn[1:-1], turn[-1:]
    with _GrowingSession(contender, length, max(length // 2, _TURN_LENGTH)) as growing:

        def act() -> list[BaseMessage]:
            found = list(growing.handle.read())  # copied as in `_chat_turn`
            growing.handle.add(calls)
            growing.handle.add(results)
            growing.handle.add(answer)
            return found

        def finish(found: list[BaseMessage]) -> None:
            _check(contender, growing.stored, found)
            growing.record_added(turn)

        yield Trial(act, finish=finish)


@contextmanager
def _clear(contender: Contender, length: int) -> Iterator[Trial]:
    messages = contender.payload.conversation(length)
    with contender.opened(contender.new_session()) as handle:
        yield Trial(
            handle.clear,
            lambda: handle.fill(messages),
            lambda _: _check(contender, [], handle.read()),
        )


def _add_concurrently(count: int) -> Callable[[Contender, int], Prepared]:
    @contextmanager
    def prepared(contender: Contender, length: int) -> Iterator[Trial]:
        message = contender.payload.answer
        with ExitStack() as stack:
            sessions = [contender.filled_session(length) for _ in range(count)]
            handles = [stack.enter_context(contender.opened(session)) for session in sessions]
            latencies: list[float] = []
            yield Trial(
                lambda: contender.add_concurrently(handles, message),
                finish=latencies.extend,
                latencies=latencies,
            )

    return prepared


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


def _all() -> Iterator[Operation]:
    yield Operation("open", "open", _USUAL, _open, LENGTHS)
    yield Operation("add_1", "add 1", _USUAL, _add(lambda payload: payload.answer), LENGTHS)
    hundred = _add(lambda payload: payload.conversation(100))
    yield Operation("add_100", "add 100", _USUAL, hundred, LENGTHS)
    # No floor: it knows that the session is empty, and need not ask the server.
    yield Operation("read_empty", "read an empty session", 0, _read, has_floor=False)
    yield from _reads()
    title = f"chat turn of {_TURN_LENGTH}"
    yield Operation("chat_turn", title, _TURN_LENGTH, _chat_turn, LENGTHS, 1.0)
    title = f"agent turn of {_TURN_LENGTH}"
    yield Operation("agent_turn", title, _TURN_LENGTH, _agent_turn, LENGTHS, 1.0)
    yield Operation("clear", f"clear {_USUAL}", _USUAL, _clear, LENGTHS[:-1], 1.0)
    for count in (_HANDLES, _MANY_HANDLES):
        is_many = count == _MANY_HANDLES
        yield Operation(
            f"add_1_by_{count}_handles",
            f"add 1, {count} handles at once",
            0,
            _add_concurrently(count),
            has_peers=not is_many,
            is_optional=is_many,
        )
    for name, title, prepared in (("open", "open", _open), ("read_10", "read 10", _read)):
        yield Operation(
            f"{name}_among_{_OTHER_SESSIONS}_sessions",
            f"{title}, {_OTHER_SESSIONS:,} other sessions",
            10,
            _among_others(prepared),
            has_peers=False,  # preparing all these sessions would take some of them minutes
            is_optional=True,
        )


def _reads() -> Iterator[Operation]:
    for length in LENGTHS:
        over = LENGTHS if length == _LONGEST else ()
        title = f"read {length:,}"
        yield Operation(f"read_{length}", title, length, _read, over, 1.0, is_read=True)
    title = f"read 10, {_IN_A_ROW} times in a row"
    yield Operation("read_10_in_a_row", title, 10, _read_in_a_row)
    for length in (_LONGEST, _VERY_LONG):
        is_long = length == _VERY_LONG
        yield Operation(
            f"last_{_FEW}_of_{length}",
            f"last {_FEW} of {length:,}",
            length,
            _last,
            (*LENGTHS, length) if is_long else LENGTHS,
            has_peers=not is_long,
            is_read=True,
            is_optional=is_long,
        )
    title = f"{_FEW} from the middle of {_LONGEST:,}"
    yield Operation("bounded_middle", title, _LONGEST, _bounded_middle, LENGTHS[1:], is_read=True)
    yield Operation(
        f"stream_{_VERY_LONG}",
        f"stream {_VERY_LONG:,}",
        _VERY_LONG,
        _stream,
        (*LENGTHS, _VERY_LONG),
        1.0,
        has_peers=False,
        is_read=True,
        is_optional=True,
    )


OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _all()}
"""All operations by name, in the order of the table."""
