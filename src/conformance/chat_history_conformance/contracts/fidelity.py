"""Fidelity: a message comes back as it was added, with its type and every field.

If JSON cannot represent a value, a history keeps it exactly, or refuses it with an error before it
stores any message of the batch.
"""

from __future__ import annotations

import copy
import datetime
import decimal
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
from langchain_core.messages.tool import tool_call_chunk

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.code import values_of
from chat_history_conformance.diagnosis.compare import compare, type_name
from chat_history_conformance.diagnosis.script_claims import was_accepted
from chat_history_conformance.execution.session import Handle, Session

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_TRIED_ALONE = 100
"""The most messages or batches that are tried alone after some of them came back changed."""

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_BASE = "langchain_core/messages/base.py, BaseMessage"
_AI = "langchain_core/messages/ai.py, AIMessage"
_TOOL = "langchain_core/messages/tool.py, ToolMessage"

_KEEP_OR_REFUSE = (
    "convention: a message that is accepted without an error is part of the conversation; a caller "
    "can react to a refusal, but not to a message that was changed"
)
_USE_CORE = (
    "Store `message_to_dict(message)` as one JSON document and read it with `messages_from_dict`."
)
_REFUSE = (
    "Serialise the whole batch before storing any of it, parse the text again, and raise an error "
    "that names the value if it changed."
)


class _Batch(list[BaseMessage]):
    """Messages with a short `repr`, because Hypothesis writes that of each value that fails."""

    def __repr__(self) -> str:
        return f"{len(self)} messages"


def _all(messages: Sequence[BaseMessage]) -> st.SearchStrategy[Messages]:
    """Make copies of all of these messages, in order. Each content "m" gets a number."""

    def made(_: None) -> Messages:
        fresh = _Batch(copy.deepcopy(list(messages)))
        for number, message in enumerate(fresh):
            if message.content == "m":
                message.content = f"m{number}"
        return fresh

    return st.none().map(made)


def _in_content(texts: Iterable[str]) -> Messages:
    return [HumanMessage(text) for text in texts]


def _in_kwargs(values: Iterable[Any]) -> Messages:
    return [HumanMessage("m", additional_kwargs={"value": value}) for value in values]


def _call(args: dict[str, Any], id: str | None = "c1", name: str = "search") -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


_PLACES: dict[str, Callable[[Any], BaseMessage]] = {
    "additional_kwargs": lambda value: HumanMessage("m", additional_kwargs={"value": value}),
    "response_metadata": lambda value: AIMessage("m", response_metadata={"value": value}),
    "arguments of a tool call": lambda value: AIMessage("", tool_calls=[_call({"value": value})]),
    "artifact": lambda value: ToolMessage("m", tool_call_id="c", artifact=value),
    "inside of an artifact": lambda value: ToolMessage(
        "m", tool_call_id="c", artifact={"rows": [value]}
    ),
    "content block": lambda value: HumanMessage([{"type": "custom", "value": value}]),
    "extra field": lambda value: SystemMessage("m", extra_value=value),
}
"""Places of a message that can hold any value."""

_TEXT_PLACES: dict[str, Callable[[str], BaseMessage]] = {
    "content": HumanMessage,
    "text in a list": lambda text: AIMessage([text]),
    "name": lambda text: HumanMessage("m", name=text),
    "id": lambda text: AIMessage("m", id=text),
    "tool_call_id": lambda text: ToolMessage("m", tool_call_id=text),
    "id of a tool call": lambda text: AIMessage("", tool_calls=[_call({}, text)]),
    "name of a tool call": lambda text: AIMessage("", tool_calls=[_call({}, name=text)]),
    "name of an argument": lambda text: AIMessage("", tool_calls=[_call({text: 1})]),
    "key": lambda text: HumanMessage("m", additional_kwargs={"value": {text: [text]}}),
    "role": lambda text: ChatMessage(content="m", role=text),
}
"""Places of a message that hold a text."""

_EVERYWHERE = (*_TEXT_PLACES.values(), *_PLACES.values())


def _placed(values: Iterable[Any], places: Iterable[Callable[[Any], BaseMessage]]) -> Messages:
    """Return messages with each value in each place."""
    return [place(copy.deepcopy(value)) for value in values for place in places]


def _own(s: Session, messages: Messages) -> Messages:
    """Make the ids belong to this example, so that no earlier session has them."""
    for message in messages:
        if message.id:
            message.id = f"{message.id}{s.nonce}{message.id}"
        if isinstance(message, ToolMessage) and message.tool_call_id:
            message.tool_call_id = f"{message.tool_call_id}{s.nonce}{message.tool_call_id}"
    return messages


def _kept(s: Session, messages: Messages) -> None:
    """Add a batch. If it does not come back unchanged, show one of its messages alone."""
    start = len(s.steps)
    a = s.open()
    if a.try_add(list(messages)) is not None or not _came_back(a):
        likely = sorted(range(len(messages)), key=lambda number: _is_kept(a, number))
        _show_one(s, start, [[messages[number]] for number in likely])
        a.reads_back()


def _kept_or_refused(s: Session, batches: Sequence[Messages]) -> None:
    """Add each batch. Those that were not refused must come back exactly.

    A refusal is an answer, and its effect on the handle and the session is the matter of other
    contracts. So the batches after it go to another session.
    """
    start = len(s.steps)
    handle, refusals = s.open(), 0
    handles = [(handle, False)]
    for batch in batches:
        if handle.try_add(batch) is None:
            continue
        refusals += 1
        handles[-1] = (handle, True)
        if _came_back(handle, refused=True):
            handles.pop()
            handle.release()
        handle = s.open(f"{{nonce}}-1-{refusals}")
        handles.append((handle, False))
    for handle, refused in handles:
        if not _came_back(handle, refused=refused):
            _show_one(s, start, batches, may_refuse=True)
            handle.reads_back()


def _came_back(a: Handle, *, refused: bool = False) -> bool:
    """Return whether all messages come back that were added before a refusal, if there was one."""
    got = a.bounded_unless_refused("messages")
    if got is None:
        return refused  # if it raises after a refusal: errors.usable_after_refusal
    # If a part of what was refused is there: errors.refused_batch_stores_nothing
    return compare(a.model.stored, got[: len(a.model.stored)] if refused else got) is None


def _is_kept(a: Handle, number: int) -> bool:
    """Return whether the last read returned the message with this number unchanged."""
    got: list[Any] = values_of(a.result)
    one = slice(number, number + 1)
    return compare(a.model.stored[one], got[one]) is None


def _show_one(
    s: Session, start: int, batches: Sequence[Messages], *, may_refuse: bool = False
) -> None:
    """Fail with the steps of one batch, if there is one that does not come back alone.

    Args:
        s: The session.
        start: The number of the first step to replace.
        batches: The batches; those that are more likely to change come first.
        may_refuse: Whether a batch may be refused.
    """
    steps, models = s.steps[start:], dict(s.models)
    for number, batch in enumerate(batches[:_TRIED_ALONE]):
        del s.steps[start:]
        s.models.clear()  # those of the whole batch do not count here
        alone = s.open(f"{{nonce}}-{number + 2}")
        fresh = copy.deepcopy(batch)
        if not may_refuse:
            alone.add(fresh)
            alone.reads_back()
        elif alone.try_add(fresh) is None:
            alone.reads_back()
        alone.release()
    s.steps[start:] = steps
    s.models.update(models)


def _each(messages: Messages) -> list[Messages]:
    return [[message] for message in messages]


# -- types -----------------------------------------------------------------------------------


@contract(
    "fidelity.message_types",
    rule="A message of any langchain-core type (human, AI, system, chat, function, tool) comes "
    "back as the same type: the same class, not a base class and not another role.",
    source=f"{_ADD_MESSAGES}: accepts any BaseMessage",
    cause="Roles are mapped to the two that the store knows (human and AI), so that every other "
    "role becomes one of them. Or a field that a type needs, such as `tool_call_id`, has no "
    "column, so that reading raises. Or system messages are left out.",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/zep.py: every message that is not AI "
    "comes back as human; chat_message_histories/xata.py: a tool message makes the session "
    "unreadable",
    modes=BOTH,
    program=_all(
        [
            HumanMessage("m"),
            AIMessage("m"),
            SystemMessage("m"),
            ChatMessage(content="m", role="critic"),
            FunctionMessage(content="m", name="search"),
            ToolMessage("m", tool_call_id="call-1"),
        ]
    ),
)
def messages_keep_their_type(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


@contract(
    "fidelity.chunks",
    rule="A message chunk, for example one from a stream, comes back as the same chunk.",
    source="langchain_core/messages/utils.py, messages_from_dict: reads every chunk type",
    cause="The reader's table of types does not include the chunk types.",
    remedy=_USE_CORE,
    seen="langchain-ai/langchain#15327 https://github.com/langchain-ai/langchain/pull/15327 and "
    "#17022 https://github.com/langchain-ai/langchain/issues/17022: a chunk was stored, and "
    "reading it raised",
    modes=BOTH,
    program=_all(
        [
            AIMessageChunk(content="m"),
            HumanMessageChunk(content="m"),
            SystemMessageChunk(content="m"),
            ChatMessageChunk(content="m", role="critic"),
            FunctionMessageChunk(content="m", name="search"),
            ToolMessageChunk(content="m", tool_call_id="call-1"),
            AIMessageChunk(
                content="m",
                tool_call_chunks=[
                    tool_call_chunk(name="f", args='{"a": 1}', id="c", index=0),
                ],
            ),
        ]
    ),
)
def chunks_come_back_as_chunks(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


# -- content ---------------------------------------------------------------------------------

_TEXTS = (
    "",
    " ",
    "Grüße aus Ελλάδα и Москва",
    "中文 日本語 한국어 ไทย",
    "😀 𝒜 👩‍👩‍👧‍👦 🇩🇪",  # beyond the basic plane, joined with ZWJ
    "e\u0301 \u00e9 \ufb01 \u212b",  # composed and decomposed, compatibility characters
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c",
    "\ufffe\uffff\U0010ffff\ue000",  # noncharacters and private use
)


@contract(
    "fidelity.text",
    rule="Text comes back character by character, whether it is empty, blank, in any script, "
    "composed or decomposed, or outside the Basic Multilingual Plane. A message with empty "
    "content is a message.",
    source=f"{_BASE}.content: a str",
    cause="Text passes through an encoding other than UTF-8, through normalisation, or through a "
    "column with three bytes per character. Or messages without text are skipped.",
    remedy="Use UTF-8 everywhere, and name it instead of relying on the platform's encoding. In "
    "MySQL use utf8mb4. Do not normalise text.",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: uses the platform's "
    "encoding; langchain-ai/langchain-postgres#248 "
    "https://github.com/langchain-ai/langchain-postgres/issues/248; juspay/neurolink#986 "
    "https://github.com/juspay/neurolink/pull/986: messages with empty content are left out",
    modes=BOTH,
    program=st.lists(strategies.texts(), max_size=2).map(
        lambda texts: _in_content([*_TEXTS, *texts])
    ),
)
def text_comes_back_character_by_character(s: Session, messages: Messages) -> None:
    _kept(s, messages)


_CONTROLS = (
    "line\r\nline\rline\n",
    "tab\tvertical\x0bform\x0c",
    "\u2028 and \u2029 and \x85",
    "\ufeffafter a byte order mark",
    "\x1b[31mred\x1b[0m \x07\x08",
    "\x01\x02\x1c\x1d\x1e\x1f\x7f\x9f",
    "zero\u200bwidth\u2060 soft\u00adhyphen",
)


@contract(
    "fidelity.control_characters",
    rule="Control and format characters are part of the text. Every line end keeps its form, and "
    "tabs, separators, byte order marks and escape sequences come back unchanged.",
    source=f"{_BASE}.content: a str; convention: JSON can represent all of them",
    cause="Text is written line by line or through a text-mode file, is cleaned, or is split with "
    "`str.splitlines`, which splits at ten different characters.",
    remedy="Store each message as one escaped JSON document. Open files with newline=''.",
    seen="convention: tool output is full of such characters (terminals, Windows files)",
    modes=BOTH,
    program=_all(_in_content(_CONTROLS)),
)
def control_characters_are_kept(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.nul",
    rule="Text with a NUL character is kept exactly, or refused with an error. It is never "
    "truncated or cleaned.",
    source=_KEEP_OR_REFUSE,
    cause="NUL ends a string in C, and PostgreSQL does not store it. So text is cut off there, or "
    "NUL is removed before the text reaches the database.",
    remedy="Store JSON with ASCII escapes in a column that is not JSONB, or refuse the message.",
    seen="ZJU-REAL/HugAgentOS#93 https://github.com/ZJU-REAL/HugAgentOS/pull/93 and "
    "Runfusion/Fusion#2366 https://github.com/Runfusion/Fusion/pull/2366: NUL is stripped",
    modes=BOTH,
    program=_all(_placed(("a\x00b", "\x00", "ends\x00", "\x00begins", "\\u0000"), _EVERYWHERE)),
)
def nul_is_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, _each(_own(s, messages)))


@contract(
    "fidelity.lone_surrogates",
    rule="Text with half a surrogate pair, which UTF-8 cannot encode, is kept exactly, or refused "
    "with an error. It is never replaced.",
    source=_KEEP_OR_REFUSE,
    cause="Text is encoded with errors='replace' or 'ignore'.",
    remedy="Store JSON with ASCII escapes, or refuse the message.",
    seen="langchain-community 0.4.2, chat_message_histories/file.py with ensure_ascii=False: the "
    "write fails after the file has been emptied",
    modes=BOTH,
    program=_all(_placed(("a\ud800b", "\udfff", "\ude00\ud83d", "file\udcff.txt"), _EVERYWHERE)),
)
def lone_surrogates_are_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, _each(_own(s, messages)))


@contract(
    "fidelity.surrounding_blanks",
    rule="Whitespace and line ends at the beginning and the end of a text are kept.",
    source=f"{_BASE}.content: a str",
    cause="Text is stripped when it is stored, or when it is read line by line.",
    remedy="Never strip text. If a message must fit on one line, escape it.",
    seen="convention: code and streamed tokens begin and end with whitespace",
    modes=BOTH,
    program=_all(_in_content((" m", "m ", "\nm", "m\n", "\tm\t", "\u00a0m\u3000", " \n "))),
)
def surrounding_whitespace_is_kept(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.long_content",
    rule="A long text (tested up to 256 KiB) is kept whole in every field of a message, or "
    "refused with an error. It is never truncated, and none of its characters changes.",
    source=_KEEP_OR_REFUSE,
    cause="A column has a maximum length (64 KiB for MySQL's TEXT), a field is not indexed beyond "
    "32 KiB, or the store limits the size of an item (400 KB) and its error is ignored. Or the "
    "text is decoded piece by piece, and characters that lie on a border of two pieces break.",
    remedy="Use a type without a maximum length. Check the size before writing, and the result "
    "after it.",
    seen="convention: users paste documents and tool results into conversations",
    modes=BOTH,
    examples=1,
)
def long_content_is_kept_whole_or_refused(s: Session, program: None) -> None:
    # Characters of two, three and four bytes lie on the borders of pieces of any size.
    texts = ("a" * 4_001, "b" * 32_769, "c" * 65_537, "ä" * 131_072, "ä€😀" * 20_000)
    elsewhere = [
        *_placed(["ä€😀" * 4_000], _PLACES.values()),
        *_placed(["x" * 300], _TEXT_PLACES.values()),
    ]
    _kept_or_refused(s, _each(_own(s, [*_in_content(texts), *elsewhere])))


@contract(
    "fidelity.lookalikes",
    rule="Text that looks like something else (JSON, numbers, null, SQL, format strings, paths, "
    "escapes, markup) is still text and comes back unchanged.",
    source=f"{_BASE}.content: a str",
    cause="Stored text is parsed more often than it was serialised. Or values are pasted into "
    "queries, templates or markup.",
    remedy="Bind values as parameters. Parse stored text exactly once.",
    seen="convention: models write code and JSON all the time",
    modes=BOTH,
    program=_all(
        _in_content(
            (
                '{"type": "human", "data": {"content": "x"}}',
                "[1, 2]",
                "null",
                "true",
                "007",
                "1e5",
                "NaN",
                '"quoted"',
                "'; DROP TABLE messages; --",
                "{0} {name} %s %(x)s ${HOME} $1 :id ?",
                "\\n \\u0041 \\\\ \\x41 %20 &amp; &#65;",
                "<b>bold</b> <!-- --> ]]>",
                "../../etc/passwd",
                "=1+1",
                "human: hello\nai: hello",
                "2026-01-02T03:04:05Z",
            )
        )
    ),
)
def text_that_looks_like_something_else_comes_back_unchanged(
    s: Session, messages: Messages
) -> None:
    _kept(s, messages)


_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


@contract(
    "fidelity.content_blocks",
    rule="Content that is a list of texts and blocks (text, images, files, blocks of a provider) "
    "comes back as the same list, even if it is empty.",
    source=f"{_BASE}.content: `str | list[str | dict]`",
    cause="Content is written with `str()`, its text blocks are joined, or unknown blocks are "
    "left out.",
    remedy="Store content as JSON, whatever its type.",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py and langchain-azure-ai "
    "1.2.12, azure_ai_memory.py: `str(message.content)`",
    modes=BOTH,
    program=_all(
        [
            HumanMessage(["one"]),
            HumanMessage([]),
            HumanMessage(["one", "two", ""]),
            HumanMessage([{"type": "text", "text": "what is this?"}, _IMAGE]),
            HumanMessage(["mixed", {"type": "text", "text": ""}, "again"]),
            AIMessage(
                [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, None]}},
                ]
            ),
            ToolMessage([{"type": "file", "id": None, "extras": {}}], tool_call_id="c"),
        ]
    ),
)
def content_blocks_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


# -- fields ----------------------------------------------------------------------------------


@contract(
    "fidelity.identifiers",
    rule="`id` and `name` come back unchanged. An empty string does not become None.",
    source=f"{_BASE}.id and .name: `str | None`",
    cause="There is no column for them. Or the store's own key replaces `id`. Or `if "
    "message.name:` leaves out the empty string.",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py: neither is stored",
    modes=BOTH,
    program=_all(
        [
            HumanMessage("m", id="id-1", name="Ada"),
            HumanMessage("m"),
            HumanMessage("m", id="", name=""),
            AIMessage("m", id="007", name=" Ada Lovelace "),
            SystemMessage("m", id="run--1/2:3"),
            ToolMessage("m", tool_call_id="c", name="söarch"),
            ChatMessage(content="m", role="critic", id="ID-1"),
        ]
    ),
)
def ids_and_names_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.tool_calls",
    rule="All tool calls of an AI message come back, in order, with their names, ids and "
    "arguments.",
    source=f"{_AI}.tool_calls: part of the message",
    cause="Only content and `additional_kwargs` are stored, but tool calls are a separate field.",
    remedy=_USE_CORE,
    seen="langchain-ai/langchain-redis#185 "
    "https://github.com/langchain-ai/langchain-redis/pull/185; run-llama/llama_index#12313 "
    "https://github.com/run-llama/llama_index/issues/12313",
    modes=BOTH,
    program=_all(
        [
            AIMessage("", tool_calls=[_call({"query": "weather"})]),
            AIMessage("", tool_calls=[_call({}, None)]),
            AIMessage("m", tool_calls=[_call({"n": 1}, "c2"), _call({"n": 2}, "c1")]),
            AIMessage("", tool_calls=[_call({"a": [{"b": None}, [], 1.5, True, ""]}, "", "")]),
        ]
    ),
)
def tool_calls_come_back_complete(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.invalid_tool_calls",
    rule="Tool calls that could not be parsed come back unchanged, with the raw text of their "
    "arguments.",
    source=f"{_AI}.invalid_tool_calls: part of the message",
    cause="They are not stored, or their arguments are parsed.",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: not stored",
    modes=BOTH,
    program=_all(
        [
            AIMessage(
                "",
                invalid_tool_calls=[
                    {
                        "name": "search",
                        "args": '{"query": ',
                        "id": "c1",
                        "error": "no JSON",
                        "type": "invalid_tool_call",
                    }
                ],
            ),
            AIMessage(
                "",
                invalid_tool_calls=[
                    {
                        "name": None,
                        "args": None,
                        "id": None,
                        "error": None,
                        "type": "invalid_tool_call",
                    }
                ],
                tool_calls=[_call({"n": 1})],
            ),
        ]
    ),
)
def invalid_tool_calls_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.tool_results",
    rule="A tool message comes back with its `tool_call_id`, `status` and `artifact`.",
    source=f"{_TOOL}: tool_call_id, status, artifact",
    cause="One of them has no column, or `status` falls back to `success`.",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no tool_call_id; "
    "langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: no artifact",
    modes=BOTH,
    program=_all(
        [
            ToolMessage("m", tool_call_id="c1"),
            ToolMessage("m", tool_call_id="c1", status="error"),
            ToolMessage("m", tool_call_id="c1", artifact={"rows": [[1, None], []]}),
            ToolMessage("m", tool_call_id="", artifact=""),
            ToolMessage("", tool_call_id="c 1", artifact=[0, False, 0.0], name="search"),
        ]
    ),
)
def tool_results_come_back_complete(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.usage_metadata",
    rule="The usage metadata of an AI message comes back, including its details.",
    source=f"{_AI}.usage_metadata: part of the message",
    cause="It is not stored, or its numbers come back as floats or strings.",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no column for it",
    modes=BOTH,
    program=_all(
        [
            AIMessage(
                "m", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
            ),
            AIMessage(
                "m",
                usage_metadata={
                    "input_tokens": 0,
                    "output_tokens": 0,
                    "total_tokens": 0,
                    "input_token_details": {"cache_read": 7, "audio": 0},
                    "output_token_details": {"reasoning": 5},
                },
            ),
            AIMessage(
                "m",
                usage_metadata={
                    "input_tokens": 2**31,
                    "output_tokens": 2**53 + 1,
                    "total_tokens": 2**53 + 1 + 2**31,
                },
            ),
            AIMessageChunk(
                content="m",
                usage_metadata={"input_tokens": 1, "output_tokens": 0, "total_tokens": 1},
            ),
        ]
    ),
)
def usage_metadata_comes_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, messages)


_NESTED: dict[str, Any] = {
    "plain": "text",
    "nothing": None,
    "empty": {"list": [], "dict": {}, "text": ""},
    "deep": {"a": [{"b": [[{"c": None}]]}]},
    "": "no key",
    "with.dot $dollar 'quote' / ä": [True, False, 0, 1],
}


@contract(
    "fidelity.response_metadata",
    rule="The response metadata of a message comes back unchanged, including nested values, nulls "
    "and empty values.",
    source=f"{_BASE}.response_metadata: part of the message",
    cause="It is not stored. Or nulls and empty values are left out. Or nested values become text.",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no column for it",
    modes=BOTH,
    program=_all(
        [
            AIMessage("m", response_metadata={"model_name": "m-1", "finish_reason": "stop"}),
            AIMessage("m", response_metadata=_NESTED),
            HumanMessage("m", response_metadata={"nothing": None}),
            SystemMessage("m", response_metadata={"logprobs": [-0.5, -1.25], "n": {}}),
        ]
    ),
)
def response_metadata_comes_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.additional_kwargs",
    rule="`additional_kwargs` comes back unchanged, including nested values, nulls and empty "
    "values. Nothing is added to it.",
    source=f"{_BASE}.additional_kwargs: additional payload data of the message",
    cause="Only role and content are stored. Or nulls and empty values are left out. Or the "
    "store's own fields (a key, a time) are added to it.",
    remedy=_USE_CORE,
    seen="langchain-neo4j 0.11.0, chat_message_histories/neo4j.py: not stored; langchain-community "
    "0.4.2, chat_message_histories/zep.py: replaced by the store's own",
    modes=BOTH,
    program=_all(
        [
            HumanMessage("m", additional_kwargs={"key": "value"}),
            HumanMessage("m"),
            HumanMessage("m", additional_kwargs=_NESTED),
            AIMessage("m", additional_kwargs={"nothing": None, "none": {}}),
            AIMessage(
                "",
                additional_kwargs={"function_call": {"name": "f", "arguments": '{"a": 1}'}},
            ),
            SystemMessage("m", additional_kwargs={"id": 1, "type": "x", "content": "y"}),
        ]
    ),
)
def additional_kwargs_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, messages)


_EXTRA = {"example": True, "confidence": 0.5, "sources": [{"page": 1}]}


@contract(
    "fidelity.extra_fields",
    rule="Fields that a message has in addition to those of its class come back, because "
    "BaseMessage allows them.",
    source=f"{_BASE}.model_config: `extra='allow'`",
    cause="The code lists the fields to store or to read by name.",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: stores a list of "
    "named fields",
    modes=BOTH,
    program=_all(
        [
            HumanMessage("m", **_EXTRA),
            AIMessage("m", example=True),
            ToolMessage("m", tool_call_id="c", extra=None),
        ]
    ),
)
def extra_fields_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


@contract(
    "fidelity.roles",
    rule="The role of a chat message and the name of a function message come back unchanged, "
    "whatever they are. A role that looks like another type does not change the type.",
    source="langchain_core/messages/chat.py, ChatMessage.role: an arbitrary speaker",
    cause="The role column holds the type, or the type is guessed from the role.",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py: an unknown role becomes "
    "`system`",
    modes=BOTH,
    program=_all(
        [
            ChatMessage(content="m", role="critic"),
            ChatMessage(content="m", role="user"),
            ChatMessage(content="m", role="ai"),
            ChatMessage(content="m", role=""),
            ChatMessage(content="m", role="Müller & Söhne"),
            FunctionMessage(content="m", name="human"),
            FunctionMessage(content="m", name=""),
        ]
    ),
)
def roles_and_names_of_speakers_come_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


# -- numbers ---------------------------------------------------------------------------------


@contract(
    "fidelity.big_integers",
    rule="An integer of up to 64 bits comes back digit by digit. A larger one is kept exactly "
    "too, or refused with an error before any message of the batch is stored. No integer is "
    "rounded.",
    source=f"{_BASE}.additional_kwargs: a dict; convention: JSON can represent integers of any "
    "size, and 64-bit identifiers are common",
    cause="Numbers pass through a double (JavaScript, some JSON columns), which has 53 bits.",
    remedy="Store the JSON as text.",
    seen="convention: 64-bit identifiers that passed through JavaScript end in zeros",
    modes=BOTH,
    program=st.tuples(
        _all(_in_kwargs([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**31])),
        _all(_in_kwargs([2**64, 10**40 + 1, -(10**400) - 7])),
    ),
)
def integers_are_not_rounded(s: Session, messages: tuple[Messages, Messages]) -> None:
    carried, larger = messages
    a = s.open()
    a.add(carried)
    for message in larger:
        a.try_add([message])
    a.reads_back()


@contract(
    "fidelity.floats",
    rule="Floats come back with all their digits and their sign, and numbers keep their type: "
    "1.0, 1 and True are three different values.",
    source=f"{_BASE}.response_metadata: a dict; convention: Python's json module can represent "
    "them all",
    cause="Floats become decimals or strings. Or a JSON column normalises numbers. Or 1.0 is "
    "written as 1. Or booleans are stored as 0 and 1.",
    remedy="Store the JSON as text, and write floats with `repr`, as Python's json module does.",
    seen="langchain-ai/langchain#26562 https://github.com/langchain-ai/langchain/pull/26562 and "
    "langchain-community 0.4.2, chat_message_histories/dynamodb.py: floats become Decimal",
    modes=BOTH,
    program=_all(
        _in_kwargs(
            [
                0.5,
                0.1,
                -0.1,
                0.0,
                1.0,
                1,
                True,
                0,
                False,
                123456789012345.6,
                1e-7,
            ]
        )
    ),
)
def numbers_keep_their_digits_sign_and_type(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.extreme_floats",
    level="should",
    since="0.2",
    rule="The largest and the smallest floats, whole floats that are written with an exponent "
    "(1e22) and negative zero come back unchanged, or are refused with an error.",
    source=f"{_BASE}.response_metadata: a dict; convention: Python's json module can represent "
    "them, and many databases store numbers in other formats",
    cause="A database parses JSON numbers itself: it rounds them at the ends of the range, turns "
    "them into infinity, 0 or an integer, or refuses the document.",
    remedy="Store the JSON as text, so that only Python's json module reads the numbers.",
    seen="convention: RFC 8259, section 6, lets a JSON parser limit the range of numbers",
    modes=BOTH,
    program=_all(
        _in_kwargs([-0.0, 1e22, 5e-324, 2.2250738585072014e-308, -1.5e300, 1.7976931348623157e308])
    ),
)
def the_largest_and_smallest_floats_are_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, [[message] for message in messages])


@contract(
    "fidelity.non_finite_numbers",
    rule="NaN and the infinities, which JSON cannot represent, are kept exactly, or refused with "
    "an error. They never become null.",
    source=_KEEP_OR_REFUSE,
    cause="The JSON writer or the database turns them into null, or writes text that cannot be "
    "read.",
    remedy="Write with `allow_nan=False` and refuse them, or keep text that Python's json module "
    "reads.",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and langchain-postgres 0.0.19: "
    "a bare NaN is written",
    modes=BOTH,
    program=_all(
        _placed([float("nan"), float("inf"), float("-inf"), [float("nan")]], _PLACES.values())
    ),
)
def non_finite_numbers_are_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, _each(_own(s, messages)))


# -- values that JSON cannot represent, and whole conversations ------------------------------


@contract(
    "fidelity.equal_messages_kept",
    rule="Equal messages are kept as many times as they were added, with or without an id, in one "
    "batch or in several.",
    source=f"{_ADD_MESSAGES}: adds the messages it receives; nothing says that they form a set",
    cause="The key of a record is a hash of the content or the id of the message, or one of them "
    "decides whether the message is new.",
    remedy="Give each stored message its own key, and do not derive the key from the message.",
    seen="microsoft/agent-framework#7242 "
    "https://github.com/microsoft/agent-framework/pull/7242; haystack-experimental 0.19.0.post1, "
    "in_memory.py write_messages",
    modes=BOTH,
    program=st.tuples(st.sampled_from([None, "id-1"]), st.integers(1, 3), st.integers(1, 3)),
)
def equal_messages_are_all_kept(s: Session, shape: tuple[str | None, int, int]) -> None:
    identifier, in_batch, calls = shape
    a = s.open()
    for _ in range(calls):
        a.add([HumanMessage("ok", id=identifier) for _ in range(in_batch)])
    a.add([HumanMessage("ok", id=identifier)])
    a.reads_back()


_UNSTORABLE = (
    b"bytes",
    {1, 2},
    frozenset({1}),
    decimal.Decimal("1.10"),
    datetime.datetime(2026, 1, 2, 3, 4, 5),
    datetime.timedelta(seconds=1),
    1 + 2j,
    range(3),
    ValueError("no result"),
    [{"deep": b"bytes"}],
    10**4300,
)


@contract(
    "fidelity.unstorable_values",
    rule="A value that JSON cannot represent (bytes, sets, decimals, dates, objects, integers of "
    "more than 4,300 digits) is kept exactly, or refused with an error. It is never stored as "
    "something else, such as its `repr`.",
    source=_KEEP_OR_REFUSE,
    cause="`json.dumps(..., default=str)` stores the text of the value. Or messages that cannot be "
    "encoded are skipped.",
    remedy=_REFUSE,
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and redis.py: json.dumps "
    "without a default raises; the silent form (default=str) is invented",
    modes=BOTH,
    examples=1,
)
def unstorable_values_are_kept_or_refused(s: Session, program: None) -> None:
    messages = _own(s, _placed(_UNSTORABLE, _PLACES.values()))
    # First in its batch: errors.refused_batch_stores_nothing judges what comes before it.
    _kept_or_refused(s, [[message, HumanMessage("after")] for message in messages])


@contract(
    "fidelity.unreadable_class",
    level="may",
    rule="A message of a class that langchain-core cannot read back is kept, or refused with an "
    "error. The history never accepts a message that makes every later read of the session raise.",
    source="convention: langchain-core calls BaseMessage an abstract class, and applications "
    "seldom make such messages; messages_to_dict writes what messages_from_dict refuses",
    cause="The history does not check the type of a message when it stores the message.",
    remedy="Read each message back before storing it, with "
    "`messages_from_dict([message_to_dict(m)])`, and refuse the message if that raises.",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and file.py: both accept a "
    "BaseMessage of an unknown type and then raise on every read",
    modes=BOTH,
    program=st.tuples(st.sampled_from(["note", "agent", "", "HUMAN"]), st.booleans()),
    examples=4,
)
def messages_of_unreadable_classes_are_kept_or_refused(s: Session, shape: tuple[str, bool]) -> None:
    kind, with_others = shape
    a = s.open()
    a.add([HumanMessage("m0")])
    others = [HumanMessage("m1")] if with_others else []
    a.try_add([*others, BaseMessage(content="m2", type=kind)])
    error = a.try_bounded("messages")
    kept = len(a.model.stored)
    s.check(
        was_accepted,
        s.error,
        kind="lost",
        summary=f"accepted message 'm2' of type {kind!r}, after which reading raises "
        f"{type_name(error)}: all {kept} messages are unreachable",
    )
    a.reads_back()


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, -(2**63), 0.0, 1.0, 0.1, -1.5, 1e-7),
    *("", " ", "0", "null", "true", "1.0", "2026-01-02T03:04:05Z", "[1]", '{"a": 1}', "a" * 2_000),
    *([], {}, [[]], [None], [{}], {"list": []}, [1, 1.0, True], [[1], [2, [3]]]),
    *({"0": "a", "1": "b"}, {"1": "a"}, {"": 1}, {"a.b": 1}, {"b": 1, "a": 2}, {"A": 1, "a": 2}),
    *({"$date": "2026-01-02"}, {"$oid": "0" * 24}, {"$ref": "#"}, {"$numberLong": "1"}),
    *({"S": "a"}, {"N": "1"}, {"M": {}}, {"NULL": True}, {"BOOL": True}, {"L": []}),
    *({"_id": 1}, {"id": "x"}, {"@type": "x"}, {"__type__": "x"}, {"__class__": "x"}),
    *({"__proto__": {"a": 1}}, {"constructor": 1}, {"length": 2}, {"type": "human", "data": {}}),
    *({f"key{number}": number for number in range(60)}, [[[[[[[[[[[["deep"]]]]]]]]]]]]),
    *({"lc": 1, "type": "not_implemented", "id": ["x"]}, {"nilValue": None}, {"stringValue": "1"}),
)
"""Values of JSON that some store, driver or client takes for something else."""

_ODD_TEXTS = (
    *_TEXTS,
    *_CONTROLS,
    *(" m", "m ", "\nm", "m\n", "\tm", "\u00a0m", "null", "007", "'; --", "%s", "{0}", "$1", "<b>"),
    *("a.b", "$a", "_a", "a/b", "a b", "A"),
)


@contract(
    "fidelity.values_in_places",
    since="0.2",
    rule="A value that JSON can represent comes back unchanged in every place that can hold it: "
    "content, blocks, arguments of tool calls, artifacts, metadata, `additional_kwargs` and extra "
    "fields. Its keys have no meaning for the history.",
    source=f"{_ADD_MESSAGES}: accepts any BaseMessage; {_BASE}.additional_kwargs and "
    f".response_metadata, {_AI}.tool_calls, {_TOOL}.artifact: dicts and values of any content",
    cause="One field passes through another column, type or encoder than the others. Or a store "
    "or its client gives a meaning to some keys (`$date`, `__type__`), or makes a list of a dict "
    "whose keys are numbers.",
    remedy=_USE_CORE,
    seen="langchain-ai/langchain#26562 https://github.com/langchain-ai/langchain/pull/26562: "
    "floats become Decimal; convention: Firebase's realtime database makes a list of a dict with "
    "the keys 0, 1, ...",
    modes=BOTH,
    program=_all(_placed(_VALUES, _PLACES.values())),
)
def values_come_back_unchanged_in_every_place(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


@contract(
    "fidelity.texts_in_places",
    since="0.2",
    rule="A text comes back character by character in every field that holds a text: names, ids, "
    "ids and names of tool calls, keys, roles and content.",
    source=f"{_BASE}.content, .name and .id, {_AI}.tool_calls, {_TOOL}.tool_call_id: str",
    cause="One field passes through another column or encoding than the others, or is stripped, "
    "normalised, shortened or compared without regard to case.",
    remedy=_USE_CORE,
    seen="convention: names of users and ids of providers contain any characters",
    modes=BOTH,
    program=_all(_placed(_ODD_TEXTS, _TEXT_PLACES.values())),
)
def texts_come_back_unchanged_in_every_field(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))


@contract(
    "fidelity.any_conversation",
    rule="Any conversation whose values JSON can represent comes back unchanged, with all types "
    "and fields in combination.",
    source=f"{_ADD_MESSAGES}: accepts any BaseMessage",
    cause="See the contract of the field that the finding names.",
    remedy=_USE_CORE,
    seen="convention: some fields are lost only in combinations that no list of examples contains",
    modes=BOTH,
    program=strategies.conversations(),
)
def any_conversation_comes_back_unchanged(s: Session, messages: Messages) -> None:
    _kept(s, _own(s, messages))
