"""The chat history on Kafka, as users see it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from langchain_core.messages import BaseMessage

from ..arguments import check_seconds
from ..base import ReferenceHistory
from ..closeable import Closeable
from ..codec import encode_batch
from ..iteration import PageGenerator
from . import clearing, reading, topics, writing
from . import clients as shared
from .call import Call
from .clients import Clients, Pool
from .config import check_config
from .consuming import consume, has_unread
from .errors import UnreachableError
from .iterating import Iteration
from .names import topic_name
from .sender import Receipt
from .settings import new_topic_settings
from .topics import Offsets, Topic
from .writing import Adding

__all__ = [
    "DEFAULT_PARTITION",
    "DEFAULT_REPLICATION_FACTOR",
    "DEFAULT_TTL_MS",
    "KafkaChatMessageHistory",
]

T = TypeVar("T")

DEFAULT_TTL_MS = 604_800_000
DEFAULT_REPLICATION_FACTOR = 1
DEFAULT_PARTITION = 3
_READ = "read the messages"
_QUEUE_SECONDS = 0.2
"""The time that a call may wait for a thread after its limit."""
_began: contextvars.ContextVar[float | None] = contextvars.ContextVar("_began", default=None)
"""The time of `time.monotonic()` at which the asynchronous call was made that runs in a thread."""
_SHORT_SECONDS = 1.0
"""The limit below which a late read is blamed on the caller's limit and not on the brokers."""


class KafkaChatMessageHistory(ReferenceHistory, Closeable):
    """A conversation in a Kafka topic. Each session has its own topic.

    It replaces the class of the same name in langchain-community. It has the same arguments,
    properties and methods, and each class reads the topics of the other.

    Reading: `messages` returns the unread messages, each once and in order. The position is kept in
    Kafka, under the name of the session's topic as the consumer group; no consumer joins that
    group. With `reads="replay"`, `messages` is the whole conversation each time, which
    `RunnableWithMessageHistory` needs. The methods `messages_from_...` read on from the position,
    the beginning or the end. `last_messages` returns the end and moves nothing. `ReferenceHistory`
    describes all of them.

    Order: all messages of a session go to partition 0 of its topic. A topic that
    langchain-community spread over several partitions is merged by timestamp, then offset.

    Time to live: the topic's `retention.ms` decides, also if the topic exists already. Reads apply
    it exactly, by the timestamp of the record and the clock of this machine. A clock that is wrong
    by a minute moves the expiry by a minute. The brokers free the disk later.

    Guarantees: an add returns when all replicas in sync have every message (acks=all), and an
    idempotent producer stores each message once. No call waits for ever. Consuming reads return
    each message at least once, in order, and skip none. A read that raises has consumed nothing,
    except for `UnconfirmedReadError`: the brokers did not confirm the new position, so the outcome
    is unknown, and the error carries the messages. Readers of one position that overlap get each
    message once within a process. In several processes, both may get the same message. A clear that
    returned survives a crash of all brokers. The brokers forget a position that was not used for
    `offsets.retention.minutes` (a week by default); reading then starts from the beginning.

    Sharing: all histories of a process with the same servers and config share one producer and a
    few consumers, which are created again after a fork. They are closed with the last history that
    is closed, or at exit. A process that opens and closes one history after another is faster if it
    keeps one open. A closed history that is used again opens the clients again.

    The first write creates the topic; opening and reading create nothing. An id that is not a legal
    name of a topic is encoded. Kafka treats `.` and `_` as the same, so the second of `a.b` and
    `a_b` is refused. Session ids become names of topics, so do not let users choose them freely.
    `topic_prefix` keeps them apart from other topics.

    Args:
        session_id: Any string.
        bootstrap_servers: `host:port` of brokers, separated by commas.
        ttl_ms: `retention.ms` of a new topic, in milliseconds; -1 or None for ever.
        replication_factor: Replicas of a new topic.
        partition: Partitions of a new topic. Only partition 0 is written to.
        reads: The meaning of `messages`: `"consume"` for unread messages, `"replay"` for all.
        topic_prefix: The beginning of the name of every topic.
        config: Further settings of librdkafka for all clients: `security.protocol`,
            `sasl.username`, `compression.type`, ...
        timeout_sec: Seconds after which a call raises if no broker answers. For a long read, the
            seconds between two answers. If the brokers refuse the very first connection, the
            call raises sooner.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument makes no sense. Later, by the first call that needs it: librdkafka
            refuses a setting of `config`, or Kafka cannot have a topic for this session id.
        UnreachableError: By all calls: the brokers do not answer, or refuse the credentials.
        KafkaHistoryError: By all calls: the brokers refuse a request.
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
        _check_type("bootstrap_servers", bootstrap_servers, str)
        if not bootstrap_servers.strip():
            raise ValueError("bootstrap_servers is empty: give host:port of a broker")
        _check_number("replication_factor", replication_factor)
        _check_number("partition", partition)
        if reads not in ("consume", "replay"):
            raise ValueError(f'reads must be "consume" or "replay", not {reads!r}')
        _check_type("topic_prefix", topic_prefix, str)
        self.bootstrap_servers = bootstrap_servers
        self.reads = reads
        self._config = check_config(config or {})
        self._topic = topic_name(session_id, topic_prefix)
        self._replication_factor = replication_factor
        self._partition = partition
        self._timeout_sec = check_seconds("timeout_sec", timeout_sec)
        with self._clients():
            pass  # creating the clients makes librdkafka check its settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session_id!r}, {self.bootstrap_servers!r})"

    # The members that langchain-community's class has too.

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
        """The number of partitions that the session's topic has, or will be created with."""
        with self._call() as call:
            found = topics.find(call)
            return self._partition if found is None else found.partitions

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The unread messages, in order; with `reads="replay"`, the whole conversation.

        Reading unread messages moves the position past them.

        Raises:
            UndecodableRecordError: A record is not a message; nothing was consumed. The error
                carries the other messages, and `discard` makes all later reads skip the record.
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
            messages: Any iterable of messages. An empty one stores nothing. All messages are
                encoded before the first is sent.
            flush_timeout_seconds: How long to wait for the acknowledgements.

        Raises:
            TypeError: An item of the batch is not a message, or holds a value that JSON cannot
                represent; nothing was sent.
            ValueError: A message would come back changed, or is too large for the topic; nothing
                was sent.
            DeliveryError: Some messages were not acknowledged. The error names them, and says
                whether they may be stored all the same.
        """
        seconds = check_seconds("flush_timeout_seconds", flush_timeout_seconds)
        began = time.monotonic()
        if texts := encode_batch(messages):
            with self._call(seconds, began=began) as call:
                Adding(call, texts, self._existing_topic).carry_out()

    async def aadd_messages(
        self, messages: Sequence[BaseMessage], flush_timeout_seconds: float = 5.0
    ) -> None:
        """Async twin of :meth:`add_messages`. No thread waits for the acknowledgements.

        If it is cancelled, it may have stored the batch.
        """
        seconds = check_seconds("flush_timeout_seconds", flush_timeout_seconds)
        with self._call(seconds) as call:
            texts = await self._in_pool("encode", call, lambda: encode_batch(messages))
            if not texts:
                return
            adding = Adding(call, texts, self._existing_topic)
            await self._in_pool("add", call, adding.start)
            while not adding.is_over:
                await _wait(adding.receipt, adding.until)
                if adding.receipt.ok or call.is_late:
                    adding.go_on()  # it only takes the outcomes
                    continue
                with contextlib.suppress(UnreachableError):  # it waited until the time was up
                    await self._in_pool("add", call, adding.go_on)
            adding.finish()

    def clear(self) -> None:
        """Remove the session's messages, for every handle; the topic and its retention stay.

        This adds a marker, a record without a value. All readers leave out the records before it.
        Then the brokers delete those records. Consuming reads continue with the messages that are
        added next. Clearing a session that was never written does nothing.

        Raises:
            UnreachableError: The marker was not acknowledged in time. If `outcome_unknown` is true,
                the session may be cleared all the same.
            KafkaHistoryError: The brokers refuse it; the text says what to do.
        """
        with self._call() as call:
            clearing.clear(call)

    async def aclear(self) -> None:
        """Async twin of :meth:`clear`."""
        await self._in_thread(self.clear, pool="clear")

    def close(self) -> None:
        """Stop using the clients. The last history that is closed ends their threads."""
        shared.leave(self, self.bootstrap_servers, self._config)

    def discard(self, position: str) -> None:
        """Make all later reads, of every handle, skip one undecodable record.

        Kafka cannot delete a single record. So this adds a record without a value that names it.

        Args:
            position: The `position` of an `UndecodableRecordError`, `partition:offset`.

        Raises:
            ValueError: `position` has another form.
            DeliveryError: The added record was not acknowledged.
        """
        partition, _, offset = position.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise ValueError(f"position must be 'partition:offset', not {position!r}")
        with self._call() as call:
            topic = topics.find(call)
            if topic is not None:
                writing.mark_discarded(call, topic, position).carry_out()

    # The storage operations of `ReferenceHistory`.

    def _append(self, texts: Sequence[str]) -> None:
        with self._call() as call:
            Adding(call, texts, self._existing_topic).carry_out()

    def _existing_topic(self, call: Call) -> Topic:
        """Return the topic of the session, and create it first if it does not exist."""
        found = topics.find(call, adding=True)
        if found is not None:
            return found
        wanted = new_topic_settings(self.ttl_ms, self._replication_factor, call.clients.max_bytes)
        return topics.create(call, self._partition, self._replication_factor, wanted)

    def _read(self, last: int | None = None) -> list[BaseMessage]:
        def read(topic: topics.Topic) -> list[BaseMessage]:
            def select(skipped: Collection[str]) -> list[Message]:
                if last is None:
                    return reading.read(call, topic, skipped=skipped).records
                return reading.last(call, topic, last, skipped)

            return reading.decoded(call, topic, select)

        with self._call() as call:
            return topics.with_topic(call, _READ, read, [])

    def _pages(self, batch_size: int) -> PageGenerator:
        iteration = Iteration(batch_size)
        while True:
            with self._call() as call:
                page = topics.with_topic(call, _READ, partial(iteration.next_page, call), None)
            if page is None:
                return
            yield page.messages
            if page.error is not None:
                raise page.error

    def _end(self) -> Offsets:
        def end(topic: topics.Topic) -> Offsets:
            return {p: end for p, (_, end) in topics.bounds(call, topic).items()}

        with self._call() as call:
            return topics.with_topic(call, _READ, end, {})

    def _has_unread(self, after: Offsets, count: int) -> bool:
        with self._call() as call:
            return topics.with_topic(
                call, _READ, lambda topic: has_unread(call, topic, after, count), False
            )

    def _consume(
        self,
        count: int | None,
        deadline: float | None,
        *,
        rewind: bool = False,
        after: Offsets | None = None,
    ) -> list[BaseMessage]:
        seconds = None if deadline is None else deadline - time.monotonic()
        short = seconds is not None and seconds < _SHORT_SECONDS
        with self._call(seconds, caller_chose_limit=short) as call:
            return topics.with_topic(
                call,
                _READ,
                lambda topic: consume(
                    call, topic, count, deadline, rewind=rewind, after=after or {}
                ),
                [],
            )

    # The clients.

    @contextlib.contextmanager
    def _clients(self) -> Iterator[Clients]:
        with shared.lease(self, self.bootstrap_servers, self._config) as clients:
            yield clients

    @contextlib.contextmanager
    def _call(
        self,
        seconds: float | None = None,
        *,
        began: float | None = None,
        caller_chose_limit: bool = False,
    ) -> Iterator[Call]:
        limit = self._timeout_sec if seconds is None else min(seconds, self._timeout_sec)
        with self._clients() as clients:
            yield Call(
                clients,
                self._topic,
                self.session_id,
                self.bootstrap_servers,
                limit,
                began=_began.get() if began is None else began,
                caller_chose_limit=caller_chose_limit,
            )

    async def _in_thread(
        self,
        function: Callable[..., T],
        *arguments: Any,
        limit_seconds: float | None = None,
        pool: Pool = "read",
    ) -> T:
        with self._call(limit_seconds) as call:
            return await self._in_pool(pool, call, lambda: function(*arguments))

    async def _in_pool(self, pool: Pool, call: Call, function: Callable[[], T]) -> T:
        """Run a part of a call in a thread. The time in the queue counts for its limit.

        Raises:
            UnreachableError: No thread was free in time; the part was not run.
        """
        context = contextvars.copy_context()
        context.run(_began.set, call.began)
        running = call.clients.threads(pool).submit(context.run, function)
        waiting = asyncio.wrap_future(running)
        try:
            await asyncio.wait([waiting], timeout=call.left_seconds + _QUEUE_SECONDS)
        except asyncio.CancelledError:
            running.cancel()  # if it has begun, it goes on
            raise
        if not waiting.done() and running.cancel():
            raise call.unreachable(
                "begin the call", KafkaError(KafkaError._TIMED_OUT_QUEUE, "other calls are waiting")
            )
        return await waiting


async def _wait(receipt: Receipt, deadline: float) -> None:
    """Wait on the event loop for the acknowledgements of a batch."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, so no task is waiting
            loop.call_soon_threadsafe(done.set)

    receipt.when_done(wake)
    with contextlib.suppress(TimeoutError):  # the receipt shows which messages are missing
        await asyncio.wait_for(done.wait(), max(0.0, deadline - time.monotonic()))


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")


def _check_number(name: str, value: int) -> None:
    _check_type(name, value, int)
    if value < 1 and value != -1:
        raise ValueError(f"{name} must be 1 or more, or -1 for the brokers' default, not {value}")
