"""Tests of attempts that the server carries out late, when their client no longer waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elastic_transport import ConnectionError, ConnectionTimeout
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.elasticsearch import (
    ElasticsearchChatMessageHistory,
    PreviousMajorNode,
    UnreachableError,
)
from chat_history_conformance.servers.server import Server

Open = Callable[..., ElasticsearchChatMessageHistory]


class Remembering(PreviousMajorNode):
    """A node that remembers its bulk requests. A test carries them out again, as if late.

    Attributes:
        sent: For each bulk request, a function that carries it out again and returns the statuses.
        after: What to do once after a bulk request, with its answer.
        refuses: Whether it refuses connections.
    """

    sent: list[Callable[[], list[int]]]
    after: Callable[[dict[str, Any]], None] | None
    refuses: bool

    def perform_request(self, method: str, target: str, *more: Any, **named: Any) -> Any:
        if type(self).refuses:
            raise ConnectionError("no connection") from ConnectionRefusedError()
        send = super().perform_request

        def again() -> list[int]:
            answer = json.loads(send(method, target, *more, **named)[1])
            return [result["status"] for item in answer["items"] for result in item.values()]

        answer = send(method, target, *more, **named)
        if "/_bulk" in target:
            used = type(self)
            used.sent.append(again)
            do, used.after = used.after, None
            if do is not None:
                body = json.loads(answer[1])
                do(body)
                return type(answer)(answer[0], json.dumps(body).encode())
        return answer


@pytest.fixture
def node() -> type[Remembering]:
    """Return a class of nodes that only this test uses."""

    class Node(Remembering):
        after = None
        refuses = False

    Node.sent = []
    return Node


@pytest.fixture
def opened(elasticsearch: Server, index: str, node: type[Remembering]) -> Iterator[Open]:
    """Open histories of one session, and close them after the test."""
    histories: list[ElasticsearchChatMessageHistory] = []

    def open_history(seconds: float = 20) -> ElasticsearchChatMessageHistory:
        history = ElasticsearchChatMessageHistory(
            index,
            "s",
            es_url=elasticsearch.address,
            timeout_sec=seconds,
            config={"node_class": node, "headers": {"x-test": str(len(histories))}},
        )
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.close()


def _refused(result: dict[str, Any], status: int, kind: str, reason: str) -> dict[str, Any]:
    """Return the result of the same operation as the server reports it if it refuses it."""
    kept = {name: result[name] for name in ("_id", "_index")}
    return {**kept, "status": status, "error": {"type": kind, "reason": reason}}


def _batch(*texts: str) -> list[HumanMessage]:
    return [HumanMessage(text) for text in texts]


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def _clear_and_lose(history: ElasticsearchChatMessageHistory) -> Callable[[Any], None]:
    def do(answer: dict[str, Any]) -> None:
        history.clear()
        raise ConnectionTimeout("the answer is lost")

    return do


def test_a_late_attempt_of_an_add_stores_nothing_that_was_cleared(
    opened: Open, node: type[Remembering]
) -> None:
    history = opened()
    history.add_messages(_batch("0", "1", "2"))
    (late,) = node.sent
    history.clear()
    history.add_messages(_batch("3"))
    assert late() == [409] * 3
    assert _contents(history.messages) == ["3"]


def test_a_late_attempt_of_an_add_stores_nothing_that_was_discarded(
    opened: Open, node: type[Remembering], index: str
) -> None:
    history = opened()
    history.add_messages(_batch("0", "1"))
    (late,) = node.sent
    history.client.indices.refresh(index=index)
    (_, second) = history.client.search(index=index, sort=[{"_seq_no": "asc"}])["hits"]["hits"]
    history.discard(second["_id"])
    assert late() == [409] * 2
    assert _contents(history.messages) == ["0"]


def test_a_late_attempt_of_a_clear_hides_nothing(opened: Open, node: type[Remembering]) -> None:
    history = opened()
    history.add_messages(_batch("0"))
    node.sent.clear()
    history.clear()
    late = list(node.sent)
    history.add_messages(_batch("1", "2"))
    for attempt in late:
        attempt()
    assert _contents(history.messages) == _contents(history.last_messages(2)) == ["1", "2"]
    history.add_messages(_batch("3"))
    assert _contents(history.messages) == ["1", "2", "3"]


def test_an_add_whose_messages_are_cleared_before_it_is_repeated_is_done(
    opened: Open, node: type[Remembering]
) -> None:
    history, other = opened(), opened()
    history.add_messages(_batch("0"))
    node.after = _clear_and_lose(other)
    history.add_messages(_batch("1", "2"))
    assert history.messages == []  # the clear came after the first attempt
    history.add_messages(_batch("3"))
    assert _contents(history.messages) == ["3"]


def test_a_clear_that_is_repeated_after_another_clear_keeps_what_was_added_between(
    opened: Open, node: type[Remembering]
) -> None:
    history, other = opened(), opened()
    history.add_messages(_batch("0"))
    node.after = _clear_and_lose(other)
    history.clear()
    history.add_messages(_batch("1"))
    assert _contents(history.messages) == ["1"]


def test_late_attempts_of_messages_that_were_sent_again_change_nothing(
    opened: Open, node: type[Remembering]
) -> None:
    def refuse_the_second(answer: dict[str, Any]) -> None:
        answer["errors"] = True
        item = answer["items"][1]
        item["index"] = _refused(item["index"], 429, "es_rejected_execution_exception", "busy")

    history = opened()
    history.add_messages(_batch("before"))
    node.sent.clear()
    node.after = refuse_the_second
    history.add_messages(_batch("a", "b", "c"))
    first, take_back, rest = node.sent
    assert _contents(history.messages) == ["before", "a", "b", "c"]
    for late in (first, take_back, rest):
        assert set(late()) == {409}
    assert _contents(history.messages) == ["before", "a", "b", "c"]
    history.clear()
    for late in (first, take_back, rest):
        assert set(late()) == {409}
    assert history.messages == []


@pytest.mark.parametrize("call", ["add", "clear"])
@pytest.mark.parametrize(
    ("reason", "unknown"),
    [
        ("primary shard is not active", True),
        ("Not enough active copies to meet shard count", False),
    ],
)
def test_a_write_that_a_node_refused_and_may_repeat_has_an_unknown_outcome(
    opened: Open, node: type[Remembering], call: str, reason: str, unknown: bool
) -> None:
    def refuse(answer: dict[str, Any]) -> None:
        answer["errors"] = True
        for item in answer["items"]:
            item["index"] = _refused(item["index"], 503, "unavailable_shards_exception", reason)
        node.refuses = True

    history = opened(5)
    history.add_messages(_batch("0"))
    node.after = refuse
    with pytest.raises(UnreachableError) as caught:
        history.add_messages(_batch("1")) if call == "add" else history.clear()
    assert caught.value.outcome_unknown is unknown
    node.refuses = False
