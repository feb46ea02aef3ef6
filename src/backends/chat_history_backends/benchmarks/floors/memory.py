"""The floor of the history in memory: a list of texts for each session, and a lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded

__all__ = ["MemoryFloor"]

_SESSIONS: dict[str, list[str]] = {}
_LOCK = threading.Lock()


class MemoryFloor:
    """A conversation in the memory of this process.

    It stores text, as the history does. Stored message objects would change when their owner
    changes them.

    Args:
        session_id: The id of the session.
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
        """Store a batch as a whole."""
        texts = encoded(messages)
        with _LOCK:
            _SESSIONS.setdefault(self._session_id, []).extend(texts)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the last messages, at most `max_message_count`."""
        with _LOCK:
            texts = _SESSIONS.get(self._session_id, [])
            texts = texts[max(0, len(texts) - max_message_count) :]
        return decoded(texts)

    def clear(self) -> None:
        """Remove the conversation."""
        with _LOCK:
            _SESSIONS.pop(self._session_id, None)
