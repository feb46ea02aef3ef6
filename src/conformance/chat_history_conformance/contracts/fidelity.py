"""Fidelity: a message comes back as it was added, with its type and every field.

Where JSON cannot carry a value, the rule is: keep it exactly, or refuse it with an error before
anything of the batch is stored.
"""

from __future__ import annotations

import copy
import datetime
import decimal
from collections.abc import Iterable, Sequence
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
from chat_history_conformance.execution.session import Session, type_name

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_BASE = "langchain_core/messages/base.py, BaseMessage"
_AI = "langchain_core/messages/ai.py, AIMessage"
_TOOL = "langchain_core/messages/tool.py, ToolMessage"

_KEEP_OR_REFUSE = (
    "convention: what was accepted without an error counts as said; a caller can act on a refusal, "
    "and not on a message that was changed"
)
_USE_CORE = (
    "store `message_to_dict(message)` as one JSON document and read it with `messages_from_dict`"
)
_REFUSE = (
    "write the whole batch as text before storing any of it, compare what that text reads back as, "
    "and raise an error that names the value"
)


def _some(messages: Sequence[BaseMessage]) -> st.SearchStrategy[Messages]:
    """Some of these messages in this order, as new objects; each content "m" gets a number."""

    def made(chosen: Messages) -> Messages:
        fresh = copy.deepcopy(chosen)
        for number, message in enumerate(fresh):
            if message.content == "m":
                message.content = f"m{number}"
        return fresh

    return strategies.some_of(messages).map(made)


def _in_content(texts: Iterable[str]) -> Messages:
    return [HumanMessage(text) for text in texts]


def _in_kwargs(values: Iterable[Any]) -> Messages:
    return [HumanMessage("m", additional_kwargs={"value": value}) for value in values]


def _kept(s: Session, messages: Messages) -> None:
    a = s.open()
    a.add(messages)
    a.reads_back()


def _kept_or_refused(s: Session, messages: Messages) -> None:
    """Each message alone may be refused; what was not must be there, exactly."""
    a = s.open()
    for message in messages:
        a.try_add([message])
    a.reads_back()


# -- types -----------------------------------------------------------------------------------


@contract(
    "fidelity.message_types",
    rule="A message of any type of langchain-core (human, AI, system, chat, function, tool) comes "
    "back as that type: the class, not a base class or another role.",
    source=f"{_ADD_MESSAGES}: takes any BaseMessage",
    cause="roles are mapped to those that the store knows (human and AI), with one of them for all "
    "the rest; or a field that a type needs, such as `tool_call_id`, has no column, so that "
    "reading raises; or system messages are left out",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/zep.py: whatever is not AI comes back "
    "as human; chat_message_histories/xata.py: a tool message makes the session unreadable",
    modes=BOTH,
    program=_some(
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
def messages_come_back_as_the_type_that_they_were(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.chunks",
    rule="A message chunk, as streaming leaves it, comes back as the chunk that it was.",
    source="langchain_core/messages/utils.py, messages_from_dict: reads every chunk type",
    cause="the reader's table of types does not know the chunk types",
    remedy=_USE_CORE,
    seen="langchain-ai/langchain#15327 https://github.com/langchain-ai/langchain/pull/15327 and "
    "#17022 https://github.com/langchain-ai/langchain/issues/17022: a chunk was stored and reading "
    "raised",
    modes=BOTH,
    program=_some(
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
    _kept(s, messages)


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
    rule="Text comes back character by character: empty, blank, of any script, composed or "
    "decomposed, beyond the basic plane. A message with empty content is a message.",
    source=f"{_BASE}.content: a str",
    cause="text passes through an encoding that is not UTF-8, is normalised, or a column of three "
    "bytes a character; messages without text are taken for no messages",
    remedy="UTF-8 everywhere, named and not the platform's; in MySQL utf8mb4; no normalisation",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: the platform's encoding; "
    "langchain-ai/langchain-postgres#248 "
    "https://github.com/langchain-ai/langchain-postgres/issues/248; juspay/neurolink#986 "
    "https://github.com/juspay/neurolink/pull/986: empty content is left out",
    modes=BOTH,
    program=st.tuples(strategies.some_of(_TEXTS), st.lists(strategies.texts(), max_size=2)).map(
        lambda parts: _in_content([*parts[0], *parts[1]])
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
    rule="Control and format characters are text: line ends stay the ones that they were, and "
    "tabs, separators, byte order marks and escape sequences are kept.",
    source=f"{_BASE}.content: a str; convention: JSON carries all of them",
    cause="text is written line by line or through text-mode files, is cleaned, or is split with "
    "`str.splitlines`, which splits at ten characters",
    remedy="store one JSON document a message, escaped; open files with newline=''",
    seen="convention: tool output is full of them (terminals, Windows files)",
    modes=BOTH,
    program=strategies.some_of(_CONTROLS).map(_in_content),
)
def control_characters_are_kept(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.nul",
    rule="Text with a NUL character is kept exactly, or refused with an error before anything of "
    "the batch is stored. It is never cut short or cleaned.",
    source=_KEEP_OR_REFUSE,
    cause="NUL ends a string in C, and PostgreSQL does not store it: text is cut there, or "
    "cleaned in front of the database",
    remedy="store JSON with ASCII escapes in a column that is not JSONB, or refuse the message",
    seen="ZJU-REAL/HugAgentOS#93 https://github.com/ZJU-REAL/HugAgentOS/pull/93 and "
    "Runfusion/Fusion#2366 https://github.com/Runfusion/Fusion/pull/2366: stripped",
    modes=BOTH,
    program=strategies.some_of(("a\x00b", "\x00", "ends\x00", "\x00begins", "\\u0000")).map(
        _in_content
    ),
)
def nul_is_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, messages)


@contract(
    "fidelity.lone_surrogates",
    rule="Text with half a surrogate pair, which no UTF-8 can carry, is kept exactly, or refused "
    "with an error before anything of the batch is stored. It is never replaced.",
    source=_KEEP_OR_REFUSE,
    cause="text is encoded with errors='replace' or 'ignore'; or encoding fails when part of the "
    "batch is stored",
    remedy="store JSON with ASCII escapes, or refuse the message before storing",
    seen="langchain-community 0.4.2, chat_message_histories/file.py with ensure_ascii=False: the "
    "write fails when the file is already emptied",
    modes=BOTH,
    program=strategies.some_of(("a\ud800b", "\udfff", "\ude00\ud83d", "file\udcff.txt")).map(
        _in_content
    ),
)
def lone_surrogates_are_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, messages)


@contract(
    "fidelity.surrounding_blanks",
    rule="Blanks and line ends at the beginning and end of a text are kept.",
    source=f"{_BASE}.content: a str",
    cause="text is stripped when it is stored, or when it is read line by line",
    remedy="never strip; where a message has to be one line, escape it",
    seen="convention: code and tokens of a stream begin and end with blanks",
    modes=BOTH,
    program=strategies.some_of((" m", "m ", "\nm", "m\n", "\tm\t", "\u00a0m\u3000", " \n ")).map(
        _in_content
    ),
)
def surrounding_blanks_are_kept(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.long_content",
    rule="A long text (up to 256 KiB here) is kept whole, or refused with an error before anything "
    "of the batch is stored. It is never cut off.",
    source=_KEEP_OR_REFUSE,
    cause="a column of bounded length (64 KiB for MySQL's TEXT), a field that is not indexed "
    "beyond 32 KiB, or an item bound of the store (400 KB) and an error nobody looks at",
    remedy="use a type without a bound; check the size before writing, and the result after it",
    seen="convention: documents and tool results are pasted into conversations",
    modes=BOTH,
    examples=1,
)
def long_content_is_kept_whole_or_refused(s: Session, program: None) -> None:
    a = s.open()
    for text in ("a" * 4_001, "b" * 32_769, "c" * 65_537, "ä" * 131_072):
        a.try_add([HumanMessage(text)])
        a.reads_back()


@contract(
    "fidelity.lookalikes",
    rule="Text that looks like something else (JSON, numbers, null, SQL, format strings, paths, "
    "escapes, markup) is text and comes back as it is.",
    source=f"{_BASE}.content: a str",
    cause="what is read is parsed once more than it was written; values are pasted into queries, "
    "templates or markup",
    remedy="bind values as parameters; parse exactly what was written, once",
    seen="convention: models write code and JSON all day",
    modes=BOTH,
    program=strategies.some_of(
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
    ).map(_in_content),
)
def text_that_looks_like_something_else_is_text(s: Session, messages: Messages) -> None:
    _kept(s, messages)


_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


@contract(
    "fidelity.content_blocks",
    rule="Content that is a list of texts and blocks (text, images, files, blocks of a provider) "
    "comes back as that list, an empty one included.",
    source=f"{_BASE}.content: `str | list[str | dict]`",
    cause="content is written with `str()`, its text blocks are joined, or unknown blocks are left "
    "out",
    remedy="store content as JSON, whatever its type",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py and langchain-azure-ai "
    "1.2.12, azure_ai_memory.py: `str(message.content)`",
    modes=BOTH,
    program=_some(
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
def content_blocks_come_back_as_blocks(s: Session, messages: Messages) -> None:
    _kept(s, messages)


# -- fields ----------------------------------------------------------------------------------


@contract(
    "fidelity.identifiers",
    rule="`id` and `name` come back as they were; the empty string is not None.",
    source=f"{_BASE}.id and .name: `str | None`",
    cause="there is no column for them; the store's own key is put in the place of `id`; or `if "
    "message.name:` leaves out the empty string",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py: neither is stored",
    modes=BOTH,
    program=_some(
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
def identifiers_come_back_as_they_were(s: Session, messages: Messages) -> None:
    _kept(s, messages)


def _call(args: dict[str, Any], id: str | None = "c1", name: str = "search") -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


@contract(
    "fidelity.tool_calls",
    rule="The tool calls of an AI message come back, all of them, in order, with their names, ids "
    "and arguments.",
    source=f"{_AI}.tool_calls: part of the message",
    cause="only content and `additional_kwargs` are stored, while tool calls are a field of their "
    "own",
    remedy=_USE_CORE,
    seen="langchain-ai/langchain-redis#185 "
    "https://github.com/langchain-ai/langchain-redis/pull/185; run-llama/llama_index#12313 "
    "https://github.com/run-llama/llama_index/issues/12313",
    modes=BOTH,
    program=_some(
        [
            AIMessage("", tool_calls=[_call({"query": "weather"})]),
            AIMessage("", tool_calls=[_call({}, None)]),
            AIMessage("m", tool_calls=[_call({"n": 1}, "c2"), _call({"n": 2}, "c1")]),
            AIMessage("", tool_calls=[_call({"a": [{"b": None}, [], 1.5, True, ""]}, "", "")]),
        ]
    ),
)
def tool_calls_come_back_whole(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.invalid_tool_calls",
    rule="The tool calls that could not be parsed come back as they were, with the raw text of "
    "their arguments.",
    source=f"{_AI}.invalid_tool_calls: part of the message",
    cause="they are not stored, or their arguments are parsed",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: not stored",
    modes=BOTH,
    program=_some(
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
def invalid_tool_calls_come_back_as_they_were(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.tool_results",
    rule="A tool message comes back with its `tool_call_id`, `status` and `artifact`.",
    source=f"{_TOOL}: tool_call_id, status, artifact",
    cause="there is no column for one of them; `status` falls back to `success`",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no tool_call_id; "
    "langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: no artifact",
    modes=BOTH,
    program=_some(
        [
            ToolMessage("m", tool_call_id="c1"),
            ToolMessage("m", tool_call_id="c1", status="error"),
            ToolMessage("m", tool_call_id="c1", artifact={"rows": [[1, None], []]}),
            ToolMessage("m", tool_call_id="", artifact=""),
            ToolMessage("", tool_call_id="c 1", artifact=[0, False, 0.0], name="search"),
        ]
    ),
)
def tool_results_come_back_whole(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.usage_metadata",
    rule="The usage metadata of an AI message come back, details included.",
    source=f"{_AI}.usage_metadata: part of the message",
    cause="they are not stored, or their numbers come back as floats or strings",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no column for them",
    modes=BOTH,
    program=_some(
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
            AIMessageChunk(
                content="m",
                usage_metadata={"input_tokens": 1, "output_tokens": 0, "total_tokens": 1},
            ),
        ]
    ),
)
def usage_metadata_come_back(s: Session, messages: Messages) -> None:
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
    rule="The response metadata of a message come back as they were, nested values, nulls and "
    "empty ones included.",
    source=f"{_BASE}.response_metadata: part of the message",
    cause="they are not stored; nulls and empty values are left out; nested values become text",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/xata.py: no column for them",
    modes=BOTH,
    program=_some(
        [
            AIMessage("m", response_metadata={"model_name": "m-1", "finish_reason": "stop"}),
            AIMessage("m", response_metadata=_NESTED),
            HumanMessage("m", response_metadata={"nothing": None}),
            SystemMessage("m", response_metadata={"logprobs": [-0.5, -1.25], "n": {}}),
        ]
    ),
)
def response_metadata_come_back(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.additional_kwargs",
    rule="`additional_kwargs` come back as they were, nested values, nulls and empty ones "
    "included, and with nothing added.",
    source=f"{_BASE}.additional_kwargs: additional payload data of the message",
    cause="only role and content are stored; nulls and empty values are left out; the store's own "
    "fields (a key, a time) are put among them",
    remedy=_USE_CORE,
    seen="langchain-neo4j 0.11.0, chat_message_histories/neo4j.py: not stored; langchain-community "
    "0.4.2, chat_message_histories/zep.py: replaced by the store's own",
    modes=BOTH,
    program=_some(
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
def additional_kwargs_come_back(s: Session, messages: Messages) -> None:
    _kept(s, messages)


_EXTRA = {"example": True, "confidence": 0.5, "sources": [{"page": 1}]}


@contract(
    "fidelity.extra_fields",
    rule="Fields that a message has beyond those of its class come back: BaseMessage allows them.",
    source=f"{_BASE}.model_config: `extra='allow'`",
    cause="the fields are listed by name when a message is stored or read",
    remedy=_USE_CORE,
    seen="langchain-redis 0.2.6, chat_message_history.py, _build_message_entry: stores a list of "
    "named fields",
    modes=BOTH,
    program=_some(
        [
            HumanMessage("m", **_EXTRA),
            AIMessage("m", example=True),
            ToolMessage("m", tool_call_id="c", extra=None),
        ]
    ),
)
def extra_fields_come_back(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.roles",
    rule="The role of a chat message and the name of a function message come back, whatever they "
    "are: a role that looks like another type does not change the type.",
    source="langchain_core/messages/chat.py, ChatMessage.role: an arbitrary speaker",
    cause="the role column holds the type, or the type is guessed from the role",
    remedy=_USE_CORE,
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py: an unknown role becomes "
    "`system`",
    modes=BOTH,
    program=_some(
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
def roles_and_names_of_speakers_come_back(s: Session, messages: Messages) -> None:
    _kept(s, messages)


# -- numbers ---------------------------------------------------------------------------------


@contract(
    "fidelity.big_integers",
    rule="Integers of up to 64 bits come back digit by digit; a larger one is kept exactly too, or "
    "refused with an error before anything of the batch is stored. None is rounded.",
    source=f"{_BASE}.additional_kwargs: a dict; convention: JSON carries integers of any size, and "
    "identifiers of 64 bits are common",
    cause="numbers pass through a double (JavaScript, some JSON columns), which has 53 bits",
    remedy="store the JSON as text",
    seen="convention: identifiers of 64 bits that passed through JavaScript end in zeros",
    modes=BOTH,
    program=st.tuples(
        _some(_in_kwargs([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**31])),
        _some(_in_kwargs([2**64, 10**40 + 1, -(10**400) - 7])),
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
    rule="Floats come back with all their digits and their sign, and numbers keep their type: 1.0 "
    "is not 1, and True is neither.",
    source=f"{_BASE}.response_metadata: a dict; convention: Python's json carries them all",
    cause="floats become decimals or strings; a JSON column normalises numbers; 1.0 is written as "
    "1; booleans are stored as 0 and 1",
    remedy="store the JSON as text, written with `repr` of the float, as Python's json does",
    seen="langchain-ai/langchain#26562 https://github.com/langchain-ai/langchain/pull/26562 and "
    "langchain-community 0.4.2, chat_message_histories/dynamodb.py: floats become Decimal",
    modes=BOTH,
    program=_some(
        _in_kwargs(
            [
                0.5,
                0.1,
                -0.0,
                0.0,
                1.0,
                1,
                True,
                0,
                False,
                1e22,
                1e-7,
                5e-324,
                1.7976931348623157e308,
            ]
        )
    ),
)
def numbers_keep_their_digits_sign_and_type(s: Session, messages: Messages) -> None:
    _kept(s, messages)


@contract(
    "fidelity.non_finite_numbers",
    rule="NaN and the infinities, which JSON has no form for, are kept exactly, or refused with an "
    "error before anything of the batch is stored. They never become null.",
    source=_KEEP_OR_REFUSE,
    cause="the JSON writer or the database turns them into null, or writes what cannot be read",
    remedy="write with `allow_nan=False` and refuse, or keep text that Python's json reads",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and langchain-postgres 0.0.19: "
    "a bare NaN is written",
    modes=BOTH,
    program=_some(_in_kwargs([float("nan"), float("inf"), float("-inf"), [float("nan")]])),
)
def non_finite_numbers_are_kept_or_refused(s: Session, messages: Messages) -> None:
    _kept_or_refused(s, messages)


# -- what JSON has no form for, and everything -----------------------------------------------


@contract(
    "fidelity.equal_messages_kept",
    rule="Equal messages are kept as many times as they were added, with and without an id, in "
    "one batch and in several.",
    source=f"{_ADD_MESSAGES}: adds what it is given; nothing says that messages are a set",
    cause="a hash of the content, or the id of the message, is the key of the record, or decides "
    "whether it is new",
    remedy="a key of its own for each stored message, made from nothing in the message",
    seen="microsoft/agent-framework#7242 "
    "https://github.com/microsoft/agent-framework/pull/7242; haystack-experimental 0.19.0.post1, "
    "in_memory.py write_messages",
    modes=BOTH,
    program=st.tuples(st.sampled_from([None, "id-1"]), st.integers(1, 3), st.integers(1, 3)),
)
def equal_messages_are_kept_each(s: Session, shape: tuple[str | None, int, int]) -> None:
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


def _unstorable(choice: tuple[str, Any]) -> BaseMessage:
    place, value = choice
    value = copy.deepcopy(value)
    if place == "artifact":
        return ToolMessage("m", tool_call_id="c", artifact=value)
    if place == "content":
        return HumanMessage([{"type": "custom", "value": value}])
    return AIMessage("m", additional_kwargs={"value": value})


@contract(
    "fidelity.unstorable_values",
    rule="A value that JSON has no form for (bytes, sets, decimals, dates, objects, integers of "
    "more than 4,300 digits) is kept exactly, or the whole batch is refused with an error before "
    "anything of it is stored. It is never stored as something else, its `repr` say.",
    source=_KEEP_OR_REFUSE,
    cause="`json.dumps(..., default=str)` stores the text of the value; or messages are stored one "
    "after the other, and the error comes when some are",
    remedy=_REFUSE,
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and redis.py: json.dumps "
    "without a default raises; the silent form (default=str) is invented",
    modes=BOTH,
    program=st.lists(
        st.tuples(st.sampled_from(["kwargs", "artifact", "content"]), st.sampled_from(_UNSTORABLE)),
        min_size=1,
        max_size=4,
    ),
)
def unstorable_values_are_kept_or_refused(s: Session, choices: list[tuple[str, Any]]) -> None:
    a = s.open()
    for choice in choices:
        a.try_add([HumanMessage("before"), _unstorable(choice), HumanMessage("behind")])
    a.reads_back()


@contract(
    "fidelity.unreadable_class",
    rule="A message of a class that langchain-core cannot read back is kept, or refused with an "
    "error. It is never accepted so that then every read of the session raises.",
    source="langchain_core/messages/utils.py, messages_from_dict: raises on a type that it does "
    f"not know, while {_ADD_MESSAGES} takes any BaseMessage",
    cause="the type of a message is not looked at when it is stored",
    remedy="read back what is about to be stored, `messages_from_dict([message_to_dict(m)])`, and "
    "refuse the message where that raises",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and file.py: run with a "
    "BaseMessage of a type of its own, both accept it and then raise on every read",
    modes=BOTH,
    program=st.tuples(st.sampled_from(["note", "agent", "", "HUMAN"]), st.booleans()),
    examples=4,
)
def a_class_that_cannot_be_read_back_is_kept_or_refused(
    s: Session, shape: tuple[str, bool]
) -> None:
    kind, with_others = shape
    a = s.open()
    a.add([HumanMessage("m0")])
    others = [HumanMessage("m1")] if with_others else []
    a.try_add([*others, BaseMessage(content="m2", type=kind)])
    error = a.try_bounded("messages")
    kept = len(a.model.stored)
    s.check(
        error is None,
        "lost",
        f"accepted a message that makes reading raise {type_name(error)}: "
        f"all {kept} messages are out of reach",
        "error is None",
    )
    a.reads_back()


@contract(
    "fidelity.any_conversation",
    rule="Any conversation whose values JSON carries comes back as it was: every type and field "
    "together.",
    source=f"{_ADD_MESSAGES}: takes any BaseMessage",
    cause="see the contract of the field that the finding names",
    remedy=_USE_CORE,
    seen="convention: fields are lost in combinations that nobody listed",
    modes=BOTH,
    program=strategies.conversations(),
)
def any_conversation_comes_back_as_it_was(s: Session, messages: Messages) -> None:
    _kept(s, messages)
