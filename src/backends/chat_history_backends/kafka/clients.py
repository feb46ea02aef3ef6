"""The Kafka clients of this process, which all histories with the same configuration share.

The clients are created when they are first needed, and again after a fork or a fatal error. They
are closed with the last history that is closed, or at exit.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from .config import sharing_key
from .creating import CreatedTogether
from .met_topics import MetTopics
from .sender import Sender

__all__ = ["Clients", "CursorConsumer", "Pool", "lease", "leave"]

logger = logging.getLogger(__name__)

_IDLE_CONSUMERS = 4
_BATCH_BYTES = (65_536, 8_192)
"""The sizes of the batches of producers. librdkafka does not split a batch for a topic whose limit
is lower than the batch."""
Pool = Literal["read", "add", "clear", "encode"]
"""A kind of work that has its own threads."""
_WORKERS: Mapping[Pool, int] = {"read": 8, "add": 8, "clear": 4, "encode": 2}
"""The most threads of each kind."""
_SILENT_ADMINS = 3
"""The most admin clients without an answer that are kept. An answer may still come."""
_SILENT_SECONDS = 60.0
"""The time after which one of them is not kept."""
_ENDING_SENDERS = 3
"""The most producers with an expired call that wait for the end of their other calls."""
_CLOSE_SECONDS = 10.0
"""The longest wait for the end of all clients. Those that take longer end in the background."""

_COMMON = {
    # Errors are raised. librdkafka would also log each of them several times a second.
    "log_level": 2,
    # Find a broker that comes back within a second, not within ten.
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "socket.timeout.ms": 10_000,
}
_READING = {
    # The next read of a consumer waits until the brokers have answered its last fetch.
    "fetch.wait.max.ms": 1,
    # A read has a time limit, so try again at once after an error.
    "fetch.error.backoff.ms": 20,
    "retry.backoff.ms": 20,
}

_CONTACTING = {"reconnect.backoff.ms": 5}
"""A consumer has to find the coordinator of its group first, which takes several attempts."""


class CursorConsumer:
    """The consumer of one cursor, and the outcomes of its commits.

    Attributes:
        consumer: The consumer. Its group has the name of the topic.
        outcomes: The outcomes that have arrived: an error, or None for a commit that succeeded.
    """

    consumer: Consumer

    def __init__(self) -> None:
        self.outcomes: SimpleQueue[KafkaError | None] = SimpleQueue()

    def note_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Keep the outcome of a commit; librdkafka calls this."""
        failed = [place.error for place in places if place.error is not None]
        self.outcomes.put(error or (failed[0] if failed else None))


class Clients:
    """A producer, an admin client and a few consumers for one cluster.

    The producer and the consumers are created when they are first needed.

    Args:
        bootstrap_servers: The addresses of the brokers.
        config: Further settings of librdkafka, for all clients.

    Attributes:
        admin: The admin client. A new one replaces a client that does not answer.
        handles: The open histories that use these clients.
        leases: How many calls are using them now.
        reached: Whether a broker has ever answered.
        trouble: The last error that a client reported by itself.
        max_bytes: The largest record that the producer accepts.
        topics: The known properties of topics, by name; kept by `topics`.
        descriptions: Further facts about topics, by name; kept by `settings`.
        settings: The settings that topics had last, by name; kept by `describing`.
        logs: The known facts about the logs of topics, by name; kept by `topics`.
        met: The topics whose leaders each consumer has got; kept by `reading`.
        created: The requests that create topics.
    """

    def __init__(self, bootstrap_servers: str, config: Mapping[str, Any]) -> None:
        self.handles: weakref.WeakSet[Any] = weakref.WeakSet()
        self.leases = 0
        self.reached = False
        self.trouble: KafkaError | None = None
        self.max_bytes = int(config.get("message.max.bytes", 1_000_000))
        self.topics: dict[str, Any] = {}
        self.descriptions: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.logs: dict[str, Any] = {}
        self.met = MetTopics()
        self.created = CreatedTogether()
        self._config = {**_COMMON, **config, "bootstrap.servers": bootstrap_servers}
        self._config["error_cb"] = self._note_trouble
        self._lock = threading.RLock()
        self._idle: dict[str, list[Consumer]] = {}
        self._cursors: dict[str, CursorConsumer] = {}
        self._consumers: set[Consumer] = set()
        self._cursor_locks: weakref.WeakValueDictionary[str, threading.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._senders: dict[int, Sender] = {}
        self._ending: set[Sender] = set()
        self._pools: dict[Pool, ThreadPoolExecutor] = {}
        self._silent: list[tuple[float, AdminClient]] = []  # with the time, the oldest first
        self.admin = AdminClient(self._config, logger=logger)

    @property
    def sender(self) -> Sender:
        """The producer. A new one replaces a producer that has failed or has an expired call."""
        return self.sender_for(None)

    def sender_for(self, limit: int | None) -> Sender:
        """Return the producer for topics with a limit.

        Args:
            limit: The most bytes that a batch may have; None for no limit. If not even the smallest
                batch fits, each message is sent in a separate batch.
        """
        size = next((size for size in _BATCH_BYTES if limit is None or size <= limit), 0)
        with self._lock:
            sender = self._senders.get(size)
            if sender is not None and not sender.usable:
                # One with an expired call still takes messages if there are too many already.
                self._ending = {old for old in self._ending if not old.has_ended}
                if sender.is_over or len(self._ending) < _ENDING_SENDERS:
                    self._ending.add(sender)
                    sender = None
            if sender is None:
                batches = {"batch.size": size} if size else {"batch.num.messages": 1}
                sender = Sender({**self._config, "logger": logger}, batches)
                self._senders[size] = sender
            return sender

    def replace_admin(self, silent: AdminClient) -> None:
        """Let the next requests use a new admin client, if they would use this one."""
        with self._lock:
            if self.admin is not silent:
                return
            now = time.monotonic()
            self._silent.append((now, silent))
            self.admin = AdminClient(self._config, logger=logger)
            kept = [one for one in self._silent if now - one[0] < _SILENT_SECONDS]
            kept = kept[-_SILENT_ADMINS:]
            surplus = self._silent[: len(self._silent) - len(kept)]
            self._silent = kept
        if surplus:
            # The last reference ends a client, which waits for its connections.
            threading.Thread(target=surplus.clear, daemon=True).start()

    def threads(self, pool: Pool) -> ThreadPoolExecutor:
        """Return the threads for one kind of work that has no asynchronous form.

        Each kind has its own threads, so that calls of one kind that wait do not delay another.
        """
        with self._lock:
            if pool not in self._pools:
                self._pools[pool] = ThreadPoolExecutor(_WORKERS[pool], f"kafka-chat-history-{pool}")
            return self._pools[pool]

    @contextlib.contextmanager
    def consumer(self) -> Iterator[Consumer]:
        """Lend a consumer without an assignment to one read, which has it to itself."""
        with self._lent("read_committed") as consumer:
            yield consumer
            consumer.unassign()

    def asker(self) -> contextlib.AbstractContextManager[Consumer]:
        """Lend a consumer that a call asks for topics and offsets. It does not assign it.

        It reports the ends of the log itself, also behind an open transaction. Calls do not share
        it, because the client answers one question after another while a broker is silent.
        """
        return self._lent("read_uncommitted")

    @contextlib.contextmanager
    def _lent(self, isolation: str) -> Iterator[Consumer]:
        with self._lock:
            idle = self._idle.setdefault(isolation, [])
            consumer = idle.pop() if idle else None
        if consumer is None:
            consumer = self._new_consumer(isolation=isolation)
        with self._closed_on_error(consumer):
            yield consumer
        with self._lock:
            keep = len(idle) < _IDLE_CONSUMERS
            if keep:
                idle.append(consumer)
        if not keep:
            self._close_consumer(consumer)

    @contextlib.contextmanager
    def cursor(self, topic: str) -> Iterator[CursorConsumer]:
        """Lend the consumer that reads and commits the offsets of one topic's cursor.

        The caller holds the `cursor_lock` of the topic.
        """
        with self._lock:
            cursor = self._cursors.pop(topic, None)
        if cursor is None:
            cursor = CursorConsumer()
            cursor.consumer = self._new_consumer(
                topic, more={**_CONTACTING, "on_commit": cursor.note_commit}
            )
        with self._closed_on_error(cursor.consumer):
            yield cursor
        with self._lock:
            self._cursors[topic] = cursor
            oldest = next(iter(self._cursors))
            surplus = len(self._cursors) > _IDLE_CONSUMERS and self._cursors.pop(oldest)
        if surplus:
            self._close_consumer(surplus.consumer)

    @contextlib.contextmanager
    def _closed_on_error(self, consumer: Consumer) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # It may be stuck while it connects or looks up a name, and closing waits for that.
            threading.Thread(target=self._close_consumer, args=[consumer], daemon=True).start()
            raise

    def _new_consumer(
        self,
        group: str = "chat-history-reader",
        *,
        isolation: str = "read_committed",
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Consumer:
        config = {
            **_READING,
            **self._config,
            # librdkafka requires a name. No consumer joins this group.
            "group.id": group,
            # If the log no longer holds the next record, the read has to start again.
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            **more,
        }
        consumer = Consumer(config, logger=logger)
        with self._lock:
            self._consumers.add(consumer)
        return consumer

    def _close_consumer(self, consumer: Consumer) -> None:
        with self._lock:
            if consumer not in self._consumers:
                return
            self._consumers.discard(consumer)
        self.met.forget(consumer)
        consumer.close()

    def cursor_lock(self, topic: str) -> threading.Lock:
        """Return the lock of a topic's cursor. The process has one for each topic."""
        with self._lock:
            return self._cursor_locks.setdefault(topic, threading.Lock())

    def _note_trouble(self, error: KafkaError) -> None:
        self.trouble = error

    def close(self) -> None:
        """Close all clients; no call may be using them."""
        # A client that looks up a name ends after that, which may take minutes.
        ending = threading.Thread(target=self._end, name="kafka-close", daemon=True)
        try:
            ending.start()
        except RuntimeError:  # Python 3.12 starts no threads at exit
            self._end()
        else:
            ending.join(_CLOSE_SECONDS)

    def _end(self) -> None:
        for threads in self._pools.values():
            threads.shutdown(wait=False)
        for sender in (*self._senders.values(), *self._ending):
            sender.stop()
        for consumer in list(self._consumers):
            self._close_consumer(consumer)
        self._idle.clear()
        self._senders.clear()
        self._ending.clear()
        self._cursors.clear()
        self._silent.clear()
        del self.admin

    def leak(self) -> None:
        """Keep the clients in memory for ever.

        In a forked child, freeing them would wait for threads that do not exist there.
        """
        senders = (*self._senders.values(), *self._ending)
        producers = [getattr(sender, "producer", None) for sender in senders]
        silent = [admin for _, admin in self._silent]
        clients = (self.admin, *silent, *producers, *self._consumers)
        for client in filter(None.__ne__, clients):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


_guard = threading.Lock()
_shared: dict[tuple[Any, ...], Clients] = {}


@contextlib.contextmanager
def lease(handle: Any, bootstrap_servers: str, config: Mapping[str, Any]) -> Iterator[Clients]:
    """Lend the clients of a configuration for one call. They stay open until it ends.

    Raises:
        ValueError: librdkafka refuses a setting; the text names it.
    """
    key = sharing_key(bootstrap_servers, config)
    with _guard:
        clients = _shared.get(key)
        if clients is None:
            try:
                clients = _shared[key] = Clients(bootstrap_servers, config)
            except KafkaException as error:
                raise ValueError(
                    f"Kafka's client refuses a setting of config: {error}. Correct or remove it"
                ) from error
        clients.handles.add(handle)
        clients.leases += 1
    try:
        yield clients
    finally:
        with _guard:
            clients.leases -= 1
            unused = _take_if_unused(key, clients)
        if unused:
            clients.close()


def leave(handle: Any, bootstrap_servers: str, config: Mapping[str, Any]) -> None:
    """Close a handle, and close the clients too if it was the last one."""
    key = sharing_key(bootstrap_servers, config)
    with _guard:
        clients = _shared.get(key)
        if clients is None:
            return
        clients.handles.discard(handle)
        unused = _take_if_unused(key, clients)
    if unused:
        clients.close()


def _take_if_unused(key: tuple[Any, ...], clients: Clients) -> bool:
    if clients.leases or clients.handles or _shared.get(key) is not clients:
        return False
    del _shared[key]
    return True


def _forget_after_fork() -> None:
    global _guard
    _guard = threading.Lock()
    for clients in _shared.values():
        clients.leak()
    _shared.clear()


@atexit.register
def _close_all() -> None:
    for key in list(_shared):
        _shared.pop(key).close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
