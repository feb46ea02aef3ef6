"""Questions to a cluster of Kafka brokers: who leads, who coordinates, is it healthy."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat_history_conformance.servers import ServerError, kafka_requests
from chat_history_conformance.servers.jvm import Control
from chat_history_conformance.servers.kind import Launch, NotReady

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata

__all__ = [
    "KafkaControl",
    "group_partition",
]

_SECONDS = 3.0
_MOVE_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_GROUPS = "__consumer_offsets"


class KafkaControl(Control):
    """Questions to brokers that are controllers too.

    Args:
        launches: How each member runs.
        inside: The addresses of the members for each other, which demand no credentials.
        directories: The directories of the members.
    """

    roles = ("leader", "coordinator", "controller")

    def __init__(
        self, launches: Sequence[Launch], inside: Sequence[str], directories: Sequence[Path]
    ) -> None:
        self._addresses = [launch.address for launch in launches]
        self._config = launches[0].config
        self._identity = launches[0].identity
        self._inside = inside
        self._directories = directories

    def holder(self, role: str, session: str, up: Sequence[int]) -> int:
        if role == "controller":
            return self._controller(up)
        metadata = self._metadata(up)
        names = _topics_of(session, metadata)
        if role == "coordinator":
            partitions = metadata.topics[_GROUPS].partitions if _GROUPS in metadata.topics else {}
            if not partitions:
                raise ServerError("no consumer group was used yet, so no member is its coordinator")
            group = names[0] if names else session
            return _leader(partitions[group_partition(group, len(partitions))], f"group {group}")
        if names:
            return _leader(metadata.topics[names[0]].partitions[0], f"topic {names[0]}")
        led = Counter(
            partition.leader
            for name, topic in metadata.topics.items()
            for partition in topic.partitions.values()
            if not name.startswith("__") and partition.leader > 0
        )
        if not led:
            raise ServerError("no topic of a session exists yet, so no member is its leader")
        return led.most_common(1)[0][0]

    def reassign(self, session: str, up: Sequence[int]) -> None:
        metadata = self._metadata(up)
        names = _topics_of(session, metadata)
        if not names:
            raise ServerError(f"no topic of the session {session} exists yet")
        for name in names[:1]:
            for target in _targets(metadata.topics[name].partitions[0], up):
                self._move(name, target, up)

    def check_member(self, number: int, seconds: float) -> None:
        metadata = self._ask(self._addresses[number - 1], seconds)
        if number not in metadata.brokers:
            raise NotReady(f"member {number} has not joined the others yet")

    def check_health(self, seconds: float) -> None:
        try:
            self._controller(range(1, len(self._addresses) + 1))
        except ServerError as error:
            raise NotReady(str(error)) from None
        # A member that was cut off may still believe that all is well: ask each of them.
        for number, address in enumerate(self._addresses, 1):
            metadata = self._ask(address, seconds)
            if missing := set(range(1, len(self._addresses) + 1)) - set(metadata.brokers):
                raise NotReady(f"member {min(missing)} is missing, says member {number}")
            for name, topic in metadata.topics.items():
                for at, partition in topic.partitions.items():
                    if partition.leader < 0:
                        raise NotReady(f"partition {at} of the topic {name} has no leader")
                    if len(partition.isrs) < len(partition.replicas):
                        raise NotReady(f"replicas of the topic {name} are not in sync")

    def _ask(self, address: str, seconds: float) -> ClusterMetadata:
        """Return the metadata that one member knows."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        kafka_requests.check_port(address, seconds)
        settings: dict[str, Any] = {"bootstrap.servers": address, "log_level": 0}
        try:
            metadata = AdminClient({**self._config, **settings}).list_topics(timeout=seconds)
        except KafkaException:
            raise NotReady(f"{address} does not answer within {seconds:.0f} s") from None
        if metadata.cluster_id != self._identity:
            raise NotReady("another Kafka cluster answers there")
        return metadata

    def _metadata(self, up: Sequence[int]) -> ClusterMetadata:
        """Return the metadata of the first member that answers."""
        reasons = []
        for number in up:
            try:
                return self._ask(self._addresses[number - 1], _SECONDS)
            except NotReady as error:
                reasons.append(str(error))
        raise ServerError(f"no member of the cluster answers: {'; '.join(reasons)}")

    def _controller(self, up: Sequence[int]) -> int:
        """Return the leader of the quorum that the members with the newest election know."""
        known: list[tuple[int, int]] = []
        for number in up:
            file = self._directories[number - 1] / "data/__cluster_metadata-0/quorum-state"
            try:
                state = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # it is being written
            known.append((int(state["leaderEpoch"]), int(state["leaderId"])))
        if not known or (leader := max(known)[1]) < 0:
            raise ServerError("the members are electing a controller; no member has this role now")
        return leader

    def _move(self, topic: str, target: Sequence[int], up: Sequence[int]) -> None:
        """Move partition 0 of a topic, and wait until it is there and its replicas are in sync."""
        kafka_requests.move_replicas(self._inside[up[0] - 1], {topic: target}, _SECONDS)
        deadline = time.monotonic() + _MOVE_SECONDS
        while True:
            metadata = self._metadata(up)
            if topic in _topics_of(topic, metadata):
                partition = metadata.topics[topic].partitions[0]
                if sorted(partition.replicas) == sorted(partition.isrs) == sorted(target) and (
                    partition.leader in target
                ):
                    return
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the topic {topic} was not moved to the members {target} within "
                    f"{_MOVE_SECONDS:.0f} s"
                )
            time.sleep(_LOOK_SECONDS)


def group_partition(group: str, partitions: int) -> int:
    """Return the partition of the offsets topic that belongs to a consumer group.

    Args:
        group: The id of the group.
        partitions: The number of partitions of the offsets topic.
    """
    hashed = 0
    data = group.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(data), 2):  # as `String.hashCode` in Java
        hashed = (31 * hashed + int.from_bytes(data[at : at + 2], "big")) % 2**32
    signed = hashed - 2**32 if hashed >= 2**31 else hashed
    return 0 if signed == -(2**31) else abs(signed) % partitions


def _topics_of(session: str, metadata: ClusterMetadata) -> list[str]:
    """Return the topics of a session: with its name, or with its name in theirs.

    A topic without partitions is new, and the member that answered does not know it yet.
    """
    names = (
        name
        for name, topic in metadata.topics.items()
        if session in name and not name.startswith("__") and topic.partitions
    )
    return sorted(names, key=lambda name: (len(name), name))


def _leader(partition: PartitionMetadata, of: str) -> int:
    if partition.leader < 0:
        raise ServerError(f"the {of} has no leader now")
    return int(partition.leader)


def _targets(partition: PartitionMetadata, up: Sequence[int]) -> list[list[int]]:
    """Return where to move the replicas of a partition, one step after the other.

    The leader always changes, and its data is removed there. If all members have a replica, the
    first step removes the leader's, and the second one adds it again.
    """
    leader, replicas = partition.leader, list(partition.replicas)
    others = [one for one in replicas if one != leader and one in up]
    spare = [one for one in up if one not in replicas]
    if spare:
        return [[*spare, *others][: len(replicas)]]
    if not others:
        raise ServerError("no other member that is up can have the data")
    return [others, [*others, leader]]
