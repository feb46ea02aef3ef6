"""The floor of a history in memory: a list of texts for each session, and a lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded

_SESSIONS: dict[str, list[str]] = {}
_LOCK = threading.Lock()


class MemoryFloor:
    """A conversation in the memory of this process.

    It keeps text, as `memory` does: a list of the message objects would change when their owner
    changes them.

    Args:
        session_id: Whose conversation.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        with _LOCK:
            texts = _SESSIONS.get(self._session_id, [])[:]
        return decoded(texts)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch, as a whole."""
        texts = encoded(messages)
        with _LOCK:
            _SESSIONS.setdefault(self._session_id, []).extend(texts)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """The end of the conversation, at most so many messages."""
        with _LOCK:
            texts = _SESSIONS.get(self._session_id, [])
            texts = texts[max(0, len(texts) - max_message_count) :]
        return decoded(texts)

    def clear(self) -> None:
        """Remove the conversation."""
        with _LOCK:
            _SESSIONS.pop(self._session_id, None)
