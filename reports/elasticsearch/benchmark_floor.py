"""The floor of the Elasticsearch benchmark: raw clients, and the counter of all requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elastic_transport import AiohttpHttpNode, Urllib3HttpNode
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

MAPPING = {
    "session_id": {"type": "keyword"},
    "created_at": {"type": "date"},
    "history": {"type": "text", "index": False},
}
PAGE = 10_000
"""`index.max_result_window` of an index that does not set it."""


class Counter:
    """How many requests were sent by all clients of the benchmark."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self) -> int:
        return self.sent


REQUESTS = Counter()


class CountedNode(Urllib3HttpNode):
    """A connection that counts."""

    def perform_request(self, *arguments: Any, **named: Any) -> Any:
        """Ask, an attempt after a failed one being another request."""
        REQUESTS.sent += 1
        return super().perform_request(*arguments, **named)


class AsyncCountedNode(AiohttpHttpNode):
    """An asynchronous connection that counts."""

    async def perform_request(self, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]
        """Ask, an attempt after a failed one being another request."""
        REQUESTS.sent += 1
        return await super().perform_request(*arguments, **named)


def encoded(messages: Sequence[BaseMessage]) -> list[str]:
    """The messages as langchain-elasticsearch stores them."""
    return [json.dumps(message_to_dict(message)) for message in messages]


def documents(session: str, messages: Sequence[BaseMessage], first: int = 0) -> list[Any]:
    """A bulk request's lines, with the fields of langchain-elasticsearch, a millisecond apart.

    Args:
        session: The session they are of.
        messages: What to store.
        first: How many milliseconds after now the first of them was said.
    """
    now = round(time.time() * 1000) + first
    return [
        line
        for number, text in enumerate(encoded(messages))
        for line in (
            {"index": {}},
            {"session_id": session, "created_at": now + number, "history": text},
        )
    ]


class Raw:
    """The floor: warm clients, used by somebody who knows the index and what there is to read.

    Args:
        client: A client.
        index: An index to make, with nothing in it but the fields of langchain-elasticsearch.
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self._index = index
        client.indices.create(index=index, mappings={"properties": MAPPING})

    def add(self, session: str, messages: Sequence[BaseMessage]) -> None:
        """One bulk request, routed, without a refresh."""
        _check(self._client.bulk(**self._bulk(session, messages)))

    def read(self, session: str, count: int, newest: int | None = None) -> list[BaseMessage]:
        """Refresh, and search for exactly so many; where `newest` is given, for the last of them.

        Args:
            session: A session.
            count: How many messages it has.
            newest: How many of them to read.
        """
        self._client.indices.refresh(index=self._index)
        hits: list[Any] = []
        wanted = count if newest is None else newest
        while len(hits) < wanted:
            asked = self._search(session, wanted, hits, newest is not None)
            hits += self._client.search(**asked)["hits"]["hits"]
        return _decoded(hits if newest is None else reversed(hits))

    def clear(self, session: str, count: int) -> None:
        """Refresh, search for the ids, delete them in one bulk request that no search misses."""
        self._client.indices.refresh(index=self._index)
        found = self._client.search(
            **self._search(session, count, [], False), source=False, filter_path="hits.hits._id"
        )
        deletions = [{"delete": {"_id": hit["_id"]}} for hit in found["hits"]["hits"]]
        _check(
            self._client.bulk(
                index=self._index, routing=session, operations=deletions, refresh=True
            )
        )

    async def aadd(
        self, client: AsyncElasticsearch, session: str, messages: Sequence[BaseMessage]
    ) -> None:
        """As `add`, by an asynchronous client."""
        _check(await client.bulk(**self._bulk(session, messages)))

    async def aread(
        self, client: AsyncElasticsearch, session: str, count: int
    ) -> list[BaseMessage]:
        """As `read` of at most a page, by an asynchronous client."""
        await client.indices.refresh(index=self._index)
        found = await client.search(**self._search(session, count, [], False))
        return _decoded(found["hits"]["hits"])

    def _bulk(self, session: str, messages: Sequence[BaseMessage]) -> dict[str, Any]:
        return {
            "index": self._index,
            "routing": session,
            "operations": documents(session, messages),
        }

    def _search(
        self, session: str, wanted: int, before: Sequence[Any], backwards: bool
    ) -> dict[str, Any]:
        asked = {
            "index": self._index,
            "routing": session,
            "query": {"term": {"session_id": session}},
            "sort": [{"_seq_no": "desc" if backwards else "asc"}],
            "size": min(wanted - len(before), PAGE),
            "track_total_hits": False,
        }
        return {**asked, "search_after": before[-1]["sort"]} if before else asked


def _decoded(hits: Iterable[Mapping[str, Any]]) -> list[BaseMessage]:
    return messages_from_dict([json.loads(hit["_source"]["history"]) for hit in hits])


def _check(answer: Mapping[str, Any]) -> None:
    if answer["errors"]:
        raise RuntimeError(f"the floor's bulk request failed: {answer}")
