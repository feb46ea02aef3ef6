"""The floor of the Kafka benchmark: raw clients."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from benchmarking import chunks
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

WAIT_SEC = 60.0
"""How long anything is waited for."""


def encoded(messages: Sequence[BaseMessage]) -> list[str]:
    """The messages as langchain-community stores them."""
    return [json.dumps(message_to_dict(message)) for message in messages]


class Raw:
    """The floor: warm clients of confluent-kafka, used by somebody who knows what there is to read.

    Args:
        address: `host:port` of a broker.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.admin = AdminClient({"bootstrap.servers": address})
        self._producer = self.new_producer()
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "benchmark-floor",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 1,
            }
        )

    def new_producer(self) -> Producer:
        """A producer with the guarantees of ours."""
        return Producer(
            {
                "bootstrap.servers": self._address,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                # At its default, the first message to a new topic often waits for 100 ms.
                "topic.metadata.refresh.fast.interval.ms": 5,
            }
        )

    def add(
        self, topic: str, messages: Sequence[BaseMessage], producer: Producer | None = None
    ) -> None:
        """Encode the messages, produce them, and poll until all are acknowledged."""
        producer = producer or self._producer
        left = len(messages)

        def acknowledge(error: object, _: object) -> None:
            nonlocal left
            if error is not None:
                raise KafkaException(error)
            left -= 1

        for text in encoded(messages):
            producer.produce(topic, text, partition=0, on_delivery=acknowledge)
        while left:
            producer.poll(1.0)

    def read(self, topic: str, count: int, start: int = 0) -> list[BaseMessage]:
        """Assign partition 0, consume exactly so many, decode; `rest` comes after it."""
        self._consumer.assign([TopicPartition(topic, 0, start)])
        values: list[bytes] = []
        while len(values) < count:
            for record in self._consumer.consume(count - len(values), WAIT_SEC):
                if record.error() is not None:
                    raise KafkaException(record.error())
                values.append(record.value() or b"")
        return messages_from_dict([json.loads(value) for value in values])

    def rest(self) -> None:
        """Fetch no more, or the broker would be busy with that while others are measured."""
        self._consumer.unassign()

    def prepare(self, *topics: str, partitions: int = 3) -> None:
        """Create topics and wait until the broker serves them: of many, that is long after."""
        self.create(*topics, partitions=partitions)
        until = time.monotonic() + WAIT_SEC
        while missing := set(topics) - self.admin.list_topics(timeout=WAIT_SEC).topics.keys():
            if time.monotonic() > until:
                raise RuntimeError(f"{len(missing)} new topics did not appear on {self._address}")
            time.sleep(0.05)

    def create(self, *topics: str, partitions: int = 3) -> None:
        """Create topics, a hundred at a time."""
        for some in chunks(topics, 100):
            new = [NewTopic(topic, partitions, 1) for topic in some]
            for made in self.admin.create_topics(new, operation_timeout=WAIT_SEC).values():
                made.result(WAIT_SEC)

    def clear(self, topic: str) -> None:
        """Delete all records of partition 0."""
        asked = self.admin.delete_records([TopicPartition(topic, 0, OFFSET_END)])
        for done in asked.values():
            done.result(WAIT_SEC)

    def delete_all(self, prefix: str) -> None:
        """Delete the topics whose names begin so."""
        topics = [name for name in self.admin.list_topics().topics if name.startswith(prefix)]
        for some in chunks(topics, 100):
            for done in self.admin.delete_topics(some).values():
                done.result(WAIT_SEC)

    def close(self) -> None:
        """Close the consumer; the other clients end when they are collected."""
        self._consumer.close()
