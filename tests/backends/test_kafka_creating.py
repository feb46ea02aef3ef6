"""Tests of topics that are created at the same time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, cast

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from langchain_core.messages import HumanMessage

from chat_history_backends.kafka import KafkaChatMessageHistory
from chat_history_backends.kafka.creating import CreatedTogether
from chat_history_conformance.servers.server import Server

LIMITS = {"operation_timeout": 10.0, "request_timeout": 20.0}


class Client:
    """An admin client that answers its requests when `answer` is called."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.unanswered: list[Future[None]] = []

    def create_topics(self, new: Sequence[NewTopic], **limits: float) -> dict[str, Future[None]]:
        names = [topic.topic for topic in new]
        if len(set(names)) < len(names) or "refused" in names:
            raise ValueError("this client refuses the request")
        self.requests.append(names)
        answers: dict[str, Future[None]] = {name: Future() for name in names}
        self.unanswered += answers.values()
        return answers

    def answer(self, failure: Exception | None = None) -> None:
        answered, self.unanswered = self.unanswered, []
        for future in answered:
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)


class Creations:
    """Creations that begin one after another, each on a separate thread."""

    def __init__(self) -> None:
        self.client = Client()
        self.together = CreatedTogether()
        self._threads = ThreadPoolExecutor(200)

    def begin(self, *names: str, waiting: int = 0) -> list[Future[Future[None]]]:
        """Begin to create topics, and return when the given number of topics waits."""
        begun = [
            self._threads.submit(
                self.together.create,
                cast("AdminClient", self.client),
                NewTopic(name, 1, 1),
                **LIMITS,
            )
            for name in names
        ]
        deadline = time.monotonic() + 10
        while len(self.together._waiting) != waiting:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return begun


@pytest.fixture
def creations(monkeypatch: pytest.MonkeyPatch) -> Creations:
    """Return creations whose topics wait for an answer as long as the test wants."""
    monkeypatch.setattr("chat_history_backends.kafka.creating._STALE_SECONDS", 30.0)
    return Creations()


def test_a_topic_that_comes_alone_is_sent_at_once(creations: Creations) -> None:
    for number in range(3):
        (begun,) = creations.begin(f"t{number}")
        answer = begun.result(10)
        assert not answer.done()
        creations.client.answer()
        assert answer.result(10) is None
    assert creations.client.requests == [["t0"], ["t1"], ["t2"]]


def test_topics_that_waited_share_the_next_request(creations: Creations) -> None:
    creations.begin("first")[0].result(10)
    others = creations.begin("a", "b", "c", waiting=3)
    creations.client.answer()
    answers = [one.result(10) for one in others]
    assert [sorted(names) for names in creations.client.requests] == [["first"], ["a", "b", "c"]]
    failure = RuntimeError("the brokers refuse")
    creations.client.answer(failure)
    assert [answer.exception(10) for answer in answers] == [failure] * 3


def test_a_request_names_a_topic_once(creations: Creations) -> None:
    """Two handles of a session may create its topic, each with other settings."""
    creations.begin("first")[0].result(10)
    same = creations.begin("same", "same", waiting=2)
    creations.client.answer()
    done, _ = wait(same, 10, "FIRST_COMPLETED")
    assert len(done) == 1
    creations.client.answer()
    for one in same:
        one.result(10)
    assert creations.client.requests == [["first"], ["same"], ["same"]]


def test_a_request_has_100_topics_at_most(creations: Creations) -> None:
    creations.begin("first")[0].result(10)
    others = creations.begin(*(f"t{number}" for number in range(150)), waiting=150)
    creations.client.answer()
    wait(others[:1], 10)
    deadline = time.monotonic() + 10
    while not all(one.done() for one in others):
        assert time.monotonic() < deadline
        creations.client.answer()
    assert all(len(names) <= 100 for names in creations.client.requests)
    assert sum(map(len, creations.client.requests)) == 151


def test_a_topic_that_the_client_refuses_fails_alone(creations: Creations) -> None:
    creations.begin("first")[0].result(10)
    others = creations.begin("good", "refused", "fine", waiting=3)
    creations.client.answer()
    deadline = time.monotonic() + 10
    while not all(one.done() for one in others):
        assert time.monotonic() < deadline
        creations.client.answer()
    failures = [one.exception(10) for one in others]
    assert [type(failure) for failure in failures] == [type(None), ValueError, type(None)]
    sent = [name for names in creations.client.requests for name in names]
    assert sorted(sent) == ["fine", "first", "good"]


def test_a_topic_does_not_wait_longer_for_a_broker_that_is_silent(
    creations: Creations, monkeypatch: pytest.MonkeyPatch
) -> None:
    creations.begin("first")[0].result(10)
    monkeypatch.setattr("chat_history_backends.kafka.creating._STALE_SECONDS", 0.05)
    (second,) = creations.begin("second")
    second.result(10)
    assert creations.client.requests == [["first"], ["second"]]


def test_sessions_that_begin_at_the_same_time_keep_their_own_retention(
    kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []
    send = CreatedTogether._send

    def counted(self: CreatedTogether, admin: Any, batch: Sequence[Any], *limits: float) -> None:
        requests.append(len(batch))
        send(self, admin, list(batch), *limits)

    monkeypatch.setattr(CreatedTogether, "_send", counted)
    hour_ms = 3_600_000
    histories = [
        KafkaChatMessageHistory(f"together-{uuid.uuid4().hex}", kafka.address, ttl_ms=n * hour_ms)
        for n in range(1, 25)
    ]
    with ThreadPoolExecutor(len(histories)) as threads:
        list(threads.map(lambda one: one.add_messages([HumanMessage("hello")], 30.0), histories))
    assert sum(requests) == len(histories)
    assert len(requests) < len(histories) / 2
    resources = [ConfigResource(ResourceType.TOPIC, one.session_id) for one in histories]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    described = admin.describe_configs(resources)
    for number, (history, resource) in enumerate(zip(histories, resources, strict=True), 1):
        retention = described[resource].result(20)["retention.ms"].value
        assert int(retention) == number * hour_ms
        assert [message.content for message in history.messages] == ["hello"]
        history.close()
