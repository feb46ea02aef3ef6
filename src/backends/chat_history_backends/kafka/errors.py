"""The errors of the Kafka history, and the groups of error codes that it handles alike."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

__all__ = [
    "GONE",
    "NOT_STORED",
    "NOT_YET",
    "NO_BROKER",
    "DeliveryError",
    "DeliveryTimeoutError",
    "KafkaHistoryError",
    "SlowReadError",
    "UnreachableError",
    "is_wrong_credentials",
]

GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
"""Errors that mean: the topic does not exist."""
NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError._TRANSPORT,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # "no leaders found"
)
"""Errors that pass by themselves: the request is sent again."""
NO_BROKER = (KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN)
"""Errors that mean: no broker accepts a connection."""
NOT_STORED = (
    *GONE,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError._QUEUE_FULL,
)
"""Answers that mean: this attempt did not store the message."""


class KafkaHistoryError(KafkaException):
    """Kafka refused a call, or the call failed. The text names the session and the brokers.

    It is a `confluent_kafka.KafkaException`, so code that catches that class keeps working.

    Attributes:
        error: The `confluent_kafka.KafkaError` that caused it; also `args[0]`.
        outcome_unknown: Whether the call may have taken effect although it raised. If False, it
            stored, cleared and consumed nothing.
    """

    def __init__(self, error: KafkaError, text: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.text = text
        self.outcome_unknown = outcome_unknown

    def __str__(self) -> str:
        return self.text


class UnreachableError(KafkaHistoryError, ConnectionError):
    """No broker answered in time, or all brokers refused the credentials."""


class SlowReadError(KafkaHistoryError, TimeoutError):
    """The `max_time_sec` of a read passed before the brokers reported where the history ends."""


class DeliveryError(KafkaHistoryError):
    """At least one message of a batch was not acknowledged.

    Attributes:
        unconfirmed: The positions in the batch, from 0, of the messages that were not acknowledged.
        outcome_unknown: Whether one of them may be stored all the same, or may arrive later. If
            False, none of `unconfirmed` is stored.
    """

    def __init__(
        self, error: KafkaError, text: str, unconfirmed: Sequence[int], outcome_unknown: bool
    ) -> None:
        super().__init__(error, text, outcome_unknown=outcome_unknown)
        self.unconfirmed = tuple(unconfirmed)


class DeliveryTimeoutError(DeliveryError, UnreachableError):
    """The acknowledgements did not come in time."""


def is_wrong_credentials(error: KafkaError) -> bool:
    """Return whether another attempt with the same credentials is pointless."""
    return error.code() in (
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._SSL,
    )
