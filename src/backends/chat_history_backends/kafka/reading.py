"""Read the records of a topic, up to the ends that the brokers report."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from langchain_core.messages import BaseMessage

from ..codec import UndecodableRecordError, decode_batch
from .call import POLL_SECONDS, Call
from .errors import GONE, OpenTransactionError, is_refusal
from .records import (
    discarded_position,
    is_clear_marker,
    merge,
    partition_of,
    position,
    time_ms,
)
from .topics import Bounds, Offsets, Topic, TopicChanged, bounds, check_unchanged

__all__ = ["Read", "decoded", "discarded", "filter_of", "has_messages", "last", "read"]

_CHUNK = 1000
_ACTION = "read the messages"
_DECODE_SECONDS = 0.1
"""Minimum time to decode messages, however late the call is."""
_PEEK_SECONDS = 0.2
"""The time limit of a question about open transactions."""


@dataclass(frozen=True)
class Read:
    """The result of a read.

    Attributes:
        records: The records, in order.
        reached: The offset at which the read ended, for each partition.
        bounds: Where each partition began and ended.
    """

    records: list[Message]
    reached: Offsets
    bounds: Bounds


def read(
    call: Call,
    topic: Topic,
    starts: Offsets | None = None,
    *,
    reach: int | None = None,
    known_bounds: Bounds | None = None,
    limit: int | None = None,
    bounded: bool = False,
    skipped: Collection[str] = (),
    marks: bool = False,
    waits: bool = True,
) -> Read:
    """Read to the current ends.

    Args:
        call: The call.
        topic: The topic, as `find` returned it.
        starts: The offset to start at, for each partition. A partition without a start, or with
            a start outside of it, is read from its first record.
        reach: How many offsets before its end to start in each partition, instead of `starts`.
        known_bounds: The result of `bounds`, if it was asked for already.
        limit: The most messages that the caller needs.
        bounded: Whether to return the messages read so far at the deadline of the call.
        skipped: Positions to skip.
        marks: Whether to include the records that mark others as discarded.
        waits: Whether to wait for messages that an open transaction hides. If not, the read ends
            before them.

    Raises:
        SlowReadError: The read is bounded, and the time was up before the first message was known.
        UnreachableError: No record arrived for as long as the call may take.
        OpenTransactionError: A transaction stayed open for as long as the call may take.
        TopicChanged: The topic is gone, or records that were to be read are.
    """
    is_wanted = filter_of(topic, skipped, marks)
    with call.clients.consumer() as consumer:
        # The consumer fetches in the background, from the offset at which the read probably starts,
        # while this thread asks for the ends. Such a fetch may meet an earlier end of the log. A
        # read that has a limit, or does not wait, would stop there, so it fetches afterwards.
        guess: Offsets = {}
        if known_bounds is None and limit is None and waits:
            likely = topic.log.likely_bounds(topic.partitions)
            guess = _unread(likely, _places(likely, starts, reach))
            if guess:
                _assign(call, consumer, guess)
        current = bounds(call, topic) if known_bounds is None else known_bounds
        scan = _Scan(topic, current, _places(current, starts, reach), limit, is_wanted)
        places = {p: scan.reached[p] for p in scan.ends}
        if not _leads_to(guess, places):
            _assign(call, consumer, places)
        _fill(call, topic, scan, consumer, bounded=bounded, waits=waits)
    return Read(merge(scan.found.values()), scan.reached, current)


def _places(current: Bounds, starts: Offsets | None, reach: int | None) -> dict[int, int]:
    """Return the offset to start at, for each partition."""
    places = {}
    for p, (first, end) in current.items():
        start = (starts or {}).get(p, first) if reach is None else end - reach
        places[p] = start if first <= start <= end else first
    return places


def _unread(current: Bounds, places: Offsets) -> Offsets:
    """Return the places that have something behind them."""
    return {p: place for p, place in places.items() if place < current[p][1]}


def _leads_to(guess: Offsets, places: Offsets) -> bool:
    """Return whether a consumer at `guess` soon comes to `places`."""
    return guess.keys() == places.keys() and all(
        0 <= place - guess[p] <= _CHUNK for p, place in places.items()
    )


def _assign(call: Call, consumer: Consumer, places: Offsets) -> None:
    consumer.assign([TopicPartition(call.topic, p, place) for p, place in places.items()])
    if places and not call.clients.met.has(consumer, call.topic):
        # librdkafka looks once a second for the leaders of partitions whose topic the client has
        # not seen before. It takes them from this answer too.
        with contextlib.suppress(KafkaException):  # the read itself finds and raises the reason
            consumer.list_topics(call.topic, timeout=call.poll_seconds)
            call.clients.met.add(consumer, call.topic)


def filter_of(
    topic: Topic, skipped: Collection[str] = (), marks: bool = False
) -> Callable[[Message], bool]:
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

    A partition with as many records as the read needs is *full*. The rest of it is read too, for a
    marker that clears those records. After a crash of the brokers, such records can be in the log
    again. What this process has read before is left out.

    Attributes:
        reached: The offset that was reached, for each partition.
        ends: The offset to read up to, for each partition that is not finished.
        found: The wanted records, for each partition that had something to read.
        stalled: The partitions whose next record cannot be read yet.
        hidden: Whether an open transaction hides records that are not finished.
        skips: The offsets at which to read on: for markers in full partitions, or behind a marker.
    """

    def __init__(
        self,
        topic: Topic,
        current: Bounds,
        places: Offsets,
        limit: int | None,
        is_wanted: Callable[[Message], bool],
    ) -> None:
        self._log = topic.log
        self._limit = limit
        self._is_wanted = is_wanted
        self._full: set[int] = set()
        unread = _unread(current, places) if limit != 0 else {}
        self.reached: dict[int, int] = dict(places)
        self.ends: dict[int, int] = {p: current[p][1] for p in unread}
        self._unread_from: dict[int, int] = dict(unread)
        self.stalled: set[int] = set()
        self.hidden = False
        self.skips: dict[int, int] = {}
        self.found: dict[int, list[Message]] = {p: [] for p in self.ends}

    def take(self, record: Message) -> bool:
        """Take the next record from the consumer, and return whether it belongs to this read."""
        p, offset, error = partition_of(record), record.offset(), record.error()
        if p not in self.ends:
            return False
        if error is not None:
            self._take_error(p, offset, error)
            return False
        if offset is None:
            return False
        self.stalled.discard(p)
        end = self.ends[p]
        if offset < end:  # a record stored after the read began is left for the next read
            self._take_record(p, offset, record)
        if offset + 1 >= end and p in self.ends:
            self._finish(p, end)
        return True

    def _take_record(self, p: int, offset: int, record: Message) -> None:
        if offset < self.reached[p]:
            return  # it was cleared, see `_fill_up`
        if record.value() is None and is_clear_marker(record):
            self._log.saw_marker(p, offset)
            self.found[p].clear()
            self._full.discard(p)
            self.skips.pop(p, None)
            self.reached[p] = offset + 1
        elif p not in self._full:
            self.reached[p] = offset + 1
            if self._is_wanted(record):
                self.found[p].append(record)
                if len(self.found[p]) == self._limit:
                    self._fill_up(p, offset + 1)

    def _fill_up(self, p: int, offset: int) -> None:
        """Note that only markers are of interest from `offset` on."""
        self._full.add(p)
        self._log.saw_records(p, self._unread_from[p], offset)
        # Another read of this process may have seen a marker since this one asked where to begin.
        cleared = self._log.cleared.get(p, 0)
        if cleared > offset:
            self._begin_again(p, cleared)
            return
        unscanned = self._log.unscanned(p, offset)
        self._unread_from[p] = unscanned
        if unscanned >= self.ends[p]:
            del self.ends[p]
        elif unscanned > offset:
            self.skips[p] = unscanned

    def _begin_again(self, p: int, cleared: int) -> None:
        """Drop the records, and go on behind the marker that cleared it."""
        self.found[p].clear()
        self._full.discard(p)
        self._unread_from[p] = self.reached[p] = min(cleared, self.ends[p])
        if cleared >= self.ends[p]:
            del self.ends[p]
        else:
            self.skips[p] = cleared

    def _finish(self, p: int, end: int) -> None:
        self._log.saw_records(p, self._unread_from[p], end)
        del self.ends[p]

    def stall(self, p: int) -> None:
        """Note that the next record of a partition cannot be read yet."""
        if p in self._full:
            del self.ends[p]  # nothing that this read needs is missing
        else:
            self.stalled.add(p)

    def _take_error(self, p: int, offset: int | None, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            if offset is not None and offset >= self.ends[p]:
                # The partition ends with a transaction marker or a record that was compacted away.
                if p not in self._full:
                    self.reached[p] = self.ends[p]
                self._finish(p, self.ends[p])
            else:
                self.stall(p)
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            pass  # about the group that the client has to name, and never uses
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            # A clear or the retention removed records that were not read yet, or the log was cut.
            self._log.firsts.pop(p, None)
            raise TopicChanged(error)
        else:
            raise KafkaException(error)


def _fill(
    call: Call, topic: Topic, scan: _Scan, consumer: Consumer, *, bounded: bool, waits: bool
) -> None:
    """Poll the consumer until the scan is finished, or the time is up."""
    longest_seconds = POLL_SECONDS if waits else _PEEK_SECONDS
    while scan.ends:
        if not waits and scan.stalled >= scan.ends.keys():
            return
        if call.is_late:
            # With several partitions, the first messages are known only after all were read.
            if bounded and len(scan.found) == 1 and any(scan.found.values()):
                return
            raise _open_transaction(call) if scan.hidden else call.unreachable(_ACTION)
        first_record = consumer.poll(min(call.left_seconds, longest_seconds))
        if first_record is None:
            call.check_credentials(_ACTION)
            _look_for_transactions(call, scan, consumer)
            if not call.is_late:
                # A consumer waits for a deleted topic as if it might come back.
                silent = KafkaError(KafkaError._TIMED_OUT, "no record")
                check_unchanged(call, topic, consumer, silent)
            continue
        arrived = False
        for record in (first_record, *consumer.consume(_CHUNK, 0)):
            try:
                arrived |= scan.take(record)
            except KafkaException as failure:
                _check_failure(call, topic, consumer, failure.args[0])
        if arrived and not bounded:
            call.allow(call.limit_seconds)
        for p, offset in scan.skips.items():
            consumer.seek(TopicPartition(call.topic, p, offset))
        scan.skips.clear()


def _check_failure(call: Call, topic: Topic, consumer: Consumer, error: KafkaError) -> None:
    """Raise an error unless the consumer may get over this one."""
    if error.code() in GONE:
        check_unchanged(call, topic, consumer, error)
    if is_refusal(error):
        raise call.refused(_ACTION, error)


def _look_for_transactions(call: Call, scan: _Scan, consumer: Consumer) -> None:
    """Find out whether open transactions keep the unfinished partitions from being read."""
    asked = [TopicPartition(call.topic, p, OFFSET_END) for p in scan.ends]
    try:
        stable = consumer.offsets_for_times(asked, timeout=_PEEK_SECONDS)
    except KafkaException:
        return  # the read goes on until the time is up
    for place in stable:
        p = place.partition
        if place.error is None and 0 <= place.offset < scan.ends[p]:
            scan.hidden = True
            scan.stall(p)


def _open_transaction(call: Call) -> OpenTransactionError:
    return OpenTransactionError(
        KafkaError(KafkaError.CONCURRENT_TRANSACTIONS, "a transaction of another client is open"),
        f"could not {_ACTION} of {call.session}: a transaction of another client is open in its "
        f"topic on {call.brokers}, and hides the messages after it. It did not end within the "
        f"{call.limit_seconds:g} s of this call; nothing was consumed. End that transaction, or "
        "wait until the brokers abort it (its transaction.timeout.ms). kafka-transactions.sh finds "
        "it",
    )


def last(call: Call, topic: Topic, count: int, skipped: Collection[str] = ()) -> list[Message]:
    """Return the last `count` messages, oldest first.

    Offsets have gaps (transaction markers, compacted records), and some records hold no message.
    So the read starts further and further back until it has enough.
    """
    if count == 0:
        return []
    current, reach = None, count
    while True:
        found = read(call, topic, reach=reach, known_bounds=current, skipped=skipped)
        current = found.bounds
        counts = Counter(map(partition_of, found.records))
        if all(
            counts[p] >= count or end - reach <= max(first, topic.log.cleared.get(p, 0))
            for p, (first, end) in current.items()
        ):
            return found.records[-count:]
        reach = max(4 * reach, 100)


def has_messages(call: Call, topic: Topic, after: Offsets, count: int) -> bool:
    """Return whether `count` messages follow the offsets `after` and can be read now."""
    current = bounds(call, topic)
    waiting = sum(end - max(first, after.get(p, first)) for p, (first, end) in current.items())
    if waiting < count:
        return False
    # Markers of clears, of transactions and of discarded records have offsets too.
    found = read(call, topic, after, known_bounds=current, limit=count, waits=False)
    return len(found.records) >= count


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
            # If the wait for the last record took all the time, there are messages to return.
            least = time.monotonic() + _DECODE_SECONDS
            return decode_batch(values, deadline and max(deadline, least))[0]
        except UndecodableRecordError as error:
            # Look for discarded records only now, so that other reads do not pay for it.
            skipped = discarded(call, topic)
            place = position(records[int(error.position)])
            if place not in skipped:
                raise UndecodableRecordError(place, error.reason, error.messages) from error
