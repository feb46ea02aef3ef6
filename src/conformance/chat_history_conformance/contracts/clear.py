"""Clear: what was cleared is gone for every handle, and nothing else is."""

from __future__ import annotations

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, ONE_HANDLE, SYNC, contract
from chat_history_conformance.execution.session import Session

Batches = list[list[BaseMessage]]

_CLEAR = "langchain_core/chat_history.py, BaseChatMessageHistory.clear"
_LONG = 1_001
"""More messages than one page of any store is likely to have."""


@contract(
    "clear.empties",
    rule="When `clear` has returned, the session reads as an empty list.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="`clear` empties a cache of the handle and not the store, or the other way round; or "
    "what it deletes by (a key, a partition, an index) is not what messages are written under; or "
    "the deletion is carried out later",
    remedy="delete by the key that reading uses, wait until the store says that it is done, and "
    "drop what the handle has cached",
    seen="langchain-couchbase 1.1.1, clear: `except Exception: logger.error`, and it returns as if "
    "it were done; langchain-azure-ai 1.2.12, azure_ai_memory.py clear: only one of two stores is "
    "cleared",
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
    "also for one that was opened and has read before.",
    source=f"{_CLEAR}: removes all messages from the store, which the handles of a session share",
    cause="each handle keeps a list of its own, loaded once or only when it is empty",
    remedy="read from the store on every access; or keep a version with the session and compare it",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: `messages` returns its cache "
    "unless that is empty",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=2), st.integers(0, 2)),
)
def a_clear_is_seen_by_every_handle(s: Session, program: tuple[Batches, int]) -> None:
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
    source=f"{_CLEAR}: removes all messages, and none is an allowed number of messages",
    cause="what holds the messages (a document, a topic, a file) is deleted as a whole, and "
    "deleting it again raises because it is not there",
    remedy="treat `not found` as done",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py clear: an unguarded "
    "`delete_item`; langchain-community 0.4.2, zep.py clear: `except NotFoundError` while that "
    "name is imported for type checking only",
    modes=ONE_HANDLE,
    program=st.tuples(st.integers(1, 2), strategies.batches(max_batches=1)),
)
def clearing_twice_is_clearing_once(s: Session, program: tuple[int, Batches]) -> None:
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
    rule="Clearing a session that was never written raises nothing, and the session can be used.",
    source=f"{_CLEAR}: removes all messages, and none is an allowed number of messages",
    cause="`clear` looks up what only the first write makes",
    remedy="treat `not found` as done",
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
    rule="`clear` removes no message of a session with another id.",
    source=f"{_CLEAR}: a history is one session's; its store is what that session has",
    cause="`clear` drops the table, index or directory that all sessions share",
    remedy="delete by the whole session id and nothing wider",
    seen="langchain-redis 0.2.6, chat_message_history.py delete: drops the index and the documents "
    "of all sessions under it",
    modes=(SYNC, ASYNC),
    program=st.tuples(strategies.batches(min_batches=2, max_batches=3, max_size=2), st.integers(0)),
    examples=10,
)
def clearing_one_session_leaves_the_others(s: Session, program: tuple[Batches, int]) -> None:
    batches, chosen = program
    handles = [s.open(f"{{nonce}}-{number}") for number in range(len(batches))]
    for handle, batch in zip(handles, batches, strict=True):
        handle.add(batch)
    handles[chosen % len(handles)].clear()
    for handle in handles:
        handle.reads_back()


@contract(
    "clear.add_after",
    rule="What is added after a `clear` is there at once, and is all that is there.",
    source=f"{_CLEAR}: removes what is stored; nothing ends the session",
    cause="`clear` deletes what only the constructor makes (a topic, a table), or deletes in the "
    "background and takes what comes afterwards with it",
    remedy="delete the messages and keep what holds them; wait until the deletion is done",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: clear deletes the topic, and "
    "only the constructor makes it",
    modes=ONE_HANDLE,
    program=strategies.batches(min_batches=2, max_batches=4, max_size=3),
)
def what_is_added_after_a_clear_is_there(s: Session, batches: Batches) -> None:
    a = s.open()
    a.add(batches[0])
    a.clear()
    for batch in batches[1:]:
        a.add(batch)
    a.reads_back()


@contract(
    "clear.add_after_by_other_handles",
    rule="After a `clear` through any handle, what any handle adds is there at once through every "
    "handle, whether it was opened before or after.",
    source=f"{_CLEAR}: removes what is stored; handles with one session id are one conversation",
    cause="a handle keeps a count, a cache or a reference to what was cleared, and goes on with it",
    remedy="keep nothing in a handle that a clear through another one makes wrong",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: after clear deleted the "
    "topic, other handles write to one that nobody makes; tidb.py: other handles keep their cache",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(
        strategies.batches(min_batches=2, max_batches=3, max_size=2),
        st.integers(0, 1),
        st.integers(0, 1),
    ),
)
def what_any_handle_adds_after_a_clear_is_there(
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
    rule="No message that was cleared is ever read again: not after other handles have written, "
    "and not after all handles were closed and the session was opened again.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="a handle writes back the whole list that it holds, when it is closed or with its next "
    "message, and has not heard of the clear",
    remedy="append what is new and never write a whole conversation back",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py: leaving the context "
    "manager always upserts the cached messages",
    needs=("shared",),
    modes=HANDLES,
    program=st.tuples(strategies.batches(max_batches=1), st.booleans(), st.booleans()),
)
def nothing_that_was_cleared_returns(s: Session, program: tuple[Batches, bool, bool]) -> None:
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
    rule=f"`clear` removes all of a long history; {_LONG:,} messages are tried.",
    source=f"{_CLEAR}: removes all messages from the store",
    cause="`clear` deletes what one page or one request of the store holds",
    remedy="delete by the session and not by a list of messages; or go on until a query finds none",
    seen="langchain-community 0.4.2, chat_message_histories/xata.py clear has to loop until a "
    "query finds nothing; signalapp/Signal-Desktop#645 is the kind without the loop",
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
