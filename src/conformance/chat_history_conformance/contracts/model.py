"""Model: after any sequence of operations, a history agrees with a plain list."""

from __future__ import annotations

import time
from typing import NamedTuple

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.contracts.bounded import (
    BEGINNING,
    CONSUMED,
    DEFAULT_SECONDS,
    LAST,
    messages_of,
)
from chat_history_conformance.contracts.catalogue import HANDLES, contract
from chat_history_conformance.contracts.ordering import FAMILIAR, of_this_example
from chat_history_conformance.diagnosis.code import Ref
from chat_history_conformance.diagnosis.script_helpers import numbered_messages
from chat_history_conformance.execution.session import Handle, Session


class Move(NamedTuple):
    """One step: an operation, the place of its handle, and the size or the kind of what it does."""

    what: str
    place: int
    size: int


_TTL_MS = 3_600_000
"""A time to live that does not pass while the contract runs."""
_PLACES = (0, 1, 0, 1, 2, 3)
_MANY = 10
"""Batches with more messages are written as one short line."""
_SIZES: dict[str, tuple[int, ...]] = {
    "add": (1, 2, 1, 2, 3, 12, 45, 110),
    "same": (0, 2, 4, 6, 8, 10),
    "add_one": (1,),
    "read": (1, 2, 3),  # an operation without a size has as many as its weight
    "read_all": (1, 2, 3),
    LAST: (1, 2, 10, 100),
    BEGINNING: (64,),
    CONSUMED: (1, 3, 40),
    "rewrite": (1, 2, 3, 4, 5, 6),
    "clear": (1,),
    "refuse": (1, 60),
    "clock": (0, 5),
    "reopen": (1, 2),
}
"""The sizes of each operation; an operation with more of them is drawn more often."""

_READS_AFTER_REWRITE = {4: LAST, 5: CONSUMED, 6: CONSUMED}
"""The read that follows a rewrite of this size; `messages` follows the others."""

_MOVES = [
    Move(what, place, size) for what, sizes in _SIZES.items() for size in sizes for place in _PLACES
]
# One draw per move keeps stories varied, and each story can shrink to any subset of its moves.
_STORIES = st.lists(st.sampled_from([None, *_MOVES]), min_size=30, max_size=30).map(
    lambda moves: [move for move in moves if move is not None]
)


class _Play:
    """The handles of one story, and the positions of consuming reads as far as they are known."""

    def __init__(self, s: Session) -> None:
        self.s = s
        self.lacks = s.subject.backend.lacks
        self.shared = "shared" not in self.lacks
        self.offered = s.offered((LAST, BEGINNING, CONSUMED, "with_ttl"))
        self.handles: dict[int, Handle] = {}
        self.positions: dict[str, int | None] = {}
        self.number = 0

    def make(self, move: Move) -> None:
        handle = self.handles.get(move.place)
        if handle is None:
            handle = self.handles[move.place] = self._open(move.place)
        match move.what:
            case "read":
                self._read(handle)
            case "read_all":
                self._read_all()
            case "reopen":
                self._close(move.place, handle)
            case "clear":
                self._clear(handle)
            case "rewrite":  # as code that trims or summarises does: as many other messages
                size = len(handle.model.stored) or 1
                self._clear(handle)
                handle.add(self._new(handle, size))
                self._read_all(_READS_AFTER_REWRITE.get(move.size))
            case "refuse":
                self._refuse(handle, move.size)
            case _ if move.what in (LAST, BEGINNING, CONSUMED):
                if move.what in self.offered:
                    self._bounded(handle, move.what, move.size)
            case _:
                self._add(handle, move)

    def end(self) -> None:
        for handle in self.handles.values():
            handle.reads_back()

    def _open(self, place: int) -> Handle:
        # 0, 1 and 3 share a session if the history supports that.
        shared = f"{{nonce}}-{'1' if self.shared else f'1{place}'}"
        session = "{nonce}-2" if place == 2 else shared
        if place == 3 and "with_ttl" in self.offered:
            handle, _ = self.s.try_open(session, ttl=(_TTL_MS,))
            if handle is not None:
                return handle
        return self.s.open(session)

    def _close(self, place: int, handle: Handle) -> None:
        held = sum(other.session == handle.session for other in self.handles.values()) > 1
        # Only a durable history must keep a session after its last handle was closed.
        if self.shared and (held or "durable" not in self.lacks):
            handle.release()
            del self.handles[place]

    def _new(self, handle: Handle, size: int) -> list[BaseMessage] | Ref:
        first, self.number = self.number, self.number + size
        if size > _MANY and not handle.in_second_process:
            batch = self.s.variable("batch")
            return self.s.do(numbered_messages, first, self.number, as_=batch)
        return numbered_messages(first, self.number)

    def _add(self, handle: Handle, move: Move) -> None:
        if move.what == "same":
            pair = (FAMILIAR[move.size - 1], FAMILIAR[move.size])
            handle.add([of_this_example(self.s, message) for message in pair])
        elif move.what == "add_one":
            handle.add_one(HumanMessage(f"m{self.number}"))
            self.number += 1
        elif move.what == "clock" and not handle.in_second_process:
            with self.s.clock(handle, float(int(time.time())) - move.size):
                handle.add(self._new(handle, 1))
        else:
            handle.add(self._new(handle, move.size or 1))

    def _refuse(self, handle: Handle, size: int) -> None:
        bad = HumanMessage("bad", additional_kwargs={"value": b"\xff"})
        good: list[BaseMessage] = [HumanMessage(f"good{number}") for number in range(size)]
        # First in its batch: errors.refused_batch_stores_nothing judges what comes before it.
        if handle.try_add([bad, *good]) is None:
            self._clear(handle)  # the contracts on fidelity compare such values

    def _clear(self, handle: Handle) -> None:
        handle.clear()
        self.positions[handle.session] = 0

    def _read(self, handle: Handle) -> None:
        if "whole_reads" in self.lacks:
            self.positions[handle.session] = None  # it may move the position
        handle.reads_back()

    def _read_all(self, operation: str | None = None) -> None:
        for handle in self.handles.values():
            if operation in self.offered:
                self._bounded(handle, str(operation), 2)
            else:
                self._read(handle)

    def _bounded(self, handle: Handle, operation: str, count: int) -> None:
        kept = handle.model.stored
        if operation == LAST:
            handle.expect_part(handle.last(count), kept[-count:], f"the newest {count} messages")
            return
        start = 0
        if operation == CONSUMED:
            position = self.positions.setdefault(handle.session, 0)
            if position is None:
                return
            start = position
        else:
            self.positions[handle.session] = None  # the backend chooses where it moves it to
        got = handle.bounded(operation, count, DEFAULT_SECONDS)
        if handle.took >= DEFAULT_SECONDS:  # its time bound may have ended it
            self.positions[handle.session] = None
            return
        wanted = kept[start : start + count]
        what = f"the next {len(wanted)} of {messages_of(len(kept) - start)}"
        handle.expect_part(got, wanted, what, delivered=kept[:start], otherwise="lost")
        if operation == CONSUMED:
            self.positions[handle.session] = start + len(wanted)


@contract(
    "model.agrees_with_list",
    rule="After any sequence of adding, reading, clearing, closing and reopening, over several "
    "sessions and several handles of each, every read returns the content of a plain list that is "
    "kept for each session id. This holds for large and small batches, for messages that resemble "
    "each other, for whole, bounded and consuming reads, and after an add was refused.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory: stores a history of the "
    "message interactions in a chat",
    cause="State that handles share (a cache, a counter, a page, a cursor) is right after each "
    "single operation, but wrong after two or three of them.",
    remedy="Follow the steps. The operation just before the wrong read is seldom the cause.",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: a cache that is reloaded only "
    "when it is empty",
    modes=HANDLES,
    program=_STORIES,
    is_long=True,
)
def any_sequence_of_operations_agrees_with_a_list(s: Session, moves: list[Move]) -> None:
    play = _Play(s)
    for move in moves:
        play.make(move)
    play.end()
