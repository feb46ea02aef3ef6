"""The common part of both Elasticsearch histories: their arguments, client and operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from ..arguments import check_count, check_seconds, check_ttl
from ..closeable import Closeable
from . import adding, iterating, reading, removing
from .calls import Call, Operation, explained
from .clients import (
    USER_AGENT,
    C,
    Facts,
    client_settings,
    contact_of,
    facts_of,
    identity_of,
    with_user_agent,
)
from .index import Index
from .iterating import Place
from .requests import Steps
from .session import Session
from .sharing import Shared, share

__all__ = ["ElasticsearchHistory"]

T = TypeVar("T")

Records = list[tuple[str, str]]
"""The `_id` and the text of messages."""


class ElasticsearchHistory(Closeable, BaseChatMessageHistory, Generic[C]):
    """Base class of both histories.

    The methods with a leading underscore return operations. A subclass carries out their steps,
    synchronously or on an event loop.
    """

    _client_class: type[C]
    _other_class: type[Any]

    def __init__(
        self,
        index: str,
        session_id: str,
        *,
        client: C | None = None,
        es_connection: C | None = None,
        es_url: str | Sequence[str] | None = None,
        es_cloud_id: str | None = None,
        es_user: str | None = None,
        es_api_key: str | None = None,
        es_password: str | None = None,
        ensure_ascii: bool | None = True,
        esnsure_ascii: bool | None = True,
        ttl_ms: int | None = None,
        config: Mapping[str, Any] | None = None,
        timeout_sec: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("index", index), ("session_id", session_id)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, not {type(value).__name__}")
        if not index or index == "_all" or set(index) & set("*?,<>"):
            raise ValueError(f"index must be the name of one index, not {index!r}")
        self.index = index
        self.session_id = session_id
        self.ensure_ascii = bool(ensure_ascii) and bool(esnsure_ascii)
        self.ttl_ms = check_ttl(ttl_ms)
        seconds = check_seconds("timeout_sec", 10.0 if timeout_sec is None else timeout_sec)
        self._given: C | None = self._check_given(client, es_connection)
        connection = (es_url, es_cloud_id, es_user, es_api_key, es_password, config)
        self._settings: dict[str, Any] = {}
        if self._given is None:
            self._settings = client_settings(
                es_url=es_url,
                es_cloud_id=es_cloud_id,
                es_user=es_user,
                es_password=es_password,
                es_api_key=es_api_key,
                timeout_sec=seconds,
                config=config or {},
            )
        elif any(value is not None for value in connection):
            raise ValueError(
                "a client has its own connection: give either the client, or es_url and the other "
                "arguments of a connection"
            )
        self._own: dict[Any, Shared[C]] = {}
        self._closed = False
        self._identity = identity_of(self._given, self._settings)
        facts = self._facts()
        self._servers = facts.servers
        own_limit = self._given is not None and timeout_sec is not None
        self._limit_seconds = seconds if own_limit else facts.limit_seconds
        self._contact = contact_of(self._identity)
        self._session = Session(Index(index, self._identity), session_id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r}, {self.session_id!r})"

    @property
    def client(self) -> C:
        """The client that was passed in, with the User-Agent of this package, or the shared one."""
        if self._given is not None:
            return self._given
        owner = self._owner()
        if owner not in self._own:
            free = self._own.pop(None, None)
            if owner is None:
                self._own[owner] = Shared(self._new_client())
            else:
                key = (owner, self._client_class, self._identity)
                self._own[owner] = share(self, key, self._new_client, free)
        return self._own[owner].client

    def _facts(self) -> Facts:
        if self._given is not None:
            return facts_of(self._given)
        if self._client_class not in self._identity.facts:
            self._identity.facts[self._client_class] = facts_of(self.client)
        return self._identity.facts[self._client_class]

    def _new_client(self) -> C:
        try:
            client = self._client_class(**self._settings)
        except TypeError as error:
            raise TypeError(f"the client refuses an argument of config: {error}") from error
        ours: Any = client.options(headers={"user-agent": USER_AGENT})
        return ours  # type: ignore[no-any-return]

    @abstractmethod
    def _owner(self) -> Any:
        """Return the owner that may use a shared client; None before the first owner is known."""

    @property
    def created(self) -> bool:
        """True if the index is known to exist."""
        return self._session.index.seen

    def _check_given(self, client: C | None, es_connection: C | None) -> C | None:
        if client is not None and es_connection is not None:
            raise ValueError("client and es_connection are the same argument: give one of them")
        given = client if client is not None else es_connection
        if isinstance(given, self._other_class):
            raise TypeError(
                f"{type(self).__name__} needs the client {self._client_class.__name__}, not "
                f"{type(given).__name__}"
            )
        return None if given is None else with_user_agent(given)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                f"the history of session {self.session_id!r} is closed: open a new one"
            )

    # The operations.

    def _operation(
        self, action: str, steps: Callable[[Call], Steps[T]], *, writes: bool = True
    ) -> Operation[T]:
        """Return the operation of a call that begins now."""
        servers = ", ".join(self._servers)
        target = f"session {self.session_id!r} in index {self.index!r} on {servers}"
        call = Call(self._limit_seconds, self._contact)
        return Operation(explained(steps(call), action, target, call, writes=writes), call)

    def _create_index(self) -> Operation[None]:
        return self._operation("create the index of", lambda call: self._make_ready())

    def _make_ready(self) -> Steps[None]:
        yield from self._session.index.ready(expiring=self.ttl_ms is not None)

    def _add(self, messages: Sequence[BaseMessage]) -> Operation[None]:
        return self._operation(
            "add messages to",
            lambda call: adding.add(
                self._session, messages, call, ttl_ms=self.ttl_ms, ensure_ascii=self.ensure_ascii
            ),
        )

    def _read(self) -> Operation[list[BaseMessage]]:
        return self._operation(
            "read messages of", lambda call: reading.read(self._session), writes=False
        )

    def _read_last(self, count: int) -> Operation[list[BaseMessage]]:
        check_count(count)
        return self._operation(
            "read messages of", lambda call: reading.read(self._session, count), writes=False
        )

    def _read_page(self, place: Place | None, size: int) -> Operation[tuple[Records, Place | None]]:
        return self._operation(
            "read messages of",
            lambda call: iterating.read_page(self._session, place, size),
            writes=False,
        )

    def _clear(self) -> Operation[None]:
        return self._operation("clear", lambda call: removing.clear(self._session))

    def _discard(self, position: str) -> Operation[None]:
        return self._operation(
            "discard a record of", lambda call: removing.discard(self._session, position)
        )

    def _delete_expired(self) -> Operation[int]:
        return self._operation(
            "delete expired messages with",
            lambda call: removing.delete_expired(self._session.index),
        )
