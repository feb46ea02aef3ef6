"""Aliasing: a history and its caller do not share objects."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import BEGINNING, LAST
from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.code import Ref
from chat_history_conformance.diagnosis.compare import Snapshot, compare
from chat_history_conformance.diagnosis.script_claims import are_equal
from chat_history_conformance.execution.session import Handle, Session

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"
_STORE = "convention: a history is a store, and only its own methods change it"

_CONVERSATION: Messages = [
    HumanMessage("m0"),
    HumanMessage(
        ["m1", {"type": "text", "text": "block"}],
        additional_kwargs={"nested": {"list": [1, 2]}},
        id="id-1",
    ),
    AIMessage(
        "m2",
        tool_calls=[{"name": "f", "args": {"a": [1]}, "id": "c1", "type": "tool_call"}],
        response_metadata={"model": "m"},
    ),
    ToolMessage("m3", tool_call_id="c1", artifact={"rows": [1]}),
]

Path = tuple[Any, ...]

_CHANGES: list[Path] = [
    ("content",),
    ("additional_kwargs", "changed"),
    ("id",),
    ("additional_kwargs", "nested", "list", ...),
    ("content", 1, "text"),
    ("content", ...),
    ("tool_calls", 0, "args", "a", ...),
    ("artifact", "rows", ...),
]
"""Paths to change: an attribute of a message, then keys.

A path that ends with `...` leads to a list, and the change appends to it. The change sets the end
of any other path to another value.
"""


def _conversations() -> st.SearchStrategy[Messages]:
    return strategies.some_of(_CONVERSATION).map(copy.deepcopy)


def _changes() -> st.SearchStrategy[list[Path]]:
    return st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=4, unique=True)


def _change(s: Session, messages: Ref, changes: list[Path]) -> None:
    """Make each change to all messages that have its path."""
    for number in range(len(messages.value)):
        for change in changes:
            _change_one(s, messages[number], change)


def _change_one(s: Session, message: Ref, path: Path) -> None:
    place = message
    for key in path[:-1]:
        if place is message and hasattr(message.value, key):
            place = message.attribute(key)
        elif (isinstance(place.value, dict) and key in place.value) or (
            isinstance(place.value, list) and key in range(len(place.value))
        ):
            place = place[key]
        else:
            return
    if path[-1] is ...:
        if isinstance(place.value, list):
            s.call_method(place, "append", "changed")
    elif place is message:
        s.set_attribute(message, path[-1], "changed")
    elif isinstance(place.value, dict):
        s.set_item(place, path[-1], "changed")


def _reads(s: Session) -> list[str]:
    """Return the ways in which a history returns its whole conversation."""
    return ["messages", *s.offered((LAST, BEGINNING))]


def _read(a: Handle, operation: str, after: str = "") -> Ref:
    """Read the whole conversation in one of the ways, and fail unless all of it comes.

    Args:
        a: The handle.
        operation: The way, one of `_reads`.
        after: Words for the change to which a difference is due.
    """
    count = max(1, len(a.model.stored))
    if operation == "messages":
        a.read()
    elif operation == LAST:
        a.last(count)
    else:
        a.bounded(operation, count)
    a.expect(a.result, called=("aliased", after) if after else None)
    return a.result


def _expect_unchanged(s: Session, *batches: Messages) -> None:
    """Fail if the messages come back different without any change: that is not aliasing."""
    control = s.open("{nonce}-unchanged")
    for batch in batches:
        control.add(copy.deepcopy(batch))
    control.reads_back()


@contract(
    "aliasing.inputs_unchanged",
    rule="Adding messages changes neither the messages nor the list that the caller passes in.",
    source=f"{_ADD_MESSAGES}: stores the messages it is given; {_STORE}",
    cause="The add writes a key, a time or the session id into the caller's message. Or it "
    "empties or extends the caller's list.",
    remedy="Store such data next to the message, or in a copy of it.",
    seen="langchain-community 0.4.2, chat_message_histories/rocksetdb.py, add_message: puts an id "
    "into additional_kwargs",
    modes=BOTH,
    program=st.tuples(_conversations(), st.booleans()),
)
def adding_does_not_change_its_input(s: Session, program: tuple[Messages, bool]) -> None:
    messages, singly = program
    a = s.open()
    batch = s.let("batch", messages)
    before = [Snapshot(message) for message in messages]
    copied = s.do(copy.deepcopy, batch, as_="before")
    if singly:
        for number, message in enumerate(list(messages)):
            a.add_one(Ref(f"batch[{number}]", message))
    else:
        a.add(batch)
    a.read()
    difference = compare(before, messages)
    if difference is not None:
        s.fail_claim(
            are_equal,
            batch,
            copied,
            kind="mutated_input",
            summary=f"the add changed its input: {difference.summary}",
        )


@contract(
    "aliasing.later_input_changes",
    rule="The stored messages do not change when the caller changes a message object after adding "
    "it. This includes nested values.",
    source=_STORE,
    cause="The history keeps the caller's objects, or shallow copies of them.",
    remedy="Store text. In memory, store `copy.deepcopy(message)`.",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.add_message: keeps "
    "the object; rocketride-org/rocketride-server#547 "
    "https://github.com/rocketride-org/rocketride-server/pull/547: copies only the outer list",
    modes=BOTH,
    program=st.tuples(_conversations(), _changes()),
)
def later_changes_of_a_message_do_not_reach_the_store(
    s: Session, program: tuple[Messages, list[Path]]
) -> None:
    messages, changes = program
    _expect_unchanged(s, messages)
    a = s.open()
    batch = s.let("batch", messages)
    a.add(batch)
    _change(s, batch, changes)
    a.expect(a.read(), called=("aliased", "after the caller changed an added message"))


@contract(
    "aliasing.list_passed_in",
    rule="The stored messages do not change when the caller changes the list after passing it to "
    "`add_messages`.",
    source=_STORE,
    cause="The history keeps the caller's list as its store, for example for a session's first "
    "batch.",
    remedy="Copy the list.",
    seen="llama-index-core 0.14.25, simple_chat_store.py, set_messages; neo4j-graphrag 1.22.0, "
    "message_history.py, InMemoryMessageHistory: `self._messages = messages or []`",
    modes=BOTH,
    program=st.tuples(
        strategies.batches(max_batches=2, max_size=3),
        st.sampled_from(["append", "clear", "reverse", "pop"]),
    ),
)
def later_changes_of_the_list_do_not_reach_the_store(
    s: Session, program: tuple[list[Messages], str]
) -> None:
    batches, change = program
    _expect_unchanged(s, *batches)
    a = s.open()
    for messages in batches:
        batch = s.let("batch", messages)
        a.add(batch)
        if messages:  # aliasing.inputs_unchanged covers a history that empties the list
            s.call_method(batch, change, *([batch[0]] if change == "append" else []))
    a.expect(a.read(), called=("aliased", "after the caller changed the list it had added"))


@contract(
    "aliasing.returned_list",
    rule="The caller owns the list that a read returns. Appending to it, emptying it or reversing "
    "it changes neither the history nor the result of another read.",
    source=f"{_MESSAGES}: returns a list of messages; {_STORE}",
    cause="The read returns the stored list itself, or a cached list.",
    remedy="Return a new list from each read.",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.messages; "
    "langchain-community 0.4.2, chat_message_histories/streamlit.py and tidb.py: `messages` "
    "returns the cache; yaalalabs/agent-kernel#739 "
    "https://github.com/yaalalabs/agent-kernel/issues/739",
    modes=BOTH,
    program=st.tuples(
        strategies.batches(max_batches=1, max_size=3),
        st.sampled_from(["append", "clear", "pop", "insert"]),
    ),
)
def a_returned_list_belongs_to_the_caller(s: Session, program: tuple[list[Messages], str]) -> None:
    batches, change = program
    a = s.open()
    for batch in batches:
        a.add(batch)
    for operation in _reads(s):
        returned = _read(a, operation)
        if not isinstance(returned.value, list):
            continue  # another contract requires a list
        arguments: dict[str, list[Any]] = {"append": [returned[0]], "insert": [0, returned[0]]}
        s.call_method(returned, change, *arguments.get(change, []))
        for again in dict.fromkeys(("messages", operation)):
            _read(a, again, f"after the caller changed a list that `{operation}` returned")


@contract(
    "aliasing.later_store_changes",
    rule="A list that a read returned stays the same when messages are added or the session is "
    "cleared afterwards.",
    source=f"{_MESSAGES}: returns a list of messages; {_STORE}",
    cause="The read returns the stored list itself or a cached list, and `add_messages` or "
    "`clear` changes that list in place.",
    remedy="Return a new list from each read.",
    seen="langchain-community 0.4.2, chat_message_histories/streamlit.py and tidb.py: `clear` "
    "empties the list that `messages` returned",
    modes=BOTH,
    program=st.tuples(strategies.batches(max_batches=1, max_size=3), st.booleans()),
)
def a_returned_list_does_not_change_later(s: Session, program: tuple[list[Messages], bool]) -> None:
    batches, clear = program
    a = s.open()
    for batch in batches:
        a.add(batch)
    before = list(a.model.stored)
    results = [_read(a, operation) for operation in _reads(s)]
    if clear:
        a.clear()
    else:
        a.add([HumanMessage("afterwards")])
    changed = "clear" if clear else "add_messages"
    for result in results:
        a.expect(result, before, called=("aliased", f"in a list that was read before `{changed}`"))


@contract(
    "aliasing.returned_messages",
    rule="The caller owns the messages that a read returns. Changing them, including nested "
    "values, changes neither the history nor the result of another read.",
    source=_STORE,
    cause="The read returns stored or cached objects, or shallow copies of them.",
    remedy="Create new message objects for each read.",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.messages; "
    "Lilly-Protocol/agentlily-runtime#260 "
    "https://github.com/Lilly-Protocol/agentlily-runtime/issues/260",
    modes=BOTH,
    program=st.tuples(_conversations(), _changes()),
)
def returned_messages_belong_to_the_caller(
    s: Session, program: tuple[Messages, list[Path]]
) -> None:
    messages, changes = program
    a = s.open()
    a.add(messages)
    for operation in _reads(s):
        _change(s, _read(a, operation), changes)
        for again in dict.fromkeys(("messages", operation)):
            _read(a, again, f"after the caller changed a message that `{operation}` returned")
