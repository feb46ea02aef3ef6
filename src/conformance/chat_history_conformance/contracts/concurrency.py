"""Concurrency: a session keeps every message when several writers and readers use it at once.

A lane is a list of calls that run one after another, in a thread or a task. All lanes of an example
run at the same time. A race does not occur on every run, so a broken history may pass by luck. A
correct history never fails by bad luck.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, PROCESS, SYNC, contract
from chat_history_conformance.diagnosis.compare import Snapshot, compare, lines, returned_lines
from chat_history_conformance.diagnosis.script_claims import (
    are_whole,
    end_with_same,
    grow,
    keep_order,
    reads_are,
    reads_are_prefixes,
    starting_with,
    stay_together,
)
from chat_history_conformance.diagnosis.script_outcomes import any_raised
from chat_history_conformance.diagnosis.script_traffic import wrong_conversation, wrong_reads
from chat_history_conformance.drivers.calls import Done
from chat_history_conformance.drivers.forks import WHY_NO_FORKS
from chat_history_conformance.execution.session import Handle, Lane, Session
from chat_history_conformance.execution.traffic import adds, reads, settled, traffic

Sizes = list[list[int]]
"""The sizes of the batches of each writer."""

_NEW_STORES = 3
"""The stores of one example that were never used. Each shows a race only once."""

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_ADDS = f"{_ADD_MESSAGES}: adds the messages; it does not depend on other writers"
_LOST_UPDATE = (
    "The add reads the conversation, extends it and writes it back as a whole. The second of two "
    "writers overwrites the messages of the first one."
)


def _sizes(
    writers: int = 4, *, least: int = 3, most: int = 5, size: int = 3
) -> st.SearchStrategy[Sizes]:
    batches = st.lists(st.integers(1, size), min_size=least, max_size=most)
    return st.lists(batches, min_size=writers, max_size=writers)


def _writers(
    handles: Sequence[Handle], sizes: Sizes, *, pause_seconds: float = 0.0
) -> tuple[list[list[Any]], list[list[BaseMessage]]]:
    """Return the lane of each writer, and the messages that it adds: `w0.0`, `w0.1`, ..."""
    lanes: list[list[Any]] = []
    written: list[list[BaseMessage]] = []
    for writer, batches in enumerate(sizes):
        handle = handles[writer % len(handles)]
        lane: list[Any] = []
        added: list[BaseMessage] = []
        for size in batches:
            start = len(added)
            batch = [HumanMessage(f"w{writer}.{start + place}") for place in range(size)]
            added += batch
            single = size == 1 and start % 2 == 1
            lane.append((handle, "add_message", (batch[0],)) if single else _add(handle, batch))
            if pause_seconds:
                lane.append((handle, "wait", (pause_seconds,)))
        lanes.append(lane)
        written.append(added)
    return lanes, written


def _add(handle: Handle, batch: Sequence[BaseMessage]) -> tuple[Handle, str, tuple[Any, ...]]:
    return handle, "add_messages", (batch,)


def _merged(written: Sequence[Sequence[BaseMessage]], got: Sequence[Any]) -> list[Snapshot]:
    """Return all written messages in the order of `got`, within the order of each writer."""
    left = [[Snapshot(message) for message in messages] for messages in written]
    order: list[Snapshot] = []
    for item in got:
        for queue in left:
            if queue and compare(queue[:1], [item]) is None:
                order.append(queue.pop(0))
                break
    return order + [kept for queue in left for kept in queue]


def _expect_all(s: Session, reader: Handle, written: Sequence[Sequence[BaseMessage]]) -> None:
    """Fail unless each message is stored once and unchanged, in the order of its writer."""
    got = reader.read()
    merged = _merged(written, got)
    reader.model.stored = merged
    difference = compare(merged, got)
    if difference is not None:
        s.fail_claim(
            are_whole,
            reader.result,
            [len(messages) for messages in written],
            kind=difference.kind,
            summary=f"{difference.summary} ({len(written)} writers at once)",
            expected=lines(merged),
            returned=returned_lines(list(got)),
        )


@contract(
    "concurrency.threads_one_handle",
    rule="Several threads can add through one handle at once. Every add returns. Afterwards each "
    "message is stored exactly once and unchanged, and each writer's messages are in the order of "
    "its calls.",
    source=_ADDS,
    cause=f"{_LOST_UPDATE} Or the number of stored messages is the next key, and it is read and "
    "used in separate steps.",
    remedy="Append with a single statement of the store, or hold one lock from the read to the "
    "write.",
    seen="llama-index-storage-chat-store-azure 0.6.0, async_add_message: the stored count is the "
    "next key, read and written in separate steps",
    needs=("threads",),
    modes=(SYNC,),
    program=_sizes(),
    racy=True,
)
def threads_on_one_handle_lose_no_messages(s: Session, sizes: Sizes) -> None:
    a = s.open()
    lanes, written = _writers([a], sizes)
    s.together(lanes)
    _expect_all(s, a, written)


@contract(
    "concurrency.handles",
    rule="Several handles of one session can add at once, each in a separate thread or task. "
    "Every add returns. Afterwards each message is stored exactly once and unchanged, and each "
    "writer's messages are in the order of its calls.",
    source=_ADDS,
    cause=f"{_LOST_UPDATE} The lock that should prevent it belongs to the handle. Or each handle "
    "writes back the list that it keeps.",
    remedy="Append with a single statement of the store. A lock must be one lock for the whole "
    "session.",
    seen="openai/openai-agents-python#2843: a separate lock for each object on one file; "
    "langchain-community 0.4.2, chat_message_histories/firestore.py: each handle writes back its "
    "own list",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_sizes(),
    racy=True,
)
def handles_used_at_once_lose_no_messages(s: Session, sizes: Sizes) -> None:
    handles = [s.open() for _ in sizes]
    lanes, written = _writers(handles, sizes)
    s.together(lanes)
    _expect_all(s, handles[0], written)


@contract(
    "concurrency.processes",
    rule="Two processes can add to one session at once. Every add returns. Afterwards each "
    "message is stored exactly once and unchanged, and each writer's messages are in the order of "
    "its calls.",
    source=_ADDS,
    cause=f"{_LOST_UPDATE} The lock that should prevent it works only within one process.",
    remedy="Append with a single statement of the store, or in a transaction that excludes other "
    "writers.",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: reads the file, appends, and "
    "writes the whole file",
    needs=("shared",),
    modes=(PROCESS,),
    program=_sizes(2, least=5, most=7),
    racy=True,
)
def processes_writing_at_once_lose_no_messages(s: Session, sizes: Sizes) -> None:
    handles = [s.open(), s.open()]
    lanes, written = _writers(handles, sizes)
    s.together(lanes)
    _expect_all(s, handles[0], written)


@contract(
    "concurrency.forks",
    since="0.2",
    level="should",
    rule="Two processes that were forked from one process can both add to a session, if that "
    "process had imported the history and had not opened one. Each message is stored exactly once "
    "and unchanged.",
    source="convention: servers such as Gunicorn and Celery import an application, fork their "
    "workers, and open connections in each worker",
    cause="A generator of ids, a counter or a process id is made when the module is imported. "
    "Each fork continues it with the same state, so both use the same keys. Or the module connects "
    "when it is imported, and the forks share that connection.",
    remedy="Use `uuid.uuid4` or the store for keys, read `os.getpid` when it is needed, and "
    "connect when a history is opened.",
    seen="JudgmentLabs/judgeval#773 and bleargh45/Data-UUID#27: a random generator that a fork "
    "copies gives the same ids in both processes",
    needs=("shared",),
    modes=(PROCESS,),
    examples=1,
)
def forked_processes_lose_no_messages(s: Session, _: None) -> None:
    if WHY_NO_FORKS:
        s.not_applicable(WHY_NO_FORKS)
    handles = [s.prepare(in_this_process=True) for _ in range(2)]
    lanes, written = _writers(handles, [[2], [2]])
    s.in_forks([[(handle, "open", ()), *lane] for handle, lane in zip(handles, lanes, strict=True)])
    reader = s.open(in_this_process=True)
    reader.model.add([message for lane in written for message in lane])
    reader.reads_back()


@contract(
    "concurrency.tasks",
    rule="Several asyncio tasks can add through one handle at once. Every add returns. Afterwards "
    "each message is stored exactly once and unchanged, and each writer's messages are in the "
    "order of its calls.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.aadd_messages: async version "
    "of add_messages; by default it runs add_messages in an executor, so in several threads",
    cause=f"{_LOST_UPDATE} An `await` between these steps lets other tasks run. Or several tasks "
    "use one connection at once.",
    remedy="Hold an asyncio.Lock across the awaits, or append with a single statement of the "
    "store.",
    seen="llama-index-storage-chat-store-azure 0.6.0, async_add_message: awaits between reading "
    "the count and the upsert",
    needs=("threads",),
    modes=(ASYNC,),
    program=_sizes(),
    racy=True,
)
def tasks_on_one_handle_lose_no_messages(s: Session, sizes: Sizes) -> None:
    a = s.open()
    lanes, written = _writers([a], sizes)
    s.together(lanes)
    _expect_all(s, a, written)


@contract(
    "concurrency.writer_order",
    rule="The messages that one writer adds in successive calls come back in the order of these "
    "calls, even if other writers add at the same time.",
    source=f"{_ADD_MESSAGES}, and BaseChatMessageHistory.messages: a history has an order",
    cause="Conflicting writes are retried or queued, and later writes overtake them. Or messages "
    "are sorted by a time that concurrent writers share.",
    remedy="Order messages by a number that the store assigns when it accepts them.",
    seen="convention: an answer must not come before its question because another writer was "
    "active",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_sizes(least=4, most=6, size=2),
    racy=True,
)
def the_messages_of_each_writer_stay_in_order(s: Session, sizes: Sizes) -> None:
    handles = [s.open() for _ in sizes]
    lanes, written = _writers(handles, sizes)
    s.together(lanes)
    got = handles[0].read()
    contents = [item.content for item in got]
    for writer, messages in enumerate(written):
        added = [item.content for item in messages]
        came = [content for content in contents if content in added]
        ordered = sorted(came, key=added.index)
        places = (number for number in range(len(came)) if came[number] != ordered[number])
        if (first := next(places, None)) is not None:
            s.fail_claim(
                keep_order,
                handles[0].result,
                added,
                kind="reordered",
                summary=f"writer {writer + 1}'s message {came[first]} came back instead of "
                f"{ordered[first]}",
                expected=[str(content) for content in ordered],
                returned=[str(content) for content in came],
            )


@contract(
    "concurrency.reader_sees_prefixes",
    rule="A concurrent read returns a gap-free prefix of each writer's messages. It includes "
    "every message whose add returned before the read began, and every message that an earlier "
    "read returned. (It may include a part of a batch that is being added.)",
    source="convention: a conversation grows at its end",
    cause="The add empties the conversation and writes it again, or replaces it in steps that "
    "readers can see. Or the messages of a batch become visible in the wrong order.",
    remedy="Append. Or write the new state next to the old one, and switch in one step.",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: each add writes the whole "
    "file, and a reader can see it half written",
    needs=("shared", "threads", "immediate_reads"),
    modes=(SYNC, ASYNC),
    program=_sizes(2, size=4),
    racy=True,
)
def a_concurrent_read_returns_a_prefix_per_writer(s: Session, sizes: Sizes) -> None:
    handles = [s.open() for _ in range(len(sizes) + 2)]
    lanes, written = _writers(handles[2:], sizes, pause_seconds=0.001)
    readers = [
        [(handle, "messages", ()), (handle, "wait", (0.0005,))] * 10 for handle in handles[:2]
    ]
    done = s.together([*readers, *lanes])
    kept = [[Snapshot(message) for message in messages] for messages in written]
    for reader, calls in enumerate(done[:2]):
        reads = [item for item in calls if item.call.operation == "messages"]
        for writer, messages in enumerate(kept):
            before = 0
            for read in reads:
                came = _of_writer(writer, read.value)
                _expect_prefix(s, writer, messages, came, len(kept))
                added = _added_before(read.started, done[2 + writer])
                if len(came) < max(before, added):
                    s.fail_claim(
                        grow,
                        s.lanes[reader],
                        kind="stale",
                        summary=f"a concurrent read returned {_messages(len(came))} of writer "
                        f"{writer + 1} instead of at least {max(before, added)} "
                        f"({added} added and {before} read before it)",
                        expected=[f"{_messages(max(before, added))} or more"],
                        returned=[_messages(len(came))],
                    )
                before = len(came)


def _expect_prefix(
    s: Session, writer: int, messages: Sequence[Snapshot], came: Sequence[Any], writers: int
) -> None:
    """Fail unless a read returned the first messages of a writer, without a gap."""
    last = max((_number(item) for item in came), default=-1)
    difference = compare(messages[: last + 1], came)
    if difference is not None:
        s.fail_claim(
            reads_are_prefixes,
            s.lanes[:2],
            writers,
            kind=difference.kind,
            summary=f"a concurrent read did not return a prefix of writer {writer + 1}'s messages: "
            f"{difference.summary}",
            expected=lines(messages[: last + 1]),
            returned=returned_lines(came),
        )


def _of_writer(writer: int, read: Sequence[Any]) -> list[Any]:
    """Return one writer's messages of a read; unknown messages count for the first writer."""
    others = rf"w(?!{writer}\.)\d+\.\d+" if writer == 0 else rf"(?!w{writer}\.\d+$).*"
    return [item for item in read if not re.fullmatch(others, _content(item), re.DOTALL)]


def _number(item: Any) -> int:
    """Return the number of a message among its writer's, or -1 for an unknown message."""
    match = re.fullmatch(r"w\d+\.(\d+)", _content(item))
    return int(match[1]) if match else -1


def _content(item: Any) -> str:
    return str(getattr(item, "content", item))


def _added_before(moment: float, lane: list[Done]) -> int:
    """Return how many messages of a writer were added before a read began."""
    adds = [item for item in lane if item.call.operation.startswith("add") and item.ended < moment]
    return sum(
        1 if item.call.operation == "add_message" else len(item.call.args[0]) for item in adds
    )


@contract(
    "concurrency.first_use",
    rule="Several handles can open and write a new session at once. Every open and every add "
    "returns, and afterwards each message is stored exactly once. This holds in a store that has "
    "been used before and in a store that was never used, which the run gets with `fresh=`.",
    source=_ADDS,
    cause="The code checks whether the session, table, index or topic exists, and then creates "
    "it. If two handles do so at once, the second one fails or overwrites.",
    remedy="Create it with `if not exists`, and treat `already exists` as success.",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: create_all looks for the table "
    "and then creates it; elasticsearch.py: indices.exists, then indices.create; "
    "openai/openai-agents-python#4987: concurrent start-up",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC, PROCESS),
    program=_sizes(4, least=1, most=2, size=2),
    racy=True,
)
def several_handles_can_use_a_new_session_at_once(s: Session, sizes: Sizes) -> None:
    if s.subject.backend.fresh is None:
        s.not_tried("first use of a store that was never used: declare fresh= to try it")
    else:
        # Only the first moment counts: the more handles, the better.
        first = sizes if s.mode == "process" else [*sizes, *sizes]
        for number in range(_NEW_STORES):
            s.use_new_store()
            _open_and_write(s, f"{{nonce}}-first{number}", first)
    _open_and_write(s, "{nonce}-1", sizes[:2] if s.mode == "process" else sizes)


def _open_and_write(s: Session, session: str, sizes: Sizes) -> None:
    handles = [s.prepare(session) for _ in sizes]
    lanes, written = _writers(handles, sizes)
    opening: list[Lane] = [
        [(handle, "open", ()), *lane] for handle, lane in zip(handles, lanes, strict=True)
    ]
    s.together(opening)
    _expect_all(s, s.open(session, in_this_process=True), written)


@contract(
    "concurrency.clear_races",
    rule="A clear while other writers add takes effect at one moment. Messages added before it "
    "are gone, and messages added after it returned are stored. Of the messages that each writer "
    "adds at the same time, a gap-free tail remains.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages "
    "from the store",
    cause="An add that is in progress writes the old conversation back. Or the clear removes "
    "records one by one, in another order than they were added.",
    remedy="Clear with a single statement or in one transaction, under the same lock as adding.",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py, add_messages: reads the "
    "item and writes all of it back unconditionally",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC),
    program=st.tuples(_sizes(3), st.sampled_from([0.5, 1.0, 2.0, 3.0])),
    racy=True,
)
def a_clear_while_others_add_takes_effect_at_one_moment(
    s: Session, program: tuple[Sizes, float]
) -> None:
    sizes, adds_before = program
    handles = [s.open() for _ in range(len(sizes) + 1)]
    started = time.monotonic()
    handles[0].add([HumanMessage("old0"), HumanMessage("old1")])
    # The clear is to come in the middle of the other adds, also if they take long.
    delay_seconds = round(adds_before * max(0.001, time.monotonic() - started), 4)
    lanes, written = _writers(handles[1:], sizes, pause_seconds=0.0005)
    after = [HumanMessage("after0"), HumanMessage("after1")]
    clearing: list[Any] = [(handles[0], "wait", (delay_seconds,)), (handles[0], "clear", ())]
    clearing += [_add(handles[0], after), (handles[0], "wait", (0.002,))]
    s.together([clearing, *lanes])
    handles[0].model.clear()
    got = handles[0].read()
    contents = [str(item.content) for item in got]
    old = [content for content in contents if content.startswith("old")]
    s.check(
        starting_with,
        handles[0].result,
        "old",
        [],
        kind="resurrected",
        summary=f"{len(old)} of 2 cleared messages came back while other writers added",
        expected=["none of old0, old1"],
        returned=contents,
    )
    there = [content for content in contents if content.startswith("after")]
    s.check(
        starting_with,
        handles[0].result,
        "after",
        ["after0", "after1"],
        kind="lost" if len(there) < 2 else "duplicated" if len(there) > 2 else "reordered",
        summary=f"{', '.join(there) or 'no message'} came back instead of after0 and after1, "
        "which were added after a clear",
        expected=["after0", "after1"],
        returned=contents,
    )
    for writer, messages in enumerate(written):
        added = [str(item.content) for item in messages]
        came = [content for content in contents if content in added]
        left = added[max(0, len(added) - len(came)) :]
        s.check(
            end_with_same,
            handles[0].result,
            added,
            kind="reordered" if sorted(came) == sorted(left) else "lost",
            summary=f"the {len(came)} messages of writer {writer + 1} that a concurrent clear left "
            "are not its last ones",
            expected=left,
            returned=came,
        )


@contract(
    "concurrency.readers",
    rule="Several threads or tasks can read through one handle at once. Each read returns the "
    "whole conversation, in order.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages",
    cause="All reads share one cursor, buffer or connection of the handle.",
    remedy="Give each read its own cursor, or lock the connection for the whole read.",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: one self.cursor for all "
    "calls",
    needs=("threads",),
    modes=(SYNC, ASYNC),
    program=strategies.batches(min_batches=3, max_batches=5, min_size=2),
    racy=True,
)
def concurrent_reads_return_the_same_messages(s: Session, batches: list[list[BaseMessage]]) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    done = s.together([[(a, "messages", ())] * 6] * 3)
    reads = [(compare(a.model.stored, item.value), item.value) for lane in done for item in lane]
    wrong = [(found, got) for found, got in reads if found is not None]
    if wrong:
        # A shared cursor gives one reader too many messages and another too few: report the loss.
        found, got = next((pair for pair in wrong if pair[0].kind == "lost"), wrong[0])
        wanted = [kept.message.content for kept in a.model.stored]
        s.fail_claim(
            reads_are,
            s.lanes,
            wanted,
            kind=found.kind,
            summary=f"{found.summary} (in {len(wrong)} of {len(reads)} concurrent reads)",
            expected=lines(a.model.stored),
            returned=returned_lines(list(got)),
        )


_CLOSED = 3
"""The handles that are closed while they are used, one after another."""


@contract(
    "concurrency.closed_in_use",
    since="0.2",
    rule="A handle can be closed while other threads or tasks use it. Each of their calls returns, "
    "or raises an error, within the limit of a call. An add that returned has stored its messages, "
    "and a read that returned has the whole conversation. Other handles, of the same session and "
    "of other sessions, work as before.",
    source=f"{_ADD_MESSAGES}: a return is the only sign of success; convention: a server closes "
    "its handles when it stops or reloads, while requests are still running",
    cause="`close` drops messages that are queued, although their add has returned or will "
    "return. Or it closes or locks something that other handles use.",
    remedy="In `close`, let the running calls end, or let them raise. Count the users of what "
    "handles share.",
    seen="m3db/m3#264: writes that are queued when the queue is closed are lost; "
    "databricks/databricks-jdbc#581: one connection closes the client of others that are in use",
    needs=("close", "shared", "threads"),
    modes=(SYNC, ASYNC),
    racy=True,
    company="alone_in_process",
)
def a_handle_can_be_closed_while_it_is_used(s: Session, _: None) -> None:
    closing = [s.open() for _ in range(_CLOSED)]
    other, elsewhere = s.open(), s.open("{nonce}-2")
    used = [
        adds(handle, f"m{number}.{writer}.", pause=0.002)
        for number, handle in enumerate(closing)
        for writer in range(3)
    ]
    kept = [adds(other, "kept", pause=0.002), adds(elsewhere, "elsewhere", pause=0.002)]
    looking = []
    if "whole_reads" not in s.subject.backend.lacks and s.offered(["immediate_reads"]):
        looking = [reads(closing[-1], pause=0.01), reads(other, pause=0.01)]
        kept.append(looking[1])
    with traffic(s, [*used, *kept, *looking[:1]]) as seen:
        for handle in closing:
            handle.try_close()
            s.sleep(0.1)
    for stream in kept:
        name = stream.phrase.invocation.name
        seen.claim_none(any_raised, name, seen.seen[stream], "while another handle is closed")
    for handle in (other, elsewhere):
        added = seen.lanes("add_messages", session=handle.session)
        seen.claim_none(wrong_conversation, [], added, settled(s, handle))
    for stream in looking:
        added = seen.lanes("add_messages", session=other.session)
        seen.claim_none(wrong_reads, [], added, seen.seen[stream])


@contract(
    "concurrency.contiguous_batches",
    level="may",
    rule="The messages of one batch stay together. Messages of other writers come before or after "
    "the whole batch.",
    source="convention: an application adds one turn (question and answer) as one batch",
    cause="The add writes a batch message by message.",
    remedy="Write a batch with a single statement or in one transaction.",
    seen="langchain-community 0.4.2: histories without their own add_messages write message by "
    "message",
    needs=("shared", "threads"),
    modes=(SYNC, ASYNC),
    program=_sizes(3, size=4),
    racy=True,
)
def a_batch_stays_together_among_writers(s: Session, sizes: Sizes) -> None:
    handles = [s.open() for _ in sizes]
    lanes, _ = _writers(handles, sizes)
    s.together(lanes)
    got = handles[0].read()
    for lane in lanes:
        for _handle, operation, args in lane:
            if operation == "add_message":
                continue
            batch = [item.content for item in args[0]]
            s.check(
                stay_together,
                handles[0].result,
                batch,
                kind="reordered",
                summary=_broken_batch(batch, got),
                expected=[",".join(batch)],
                returned=[str(item.content) for item in got],
            )


def _broken_batch(batch: Sequence[Any], got: Sequence[Any]) -> str:
    if not batch:
        return "the history emptied a batch that was added"
    name = str(batch[0]) if len(batch) == 1 else f"{batch[0]} to {batch[-1]}"
    came = [item.content for item in got]
    if any(text not in came for text in batch):
        return f"a message of the batch {name} is missing"
    return f"the messages of the batch {name} do not follow one another"


def _messages(number: int) -> str:
    return f"{number} message{'s'[: number != 1]}"
