"""Things that other users of a Kafka cluster or of Elasticsearch may do to a session.

The declarations in `registered` list them, and the contracts of the family `interference` use them,
on servers that the run started. Each is a context manager that restores the store at its end.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from chat_history_conformance import servers

__all__ = [
    "ELASTICSEARCH",
    "ELASTICSEARCH_INDEX",
    "KAFKA",
    "add_partitions",
    "add_replica",
    "allow_tiny_records_only",
    "block_all_but_deletes",
    "block_writes",
    "close_index",
    "demand_more_replicas",
    "open_transaction",
]

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
ELASTICSEARCH_INDEX = f"chat-history-conformance-{_WORKER}".rstrip("-")
"""The index of all sessions of a run. Each worker of pytest-xdist has a separate one, because some
interferences change the whole index."""

_SECONDS = 20.0
_EFFECT_SECONDS = 0.5
"""Time after which a changed setting of a topic is in use."""


# -- Kafka ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_transaction(session_id: str) -> Iterator[None]:
    """Keep a transaction of another producer open in the topic, and abort it at the end."""
    from confluent_kafka import Producer

    from .kafka.names import topic_name

    producer = Producer(
        {
            **_kafka_client(),
            "transactional.id": f"foreign-{uuid.uuid4().hex}",
            # The brokers end a transaction after this time; 15 minutes is the most they allow.
            "transaction.timeout.ms": 900_000,
        }
    )
    producer.init_transactions(_SECONDS)
    producer.begin_transaction()
    producer.produce(topic_name(session_id), b"foreign", partition=0)
    producer.flush(_SECONDS)
    try:
        yield
    finally:
        producer.abort_transaction(_SECONDS)


@contextlib.contextmanager
def allow_tiny_records_only(session_id: str) -> Iterator[None]:
    """Set `max.message.bytes` of the topic to a size that no message has."""
    with _topic_setting(session_id, "max.message.bytes", "10"):
        yield


@contextlib.contextmanager
def demand_more_replicas(session_id: str) -> Iterator[None]:
    """Set `min.insync.replicas` of the topic above the number of its replicas."""
    with _topic_setting(session_id, "min.insync.replicas", str(servers.replicas("kafka") + 1)):
        yield


@contextlib.contextmanager
def add_partitions(session_id: str) -> Iterator[None]:
    """Add two partitions to the topic. They stay, because Kafka cannot remove them."""
    from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

    from .kafka.names import topic_name

    topic, admin = topic_name(session_id), AdminClient(_kafka_client())
    deadline = time.monotonic() + _SECONDS
    # A broker of a cluster may not know a new topic yet, and then reports no partitions.
    while not (number := len(admin.list_topics(topic, timeout=_SECONDS).topics[topic].partitions)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no broker knows the topic {topic} after {_SECONDS:g} s")
        time.sleep(_EFFECT_SECONDS)
    (added,) = admin.create_partitions([NewPartitions(topic, number + 2)]).values()
    added.result(_SECONDS)
    time.sleep(_EFFECT_SECONDS)
    yield


@contextlib.contextmanager
def _topic_setting(session_id: str, name: str, value: str) -> Iterator[None]:
    from confluent_kafka.admin import AlterConfigOpType  # type: ignore[attr-defined]

    _alter_topic(session_id, name, value, AlterConfigOpType.SET)
    try:
        yield
    finally:
        _alter_topic(session_id, name, None, AlterConfigOpType.DELETE)


def _alter_topic(session_id: str, name: str, value: str | None, operation: Any) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    from .kafka.names import topic_name

    entry = ConfigEntry(name, value, incremental_operation=operation)
    resource = ConfigResource(
        ResourceType.TOPIC, topic_name(session_id), incremental_configs=[entry]
    )
    admin = AdminClient(_kafka_client())
    (altered,) = admin.incremental_alter_configs([resource]).values()
    altered.result(_SECONDS)
    time.sleep(_EFFECT_SECONDS)


def _kafka_client() -> dict[str, Any]:
    return {**servers.settings("kafka"), "bootstrap.servers": servers.address("kafka")}


KAFKA: Mapping[str, Callable[[str], AbstractContextManager[None]]] = {
    "an open transaction": open_transaction,
    "a tiny max.message.bytes": allow_tiny_records_only,
    "a large min.insync.replicas": demand_more_replicas,
    "more partitions": add_partitions,
}
"""The interference with sessions on Kafka, by name."""


# -- Elasticsearch -------------------------------------------------------------------------------


@contextlib.contextmanager
def block_writes(session_id: str) -> Iterator[None]:
    """Set the block `index.blocks.write`."""
    with _index_setting("index.blocks.write", True):
        yield


@contextlib.contextmanager
def block_all_but_deletes(session_id: str) -> Iterator[None]:
    """Set the block that a node sets when its disk is almost full."""
    with _index_setting("index.blocks.read_only_allow_delete", True):
        yield


@contextlib.contextmanager
def close_index(session_id: str) -> Iterator[None]:
    """Close the index, and open it at the end."""
    with _elasticsearch_client() as client:
        client.indices.close(index=ELASTICSEARCH_INDEX)
        try:
            yield
        finally:
            client.indices.open(index=ELASTICSEARCH_INDEX, wait_for_active_shards=1)


@contextlib.contextmanager
def add_replica(session_id: str) -> Iterator[None]:
    """Ask for one more replica of the index, which a single node cannot hold."""
    with _elasticsearch_client() as client:
        found = client.indices.get_settings(index=ELASTICSEARCH_INDEX, flat_settings=True)
        (index,) = found.body.values()
    replicas = int(index["settings"]["index.number_of_replicas"])
    with _index_setting("index.number_of_replicas", replicas + 1, after=replicas):
        yield


@contextlib.contextmanager
def _index_setting(name: str, value: object, after: object = None) -> Iterator[None]:
    with _elasticsearch_client() as client:
        client.indices.put_settings(index=ELASTICSEARCH_INDEX, settings={name: value})
        try:
            yield
        finally:
            client.indices.put_settings(index=ELASTICSEARCH_INDEX, settings={name: after})


def _elasticsearch_client() -> Elasticsearch:
    from elasticsearch import Elasticsearch

    from .elasticsearch import PreviousMajorNode

    settings: dict[str, Any] = {"node_class": PreviousMajorNode}
    settings |= servers.settings("elasticsearch")
    return Elasticsearch(servers.addresses("elasticsearch"), **settings)


ELASTICSEARCH: Mapping[str, Callable[[str], AbstractContextManager[None]]] = {
    "a block of writes": block_writes,
    "a block of all but deletes": block_all_but_deletes,
    "a closed index": close_index,
    "one more replica": add_replica,
}
"""The interference with sessions on Elasticsearch, by name."""
