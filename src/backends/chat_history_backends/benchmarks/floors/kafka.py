"""The floor of the history on Kafka: confluent-kafka, and the offsets of each session."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded
from chat_history_conformance import servers

__all__ = ["KafkaFloor"]

C = TypeVar("C", Consumer, Producer)

_WAIT_SECONDS = 60.0


class _Pool(Generic[C]):
    """Clients for one user at a time: two users would take each other's records."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make: Callable[[], C] = make
        self._idle: list[C] = []  # appending and popping are atomic

    @contextlib.contextmanager
    def one(self) -> Iterator[C]:
        """Lend the last returned client or a new one. A client is not used again after an error."""
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._make()
        yield client
        self._idle.append(client)


class _Clients:
    """The clients of one address."""

    def __init__(self, address: str) -> None:
        # Errors are raised. librdkafka would also log each of them several times a second.
        common = {"log_level": 2, **servers.settings("kafka"), "bootstrap.servers": address}
        reading = {
            **common,
            "group.id": "floor",  # librdkafka requires a name; no client joins the group
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 1,
        }
        writing = {
            **common,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            # At its default, the first message to a new topic often waits for 100 ms.
            "topic.metadata.refresh.fast.interval.ms": 5,
        }
        self.admin = AdminClient(common)
        self.consumers = _Pool(lambda: Consumer(reading))
        self.producers = _Pool(lambda: Producer(writing))


_clients = cache(_Clients)


@dataclass
class _Offsets:
    """The first and the end offset of a conversation that this process has written."""

    first: int = 0
    end: int = 0
    changing: threading.Lock = field(default_factory=threading.Lock)


_OFFSETS: dict[str, _Offsets] = {}
_FINDING = threading.Lock()


class KafkaFloor:
    """A conversation in a topic of one partition, which is created when it is first opened.

    Args:
        session_id: The id of the session, which must be valid in the name of a topic.
    """

    def __init__(self, session_id: str) -> None:
        self._topic = f"floor-{session_id}"
        self._clients = _clients(servers.address("kafka"))
        with _FINDING:
            if self._topic not in _OFFSETS:
                _OFFSETS[self._topic] = self._find()
            self._offsets = _OFFSETS[self._topic]

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return self._read(self._offsets.first, self._offsets.end)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Produce a batch, and poll until all messages are acknowledged."""
        left = len(messages)
        end = 0

        def acknowledge(error: KafkaError | None, message: Message) -> None:
            nonlocal left, end
            if error is not None:
                raise KafkaException(error)
            left -= 1
            end = (message.offset() or 0) + 1

        with self._clients.producers.one() as producer:
            for text in encoded(messages):
                producer.produce(self._topic, text, partition=0, on_delivery=acknowledge)
            while left:
                producer.poll(1.0)
        with self._offsets.changing:
            self._offsets.end = max(self._offsets.end, end)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the last messages, at most `max_message_count`."""
        offsets = self._offsets
        return self._read(max(offsets.first, offsets.end - max_message_count), offsets.end)

    def clear(self) -> None:
        """Delete all records."""
        with self._offsets.changing:
            end = self._offsets.end
            (deleted,) = self._clients.admin.delete_records(
                [TopicPartition(self._topic, 0, end)]
            ).values()
            deleted.result(_WAIT_SECONDS)
            self._offsets.first = end

    def remove(self) -> None:
        """Delete the topic. No open handle of the session can be used after that."""
        (deleted,) = self._clients.admin.delete_topics([self._topic]).values()
        deleted.result(_WAIT_SECONDS)
        with _FINDING:
            _OFFSETS.pop(self._topic, None)

    def _find(self) -> _Offsets:
        """Create the topic, or find the offsets of the records that another process has written."""
        (made,) = self._clients.admin.create_topics(
            [NewTopic(self._topic, 1, servers.replicas("kafka"))], operation_timeout=_WAIT_SECONDS
        ).values()
        try:
            made.result(_WAIT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            with self._clients.consumers.one() as consumer:
                partition = TopicPartition(self._topic, 0)
                return _Offsets(*consumer.get_watermark_offsets(partition, _WAIT_SECONDS))
        return _Offsets()

    def _read(self, first: int, end: int) -> list[BaseMessage]:
        values: list[Any] = []
        if first == end:
            return []
        with self._clients.consumers.one() as consumer:
            consumer.assign([TopicPartition(self._topic, 0, first)])
            while len(values) < end - first:
                records = consumer.consume(end - first - len(values), _WAIT_SECONDS)
                if not records:
                    raise TimeoutError(
                        f"{self._topic}: no record arrived within {_WAIT_SECONDS:g} s"
                    )
                for record in records:
                    if error := record.error():
                        raise KafkaException(error)
                    values.append(record.value())
            consumer.unassign()  # it would fetch while others are measured
        return decoded(values)
