"""Tests of adding on three brokers: each message is stored once, and errors are true."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from langchain_core.messages import HumanMessage

from chat_history_backends.kafka import KafkaChatMessageHistory, KafkaHistoryError, clients
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    with launcher.start("kafka", "jvm:3", announce=print) as server:
        yield server


@pytest.fixture
def session(cluster: Server) -> str:
    """Create a topic with two replicas that both have to store each message."""
    name = f"test-{uuid.uuid4().hex}"
    settings = {"min.insync.replicas": "2"}
    new = NewTopic(name, 1, replica_assignment=[[1, 2]], config=settings)
    admin = AdminClient({"bootstrap.servers": cluster.address})
    admin.create_topics([new])[name].result(30)
    time.sleep(1)
    return name


def test_a_message_is_stored_once_while_others_run_out_of_time(
    cluster: Server, session: str
) -> None:
    """A frozen follower delays the acknowledgements by about the limit of the calls.

    The first calls run out of time and later ones do not. If a message that runs out of time made
    the producer change its epoch, the later messages would be stored under both epochs.
    """
    history = KafkaChatMessageHistory(session, cluster.address, reads="replay", timeout_sec=30)
    outcomes: dict[str, KafkaHistoryError | None] = {}

    def add(text: str) -> None:
        try:
            history.add_messages([HumanMessage(text)], 5.0)
            outcomes[text] = None
        except KafkaHistoryError as error:
            outcomes[text] = error

    callers: list[threading.Thread] = []
    follower = cluster.members[1]
    history.add_messages([HumanMessage("first")], 30.0)
    for _ in range(4):
        follower.pause()
        until = time.monotonic() + 5.6
        while time.monotonic() < until:
            callers.append(threading.Thread(target=add, args=(str(len(callers)),)))
            callers[-1].start()
            time.sleep(0.45)
        follower.resume()
        cluster.wait_until_healthy(60)
        time.sleep(2)
    for caller in callers:
        caller.join()
    time.sleep(2)
    counts = Counter(str(message.content) for message in history.messages)
    assert {text: count for text, count in counts.items() if count > 1} == {}
    for text, error in outcomes.items():
        if error is None:
            assert counts[text] == 1
        elif not error.outcome_unknown:
            assert counts[text] == 0
    assert any(error is None for error in outcomes.values())
    history.close()


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_broker_that_the_admin_client_asks_may_fail(cluster: Server, fault: str) -> None:
    name = f"test-{uuid.uuid4().hex}"
    history = KafkaChatMessageHistory(name, cluster.address, reads="replay", timeout_sec=20)
    assert history.messages == []
    with clients.lease(history, cluster.address, {}) as shared:
        asked = shared.admin.list_topics(name, timeout=10).controller_id
        others = [int(member.name) for member in cluster.members if int(member.name) != asked]
        new = NewTopic(name, 1, replica_assignment=[others])
        shared.admin.create_topics([new])[name].result(30)
        time.sleep(1)
        member = cluster.members[asked - 1]
        getattr(member, fault)()
        try:
            history.add_messages([HumanMessage("first")], 20.0)
            assert [message.content for message in history.messages] == ["first"]
            history.clear()
        finally:
            member.resume() if fault == "pause" else member.restart()
            cluster.wait_until_healthy(60)
    history.close()


def test_the_first_add_gets_a_producer_id_while_the_controller_is_frozen() -> None:
    """Only a new broker has no producer ids, and has to ask the controller for them."""
    with launcher.start("kafka", "jvm:3", announce=print) as cluster:
        name = f"test-{uuid.uuid4().hex}"
        history = KafkaChatMessageHistory(name, cluster.address, reads="replay", timeout_sec=25)
        controller = cluster.holder("controller", name)
        others = [int(one.name) for one in cluster.members if one.name != controller.name]
        admin = AdminClient({"bootstrap.servers": cluster.address})
        admin.create_topics([NewTopic(name, 1, replica_assignment=[others])])[name].result(30)
        assert history.messages == []
        controller.pause()
        try:
            history.add_messages([HumanMessage("first")], 25.0)
            assert [message.content for message in history.messages] == ["first"]
        finally:
            controller.resume()
        history.close()


def test_sessions_stay_cleared_if_all_brokers_are_killed(cluster: Server) -> None:
    names = [f"test-{uuid.uuid4().hex}" for _ in range(8)]
    shared: dict[str, Any] = {"replication_factor": 3, "reads": "replay", "timeout_sec": 30}
    known = [KafkaChatMessageHistory(name, cluster.address, **shared) for name in names]
    for history in known:
        history.add_messages([HumanMessage(str(number)) for number in range(8)], 30.0)
    time.sleep(6)  # brokers write down the ends of their logs every 5 s
    for history in known:
        history.clear()
    cluster.kill()
    cluster.restart()
    cluster.wait_until_healthy(60)
    config = {"client.id": "new"}  # clients that know nothing about the topics
    for name, history in zip(names, known, strict=True):
        new = KafkaChatMessageHistory(name, cluster.address, config=config, **shared)
        assert new.messages == []
        new.add_messages([HumanMessage("new")], 30.0)
        assert [message.content for message in history.messages] == ["new"]
        history.close()
        new.close()


def test_a_refusal_after_an_attempt_with_another_outcome_is_not_called_certain() -> None:
    with launcher.start("kafka", "jvm", announce=print) as broker:
        history = KafkaChatMessageHistory("s", broker.address, reads="replay", timeout_sec=60)
        history.add_messages([HumanMessage("first")], 60.0)
        with clients.lease(history, broker.address, {}) as shared:
            sender = shared.sender
            refusal = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
            broker.pause()
            receipt = sender.send("s", ["{}"], time.monotonic() + 60)
            assert sender._failure(receipt, refusal).is_sure
            time.sleep(0.5)
            broker.kill()
            broker.restart()
            receipt.wait(time.monotonic() + 60)
            assert receipt.ok
            assert not sender._failure(receipt, refusal).is_sure
        history.close()
