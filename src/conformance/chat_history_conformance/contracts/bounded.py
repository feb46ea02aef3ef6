"""Bounded reads: a part of the conversation, limited by number or by time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, ONE_HANDLE, SYNC, contract
from chat_history_conformance.declaration.capabilities import READS
from chat_history_conformance.diagnosis.compare import Snapshot
from chat_history_conformance.diagnosis.script_claims import (
    are_consecutive,
    below,
    is_empty,
    was_refused,
)
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]
Windows = tuple[Batches, list[int]]

BEGINNING = "messages_from_beginning"
LATEST = "messages_from_latest"
CONSUMED = "messages_from_last_consumed"
LAST = "last_messages"

DEFAULT_SECONDS = 5.0
"""A read without a time bound that takes longer may have been cut by a default bound."""

_NAMES = (
    "convention: max_message_count and max_time_sec, as langchain-community 0.4.2 documents them"
)
_KAFKA = f"{_NAMES} for KafkaChatMessageHistory"


def _windows() -> st.SearchStrategy[Windows]:
    """Draw a conversation, and counts that are small, near its length or far beyond it."""

    def counts(batches: Batches) -> st.SearchStrategy[Windows]:
        length = sum(map(len, batches))
        special = {1, 2, length - 1, length, length + 1, length + 100} - {0}
        return st.tuples(st.just(batches), strategies.some_of(sorted(special)))

    return strategies.batches(max_batches=4).flatmap(counts)


def _filled(s: Session, batches: Batches, session: str = "{nonce}-1") -> Handle:
    handle = s.open(session)
    for batch in batches:
        handle.add(batch)
    return handle


def _offered(s: Session, *names: str) -> list[str]:
    """Return the reads among `names` that the history has; not applicable without one."""
    offered = s.offered(names)
    if not offered:
        s.not_applicable(f"has none of {', '.join(names)}")
    return offered


def _bounds(operation: str, count: object, seconds: object) -> tuple[Any, ...]:
    return (count,) if operation == LAST else (count, seconds)


def messages_of(number: int) -> str:
    """Return the number with its noun: `1 message`, `2 messages`."""
    return f"{number} message{'s'[: number != 1]}"


def _asked(number: int, kept: Sequence[Snapshot], which: str = "oldest") -> str:
    """Describe the messages that a read must return: `the oldest 2 of 5 messages`."""
    return f"the {which} {number} of {messages_of(len(kept))}"


@contract(
    "bounded.count_from_beginning",
    rule="`messages_from_beginning(max_message_count=n)` returns the n oldest messages, oldest "
    "first. It returns fewer only if the session holds fewer, and never more.",
    source=_KAFKA,
    cause="The count is used as a page size, or is checked after one message too many was taken. "
    "Or the read takes the newest messages.",
    remedy="Ask the store for the oldest messages first, and stop when the list holds n messages.",
    seen="neo4j-graphrag 1.22.0, message_history.py: a window of 2k hops is 2k+1 messages",
    needs=(BEGINNING,),
    program=_windows(),
)
def a_counted_read_from_the_beginning_returns_the_oldest_messages(
    s: Session, program: Windows
) -> None:
    batches, counts = program
    a = _filled(s, batches)
    for count in counts:
        got = a.bounded(BEGINNING, count)
        if a.took < DEFAULT_SECONDS:
            a.expect_part(got, a.model.stored[:count], _asked(count, a.model.stored))


@contract(
    "bounded.count_of_last",
    rule="`last_messages(n)` returns the n newest messages, in the order of the conversation. It "
    "returns fewer only if the session holds fewer, and never more.",
    source="convention: a chat prompt needs the newest messages in the order of the conversation",
    cause="The read asks the store for the first n messages in ascending order. Or it asks for "
    "the newest messages in descending order and does not reverse the list.",
    remedy="Ask for the newest messages first with a limit of n, and reverse the result.",
    seen="yaalalabs/agent-kernel#739: get_items(limit) returns the oldest items; "
    "agentscope-ai/agentscope#2081: always the oldest",
    needs=(LAST,),
    program=_windows(),
)
def a_read_of_the_last_messages_returns_the_newest_in_order(s: Session, program: Windows) -> None:
    batches, counts = program
    a = _filled(s, batches)
    for count in counts:
        got = a.last(count)
        a.expect_part(got, a.model.stored[-count:], _asked(count, a.model.stored, "newest"))


@contract(
    "bounded.count_of_consumed",
    rule="`messages_from_last_consumed(max_message_count=n)` returns the n oldest messages that "
    "were not consumed yet, oldest first. It returns fewer only if fewer are left, and never "
    "more.",
    source=_KAFKA,
    cause="The count limits each fetch, but not the number of messages that are returned.",
    remedy="Stop when the list holds n messages, and move the position by the same number.",
    seen="openai/openai-agents-python#4757: the caller's limit is passed on as the page size",
    needs=(CONSUMED,),
    program=_windows(),
)
def a_counted_consuming_read_returns_the_next_messages(s: Session, program: Windows) -> None:
    batches, counts = program
    a = _filled(s, batches)
    position = 0
    for count in counts:
        got = a.bounded(CONSUMED, count)
        if a.took >= DEFAULT_SECONDS:
            return
        wanted = a.model.stored[position : position + count]
        a.expect_part(got, wanted, _asked(count, a.model.stored[position:], "next"))
        position += len(wanted)


@contract(
    "bounded.zero",
    rule="A read with a count of 0 returns an empty list or raises an error. A count of 0 never "
    "means `unlimited`, and a consuming read with it does not move the position.",
    source="convention: 0 is an upper limit, as 1 is",
    cause="The count is tested with `if count:`. Or it is used in a slice from `-count`, or is "
    "checked after a message was appended.",
    remedy="Compare the count with `is not None`, and return before fetching if it is 0.",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py: `if self.history_size`; "
    "openai/openai-agents-python#3244: limit=0 returns one item",
    program=st.tuples(strategies.batches(max_batches=2, max_size=3), st.permutations(READS)),
)
def a_count_of_zero_returns_no_messages(s: Session, program: tuple[Batches, list[str]]) -> None:
    batches, order = program
    offered = _offered(s, *READS)
    a = _filled(s, batches)
    for operation in (name for name in order if name in offered):
        got = a.bounded_unless_refused(operation, *_bounds(operation, 0, 0.02))
        s.check(
            is_empty,
            a.result,
            kind="wrong_bound",
            summary=f"`{operation}` returned {messages_of(len(got or ()))} for a count of 0",
        )


@contract(
    "bounded.zero_consumes_nothing",
    rule="A consuming read with a count of 0 does not move the position.",
    source="convention: a message that was not delivered was not consumed",
    cause="The position moves past the messages that were fetched, instead of those that were "
    "returned.",
    remedy="Move the position past the last message that is returned. Do not move it if no "
    "message is returned.",
    seen="convention: the position marks the last delivered message",
    needs=(CONSUMED,),
    program=st.tuples(strategies.batches(max_batches=2, max_size=3), st.integers(0, 3)),
)
def a_count_of_zero_consumes_no_messages(s: Session, program: tuple[Batches, int]) -> None:
    batches, before = program
    a = _filled(s, batches)
    position = 0
    if before:
        position = len(a.bounded(CONSUMED, before))
    a.bounded_unless_refused(CONSUMED, 0)
    got = a.bounded(CONSUMED, 1000)
    if a.took < DEFAULT_SECONDS:
        wanted = a.model.stored[position:]
        a.expect_part(got, wanted, _asked(len(wanted), wanted, "next"), otherwise="lost")


_NONSENSE: list[tuple[Any, Any]] = [
    (-1, 0.1),
    (-5, 0.1),
    (-(10**6), 0.1),
    ("3", 0.1),
    ("many", 0.1),
    (2, -1.0),
    (2, -0.001),
    (2, math.nan),
    (2, "1"),
    (2, "soon"),
]


@contract(
    "bounded.nonsense_refused",
    rule="A bounded read raises an error if its count or its time is negative or is text, or if "
    "its time is NaN.",
    source="convention: a bound without a meaning is a mistake of the caller, and any result "
    "hides the mistake",
    cause="The value is passed to a slice, to LIMIT (-1 means all) or to a comparison (NaN is "
    "never reached).",
    remedy="Check the bounds first. Accept an int of 0 or more as the count, a number of 0 or "
    "more as the seconds, and None for either.",
    seen="openai/openai-agents-python#4997: a negative limit means all items",
    program=strategies.some_of(_NONSENSE),
)
def invalid_bounds_are_refused(s: Session, nonsense: list[tuple[Any, Any]]) -> None:
    offered = _offered(s, *READS)
    a = s.open()
    a.add([HumanMessage("m0"), HumanMessage("m1"), HumanMessage("m2")])
    for count, seconds in nonsense:
        for operation in offered:
            bounds = _bounds(operation, count, seconds)
            if operation == LAST and isinstance(count, int) and count > 0:
                continue  # only the time is invalid, and this read has no time bound
            a.try_bounded(operation, *bounds)
            given = ", ".join(map(repr, bounds))
            s.check(
                was_refused,
                s.error,
                kind="wrong_bound",
                summary=f"`{operation}` accepted the bounds ({given}) instead of refusing them",
            )


def _tolerance_seconds(a: Handle) -> float:
    """Return by how many seconds a read may exceed its time: 1.5 s, or five whole reads."""
    a.read()
    return max(1.5, 5.0 * a.took)


def _expect_in_time(
    s: Session, a: Handle, operation: str, seconds: float, tolerance_seconds: float
) -> None:
    """Fail if the last read exceeded its time and a second one does too; one may be chance."""
    allowed_seconds = seconds + tolerance_seconds
    if a.took > allowed_seconds:
        a.bounded_unless_refused(operation, 1000, seconds)
    s.check(
        below,
        a.took_ref,
        round(allowed_seconds, 2),
        kind="wrong_bound",
        summary=f"`{operation}` took {a.took:.1f} s with a time bound of {seconds:g} s",
    )


@contract(
    "bounded.time_on_empty",
    rule="A read of an empty history ends within `max_time_sec`, plus at most 1.5 seconds, or "
    "five times the duration of a whole read if that is longer.",
    source=_KAFKA,
    cause="The time is checked only when a message arrives, or a poll inside the read has a "
    "longer timeout.",
    remedy="Compute the deadline once, at the start, and give each wait only the time that is "
    "left.",
    seen="convention: a read that exceeds its time blocks a chat turn",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_time_bound_holds_on_an_empty_history(s: Session, _: None) -> None:
    offered = _offered(s, BEGINNING, CONSUMED, LATEST)
    a = s.open()
    tolerance_seconds = _tolerance_seconds(a)
    for operation in offered:
        a.bounded_unless_refused(operation, 1000, 0.05)
        _expect_in_time(s, a, operation, 0.05, tolerance_seconds)


@contract(
    "bounded.time_on_long",
    rule="A read of a long history ends within `max_time_sec`, plus at most 1.5 seconds, or "
    "five times the duration of a whole read if that is longer. It returns the oldest messages, in "
    "order, as far as it has read them. If the time is too short to read anything, it may raise an "
    "error instead.",
    source=_KAFKA,
    cause="The deadline is not checked between messages or pages. Or messages are returned in the "
    "order in which their pages were fetched.",
    remedy="Check the deadline before each page or message, and return the messages that were "
    "read until then.",
    seen="convention: a time bound must not change which messages are the oldest",
    modes=(SYNC, ASYNC),
    needs=(BEGINNING,),
    program=strategies.some_of([0.001, 0.003, 0.01, 0.1]),
    examples=2,
)
def a_time_bound_on_a_long_history_returns_its_beginning(s: Session, times: list[float]) -> None:
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(300)])
    tolerance_seconds = _tolerance_seconds(a)
    for seconds in times:
        got = a.bounded_unless_refused(BEGINNING, None, seconds) or []
        a.expect_part(
            got, a.model.stored[: len(got)], f"the oldest of 300 messages within {seconds:g} s"
        )
        _expect_in_time(s, a, BEGINNING, seconds, tolerance_seconds)


@contract(
    "bounded.time_consumes_what_it_gives",
    rule="A consuming read that ends because its time is up consumes exactly the messages that it "
    "returns. The following reads deliver the rest, each message once and in order.",
    source=_KAFKA,
    cause="The position moves past all messages that were fetched, although only some of them "
    "were returned in time.",
    remedy="Move the position past the last message that is returned.",
    seen="convention: the position marks the last delivered message",
    modes=(SYNC, ASYNC),
    needs=(CONSUMED,),
    program=st.lists(st.sampled_from([0.001, 0.002, 0.004]), min_size=2, max_size=4),
    examples=2,
)
def a_timed_read_consumes_only_the_messages_it_returns(s: Session, times: list[float]) -> None:
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(300)])
    kept, position = a.model.stored, 0
    for seconds in times:
        got = a.bounded_unless_refused(CONSUMED, None, seconds) or []
        wanted = kept[position : position + len(got)]
        what = f"the messages from number {position + 1} on"
        a.expect_part(got, wanted, what, delivered=kept[:position], otherwise="lost")
        position += len(got)
    got = a.bounded(CONSUMED, None, None)
    what = f"the {300 - position} messages that were not consumed"
    a.expect_part(got, kept[position:], what, delivered=kept[:position], otherwise="lost")


@contract(
    "bounded.no_wait",
    rule="A read from the beginning or from the last consumed message returns at once when no "
    "messages are left. It does not wait for its time or its count to be reached. (At once means "
    "within half of its time, which is at least 6 seconds.)",
    source="convention: an application reads the conversation before each turn, and its user "
    "would have to wait",
    cause="The read recognises the end of the history by a poll that times out.",
    remedy="Ask the store for the end of the history when the read starts, and stop there.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py, __read_messages: keeps "
    "polling until the count or the time is reached, although no messages are left",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_bounded_read_does_not_wait_for_more_messages(s: Session, _: None) -> None:
    offered = _offered(s, BEGINNING, CONSUMED)
    a = s.open()
    a.add([HumanMessage("m0"), HumanMessage("m1")])
    allowed_seconds = round(1.5 + _tolerance_seconds(a), 1)
    for operation in (*offered, offered[-1]):
        a.bounded(operation, 100, 2.0 * allowed_seconds)
        s.check(
            below,
            a.took_ref,
            allowed_seconds,
            kind="wrong_bound",
            summary=f"`{operation}` waited {a.took:.1f} s although no messages were left",
        )


_COUNTS = (10, 16, 25, 32, 50, 51, 64, 99, 100, 101, 127, 128, 129, 200, 250, 255, 256, 257, 260)
"""Pages, batches and default limits of stores, and their neighbours."""
_CONSUMED_COUNTS = (129, 1, 64, 50, 100)


@contract(
    "bounded.count_of_many",
    rule="A count is exact at any size. It may be larger than a page, a batch or a default limit "
    "of the store.",
    source="convention: the caller chooses the count, and the store chooses the page size",
    cause="The count is cut to the page size of the store, or only the first page is read.",
    remedy="Read further pages until the count or the end of the history is reached.",
    seen="openai/openai-agents-python#4757: the caller's limit is passed on as the page size, "
    "which has its own maximum",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_count_larger_than_a_page_is_exact(s: Session, _: None) -> None:
    offered = _offered(s, LAST, BEGINNING, CONSUMED)
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(260)])
    kept = a.model.stored
    consumed = 0
    for operation in offered[::-1]:
        for count in _CONSUMED_COUNTS if operation == CONSUMED else _COUNTS:
            got = a.bounded(operation, *_bounds(operation, count, 60.0))
            start = consumed if operation == CONSUMED else 0
            wanted = kept[-count:] if operation == LAST else kept[start : start + count]
            consumed += count if operation == CONSUMED else 0
            which = "newest" if operation == LAST else "oldest"
            a.expect_part(got, wanted, _asked(len(wanted), kept, which))


_TIMES_SECONDS = (10, 0.7, 30.0, 3600.0, math.inf)


@contract(
    "bounded.both_bounds",
    rule="A count and a time apply together. The count stays exact if the time does not run out, "
    "and a time that has not run out does not end a read early. A time may be a fraction of a "
    "second. An infinite time is unlimited, or refused with an error.",
    source=_KAFKA,
    cause="One bound is checked only if the other one is not given.",
    remedy="Check each bound separately, and stop at the first one that is reached.",
    seen="convention: a caller who gives two bounds means both",
    modes=ONE_HANDLE,
    program=st.tuples(_windows(), strategies.some_of(_TIMES_SECONDS)),
)
def a_count_and_a_time_apply_together(s: Session, program: tuple[Windows, list[float]]) -> None:
    (batches, counts), times = program
    offered = _offered(s, BEGINNING, CONSUMED)
    a = _filled(s, batches)
    position = 0
    for operation in offered[
        ::-1
    ]:  # the consuming read first, because the other may move its position
        for number in range(max(len(counts), len(times))):
            count, seconds = counts[number % len(counts)], times[number % len(times)]
            start = position if operation == CONSUMED else 0
            got = a.bounded_unless_refused(operation, count, seconds)
            if got is None and math.isinf(seconds):
                continue  # a caller notices a refusal
            if a.took >= seconds / 2:
                return
            if got is None:
                a.bounded(operation, count, seconds)
                return
            wanted = a.model.stored[start : start + count]
            what = f"{_asked(count, a.model.stored[start:], 'next')} within {seconds:g} s"
            a.expect_part(got, wanted, what)
            position = start + len(wanted)


@contract(
    "bounded.unhit_bound",
    rule="A bound that is not reached has no effect. The read returns the same messages as "
    "without the bound.",
    source="convention: an upper limit says nothing about smaller values",
    cause="A count above the number of messages indexes past the end, or is too large a number "
    "for the store. Or the read waits for a full page.",
    remedy="Pass the smaller of the bound and the store's own maximum.",
    seen="openai/openai-agents-python#4757: a limit over the provider's page size fails",
    program=st.tuples(
        strategies.batches(max_batches=3),
        strategies.some_of([150, 1001, 10_001, 1_000_000, 2**31]),
        st.sampled_from([None, 60.0, 3600]),
    ),
)
def a_bound_that_is_not_reached_has_no_effect(
    s: Session, program: tuple[Batches, list[int], float | None]
) -> None:
    batches, counts, seconds = program
    offered = _offered(s, LAST, BEGINNING, CONSUMED)
    a = _filled(s, batches)
    if CONSUMED in offered:
        got = a.bounded(CONSUMED, counts[0], seconds)
        a.expect_part(got, a.model.stored, _all_within(counts[0], a.model.stored))
    for operation in (name for name in offered if name != CONSUMED):
        for count in counts:
            got = a.bounded(operation, *_bounds(operation, count, seconds))
            a.expect_part(got, a.model.stored, _all_within(count, a.model.stored))


def _all_within(count: int, kept: Sequence[Snapshot]) -> str:
    return f"the whole conversation of {messages_of(len(kept))} with a count of {count}"


@contract(
    "bounded.no_bound",
    rule="A bound of `None` means `unlimited`: `messages_from_beginning(None, None)` returns the "
    "whole conversation.",
    source=f"{_NAMES}: both bounds are optional",
    cause="None is replaced by the default count.",
    remedy="Distinguish a bound that was not given from a bound of None.",
    seen="langchain-neo4j 0.11.0: a default window hides all but the last messages",
    needs=(BEGINNING,),
    program=st.sampled_from([6, 11, 26, 101]),
    examples=4,
)
def no_bound_means_the_whole_conversation(s: Session, length: int) -> None:
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(length)])
    got = a.bounded(BEGINNING, None, None)
    a.expect_part(got, a.model.stored, f"all {length} messages")


_WAITS = ((0.2, 1.5), (2.0, 5.0))
"""Delays of the other writer and time bounds of the read; the second pair is for slow machines."""


@contract(
    "bounded.latest_waits",
    rule="`messages_from_latest` waits for messages that any handle adds after the call, and "
    "returns them in order.",
    source=_KAFKA,
    cause="The end of the history is looked up after the wait. Or the reader sees only messages "
    "that its own handle added.",
    remedy="Look up the end of the history when the call starts, and read on from there until the "
    "count or the time is reached.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: the end is looked up when "
    "the group has assigned its partitions, some time after the call",
    needs=(LATEST, "shared", "threads", "immediate_reads"),
    modes=(SYNC, ASYNC),
    program=st.integers(0, 2),
    examples=1,
)
def a_read_of_the_latest_waits_for_new_messages(s: Session, before: int) -> None:
    reader, writer = s.open(), s.open()
    if s.mode == "async" and not hasattr(s.subject.local.history(reader.key), f"a{LATEST}"):
        s.not_applicable(f"has no a{LATEST}")
    old = [HumanMessage(f"old{number}") for number in range(before + 1)]
    writer.add(old)
    for attempt, (delay, seconds) in enumerate(_WAITS):
        new = [HumanMessage(f"new{attempt}.{number}") for number in range(2)]
        lanes: list[Any] = [
            [(reader, LATEST, (2, seconds))],
            [(writer, "wait", (delay,)), (writer, "add_messages", (new,))],
        ]
        done = s.together(lanes)
        writer.model.add(new)
        wanted = writer.model.stored[-2:]
        got = list(done[0][0].value)
        if got and got != new[-len(got) :]:
            break
        if len(got) == 2:
            return
    what = "the 2 messages that were added after the call"
    reader.expect_part(s.lanes[0][0], wanted, what, otherwise="lost")


@contract(
    "bounded.latest_skips_the_past",
    rule="`messages_from_latest` returns no message that was added before the call. If no other "
    "writer adds a message, it returns an empty list when its time is up.",
    source=_KAFKA,
    cause="The read starts at the stored position, or at the last message instead of after it.",
    remedy="Look up the end of the history when the call starts, and return only later messages.",
    seen="convention: a caller who asks for the latest messages does not want old ones",
    needs=(LATEST,),
    modes=(SYNC, ASYNC),
    program=strategies.batches(max_batches=2, max_size=3),
    examples=1,
)
def a_read_of_the_latest_returns_no_old_messages(s: Session, batches: Batches) -> None:
    a = _filled(s, batches)
    got = a.bounded(LATEST, 5, 0.1)
    a.expect_part(got, [], "an empty list")


@contract(
    "bounded.last_moves_nothing",
    rule="`last_messages` does not move the position. Consuming reads before and after it deliver "
    "each message once and in order.",
    source="convention: `last_messages` takes a count and no position",
    cause="`last_messages` uses the consuming reader, which moves or commits its position.",
    remedy="Read the end of the history with a separate reader that does not use the session's "
    "position.",
    seen="convention: an application reads its chat window at every turn, next to other readers",
    needs=(LAST, CONSUMED),
    program=st.tuples(
        strategies.batches(max_batches=3),
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
    ),
)
def reading_the_last_messages_does_not_move_the_position(
    s: Session, program: tuple[Batches, list[tuple[int, int]]]
) -> None:
    batches, reads = program
    a = _filled(s, batches)
    kept, position = a.model.stored, 0
    for last, count in [*reads, (1, 1000)]:
        a.last(last)
        got = a.bounded(CONSUMED, count)
        if a.took >= DEFAULT_SECONDS:
            return
        wanted = kept[position : position + count]
        what = _asked(count, kept[position:], "next")
        a.expect_part(got, wanted, what, delivered=kept[:position], otherwise="lost")
        position += len(wanted)


@contract(
    "bounded.removes_nothing",
    rule="A bound limits the messages that a read returns, not the messages that are stored. "
    "After any bounded read, the whole conversation is still stored.",
    source="convention: a read does not write",
    cause="The bound cuts the stored list, or messages are deleted after they were delivered.",
    remedy="Apply the bound to a copy while reading.",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py: only the last "
    "history_size messages are stored",
    needs=("whole_reads",),
    program=st.tuples(_windows(), st.permutations((LAST, BEGINNING, CONSUMED))),
)
def a_bounded_read_removes_no_messages(s: Session, program: tuple[Windows, list[str]]) -> None:
    (batches, counts), order = program
    offered = _offered(s, LAST, BEGINNING, CONSUMED)
    a = _filled(s, batches)
    for operation in (name for name in order if name in offered):
        a.bounded(operation, *_bounds(operation, counts[0], 10.0))
        a.reads_back()


@contract(
    "bounded.other_sessions",
    rule="A bound counts only its own session's messages, no matter how many messages other "
    "sessions hold.",
    source="convention: each session is a separate conversation",
    cause="The number of messages to skip, or the position to start from, is computed over the "
    "whole store.",
    remedy="Count and skip within the session.",
    seen="langchain-ai/langchain-mongodb#12: the number of messages to skip is computed from the "
    "count of the whole collection",
    program=st.tuples(_windows(), st.integers(1, 6)),
)
def a_bound_counts_only_its_own_session(s: Session, program: tuple[Windows, int]) -> None:
    (batches, counts), others = program
    offered = _offered(s, LAST, BEGINNING, CONSUMED)
    a, b = s.open(), s.open("{nonce}-2")
    for batch in batches:
        b.add([HumanMessage(f"other{number}") for number in range(others)])
        a.add(batch)
    b.add([HumanMessage("other")])
    kept = a.model.stored
    for operation in offered[::-1]:
        got = a.bounded(operation, *_bounds(operation, counts[0], 10.0))
        wanted = kept[-counts[0] :] if operation == LAST else kept[: counts[0]]
        a.expect_part(
            got, wanted, _asked(counts[0], kept, "newest" if operation == LAST else "oldest")
        )


_ADDED = 90
"""Messages that the session holds before others arrive: some pages of a store."""


@contract(
    "bounded.while_messages_arrive",
    since="0.2",
    rule="While another handle adds messages, `messages_from_beginning(n)` returns the n oldest "
    "messages, and `last_messages(n)` returns n messages that follow one another.",
    source="convention: a bounded read returns a part of the conversation, without a gap, and "
    "messages are added only at its end",
    cause="Pages are requested by offset from the newest message. Each message that arrives "
    "between two requests moves all offsets by one.",
    remedy="Request the next page by the position of the last message, or read in one snapshot.",
    seen="Shivayan09/Vector#538: offset pages repeat messages when new ones arrive between them",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC),
    program=st.integers(1, 3),
    examples=3,
    racy=True,
)
def bounded_reads_are_exact_while_messages_arrive(s: Session, size: int) -> None:
    offered = _offered(s, LAST, BEGINNING)
    writer = s.open()
    writer.add([HumanMessage(f"m{number}") for number in range(_ADDED)])
    batches = [
        [HumanMessage(f"m{_ADDED + turn * size + number}") for number in range(size)]
        for turn in range(12)
    ]
    adding = [step for batch in batches for step in _add_and_wait(writer, batch)]
    readers = [(s.open(), operation) for operation in offered]
    counts = (50, 25, 64) * 4
    reading = [
        [(reader, operation, _bounds(operation, count, 60.0)) for count in counts]
        for reader, operation in readers
    ]
    s.together([*reading, adding])
    for batch in batches:
        writer.model.add(batch)
    kept = writer.model.stored
    for lane, (_, operation) in enumerate(readers):
        for number, count in enumerate(counts):
            read = s.lanes[lane][number]
            if operation == BEGINNING:
                writer.expect_part(read, kept[:count], _asked(count, kept))
            s.check(
                are_consecutive,
                read,
                count,
                kind="wrong_bound",
                summary=f"`{operation}({count})` returned {len(read.value)} messages that are not "
                f"{count} messages in a row",
                returned=[str(item.content) for item in read.value],
            )


def _add_and_wait(writer: Handle, batch: Sequence[BaseMessage]) -> list[Any]:
    return [(writer, "add_messages", (batch,)), (writer, "wait", (0.001,))]
