"""Tests of answers that Elasticsearch did not give, or gave only in part."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.elasticsearch import (
    AsyncElasticsearchChatMessageHistory,
    AsyncPreviousMajorNode,
    ElasticsearchChatMessageHistory,
    ElasticsearchHistoryError,
    ForeignAnswerError,
    PreviousMajorNode,
    RefusedError,
    UnavailableError,
    UnfitIndexError,
    UnreachableError,
    calls,
)
from chat_history_backends.elasticsearch.errors import NodeFailedError
from chat_history_backends.elasticsearch.requests import Request
from chat_history_conformance.servers.server import Server
from tests.backends.forging_gateway import Forged, Gateway, gateway_to

History = ElasticsearchChatMessageHistory
Opened = Callable[..., History]

_SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
_EMPTY = {
    "took": 1,
    "timed_out": False,
    "_shards": _SHARDS,
    "hits": {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []},
}
_MISSING: dict[str, Any] = {
    "error": {"type": "index_not_found_exception", "reason": "no such index [other]"},
    "status": 404,
}
_HTML = "<html><body>Sign in to use this network</body></html>"


@pytest.fixture
def gateway(elasticsearch: Server) -> Iterator[Gateway]:
    with gateway_to(elasticsearch.address) as gateway:
        yield gateway


@pytest.fixture
def opened(gateway: Gateway, index: str) -> Iterator[Opened]:
    """Open histories through the gateway, each with a separate client."""
    histories: list[History] = []

    def open_history(**arguments: Any) -> History:
        config = {"node_class": PreviousMajorNode, "headers": {"x-test": str(len(histories))}}
        history = History(
            index,
            "s",
            es_url=arguments.pop("es_url", gateway.address),
            timeout_sec=arguments.pop("timeout_sec", 1.5),
            config={**config, **arguments.pop("config", {})},
            **arguments,
        )
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.close()


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


FOREIGN = {
    "200 with HTML": Forged(200, _HTML, "text/html"),
    "200 with HTML and a charset": Forged(200, _HTML, "text/html; charset=utf-8"),
    "200 with text": Forged(200, "OK", "text/plain"),
    "200 with an unknown type": Forged(200, "%PDF", "application/pdf"),
    "200 with nothing": Forged(200, "", ""),
    "200 with an empty object": Forged(200, "{}"),
    "200 with an empty list": Forged(200, "[]"),
    "200 with null": Forged(200, "null"),
    "200 with broken JSON": Forged(200, '{"hits": {"hi'),
    "200 with no hits": Forged(200, '{"hits": {"hits": []}}'),
    "200 with a whole empty search": Forged(200, json.dumps(_EMPTY)),
    "200 acknowledged": Forged(200, '{"acknowledged": true}'),
    "200 with an empty bulk": Forged(200, '{"errors": false, "items": [], "took": 1}'),
    "200 with the header and an empty object": Forged(200, "{}", product=True),
    "200 with the header and no hits": Forged(200, '{"hits": {"hits": []}}', product=True),
    "200 with the header and HTML": Forged(200, _HTML, "text/html", product=True),
    "200 with the header and broken JSON": Forged(200, "{", product=True),
    "204": Forged(204, "", ""),
    "204 with the header": Forged(204, "", "", product=True),
    "302": Forged(302, "", "", location="https://login.example/"),
    "307 with the header": Forged(307, "{}", product=True, location="https://login.example/"),
    "400 with HTML": Forged(400, _HTML, "text/html"),
    "401 with HTML": Forged(401, _HTML, "text/html"),
    "401 with an object": Forged(401, '{"message": "no"}'),
    "403 with HTML": Forged(403, _HTML, "text/html"),
    "403 with the header and an object": Forged(403, '{"message": "no"}', product=True),
    "404 with HTML": Forged(404, _HTML, "text/html"),
    "404 with an object": Forged(404, '{"ok": false, "message": "Unknown resource."}'),
    "404 with nothing": Forged(404, "", ""),
    "404 like Elasticsearch": Forged(404, json.dumps(_MISSING)),
    "404 like Elasticsearch without the header": Forged(
        404, json.dumps({**_MISSING, "error": {**_MISSING["error"], "root_cause": []}})
    ),
    "404 of another index": Forged(404, json.dumps(_MISSING), product=True),
    "404 with the header": Forged(404, '{"found": false}', product=True),
    "405": Forged(405, _HTML, "text/html"),
    "409": Forged(409, '{"message": "conflict"}'),
    "413 with HTML": Forged(413, _HTML, "text/html"),
    "429 with text": Forged(429, "slow down", "text/plain"),
    "500 with HTML": Forged(500, _HTML, "text/html"),
    "502 with HTML": Forged(502, _HTML, "text/html"),
    "503 with nothing": Forged(503, "", ""),
    "504 with an object": Forged(504, '{"error": "gateway timeout", "status": 504}'),
    "504 with the header": Forged(504, '{"error": "x", "status": 504}', product=True),
}

READS: dict[str, Callable[[History], Any]] = {
    "messages": lambda history: history.messages,
    "last_messages": lambda history: history.last_messages(2),
}
WRITES: dict[str, Callable[[History], Any]] = {
    "add": lambda history: history.add_messages([HumanMessage("new")]),
    "clear": lambda history: history.clear(),
    "delete_expired": lambda history: history.delete_expired(),
    "discard": lambda history: history.discard("x"),
}


def _check(error: BaseException, forged: Forged) -> None:
    assert isinstance(error, ElasticsearchHistoryError)
    assert isinstance(error, ConnectionError)
    assert isinstance(error, ApiError)
    text = str(error)
    assert "not from Elasticsearch" in text
    assert "proxies and gateways" in text
    assert _HTML not in text
    if forged.kind != "application/pdf" and "{" not in forged.body[:1]:
        assert str(forged.status) in text


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("used", [True, False], ids=["in use", "new"])
def test_an_answer_of_a_gateway_is_never_believed(
    gateway: Gateway, opened: Opened, answer: Forged, used: bool, elasticsearch: Server
) -> None:
    direct = opened(es_url=elasticsearch.address, timeout_sec=20)
    direct.add_messages([HumanMessage("old")])
    repeated = answer.status in (429, 502, 503, 504)
    history = opened(timeout_sec=0.5 if repeated else 20)
    if used:
        patient = opened(timeout_sec=10)
        patient.clear()
        patient.add_messages([HumanMessage("old")])
        history._session.index.note(patient._session.index.known or pytest.fail("unknown"))
    gateway.forge = lambda method, path: answer
    for name, call in {**READS, **WRITES}.items():
        with pytest.raises(ForeignAnswerError) as caught:
            call(history)
        _check(caught.value, answer)
        assert caught.value.outcome_unknown is (used and name == "add"), name
    gateway.forge = lambda method, path: None
    assert _contents(direct.messages) == ["old"]


@pytest.mark.parametrize("forward", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("name", ["add", "clear"])
@pytest.mark.parametrize(
    "answer",
    [FOREIGN[name] for name in ("200 with HTML", "404 with HTML", "409", "504 with an object")],
    ids=["200", "404", "409", "504"],
)
def test_a_write_that_a_gateway_answers_has_an_unknown_outcome(
    gateway: Gateway, opened: Opened, answer: Forged, name: str, forward: bool
) -> None:
    history = opened(timeout_sec=10)
    history.add_messages([HumanMessage("old")])
    assert _contents(history.messages) == ["old"]
    hasty = opened(timeout_sec=0.7)
    hasty._session.index.note(history._session.index.known or pytest.fail("unknown"))
    forged = Forged(answer.status, answer.body, answer.kind, forward=forward)
    gateway.forge = lambda method, path: forged if path.endswith("_bulk") else None
    with pytest.raises(ForeignAnswerError, match="outcome is unknown") as caught:
        WRITES[name](hasty)
    assert caught.value.outcome_unknown is True
    assert list(caught.value.unconfirmed) == ([0] if name == "add" else [])
    gateway.forge = lambda method, path: None
    expected = {"add": ["old", "new"], "clear": []}[name] if forward else ["old"]
    assert _contents(history.messages) == expected


def test_an_answer_of_a_gateway_that_restarts_is_asked_for_again(
    gateway: Gateway, opened: Opened
) -> None:
    history = opened(timeout_sec=20)
    for status in (502, 503, 504):
        left = [Forged(status, _HTML, "text/html", forward=True)] * 2
        gateway.forge = lambda method, path, left=left: left.pop() if left else None  # type: ignore[misc]
        history.add_messages([HumanMessage(str(status))])
        assert not left
    assert _contents(history.messages) == ["502", "503", "504"]


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(body: bytes) -> bytes:
        answer = json.loads(body)
        change(answer)
        return json.dumps(answer).encode()

    return apply


def _item(answer: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = answer["items"][-1]["index"]
    return item


NOT_STORED: dict[str, Callable[[dict[str, Any]], object]] = {
    "fewer results": lambda answer: answer["items"].pop(),
    "no results": lambda answer: answer["items"].clear(),
    "another id": lambda answer: _item(answer).update(_id="other"),
    "another action": lambda answer: answer["items"][-1].update(
        create=answer["items"][-1].pop("index")
    ),
    "no status": lambda answer: _item(answer).pop("status"),
    "another status": lambda answer: _item(answer).update(status=202),
    "no number": lambda answer: _item(answer).pop("_seq_no"),
    "no shards": lambda answer: _item(answer).pop("_shards"),
    "no copy": lambda answer: _item(answer)["_shards"].update(successful=0),
    "a hidden error": lambda answer: _item(answer).update(error={"type": "x", "reason": "y"}),
    "errors without an error": lambda answer: answer.update(errors=True),
    "no errors": lambda answer: answer.pop("errors"),
}


@pytest.mark.parametrize("change", NOT_STORED.values(), ids=NOT_STORED)
def test_an_add_needs_a_result_for_each_message(
    gateway: Gateway, opened: Opened, change: Callable[[dict[str, Any]], object]
) -> None:
    history = opened(timeout_sec=20)
    history.add_messages([HumanMessage("old")])
    gateway.change = lambda path, body: _changed(change)(body) if "_bulk" in path else body
    with pytest.raises(ForeignAnswerError) as caught:
        history.add_messages([HumanMessage("1"), HumanMessage("2")])
    assert caught.value.outcome_unknown


SHORT: dict[str, Callable[[dict[str, Any]], object]] = {
    "a hit without an id": lambda answer: answer["hits"]["hits"][0].pop("_id"),
    "a hit without a document": lambda answer: answer["hits"]["hits"][0].pop("_source"),
    "a hit that is not sorted": lambda answer: answer["hits"]["hits"][0].pop("sort"),
    "a hit less": lambda answer: answer["hits"]["hits"].pop(),
    "no shards": lambda answer: answer.pop("_shards"),
    "no shard": lambda answer: answer["_shards"].update(total=0, successful=0),
    "no time": lambda answer: answer.pop("took"),
    "no total": lambda answer: answer["hits"].pop("total"),
    "a lower bound": lambda answer: answer["hits"]["total"].update(relation="gte"),
}
PARTIAL: dict[str, Callable[[dict[str, Any]], object]] = {
    "a failed shard": lambda answer: answer["_shards"].update(total=2, failed=1),
    "a missing shard": lambda answer: answer["_shards"].update(total=2),
    "timed out": lambda answer: answer.update(timed_out=True),
    "ended early": lambda answer: answer.update(terminated_early=True),
}


@pytest.mark.parametrize("change", [*SHORT.values(), *PARTIAL.values()], ids=[*SHORT, *PARTIAL])
def test_a_read_needs_a_whole_answer(
    gateway: Gateway, opened: Opened, change: Callable[[dict[str, Any]], object]
) -> None:
    opened(timeout_sec=20).add_messages([HumanMessage("1"), HumanMessage("2")])
    history = opened(timeout_sec=1.5)
    gateway.change = lambda path, body: _changed(change)(body) if "_search" in path else body
    expected = UnavailableError if change in PARTIAL.values() else ForeignAnswerError
    with pytest.raises(expected) as caught:
        _ = history.messages
    assert isinstance(caught.value, ConnectionError)
    assert not caught.value.outcome_unknown


def test_a_read_of_documents_of_another_session_is_refused(
    gateway: Gateway, opened: Opened
) -> None:
    """Stands for a runtime field, which this node does not run."""
    history = opened(timeout_sec=20)
    history.add_messages([HumanMessage("1")])
    change = _changed(lambda answer: answer["hits"]["hits"][0]["_source"].update(session_id="t"))
    gateway.change = lambda path, body: change(body) if "_search" in path else body
    for call in READS.values():
        with pytest.raises(UnfitIndexError, match="another session"):
            call(history)


@pytest.mark.parametrize(
    "shards",
    [
        {"total": 2, "successful": 1, "failed": 1},
        {"total": 2, "successful": 0, "failed": 0},
    ],
    ids=["a copy failed", "no copy"],
)
def test_a_read_needs_a_refresh_of_all_copies(
    gateway: Gateway, opened: Opened, shards: dict[str, int]
) -> None:
    opened(timeout_sec=20).add_messages([HumanMessage("1")])
    history = opened()
    gateway.forge = lambda method, path: (
        Forged(200, json.dumps({"_shards": shards}), product=True) if "_refresh" in path else None
    )
    with pytest.raises(UnavailableError):
        _ = history.messages


def test_a_missing_index_is_believed_only_if_its_examination_says_so(
    gateway: Gateway, opened: Opened, index: str
) -> None:
    """A node that has just started does not know the indices yet, and a refresh says so."""
    history = opened(timeout_sec=20)
    history.add_messages([HumanMessage("1")])
    why = {"type": "index_not_found_exception", "reason": "no such index", "index": index}
    missing = {**why, "root_cause": [why]}
    answer = Forged(404, json.dumps({"error": missing, "status": 404}), product=True)
    left = [answer] * 2
    gateway.forge = lambda method, path: left.pop() if "_refresh" in path and left else None
    assert _contents(history.messages) == ["1"]
    assert not left
    gateway.forge = lambda method, path: answer if "_refresh" in path else None
    with pytest.raises(RefusedError):
        _ = opened(timeout_sec=3).messages


@pytest.mark.parametrize(
    "answer",
    [FOREIGN[name] for name in ("200 with HTML", "200 with the header and an empty object")]
    + [FOREIGN[name] for name in ("404 with HTML", "403 with HTML")]
    + [Forged(302, location="/login"), Forged(307, location="/login", product=True)],
    ids=["200", "header", "404", "403", "302", "307"],
)
def test_the_async_class_does_not_believe_a_gateway_either(
    gateway: Gateway, index: str, answer: Forged
) -> None:
    async def work() -> None:
        async with AsyncElasticsearchChatMessageHistory(
            index, "s", es_url=gateway.address, config={"node_class": AsyncPreviousMajorNode}
        ) as history:
            gateway.forge = lambda method, path: None
            await history.aadd_messages([HumanMessage("old")])
            # The asynchronous client follows a redirection.
            login = Forged(200, _HTML, "text/html", product=answer.product)
            gateway.forge = lambda method, path: login if path == "/login" else answer
            for call in (
                history.aget_messages,
                lambda: history.alast_messages(1),
                history.aclear,
                lambda: history.aadd_messages([HumanMessage("new")]),
            ):
                with pytest.raises(ForeignAnswerError) as caught:
                    await call()
                _check(caught.value, login if answer.location else answer)
            gateway.forge = lambda method, path: None
            assert _contents(await history.aget_messages()) == ["old"]

    asyncio.run(work())


def test_a_call_ends_at_its_limit_however_many_requests_it_repeats(
    gateway: Gateway, opened: Opened
) -> None:
    history = opened(timeout_sec=1)
    gateway.forge = lambda method, path: Forged(503, _HTML, "text/html")
    for call in (*READS.values(), *WRITES.values()):
        began = time.monotonic()
        with pytest.raises(ForeignAnswerError):
            call(history)
        assert time.monotonic() - began < 4
    assert len(gateway.asked) > 12


# A node that was cut off from the others serves old copies.


@pytest.fixture
def gateways(elasticsearch: Server) -> Iterator[list[Gateway]]:
    """Two nodes, as the client sees them."""
    with gateway_to(elasticsearch.address) as one, gateway_to(elasticsearch.address) as other:
        yield [one, other]


def _asked(gateways: list[Gateway]) -> list[list[str]]:
    """Return the refreshes and searches at each of the nodes since the last time."""
    found = []
    for gateway in gateways:
        found.append([path.rpartition("/")[2] for path in gateway.asked])
        gateway.asked.clear()
    return found


def test_the_node_that_refreshed_the_index_searches_it(
    gateways: list[Gateway], opened: Opened
) -> None:
    history = opened(es_url=[gateway.address for gateway in gateways], timeout_sec=10)
    history.add_messages([HumanMessage("1"), HumanMessage("2")])
    assert len(history.messages) == 2
    _asked(gateways)
    nodes = set()
    for _ in range(3):
        for count in (None, 1):
            assert history.messages if count is None else history.last_messages(count)
            one, other = _asked(gateways)
            assert sorted([one, other]) == [[], ["_refresh", "_search"]]
            nodes.add(bool(one))
    assert nodes == {True, False}, "the reads did not change between the nodes"
    history.clear()
    assert {("_search" in asked) <= ("_refresh" in asked) for asked in _asked(gateways)} == {True}
    assert history.messages == []


def test_the_async_class_searches_on_the_node_that_refreshed_the_index(
    gateways: list[Gateway], index: str
) -> None:
    async def work() -> None:
        config = {"node_class": AsyncPreviousMajorNode}
        addresses = [gateway.address for gateway in gateways]
        async with AsyncElasticsearchChatMessageHistory(
            index, "s", es_url=addresses, config=config
        ) as history:
            await history.aadd_messages([HumanMessage("1")])
            await history.aget_messages()
            _asked(gateways)
            for _ in range(4):
                assert len(await history.aget_messages()) == 1
                assert sorted(_asked(gateways)) == [[], ["_refresh", "_search"]]

    asyncio.run(work())


def test_another_node_refreshes_the_index_again_if_the_first_does_not_search(
    gateways: list[Gateway], opened: Opened
) -> None:
    history = opened(es_url=[gateway.address for gateway in gateways], timeout_sec=10)
    history.add_messages([HumanMessage("1"), HumanMessage("2")])
    error = {"type": "no_shard_available_action_exception", "reason": "none", "root_cause": []}
    unable = Forged(503, json.dumps({"error": error, "status": 503}), product=True)
    gateways[0].forge = lambda method, path: unable if path.endswith("_search") else None
    _asked(gateways)
    for _ in range(4):
        assert _contents(history.messages) == ["1", "2"]
        assert _asked(gateways)[1][-2:] == ["_refresh", "_search"]
    history.clear()
    assert history.messages == []
    other = opened(es_url=[gateway.address for gateway in gateways], timeout_sec=10)
    other.add_messages([HumanMessage("3")])  # it tries the index first, which searches it
    assert _contents(other.messages) == ["3"]
    gateways[1].forge = gateways[0].forge
    impatient = opened(es_url=[gateway.address for gateway in gateways], timeout_sec=1)
    with pytest.raises(UnavailableError):
        list(impatient.messages)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_call_soon_stops_trying_nodes_that_never_answered_and_refuse(host: str) -> None:
    addresses = [f"http://{host}:1", f"http://{host}:2"]
    for limit in (10, 0.5):
        with History("i", "s", es_url=addresses, timeout_sec=limit) as history:
            for call in (*READS.values(), *WRITES.values()):
                began = time.monotonic()
                with pytest.raises(UnreachableError, match="the address is right") as caught:
                    call(history)
                assert min(limit, 2) / 2 - 0.2 < time.monotonic() - began < min(limit, 2) + 1.5
                assert not caught.value.outcome_unknown


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_the_async_class_soon_stops_trying_nodes_that_never_answered(host: str) -> None:
    async def work() -> None:
        async with AsyncElasticsearchChatMessageHistory(
            "i", "s", es_url=f"http://{host}:1"
        ) as history:
            for call in (
                history.aget_messages,
                lambda: history.aadd_messages([HumanMessage("new")]),
            ):
                began = time.monotonic()
                with pytest.raises(UnreachableError) as caught:
                    await call()
                assert 0.8 < time.monotonic() - began < 8
                assert not caught.value.outcome_unknown

    asyncio.run(work())


def test_a_node_that_answered_once_gets_the_whole_time_limit_to_come_back() -> None:
    def open_history() -> History:
        return History("i", "s", es_url=stopping.address, timeout_sec=5)

    with gateway_to("http://127.0.0.1:1") as stopping:
        stopping.forge = lambda method, path: Forged(200, "{}")
        with open_history() as history, pytest.raises(ForeignAnswerError):
            _ = history.messages
    with open_history() as history:  # another client of the same servers
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            _ = history.messages
        assert time.monotonic() - began > 3.5


def test_a_node_that_does_not_answer_gets_the_whole_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = [f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127.0.0.1:1"]
        with History("i", "s", es_url=addresses, timeout_sec=5) as history:
            began = time.monotonic()
            with pytest.raises(UnreachableError):
                _ = history.messages
            assert time.monotonic() - began > 3.5


def test_a_call_whose_time_is_up_before_a_request_reports_the_last_answer() -> None:
    call = calls.Call(0.2, calls.Contact())
    node = NodeConfig("http", "127.0.0.1", 1)
    error = {"type": "no_shard_available_action_exception", "reason": "none", "root_cause": []}
    meta = ApiResponseMeta(503, "1.1", HttpHeaders({"x-elastic-product": "Elasticsearch"}), 0, node)
    refused = ApiError("", meta, {"error": error, "status": 503})
    first = calls.Attempts(Request("search", {}, node=node), call, patient=True, nodes=2)
    failed, _ = first.failed(refused)
    assert isinstance(failed, NodeFailedError)  # so the next node is asked
    time.sleep(0.2)
    second = calls.Attempts(Request("search", {}, node=node), call, patient=True, nodes=2)
    late, pause = second.failed(calls.no_time(call))
    assert isinstance(late, UnavailableError)
    assert pause is None
