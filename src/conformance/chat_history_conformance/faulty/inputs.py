"""Histories that refuse valid values, or accept invalid ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty(
    "inputs.empty_batch_raises",
    breaks="inputs.empty_batch",
    kind="other",
    seen="run-llama/llama_index#22963 https://github.com/run-llama/llama_index/pull/22963",
)
class EmptyBatchRaises(MemoryChatMessageHistory):
    """Raises on an empty batch, because its driver refuses a write of nothing."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if not messages:
            raise ValueError("wrong number of arguments for 'lpush' command")
        super().add_messages(messages)


@faulty(
    "inputs.empty_batch_replaces",
    breaks="inputs.empty_batch",
    kind="lost",
    seen=INVENTED,
)
class EmptyBatchReplaces(MemoryChatMessageHistory):
    """Replaces the conversation with an empty one when it receives an empty batch."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if not messages:
            self.clear()
        super().add_messages(messages)


@faulty(
    "inputs.empty_batch_stored",
    breaks="inputs.empty_batch",
    kind="foreign",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py, add_messages, writes the "
    "item without new messages; reading it as a message is INVENTED",
)
class EmptyBatchStored(MemoryChatMessageHistory):
    """Stores an empty batch as a record that reads as an empty message."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages or [HumanMessage("")])


@faulty("inputs.lists_only", breaks="inputs.any_sequence", kind="other", seen=INVENTED)
class ListsOnly(MemoryChatMessageHistory):
    """Joins the batch to a list with `+`, which raises for a tuple."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        nothing: list[BaseMessage] = []
        super().add_messages(nothing + cast("list[BaseMessage]", messages))


@faulty("inputs.others_ignored", breaks="inputs.any_sequence", kind="lost", seen=INVENTED)
class OthersIgnored(MemoryChatMessageHistory):
    """Stores only the first message of a batch that is neither a list nor a tuple."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        known = isinstance(messages, list | tuple)
        super().add_messages(messages if known else list(messages)[:1])


@faulty(
    "inputs.gone_through_twice",
    breaks="inputs.iterator",
    kind="lost",
    seen="haystack-experimental 0.19.0.post1, in_memory.py, write_messages",
)
class GoneThroughTwice(MemoryChatMessageHistory):
    """Iterates over the batch once to check it, and again to store it."""

    def add_messages(self, messages: Iterable[BaseMessage]) -> None:
        if any(not isinstance(message, BaseMessage) for message in messages):
            raise TypeError("messages must be BaseMessage objects")
        super().add_messages(cast("Sequence[BaseMessage]", messages))


@faulty("inputs.first_of_iterator", breaks="inputs.iterator", kind="foreign", seen=INVENTED)
class FirstOfIterator(MemoryChatMessageHistory):
    """Refuses an iterator after storing its first message."""

    def add_messages(self, messages: Iterable[BaseMessage]) -> None:
        if hasattr(messages, "__next__"):
            super().add_messages([next(cast("Any", messages))])
            raise TypeError("object of type 'list_iterator' has no len()")
        super().add_messages(cast("Sequence[BaseMessage]", messages))


@faulty("inputs.roles_swapped", breaks="inputs.strings", kind="altered", seen=INVENTED)
class RolesSwapped(MemoryChatMessageHistory):
    """Adds a human message when `add_ai_message` receives a text."""

    def add_ai_message(self, message: AIMessage | str) -> None:
        self.add_message(HumanMessage(message) if isinstance(message, str) else message)


@faulty("inputs.empty_text_ignored", breaks="inputs.strings", kind="lost", seen=INVENTED)
class EmptyTextIgnored(MemoryChatMessageHistory):
    """Does nothing when `add_user_message` receives an empty text."""

    def add_user_message(self, message: HumanMessage | str) -> None:
        if message:
            super().add_user_message(message)


@faulty(
    "inputs.message_wrapped",
    breaks="inputs.message_objects",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/zep.py and zep_cloud.py, "
    "add_user_message",
)
class MessageWrapped(MemoryChatMessageHistory):
    """Wraps every argument of `add_user_message`, even a message, which is not valid content."""

    def add_user_message(self, message: HumanMessage | str) -> None:
        self.add_message(HumanMessage(content=cast("str", message)))


@faulty("inputs.content_taken", breaks="inputs.message_objects", kind="altered", seen=INVENTED)
class ContentTaken(MemoryChatMessageHistory):
    """Makes a new message from the content of the message that `add_ai_message` receives."""

    def add_ai_message(self, message: AIMessage | str) -> None:
        self.add_message(AIMessage(message if isinstance(message, str) else message.content))


@faulty(
    "inputs.anything_left_out",
    breaks="inputs.not_a_message",
    kind="swallowed_error",
    seen=INVENTED,
)
class AnythingLeftOut(MemoryChatMessageHistory):
    """Silently leaves out values that are not messages."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages([message for message in messages if hasattr(message, "content")])


@faulty(
    "inputs.anything_converted",
    breaks="inputs.not_a_message",
    kind="swallowed_error",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.add_message: appends "
    "any value",
)
class AnythingConverted(MemoryChatMessageHistory):
    """Converts any value that is not a message to a human message with its text."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(
            [m if isinstance(m, BaseMessage) else HumanMessage(str(m)) for m in messages]
        )
