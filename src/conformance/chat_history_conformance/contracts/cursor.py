"""Consuming reads: a position goes through the conversation once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import BEGINNING, CONSUMED, DEFAULT_SECONDS
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, ONE_HANDLE, SYNC, contract
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]
Turn = tuple[list[BaseMessage], int, int]
"""A batch to add, a count to read then, and the number of the handle to read with."""

_KAFKA = (
    "convention: langchain-community 0.4.2, KafkaChatMessageHistory.messages_from_last_consumed, "
    "goes on from the last consumed message"
)


def _turns(*, handles: int = 1, max_turns: int = 5) -> st.SearchStrategy[list[Turn]]:
    """Batches, maybe empty ones, each followed by a read of so many through one of the handles."""
    batches = strategies.batches(min_batches=2, max_batches=max_turns, min_size=0)
    reads = st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, handles - 1)),
        min_size=max_turns,
        max_size=max_turns,
    )
    return st.tuples(batches, reads).map(
        lambda drawn: [
            (batch, *read) for batch, read in zip(drawn[0], drawn[1][: len(drawn[0])], strict=True)
        ]
    )


class _Position:
    """How far a session was consumed, and the rule that every read goes on from there."""

    def __init__(self) -> None:
        self.reached = 0

    def read(self, handle: Handle, count: int | None = None) -> None:
        """Consume up to `count` messages, all that is left where there is none."""
        kept = handle.model.stored
        got = handle.bounded(CONSUMED, count, DEFAULT_SECONDS)
        wanted = kept[self.reached :][:count]
        if handle.took >= DEFAULT_SECONDS:  # cut by its time: a part of it must do
            wanted = wanted[: len(got)]
        what = f"the next {len(wanted)} of {len(kept)} messages" if wanted else "more than all"
        handle.expect_part(got, wanted, what, delivered=kept[: self.reached], otherwise="lost")
        self.reached += len(wanted)


@contract(
    "cursor.once_in_order",
    rule="Consuming reads deliver each message once and in the order of the conversation; when all "
    "are delivered, a further read returns an empty list.",
    source=_KAFKA,
    cause="the position is not moved, or is moved to a key that several messages share",
    remedy="keep the position as a number that the store gives each message and that always rises",
    seen="langchain-elasticsearch 1.0.0: search_after on created_at alone skips what shares a "
    "millisecond with the last one",
    needs=(CONSUMED,),
    program=strategies.batches(max_batches=4),
)
def each_message_is_delivered_once_and_in_order(s: Session, batches: Batches) -> None:
    a, position = s.open(), _Position()
    for batch in batches:
        a.add(batch)
    for _ in range(2):
        position.read(a)


@contract(
    "cursor.in_steps",
    rule="Consuming reads of any size, with additions between them, deliver each message once and "
    "in order.",
    source=_KAFKA,
    cause="the position is counted from the newest end, or points at the last message read and is "
    "read from again",
    remedy="start the next read behind the last message that was returned",
    seen="Shivayan09/Vector#538: offset pages repeat messages when new ones arrive between them",
    needs=(CONSUMED,),
    program=_turns(),
)
def reads_in_steps_deliver_each_message_once(s: Session, turns: list[Turn]) -> None:
    a, position = s.open(), _Position()
    for batch, count, _ in turns:
        if batch:
            a.add(batch)
        position.read(a, count)
    position.read(a)


@contract(
    "cursor.across_handles",
    rule="The position belongs to the session: a consuming read through another handle, in another "
    "process too, goes on where the last one ended. (Reads that follow one another; for those that "
    "overlap see cursor.overlapping_lose_nothing.)",
    source=f"{_KAFKA}, by a consumer group named after the session",
    cause="each handle keeps its own position, or takes the stored one only when it is opened",
    remedy="keep the position in the store, and read it at each consuming read",
    seen="convention: a position that is kept in the store is the store's",
    needs=(CONSUMED, "shared"),
    modes=HANDLES,
    program=_turns(handles=2),
)
def the_position_is_shared_by_all_handles(s: Session, turns: list[Turn]) -> None:
    handles, position = [s.open(), s.open()], _Position()
    for batch, count, number in turns:
        if batch:
            handles[0].add(batch)
        position.read(handles[number], count)
    position.read(handles[1])
    position.read(handles[0])


@contract(
    "cursor.survives_reopening",
    rule="The position outlives the handle: after closing and opening again, in another process "
    "too, a consuming read goes on where the last one ended.",
    source=f"{_KAFKA}, whose position is kept by the broker",
    cause="the position is kept in the handle, or written only now and then",
    remedy="store the position before the read returns",
    seen="convention: else a restart delivers the whole conversation again",
    needs=(CONSUMED, "shared", "durable"),
    modes=HANDLES,
    program=_turns(max_turns=3),
)
def the_position_survives_reopening(s: Session, turns: list[Turn]) -> None:
    position = _Position()
    for batch, count, _ in turns:
        handle = s.open()
        if batch:
            handle.add(batch)
        position.read(handle, count)
        handle.release()
    position.read(s.open())


@contract(
    "cursor.after_clear",
    rule="After a clear, consuming reads go on with what is added next: nothing of that is "
    "skipped, and nothing that was cleared is delivered.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages; "
    "and convention: a cleared session is one that begins anew",
    cause="the position is a number of messages and stays, while counting begins again at 0",
    remedy="count on over a clear, or set the position back together with it",
    seen="convention: status-im/status-legacy#7097 shows what a count as position does when "
    "messages move",
    needs=(CONSUMED,),
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        st.integers(0, 4),
        strategies.batches(max_batches=2, max_size=3),
        st.booleans(),
    ),
)
def after_a_clear_reading_goes_on_with_what_is_new(
    s: Session, program: tuple[Batches, int, Batches, bool]
) -> None:
    before, count, after, look = program
    a, position = s.open(), _Position()
    for batch in before:
        a.add(batch)
    if count:
        position.read(a, count)
    a.clear()
    if look:
        a.expect(a.bounded(CONSUMED, 100, DEFAULT_SECONDS), a.model.stored)
    for number, batch in enumerate(after):
        a.add([type(item)(f"new{number}.{place}") for place, item in enumerate(batch)])
    got = a.bounded(CONSUMED, 100, DEFAULT_SECONDS)
    if a.took < DEFAULT_SECONDS:
        a.expect(got, a.model.stored)


@contract(
    "cursor.new_session_from_the_start",
    rule="Where nothing was consumed yet, the first consuming read begins with the first message, "
    "also one that was added before the reading handle was opened.",
    source=f"{_KAFKA}; its consumer starts with the earliest message where there is no position",
    cause="a reader without a position starts at the end (`auto.offset.reset=latest`)",
    remedy="without a position start at the beginning",
    seen="convention: what was never read is unread",
    needs=(CONSUMED, "shared"),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=3), st.integers(0, 2)),
)
def the_first_read_begins_with_the_first_message(s: Session, program: tuple[Batches, int]) -> None:
    batches, early = program
    writer, position = s.open(), _Position()
    for batch in batches[:early]:
        writer.add(batch)
    reader = s.open()
    for batch in batches[early:]:
        writer.add(batch)
    position.read(reader)


@contract(
    "cursor.sessions_apart",
    rule="Each session has a position of its own: consuming one moves nothing in another.",
    source="convention: a position says how far one conversation was read",
    cause="one position for the whole store, or one for each handle object or client",
    remedy="keep the position under the session id",
    seen="convention: a session is a conversation of its own",
    needs=(CONSUMED,),
    program=_turns(handles=2),
)
def each_session_has_its_own_position(s: Session, turns: list[Turn]) -> None:
    handles = [s.open(), s.open("{nonce}-2")]
    positions = [_Position(), _Position()]
    for batch, count, number in turns:
        for which, handle in enumerate(handles):
            if batch:
                handle.add([type(item)(f"{item.content}.{which}") for item in batch])
        positions[number].read(handles[number], count)
    for number in (1, 0):
        positions[number].read(handles[number])


_AFTER_A_RESET: dict[str, Callable[[int, int], int]] = {
    "it moves the position to where it ends": lambda before, end: end,
    "it leaves the position alone": lambda before, end: before,
    "it sets the position back to the start": lambda before, end: 0,
    "it only moves the position on": max,
}
"""What a read from the beginning may do to the position: the backend chooses one."""


@contract(
    "cursor.reset_is_consistent",
    rule="Whether `messages_from_beginning` moves the position of the consuming reads is the "
    "backend's to choose: to where it ends, not at all, back to the start, or only forward. It is "
    "then the same at every read, whatever its count and whatever was consumed before.",
    source="convention: langchain-community 0.4.2, KafkaChatMessageHistory.messages_from_beginning "
    "sets the position back to the start and reads on from there",
    cause="the position is committed on one way out of the read and not on another",
    remedy="set the position in one place, from what was returned, at every such read or at none",
    seen="convention: without one rule nobody can say what the next read returns",
    needs=(CONSUMED, BEGINNING),
    program=st.tuples(
        st.integers(3, 6),
        st.lists(st.tuples(st.integers(1, 7), st.integers(1, 2)), min_size=2, max_size=4),
    ),
)
def a_read_from_the_beginning_always_does_the_same_to_the_position(
    s: Session, program: tuple[int, list[tuple[int, int]]]
) -> None:
    length, reads = program
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(length)])
    kept, rules, position = a.model.stored, list(_AFTER_A_RESET), 0
    for oldest, count in reads:
        end = len(a.bounded(BEGINNING, oldest))
        starts = {rule: _AFTER_A_RESET[rule](position, end) for rule in rules}
        possible = sorted(set(starts.values()))
        got = [item.content for item in a.bounded(CONSUMED, count)]
        if a.took >= DEFAULT_SECONDS:
            return
        lists = {
            start: [item.message.content for item in kept[start:][:count]] for start in possible
        }
        fits = [start for start in possible if lists[start] == got]
        expected = " or ".join(str(lists[start]) for start in possible)
        s.check(
            bool(fits),
            "other",
            f"after {end} messages from the beginning the consuming read returned {got}: up to "
            f"here {' or '.join(rules)}",
            f"[m.content for m in {a.last_variable}] in {list(lists.values())!r}",
            expected=[expected],
            returned=[str(got)],
        )
        rules = [rule for rule in rules if starts[rule] in fits]
        if len({starts[rule] for rule in rules}) > 1:
            return  # at the end of the conversation two rules look alike
        position = starts[rules[0]] + len(got)


_REFUSED: list[tuple[Any, Any]] = [(-1, 1.0), ("two", 1.0), (2, -1.0), (2, float("nan"))]


@contract(
    "cursor.failed_read_consumes_nothing",
    rule="A consuming read that is refused moves nothing: the next one begins where it would have.",
    source="convention: what was not delivered was not consumed",
    cause="the position is moved before the bounds are checked or the messages decoded",
    remedy="move the position last, past the messages that are about to be returned",
    seen="convention: an error must not cost messages",
    needs=(CONSUMED,),
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        st.integers(0, 2),
        strategies.some_of(_REFUSED),
    ),
)
def a_refused_read_consumes_nothing(
    s: Session, program: tuple[Batches, int, list[tuple[Any, Any]]]
) -> None:
    batches, count, nonsense = program
    a, position = s.open(), _Position()
    for batch in batches:
        a.add(batch)
    if count:
        position.read(a, count)
    for bounds in nonsense:
        if a.try_bounded(CONSUMED, *bounds) is None:
            return  # it consumed; that it should refuse is bounded.nonsense_refused
    position.read(a)


@contract(
    "cursor.undecodable_consumes_nothing",
    rule="A consuming read that fails on a record which is no message moves nothing: the messages "
    "before that record are still delivered, once and in order.",
    source="convention: what was not delivered was not consumed",
    cause="the position is moved when the records are fetched, before they are decoded",
    remedy="decode first, then move the position past what is returned",
    seen="convention: else one bad record takes its whole page with it",
    needs=(CONSUMED, "corrupt"),
    modes=ONE_HANDLE,
    program=st.integers(2, 4),
    examples=3,
)
def an_undecodable_record_consumes_nothing(s: Session, length: int) -> None:
    a, position = s.open(), _Position()
    a.add([HumanMessage(f"m{number}") for number in range(length)])
    s.corrupt(a)
    if a.try_bounded(CONSUMED, 100, DEFAULT_SECONDS) is None:
        return  # that it passes silently is for the errors family
    position.read(a, length - 1)


def _overlapping(s: Session, program: tuple[int, list[int]]) -> tuple[list[BaseMessage], Handle]:
    """What several readers consumed at once, and one more behind them."""
    length, counts = program
    handles = [s.open() for _ in range(3)]
    handles[0].add([HumanMessage(f"m{number}") for number in range(length)])
    done = s.together(
        [[(handle, CONSUMED, (count, DEFAULT_SECONDS)) for count in counts] for handle in handles]
    )
    got: list[BaseMessage] = [item for lane in done for read in lane for item in read.value]
    reader = s.open()
    got += reader.bounded(CONSUMED, None, None)
    return got, reader


def _delivered(reader: Handle) -> str:
    """What all of them delivered, as source."""
    reads = f"[*lane1_got, *lane2_got, *lane3_got, {reader.last_variable}]"
    return f"[m.content for got in {reads} for m in got]"


_OVERLAPS = st.tuples(st.integers(20, 40), st.lists(st.integers(1, 4), min_size=3, max_size=5))


@contract(
    "cursor.overlapping_lose_nothing",
    rule="Consuming reads that overlap, on several handles of one session, lose nothing: each "
    "message is delivered to one of them, or to a later one.",
    source="convention: overlapping readers may be given a message twice, and never lose one",
    cause="the position is moved on by a count that was taken before, so that two readers who "
    "returned the same messages move it twice",
    remedy="set the position to the place behind the last message returned, never add to it; or "
    "exclude other readers meanwhile",
    seen="convention: two workers on one conversation",
    needs=(CONSUMED, "shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_OVERLAPS,
    racy=True,
)
def overlapping_readers_lose_nothing(s: Session, program: tuple[int, list[int]]) -> None:
    got, reader = _overlapping(s, program)
    wanted = {item.message.content for item in reader.model.stored}
    missing = sorted(wanted - {item.content for item in got}, key=lambda text: int(str(text)[1:]))
    s.check(
        not missing,
        "lost",
        f"lost {len(missing)} of {len(wanted)} messages among readers that overlap",
        f"len(set({_delivered(reader)})) == {len(wanted)}",
        expected=[f"each of {len(wanted)} messages, to one of the readers"],
        returned=[f"never delivered: {', '.join(map(str, missing))}"],
    )


@contract(
    "cursor.overlapping_share",
    level="may",
    rule="Consuming reads that overlap, on several handles of one session, share the messages: "
    "none is delivered twice.",
    source="convention: a position in the store can exclude other readers; many stores cannot",
    cause="two readers take the same position before either has moved it",
    remedy="read and move the position in one transaction",
    seen="convention: KafkaChatMessageHistory of this distribution documents that readers that "
    "overlap in several processes may receive a message twice",
    needs=(CONSUMED, "shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_OVERLAPS,
    racy=True,
)
def overlapping_readers_share(s: Session, program: tuple[int, list[int]]) -> None:
    got, reader = _overlapping(s, program)
    contents = [str(item.content) for item in got]
    twice = sorted({text for text in contents if contents.count(text) > 1})
    s.check(
        not twice,
        "duplicated",
        f"{len(twice)} of {len(reader.model.stored)} messages were delivered twice to readers that "
        "overlap",
        f"len(set({_delivered(reader)})) == len({_delivered(reader)})",
        expected=["each message once"],
        returned=[f"delivered again: {', '.join(twice)}"],
    )
