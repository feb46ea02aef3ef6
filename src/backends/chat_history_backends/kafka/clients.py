"""The Kafka clients of this process: shared by all histories of one configuration.

A `Clients` is made when it is first needed, made anew after a fork or a fatal error, and closed
with the last history that is closed, or at exit.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)

_IDLE_CONSUMERS = 4
_WORKERS = 8

_OURS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "error_cb",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "logger",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "request.required.acks",
        "transactional.id",
    }
)
"""Settings on which what is promised rests; they are not the caller's to choose."""

_COMMON = {
    # What goes wrong is raised; librdkafka would say it again several times a second.
    "log_level": 2,
    # A broker that comes back is found within a second, not within ten.
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "socket.timeout.ms": 10_000,
}
_READING = {
    # The next read of a consumer waits until the brokers have answered its last fetch.
    "fetch.wait.max.ms": 1,
    # Whoever reads has a time limit: what failed once is tried again at once.
    "fetch.error.backoff.ms": 20,
    "retry.backoff.ms": 20,
}
_WRITING = {
    "linger.ms": 0,
    # librdkafka does not split what is too large for a topic whose limit is lower than its own.
    "batch.size": 65_536,
    # A message that was given up is not to arrive long after: see `DeliveryError`.
    "message.timeout.ms": 5000,
}


class Receipt:
    """The acknowledgements of one batch, as they come."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[KafkaError | bool | None] = [False] * count
        """For each message: False while there is none, None where it is stored, or the error."""
        self._left = count
        self._counting = threading.Lock()
        self._done = threading.Event()
        self._then: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        """Whether all is known."""
        return self._done.is_set()

    @property
    def ok(self) -> bool:
        """Whether every message is stored."""
        return self.done and all(outcome is None for outcome in self.outcomes)

    def report(self, index: int, error: KafkaError | None) -> None:
        """Take what became of one message; once for each."""
        self.outcomes[index] = error
        # Of a batch that cannot be handed over as a whole, the sender reports the rest, while the
        # acknowledgements of what went before come in.
        with self._counting:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._done.set()
            if self._then is not None:
                self._then()

    def wait(self, deadline: float) -> None:
        """Wait until all is known, or for the deadline of `time.monotonic()`."""
        self._done.wait(max(0.0, deadline - time.monotonic()))

    def when_done(self, then: Callable[[], None]) -> None:
        """Call `then` when all is known, perhaps at once, perhaps in another thread."""
        self._then = then
        if self._done.is_set():
            then()


class Sender:
    """One idempotent producer, and the thread that takes its acknowledgements.

    One thread for all: threads that each poll for their own take each other's, and wait.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.producer = Producer({**_WRITING, **config, "acks": "all", "enable.idempotence": True})
        self.broken = False
        self._turn = threading.Lock()
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
        """Hand messages over for partition 0, in order and none of another caller between them."""
        receipt = Receipt(len(values))
        # An explicit empty list costs a conversion for each message.
        more: dict[str, Any] = {"headers": headers} if headers else {}
        with self._turn:
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
            # The broker called it a duplicate, and librdkafka takes that for success. But where a
            # partition has nothing of this producer yet, the broker takes any number as the first:
            # what it refused before as not being the leader is then a duplicate for ever.
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
                # A message may have been handed over between the look and the clearing.
                if len(self.producer) or self._stopped:
                    self._work.set()

    def stop(self) -> None:
        """End the thread. What was given up and is still queued is dropped."""
        self._stopped = True
        self._work.set()
        self._thread.join()
        self.producer.purge()
        self.producer.flush(1.0)


class Clients:
    """A producer, an admin client and a few consumers for one cluster, made when first needed.

    Args:
        bootstrap_servers: Where the cluster is.
        config: Further settings of librdkafka, for all of them.
    """

    def __init__(self, bootstrap_servers: str, config: Mapping[str, Any]) -> None:
        self.handles: weakref.WeakSet[Any] = weakref.WeakSet()
        self.leases = 0
        self.reached = False
        """Whether a broker has ever answered."""
        self.trouble: KafkaError | None = None
        """What a client last complained of."""
        self.max_bytes = int(config.get("message.max.bytes", 1_000_000))
        """The size from which on the producer refuses a record."""
        self.topics: dict[str, Any] = {}
        """What is known of topics; kept by `log`."""
        self._config = {**_COMMON, **config, "bootstrap.servers": bootstrap_servers}
        self._config["error_cb"] = self._complain
        self._lock = threading.Lock()
        self._idle: list[Consumer] = []
        self._consumers: set[Consumer] = set()
        self._turns: weakref.WeakValueDictionary[str, threading.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._sender: Sender | None = None
        self._workers: ThreadPoolExecutor | None = None
        self.admin = AdminClient(self._config, logger=logger)

    @property
    def sender(self) -> Sender:
        """The producer; another one where the last has failed for good."""
        with self._lock:
            if self._sender is not None and self._sender.broken:
                broken, self._sender = self._sender, None
                threading.Thread(target=broken.stop, daemon=True).start()
            if self._sender is None:
                self._sender = Sender({**self._config, "logger": logger})
            return self._sender

    @property
    def workers(self) -> ThreadPoolExecutor:
        """Threads for what has no asynchronous form: reading, and decoding."""
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(_WORKERS, "kafka-chat-history")
            return self._workers

    @contextlib.contextmanager
    def consumer(self) -> Iterator[Consumer]:
        """A consumer of nothing, for one read; nobody else has it meanwhile."""
        with self._lock:
            consumer = self._idle.pop() if self._idle else None
        if consumer is None:
            consumer = self._new_consumer()
        try:
            yield consumer
            consumer.unassign()
        except BaseException:
            # It may be stuck in a connection or a look-up of names, and closing waits for that.
            threading.Thread(target=self._close_consumer, args=[consumer], daemon=True).start()
            raise
        with self._lock:
            keep = len(self._idle) < _IDLE_CONSUMERS
            if keep:
                self._idle.append(consumer)
        if not keep:
            self._close_consumer(consumer)

    def _new_consumer(self) -> Consumer:
        config = {
            **_READING,
            **self._config,
            # Never joined, never committed to: librdkafka wants a name.
            "group.id": "chat-history-reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
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
        consumer.close()

    def turn(self, topic: str) -> threading.Lock:
        """The lock of a topic's cursor, one in this process."""
        with self._lock:
            return self._turns.setdefault(topic, threading.Lock())

    def _complain(self, error: KafkaError) -> None:
        self.trouble = error

    def shut(self) -> None:
        """Close everything; nobody uses it any more."""
        if self._workers is not None:
            self._workers.shutdown(wait=False)
        if self._sender is not None:
            self._sender.stop()
        for consumer in list(self._consumers):
            self._close_consumer(consumer)
        self._idle.clear()
        self._sender = None
        del self.admin

    def leak(self) -> None:
        """Never free the clients: in a forked child that would wait for threads that are not."""
        for client in (self.admin, self._sender and self._sender.producer, *self._consumers):
            if client is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


_guard = threading.Lock()
_shared: dict[tuple[Any, ...], Clients] = {}


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's settings, or an error where they are not the caller's to choose.

    Raises:
        ValueError: Names the setting.
    """
    for name in config:
        if name in _OURS:
            raise ValueError(
                f"config must not hold {name!r}: what the history promises rests on it. Settings "
                "of the connection, such as security.protocol or sasl.mechanism, are welcome"
            )
    return dict(config)


def key_of(bootstrap_servers: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two histories must have in common to share their clients."""
    return (bootstrap_servers, *sorted((name, repr(value)) for name, value in config.items()))


@contextlib.contextmanager
def lease(handle: Any, bootstrap_servers: str, config: Mapping[str, Any]) -> Iterator[Clients]:
    """The clients of a configuration for one call; they are not closed meanwhile.

    Raises:
        ValueError: librdkafka refuses a setting; the text says which.
    """
    key = key_of(bootstrap_servers, config)
    with _guard:
        clients = _shared.get(key)
        if clients is None:
            try:
                clients = _shared[key] = Clients(bootstrap_servers, config)
            except KafkaException as error:
                raise ValueError(f"Kafka's client refuses its settings: {error}") from error
        clients.handles.add(handle)
        clients.leases += 1
    try:
        yield clients
    finally:
        with _guard:
            clients.leases -= 1
            unused = _take_if_unused(key, clients)
        if unused:
            clients.shut()


def leave(handle: Any, bootstrap_servers: str, config: Mapping[str, Any]) -> None:
    """A handle is closed; the clients are, too, where it was the last one."""
    key = key_of(bootstrap_servers, config)
    with _guard:
        clients = _shared.get(key)
        if clients is None:
            return
        clients.handles.discard(handle)
        unused = _take_if_unused(key, clients)
    if unused:
        clients.shut()


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
def _shut_all() -> None:
    for key in list(_shared):
        _shared.pop(key).shut()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
