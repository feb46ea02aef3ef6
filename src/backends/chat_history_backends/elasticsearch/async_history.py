"""The asynchronous chat history on Elasticsearch, as users see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import NoReturn, TypeVar

from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_core.messages import BaseMessage

from ..arguments import check_batch_size
from ..codec import decode_page
from ..iteration import DEFAULT_BATCH_SIZE
from .base import ElasticsearchHistory
from .calls import Operation
from .driving import drive_async
from .sharing import leave

__all__ = ["AsyncElasticsearchChatMessageHistory"]

T = TypeVar("T")


class AsyncElasticsearchChatMessageHistory(ElasticsearchHistory[AsyncElasticsearch]):
    """The asynchronous twin of `ElasticsearchChatMessageHistory`, which describes its behaviour.

    It waits on the event loop and needs no thread for that. It encodes and decodes messages in a
    thread. It may be used on several loops, one after another, if it created its client itself. In
    `RunnableWithMessageHistory` it works through `ainvoke`, `astream` and `abatch`. The synchronous
    methods raise NotImplementedError and name the ones to use.

    Arguments and errors are those of `ElasticsearchChatMessageHistory`. A client that is passed in
    is an `AsyncElasticsearch`.
    """

    _client_class = AsyncElasticsearch
    _other_class = Elasticsearch

    def _owner(self) -> asyncio.AbstractEventLoop | None:
        # Connections belong to the event loop on which they were created.
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    async def create_if_missing(self) -> None:
        """Create the index if it does not exist. Adding does so too; reading and clearing never do.

        Raises:
            UnfitIndexError: The index exists, and cannot keep sessions.
        """
        await self._run(self._create_index())

    async def aget_messages(self) -> list[BaseMessage]:
        """Return the whole conversation, oldest first: a new list of new objects each time.

        Raises:
            UndecodableRecordError: A document is not a message; the error carries all the others.
        """
        return await self._run(self._read())

    async def aadd_message(self, message: BaseMessage) -> None:
        """Store one message."""
        await self.aadd_messages([message])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages, in order. If this raises, none of them is stored.

        If it is cancelled, it may have stored the batch.

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
        await self._run(self._add(messages))

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first, without reading the rest.

        Args:
            max_message_count: The most messages to return, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these documents is not a message.
        """
        return await self._run(self._read_last(max_message_count))

    def aiter_messages(
        self, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> AsyncGenerator[BaseMessage, None]:
        """Iterate over the whole conversation, oldest first, without holding it whole in memory.

        `ElasticsearchChatMessageHistory.iter_messages` describes which messages it yields.

        Args:
            batch_size: Messages to read from the server at a time, 1 or more.

        Raises:
            TypeError: ``batch_size`` is not an int. It is checked by this call; all other errors
                are raised when a message is asked for.
            ValueError: ``batch_size`` is less than 1.
            UndecodableRecordError: The next document is not a message. All messages before it were
                yielded, and the error carries none. The generator has ended then.
        """
        return self._iterate(check_batch_size(batch_size))

    async def _iterate(self, batch_size: int) -> AsyncGenerator[BaseMessage, None]:
        place, ended = None, False
        while not ended:
            records, place = await self._run(self._read_page(place, batch_size))
            ended = place is None
            pages = decode_page(records)
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                for message in page:
                    yield message
                del page

    async def aclear(self) -> None:
        """Remove the session's messages, for every handle. The documents are gone on return.

        Clearing an empty session, or one in an index that does not exist, does nothing.
        """
        await self._run(self._clear())

    async def adiscard(self, position: str) -> None:
        """Remove the one document that an `UndecodableRecordError` names by its `position`.

        Args:
            position: The `_id` of the document. A document that does not exist, or belongs to
                another session, is ignored.
        """
        await self._run(self._discard(position))

    async def adelete_expired(self) -> int:
        """Remove the expired messages of all sessions of the index, and return their number.

        Reads never return expired messages; this frees the disk. Call it from time to time if you
        use `ttl_ms`.
        """
        return await self._run(self._delete_expired())

    async def aclose(self) -> None:
        """Close the client if no other history uses it. A second call does nothing.

        A client that was passed in stays open.

        Using a closed history raises RuntimeError.
        """
        self._closed = True
        own, self._own = self._own, {}
        for owner in (None, asyncio.get_running_loop()):
            # The connections of a loop that has ended are closed already.
            if (shared := own.get(owner)) is not None and leave(self, shared):
                await shared.client.close()

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """Not supported: use `await history.aget_messages()`."""
        self._refuse("aget_messages()")

    def add_message(self, message: BaseMessage) -> None:
        """Refuse the call: use :meth:`aadd_message`."""
        self._refuse("aadd_message(message)")

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Refuse the call: use :meth:`aadd_messages`."""
        self._refuse("aadd_messages(messages)")

    def clear(self) -> None:
        """Refuse the call: use :meth:`aclear`."""
        self._refuse("aclear()")

    def close(self) -> None:
        """Refuse the call: use :meth:`aclose`."""
        self._refuse("aclose()")

    def _refuse(self, twin: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} is asynchronous: use `await history.{twin}`, in a chain "
            "`await chain.ainvoke(...)`, or the class ElasticsearchChatMessageHistory"
        )

    async def _run(self, operation: Operation[T]) -> T:
        self._check_open()
        return await drive_async(operation, self.client)
