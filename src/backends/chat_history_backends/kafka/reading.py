"""Read the records of a topic, up to the ends that the brokers report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from langchain_core.messages import BaseMessage

from ..codec import UndecodableRecordError, decode_batch
from .call import POLL_SECONDS, Call
from .errors import NOT_YET
from .records import discarded_position, merge, partition_of, position, time_ms
from .topics import Bounds, Offsets, Topic, bounds, count_partitions, forget_if_gone

__all__ = ["Read", "decoded", "discarded", "last", "read"]

_CHUNK = 1000
_ACTION = "read the messages"


@dataclass(frozen=True)
class Read:
    """The result of a read.

    Attributes:
        records: The records, in order.
        reached: The offset at which the read ended, for each partition.
    """

    records: list[Message]
    reached: Offsets


def read(
    call: Call,
    topic: Topic,
    starts: Offsets | None = None,
    *,
    known_bounds: Bounds | None = None,
    limit: int | None = None,
    bounded: bool = False,
    skipped: Collection[str] = (),
    marks: bool = False,
) -> Read:
    """Read from `starts` to the current ends.

    Args:
        call: The call.
        topic: The topic, as `find` returned it.
        starts: The offset to start at, for each partition. A partition without a start, or with
            a start outside of it, is read from its first record.
        known_bounds: The result of `bounds`, if it was asked for already.
        limit: The most messages that the caller needs.
        bounded: Whether to return what was read so far at the deadline of the call.
        skipped: Positions to skip.
        marks: Whether to include the records that mark others as discarded.

    Raises:
        SlowReadError: The read is bounded, and the time was up before the first message was known.
        UnreachableError: No record arrived for as long as the call may take.
    """
    is_wanted = _filter(topic, skipped, marks)
    current = bounds(call, topic) if known_bounds is None else known_bounds
    scan = _Scan(call, current, starts or {}, limit, is_wanted)
    if scan.found:
        with call.clients.consumer() as consumer:
            consumer.assign([TopicPartition(call.topic, p, scan.reached[p]) for p in scan.ends])
            _fill(call, scan, consumer, bounded=bounded)
    return Read([], {}) if scan.gone else Read(merge(scan.found.values()), scan.reached)


def _filter(topic: Topic, skipped: Collection[str], marks: bool) -> Callable[[Message], bool]:
    """Return the function that decides which records belong to the result."""
    oldest_ms = None
    if topic.retention_ms is not None:
        oldest_ms = time.time() * 1000 - topic.retention_ms

    def is_wanted(record: Message) -> bool:
        if record.value() is None and not (marks and discarded_position(record)):
            return False
        if oldest_ms is not None and time_ms(record) <= oldest_ms:
            return False
        return not skipped or position(record) not in skipped

    return is_wanted


class _Scan:
    """The state of one read: the records found so far, and the partitions that are not finished.

    Attributes:
        reached: The offset that was reached, for each partition.
        ends: The offset to read up to, for each partition that is not finished.
        found: The wanted records, for each partition that had something to read.
        gone: Whether the topic turned out to be deleted.
    """

    def __init__(
        self,
        call: Call,
        current: Bounds,
        starts: Offsets,
        limit: int | None,
        is_wanted: Callable[[Message], bool],
    ) -> None:
        self._call = call
        self._limit = limit
        self._is_wanted = is_wanted
        self.reached: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.gone = False
        for p, (first, end) in current.items():
            start = starts.get(p, first)
            self.reached[p] = start if first <= start <= end else first
            if self.reached[p] < end and limit != 0:
                self.ends[p] = end
        self.found: dict[int, list[Message]] = {p: [] for p in self.ends}

    def take(self, record: Message) -> bool:
        """Take the next record from the consumer, and return whether it belongs to this read."""
        p, offset, error = partition_of(record), record.offset(), record.error()
        if error is not None:
            self._take_error(p, error)
            return False
        if p not in self.ends or offset is None:
            return False
        if offset < self.ends[p]:  # a record stored after the read began is left for the next read
            self.reached[p] = offset + 1
            if self._is_wanted(record):
                self.found[p].append(record)
        if offset + 1 >= self.ends[p] or len(self.found[p]) == self._limit:
            del self.ends[p]
        return True

    def _take_error(self, p: int, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # The partition ends with a transaction marker or a record that was compacted away.
            self.reached[p] = self.ends.pop(p, self.reached[p])
        elif forget_if_gone(self._call, error):
            self.gone = True
        elif not error.retriable() and error.code() not in NOT_YET:
            raise self._call.refused(_ACTION, error)


def _fill(call: Call, scan: _Scan, consumer: Consumer, *, bounded: bool) -> None:
    """Poll the consumer until the scan is finished, its topic is gone, or the time is up."""
    deadline = call.deadline
    while scan.ends and not scan.gone:
        left = deadline - time.monotonic()
        if left <= 0:
            # With several partitions, the first messages are known only after all were read.
            if bounded and len(scan.found) == 1:
                return
            raise call.unreachable(_ACTION)
        first_record = consumer.poll(min(left, POLL_SECONDS))
        if first_record is None:
            call.check_credentials(_ACTION)
            # A consumer waits for a deleted topic as if it might come back.
            scan.gone = count_partitions(call, consumer) is None
            continue
        for record in (first_record, *consumer.consume(_CHUNK, 0)):
            belongs = scan.take(record)
            if scan.gone:
                return
            if belongs and not bounded:
                deadline = time.monotonic() + call.limit_seconds


def last(call: Call, topic: Topic, count: int, skipped: Collection[str] = ()) -> list[Message]:
    """Return the last `count` messages, oldest first.

    Offsets have gaps (transaction markers, compacted records), and some records hold no message.
    So the read starts further and further back until it has enough.
    """
    if count == 0:
        return []
    current, reach = bounds(call, topic), count
    while True:
        starts = {p: max(first, end - reach) for p, (first, end) in current.items()}
        found = read(call, topic, starts, known_bounds=current, skipped=skipped).records
        counts = Counter(record.partition() for record in found)
        if all(starts[p] == current[p][0] or counts[p] >= count for p in current):
            return found[-count:]
        reach = max(4 * reach, 100)


def discarded(call: Call, topic: Topic) -> set[str]:
    """Return the positions that were marked as discarded."""
    records = read(call, topic, marks=True).records
    return {mark for record in records if (mark := discarded_position(record))}


def decoded(
    call: Call,
    topic: Topic,
    select: Callable[[Collection[str]], list[Message]],
    deadline: float | None = None,
) -> list[BaseMessage]:
    """Decode the records that `select` reads, and skip those that were discarded."""
    skipped: Collection[str] = ()
    while True:
        records = select(skipped)
        try:
            values = enumerate(record.value() or b"" for record in records)
            return decode_batch(values, deadline)[0]
        except UndecodableRecordError as error:
            # Look for discarded records only now, so that other reads do not pay for it.
            skipped = discarded(call, topic)
            place = position(records[int(error.position)])
            if place not in skipped:
                raise UndecodableRecordError(place, error.reason, error.messages) from error
