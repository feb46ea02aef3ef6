"""Tests of the Elasticsearch histories on a real node, beyond the contracts that they pass."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import inspect
import itertools
import json
import logging
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import elasticsearch as package
import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from chat_history_backends.codec import UndecodableRecordError
from chat_history_backends.elasticsearch import (
    AsyncElasticsearchChatMessageHistory,
    AsyncPreviousMajorNode,
    DeliveryError,
    ElasticsearchChatMessageHistory,
    ElasticsearchHistoryError,
    PreviousMajorNode,
    RefusedError,
    UnavailableDeliveryError,
    UnavailableError,
    UnfitIndexError,
    UnreachableError,
    adding,
)
from chat_history_backends.elasticsearch.index import MAPPING, IndexProperties
from chat_history_backends.session_ids import ENCODED_PREFIX
from chat_history_conformance.servers.server import Server

Open = Callable[..., ElasticsearchChatMessageHistory]

_UPSTREAM_MAPPING = {
    "session_id": {"type": "keyword"},
    "created_at": {"type": "date"},
    "history": {"type": "text"},
}


class Recording(PreviousMajorNode):
    """A node that records requests. A test can make it refuse a request or lose an answer."""

    asked: list[str]
    headers_sent: list[Mapping[str, str]]
    before: Callable[[str, str], None] | None
    after: Callable[[str, str], None] | None

    def perform_request(self, method: str, target: str, *more: Any, **named: Any) -> Any:
        path = target.partition("?")[0].rpartition("/")[2]
        recorded = type(self)
        recorded.asked.append(f"{method} {path if path.startswith('_') else 'index'}")
        recorded.headers_sent.append(dict(more[1]) if len(more) > 1 else dict(named["headers"]))
        if recorded.before:
            recorded.before(method, path)
        answer = super().perform_request(method, target, *more, **named)
        if recorded.after:
            recorded.after(method, path)
        return answer


@pytest.fixture
def node() -> type[Recording]:
    """Return a class of nodes that only this test uses."""

    class Node(Recording):
        before = after = None

    Node.asked, Node.headers_sent = [], []
    return Node


@pytest.fixture
def opened(elasticsearch: Server, index: str, node: type[Recording]) -> Iterator[Open]:
    """Open histories, by default of one session in one index, and close them after the test."""
    histories: list[ElasticsearchChatMessageHistory] = []

    def open_history(session: str = "s", **arguments: Any) -> ElasticsearchChatMessageHistory:
        arguments = {
            "es_url": elasticsearch.address,
            "config": {"node_class": node, **arguments.pop("config", {})},
            **arguments,
        }
        history = ElasticsearchChatMessageHistory(
            arguments.pop("index", index), session, **arguments
        )
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.close()


def open_async(server: Server, index: str, session: str = "s", **arguments: Any) -> Any:
    return AsyncElasticsearchChatMessageHistory(
        index,
        session,
        **{
            "es_url": server.address,
            "config": {"node_class": AsyncPreviousMajorNode},
            **arguments,
        },
    )


def _numbered(count: int, start: int = 0) -> list[BaseMessage]:
    return [HumanMessage(str(number)) for number in range(start, start + count)]


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


# Arguments.


@pytest.mark.parametrize(
    "history", [ElasticsearchChatMessageHistory, AsyncElasticsearchChatMessageHistory]
)
def test_arguments_of_both_upstream_packages_are_accepted(history: Any) -> None:
    older = {"es_connection", "es_url", "es_cloud_id", "es_user", "es_api_key", "es_password"}
    parameters = inspect.signature(history).parameters
    assert list(parameters)[:2] == ["index", "session_id"]
    assert older | {"esnsure_ascii", "client", "ensure_ascii"} <= parameters.keys()


@pytest.mark.parametrize(
    ("arguments", "error", "expected"),
    [
        ({}, ValueError, "es_url or es_cloud_id"),
        ({"es_url": "http://h:1", "es_cloud_id": "x:y"}, ValueError, "once"),
        ({"es_url": "http://h:1", "es_user": "u"}, ValueError, "belong together"),
        ({"es_url": "http://h:1", "index": "a,b"}, ValueError, "one index"),
        ({"es_url": "http://h:1", "index": "a*"}, ValueError, "one index"),
        ({"es_url": "http://h:1", "index": ""}, ValueError, "one index"),
        ({"es_url": "http://h:1", "session_id": 7}, TypeError, "session_id must be a str"),
        ({"es_url": "http://h:1", "ttl_ms": 0}, ValueError, "ttl_ms"),
        ({"es_url": "http://h:1", "timeout_sec": 0}, ValueError, "timeout_sec"),
        (
            {"es_url": "http://h:1", "config": {"colour": 1}},
            TypeError,
            "config.*colour",
        ),
        ({"es_url": "h:1"}, ValueError, "scheme"),
        ({"client": AsyncElasticsearch("http://h:1")}, TypeError, "needs the client Elasticsearch"),
        (
            {"client": Elasticsearch("http://h:1"), "es_connection": Elasticsearch("http://h:1")},
            ValueError,
            "same argument",
        ),
        (
            {"client": Elasticsearch("http://h:1"), "es_url": "http://h:1"},
            ValueError,
            "its own connection",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_opening(
    arguments: dict[str, Any], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        ElasticsearchChatMessageHistory(**{"index": "i", "session_id": "s", **arguments})


@pytest.mark.parametrize("name", ["client", "es_connection"])
def test_a_client_from_the_caller_is_used_and_not_closed(
    client: Elasticsearch, index: str, name: str
) -> None:
    argument: dict[str, Any] = {name: client}
    with ElasticsearchChatMessageHistory(index, "s", **argument) as history:
        history.add_messages(_numbered(1))
    assert client.indices.exists(index=index)
    with pytest.raises(RuntimeError, match="is closed"):
        _ = history.messages


@pytest.mark.parametrize("name", ["ensure_ascii", "esnsure_ascii"])
def test_text_can_be_stored_without_escapes(
    opened: Open, client: Elasticsearch, index: str, name: str
) -> None:
    history = opened(**{name: False})
    history.add_messages([HumanMessage("Grüße"), HumanMessage("half \ud800 pair")])
    assert _contents(history.messages) == ["Grüße", "half \ud800 pair"]
    stored = [hit["_source"]["history"] for hit in client.search(index=index)["hits"]["hits"]]
    assert "Grüße" in stored[0]
    assert "\\ud800" in stored[1]


def test_requests_carry_our_user_agent(opened: Open, node: type[Recording]) -> None:
    _ = opened().messages
    assert {dict(sent)["user-agent"].split("/")[0] for sent in node.headers_sent} == {
        "chat-history-conformance"
    }


def test_headers_of_config_are_sent_with_our_user_agent(
    opened: Open, node: type[Recording]
) -> None:
    _ = opened(config={"headers": {"x-tenant": "7"}}).messages
    assert {sent["x-tenant"] for sent in node.headers_sent} == {"7"}
    assert all(sent["user-agent"].startswith("chat-history-conf") for sent in node.headers_sent)


def test_opening_sends_no_request(opened: Open, node: type[Recording]) -> None:
    opened()
    assert node.asked == []


# Requests.


def test_a_batch_is_one_request(opened: Open, node: type[Recording]) -> None:
    history = opened()
    history.add_messages(_numbered(1))
    node.asked.clear()
    history.add_messages(_numbered(100))
    assert node.asked == ["PUT _bulk"] or node.asked == ["POST _bulk"]


def test_a_turn_of_a_chat_is_five_requests(opened: Open, node: type[Recording]) -> None:
    opened().add_messages(_numbered(4))
    node.asked.clear()
    history = opened()
    assert len(history.messages) == len(history.messages) == 4
    history.add_messages(_numbered(2))
    assert [asked.split()[1] for asked in node.asked] == [
        "_refresh",
        "_search",
        "_refresh",
        "_search",
        "_bulk",
    ]


def test_the_last_messages_are_one_search(opened: Open, node: type[Recording]) -> None:
    history = opened()
    history.add_messages(_numbered(500))
    node.asked.clear()
    assert _contents(history.last_messages(10)) == [str(n) for n in range(490, 500)]
    assert [asked.split()[1] for asked in node.asked] == ["_refresh", "_search"]


def test_reading_and_clearing_an_unused_session_creates_nothing(
    opened: Open, client: Elasticsearch, index: str, elasticsearch: Server
) -> None:
    history = opened()
    assert history.messages == history.last_messages(3) == []
    history.clear()
    history.discard("x")
    assert history.delete_expired() == 0
    assert not history.created

    async def work() -> None:
        async with open_async(elasticsearch, index) as history:
            assert await history.aget_messages() == []
            await history.aclear()

    asyncio.run(work())
    assert not client.indices.exists(index=index)


# Order and completeness.


def test_more_than_a_page_of_one_millisecond_is_complete_and_in_order(
    opened: Open,
    client: Elasticsearch,
    index: str,
    node: type[Recording],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adding, "_reserve_times", lambda *_: 1_700_000_000_000)
    monkeypatch.setattr(adding, "now_ms", lambda: 1_700_000_000_000)
    client.indices.create(
        index=index, settings={"max_result_window": 20}, mappings={"properties": dict(MAPPING)}
    )
    handles = [opened(), opened()]
    for start in range(0, 130, 10):
        handles[start // 10 % 2].add_messages(_numbered(10, start))
    expected = [str(number) for number in range(130)]
    assert _contents(opened().messages) == expected
    for count in (0, 1, 19, 20, 21, 40, 129, 130, 131):
        assert _contents(opened().last_messages(count)) == (expected[-count:] if count else [])
    assert node.asked.count("POST _search") >= 7


def test_a_smaller_result_window_is_noticed(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    history = opened()
    history.add_messages(_numbered(30))
    assert len(history.messages) == 30
    client.indices.put_settings(index=index, settings={"max_result_window": 7})
    assert _contents(history.messages) == [str(number) for number in range(30)]


def test_an_answer_that_is_too_large_for_the_server_is_read_in_smaller_pages(
    opened: Open, client: Elasticsearch
) -> None:
    history = opened()
    large = [HumanMessage(str(number) + "x" * 200_000) for number in range(64)]
    history.add_messages(large)
    limit = {"indices.breaker.request.limit": "2mb"}
    client.cluster.put_settings(transient=limit)
    try:
        read = history.messages
    finally:
        client.cluster.put_settings(transient=dict.fromkeys(limit))
    assert [message.content for message in read] == [message.content for message in large]


def test_messages_of_an_index_with_several_shards_come_in_order(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 5, "max_result_window": 7},
        mappings={"properties": _UPSTREAM_MAPPING},
    )
    history = opened()
    base = int(time.time() * 1000) - 100_000
    for number in range(20):  # as langchain-elasticsearch writes: without a routing
        client.index(index=index, document=_upstreams(number, base + number))
    history.add_messages(_numbered(20, 20))
    client.index(index=index, document=_upstreams(40, int(time.time() * 1000) + 10_000))
    client.index(index=index, document=_upstreams(99, base, "other"), refresh=True)
    expected = [str(number) for number in range(41)]
    assert _contents(history.messages) == expected
    for count in (1, 3, 22, 30, 41, 50):
        assert _contents(history.last_messages(count)) == expected[-count:]
    history.clear()
    assert opened().messages == []
    assert client.count(index=index)["count"] == 1


def _upstreams(number: int, created_at: int, session: str = "s") -> dict[str, Any]:
    return {
        "session_id": session,
        "created_at": created_at,
        "history": json.dumps({"type": "human", "data": {"content": str(number)}}),
    }


def _first_shard(client: Elasticsearch, index: str) -> Any:
    shards: Any = client.cat.shards(index=index, format="json").body
    return shards[0]


def test_a_read_that_misses_a_shard_raises(opened: Open, client: Elasticsearch, index: str) -> None:
    client.indices.create(
        index=index,
        settings={"number_of_shards": 2, "routing.allocation.total_shards_per_node": 1},
        mappings={"properties": dict(MAPPING)},
        wait_for_active_shards="0",
    )
    deadline = time.monotonic() + 20
    while _first_shard(client, index)["state"] != "STARTED":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    partial = client.search(index=index)["_shards"]
    assert (partial["total"], partial["successful"]) == (2, 1)
    # A refresh waits for the shard that is missing.
    with pytest.raises(UnreachableError, match=r"timed out|no answer came within 1 s"):
        _ = opened(timeout_sec=1).messages
    history = opened(timeout_sec=2)
    history._session.index.note(IndexProperties(several_shards=True, refreshable=False))
    with pytest.raises(UnavailableError, match="1 of 2 shards answered"):
        history.delete_expired()
    with pytest.raises(UnavailableError, match="not all of the index"):
        _ = history.messages


# Writing.


def test_an_index_that_waits_for_missing_copies_is_named(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    """One node cannot hold the replica, and the index waits for it."""
    client.indices.create(
        index=index,
        settings={"number_of_replicas": 1, "write.wait_for_active_shards": "all"},
        mappings={"properties": dict(MAPPING)},
        wait_for_active_shards="0",
    )
    history = opened(timeout_sec=3)
    with pytest.raises(UnavailableError, match="start the missing nodes, or lower") as caught:
        history.add_messages([HumanMessage("1")])
    assert "Not enough active copies" in str(caught.value)
    assert history.messages == []
    client.indices.put_settings(index=index, settings={"write.wait_for_active_shards": "1"})
    history.add_messages([HumanMessage("1")])
    assert _contents(history.messages) == ["1"]


def test_an_add_repeated_after_a_lost_answer_stores_each_message_once(
    opened: Open, node: type[Recording]
) -> None:
    lost: list[str] = []

    def lose(method: str, path: str) -> None:
        if path == "_bulk" and len(lost) < 2:
            lost.append(path)
            raise package.ConnectionError("the answer is lost")

    history = opened()
    history.add_messages(_numbered(1))
    node.after = lose
    history.add_messages(_numbered(5, 1))
    assert lost == ["_bulk", "_bulk"]
    assert _contents(history.messages) == [str(number) for number in range(6)]


def test_a_clear_repeated_after_a_lost_answer_clears(
    opened: Open, node: type[Recording], client: Elasticsearch, index: str
) -> None:
    lost: list[str] = []

    def lose(method: str, path: str) -> None:
        if path == "_bulk" and not lost:
            lost.append(path)
            raise package.ConnectionError("the answer is lost")

    history = opened()
    history.add_messages(_numbered(5))
    node.after = lose
    history.clear()
    assert lost
    assert history.messages == []  # this read refreshes the index
    assert client.count(index=index)["count"] == 0


def test_a_message_added_twice_is_stored_twice(opened: Open) -> None:
    history = opened()
    message = HumanMessage("same", id="one")
    for _ in range(2):
        history.add_messages([message, message])
    assert history.messages == [message] * 4


def test_creation_times_increase_within_and_between_batches(
    opened: Open, client: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "now_ms", lambda: 1_700_000_000_000)
    for start in range(0, 60, 20):
        opened().add_messages(_numbered(20, start))
    client.indices.refresh(index=index)
    hits = client.search(index=index, size=100, sort="_seq_no")["hits"]["hits"]
    times = [hit["_source"]["created_at"] for hit in hits]
    assert len(times) == 60
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_a_batch_that_is_too_large_for_one_request_is_split(
    opened: Open, node: type[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "LARGEST_REQUEST_BYTES", 5000)
    history = opened()
    history.add_messages(_numbered(1))
    node.asked.clear()
    history.add_messages([HumanMessage(str(n) + "x" * 1000) for n in range(10)])
    assert 3 <= len(node.asked) <= 5
    assert [str(m.content).rstrip("x") for m in history.messages] == ["0", *map(str, range(10))]


def test_a_batch_is_split_for_a_server_with_a_lower_limit(opened: Open) -> None:
    history = opened()
    content = "x" * 9_000_000  # five are more than the node accepts
    history.add_messages([HumanMessage(str(n) + content) for n in range(5)])
    assert [str(m.content)[0] for m in history.messages] == list("01234")


def _too_busy(history: ElasticsearchChatMessageHistory) -> ApiError:
    node = history.client.transport.node_pool.get().config
    headers = HttpHeaders({"x-elastic-product": "Elasticsearch"})
    meta = ApiResponseMeta(429, "1.1", headers, 0.0, node)
    kind = "es_rejected_execution_exception"
    why = {"type": kind, "reason": "rejected execution", "root_cause": []}
    return ApiError(kind, meta, {"error": why, "status": 429})


def test_a_large_request_is_split_for_a_server_without_room(
    opened: Open, node: type[Recording]
) -> None:
    history = opened()
    history.add_messages(_numbered(1))
    node.asked.clear()

    def refuse(method: str, path: str) -> None:
        if len(node.asked) == 1:
            raise _too_busy(history)

    node.before = refuse
    history.add_messages([HumanMessage(str(n) + "x" * 500_000) for n in range(4)])
    assert len(node.asked) == 3
    assert [str(m.content)[0] for m in history.messages] == list("00123")


def test_a_message_over_the_servers_limit_is_refused_and_nothing_is_stored(opened: Open) -> None:
    history = opened()
    history.add_messages(_numbered(1))
    with pytest.raises(
        RefusedError, match=r"session 's'.*larger than the server accepts"
    ) as caught:
        history.add_messages([HumanMessage("small"), HumanMessage("x" * 31 * 1024 * 1024)])
    assert caught.value.status_code == 413
    assert isinstance(caught.value, ApiError)
    assert _contents(history.messages) == ["0"]


def test_a_batch_with_a_refused_message_leaves_nothing(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    mapping = {
        **_UPSTREAM_MAPPING,
        "history": {"type": "keyword"},
    }  # at most 32,766 bytes
    client.indices.create(index=index, mappings={"properties": mapping})
    history = opened()
    history.add_messages(_numbered(1))
    with pytest.raises(DeliveryError, match=r"message 2 of the batch.*Nothing of") as caught:
        history.add_messages([*_numbered(2), HumanMessage("secret " * 9000), *_numbered(2)])
    assert caught.value.left == 0
    assert "secret secret" not in str(caught.value)
    assert _contents(history.messages) == ["0"]
    history.add_messages(_numbered(2, 1))
    assert _contents(history.messages) == ["0", "1", "2"]


def test_a_refused_batch_is_removed_even_if_an_earlier_attempt_stored_it(
    opened: Open, client: Elasticsearch, index: str, node: type[Recording]
) -> None:
    mapping = {**_UPSTREAM_MAPPING, "history": {"type": "keyword"}}
    client.indices.create(index=index, mappings={"properties": mapping})
    lost: list[str] = []

    def lose(method: str, path: str) -> None:
        if path == "_bulk" and not lost:
            lost.append(path)
            raise package.ConnectionError("the answer is lost")

    history = opened()
    node.after = lose
    with pytest.raises(DeliveryError, match="Nothing of"):
        history.add_messages([*_numbered(2), HumanMessage("x" * 40_000)])
    assert lost
    assert history.messages == []


class GatewayError(PreviousMajorNode):
    """A gateway that reports a time-out for bulk requests, although the server carries them out."""

    def perform_request(self, method: str, target: str, *more: Any, **named: Any) -> Any:
        answer = super().perform_request(method, target, *more, **named)
        if "/_bulk" in target:
            meta = dataclasses.replace(answer.meta, status=504)
            return type(answer)(meta, b'{"error": "gateway timeout", "status": 504}')
        return answer


def test_an_answer_of_a_gateway_leaves_the_outcome_unknown(opened: Open) -> None:
    through_gateway = opened(config={"node_class": GatewayError, "max_retries": 0})
    with pytest.raises(RefusedError, match="outcome is unknown") as caught:
        through_gateway.add_messages(_numbered(3))
    assert "Nothing of the batch" not in str(caught.value)
    assert _contents(opened().messages) == ["0", "1", "2"]


def test_a_small_request_is_repeated_and_not_split_for_a_server_without_room(
    opened: Open, node: type[Recording]
) -> None:
    history = opened(timeout_sec=2)
    history.add_messages(_numbered(1))
    node.asked.clear()

    def refuse(method: str, path: str) -> None:
        if path == "_bulk":
            raise _too_busy(history)

    node.after = refuse
    began = time.monotonic()
    with pytest.raises(UnavailableDeliveryError, match="Nothing of the batch of 100") as caught:
        history.add_messages(_numbered(100, 1))
    assert time.monotonic() - began < 8
    assert isinstance(caught.value, ConnectionError)
    assert not caught.value.outcome_unknown
    assert 2 < len(node.asked) < 12
    assert set(node.asked) == {"PUT _bulk"}


# The index.


def test_eight_handles_create_the_index_at_once(opened: Open, client: Elasticsearch) -> None:
    handles = [opened() for _ in range(8)]
    start = threading.Barrier(8)

    def add(number: int) -> None:
        start.wait()
        handles[number].add_messages(_numbered(3, 3 * number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert sorted(_contents(handles[0].messages), key=int) == [str(n) for n in range(24)]


def test_eight_tasks_create_the_index_at_once(elasticsearch: Server, index: str) -> None:
    async def work() -> list[BaseMessage]:
        handles = [open_async(elasticsearch, index) for _ in range(8)]
        await asyncio.gather(
            *(handle.aadd_messages(_numbered(3, 3 * n)) for n, handle in enumerate(handles))
        )
        messages: list[BaseMessage] = await handles[0].aget_messages()
        for handle in handles:
            await handle.aclose()
        return messages

    assert sorted(_contents(asyncio.run(work())), key=int) == [str(n) for n in range(24)]


@pytest.mark.parametrize(
    ("mapping", "settings", "problem"),
    [
        ({"session_id": {"type": "text"}}, {}, "of the type text"),
        ({"session_id": {"type": "keyword", "ignore_above": 256}}, {}, "more than 256"),
        (
            {"session_id": {"type": "keyword", "normalizer": "lower"}},
            {"analysis": {"normalizer": {"lower": {"type": "custom", "filter": ["lowercase"]}}}},
            "normalizer lower",
        ),
        ({"session_id": {"type": "keyword", "index": False}}, {}, "not indexed"),
    ],
)
def test_a_mapping_that_cannot_keep_sessions_apart_is_refused(
    opened: Open,
    client: Elasticsearch,
    index: str,
    mapping: dict[str, Any],
    settings: dict[str, Any],
    problem: str,
) -> None:
    client.indices.create(index=index, mappings={"properties": mapping}, settings=settings)
    history = opened()
    for call in (
        lambda: history.messages,
        lambda: history.add_messages(_numbered(1)),
        history.clear,
        history.create_if_missing,
    ):
        with pytest.raises(UnfitIndexError, match=rf"{index}.*{problem}.*Remedy: reindex"):
            call()
    assert client.count(index=index)["count"] == 0


def test_an_index_that_the_server_created_by_itself_is_refused(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    client.index(index=index, document=_upstreams(1, 1), refresh=True)
    with pytest.raises(UnfitIndexError, match="of the type text"):
        _ = opened().messages


def test_an_index_without_source_is_refused(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    client.indices.create(index=index, mappings={"_source": {"excludes": ["history"]}})
    with pytest.raises(UnfitIndexError, match="_source"):
        opened().add_messages(_numbered(1))


def test_an_alias_must_name_one_index(opened: Open, client: Elasticsearch, index: str) -> None:
    names = [f"{index}-{number}" for number in (1, 2)]
    try:
        client.indices.create(
            index=names[0], aliases={index: {}}, mappings={"properties": dict(MAPPING)}
        )
        history = opened()
        history.add_messages(_numbered(3))
        assert _contents(history.messages) == ["0", "1", "2"]
        client.indices.create(index=names[1], aliases={index: {}})
        with pytest.raises(UnfitIndexError, match="the name matches 2 indices"):
            _ = history.messages
    finally:
        for name in names:
            client.options(ignore_status=404).indices.delete(index=name)


def test_the_index_may_be_dropped_and_created_again_under_an_open_handle(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    history = opened()
    history.add_messages(_numbered(2))
    client.indices.delete(index=index)
    assert history.messages == []
    history.add_messages(_numbered(2, 2))
    client.indices.delete(index=index)
    history.add_messages(_numbered(2, 4))  # without a read between
    assert _contents(history.messages) == ["4", "5"]
    mapping = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert mapping["session_id"] == {"type": "keyword"}
    client.indices.delete(index=index)
    client.indices.create(index=index, mappings={"properties": _UPSTREAM_MAPPING})
    history.add_messages(_numbered(2, 6))
    assert _contents(opened().messages) == ["6", "7"]
    client.indices.delete(index=index)
    history.clear()
    assert not client.indices.exists(index=index)


def test_an_index_without_any_mapping_gets_one(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    client.indices.create(index=index)
    history = opened(ttl_ms=60_000)
    assert history.messages == []
    history.clear()
    history.add_messages(_numbered(2))
    assert _contents(opened().messages) == ["0", "1"]
    properties = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert properties == MAPPING


# Session ids.


@pytest.mark.parametrize(
    "session",
    ["", "a,b", "*", "half \ud800", "x" * 40_000, f"{ENCODED_PREFIX}x", "ä" * 16_384, "nul\0"],
    ids=["empty", "comma", "star", "surrogate", "long", "like ours", "bytes", "nul"],
)
def test_each_id_is_a_separate_session(opened: Open, session: str) -> None:
    one, other = opened(session), opened(session + "!")
    one.add_messages(_numbered(2))
    other.add_messages(_numbered(1, 7))
    assert _contents(opened(session).messages) == ["0", "1"]
    one.clear()
    assert _contents(other.messages) == ["7"]
    assert one.messages == []


def test_an_id_cannot_equal_the_marker_of_another_session(opened: Open) -> None:
    one = opened("victim")
    one.add_messages(_numbered(2))
    marker = one._session.marker_key
    opened(marker).add_messages(_numbered(1))
    assert _contents(one.messages) == ["0", "1"]


# Clearing.


def test_a_clear_takes_effect_at_one_moment(
    opened: Open, client: Elasticsearch, index: str, node: type[Recording]
) -> None:
    client.indices.create(
        index=index, settings={"max_result_window": 10}, mappings={"properties": dict(MAPPING)}
    )
    opened().add_messages(_numbered(35))
    seen: list[list[str]] = []
    bulks = 0

    def look(method: str, path: str) -> None:
        nonlocal bulks
        if path == "_bulk":
            bulks += 1
            node.after = None
            seen.append(_contents(opened().messages))
            seen.append(_contents(opened().last_messages(3)))
            if bulks == 1:
                opened().add_messages(_numbered(2, 100))
            node.after = look

    node.after = look
    opened().clear()
    assert bulks >= 4
    assert seen[:2] == [[], []]
    assert all(later == ["100", "101"] for later in seen[2:])
    node.after = None
    assert _contents(opened().messages) == ["100", "101"]
    assert client.count(index=index)["count"] == 2  # and no marker is left


def test_messages_added_between_search_and_marker_are_cleared(
    opened: Open, node: type[Recording]
) -> None:
    history = opened()
    history.add_messages(_numbered(2))

    def add(method: str, path: str) -> None:
        if path == "_bulk":
            node.before = None
            opened().add_messages(_numbered(2, 2))  # returns before the clear takes effect

    node.before = add
    history.clear()
    assert history.messages == []


def test_a_conversation_cleared_between_two_pages_is_not_read_in_part(
    opened: Open, client: Elasticsearch, index: str, node: type[Recording]
) -> None:
    client.indices.create(
        index=index, settings={"max_result_window": 10}, mappings={"properties": dict(MAPPING)}
    )
    history = opened()
    history.add_messages(_numbered(35))

    def clear(method: str, path: str) -> None:
        if path == "_search":
            node.after = None
            opened().clear()

    node.after = clear
    assert history.messages == []


def test_clearing_removes_the_documents(opened: Open, client: Elasticsearch, index: str) -> None:
    opened("other").add_messages(_numbered(1))
    opened().add_messages(_numbered(30))
    opened().clear()
    assert client.count(index=index, query={"term": {"session_id": "s"}})["count"] == 0
    client.indices.refresh(index=index)  # the marker is gone too
    assert client.count(index=index)["count"] == 1


# Undecodable documents.


def test_an_undecodable_document_is_named_and_can_be_discarded(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    history = opened()
    history.add_messages(_numbered(2))
    broken = [
        {"history": json.dumps({"type": "martian", "data": {"content": "x"}})},
        {"history": "{"},
        {},
    ]
    for number, document in enumerate(broken):
        client.index(
            index=index,
            id=f"broken-{number}",
            document={"session_id": "s", "created_at": 1, **document},
            refresh=True,
        )
    history.add_messages(_numbered(1, 2))
    for number in range(3):
        with pytest.raises(UndecodableRecordError) as caught:
            _ = history.messages
        assert caught.value.position == f"broken-{number}"
        assert _contents(caught.value.messages) == ["0", "1", "2"]
        opened("other").discard(caught.value.position)  # a record of another session
        with pytest.raises(UndecodableRecordError):
            _ = history.messages
        history.discard(caught.value.position)
    assert _contents(history.messages) == ["0", "1", "2"]


def test_a_batch_with_a_message_that_cannot_be_encoded_sends_nothing(
    opened: Open, node: type[Recording]
) -> None:
    history = opened()
    with pytest.raises(TypeError, match="message 1 of the batch"):
        history.add_messages([HumanMessage("a"), HumanMessage("b", additional_kwargs={"x": {1}})])
    assert node.asked == []


# Time to live.


def test_messages_expire_and_can_be_removed(
    opened: Open, client: Elasticsearch, index: str
) -> None:
    client.indices.create(index=index, mappings={"properties": _UPSTREAM_MAPPING})
    keeping, expiring = opened(), opened(ttl_ms=700)
    keeping.add_messages(_numbered(1))
    expiring.add_messages(_numbered(2, 1))
    opened("other", ttl_ms=1).add_messages(_numbered(3))
    assert _contents(keeping.messages) == ["0", "1", "2"]
    time.sleep(1)
    assert _contents(keeping.messages) == _contents(keeping.last_messages(3)) == ["0"]
    assert client.count(index=index)["count"] == 6
    assert keeping.delete_expired() == 5
    assert keeping.delete_expired() == 0
    assert client.count(index=index)["count"] == 1


# Async, threads, processes.


def test_the_async_class_does_the_same(elasticsearch: Server, index: str, opened: Open) -> None:
    async def work() -> None:
        async with open_async(elasticsearch, index, ttl_ms=60_000) as history:
            await history.create_if_missing()
            assert history.created
            await history.aadd_message(HumanMessage("0"))
            await history.aadd_messages(_numbered(3, 1))
            assert _contents(await history.aget_messages()) == ["0", "1", "2", "3"]
            assert _contents(await history.alast_messages(2)) == ["2", "3"]
            await history.adiscard("nothing")
            assert await history.adelete_expired() == 0
        assert _contents(opened().messages) == ["0", "1", "2", "3"]
        async with open_async(elasticsearch, index) as history:
            await history.aclear()
            assert await history.aget_messages() == []

    asyncio.run(work())


def test_the_async_class_works_on_one_loop_after_another(elasticsearch: Server, index: str) -> None:
    history = open_async(elasticsearch, index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for sockets of ended loops
        for number in range(3):
            asyncio.run(history.aadd_messages(_numbered(1, number)))
        assert _contents(asyncio.run(history.aget_messages())) == ["0", "1", "2"]
        del history
        for _ in range(3):  # some objects are only found by the next collection
            gc.collect()


@pytest.mark.parametrize(
    "call",
    [
        lambda history: history.messages,
        lambda history: history.add_message(HumanMessage("a")),
        lambda history: history.add_messages([]),
        lambda history: history.add_user_message("a"),
        lambda history: history.clear(),
        lambda history: history.close(),
    ],
)
def test_the_async_class_names_the_methods_to_call_instead(call: Callable[[Any], Any]) -> None:
    history = AsyncElasticsearchChatMessageHistory("i", "s", es_url="http://127.0.0.1:1")
    with pytest.raises(NotImplementedError, match=r"await history\.a.*ainvoke"):
        call(history)


def test_both_classes_work_in_a_chain(elasticsearch: Server, index: str, opened: Open) -> None:
    def chain(history: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from langchain_core.runnables.history import RunnableWithMessageHistory

            return RunnableWithMessageHistory(RunnableLambda(count), lambda session_id: history)

    def count(messages: list[BaseMessage]) -> AIMessage:
        return AIMessage(f"{len(messages)} messages")

    config = {"configurable": {"session_id": "s"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert chain(opened()).invoke([HumanMessage("a")], config).content == "1 messages"

        async def work() -> None:
            answer = await chain(opened()).ainvoke([HumanMessage("b")], config)
            assert answer.content == "3 messages"
            async with open_async(elasticsearch, index) as history:
                answer = await chain(history).ainvoke([HumanMessage("c")], config)
                assert answer.content == "5 messages"
                with pytest.raises(NotImplementedError, match="ainvoke"):
                    chain(history).invoke([HumanMessage("d")], config)

        asyncio.run(work())
    assert _contents(opened().messages) == ["a", "1 messages", "b", "3 messages", "c", "5 messages"]


def test_histories_with_equal_settings_share_a_client_until_the_last_is_closed(
    opened: Open,
) -> None:
    first, second = opened("a"), opened("b")
    assert first.client is second.client
    assert first.client is not opened("c", config={"max_retries": 1}).client
    first.add_messages([HumanMessage("1")])
    first.close()
    second.add_messages([HumanMessage("2")])
    client = second.client
    second.close()
    with opened("b") as third:
        assert third.client is not client
        assert [m.content for m in third.messages] == ["2"]


def test_settings_that_only_look_alike_do_not_share_a_client(opened: Open) -> None:
    class Node(PreviousMajorNode):
        pass

    def other() -> type[PreviousMajorNode]:
        return type(Node.__name__, (PreviousMajorNode,), {"__qualname__": Node.__qualname__})

    alike = other()
    assert repr(alike) == repr(other())
    one, two = (opened(config={"node_class": kind}) for kind in (alike, other()))
    assert one.client is not two.client
    assert opened(config={"node_class": alike}).client is one.client


def test_a_shared_client_is_dropped_with_histories_that_were_not_closed(
    elasticsearch: Server, index: str, node: type[Recording]
) -> None:
    def open_one() -> ElasticsearchChatMessageHistory:
        config = {"node_class": node}
        return ElasticsearchChatMessageHistory(
            index, "s", es_url=elasticsearch.address, config=config
        )

    kept = open_one()
    transport = weakref.ref(kept.client.transport)
    kept_pools: list[Any] = kept.client.transport.node_pool.all()
    lost = open_one()
    assert lost.client.transport is transport()
    del lost
    gc.collect()
    kept.add_messages([HumanMessage("1")])
    kept.close()
    assert all(node.pool.pool is None for node in kept_pools)  # the connections are closed
    del kept, kept_pools
    for _ in range(3):  # the end of one client frees the clients that were made from it
        gc.collect()
    assert transport() is None


def test_histories_share_a_client_on_each_event_loop(elasticsearch: Server, index: str) -> None:
    def open_one(session: str) -> AsyncElasticsearchChatMessageHistory:
        config = {"node_class": AsyncPreviousMajorNode}
        return AsyncElasticsearchChatMessageHistory(
            index, session, es_url=elasticsearch.address, config=config
        )

    async def use(outside: list[AsyncElasticsearchChatMessageHistory]) -> AsyncElasticsearch:
        inside = open_one("c")
        for history in (*outside, inside):
            await history.aadd_messages([HumanMessage("1")])
        (client,) = {history.client for history in (*outside, inside)}
        await inside.aclose()
        assert [m.content for m in await outside[0].aget_messages()] == ["1"]
        for history in outside:
            await history.aclear()
            await history.aclose()
        return client

    first, second = (asyncio.run(use([open_one("a"), open_one("b")])) for _ in range(2))
    assert first is not second


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_handle_can_be_used_after_a_fork(opened: Open) -> None:
    history = opened()
    history.add_messages(_numbered(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
        child = os.fork()
    if child == 0:
        try:
            history.add_messages(_numbered(50, 1))
            good = len(history.messages) == 51
            history.close()
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    for _ in range(50):
        assert _contents(history.messages)[0] == "0"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(history.messages) == 51


# Errors.


def test_an_unreachable_server_raises_an_error_that_names_the_call_and_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = ElasticsearchChatMessageHistory(
        "i", "chat 7", es_url="http://user:word@127.0.0.1:1", timeout_sec=1
    )
    for call in (lambda: history.messages, lambda: history.add_messages(_numbered(1))):
        with pytest.raises(UnreachableError, match=r"'chat 7'.*'i'.*127\.0\.0\.1:1") as caught:
            call()
        assert isinstance(caught.value, ElasticsearchHistoryError)
        assert isinstance(caught.value, package.ConnectionError)
        assert isinstance(caught.value, ConnectionError)
        assert "word" not in str(caught.value)
    ours = [r for r in caplog.records if r.name.startswith("chat_history_backends.")]
    assert [record.levelno for record in ours] == [logging.ERROR] * 2
    assert "word" not in caplog.text


def test_a_client_newer_than_its_server_gets_an_error_with_the_remedy(
    elasticsearch: Server, index: str
) -> None:
    if int(package.__version__[0]) < 9:
        pytest.skip("client 8 talks to a server of version 8")
    with ElasticsearchChatMessageHistory(index, "s", es_url=elasticsearch.address) as history:
        with pytest.raises(RefusedError, match=r"elasticsearch<9.*PreviousMajorNode"):
            _ = history.messages
