"""The chat history on Kafka: what a user sees. How topics are read and written is in `log`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient
from langchain_core.messages import BaseMessage

from ..closing import Closing
from ..codec import UndecodableRecordError, check_seconds, decode_batch, encode_batch
from ..windows import WindowedHistory
from . import clients as shared
from .clients import Clients, Receipt
from .errors import UnreachableError
from .log import Log, Offsets, Read, Topic, next_offsets, position
from .topics import topic_name

T = TypeVar("T")

DEFAULT_TTL_MS = 604_800_000
DEFAULT_REPLICATION_FACTOR = 1
DEFAULT_PARTITION = 3
_HURRY_SEC = 1.0
"""A time limit below this says more of the caller than of the brokers."""
_DOUBTFUL_SEC = 0.5
"""An acknowledgement that takes longer makes one look whether the topic is still there."""


class KafkaChatMessageHistory(WindowedHistory, Closing):
    """A conversation in a Kafka topic, one for each session.

    A drop-in successor of the class of this name in langchain-community: the same arguments,
    properties and methods, on the same topics, in both directions.

    Reading continues. `messages` gives what was not read yet, each message once and in order, and
    the position is kept in Kafka, under the session's topic name as the consumer group; nobody
    joins that group. With `reads="replay"` `messages` is the whole conversation each time, which
    is what `RunnableWithMessageHistory` needs. The methods `messages_from_...` read on from the
    position, the beginning or the end, `last_messages` gives the end and moves nothing;
    `WindowedHistory` tells what they do.

    Order: all messages of a session go to partition 0 of its topic. A topic that
    langchain-community scattered over its partitions is merged by timestamp, then offset.

    Time to live: the topic's `retention.ms` governs, also where the topic exists already. It is
    exact on reading, by the record's timestamp and this machine's clock (a clock that is wrong by
    a minute is wrong by a minute here); the brokers free the disk in their own time.

    Guarantees: a call returns when all replicas in sync have every message (acks=all), and an
    idempotent producer stores each once. No call waits for ever. Readers of one position that
    overlap are given each message once within a process; in several processes they may both be
    given a message, and none is lost. Brokers forget a position that nobody used for
    `offsets.retention.minutes` (a week by default): reading then starts from the beginning.

    Sharing: all histories of a process with the same servers and config share one producer and a
    few consumers, which are made again after a fork. They are closed with the last history that
    is closed, or at exit; a process that opens and closes one history after another is faster if
    it keeps one open. A closed history that is used again takes them up again.

    A topic is made at the first write: opening and reading create nothing. An id that is no legal
    name of a topic is encoded; `.` and `_` are the same to Kafka, so `a.b` beside `a_b` is refused.
    Do not let strangers choose session ids, for they are names of topics; `topic_prefix` keeps
    them apart from other topics.

    Args:
        session_id: Any string.
        bootstrap_servers: `host:port` of brokers, separated by commas.
        ttl_ms: `retention.ms` of a topic that is made, in milliseconds; -1 or None for ever.
        replication_factor: Replicas of a topic that is made.
        partition: Partitions of a topic that is made; partition 0 is written to.
        reads: What `messages` is: `"consume"` for what is unread, `"replay"` for everything.
        topic_prefix: What the name of every topic begins with.
        config: Further settings of librdkafka for all clients: `security.protocol`,
            `sasl.username`, `compression.type`, ...
        timeout_sec: Seconds after which a call raises if no broker answers; for a long read,
            between two answers. Brokers that refuse the first connection of all are not waited
            for so long.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has no sense; or by the first call that needs it, librdkafka
            refuses a setting of `config`, or Kafka has no topic for this session id.
        UnreachableError: By all calls: the brokers do not answer, or refuse the credentials.
        KafkaHistoryError: By all calls: the brokers refuse what they were asked.
    """

    def __init__(
        self,
        session_id: str,
        bootstrap_servers: str,
        ttl_ms: int | None = DEFAULT_TTL_MS,
        replication_factor: int = DEFAULT_REPLICATION_FACTOR,
        partition: int = DEFAULT_PARTITION,
        *,
        reads: Literal["consume", "replay"] = "consume",
        topic_prefix: str = "",
        config: Mapping[str, Any] | None = None,
        timeout_sec: float = 10.0,
    ) -> None:
        never = ttl_ms == -1 and not isinstance(ttl_ms, bool)
        super().__init__(session_id, ttl_ms=None if never else ttl_ms)
        _need("bootstrap_servers", bootstrap_servers, str)
        if not bootstrap_servers.strip():
            raise ValueError("bootstrap_servers is empty: give host:port of a broker")
        _need_count("replication_factor", replication_factor)
        _need_count("partition", partition)
        if reads not in ("consume", "replay"):
            raise ValueError(f'reads must be "consume" or "replay", not {reads!r}')
        _need("topic_prefix", topic_prefix, str)
        self.bootstrap_servers = bootstrap_servers
        self.reads = reads
        self._config = shared.check_config(config or {})
        self._topic = topic_name(session_id, topic_prefix)
        self._replication_factor = replication_factor
        self._partition = partition
        self._timeout_sec = check_seconds("timeout_sec", timeout_sec)
        with self._clients():
            pass  # librdkafka checks its settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session_id!r}, {self.bootstrap_servers!r})"

    # What langchain-community's class has.

    @property
    def admin_client(self) -> AdminClient:
        """The admin client, shared with other histories."""
        with self._clients() as clients:
            return clients.admin

    @property
    def producer(self) -> Producer:
        """The producer, shared with other histories."""
        with self._clients() as clients:
            return clients.sender.producer

    @property
    def num_partitions(self) -> int:
        """How many partitions the session's topic has, or will be made with."""
        with self._log() as log:
            found = log.find()
            return self._partition if found is None else found.partitions

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """What is unread, in order, and the position past it; with `reads="replay"`, everything.

        Raises:
            UndecodableRecordError: A record is no message; nothing was consumed. The error
                carries the others, and `discard` makes all later reads pass over the record.
        """
        return self._read() if self.reads == "replay" else self._consume(None, None)

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of :attr:`messages`."""
        return await self._in_thread(lambda: self.messages)

    def add_messages(
        self, messages: Sequence[BaseMessage], flush_timeout_seconds: float = 5.0
    ) -> None:
        """Store a batch of messages, in order, and return when all replicas in sync have them.

        Args:
            messages: Any iterable of messages; none stores nothing. All are encoded before the
                first is sent.
            flush_timeout_seconds: How long to wait for the acknowledgements. They come within
                `message.timeout.ms` (5000; a setting of `config`) or not at all.

        Raises:
            TypeError: Something in the batch is no message or holds a value that JSON has no form
                for; nothing was sent.
            ValueError: A message would not come back as it is, or is too large for the topic;
                nothing was sent.
            DeliveryError: Not all were acknowledged. It names those that were not, and says
                whether they may be stored all the same.
        """
        seconds = check_seconds("flush_timeout_seconds", flush_timeout_seconds)
        if texts := encode_batch(messages):
            self._append(texts, seconds)

    async def aadd_messages(
        self, messages: Sequence[BaseMessage], flush_timeout_seconds: float = 5.0
    ) -> None:
        """Async twin of :meth:`add_messages`; no thread waits for the acknowledgements.

        Cancelled, it may have stored the batch.
        """
        seconds = check_seconds("flush_timeout_seconds", flush_timeout_seconds)
        if texts := await self._in_thread(encode_batch, messages):
            with self._log(seconds) as log:
                receipt = await self._in_thread(self._send, log, texts)
                await _done(receipt, min(log.until, time.monotonic() + _DOUBTFUL_SEC))
                if not receipt.ok:
                    receipt = await self._in_thread(self._save, log, texts, receipt)
                    await _done(receipt, log.until)
                log.check(receipt)

    def clear(self) -> None:
        """Delete the session's messages, for every handle; the topic and its retention stay.

        Returns when the brokers have deleted them. Consumed reads go on with what is added next.
        Clearing an empty session, or one that was never written, does nothing.

        Raises:
            KafkaHistoryError: The brokers refuse it; the text says what to do.
        """
        with self._log() as log:
            log.clear()

    async def aclear(self) -> None:
        """Async twin of :meth:`clear`."""
        await self._in_thread(self.clear)

    def close(self) -> None:
        """Give up the clients; the last history that does so ends their threads."""
        shared.leave(self, self.bootstrap_servers, self._config)

    def discard(self, position: str) -> None:
        """Make all later reads, of every handle, pass over one undecodable record.

        Kafka deletes no single record: a record without a value is added that names it.

        Args:
            position: The `position` of an `UndecodableRecordError`, `partition:offset`.
        """
        partition, _, offset = position.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise ValueError(f"position must be 'partition:offset', not {position!r}")
        with self._log() as log:
            if log.find() is not None:
                receipt = log.mark_discarded(position)
                receipt.wait(log.until)
                log.check(receipt)

    # What `WindowedHistory` asks of a store.

    def _append(self, texts: Sequence[str], seconds: float = 5.0) -> None:
        with self._log(seconds) as log:
            receipt = self._send(log, texts)
            receipt.wait(min(log.until, time.monotonic() + _DOUBTFUL_SEC))
            if not receipt.ok:
                receipt = self._save(log, texts, receipt)
                receipt.wait(log.until)
            log.check(receipt)

    def _send(self, log: Log, texts: Sequence[str]) -> Receipt:
        """Send a batch to the topic, which is made where it does not exist."""
        self._make_topic(log)
        log.check_sizes(texts)
        return log.append(texts)

    def _save(self, log: Log, texts: Sequence[str], receipt: Receipt) -> Receipt:
        """Do what can be done for a batch that is not stored yet: its topic may be gone."""
        if not receipt.done:
            # The producer goes on trying: once there is a topic again, the batch is stored. That
            # nobody answers here either is no more than what the receipt will say.
            log.forget()
            with contextlib.suppress(UnreachableError):
                self._make_topic(log)
            return receipt
        return self._send(log, texts) if log.was_deleted(receipt) else receipt

    def _make_topic(self, log: Log) -> None:
        if log.find() is None:
            log.create(self._partition, self._replication_factor, self.ttl_ms)

    def _read(self, last: int | None = None) -> list[BaseMessage]:
        with self._log() as log:
            topic = log.find()
            if topic is None:
                return []
            if last is None:
                return _decoded(
                    log, topic, lambda skipped: log.read(topic, skipped=skipped).records
                )
            return _decoded(log, topic, lambda skipped: log.last(topic, last, skipped))

    def _end(self) -> Offsets:
        with self._log() as log:
            topic = log.find()
            return {} if topic is None else {p: end for p, (_, end) in log.bounds(topic).items()}

    def _has_unread(self, after: Offsets, count: int) -> bool:
        ends = self._end()
        return sum(end - after.get(p, 0) for p, end in ends.items()) >= count

    def _consume(
        self,
        count: int | None,
        deadline: float | None,
        *,
        rewind: bool = False,
        after: Offsets | None = None,
    ) -> list[BaseMessage]:
        seconds = None if deadline is None else deadline - time.monotonic()
        with self._log(seconds, hurried=seconds is not None and seconds < _HURRY_SEC) as log:
            topic = log.find()
            if topic is None:
                return []
            with log.turn():
                cursor = log.cursor(topic)
                starts = {} if rewind else dict(cursor)
                for partition, end in (after or {}).items():
                    starts[partition] = max(end, starts.get(partition, 0))
                moved = dict.fromkeys(range(topic.partitions), 0) | starts
                found = Read([], {})

                def unread(skipped: Collection[str]) -> list[Message]:
                    nonlocal found
                    found = log.read(
                        topic, starts, limit=count, bounded=deadline is not None, skipped=skipped
                    )
                    return found.records[:count]

                messages = _decoded(log, topic, unread, deadline)
                if len(messages) == len(found.records):
                    moved.update(found.reached)
                else:
                    moved.update(next_offsets(found.records[: len(messages)]))
                changed = {p: to for p, to in moved.items() if to != cursor.get(p, 0)}
                if changed:
                    log.move_cursor(changed)
                return messages

    # Clients.

    @contextlib.contextmanager
    def _clients(self) -> Iterator[Clients]:
        with shared.lease(self, self.bootstrap_servers, self._config) as clients:
            yield clients

    @contextlib.contextmanager
    def _log(self, seconds: float | None = None, *, hurried: bool = False) -> Iterator[Log]:
        limit = self._timeout_sec if seconds is None else min(seconds, self._timeout_sec)
        with self._clients() as clients:
            yield Log(
                clients,
                self._topic,
                self.session_id,
                self.bootstrap_servers,
                limit,
                hurried=hurried,
            )

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        with self._clients() as clients:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(clients.workers, function, *arguments)


def _decoded(
    log: Log,
    topic: Topic,
    select: Callable[[Collection[str]], list[Message]],
    deadline: float | None = None,
) -> list[BaseMessage]:
    """Decode what `select` reads, passing over what was discarded."""
    skipped: Collection[str] = ()
    while True:
        records = select(skipped)
        try:
            values = enumerate(record.value() or b"" for record in records)
            return decode_batch(values, deadline)[0]
        except UndecodableRecordError as error:
            # What was discarded is looked for only now: nobody else pays for it.
            skipped = log.discarded(topic)
            place = position(records[int(error.position)])
            if place not in skipped:
                raise UndecodableRecordError(place, error.reason, error.messages) from error


async def _done(receipt: Receipt, deadline: float) -> None:
    """Wait on the event loop for the acknowledgements of a batch."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(done.set)

    receipt.when_done(wake)
    with contextlib.suppress(TimeoutError):  # what is missing then is in the receipt
        await asyncio.wait_for(done.wait(), max(0.0, deadline - time.monotonic()))


def _need(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")


def _need_count(name: str, value: int) -> None:
    _need(name, value, int)
    if value < 1 and value != -1:
        raise ValueError(f"{name} must be 1 or more, or -1 for the brokers' default, not {value}")
