"""The methods that the suite calls on a history, as typing protocols.

Use them to annotate your own factories. They match by structure: a history does not have to
inherit from them, nor from a class of langchain-core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["AsyncChatHistory", "ChatHistory", "Floor"]


class ChatHistory(Protocol):
    """A chat history with synchronous methods, like `BaseChatMessageHistory` of langchain-core."""

    @property
    def messages(self) -> Sequence[BaseMessage]:
        """All messages of the session, the oldest first."""

    def add_messages(self, messages: Sequence[BaseMessage], /) -> None:
        """Store a batch of messages, in order and as a whole."""

    def clear(self) -> None:
        """Remove all messages of the session."""


class AsyncChatHistory(Protocol):
    """A chat history with asynchronous methods, like `BaseChatMessageHistory` of langchain-core."""

    async def aget_messages(self) -> Sequence[BaseMessage]:
        """Return all messages of the session, the oldest first."""

    async def aadd_messages(self, messages: Sequence[BaseMessage], /) -> None:
        """Store a batch of messages, in order and as a whole."""

    async def aclear(self) -> None:
        """Remove all messages of the session."""


class Floor(ChatHistory, Protocol):
    """A raw client that does the least correct work; benchmarks compare a history with it.

    Benchmarks also use these methods if the floor has them: `last_messages`, the asynchronous
    methods, `fill` (store many messages fast, not timed), `remove` and `close`.
    """
