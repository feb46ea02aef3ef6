"""The Elasticsearch histories and those of langchain-elasticsearch on the same indices."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import elasticsearch as package
import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from chat_history_backends.elasticsearch import (
    AsyncElasticsearchChatMessageHistory,
    AsyncPreviousMajorNode,
    ElasticsearchChatMessageHistory,
    adding,
)
from chat_history_conformance.servers.server import Server

if int(package.__version__[0]) < 9:
    from langchain_elasticsearch import AsyncElasticsearchChatMessageHistory as AsyncUpstream
    from langchain_elasticsearch import ElasticsearchChatMessageHistory as Upstream
else:
    pytest.skip("langchain-elasticsearch 1.0 needs client 8", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # langchain-community announces its end
    from langchain_community.chat_message_histories import (
        ElasticsearchChatMessageHistory as Community,
    )

MESSAGES: list[BaseMessage] = [
    SystemMessage("be kind"),
    HumanMessage("Grüße 🙂", id="1", name="Ada"),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1.5}, "id": "t", "type": "tool_call"}]),
    ToolMessage("3", tool_call_id="t", artifact={"deep": [1, None]}),
    AIMessage([{"type": "text", "text": "3"}]),
]


Opener = Callable[..., Any]


def _community(index: str, session: str, client: Elasticsearch) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return Community(index, session, es_connection=client)


def _upstream(index: str, session: str, client: Elasticsearch) -> Any:
    return Upstream(index, session, client=client)


@pytest.mark.parametrize("upstream", [_upstream, _community])
def test_messages_of_upstream_are_read_completely_and_in_order(
    upstream: Opener, client: Elasticsearch, index: str
) -> None:
    theirs = upstream(index, "s", client)
    ours = ElasticsearchChatMessageHistory(index, "s", client=client)
    for message in MESSAGES * 30:  # more than one page of upstream, several in one millisecond
        theirs.add_message(message)
    upstream(index, "other", client).add_message(HumanMessage("foreign"))
    assert ours.messages == MESSAGES * 30
    assert ours.last_messages(7) == (MESSAGES * 2)[3:]
    ours.clear()
    assert ours.messages == theirs.messages == []
    assert len(upstream(index, "other", client).messages) == 1


def test_upstream_reads_our_messages(client: Elasticsearch, index: str) -> None:
    ours = ElasticsearchChatMessageHistory(index, "s", client=client)
    for _ in range(50):
        ours.add_messages(MESSAGES)
    ElasticsearchChatMessageHistory(index, "other", client=client).add_messages(MESSAGES)
    client.indices.refresh(index=index)  # upstream does not refresh
    assert _upstream(index, "s", client).messages == MESSAGES * 50
    assert _community(index, "s", client).messages == (MESSAGES * 2)[:10]  # it never reads more


def test_upstream_reads_further_pages_but_loses_messages_with_equal_times(
    client: Elasticsearch, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show why the creation times must increase within a batch."""
    ours = ElasticsearchChatMessageHistory(index, "s", client=client)
    monkeypatch.setattr(adding, "_reserve_times", lambda session, count: 1)
    for number in range(150):
        ours.add_message(HumanMessage(str(number)))
    client.indices.refresh(index=index)
    assert len(ours.messages) == 150
    assert len(_upstream(index, "s", client).messages) < 150


def test_both_classes_may_write_alternately(client: Elasticsearch, index: str) -> None:
    ours = ElasticsearchChatMessageHistory(index, "s", client=client)
    theirs = _upstream(index, "s", client)
    expected = []
    for number in range(20):
        writer = (ours, theirs)[number % 2]
        batch: list[BaseMessage] = [HumanMessage(f"{number}-{k}") for k in range(number % 3 + 1)]
        writer.add_messages(batch)
        expected += batch
    assert ours.messages == expected


def test_the_async_classes_read_each_other(elasticsearch: Server, index: str) -> None:
    async def work() -> None:
        async with AsyncElasticsearch(
            elasticsearch.address, node_class=AsyncPreviousMajorNode
        ) as client:
            ours = AsyncElasticsearchChatMessageHistory(index, "s", client=client)
            theirs = AsyncUpstream(index, "s", client=client)
            await theirs.aadd_messages(MESSAGES)
            await ours.aadd_messages(MESSAGES)
            assert await ours.aget_messages() == MESSAGES * 2
            await client.indices.refresh(index=index)
            assert await theirs.aget_messages() == MESSAGES * 2

    asyncio.run(work())


def test_both_classes_use_an_index_that_either_created(client: Elasticsearch, index: str) -> None:
    ElasticsearchChatMessageHistory(index, "s", client=client).create_if_missing()
    _upstream(index, "s", client).add_messages(MESSAGES)
    ours = ElasticsearchChatMessageHistory(index, "s", es_connection=client, ttl_ms=60_000)
    ours.add_messages(MESSAGES)
    assert ours.messages == MESSAGES * 2
