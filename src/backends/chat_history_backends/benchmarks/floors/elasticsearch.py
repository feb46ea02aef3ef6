"""The floor of the histories on Elasticsearch: warm clients, and an index with a fixed mapping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from elasticsearch import AsyncElasticsearch, BadRequestError, Elasticsearch
from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import decoded, encoded
from chat_history_conformance import servers

__all__ = ["ElasticsearchFloor", "async_client_of", "client_of"]

_INDEX = "chat-history-floor"
_MAPPING = {
    "session_id": {"type": "keyword"},
    "created_at": {"type": "date"},
    "history": {"type": "text", "index": False},
}
_PAGE = 10_000
"""The default of `index.max_result_window`."""
_TIMEOUT_SECONDS = 60.0

T = TypeVar("T")

Loop = asyncio.AbstractEventLoop
Hit = Mapping[str, Any]
Request = tuple[str, dict[str, Any]]
"""A method of the client, and its arguments."""
Steps = Generator[Request, Any, T]
"""An operation for a synchronous or an asynchronous client: yields requests, receives answers."""

_REFRESH: Request = ("indices.refresh", {"index": _INDEX})


@cache
def client_of(address: str, node_class: type | None = None) -> Elasticsearch:
    """Return the client of this process for a server.

    Args:
        address: The URL of the server; those of a cluster are separated by commas.
        node_class: The class of connections. None for the default of the client.
    """
    return Elasticsearch(servers.separate(address), **_arguments(node_class))


async def async_client_of(address: str, node_class: type | None = None) -> AsyncElasticsearch:
    """Return the client of the running event loop for a server. It is closed with the loop.

    Args:
        address: The URL of the server; those of a cluster are separated by commas.
        node_class: The class of connections. None for the default of the client.
    """
    key = (asyncio.get_running_loop(), address, node_class)
    if key not in _KEPT:
        keeper = _keep(key)
        _KEPT[key] = await anext(keeper), keeper
    return _KEPT[key][0]


async def _keep(key: tuple[Loop, str, type | None]) -> AsyncGenerator[AsyncElasticsearch, None]:
    """Keep a client until the loop ends, which then closes this generator."""
    _, address, node_class = key
    async with AsyncElasticsearch(servers.separate(address), **_arguments(node_class)) as client:
        try:
            yield client
        finally:
            del _KEPT[key]


_KEPT: dict[
    tuple[Loop, str, type | None],
    tuple[AsyncElasticsearch, AsyncGenerator[AsyncElasticsearch, None]],
] = {}


def _arguments(node_class: type | None) -> dict[str, Any]:
    given = {} if node_class is None else {"node_class": node_class}
    return {"request_timeout": _TIMEOUT_SECONDS, **given, **servers.settings("elasticsearch")}


@cache
def _make_index(client: Elasticsearch) -> None:
    try:
        client.indices.create(index=_INDEX, mappings={"properties": _MAPPING})
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


class ElasticsearchFloor:
    """A conversation in documents with the same routing, so that they are on one shard.

    Args:
        session_id: The id of the session, a short one, because it is also the routing.
        node_class: The class of connections. None for the default of the client.
        async_node_class: The class of connections of the asynchronous client.
    """

    def __init__(
        self,
        session_id: str,
        node_class: type | None = None,
        async_node_class: type | None = None,
    ) -> None:
        self._session_id = session_id
        self._address = servers.address("elasticsearch")
        self._async_node_class = async_node_class
        self._client = client_of(self._address, node_class)
        _make_index(self._client)

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return _run(self._client, self._reading())

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch with one request, without a refresh."""
        _run(self._client, self._adding(messages))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the last messages, at most `max_message_count` and at most 10,000."""
        return _run(self._client, self._reading_last(max_message_count))

    def clear(self) -> None:
        """Delete the documents. No search finds them after that."""
        _run(self._client, self._clearing())

    async def aget_messages(self) -> list[BaseMessage]:
        """Return the whole conversation."""
        return await self._arun(self._reading())

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch with one request, without a refresh."""
        await self._arun(self._adding(messages))

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the last messages, at most `max_message_count` and at most 10,000."""
        return await self._arun(self._reading_last(max_message_count))

    async def aclear(self) -> None:
        """Delete the documents. No search finds them after that."""
        await self._arun(self._clearing())

    def _adding(self, messages: Sequence[BaseMessage]) -> Steps[None]:
        now = round(time.time() * 1000)
        lines: list[dict[str, Any]] = []
        for number, text in enumerate(encoded(messages)):
            document = {"session_id": self._session_id, "created_at": now + number}
            lines += [{"index": {}}, {**document, "history": text}]
        yield from self._bulk(lines)

    def _reading(self) -> Steps[list[BaseMessage]]:
        return _messages((yield from self._all({}, "hits.hits._source.history")))

    def _reading_last(self, count: int) -> Steps[list[BaseMessage]]:
        yield _REFRESH
        newest_first = [{"_seq_no": "desc"}]
        found = yield self._search({"sort": newest_first, "size": count, "track_total_hits": False})
        return _messages(reversed(found["hits"]["hits"]))

    def _clearing(self) -> Steps[None]:
        hits = yield from self._all({"source": False}, "hits.hits._id")
        if hits:
            deletions = [{"delete": {"_id": hit["_id"]}} for hit in hits]
            yield from self._bulk(deletions, refresh=True)

    def _all(self, options: Mapping[str, Any], wanted: str) -> Steps[list[Hit]]:
        yield _REFRESH
        search = {
            "sort": [{"_seq_no": "asc"}],
            "size": _PAGE,
            "track_total_hits": True,
            "filter_path": f"{wanted},hits.hits.sort,hits.total.value",
            **options,
        }
        hits: list[Hit] = []
        while True:
            found = (yield self._search(search))["hits"]
            hits += found.get("hits", [])
            if len(hits) >= found["total"]["value"]:
                return hits
            search["search_after"] = hits[-1]["sort"]

    def _search(self, options: Mapping[str, Any]) -> Request:
        query = {"term": {"session_id": self._session_id}}
        return "search", {"index": _INDEX, "routing": self._session_id, "query": query, **options}

    def _bulk(self, operations: Sequence[Any], **options: Any) -> Steps[None]:
        target = {"index": _INDEX, "routing": self._session_id}
        only_errors = {"filter_path": "errors,items.*.error"}
        answer = yield "bulk", {**target, "operations": operations, **only_errors, **options}
        if answer["errors"]:
            raise RuntimeError(f"the floor's bulk request failed: {answer}")

    async def _arun(self, steps: Steps[T]) -> T:
        client = await async_client_of(self._address, self._async_node_class)
        answer: Any = None
        while True:
            try:
                api, arguments = steps.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            answer = await attrgetter(api)(client)(**arguments)


def _run(client: Elasticsearch, steps: Steps[T]) -> T:
    answer: Any = None
    while True:
        try:
            api, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = attrgetter(api)(client)(**arguments)


def _messages(hits: Iterable[Hit]) -> list[BaseMessage]:
    return decoded(hit["_source"]["history"] for hit in hits)
