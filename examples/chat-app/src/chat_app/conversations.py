"""The conversations of the app, as it configures the history."""

import asyncio
from typing import Self

from chat_history_backends.kafka import KafkaChatMessageHistory

__all__ = ["Conversations"]

_TTL_MS = 30 * 24 * 60 * 60 * 1000


class Conversations:
    """The place that opens all histories of the app.

    All histories of a process share the clients of Kafka, which end with the last history. One
    history stays open as long as the app, so that no request has to start the clients again.

    Args:
        bootstrap_servers: `host:port` of brokers, separated by commas.
        timeout_seconds: The time that a call may wait for the brokers.
    """

    def __init__(self, bootstrap_servers: str, timeout_seconds: float = 10.0) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._timeout_seconds = timeout_seconds
        self._kept_open = self.open("kept-open")

    def open(self, session_id: str) -> KafkaChatMessageHistory:
        """Open the history of a conversation. This sends no request."""
        return KafkaChatMessageHistory(
            session_id,
            self._bootstrap_servers,
            ttl_ms=_TTL_MS,
            partition=1,
            reads="replay",  # `messages` is the whole conversation, as a model needs it
            topic_prefix="chat-app.",
            timeout_sec=self._timeout_seconds,
        )

    @classmethod
    async def start(cls, bootstrap_servers: str, timeout_seconds: float = 10.0) -> Self:
        """Create it without blocking the event loop."""
        return await asyncio.to_thread(cls, bootstrap_servers, timeout_seconds)

    async def stop(self) -> None:
        """End the clients of Kafka, which takes a moment, without blocking the event loop."""
        await self._kept_open.aclose()
