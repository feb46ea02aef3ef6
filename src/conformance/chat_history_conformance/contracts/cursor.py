"""Consuming reads: a stored position moves through the conversation once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import (
    BEGINNING,
    CONSUMED,
    DEFAULT_SECONDS,
    messages_of,
)
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, ONE_HANDLE, SYNC, contract
from chat_history_conformance.diagnosis.script_claims import (
    contents_are_one_of,
    deliver_all,
    deliver_once,
)
from chat_history_conformance.diagnosis.script_outcomes import wrong_consumption
from chat_history_conformance.execution.session import Handle, Session
from chat_history_conformance.execution.traffic import adds, reads, rest, settled, traffic

Batches = list[list[BaseMessage]]
Turn = tuple[list[BaseMessage], int, int]
"""A batch to add, the count of the read after it, and the number of the handle that reads."""

_KAFKA = (
    "convention: langchain-community 0.4.2, KafkaChatMessageHistory.messages_from_last_consumed: "
    "continues after the last consumed message"
)


def _turns(*, handles: int = 1, max_turns: int = 5) -> st.SearchStrategy[list[Turn]]:
    """Draw turns: a batch, possibly empty, and a counted read through one of the handles."""
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
    """The position of a session, and a consuming read that must continue there."""

    def __init__(self) -> None:
        self.reached = 0

    def read(self, handle: Handle, count: int | None = None) -> None:
        """Consume up to `count` messages, or all that are left, and check them."""
        kept = handle.model.stored
        got = handle.bounded(CONSUMED, count, DEFAULT_SECONDS)
        wanted = kept[self.reached :][:count]
        if handle.took >= DEFAULT_SECONDS:  # its time bound may have ended it
            wanted = wanted[: len(got)]
        left = messages_of(len(kept) - self.reached)
        what = f"the next {len(wanted)} of {left}" if wanted else "an empty list"
        handle.expect_part(got, wanted, what, delivered=kept[: self.reached], otherwise="lost")
        self.reached += len(wanted)


@contract(
    "cursor.once_in_order",
    rule="Consuming reads deliver each message once, in the order of the conversation. After the "
    "last message, a further read returns an empty list.",
    source=_KAFKA,
    cause="The position is not moved, or is moved to a key that several messages share.",
    remedy="Use a number as the position that the store assigns to each message and that always "
    "rises.",
    seen="langchain-elasticsearch 1.0.0: search_after on created_at alone skips messages that "
    "share a millisecond with the last one",
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
    rule="Consuming reads of any size deliver each message once and in order, even if messages "
    "are added between the reads.",
    source=_KAFKA,
    cause="The position is counted from the newest end. Or it points at the last message that was "
    "read, and the next read starts there.",
    remedy="Start the next read after the last message that was returned.",
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
    rule="The position belongs to the session. A consuming read through another handle, even in "
    "another process, continues after the previous one. (This is about reads one after another. "
    "For reads that overlap see cursor.overlapping_lose_nothing.)",
    source=f"{_KAFKA}, by a consumer group named after the session",
    cause="Each handle keeps its own position, or loads the stored position only when it is "
    "opened.",
    remedy="Keep the position in the store, and load it at each consuming read.",
    seen="convention: a position in the store belongs to all handles",
    needs=(CONSUMED, "shared"),
    modes=HANDLES,
    program=_turns(handles=2),
)
def all_handles_share_the_position(s: Session, turns: list[Turn]) -> None:
    handles, position = [s.open(), s.open()], _Position()
    for batch, count, number in turns:
        if batch:
            handles[0].add(batch)
        position.read(handles[number], count)
    position.read(handles[1])
    position.read(handles[0])


@contract(
    "cursor.survives_reopening",
    rule="The position outlives the handle. After a session is closed and opened again, even in "
    "another process, a consuming read continues after the previous one.",
    source=f"{_KAFKA}; the broker keeps its position",
    cause="The position is kept in the handle, or is stored only from time to time.",
    remedy="Store the position before the read returns.",
    seen="convention: otherwise a restart delivers the whole conversation again",
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
    rule="After a clear, consuming reads continue with the messages that are added next. They "
    "skip none of these messages, and deliver none that was cleared.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages; "
    "and convention: a cleared session starts again",
    cause="The position is a number of messages and is kept, while the store counts from 0 again.",
    remedy="Continue the count after a clear, or reset the position together with it.",
    seen="convention: status-im/status-legacy#7097 shows the effect of a count as the position "
    "when messages move",
    needs=(CONSUMED,),
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        st.integers(0, 4),
        strategies.batches(max_batches=2, max_size=3),
        st.booleans(),
    ),
)
def after_a_clear_reading_continues_with_new_messages(
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
    rule="If nothing was consumed yet, the first consuming read starts at the first message, even "
    "if that message was added before the reading handle was opened.",
    source=f"{_KAFKA}; its consumer starts with the earliest message if no position is stored",
    cause="If no position is stored, the reader starts at the end (`auto.offset.reset=latest`).",
    remedy="Start at the beginning if no position is stored.",
    seen="convention: a message that was never read is unread",
    needs=(CONSUMED, "shared"),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=3), st.integers(0, 2)),
)
def the_first_read_starts_at_the_first_message(s: Session, program: tuple[Batches, int]) -> None:
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
    rule="Each session has its own position. Consuming one session does not move the position of "
    "another.",
    source="convention: a position says how far one conversation was read",
    cause="There is one position for the whole store, or one for each handle object or client.",
    remedy="Store the position under the session id.",
    seen="convention: each session is a separate conversation",
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


_EFFECTS: dict[str, Callable[[int, int], int]] = {
    "moves the position to its end": lambda before, end: end,
    "leaves the position alone": lambda before, end: before,
    "resets the position to the start": lambda before, end: 0,
    "only moves the position forward": max,
}
"""Effects of a read from the beginning on the position. The backend chooses one."""


@contract(
    "cursor.reset_is_consistent",
    rule="The backend chooses the effect of `messages_from_beginning` on the position of "
    "consuming reads: move it to where the read ends, leave it alone, reset it to the start, or "
    "only move it forward. The effect is the same at every read, for any count and any position "
    "before.",
    source="convention: langchain-community 0.4.2, "
    "KafkaChatMessageHistory.messages_from_beginning resets the position to the start and reads "
    "from there",
    cause="The read commits the position on one return path and not on another.",
    remedy="Set the position in one place, based on the returned messages, at every such read or "
    "at none.",
    seen="convention: without a fixed effect a caller cannot know what the next read returns",
    needs=(CONSUMED, BEGINNING),
    program=st.tuples(
        st.integers(3, 6),
        st.lists(st.tuples(st.integers(1, 7), st.integers(1, 2)), min_size=2, max_size=4),
    ),
)
def a_read_from_the_beginning_has_a_fixed_effect_on_the_position(
    s: Session, program: tuple[int, list[tuple[int, int]]]
) -> None:
    length, reads = program
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(length)])
    kept, effects, position = a.model.stored, list(_EFFECTS), 0
    for oldest, count in reads:
        end = len(a.bounded(BEGINNING, oldest))
        starts = {effect: _EFFECTS[effect](position, end) for effect in effects}
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
            contents_are_one_of,
            a.result,
            list(lists.values()),
            kind="other",
            summary=f"a consuming read after {messages_of(end)} from the beginning returned {got}, "
            f"although a read from the beginning {' or '.join(effects)}",
            expected=[expected],
            returned=[str(got)],
        )
        effects = [effect for effect in effects if starts[effect] in fits]
        if len({starts[effect] for effect in effects}) > 1:
            return  # at the end of the conversation two effects look the same
        position = starts[effects[0]] + len(got)


_REFUSED: list[tuple[Any, Any]] = [(-1, 1.0), ("two", 1.0), (2, -1.0), (2, float("nan"))]


@contract(
    "cursor.failed_read_consumes_nothing",
    rule="A consuming read that refuses its bounds does not move the position. The next read "
    "starts at the same message.",
    source="convention: a message that was not delivered was not consumed",
    cause="The position moves before the bounds are checked or the messages are decoded.",
    remedy="Move the position as the last step, past the messages that are about to be returned.",
    seen="convention: an error must not lose messages",
    needs=(CONSUMED,),
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        st.integers(0, 2),
        strategies.some_of(_REFUSED),
    ),
)
def a_refused_read_consumes_no_messages(
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
            return  # bounded.nonsense_refused requires a refusal
    position.read(a)


@contract(
    "cursor.undecodable_consumes_nothing",
    rule="A consuming read that fails because a record is not a message does not move the "
    "position. Later reads still deliver the messages before that record, once and in order.",
    source="convention: a message that was not delivered was not consumed",
    cause="The position moves when records are fetched, before they are decoded.",
    remedy="Decode first, then move the position past the returned messages.",
    seen="convention: otherwise one damaged record loses its whole page",
    needs=(CONSUMED, "corrupt"),
    modes=ONE_HANDLE,
    program=st.integers(2, 4),
    examples=3,
)
def a_read_that_cannot_decode_consumes_no_messages(s: Session, length: int) -> None:
    a, position = s.open(), _Position()
    a.add([HumanMessage(f"m{number}") for number in range(length)])
    s.corrupt(a)
    if a.try_bounded(CONSUMED, 100, DEFAULT_SECONDS) is None:
        return  # errors.undecodable_record requires an error
    position.read(a, length - 1)


def _overlapping(s: Session, program: tuple[int, list[int]]) -> tuple[list[BaseMessage], Handle]:
    """Consume on three handles at once and then on another one; return all and the last."""
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


_OVERLAPS = st.tuples(st.integers(20, 40), st.lists(st.integers(1, 4), min_size=3, max_size=5))


@contract(
    "cursor.overlapping_lose_nothing",
    rule="Consuming reads that overlap, on several handles of one session, lose no message. One "
    "of them, or a later read, delivers each message.",
    source="convention: overlapping readers may receive a message twice, but never lose one",
    cause="Each reader advances the position by the number of messages that it returned. Two "
    "readers that returned the same messages advance it twice.",
    remedy="Set the position to the place after the last returned message, and never add to it. "
    "Or lock out other readers during the read.",
    seen="convention: two workers read one conversation",
    needs=(CONSUMED, "shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_OVERLAPS,
    racy=True,
)
def overlapping_reads_lose_no_messages(s: Session, program: tuple[int, list[int]]) -> None:
    got, reader = _overlapping(s, program)
    wanted = {item.message.content for item in reader.model.stored}
    missing = sorted(wanted - {item.content for item in got}, key=lambda text: int(str(text)[1:]))
    s.check(
        deliver_all,
        [*s.lanes, [reader.result]],
        len(wanted),
        kind="lost",
        summary=f"no overlapping read delivered {len(missing)} of {len(wanted)} messages",
        expected=[f"each of {len(wanted)} messages, delivered by one of the reads"],
        returned=[f"never delivered: {', '.join(map(str, missing))}"],
    )


@contract(
    "cursor.overlapping_share",
    level="may",
    rule="Consuming reads that overlap, on several handles of one session, share the messages. No "
    "message is delivered twice.",
    source="convention: some stores can lock the position against other readers; many stores "
    "cannot",
    cause="Two readers load the same position before either of them moves it.",
    remedy="Read and move the position in one transaction.",
    seen="convention: KafkaChatMessageHistory of this distribution documents that overlapping "
    "readers in several processes may receive a message twice",
    needs=(CONSUMED, "shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_OVERLAPS,
    racy=True,
)
def overlapping_reads_share_the_messages(s: Session, program: tuple[int, list[int]]) -> None:
    got, reader = _overlapping(s, program)
    contents = [str(item.content) for item in got]
    twice = sorted({text for text in contents if contents.count(text) > 1})
    s.check(
        deliver_once,
        [*s.lanes, [reader.result]],
        kind="duplicated",
        summary=f"overlapping reads delivered {len(twice)} of {len(reader.model.stored)} messages "
        "more than once",
        expected=["each message once"],
        returned=[f"delivered again: {', '.join(twice)}"],
    )


_READERS = 6
"""Sessions that are read at the same time, so that a stall meets a read at any of its steps."""
_STALLS = (0.31, 0.74, 0.95, 0.43, 0.62)
"""Seconds between the stalls of the server."""
_STALL_SECONDS = 1.5
"""Seconds of a stall, longer than the time bound of the reads."""
_BACKLOG = 200
_BATCH = 40
_READ_SECONDS = 1.0
_RULE_OF_FAULTS = (
    "The reads, and those after the faults, deliver each stored message, in order. A read that "
    "raises has consumed nothing; or its position may have moved, and then its error has the "
    "messages in `messages`, and not `outcome_unknown = False`. Only such messages, and those "
    "after them, may be delivered again."
)


def _consume_during(s: Session, faults: Callable[[], None], *, elsewhere: bool) -> None:
    """Consume several sessions message by message, and add to them, while faults happen."""
    names = [f"{{nonce}}-{number}" for number in range(_READERS)]
    readers = [s.open(name, in_second_process=elsewhere) for name in names]
    writers = [s.open(name, in_second_process=elsewhere) for name in names]
    for reader in readers:
        reader.add([HumanMessage(f"first{number}") for number in range(_BACKLOG)])
        reader.bounded(CONSUMED, 1, None)
    streams = [reads(reader, CONSUMED, 1, _READ_SECONDS, pause=0.0) for reader in readers]
    # More is added than the reads can consume, so that each of them moves the position.
    adding = [adds(writer, "m", size=_BATCH, pause=0.1) for writer in writers]
    with traffic(s, [*streams, *adding]) as seen:
        faults()
    for stream, reader in zip(streams, readers, strict=True):
        left = rest(s, reader, CONSUMED, None, None)
        whole = settled(s, reader)
        seen.claim_none(wrong_consumption, ["first0"], seen.seen[stream], left, whole)


@contract(
    "cursor.stalls_skip_nothing",
    since="0.2",
    rule="The server stalls for longer than the time bound of consuming reads, several times, "
    f"while sessions are read message by message and messages are added. {_RULE_OF_FAULTS}",
    source="convention: a message that was not delivered was not consumed; a caller that catches "
    "an error reads again",
    cause="The read moves the position, the answer to that does not come in time, and the read "
    "raises without the messages. When the server goes on, it moves the position.",
    remedy="Move the position as the last step. If its outcome is unknown, put the messages into "
    "the error as `messages`, or find out the outcome before the next read.",
    seen="chat-history-conformance 0.1.0, kafka/history.py _consume: the position is sent, the "
    "broker stalls, the read raises, and the next read gives []",
    needs=("faults", "pause", CONSUMED, "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def consuming_reads_skip_nothing_if_the_server_stalls(s: Session, _: None) -> None:
    def faults() -> None:
        for seconds in _STALLS:
            s.sleep(seconds)
            s.server.pause()
            s.sleep(_STALL_SECONDS)
            s.server.resume()

    _consume_during(s, faults, elsewhere=False)


@contract(
    "cursor.restarts_skip_nothing",
    since="0.2",
    rule="The server is killed, shut down and started again while sessions are read message by "
    f"message and messages are added. {_RULE_OF_FAULTS}",
    source="convention: a message that was not delivered was not consumed; the position outlives "
    "the server's restart as the messages do",
    cause="The position is kept in the memory of the server or of a client. Or it is stored from "
    "time to time. Or a new connection begins at the first message.",
    remedy="Store the position as safely as the messages, before the read returns.",
    seen="convention: a position that is lost in a crash delivers the whole conversation again",
    needs=("faults", CONSUMED, "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def consuming_reads_skip_nothing_if_the_server_restarts(s: Session, _: None) -> None:
    def faults() -> None:
        for end in (s.server.kill, s.server.shut_down, s.server.kill):
            end()
            s.server.restart()
            s.sleep(0.7)

    _consume_during(s, faults, elsewhere=True)
