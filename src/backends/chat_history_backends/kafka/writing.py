"""Changes to the topic of a session: add messages, mark a record as discarded, clear."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import OFFSET_END, KafkaError, TopicPartition

from .call import ADMIN_SECONDS, Call
from .errors import GONE, NOT_STORED, DeliveryError, DeliveryTimeoutError, KafkaHistoryError
from .records import DISCARD_HEADER
from .sender import Delivery, Receipt
from .topics import count_partitions, find, forget, forget_if_gone

__all__ = ["append", "check_delivered", "check_sizes", "clear", "mark_discarded", "was_deleted"]

_CHECKED_BYTES = 16_384
"""The size from which a message is compared with the limit of the topic before it is sent."""
_OVERHEAD_BYTES = 200
"""Room for the header of a record, and for that of a batch of records."""
_LISTED = 20
"""The most positions in a batch that an error lists."""


def check_sizes(call: Call, texts: Sequence[str]) -> None:
    """Refuse messages that are too large for the topic or the producer, before any is sent.

    Raises:
        ValueError: A text is larger than the limit.
    """
    sizes = [len(text) for text in texts]  # the texts are ASCII: one byte for each character
    if max(sizes) < _CHECKED_BYTES:
        return
    found = find(call)
    if found is not None and found.max_bytes is None:
        forget(call)
        found = find(call)
    limits = [call.clients.max_bytes]
    if found is not None and found.max_bytes is not None:
        limits.append(found.max_bytes)
    limit = min(limits) - _OVERHEAD_BYTES
    for index, size in enumerate(sizes):
        if size > limit:
            raise ValueError(
                f"message {index} of the batch has {size} bytes as JSON, and {call.session} on "
                f"{call.brokers} takes {limit}; nothing was stored. Shorten it, keep the large "
                "part elsewhere, or raise both max.message.bytes of the topic and "
                "message.max.bytes in config"
            )


def append(call: Call, texts: Sequence[str]) -> Receipt:
    """Send a batch, and return the receipt that collects its acknowledgements."""
    return call.clients.sender.send(call.topic, texts, call.deadline)


def mark_discarded(call: Call, position: str) -> Receipt:
    """Send the record that makes all later reads skip the record at `position`."""
    header = [(DISCARD_HEADER, position.encode())]
    return call.clients.sender.send(call.topic, [None], call.deadline, header)


def was_deleted(call: Call, receipt: Receipt) -> bool:
    """Return whether the brokers refused a whole batch because the topic no longer exists."""
    gone = all(
        isinstance(outcome, KafkaError) and outcome.code() in GONE for outcome in receipt.outcomes
    )
    if gone:
        forget(call)
    return gone


def check_delivered(call: Call, receipt: Receipt) -> None:
    """Raise an error unless every message of a batch was acknowledged.

    Raises:
        DeliveryError: It names the positions in the batch that were not acknowledged.
    """
    outcomes = list(receipt.outcomes)
    unconfirmed = [i for i, outcome in enumerate(outcomes) if outcome is not Delivery.STORED]
    if not unconfirmed:
        return
    errors = [outcome for outcome in outcomes if isinstance(outcome, KafkaError)]
    error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT, "no acknowledgement")
    # Not `in`: a KafkaError that is compared with an enum raises TypeError.
    pending = any(outcome is Delivery.PENDING for outcome in outcomes)
    unknown = pending or any(e.code() not in NOT_STORED for e in errors)
    cause = f" within {call.limit_seconds:g} s" if pending else f": {error.str()}"
    listed = ", ".join(map(str, unconfirmed[:_LISTED])) + ", ..." * (len(unconfirmed) > _LISTED)
    advice = (
        "The outcome of the others is unknown: they may be stored, or arrive a few seconds "
        "from now. Read before you add them again"
        if unknown
        else "The others are not stored, and can be added again"
    )
    late = error.code() in (KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT)
    kind = DeliveryTimeoutError if late else DeliveryError
    raise kind(
        error,
        f"{len(unconfirmed)} of {len(outcomes)} messages of {call.session} were not acknowledged "
        f"by {call.brokers}{cause}; positions in the batch: {listed}. "
        f"{len(outcomes) - len(unconfirmed)} are stored. {advice}",
        unconfirmed,
        unknown,
    )


def clear(call: Call) -> None:
    """Delete all records, up to the current ends of the partitions.

    Raises:
        KafkaHistoryError: The topic is compacted, or the brokers refused for another reason.
    """
    found = find(call)
    if found is None:
        return
    waiting = [TopicPartition(call.topic, p, OFFSET_END) for p in range(found.partitions)]
    while waiting:
        # librdkafka 2.16 may follow a null pointer while it looks for the leaders of a topic that
        # this client has not seen. So let the client look the topic up first.
        if count_partitions(call, call.clients.admin) is None:
            return
        asked = call.clients.admin.delete_records(
            waiting, operation_timeout=call.left_seconds, request_timeout=ADMIN_SECONDS
        )
        waiting = []
        for place, future in asked.items():
            try:
                call.wait_for(future, "clear the messages")
            except KafkaHistoryError as error:
                if forget_if_gone(call, error.error):
                    return
                if error.error.code() == KafkaError.POLICY_VIOLATION:
                    raise _compacted(call, error.error) from error
                # A new topic may have no leaders yet.
                call.pause_or_raise(error)
                waiting.append(TopicPartition(call.topic, place.partition, OFFSET_END))


def _compacted(call: Call, error: KafkaError) -> KafkaHistoryError:
    return KafkaHistoryError(
        error,
        f"{call.session} cannot be cleared on {call.brokers}: its topic is compacted, and Kafka "
        "deletes no records of such a topic. Set its cleanup.policy to delete",
    )
