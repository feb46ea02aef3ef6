"""The settings of topics: those of a new one, and those that an existing one must not have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from .call import ADMIN_SECONDS, Call
from .errors import KafkaHistoryError
from .rights import missing_right
from .topics import Topic, find, forget

__all__ = ["UnfitTopicError", "check_fit", "new_topic_settings"]

_CACHED_SECONDS = 30.0
_DESCRIBE_SECONDS = 2.0
"""The time to wait for the rights. Without them, the producer finds out if one is missing."""
_SHORT_MS = 1000
"""A topic that refuses records of this age would refuse some messages and accept others."""
_LARGEST_BYTES = 1_048_588
"""Kafka's own default of `max.message.bytes`."""


def new_topic_settings(ttl_ms: int | None, replicas: int, max_bytes: int) -> dict[str, str]:
    """Return the settings of a new topic that the history depends on, whatever the defaults are.

    Args:
        ttl_ms: The time to live; None for ever.
        replicas: The replication factor; -1 for the default of the brokers.
        max_bytes: The largest record that the producer accepts.
    """
    settings = {
        "retention.ms": str(-1 if ttl_ms is None else ttl_ms),
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "max.message.bytes": str(max(_LARGEST_BYTES, max_bytes)),
        # A message that waits for a broker is stored with the time at which it was added.
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "unclean.leader.election.enable": "false",
    }
    if replicas > 0:
        # With 2 of 3 replicas, a message survives the loss of one broker, and so does the service.
        settings["min.insync.replicas"] = "2" if replicas > 2 else "1"
    return settings


class UnfitTopicError(KafkaHistoryError):
    """The topic refuses messages because of its settings, or its user lacks a right.

    Nothing was sent. The text says what to do.
    """


@dataclass(frozen=True)
class _Description:
    """The right to write to a topic; None if the brokers do not report it."""

    may_write: bool | None
    known_at: float


def check_fit(call: Call, topic: Topic) -> Topic:
    """Check that the topic accepts messages, and return it as it is now.

    Raises:
        UnfitTopicError: It does not.
    """
    if _fault(call, topic, _described(call)) is None:
        return topic
    # Perhaps somebody has changed it since it was looked up.
    forget(call)
    found = find(call) or topic
    fault = _fault(call, found, _described(call))
    if fault is None:
        return found
    forget(call)
    code, text = fault
    raise UnfitTopicError(
        KafkaError(code, text),
        f"no message can be added to {call.session} on {call.brokers}: {text}. Nothing was stored",
    )


def _fault(call: Call, topic: Topic, described: _Description) -> tuple[int, str] | None:
    settings = topic.settings
    if described.may_write is False:
        error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        advice = missing_right("add the messages", error, call.topic)
        return error.code(), f"the user may not write to the topic{advice}"
    if "compact" in settings.get("cleanup.policy", ""):
        return (
            KafkaError.INVALID_RECORD,
            "its topic is compacted, and accepts no record without a key. Set its cleanup.policy "
            "to delete",
        )
    oldest = _number(settings, "message.timestamp.before.max.ms")
    by_broker = settings.get("message.timestamp.type") == "LogAppendTime"
    if oldest is not None and oldest < _SHORT_MS and not by_broker:
        return (
            KafkaError.INVALID_TIMESTAMP,
            f"its topic refuses records that are older than {oldest} ms. Raise "
            "message.timestamp.before.max.ms of the topic to an hour or more",
        )
    return None


def _number(settings: Mapping[str, str], name: str) -> int | None:
    return int(settings[name]) if name in settings else None


def _described(call: Call) -> _Description:
    known: _Description | None = call.clients.descriptions.get(call.topic)
    if known is not None and time.monotonic() < known.known_at + _CACHED_SECONDS:
        return known
    try:
        topic = call.ask(
            lambda admin: admin.describe_topics(
                TopicCollection([call.topic]),
                include_authorized_operations=True,
                request_timeout=ADMIN_SECONDS,
            ),
            "look up the topic",
            time.monotonic() + _DESCRIBE_SECONDS,
        )
    except KafkaHistoryError:
        # This check has no answer. The producer will get one.
        return _Description(None, time.monotonic())
    allowed = topic.authorized_operations
    may_write = AclOperation.WRITE in allowed if allowed else None
    found = _Description(may_write, time.monotonic())
    call.clients.descriptions[call.topic] = found
    return found
