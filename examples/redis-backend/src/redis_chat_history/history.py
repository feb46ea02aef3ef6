"""The chat history."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["RedisChatHistory", "RedisUnavailableError"]


class RedisUnavailableError(ConnectionError):
    """Redis did not answer. A write may have taken effect all the same."""


class RedisChatHistory(BaseChatMessageHistory):
    """A conversation in a Redis list, which all handles of the session share.

    Threads may share a handle. Its asynchronous methods use a separate client on each event loop.

    Args:
        session_id: Any string.
        url: The address of the server, such as `redis://localhost:6379/0`.
        prefix: The beginning of the key.
        timeout_seconds: The time to wait for each answer.

    Raises:
        TypeError: `session_id` is not a string.
        ValueError: `url` is not an address of Redis.
        RedisUnavailableError: By all calls: the server does not answer.
    """

    def __init__(
        self,
        session_id: str,
        url: str = "redis://localhost:6379/0",
        *,
        prefix: str = "chat:",
        timeout_seconds: float = 5.0,
    ) -> None:
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a string, not {type(session_id).__name__}")
        self.session_id = session_id
        self._key = prefix + json.dumps(session_id)  # ASCII, so that any string is a valid key
        self._url, self._timeout = url, timeout_seconds
        # The client repeats nothing: a write whose answer was lost may have been stored.
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis]
        self._async_clients = WeakKeyDictionary()

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return _decoded(self._repeatable(lambda: self._client.lrange(self._key, 0, -1)))

    async def aget_messages(self) -> list[BaseMessage]:
        client = self._async_client()
        return _decoded(await self._arepeatable(lambda: client.lrange(self._key, 0, -1)))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch: all of it, or nothing if a message cannot be stored unchanged.

        It is sent once. If it raises `RedisUnavailableError`, read before you repeat it.
        """
        if records := _encoded(messages):
            with self._named_errors():
                self._client.rpush(self._key, *records)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        if records := _encoded(messages):
            with self._named_errors():
                await self._async_client().rpush(self._key, *records)

    def clear(self) -> None:
        self._repeatable(lambda: self._client.delete(self._key))

    async def aclear(self) -> None:
        client = self._async_client()
        await self._arepeatable(lambda: client.delete(self._key))

    def close(self) -> None:
        """Close the connections of the handle. If it is used again, it opens new ones."""
        self._client.close()
        for loop, client in list(self._async_clients.items()):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)

    async def aclose(self) -> None:
        """Close the connections of the handle, and wait for those of this event loop."""
        if client := self._async_clients.pop(asyncio.get_running_loop(), None):
            await client.aclose()
        self.close()

    def _async_client(self) -> redis.asyncio.Redis:
        """Return the client of the running event loop: its connections work on that loop only."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = redis.asyncio.Redis.from_url(
                self._url,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                retry=AsyncRetry(NoBackoff(), 0),
            )
        return self._async_clients[loop]

    def _repeatable(self, call: Callable[[], Any]) -> Any:
        """Make a call, and repeat it if the server had closed the connection meanwhile."""
        with self._named_errors():
            try:
                return call()
            except redis.ConnectionError:
                return call()

    async def _arepeatable(self, call: Callable[[], Awaitable[Any]]) -> Any:
        with self._named_errors():
            try:
                return await call()
            except redis.ConnectionError:
                return await call()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Add the session and the server, without its password, to an error of the connection."""
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            address = urlsplit(self._url)
            server = address._replace(netloc=address.netloc.rpartition("@")[2], query="").geturl()
            raise RedisUnavailableError(
                f"session {self.session_id!r} on {server}: {error}"
            ) from error


def _encoded(messages: Iterable[BaseMessage]) -> list[str]:
    """Write messages as JSON. Refuse the batch before anything is stored if one would change."""
    if isinstance(messages, str | dict | BaseMessage):
        raise TypeError(f"a sequence of messages is needed, not {type(messages).__name__}")
    return [_record(message) for message in messages]


def _record(message: BaseMessage) -> str:
    if not isinstance(message, BaseMessage):
        raise TypeError(f"a message is needed, not {type(message).__name__}")
    record = json.dumps(message_to_dict(message))
    if json.dumps(message_to_dict(*_decoded([record]))) != record:
        raise ValueError(f"{type(message).__name__} has a value that JSON does not keep")
    return record


def _decoded(records: Iterable[str | bytes]) -> list[BaseMessage]:
    return messages_from_dict([json.loads(record) for record in records])
