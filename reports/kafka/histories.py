"""`KafkaChatMessageHistory` of langchain-community, as shipped, declared in three ways."""

import contextlib

from langchain_community.chat_message_histories import KafkaChatMessageHistory
from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import run_in_executor

from chat_history_conformance import history_backend
from chat_history_conformance.servers import address

MORE_THAN_ANY_HISTORY = 1_000_000
SECONDS = 2.0
"""The time limit of a whole read, which cannot know where the history ends. On an idle machine, a
read has everything after 0.1 to 0.7 s. On a busy one, half of this limit is not enough."""


class ReadFromBeginning(KafkaChatMessageHistory):
    """Upstream's class, with one method that reads the whole conversation."""

    def whole(self) -> list[BaseMessage]:
        """Read from the beginning, with bounds that no history reaches."""
        return self.messages_from_beginning(MORE_THAN_ANY_HISTORY, SECONDS)

    async def awhole(self) -> list[BaseMessage]:
        """Run `whole` in a thread, as the inherited `aget_messages` does with `messages`."""
        return await run_in_executor(None, self.whole)


def with_ttl(session_id, ttl_ms, **partition):
    """Open a history with a time to live. Upstream documents -1 for no expiration."""
    ttl_ms = -1 if ttl_ms is None else ttl_ms
    return ReadFromBeginning(session_id, address("kafka"), ttl_ms=ttl_ms, **partition)


def with_ttl_on_one_partition(session_id, ttl_ms):
    """Open a history with one partition and a time to live."""
    return with_ttl(session_id, ttl_ms, partition=1)


def corrupt(session_id):
    """Write the newest partition's records again, with the text of the last one cut short."""
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
    """Open a history that is read from the beginning, with large bounds."""
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
    """Open the same history with `partition=1`, which upstream does not set by default."""
    return ReadFromBeginning(session_id, address("kafka"), partition=1)


@history_backend("upstream-messages", server="kafka")
def upstream_messages(session_id):
    """Open a history that is read through `messages`, as in RunnableWithMessageHistory."""
    return KafkaChatMessageHistory(session_id, address("kafka"))
