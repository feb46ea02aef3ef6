"""The floor of the history in memory: a list of texts for each session, and a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded

__all__ = ["MemoryFloor"]

_SESSIONS: dict[str, list[str]] = {}
_POSITIONS: dict[str, int] = {}
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

    def messages_from_beginning(
        self, max_message_count: int, max_time_sec: float
    ) -> list[BaseMessage]:
        """Set the position to the start, and read on from there; the time is ignored."""
        return self._read_on(0, max_message_count)

    def messages_from_last_consumed(
        self, max_message_count: int, max_time_sec: float
    ) -> list[BaseMessage]:
        """Read on from the position; the time is ignored."""
        return self._read_on(None, max_message_count)

    def _read_on(self, start: int | None, count: int) -> list[BaseMessage]:
        # Decode under the lock: another reader must not start from the same position.
        with _LOCK:
            begin = _POSITIONS.get(self._session_id, 0) if start is None else start
            messages = decoded(_SESSIONS.get(self._session_id, [])[begin : begin + count])
            _POSITIONS[self._session_id] = begin + len(messages)
            return messages

    def iter_messages(self) -> Iterator[BaseMessage]:
        """Yield one message after the other."""
        with _LOCK:
            texts = _SESSIONS.get(self._session_id, [])[:]
        for text in texts:
            yield from decoded([text])

    def clear(self) -> None:
        """Remove the conversation."""
        with _LOCK:
            _SESSIONS.pop(self._session_id, None)
            _POSITIONS.pop(self._session_id, None)
