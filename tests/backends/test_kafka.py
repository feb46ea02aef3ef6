"""Tests of the Kafka history on a real broker, beyond the contracts that it passes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import string
import subprocess
import sys
import textwrap
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
)
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_backends.codec import UndecodableRecordError, encode
from chat_history_backends.kafka import (
    DeliveryError,
    KafkaChatMessageHistory,
    KafkaHistoryError,
    UnreachableError,
    clients,
)
from chat_history_backends.kafka.errors import DeliveryTimeoutError, OpenTransactionError
from chat_history_backends.kafka.names import topic_name
from chat_history_backends.kafka.sender import Receipt, Sender
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community announces its end
    from langchain_community.chat_message_histories import KafkaChatMessageHistory as Upstream

Open = Callable[..., KafkaChatMessageHistory]


@pytest.fixture
def session_id() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def opened(kafka: Server, session_id: str) -> Iterator[Open]:
    """Open histories, by default of one session, and close them after the test."""
    histories: list[KafkaChatMessageHistory] = []

    def open_history(session: str = session_id, **arguments: Any) -> KafkaChatMessageHistory:
        history = KafkaChatMessageHistory(session, kafka.address, **arguments)
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.close()


@pytest.fixture
def admin(kafka: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka.address})


def _numbered(count: int, start: int = 0) -> list[BaseMessage]:
    return [HumanMessage(str(number)) for number in range(start, start + count)]


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def _digits(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def _done(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(10)


def _create_topic(
    admin: AdminClient, name: str, partitions: int = 1, config: dict[str, str] | None = None
) -> None:
    _done(admin.create_topics([NewTopic(name, partitions, 1, config=config or {})]))
    deadline = time.monotonic() + 10
    while admin.list_topics(name, timeout=10).topics[name].error is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _delete_topic(admin: AdminClient, name: str) -> None:
    """Delete a topic, and wait until no broker accepts messages for it."""
    _done(admin.delete_topics([name]))
    deadline = time.monotonic() + 10
    while admin.list_topics(name, timeout=10).topics[name].error is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # the leader of the topic needs a moment more, which cannot be queried


def _add_after_topic_was_deleted(
    history: KafkaChatMessageHistory, batch: list[BaseMessage], add: Any = None
) -> None:
    """Add a batch, and check that only unconfirmed messages are missing.

    A partition of a topic that is created again may refuse a message and accept the next one.
    """
    confirmed = _contents(batch)
    try:
        (add or history.add_messages)(batch, 10.0)
    except DeliveryError as error:
        if not error.outcome_unknown:
            raise
        confirmed = [confirmed[n] for n in range(len(batch)) if n not in error.unconfirmed]
    got = _contents(history.messages)
    assert [content for content in got if content in confirmed] == confirmed
    assert set(got) <= set(_contents(batch))


def _write(kafka: Server, topic: str, *values: bytes | None, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.address})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(10) == 0


@contextlib.contextmanager
def _foreign_member(kafka: Server, topic: str) -> Iterator[None]:
    """Run a foreign consumer that has joined the group of a topic's cursor."""
    foreign = Consumer(
        {"bootstrap.servers": kafka.address, "group.id": topic, "client.id": "someone"}
    )
    with contextlib.closing(foreign):
        foreign.subscribe([topic])
        deadline = time.monotonic() + 30
        while not foreign.assignment():
            assert time.monotonic() < deadline
            foreign.poll(0.1)
        yield


# Names of topics.


def test_a_legal_id_is_the_name_of_its_topic() -> None:
    for session_id in ("a", "A.b_c-9", "x" * 249, "chat-history"):
        assert topic_name(session_id) == session_id


@pytest.mark.parametrize(
    "session_id",
    [
        *("", ".", "..", "__consumer_offsets", "a b", "ä", "a/b", "\ud800", "x" * 250, "é" * 400),
        *("chat-history-id-x", "chat-history-id-"),
    ],
)
def test_an_id_that_kafka_refuses_or_reserves_is_encoded(session_id: str) -> None:
    name = topic_name(session_id)
    assert name != session_id
    assert name.startswith("chat-history-id-")
    assert 0 < len(name) <= 249
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")


def test_the_encoding_of_ids_has_not_changed() -> None:
    assert topic_name("a b") == "chat-history-id-xmeqge"
    assert topic_name("\ud800", "app.") == "app.chat-history-id-x5wqia"
    hashed = hashlib.sha256(b" " * 146).hexdigest()
    assert len(topic_name(" " * 145)) == 249
    assert topic_name(" " * 146) == f"chat-history-id-h{hashed}"


@given(st.lists(st.text() | st.text(alphabet="ab.-_x", max_size=4), unique=True, max_size=30))
def test_two_ids_never_share_a_topic(ids: list[str]) -> None:
    for prefix in ("", "app."):
        names = {topic_name(session_id, prefix) for session_id in ids}
        assert len(names) == len(ids)


@pytest.mark.parametrize("prefix", ["__x", "a b", "x" * 151, "ä"])
def test_a_prefix_that_is_illegal_in_topic_names_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="topic_prefix"):
        KafkaChatMessageHistory("s", "127.0.0.1:1", topic_prefix=prefix)


# Compatibility with the class of langchain-community.


def test_the_examples_of_the_upstream_documentation_run_unchanged(
    kafka: Server, session_id: str
) -> None:
    history = KafkaChatMessageHistory(session_id=session_id, bootstrap_servers=kafka.address)
    message1, message2, message3 = HumanMessage("1"), AIMessage("2"), HumanMessage("3")
    history.add_messages([message1, message2, message3])
    message_batch_0 = history.messages
    message_batch_1 = history.messages
    messages_from_beginning = history.messages_from_beginning()
    assert message_batch_0 == messages_from_beginning == [message1, message2, message3]
    assert message_batch_1 == []

    chat_session_id, bootstrap_servers = f"{session_id}-notebook", kafka.address
    history = KafkaChatMessageHistory(chat_session_id, bootstrap_servers)
    history.add_user_message("hi!")
    history.add_ai_message("whats up?")
    assert _contents(history.messages) == ["hi!", "whats up?"]


def test_it_has_the_members_of_the_upstream_class(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened()
    theirs = Upstream(f"{session_id}-theirs", kafka.address)
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= set(dir(history))
    assert history.session_id == session_id
    assert history.bootstrap_servers == kafka.address
    assert isinstance(history.producer, Producer)
    assert isinstance(history.admin_client, AdminClient)
    assert history.num_partitions == theirs.num_partitions == 3
    theirs.clear()


def test_bounded_reads_have_the_upstream_defaults(opened: Open) -> None:
    history = opened()
    history.add_messages(_numbered(12))
    assert _contents(history.messages_from_beginning()) == _digits(5)
    assert _contents(history.messages_from_last_consumed()) == _digits(5, 5)
    assert _contents(history.messages) == _digits(2, 10)


def test_errors_are_kafka_exceptions() -> None:
    history = KafkaChatMessageHistory("s", "127.0.0.1:1", timeout_sec=0.3)
    with pytest.raises(KafkaException) as caught:
        history.clear()
    assert isinstance(caught.value.args[0], KafkaError)
    assert isinstance(caught.value, ConnectionError)
    history.close()


def test_messages_of_upstream_are_read_completely(
    opened: Open, kafka: Server, session_id: str
) -> None:
    theirs = Upstream(session_id, kafka.address)
    for start in range(0, 60, 12):
        theirs.add_messages(_numbered(12, start))
        time.sleep(0.01)  # so that the batches have different timestamps
    history = opened(reads="replay")
    got = _contents(history.messages)
    assert sorted(got, key=int) == _digits(60)
    for start in range(0, 60, 12):
        assert sorted(got[start : start + 12], key=int) == _digits(12, start)
    assert sorted(_contents(history.last_messages(12)), key=int) == _digits(12, 48)
    consuming = opened()
    read: list[str] = []
    while batch := consuming.messages_from_last_consumed(7):
        read += _contents(batch)
    assert read == got


def test_upstream_reads_our_messages(opened: Open, kafka: Server, session_id: str) -> None:
    history = opened()
    batch = [
        *_numbered(20),
        AIMessage("x", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "1"}]),
    ]
    history.add_messages(batch)
    theirs = Upstream(session_id, kafka.address)
    assert theirs.messages_from_beginning(21, 20) == batch
    # Upstream has committed its position and left the group. Both classes share the position.
    history.add_messages(_numbered(1, 99))
    assert _contents(history.messages) == ["99"]


def test_a_topic_that_upstream_cleared_is_created_again(
    opened: Open, kafka: Server, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(3))
    _delete_topic(admin, session_id)  # this is how upstream clears
    assert history.messages == []
    _add_after_topic_was_deleted(history, _numbered(2))


def test_a_topic_that_another_client_creates_again_is_read_from_its_beginning(
    opened: Open, kafka: Server, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(6))
    history.clear()
    history.add_messages(_numbered(1))
    assert len(history.messages) == 1
    _delete_topic(admin, session_id)
    _create_topic(admin, session_id, 3)  # as many partitions as before
    _write(kafka, session_id, *(encode(message).encode() for message in _numbered(9)))
    assert _contents(history.messages) == _digits(9)
    assert _contents(history.last_messages(9)) == _digits(9)


# The topic.


def test_opening_and_reading_create_nothing(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened()
    assert history.messages == []
    assert history.last_messages(3) == []
    assert history.messages_from_beginning() == []
    assert history.messages_from_latest(1, 0.05) == []
    history.clear()
    assert session_id not in admin.list_topics(timeout=10).topics
    history.add_messages(_numbered(1))
    assert session_id in admin.list_topics(timeout=10).topics


def test_a_topic_is_created_with_the_given_settings(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    opened(ttl_ms=-1, partition=2).add_messages(_numbered(1))
    config = _done(admin.describe_configs([ConfigResource("topic", session_id)]))
    assert config["retention.ms"].value == "-1"
    assert len(admin.list_topics(session_id, timeout=10).topics[session_id].partitions) == 2
    other = f"{session_id}-other"
    opened(other).add_messages(_numbered(1))
    config = _done(admin.describe_configs([ConfigResource("topic", other)]))
    assert config["retention.ms"].value == "604800000"


def test_every_message_is_in_partition_0_in_order(
    opened: Open, kafka: Server, session_id: str
) -> None:
    opened().add_messages(_numbered(50))
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "look"})
    ends = [consumer.get_watermark_offsets(TopicPartition(session_id, p))[1] for p in range(3)]
    consumer.close()
    assert ends == [50, 0, 0]


def test_clearing_keeps_the_topic_and_its_retention(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened(ttl_ms=3_600_000)
    history.add_messages(_numbered(2))
    history.clear()
    config = _done(admin.describe_configs([ConfigResource("topic", session_id)]))
    assert config["retention.ms"].value == "3600000"


def test_an_existing_topic_keeps_its_own_retention(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id, config={"retention.ms": "600"})
    history = opened(reads="replay", ttl_ms=86_400_000)
    history.add_messages(_numbered(2))
    deadline = time.monotonic() + 10
    while history.messages:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert history.last_messages(5) == history.messages_from_beginning() == []


@pytest.mark.parametrize("see", [lambda history: history.messages, lambda history: history.clear()])
def test_properties_of_a_deleted_topic_are_forgotten(
    opened: Open, admin: AdminClient, session_id: str, see: Any
) -> None:
    history = opened(reads="replay", partition=2)
    history.add_messages(_numbered(1))
    assert history.num_partitions == 2
    _delete_topic(admin, session_id)
    assert not see(history)
    _create_topic(admin, session_id, 4)
    assert history.num_partitions == 4


def test_an_id_that_kafka_confuses_with_another_is_refused(opened: Open, session_id: str) -> None:
    opened(f"a.{session_id}").add_messages(_numbered(1))
    with pytest.raises(ValueError, match=r"collides.*another session id"):
        opened(f"a_{session_id}").add_messages(_numbered(1))


def test_a_compacted_topic_is_not_cleared_and_says_why(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id, config={"cleanup.policy": "compact"})
    with pytest.raises(KafkaHistoryError, match=r"compacted.*cleanup\.policy"):
        opened().clear()


def test_added_partitions_are_read(
    opened: Open, kafka: Server, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id, 1)
    _write(kafka, session_id, encode(HumanMessage("0")).encode())
    _done(admin.create_partitions([NewPartitions(session_id, 3)]))
    time.sleep(0.2)
    _write(kafka, session_id, encode(HumanMessage("1")).encode(), partition=2)
    assert _contents(opened(reads="replay").messages) == ["0", "1"]


# Adding.


def test_a_batch_over_the_topics_limit_is_refused_before_anything_is_sent(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id, config={"max.message.bytes": "80000"})
    history = opened(reads="replay")
    with pytest.raises(ValueError, match=r"message 1 of the batch has 80\d\d\d bytes.*nothing was"):
        history.add_messages([HumanMessage("small"), HumanMessage("x" * 80_000)])
    assert history.messages == []
    history.add_messages([HumanMessage("x" * 40_000)] * 5)
    assert len(history.messages) == 5


def test_a_message_over_the_clients_limit_is_refused_before_anything_is_sent(opened: Open) -> None:
    history = opened(reads="replay")
    with pytest.raises(ValueError, match=r"max\.message\.bytes"):
        history.add_messages([HumanMessage("small"), HumanMessage("x" * 1_048_000)])
    with pytest.raises(ValueError, match=r"max\.message\.bytes"):
        history.add_messages([HumanMessage("small"), HumanMessage("x" * 5_000_000)])
    assert history.messages == []


def test_larger_messages_are_accepted_if_topic_and_config_allow_them(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id, config={"max.message.bytes": "8000000"})
    history = opened(reads="replay", config={"message.max.bytes": 8_000_000})
    history.add_messages([HumanMessage("x" * 4_000_000)])
    assert len(str(history.messages[0].content)) == 4_000_000


def test_8_threads_that_add_at_once_keep_their_own_order(opened: Open) -> None:
    history = opened(reads="replay")

    def add(writer: int) -> None:
        for number in range(20):
            history.add_messages([HumanMessage(f"{writer}:{number}:{part}") for part in "ab"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    got = _contents(history.messages)
    assert len(got) == len(set(got)) == 320
    for writer in range(8):
        own = [content for content in got if content.startswith(f"{writer}:")]
        assert own == [f"{writer}:{number}:{part}" for number in range(20) for part in "ab"]
    # No batch comes between the messages of another one.
    assert all(first[:-1] == second[:-1] for first, second in zip(got[::2], got[1::2], strict=True))


def test_first_messages_of_several_threads_are_all_stored(opened: Open) -> None:
    # Some partitions of a new topic get a leader later than others.
    for _ in range(25):
        session = f"first-{uuid.uuid4().hex}"
        histories = [opened(session, reads="replay") for _ in range(4)]
        barrier = threading.Barrier(4)

        def add(
            number: int,
            histories: list[KafkaChatMessageHistory] = histories,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            histories[number].add_messages(_numbered(1, number))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        assert sorted(_contents(histories[0].messages)) == _digits(4)


def test_an_acknowledgement_without_an_offset_is_an_error(opened: Open, kafka: Server) -> None:
    history = opened()
    history.add_messages(_numbered(1))

    class WithoutOffset:
        def offset(self) -> None:
            return None

    unplaced: Any = WithoutOffset()
    with clients.lease(history, kafka.address, {}) as shared:
        report = shared.sender._report
        shared.sender._report = lambda receipt, index, error, message: report(  # type: ignore
            receipt, index, error, unplaced if index == 1 else message
        )
        with pytest.raises(DeliveryError, match="without a place in the log") as caught:
            history.add_messages(_numbered(3))
        shared.sender._report = report  # type: ignore[method-assign]
    assert caught.value.unconfirmed == (1,)
    assert caught.value.outcome_unknown


def test_a_receipt_counts_outcomes_that_two_threads_report_at_once() -> None:
    receipt = Receipt(2)
    other = threading.Thread(target=receipt.report, args=(1, None))

    class Interrupted(int):
        """A count that another thread changes while this one lowers it."""

        def __sub__(self, by: int) -> int:
            if not other.is_alive():
                other.start()
                other.join(0.5)  # it stops here if it has to wait for the lock
            return int(self) - by

    receipt._left = Interrupted(2)
    receipt.report(0, None)
    other.join(10)
    assert receipt.ok


def test_a_topic_deleted_under_an_open_history_is_created_again_without_silent_loss(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1))
    for start in (10, 20):
        _delete_topic(admin, session_id)
        _add_after_topic_was_deleted(history, _numbered(3, start))
    _delete_topic(admin, session_id)
    _add_after_topic_was_deleted(
        history,
        _numbered(3, 30),
        lambda batch, seconds: asyncio.run(history.aadd_messages(batch, seconds)),
    )


def test_a_flush_timeout_may_be_infinite(opened: Open) -> None:
    history = opened(reads="replay", timeout_sec=10**12)
    history.add_messages(_numbered(1), float("inf"))
    assert len(history.messages) == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", None, True])
def test_a_flush_timeout_that_makes_no_sense_is_refused(opened: Open, seconds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="flush_timeout_seconds"):
        opened().add_messages(_numbered(1), seconds)


# The cursor.


def test_the_position_is_kept_in_kafka_under_the_topics_name(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened()
    history.add_messages(_numbered(10))
    assert len(history.messages_from_last_consumed(4)) == 4
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": session_id})
    (committed,) = consumer.committed([TopicPartition(session_id, 0)], timeout=10)
    consumer.close()
    assert committed.offset == 4
    assert _contents(opened().messages) == _digits(6, 4)


def test_a_read_that_fails_consumes_nothing(opened: Open, kafka: Server, session_id: str) -> None:
    history = opened()
    history.add_messages(_numbered(2))
    _write(kafka, session_id, b"no json")
    history.add_messages(_numbered(1, 2))
    for _ in range(2):
        with pytest.raises(UndecodableRecordError) as caught:
            _ = history.messages
        assert caught.value.position == "0:2"
        assert _contents(caught.value.messages) == _digits(3)
    assert _contents(history.messages_from_last_consumed(2)) == _digits(2)


def test_a_discarded_record_is_skipped_by_every_read_of_every_handle(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened()
    history.add_messages(_numbered(3))
    _write(
        kafka, session_id, b"no json", encode(HumanMessage("3")).encode(), b'{"type": "nonsense"}'
    )
    history.add_messages(_numbered(3, 4))
    for position in ("0:3", "0:5"):
        with pytest.raises(UndecodableRecordError) as caught:
            _ = history.messages
        assert caught.value.position == position
        history.discard(position)
    replaying = opened(reads="replay")
    assert _contents(replaying.messages) == _digits(7)
    assert _contents(replaying.last_messages(5)) == _digits(5, 2)
    assert _contents(history.messages_from_last_consumed(4)) == _digits(4)
    assert _contents(history.messages) == _digits(3, 4)
    assert history.messages == []


def test_upstream_ignores_a_record_that_marks_another_as_discarded(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened()
    history.add_messages(_numbered(2))
    history.discard("0:0")
    history.add_messages(_numbered(1, 2))
    theirs = Upstream(session_id, kafka.address)
    assert _contents(theirs.messages_from_beginning(3, 20)) == _digits(3)


@pytest.mark.parametrize("position", ["", "3", "0:", "0:-1", "a:b"])
def test_a_position_of_another_form_is_refused(opened: Open, position: str) -> None:
    with pytest.raises(ValueError, match="partition:offset"):
        opened().discard(position)


def test_overlapping_readers_of_one_process_get_each_message_once(opened: Open) -> None:
    histories = [opened() for _ in range(4)]
    histories[0].add_messages(_numbered(100))

    def read(history: KafkaChatMessageHistory) -> list[str]:
        got: list[str] = []
        while batch := history.messages_from_last_consumed(3):
            got += _contents(batch)
        return got

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(read, histories))
    assert sorted((content for part in parts for content in part), key=int) == _digits(100)
    assert all(part == sorted(part, key=int) for part in parts)


def test_a_foreign_member_of_the_consumer_group_is_named(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened()
    history.add_messages(_numbered(3))
    with _foreign_member(kafka, session_id):
        with pytest.raises(
            KafkaHistoryError, match=r"belongs to someone on .*nothing was consumed"
        ):
            _ = history.messages
    assert _contents(history.messages) == _digits(3)


def test_a_position_of_a_deleted_topic_starts_the_new_topic_at_the_beginning(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened()
    history.add_messages(_numbered(10))
    assert len(history.messages) == 10
    _delete_topic(admin, session_id)
    _add_after_topic_was_deleted(history, _numbered(3, 50))


def test_an_async_read_that_waits_holds_no_thread(opened: Open) -> None:
    histories = [opened(f"waiting-{uuid.uuid4().hex}") for _ in range(20)]
    writer = opened()

    async def wait_and_write() -> float:
        waiting = [
            asyncio.ensure_future(history.amessages_from_latest(1, 3.0)) for history in histories
        ]
        await asyncio.sleep(0.5)
        started = time.monotonic()
        await writer.aadd_messages(_numbered(1))
        took = time.monotonic() - started
        assert await asyncio.gather(*waiting) == [[]] * 20
        return took

    assert asyncio.run(wait_and_write()) < 2.0  # if each read held a thread, the add would wait


# Gaps in the log.


def test_transaction_markers_and_aborted_records_are_not_messages(
    opened: Open, kafka: Server, admin: AdminClient, session_id: str
) -> None:
    _create_topic(admin, session_id)
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": session_id})
    producer.init_transactions(20)
    for number in range(12):
        producer.begin_transaction()
        producer.produce(session_id, encode(HumanMessage(str(number))), partition=0)
        producer.flush(10)
        if number % 2:
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(10)
    replaying, consuming = opened(reads="replay"), opened()
    even = _digits(12)[::2]
    # A commit returns before its marker is in the log.
    _wait_until(lambda: _contents(replaying.messages) == even)
    for count in (1, 3, 6, 9):
        assert _contents(replaying.last_messages(count)) == even[-count:]
    assert _contents(consuming.messages_from_last_consumed(2)) == even[:2]
    assert _contents(consuming.messages) == even[2:]
    producer.begin_transaction()
    producer.produce(session_id, encode(HumanMessage("open")), partition=0)
    producer.flush(10)
    impatient = opened(reads="replay", timeout_sec=1)
    with pytest.raises(OpenTransactionError, match="transaction of another client is open"):
        _ = impatient.messages
    producer.commit_transaction(10)
    _wait_until(lambda: _contents(replaying.messages) == [*even, "open"])


def test_records_without_a_value_are_not_messages(
    opened: Open, kafka: Server, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1))
    _write(kafka, session_id, None, None)
    history.add_messages(_numbered(1, 1))
    _write(kafka, session_id, None, None)
    assert _contents(history.messages) == _digits(2)
    assert _contents(history.last_messages(2)) == _digits(2)


# Clients, threads, processes.


def test_open_histories_share_their_clients(kafka: Server) -> None:
    before = _native_threads()
    histories = [KafkaChatMessageHistory(f"share-{n}", kafka.address) for n in range(500)]
    histories[0].add_messages(_numbered(1))
    for history in histories[:50]:
        _ = history.last_messages(1)
    assert len({id(history.producer) for history in histories}) == 1
    assert len({id(history.admin_client) for history in histories}) == 1
    assert _native_threads() - before < 40
    for history in histories:
        history.close()


def test_no_thread_is_left_after_the_last_close(kafka: Server) -> None:
    code = f"""
        import asyncio, os, threading, time
        from chat_history_backends.kafka import KafkaChatMessageHistory
        from langchain_core.messages import HumanMessage

        threads = lambda: len(os.listdir("/proc/self/task")) if os.path.exists("/proc") else 1
        one = KafkaChatMessageHistory("threads-1", {kafka.address!r}, reads="replay")
        two = KafkaChatMessageHistory("threads-2", {kafka.address!r})
        for history in (one, two):
            history.add_messages([HumanMessage("a")])
            history.messages
            asyncio.run(history.aget_messages())
            history.clear()
        one.close()
        assert threads() > 1 or not os.path.exists("/proc")
        two.close()
        two.close()
        until = time.monotonic() + 1  # the system removes a thread a moment after its end
        while threads() > 1 and time.monotonic() < until:
            time.sleep(0.01)
        print(threading.active_count(), threads())
    """
    assert _run(code) == "1 1"


def test_an_admin_client_that_gets_no_answer_is_replaced(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = opened()
    assert history.messages == []
    with socket.create_server(("127.0.0.1", 0)) as deaf, history._clients() as clients:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        for number in range(5):
            silent = AdminClient({"bootstrap.servers": address, "log_level": 0})
            clients.admin = silent
            if number == 0:
                history.add_messages(_numbered(1))
            else:
                clients.replace_admin(silent)
            assert clients.admin is not silent
        assert len(clients._silent) == 3
        monkeypatch.setattr("chat_history_backends.kafka.clients._SILENT_SECONDS", 0.0)
        clients.replace_admin(clients.admin)
        assert clients._silent == []  # no answer comes any more
    history.clear()
    assert history.messages == []


def test_an_add_that_meets_only_ended_producers_names_its_time_limit(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller does not know that another call had ended the producer."""
    history = opened(reads="replay")
    history.add_messages(_numbered(1), 30.0)

    def send(sender: Sender, topic: str, values: list[str], deadline: float, *_: Any) -> Receipt:
        receipt = Receipt(len(values), topic, deadline)
        sender._refuse(receipt, 0, KafkaError(KafkaError._STATE, "the producer has ended"))
        return receipt

    with monkeypatch.context() as patched:
        patched.setattr(Sender, "send", send)
        with pytest.raises(DeliveryTimeoutError, match=r"within 0\.5 s.*can be added") as caught:
            history.add_messages(_numbered(2, 1), 0.5)
    assert not caught.value.outcome_unknown
    history.add_messages(_numbered(2, 1), 30.0)
    assert _contents(history.messages) == _digits(3)


def test_a_closed_history_that_is_used_again_reopens_its_clients(opened: Open) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1))
    history.close()
    history.add_messages(_numbered(1, 1))
    assert _contents(history.messages) == _digits(2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_process_that_forks_after_the_first_use_works(kafka: Server, session_id: str) -> None:
    code = f"""
        import os, sys, time
        from chat_history_backends.kafka import KafkaChatMessageHistory
        from langchain_core.messages import HumanMessage

        history = KafkaChatMessageHistory({session_id!r}, {kafka.address!r}, reads="replay")
        history.add_messages([HumanMessage("parent")])
        history.messages
        time.sleep(1)  # until all connections are open: see the next test
        child = os.fork()
        if child == 0:
            history.add_messages([HumanMessage("child")])
            assert [m.content for m in history.messages] == ["parent", "child"]
            history.close()
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        history.add_messages([HumanMessage("again")])
        print(*[m.content for m in history.messages])
    """
    assert _run(code) == "parent child again"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this is about glibc")
def test_a_child_in_which_each_lookup_hangs_gets_errors_and_ends(
    kafka: Server, session_id: str
) -> None:
    # If another thread looks up a name during a fork, glibc 2.36 leaves its lock closed in the
    # child. Then each lookup there waits for ever, in Python and in librdkafka.
    code = f"""
        import os, socket, sys, threading, time
        from chat_history_backends.kafka import KafkaChatMessageHistory, clients
        from chat_history_backends.kafka.errors import UnreachableError
        from langchain_core.messages import HumanMessage

        clients._CLOSE_SECONDS = 1.0

        def look_up():
            socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_ADDRCONFIG)

        def look_up_again_and_again():
            while True:
                look_up()

        def started(target):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            return thread

        for _ in range(8):
            started(look_up_again_and_again)
        for _ in range(500):
            child = os.fork()
            if child == 0:
                lookup = started(look_up)
                lookup.join(2)
                if not lookup.is_alive():
                    os._exit(3)
                history = KafkaChatMessageHistory(
                    {session_id!r}, {kafka.address!r}, reads="replay", timeout_sec=1
                )
                try:
                    history.add_messages([HumanMessage("1")])
                except UnreachableError:
                    history.close()
                    sys.exit(0)
                os._exit(3)  # the lookup was only slow
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status != 3:
                print("the child ended with", status)
                break
        else:
            print("no lookup hangs")
        sys.stdout.flush()
        os._exit(0)
    """
    done = _run(code)
    if done == "no lookup hangs":
        pytest.skip("this version of glibc opens its lock in the child")
    assert done == "the child ended with 0"


def test_a_producer_that_failed_for_good_is_replaced(opened: Open, kafka: Server) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1))
    with clients.lease(history, kafka.address, {}) as shared:
        first = shared.sender
        first.broken = True  # the sender sets this after a fatal error
        assert shared.sender is not first
    history.add_messages(_numbered(1, 1))
    assert _contents(history.messages) == _digits(2)


def test_concurrent_reads_and_adds_through_one_handle_see_a_growing_history(opened: Open) -> None:
    history = opened(reads="replay")
    stop = threading.Event()
    seen: list[list[str]] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(_contents(history.messages))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        history.add_messages(_numbered(1, number))
    stop.set()
    reader.join()
    assert all(got == _digits(len(got)) for got in seen)


# Errors.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ttl_ms": 0}, "ttl_ms"),
        ({"ttl_ms": -2}, "ttl_ms"),
        ({"partition": 0}, "partition"),
        ({"replication_factor": 0}, "replication_factor"),
        ({"reads": "twice"}, "reads must be"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"config": {"acks": "1"}}, "config must not hold 'acks'"),
        ({"config": {"group.id": "x"}}, "config must not hold 'group.id'"),
        ({"config": {"no.such.setting": "1"}}, "no.such.setting"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KafkaChatMessageHistory("s", "127.0.0.1:1", **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("session_id", (1, "x:1")),
        ("bootstrap_servers", ("s", None)),
        ("ttl_ms", ("s", "x:1", "7 days")),
        ("replication_factor", ("s", "x:1", 1000, "1")),
        ("partition", ("s", "x:1", 1000, 1, 1.5)),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_at_once(name: str, arguments: Any) -> None:
    with pytest.raises(TypeError, match=name):
        KafkaChatMessageHistory(*arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda history: history.add_messages(_numbered(1), 0.7),
        lambda history: history.messages,
        lambda history: history.last_messages(1),
        lambda history: history.messages_from_last_consumed(),
        lambda history: history.clear(),
        lambda history: asyncio.run(history.aadd_messages(_numbered(1), 0.7)),
        lambda history: asyncio.run(history.aget_messages()),
        lambda history: asyncio.run(history.aclear()),
    ],
)
def test_a_wrong_address_raises_in_time_and_names_session_and_address(call: Any) -> None:
    history = KafkaChatMessageHistory("my-session", "127.0.0.1:1", timeout_sec=1.0)
    started = time.monotonic()
    with pytest.raises(KafkaHistoryError, match=r"'my-session'.*127\.0\.0\.1:1\b"):
        call(history)
    assert time.monotonic() - started < 12
    history.close()


def test_a_call_waits_less_for_brokers_that_have_never_answered() -> None:
    with KafkaChatMessageHistory("s", "127.0.0.1:1", timeout_sec=60) as history:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer within 2 s"):
            _ = history.messages
        assert time.monotonic() - started < 30


def test_wrong_credentials_differ_from_an_unreachable_broker() -> None:
    with launcher.start("kafka", "jvm", announce=print, credentials={"me": "right"}) as broker:
        right = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "me",
            "sasl.password": "right",
        }
        with KafkaChatMessageHistory(
            "sasl", broker.address, reads="replay", config=right
        ) as history:
            history.add_messages(_numbered(3))
            assert _contents(history.messages) == _digits(3)
        wrong = {**right, "sasl.password": "hunter2"}
        with KafkaChatMessageHistory("sasl", broker.address, config=wrong) as history:
            for call in (lambda: history.add_messages(_numbered(1)), lambda: history.messages):
                started = time.monotonic()
                with pytest.raises(UnreachableError, match="does not let us in") as caught:
                    call()
                assert "hunter2" not in str(caught.value)
                assert time.monotonic() - started < 10
        with KafkaChatMessageHistory("sasl", broker.address, timeout_sec=1.0) as history:
            with pytest.raises(UnreachableError, match="'sasl'"):
                _ = history.messages


def test_contents_and_secrets_are_not_logged(
    opened: Open, caplog: pytest.LogCaptureFixture, kafka: Server, session_id: str
) -> None:
    with caplog.at_level(0):
        history = opened(config={"sasl.password": "hunter2"})
        history.add_messages([HumanMessage("a secret content")])
        _write(kafka, session_id, json.dumps({"type": "human", "data": {"content": 5}}).encode())
        with pytest.raises(UndecodableRecordError):
            _ = history.messages
    assert "secret content" not in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(history)


# Faults.


@pytest.fixture(scope="module")
def breakable() -> Iterator[Server]:
    """Start a broker that the tests may pause and kill."""
    with launcher.start("kafka", "jvm", announce=print) as server:
        yield server


@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_acknowledged_messages_survive_a_fault_and_errors_report_the_true_outcome(
    breakable: Server, session_id: str, fault: str
) -> None:
    history = KafkaChatMessageHistory(session_id, breakable.address, reads="replay", timeout_sec=2)
    acknowledged: list[int] = []
    refused: dict[int, Exception] = {}
    stop = threading.Event()

    def add() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            try:
                history.add_messages(_numbered(1, number), 1.0)
                acknowledged.append(number)
            except (DeliveryError, UnreachableError) as error:
                refused[number] = error

    writer = threading.Thread(target=add)
    writer.start()
    _wait_until(lambda: len(acknowledged) > 20)
    getattr(breakable, fault)()
    _wait_until(lambda: bool(refused))
    with pytest.raises((UnreachableError, TimeoutError)):
        _ = history.messages
    (breakable.resume if fault == "pause" else breakable.restart)()
    count = len(acknowledged)
    _wait_until(lambda: len(acknowledged) > count + 20)
    stop.set()
    writer.join(20)
    time.sleep(6)  # unacknowledged messages may arrive until then
    for error in refused.values():
        assert session_id in str(error)
        assert breakable.address in str(error)
    got = [int(content) for content in _contents(history.messages)]
    assert len(got) == len(set(got))
    assert set(acknowledged) <= set(got)
    assert [n for n in got if n in set(acknowledged)] == acknowledged
    unsaid = set(got) - set(acknowledged)
    assert all(getattr(refused[number], "outcome_unknown", False) for number in unsaid)
    history.close()


def test_bounded_reads_keep_their_time_limit_while_the_broker_is_paused(
    breakable: Server, session_id: str
) -> None:
    history = KafkaChatMessageHistory(session_id, breakable.address)
    history.add_messages(_numbered(10))
    assert len(history.messages_from_last_consumed(2)) == 2
    breakable.pause()
    try:
        for read in (history.messages_from_beginning, history.messages_from_last_consumed):
            started = time.monotonic()
            with pytest.raises((UnreachableError, TimeoutError), match=session_id):
                read(5, 0.5)
            assert time.monotonic() - started < 8
    finally:
        breakable.resume()
    assert _contents(history.messages_from_last_consumed(3)) == _digits(3, 2)
    history.close()


def test_an_unknown_foreign_member_is_reported_if_the_broker_stops_answering(
    breakable: Server, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = KafkaChatMessageHistory(session_id, breakable.address, timeout_sec=2)
    history.add_messages(_numbered(3))
    describe = AdminClient.describe_consumer_groups

    def fall_silent(*arguments: Any, **keywords: Any) -> Any:
        breakable.pause()
        return describe(*arguments, **keywords)

    monkeypatch.setattr(AdminClient, "describe_consumer_groups", fall_silent)
    with _foreign_member(breakable, session_id):
        try:
            with pytest.raises(KafkaHistoryError, match=r"another consumer .*could not be asked"):
                _ = history.messages
        finally:
            breakable.resume()
    assert _contents(history.messages) == _digits(3)
    history.close()


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _native_threads() -> int:
    return (
        len(os.listdir("/proc/self/task")) if os.path.exists("/proc") else threading.active_count()
    )


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
