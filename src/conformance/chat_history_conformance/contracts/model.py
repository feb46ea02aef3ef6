"""Model: after any sequence of operations, a history agrees with a plain list."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.catalogue import HANDLES, contract
from chat_history_conformance.execution.session import Handle, Session


class Move(NamedTuple):
    """One step: an operation, the place of its handle, and the number of messages."""

    what: str
    place: int
    size: int


_KINDS = ["add", "read", "read_all", "rewrite", "clear", "add_one", "reopen"]
_KINDS += ["add", "add", "read", "read_all", "rewrite"]  # draw these more often
_MOVES = [
    Move(what, place, size) for size in (1, 2) for what in _KINDS for place in (0, 1, 0, 1, 2)
]
# One draw per move keeps stories varied, and each story can shrink to any subset of its moves.
_STORIES = st.lists(st.sampled_from([None, *_MOVES]), min_size=30, max_size=30).map(
    lambda moves: [move for move in moves if move is not None]
)


@contract(
    "model.agrees_with_list",
    rule="After any sequence of adding, reading, clearing, closing and reopening, over several "
    "sessions and several handles of each, every read returns the content of a plain list that is "
    "kept for each session id.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory: stores a history of the "
    "message interactions in a chat",
    cause="State that handles share (a cache, a counter, a cursor) is right after each single "
    "operation, but wrong after two or three of them.",
    remedy="Follow the steps. The operation just before the wrong read is seldom the cause.",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: a cache that is reloaded only "
    "when it is empty",
    modes=HANDLES,
    program=_STORIES,
)
def any_sequence_of_operations_agrees_with_a_list(s: Session, moves: list[Move]) -> None:
    lacks = s.subject.backend.lacks
    shared = "shared" not in lacks
    handles: dict[int, Handle] = {}
    number = 0
    for move in moves:
        handle = handles.get(move.place)
        if handle is None:
            handle = handles[move.place] = s.open(_session(move.place, shared))
        match move.what:
            case "read":
                handle.reads_back()
            case "read_all":
                for open_handle in handles.values():
                    open_handle.reads_back()
            case "reopen":
                held = sum(other.session == handle.session for other in handles.values()) > 1
                # Only a durable history must keep a session after its last handle was closed.
                if shared and (held or "durable" not in lacks):
                    handle.release()
                    del handles[move.place]
            case _:
                number += _write(handle, move, number)
    for handle in handles.values():
        handle.reads_back()


def _write(handle: Handle, move: Move, number: int) -> int:
    """Add or clear, with new messages numbered from `number`, and return how many were added."""
    match move.what:
        case "add_one":
            handle.add_one(HumanMessage(f"m{number}"))
            return 1
        case "clear":
            handle.clear()
            return 0
        case "rewrite":  # as code that trims or summarises does: as many other messages
            size = len(handle.model.stored) or 1
            handle.clear()
        case _:
            size = move.size
    handle.add([HumanMessage(f"m{number + index}") for index in range(size)])
    return size


def _session(place: int, shared: bool) -> str:
    """Return the session of a place; 0 and 1 share one if the history supports that."""
    return "{nonce}-2" if place == 2 else "{nonce}-1" if shared else f"{{nonce}}-1{place}"
