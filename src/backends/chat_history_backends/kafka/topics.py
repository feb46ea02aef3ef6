"""The topic of a session: find it, create it, and ask where its partitions begin and end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from .call import ADMIN_SECONDS, RETRY_SECONDS, Call
from .errors import GONE, KafkaHistoryError

__all__ = [
    "Bounds",
    "Offsets",
    "Topic",
    "bounds",
    "count_partitions",
    "create",
    "find",
    "forget",
    "forget_if_gone",
]

Offsets = Mapping[int, int]
"""An offset for each partition. This package writes to partition 0 only; a topic of
langchain-community has messages in all of its partitions."""
Bounds = Mapping[int, tuple[int, int]]
"""The first offset of each partition, and the one after its last."""

_CACHED_SECONDS = 30.0
"""The age at which the partitions and settings of a topic are asked for again."""


@dataclass(frozen=True)
class Topic:
    """The properties of a topic that exists.

    Attributes:
        partitions: How many partitions it has.
        retention_ms: The age at which a record expires; None for never.
        max_bytes: The largest record that it accepts; None if that may not be read.
        known_at: The time of `time.monotonic()` at which it was looked up.
        settings: Its settings; empty if they may not be read.
    """

    partitions: int
    retention_ms: int | None
    max_bytes: int | None
    known_at: float
    settings: Mapping[str, str] = field(default_factory=dict)


def find(call: Call, settings: Mapping[str, str] | None = None) -> Topic | None:
    """Return the topic, or None if it does not exist. A recent answer is used again.

    Args:
        call: The call.
        settings: The settings of the topic, if they are known already.
    """
    known: Topic | None = call.clients.topics.get(call.topic)
    if known is not None and time.monotonic() < known.known_at + _CACHED_SECONDS:
        return known
    with call.clients.consumer() as consumer:
        partitions = count_partitions(call, consumer)
        # A partition without a leader refuses a message and may accept the next one. The first
        # message is then lost: the broker takes the second attempt of an idempotent producer for a
        # duplicate. So wait until all partitions have leaders.
        if partitions is None or not _offsets(call, consumer, partitions, OFFSET_END):
            return None
    settings = _settings(call) if settings is None else settings
    retention_ms = int(settings.get("retention.ms", -1))
    found = Topic(
        partitions,
        retention_ms if retention_ms >= 0 else None,
        int(settings["max.message.bytes"]) if "max.message.bytes" in settings else None,
        time.monotonic(),
        settings,
    )
    call.clients.topics[call.topic] = found
    return found


def create(
    call: Call, partitions: int, replication_factor: int, wanted: Mapping[str, str]
) -> Topic:
    """Create the topic and return it. Another client may create it at the same time.

    Args:
        call: The call.
        partitions: Its partitions.
        replication_factor: Its replicas; -1 for the default of the brokers.
        wanted: Its settings. If the brokers do not allow them, only `retention.ms` is set.

    Raises:
        ValueError: Kafka takes the name for that of another topic.
        KafkaHistoryError: The brokers refused, or did not serve the new topic in time.
    """
    settings: Mapping[str, str] | None = wanted
    try:
        call.wait_for(_created(call, partitions, replication_factor, wanted), "create the topic")
    except KafkaHistoryError as error:
        settings = None
        code = error.error.code()
        if code == KafkaError.TOPIC_EXCEPTION:
            raise ValueError(
                f"{call.session} cannot have its own topic on {call.brokers}: "
                f"{error.error.str()} Use another session id: '.' and '_' are the same to Kafka"
            ) from error
        if code in (KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION) and len(wanted) > 1:
            # A service may fix some settings for all topics.
            least = {"retention.ms": wanted["retention.ms"]}
            return create(call, partitions, replication_factor, least)
        if code != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    if len(wanted) == 1:
        settings = None  # the defaults of the brokers hold for the rest
    while True:
        found = find(call, settings)
        if found is not None:
            return found
        if call.is_late:
            raise KafkaHistoryError(
                KafkaError(KafkaError._TIMED_OUT, "the new topic did not appear"),
                f"the topic of {call.session} was created, but {call.brokers} did not serve it "
                f"within {call.limit_seconds:g} s; nothing was stored. The brokers may be busy: "
                "try again",
            )
        time.sleep(RETRY_SECONDS)


def _created(
    call: Call, partitions: int, replication_factor: int, settings: Mapping[str, str]
) -> Any:
    new = NewTopic(
        call.topic,
        num_partitions=partitions,
        replication_factor=replication_factor,
        config=dict(settings),
    )
    (created,) = call.clients.admin.create_topics(
        [new], operation_timeout=call.left_seconds, request_timeout=ADMIN_SECONDS
    ).values()
    return created


def forget(call: Call) -> None:
    """Look the topic up again when it is next needed."""
    call.clients.topics.pop(call.topic, None)


def forget_if_gone(call: Call, error: KafkaError) -> bool:
    """Return whether an error means that the topic does not exist, and forget the topic if so."""
    gone = error.code() in GONE
    if gone:
        forget(call)
    return gone


def count_partitions(call: Call, client: Consumer | AdminClient) -> int | None:
    """Return how many partitions the topic has, or None if it does not exist.

    Args:
        call: The call.
        client: The client to ask with. It knows the leaders of the topic from then on.
    """
    action = "look up the topic"
    while True:
        try:
            listed = client.list_topics(call.topic, timeout=call.poll_seconds)
        except KafkaException as failure:
            client.poll(0)  # lets the client report what is wrong
            call.check_credentials(action)
            if call.is_late or call.has_no_broker:
                raise call.unreachable(action, failure.args[0]) from failure
            continue
        topic = listed.topics[call.topic]
        call.clients.reached = True
        if topic.error is None:
            return len(topic.partitions)
        if forget_if_gone(call, topic.error):
            return None
        call.pause_or_raise(call.refused(action, topic.error))


def _settings(call: Call) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, call.topic)
    (asked,) = call.clients.admin.describe_configs(
        [resource], request_timeout=ADMIN_SECONDS
    ).values()
    try:
        found = call.wait_for(asked, "read the settings")
    except KafkaHistoryError as error:
        if error.error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        # A client that may read messages but no settings relies on the retention of the brokers.
        return {}
    return {name: entry.value for name, entry in found.items()}


def bounds(call: Call, topic: Topic) -> Bounds:
    """Return where each partition begins and ends now. The result is empty if the topic is gone.

    A consumer must not decide this itself. It uses the beginning that it saw last, which is too
    early after a clear, and too late in a topic that was deleted and created again.
    """
    with call.clients.consumer() as consumer:
        firsts = _offsets(call, consumer, topic.partitions, OFFSET_BEGINNING)
        ends = _offsets(call, consumer, topic.partitions, OFFSET_END)
    return {p: (firsts[p], ends[p]) for p in ends if p in firsts}


def _offsets(call: Call, consumer: Consumer, partitions: int, which: int) -> dict[int, int]:
    # The admin client has list_offsets for this. But in librdkafka 2.16 that call may follow a null
    # pointer while it looks for the leaders of a topic that the client has not seen. So ask a
    # consumer, which accepts the offsets for beginning and end instead of times.
    action = "find the ends"
    asked = [TopicPartition(call.topic, p, which) for p in range(partitions)]
    while True:
        try:
            found = consumer.offsets_for_times(asked, timeout=call.poll_seconds)
            failed = next((place.error for place in found if place.error is not None), None)
        except KafkaException as failure:
            failed = failure.args[0]
        if failed is None:
            return {place.partition: place.offset for place in found}
        if forget_if_gone(call, failed):
            return {}
        consumer.poll(0)  # lets the client report what is wrong
        call.check_credentials(action)
        if failed.code() != KafkaError._TIMED_OUT:
            call.pause_or_raise(call.refused(action, failed))
        elif call.is_late:
            raise call.unreachable(action, failed)
