"""The identity and the settings of a topic, as the brokers describe them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
)

from .call import ADMIN_SECONDS, Call
from .errors import KafkaHistoryError, UnreachableError, is_refusal

__all__ = ["TopicChanged", "keep_settings", "read_identity", "read_settings"]

_REFRESH_SECONDS = 2.0
"""The time to wait for the settings if old ones are known."""
_OLD_SECONDS = 600.0
"""The age up to which settings are used if the brokers do not answer. They rarely change."""
_REMEMBERED_TOPICS = 5000
"""The most topics whose settings are kept."""


@dataclass(frozen=True)
class _Known:
    """The settings of a topic, its identity, and the time at which they were read."""

    settings: Mapping[str, str]
    identity: str
    read_at: float


class TopicChanged(Exception):
    """A topic is no longer what `find` returned: look it up again, and repeat the operation.

    Attributes:
        error: The answer that showed it.
    """

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


def read_identity(call: Call) -> str:
    """Return the id that Kafka gave the topic; empty if this client may not ask for it.

    Raises:
        TopicChanged: The topic does not exist.
        UnreachableError: The brokers did not answer in time.
    """
    described = _ask(
        call,
        lambda admin: admin.describe_topics(
            TopicCollection([call.topic]), request_timeout=ADMIN_SECONDS
        ),
        "look up the topic",
    )
    return "" if described is None else str(described.topic_id)


def read_settings(call: Call, identity: str) -> Mapping[str, str]:
    """Return the settings of the topic; empty if this client may not read them.

    If the brokers do not answer within seconds, the result is what they answered last, at most ten
    minutes ago.

    Args:
        call: The call.
        identity: The identity of the topic. Settings of an earlier topic with its name are not
            used.

    Raises:
        TopicChanged: The topic does not exist.
        UnreachableError: The brokers did not answer in time, and no recent settings are known.
    """
    resource = ConfigResource(ResourceType.TOPIC, call.topic)
    now = time.monotonic()
    known: _Known | None = call.clients.settings.get(call.topic)
    if known is not None and (known.identity != identity or now >= known.read_at + _OLD_SECONDS):
        known = None
    try:
        found = _ask(
            call,
            lambda admin: admin.describe_configs([resource], request_timeout=ADMIN_SECONDS),
            "read the settings",
            None if known is None else now + _REFRESH_SECONDS,
        )
    except UnreachableError as error:
        if known is None or is_refusal(error.error):
            raise
        return known.settings
    # A client that may read messages but no settings relies on the retention of the brokers.
    settings = {} if found is None else {name: entry.value for name, entry in found.items()}
    keep_settings(call, identity, settings)
    return settings


def keep_settings(call: Call, identity: str, settings: Mapping[str, str]) -> None:
    """Remember the settings of the topic, for a time at which the brokers do not answer."""
    known = call.clients.settings
    if len(known) >= _REMEMBERED_TOPICS:
        known.clear()
    known[call.topic] = _Known(settings, identity, time.monotonic())


def _ask(
    call: Call,
    request: Callable[[AdminClient], Mapping[Any, Future[Any]]],
    action: str,
    until: float | None = None,
) -> Any:
    """Return the answer of the brokers about the topic; None if they do not allow the question.

    Raises:
        TopicChanged: They say that the topic does not exist.
    """
    while True:
        try:
            return call.ask(request, action, until)
        except KafkaHistoryError as error:
            if "AUTHORIZATION_FAILED" in error.error.name():
                return None
            if error.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicChanged(error.error) from error
            if until is not None and time.monotonic() >= until:
                raise
            call.pause_or_raise(error)
