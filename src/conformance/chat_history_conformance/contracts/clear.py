"""Clear: all messages of one session are gone for every handle, and no other messages."""

from __future__ import annotations

import time

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, ONE_HANDLE, SYNC, contract
from chat_history_conformance.execution.session import Session

Batches = list[list[BaseMessage]]

_CLEAR = "langchain_core/chat_history.py, BaseChatMessageHistory.clear"
_LONG = 1_001
"""More messages than one page of a store is likely to hold."""


@contract(
    "clear.empties",
    rule="When `clear` has returned, a read of the session returns an empty list.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="`clear` empties a cache of the handle but not the store, or the other way round. Or it "
    "deletes by another key, partition or index than messages are written under. Or the store "
    "deletes later.",
    remedy="Delete by the key that reads use, wait until the store confirms the deletion, and "
    "empty the cache of the handle.",
    seen="langchain-couchbase 1.1.1, clear: `except Exception: logger.error`, and it returns as "
    "if it had worked; langchain-azure-ai 1.2.12, azure_ai_memory.py clear: only one of two "
    "stores is cleared",
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=3),
)
def a_cleared_session_is_empty(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.clear()
    a.reads_back()


@contract(
    "clear.every_handle",
    rule="When `clear` has returned, the session is empty for every handle with its session id, "
    "including handles that were opened and used before.",
    source=f"{_CLEAR}: removes all messages from the store, which the handles of a session share",
    cause="Each handle keeps its own list, which it loads once or only when the list is empty.",
    remedy="Read from the store on every access. Or store a version with the session, and compare "
    "it before using a cache.",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: `messages` returns its cache "
    "unless the cache is empty",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=2), st.integers(0, 2)),
)
def every_handle_sees_a_clear(s: Session, program: tuple[Batches, int]) -> None:
    batches, clearing = program
    handles = [s.open() for _ in range(3)]
    for number, batch in enumerate(batches):
        handles[number % 2].add(batch)
    for handle in handles:
        handle.reads_back()
    handles[clearing].clear()
    for handle in handles:
        handle.reads_back()


@contract(
    "clear.idempotent",
    rule="Clearing a session that has just been cleared changes nothing and raises nothing.",
    source=f"{_CLEAR}: removes all messages, and 0 is an allowed number of messages",
    cause="`clear` deletes the object that holds the messages (a document, a topic, a file). The "
    "second deletion raises because that object is gone.",
    remedy="Treat `not found` as success.",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py clear: an unguarded "
    "`delete_item`; langchain-community 0.4.2, zep.py clear: `except NotFoundError`, but that "
    "name is imported for type checking only",
    modes=ONE_HANDLE,
    program=st.tuples(st.integers(1, 2), strategies.batches(max_batches=1)),
)
def clearing_again_changes_nothing(s: Session, program: tuple[int, Batches]) -> None:
    times, (batch,) = program
    a = s.open()
    a.add(batch)
    a.clear()
    for _ in range(times):
        a.clear()
    a.reads_back()
    a.add([HumanMessage("afterwards")])
    a.reads_back()


@contract(
    "clear.unused_session",
    rule="Clearing a session that was never written raises nothing, and the session can be used "
    "afterwards.",
    source=f"{_CLEAR}: removes all messages, and 0 is an allowed number of messages",
    cause="`clear` looks up an object that only the first write creates.",
    remedy="Treat `not found` as success.",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py clear: raises NameError on a "
    "session that the server does not know",
    modes=ONE_HANDLE,
    examples=1,
)
def clearing_an_unused_session_does_nothing(s: Session, _: None) -> None:
    a = s.open()
    a.clear()
    a.reads_back()
    a.add([HumanMessage("m0")])
    a.reads_back()


@contract(
    "clear.other_sessions",
    rule="`clear` removes no message of another session.",
    source=f"{_CLEAR}: removes all messages from the store; a history is the store of one session",
    cause="`clear` drops the table, index or directory that all sessions share.",
    remedy="Delete only by the whole session id.",
    seen="langchain-redis 0.2.6, chat_message_history.py delete: drops the index and the documents "
    "of all sessions under it",
    modes=(SYNC, ASYNC),
    program=st.tuples(strategies.batches(min_batches=2, max_batches=3, max_size=2), st.integers(0)),
    examples=10,
)
def clearing_one_session_leaves_the_others_unchanged(
    s: Session, program: tuple[Batches, int]
) -> None:
    batches, chosen = program
    handles = [s.open(f"{{nonce}}-{number}") for number in range(len(batches))]
    for handle, batch in zip(handles, batches, strict=True):
        handle.add(batch)
    handles[chosen % len(handles)].clear()
    for handle in handles:
        handle.reads_back()


@contract(
    "clear.add_after",
    rule="Messages that are added after a `clear` can be read at once, and the session holds no "
    "others.",
    source=f"{_CLEAR}: removes the stored messages and does not end the session",
    cause="`clear` deletes an object that only the constructor creates (a topic, a table). Or it "
    "deletes in the background, including messages that were added afterwards.",
    remedy="Delete the messages but keep the object that holds them, and wait until the deletion "
    "is done.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: clear deletes the topic, "
    "and only the constructor creates it",
    modes=ONE_HANDLE,
    program=strategies.batches(min_batches=2, max_batches=4, max_size=3),
)
def messages_added_after_a_clear_are_stored(s: Session, batches: Batches) -> None:
    a = s.open()
    a.add(batches[0])
    a.clear()
    for batch in batches[1:]:
        a.add(batch)
    a.reads_back()


@contract(
    "clear.add_after_by_other_handles",
    rule="After a `clear` through any handle, messages that any handle adds can be read at once "
    "through every handle, whether it was opened before or after the clear.",
    source=f"{_CLEAR}: removes the stored messages; handles with one session id share one "
    "conversation",
    cause="A handle keeps a count, a cache or a reference to a cleared object, and continues to "
    "use it.",
    remedy="Keep nothing in a handle that a clear through another handle makes wrong.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: after clear deleted the "
    "topic, other handles write to a topic that no code creates; tidb.py: other handles keep "
    "their cache",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(
        strategies.batches(min_batches=2, max_batches=3, max_size=2),
        st.integers(0, 1),
        st.integers(0, 1),
    ),
)
def every_handle_reads_messages_added_after_a_clear(
    s: Session, program: tuple[Batches, int, int]
) -> None:
    batches, clearing, adding = program
    handles = [s.open(), s.open()]
    handles[0].add(batches[0])
    handles[1].reads_back()
    handles[clearing].clear()
    for batch in batches[1:]:
        handles[adding].add(batch)
    handles.append(s.open())
    for handle in handles:
        handle.reads_back()


@contract(
    "clear.nothing_returns",
    rule="No read returns a cleared message again, not even after other handles have written, or "
    "after all handles were closed and the session was opened again.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="A handle that does not know of the clear writes back its whole list, when it is closed "
    "or with its next message.",
    remedy="Append only new messages. Never write a whole conversation back.",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py: leaving the context "
    "manager always upserts the cached messages",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=1), st.booleans(), st.booleans()),
)
def cleared_messages_never_return(s: Session, program: tuple[Batches, bool, bool]) -> None:
    (batch,), other_writes, cleared_by_other = program
    a, b = s.open(), s.open()
    a.add(batch)
    a.reads_back()
    b.reads_back()
    (b if cleared_by_other else a).clear()
    if other_writes:
        (a if cleared_by_other else b).add([HumanMessage("afterwards")])
    keeper = s.open()  # so that a history which is not durable stays
    keeper.reads_back()
    a.release()
    b.release()
    s.open().reads_back()


@contract(
    "clear.long_history",
    rule=f"`clear` removes all messages of a long history. The contract uses {_LONG:,} messages.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="`clear` deletes only the messages of one page or one request of the store.",
    remedy="Delete by session, not by a list of messages. Or repeat the deletion until a query "
    "finds no messages.",
    seen="langchain-community 0.4.2, chat_message_histories/xata.py clear has to loop until a "
    "query finds nothing; signalapp/Signal-Desktop#645: such a deletion without the loop",
    modes=(SYNC, ASYNC),
    examples=1,
)
def clearing_removes_all_of_a_long_history(s: Session, _: None) -> None:
    a = s.open()
    a.add([HumanMessage(f"m{number}") for number in range(_LONG)])
    a.clear()
    a.reads_back()
    a.add([HumanMessage("afterwards")])
    a.reads_back()


_SHIFTS_SECONDS = (0, -5, -3600, 3600, 3 * 86_400)
"""Seconds by which the wall clock is wrong after a clear."""


@contract(
    "clear.clock_moves",
    since="0.2",
    rule="Messages that are added after a clear are stored, and no cleared message returns, "
    "even if the wall clock of the client does not move after the clear, or is set back, or is set "
    "forward by days.",
    source=f"{_CLEAR}: removes the messages that are stored, whatever their times; convention: "
    "time synchronisation sets clocks, and the clocks of two machines differ",
    cause="A clear is stored as a deletion with the time of the client. Messages with an earlier "
    "time are deleted by it, even if they were added later.",
    remedy="Delete the stored messages, or compare positions that the store assigns.",
    seen="hashicorp/vault#4054 and iconara/cql-rb#98: a write with an earlier timestamp than a "
    "deletion is lost",
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def a_clear_does_not_depend_on_the_clock(s: Session, _: None) -> None:
    for number, shift in enumerate(_SHIFTS_SECONDS):
        a = s.open(f"{{nonce}}-{number}")
        now = float(int(time.time()))
        with s.clock(a, now):
            a.add([HumanMessage("before0"), HumanMessage("before1")])
            a.clear()
        with s.clock(a, now + shift):
            # A server may refuse a request whose time is far from its own.
            a.try_add([HumanMessage("after0")])
            a.try_add([HumanMessage("after1")])
        a.reads_back()
