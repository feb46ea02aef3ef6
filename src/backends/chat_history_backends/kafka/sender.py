"""One idempotent producer, and the receipts that collect its acknowledgements."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

__all__ = ["Delivery", "Receipt", "Sender"]

_WRITING = {
    "linger.ms": 0,
    # librdkafka does not split a batch for a topic whose limit is lower than that of the producer.
    "batch.size": 65_536,
    # A message whose add has failed must not arrive long after: see `DeliveryError`.
    "message.timeout.ms": 5000,
}


class Delivery(Enum):
    """The outcome of a message without an error."""

    PENDING = "no answer so far"
    STORED = "acknowledged by all replicas in sync"


class Receipt:
    """The acknowledgements of one batch, as they arrive.

    Attributes:
        outcomes: The outcome of each message, or its error.
    """

    def __init__(self, count: int) -> None:
        self.outcomes: list[KafkaError | Delivery] = [Delivery.PENDING] * count
        self._left = count
        self._counting = threading.Lock()
        self._done = threading.Event()
        self._then: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """True if the outcome of every message is known."""
        return self._done.is_set()

    @property
    def ok(self) -> bool:
        """True if every message is stored."""
        return self.done and all(outcome is Delivery.STORED for outcome in self.outcomes)

    def report(self, index: int, error: KafkaError | None) -> None:
        """Record the outcome of one message: an error, or None for a stored one."""
        self.outcomes[index] = Delivery.STORED if error is None else error
        # If the producer refuses the rest of a batch, the sender reports that rest, while the
        # acknowledgements of the first part arrive in another thread.
        with self._counting:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._done.set()
            if self._then is not None:
                self._then()

    def wait(self, deadline: float) -> None:
        """Wait until every outcome is known, or until the deadline of `time.monotonic()`."""
        self._done.wait(max(0.0, deadline - time.monotonic()))

    def when_done(self, then: Callable[[], None]) -> None:
        """Call `then` when every outcome is known, perhaps at once, perhaps in another thread."""
        self._then = then
        if self._done.is_set():
            then()


class Sender:
    """One idempotent producer, and the thread that takes its acknowledgements.

    One thread serves all callers. If each caller polled for its own acknowledgements, it would take
    those of others too, and the others would wait.

    Attributes:
        producer: The producer.
        broken: Whether the producer has failed for good.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.producer = Producer({**_WRITING, **config, "acks": "all", "enable.idempotence": True})
        self.broken = False
        self._sending = threading.Lock()
        self._work = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(
            target=self._serve, name="kafka-acknowledgements", daemon=True
        )
        self._thread.start()

    def send(
        self,
        topic: str,
        values: Sequence[str | None],
        deadline: float,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> Receipt:
        """Send messages to partition 0, in order, with no message of another caller between them.

        Args:
            topic: The name of the topic.
            values: The texts of the messages; None for a record without a value.
            deadline: The time of `time.monotonic()` until which to wait for room in the queue.
            headers: The headers of each record.
        """
        receipt = Receipt(len(values))
        # An explicit empty list costs a conversion for each message.
        more: dict[str, Any] = {"headers": headers} if headers else {}
        with self._sending:
            for index, value in enumerate(values):
                report = partial(self._report, receipt, index)
                try:
                    while True:
                        try:
                            self.producer.produce(
                                topic, value, partition=0, on_delivery=report, **more
                            )
                            break
                        except BufferError:
                            self._wait_for_room(deadline)
                except KafkaException as error:
                    for rest in range(index, len(values)):
                        receipt.report(rest, error.args[0])
                    break
            self._work.set()
        return receipt

    def _wait_for_room(self, deadline: float) -> None:
        self._work.set()
        if time.monotonic() >= deadline:
            raise KafkaException(
                KafkaError(KafkaError._QUEUE_FULL, "the producer's queue stayed full")
            )
        time.sleep(0.005)

    def _report(
        self, receipt: Receipt, index: int, error: KafkaError | None, message: Message
    ) -> None:
        if error is None and message.offset() is None:
            # The broker called the message a duplicate, and librdkafka takes that for success. But
            # a partition accepts any sequence number as the first one of a producer. So a message
            # that the broker refused earlier, because it was not the leader, counts as a duplicate
            # from then on, although it was never stored.
            error = KafkaError(
                KafkaError.DUPLICATE_SEQUENCE_NUMBER, "acknowledged without a place in the log"
            )
        if error is not None and (error.fatal() or error.code() == KafkaError._FATAL):
            self.broken = True
        receipt.report(index, error)

    def _serve(self) -> None:
        while True:
            self._work.wait()
            if self._stopped:
                return
            self.producer.poll(0.1)
            if not len(self.producer):
                self._work.clear()
                # Another thread may have sent a message between the check and the clearing.
                if len(self.producer) or self._stopped:
                    self._work.set()

    def stop(self) -> None:
        """End the thread, and drop the messages that are still in the queue."""
        self._stopped = True
        self._work.set()
        self._thread.join()
        self.producer.purge()
        self.producer.flush(1.0)
