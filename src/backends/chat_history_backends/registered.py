"""Declarations of the reference backends for the conformance suite.

The entry points of this package lead here. Only this module and `benchmarks` import the suite.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from chat_history_backends.benchmarks import peers
from chat_history_backends.benchmarks.floors.memory import MemoryFloor
from chat_history_backends.benchmarks.floors.sqlite import SQLiteFloor
from chat_history_conformance import history_backend, servers

from .arguments import check_ttl
from .interference import ELASTICSEARCH, ELASTICSEARCH_INDEX, KAFKA
from .memory import SHARED_STORE, MemoryChatMessageHistory, MemoryStore
from .sqlite import SQLiteChatMessageHistory

__all__ = [
    "elasticsearch",
    "elasticsearch_async",
    "kafka",
    "kafka_consuming",
    "memory",
    "sqlite",
]

if TYPE_CHECKING:
    from chat_history_backends.benchmarks.floors.elasticsearch import ElasticsearchFloor
    from chat_history_backends.benchmarks.floors.kafka import KafkaFloor

    from .elasticsearch import (
        AsyncElasticsearchChatMessageHistory,
        ElasticsearchChatMessageHistory,
    )
    from .kafka import KafkaChatMessageHistory


def _fresh_memory(store: str) -> Callable[[str], MemoryChatMessageHistory]:
    """Return a factory for an empty store."""
    new = MemoryStore()
    return lambda session_id: MemoryChatMessageHistory(session_id, store=new)


def _memory_with_ttl(session_id: str, ttl_ms: int | None) -> MemoryChatMessageHistory:
    return MemoryChatMessageHistory(session_id, ttl_ms=ttl_ms)


def _corrupt_memory(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    records = SHARED_STORE._sessions[session_id].records
    records[-1] = records[-1]._replace(text=records[-1].text[:-1])


@history_backend(
    "memory",
    lacks={"durable": "kept in process memory by design"},
    with_ttl=_memory_with_ttl,
    corrupt=_corrupt_memory,
    fresh=_fresh_memory,
    disposable=True,
    floor=MemoryFloor,
    peers={"langchain-core": peers.in_memory},
)
def memory(session_id: str) -> MemoryChatMessageHistory:
    """Open a history in the memory of this process."""
    return MemoryChatMessageHistory(session_id)


def _sqlite_with_ttl(session_id: str, ttl_ms: int | None) -> SQLiteChatMessageHistory:
    return SQLiteChatMessageHistory(session_id, ttl_ms=ttl_ms)


def _corrupt_sqlite(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    connection = sqlite3.connect("chat_history.sqlite3")
    with contextlib.closing(connection), connection:
        connection.execute(
            "UPDATE chat_messages SET message = substr(message, 1, length(message) - 1) "
            "WHERE id = (SELECT max(id) FROM chat_messages WHERE session_id = ?)",
            (session_id.encode(),),
        )


def _fresh_sqlite(store: str) -> Callable[[str], SQLiteChatMessageHistory]:
    """Return a factory for a file that does not exist."""
    return lambda session_id: SQLiteChatMessageHistory(session_id, f"{store}.sqlite3")


@contextlib.contextmanager
def _refuse_in_sqlite(session_id: str) -> Iterator[None]:
    """Make the file refuse messages of a session that contain `refuse this`."""
    name = f"refuse_{session_id.encode().hex()}"
    _execute_in_sqlite(
        f"CREATE TRIGGER {name} BEFORE INSERT ON chat_messages "
        f"WHEN NEW.session_id = x'{session_id.encode().hex()}' "
        "AND NEW.message LIKE '%refuse this%' BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    try:
        yield
    finally:
        _execute_in_sqlite(f"DROP TRIGGER {name}")


def _execute_in_sqlite(statement: str) -> None:
    connection = sqlite3.connect("chat_history.sqlite3", timeout=30)
    with contextlib.closing(connection), connection:
        connection.execute(statement)


@history_backend(
    "sqlite",
    with_ttl=_sqlite_with_ttl,
    corrupt=_corrupt_sqlite,
    fresh=_fresh_sqlite,
    refuse=_refuse_in_sqlite,
    disposable=True,
    floor=SQLiteFloor,
    peers={"langchain-community": peers.SQLPeer},
)
def sqlite(session_id: str) -> SQLiteChatMessageHistory:
    """Open a history in `chat_history.sqlite3` in the working directory."""
    return SQLiteChatMessageHistory(session_id)


def _on_kafka(session_id: str, **arguments: Any) -> KafkaChatMessageHistory:
    from .kafka import KafkaChatMessageHistory

    address, config = servers.address("kafka"), servers.settings("kafka")
    _keep_warm(address)
    return KafkaChatMessageHistory(
        session_id,
        address,
        partition=1,  # a run creates thousands of topics, and only partition 0 is written to
        replication_factor=servers.replicas("kafka"),
        config=config,
        **arguments,
    )


@cache
def _keep_warm(address: str) -> KafkaChatMessageHistory:
    """Open a history that stays open, as in an application. The others share its clients."""
    from .kafka import KafkaChatMessageHistory

    return KafkaChatMessageHistory("warm", address, config=servers.settings("kafka"))


def _kafka_with_ttl(session_id: str, ttl_ms: int | None) -> KafkaChatMessageHistory:
    return _on_kafka(session_id, ttl_ms=check_ttl(ttl_ms), reads="replay")


def _kafka_consuming_with_ttl(session_id: str, ttl_ms: int | None) -> KafkaChatMessageHistory:
    return _on_kafka(session_id, ttl_ms=check_ttl(ttl_ms))


def _corrupt_kafka(session_id: str) -> None:
    """Write the session's records again, with the text of the last one cut short."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    from .kafka.names import topic_name

    client = {**servers.settings("kafka"), "bootstrap.servers": servers.address("kafka")}
    place = TopicPartition(topic_name(session_id), 0)
    consumer = Consumer({**client, "group.id": "corrupt"})
    with contextlib.closing(consumer):
        first, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([TopicPartition(place.topic, 0, first)])
        values = [record.value() or b"" for record in consumer.consume(end - first, timeout=10)]
    admin = _keep_warm(servers.address("kafka")).admin_client
    (deleted,) = admin.delete_records([TopicPartition(place.topic, 0, end)]).values()
    deleted.result(10)
    producer = Producer(client)
    for value in (*values[:-1], values[-1][:-1]):
        producer.produce(place.topic, value, partition=0)
    producer.flush(10)


def _remove_from_kafka(session_id: str) -> None:
    """Delete the session's topic. The brokers delete the positions in it, too.

    Requests about groups end the process if the coordinator answers too late (librdkafka 2.16), so
    the group is left to the brokers.
    """
    from .kafka.call import ADMIN_SECONDS
    from .kafka.names import topic_name

    topic, admin = topic_name(session_id), _keep_warm(servers.address("kafka")).admin_client
    (deleted,) = admin.delete_topics([topic], request_timeout=ADMIN_SECONDS).values()
    deleted.exception(10)  # the topic may not exist


def _kafka_floor(session_id: str) -> KafkaFloor:
    from chat_history_backends.benchmarks.floors.kafka import KafkaFloor

    return KafkaFloor(session_id)


_RETENTION_OF_TOPIC = "the first handle of a session creates its topic with a retention"
_STALE_LEADER = "a broker that is cut off from the others does not know that they replaced it"


@history_backend(
    "kafka",
    server="kafka",
    lacks={"fresh_reads": _STALE_LEADER, "ttl_per_handle": _RETENTION_OF_TOPIC},
    with_ttl=_kafka_with_ttl,
    corrupt=_corrupt_kafka,
    remove=_remove_from_kafka,
    interference=KAFKA,
    floor=_kafka_floor,
    peers={"langchain-community": peers.kafka},
)
def kafka(session_id: str) -> KafkaChatMessageHistory:
    """Open a history on Kafka whose `messages` is the whole conversation."""
    return _on_kafka(session_id, reads="replay")


@history_backend(
    "kafka-consuming",
    server="kafka",
    lacks={
        "whole_reads": "messages continues from the last consumed message, as documented",
        "fresh_reads": _STALE_LEADER,
        "ttl_per_handle": _RETENTION_OF_TOPIC,
    },
    with_ttl=_kafka_consuming_with_ttl,
    corrupt=_corrupt_kafka,
    remove=_remove_from_kafka,
    interference=KAFKA,
    floor=_kafka_floor,
    peers={"langchain-community": peers.kafka},
)
def kafka_consuming(session_id: str) -> KafkaChatMessageHistory:
    """Open a history on Kafka whose `messages` continues, as in langchain-community."""
    return _on_kafka(session_id)


_INDEX = ELASTICSEARCH_INDEX
_STALE_COPY = "a node that is behind, or cut off from the others, answers from its own copy"


def _on_elasticsearch(
    session_id: str, ttl_ms: int | None = None
) -> ElasticsearchChatMessageHistory:
    from .elasticsearch import ElasticsearchChatMessageHistory, PreviousMajorNode

    return ElasticsearchChatMessageHistory(
        _INDEX,
        session_id,
        es_url=servers.addresses("elasticsearch"),
        config={"node_class": PreviousMajorNode, **servers.settings("elasticsearch")},
        ttl_ms=ttl_ms,
    )


def _on_elasticsearch_async(
    session_id: str, ttl_ms: int | None = None
) -> AsyncElasticsearchChatMessageHistory:
    from .elasticsearch import AsyncElasticsearchChatMessageHistory, AsyncPreviousMajorNode

    return AsyncElasticsearchChatMessageHistory(
        _INDEX,
        session_id,
        es_url=servers.addresses("elasticsearch"),
        config={"node_class": AsyncPreviousMajorNode, **servers.settings("elasticsearch")},
        ttl_ms=ttl_ms,
    )


def _corrupt_elasticsearch(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    with _on_elasticsearch(session_id) as history:
        client = history.client
        client.indices.refresh(index=_INDEX)
        found = client.search(
            index=_INDEX,
            query={"term": {"session_id": session_id}},
            sort=[{"_seq_no": "desc"}],
            size=1,
        )
        (last,) = found["hits"]["hits"]
        client.update(
            index=_INDEX,
            id=last["_id"],
            routing=last["_routing"],
            doc={"history": last["_source"]["history"][:-1]},
        )


def _remove_from_elasticsearch(session_id: str) -> None:
    """Delete the session's documents. The index stays, because others may be using it."""
    with _on_elasticsearch(session_id) as history:
        history.clear()


def _elasticsearch_floor(session_id: str) -> ElasticsearchFloor:
    from chat_history_backends.benchmarks.floors.elasticsearch import ElasticsearchFloor

    from .elasticsearch import AsyncPreviousMajorNode, PreviousMajorNode

    return ElasticsearchFloor(session_id, PreviousMajorNode, AsyncPreviousMajorNode)


@history_backend(
    "elasticsearch",
    server="elasticsearch",
    lacks={"fresh_reads": _STALE_COPY},
    with_ttl=_on_elasticsearch,
    corrupt=_corrupt_elasticsearch,
    remove=_remove_from_elasticsearch,
    interference=ELASTICSEARCH,
    floor=_elasticsearch_floor,
    peers={"langchain-elasticsearch": peers.ElasticsearchPeer},
)
def elasticsearch(session_id: str) -> ElasticsearchChatMessageHistory:
    """Open a history on Elasticsearch."""
    return _on_elasticsearch(session_id)


@history_backend(
    "elasticsearch-async",
    server="elasticsearch",
    lacks={
        "sync": "made for an event loop; its synchronous methods name the async ones to use",
        "fresh_reads": _STALE_COPY,
    },
    with_ttl=_on_elasticsearch_async,
    corrupt=_corrupt_elasticsearch,
    remove=_remove_from_elasticsearch,
    interference=ELASTICSEARCH,
    floor=_elasticsearch_floor,
    peers={"langchain-elasticsearch": peers.ElasticsearchPeer},
)
def elasticsearch_async(session_id: str) -> AsyncElasticsearchChatMessageHistory:
    """Open a history on Elasticsearch for an event loop."""
    return _on_elasticsearch_async(session_id)
