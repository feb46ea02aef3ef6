"""Histories that change messages, or lose some for what they contain."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, message_to_dict

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

REDIS = "langchain-redis 0.2.6, chat_message_history.py, _build_message_entry"
XATA = "langchain-community 0.4.2, chat_message_histories/xata.py"


class _Rewriting(MemoryChatMessageHistory):
    """Stores what `rewritten` makes of the dict of each message; None leaves the message out."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """The dict of a message, `{"type": ..., "data": {...}}`, changed."""
        raise NotImplementedError

    def _append(self, texts: Sequence[str]) -> None:
        documents = [self.rewritten(json.loads(text)) for text in texts]
        super()._append([json.dumps(document) for document in documents if document is not None])


class _Respelling(_Rewriting):
    """Stores what `respelt` makes of each text that is a message's content."""

    def respelt(self, text: str) -> str:
        """The text, changed."""
        raise NotImplementedError

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        content = document["data"]["content"]
        if isinstance(content, str):
            document["data"]["content"] = self.respelt(content)
        return document


def _walked(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with `change` made to every leaf."""
    if isinstance(value, dict):
        return {key: _walked(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_walked(item, change) for item in value]
    return change(value)


# -- types -----------------------------------------------------------------------------------


@faulty(
    "fidelity.human_or_ai",
    breaks="fidelity.message_types",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py, messages",
)
class HumanOrAI(MemoryChatMessageHistory):
    """Whatever is not AI comes back as human."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [
            message
            if message.type in ("ai", "AIMessageChunk", "human")
            else HumanMessage(message.content)
            for message in super().messages
        ]


@faulty(
    "fidelity.system_left_out",
    breaks="fidelity.message_types",
    kind="lost",
    seen="haystack-experimental 0.19.0.post1, chat_message_stores/in_memory.py: "
    "skip_system_messages=True",
)
class SystemLeftOut(_Rewriting):
    """System messages are skipped."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return None if document["type"] == "system" else document


@faulty(
    "fidelity.tool_call_id_missing",
    breaks="fidelity.message_types",
    kind="other",
    seen=f"{XATA}: no column for tool_call_id, so that reading raises",
)
class ToolCallIdMissing(_Rewriting):
    """`tool_call_id` is not stored, so that reading a session with a tool message raises."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"].pop("tool_call_id", None)
        return document


@faulty(
    "fidelity.chunks_unreadable",
    breaks="fidelity.chunks",
    kind="other",
    seen="langchain-ai/langchain#15327 https://github.com/langchain-ai/langchain/pull/15327",
)
class ChunksUnreadable(MemoryChatMessageHistory):
    """The reader's table of types has no chunks, and reading raises on one."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        for message in super().messages:
            if message.type.endswith("Chunk"):
                raise ValueError(f"Got unexpected message type: {message.type}")
        return super().messages


@faulty(
    "fidelity.chunks_merged",
    breaks="fidelity.chunks",
    kind="altered",
    seen=INVENTED,
)
class ChunksMerged(_Rewriting):
    """AI message chunks are stored as AI messages."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        if document["type"] == "AIMessageChunk":
            document["type"] = document["data"]["type"] = "ai"
        return document


# -- content ---------------------------------------------------------------------------------


@faulty(
    "fidelity.code_page",
    breaks="fidelity.text",
    kind="altered",
    seen="langchain-ai/langchain#24258 https://github.com/langchain-ai/langchain/pull/24258; "
    "langchain-community 0.4.2, chat_message_histories/file.py",
)
class CodePage(_Respelling):
    """Text is written in the platform's code page, with question marks for what that lacks."""

    def respelt(self, text: str) -> str:
        return text.encode("cp1252", "replace").decode("cp1252")


@faulty(
    "fidelity.latin_1",
    breaks="fidelity.text",
    kind="altered",
    seen="acheong08/ChatGPT#829 https://github.com/acheong08/ChatGPT/pull/829",
)
class Latin1(_Respelling):
    """UTF-8 is read as Latin-1."""

    def respelt(self, text: str) -> str:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


@faulty(
    "fidelity.empty_left_out",
    breaks="fidelity.text",
    kind="lost",
    seen="juspay/neurolink#986 https://github.com/juspay/neurolink/pull/986",
)
class EmptyLeftOut(_Rewriting):
    """A message with empty content is left out."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return document if document["data"]["content"] != "" else None


@faulty(
    "fidelity.lines",
    breaks="fidelity.control_characters",
    kind="altered",
    seen=INVENTED,
)
class Lines(_Respelling):
    """Text is stored line by line, and every line end comes back as a line feed."""

    def respelt(self, text: str) -> str:
        return "\n".join(text.splitlines())


@faulty(
    "fidelity.cleaned",
    breaks="fidelity.control_characters",
    kind="altered",
    seen=INVENTED,
)
class Cleaned(_Respelling):
    """Characters below the blank are removed, but for tabs and line ends."""

    def respelt(self, text: str) -> str:
        return "".join(c for c in text if c >= " " or c in "\t\r\n\x00")


@faulty(
    "fidelity.nul_stripped",
    breaks="fidelity.nul",
    kind="altered",
    seen="ZJU-REAL/HugAgentOS#93 https://github.com/ZJU-REAL/HugAgentOS/pull/93; "
    "Runfusion/Fusion#2366 https://github.com/Runfusion/Fusion/pull/2366",
)
class NulStripped(_Respelling):
    """NUL characters are removed to please the database."""

    def respelt(self, text: str) -> str:
        return text.replace("\x00", "")


@faulty(
    "fidelity.cut_at_nul",
    breaks="fidelity.nul",
    kind="altered",
    seen=INVENTED,
)
class CutAtNul(_Respelling):
    """Text ends at its first NUL, as a string of C does."""

    def respelt(self, text: str) -> str:
        return text.partition("\x00")[0]


@faulty(
    "fidelity.surrogates_replaced",
    breaks="fidelity.lone_surrogates",
    kind="altered",
    seen=INVENTED,
)
class SurrogatesReplaced(_Respelling):
    """Text is encoded with errors='replace'."""

    def respelt(self, text: str) -> str:
        return text.encode("utf-8", "replace").decode()


@faulty(
    "fidelity.fails_while_writing",
    breaks="fidelity.lone_surrogates",
    kind="foreign",
    seen="langchain-community 0.4.2, chat_message_histories/file.py with ensure_ascii=False: fails "
    "when it has begun to write",
)
class FailsWhileWriting(MemoryChatMessageHistory):
    """Text is encoded while it is written: a part is stored when that fails."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            try:
                str(message.content).encode()
            except UnicodeEncodeError as error:
                super().add_messages([HumanMessage(str(message.content)[: error.start])])
                raise
            super().add_messages([message])


@faulty(
    "fidelity.stripped",
    breaks="fidelity.surrounding_blanks",
    kind="altered",
    seen=INVENTED,
)
class Stripped(_Respelling):
    """Text is stripped."""

    def respelt(self, text: str) -> str:
        return text.strip()


@faulty(
    "fidelity.last_line_end",
    breaks="fidelity.surrounding_blanks",
    kind="altered",
    seen=INVENTED,
)
class LastLineEnd(_Respelling):
    """The line end behind a text is lost, as it is where a file is read line by line."""

    def respelt(self, text: str) -> str:
        return text.removesuffix("\n")


@faulty(
    "fidelity.cut_off",
    breaks="fidelity.long_content",
    kind="altered",
    seen=INVENTED,
)
class CutOff(_Respelling):
    """The column holds 65,535 bytes, and the database is not strict."""

    def respelt(self, text: str) -> str:
        return text.encode()[:65_535].decode(errors="ignore")


@faulty(
    "fidelity.parsed_again",
    breaks="fidelity.lookalikes",
    kind="altered",
    seen=INVENTED,
)
class ParsedAgain(_Respelling):
    """Text that is JSON is parsed, and written again in another form."""

    def respelt(self, text: str) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            return text


@faulty(
    "fidelity.unescaped",
    breaks="fidelity.lookalikes",
    kind="altered",
    seen=INVENTED,
)
class Unescaped(_Respelling):
    """Backslash escapes in a text are resolved once more than they were written."""

    def respelt(self, text: str) -> str:
        return text.replace("\\n", "\n").replace("\\\\", "\\")


@faulty(
    "fidelity.content_as_str",
    breaks="fidelity.content_blocks",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py; langchain-azure-ai "
    "1.2.12, azure_ai_memory.py",
)
class ContentAsStr(_Rewriting):
    """Content that is a list is written with `str()`."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"]["content"] = str(document["data"]["content"])
        return document


@faulty(
    "fidelity.text_blocks_only",
    breaks="fidelity.content_blocks",
    kind="altered",
    seen=INVENTED,
)
class TextBlocksOnly(_Rewriting):
    """Of a list of content blocks those of text are kept."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        content = document["data"]["content"]
        if isinstance(content, list):
            document["data"]["content"] = [
                block for block in content if isinstance(block, str) or block.get("type") == "text"
            ]
        return document


# -- fields ----------------------------------------------------------------------------------


class _Dropping(_Rewriting):
    """Does not store the fields that are named in `dropped`."""

    dropped: tuple[str, ...]

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        for name in self.dropped:
            document["data"].pop(name, None)
        return document


@faulty("fidelity.no_id_nor_name", breaks="fidelity.identifiers", kind="altered", seen=REDIS)
class NoIdNorName(_Rewriting):
    """`id` and `name` are not stored, but for the name of a function."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"].pop("id", None)
        if document["type"] != "function":
            document["data"].pop("name", None)
        return document


@faulty(
    "fidelity.empty_is_none",
    breaks="fidelity.identifiers",
    kind="altered",
    seen=INVENTED,
)
class EmptyIsNone(_Rewriting):
    """An empty `id` or `name` comes back as None."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"]["id"] = document["data"]["id"] or None
        if document["type"] != "function":
            document["data"]["name"] = document["data"]["name"] or None
        return document


@faulty(
    "fidelity.no_tool_calls",
    breaks="fidelity.tool_calls",
    kind="altered",
    seen="langchain-ai/langchain-redis#185 "
    "https://github.com/langchain-ai/langchain-redis/pull/185",
)
class NoToolCalls(_Dropping):
    """`tool_calls` are not stored."""

    dropped = ("tool_calls",)


@faulty(
    "fidelity.one_tool_call",
    breaks="fidelity.tool_calls",
    kind="altered",
    seen=INVENTED,
)
class OneToolCall(_Rewriting):
    """Of several tool calls the first is stored."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        if "tool_calls" in document["data"]:
            document["data"]["tool_calls"] = document["data"]["tool_calls"][:1]
        return document


@faulty(
    "fidelity.no_invalid_tool_calls",
    breaks="fidelity.invalid_tool_calls",
    kind="altered",
    seen=REDIS,
)
class NoInvalidToolCalls(_Dropping):
    """`invalid_tool_calls` are not stored."""

    dropped = ("invalid_tool_calls",)


@faulty("fidelity.no_artifact", breaks="fidelity.tool_results", kind="altered", seen=REDIS)
class NoArtifact(_Dropping):
    """The artifact of a tool message is not stored."""

    dropped = ("artifact",)


@faulty(
    "fidelity.always_success",
    breaks="fidelity.tool_results",
    kind="altered",
    seen=INVENTED,
)
class AlwaysSuccess(_Dropping):
    """The status of a tool message is not stored, and falls back to success."""

    dropped = ("status",)


@faulty("fidelity.no_usage", breaks="fidelity.usage_metadata", kind="altered", seen=XATA)
class NoUsage(_Dropping):
    """`usage_metadata` are not stored."""

    dropped = ("usage_metadata",)


@faulty(
    "fidelity.no_response_metadata",
    breaks="fidelity.response_metadata",
    kind="altered",
    seen=XATA,
)
class NoResponseMetadata(_Dropping):
    """`response_metadata` are not stored."""

    dropped = ("response_metadata",)


@faulty(
    "fidelity.nulls_left_out",
    breaks="fidelity.response_metadata",
    kind="altered",
    seen=INVENTED,
)
class NullsLeftOut(_Rewriting):
    """Keys of `response_metadata` whose value is null are left out."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        metadata = document["data"]["response_metadata"]
        document["data"]["response_metadata"] = {
            key: value for key, value in metadata.items() if value is not None
        }
        return document


@faulty(
    "fidelity.role_and_content",
    breaks="fidelity.additional_kwargs",
    kind="altered",
    seen="langchain-neo4j 0.11.0, chat_message_histories/neo4j.py; langchain-arangodb 2.1.0, "
    "arangodb.py",
)
class NoAdditionalKwargs(_Dropping):
    """`additional_kwargs` are not stored."""

    dropped = ("additional_kwargs",)


@faulty(
    "fidelity.store_fields_among_kwargs",
    breaks="fidelity.additional_kwargs",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py, messages",
)
class StoreFieldsAmongKwargs(_Rewriting):
    """Messages come back with the store's own fields in `additional_kwargs`."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"]["additional_kwargs"]["token_count"] = len(str(document["data"]["content"]))
        return document


@faulty("fidelity.no_extra_fields", breaks="fidelity.extra_fields", kind="altered", seen=REDIS)
class NoExtraFields(_Rewriting):
    """The fields that a class of langchain-core declares are stored, and no others."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        for name in ("example", "confidence", "sources", "extra"):
            document["data"].pop(name, None)
        return document


@faulty(
    "fidelity.role_is_type",
    breaks="fidelity.roles",
    kind="altered",
    seen="langchain-ai/langchain#17022 https://github.com/langchain-ai/langchain/issues/17022",
)
class RoleIsType(_Rewriting):
    """The role of a chat message is not stored, and comes back as `chat`."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        if "role" in document["data"]:
            document["data"]["role"] = "chat"
        return document


@faulty(
    "fidelity.type_from_role",
    breaks="fidelity.roles",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py, "
    "get_zep_message_role_type: roles are mapped to types",
)
class TypeFromRole(_Rewriting):
    """A chat message whose role is `ai` or `user` comes back as an AI or human message."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        role = document["data"].get("role")
        if role in ("ai", "user"):
            kept = AIMessage if role == "ai" else HumanMessage
            return message_to_dict(kept(document["data"]["content"]))
        return document


# -- numbers ---------------------------------------------------------------------------------


class _Renumbering(_Rewriting):
    """Stores what `renumbered` makes of each number in `additional_kwargs`."""

    def renumbered(self, number: Any) -> Any:
        """A leaf, changed."""
        raise NotImplementedError

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        data = document["data"]
        data["additional_kwargs"] = _walked(data["additional_kwargs"], self.renumbered)
        return document


@faulty(
    "fidelity.doubles",
    breaks="fidelity.big_integers",
    kind="altered",
    seen=INVENTED,
)
class Doubles(_Renumbering):
    """Integers pass through a double, which rounds them beyond 53 bits."""

    def renumbered(self, number: Any) -> Any:
        if type(number) is int and abs(number) < 1 << 70:
            return int(float(number))
        return number


@faulty(
    "fidelity.floats_as_text",
    breaks="fidelity.floats",
    kind="altered",
    seen="langchain-ai/langchain#26562 https://github.com/langchain-ai/langchain/pull/26562; "
    "langchain-community 0.4.2, chat_message_histories/dynamodb.py: as Decimal",
)
class FloatsAsText(_Renumbering):
    """Floats come back as another type."""

    def renumbered(self, number: Any) -> Any:
        return str(number) if type(number) is float else number


@faulty(
    "fidelity.normalised_numbers",
    breaks="fidelity.floats",
    kind="altered",
    seen=INVENTED,
)
class NormalisedNumbers(_Renumbering):
    """Numbers are normalised as some JSON columns do: 1.0 is 1, and -0.0 is 0."""

    def renumbered(self, number: Any) -> Any:
        if type(number) is float and number.is_integer() and abs(number) < 10:
            return int(number)
        return number


@faulty(
    "fidelity.nan_is_null",
    breaks="fidelity.non_finite_numbers",
    kind="altered",
    seen="langchain-community 0.4.2, sql.py and langchain-postgres 0.0.19 write a bare NaN, which "
    "a strict reader turns into null",
)
class NanIsNull(_Renumbering):
    """NaN and the infinities become null."""

    def renumbered(self, number: Any) -> Any:
        unwritable = type(number) is float and number - number != 0
        return None if unwritable else number


# -- what JSON has no form for, and everything -----------------------------------------------


@faulty(
    "fidelity.hash_is_key",
    breaks="fidelity.equal_messages_kept",
    kind="lost",
    seen="microsoft/agent-framework#7242 https://github.com/microsoft/agent-framework/pull/7242",
)
class HashIsKey(MemoryChatMessageHistory):
    """A message whose role and content are in the history already is not stored."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            known = [(other.type, other.content) for other in self.messages]
            if (message.type, message.content) not in known:
                super().add_messages([message])


@faulty(
    "fidelity.id_is_key",
    breaks="fidelity.equal_messages_kept",
    kind="lost",
    seen="haystack-experimental 0.19.0.post1, in_memory.py, write_messages",
)
class IdIsKey(MemoryChatMessageHistory):
    """Of the messages of one batch that have the same id one is stored."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        keyed = {message.id or number: message for number, message in enumerate(messages)}
        super().add_messages(list(keyed.values()))


@faulty(
    "fidelity.default_str",
    breaks="fidelity.unstorable_values",
    kind="altered",
    seen=INVENTED,
)
class DefaultStr(MemoryChatMessageHistory):
    """`json.dumps(..., default=str)` stores the text of what JSON has no form for."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = [json.dumps(message_to_dict(message), default=str) for message in messages]
        self._append(texts)


@faulty(
    "fidelity.one_after_the_other",
    breaks="fidelity.unstorable_values",
    kind="foreign",
    seen="langchain-core 1.7.2, chat_history.py, BaseChatMessageHistory.add_messages: the "
    "inherited loop",
)
class OneAfterTheOther(MemoryChatMessageHistory):
    """Messages are stored one after the other: those before the refused one stay."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            super().add_messages([message])


@faulty(
    "fidelity.any_type_accepted",
    breaks="fidelity.unreadable_class",
    kind="lost",
    seen="langchain-ai/langchain#17022 https://github.com/langchain-ai/langchain/issues/17022; "
    "langchain-community 0.4.2, chat_message_histories/sql.py: json.dumps(message_to_dict(m))",
)
class AnyTypeAccepted(MemoryChatMessageHistory):
    """The type of a message is not looked at when it is stored, and reading raises on it."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if any(type(message) is BaseMessage for message in messages):
            self._append([json.dumps(message_to_dict(message)) for message in messages])
        else:
            super().add_messages(messages)


@faulty(
    "fidelity.unknown_is_human",
    breaks="fidelity.unreadable_class",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py, messages",
)
class UnknownIsHuman(MemoryChatMessageHistory):
    """A message of an unknown class is stored as a human one."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(
            [HumanMessage(m.content) if type(m) is BaseMessage else m for m in messages]
        )


@faulty(
    "fidelity.nested_as_text",
    breaks="fidelity.any_conversation",
    kind="altered",
    seen=INVENTED,
)
class NestedAsText(_Rewriting):
    """What is nested in `response_metadata` or an artifact becomes text."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        data = document["data"]
        for name in ("additional_kwargs", "response_metadata"):
            data[name] = {
                key: str(value) if isinstance(value, list | dict) else value
                for key, value in data[name].items()
            }
        return document


@faulty(
    "fidelity.only_content",
    breaks="fidelity.any_conversation",
    kind="altered",
    seen="langchain-neo4j 0.11.0, chat_message_histories/neo4j.py, add_message; "
    "langchain-arangodb 2.1.0, arangodb.py",
)
class OnlyContent(_Rewriting):
    """The type and the content survive, and what a type cannot do without."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        needed = ("type", "content", "tool_call_id", "role", "name")
        document["data"] = {key: document["data"].get(key) for key in needed}
        return document
