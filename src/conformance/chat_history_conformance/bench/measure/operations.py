"""What is measured: the operations of a chat history, each as something to prepare and to do."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.messages import BaseMessage

from chat_history_conformance.bench.measure.contenders import (
    HANDLES,
    Contender,
    Hand,
    Wrong,
    conversation,
)
from chat_history_conformance.drivers.calls import How

LENGTHS = (10, 100, 1_000, 10_000)
"""The lengths of a conversation at which growth is measured."""

_LONGEST = LENGTHS[-1]
_USUAL = 100
_TOLD_IN_A_TALK = 20
_LEAST_ADDED = 1_000


class _Growing:
    """An open session of about so many messages: it is left for a new one before it is too long.

    Args:
        contender: Whose session it is.
        begin: How many messages it holds at first.
        most: How many may be added to one session.
    """

    def __init__(self, contender: Contender, begin: int, most: int) -> None:
        self._contender = contender
        self._begin = begin
        self._most = most

    def __enter__(self) -> Self:
        self.session = self._contender.filled(self._begin)
        self.length = self._begin
        self.hand = self._contender.open(self.session)
        return self

    def __exit__(self, *_: object) -> None:
        self.hand.close()

    def grown_by(self, count: int) -> None:
        """Note what was added."""
        self.length += count
        if self.length - self._begin > self._most:
            self.hand.close()
            self.__enter__()


def _nothing(*_: object) -> None:
    pass


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python from collecting garbage by itself while times are taken, as `timeit` does.

    A full collection takes as long as thousands of small operations, and would fall to whoever
    happens to allocate next.
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
    """An operation on one contender, made ready: what is timed, and what is done around it.

    Attributes:
        act: What is timed.
        prepare: What is done before each time.
        finish: What is done with its result afterwards; raises Wrong where that is not right.
    """

    act: Callable[[], Any]
    prepare: Callable[[], object] = _nothing
    finish: Callable[[Any], object] = _nothing

    def ready(self) -> None:
        """Do what is done before each time."""
        self.prepare()
        # What others have left. A full collection would leave the processor's caches cold, which
        # costs more than a small operation.
        gc.collect(1)

    def timed(self) -> float:
        """Do it once, and return the seconds that it took."""
        self.ready()
        began = time.perf_counter()
        result = self.act()
        took = time.perf_counter() - began
        self.finish(result)
        return took


Arranged = AbstractContextManager[Trial]


@dataclass(frozen=True)
class Operation:
    """One line of the table.

    Attributes:
        name: As in ids, `read_1000`.
        title: As in tables, `read 1,000`.
        size: How many messages the conversation has before it.
        arrange: Makes it ready for a contender and a length of the conversation.
        grows_over: The lengths over which its growth is measured; none where it is not.
        allowed: How it may grow with the length, as an exponent: 0 not at all, 1 in proportion.
    """

    name: str
    title: str
    size: int
    arrange: Callable[[Contender, int], Arranged] = field(repr=False)
    grows_over: tuple[int, ...] = ()
    allowed: float = 0.0

    def label(self, mode: How) -> str:
        """The name with its mode, as in ids: `read_1000[sync]`."""
        return f"{self.name}[{mode}]"


@contextmanager
def _open(contender: Contender, length: int) -> Iterator[Trial]:
    session = contender.holding(length)
    yield Trial(lambda: contender.open(session), finish=lambda hand: hand.close())


def _add(count: int) -> Callable[[Contender, int], Arranged]:
    @contextmanager
    def arrange(contender: Contender, length: int) -> Iterator[Trial]:
        messages = list(conversation(count))
        with _Growing(contender, length, max(length, _LEAST_ADDED)) as growing:
            yield Trial(
                lambda: growing.hand.add(messages), finish=lambda _: growing.grown_by(count)
            )

    return arrange


@contextmanager
def _read(contender: Contender, length: int) -> Iterator[Trial]:
    with contender.opened(contender.holding(length)) as hand:
        yield Trial(hand.read, finish=_need(length))


def _last(count: int) -> Callable[[Contender, int], Arranged]:
    @contextmanager
    def arrange(contender: Contender, length: int) -> Iterator[Trial]:
        with contender.opened(contender.holding(length)) as hand:
            yield Trial(hand.last(count), finish=_need(min(count, length)))

    return arrange


@contextmanager
def _turn(contender: Contender, length: int) -> Iterator[Trial]:
    """As in an application: a history is opened for each turn of the talk, and let go after it."""
    said = list(conversation(2))
    with _Growing(contender, length, max(length // 2, _TOLD_IN_A_TALK)) as growing:

        def act() -> tuple[Hand, int, int]:
            hand = contender.open(growing.session)
            first, second = len(hand.read()), len(hand.read())
            hand.add(said)
            return hand, first, second

        def finish(result: tuple[Hand, int, int]) -> None:
            hand, *reads = result
            hand.close()
            for count in reads:
                _check(growing.length, count)
            growing.grown_by(len(said))

        yield Trial(act, finish=finish)


@contextmanager
def _clear(contender: Contender, length: int) -> Iterator[Trial]:
    messages = conversation(length)
    with contender.opened(contender.session()) as hand:
        yield Trial(hand.clear, lambda: hand.fill(messages), lambda _: _need(0)(hand.read()))


@contextmanager
def _at_once(contender: Contender, length: int) -> Iterator[Trial]:
    message = list(conversation(1))
    with ExitStack() as stack:
        sessions = [contender.filled(length) for _ in range(HANDLES)]
        hands = [stack.enter_context(contender.opened(session)) for session in sessions]
        yield Trial(lambda: contender.at_once(hands, message))


def _need(count: int) -> Callable[[Sequence[BaseMessage]], None]:
    return lambda messages: _check(count, len(messages))


def _check(wanted: int, found: int) -> None:
    if found != wanted:
        raise Wrong(f"a read gave {found} messages where there are {wanted}")


def _all() -> Iterator[Operation]:
    yield Operation("open", "open", _USUAL, _open, LENGTHS)
    yield Operation("add_1", "add 1", _USUAL, _add(1), LENGTHS)
    yield Operation("add_100", "add 100", _USUAL, _add(100), LENGTHS)
    for length in LENGTHS:
        over = LENGTHS if length == _LONGEST else ()
        yield Operation(f"read_{length}", f"read {length:,}", length, _read, over, 1.0)
    yield Operation(
        f"last_10_of_{_LONGEST}", f"last 10 of {_LONGEST:,}", _LONGEST, _last(10), LENGTHS
    )
    yield Operation(
        "chat_turn", f"chat turn of {_TOLD_IN_A_TALK}", _TOLD_IN_A_TALK, _turn, LENGTHS, 1.0
    )
    yield Operation("clear", f"clear {_USUAL}", _USUAL, _clear, LENGTHS[:-1], 1.0)
    name = f"add_1_by_{HANDLES}_handles"
    yield Operation(name, f"add 1, {HANDLES} handles at once", 0, _at_once)


OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _all()}
"""All operations by name, in the order of the table."""
