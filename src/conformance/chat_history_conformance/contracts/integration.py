"""Integration: the features of langchain-core that use a history work with it."""

from __future__ import annotations

import copy
import functools
import operator
import warnings
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    get_buffer_string,
    trim_messages,
)

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, ONE_HANDLE, SYNC, contract
from chat_history_conformance.diagnosis.code import Ref, call, fill
from chat_history_conformance.diagnosis.compare import Snapshot
from chat_history_conformance.diagnosis.rendering import show, source
from chat_history_conformance.diagnosis.script_claims import are_equal
from chat_history_conformance.diagnosis.script_loops import wait
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.session import Handle, Session

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_RUNNABLE = "langchain_core/runnables/history.py, RunnableWithMessageHistory"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"


class Chat:
    """`RunnableWithMessageHistory` around a fake model, on the history of a handle.

    Args:
        s: The session.
        handle: The handle whose history keeps the conversation.
        keyed: Give the model history and question under two keys.
    """

    def __init__(self, s: Session, handle: Handle, *, keyed: bool = False) -> None:
        # Only these contracts use runnables, whose import takes as long as all other imports.
        from chat_history_conformance.diagnosis.script_chat import FakeChat

        self._s = s
        self._handle = handle
        self._keyed = keyed
        history = Ref(handle.name, s.subject.local.history(handle.key))
        with warnings.catch_warnings():  # adopters run with -W error
            warnings.filterwarnings("ignore", "RunnableWithMessageHistory is deprecated")
            self._chat = s.do(FakeChat, history, keyed, as_="chat")

    def turn(self, question: Messages, answer: Messages, *, streamed: bool = False) -> None:
        """Run one turn: a question, and the parts of the answer (one, unless it is streamed)."""
        s, handle, how = self._s, self._handle, self._handle.how
        s.settle()
        asked = [Snapshot(message) for message in question]
        wanted = [*handle.model.stored, *([] if self._keyed else asked)]
        awaited = how == "async"
        method = f"{'a' * awaited}{'stream' if streamed else 'invoke'}"
        code = fill("chat.{}({}, {})", method, source(question), source(answer))
        text = f"{'await ' * awaited}chat.{method}({show(question)}), answered with {show(answer)}"
        s.steps.append(Step(text, call(wait, code) if awaited else code))
        chat = self._chat.value
        s.carry_out(
            f"RunnableWithMessageHistory.{method}",
            lambda: s.subject.local.run(lambda: getattr(chat, method)(question, answer), how),
        )
        handle.expect(Ref("chat.last_history()", chat.last_history()), wanted)
        handle.model.stored += asked
        handle.model.add([functools.reduce(operator.add, answer)])


def _questions() -> st.SearchStrategy[list[int]]:
    """Draw the number of messages in the question of each turn."""
    return st.lists(st.integers(1, 2), min_size=1, max_size=4)


def _turns(chat: Chat, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        question: Messages = [HumanMessage(f"question {number}.{n}") for n in range(size)]
        chat.turn(question, [AIMessage(f"answer {number}")])


@contract(
    "integration.turns",
    rule="`RunnableWithMessageHistory` gives the model the whole conversation in every turn, and "
    "afterwards the history holds exactly the conversation.",
    source=f"{_RUNNABLE}: reads the history before a turn and appends question and answer after it",
    cause="The runnable reads twice in a turn and cuts off the question by the length of the "
    "second read. So if reads consume, are bounded or lag behind, the question is lost or stored "
    "twice. The runnable also needs a list with `copy`, and it only logs an error that adding "
    "raises.",
    remedy="Make `messages` return a new list of the whole conversation each time. If the finding "
    "remains, look in the log for an error that adding raised.",
    seen="langchain-ai/langchain#14629 https://github.com/langchain-ai/langchain/pull/14629, "
    "#15385 https://github.com/langchain-ai/langchain/issues/15385: messages are stored twice",
    needs=("whole_reads",),
    modes=ONE_HANDLE,
    program=_questions(),
    examples=8,
)
def turns_store_exactly_the_conversation(s: Session, sizes: list[int]) -> None:
    a = s.open()
    _turns(Chat(s, a), sizes)
    a.reads_back()


@contract(
    "integration.keyed_turns",
    rule="`RunnableWithMessageHistory` gives the model the whole conversation, and leaves exactly "
    "the conversation in the history, even if history and question have separate keys. In this "
    "case the history is read in a different thread from the one that runs the chain.",
    source=f"{_RUNNABLE}: `history_messages_key`",
    cause="The history works only on the thread that opened it.",
    remedy="Allow any thread to use a handle (for sqlite3, `check_same_thread=False` and a lock).",
    seen="convention: prompts with a MessagesPlaceholder need this form",
    needs=("whole_reads", "threads"),
    modes=BOTH,
    program=_questions(),
    examples=4,
)
def turns_with_two_keys_store_exactly_the_conversation(s: Session, sizes: list[int]) -> None:
    a = s.open()
    _turns(Chat(s, a, keyed=True), sizes)
    a.reads_back()


@contract(
    "integration.streaming",
    rule="A streamed answer is kept as one message, the sum of its chunks, and the next turn can "
    "read it.",
    source=f"{_RUNNABLE}: adds the merged output when a stream has ended",
    cause="The merged answer is an AIMessageChunk, which the history cannot store or read.",
    remedy="Store `message_to_dict(message)` and read it with `messages_from_dict`, which "
    "supports chunks.",
    seen="langchain-ai/langchain#15327 https://github.com/langchain-ai/langchain/pull/15327",
    needs=("whole_reads",),
    modes=BOTH,
    program=st.lists(
        st.lists(st.sampled_from(["word", " ", "\n"]), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    examples=8,
)
def a_streamed_answer_is_kept_as_one_message(s: Session, turns: list[list[str]]) -> None:
    a = s.open()
    chat = Chat(s, a)
    for number, words in enumerate(turns):
        chunks: Messages = [AIMessageChunk(content=f"{word}{n}") for n, word in enumerate(words)]
        chat.turn([HumanMessage(f"question {number}")], chunks, streamed=True)
    a.reads_back()


_CONVERSATION: Messages = [
    HumanMessage("m0"),
    SystemMessage("m1"),
    HumanMessage("m2"),
    AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "c1", "type": "tool_call"}]),
    ToolMessage("m4", tool_call_id="c1"),
    AIMessage("m5"),
    ChatMessage(content="m6", role="critic"),
]


@contract(
    "integration.trimming",
    rule="`trim_messages` gives the same result for the messages that the history returns as for "
    "the messages that were added, and changes nothing in the history.",
    source=f"{_MESSAGES}: returns messages; langchain_core/messages/utils.py, trim_messages",
    cause="The returned objects are not of the original message classes, but BaseMessage objects, "
    "subclasses or dicts, and trimming depends on the class.",
    remedy="Read with `messages_from_dict`.",
    seen="langchain-ai/langchain#27454 https://github.com/langchain-ai/langchain/issues/27454",
    needs=("whole_reads",),
    modes=BOTH,
    program=st.tuples(
        strategies.some_of(_CONVERSATION).map(copy.deepcopy),
        st.integers(1, 4),
        st.sampled_from([{"start_on": "human"}, {"include_system": True}, {"strategy": "first"}]),
    ),
)
def returned_messages_can_be_trimmed(
    s: Session, program: tuple[Messages, int, dict[str, Any]]
) -> None:
    messages, count, options = program
    a = s.open()
    a.add(messages)
    a.read()
    bounds = {"max_tokens": count, "token_counter": len, **options}
    trimmed = s.do(trim_messages, a.result, **bounds, as_="trimmed")
    expected = trim_messages(_originals(a), **bounds)
    a.expect(trimmed, [Snapshot(message) for message in expected])
    a.reads_back()


@contract(
    "integration.buffer_string",
    rule="`get_buffer_string` gives the same text for the messages that the history returns as "
    "for the messages that were added.",
    source=f"{_MESSAGES}: returns messages; BaseChatMessageHistory.__str__ calls "
    "`get_buffer_string`",
    cause="The returned objects are not of the original message classes, but BaseMessage objects "
    "or dicts.",
    remedy="Read with `messages_from_dict`.",
    seen="langchain-ai/langchain#27454 https://github.com/langchain-ai/langchain/issues/27454",
    needs=("whole_reads",),
    modes=BOTH,
    program=strategies.some_of(_CONVERSATION).map(copy.deepcopy),
)
def returned_messages_can_be_formatted_as_text(s: Session, messages: Messages) -> None:
    a = s.open()
    a.add(messages)
    a.read()
    text = s.do(get_buffer_string, a.result, as_="text")
    expected = get_buffer_string(_originals(a))
    s.check(
        are_equal,
        text,
        expected,
        kind="altered",
        summary="`get_buffer_string` gave another text than for the messages that were added",
        expected=expected.splitlines(),
        returned=str(text.value).splitlines(),
    )


def _originals(handle: Handle) -> Messages:
    return [kept.message for kept in handle.model.stored]
