"""The two histories of langchain-elasticsearch, as shipped."""

import hashlib
from collections.abc import AsyncIterator
from functools import cache

import elasticsearch
from deletion import AsyncDeleting, Deleting
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_elasticsearch import (
    AsyncElasticsearchChatMessageHistory,
    ElasticsearchChatMessageHistory,
)

from chat_history_conformance import history_backend
from chat_history_conformance.servers import address

INDEX = "chat-history"
"""The index of all sessions, as in upstream's documentation."""

UNREACHABLE = (elasticsearch.ConnectionError, elasticsearch.ConnectionTimeout)
ASYNC_ONLY = "the class is asynchronous, as documented"


def nodes() -> tuple[str, ...]:
    """Return the address of each node of the server."""
    return tuple(address("elasticsearch").split(","))


@cache
def connected(hosts: tuple[str, ...]) -> Elasticsearch:
    """Return one client for all histories of a process, with the client's own defaults."""
    return Deleting(hosts)


@cache
def ordinary(hosts: tuple[str, ...]) -> Elasticsearch:
    """Return one client without the substitute of `deletion`."""
    return Elasticsearch(hosts)


def corrupt(session_id: str) -> None:
    """Cut the text of the session's last stored message short."""
    client = connected(nodes())
    client.indices.refresh(index=INDEX)
    (last,) = client.search(
        index=INDEX,
        query={"term": {"session_id": session_id}},
        sort=[{"created_at": "desc"}, {"_seq_no": "desc"}],
        size=1,
    )["hits"]["hits"]
    text = last["_source"]["history"][:-1]
    client.update(index=INDEX, id=last["_id"], doc={"history": text}, refresh=True)


@history_backend("upstream", server="elasticsearch", corrupt=corrupt, server_errors=UNREACHABLE)
def upstream(session_id: str) -> ElasticsearchChatMessageHistory:
    """Open the synchronous class. It inherits its asynchronous methods."""
    client = connected(nodes())
    return ElasticsearchChatMessageHistory(INDEX, session_id, client=client)


@history_backend(
    "upstream-async",
    server="elasticsearch",
    corrupt=corrupt,
    server_errors=UNREACHABLE,
    lacks={"sync": ASYNC_ONLY},
)
async def upstream_async(session_id: str) -> AsyncIterator[AsyncElasticsearchChatMessageHistory]:
    """Open the asynchronous class. Each handle gets its own client, because a loop owns it."""
    async with AsyncDeleting(nodes()) as client:
        yield AsyncElasticsearchChatMessageHistory(INDEX, session_id, client=client)


def own_index(session_id: str) -> str:
    """Return the name of an index that only this session uses."""
    return f"chat-history-{hashlib.sha256(repr(session_id).encode()).hexdigest()[:16]}"


def remove(session_id: str) -> None:
    """Delete the session's index."""
    connected(nodes()).indices.delete(index=own_index(session_id), ignore_unavailable=True)


@history_backend(
    "upstream-new-index", server="elasticsearch", server_errors=UNREACHABLE, remove=remove
)
def upstream_new_index(session_id: str) -> ElasticsearchChatMessageHistory:
    """Open the synchronous class with a separate index, which does not exist yet."""
    client = connected(nodes())
    return ElasticsearchChatMessageHistory(own_index(session_id), session_id, client=client)


@history_backend(
    "upstream-unaided", server="elasticsearch", corrupt=corrupt, server_errors=UNREACHABLE
)
def upstream_unaided(session_id: str) -> ElasticsearchChatMessageHistory:
    """Open the synchronous class with an ordinary client, for a node with `_delete_by_query`."""
    client = ordinary(nodes())
    return ElasticsearchChatMessageHistory(INDEX, session_id, client=client)


@history_backend(
    "upstream-async-unaided",
    server="elasticsearch",
    corrupt=corrupt,
    server_errors=UNREACHABLE,
    lacks={"sync": ASYNC_ONLY},
)
async def upstream_async_unaided(
    session_id: str,
) -> AsyncIterator[AsyncElasticsearchChatMessageHistory]:
    """Open the asynchronous class with an ordinary client."""
    async with AsyncElasticsearch(nodes()) as client:
        yield AsyncElasticsearchChatMessageHistory(INDEX, session_id, client=client)
