"""The chat histories on Elasticsearch: what a user sees. What is asked for is in `conversation`."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch, TransportError
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from ..arguments import check_count, check_seconds, check_ttl
from ..closeable import Closeable
from .clients import C, asker_of, named, servers_of, settings
from .conversation import Conversation
from .errors import explained
from .index import Index
from .requests import Request, Steps

T = TypeVar("T")


class _ElasticsearchHistory(Closeable, BaseChatMessageHistory, Generic[C]):
    """What both classes have: their arguments, and the operations that they carry out."""

    _client_class: type[C]
    _other_class: type[Any]

    def __init__(
        self,
        index: str,
        session_id: str,
        *,
        client: C | None = None,
        es_connection: C | None = None,
        es_url: str | None = None,
        es_cloud_id: str | None = None,
        es_user: str | None = None,
        es_api_key: str | None = None,
        es_password: str | None = None,
        ensure_ascii: bool | None = True,
        esnsure_ascii: bool | None = True,
        ttl_ms: int | None = None,
        config: Mapping[str, Any] | None = None,
        timeout_sec: float = 10.0,
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
        self._given: C | None = self._check_given(client, es_connection)
        apart = (es_url, es_cloud_id, es_user, es_api_key, es_password, config)
        self._settings: dict[str, Any] = {}
        if self._given is None:
            self._settings = settings(
                es_url=es_url,
                es_cloud_id=es_cloud_id,
                es_user=es_user,
                es_password=es_password,
                es_api_key=es_api_key,
                timeout_sec=check_seconds("timeout_sec", timeout_sec),
                config=config or {},
            )
        elif any(value is not None for value in apart):
            raise ValueError(
                "a client has its own connection: give either that, or es_url and the like"
            )
        self._own: dict[Any, C] = {}
        self._closed = False
        self._servers = servers_of(self.client)
        self._index = Index(index, asker_of(self.client, self._settings))
        self._conversation = Conversation(
            self._index, session_id, ttl_ms=self.ttl_ms, ensure_ascii=self.ensure_ascii
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.index!r}, {self.session_id!r})"

    @property
    def client(self) -> C:
        """The client: the one that was passed in, with a User-Agent of ours, or one of our own."""
        if self._given is not None:
            return self._given
        owner = self._owner()
        if owner not in self._own:
            free = self._own.pop(None, None)
            self._own[owner] = free or self._new_client()
        return self._own[owner]

    def _new_client(self) -> C:
        try:
            return named(self._client_class(**self._settings))
        except TypeError as error:
            raise TypeError(f"the client does not take what config has: {error}") from error

    @abstractmethod
    def _owner(self) -> Any:
        """Who may use a client of our own, and nobody else; None for whoever comes first."""

    @property
    def created(self) -> bool:
        """Whether the index is known to exist."""
        return self._index.seen

    def _check_given(self, client: C | None, es_connection: C | None) -> C | None:
        if client is not None and es_connection is not None:
            raise ValueError("client and es_connection are one argument: give one of them")
        given = client if client is not None else es_connection
        if isinstance(given, self._other_class):
            raise TypeError(
                f"{type(self).__name__} needs the client {self._client_class.__name__}, not "
                f"{type(given).__name__}"
            )
        return None if given is None else named(given)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the history of session {self.session_id!r} is closed")

    # What both can be asked for.

    def _told(self, doing: str, steps: Steps[T], *, writes: bool = True) -> Steps[T]:
        where = f"session {self.session_id!r} in index {self.index!r} on {', '.join(self._servers)}"
        return explained(steps, doing, where, writes=writes)

    def _creating(self) -> Steps[None]:
        return self._told("make the index of", self._conversation.create_if_missing())

    def _adding(self, messages: Sequence[BaseMessage]) -> Steps[None]:
        return self._told("add messages to", self._conversation.add(messages))

    def _reading(self) -> Steps[list[BaseMessage]]:
        return self._told("read messages of", self._conversation.read(), writes=False)

    def _reading_last(self, count: int) -> Steps[list[BaseMessage]]:
        steps = self._conversation.read(check_count(count))
        return self._told("read messages of", steps, writes=False)

    def _clearing(self) -> Steps[None]:
        return self._told("clear", self._conversation.clear())

    def _discarding(self, position: str) -> Steps[None]:
        return self._told("discard a record of", self._conversation.discard(position))

    def _deleting_expired(self) -> Steps[int]:
        return self._told("delete expired messages beside", self._conversation.delete_expired())


class ElasticsearchChatMessageHistory(_ElasticsearchHistory[Elasticsearch]):
    """Conversations in an Elasticsearch index, a few documents each.

    A drop-in successor of the class of this name in langchain-elasticsearch, and of the one in
    langchain-community: the same arguments, attributes and methods, on the same indices, in both
    directions. Opening asks the server nothing.

    Order is that in which the server accepted the messages; no clock has a say in it. A handle
    reads what any other has written before: each read has the index refreshed, no write does.
    (Where the privilege for it is missing, each write does so; this is logged once.) A batch is
    one request, and a request that the client sends again stores nothing twice. A clear takes
    effect at one moment, however many documents there are to delete.

    Reading and clearing a session that was never written creates nothing. Adding makes the index,
    and completes a mapping that is empty; one that cannot keep sessions apart is refused.

    Time to live: a message carries the time at which it expires, by the clock of this machine, and
    readers leave it out by the clock of theirs. `delete_expired` removes such messages from disk.

    Safe for threads; in a process made by a fork a history makes itself a client of its own.
    Share one client between many histories: each without one opens connections of its own.

    Args:
        index: The index, or an alias for one. It is made by the first add.
        session_id: Any string.
        client: A client to use, which is not closed here. `es_connection` is the same argument.
        es_url: The URL of a server, in place of a client.
        es_cloud_id: A deployment of Elastic Cloud, in place of a URL.
        es_user: With `es_password`, who we are.
        es_api_key: A key, in place of user and password.
        ensure_ascii: False stores the text of messages without escapes, for people who look at
            the documents; it reads the same. `esnsure_ascii` is the same argument.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.
        config: Further settings of a client of our own: `ca_certs`, `max_retries`, ...
        timeout_sec: Seconds after which a request of a client of our own raises.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: None of the arguments names a server, or two do; another has no sense.
        UnfitIndexError: By all calls: the index cannot keep sessions apart or in order.
        UnreachableError: By all calls: no node answers.
        RefusedError: By all calls: the server refuses what it was asked, or who asks.
    """

    _client_class = Elasticsearch
    _other_class = AsyncElasticsearch

    def _owner(self) -> int:
        # Not a parent process too: the two would read each other's answers.
        return os.getpid()

    def create_if_missing(self) -> None:
        """Make the index where there is none. Adding does so too; reading and clearing never do.

        Raises:
            UnfitIndexError: There is one, and it cannot keep sessions.
        """
        self._carry(self._creating())

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The whole conversation, oldest first: a new list of new objects on each access.

        Raises:
            UndecodableRecordError: A document is no message; the error carries all the others.
        """
        return self._carry(self._reading())

    def get_messages(self) -> list[BaseMessage]:
        """The same as :attr:`messages`."""
        return self.messages

    def add_message(self, message: BaseMessage) -> None:
        """Store one message."""
        self.add_messages([message])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages, in order: all of them, or none where this raises.

        Args:
            messages: Any iterable of messages; none stores nothing. All are encoded before the
                first is sent.

        Raises:
            TypeError: Something in the batch is no message or holds a value that JSON has no form
                for; nothing was sent.
            ValueError: A message would not come back as it is; nothing was sent.
            DeliveryError: The server refused some of them. The others were removed again.
            UnreachableError: No answer came. Whether the batch is stored is not known.
        """
        self._carry(self._adding(messages))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first, without reading the rest.

        Args:
            max_message_count: How many messages at most, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these documents is no message.
        """
        return self._carry(self._reading_last(max_message_count))

    def clear(self) -> None:
        """Remove the session's messages, for every handle; the documents are gone on return.

        Clearing an empty session, or one in an index that does not exist, does nothing.
        """
        self._carry(self._clearing())

    def discard(self, position: str) -> None:
        """Remove the one document that an `UndecodableRecordError` names by its `position`.

        Args:
            position: The `_id` of the document. One that is not there, or belongs to another
                session, is left alone.
        """
        self._carry(self._discarding(position))

    def delete_expired(self) -> int:
        """Remove what has expired, in all sessions of the index, and return how many that were.

        No read shows it; this frees the disk. Call it from time to time where there is a `ttl_ms`.
        """
        return self._carry(self._deleting_expired())

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of :attr:`messages`, in a thread, as all of them."""
        return await asyncio.to_thread(lambda: self.messages)

    async def aadd_message(self, message: BaseMessage) -> None:
        """Async twin of :meth:`add_message`."""
        await self.aadd_messages([message])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Async twin of :meth:`add_messages`. Cancelled, it still stores the batch."""
        await asyncio.to_thread(self.add_messages, messages)

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Async twin of :meth:`last_messages`."""
        return await asyncio.to_thread(self.last_messages, max_message_count)

    async def aclear(self) -> None:
        """Async twin of :meth:`clear`."""
        await asyncio.to_thread(self.clear)

    def close(self) -> None:
        """Close the client, if it is our own; a second time does nothing.

        Using a closed history raises RuntimeError.
        """
        self._closed = True
        own, self._own = self._own, {}
        if os.getpid() in own:
            own[os.getpid()].close()

    def _carry(self, steps: Steps[T]) -> T:
        self._check_open()
        client = self.client
        answer: Any = None
        error: Exception | None = None
        while True:
            try:
                wanted = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            answer = error = None
            try:
                answer = wanted.send(client) if isinstance(wanted, Request) else wanted.do()
            except (ApiError, TransportError) as failure:
                error = failure


class AsyncElasticsearchChatMessageHistory(_ElasticsearchHistory[AsyncElasticsearch]):
    """The asynchronous twin of `ElasticsearchChatMessageHistory`, which tells what it does.

    It waits on the event loop and needs no thread for that; encoding and decoding messages is done
    in one. It may be used on several loops, one after another, if the client is its own. In
    `RunnableWithMessageHistory` it works through `ainvoke` and the like. The synchronous methods
    raise NotImplementedError and name the ones to use.

    Args and errors are those of `ElasticsearchChatMessageHistory`; a client that is passed in is
    an `AsyncElasticsearch`.
    """

    _client_class = AsyncElasticsearch
    _other_class = Elasticsearch

    def _owner(self) -> asyncio.AbstractEventLoop | None:
        # Its connections belong to the event loop on which they were made.
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    async def create_if_missing(self) -> None:
        """Make the index where there is none. Adding does so too; reading and clearing never do.

        Raises:
            UnfitIndexError: There is one, and it cannot keep sessions.
        """
        await self._carry(self._creating())

    async def aget_messages(self) -> list[BaseMessage]:
        """The whole conversation, oldest first: a new list of new objects each time.

        Raises:
            UndecodableRecordError: A document is no message; the error carries all the others.
        """
        return await self._carry(self._reading())

    async def aadd_message(self, message: BaseMessage) -> None:
        """Store one message."""
        await self.aadd_messages([message])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages, in order: all of them, or none where this raises.

        Cancelled, it may have stored the batch.

        Args:
            messages: Any iterable of messages; none stores nothing. All are encoded before the
                first is sent.

        Raises:
            TypeError: Something in the batch is no message or holds a value that JSON has no form
                for; nothing was sent.
            ValueError: A message would not come back as it is; nothing was sent.
            DeliveryError: The server refused some of them. The others were removed again.
            UnreachableError: No answer came. Whether the batch is stored is not known.
        """
        await self._carry(self._adding(messages))

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first, without reading the rest.

        Args:
            max_message_count: How many messages at most, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these documents is no message.
        """
        return await self._carry(self._reading_last(max_message_count))

    async def aclear(self) -> None:
        """Remove the session's messages, for every handle; the documents are gone on return.

        Clearing an empty session, or one in an index that does not exist, does nothing.
        """
        await self._carry(self._clearing())

    async def adiscard(self, position: str) -> None:
        """Remove the one document that an `UndecodableRecordError` names by its `position`.

        Args:
            position: The `_id` of the document. One that is not there, or belongs to another
                session, is left alone.
        """
        await self._carry(self._discarding(position))

    async def adelete_expired(self) -> int:
        """Remove what has expired, in all sessions of the index, and return how many that were.

        No read shows it; this frees the disk. Call it from time to time where there is a `ttl_ms`.
        """
        return await self._carry(self._deleting_expired())

    async def aclose(self) -> None:
        """Close the client, if it is our own; a second time does nothing.

        Using a closed history raises RuntimeError.
        """
        self._closed = True
        own, self._own = self._own, {}
        for owner in (None, asyncio.get_running_loop()):
            if owner in own:  # those of loops that have ended are gone with them
                await own[owner].close()

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """Not here: use `await history.aget_messages()`."""
        self._refuse("aget_messages()")

    def add_message(self, message: BaseMessage) -> None:
        """Not here: use :meth:`aadd_message`."""
        self._refuse("aadd_message(message)")

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Not here: use :meth:`aadd_messages`."""
        self._refuse("aadd_messages(messages)")

    def clear(self) -> None:
        """Not here: use :meth:`aclear`."""
        self._refuse("aclear()")

    def close(self) -> None:
        """Not here: use :meth:`aclose`."""
        self._refuse("aclose()")

    def _refuse(self, twin: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} is asynchronous: use `await history.{twin}`, in a chain "
            "`await chain.ainvoke(...)`, or the class ElasticsearchChatMessageHistory"
        )

    async def _carry(self, steps: Steps[T]) -> T:
        self._check_open()
        client = self.client
        answer: Any = None
        error: Exception | None = None
        while True:
            try:
                wanted = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            answer = error = None
            try:
                if isinstance(wanted, Request):
                    answer = await wanted.send(client)
                else:
                    answer = await asyncio.to_thread(wanted.do)
            except (ApiError, TransportError) as failure:
                error = failure
