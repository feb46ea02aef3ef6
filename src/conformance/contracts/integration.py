"""Integration: what langchain-core itself does with a history."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    get_buffer_string,
    trim_messages,
)

from conformance import strategies
from conformance.catalogue import ASYNC, ONE_HANDLE, SYNC, contract
from conformance.findings import Kept
from conformance.session import Handle, Session

Messages = list[BaseMessage]

BOTH = (SYNC, ASYNC)

_RUNNABLE = "langchain_core/runnables/history.py, RunnableWithMessageHistory"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"

_IMPORTS = """\
from langchain_core.runnables import RunnableGenerator
from langchain_core.runnables.history import RunnableWithMessageHistory"""

_MODEL = """\
answers, seen = [], []
def model(inputs):
    for messages in inputs:
        seen.append(messages)
        yield from answers
async def amodel(inputs):
    async for messages in inputs:
        seen.append(messages)
        for answer in answers:
            yield answer"""

_CONFIG: dict[str, Any] = {"configurable": {"session_id": "chat"}}
_CONFIG_CODE = '{"configurable": {"session_id": "chat"}}'


class Chat:
    """A fake model with `RunnableWithMessageHistory` around it, on the history of a handle.

    Args:
        s: The session.
        handle: Its history keeps the conversation.
    """

    def __init__(self, s: Session, handle: Handle) -> None:
        self._s = s
        self._handle = handle
        self._names: dict[str, Any] = {}
        s.do(_IMPORTS, lambda: exec(_IMPORTS, self._names))
        s.do(_MODEL, lambda: exec(_MODEL, self._names))
        made = f"RunnableWithMessageHistory(RunnableGenerator(model, amodel), lambda _: {{}})"
        self._names["history"] = s.rig.local.history(handle.key)
        s.do(f"chat = {made.format(handle.name)}", lambda: self._make(made.format("history")))

    def turn(self, given: Messages, answers: Messages, *, streamed: bool = False) -> None:
        """One turn: what the user gives, and the parts of what the model answers."""
        ...
