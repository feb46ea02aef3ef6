"""What the Kafka history raises when Kafka does not do what it was asked."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException


class KafkaHistoryError(KafkaException):
    """Kafka refused a call, or failed it. The text names the session and the brokers.

    It is a `confluent_kafka.KafkaException`, so that code which catches that goes on working.

    Attributes:
        error: The `confluent_kafka.KafkaError` behind it; also `args[0]`.
    """

    def __init__(self, error: KafkaError, text: str) -> None:
        super().__init__(error)
        self.error = error
        self.text = text

    def __str__(self) -> str:
        return self.text


class UnreachableError(KafkaHistoryError, ConnectionError):
    """No broker answered in time, or none let us in."""


class SlowReadError(KafkaHistoryError, TimeoutError):
    """A read's `max_time_sec` passed before the brokers had told where the history ends."""


class DeliveryError(KafkaHistoryError):
    """Not every message of a batch was acknowledged.

    Attributes:
        unconfirmed: The places in the batch, from 0, of the messages that were not acknowledged.
        outcome_unknown: Whether one of them may be stored all the same, or arrive later: no
            answer came in time. Where it is False, none of `unconfirmed` is stored.
    """

    def __init__(
        self, error: KafkaError, text: str, unconfirmed: Sequence[int], outcome_unknown: bool
    ) -> None:
        super().__init__(error, text)
        self.unconfirmed = tuple(unconfirmed)
        self.outcome_unknown = outcome_unknown


class DeliveryTimeoutError(DeliveryError, UnreachableError):
    """The acknowledgements did not come in time."""


def wrong_credentials(error: KafkaError) -> bool:
    """Whether an error says that trying again with the same credentials is pointless."""
    return error.code() in (
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._SSL,
    )
