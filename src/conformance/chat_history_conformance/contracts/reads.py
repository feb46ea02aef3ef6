"""Reads: reading changes nothing, and returns all messages that were written."""

from __future__ import annotations

import time

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, ONE_HANDLE, PROCESS, SYNC, contract
from chat_history_conformance.diagnosis.script_claims import contents, contents_are, is_list
from chat_history_conformance.execution.session import Session

Batches = list[list[BaseMessage]]

_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"
_STR = "langchain_core/chat_history.py, BaseChatMessageHistory.__str__"
_ENTER = "langchain_core/runnables/history.py, RunnableWithMessageHistory._enter_history"


@contract(
    "reads.repeatable",
    rule="Reading changes nothing. A second read returns the same conversation, and a read after "
    "an add returns the same conversation followed by the added messages.",
    source=f"{_MESSAGES}: a property that returns a list of messages",
    cause="`messages` consumes: it moves a cursor, and the next read starts from there.",
    remedy="Read from the start each time, and offer a consuming read under another name. Or list "
    "`whole_reads` in `lacks=`, with a reason.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: `messages` continues from "
    "the committed offset",
    needs=("whole_reads",),
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=3),
)
def reading_can_be_repeated(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
        a.reads_back()
        a.reads_back()


@contract(
    "reads.unused_session",
    rule="A session that was never written reads as an empty list, however often it is read, and "
    "even if other sessions have messages.",
    source=f"{_MESSAGES}: returns a list of messages; langchain_core/chat_history.py, the example "
    "of BaseChatMessageHistory returns an empty list if there is no file",
    cause="Reading looks up a record that only the first write creates.",
    remedy="Treat `not found` as an empty conversation.",
    seen="langchain-ai/langchain#6141: DynamoDB without any chat history raised",
    modes=ONE_HANDLE,
    program=st.tuples(st.booleans(), st.integers(1, 2)),
    examples=4,
)
def an_unused_session_reads_as_an_empty_list(s: Session, program: tuple[bool, int]) -> None:
    others, times = program
    if others:
        s.open("{nonce}-2").add([HumanMessage("m0")])
    a = s.open()
    for _ in range(times):
        a.reads_back()
    a.add([HumanMessage("m1")])
    a.reads_back()


_DAY_SECONDS = 86_400

_LATER_SECONDS = (3_600, _DAY_SECONDS, 32 * 86_400, 400 * 86_400)
"""An hour, a day, a month and a year later, and a bit more."""


@contract(
    "reads.another_day",
    since="0.2",
    rule="Messages without a time to live are read on every later day, and a conversation goes on "
    "over midnight. The wall clock of the client has no part in finding them.",
    source=f"{_MESSAGES}: returns the messages of the session, whenever they were added",
    cause="The name of a file, an index, a table or a key contains the day or the month. Or "
    "messages expire although no time to live was requested.",
    remedy="Make names only from the session id, or search all of them when reading. If the "
    "history has a time to live by default, declare `with_ttl`, so that messages without one can "
    "be tried.",
    seen="convention: log stores have an index for each day",
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def messages_are_read_on_a_later_day(s: Session, _: None) -> None:
    can_be_kept = s.subject.backend.with_ttl is not None
    a = s.open(ttl=(None,) if can_be_kept else None)
    now = float(int(time.time()))
    a.add([HumanMessage("m0")])
    for number, later in enumerate(_LATER_SECONDS, 1):
        with s.clock(a, now + later):
            # A history may keep messages for some days, unless it can be opened without a limit.
            if can_be_kept or later <= _DAY_SECONDS:
                # A server may refuse a request whose time is far from its own.
                got = a.bounded_unless_refused("messages")
                if got is not None:
                    a.expect(got)
            a.try_add([HumanMessage(f"m{number}")])
    a.reads_back()


@contract(
    "reads.returns_list",
    rule="A read returns a `list` that belongs to the caller. The caller can copy it, append to "
    "it, sort it and empty it without an effect on the next read.",
    source=f"{_MESSAGES}: returns a list; {_ENTER}: calls `copy` on it",
    cause="The history returns a tuple, a generator or a view, or the list in which it keeps its "
    "messages.",
    remedy="Build a new list for each read.",
    seen="langchain-core 1.7.2, InMemoryChatMessageHistory.messages is the live list; "
    "langchain-community 0.4.2, chat_message_histories/tidb.py returns its cache",
    modes=ONE_HANDLE,
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        strategies.some_of(["append", "reverse", "pop", "clear"]),
    ),
)
def a_read_returns_a_list_that_belongs_to_the_caller(
    s: Session, program: tuple[Batches, list[str]]
) -> None:
    batches, changes = program
    a = s.open()
    for batch in batches:
        a.add(batch)
    for change in changes:
        got = a.reads_back()
        s.check(
            is_list,
            a.result,
            kind="other",
            summary=f"a read returned a {type(got).__name__} instead of a list",
        )
        arguments = [None] if change == "append" else []
        s.call_method(a.result, change, *arguments)
        again = a.read()
        # Only numbers and contents: the contracts on fidelity compare the rest.
        wanted = [kept.message.content for kept in a.model.stored]
        s.check(
            contents_are,
            a.result,
            wanted,
            kind="aliased",
            summary=f"`{change}({', '.join(map(repr, arguments))})` on a returned list changed "
            "the history",
            expected=[repr(item) for item in wanted],
            returned=[repr(item) for item in contents(again)],
        )


@contract(
    "reads.printing",
    rule="Printing a history (`str`, `repr`) changes nothing.",
    source=f"{_STR}: returns a string representation; a debugger or a log line may ask for it",
    cause="`__str__` uses a consuming read, or changes the stored list in place to print it.",
    remedy="Print from a copy, or print only the session id.",
    seen="convention: loggers and debuggers print objects without being asked",
    modes=(SYNC,),
    program=st.tuples(
        strategies.batches(max_batches=2), st.lists(st.sampled_from(["str", "repr"]), min_size=1)
    ),
)
def printing_a_history_changes_nothing(s: Session, program: tuple[Batches, list[str]]) -> None:
    batches, functions = program
    a = s.open()
    for batch in batches:
        a.add(batch)
    for function in functions[:3]:
        a.text(function)
        a.reads_back()


@contract(
    "reads.own_writes",
    rule="A read that starts after an add has returned includes the added messages, on the same "
    "handle.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds to the "
    "store; a chat turn writes and the next one reads",
    cause="The store makes writes visible later (an index that refreshes once a second, a "
    "replica), or the write is still in a buffer.",
    remedy="Wait for visibility when writing, or refresh before reading.",
    seen="langchain-community 0.4.2, chat_message_histories/rocksetdb.py: `sync=False` by default, "
    "so a read may come before the write",
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=4, max_size=3),
)
def a_handle_reads_its_own_writes(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        if len(batch) == 1:
            a.add_one(batch[0])
        else:
            a.add(batch)
        a.reads_back()


@contract(
    "reads.other_handle",
    rule="A read that starts after an add has returned includes the added messages, on every "
    "handle with that session id, even on one that was opened and read earlier.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds to the "
    "store, which the handles of a session share",
    cause="Messages are loaded once, when the handle is created or first read.",
    remedy="Read from the store on every access.",
    seen="langchain-community 0.4.2, chat_message_histories/firestore.py: messages are loaded in "
    "the constructor only",
    needs=("shared",),
    modes=ONE_HANDLE,
    program=strategies.batches(max_batches=3, max_size=2),
)
def another_handle_reads_the_added_messages(s: Session, batches: Batches) -> None:
    _write_and_read_elsewhere(s, batches)


@contract(
    "reads.other_process",
    rule="A read that starts after an add has returned includes the added messages, in every "
    "process, even on a handle that was opened and read earlier.",
    source="convention: web servers run several processes, and another one may serve each turn",
    cause="A cache in one process does not notice writes of other processes. Or messages wait in "
    "a buffer of the process that wrote them.",
    remedy="Read from the store on every access, and write to it before the add returns.",
    seen="langchain-google-firestore 0.5.0: messages are loaded in the constructor only",
    needs=("shared",),
    modes=(PROCESS,),
    program=strategies.batches(max_batches=3, max_size=2),
)
def another_process_reads_the_added_messages(s: Session, batches: Batches) -> None:
    _write_and_read_elsewhere(s, batches)


def _write_and_read_elsewhere(s: Session, batches: Batches) -> None:
    a, b = s.open(), s.open()
    b.reads_back()
    for number, batch in enumerate(batches):
        writer, reader = (a, b) if number % 2 == 0 else (b, a)
        writer.add(batch)
        reader.reads_back()
