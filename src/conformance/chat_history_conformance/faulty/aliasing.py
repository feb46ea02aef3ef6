"""Broken histories that share objects with their callers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.arguments import check_count
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

_kept: dict[str, list[BaseMessage]] = {}


class _ListHistory(BaseChatMessageHistory):
    """A correct base class that keeps messages as objects, in a list for each session."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return copy.deepcopy(list(self.kept))

    @property
    def kept(self) -> list[BaseMessage]:
        """The list that stores the session."""
        return _kept.setdefault(self.session_id, [])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.kept.extend(copy.deepcopy(list(messages)))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        count = check_count(max_message_count)
        return self.messages[-count:] if count else []

    def clear(self) -> None:
        _kept.pop(self.session_id, None)


@faulty(
    "aliasing.id_written_into_input",
    breaks="aliasing.inputs_unchanged",
    kind="mutated_input",
    seen="langchain-community 0.4.2, chat_message_histories/rocksetdb.py, add_message",
)
class IdWrittenIntoInput(MemoryChatMessageHistory):
    """Writes the key of the record into the caller's message after storing it."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        for message in messages:
            message.additional_kwargs["id"] = "key"


@faulty(
    "aliasing.input_emptied",
    breaks="aliasing.inputs_unchanged",
    kind="mutated_input",
    seen=INVENTED,
)
class InputEmptied(MemoryChatMessageHistory):
    """Empties the list that the caller passed in."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        if isinstance(messages, list):
            messages.clear()


@faulty(
    "aliasing.object_kept",
    breaks="aliasing.later_input_changes",
    kind="aliased",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.add_message",
)
class ObjectKept(_ListHistory):
    """Stores the caller's objects instead of copies."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.kept.extend(messages)


@faulty(
    "aliasing.shallow_copy_kept",
    breaks="aliasing.later_input_changes",
    kind="aliased",
    seen="rocketride-org/rocketride-server#547 "
    "https://github.com/rocketride-org/rocketride-server/pull/547",
)
class ShallowCopyKept(_ListHistory):
    """Stores shallow copies, which share nested values with the caller's messages."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.kept.extend(copy.copy(message) for message in messages)


@faulty(
    "aliasing.list_kept",
    breaks="aliasing.list_passed_in",
    kind="aliased",
    seen="llama-index-core 0.14.25, simple_chat_store.py, set_messages; neo4j-graphrag 1.22.0, "
    "message_history.py, InMemoryMessageHistory",
)
class ListKept(_ListHistory):
    """Uses the first list that the caller passes in as its store."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if isinstance(messages, list) and messages and not self.kept:
            _kept[self.session_id] = messages
        else:
            super().add_messages(messages)


@faulty(
    "aliasing.live_list",
    breaks="aliasing.returned_list",
    kind="aliased",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.messages; "
    "yaalalabs/agent-kernel#739 https://github.com/yaalalabs/agent-kernel/issues/739",
)
class LiveList(_ListHistory):
    """Returns the stored list itself from `messages`."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return self.kept


@faulty(
    "aliasing.cached_list",
    breaks="aliasing.returned_list",
    kind="aliased",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py and streamlit.py: the cache is "
    "handed out",
)
class CachedList(MemoryChatMessageHistory):
    """Returns the same list from every read until the next write."""

    _cache: Any = None

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if self._cache is None:
            self._cache = super().messages
        cache: list[BaseMessage] = self._cache
        return cache

    def _append(self, texts: Sequence[str]) -> None:
        self._cache = None
        super()._append(texts)

    def clear(self) -> None:
        self._cache = None
        super().clear()


@faulty(
    "aliasing.live_messages",
    breaks="aliasing.returned_messages",
    kind="aliased",
    seen="langchain-core 1.7.2, chat_history.py, InMemoryChatMessageHistory.messages",
)
class LiveMessages(_ListHistory):
    """Returns the stored message objects in a new list."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return list(self.kept)


@faulty(
    "aliasing.shallow_copies_returned",
    breaks="aliasing.returned_messages",
    kind="aliased",
    seen="Lilly-Protocol/agentlily-runtime#260 "
    "https://github.com/Lilly-Protocol/agentlily-runtime/issues/260",
)
class ShallowCopiesReturned(_ListHistory):
    """Returns shallow copies, which share nested values with the stored messages."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [copy.copy(message) for message in self.kept]


@faulty(
    "aliasing.live_last_messages",
    breaks="aliasing.returned_messages",
    kind="aliased",
    seen="run-llama/llama_index#22345 https://github.com/run-llama/llama_index/pull/22345",
)
class LiveLastMessages(_ListHistory):
    """Returns copies from `messages`, and the stored message objects from `last_messages`."""

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        count = check_count(max_message_count)
        return self.kept[-count:] if count else []


@faulty(
    "aliasing.live_last_list",
    breaks="aliasing.returned_list",
    kind="aliased",
    seen=INVENTED,
)
class LiveLastList(_ListHistory):
    """Returns the stored list itself if `last_messages` is asked for the whole conversation."""

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        if max_message_count >= len(self.kept):
            return self.kept
        return super().last_messages(max_message_count)
