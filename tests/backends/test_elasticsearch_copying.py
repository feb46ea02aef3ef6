"""Tests of copying an index in the order of its conversations."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.elasticsearch import (
    ElasticsearchChatMessageHistory,
    RefusedError,
    UnfitIndexError,
    copy_index,
)
from chat_history_backends.elasticsearch.index import MAPPING

_BASE = 1_700_000_000_000


@pytest.fixture
def target(client: Elasticsearch, index: str) -> Iterator[str]:
    yield f"{index}-copy"
    client.options(ignore_status=404).indices.delete(index=f"{index}-copy")


def _document(number: int, created_at: Any, session: str = "s") -> dict[str, Any]:
    message = json.dumps({"type": "human", "data": {"content": str(number)}})
    return {"session_id": session, "created_at": created_at, "history": message}


def _read(client: Elasticsearch, index: str, session: str = "s") -> list[str]:
    messages = ElasticsearchChatMessageHistory(index, session, client=client).messages
    return [str(message.content) for message in messages]


def _ids(client: Elasticsearch, index: str) -> set[str]:
    client.indices.refresh(index=index)
    return {hit["_id"] for hit in client.search(index=index, size=1000)["hits"]["hits"]}


def _numbered(count: int, start: int = 0) -> list[BaseMessage]:
    return [HumanMessage(str(number)) for number in range(start, start + count)]


@pytest.mark.parametrize("shards", [1, 3])
def test_documents_of_an_unfit_index_are_copied_in_order(
    client: Elasticsearch, index: str, target: str, shards: int
) -> None:
    """The index that langchain-elasticsearch leaves if it is dropped while a handle is open."""
    client.indices.create(index=index, settings={"number_of_shards": shards})
    for number in range(250):
        session = "s" if number % 2 else "other"
        client.index(index=index, document=_document(number, _BASE + 1000 * number, session))
    with pytest.raises(UnfitIndexError, match=r"copy_index\(client, source, target\)"):
        _read(client, index)
    report = copy_index(client, index, target)
    assert (report.documents, report.sessions, report.ties, report.left_out) == (250, 2, 0, 0)
    assert _read(client, target) == [str(number) for number in range(1, 250, 2)]
    assert _read(client, target, "other") == [str(number) for number in range(0, 250, 2)]
    assert _ids(client, target) == _ids(client, index)


@pytest.mark.parametrize("shards", [1, 4])
def test_documents_of_this_package_keep_their_order_whatever_their_times(
    client: Elasticsearch, index: str, target: str, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.indices.create(
        index=index, settings={"number_of_shards": shards}, mappings={"properties": dict(MAPPING)}
    )
    history = ElasticsearchChatMessageHistory(index, "s", client=client)
    for number in range(12):  # a clock that goes back
        now = _BASE - number * 1000
        monkeypatch.setattr(
            "chat_history_backends.elasticsearch.adding._reserve_times", lambda *_, now=now: now
        )
        history.add_messages(_numbered(2, 2 * number))
    ElasticsearchChatMessageHistory(index, "t", client=client).add_messages(_numbered(3))
    report = copy_index(client, index, target)
    assert (report.documents, report.sessions) == (27, 2)
    assert _read(client, target) == _read(client, index) == [str(n) for n in range(24)]
    assert _read(client, target, "t") == ["0", "1", "2"]


def test_documents_of_both_packages_are_merged_by_time(
    client: Elasticsearch, index: str, target: str
) -> None:
    client.indices.create(
        index=index, settings={"number_of_shards": 3}, mappings={"properties": dict(MAPPING)}
    )
    for number in range(9):
        client.index(index=index, document=_document(number, _BASE + number))
    ElasticsearchChatMessageHistory(index, "s", client=client).add_messages(_numbered(5, 9))
    copy_index(client, index, target)
    assert _read(client, target) == [str(number) for number in range(14)]


def test_an_index_that_was_copied_in_another_order_is_put_in_order_by_time(
    client: Elasticsearch, index: str, target: str
) -> None:
    client.indices.create(index=index, mappings={"properties": dict(MAPPING)})
    for number in (0, 3, 6, 1, 4, 7, 2, 5):
        client.index(index=index, document=_document(number, _BASE + number))
    copy_index(client, index, target, by_time=True)
    assert _read(client, target) == [str(number) for number in range(8)]


def test_messages_of_one_time_on_several_shards_are_reported(
    client: Elasticsearch, index: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.indices.create(index=index, settings={"number_of_shards": 3})
    for number in range(20):
        client.index(index=index, document=_document(number, _BASE))
    with caplog.at_level(logging.WARNING):
        report = copy_index(client, index, target)
    assert report.ties > 0
    assert "Their order is not known" in caplog.text
    assert sorted(_read(client, target), key=int) == [str(number) for number in range(20)]


def test_a_cleared_conversation_and_other_documents(
    client: Elasticsearch, index: str, target: str
) -> None:
    history = ElasticsearchChatMessageHistory(index, "s", client=client, ttl_ms=600_000)
    history.add_messages(_numbered(3))
    session = history._session
    marker = {"session_id": session.marker_key, "created_at": _BASE}
    client.index(index=index, routing=session.routing, document=marker)  # an unfinished clear
    history.add_messages(_numbered(2, 3))
    client.index(index=index, id="theirs", document={"about": "something else"})
    report = copy_index(client, index, target)
    assert (report.documents, report.left_out) == (3, 4)
    assert _read(client, target) == ["3", "4"]
    assert client.get(index=target, id="theirs")["_source"] == {"about": "something else"}
    kept = client.search(index=target, query={"exists": {"field": "expires_at"}})
    assert kept["hits"]["total"]["value"] == 2


def test_a_target_with_documents_is_refused(client: Elasticsearch, index: str, target: str) -> None:
    for name in (index, target):
        ElasticsearchChatMessageHistory(name, "s", client=client).add_messages(_numbered(1))
    with pytest.raises(ValueError, match="has documents already"):
        copy_index(client, index, target)
    with pytest.raises(ValueError, match="two indices"):
        copy_index(client, index, index)
    assert _read(client, target) == ["0"]


def test_a_source_that_does_not_exist_is_named(
    client: Elasticsearch, index: str, target: str
) -> None:
    with pytest.raises(RefusedError, match=f"no such index .{index}"):
        copy_index(client, index, target)
