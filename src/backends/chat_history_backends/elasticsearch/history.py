"""The synchronous chat history on Elasticsearch, as users see it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import TypeVar

from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.messages import BaseMessage

from ..arguments import check_batch_size
from ..codec import decode_page
from ..iteration import DEFAULT_BATCH_SIZE, PageGenerator, amessages_of, messages_of
from .base import ElasticsearchHistory
from .calls import Operation
from .driving import drive
from .sharing import leave

__all__ = ["ElasticsearchChatMessageHistory"]

T = TypeVar("T")


class ElasticsearchChatMessageHistory(ElasticsearchHistory[Elasticsearch]):
    """A conversation in an Elasticsearch index, one document for each message.

    It replaces the class of the same name in langchain-elasticsearch, and the one in
    langchain-community. It has the same arguments, attributes and methods, and each class reads the
    indices of the other. Opening sends no request.

    Order: messages come in the order in which the server accepted them. No clock is involved. A
    handle reads everything that any other handle wrote before: each read refreshes the index, and
    no write does. (If the privilege for that is missing, each write refreshes the index, and a
    warning is logged once.) A batch is one request. If the client repeats a request, no message is
    stored twice. A clear takes effect at one moment, however many documents it has to delete.

    Reading and clearing a session that was never written creates nothing. Adding creates the index,
    and completes an empty mapping. An index that cannot keep sessions apart is refused.

    Time to live: a message carries the time at which it expires, by the clock of the machine that
    writes it. Readers leave it out by their own clock. `delete_expired` removes such messages from
    the disk.

    A history is safe for threads. Histories that name the server with equal arguments share one
    client, which is closed with the last of them. In a process that was created by a fork, they
    use a new client.

    Args:
        index: The index, or an alias for one. The first add creates it.
        session_id: Any string.
        client: A client to use, which the history does not close. `es_connection` is the same
            argument.
        es_url: The URL of a server, or the URLs of the nodes of a cluster, instead of a client.
        es_cloud_id: A deployment of Elastic Cloud, instead of a URL.
        es_user: The user name; needs `es_password`.
        es_api_key: An API key, instead of user name and password.
        ensure_ascii: False stores the text of messages without escapes, for people who look at
            the documents; reads return the same. `esnsure_ascii` is the same argument.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.
        config: Further arguments for the client that the history creates: `ca_certs`,
            `max_retries`, ...
        timeout_sec: Seconds after which a call raises; by default 10, or the limit of the client.
            It raises after about 2 if no node has ever answered and all refuse connections.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: No argument names a server, or two do, or another argument makes no sense.
        UnfitIndexError: By all calls: the index cannot keep sessions apart or in order.
        UnreachableError: By all calls: no node answers.
        RefusedError: By all calls: the server refuses a request, or the credentials.
    """

    _client_class = Elasticsearch
    _other_class = AsyncElasticsearch

    def _owner(self) -> int:
        # A parent and a child process must not share connections: each would read the other's
        # answers.
        return os.getpid()

    def create_if_missing(self) -> None:
        """Create the index if it does not exist. Adding does so too; reading and clearing never do.

        Raises:
            UnfitIndexError: The index exists, and cannot keep sessions.
        """
        self._run(self._create_index())

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The whole conversation, oldest first: a new list of new objects on each access.

        Raises:
            UndecodableRecordError: A document is not a message; the error carries all the others.
        """
        return self._run(self._read())

    def get_messages(self) -> list[BaseMessage]:
        """Return :attr:`messages`."""
        return self.messages

    def add_message(self, message: BaseMessage) -> None:
        """Store one message."""
        self.add_messages([message])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages, in order. If this raises, none of them is stored.

        Args:
            messages: Any iterable of messages. An empty one stores nothing. All messages are
                encoded before the first is sent.

        Raises:
            TypeError: An item of the batch is not a message, or holds a value that JSON cannot
                represent; nothing was sent.
            ValueError: A message would come back changed; nothing was sent.
            DeliveryError: The server refused some of the messages. The others were removed again;
                the error says if that failed.
            UnreachableError: No answer came. It is unknown whether the batch is stored.
        """
        self._run(self._add(messages))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first, without reading the rest.

        Args:
            max_message_count: The most messages to return, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these documents is not a message.
        """
        return self._run(self._read_last(max_message_count))

    def iter_messages(
        self, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Generator[BaseMessage, None, None]:
        """Iterate over the whole conversation, oldest first, without holding it whole in memory.

        The generator yields the messages that are stored when the first one is asked for. It does
        not yield messages that are added later. If the session is cleared meanwhile, or messages
        expire, it may end early. It yields no message twice, and skips none that is still stored.
        Between two pages it holds nothing on the server, so a reader may take any time.

        Args:
            batch_size: Messages to read from the server at a time, 1 or more.

        Raises:
            TypeError: ``batch_size`` is not an int. It is checked by this call; all other errors
                are raised when a message is asked for.
            ValueError: ``batch_size`` is less than 1.
            UndecodableRecordError: The next document is not a message. All messages before it were
                yielded, and the error carries none. The generator has ended then.
        """
        return messages_of(self._pages(check_batch_size(batch_size)))

    def _pages(self, batch_size: int) -> PageGenerator:
        place, ended = None, False
        while not ended:
            records, place = self._run(self._read_page(place, batch_size))
            ended = place is None
            yield from decode_page(records)

    def clear(self) -> None:
        """Remove the session's messages, for every handle. The documents are gone on return.

        Clearing an empty session, or one in an index that does not exist, does nothing.
        """
        self._run(self._clear())

    def discard(self, position: str) -> None:
        """Remove the one document that an `UndecodableRecordError` names by its `position`.

        Args:
            position: The `_id` of the document. A document that does not exist, or belongs to
                another session, is ignored.
        """
        self._run(self._discard(position))

    def delete_expired(self) -> int:
        """Remove the expired messages of all sessions of the index, and return their number.

        Reads never return expired messages; this frees the disk. Call it from time to time if you
        use `ttl_ms`.
        """
        return self._run(self._delete_expired())

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of :attr:`messages`. All twins of this class run in a thread."""
        return await asyncio.to_thread(self._run, self._read())

    async def aadd_message(self, message: BaseMessage) -> None:
        """Async twin of :meth:`add_message`."""
        await self.aadd_messages([message])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Async twin of :meth:`add_messages`. If it is cancelled, it still stores the batch."""
        await asyncio.to_thread(self._run, self._add(messages))

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Async twin of :meth:`last_messages`."""
        return await asyncio.to_thread(self._run, self._read_last(max_message_count))

    def aiter_messages(
        self, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> AsyncGenerator[BaseMessage, None]:
        """Async twin of :meth:`iter_messages`."""
        return amessages_of(self._pages(check_batch_size(batch_size)), asyncio.to_thread)

    async def aclear(self) -> None:
        """Async twin of :meth:`clear`."""
        await asyncio.to_thread(self._run, self._clear())

    def close(self) -> None:
        """Close the client if no other history uses it. A second call does nothing.

        A client that was passed in stays open.

        Using a closed history raises RuntimeError.
        """
        self._closed = True
        own, self._own = self._own, {}
        shared = own.get(os.getpid())
        if shared is not None and leave(self, shared):
            shared.client.close()

    def _run(self, operation: Operation[T]) -> T:
        self._check_open()
        return drive(operation, self.client)
