"""The cursor of a session: the position of its consuming reads.

It consists of offsets that are committed under the name of the topic as the consumer group. No
consumer of this package joins that group.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from queue import Empty

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from langchain_core.messages import BaseMessage

from .call import ADMIN_SECONDS, Call
from .clients import CursorConsumer
from .errors import (
    KafkaHistoryError,
    UnconfirmedReadError,
    is_from_broker,
    is_refusal,
)
from .topics import Offsets, Topic

__all__ = ["exclusive", "move", "offsets"]

_LEAST_SECONDS = 0.4
"""Minimum time to read or move the cursor, however late the call is."""
_POLL_SECONDS = 0.001, 0.05
"""Shortest and longest wait between two looks for the outcome of a commit.

A poll that receives an outcome goes on waiting for a record.
"""
_NAME_SECONDS = 5.0
"""The time to wait for the names of the other consumers, which only an error shows."""
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
    # The admin client has list_consumer_group_offsets for this. But in librdkafka 2.16 that call
    # ends the process if the coordinator of the group moves or shuts down.
    action = "read the cursor"
    # A new consumer needs a moment to find the coordinator, and a bounded read may have less time.
    call.allow(_LEAST_SECONDS)
    asked = [TopicPartition(call.topic, p) for p in range(topic.partitions)]
    while True:
        with call.clients.cursor(call.topic) as cursor:
            try:
                found = cursor.consumer.committed(asked, timeout=call.poll_seconds)
                failed = next((place.error for place in found if place.error is not None), None)
            except KafkaException as failure:
                failed = _reported(cursor) or failure.args[0]
        if failed is None:
            return {place.partition: place.offset for place in found if place.offset >= 0}
        call.retry_or_raise(action, failed)


def move(call: Call, to: Offsets, messages: Sequence[BaseMessage]) -> None:
    """Commit offsets.

    Args:
        call: The call.
        to: The offsets, by partition.
        messages: The messages that were read, for errors.

    Raises:
        UnconfirmedReadError: The offsets may be committed or not.
        KafkaHistoryError: The brokers refused to commit them, for instance because another consumer
            is a member of the group and owns its offsets.
    """
    # The messages were read in time and may be returned, even if the time is up by now.
    call.allow(_LEAST_SECONDS)
    places = [TopicPartition(call.topic, p, offset) for p, offset in sorted(to.items())]
    may_be_moved = False
    while True:
        error = _commit(call, places)
        if error is None:
            return
        if is_refusal(error) and not may_be_moved:
            raise (
                _owned(call, error)
                if error.code() in _OWNED
                else call.refused("move the cursor", error)
            )
        # Other errors prove nothing. A coordinator that is replaced may have stored the offsets
        # before it says so, and the client may have sent them before it waits for a coordinator.
        if is_refusal(error) or call.is_late:
            raise _unconfirmed(call, error, messages)
        may_be_moved = True
        time.sleep(_POLL_SECONDS[0])


def _commit(call: Call, places: list[TopicPartition]) -> KafkaError | None:
    """Commit offsets, and return the error if that failed."""
    with contextlib.suppress(_NoOutcome), call.clients.cursor(call.topic) as cursor:
        try:
            cursor.consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
        pause_seconds, longest_seconds = _POLL_SECONDS
        while not call.is_late:
            cursor.consumer.poll(min(pause_seconds, call.left_seconds))
            with contextlib.suppress(Empty):
                return cursor.outcomes.get_nowait()
            pause_seconds = min(2 * pause_seconds, longest_seconds)
        raise _NoOutcome  # so that this consumer, and the outcome when it comes, are dropped
    return KafkaError(KafkaError._TIMED_OUT, "no answer")


class _NoOutcome(Exception):
    """The outcome of a commit did not arrive in time."""


def _reported(cursor: CursorConsumer) -> KafkaError | None:
    """Return the error of a broker that the consumer reported by itself."""
    record = cursor.consumer.poll(0)
    error = record.error() if record is not None else None
    return error if error is not None and is_from_broker(error) else None


def _unconfirmed(
    call: Call, error: KafkaError, messages: Sequence[BaseMessage]
) -> UnconfirmedReadError:
    return UnconfirmedReadError(
        error,
        f"{len(messages)} messages of {call.session} were read, but {call.brokers} did not confirm "
        f"within {call.limit_seconds:g} s that the position was moved past them ({error.str()}). "
        "They are in the `messages` of this error. The next read may return them again, or go on "
        "after them",
        messages,
    )


def _owned(call: Call, error: KafkaError) -> KafkaHistoryError:
    """Return an error that names the members of the group."""
    members = "another consumer"
    try:
        group = call.ask(
            lambda admin: admin.describe_consumer_groups(
                [call.topic], request_timeout=ADMIN_SECONDS
            ),
            "ask who has the cursor",
            time.monotonic() + _NAME_SECONDS,
        )
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
