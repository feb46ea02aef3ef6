"""The operations that benchmarks measure, in the order of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chat_history_conformance.bench.measure import trials
from chat_history_conformance.bench.measure.trials import Prepare
from chat_history_conformance.drivers.calls import How

__all__ = ["LENGTHS", "OPERATIONS", "Operation"]

LENGTHS = (10, 100, 1_000, 10_000)
"""The lengths of a conversation over which growth is measured."""

_LONGEST = LENGTHS[-1]
_VERY_LONG = 10 * _LONGEST
_USUAL = 100
_HANDLES = 8
_MANY_HANDLES = 200


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
    prepared: Prepare = field(repr=False)
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


def _all() -> Iterator[Operation]:
    yield Operation("open", "open", _USUAL, trials.open_history, LENGTHS)
    yield Operation("add_1", "add 1", _USUAL, trials.add(lambda payload: payload.answer), LENGTHS)
    hundred = trials.add(lambda payload: payload.conversation(100))
    yield Operation("add_100", "add 100", _USUAL, hundred, LENGTHS)
    # No floor: it knows that the session is empty, and need not ask the server.
    yield Operation("read_empty", "read an empty session", 0, trials.read, has_floor=False)
    yield from _reads()
    title = f"chat turn of {trials.TURN_LENGTH}"
    yield Operation("chat_turn", title, trials.TURN_LENGTH, trials.chat_turn, LENGTHS, 1.0)
    title = f"agent turn of {trials.TURN_LENGTH}"
    yield Operation("agent_turn", title, trials.TURN_LENGTH, trials.agent_turn, LENGTHS, 1.0)
    yield Operation("clear", f"clear {_USUAL}", _USUAL, trials.clear, LENGTHS[:-1], 1.0)
    for count in (_HANDLES, _MANY_HANDLES):
        is_many = count == _MANY_HANDLES
        yield Operation(
            f"add_1_by_{count}_handles",
            f"add 1, {count} handles at once",
            0,
            trials.add_concurrently(count),
            has_peers=not is_many,
            is_optional=is_many,
        )
    for name, title, prepared in (
        ("open", "open", trials.open_history),
        ("read_10", "read 10", trials.read),
    ):
        yield Operation(
            f"{name}_among_{trials.OTHER_SESSIONS}_sessions",
            f"{title}, {trials.OTHER_SESSIONS:,} other sessions",
            10,
            trials.among_others(prepared),
            has_peers=False,  # preparing all these sessions would take some of them minutes
            is_optional=True,
        )


def _reads() -> Iterator[Operation]:
    for length in LENGTHS:
        over = LENGTHS if length == _LONGEST else ()
        title = f"read {length:,}"
        yield Operation(f"read_{length}", title, length, trials.read, over, 1.0, is_read=True)
    title = f"read 10, {trials.IN_A_ROW} times in a row"
    yield Operation("read_10_in_a_row", title, 10, trials.read_in_a_row)
    for length in (_LONGEST, _VERY_LONG):
        is_long = length == _VERY_LONG
        yield Operation(
            f"last_{trials.FEW}_of_{length}",
            f"last {trials.FEW} of {length:,}",
            length,
            trials.last,
            (*LENGTHS, length) if is_long else LENGTHS,
            has_peers=not is_long,
            is_read=True,
            is_optional=is_long,
        )
    title = f"{trials.FEW} from the middle of {_LONGEST:,}"
    yield Operation(
        "bounded_middle", title, _LONGEST, trials.bounded_middle, LENGTHS[1:], is_read=True
    )
    yield Operation(
        f"stream_{_VERY_LONG}",
        f"stream {_VERY_LONG:,}",
        _VERY_LONG,
        trials.stream,
        (*LENGTHS, _VERY_LONG),
        1.0,
        has_peers=False,
        is_read=True,
        is_optional=True,
    )


OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _all()}
"""All operations by name, in the order of the table."""
