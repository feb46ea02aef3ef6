"""Tests of indices that cannot keep sessions, and of unusual ones that can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.elasticsearch import (
    ElasticsearchChatMessageHistory,
    PreviousMajorNode,
    RefusedError,
    UnfitIndexError,
)
from chat_history_backends.elasticsearch.index import MAPPING
from chat_history_conformance.servers.server import Server

Opened = Callable[..., ElasticsearchChatMessageHistory]

_KEYWORD = {"type": "keyword"}


@pytest.fixture
def opened(elasticsearch: Server) -> Iterator[Opened]:
    """Open histories, each with a separate client, so that none knows an index already."""
    histories: list[ElasticsearchChatMessageHistory] = []

    def open_history(
        index: str, session: str = "s", **arguments: Any
    ) -> ElasticsearchChatMessageHistory:
        client = Elasticsearch(elasticsearch.address, node_class=PreviousMajorNode)
        history = ElasticsearchChatMessageHistory(index, session, client=client, **arguments)
        histories.append(history)
        return history

    yield open_history
    for history in histories:
        history.client.close()


def _contents(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def _with(field: str, **mapping: Any) -> dict[str, Any]:
    return {"mappings": {"properties": {**MAPPING, field: mapping}}}


def _set(**settings: Any) -> dict[str, Any]:
    return {"settings": settings, "mappings": {"properties": dict(MAPPING)}}


UNFIT: dict[str, dict[str, Any]] = {
    "nothing is mapped": {"mappings": {"enabled": False}},
    "nothing is mapped, as text": {"mappings": {"enabled": "false"}},
    "the root is switched off next to fields": {
        "mappings": {"enabled": False, "properties": {"other": _KEYWORD}}
    },
    "no source": {"mappings": {"_source": {"enabled": False}, "properties": dict(MAPPING)}},
    "no source, as text": {"mappings": {"_source": {"enabled": "false"}}},
    "source with excludes": {"mappings": {"_source": {"excludes": ["hist*"]}}},
    "source with includes": {"mappings": {"_source": {"includes": ["session_id"]}}},
    "synthetic source": {
        "mappings": {"_source": {"mode": "synthetic"}, "properties": {"session_id": _KEYWORD}}
    },
    "synthetic source, as a setting": {
        "settings": {"index.mapping.source.mode": "synthetic"},
        "mappings": {"properties": {"session_id": _KEYWORD}},
    },
    "a session of text": _with("session_id", type="text"),
    "a session as object": _with("session_id", type="object", enabled=False),
    "a session as alias": {
        "mappings": {
            "properties": {
                "other": _KEYWORD,
                "session_id": {"type": "alias", "path": "other"},
            }
        }
    },
    "a session that is not indexed": _with("session_id", type="keyword", index=False),
    "a session that is not indexed, as text": _with("session_id", type="keyword", index="false"),
    "a session that ignores long ids": _with("session_id", type="keyword", ignore_above="256"),
    "a session for documents without one": _with("session_id", type="keyword", null_value="s"),
    "runtime session": {
        "mappings": {"runtime": {"session_id": _KEYWORD}, "properties": dict(MAPPING)}
    },
    "runtime expiry": {
        "mappings": {"runtime": {"expires_at": {"type": "date"}}, "properties": dict(MAPPING)}
    },
    "another field is copied to the session": {
        "mappings": {
            "properties": {**MAPPING, "history": {"type": "keyword", "copy_to": "session_id"}}
        }
    },
    "a field of an object is copied to the session": {
        "mappings": {
            "properties": {
                **MAPPING,
                "a": {"properties": {"b": {"type": "keyword", "copy_to": ["session_id"]}}},
            }
        }
    },
    "expiry as alias of the creation": _with("expires_at", type="alias", path="created_at"),
    "expiry as keyword": _with("expires_at", type="keyword"),
    "expiry in seconds": _with("expires_at", type="date", format="epoch_second"),
    "expiry in days": _with("expires_at", type="date", format="yyyy-MM-dd", ignore_malformed=True),
    "expiry that is not searched": _with("expires_at", type="date", index=False, doc_values=False),
    "creation in days": _with("created_at", type="date", format="yyyy-MM-dd"),
    "creation as text": _with("created_at", type="text"),
    "history as object": _with("history", type="object"),
    "history as number": _with("history", type="long", ignore_malformed=True),
    "history as alias": _with("history", type="alias", path="session_id"),
    "sessions on several shards": {
        "settings": {"number_of_shards": 4, "routing_partition_size": "2"},
        "mappings": {"_routing": {"required": True}, "properties": dict(MAPPING)},
    },
    "a final pipeline": _set(final_pipeline="drops"),
    "a final pipeline, nested": _set(index={"final_pipeline": "drops"}),
    "acknowledged before it is on the disk": _set(**{"index.translog.durability": "async"}),
    "acknowledged early, nested": _set(index={"translog": {"durability": "ASYNC"}}),
    "strict without fields": {
        "mappings": {"dynamic": "strict", "properties": {"session_id": _KEYWORD}}
    },
}


@pytest.mark.filterwarnings("ignore:Configuring source mode in mappings is deprecated")
@pytest.mark.parametrize("created", UNFIT.values(), ids=UNFIT)
def test_an_index_that_would_hide_or_change_messages_is_refused(
    opened: Opened, client: Elasticsearch, index: str, created: dict[str, Any]
) -> None:
    client.indices.create(index=index, **created)
    history = opened(index)
    with pytest.raises(UnfitIndexError, match=rf"{index}.*Remedy: ") as caught:
        history.add_messages([HumanMessage("1")])
    assert not caught.value.outcome_unknown
    client.indices.refresh(index=index)
    assert client.count(index=index)["count"] == 0


FIT: dict[str, dict[str, Any]] = {
    "as text": _set(number_of_shards="1", number_of_replicas="0"),
    "several shards": _set(number_of_shards=3),
    "hidden": _set(hidden=True),
    "never refreshed": _set(refresh_interval="-1"),
    "a small window": _set(max_result_window=3),
    "sorted": _set(**{"index.sort.field": ["created_at"], "index.sort.order": ["desc"]}),
    "a default pipeline that does not exist": _set(default_pipeline="nothing"),
    "no final pipeline": _set(final_pipeline="_none"),
    "durable": _set(**{"index.translog.durability": "request"}),
    "compressed": _set(codec="best_compression"),
    "only known fields": {"mappings": {"dynamic": "strict", "properties": dict(MAPPING)}},
    "no other fields": {"mappings": {"dynamic": False, "properties": {"session_id": _KEYWORD}}},
    "runtime fields": {"mappings": {"dynamic": "runtime", "properties": {"session_id": _KEYWORD}}},
    "another runtime field": {
        "mappings": {"runtime": {"other": _KEYWORD}, "properties": dict(MAPPING)}
    },
    "routing required": {"mappings": {"_routing": {"required": True}, "properties": dict(MAPPING)}},
    "no doc values": _with("session_id", type="keyword", doc_values=False),
    "a long limit": _with("session_id", type="keyword", ignore_above=40_000),
    "a session with a second field": _with(
        "session_id", type="keyword", fields={"words": {"type": "text"}}
    ),
    "history as keyword": _with("history", type="keyword", ignore_above=10),
    "history not parsed": _with("history", type="object", enabled=False),
    "history as binary": _with("history", type="binary"),
    "history as words": _with("history", type="text"),
    "creation as number": _with("created_at", type="long"),
    "creation of old": _with("created_at", type="date"),
    "creation with formats": _with("created_at", type="date", format="epoch_millis||yyyy-MM-dd"),
    "creation with nanoseconds": _with("created_at", type="date_nanos"),
}


@pytest.mark.parametrize("created", FIT.values(), ids=FIT)
def test_an_unusual_index_that_keeps_everything_is_used(
    opened: Opened, client: Elasticsearch, index: str, created: dict[str, Any]
) -> None:
    client.indices.create(index=index, **created)
    texts = [str(number) for number in range(7)]
    opened(index).add_messages([HumanMessage(text) for text in texts[:4]])
    opened(index, ttl_ms=600_000).add_messages([HumanMessage(text) for text in texts[4:]])
    opened(index, "other").add_messages([HumanMessage("other")])
    history = opened(index)
    assert _contents(history.messages) == texts
    assert _contents(history.last_messages(4)) == texts[-4:]
    history.clear()
    assert history.messages == []
    client.indices.refresh(index=index)
    assert client.count(index=index)["count"] == 1  # and no document of a trial is left


ALIASES: dict[str, tuple[dict[str, Any], str]] = {
    "a filter": ({"filter": {"term": {"session_id": "other"}}}, "filter"),
    "a routing": ({"routing": "1"}, "routing"),
    "a routing of searches": ({"search_routing": "1,2"}, "routing"),
    "a routing of writes": ({"index_routing": "1"}, "routing"),
    "no writes": ({"is_write_index": False}, "written"),
}


@pytest.mark.parametrize(("alias", "problem"), ALIASES.values(), ids=ALIASES)
def test_an_alias_that_would_hide_messages_is_refused(
    opened: Opened, client: Elasticsearch, index: str, alias: dict[str, Any], problem: str
) -> None:
    name = f"{index}-alias"
    client.indices.create(
        index=index, aliases={name: alias}, mappings={"properties": dict(MAPPING)}
    )
    history = opened(name)
    for call in (
        lambda: history.messages,
        lambda: history.add_messages([HumanMessage("1")]),
        history.clear,
    ):
        with pytest.raises(UnfitIndexError, match=problem):
            call()
    client.indices.refresh(index=index)
    assert client.count(index=index)["count"] == 0
    opened(index).add_messages([HumanMessage("1")])  # the index itself is fit
    assert _contents(opened(index).messages) == ["1"]


@pytest.mark.parametrize("alias", [{}, {"is_write_index": True}, {"is_hidden": True}])
def test_an_alias_of_an_index_without_a_mapping_gets_one(
    opened: Opened, client: Elasticsearch, index: str, alias: dict[str, Any]
) -> None:
    name = f"{index}-alias"
    client.indices.create(index=index, aliases={name: alias})
    history = opened(name)
    assert history.messages == []
    history.add_messages([HumanMessage("1")])
    assert _contents(history.messages) == _contents(opened(index).messages) == ["1"]
    assert client.indices.get_mapping(index=index)[index]["mappings"]["properties"] == MAPPING
    history.clear()
    assert opened(index).messages == []


def test_an_alias_that_moves_to_an_unfit_index_is_noticed(
    opened: Opened, client: Elasticsearch, index: str
) -> None:
    name, other = f"{index}-alias", f"{index}-other"
    client.indices.create(index=index, aliases={name: {}}, mappings={"properties": dict(MAPPING)})
    try:
        client.indices.create(
            index=other,
            mappings={"properties": dict(MAPPING)},
            settings={"index.translog.durability": "async"},
        )
        history = opened(name)
        history.add_messages([HumanMessage("1")])
        client.indices.update_aliases(
            actions=[
                {"remove": {"index": index, "alias": name}},
                {"add": {"index": other, "alias": name}},
            ]
        )
        with pytest.raises(UnfitIndexError, match="durability"):
            history.add_messages([HumanMessage("2")])
        client.indices.refresh(index=other)
        assert client.count(index=other)["count"] == 0
    finally:
        client.options(ignore_status=404).indices.delete(index=other)


@pytest.mark.parametrize("block", ["write", "read_only", "metadata", "read"])
def test_a_blocked_index_is_refused_by_the_server_and_named(
    opened: Opened, client: Elasticsearch, index: str, block: str
) -> None:
    client.indices.create(index=index, mappings={"properties": dict(MAPPING)})
    client.indices.put_settings(index=index, settings={f"index.blocks.{block}": True})
    try:
        with pytest.raises(RefusedError, match="A setting blocks the index") as caught:
            opened(index).add_messages([HumanMessage("1")])
        assert not caught.value.outcome_unknown
    finally:
        client.indices.put_settings(index=index, settings={f"index.blocks.{block}": None})
    assert opened(index).messages == []


def test_a_closed_index_is_named(opened: Opened, client: Elasticsearch, index: str) -> None:
    history = opened(index)
    history.add_messages([HumanMessage("1")])
    client.indices.close(index=index)
    for call in (
        lambda: history.messages,
        lambda: history.last_messages(1),
        lambda: history.add_messages([HumanMessage("2")]),
        history.clear,
        lambda: opened(index).messages,
    ):
        with pytest.raises(RefusedError, match="closed"):
            call()
    client.indices.open(index=index)
    assert _contents(history.messages) == ["1"]


def test_an_index_on_a_full_disk_is_named(
    opened: Opened, client: Elasticsearch, index: str
) -> None:
    """Elasticsearch 8 refuses deletions of documents then, too."""
    history = opened(index)
    history.add_messages([HumanMessage("1")])
    block = "index.blocks.read_only_allow_delete"
    client.indices.put_settings(index=index, settings={block: True})
    try:
        for call in (history.clear, lambda: history.add_messages([HumanMessage("2")])):
            began = time.monotonic()
            with pytest.raises(RefusedError, match="Free space on the disk") as caught:
                call()
            assert time.monotonic() - began < 10  # the disk does not become free soon
            assert not caught.value.outcome_unknown
            assert _contents(history.messages) == ["1"]
    finally:
        client.indices.put_settings(index=index, settings={block: None})
    history.clear()
    assert history.messages == []
