"""The cursor of a session: the position of its consuming reads.

It consists of offsets that are committed under the name of the topic as the consumer group. No
consumer of this package joins that group.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    TopicPartition,
)

from .call import ADMIN_SECONDS, Call
from .errors import KafkaHistoryError
from .topics import Offsets, Topic

__all__ = ["exclusive", "move", "offsets"]

_LEAST_MOVE_SECONDS = 1.0
"""Minimum time to move the cursor, however late the call is."""
_OWNED = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
)
"""Errors that mean: a consumer has joined the group and owns its offsets."""


@contextlib.contextmanager
def exclusive(call: Call) -> Iterator[None]:
    """Keep all other readers of this process away from the cursor."""
    lock = call.clients.cursor_lock(call.topic)
    if not lock.acquire(timeout=call.left_seconds):
        raise call.unreachable("read on, for another reader is using the cursor")
    try:
        yield
    finally:
        lock.release()


def offsets(call: Call, topic: Topic) -> dict[int, int]:
    """Return the committed offsets of the partitions that have one."""
    group = ConsumerGroupTopicPartitions(
        call.topic, [TopicPartition(call.topic, p) for p in range(topic.partitions)]
    )
    answer = _ask_group(
        call,
        lambda: call.clients.admin.list_consumer_group_offsets(
            [group], request_timeout=ADMIN_SECONDS
        ),
        "read the cursor",
    )
    return {place.partition: place.offset for place in answer.topic_partitions if place.offset >= 0}


def move(call: Call, to: Offsets) -> None:
    """Commit offsets.

    Raises:
        KafkaHistoryError: Another consumer is a member of the group and owns its offsets.
    """
    # The messages were read in time and may be returned, even if the time is up by now.
    call.allow(_LEAST_MOVE_SECONDS)
    group = ConsumerGroupTopicPartitions(
        call.topic, [TopicPartition(call.topic, p, offset) for p, offset in sorted(to.items())]
    )
    try:
        _ask_group(
            call,
            lambda: call.clients.admin.alter_consumer_group_offsets(
                [group], request_timeout=ADMIN_SECONDS
            ),
            "move the cursor",
        )
    except KafkaHistoryError as error:
        if error.error.code() in _OWNED:
            raise _owned(call, error.error) from error
        raise


def _ask_group(call: Call, ask: Callable[[], Any], action: str) -> Any:
    while True:
        (asked,) = ask().values()
        try:
            answer = call.wait_for(asked, action)
        except KafkaHistoryError as error:
            call.pause_or_raise(error)
            continue
        failed = [place.error for place in answer.topic_partitions if place.error is not None]
        if not failed:
            return answer
        call.pause_or_raise(call.refused(action, failed[0]))


def _owned(call: Call, error: KafkaError) -> KafkaHistoryError:
    """Return an error that names the members of the group."""
    members = "another consumer"
    (asked,) = call.clients.admin.describe_consumer_groups(
        [call.topic], request_timeout=ADMIN_SECONDS
    ).values()
    try:
        group = call.wait_for(asked, "ask who has the cursor")
        if group.state != ConsumerGroupState.EMPTY and group.members:
            members = ", ".join(f"{m.client_id} on {m.host}" for m in group.members)
    except KafkaHistoryError:
        members += " (its name could not be asked for)"
    return KafkaHistoryError(
        error,
        f"the cursor of {call.session} on {call.brokers} belongs to {members}, a member of the "
        f"consumer group {call.topic!r}; nothing was consumed. End it, read with "
        'reads="replay", or use last_messages',
    )
