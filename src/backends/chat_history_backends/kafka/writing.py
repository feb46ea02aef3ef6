"""Additions to the topic of a session: messages, and the mark of a discarded record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError

from .call import RETRY_SECONDS, Call
from .errors import GONE, DeliveryError, DeliveryTimeoutError, KafkaHistoryError
from .records import DISCARD_HEADER
from .rights import missing_right
from .sender import Delivery, Failure, Receipt
from .settings import check_fit
from .topics import Topic, find, forget

__all__ = ["Adding", "check_delivered", "check_sizes", "mark_discarded"]

_DOUBTFUL_SECONDS = 0.5
"""The time to wait for an acknowledgement before checking that the topic still exists."""
_OVERHEAD_BYTES = 200
"""Room for the header of a record, and for that of a batch of records."""
_TIMED_OUT = (
    KafkaError._TIMED_OUT,
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
    KafkaError._STATE,  # another call had ended the producer, and no time was left for a new one
)
"""The errors of messages that were dropped because the time of their call was over."""
_LISTED = 20
"""The most positions in a batch that an error lists."""


class Adding:
    """The addition of one batch, with everything that is tried again until it is stored.

    Call `start`. Then, until `is_over`, wait for `receipt` until `until`, and call `go_on`. Then
    call `finish`. Only the waiting is left to the caller, who may do it on an event loop.

    Args:
        call: The call.
        texts: The messages as JSON.
        topic: Returns the topic, and creates it if it does not exist.
        headers: The headers of each record.
        partition: The partition to write to.

    Attributes:
        receipt: The acknowledgements to wait for.
        until: The time of `time.monotonic()` until which to wait for them.
        end: The offset after the last message that was stored; 0 if none was.
        is_over: True if there is nothing left to wait for.
    """

    receipt: Receipt
    until: float

    def __init__(
        self,
        call: Call,
        texts: Sequence[str | None],
        topic: Callable[[Call], Topic],
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = 0,
    ) -> None:
        self.is_over = False
        self.end = 0
        self._partition = partition
        self._call = call
        self._texts = texts
        self._topic = topic
        self._headers = headers
        self._outcomes: list[Failure | Delivery] = [Delivery.PENDING] * len(texts)
        self._one_by_one = False
        self._sent = False
        self._sender = call.clients.sender

    @property
    def may_be_stored(self) -> bool:
        """True if a message was sent, unless the brokers refused all of them for sure."""
        return self._sent and not all(isinstance(o, Failure) and o.is_sure for o in self._outcomes)

    def start(self) -> None:
        """Send the batch.

        Raises:
            ValueError: A message is too large for the topic or the producer.
            KafkaHistoryError: The topic cannot be found or created, or does not fit.
        """
        self._send(range(len(self._texts)))

    def _send(self, positions: Sequence[int]) -> None:
        call = self._call
        topic = check_fit(call, self._topic(call))
        limit = check_sizes(call, topic, self._texts)
        if call.is_late:
            late = KafkaError(KafkaError._TIMED_OUT, "the time was over before it was sent")
            refused = [Failure(late, True) if o is Delivery.PENDING else o for o in self._outcomes]
            check_delivered(call, refused)
        if self._one_by_one:
            limit = 0
        elif limit is not None:
            limit -= _OVERHEAD_BYTES
        self._sender = call.clients.sender_for(limit)
        self._positions = positions
        self._sent = True
        self.receipt = self._sender.send(
            call.topic,
            [self._texts[i] for i in positions],
            call.deadline,
            self._headers,
            self._partition,
        )
        self._log = topic.log
        self.until = min(call.deadline, time.monotonic() + _DOUBTFUL_SECONDS)

    def go_on(self) -> None:
        """Take the outcomes, and decide how to go on: wait, send the rest again, or end."""
        receipt = self.receipt
        for position, outcome in zip(self._positions, list(receipt.outcomes), strict=True):
            self._outcomes[position] = outcome
        self.end = max(self.end, receipt.end)
        self._log.saw_end(self._partition, self.end)
        if receipt.done:
            rest = [i for i, o in enumerate(self._outcomes) if o is not Delivery.STORED]
            self.is_over = not rest or self._call.is_late or not self._send_again(rest)
        elif time.monotonic() >= self._call.deadline:
            self._sender.expire()
            self.is_over = True
        else:
            # Perhaps the topic was deleted. The producer keeps trying: as soon as the topic exists
            # again, the batch is stored.
            self.until = self._call.deadline
            forget(self._call)
            with contextlib.suppress(KafkaHistoryError, ValueError):
                self._topic(self._call)

    def _send_again(self, rest: Sequence[int]) -> bool:
        """Send messages again that are certainly not stored, if that makes sense."""
        failures = [o for o in self._outcomes if isinstance(o, Failure)]
        codes = {f.error.code() for f in failures if not f.is_innocent}
        try:
            if codes and codes <= set(GONE):
                forget(self._call)
                if all(f.is_sure for f in failures) or find(self._call) is None:
                    self._send(rest)
                    return True
            elif all(f.is_sure for f in failures) and (
                not codes or (codes == {KafkaError.MSG_SIZE_TOO_LARGE} and not self._one_by_one)
            ):
                # The limit of the topic was lowered, or another batch has ended the producer.
                self._one_by_one = bool(codes)
                if codes:
                    forget(self._call)
                time.sleep(RETRY_SECONDS)
                self._send(rest)
                return True
        except (KafkaHistoryError, ValueError):
            if len(rest) == len(self._texts) and all(f.is_sure for f in failures):
                raise  # it says better why nothing is stored
        return False

    def carry_out(self) -> None:
        """Add the batch, and wait in this thread until it is stored."""
        self.start()
        self.wait()

    def wait(self) -> None:
        """Wait in this thread until the batch, which was started, is stored."""
        while not self.is_over:
            self.receipt.wait(self.until)
            self.go_on()
        self.finish()

    def finish(self) -> None:
        """Raise an error unless every message was acknowledged."""
        if any(outcome is not Delivery.STORED for outcome in self._outcomes):
            forget(self._call)  # the next add looks at the settings and rights first
        check_delivered(self._call, self._outcomes)


def check_sizes(call: Call, topic: Topic, texts: Sequence[str | None]) -> int | None:
    """Refuse messages that are too large for the topic or the producer, before any is sent.

    Returns:
        The limit of the topic in bytes; None if it is unknown.

    Raises:
        ValueError: A text is larger than the limit.
    """
    # The texts are ASCII: one byte for each character.
    sizes = [0 if text is None else len(text) for text in texts]
    limits = [limit for limit in (call.clients.max_bytes, topic.max_bytes) if limit is not None]
    if max(sizes) > min(limits) - _OVERHEAD_BYTES:
        forget(call)  # perhaps somebody has raised it
        topic = find(call) or topic
        limits = [limit for limit in (call.clients.max_bytes, topic.max_bytes) if limit is not None]
    limit = min(limits) - _OVERHEAD_BYTES
    for index, size in enumerate(sizes):
        if size > limit:
            raise ValueError(
                f"message {index} of the batch has {size} bytes as JSON, and {call.session} on "
                f"{call.brokers} takes {limit}; nothing was stored. Shorten it, keep the large "
                "part elsewhere, or raise both max.message.bytes of the topic and "
                "message.max.bytes in config"
            )
    return topic.max_bytes


def mark_discarded(call: Call, topic: Topic, position: str) -> Adding:
    """Return the addition of the record that makes all later reads skip the one at `position`."""
    header = [(DISCARD_HEADER, position.encode())]
    return Adding(call, [None], lambda call: find(call) or topic, header)


def check_delivered(call: Call, outcomes: Sequence[Failure | Delivery]) -> None:
    """Raise an error unless every message of a batch was acknowledged.

    Raises:
        DeliveryError: It names the positions in the batch that were not acknowledged.
    """
    unconfirmed = [i for i, outcome in enumerate(outcomes) if outcome is not Delivery.STORED]
    if not unconfirmed:
        return
    failures = sorted((o for o in outcomes if isinstance(o, Failure)), key=lambda f: f.is_innocent)
    pending = len(failures) < len(unconfirmed)
    unknown = pending or not all(failure.is_sure for failure in failures)
    late = KafkaError(KafkaError._TIMED_OUT, "no acknowledgement")
    error = failures[0].error if failures else late
    timed_out = pending or error.code() in _TIMED_OUT
    cause = f" within {call.limit_seconds:g} s" if timed_out else f": {error.str()}"
    listed = ", ".join(map(str, unconfirmed[:_LISTED])) + ", ..." * (len(unconfirmed) > _LISTED)
    advice = (
        "The outcome of the others is unknown: they may be stored, or arrive a few seconds "
        "from now. Read before you add them again"
        if unknown
        else "The others are not stored, and can be added again"
    )
    kind = DeliveryTimeoutError if timed_out else DeliveryError
    raise kind(
        error,
        f"{len(unconfirmed)} of {len(outcomes)} messages of {call.session} were not acknowledged "
        f"by {call.brokers}{cause}; positions in the batch: {listed}. "
        f"{len(outcomes) - len(unconfirmed)} are stored. {advice}{_remedy(call, error)}",
        unconfirmed,
        unknown,
    )


def _remedy(call: Call, error: KafkaError) -> str:
    """Return the sentence that says what to change, for errors that waiting does not change."""
    if error.code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
        return (
            f". Grant the user Write on the topic {call.topic!r}, or IdempotentWrite on the cluster"
        )
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        return (
            ". Compare the clock of this machine with those of the brokers, and the topic's "
            "message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )
    if error.code() == KafkaError.INVALID_RECORD:
        return ". Set the topic's cleanup.policy to delete"
    return missing_right("add the messages", error, call.topic)
