"""The floor of a history on Kafka: clients of confluent-kafka, and the place of each session."""

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

C = TypeVar("C", Consumer, Producer)

_WAIT_SEC = 60.0


class _Pool(Generic[C]):
    """Clients that one has to oneself: those who poll one together take each other's answers."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make: Callable[[], C] = make
        self._idle: list[C] = []  # appending and popping are atomic

    @contextlib.contextmanager
    def one(self) -> Iterator[C]:
        """The client that was last given back, or a new one. What fails is not used again."""
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._make()
        yield client
        self._idle.append(client)


class _Clients:
    """The clients of one address."""

    def __init__(self, address: str) -> None:
        # What goes wrong is raised; librdkafka would say it again several times a second.
        common = {"log_level": 2, **servers.settings("kafka"), "bootstrap.servers": address}
        reading = {
            **common,
            "group.id": "floor",  # librdkafka wants a name; nobody joins that group
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
class _Place:
    """Where the conversation is in the topic, as far as this process has written it."""

    first: int = 0
    end: int = 0
    changing: threading.Lock = field(default_factory=threading.Lock)


_PLACES: dict[str, _Place] = {}
_FINDING = threading.Lock()


class KafkaFloor:
    """A conversation in a topic of one partition, made when it is first opened.

    Args:
        session_id: Whose conversation; has to be fit for the name of a topic.
    """

    def __init__(self, session_id: str) -> None:
        self._topic = f"floor-{session_id}"
        self._clients = _clients(servers.address("kafka"))
        with _FINDING:
            if self._topic not in _PLACES:
                _PLACES[self._topic] = self._find()
            self._place = _PLACES[self._topic]

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return self._read(self._place.first, self._place.end)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Produce a batch, and poll until all of it is acknowledged."""
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
        with self._place.changing:
            self._place.end = max(self._place.end, end)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """The end of the conversation, at most so many messages."""
        place = self._place
        return self._read(max(place.first, place.end - max_message_count), place.end)

    def clear(self) -> None:
        """Delete all records there are."""
        with self._place.changing:
            end = self._place.end
            (deleted,) = self._clients.admin.delete_records(
                [TopicPartition(self._topic, 0, end)]
            ).values()
            deleted.result(_WAIT_SEC)
            self._place.first = end

    def remove(self) -> None:
        """Delete the topic; no handle of the session is of use then."""
        (deleted,) = self._clients.admin.delete_topics([self._topic]).values()
        deleted.result(_WAIT_SEC)
        with _FINDING:
            _PLACES.pop(self._topic, None)

    def _find(self) -> _Place:
        """Make the topic, or look what another process has left in it."""
        (made,) = self._clients.admin.create_topics(
            [NewTopic(self._topic, 1, 1)], operation_timeout=_WAIT_SEC
        ).values()
        try:
            made.result(_WAIT_SEC)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            with self._clients.consumers.one() as consumer:
                there = TopicPartition(self._topic, 0)
                return _Place(*consumer.get_watermark_offsets(there, _WAIT_SEC))
        return _Place()

    def _read(self, first: int, end: int) -> list[BaseMessage]:
        values: list[Any] = []
        if first == end:
            return []
        with self._clients.consumers.one() as consumer:
            consumer.assign([TopicPartition(self._topic, 0, first)])
            while len(values) < end - first:
                records = consumer.consume(end - first - len(values), _WAIT_SEC)
                if not records:
                    raise TimeoutError(f"{self._topic}: nothing came for {_WAIT_SEC:g} s")
                for record in records:
                    if error := record.error():
                        raise KafkaException(error)
                    values.append(record.value())
            consumer.unassign()  # or it would go on fetching while others are measured
        return decoded(values)
