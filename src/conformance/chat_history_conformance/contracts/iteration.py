"""Iteration: `iter_messages` reads a conversation page by page, without holding it whole."""

from __future__ import annotations

import gc
import math
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import CONSUMED, DEFAULT_SECONDS, messages_of
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, SYNC, contract
from chat_history_conformance.declaration.capabilities import ITERATION
from chat_history_conformance.diagnosis.code import Ref
from chat_history_conformance.diagnosis.compare import Snapshot, compare
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import (
    are_among,
    are_consecutive,
    are_same,
    at_least,
    below,
    contents_are,
    was_refused,
)
from chat_history_conformance.diagnosis.script_helpers import numbered_messages
from chat_history_conformance.execution.iteration import Iteration, joined
from chat_history_conformance.execution.resource_steps import SPARE, leaves_nothing_open, repeat
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]
Moves = list[tuple[int, int]]

_NAMES = (
    "convention: langchain-core has no such method; this suite names it "
    "`iter_messages(batch_size)`, and its asynchronous twin `aiter_messages(batch_size)`"
)
_SNAPSHOT = (
    "convention: a copy of a conversation has one meaning only if it shows the conversation at one "
    "moment; langchain-core has no such method, so the moment is a choice of this suite"
)
_USABLE = "convention: a read does not keep others from their work, however slow its caller is"


def _numbered(stem: str, count: int) -> list[BaseMessage]:
    return [HumanMessage(f"{stem}{number}") for number in range(count)]


def _sized() -> st.SearchStrategy[tuple[Batches, list[int]]]:
    """Draw a conversation, and batch sizes that are small, near its length or far beyond it."""

    def sizes(batches: Batches) -> st.SearchStrategy[tuple[Batches, list[int]]]:
        length = sum(map(len, batches))
        special = {1, 2, 3, length - 1, length, length + 1, 2 * length, 1000} - {0}
        return st.tuples(st.just(batches), strategies.some_of(sorted(special)))

    return strategies.batches(max_batches=4).flatmap(sizes)


def _moves() -> st.SearchStrategy[tuple[int, int, Moves]]:
    """Draw a length, a batch size, and numbers of messages to add and to take alternately."""
    move = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return st.tuples(st.integers(1, 8), st.integers(1, 4), st.lists(move, min_size=1, max_size=4))


def _filled(s: Session, length: int) -> Handle:
    a = s.open()
    a.add(_numbered("m", length))
    return a


def _another(s: Session, a: Handle) -> Handle:
    """Return another handle on the session, or the same one if two cannot share it."""
    return a if "shared" in s.subject.backend.lacks else s.open()


def _expect_all(a: Handle, got: Ref, wanted: list[Snapshot], what: str) -> None:
    """Fail unless an iteration has yielded exactly these messages of the conversation."""
    a.expect_part(got, wanted, what, otherwise="lost")


@contract(
    "iteration.every_batch_size",
    since="0.2",
    rule="`iter_messages(batch_size=n)` yields all messages of the conversation, oldest first, "
    "each once, for every batch size. It yields the messages of all handles.",
    source=_NAMES,
    cause="The iteration ends with the first page that is not full, or after a full last page. Or "
    "a page begins with the last message of the page before.",
    remedy="Ask for the messages after the last one that was yielded, until the end that the "
    "iteration has looked up when it began.",
    seen="maciejmiklas/cyclop#129: the pager drops the last page; "
    "deltaepsilon/firebase-paginator#11: the last page repeats items",
    needs=(ITERATION,),
    modes=HANDLES,
    program=_sized(),
)
def an_iteration_yields_the_whole_conversation(
    s: Session, program: tuple[Batches, list[int]]
) -> None:
    batches, sizes = program
    a = s.open()
    b = _another(s, a)
    for handle, batch in zip((a, b) * len(batches), batches, strict=False):
        handle.add(batch)
    kept = a.model.stored
    for handle in dict.fromkeys((a, b)):
        for size in sizes:
            _expect_all(handle, handle.iterate(size).take(), kept, _asked(len(kept), size))


def _asked(length: int, size: int) -> str:
    return f"the {messages_of(length)} of the conversation with a batch size of {size}"


@contract(
    "iteration.unused_session",
    since="0.2",
    rule="An iteration over a session without messages yields nothing, and creates nothing that a "
    "later add or read would notice.",
    source=_NAMES,
    cause="The iteration looks up a record that only the first write creates.",
    remedy="Treat `not found` as an empty conversation.",
    seen="langchain-ai/langchain#6141: DynamoDB without any chat history raised",
    needs=(ITERATION,),
    program=st.booleans(),
    examples=2,
)
def an_iteration_over_an_unused_session_is_empty(s: Session, cleared: bool) -> None:
    a = s.open()
    if cleared:
        a.add(_numbered("old", 2))
        a.clear()
    _expect_all(a, a.iterate(2).take(), [], "no messages")
    a.add(_numbered("m", 2))
    _expect_all(a, a.iterate(2).take(), a.model.stored, "the 2 messages that were added")
    a.reads_back()


@contract(
    "iteration.same_messages",
    since="0.2",
    rule="`iter_messages` yields messages that are equal to those of `messages`, with all fields.",
    source=_NAMES,
    cause="The iteration has its own code that decodes records, or leaves out fields to save "
    "memory.",
    remedy="Decode records with one function for all reads.",
    seen="convention: two readers of one record must not disagree",
    needs=(ITERATION, "whole_reads"),
    program=strategies.conversations(),
)
def an_iteration_yields_the_messages_of_a_read(s: Session, messages: list[BaseMessage]) -> None:
    a = s.open()
    a.add(messages)
    a.read()
    read = a.result
    got = a.iterate(2).take()
    s.check(
        are_same,
        got,
        read,
        kind="altered",
        summary="`iter_messages` yielded other messages than `messages`",
        expected=[show(item) for item in read.value],
        returned=[show(item) for item in got.value],
    )


_MANY = 1_201
_SIZES: list[tuple[int, ...]] = [(10,), (100,), (400,), (401,), (1_200,), ()]
"""Batch sizes, the last one being the default of the history."""


@contract(
    "iteration.many_pages",
    since="0.2",
    rule=f"An iteration over {_MANY:,} messages yields all of them, with any batch size and with "
    "the default one.",
    source=_NAMES,
    cause="The store returns at most some number of pages or of records for one search, and says "
    "nothing about the rest.",
    remedy="Begin each page after the last record of the page before, instead of counting pages.",
    seen="Significant-Gravitas/AutoGPT#13070: an export ends without an error at a maximum number "
    "of pages",
    needs=(ITERATION,),
    modes=(SYNC, ASYNC),
    program=strategies.some_of(_SIZES),
    examples=1,
)
def an_iteration_over_many_pages_is_complete(s: Session, sizes: list[tuple[int, ...]]) -> None:
    a = s.open()
    for first in range(0, _MANY, 300):
        end = min(first + 300, _MANY)
        a.add(s.do(numbered_messages, first, end, as_=f"batch{first}"))
    for size in sizes:
        got = a.iterate(*size).take()
        asked = f"a batch size of {size[0]}" if size else "the default batch size"
        s.check(
            are_consecutive,
            got,
            _MANY,
            kind="lost",
            summary=f"an iteration yielded {len(got.value):,} messages instead of all {_MANY:,} in "
            f"order with {asked}",
        )


@contract(
    "iteration.added_meanwhile",
    since="0.2",
    rule="If messages are added while an iteration is under way, it still yields all messages "
    "that were stored when it began, in order and each once. It may yield added messages only "
    "after them, in order.",
    source="convention: messages are added at the end, so they change nothing before it",
    cause="Pages are requested by offset from the newest message, and each new message moves all "
    "offsets by one.",
    remedy="Begin each page after the last record of the page before.",
    seen="ohdearquant/lionagi#1730: offsets from the newest message drift while messages are "
    "added; Shivayan09/Vector#538: offset pages repeat messages",
    needs=(ITERATION,),
    program=_moves(),
)
def messages_added_meanwhile_skip_and_repeat_nothing(
    s: Session, program: tuple[int, int, Moves]
) -> None:
    a, stored, got = _iterated_while_adding(s, program)
    more = max(0, len(got.value) - stored)
    wanted = a.model.stored[: stored + more]
    _expect_all(a, got, wanted, f"the {messages_of(stored)} that were stored at the beginning")


@contract(
    "iteration.snapshot",
    level="should",
    since="0.2",
    rule="An iteration yields no message that was added after its first message was asked for, "
    "through any handle.",
    source=_SNAPSHOT,
    cause="Each page asks the store for what follows, and does not know where the conversation "
    "ended at the beginning.",
    remedy="Look up the end of the conversation when the first message is asked for, and stop "
    "there.",
    seen="convention: an iteration that follows new messages need not end",
    needs=(ITERATION,),
    program=_moves(),
)
def an_iteration_ends_where_the_conversation_ended(
    s: Session, program: tuple[int, int, Moves]
) -> None:
    a, stored, got = _iterated_while_adding(s, program)
    wanted = a.model.stored[:stored]
    what = f"the {messages_of(stored)} that were stored at the beginning"
    a.expect_part(got, wanted, what, otherwise="wrong_bound")


def _iterated_while_adding(s: Session, program: tuple[int, int, Moves]) -> tuple[Handle, int, Ref]:
    """Iterate, and add messages between the takes, through all handles alternately.

    Returns:
        The handle, the number of messages at the beginning, and all messages that were yielded.
    """
    length, size, moves = program
    a = _filled(s, length)
    writers = [a, _another(s, a)]
    iteration = a.iterate(size)
    takes = [iteration.take(1)]
    for number, (added, count) in enumerate(moves):
        writers[number % 2].add(_numbered(f"new{number}.", added))
        takes.append(iteration.take(count))
    takes.append(iteration.take())
    return a, length, joined(takes)


@contract(
    "iteration.cleared_meanwhile",
    level="should",
    since="0.2",
    rule="If the session is cleared while an iteration is under way, the iteration may end early "
    "or still yield removed messages, in order and each message once. It raises no error, and "
    "yields no message that was added after the clear.",
    source=_SNAPSHOT,
    cause="Positions begin at 0 again after a clear, so the next page of the old conversation is "
    "a page of the new one.",
    remedy="Use no position twice. Or keep with the iteration to which conversation it belongs.",
    seen="sqlite.org, autoinc.html: without AUTOINCREMENT, the ids of deleted rows are used again",
    needs=(ITERATION,),
    program=st.tuples(
        st.integers(2, 8), st.integers(1, 4), st.integers(1, 3), st.integers(1, 12), st.booleans()
    ),
)
def an_iteration_does_not_enter_the_next_conversation(
    s: Session, program: tuple[int, int, int, int, bool]
) -> None:
    length, size, count, added, by_another = program
    a = _filled(s, length)
    other = _another(s, a) if by_another else a
    iteration = a.iterate(size)
    takes = [iteration.take(count)]
    old = [str(kept.message.content) for kept in a.model.stored]
    other.clear()
    other.add(_numbered("new", added))
    got = joined([*takes, iteration.take()])
    s.check(
        are_among,
        got,
        old,
        kind="foreign",
        summary=f"an iteration yielded other messages than those of the conversation that it began "
        f"with, or some of them twice: {show(got.value)}",
        expected=["some of these, in order, each once:", *old],
        returned=[show(item) for item in got.value],
    )
    a.reads_back()


@contract(
    "iteration.others_work_meanwhile",
    since="0.2",
    rule="While an iteration is under way, adds, reads and clears of the same handle and of other "
    "handles work as usual. They do not wait until the iteration ends.",
    source=_USABLE,
    cause="A lock, a transaction or an open cursor is kept between two messages.",
    remedy="Hold a lock only while one page is read. Let the next page begin with the key of the "
    "last record instead of an open cursor.",
    seen="lemon24/reader#10: an open cursor keeps writers out; datachain-ai/datachain#377: "
    "`database is locked` after an iterator that was not consumed",
    needs=(ITERATION,),
    program=st.tuples(st.integers(3, 8), st.integers(1, 2)),
    examples=6,
)
def others_can_use_the_session_during_an_iteration(s: Session, program: tuple[int, int]) -> None:
    length, size = program
    a = _filled(s, length)
    iteration = a.iterate(size)
    iteration.take(1)
    for handle in dict.fromkeys((a, _another(s, a))):
        handle.add(_numbered("more", 1))
        handle.reads_back()
        handle.clear()
        handle.add(_numbered("again", 2))
        handle.reads_back()


@contract(
    "iteration.left_early",
    since="0.2",
    rule="An iteration can be left early: by `close` or `aclose`, or with `break`. The history can "
    "then be used as before, and the next iteration yields the whole conversation.",
    source=_USABLE,
    cause="The iteration releases its lock or its connection after the last message, and not in "
    "`finally`.",
    remedy="Release it in `finally`, or hold nothing between two messages.",
    seen="IBM/nzpy#54: after a result that was not consumed, the next query returns the rest of "
    "it; datachain-ai/datachain#377: `database is locked`",
    needs=(ITERATION,),
    program=st.tuples(
        st.integers(2, 8), st.integers(1, 4), st.integers(0, 2), st.sampled_from(["close", "drop"])
    ),
)
def an_iteration_can_be_left_early(s: Session, program: tuple[int, int, int, str]) -> None:
    length, size, count, way = program
    a = _filled(s, length)
    iteration = a.iterate(size)
    if count:
        iteration.take(count)
    _leave(iteration, way)
    a.reads_back()
    a.add(_numbered("more", 2))
    _expect_all(a, a.iterate(size).take(), a.model.stored, "the whole conversation")
    a.clear()
    a.add(_numbered("again", 1))
    a.reads_back()


def _leave(iteration: Iteration, way: str) -> None:
    if way == "close":
        iteration.close()
    else:
        iteration.drop()


_ROUNDS = 20


@contract(
    "iteration.leaves_nothing_open",
    since="0.2",
    rule=f"{_ROUNDS} iterations that were left early leave at most {SPARE} more threads, open "
    "files and sockets behind. A pool may grow once.",
    source="convention: a program that looks for one message leaves its loop when it has found it",
    cause="A thread fetches pages and waits for a consumer that does not come any more. Or a "
    "connection is given back after the last message only.",
    remedy="Release everything in `finally`. Fetch a page when it is asked for.",
    seen="TimonKK/clickhouse#73: a loop that is left with `break` leaves its connection open; "
    "graphql-python/gql#230: the inner generator is not closed",
    needs=(ITERATION,),
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def iterations_that_are_left_early_leave_nothing_open(s: Session, _: None) -> None:
    gc.collect()
    a = _filled(s, 6)
    _begin_and_leave(s, a, 3)  # pools may grow at first
    what = f"{_ROUNDS} iterations that were left early"
    leaves_nothing_open(s, lambda: _begin_and_leave(s, a, _ROUNDS), what)


def _begin_and_leave(s: Session, a: Handle, times: int) -> None:
    """Begin an iteration and leave it, several times, as one step."""

    def begin_and_leave() -> None:
        iteration = a.iterate(2)
        iteration.take(1)
        iteration.close()

    repeat(s, times, begin_and_leave, "begin an iteration, take one message, and close it")
    a.iterations.clear()


@contract(
    "iteration.several_at_once",
    since="0.2",
    rule="Several iterations that are under way at the same time, through one handle or several, "
    "do not disturb one another. Each yields the whole conversation.",
    source="convention: an iterator has its own position, as those of Python's own types have",
    cause="The position of the iteration is kept with the handle or with the session.",
    remedy="Keep the position in the generator.",
    seen="WiseLibs/better-sqlite3#203: a connection that iterates is busy; IBM/nzpy#54: a cursor "
    "returns rows of the query before",
    needs=(ITERATION,),
    program=st.tuples(
        st.integers(2, 8),
        st.lists(st.integers(1, 4), min_size=2, max_size=3),
        st.lists(st.integers(1, 3), min_size=2, max_size=6),
    ),
)
def several_iterations_do_not_disturb_each_other(
    s: Session, program: tuple[int, list[int], list[int]]
) -> None:
    length, sizes, counts = program
    a = _filled(s, length)
    handles = [a, a, _another(s, a)]
    iterations = [handle.iterate(size) for handle, size in zip(handles, sizes, strict=False)]
    takes: list[list[Ref]] = [[] for _ in iterations]
    for number, count in enumerate(counts):
        place = number % len(iterations)
        takes[place].append(iterations[place].take(count))
    for iteration, taken in zip(iterations, takes, strict=True):
        taken.append(iteration.take())
        what = f"the {messages_of(length)} of the conversation, next to other iterations"
        _expect_all(a, joined(taken), a.model.stored, what)


@contract(
    "iteration.moves_nothing",
    since="0.2",
    rule="An iteration does not move the position of consuming reads, and consuming reads do not "
    "move an iteration.",
    source="convention: an iteration has its own position, and begins with the oldest message",
    cause="The iteration uses the consuming reader, which moves or commits its position.",
    remedy="Read with a separate reader that does not use the session's position.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: each read continues from the "
    "committed offset",
    needs=(ITERATION, CONSUMED),
    program=st.tuples(
        st.integers(2, 6),
        st.integers(1, 4),
        st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    ),
)
def an_iteration_does_not_move_the_position(s: Session, program: tuple[int, int, Moves]) -> None:
    length, size, moves = program
    a = _filled(s, length)
    kept, position = a.model.stored, 0
    iteration = a.iterate(size)
    takes = []
    for count, consumed in [*moves, (length, 1000)]:
        takes.append(iteration.take(count))
        got = a.bounded(CONSUMED, consumed)
        if a.took >= DEFAULT_SECONDS:
            return
        wanted = kept[position : position + consumed]
        what = f"the next {len(wanted)} of {messages_of(length - position)}"
        a.expect_part(got, wanted, what, delivered=kept[:position], otherwise="lost")
        position += len(wanted)
    _expect_all(a, joined(takes), kept, f"the {messages_of(length)} of the conversation")


_LONG = 2_000
_SMALL = 10


@contract(
    "iteration.holds_a_part",
    level="should",
    since="0.2",
    rule=f"While an iteration with batch_size={_SMALL} goes through {_LONG:,} messages, fewer than "
    "half of them are in memory as messages at the same time.",
    source="convention: a program iterates over a conversation that is too long for a list; "
    "langchain-core has no such method, so this is a recommendation",
    cause="`iter_messages` returns an iterator over the list that `messages` returns. Or a thread "
    "fetches pages faster than they are taken, without a limit.",
    remedy="Ask the store for one page at a time, and decode it when it is asked for.",
    seen="sqlalchemy/sqlalchemy#8301: iteration loads the whole result without yield_per; "
    "coleifer/peewee#431: `iterator()` runs out of memory",
    needs=(ITERATION,),
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def an_iteration_does_not_hold_the_whole_conversation(s: Session, _: None) -> None:
    a = s.open()
    for first in range(0, _LONG, 500):
        a.add(s.do(numbered_messages, first, first + 500, as_=f"batch{first}"))
    gc.collect()
    most = a.iterate(_SMALL).most_alive()
    s.check(
        below,
        most,
        _LONG // 2,
        kind="other",
        summary=f"an iteration over {_LONG:,} messages with batch_size={_SMALL} had {most.value:,} "
        "of them in memory at the same time",
    )


_NONSENSE: list[Any] = [0, -1, -(10**6), "3", "many", 1.5, math.nan]


@contract(
    "iteration.nonsense_refused",
    level="should",
    since="0.2",
    rule="`iter_messages` raises an error if the batch size is less than 1, is text or is a "
    "fraction: when it is called, or when the first message is asked for.",
    source="convention: a batch size without a meaning is a mistake of the caller, and any result "
    "hides the mistake",
    cause="The value is passed to a slice, to LIMIT (-1 means all) or to `range`.",
    remedy="Check the batch size first. Accept an int of 1 or more.",
    seen="langchain-ai/langchain#36663: a batch size of 0 loops for ever; "
    "huggingface/datasets#8556: `batch(0)` returns all rows",
    needs=(ITERATION,),
    program=strategies.some_of(_NONSENSE),
)
def invalid_batch_sizes_are_refused(s: Session, nonsense: list[Any]) -> None:
    a = _filled(s, 3)
    for size in nonsense:
        a.try_iterate(size)
        s.check(
            was_refused,
            s.error,
            kind="wrong_bound",
            summary=f"`iter_messages` accepted the batch size {size!r} instead of refusing it",
        )


@contract(
    "iteration.undecodable_record",
    since="0.2",
    rule="If a stored record is not a message, an iteration raises an error, or still yields the "
    "whole conversation. It never skips the record silently. The messages that it yields before "
    "the error are the first ones of the conversation, in order.",
    source="convention: a caller would take a shorter iteration for the whole conversation, as "
    "with `messages`",
    cause="The loop that decodes contains `except ValueError: continue`, or ends the iteration.",
    remedy="Let the error pass. It should name the record.",
    seen="openai-agents 0.24.0, memory/sqlite_session.py _decode_rows: `except JSONDecodeError: "
    "continue`",
    needs=(ITERATION, "corrupt"),
    program=st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(1, 4)),
)
def an_iteration_does_not_skip_an_undecodable_record(
    s: Session, program: tuple[int, int, int]
) -> None:
    a, before, all_of_them = _damaged(s, program)
    got, error = a.iterate(program[2]).try_take()
    came = [str(item.content) for item in got.value]
    if error is None and compare(a.model.stored, got.value) is not None:
        s.fail_claim(
            contents_are,
            got,
            all_of_them,
            kind="swallowed_error",
            summary="an iteration skipped a record that cannot be decoded: it yielded "
            f"{messages_of(len(came))} of {len(all_of_them)} without an error",
            returned=[show(item) for item in got.value],
        )
    if error is not None:
        s.check(
            contents_are,
            got,
            before[: len(came)],
            kind="lost",
            summary=f"the {messages_of(len(came))} that came before the error are not the first "
            "ones of the conversation",
            expected=before,
            returned=[show(item) for item in got.value],
        )


@contract(
    "iteration.before_an_undecodable_record",
    level="should",
    since="0.2",
    rule="If an iteration raises because a record is not a message, it has yielded all messages "
    "before that record.",
    source="convention: an error is raised where it occurs, so a program has done its work up to "
    "there; langchain-core has no such method, so this is a recommendation",
    cause="A page is decoded as a whole, before its first message is yielded.",
    remedy="Yield the messages of the page that come before the record, and then raise.",
    seen="convention: the size of a page must not change what a caller sees",
    needs=(ITERATION, "corrupt"),
    program=st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(1, 4)),
)
def an_iteration_yields_what_is_before_an_undecodable_record(
    s: Session, program: tuple[int, int, int]
) -> None:
    a, before, _ = _damaged(s, program)
    got, error = a.iterate(program[2]).try_take()
    if error is not None:
        s.check(
            at_least,
            got,
            len(before),
            kind="lost",
            summary=f"an iteration raised after {messages_of(len(got.value))}, although "
            f"{len(before)} are before the record that cannot be decoded",
            expected=before,
            returned=[show(item) for item in got.value],
        )


def _damaged(s: Session, program: tuple[int, int, int]) -> tuple[Handle, list[str], list[str]]:
    """Store messages, damage one of them, and add others after it.

    Returns:
        The handle, the contents before the damaged record, and the contents of all messages.
    """
    length, after, _ = program
    a = _filled(s, length)
    s.corrupt(a)
    if after:
        a.try_add(_numbered("after", after))
    kept = [str(one.message.content) for one in a.model.stored]
    return a, kept[: length - 1], kept
