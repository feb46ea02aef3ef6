"""Tests of the rights that the Kafka history needs, on a broker with SASL and an authorizer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from langchain_core.messages import HumanMessage

from chat_history_backends.kafka import KafkaChatMessageHistory, KafkaHistoryError, topics
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server

Right = tuple[ResourceType, AclOperation]

CREATE: Right = (ResourceType.TOPIC, AclOperation.CREATE)
DESCRIBE_CONFIGS: Right = (ResourceType.TOPIC, AclOperation.DESCRIBE_CONFIGS)
WRITE: Right = (ResourceType.TOPIC, AclOperation.WRITE)
READ: Right = (ResourceType.TOPIC, AclOperation.READ)
DELETE: Right = (ResourceType.TOPIC, AclOperation.DELETE)
READ_GROUP: Right = (ResourceType.GROUP, AclOperation.READ)
LISTED = (CREATE, DESCRIBE_CONFIGS, WRITE, READ, DELETE, READ_GROUP)
"""The rights that docs/kafka.md lists."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """Start a broker that lets `app` do only what it was granted."""
    with launcher.start(
        "kafka",
        "jvm",
        announce=print,
        credentials={"admin": "a", "app": "b"},
        properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
        },
    ) as server:
        yield server


def _config(user: str, password: str, **more: Any) -> dict[str, Any]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
        **more,
    }


class Site:
    """A prefix of topics and groups, its administrator, and a history of the user `app`."""

    def __init__(self, server: Server) -> None:
        self.prefix = f"site-{uuid.uuid4().hex}-"
        self.session = f"{self.prefix}s"
        self.address = server.address
        self.admin = AdminClient({"bootstrap.servers": server.address, **_config("admin", "a")})
        # Its own client id, so that the clients of another test are not shared.
        self.config = _config("app", "b", **{"client.id": self.prefix})

    def grant(self, *rights: Right) -> None:
        bindings = [self._binding(right) for right in rights]
        for future in self.admin.create_acls(bindings).values() if bindings else ():
            future.result(10)
        time.sleep(0.5)  # the broker applies them a moment later

    def revoke(self, right: Right) -> None:
        resource, operation = right
        for future in self.admin.delete_acls(
            [
                AclBindingFilter(
                    resource,
                    self.prefix,
                    ResourcePatternType.PREFIXED,
                    "User:app",
                    "*",
                    operation,
                    AclPermissionType.ALLOW,
                )
            ]
        ).values():
            future.result(10)
        time.sleep(0.5)

    def _binding(self, right: Right) -> AclBinding:
        resource, operation = right
        return AclBinding(
            resource,
            self.prefix,
            ResourcePatternType.PREFIXED,
            "User:app",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )

    def create_topic(self, **config: str) -> None:
        new = NewTopic(
            self.session, 1, 1, config={n.replace("_", "."): v for n, v in config.items()}
        )
        self.admin.create_topics([new])[self.session].result(10)
        time.sleep(0.5)

    def open(self, **arguments: Any) -> KafkaChatMessageHistory:
        return KafkaChatMessageHistory(
            self.session, self.address, partition=1, config=self.config, **arguments
        )

    def count(self) -> int:
        """Return how many records the topic has."""
        consumer = Consumer(
            {"bootstrap.servers": self.address, **_config("admin", "a"), "group.id": "count"}
        )
        first, end = consumer.get_watermark_offsets(TopicPartition(self.session, 0), timeout=10)
        consumer.close()
        return int(end) - int(first)


@pytest.fixture
def site(guarded: Server) -> Site:
    return Site(guarded)


def test_with_the_listed_rights_all_methods_work(site: Site) -> None:
    site.grant(*LISTED)
    with site.open() as history:
        history.add_messages([HumanMessage("1"), HumanMessage("2")])
        assert [m.content for m in history.messages] == ["1", "2"]
        assert [m.content for m in history.messages_from_beginning(1)] == ["1"]
        assert [m.content for m in history.messages_from_last_consumed()] == ["2"]
        assert history.messages_from_latest() == []
        assert [m.content for m in history.last_messages(1)] == ["2"]
        assert history.num_partitions == 1
        history.discard("0:0")
        history.clear()
        history.add_messages([HumanMessage("3")])
        assert [m.content for m in history.messages] == ["3"]


def _add(history: KafkaChatMessageHistory) -> Any:
    history.add_messages([HumanMessage("new")])


@pytest.mark.parametrize(
    ("missing", "exists", "call", "words"),
    [
        (CREATE, False, _add, "Create on the topic"),
        (WRITE, True, _add, "Write on the topic"),
        (READ, True, lambda history: history.last_messages(1), "Read on the topic"),
        (READ, True, lambda history: history.messages, "Read on the topic"),
        (READ_GROUP, True, lambda history: history.messages, "Read on the group"),
        (DELETE, True, lambda history: history.clear(), "Delete on the topic"),
        (WRITE, True, lambda history: history.clear(), "Write on the topic"),
    ],
)
def test_a_missing_right_is_named_and_nothing_happens(
    site: Site,
    missing: Right,
    exists: bool,
    call: Callable[[KafkaChatMessageHistory], Any],
    words: str,
) -> None:
    site.grant(*(right for right in LISTED if right != missing))
    if exists:
        site.create_topic()
    with site.open() as history:
        if exists and missing != WRITE:
            history.add_messages([HumanMessage("old")])
        before = site.count() if exists else 0
        with pytest.raises(KafkaHistoryError, match=words) as caught:
            call(history)
        assert site.session in str(caught.value)
        assert not caught.value.outcome_unknown
        if exists:
            assert site.count() == before
        site.grant(missing)
        call(history)


def test_a_user_who_may_not_create_topics_adds_to_one_that_a_broker_does_not_know_yet(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.grant(*(right for right in LISTED if right != CREATE))
    site.create_topic()
    count = topics.count_partitions
    unknown = [True]

    def counted(call: Any, client: Any, *, adding: bool = False) -> int | None:
        return None if unknown and unknown.pop() else count(call, client, adding=adding)

    monkeypatch.setattr(topics, "count_partitions", counted)
    with site.open(reads="replay") as history:
        history.add_messages([HumanMessage("1")])
        assert [m.content for m in history.messages] == ["1"]
    assert not unknown


def test_without_the_right_to_read_settings_everything_else_works(site: Site) -> None:
    site.grant(*(right for right in LISTED if right != DESCRIBE_CONFIGS))
    site.create_topic()
    with site.open() as history:
        history.add_messages([HumanMessage("1")])
        assert [m.content for m in history.messages] == ["1"]
        history.clear()


def test_a_user_who_may_write_nothing_gets_a_clear_error_and_can_add_once_the_right_is_there(
    site: Site,
) -> None:
    site.create_topic()
    site.grant(READ)
    with site.open(reads="replay") as history:
        for _ in range(2):
            with pytest.raises(KafkaHistoryError, match="Write on the topic") as caught:
                history.add_messages([HumanMessage("1")])
            assert not caught.value.outcome_unknown
        assert history.messages == []
        site.grant(WRITE)
        history.add_messages([HumanMessage("2")])
        assert [m.content for m in history.messages] == ["2"]


def test_a_right_that_is_withdrawn_and_granted_again_leaves_other_sessions_alone(
    site: Site,
) -> None:
    other = Site.__new__(Site)
    other.__dict__.update(
        site.__dict__, prefix=f"other-{site.prefix}", session=f"other-{site.session}"
    )
    other.grant(*LISTED)
    site.grant(*LISTED)
    with site.open(reads="replay") as history, other.open(reads="replay") as unaffected:
        history.add_messages([HumanMessage("1")])
        site.revoke(WRITE)
        for number in range(3):
            with pytest.raises(KafkaHistoryError, match="Write on the topic") as caught:
                history.add_messages([HumanMessage("refused")])
            assert not caught.value.outcome_unknown
            unaffected.add_messages([HumanMessage(str(number))])
        site.grant(WRITE)
        history.add_messages([HumanMessage("2")])
        assert [m.content for m in history.messages] == ["1", "2"]
        assert [m.content for m in unaffected.messages] == ["0", "1", "2"]
