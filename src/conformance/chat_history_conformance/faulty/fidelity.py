"""Histories that change messages, or lose some because of their content."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, message_to_dict

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

REDIS = "langchain-redis 0.2.6, chat_message_history.py, _build_message_entry"
XATA = "langchain-community 0.4.2, chat_message_histories/xata.py"


class _Rewriting(MemoryChatMessageHistory):
    """Stores the dict of each message as changed by `rewritten`; None leaves the message out."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Change the dict of a message, `{"type": ..., "data": {...}}`."""
        raise NotImplementedError

    def _append(self, texts: Sequence[str]) -> None:
        documents = [self.rewritten(json.loads(text)) for text in texts]
        super()._append([json.dumps(document) for document in documents if document is not None])


class _Respelling(_Rewriting):
    """Stores each content that is a text as changed by `respelt`."""

    def respelt(self, text: str) -> str:
        """Change a text."""
        raise NotImplementedError

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        content = document["data"]["content"]
        if isinstance(content, str):
            document["data"]["content"] = self.respelt(content)
        return document


def _walked(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return `value` with `change` applied to every leaf."""
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
    """Returns every message that is not AI as human."""

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
    """Skips system messages."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return None if document["type"] == "system" else document


@faulty(
    "fidelity.tool_call_id_missing",
    breaks="fidelity.message_types",
    kind="other",
    seen=f"{XATA}: no column for tool_call_id, so that reading raises",
)
class ToolCallIdMissing(_Rewriting):
    """Does not store `tool_call_id`, so that reading a session with a tool message raises."""

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
    """Raises when it reads a chunk, because its table of types has no chunk types."""

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
    """Stores AI message chunks as AI messages."""

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
    """Writes text in the platform's code page, which turns other characters into `?`."""

    def respelt(self, text: str) -> str:
        return text.encode("cp1252", "replace").decode("cp1252")


@faulty(
    "fidelity.latin_1",
    breaks="fidelity.text",
    kind="altered",
    seen="acheong08/ChatGPT#829 https://github.com/acheong08/ChatGPT/pull/829",
)
class Latin1(_Respelling):
    """Reads UTF-8 as Latin-1."""

    def respelt(self, text: str) -> str:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


@faulty(
    "fidelity.empty_left_out",
    breaks="fidelity.text",
    kind="lost",
    seen="juspay/neurolink#986 https://github.com/juspay/neurolink/pull/986",
)
class EmptyLeftOut(_Rewriting):
    """Leaves out messages with empty content."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        return document if document["data"]["content"] != "" else None


@faulty(
    "fidelity.lines",
    breaks="fidelity.control_characters",
    kind="altered",
    seen=INVENTED,
)
class Lines(_Respelling):
    """Stores text line by line, so that every line end comes back as a line feed."""

    def respelt(self, text: str) -> str:
        return "\n".join(text.splitlines())


@faulty(
    "fidelity.cleaned",
    breaks="fidelity.control_characters",
    kind="altered",
    seen=INVENTED,
)
class Cleaned(_Respelling):
    """Removes control characters, except tabs, line feeds, carriage returns and NUL."""

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
    """Removes NUL characters, because its database does not accept them."""

    def respelt(self, text: str) -> str:
        return text.replace("\x00", "")


@faulty(
    "fidelity.cut_at_nul",
    breaks="fidelity.nul",
    kind="altered",
    seen=INVENTED,
)
class CutAtNul(_Respelling):
    """Cuts text off at its first NUL, like a C string."""

    def respelt(self, text: str) -> str:
        return text.partition("\x00")[0]


@faulty(
    "fidelity.surrogates_replaced",
    breaks="fidelity.lone_surrogates",
    kind="altered",
    seen=INVENTED,
)
class SurrogatesReplaced(_Respelling):
    """Encodes text with errors='replace'."""

    def respelt(self, text: str) -> str:
        return text.encode("utf-8", "replace").decode()


@faulty(
    "fidelity.fails_while_writing",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="langchain-community 0.4.2, chat_message_histories/file.py with ensure_ascii=False: "
    "fails after it has begun to write",
)
class FailsWhileWriting(MemoryChatMessageHistory):
    """Encodes text while writing it, so that part of it is stored when encoding fails."""

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
    """Strips text."""

    def respelt(self, text: str) -> str:
        return text.strip()


@faulty(
    "fidelity.last_line_end",
    breaks="fidelity.surrounding_blanks",
    kind="altered",
    seen=INVENTED,
)
class LastLineEnd(_Respelling):
    """Loses the line end at the end of a text, as if it read a file line by line."""

    def respelt(self, text: str) -> str:
        return text.removesuffix("\n")


@faulty(
    "fidelity.cut_off",
    breaks="fidelity.long_content",
    kind="altered",
    seen=INVENTED,
)
class CutOff(_Respelling):
    """Cuts text off at 65,535 bytes, like a full column of a database that is not strict."""

    def respelt(self, text: str) -> str:
        return text.encode()[:65_535].decode(errors="ignore")


@faulty(
    "fidelity.parsed_again",
    breaks="fidelity.lookalikes",
    kind="altered",
    seen=INVENTED,
)
class ParsedAgain(_Respelling):
    """Parses text that is JSON, and writes it in another form."""

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
    """Resolves backslash escapes in a text once too often."""

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
    """Writes content that is a list with `str()`."""

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
    """Keeps only the text blocks of a list of content blocks."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        content = document["data"]["content"]
        if isinstance(content, list):
            document["data"]["content"] = [
                block for block in content if isinstance(block, str) or block.get("type") == "text"
            ]
        return document


# -- fields ----------------------------------------------------------------------------------


class _Dropping(_Rewriting):
    """Does not store the fields named in `dropped`."""

    dropped: tuple[str, ...]

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        for name in self.dropped:
            document["data"].pop(name, None)
        return document


@faulty("fidelity.no_id_nor_name", breaks="fidelity.identifiers", kind="altered", seen=REDIS)
class NoIdNorName(_Rewriting):
    """Does not store `id` and `name`, except for the name of a function message."""

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
    """Returns None for an empty `id` or `name`."""

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
    """Does not store `tool_calls`."""

    dropped = ("tool_calls",)


@faulty(
    "fidelity.one_tool_call",
    breaks="fidelity.tool_calls",
    kind="altered",
    seen=INVENTED,
)
class OneToolCall(_Rewriting):
    """Stores only the first of several tool calls."""

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
    """Does not store `invalid_tool_calls`."""

    dropped = ("invalid_tool_calls",)


@faulty("fidelity.no_artifact", breaks="fidelity.tool_results", kind="altered", seen=REDIS)
class NoArtifact(_Dropping):
    """Does not store the artifact of a tool message."""

    dropped = ("artifact",)


@faulty(
    "fidelity.always_success",
    breaks="fidelity.tool_results",
    kind="altered",
    seen=INVENTED,
)
class AlwaysSuccess(_Dropping):
    """Does not store the status of a tool message, which falls back to success."""

    dropped = ("status",)


@faulty("fidelity.no_usage", breaks="fidelity.usage_metadata", kind="altered", seen=XATA)
class NoUsage(_Dropping):
    """Does not store `usage_metadata`."""

    dropped = ("usage_metadata",)


@faulty(
    "fidelity.no_response_metadata",
    breaks="fidelity.response_metadata",
    kind="altered",
    seen=XATA,
)
class NoResponseMetadata(_Dropping):
    """Does not store `response_metadata`."""

    dropped = ("response_metadata",)


@faulty(
    "fidelity.nulls_left_out",
    breaks="fidelity.response_metadata",
    kind="altered",
    seen=INVENTED,
)
class NullsLeftOut(_Rewriting):
    """Leaves out keys of `response_metadata` whose value is null."""

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
    """Does not store `additional_kwargs`."""

    dropped = ("additional_kwargs",)


@faulty(
    "fidelity.store_fields_among_kwargs",
    breaks="fidelity.additional_kwargs",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py, messages",
)
class StoreFieldsAmongKwargs(_Rewriting):
    """Adds the store's own fields to `additional_kwargs`."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        document["data"]["additional_kwargs"]["token_count"] = len(str(document["data"]["content"]))
        return document


@faulty("fidelity.no_extra_fields", breaks="fidelity.extra_fields", kind="altered", seen=REDIS)
class NoExtraFields(_Rewriting):
    """Stores only the fields that a class of langchain-core declares."""

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
    """Does not store the role of a chat message, and returns `chat` instead."""

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
    """Returns a chat message with the role `ai` or `user` as an AI or human message."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        role = document["data"].get("role")
        if role in ("ai", "user"):
            kept = AIMessage if role == "ai" else HumanMessage
            return message_to_dict(kept(document["data"]["content"]))
        return document


# -- numbers ---------------------------------------------------------------------------------


class _Renumbering(_Rewriting):
    """Stores each number in `additional_kwargs` as changed by `renumbered`."""

    def renumbered(self, number: Any) -> Any:
        """Change a leaf of `additional_kwargs`."""
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
    """Passes integers through a double, which rounds them beyond 53 bits."""

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
    """Returns floats as strings."""

    def renumbered(self, number: Any) -> Any:
        return str(number) if type(number) is float else number


@faulty(
    "fidelity.normalised_numbers",
    breaks="fidelity.floats",
    kind="altered",
    seen=INVENTED,
)
class NormalisedNumbers(_Renumbering):
    """Normalises numbers like some JSON columns: 1.0 becomes 1, and -0.0 becomes 0."""

    def renumbered(self, number: Any) -> Any:
        if type(number) is float and number.is_integer() and abs(number) < 10:
            return int(number)
        return number


@faulty(
    "fidelity.floats_overflow",
    breaks="fidelity.extreme_floats",
    kind="altered",
    seen="convention: RFC 8259, section 6, lets a JSON parser limit the range of numbers",
)
class FloatsOverflow(_Renumbering):
    """Limits floats to the range that a decimal column with 125 digits has."""

    def renumbered(self, number: Any) -> Any:
        if type(number) is float and 0 < abs(number) < 1e-125:
            return 0.0
        return number


@faulty(
    "fidelity.nan_is_null",
    breaks="fidelity.non_finite_numbers",
    kind="altered",
    seen="langchain-community 0.4.2, sql.py and langchain-postgres 0.0.19 write a bare NaN, which "
    "a strict reader turns into null",
)
class NanIsNull(_Renumbering):
    """Turns NaN and the infinities into null."""

    def renumbered(self, number: Any) -> Any:
        unwritable = type(number) is float and number - number != 0
        return None if unwritable else number


# -- values that JSON cannot represent, and whole conversations ------------------------------


@faulty(
    "fidelity.hash_is_key",
    breaks="fidelity.equal_messages_kept",
    kind="lost",
    seen="microsoft/agent-framework#7242 https://github.com/microsoft/agent-framework/pull/7242",
)
class HashIsKey(MemoryChatMessageHistory):
    """Does not store a message whose role and content are already in the history."""

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
    """Stores only one of the messages in a batch that have the same id."""

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
    """Stores the text of values that JSON cannot represent, with `default=str`."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = [json.dumps(message_to_dict(message), default=str) for message in messages]
        self._append(texts)


@faulty(
    "fidelity.one_after_the_other",
    breaks="errors.refused_batch_stores_nothing",
    kind="foreign",
    seen="langchain-core 1.7.2, chat_history.py, BaseChatMessageHistory.add_messages: the "
    "inherited loop",
)
class OneAfterTheOther(MemoryChatMessageHistory):
    """Stores messages one by one, so that those before a refused message stay."""

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
    """Does not check the type of a message when it stores it, and then raises on every read."""

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
    """Stores a message of an unknown class as a human message."""

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
    """Turns nested values in `additional_kwargs` and `response_metadata` into text."""

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
    """Keeps only the type, the content, and the fields that a type requires."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        needed = ("type", "content", "tool_call_id", "role", "name")
        document["data"] = {key: document["data"].get(key) for key in needed}
        return document


@faulty(
    "fidelity.numbered_keys",
    breaks="fidelity.values_in_places",
    kind="altered",
    seen="a habit of Firebase's realtime database",
)
class NumberedKeys(_Rewriting):
    """Makes a list of a dict with the keys 0, 1, ... in the arguments of a tool call."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        for call in document["data"].get("tool_calls") or ():
            call["args"] = {key: _listed(value) for key, value in call["args"].items()}
        return document


def _listed(value: Any) -> Any:
    numbers = isinstance(value, dict) and list(value) == [str(n) for n in range(len(value))]
    return list(value.values()) if numbers and value else value


@faulty(
    "fidelity.whole_floats",
    breaks="fidelity.values_in_places",
    kind="altered",
    seen=INVENTED,
)
class WholeFloats(_Rewriting):
    """Writes 1.0 as 1 in artifacts."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        data = document["data"]
        if "artifact" in data:
            data["artifact"] = _walked(data["artifact"], _integer)
        return document


def _integer(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@faulty(
    "fidelity.names_normalised",
    breaks="fidelity.texts_in_places",
    kind="altered",
    seen=INVENTED,
)
class NamesNormalised(_Rewriting):
    """Normalises the names of messages."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        name = document["data"].get("name")
        if name:
            document["data"]["name"] = unicodedata.normalize("NFC", name)
        return document


@faulty(
    "fidelity.decoded_in_pieces",
    breaks="fidelity.long_content",
    kind="altered",
    seen="modelcontextprotocol/servers#4667; danielmiessler/Fabric#2203",
)
class DecodedInPieces(_Respelling):
    """Decodes text in pieces of 8,192 bytes, so that characters on their borders break."""

    def respelt(self, text: str) -> str:
        data = text.encode(errors="surrogatepass")
        if len(data) == len(text):
            return text
        pieces = (data[start : start + 8192] for start in range(0, len(data), 8192))
        return "".join(piece.decode(errors="replace") for piece in pieces)


@faulty(
    "fidelity.long_metadata_cut",
    breaks="fidelity.long_content",
    kind="altered",
    seen=INVENTED,
)
class LongMetadataCut(_Rewriting):
    """Cuts texts in response metadata to 4,096 characters."""

    def rewritten(self, document: dict[str, Any]) -> dict[str, Any] | None:
        data = document["data"]
        data["response_metadata"] = _walked(data["response_metadata"], _cut)
        return document


def _cut(value: Any) -> Any:
    return value[:4096] if isinstance(value, str) else value
