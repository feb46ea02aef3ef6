"""The floor of the histories on Elasticsearch: its own clients, on an index of a known shape."""

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

_INDEX = "chat-history-floor"
_MAPPING = {
    "session_id": {"type": "keyword"},
    "created_at": {"type": "date"},
    "history": {"type": "text", "index": False},
}
_PAGE = 10_000
"""`index.max_result_window` of an index that does not set it."""
_TIMEOUT_SEC = 60.0

T = TypeVar("T")

Loop = asyncio.AbstractEventLoop
Hit = Mapping[str, Any]
Request = tuple[str, dict[str, Any]]
"""A method of the client, and its arguments."""
Steps = Generator[Request, Any, T]
"""An operation, whoever carries it out: it yields requests and is sent the answers."""

_REFRESH: Request = ("indices.refresh", {"index": _INDEX})


@cache
def client_of(address: str, node_class: type | None = None) -> Elasticsearch:
    """The client of this process for a server.

    Args:
        address: Its URL.
        node_class: What connections are made of; None leaves it to the client.
    """
    return Elasticsearch(address, **_arguments(node_class))


async def async_client_of(address: str, node_class: type | None = None) -> AsyncElasticsearch:
    """The client of the running event loop for a server; it is closed with the loop.

    Args:
        address: Its URL.
        node_class: What connections are made of; None leaves it to the client.
    """
    key = (asyncio.get_running_loop(), address, node_class)
    if key not in _KEPT:
        keeper = _keep(key)
        _KEPT[key] = await anext(keeper), keeper
    return _KEPT[key][0]


async def _keep(key: tuple[Loop, str, type | None]) -> AsyncGenerator[AsyncElasticsearch, None]:
    """Hold a client until the loop ends, which is when a loop closes its generators."""
    _, address, node_class = key
    async with AsyncElasticsearch(address, **_arguments(node_class)) as client:
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
    return {"request_timeout": _TIMEOUT_SEC, **given, **servers.settings("elasticsearch")}


@cache
def _make_index(client: Elasticsearch) -> None:
    try:
        client.indices.create(index=_INDEX, mappings={"properties": _MAPPING})
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


class ElasticsearchFloor:
    """A conversation in documents that their routing keeps on one shard.

    Args:
        session_id: Whose conversation; a short one, for it is the routing too.
        node_class: What connections are made of; None leaves it to the client.
        async_node_class: The same for the asynchronous client.
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
        return _carry(self._client, self._reading())

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch by one request, without a refresh."""
        _carry(self._client, self._adding(messages))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """The end of the conversation, at most so many messages, 10,000 or fewer."""
        return _carry(self._client, self._reading_last(max_message_count))

    def clear(self) -> None:
        """Delete the documents; no search finds them any more."""
        _carry(self._client, self._clearing())

    async def aget_messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return await self._acarry(self._reading())

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch by one request, without a refresh."""
        await self._acarry(self._adding(messages))

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """The end of the conversation, at most so many messages, 10,000 or fewer."""
        return await self._acarry(self._reading_last(max_message_count))

    async def aclear(self) -> None:
        """Delete the documents; no search finds them any more."""
        await self._acarry(self._clearing())

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

    def _all(self, how: Mapping[str, Any], wanted: str) -> Steps[list[Hit]]:
        yield _REFRESH
        search = {
            "sort": [{"_seq_no": "asc"}],
            "size": _PAGE,
            "track_total_hits": True,
            "filter_path": f"{wanted},hits.hits.sort,hits.total.value",
            **how,
        }
        hits: list[Hit] = []
        while True:
            found = (yield self._search(search))["hits"]
            hits += found.get("hits", [])
            if len(hits) >= found["total"]["value"]:
                return hits
            search["search_after"] = hits[-1]["sort"]

    def _search(self, how: Mapping[str, Any]) -> Request:
        query = {"term": {"session_id": self._session_id}}
        return "search", {"index": _INDEX, "routing": self._session_id, "query": query, **how}

    def _bulk(self, operations: Sequence[Any], **how: Any) -> Steps[None]:
        where = {"index": _INDEX, "routing": self._session_id}
        told = {"filter_path": "errors,items.*.error"}
        answer = yield "bulk", {**where, "operations": operations, **told, **how}
        if answer["errors"]:
            raise RuntimeError(f"the floor's bulk request failed: {answer}")

    async def _acarry(self, steps: Steps[T]) -> T:
        client = await async_client_of(self._address, self._async_node_class)
        answer: Any = None
        while True:
            try:
                api, arguments = steps.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            answer = await attrgetter(api)(client)(**arguments)


def _carry(client: Elasticsearch, steps: Steps[T]) -> T:
    answer: Any = None
    while True:
        try:
            api, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = attrgetter(api)(client)(**arguments)


def _messages(hits: Iterable[Hit]) -> list[BaseMessage]:
    return decoded(hit["_source"]["history"] for hit in hits)
