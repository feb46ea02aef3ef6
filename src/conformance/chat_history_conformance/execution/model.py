"""The plain list that a history is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from chat_history_conformance.diagnosis.compare import Snapshot

__all__ = ["Model"]


class Model:
    """The messages of one session id, as a plain list would hold them.

    Attributes:
        stored: The messages that the session holds now.
        cleared: The messages that it held before it was cleared.
        refused: The messages of batches that were refused.
    """

    def __init__(self) -> None:
        self.stored: list[Snapshot] = []
        self.cleared: list[Snapshot] = []
        self.refused: list[Snapshot] = []

    def add(self, messages: Sequence[BaseMessage]) -> None:
        """Record that messages were added."""
        self.stored.extend(Snapshot(message) for message in messages)

    def clear(self) -> None:
        """Record that the session was cleared."""
        self.cleared.extend(self.stored)
        self.stored = []
