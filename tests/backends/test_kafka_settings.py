"""Tests of topics whose settings exclude some messages, and of the settings of new topics."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.kafka import (
    DeliveryError,
    KafkaChatMessageHistory,
    KafkaHistoryError,
    UnreachableError,
    clients,
    topics,
)
from chat_history_backends.kafka.sender import Sender
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server


class Place:
    """A topic with its own settings, and a history that uses it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = f"test-{uuid.uuid4().hex}"
        self.admin = AdminClient({"bootstrap.servers": address})

    def create(self, settings: dict[str, str]) -> None:
        new = NewTopic(self.session, 1, 1, config=settings)
        self.admin.create_topics([new])[self.session].result(10)
        time.sleep(0.5)

    def set(self, **settings: str) -> None:
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, self.session, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(10)
        time.sleep(0.3)

    def settings(self) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, self.session)
        found = self.admin.describe_configs([resource])[resource].result(10)
        return {name: entry.value for name, entry in found.items()}

    def open(self, **arguments: Any) -> KafkaChatMessageHistory:
        return KafkaChatMessageHistory(
            self.session, self.address, partition=1, reads="replay", timeout_sec=30, **arguments
        )


@pytest.fixture
def place(kafka: Server) -> Place:
    return Place(kafka.address)


def _long(count: int, size: int = 1000) -> list[BaseMessage]:
    return [HumanMessage(f"{number} ".ljust(size, "x")) for number in range(count)]


def _numbers(messages: list[BaseMessage]) -> list[int]:
    return [int(str(message.content).split()[0]) for message in messages]


@pytest.mark.parametrize("limit", [2_000, 50_000, 65_536, 70_000])
def test_many_small_messages_fit_into_a_topic_with_a_low_limit(place: Place, limit: int) -> None:
    place.create({"max.message.bytes": str(limit)})
    with place.open() as history:
        history.add_messages(_long(200), 30.0)
        assert _numbers(history.messages) == list(range(200))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_a_low_limit_and_a_compression_of_the_topic_go_together(
    place: Place, compression: str
) -> None:
    place.create({"max.message.bytes": "20000", "compression.type": compression})
    with place.open() as history:
        history.add_messages(_long(100), 30.0)
        assert _numbers(history.messages) == list(range(100))


def test_a_limit_that_is_lowered_while_it_is_known_splits_the_next_batch(place: Place) -> None:
    place.create({})
    with place.open() as history:
        history.add_messages(_long(1))
        place.set(max_message_bytes="20000")
        history.add_messages(_long(200), 30.0)
        assert _numbers(history.messages) == [0, *range(200)]
        with pytest.raises(ValueError, match=r"message 1 of the batch has .*nothing was stored"):
            history.add_messages(_long(1) + _long(1, 30_000))
        place.set(max_message_bytes="100000")
        history.add_messages(_long(1, 30_000))
        assert len(history.messages) == 202


@pytest.mark.parametrize(
    ("settings", "remedy", "words"),
    [
        (
            {"cleanup.policy": "compact"},
            {"cleanup_policy": "delete"},
            "Set its cleanup.policy to delete",
        ),
        (
            {"cleanup.policy": "compact,delete"},
            {"cleanup_policy": "delete"},
            "Set its cleanup.policy to delete",
        ),
        (
            {"message.timestamp.before.max.ms": "1"},
            {"message_timestamp_before_max_ms": "3600000"},
            "Raise message.timestamp.before.max.ms",
        ),
    ],
)
def test_a_topic_that_refuses_messages_is_known_before_anything_is_sent(
    place: Place, settings: dict[str, str], remedy: dict[str, str], words: str
) -> None:
    place.create(settings)
    with place.open() as history:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(KafkaHistoryError, match=words) as caught:
                history.add_messages(_long(2))
            assert time.monotonic() - began < 10
            assert not caught.value.outcome_unknown
            assert place.session in str(caught.value)
        assert history.messages == []
        place.set(**remedy)
        history.add_messages(_long(2))
        assert _numbers(history.messages) == [0, 1]


@pytest.mark.parametrize(
    "settings",
    [
        {"message.timestamp.type": "LogAppendTime"},
        {"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "1"},
        {"message.timestamp.before.max.ms": "5000"},
        {"segment.bytes": "1048576"},
        {"segment.ms": "1000"},
        {"compression.type": "lz4"},
        {"retention.bytes": "100000000"},
        {"min.insync.replicas": "2"},
    ],
)
def test_harmless_settings_of_a_topic_are_accepted(place: Place, settings: dict[str, str]) -> None:
    place.create(settings)
    with place.open() as history:
        for number in range(3):
            history.add_messages([HumanMessage(str(number))])
        assert _numbers(history.messages) == [0, 1, 2]


def test_a_new_topic_does_not_depend_on_the_defaults_of_the_cluster() -> None:
    defaults = {
        "log.cleanup.policy": "compact",
        "log.retention.bytes": "1000",
        "log.retention.ms": "1000",
        "log.message.timestamp.before.max.ms": "1",
        "log.message.timestamp.type": "LogAppendTime",
        "message.max.bytes": "10000",
        "min.insync.replicas": "2",
        "compression.type": "gzip",
        "unclean.leader.election.enable": "true",
    }
    with launcher.start("kafka", "jvm", announce=print, properties=defaults) as server:
        place = Place(server.address)
        with place.open() as history:
            history.add_messages(_long(100), 30.0)
            history.add_messages(_long(1, 50_000))
            assert _numbers(history.messages) == [*range(100), 0]
            settings = place.settings()
        assert settings["cleanup.policy"] == "delete"
        assert settings["retention.bytes"] == "-1"
        assert settings["retention.ms"] == "604800000"
        assert settings["min.insync.replicas"] == "1"
        assert settings["unclean.leader.election.enable"] == "false"


# A producer that failed.


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [RuntimeError("a callback"), SystemExit()])
def test_a_producer_whose_thread_ends_is_replaced(
    place: Place, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Sender, seconds: float) -> None:
        monkeypatch.undo()
        raise error

    with place.open() as history:
        history.add_messages(_long(1))
        monkeypatch.setattr(Sender, "_poll", fail)
        began = time.monotonic()
        with contextlib.suppress(DeliveryError):
            history.add_messages([HumanMessage("1")])
        assert time.monotonic() - began < 10
        history.add_messages([HumanMessage("2")])
        assert _numbers(history.messages) in ([0, 2], [0, 1, 2])


def test_an_exception_in_the_callback_of_one_batch_does_not_stop_the_others(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a callback")

    with place.open() as history:
        history.add_messages(_long(1))
        with clients.lease(history, place.address, {}) as shared:
            first = shared.sender
            receipt = first.send(place.session, ["{}"], time.monotonic() + 5)
            receipt.when_done(fail)
            receipt.wait(time.monotonic() + 5)
            history.add_messages([HumanMessage("2")])
            assert shared.sender is first
    assert "an acknowledgement could not be reported" in caplog.text


# Brokers that do not answer.


def _silence(monkeypatch: pytest.MonkeyPatch, request: str, first: int) -> Callable[[], int]:
    """Let the first requests of a kind stay without an answer, and return their counter."""
    answer = getattr(AdminClient, request)
    asked: list[bool] = []

    def ask(*arguments: Any, **keywords: Any) -> Any:
        asked.append(True)
        if len(asked) <= first:
            return {"no answer": Future[Any]()}
        return answer(*arguments, **keywords)

    monkeypatch.setattr(AdminClient, request, ask)
    return lambda: len(asked)


@pytest.mark.parametrize("request_name", ["describe_configs", "describe_topics"])
def test_a_question_without_an_answer_is_asked_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, request_name: str
) -> None:
    place.create({})
    count = _silence(monkeypatch, request_name, 1)
    with place.open() as history:
        began = time.monotonic()
        assert history.messages == []
        assert time.monotonic() - began < 10
    assert count() == 2


def test_the_last_settings_are_used_if_no_broker_answers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.create({"max.message.bytes": "50000"})
    with place.open() as history:
        history.add_messages(_long(3))
        _silence(monkeypatch, "describe_configs", 1000)
        with history._call() as call:
            topics.forget(call)
        began = time.monotonic()
        assert _numbers(history.messages) == [0, 1, 2]
        history.add_messages(_long(1))
        assert time.monotonic() - began < 20
        with history._call() as call:
            topic = topics.find(call)
        assert topic is not None
        assert topic.max_bytes == 50_000


def test_settings_that_are_old_or_of_another_topic_are_not_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.create({})
    with place.open() as history:
        assert history.messages == []
        _silence(monkeypatch, "describe_configs", 1000)
        history._timeout_sec = 2.0
        with history._call() as call:
            known = call.clients.settings[place.session]
            for wrong in (replace(known, identity="another"), replace(known, read_at=-1000.0)):
                topics.forget(call)
                call.clients.settings[place.session] = wrong
                with pytest.raises(UnreachableError, match="could not read the settings"):
                    _ = history.messages


def test_a_clear_deletes_although_its_first_request_gets_no_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.create({})
    with place.open() as history:
        history.add_messages(_long(2))
        count = _silence(monkeypatch, "delete_records", 1)
        began = time.monotonic()
        history.clear()
        assert time.monotonic() - began < 10
        assert count() == 3  # the check of the right, twice, and the deletion
        assert history.messages == []


def test_an_add_does_not_wait_long_for_the_rights(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.create({})
    with place.open() as history:
        history.add_messages(_long(1))
        with history._call() as call:
            call.clients.descriptions.clear()
        _silence(monkeypatch, "describe_topics", 1000)
        began = time.monotonic()
        history.add_messages(_long(1))
        assert time.monotonic() - began < 10
