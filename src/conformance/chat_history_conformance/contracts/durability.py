"""Durability: messages whose add returned survive a close, a new process and a crash."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import LAST
from chat_history_conformance.contracts.catalogue import (
    ASYNC,
    ENUMERATED,
    ONE_HANDLE,
    PROCESS,
    SYNC,
    contract,
)
from chat_history_conformance.diagnosis.code import Code
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.resource_steps import SPARE, leaves_nothing_open, repeat
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]

_STORE = (
    "langchain_core/chat_history.py, BaseChatMessageHistory: stores a history, in a persistence "
    "layer; add_messages: adds to the store"
)
_CLOSE = "convention: `close` frees the resources of an object, as for files and connections"
_HANDLES = 16


@contract(
    "durability.new_handle",
    rule="A handle that is opened after all earlier handles were closed or dropped reads every "
    "message that they added.",
    source=_STORE,
    cause="The last messages are in a buffer of the handle, and only a later write, a flush or a "
    "`persist` empties it.",
    remedy="Store the messages before the add returns.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: if the flush times out, "
    "messages in flight cause only a warning; llama-index-core 0.14.25, simple_chat_store.py: "
    "nothing is stored without persist()",
    needs=("shared", "durable"),
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=3, max_size=3),
)
def a_new_handle_reads_the_messages_of_closed_handles(s: Session, batches: Batches) -> None:
    for batch in batches:
        a = s.open()
        a.add(batch)
        a.release()
    s.open().reads_back()


@contract(
    "durability.new_process",
    rule="Another process reads the messages that this process added, and this process reads the "
    "messages that the other one added.",
    source=_STORE,
    cause="Messages are kept in the memory of the process. Or they are stored under a name that "
    "depends on the process (its id, a random number, its working directory).",
    remedy="Store the messages before the add returns, under a name that depends only on the "
    "session id.",
    seen="haystack-experimental 0.19.0.post1, chat_message_stores/in_memory.py: a module-level "
    "dict, which other processes do not share",
    needs=("shared",),
    modes=(PROCESS,),
    program=strategies.batches(min_batches=2, max_batches=4, max_size=3),
)
def another_process_continues_the_conversation(s: Session, batches: Batches) -> None:
    for batch in batches:  # every handle is in the other process than the previous one
        handle = s.open()
        handle.reads_back()
        handle.add(batch)
        handle.release()
    s.open().reads_back()


_ENVIRONMENTS = (
    {"TZ": "AAA-14", "PYTHONHASHSEED": "1"},
    {"TZ": "BBB+11", "PYTHONHASHSEED": "2", "LC_ALL": "C"},
)
"""Environments of a second process: 14 hours ahead of UTC, and 11 hours behind it."""

_OLD_ENCODING = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The environment of a process whose texts are ASCII by default, so that it reads no UTF-8."""

_TEXTS = ("m", "grüße", "日本", "😀")


@contract(
    "durability.another_environment",
    since="0.2",
    rule="Processes with different time zones, locales and hash seeds continue one conversation: "
    "each reads the messages of the other, in the order of the calls, and a clear by one of them "
    "holds for the other.",
    source=f"{_STORE}; a session id is all that identifies a conversation; convention: machines "
    "that serve one application need not have one time zone, and Python chooses a new hash seed "
    "for each process",
    cause="A key contains `hash(session_id)`. Or messages are sorted by local times without a "
    "time zone.",
    remedy="Use a digest of `hashlib` or the id itself as the key. Order by a counter that the "
    "store keeps.",
    seen="langchain-ai/langchain#3677: keys made with hash() are not found by the next process; "
    "TryQuiet/zbay#664: messages out of order, because times are local",
    needs=("shared",),
    modes=(PROCESS,),
    examples=1,
)
def a_process_with_another_environment_continues_the_conversation(s: Session, _: None) -> None:
    a = s.open(in_this_process=True)
    number = 0
    for environment in _ENVIRONMENTS:
        s.second_process_starts_with(**environment)
        b = s.open(in_second_process=True)
        for adding in (a, b, a, b):
            adding.add([HumanMessage(f"m{number}"), HumanMessage(f"n{number}")])
            number += 1
        for handle in (a, b):
            handle.reads_back()
        a.clear()
        b.reads_back()
        b.add([HumanMessage("last")])
        b.clear()
        a.reads_back()


@contract(
    "durability.another_encoding",
    since="0.2",
    level="should",
    rule="A process whose default encoding is not UTF-8 reads the messages that another process "
    "added, and the other way round.",
    source=f"{_STORE}; convention: the default encoding of `open` depends on the system and its "
    "settings, as on Windows before Python 3.15",
    cause="A file is opened without `encoding=`.",
    remedy='Open files with `encoding="utf-8"`.',
    seen="langchain-ai/langchain#24258: FileChatMessageHistory opened its file without an "
    "encoding; scorbo2/TalkWithMe#49: a history cannot be written where the default is cp1252",
    needs=("shared",),
    modes=(PROCESS,),
    examples=1,
)
def a_process_with_another_encoding_continues_the_conversation(s: Session, _: None) -> None:
    a = s.open(in_this_process=True)
    a.add([HumanMessage(text) for text in _TEXTS])
    s.second_process_starts_with(**_OLD_ENCODING)
    b = s.open(in_second_process=True)
    b.reads_back()
    b.add([HumanMessage(text) for text in _TEXTS])
    for handle in (a, b):
        handle.reads_back()


@contract(
    "durability.another_directory",
    since="0.2",
    level="should",
    rule="An open handle does not depend on the working directory: if the program changes the "
    "directory, the handle reads and writes the same conversation.",
    source=f"{_STORE}; convention: the working directory belongs to the whole program, and other "
    "code may change it",
    cause="A relative path is used at each call, or for each new connection.",
    remedy="Make the path absolute when the history is opened.",
    seen="convention: SQLAlchemy makes the path of an SQLite file absolute when the engine is made",
    needs=("shared",),
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def an_open_handle_does_not_depend_on_the_directory(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    a.add([HumanMessage("m0")])
    b.reads_back()
    with s.another_directory():
        a.reads_back()
        a.add([HumanMessage("m1")])
        b.reads_back()
    for handle in (a, b):
        handle.reads_back()
    s.open().reads_back()


@contract(
    "durability.writer_killed",
    rule="Messages are stored even if the process that added them is killed right after the add "
    "returned.",
    source=_STORE,
    cause="The write is still in a buffer of the process, or in a transaction that is not "
    "committed.",
    remedy="Flush, commit and wait for the store's acknowledgement before the add returns.",
    seen="openai/openai-agents-python#4163: a transaction stays open; "
    "devoxx/DevoxxGenieIDEAPlugin#1177: only a clean exit persists messages",
    needs=("shared",),
    modes=(PROCESS,),
    program=strategies.batches(max_batches=2, max_size=3),
    examples=3,
)
def messages_of_a_killed_process_are_stored(s: Session, batches: Batches) -> None:
    reader, writer = s.open(), s.open()
    for batch in batches:
        writer.add(batch)
    s.second_process_dies()
    reader.reads_back()
    s.open(in_this_process=True).reads_back()


@contract(
    "durability.close_idempotent",
    rule="Closing a handle again does nothing and raises nothing.",
    source="convention: files, sockets and connections in Python may be closed again",
    cause="`close` uses an object that the first call has closed or set to None.",
    remedy="Remember that the handle is closed, and return.",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py __del__: closes objects "
    "again that may not exist",
    needs=("close",),
    modes=ONE_HANDLE,
    program=st.tuples(st.booleans(), st.integers(1, 2)),
    examples=4,
)
def closing_again_does_nothing(s: Session, program: tuple[bool, int]) -> None:
    used, times = program
    a = s.open()
    if used:
        a.add([HumanMessage("m0")])
        a.reads_back()
    a.close()
    for _ in range(times):
        a.close()


@contract(
    "durability.close_leaves_others",
    rule="Closing one handle does not affect other handles of the same session or of other "
    "sessions. They can still read, add and clear.",
    source=_CLOSE,
    cause="Handles share a client, and the first handle that is closed closes it for all.",
    remedy="Count the users of a shared client. Never close a client that was passed in.",
    seen="googleapis/langchain-google-memorystore-redis-python#10: a garbage-collected history "
    "closed the client that its caller had passed in",
    needs=("close", "shared"),
    modes=ONE_HANDLE,
    program=st.tuples(st.integers(0, 2), st.booleans()),
    examples=12,
)
def closing_a_handle_does_not_affect_others(s: Session, program: tuple[int, bool]) -> None:
    closing, used = program
    handles = [s.open(), s.open(), s.open("{nonce}-2")]
    for number, handle in enumerate(handles):
        if used or number != closing:
            handle.add([HumanMessage(f"m{number}")])
    handles[closing].close()
    others = [handle for handle in handles if handle is not handles[closing]]
    for number, handle in enumerate(others):
        handle.reads_back()
        handle.add([HumanMessage(f"later{number}")])
        handle.reads_back()
    others[0].clear()
    others[0].reads_back()


@contract(
    "durability.close_loses_nothing",
    rule="Closing a handle loses no message that was added through it.",
    source=f"{_STORE}; {_CLOSE}",
    cause="`close` drops a buffer, rolls back a transaction, or abandons messages in flight.",
    remedy="Store the messages before the add returns. Or flush, commit and wait in `close`, and "
    "raise if that fails.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: add_messages only warns "
    "about messages in flight after its timeout, and close waits for nothing",
    needs=("close", "shared"),
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=3, max_size=3),
)
def closing_a_handle_loses_no_messages(s: Session, batches: Batches) -> None:
    a, b = s.open(), s.open()
    for batch in batches:
        a.add(batch)
    a.close()
    b.reads_back()
    s.open().reads_back()


@contract(
    "durability.resources_freed",
    rule=f"After {_HANDLES} handles were opened, used and closed, the process has about as many "
    "threads, open files and sockets as before, even while the program still refers to the closed "
    "handles. A handle without `close` is dropped instead of closed. A pool may grow once.",
    source=_CLOSE,
    cause="`close` leaves a connection, a pool or a thread open, or leaves it to the garbage "
    "collector. Or some object keeps a reference to every handle.",
    remedy="Close everything that the handle created. Share clients between handles.",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: an engine for each instance, "
    "never closed; Chainlit/chainlit#2169: connections are never closed",
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def closed_handles_free_their_resources(s: Session, _: None) -> None:
    gc.collect()  # free the objects of other contracts before counting
    closed: list[Any] = []
    s.steps.append(Step("", Code("closed = []")))
    _open_use_and_close(s, 3, closed)  # shared resources that the first handles create may stay
    leaves_nothing_open(
        s, lambda: _open_use_and_close(s, _HANDLES, closed), f"{_HANDLES} closed handles"
    )


def _open_use_and_close(s: Session, times: int, closed: list[Any]) -> None:
    """Open, use and close `times` handles as one step, and keep the histories in `closed`."""

    def use_one() -> None:
        handle = s.open()
        handle.add([HumanMessage("m0")])
        handle.read()
        if s.offered(["close"]):
            closed.append(s.subject.local.history(handle.key))
            s.steps.append(Step("", Code(f"closed.append({handle.name})")))
        handle.release()

    repeat(s, times, use_one, "open a handle on one session, write, read and close it")


_ROUNDS = 20


@contract(
    "durability.calls_free_resources",
    since="0.2",
    rule=f"A handle that is used again and again does not use more and more threads, open files "
    f"and sockets: {_ROUNDS} adds, reads and refused adds leave at most {SPARE} more open. A "
    "pool may grow once.",
    source="convention: a server keeps a handle for as long as a conversation, and a process has "
    "a limited number of files",
    cause="Each call opens a connection and leaves it open, always or if the call is refused.",
    remedy="Open a connection once, or close it in `finally`.",
    seen="robotics-4-all/commlib-py#23 and FlowiseAI/Flowise#4256: each call opens a connection "
    "and leaves it open",
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def calls_free_their_resources(s: Session, _: None) -> None:
    gc.collect()
    a = s.open()
    windows = s.offered([LAST])
    _use(s, a, windows, 3)  # pools may grow at first
    what = f"{_ROUNDS} rounds of calls on one handle"
    leaves_nothing_open(s, lambda: _use(s, a, windows, _ROUNDS), what)


def _use(s: Session, a: Handle, windows: list[str], times: int) -> None:
    """Add, read and be refused several times, as one step."""

    def use() -> None:
        a.add([HumanMessage("m")])
        a.read()
        if windows:
            a.last(2)
        a.try_add([HumanMessage("bad", additional_kwargs={"value": b"\xff"})])

    repeat(s, times, use, "add, read, and add a message that may be refused")


@contract(
    "durability.use_after_close",
    since="0.2",
    rule="After `close`, each call on the handle either works or raises an error. An add that "
    "returns has stored its messages, a read that returns has the whole conversation, and a clear "
    "that returns has cleared the session.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds to the "
    "store; a return is the only sign of success",
    cause="`close` sets the client to None or empties a buffer, and the methods then do nothing.",
    remedy="Raise an error in every method of a closed history, or open the connection again.",
    seen="convention: files and connections in Python raise an error after `close`",
    needs=("close", "shared"),
    modes=ONE_HANDLE,
    program=strategies.some_of(["read", "add", "clear"]),
    examples=ENUMERATED,
)
def a_closed_handle_works_or_raises(s: Session, calls: list[str]) -> None:
    a, b = s.open(), s.open()
    a.add([HumanMessage("m0")])
    a.close()
    if "read" in calls:
        got = a.bounded_unless_refused("messages")
        if got is not None:
            a.expect(got)
    if "add" in calls:
        a.try_add([HumanMessage("m1")])
        b.reads_back()
    if "clear" in calls and a.try_clear() is None:
        a.model.clear()
    b.reads_back()
