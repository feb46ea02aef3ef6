"""Clients of Elasticsearch: made of what a history was given, and talking to an older server."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from elastic_transport import AiohttpHttpNode, HttpHeaders, Urllib3HttpNode
from elasticsearch import AsyncElasticsearch, Elasticsearch

from .index import Asker

C = TypeVar("C", Elasticsearch, AsyncElasticsearch)

try:
    _VERSION = importlib.metadata.version("chat-history-conformance")
except importlib.metadata.PackageNotFoundError:  # only the sources are there
    _VERSION = "0"
USER_AGENT = f"chat-history-conformance/{_VERSION}"


class PreviousMajorNode(Urllib3HttpNode):
    """A `node_class` with which a client of version 9 talks to servers of version 8 too.

    Such a client asks for answers "compatible with 9", and a server of version 8 refuses that. The
    client has no setting for it; this asks for those that servers of versions 8 and 9 both have.
    """

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Ask with the header changed."""
        headers = _compatible_with_8(headers)
        return super().perform_request(method, target, body, headers, *more, **named)


class AsyncPreviousMajorNode(AiohttpHttpNode):
    """A `node_class` with which an async client of version 9 talks to servers of version 8 too."""

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Ask with the header changed."""
        headers = _compatible_with_8(headers)
        return await super().perform_request(method, target, body, headers, *more, **named)


def _compatible_with_8(headers: HttpHeaders | None) -> HttpHeaders | None:
    if headers is None:
        return None
    headers = headers.copy()
    for name in ("accept", "content-type"):
        if name in headers:
            headers[name] = headers[name].replace("compatible-with=9", "compatible-with=8")
    return headers


def settings(
    *,
    es_url: str | None,
    es_cloud_id: str | None,
    es_user: str | None,
    es_password: str | None,
    es_api_key: str | None,
    timeout_sec: float,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments for a client of our own.

    Raises:
        ValueError: They name no server, or two, or half of the credentials.
    """
    if (es_url is None) == (es_cloud_id is None):
        raise ValueError(
            "name the server once: as client (or es_connection), es_url or es_cloud_id"
        )
    place = {"hosts": [es_url]} if es_url is not None else {"cloud_id": es_cloud_id}
    who: dict[str, Any] = {}
    if es_api_key is not None:
        who["api_key"] = es_api_key
    elif es_user is not None and es_password is not None:
        who["basic_auth"] = (es_user, es_password)
    elif es_user is not None or es_password is not None:
        raise ValueError("es_user and es_password belong together: one of them is missing")
    return {"request_timeout": timeout_sec, **place, **who, **config}


_ASKERS: dict[int, Asker] = {}


def asker_of(client: Any, own: Mapping[str, Any]) -> object:
    """Who asks through a client: all that share it, or that have made their own in the same way.

    Args:
        client: The client.
        own: What it was made of; empty where it was passed in.
    """
    if not own:
        return client.transport
    made_of = hash(repr(sorted(own.items())))  # there are secrets in it, which need no other place
    return _ASKERS.setdefault(made_of, Asker())


_NAMED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Clients, and what they are with a User-Agent of ours: it takes a millisecond to make that, and
histories are opened for each turn of a chat."""


def named(client: C) -> C:
    """A client with the same connections that tells the server who we are."""
    if client not in _NAMED:
        _NAMED[client] = client.options(headers={"user-agent": USER_AGENT})
    ours: C = _NAMED[client]
    return ours


def servers_of(client: Any) -> tuple[str, ...]:
    """The addresses that a client talks to, without credentials."""
    return tuple(sorted(node.base_url for node in client.transport.node_pool.all()))
