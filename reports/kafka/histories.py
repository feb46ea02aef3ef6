"""`KafkaChatMessageHistory` of langchain-community as shipped, declared in three ways."""

import contextlib

from langchain_community.chat_message_histories import KafkaChatMessageHistory
from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import run_in_executor

from chat_history_conformance import history_backend
from chat_history_conformance.servers import address

MORE_THAN_THERE_IS = 1_000_000
SECONDS = 2.0
"""How long a whole read waits: it cannot know where the end is. A read has everything after 0.1 to
0.7 s on an idle machine; half of this bound is not dependable on a busy one."""


class ReadFromBeginning(KafkaChatMessageHistory):
    """Upstream's class, with the read by which it gives a whole conversation under one name."""

    def whole(self) -> list[BaseMessage]:
        return self.messages_from_beginning(MORE_THAN_THERE_IS, SECONDS)

    async def awhole(self) -> list[BaseMessage]:
        """As `BaseChatMessageHistory.aget_messages`, which upstream inherits, calls `messages`."""
        return await run_in_executor(None, self.whole)


def with_ttl(session_id, ttl_ms, **partition):
    """Upstream documents -1 for no expiration."""
    ttl_ms = -1 if ttl_ms is None else ttl_ms
    return ReadFromBeginning(session_id, address("kafka"), ttl_ms=ttl_ms, **partition)


def with_ttl_on_one_partition(session_id, ttl_ms):
    return with_ttl(session_id, ttl_ms, partition=1)


def corrupt(session_id):
    """Write the records of the newest one's partition again, the text of the last one cut short."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient

    client = {"bootstrap.servers": address("kafka")}
    admin = AdminClient(client)
    with contextlib.closing(Consumer({**client, "group.id": "corrupt"})) as consumer:
        places = [
            TopicPartition(session_id, number)
            for number in admin.list_topics(session_id, timeout=10).topics[session_id].partitions
        ]
        ends = {p.partition: consumer.get_watermark_offsets(p, timeout=10) for p in places}
        consumer.assign([TopicPartition(session_id, n, first) for n, (first, _) in ends.items()])
        count = sum(end - first for first, end in ends.values())
        records = consumer.consume(count, timeout=20)
    newest = max(records, key=lambda r: (r.timestamp()[1], r.offset())).partition()
    values = [
        r.value() for r in sorted(records, key=lambda r: r.offset()) if r.partition() == newest
    ]
    end = TopicPartition(session_id, newest, ends[newest][1])
    admin.delete_records([end])[end].result(10)
    producer = Producer(client)
    for value in (*values[:-1], values[-1][:-1]):
        producer.produce(session_id, value, partition=newest)
    producer.flush(10)


@history_backend(
    "upstream",
    server="kafka",
    lacks={"whole_reads": "messages continues from the last consumed message, as documented"},
    methods={"messages": "whole"},
    with_ttl=with_ttl,
    corrupt=corrupt,
)
def upstream(session_id):
    """Read from the beginning, with a count and a time that are large enough."""
    return ReadFromBeginning(session_id, address("kafka"))


@history_backend(
    "upstream-one-partition",
    server="kafka",
    lacks={"whole_reads": "messages continues from the last consumed message, as documented"},
    methods={"messages": "whole"},
    with_ttl=with_ttl_on_one_partition,
    corrupt=corrupt,
)
def upstream_one_partition(session_id):
    """The same with `partition=1`, which upstream leaves to its users: then the order holds."""
    return ReadFromBeginning(session_id, address("kafka"), partition=1)


@history_backend("upstream-messages", server="kafka")
def upstream_messages(session_id):
    """Read through `messages`, as RunnableWithMessageHistory does."""
    return KafkaChatMessageHistory(session_id, address("kafka"))
