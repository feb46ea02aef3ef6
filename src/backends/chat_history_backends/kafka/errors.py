"""The errors of the Kafka history, and the groups of error codes that it handles alike."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from langchain_core.messages import BaseMessage

__all__ = [
    "GONE",
    "NOT_STORED",
    "NO_BROKER",
    "DeliveryError",
    "DeliveryTimeoutError",
    "KafkaHistoryError",
    "OpenTransactionError",
    "SlowReadError",
    "UnconfirmedReadError",
    "UnreachableError",
    "is_from_broker",
    "is_refusal",
    "is_wrong_credentials",
]

GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
"""Errors after which to ask whether the topic still exists. None of them is an answer to that.

The client gives two of them by itself, whenever it does not know the leader of a partition. A
broker whose metadata is old gives the other. See `topics.count_partitions`.
"""
_REFUSED_NAMES = ("AUTHORIZATION_FAILED", "INVALID_", "UNSUPPORTED_", "_TOO_LARGE")
"""Parts of the names of the brokers' errors that another attempt does not change."""
_REFUSED = (
    KafkaError.TOPIC_EXCEPTION,  # not a legal name
    KafkaError.TOPIC_ALREADY_EXISTS,
    KafkaError.POLICY_VIOLATION,
    KafkaError.SECURITY_DISABLED,
    # A consumer has joined the group and owns its offsets.
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.STALE_MEMBER_EPOCH,
)
"""Further errors of the brokers that another attempt does not change."""
_PASSING = (
    KafkaError.INVALID_REPLICATION_FACTOR,  # a broker that is missing may come back
    KafkaError.INVALID_MSG,  # bytes were damaged on their way
)
"""Errors that pass although their names say otherwise."""
_BROKEN = (
    KafkaError._FATAL,
    KafkaError._INVALID_ARG,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError._CONFLICT,
    KafkaError._STATE,
)
"""Errors of the client itself that another attempt does not change."""
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
    """The brokers did not answer or did not serve the call in time, or refused the credentials."""


class SlowReadError(KafkaHistoryError, TimeoutError):
    """The `max_time_sec` of a read passed before the brokers reported where the history ends."""


class OpenTransactionError(KafkaHistoryError):
    """A transaction of another client is open in the topic, and hides the messages after it."""


class UnconfirmedReadError(UnreachableError):
    """The brokers did not confirm that the position of a consuming read was moved.

    Attributes:
        messages: The messages that were read. If the position was moved, no later read returns
            them. If not, the next read returns them again.
    """

    def __init__(self, error: KafkaError, text: str, messages: Sequence[BaseMessage]) -> None:
        super().__init__(error, text, outcome_unknown=True)
        self.messages = list(messages)


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


def is_from_broker(error: KafkaError) -> bool:
    """Return whether a broker gave this error. The client's own errors have negative codes."""
    return error.code() > 0


def is_refusal(error: KafkaError) -> bool:
    """Return whether another attempt is pointless.

    All other errors may pass: a broker is starting, a leader moves, a connection was lost. A call
    repeats its request until its time limit.
    """
    code, name = error.code(), error.name()
    if error.retriable() or code in _PASSING:
        return False
    if error.fatal() or code in _BROKEN or is_wrong_credentials(error):
        return True
    return is_from_broker(error) and (
        code in _REFUSED or any(part in name for part in _REFUSED_NAMES)
    )


def is_wrong_credentials(error: KafkaError) -> bool:
    """Return whether another attempt with the same credentials is pointless."""
    return error.code() in (
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._SSL,
    )
