"""Tests of what the reads of the Kafka history promise while brokers fail, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewPartitions,
    NewTopic,
)
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.codec import encode
from chat_history_backends.kafka import (
    KafkaChatMessageHistory,
    KafkaHistoryError,
    UnreachableError,
    clearing,
    cursor,
    reading,
    topics,
)
from chat_history_backends.kafka.clients import Clients
from chat_history_backends.kafka.errors import (
    OpenTransactionError,
    SlowReadError,
    UnconfirmedReadError,
    is_refusal,
)
from chat_history_backends.kafka.log_state import LogState
from chat_history_backends.kafka.sender import Failure, Sender
from chat_history_backends.kafka.topics import TopicChanged
from chat_history_backends.kafka.writing import Adding
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community announces its end
    from langchain_community.chat_message_histories import KafkaChatMessageHistory as Upstream

Open = Callable[..., KafkaChatMessageHistory]


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    """Start a broker that the tests may pause, kill and restart."""
    with launcher.start("kafka", "jvm", announce=print) as server:
        yield server


@pytest.fixture
def session_id() -> str:
    return f"read-{uuid.uuid4().hex}"


@pytest.fixture
def opened(broker: Server, session_id: str) -> Iterator[Open]:
    histories: list[KafkaChatMessageHistory] = []

    def open_history(session: str = session_id, **arguments: Any) -> KafkaChatMessageHistory:
        arguments = {"partition": 1, **arguments}
        history = KafkaChatMessageHistory(session, broker.address, **arguments)
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.close()


@pytest.fixture
def admin(broker: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.address, "log_level": 2})


def _numbered(count: int, start: int = 0) -> list[BaseMessage]:
    return [HumanMessage(str(number)) for number in range(start, start + count)]


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def _digits(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def _create(admin: AdminClient, name: str, partitions: int = 1) -> None:
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)
    time.sleep(0.3)


# A missing answer is not an empty conversation.


@pytest.mark.parametrize("end", ["kill", "shut_down"])
def test_no_read_of_a_dead_broker_returns(broker: Server, opened: Open, end: str) -> None:
    history, consuming = opened(reads="replay", timeout_sec=2), opened(timeout_sec=2)
    opened(timeout_sec=30).add_messages(_numbered(5), 30.0)
    assert len(history.messages) == 5
    assert len(consuming.messages_from_last_consumed(2)) == 2
    getattr(broker, end)()
    try:
        for read in (
            lambda: history.messages,
            lambda: history.last_messages(2),
            lambda: consuming.messages,
            lambda: consuming.messages_from_beginning(5, 1.0),
            lambda: consuming.messages_from_latest(1, 0.2),
            history.clear,
        ):
            started = time.monotonic()
            with pytest.raises((UnreachableError, SlowReadError)):
                read()
            assert time.monotonic() - started < 10
    finally:
        broker.restart()
    patient = opened(reads="replay", timeout_sec=30)
    assert _contents(patient.messages) == _digits(5)
    assert _contents(opened(timeout_sec=30).messages) == _digits(3, 2)


def test_offsets_of_some_partitions_only_are_asked_for_again(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create(admin, session_id, 3)
    history = opened(reads="replay", timeout_sec=5)
    history.add_messages(_numbered(3), 30.0)
    asked = []

    class Partly:
        """A client that got no answer from the leader of a partition, and reports no error."""

        def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> Any:
            asked.append(places)
            if len(asked) > 2:
                return [TopicPartition(session_id, place.partition, 7) for place in places]
            found = [TopicPartition(session_id, place.partition, 7) for place in places]
            found[1].offset = places[1].offset
            return found

        def poll(self, seconds: float) -> None:
            return None

        def list_topics(self, topic: str, timeout: float) -> Any:
            return admin.list_topics(topic, timeout=5)

    with history._call() as call:
        partly: Any = Partly()
        assert topics._offsets(call, partly, 3, -1) == {0: 7, 1: 7, 2: 7}
    assert len(asked) == 3


def test_a_topic_that_one_broker_does_not_know_is_asked_of_the_controller(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay", timeout_sec=5)
    history.add_messages(_numbered(2), 30.0)
    answers: list[bool] = []

    class Lagging:
        """A client that first meets a broker whose metadata is old."""

        def poll(self, seconds: float) -> None:
            return None

        def list_topics(self, topic: str, timeout: float) -> Any:
            listed = admin.list_topics(topic, timeout=5)
            if not answers:
                listed.topics[topic].error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            answers.append(True)
            return listed

    with history._call() as call:
        lagging: Any = Lagging()
        assert topics.count_partitions(call, lagging) == 1
    with opened(f"{session_id}-missing")._call() as call:
        real: Any = admin
        assert topics.count_partitions(call, real) is None
    assert len(answers) == 2


def test_an_end_before_a_known_one_is_an_error_once(opened: Open) -> None:
    history = opened(reads="replay", timeout_sec=5)
    opened(timeout_sec=30).add_messages(_numbered(2), 30.0)
    _see_a_later_end(history)
    with pytest.raises(UnreachableError, match="ends before a record that was seen"):
        _ = history.messages
    assert _contents(history.messages) == _digits(2)  # it was reported once


@pytest.mark.parametrize("last", ["read_identity", "count_partitions", "_offsets"])
def test_an_end_before_a_known_one_is_named_if_another_request_runs_out_of_time(
    opened: Open, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    history = opened(reads="replay", timeout_sec=20)
    opened(timeout_sec=30).add_messages(_numbered(2), 30.0)
    _see_a_later_end(history)
    send = getattr(topics, last)
    sent: list[bool] = []

    def out_of_time(*arguments: Any) -> Any:
        sent.append(True)
        if last == "_offsets" and len(sent) <= 2:  # the first beginning and the first end
            return send(*arguments)
        raise UnreachableError(KafkaError(KafkaError._TIMED_OUT), "could not do something else")

    with monkeypatch.context() as patched:
        patched.setattr(topics, last, out_of_time)
        with pytest.raises(UnreachableError, match="ends before a record that was seen"):
            _ = history.messages
    assert _contents(history.messages) == _digits(2)


def _see_a_later_end(history: KafkaChatMessageHistory) -> None:
    """Make the history believe that a clear reached a later end before the broker lost records."""
    with history._call() as call:
        topic = topics.find(call)
        assert topic is not None
        topic.log.saw_marker(0, 4)
        topic.log.saw_records(0, 0, 5)
        topic.log.saw_end(0, 5)


def test_an_end_that_this_process_wrote_is_known(opened: Open) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(4), 30.0)
    with history._call() as call:
        topic = topics.find(call)
        assert topic is not None
        assert topic.log.ends == {0: 4}


def test_added_partitions_are_read_soon(
    broker: Server, opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1), 30.0)
    assert len(history.messages) == 1
    admin.create_partitions([NewPartitions(session_id, 3)])[session_id].result(20)
    time.sleep(0.5)
    producer = Producer({"bootstrap.servers": broker.address})
    producer.produce(session_id, encode(HumanMessage("1")).encode(), partition=2)
    assert producer.flush(20) == 0
    assert _contents(history.messages) == _digits(2)


def test_records_that_vanish_under_a_read_make_it_start_again(
    opened: Open, admin: AdminClient, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(6), 30.0)
    bounds = topics.bounds
    seen: list[Any] = []

    def bounds_before_a_deletion(call: Any, topic: Any) -> Any:
        found = bounds(call, topic)
        if not seen:
            admin.delete_records([TopicPartition(session_id, 0, 4)])
            time.sleep(0.5)
        seen.append(found)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chat_history_backends.kafka.reading.bounds", bounds_before_a_deletion)
        assert _contents(history.messages) == _digits(2, 4)
    assert len(seen) == 2


# Errors.


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        (KafkaError.OFFSET_NOT_AVAILABLE, False),
        (KafkaError.NOT_COORDINATOR, False),
        (KafkaError.NETWORK_EXCEPTION, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError.THROTTLING_QUOTA_EXCEEDED, False),
        (KafkaError._DESTROY, False),
        (KafkaError._ALL_BROKERS_DOWN, False),
        (KafkaError._TIMED_OUT_QUEUE, False),
        (KafkaError._UNKNOWN_PARTITION, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, True),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, True),
        (KafkaError.UNKNOWN_MEMBER_ID, True),
        (KafkaError.INVALID_RECORD, True),
        (KafkaError.POLICY_VIOLATION, True),
        (KafkaError._AUTHENTICATION, True),
        (KafkaError._FATAL, True),
    ],
)
def test_only_certain_refusals_end_a_call_before_its_limit(code: int, refused: bool) -> None:
    assert is_refusal(KafkaError(code)) is refused


@pytest.mark.parametrize("pause_seconds", [0.3, 1.5])
def test_calls_wait_for_a_broker_that_stalls_for_a_while(
    broker: Server, opened: Open, pause_seconds: float
) -> None:
    history, consuming = opened(reads="replay"), opened()
    history.add_messages(_numbered(5), 30.0)
    consuming.messages_from_last_consumed(1)
    calls: list[Callable[[], Any]] = [
        lambda: history.messages,
        lambda: history.last_messages(2),
        lambda: consuming.messages,
        history.clear,
    ]
    for call in calls:
        broker.pause()
        resume = threading.Timer(pause_seconds, broker.resume)
        resume.start()
        call()
        resume.join()


# Consuming reads.


def test_a_read_whose_commit_gets_no_answer_carries_its_messages(
    broker: Server, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = opened(timeout_sec=2)
    opened(timeout_sec=30).add_messages(_numbered(5), 30.0)
    assert len(history.messages) == 5
    opened(timeout_sec=30).add_messages(_numbered(5, 5), 30.0)
    move = cursor.move

    def stalled(*arguments: Any) -> None:
        broker.pause()
        move(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(cursor, "move", stalled)
        try:
            with pytest.raises(UnconfirmedReadError, match="may return them again") as caught:
                _ = history.messages
        finally:
            broker.resume()
    assert caught.value.outcome_unknown
    assert _contents(caught.value.messages) == _digits(5, 5)
    patient = opened(timeout_sec=30)
    assert _contents(patient.messages) in ([], _digits(5, 5))
    patient.add_messages(_numbered(1, 10), 30.0)
    assert _contents(patient.messages) == ["10"]


def test_a_read_that_cannot_reach_the_brokers_has_consumed_nothing(
    broker: Server, opened: Open
) -> None:
    history = opened(timeout_sec=1)
    opened(timeout_sec=30).add_messages(_numbered(3), 30.0)
    broker.pause()
    try:
        with pytest.raises(UnreachableError) as caught:
            _ = history.messages
    finally:
        broker.resume()
    assert not caught.value.outcome_unknown
    assert not hasattr(caught.value, "messages")
    assert _contents(opened(timeout_sec=30).messages) == _digits(3)


def test_a_process_that_reads_on_survives_orderly_restarts(broker: Server, opened: Open) -> None:
    history = opened(timeout_sec=2)
    survived = 0
    for number in range(4):
        opened(timeout_sec=30).add_messages(_numbered(1, number), 30.0)
        broker.shut_down()
        with pytest.raises(KafkaHistoryError):
            _ = history.messages
        broker.restart()
        survived += 1
    assert survived == 4
    assert _contents(opened(timeout_sec=30).messages) == _digits(4)


# Clearing.


def test_a_clear_that_returned_survives_a_kill(broker: Server, opened: Open) -> None:
    history, consuming = opened(reads="replay", timeout_sec=30), opened(timeout_sec=30)
    history.add_messages(_numbered(8), 30.0)
    assert len(consuming.messages_from_last_consumed(2)) == 2
    history.clear()
    history.add_messages(_numbered(1, 100), 30.0)
    broker.kill()
    broker.restart()
    assert _contents(history.messages) == ["100"]
    assert _contents(history.last_messages(5)) == ["100"]
    assert _contents(consuming.messages_from_last_consumed(2)) == ["100"]
    assert _contents(consuming.messages_from_beginning(2)) == ["100"]


def test_a_clear_keeps_its_marker(broker: Server, opened: Open, session_id: str) -> None:
    """Brokers that crash together may cut a log whose records were all deleted."""
    history = opened(reads="replay")
    history.add_messages(_numbered(8), 30.0)
    history.clear()
    with contextlib.closing(
        Consumer({"bootstrap.servers": broker.address, "group.id": session_id})
    ) as consumer:
        assert consumer.get_watermark_offsets(TopicPartition(session_id, 0), timeout=20) == (8, 9)
    assert history.messages == []


def test_messages_before_a_marker_are_cleared_even_if_their_records_are_there(
    opened: Open, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "_delete", lambda call, ends: None)
    history = opened(reads="replay")
    history.add_messages(_numbered(8), 30.0)
    opened().messages_from_last_consumed(2)
    history.clear()
    fresh = {"config": {"client.id": session_id}}  # clients that know nothing about the topic
    assert opened(**fresh).messages_from_beginning(3) == []
    assert opened(reads="replay", **fresh).messages == []
    history.add_messages(_numbered(4, 100), 30.0)
    history.clear()
    history.add_messages(_numbered(4, 200), 30.0)
    for arguments in ({}, fresh):
        replaying, consuming = opened(reads="replay", **arguments), opened(**arguments)
        assert _contents(replaying.messages) == _digits(4, 200)
        assert _contents(replaying.last_messages(3)) == _digits(3, 201)
        assert _contents(replaying.last_messages(9)) == _digits(4, 200)
        assert _contents(consuming.messages_from_beginning(2)) == _digits(2, 200)
        assert _contents(consuming.messages_from_last_consumed(1)) == ["202"]
        assert _contents(consuming.messages) == ["203"]


def test_a_marker_clears_all_partitions_of_a_topic_of_upstream(
    broker: Server, opened: Open, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Upstream(session_id, broker.address)
    theirs.add_messages(_numbered(30))
    monkeypatch.setattr(clearing, "_delete", lambda call, ends: None)
    history = opened(reads="replay")
    assert len(history.messages) == 30
    history.clear()
    assert history.messages == history.last_messages(5) == []


def test_upstream_reads_a_topic_after_a_clear(
    broker: Server, opened: Open, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(5), 30.0)
    history.clear()
    history.add_messages(_numbered(3, 5), 30.0)
    theirs = Upstream(session_id, broker.address)
    assert _contents(theirs.messages_from_beginning(3, 20)) == _digits(3, 5)


def test_a_read_that_waits_does_not_count_markers(opened: Open) -> None:
    history = opened()
    history.add_messages(_numbered(2), 30.0)

    async def wait_and_clear() -> list[BaseMessage]:
        waiting = asyncio.ensure_future(history.amessages_from_latest(1, 10.0))
        await asyncio.sleep(0.5)
        await history.aclear()
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await history.aadd_messages(_numbered(1, 7))
        return await waiting

    assert _contents(asyncio.run(wait_and_clear())) == ["7"]


def test_a_marker_that_another_read_saw_meanwhile_clears_what_was_read(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker still has the records, as after a crash, and a whole read ends during this one."""
    monkeypatch.setattr(clearing, "_delete", lambda call, ends: None)
    history, consuming = opened(reads="replay"), opened()
    history.add_messages(_numbered(4), 30.0)
    history.clear()
    history.add_messages(_numbered(3, 100), 30.0)
    with history._call() as call:
        topic = topics.find(call)
        assert topic is not None
        topic.log.cleared.clear()  # as in a process that has only just asked where to begin
        begin = topics.bounds(call, topic)
        assert len(history.messages) == 3
        assert topic.log.cleared == {0: 5}
        found = reading.read(call, topic, known_bounds=begin, limit=2)
    assert [record.offset() for record in found.records][:2] == [5, 6]
    assert found.reached[0] == 7
    assert _contents(consuming.messages_from_beginning(2)) == _digits(2, 100)


@pytest.mark.parametrize("fails", ["look-up", "topic-changed"])
def test_a_clear_that_fails_after_its_marker_was_sent_does_not_say_that_nothing_was_done(
    opened: Open, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    history = opened(reads="replay", timeout_sec=2)
    opened(timeout_sec=30).add_messages(_numbered(2), 30.0)

    def unreachable(*_: Any) -> Any:
        raise UnreachableError(KafkaError(KafkaError._TIMED_OUT), "could not look up the topic")

    if fails == "look-up":  # directly after the marker was acknowledged: it is done
        history.clear()
        history.add_messages(_numbered(2, 10), 30.0)
        monkeypatch.setattr(clearing, "count_partitions", unreachable)
        history.clear()
    else:  # while the acknowledgement is awaited
        waited = Adding.wait

        def wait(self: Adding) -> None:
            waited(self)
            monkeypatch.setattr(topics, "find", unreachable)
            raise TopicChanged(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

        monkeypatch.setattr(Adding, "wait", wait)
        with pytest.raises(UnreachableError, match="may be cleared") as caught:
            history.clear()
        assert caught.value.outcome_unknown
    monkeypatch.undo()
    assert history.messages == []


def test_a_clear_that_was_not_acknowledged_is_an_error(broker: Server, opened: Open) -> None:
    history = opened(reads="replay", timeout_sec=1)
    opened(timeout_sec=30).add_messages(_numbered(2), 30.0)
    broker.pause()
    try:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=history.session_id) as caught:
            history.clear()
        assert time.monotonic() - started < 8
    finally:
        broker.resume()
    assert isinstance(caught.value.outcome_unknown, bool)


# Limits.


def test_adds_keep_their_limit_while_64_reads_wait(broker: Server, opened: Open) -> None:
    histories = [opened(f"limit-{uuid.uuid4().hex}", timeout_sec=30) for _ in range(4)]
    for history in histories:
        history.add_messages(_numbered(1), 30.0)
    impatient = [opened(h.session_id, reads="replay", timeout_sec=3) for h in histories]

    async def timed(call: Any) -> tuple[float, Any]:
        started = time.monotonic()
        try:
            outcome = await call
        except Exception as error:
            outcome = error
        return time.monotonic() - started, outcome

    async def stall() -> tuple[list[Any], list[Any]]:
        broker.pause()
        reads = [asyncio.ensure_future(timed(impatient[n % 4].aget_messages())) for n in range(64)]
        await asyncio.sleep(0.3)
        adds = [timed(h.aadd_messages(_numbered(1), 2.0)) for h in impatient]
        bounded = timed(impatient[0].amessages_from_last_consumed(1, 1.0))
        short = await asyncio.gather(*adds, bounded)
        return await asyncio.gather(*reads), short

    try:
        reads, short = asyncio.run(stall())
    finally:
        broker.resume()
    for _, error in (*reads, *short):
        assert isinstance(error, (ConnectionError, TimeoutError)), error
        assert "session" in str(error)
    assert max(took for took, _ in reads) < 9
    assert max(took for took, _ in short) < 8


def test_messages_that_are_dropped_with_their_producer_name_the_time_limit(
    broker: Server, opened: Open
) -> None:
    """librdkafka reports a failure for good for a dropped request. The time limit is the cause."""
    histories = [opened(f"dropped-{uuid.uuid4().hex}", timeout_sec=30) for _ in range(8)]
    for history in histories:
        history.add_messages(_numbered(1), 30.0)
    sender = Sender({"bootstrap.servers": broker.address})
    warm = [sender.send(h.session_id, ["{}"], time.monotonic() + 30) for h in histories]
    for receipt in warm:
        receipt.wait(time.monotonic() + 30)
    broker.pause()
    try:
        deadline = time.monotonic() + 0.5
        receipts = [sender.send(h.session_id, ["{}"] * 20, deadline) for h in histories]
        for receipt in receipts:
            receipt.wait(deadline + 10)
    finally:
        broker.resume()
        sender.stop()
    outcomes = [outcome for receipt in receipts for outcome in receipt.outcomes]
    codes = {o.error.code() if isinstance(o, Failure) else o for o in outcomes}
    assert codes == {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}


# Transactions of others.


def test_messages_behind_an_open_transaction_are_not_left_out(
    broker: Server, opened: Open, session_id: str
) -> None:
    history = opened(reads="replay", timeout_sec=1.5)
    history.add_messages(_numbered(1), 30.0)
    foreign = Producer({"bootstrap.servers": broker.address, "transactional.id": session_id})
    foreign.init_transactions(20)
    foreign.begin_transaction()
    foreign.produce(session_id, encode(HumanMessage("foreign")).encode(), partition=0)
    foreign.flush(20)
    history.add_messages(_numbered(1, 1), 30.0)
    consuming = opened(timeout_sec=1.5)
    assert _contents(consuming.messages_from_beginning(5, 0.5)) == ["0"]
    reads: list[Callable[[], Any]] = [
        lambda: history.messages,
        lambda: history.last_messages(1),
        lambda: consuming.messages,
        lambda: consuming.messages_from_last_consumed(5, 0.5),
    ]
    for read in reads:
        started = time.monotonic()
        with pytest.raises(OpenTransactionError, match="another client is open") as caught:
            read()
        assert time.monotonic() - started < 8
        assert not caught.value.outcome_unknown
    foreign.abort_transaction(20)
    patient = opened(reads="replay", timeout_sec=30)
    assert _contents(patient.messages) == _digits(2)
    assert _contents(patient.last_messages(1)) == ["1"]


def test_a_transaction_that_ends_in_time_only_delays_a_read(
    broker: Server, opened: Open, session_id: str
) -> None:
    history = opened(reads="replay")
    history.add_messages(_numbered(1), 30.0)
    foreign = Producer({"bootstrap.servers": broker.address, "transactional.id": session_id})
    foreign.init_transactions(20)
    foreign.begin_transaction()
    foreign.produce(session_id, encode(HumanMessage("1")).encode(), partition=0)
    foreign.flush(20)
    commit = threading.Timer(1.0, foreign.commit_transaction, [20])
    commit.start()
    assert _contents(history.messages) == _digits(2)
    commit.join()


class _Troubled:
    """A consumer of a broker that is silent at first, and does not answer two questions."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._silent = 1
        self._unanswered = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout: float) -> Any:
        if self._silent:
            self._silent -= 1
            time.sleep(0.3)  # the records arrive meanwhile
            return None
        return self._consumer.poll(timeout)

    def list_topics(self, *arguments: Any, **named: Any) -> Any:
        if self._unanswered:
            self._unanswered -= 1
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))
        return self._consumer.list_topics(*arguments, **named)


def test_a_read_loses_no_record_while_it_asks_a_troubled_broker(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, consuming = opened(reads="replay", timeout_sec=10), opened(timeout_sec=10)
    history.add_messages(_numbered(6), 30.0)
    lent = Clients.consumer

    @contextlib.contextmanager
    def consumer(self: Clients) -> Iterator[Any]:
        with lent(self) as real:
            yield _Troubled(real)

    monkeypatch.setattr(Clients, "consumer", consumer)
    assert _contents(history.messages) == _digits(6)
    assert _contents(history.last_messages(4)) == _digits(4, 2)
    assert _contents(consuming.messages_from_last_consumed(1)) == ["0"]
    assert _contents(consuming.messages_from_last_consumed(3)) == _digits(3, 1)
    assert _contents(consuming.messages_from_last_consumed()) == _digits(2, 4)
    assert _contents(consuming.messages_from_beginning(4)) == _digits(4)


# Reads that begin before the brokers have reported the ends.


def _produce(broker: Server, topic: str, messages: list[BaseMessage], partition: int = 0) -> None:
    """Add messages as another process would."""
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})
    for message in messages:
        producer.produce(topic, encode(message).encode(), partition=partition)
    assert producer.flush(30) == 0


def test_a_later_read_of_a_log_that_was_not_cleared_asks_for_the_end_only(
    opened: Open, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, consuming = opened(reads="replay"), opened()
    history.add_messages(_numbered(20), 30.0)
    assert len(history.messages) == 20
    asked: list[int] = []
    ask = topics._offsets

    def offsets(call: Any, asker: Any, partitions: int, which: int) -> dict[int, int]:
        asked.append(which)
        return ask(call, asker, partitions, which)

    monkeypatch.setattr(topics, "_offsets", offsets)
    assert _contents(history.messages) == _digits(20)
    assert _contents(history.last_messages(3)) == _digits(3, 17)
    assert _contents(consuming.messages_from_beginning(2)) == _digits(2)
    assert _contents(consuming.messages) == _digits(18, 2)
    assert set(asked) == {OFFSET_END}
    history.clear()  # from now on, the topic may have been created again since
    history.add_messages(_numbered(2, 100), 30.0)
    asked.clear()
    assert _contents(history.messages) == _digits(2, 100)
    assert _contents(history.last_messages(1)) == ["101"]
    assert asked == 2 * [OFFSET_BEGINNING, OFFSET_END]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_read_ends_at_the_ends_that_the_brokers_report_and_not_where_its_fetch_ended(
    broker: Server,
    opened: Open,
    session_id: str,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """The fetch meets the end of the log while the ends change, as with a leader that is behind."""
    history, consuming = opened(reads="replay"), opened()
    history.add_messages(_numbered(3), 30.0)
    assert len(history.messages) == len(history.last_messages(3)) == 3
    ask, added = topics.bounds, 3

    def bounds(call: Any, topic: Any) -> Any:
        nonlocal added
        found = ask(call, topic) if moment == "after" else None
        time.sleep(0.3)  # the records and the end of the log arrive
        _produce(broker, session_id, _numbered(2, added))
        added += 2
        time.sleep(0.3)
        return found or ask(call, topic)

    monkeypatch.setattr(reading, "bounds", bounds)
    reads: list[tuple[Callable[[], list[BaseMessage]], bool]] = [
        (lambda: history.messages, True),
        (lambda: history.last_messages(4), False),
        (lambda: consuming.messages, True),
    ]
    for read, from_start in reads:
        seen = added + 2 * (moment == "before")
        expected = _digits(seen) if from_start else _digits(4, seen - 4)
        assert _contents(read()) == expected


def test_a_read_begins_where_it_must_if_another_process_has_changed_the_log(
    broker: Server, opened: Open, admin: AdminClient, session_id: str
) -> None:
    _create(admin, session_id, 3)
    history = opened(reads="replay")
    history.add_messages(_numbered(5), 30.0)
    assert _contents(history.messages) == _digits(5)
    assert _contents(history.last_messages(2)) == _digits(2, 3)
    _produce(broker, session_id, _numbered(1, 5))  # a few more than the process knows of
    assert _contents(history.last_messages(2)) == _digits(2, 4)
    _produce(broker, session_id, _numbered(2500, 6))  # many more
    assert _contents(history.last_messages(2)) == _digits(2, 2504)
    _produce(broker, session_id, _numbered(1, 2506), partition=2)  # in a partition that was empty
    assert _contents(history.last_messages(2)) == _digits(2, 2505)
    assert _contents(history.messages) == _digits(2507)
    place = TopicPartition(session_id, 0, 2504)
    admin.delete_records([place])[place].result(20)
    assert _contents(history.messages) == _digits(3, 2504)
    assert _contents(history.last_messages(2)) == _digits(2, 2505)
    assert _contents(history.last_messages(9)) == _digits(3, 2504)


def test_a_topic_that_was_created_again_is_read_from_its_first_record(
    broker: Server, opened: Open, admin: AdminClient, session_id: str
) -> None:
    """Its predecessor began at a later offset, for its records were deleted without a clear."""
    history = opened(reads="replay", timeout_sec=30)
    history.add_messages(_numbered(6), 30.0)
    place = TopicPartition(session_id, 0, 4)
    admin.delete_records([place])[place].result(20)
    assert _contents(history.messages) == _digits(2, 4)
    assert _contents(history.last_messages(5)) == _digits(2, 4)
    admin.delete_topics([session_id])[session_id].result(20)
    time.sleep(0.3)
    _create(admin, session_id)
    _produce(broker, session_id, _numbered(9, 100))
    assert _contents(history.messages) == _digits(9, 100)
    assert _contents(history.last_messages(8)) == _digits(8, 101)


def test_the_first_read_of_a_topic_by_a_client_does_not_wait(
    opened: Open, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has not seen a topic looks for its leaders only once a second."""
    opened(f"{session_id}-0", reads="replay").add_messages(_numbered(2), 30.0)
    assert _contents(opened(f"{session_id}-0", reads="replay").messages) == _digits(2)
    waits: list[str] = []
    check = topics.check_unchanged

    def waited(call: Any, *arguments: Any) -> None:
        waits.append(call.topic)
        check(call, *arguments)

    monkeypatch.setattr(reading, "check_unchanged", waited)
    for number in range(1, 11):
        history = opened(f"{session_id}-{number}", reads="replay", timeout_sec=30)
        history.add_messages(_numbered(2), 30.0)
        assert _contents(history.messages) == _digits(2)
    assert waits == []


# What a process knows about a log.


def test_a_log_state_knows_only_connected_ranges() -> None:
    log = LogState()
    log.saw_records(0, 0, 5)
    assert log.unscanned(0, 3) == 5
    log.saw_records(0, 5, 9)
    assert log.unscanned(0, 0) == 9
    log.saw_records(0, 100, 200)  # larger, and not connected
    assert log.unscanned(0, 0) == 0
    assert log.unscanned(0, 150) == 200
    assert log.unscanned(0, 200) == 200


def test_a_topic_that_keeps_changing_is_an_error_in_the_end(opened: Open) -> None:
    history = opened(timeout_sec=1)
    opened(timeout_sec=30).add_messages(_numbered(1), 30.0)

    def change(topic: Any) -> None:
        raise TopicChanged(KafkaError(KafkaError._AUTO_OFFSET_RESET, "gone"))

    with history._call() as call, pytest.raises(UnreachableError):
        topics.with_topic(call, "read the messages", change, None)
