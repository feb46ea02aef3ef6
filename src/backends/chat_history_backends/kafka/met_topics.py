"""The topics whose leaders each consumer has got."""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer

__all__ = ["MetTopics"]

_SECONDS = 60.0
"""The time for which a consumer certainly remembers a topic. It forgets topics that are not used
after `metadata.max.age.ms`, 15 minutes by default."""
_MOST = 5000
"""The most topics of a consumer."""


class MetTopics:
    """The topics whose leaders each consumer has got. Safe for threads.

    librdkafka looks once a second for the leaders of a topic that a consumer has not seen before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[Consumer, dict[str, float]] = {}

    def has(self, consumer: Consumer, topic: str) -> bool:
        """Return whether a consumer has got the leaders of a topic in the last minute."""
        met_at = self._times.get(consumer, {}).get(topic)
        return met_at is not None and time.monotonic() - met_at < _SECONDS

    def add(self, consumer: Consumer, topic: str) -> None:
        """Note that a consumer, which is not closed, has got the leaders of a topic."""
        with self._lock:
            topics = self._times.setdefault(consumer, {})
            if len(topics) >= _MOST:
                topics.clear()
            topics[topic] = time.monotonic()

    def forget(self, consumer: Consumer) -> None:
        """Forget a consumer, which is closed."""
        with self._lock:
            self._times.pop(consumer, None)
