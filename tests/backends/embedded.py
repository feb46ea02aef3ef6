"""Types and messages for the tests of the embedded histories."""

from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory

History = MemoryChatMessageHistory | SQLiteChatMessageHistory
Open = Callable[..., History]


def batch(*contents: object) -> list[BaseMessage]:
    return [HumanMessage(str(content)) for content in contents]


def contents(messages: Iterable[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]
