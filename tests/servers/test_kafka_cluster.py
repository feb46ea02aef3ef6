"""A real cluster of three Kafka brokers: its members, their roles, and faults of one of them."""

from __future__ import annotations

import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewTopic,
    PartitionMetadata,
)

from chat_history_conformance.servers import ServerError, kafka_requests, launcher, process
from chat_history_conformance.servers.cluster import Cluster
from chat_history_conformance.servers.kafka_cluster import KafkaControl, group_partition
from chat_history_conformance.servers.network import Namespaces
from chat_history_conformance.servers.server import Member, Server, Unsupported
from tests.servers.waiting import until

HEALTHY_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """Start a cluster that the tests of this module disturb, and check that nothing stays."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", directory)
        with launcher.start("kafka", "jvm:3", announce=print) as server:
            patch.undo()
            yield server
        assert list(Path(directory).iterdir()) == []
        assert isinstance(server, Cluster)
        if isinstance(server._network, Namespaces):
            device = server._network.device
            assert device not in {name for _, name in socket.if_nameindex()}


@pytest.fixture
def topic(cluster: Server) -> str:
    """Return a topic with three replicas, of a healthy cluster."""
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    name = f"session-{uuid.uuid4().hex}"
    client = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
    client.create_topics([NewTopic(name, 1, 3)])[name].result(30)
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    return name


def partition_of(client: AdminClient, topic: str) -> PartitionMetadata:
    """Return the only partition of a topic, as soon as the broker that is asked knows it."""
    found: dict[int, PartitionMetadata] = {}

    def is_known() -> bool:
        found.update(client.list_topics(topic, timeout=10).topics[topic].partitions)
        return bool(found)

    until(is_known, "the topic is not known")
    return found[0]


def error_of_write(address: str, topic: str, seconds: float) -> KafkaError | None:
    """Write a record by these brokers; return the error, or None if it was acknowledged."""
    errors: list[KafkaError | None] = []
    settings = {
        "bootstrap.servers": address,
        "message.timeout.ms": int(seconds * 1000),
        "log_level": 0,
    }
    producer = Producer(settings)
    producer.produce(topic, b"text", partition=0, on_delivery=lambda error, _: errors.append(error))
    producer.flush(seconds + 10)
    return errors[0]


def acknowledged(address: str, topic: str) -> bool:
    return error_of_write(address, topic, 5) is None


def holder(cluster: Server, role: str, session: str) -> str:
    """Return the name of the holder of a role; empty if none is up."""
    try:
        return cluster.holder(role, session).name
    except ServerError:
        return ""


def others(cluster: Server, member: Member) -> str:
    return ",".join(other.address for other in cluster.members if other is not member)


def test_all_members_are_named_and_are_the_address(cluster: Server) -> None:
    assert [member.name for member in cluster.members] == ["1", "2", "3"]
    assert cluster.address == ",".join(member.address for member in cluster.members)
    assert {member.state for member in cluster.members} == {"up"}
    assert cluster.description.startswith("4.1.1 (jvm:3, ")
    found = launcher.start("kafka", cluster.address, announce=print)
    assert (found.way, found.members, found.roles) == ("address", (), ())


def test_replication_is_the_default_of_new_topics(cluster: Server, topic: str) -> None:
    client = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
    name = f"default-{topic}"
    client.create_topics([NewTopic(name, 1)])[name].result(30)
    assert len(partition_of(client, name).replicas) == 3


@pytest.mark.parametrize("end", ["kill", "shut_down"])
def test_another_member_leads_if_the_leader_ends(cluster: Server, topic: str, end: str) -> None:
    leader = cluster.holder("leader", topic)
    assert acknowledged(cluster.address, topic)
    getattr(leader, end)()
    assert leader.state == "down"
    assert f"member {leader.name}: its process ended" in cluster.ended()
    until(
        lambda: holder(cluster, "leader", topic) not in ("", leader.name), "no other member leads"
    )
    assert acknowledged(others(cluster, leader), topic)
    with pytest.raises(ServerError, match=rf"not healthy: .*member {leader.name}: its process"):
        cluster.wait_until_healthy(0.5)
    address = leader.address
    leader.restart()
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert (leader.address, leader.state, cluster.ended()) == (address, "up", "")


def test_the_coordinator_leads_the_partition_of_the_group(cluster: Server, topic: str) -> None:
    consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": topic, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    client = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
    metadata = client.list_topics(timeout=10)
    partitions = metadata.topics["__consumer_offsets"].partitions
    expected = partitions[group_partition(topic, len(partitions))].leader
    assert cluster.holder("coordinator", topic).name == str(expected)


def test_a_role_of_a_member_that_does_not_answer_is_an_error(cluster: Server, topic: str) -> None:
    controller = cluster.holder("controller", topic)
    controller.pause()
    assert controller.state == "paused"
    with pytest.raises(ServerError, match=f"member {controller.name} of kafka is the controller, "):
        cluster.holder("controller", topic)
    with pytest.raises(ServerError, match=f"not healthy: member {controller.name} is paused"):
        cluster.wait_until_healthy(0.5)
    until(lambda: holder(cluster, "controller", topic) != "", "no other member is elected")
    controller.resume()
    with pytest.raises(Unsupported, match="its roles are leader, coordinator, controller"):
        cluster.holder("master", topic)


def test_a_leader_that_is_cut_off_acknowledges_nothing(cluster: Server, topic: str) -> None:
    if cluster.why_no_partition:
        pytest.skip(cluster.why_no_partition)
    leader = cluster.holder("leader", topic)
    cluster.cut_off(leader)
    cluster.cut_off(leader)  # does nothing
    error = error_of_write(leader.address, topic, 3)
    assert error is not None
    assert leader.state == "up"
    until(
        lambda: holder(cluster, "leader", topic) not in ("", leader.name), "no other member leads"
    )
    until(lambda: acknowledged(others(cluster, leader), topic), "the majority takes no records")
    with pytest.raises(ServerError, match=f"not healthy: member {leader.name} is cut off"):
        cluster.wait_until_healthy(0.5)
    cluster.reconnect(leader)
    cluster.reconnect(leader)  # does nothing
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert acknowledged(leader.address, topic)


def test_reassigned_data_has_another_leader_and_all_its_replicas(
    cluster: Server, topic: str
) -> None:
    leader = cluster.holder("leader", topic)
    cluster.reassign(topic)
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert cluster.holder("leader", topic).name != leader.name
    client = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
    assert sorted(partition_of(client, topic).replicas) == [1, 2, 3]
    with pytest.raises(ServerError, match="no topic of the session nowhere exists yet"):
        cluster.reassign("nowhere")


@pytest.mark.parametrize("end", ["kill", "shut_down", "pause"])
def test_a_fault_of_the_cluster_is_a_fault_of_all_members(
    cluster: Server, topic: str, end: str
) -> None:
    address = cluster.address
    getattr(cluster, end)()
    states = {member.state for member in cluster.members}
    assert states == {"paused" if end == "pause" else "down"}
    with pytest.raises(ServerError, match="no member of kafka is up"):
        cluster.holder("leader", topic)
    revive: Callable[[], None] = cluster.resume if end == "pause" else cluster.restart
    revive()
    assert cluster.address == address
    assert acknowledged(cluster.address, topic)


def test_the_last_member_of_a_shut_down_is_killed_because_it_waits_in_vain(
    cluster: Server, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SHUT_DOWN_SECONDS", 600.0)
    for member in cluster.members[:2]:
        member.kill()
    started = time.monotonic()
    cluster.shut_down()
    assert time.monotonic() - started < 60
    assert {member.state for member in cluster.members} == {"down"}
    cluster.restart()
    assert acknowledged(cluster.address, topic)


def test_a_refused_move_is_an_error(cluster: Server, topic: str) -> None:
    assert isinstance(cluster, Cluster)
    assert isinstance(cluster._control, KafkaControl)
    with pytest.raises(ServerError, match=rf"does not move the replicas of the topic {topic} "):
        kafka_requests.move_replicas(cluster._control._inside[0], {topic: [77]}, 5)


@pytest.mark.parametrize(
    ("group", "expected"),
    [("", 0), ("a", 97 % 50), ("polygenelubricants", 0), ("hello", 99162322 % 50), ("ü🙂", 37)],
)
def test_groups_are_hashed_as_in_java(group: str, expected: int) -> None:
    # The hash of "polygenelubricants" is the least integer, whose absolute value is too large.
    assert group_partition(group, 50) == expected
