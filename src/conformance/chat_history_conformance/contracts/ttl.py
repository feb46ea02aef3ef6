"""Time to live: messages are returned until their time has passed, and not after it.

Nothing here depends on exact timing. A message must be present only in reads that ended a second
before it may expire at the earliest, because stores may count whole seconds. It must be absent
only from reads that began well after it must have expired. If a slow machine misses the time
between the two, the steps are repeated with a longer time to live.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import BEGINNING, CONSUMED, LAST
from chat_history_conformance.contracts.catalogue import ASYNC, ONE_HANDLE, PROCESS, SYNC, contract
from chat_history_conformance.diagnosis.compare import Snapshot
from chat_history_conformance.diagnosis.script_claims import (
    at_most,
    contents_are,
    is_empty,
    starting_with,
    was_refused,
)
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]

COARSE_SECONDS = 1.0
"""Seconds by which a store that counts whole seconds may be early or late."""
LATE_SECONDS = 1.5
"""Seconds past its time after which a message must be gone, with a margin for a coarse store."""
TIMES_SECONDS = (0.12, 0.8, 4.0, 8.0, 16.0)
"""Times to live in seconds. A coarse or slow store needs one of the longer ones."""
LONG_SECONDS = 60.0
"""A time to live in seconds that is longer than any contract runs."""

_FACTORY = "convention: with_ttl(session_id, ttl_ms) opens a history whose messages expire"
_SWEEPER = "langchain-community 0.4.2, chat_message_histories/dynamodb.py, `messages`: no check of "


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _with_shortest_time(
    s: Session, session: str = "{nonce}-1", *, in_this_process: bool = False
) -> tuple[Handle, float]:
    """Open a handle with the shortest accepted time to live, and return both (in seconds)."""
    return next(_with_longer_times(s, session, in_this_process=in_this_process))


def _with_longer_times(
    s: Session, session: str = "{nonce}-1", *, in_this_process: bool = False
) -> Iterator[tuple[Handle, float]]:
    """Open handles on separate sessions, with longer and longer times to live in seconds.

    After the last one, the contract is not applicable, because nothing could be observed.
    """
    for number, seconds in enumerate(TIMES_SECONDS):
        name = session if number == 0 else f"{session}.{number}"
        handle, _ = s.try_open(name, ttl=(_ms(seconds),), in_this_process=in_this_process)
        if handle is not None:
            yield handle, seconds
    s.not_applicable(
        f"all times to live of {TIMES_SECONDS[0]:g} to {TIMES_SECONDS[-1]:g} s were refused, or "
        "passed before a read ended"
    )


def _wait_until_expired(s: Session, handle: Handle, seconds: float) -> None:
    """Wait until all messages of a session have expired, and fail if they do not in time."""
    count = len(handle.model.stored)
    got = handle.read_until(seconds + LATE_SECONDS, is_empty)
    s.check(
        is_empty,
        handle.result,
        kind="stale",
        summary=f"{len(got)} of {count} messages came back {LATE_SECONDS:g} s after their time to "
        f"live of {_ms(seconds)} ms had passed",
    )
    handle.model.clear()


@contract(
    "ttl.expires",
    rule="A message is not returned after its time to live has passed, and it does not come back. "
    "(Tolerance: 1.5 seconds.)",
    source=_FACTORY,
    cause="Expired records are left to a sweeper that runs now and then. Or milliseconds are used "
    "as seconds.",
    remedy="Leave out expired messages when reading, even if the store removes them by itself.",
    seen=f"{_SWEEPER}expireAt",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def expired_messages_are_not_returned(s: Session, _: None) -> None:
    a, seconds = _with_shortest_time(s)
    a.add([HumanMessage("cleared")])
    a.clear()
    a.add([HumanMessage("m0"), HumanMessage("m1")])
    a.add([HumanMessage("m2")])
    _wait_until_expired(s, a, seconds)
    got = a.read()
    s.check(
        is_empty,
        a.result,
        kind="resurrected",
        summary=f"{len(got)} of 3 messages came back after all had expired",
    )


_ZONES = ("AAA-14", "BBB+11")
"""Time zones of POSIX: 14 hours ahead of UTC, and 11 hours behind it."""
_HOUR_MS = 3_600_000


@contract(
    "ttl.another_time_zone",
    since="0.2",
    rule="Processes with different time zones agree on the expiry of messages: a message that is "
    "to live for an hour is returned in each of them, and a message whose time has passed in none. "
    "(Tolerance: 1.5 seconds.)",
    source=_FACTORY,
    cause="The time of expiry is stored as a local time without a time zone.",
    remedy="Store a time in UTC, or seconds since the epoch.",
    seen="chatwoot/chatwoot#11010: the stored times of some messages are off by the time zone",
    needs=("with_ttl", "shared", "immediate_reads"),
    modes=(PROCESS,),
    examples=1,
)
def processes_in_other_time_zones_agree_on_expiry(s: Session, _: None) -> None:
    for number, zone in enumerate(_ZONES):
        s.second_process_starts_with(TZ=zone)
        long = f"{{nonce}}-long{number}"
        a, _error = s.try_open(long, ttl=(_HOUR_MS,), in_this_process=True)
        if a is not None:
            b = s.open(long, ttl=(_HOUR_MS,), in_second_process=True)
            for adding in (a, b):
                adding.add([HumanMessage(f"by {adding.name}")])
                a.reads_back()
                b.reads_back()
        for writing in ("here", "there"):
            short = f"{{nonce}}-{writing}{number}"
            a, seconds = _with_shortest_time(s, short, in_this_process=True)
            b = s.open(a.session, ttl=(_ms(seconds),), in_second_process=True)
            writer, reader = (a, b) if writing == "here" else (b, a)
            writer.add([HumanMessage("m0")])
            _wait_until_expired(s, reader, seconds)


@contract(
    "ttl.reading_renews_nothing",
    rule="The time to live starts at the write. A message that is read again and again still "
    "expires. (Tolerance: 1.5 seconds.)",
    source=f"{_FACTORY}: by the age of the message, or by the last write of the session",
    cause="Each read restarts the time to live, as with a session cookie or a cache.",
    remedy="Set the time of expiry when writing, and only then.",
    seen="convention: otherwise a conversation that is read often never expires",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def reading_does_not_renew_the_time_to_live(s: Session, _: None) -> None:
    for a, seconds in _with_longer_times(s):
        a.add([HumanMessage("m0"), HumanMessage("m1")])
        started = time.monotonic()
        got = a.read_until(seconds + LATE_SECONDS, is_empty)
        s.check(
            is_empty,
            a.result,
            kind="stale",
            summary=f"{len(got)} of 2 messages that were read again and again came back "
            f"{LATE_SECONDS:g} s after their time to live of {_ms(seconds)} ms had passed",
        )
        pauses = (later - sooner for sooner, later in pairwise([started, *a.read_moments]))
        if max(pauses) < seconds / 2:
            return
        # The pauses were so long that the messages could expire between two reads.


@contract(
    "ttl.expires_elsewhere",
    rule="A message expires for every handle of its session, in other processes too, and even "
    "after the handle that wrote it was closed.",
    source=_FACTORY,
    cause="The handle that wrote the message tracks its expiry, with its own timer or a table in "
    "its memory.",
    remedy="Store the time of expiry with the message, and let every reader check it.",
    seen="convention: all readers of a session must see the same conversation",
    needs=("with_ttl", "shared", "immediate_reads"),
    modes=(SYNC, ASYNC, PROCESS),
    examples=1,
)
def messages_expire_for_every_handle(s: Session, _: None) -> None:
    a, seconds = _with_shortest_time(s)
    a.add([HumanMessage("m0"), HumanMessage("m1")])
    b = s.open(a.session, ttl=(_ms(seconds),))
    a.release()
    _wait_until_expired(s, b, seconds)


_LATER_SECONDS = ((90.0, 75.0), (5_400.0, 4_500.0), (129_600.0, 108_000.0))
"""Times to live with a part of a minute, an hour and a day, and moments within that part."""


@contract(
    "ttl.kept_until",
    rule="A message is returned until its time to live has passed. (Tested until one second "
    "before it.)",
    source=_FACTORY,
    cause="Milliseconds are used as a smaller unit, or are added to a time in another unit. Or "
    "the time to live is cut to whole minutes, hours or days.",
    remedy="Name the unit in every variable, convert once, and round up.",
    seen="convention: the argument is called ttl_ms",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def messages_are_kept_until_they_expire(s: Session, _: None) -> None:
    minute, month = s.open(ttl=(60_000,)), s.try_open("{nonce}-2", ttl=(2_592_000_000,))[0]
    handles = [minute] if month is None else [minute, month]
    started = time.monotonic()
    for handle in handles:
        handle.add([HumanMessage("m0"), HumanMessage("m1")])
    for wait in (0.0, 0.1):
        if wait:
            s.sleep(wait)
        for handle in handles:
            got = handle.read()
            if time.monotonic() < started + 60.0 - COARSE_SECONDS:
                handle.expect(got, handle.model.stored)
    for number, (ttl_seconds, later_seconds) in enumerate(_LATER_SECONDS):
        later = s.try_open(f"{{nonce}}-later{number}", ttl=(_ms(ttl_seconds),))[0]
        if later is not None:
            _expect_later(s, later, later_seconds)


def _expect_later(s: Session, a: Handle, seconds: float) -> None:
    """Read when the clock of the client is some seconds later, if the store allows that."""
    a.add([HumanMessage("m0"), HumanMessage("m1")])
    with s.clock(a, float(int(time.time())) + seconds):
        got = a.bounded_unless_refused("messages")
        if got is not None:
            a.expect(got, a.model.stored)


_SHORT_SECONDS = 1.9


@contract(
    "ttl.not_early",
    since="0.2",
    level="should",
    rule=f"A time to live is not shortened to whole seconds: a message that is to live "
    f"{_SHORT_SECONDS:g} s is returned after 1.05 s.",
    source=f"{_FACTORY}; convention: a time to live that the store cannot represent is rounded up, "
    "because a caller relies on the messages until then",
    cause="Milliseconds are divided by 1,000 and rounded down.",
    remedy="Round up.",
    seen="convention: EXPIRE of Redis takes whole seconds, and PEXPIRE milliseconds",
    needs=("with_ttl",),
    modes=(SYNC, ASYNC),
    examples=1,
)
def messages_do_not_expire_a_part_of_a_second_early(s: Session, _: None) -> None:
    for number in range(3):
        a, _error = s.try_open(f"{{nonce}}-{number + 1}", ttl=(_ms(_SHORT_SECONDS),))
        if a is None:
            s.not_applicable(f"a time to live of {_SHORT_SECONDS:g} s was refused")
        started = time.monotonic()
        a.add([HumanMessage("m0"), HumanMessage("m1")])
        s.sleep(1.05)
        got = a.read()
        if time.monotonic() < started + _SHORT_SECONDS:
            a.expect(got, a.model.stored)
            return
    s.not_applicable(f"an add, a pause of 1.05 s and a read took {_SHORT_SECONDS:g} s or longer")


@contract(
    "ttl.by_granularity",
    rule="Messages expire as `ttl_granularity` of the declaration says: each message by its own "
    "age (`message`), or the whole session by its last write (`session`).",
    source=f"{_FACTORY}; ttl_granularity of the declaration",
    cause="Each write sets the expiry of the session's key, but `message` is declared. Or each "
    "record has its own expiry, but `session` is declared.",
    remedy="Declare the granularity that the backend has.",
    seen="langchain-community 0.4.2, chat_message_histories/redis.py: expire() on each add is "
    "`session`; langchain-redis 0.2.6: a ttl for each document is `message`",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def messages_expire_by_the_declared_granularity(s: Session, _: None) -> None:
    by_message = s.subject.backend.ttl_granularity == "message"
    for a, seconds in _with_longer_times(s):
        strict = seconds > 2 * COARSE_SECONDS
        coarse = COARSE_SECONDS if strict else 0.0
        started = time.monotonic()
        a.add([HumanMessage("old")])
        old_gone = time.monotonic() + seconds + coarse
        s.sleep(0.65 * seconds)
        new_gone = time.monotonic() + seconds - coarse
        a.add([HumanMessage("new")])
        if time.monotonic() > started + seconds - coarse:
            continue  # the older one may have expired by then
        wanted = a.model.stored[-1:] if by_message else a.model.stored
        s.sleep(round(max(0.0, old_gone - time.monotonic()) + 0.01, 3))
        while True:
            got = a.read()
            if time.monotonic() > new_gone:
                break  # too late: try a longer time to live
            contents = [item.content for item in got]
            if contents == [kept.message.content for kept in wanted]:
                return
            if strict:
                _fail_granularity(s, a, got, wanted)
            s.sleep(0.01)


def _fail_granularity(
    s: Session, a: Handle, got: list[BaseMessage], wanted: list[Snapshot]
) -> None:
    if s.subject.backend.ttl_granularity == "message":
        late = len(got) > len(wanted)
        happened = "came back after" if late else "was gone before"
        summary = (
            f"the {'older' if late else 'newer'} message {happened} its time to live had passed"
        )
    else:
        late = False
        summary = (
            f"only {len(got)} of 2 messages came back, although the time to live of the last write "
            "had not passed"
        )
    wanted_contents = [kept.message.content for kept in wanted]
    s.check(
        contents_are,
        a.result,
        wanted_contents,
        kind="stale" if late else "lost",
        summary=summary,
        expected=[str(wanted_contents)],
        returned=[str([item.content for item in got])],
    )


@contract(
    "ttl.sessions_independent",
    rule="When messages of one session expire, no messages of another session disappear, whatever "
    "the times to live of the two sessions are.",
    source=_FACTORY,
    cause="The time to live is a setting of the whole store, table or class, and the last one "
    "wins.",
    remedy="Keep the time of expiry with the messages.",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py: default_ttl is a setting "
    "of the container",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def expiry_leaves_other_sessions_alone(s: Session, _: None) -> None:
    before = s.open("{nonce}-2", ttl=(_ms(LONG_SECONDS),))
    a, seconds = _with_shortest_time(s)
    after = s.open("{nonce}-3", ttl=(_ms(LONG_SECONDS),))
    started = time.monotonic()
    for number, handle in enumerate((before, a, after)):
        handle.add([HumanMessage(f"m{number}"), HumanMessage(f"n{number}")])
    _wait_until_expired(s, a, seconds)
    for handle in (before, after):
        got = handle.read()
        if time.monotonic() < started + LONG_SECONDS - COARSE_SECONDS:
            handle.expect(got, handle.model.stored)


@contract(
    "ttl.none_means_never",
    rule="With `ttl_ms=None` messages never expire, even if other handles of the store have a "
    "time to live.",
    source=_FACTORY,
    cause="None falls back to a default, or to the value that another handle received.",
    remedy="Write no time of expiry if none was requested.",
    seen="langchain-community 0.4.2, chat_message_histories/momento.py: ttl=None means the cache's "
    "default",
    needs=("with_ttl",),
    modes=(SYNC, ASYNC),
    examples=1,
)
def messages_without_a_time_to_live_stay(s: Session, _: None) -> None:
    b = s.open("{nonce}-2", ttl=(None,))
    a, seconds = _with_shortest_time(s)
    a.add([HumanMessage("m0")])
    b.add([HumanMessage("m1"), HumanMessage("m2")])
    _wait_until_expired(s, a, seconds)
    s.sleep(min(seconds, COARSE_SECONDS))  # these were added a moment later
    b.expect(b.read(), b.model.stored)


@contract(
    "ttl.ends_with_clear",
    since="0.2",
    rule="A time to live ends with the messages that had it. Messages that a handle with "
    "`ttl_ms=None` adds after a clear never expire, whatever the cleared ones had.",
    source=f"{_FACTORY}; langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all "
    "messages",
    cause="`clear` removes the messages and leaves the expiry of the session behind.",
    remedy="Remove the expiry with the messages. If the first handle of a session chooses the time "
    "to live for good, list `ttl_per_handle` in `lacks=`, with a reason.",
    seen="convention: an expiry often has a separate key",
    needs=("with_ttl", "shared", "ttl_per_handle"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_time_to_live_ends_with_the_cleared_messages(s: Session, _: None) -> None:
    a, seconds = _with_shortest_time(s)
    a.add([HumanMessage("m0")])
    b = s.open("{nonce}-2", ttl=(_ms(seconds),))
    b.add([HumanMessage("cleared")])
    b.clear()
    c = s.open("{nonce}-2", ttl=(None,))
    c.add([HumanMessage("m1"), HumanMessage("m2")])
    _wait_until_expired(s, a, seconds)
    s.sleep(min(seconds, COARSE_SECONDS))  # these were added a moment later
    c.expect(c.read(), c.model.stored)


@contract(
    "ttl.nonsense_refused",
    rule="A negative time to live, or a text instead of a time, is refused with an error, when "
    "the history is opened or at the first write.",
    source="convention: a time in the past, or a value that is not a time, is a mistake of the "
    "caller",
    cause="The value reaches the store unchecked, and the store deletes at once if it is negative.",
    remedy="Check the value when the history is opened, and accept only None or an int of 1 or "
    "more.",
    seen="convention: Redis deletes the key at EXPIRE with a negative time",
    needs=("with_ttl",),
    modes=(SYNC, ASYNC),
    program=strategies.some_of([-1, -60_000, "60000", "soon"]),
)
def invalid_times_to_live_are_refused(s: Session, nonsense: list[Any]) -> None:
    for number, ttl_ms in enumerate(nonsense):
        handle, _ = s.try_open(f"{{nonce}}-{number}", ttl=(ttl_ms,))
        if handle is None:
            continue
        handle.try_add([HumanMessage("m0")])
        s.check(
            was_refused,
            s.error,
            kind="wrong_bound",
            summary=f"accepted {ttl_ms!r} as a time to live, instead of refusing it",
        )


@contract(
    "ttl.reads_agree",
    rule="After one read has found a message expired, no later read returns the message, on the "
    "same handle or on another one.",
    source="convention: two reads within one turn agree unless a message expired between them",
    cause="A handle caches messages, or computes expiry with its own clock.",
    remedy="Ask the store at each read, and compare times of one clock.",
    seen="convention: a chat turn reads twice, at entry and at exit",
    needs=("with_ttl", "shared", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def messages_that_expired_for_one_read_stay_expired_for_all(s: Session, _: None) -> None:
    for a, seconds in _with_longer_times(s):
        b = s.open(a.session, ttl=(_ms(seconds),))
        a.add([HumanMessage("m0"), HumanMessage("m1")])
        if not b.read():
            continue  # they had expired before b could keep a copy
        _wait_until_expired(s, a, seconds)
        for handle in (b, a, b):
            got = handle.read()
            s.check(
                is_empty,
                handle.result,
                kind="resurrected",
                summary=f"handle {handle.name} returned {len(got)} of 2 messages after handle "
                f"{a.name} had found them expired",
            )
        return


@contract(
    "ttl.usable_after_expiry",
    rule="A session whose messages have expired can be written again. Reads then return the new "
    "messages and none of the expired ones.",
    source=_FACTORY,
    cause="The next write renews the expiry of the whole session, with its old messages still "
    "there. Or the session stays marked as expired.",
    remedy="Remove expired messages before a write, or keep the time of expiry with each message.",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py, add_messages: reads the "
    "item without checking expireAt, and writes it back with a new one",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_session_can_be_used_after_its_messages_expired(s: Session, _: None) -> None:
    for a, seconds in _with_longer_times(s):
        a.add([HumanMessage("old0"), HumanMessage("old1")])
        _wait_until_expired(s, a, seconds)
        started = time.monotonic()
        a.add([HumanMessage("new")])
        got = a.read()
        in_time = time.monotonic() < started + seconds - COARSE_SECONDS
        old = [item for item in got if str(item.content).startswith("old")]
        s.check(
            starting_with,
            a.result,
            "old",
            [],
            kind="resurrected",
            summary=f"a new message brought back {len(old)} of 2 expired messages",
        )
        if got or in_time:
            a.expect(got, a.model.stored)
            return


@contract(
    "ttl.bounded_reads_honour_it",
    rule="Bounded and consuming reads do not return expired messages either.",
    source=_FACTORY,
    cause="Only `messages` leaves out expired messages.",
    remedy="Leave out expired messages in one function that all reads call.",
    seen="convention: a message that is gone is gone for every read",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def bounded_reads_do_not_return_expired_messages(s: Session, _: None) -> None:
    offered = _offered_reads(s)
    a, seconds = _with_shortest_time(s)
    a.add([HumanMessage("m0"), HumanMessage("m1")])
    _wait_until_expired(s, a, seconds)
    for operation in offered:
        bounds = (5,) if operation == LAST else (5, 5.0)
        got = a.bounded(operation, *bounds)
        s.check(
            is_empty,
            a.result,
            kind="stale",
            summary=f"`{operation}` returned {len(got)} of 2 expired messages",
        )


def _offered_reads(s: Session) -> list[str]:
    offered = s.offered((CONSUMED, LAST, BEGINNING))
    if not offered:
        s.not_applicable(f"has none of {LAST}, {BEGINNING} and {CONSUMED}")
    return offered


@contract(
    "ttl.bounds_count_the_living",
    rule="If each message expires by its own age, a bound counts only messages that have not "
    "expired: the n newest, oldest or next of them.",
    source="convention: an expired message does not exist any more, so that it does not count",
    cause="The store is asked for n records, and expired ones are left out afterwards.",
    remedy="Leave out expired messages in the query, before the limit is applied.",
    seen="openai/openai-agents-python#3174: a limit can return fewer valid items when the latest "
    "envelopes are invalid",
    needs=("with_ttl", "immediate_reads"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_bound_counts_only_messages_that_have_not_expired(s: Session, _: None) -> None:
    if s.subject.backend.ttl_granularity != "message":
        s.not_applicable("the session expires as a whole: ttl_granularity is session")
    offered = _offered_reads(s)
    if "whole_reads" in s.subject.backend.lacks:
        # Whole reads of this history may move the position past all messages.
        offered = [operation for operation in offered if operation != CONSUMED]
    for a, seconds in _with_longer_times(s):
        started = time.monotonic()
        a.add([HumanMessage("old0"), HumanMessage("old1")])
        s.sleep(0.65 * seconds)
        a.add([HumanMessage("new0"), HumanMessage("new1")])
        if time.monotonic() > started + seconds:
            continue  # the older ones may have expired by then
        living = ["new0", "new1"]
        got = a.read_until(seconds + LATE_SECONDS, at_most, 2)
        if [item.content for item in got] != living:
            continue
        reads = []
        for operation in offered:
            bounds = (2,) if operation == LAST else (2, 5.0)
            a.bounded(operation, *bounds)
            reads.append(a.result)
        # If this read agrees with the first one, nothing expired in between.
        if [item.content for item in a.read()] != living:
            continue
        for returned in reads:
            a.expect_part(returned, a.model.stored[-2:], "2 messages, with 2 more expired")
        return


@contract(
    "ttl.living_messages_stay",
    since="0.2",
    rule="If each message expires by its own age, the other messages of the session stay as they "
    "were: unchanged and in order, also after the next writes.",
    source=f"{_FACTORY}; langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns "
    "the messages",
    cause="A write removes expired messages by writing all others again, in another order or "
    "without some of them.",
    remedy="Delete expired records one by one, and touch no other record.",
    seen="run-llama/llama_index#22963: a list that is written again after a deletion is reversed; "
    "pallets-eco/flask-session#151: no time of expiry counts as expired",
    needs=("with_ttl", "shared", "immediate_reads", "ttl_per_handle"),
    modes=(SYNC, ASYNC),
    examples=1,
)
def messages_that_live_stay_when_others_expire(s: Session, _: None) -> None:
    if s.subject.backend.ttl_granularity != "message":
        s.not_applicable("the session expires as a whole: ttl_granularity is session")
    a, seconds = _with_shortest_time(s)
    never = s.open(a.session, ttl=(None,))
    never.add([HumanMessage("m0"), HumanMessage("m1")])
    a.add([HumanMessage("old0"), HumanMessage("old1")])
    never.add([HumanMessage("m2")])
    a.add([HumanMessage("old2")])
    never.read_until(seconds + LATE_SECONDS, at_most, 3)
    kept = never.model.stored
    never.model.stored = [one for one in kept if not str(one.message.content).startswith("old")]
    never.reads_back()
    for number in (3, 4):
        never.add([HumanMessage(f"m{number}")])
        never.reads_back()


@contract(
    "ttl.changes_nothing_else",
    rule="A time to live that has not passed changes nothing: all messages come back, in order.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages",
    cause="Messages with a time to live are stored differently, for example under separate keys, "
    "and are read without an order.",
    remedy="Keep the order of acceptance in addition to the time of expiry.",
    seen="langchain-redis 0.2.6 stores a document for each message, with its own ttl",
    needs=("with_ttl",),
    modes=ONE_HANDLE,
    program=strategies.batches(),
)
def a_time_to_live_changes_nothing_else(s: Session, batches: Batches) -> None:
    a = s.open(ttl=(_ms(LONG_SECONDS),))
    started = time.monotonic()
    for batch in batches:
        a.add(batch)
    got = a.read()
    if time.monotonic() < started + LONG_SECONDS - COARSE_SECONDS:
        a.expect(got, a.model.stored)
