"""One idempotent producer, and the receipts that collect its acknowledgements."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from .errors import NOT_STORED

__all__ = ["Delivery", "Failure", "Receipt", "Sender"]

_SETTINGS: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    # These keep the producer's epoch. The brokers recognize a repeated message by the
    # epoch and the sequence number, so after a change of the epoch they store it again.
    # A message that expires in the producer changes the epoch. `Sender` has time limits instead.
    "message.timeout.ms": 0,
    # A message that is refused for good changes the epoch. With this, it ends the producer.
    "enable.gapless.guarantee": True,
    # A request behind a refused one of the same partition changes the epoch.
    "max.in.flight.requests.per.connection": 1,
    "message.send.max.retries": 2_147_483_647,
}
"""The settings of the producer that its guarantees depend on."""

_REPEATED = re.compile(r"(\S+) \[\d+\] beginning partition drain: drain before retrying")
"""The line that librdkafka logs before it repeats a request of a partition."""
_LOGGED = {0: 50, 1: 50, 2: 50, 3: 40, 4: 30, 5: 20, 6: 20, 7: 10}
"""The level of the `logging` module for each level of librdkafka."""
_SERVE_SECONDS = 0.1
_END_SECONDS = 2.0
"""The longest time that the end of a producer may take."""


class Delivery(Enum):
    """The outcome of a message without an error."""

    PENDING = "no answer so far"
    STORED = "acknowledged by all replicas in sync"


@dataclass(frozen=True)
class Failure:
    """The outcome of a message that was refused or dropped.

    Attributes:
        error: The reason.
        is_sure: True if the message is certainly not stored.
        is_innocent: True if the message was not sent because the producer ended for another reason.
    """

    error: KafkaError
    is_sure: bool
    is_innocent: bool = False


class Receipt:
    """The acknowledgements of one batch, as they arrive.

    Args:
        count: The number of messages.
        topic: Their topic.
        deadline: The time of `time.monotonic()` at which their call ends.

    Attributes:
        outcomes: The outcome of each message.
        repeated: True if a request with one of these messages may have been sent more than once.
        end: The offset after the last message that was stored; 0 if none was.
    """

    def __init__(self, count: int, topic: str = "", deadline: float = math.inf) -> None:
        self.outcomes: list[Failure | Delivery] = [Delivery.PENDING] * count
        self.topic = topic
        self.deadline = deadline
        self.repeated = False
        self.end = 0
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

    def report(self, index: int, failure: Failure | None) -> bool:
        """Record the outcome of one message, and return whether it was the last one.

        Args:
            index: The position in the batch.
            failure: None for a stored message.
        """
        self.outcomes[index] = Delivery.STORED if failure is None else failure
        # If the producer refuses the rest of a batch, the sender reports that rest, while the
        # acknowledgements of the first part arrive in another thread.
        with self._counting:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._done.set()
            if self._then is not None:
                self._then()
        return is_last

    def wait(self, deadline: float) -> None:
        """Wait until every outcome is known, or until the deadline of `time.monotonic()`."""
        left = deadline - time.monotonic()
        self._done.wait(min(max(0.0, left), threading.TIMEOUT_MAX))

    def when_done(self, then: Callable[[], None]) -> None:
        """Call `then` when every outcome is known, perhaps at once, perhaps in another thread."""
        self._then = then
        if self._done.is_set():
            then()


class Sender:
    """One idempotent producer, and the thread that takes its acknowledgements.

    One thread serves all callers. If each caller polled for its own acknowledgements, it would take
    those of others too, and the others would wait.

    The producer repeats a message without a limit, always with the same epoch and sequence number,
    so the brokers store it once. It has to end when the first call has run out of time. It takes no
    more messages then. When the other calls that use it have ended too, it drops all messages that
    are left and ends. Nothing that it knows is sent after that.

    Args:
        config: The settings of librdkafka; those in `_SETTINGS` have precedence.
        more: Further settings, with the highest precedence.

    Attributes:
        producer: The producer.
        broken: Whether the producer has failed for good.
        cause: The error that ended it, if it failed for good.
    """

    def __init__(self, config: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> None:
        settings = {**config, **_SETTINGS, **(more or {})}
        # Only the log shows that a request was repeated. `_Log` drops the other lines.
        settings["logger"] = _Log(config.get("logger"), int(config.get("log_level", 6)), self)
        settings["debug"] = ",".join(filter(None, [str(config.get("debug", "")), "eos"]))
        settings["log_level"] = 7
        self.broken = False
        self.cause: KafkaError | None = None
        self._answered = False
        self._has_expired = False
        self._is_over = False
        self._is_dropping = False
        self._open: set[Receipt] = set()
        self._sending = threading.Lock()
        self._keeping = threading.Lock()
        self._work = threading.Event()
        self._stopped = False
        self.producer = Producer(settings)
        self._thread = threading.Thread(
            target=self._serve, name="kafka-acknowledgements", daemon=True
        )
        self._thread.start()

    @property
    def usable(self) -> bool:
        """False if new messages need another sender."""
        return not (self.broken or self._has_expired or self._is_over or self._stopped)

    @property
    def has_ended(self) -> bool:
        """True if its thread has ended."""
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """True if it takes no messages at all any more."""
        return self.broken or self._is_over or self._stopped

    def send(
        self,
        topic: str,
        values: Sequence[str | None],
        deadline: float,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = 0,
    ) -> Receipt:
        """Send messages to one partition, in order, with no message of another caller between them.

        Args:
            topic: The name of the topic.
            values: The texts of the messages; None for a record without a value.
            deadline: The time of `time.monotonic()` at which the call ends.
            headers: The headers of each record.
            partition: The partition.
        """
        receipt = Receipt(len(values), topic, deadline)
        # An explicit empty list costs a conversion for each message.
        more: dict[str, Any] = {"headers": headers} if headers else {}
        with self._sending:
            with self._keeping:
                is_over = self._is_over
                self._open.add(receipt)
            if is_over:
                self._refuse(receipt, 0, KafkaError(KafkaError._STATE, "the producer has ended"))
                return receipt
            for index, value in enumerate(values):
                report = partial(self._report, receipt, index)
                try:
                    while True:
                        try:
                            self.producer.produce(
                                topic, value, partition=partition, on_delivery=report, **more
                            )
                            break
                        except BufferError:
                            self._wait_for_room(deadline)
                except KafkaException as error:
                    self._refuse(receipt, index, error.args[0])
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

    def _refuse(self, receipt: Receipt, first: int, error: KafkaError) -> None:
        """Report the rest of a batch that the producer did not accept."""
        is_over = error.code() in (KafkaError._FATAL, KafkaError._STATE) or error.fatal()
        if is_over:
            self.broken = True
        for rest in range(first, len(receipt.outcomes)):
            self._conclude(receipt, rest, Failure(self.cause or error, True, is_over))

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
        if error is None:
            self._answered = True
            receipt.end = max(receipt.end, (message.offset() or 0) + 1)
        self._conclude(receipt, index, None if error is None else self._failure(receipt, error))

    def _failure(self, receipt: Receipt, error: KafkaError) -> Failure:
        code = error.code()
        if error.fatal() or code == KafkaError._FATAL:
            self.broken = True
        # A message in the queue was never sent, or it waits for another attempt.
        was_queued = code == KafkaError._PURGE_QUEUE
        sure = (was_queued or code in NOT_STORED) and not receipt.repeated
        if was_queued and self.cause is not None:
            # Without a producer id nothing was sent.
            refused_id = self.cause.code() in _NO_PRODUCER_ID and not self._answered
            return Failure(self.cause, sure or refused_id, not refused_id)
        return Failure(error, sure)

    def _conclude(self, receipt: Receipt, index: int, failure: Failure | None) -> None:
        if receipt.report(index, failure):
            with self._keeping:
                self._open.discard(receipt)

    def expire(self) -> None:
        """End this sender if the time of a call is over."""
        with self._keeping:
            now = time.monotonic()
            if any(now >= receipt.deadline for receipt in self._open):
                self._has_expired = True
                self._work.set()

    def note_log(self, facility: str, text: str) -> None:
        """Take notice of a line of librdkafka's log."""
        found = _REPEATED.search(text) if facility == "DRAIN" else None
        if found:
            with self._keeping:
                for receipt in self._open:
                    if receipt.topic == found[1]:
                        receipt.repeated = True

    def _serve(self) -> None:
        try:
            while not self._stopped:
                self._work.wait()
                self._poll(_SERVE_SECONDS)
                self.expire()
                if (self._has_expired or self.broken) and not self._has_live_calls():
                    return
                if not len(self.producer):
                    self._work.clear()
                    # Another thread may have sent a message between the check and the clearing.
                    if len(self.producer) or self._stopped:
                        self._work.set()
        finally:
            # If this thread ends for whatever reason, no call may wait for it or use it again.
            with self._keeping:
                self._is_over = True
            self._end()
            # Freeing it may take a while, because it may be looking up a name. So do that here.
            with self._sending:
                del self.producer

    def _poll(self, seconds: float) -> None:
        try:
            self.producer.poll(seconds)
        except KafkaException as failure:
            # The producer reports that it has failed for good. It does so, too, if a request was
            # dropped at its end; then the calls failed because their time was over.
            if not self._is_dropping:
                self.cause = failure.args[0]
            self.broken = True
        except Exception:
            # The callback of one message must not stop those of the others.
            _logger.exception("an acknowledgement could not be reported")

    def _has_live_calls(self) -> bool:
        """Return whether a call still waits. If none does, take no more messages."""
        with self._keeping:
            now = time.monotonic()
            is_live = any(now < receipt.deadline for receipt in self._open)
            self._is_over = not is_live
            return is_live

    def _end(self) -> None:
        """Drop all messages that are left, and report them."""
        self._is_dropping = True
        with contextlib.suppress(KafkaException):
            # The argument `blocking` means the opposite of its name: False waits for the threads of
            # librdkafka, and holds Python's lock meanwhile. Such a thread may be looking up a name.
            self.producer.purge(in_queue=True, in_flight=True, blocking=True)
        until = time.monotonic() + _END_SECONDS
        while len(self.producer) and time.monotonic() < until:
            self._poll(_SERVE_SECONDS)

    def stop(self) -> None:
        """End the thread, and drop the messages that are still in the queue."""
        self._stopped = True
        self._work.set()
        self._thread.join(2 * _END_SECONDS)


_logger = logging.getLogger(__name__)

_NO_PRODUCER_ID = (
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


class _Log:
    """The log of a producer: it shows repeated requests to the sender, and passes on the rest."""

    def __init__(self, logger: logging.Logger | None, level: int, sender: Sender) -> None:
        self._logger = logger or _logger
        self._level = _LOGGED.get(level, 10)
        self._sender = sender

    def log(self, level: int, text: str, *arguments: Any) -> None:
        """Take one line, as librdkafka's Python binding calls `logging.Logger.log`."""
        if arguments:
            self._sender.note_log(str(arguments[0]), str(arguments[-1]))
        # The calls that a failure for good concerns raise it, or are repeated.
        if level >= self._level and "FATAL" not in arguments:
            self._logger.log(level, text, *arguments)
