"""A session's topic: creating, appending, reading to the end, the cursor, clearing.

Places in it are offsets by partition: what we write goes to partition 0, but a topic of
langchain-community has messages in all of its partitions.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from .clients import Clients, Receipt
from .errors import (
    DeliveryError,
    DeliveryTimeoutError,
    KafkaHistoryError,
    SlowReadError,
    UnreachableError,
    wrong_credentials,
)

Offsets = Mapping[int, int]
Bounds = Mapping[int, tuple[int, int]]

DISCARD = "chat-history-discard"
"""The header of a record without a value that says which position is no longer to be read."""

_FACTS_SEC = 30.0
"""After so long a topic's partitions and settings are asked for again."""
_ADMIN_SEC = 120.0
"""The time limit of requests to the admin client, which nobody waits for.

librdkafka 2.16 ends the process (`eonce->refcnt > 0`) when the answer of a coordinator comes after
this time. So the limit of a call is kept by not waiting any longer, and this one is not reached:
the connection is given up long before, see `socket.timeout.ms`.
"""
_RETRY_SEC = 0.005
_CHUNK = 1000
_SLICE_SEC = 0.5
"""So often a wait looks whether the clients complain of the credentials."""
_NOBODY_SEC = 2.0
"""So long, at least, is waited for brokers that were never there; for others, the whole time."""
_LAST_WORD_SEC = 1.0
"""The least time for moving the cursor, however late it is."""
_LARGE = 16_384
"""Bytes from which on a message's size is compared with the topic's limit before it is sent."""
_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
_COMING = (
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
_NOBODY = (KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._ALL_BROKERS_DOWN)
_UNSTORED = (
    *_GONE,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._QUEUE_FULL,
    KafkaError._PURGE_QUEUE,
)
"""Errors that mean for sure: this message is not stored."""


@dataclass(frozen=True)
class Topic:
    """What is known of a topic that exists."""

    partitions: int
    retention_ms: int | None
    """After so many milliseconds a record is gone; None for never."""
    max_bytes: int | None
    known_at: float


@dataclass(frozen=True)
class Read:
    """What a read found: records in order, and where in each partition it ended."""

    records: list[Message]
    reached: Offsets


class Log:
    """The topic of one session, for one call of a history.

    Args:
        clients: The shared clients.
        topic: The name of the topic.
        session: The session id, for errors.
        servers: The brokers' addresses, for errors.
        seconds: How long the call may take; a read without a deadline, between two answers.
        hurried: The time was the caller's to choose, and may be too short for anybody.
    """

    def __init__(
        self,
        clients: Clients,
        topic: str,
        session: str,
        servers: str,
        seconds: float,
        *,
        hurried: bool = False,
    ) -> None:
        self._clients = clients
        self._topic = topic
        self._seconds = seconds
        self._hurried = hurried
        self.until = time.monotonic() + seconds
        """When the call has to end, a time of `time.monotonic()`."""
        self._whose = f"session {session!r}"
        self._whose += f" (topic {topic!r})" if topic != session else ""
        self._where = f"Kafka at {servers}"

    # The topic.

    def find(self, settings: Mapping[str, str] | None = None) -> Topic | None:
        """The topic, or None where it does not exist; one that was seen lately costs nothing.

        Args:
            settings: The topic's, where they are known already.
        """
        known: Topic | None = self._clients.topics.get(self._topic)
        if known is not None and time.monotonic() < known.known_at + _FACTS_SEC:
            return known
        with self._clients.consumer() as consumer:
            partitions = self._count_partitions(consumer)
            # A partition without a leader yet refuses a message and may take the next, which loses
            # the first: an idempotent producer's second try is a duplicate then. So wait for them.
            if partitions is None or not self._offsets(consumer, partitions, OFFSET_END):
                return None
        settings = self._settings() if settings is None else settings
        retention_ms = int(settings.get("retention.ms", -1))
        found = Topic(
            partitions,
            retention_ms if retention_ms >= 0 else None,
            int(settings["max.message.bytes"]) if "max.message.bytes" in settings else None,
            time.monotonic(),
        )
        self._clients.topics[self._topic] = found
        return found

    def create(self, partitions: int, replication_factor: int, ttl_ms: int | None) -> Topic:
        """Make the topic; one that somebody else makes at the same time is as good."""
        retention_ms = -1 if ttl_ms is None else ttl_ms
        new = NewTopic(
            self._topic,
            num_partitions=partitions,
            replication_factor=replication_factor,
            config={"retention.ms": str(retention_ms)},
        )
        (made,) = self._clients.admin.create_topics(
            [new], operation_timeout=self._left(), request_timeout=_ADMIN_SEC
        ).values()
        settings: dict[str, str] | None = {"retention.ms": str(retention_ms)}
        try:
            self._answer(made, "create the topic")
        except KafkaHistoryError as error:
            settings = None
            code = error.error.code()
            if code == KafkaError.TOPIC_EXCEPTION:
                raise ValueError(
                    f"{self._whose} cannot have a topic of its own on {self._where}: "
                    f"{error.error.str()} Use another session id: '.' and '_' are the same to Kafka"
                ) from error
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        while True:
            found = self.find(settings)
            if found is not None:
                return found
            if self._is_late():
                raise KafkaHistoryError(
                    KafkaError(KafkaError._TIMED_OUT, "the new topic did not appear"),
                    f"the topic of {self._whose} was made, but {self._where} did not serve it "
                    f"within {self._seconds:g} s; nothing was stored. The brokers may be busy: try "
                    "again",
                )
            time.sleep(_RETRY_SEC)

    def forget(self) -> None:
        """Look the topic up again when it is next needed."""
        self._clients.topics.pop(self._topic, None)

    def _is_gone(self, error: KafkaError) -> bool:
        """Whether an error says that the topic does not exist; what was known of it goes too."""
        gone = error.code() in _GONE
        if gone:
            self.forget()
        return gone

    def _count_partitions(self, client: Consumer | AdminClient) -> int | None:
        while True:
            try:
                topic = client.list_topics(self._topic, timeout=self._slice()).topics[self._topic]
            except KafkaException as failure:
                client.poll(0)  # lets the client say what is wrong
                self._check_credentials("look up the topic")
                if self._is_late() or self._is_nobody_there():
                    raise self._unreachable("look up the topic", failure.args[0]) from failure
                continue
            self._clients.reached = True
            if topic.error is None:
                return len(topic.partitions)
            if self._is_gone(topic.error):
                return None
            self._wait_or_raise(self._refused("look up the topic", topic.error))

    def _settings(self) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        (asked,) = self._clients.admin.describe_configs(
            [resource], request_timeout=_ADMIN_SEC
        ).values()
        try:
            found = self._answer(asked, "read the settings")
        except KafkaHistoryError as error:
            if error.error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            # Whoever may read messages but no settings relies on the broker's own retention.
            return {}
        return {name: entry.value for name, entry in found.items()}

    # Writing.

    def check_sizes(self, texts: Sequence[str]) -> None:
        """Refuse what the topic or the producer does not take, before anything is sent.

        Raises:
            ValueError: A text is larger than the limit.
        """
        sizes = [len(text) for text in texts]  # ASCII: characters are bytes
        if max(sizes) < _LARGE:
            return
        found = self.find()
        if found is not None and found.max_bytes is None:
            self.forget()
            found = self.find()
        limits = [self._clients.max_bytes]
        if found is not None and found.max_bytes is not None:
            limits.append(found.max_bytes)
        limit = min(limits) - 200  # a record has a header, and a batch of records has one
        for index, size in enumerate(sizes):
            if size > limit:
                raise ValueError(
                    f"message {index} of the batch has {size} bytes as JSON, and {self._whose} on "
                    f"{self._where} takes {limit}; nothing was stored. Shorten it, keep the large "
                    "part elsewhere, or raise both max.message.bytes of the topic and "
                    "message.max.bytes in config"
                )

    def append(self, texts: Sequence[str]) -> Receipt:
        """Send a batch; what becomes of it is in the receipt."""
        return self._clients.sender.send(self._topic, texts, self.until)

    def mark_discarded(self, position: str) -> Receipt:
        """Send the record that says that another is no longer to be read."""
        header = [(DISCARD, position.encode())]
        return self._clients.sender.send(self._topic, [None], self.until, header)

    def was_deleted(self, receipt: Receipt) -> bool:
        """Whether a batch was refused as a whole because the topic is not there any more."""
        gone = all(
            isinstance(outcome, KafkaError) and outcome.code() in _GONE
            for outcome in receipt.outcomes
        )
        if gone:
            self.forget()
        return gone

    def check(self, receipt: Receipt) -> None:
        """Raise unless every message of a batch was acknowledged.

        Raises:
            DeliveryError: Names the places in the batch that were not.
        """
        outcomes = list(receipt.outcomes)
        unconfirmed = [index for index, outcome in enumerate(outcomes) if outcome is not None]
        if not unconfirmed:
            return
        errors = [outcome for outcome in outcomes if isinstance(outcome, KafkaError)]
        error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT, "no acknowledgement")
        unknown = False in outcomes or any(e.code() not in _UNSTORED for e in errors)
        places = ", ".join(map(str, unconfirmed[:20])) + ", ..." * (len(unconfirmed) > 20)
        stored = len(outcomes) - len(unconfirmed)
        text = (
            f"{len(unconfirmed)} of {len(outcomes)} messages of {self._whose} were not "
            f"acknowledged by {self._where}"
        )
        text += f" within {self._seconds:g} s" if False in outcomes else f": {error.str()}"
        text += f"; places in the batch: {places}. {stored} are stored. "
        text += (
            "The outcome of the others is unknown: they may be stored, or arrive a few seconds "
            "from now. Read before you add them again"
            if unknown
            else "The others are not stored, and can be added again"
        )
        late = error.code() in (KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT)
        kind = DeliveryTimeoutError if late else DeliveryError
        raise kind(error, text, unconfirmed, unknown)

    def clear(self) -> None:
        """Delete all records, up to the ends as they are now."""
        found = self.find()
        if found is None:
            return
        waiting = [TopicPartition(self._topic, p, OFFSET_END) for p in range(found.partitions)]
        while waiting:
            # librdkafka 2.16 may follow a pointer to nothing while it looks for the leaders of a
            # topic that this client has not seen.
            if self._count_partitions(self._clients.admin) is None:
                return
            asked = self._clients.admin.delete_records(
                waiting, operation_timeout=self._left(), request_timeout=_ADMIN_SEC
            )
            waiting = []
            for place, future in asked.items():
                try:
                    self._answer(future, "clear the messages")
                except KafkaHistoryError as error:
                    if self._is_gone(error.error):
                        return
                    if error.error.code() == KafkaError.POLICY_VIOLATION:
                        raise self._compacted(error.error) from error
                    # A topic that was just made may have no leaders yet.
                    self._wait_or_raise(error)
                    waiting.append(TopicPartition(self._topic, place.partition, OFFSET_END))

    def _compacted(self, error: KafkaError) -> KafkaHistoryError:
        return KafkaHistoryError(
            error,
            f"{self._whose} cannot be cleared on {self._where}: its topic is compacted, and Kafka "
            "deletes no records of such a topic. Set its cleanup.policy to delete",
        )

    # Reading.

    def bounds(self, topic: Topic) -> Bounds:
        """Where each partition begins and ends now; empty where the topic is gone.

        Asked for, and not left to a consumer: it goes by the beginning that it saw last, which is
        too early after a clear, and too late in a topic that was made anew.
        """
        with self._clients.consumer() as consumer:
            firsts = self._offsets(consumer, topic.partitions, OFFSET_BEGINNING)
            ends = self._offsets(consumer, topic.partitions, OFFSET_END)
        return {p: (firsts[p], ends[p]) for p in ends if p in firsts}

    def _offsets(self, consumer: Consumer, partitions: int, which: int) -> dict[int, int]:
        # Not with the admin client's list_offsets: in librdkafka 2.16 it may follow a pointer to
        # nothing while it looks for the leaders of a topic that it has not seen. Here, the
        # offsets that mean the beginning and the end stand in place of times.
        places = [TopicPartition(self._topic, p, which) for p in range(partitions)]
        while True:
            try:
                found = consumer.offsets_for_times(places, timeout=self._slice())
                failed = next((place.error for place in found if place.error is not None), None)
            except KafkaException as failure:
                failed = failure.args[0]
            if failed is None:
                return {place.partition: place.offset for place in found}
            if self._is_gone(failed):
                return {}
            consumer.poll(0)  # lets the client say what is wrong
            self._check_credentials("find the ends")
            if failed.code() != KafkaError._TIMED_OUT:
                self._wait_or_raise(self._refused("find the ends", failed))
            elif self._is_late():
                raise self._unreachable("find the ends", failed)

    def read(
        self,
        topic: Topic,
        starts: Offsets | None = None,
        *,
        bounds: Bounds | None = None,
        limit: int | None = None,
        bounded: bool = False,
        skipped: Collection[str] = (),
        marks: bool = False,
    ) -> Read:
        """Read from `starts` to the ends as they are now.

        Args:
            topic: The topic, as it was found.
            starts: Where to start, by partition; a partition that is not in it, or whose start
                lies outside of it, is read from its first record.
            bounds: What `bounds` said, where it was asked already.
            limit: So many messages suffice.
            bounded: At `until`, return what was read so far.
            skipped: Positions that are passed over.
            marks: Whether to return the records that discard others, too.

        Raises:
            SlowReadError: With `bounded`, the time was up before it was known what comes first.
            UnreachableError: No answer came for as long as a call may take.
        """
        oldest = None
        if topic.retention_ms is not None:
            oldest = time.time() * 1000 - topic.retention_ms

        def is_wanted(record: Message) -> bool:
            if record.value() is None and not (marks and _mark(record)):
                return False
            if oldest is not None and _time(record) <= oldest:
                return False
            return not skipped or position(record) not in skipped

        reached: dict[int, int] = {}
        ends: dict[int, int] = {}
        for p, (first, end) in (self.bounds(topic) if bounds is None else bounds).items():
            start = (starts or {}).get(p, first)
            reached[p] = start if first <= start <= end else first
            if reached[p] < end and limit != 0:
                ends[p] = end
        found: dict[int, list[Message]] = {p: [] for p in ends}
        if not found:
            return Read([], reached)
        patience = self.until
        with self._clients.consumer() as consumer:
            consumer.assign([TopicPartition(self._topic, p, reached[p]) for p in ends])
            while ends:
                left = patience - time.monotonic()
                if left <= 0:
                    # Of several partitions, what comes first is known when all were read.
                    if bounded and len(found) == 1:
                        break
                    raise self._unreachable("read the messages")
                first_record = consumer.poll(min(left, _SLICE_SEC))
                if first_record is None:
                    self._check_credentials("read the messages")
                    # A consumer waits for a topic that was deleted, as if it might come back.
                    if self._count_partitions(consumer) is None:
                        return Read([], {})
                    continue
                for record in (first_record, *consumer.consume(_CHUNK, 0)):
                    p, offset, error = _number(record.partition()), record.offset(), record.error()
                    if error is not None:
                        if error.code() == KafkaError._PARTITION_EOF:
                            # Its end is a marker of a transaction, or what was compacted away.
                            reached[p] = ends.pop(p, reached[p])
                        elif self._is_gone(error):
                            return Read([], {})
                        elif not error.retriable() and error.code() not in _COMING:
                            raise self._refused("read the messages", error)
                        continue
                    if p not in ends or offset is None:
                        continue
                    if offset < ends[p]:  # what was stored since is left for the next read
                        reached[p] = offset + 1
                        if is_wanted(record):
                            found[p].append(record)
                    if offset + 1 >= ends[p] or len(found[p]) == limit:
                        del ends[p]
                    if not bounded:
                        patience = time.monotonic() + self._seconds
        return Read(merge(found.values()), reached)

    def last(self, topic: Topic, count: int, skipped: Collection[str] = ()) -> list[Message]:
        """The last so many messages, oldest first.

        Offsets have gaps (markers of transactions, what compaction took), and records without a
        message: the last n are looked for further and further back.
        """
        if count == 0:
            return []
        bounds, reach = self.bounds(topic), count
        while True:
            starts = {p: max(first, end - reach) for p, (first, end) in bounds.items()}
            found = self.read(topic, starts, bounds=bounds, skipped=skipped).records
            counts = Counter(record.partition() for record in found)
            if all(starts[p] == bounds[p][0] or counts[p] >= count for p in bounds):
                return found[-count:]
            reach = max(4 * reach, 100)

    def discarded(self, topic: Topic) -> set[str]:
        """The positions that somebody has marked as no longer to be read."""
        records = self.read(topic, marks=True).records
        return {mark for record in records if (mark := _mark(record))}

    # The cursor: offsets committed under the topic's own name, without joining that group.

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Have the cursor to oneself in this process."""
        lock = self._clients.turn(self._topic)
        if not lock.acquire(timeout=self._left()):
            raise self._unreachable("read on, for another reader has its turn at the messages")
        try:
            yield
        finally:
            lock.release()

    def cursor(self, topic: Topic) -> dict[int, int]:
        """The committed offsets, for the partitions that have one."""
        group = ConsumerGroupTopicPartitions(
            self._topic, [TopicPartition(self._topic, p) for p in range(topic.partitions)]
        )
        answer = self._about_group(
            lambda: self._clients.admin.list_consumer_group_offsets(
                [group], request_timeout=_ADMIN_SEC
            ),
            "read the cursor",
        )
        return {
            place.partition: place.offset for place in answer.topic_partitions if place.offset >= 0
        }

    def move_cursor(self, offsets: Offsets) -> None:
        """Commit offsets.

        Raises:
            KafkaHistoryError: A foreign consumer is a member of the group and owns its offsets.
        """
        # What was read in time may be delivered, though its time is up now.
        self.until = max(self.until, time.monotonic() + _LAST_WORD_SEC)
        group = ConsumerGroupTopicPartitions(
            self._topic, [TopicPartition(self._topic, p, o) for p, o in sorted(offsets.items())]
        )
        try:
            self._about_group(
                lambda: self._clients.admin.alter_consumer_group_offsets(
                    [group], request_timeout=_ADMIN_SEC
                ),
                "move the cursor",
            )
        except KafkaHistoryError as error:
            if error.error.code() in (
                KafkaError.UNKNOWN_MEMBER_ID,
                KafkaError.NON_EMPTY_GROUP,
                KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
            ):
                raise self._taken(error.error) from error
            raise

    def _about_group(self, ask: Callable[[], Any], what: str) -> Any:
        while True:
            (asked,) = ask().values()
            try:
                answer = self._answer(asked, what)
            except KafkaHistoryError as error:
                self._wait_or_raise(error)
                continue
            failed = [place.error for place in answer.topic_partitions if place.error is not None]
            if not failed:
                return answer
            self._wait_or_raise(self._refused(what, failed[0]))

    def _taken(self, error: KafkaError) -> KafkaHistoryError:
        members = "another consumer"
        (asked,) = self._clients.admin.describe_consumer_groups(
            [self._topic], request_timeout=_ADMIN_SEC
        ).values()
        try:
            group = self._answer(asked, "ask who has the cursor")
            if group.state != ConsumerGroupState.EMPTY and group.members:
                members = ", ".join(f"{m.client_id} on {m.host}" for m in group.members)
        except KafkaHistoryError:
            members += " (which could not be asked for)"
        return KafkaHistoryError(
            error,
            f"the cursor of {self._whose} on {self._where} belongs to {members}, a member of the "
            f"consumer group {self._topic!r}; nothing was consumed. End it, read with "
            'reads="replay", or use last_messages',
        )

    # Errors.

    def _answer(self, future: Any, what: str) -> Any:
        while True:
            try:
                return future.result(self._slice())
            except TimeoutError:
                error = KafkaError(KafkaError._TIMED_OUT, "no answer")
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() not in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
                    raise self._refused(what, error) from failure
            self._clients.admin.poll(0)  # lets the client say what is wrong
            self._check_credentials(what)
            if self._is_late() or future.done():
                raise self._unreachable(what, error)

    def _wait_or_raise(self, error: KafkaHistoryError) -> None:
        if error.error.code() not in _COMING or self._is_late():
            raise error
        time.sleep(_RETRY_SEC)

    def _check_credentials(self, what: str) -> None:
        trouble = self._clients.trouble
        if trouble is not None and wrong_credentials(trouble):
            self._clients.trouble = None
            raise UnreachableError(
                trouble,
                f"could not {what} of {self._whose}: {self._where} does not let us in "
                f"({trouble.str()}). Check the credentials and security.protocol in config",
            )

    def _refused(self, what: str, error: KafkaError) -> KafkaHistoryError:
        return KafkaHistoryError(
            error, f"could not {what} of {self._whose}: {self._where} says {error.str()!r}"
        )

    def _unreachable(self, what: str, error: KafkaError | None = None) -> KafkaHistoryError:
        error = error or KafkaError(KafkaError._TIMED_OUT, "no answer")
        if self._hurried:
            return SlowReadError(
                error,
                f"could not {what} of {self._whose}: {self._seconds:g} s passed before "
                f"{self._where} told where the messages end; nothing was consumed. Give it more "
                "time",
            )
        waited = min(self._seconds, _NOBODY_SEC) if self._is_nobody_there() else self._seconds
        return UnreachableError(
            error,
            f"could not {what} of {self._whose}: {self._where} did not answer within "
            f"{waited:g} s ({error.str()}). Is it running, and is the address right?",
        )

    def _left(self) -> float:
        return max(0.001, min(self.until - time.monotonic(), _ADMIN_SEC))

    def _slice(self) -> float:
        return min(_SLICE_SEC, self._left())

    def _is_late(self) -> bool:
        return time.monotonic() >= self.until

    def _is_nobody_there(self) -> bool:
        """Whether the brokers have never answered this process, and refuse connections."""
        trouble = self._clients.trouble
        return (
            not self._clients.reached
            and trouble is not None
            and trouble.code() in _NOBODY
            and time.monotonic() >= self.until - self._seconds + _NOBODY_SEC
        )


def position(record: Message) -> str:
    """What identifies a record: `partition:offset`."""
    return f"{record.partition()}:{record.offset()}"


def next_offsets(records: Iterable[Message]) -> dict[int, int]:
    """Behind the last of these records in each partition."""
    return {
        _number(r.partition()): offset + 1 for r in records if (offset := r.offset()) is not None
    }


def merge(partitions: Iterable[list[Message]]) -> list[Message]:
    """Records of several partitions as one list, by time, then offset; each one's order is kept."""
    filled = [records for records in partitions if records]
    if len(filled) == 1:
        return filled[0]
    return list(heapq.merge(*filled, key=lambda record: (record.timestamp()[1], record.offset())))


def _time(record: Message) -> float:
    kind, milliseconds = record.timestamp()
    return milliseconds if kind else math.inf  # a record without a time never expires


def _number(partition: int | None) -> int:
    assert partition is not None  # it was given
    return partition


def _mark(record: Message) -> str | None:
    if record.value() is not None:
        return None
    for name, value in list(record.headers() or ()):
        if name == DISCARD and isinstance(value, bytes):
            return value.decode("ascii", "replace")
    return None
