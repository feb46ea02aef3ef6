"""Clients of Elasticsearch: their settings, their names, and their versions."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from elastic_transport import (
    AiohttpHttpNode,
    BaseNode,
    HttpHeaders,
    NodeConfig,
    NodePool,
    Urllib3HttpNode,
)
from elasticsearch import AsyncElasticsearch, Elasticsearch

from .calls import Call, Contact

__all__ = [
    "USER_AGENT",
    "AsyncPreviousMajorNode",
    "C",
    "ClientIdentity",
    "Facts",
    "PreviousMajorNode",
    "client_settings",
    "contact_of",
    "facts_of",
    "identity_of",
    "is_patient",
    "limit_of",
    "nodes_of",
    "on_node",
    "servers_of",
    "with_limit",
    "with_user_agent",
]

C = TypeVar("C", Elasticsearch, AsyncElasticsearch)

try:
    _VERSION = importlib.metadata.version("chat-history-conformance")
except importlib.metadata.PackageNotFoundError:  # the package is not installed
    _VERSION = "0"
USER_AGENT = f"chat-history-conformance/{_VERSION}"


class PreviousMajorNode(Urllib3HttpNode):
    """A `node_class` that lets a client of version 9 use servers of version 8 too.

    Such a client asks for answers "compatible with 9", which a server of version 8 refuses. The
    client has no setting for this. This class asks for answers "compatible with 8", which servers
    of versions 8 and 9 both support.
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
        """Send a request with the header changed."""
        headers = _compatible_with_8(headers)
        return super().perform_request(method, target, body, headers, *more, **named)


class AsyncPreviousMajorNode(AiohttpHttpNode):
    """A `node_class` that lets an async client of version 9 use servers of version 8 too."""

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        """Send a request with the header changed."""
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


def client_settings(
    *,
    es_url: str | Sequence[str] | None,
    es_cloud_id: str | None,
    es_user: str | None,
    es_password: str | None,
    es_api_key: str | None,
    timeout_sec: float,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the arguments for a client that the history creates.

    Raises:
        ValueError: The arguments name no server, or two, or half of the credentials.
    """
    if (es_url is None) == (es_cloud_id is None):
        raise ValueError(
            "name the server exactly once: as client (or es_connection), es_url or es_cloud_id"
        )
    hosts = [es_url] if isinstance(es_url, str) else es_url
    address = {"cloud_id": es_cloud_id} if hosts is None else {"hosts": [*hosts]}
    credentials: dict[str, Any] = {}
    if es_api_key is not None:
        credentials["api_key"] = es_api_key
    elif es_user is not None and es_password is not None:
        credentials["basic_auth"] = (es_user, es_password)
    elif es_user is not None or es_password is not None:
        raise ValueError("es_user and es_password belong together: give the one that is missing")
    return {"request_timeout": timeout_sec, **address, **credentials, **config}


@dataclass(frozen=True)
class Facts:
    """The facts about a client that do not change.

    Attributes:
        servers: The addresses that it connects to, without credentials.
        limit_seconds: The seconds after which a request raises; infinity for never.
    """

    servers: tuple[str, ...]
    limit_seconds: float


class ClientIdentity:
    """The identity of clients with the same servers and credentials.

    Properties of an index are kept for each identity, because they depend on its privileges.

    Attributes:
        facts: The facts about the clients that a history creates, by their class. With them,
            opening a history outside an event loop needs no client.
    """

    def __init__(self) -> None:
        self.facts: dict[type, Facts] = {}


_GIVEN: WeakKeyDictionary[object, ClientIdentity] = WeakKeyDictionary()
"""The identities of clients that were passed in, by their transport."""


def identity_of(client: Any, settings: Mapping[str, Any]) -> ClientIdentity:
    """Return the identity of a client.

    Histories have the same identity if they share a client, or created clients with equal settings.

    Args:
        client: The client that was passed in; None for one that the history creates.
        settings: The settings that it is created with; empty if it was passed in.
    """
    if client is not None:
        return _GIVEN.setdefault(client.transport, ClientIdentity())
    return _identity_with(_frozen(settings))


@lru_cache(maxsize=128)
def _identity_with(settings: Hashable) -> ClientIdentity:
    """Return the identity of the clients that histories create with some settings."""
    return ClientIdentity()


def _frozen(value: Any) -> Hashable:
    """Return a value that is equal for equal settings, and has no secret as text."""
    if isinstance(value, (str, bytes)):
        return hashlib.sha256(repr(value).encode()).digest()
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    if isinstance(value, (int, float, type)):
        return (type(value), value)  # as below, without the slow checks
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(one)) for name, one in value.items())
    # The type keeps True and 1 apart. Most other objects are equal only to themselves.
    return (type(value), value if isinstance(value, Hashable) else _Only(value))


class _Only:
    """A value that is equal only to the same object."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Only) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def facts_of(client: Any) -> Facts:
    """Return the facts about a client."""
    return Facts(servers_of(client), limit_of(client))


_CONTACTS: WeakKeyDictionary[object, Contact] = WeakKeyDictionary()
"""The knowledge about servers, by client identity. An application opens a history for each turn of
a chat. It must not stop trying early if a known server restarts at that time."""


def contact_of(identity: object) -> Contact:
    """Return the facts that the clients of an identity know about their servers."""
    return _CONTACTS.setdefault(identity, Contact())


_NAMED: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Clients, and the same clients with the User-Agent of this package. It takes a millisecond to
create one, and an application opens a history for each turn of a chat."""


def with_user_agent(client: C) -> C:
    """Return a client with the same connections and the User-Agent of this package."""
    if client not in _NAMED:
        _NAMED[client] = client.options(headers={"user-agent": USER_AGENT})
    ours: C = _NAMED[client]
    return ours


def servers_of(client: Any) -> tuple[str, ...]:
    """Return the addresses that a client connects to, without credentials."""
    return tuple(sorted(node.base_url for node in client.transport.node_pool.all()))


def nodes_of(client: Any) -> int:
    """Return the number of nodes that a client knows."""
    return len(client.transport.node_pool.all())


def is_patient(client: Any) -> bool:
    """Return whether the settings of a client permit to repeat a request."""
    return bool(client.transport.max_retries)


class _OneNode:
    """A pool of nodes that always returns the same one."""

    def __init__(self, pool: NodePool, node: BaseNode) -> None:
        self._node = node
        self.all = pool.all
        self.mark_dead = pool.mark_dead
        self.mark_live = pool.mark_live

    def get(self) -> BaseNode:
        """Return the node."""
        return self._node


_ON_NODE: WeakKeyDictionary[Any, dict[NodeConfig, Any]] = WeakKeyDictionary()
"""Clients, and the same clients for one node. It takes a third of a millisecond to create one."""


def on_node(client: C, node: NodeConfig | None) -> C:
    """Return a client with the same connections that sends requests to one node.

    Args:
        client: The client.
        node: The node; None for any. One that the client no longer knows means any, too.
    """
    pool = client.transport.node_pool
    found = next((one for one in pool.all() if one.config == node), None)
    if node is None or found is None or len(pool.all()) == 1:
        return client
    known = _ON_NODE.setdefault(client, {})
    if node not in known:
        # The client has no setting for this: the pool of its transport chooses the node.
        transport = copy.copy(client.transport)
        transport.node_pool = _OneNode(pool, found)  # type: ignore[assignment]
        known[node] = client.options()
        known[node]._transport = transport
    ours: C = known[node]
    return ours


def limit_of(client: Any) -> float:
    """Return the seconds after which a request of a client raises; infinity for never."""
    seconds = getattr(client, "_request_timeout", None)  # of `client.options(request_timeout=...)`
    if not isinstance(seconds, (int, float)):
        seconds = client.transport.node_pool.all()[0].config.request_timeout
    return math.inf if seconds is None else float(seconds)


_STEPS = 20
"""The number of time limits that a request may have: a twentieth of the limit of the call, two
twentieths, and so on."""

_LIMITED: WeakKeyDictionary[Any, dict[float, Any]] = WeakKeyDictionary()
"""Clients, and the same clients with other time limits. It takes a third of a millisecond to create
one, which is too long for each request."""


def with_limit(client: C, call: Call, seconds: float) -> tuple[C, float]:
    """Return a client with the same connections, no retries and a time limit, and the limit.

    Args:
        client: The client.
        call: The call that the request belongs to.
        seconds: The time limit of the request. It is rounded down to a part of that of the call.
    """
    if not math.isinf(seconds):
        share = int(seconds / call.limit_seconds * _STEPS + 1e-3)
        seconds = call.limit_seconds * max(1, share) / _STEPS
    limited = _LIMITED.setdefault(client, {})
    if seconds not in limited:
        limit = None if math.isinf(seconds) else seconds
        limited[seconds] = client.options(request_timeout=limit, max_retries=0)
    return limited[seconds], seconds
