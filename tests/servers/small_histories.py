"""Two small correct histories on Redis and PostgreSQL, and their declarations.

They open a connection for each call, so that a restart of the server breaks nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.codec import decode, encode_batch
from chat_history_conformance import history_backend
from chat_history_conformance.servers import address

SECONDS = 3.0

NO_ASYNC = "langchain-core runs asynchronous calls on a few threads, where they wait for each other"


TABLE = "CREATE TABLE IF NOT EXISTS message (id BIGSERIAL PRIMARY KEY, session TEXT, text TEXT)"

_made: set[str] = set()
"""The addresses of servers that have the table."""


class Small(BaseChatMessageHistory):
    """The part that both histories share: checks, text, and the errors of a server that is away."""

    def __init__(self, session_id: str, url: str) -> None:
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a string, not {type(session_id).__name__}")
        self.session = ascii(session_id)  # so that any string is a valid key
        self.url = url

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        with self._named_errors():
            texts = self._read()
        return [decode(text, number) for number, text in enumerate(texts)]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = encode_batch(messages)
        if texts:
            with self._named_errors():
                self._add(texts)

    def clear(self) -> None:
        with self._named_errors():
            self._clear()

    def _read(self) -> Sequence[str]:
        raise NotImplementedError

    def _add(self, texts: Sequence[str]) -> None:
        raise NotImplementedError

    def _clear(self) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Raise an error of a client as a ConnectionError with the session and the server."""
        try:
            yield
        except (redis.RedisError, psycopg.OperationalError, psycopg.InterfaceError) as error:
            parts = urlsplit(self.url)
            place = f"{parts.hostname}:{parts.port}"
            raise ConnectionError(f"session {self.session} at {place}: {error}") from error


class RedisHistory(Small):
    """A list of Redis for each session."""

    def _read(self) -> Sequence[str]:
        with self._client() as client:
            return client.lrange(self.session, 0, -1)  # type: ignore[no-any-return]

    def _add(self, texts: Sequence[str]) -> None:
        with self._client() as client:
            client.rpush(self.session, *texts)  # one command, so all of them or none

    def _clear(self) -> None:
        with self._client() as client:
            client.delete(self.session)

    def _client(self) -> Any:
        # A write that is sent again may be stored twice.
        once: Any = {"retry": None, "retry_on_error": []}
        return redis.Redis.from_url(
            self.url,
            single_connection_client=True,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            decode_responses=True,
            **once,
        )


class PostgreSQLHistory(Small):
    """A row of PostgreSQL for each message."""

    def _read(self) -> Sequence[str]:
        query = "SELECT text FROM message WHERE session = %s ORDER BY id"
        with self._connection() as connection:
            return [text for (text,) in connection.execute(query, [self.session])]

    def _add(self, texts: Sequence[str]) -> None:
        insert = "INSERT INTO message (session, text) VALUES (%s, %s)"
        with self._connection() as connection:
            # Ids are given before the commit, so writers of a session wait for each other.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self.session])
            with connection.cursor() as cursor:
                cursor.executemany(insert, [(self.session, text) for text in texts])

    def _clear(self) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM message WHERE session = %s", [self.session])

    def make_table(self) -> None:
        """Create the table. Each process asks for it once."""
        if self.url in _made:
            return
        with self._named_errors(), self._connection() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(1)")
            connection.execute(TABLE)
            connection.execute("CREATE INDEX IF NOT EXISTS by_session ON message (session, id)")
        _made.add(self.url)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Connect for one transaction. The client has no time limit of a query."""
        with psycopg.connect(self.url, connect_timeout=int(SECONDS)) as connection:
            with limited(connection.fileno()):
                yield connection
                connection.commit()


@contextlib.contextmanager
def limited(descriptor: int) -> Iterator[None]:
    """Break a connection after the time limit."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        timer = threading.Timer(SECONDS, same.shutdown, [socket.SHUT_RDWR])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


@history_backend("small-redis", server="redis", lacks={"async": NO_ASYNC})
def small_redis(session_id: str) -> RedisHistory:
    return RedisHistory(session_id, address("redis"))


@history_backend("small-postgresql", server="postgresql", lacks={"async": NO_ASYNC})
def small_postgresql(session_id: str) -> PostgreSQLHistory:
    history = PostgreSQLHistory(session_id, address("postgresql"))
    history.make_table()
    return history
