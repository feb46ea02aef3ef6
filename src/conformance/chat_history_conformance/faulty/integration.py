"""Histories with which features of langchain-core do not work."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty(
    "integration.second_read_consumed",
    breaks="integration.turns",
    kind="duplicated",
    seen="langchain-ai/langchain#14629 https://github.com/langchain-ai/langchain/pull/14629; "
    "langchain-ai/langchain#15385 https://github.com/langchain-ai/langchain/issues/15385",
)
class SecondReadConsumed(MemoryChatMessageHistory):
    """Returns nothing on every second read after an add, like a consuming read."""

    _was_read = False

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._was_read = not self._was_read
        return super().messages if self._was_read else []

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self._was_read = False
        super().add_messages(messages)


@faulty(
    "integration.tuple_returned",
    breaks="integration.turns",
    kind="other",
    seen="langchain-core 1.7.2, runnables/history.py, _enter_history: calls `copy` on `messages`",
)
class TupleReturned(MemoryChatMessageHistory):
    """Returns a tuple from `messages`."""

    @property
    def messages(self) -> Any:  # type: ignore[override]
        return tuple(super().messages)


@faulty(
    "integration.write_fails_in_turn",
    breaks="integration.turns",
    kind="lost",
    seen="langchain-core 1.7.2, runnables/history.py, _exit_history: an error that adding raises "
    "is only logged",
)
class WriteFails(MemoryChatMessageHistory):
    """Raises when a question and its answer are added together; the runnable only logs it."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if {message.type for message in messages} == {"human", "ai"}:
            raise ValueError("messages of one role at a time")
        super().add_messages(messages)


@faulty(
    "integration.one_thread",
    breaks="integration.keyed_turns",
    kind="other",
    seen="sqlite3 of the standard library, check_same_thread; INVENTED as a history",
)
class OneThread(MemoryChatMessageHistory):
    """Works only on the thread that opened the handle."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._owner = threading.get_ident()

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if threading.get_ident() != self._owner:
            raise RuntimeError("history objects can only be used in the thread that made them")
        return super().messages


@faulty(
    "integration.streamed_unreadable",
    breaks="integration.streaming",
    kind="other",
    seen="langchain-ai/langchain#15327 https://github.com/langchain-ai/langchain/pull/15327",
)
class StreamedUnreadable(MemoryChatMessageHistory):
    """Raises when it reads the message chunk of a streamed answer."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append([text.replace('"AIMessageChunk"', '"chunk"') for text in texts])


@faulty("integration.streamed_left_out", breaks="integration.streaming", kind="lost", seen=INVENTED)
class StreamedLeftOut(MemoryChatMessageHistory):
    """Leaves out chunks, because it takes them for incomplete messages."""

    def _append(self, texts: Sequence[str]) -> None:
        kinds = [json.loads(text)["type"] for text in texts]
        whole = [
            text for text, kind in zip(texts, kinds, strict=True) if not kind.endswith("Chunk")
        ]
        super()._append(whole)


class _Untyped(MemoryChatMessageHistory):
    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [
            BaseMessage(content=message.content, type=message.type) for message in super().messages
        ]


@faulty(
    "integration.base_messages",
    breaks="integration.buffer_string",
    kind="other",
    seen="langchain-ai/langchain#27454 https://github.com/langchain-ai/langchain/issues/27454",
)
class BaseMessages(_Untyped):
    """Returns BaseMessage objects, which `get_buffer_string` refuses."""


@faulty(
    "integration.base_messages_trimmed",
    breaks="integration.trimming",
    kind="altered",
    seen="langchain-ai/langchain#27454 https://github.com/langchain-ai/langchain/issues/27454",
)
class BaseMessagesTrimmed(_Untyped):
    """Returns BaseMessage objects, although trimming depends on the class of a message."""


@faulty(
    "integration.roles_in_text",
    breaks="integration.buffer_string",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py, messages: the session "
    "comes back as one message of joined text",
)
class RolesInText(MemoryChatMessageHistory):
    """Returns messages with their role in front of their text."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [
            message.model_copy(update={"content": f"{message.type}: {message.content}"})
            for message in super().messages
        ]
