"""Inputs: values that the methods for adding must accept, and values that they must refuse."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, ONE_HANDLE, SYNC, contract
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import was_refused
from chat_history_conformance.execution.session import Session

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_HISTORY = "langchain_core/chat_history.py, BaseChatMessageHistory"
_ADD_MESSAGES = f"{_HISTORY}.add_messages"


@contract(
    "inputs.empty_batch",
    rule="Adding an empty sequence stores nothing, removes nothing and raises nothing, both in a "
    "session that was never written and in one with messages.",
    source=f"{_ADD_MESSAGES}: takes a sequence and adds each of its messages; the inherited "
    "implementation loops over nothing",
    cause="The store's client refuses a write of nothing. Or the empty batch replaces the "
    "conversation, or is stored as an empty record that cannot be read.",
    remedy="Return at once if there is nothing to add.",
    seen="run-llama/llama_index#22963 https://github.com/run-llama/llama_index/pull/22963: an "
    "empty push, which Redis refuses; langchain-community 0.4.2, "
    "chat_message_histories/dynamodb.py: writes even if there are no new messages",
    modes=ONE_HANDLE,
    program=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def an_empty_batch_stores_nothing(s: Session, sizes: list[int]) -> None:
    a = s.open()
    for size in sizes:
        a.add([])
        a.add([HumanMessage(f"m{len(a.model.stored) + n}") for n in range(size)])
    a.add(())
    a.reads_back()


_SEQUENCES: dict[str, Callable[[Messages], Sequence[BaseMessage]]] = {
    "tuple": tuple,
    "collections.UserList": collections.UserList,
}


@contract(
    "inputs.any_sequence",
    rule="A batch may be any sequence: a tuple or an instance of a custom sequence class works as "
    "a list does.",
    source=f"{_ADD_MESSAGES}: `messages: Sequence[BaseMessage]`",
    cause="The batch is joined to a list with `+`, checked with `isinstance(..., list)`, or "
    "passed to a JSON encoder.",
    remedy="Call `list(messages)` first.",
    seen="convention: the annotation of the parameter",
    modes=BOTH,
    program=st.lists(
        st.tuples(st.sampled_from(["list", *_SEQUENCES]), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    ),
)
def any_sequence_works_as_a_batch(s: Session, batches: list[tuple[str, int]]) -> None:
    a = s.open()
    for kind, size in batches:
        messages: Messages = [HumanMessage(f"m{len(a.model.stored) + n}") for n in range(size)]
        if kind == "list":
            a.add(messages)
        else:
            a.add(s.do(_SEQUENCES[kind], messages, as_=s.variable("batch")))
    a.reads_back()


@contract(
    "inputs.iterator",
    rule="An iterator, which can be consumed only once, is stored whole, or refused with an error "
    "before anything is stored.",
    source=f"{_ADD_MESSAGES}: `Sequence` does not include iterators; convention: a message that "
    "is accepted without an error is part of the conversation",
    cause="The batch is iterated twice, once to check it and once to store it, and nothing is "
    "left for the second time.",
    remedy="Call `list(messages)` first, or raise a TypeError.",
    seen="haystack-experimental 0.19.0.post1, in_memory.py, write_messages: checks with any(), "
    "then loops again",
    modes=BOTH,
    program=st.tuples(st.integers(0, 2), st.integers(1, 4)),
)
def an_iterator_is_stored_whole_or_refused(s: Session, sizes: tuple[int, int]) -> None:
    there, added = sizes
    a = s.open()
    a.add([HumanMessage(f"m{n}") for n in range(there)])
    messages: Messages = [HumanMessage(f"m{there + n}") for n in range(added)]
    error = a.try_add(s.do(iter, messages, as_=s.variable("batch")))
    if error is None:
        a.model.add(messages)
    a.reads_back()


@contract(
    "inputs.strings",
    rule="`add_user_message` and `add_ai_message` accept a text, even an empty one, and add it as "
    "a human or an AI message with that content and nothing else.",
    source=f"{_HISTORY}.add_user_message and .add_ai_message: `message: HumanMessage | str`",
    cause="Both methods are overridden and take another path than `add_messages`. Or the roles "
    "are swapped.",
    remedy="Inherit both methods.",
    seen="convention: tutorials begin with these methods",
    modes=(SYNC,),
    program=st.lists(
        st.tuples(st.booleans(), strategies.some_of(["hello", "", " ", "ü 😀", "null"])),
        min_size=1,
        max_size=4,
    ),
)
def strings_become_human_and_ai_messages(s: Session, turns: list[tuple[bool, list[str]]]) -> None:
    a = s.open()
    for by_user, texts in turns:
        for text in texts:
            if by_user:
                a.add_user(text)
            else:
                a.add_ai(text)
    a.reads_back()


@contract(
    "inputs.message_objects",
    rule="`add_user_message` and `add_ai_message` also accept a message and keep it unchanged. "
    "They do not build a new message from its content, which would lose its id, name and other "
    "fields.",
    source=f"{_HISTORY}.add_user_message and .add_ai_message: `message: HumanMessage | str`",
    cause="Both methods are overridden and wrap every argument: `HumanMessage(content=message)`.",
    remedy="Inherit both methods.",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py and zep_cloud.py, "
    "add_user_message",
    modes=(SYNC,),
    program=st.lists(
        st.sampled_from(
            [
                HumanMessage("m", id="id-1", name="Ada"),
                AIMessage("m", id="id-2", response_metadata={"model": "m-1"}),
                HumanMessage("m", additional_kwargs={"key": [1]}),
                AIMessage(
                    "", tool_calls=[{"name": "f", "args": {}, "id": "c", "type": "tool_call"}]
                ),
            ]
        ),
        min_size=1,
        max_size=4,
    ),
)
def message_objects_are_kept_unchanged(s: Session, messages: Messages) -> None:
    a = s.open()
    for message in messages:
        if isinstance(message, HumanMessage):
            a.add_user(message.model_copy(deep=True))
        elif isinstance(message, AIMessage):
            a.add_ai(message.model_copy(deep=True))
    a.reads_back()


_NOT_MESSAGES: tuple[Any, ...] = (
    "hello",
    None,
    {"type": "human", "data": {"content": "m1"}},
    {"role": "user", "content": "m1"},
    ("human", "m1"),
    1,
    b"m1",
)


@contract(
    "inputs.not_a_message",
    rule="`add_messages` and `add_message` refuse a value that is not a message (a string, None, "
    "a dict, a tuple, a number) with an error, and store nothing.",
    source=f"{_ADD_MESSAGES} and .add_message: take BaseMessage objects; strings are for "
    "add_user_message",
    cause="Values are not checked when they are stored, so that the mistake appears only when "
    "somebody reads.",
    remedy="Raise a TypeError that names the value and its position in the batch.",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.add_message: appends "
    "any value",
    modes=BOTH,
    program=st.lists(
        st.tuples(
            st.sampled_from(_NOT_MESSAGES),
            st.sampled_from(["in a batch", "alone", "instead of the batch"]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def values_that_are_not_messages_are_refused(s: Session, attempts: list[tuple[Any, str]]) -> None:
    a = s.open()
    a.add([HumanMessage("m0")])
    for value, place in attempts:
        operation = "add_message" if place == "alone" else "add_messages"
        given = [value] if place == "in a batch" else value
        a.try_add(given, operation=operation)
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary=f"accepted {show(value)}, which is not a message",
        )
    a.reads_back()
