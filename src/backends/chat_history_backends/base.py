"""The public interface of the reference histories, built on a few storage operations.

A history stores records. A record is a position and the text of one message. No position is used
twice, so "all records after this one" keeps its meaning when records are removed.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from .arguments import check_batch_size, check_bounds, check_count, check_ttl, check_wait
from .codec import encode_batch
from .iteration import DEFAULT_BATCH_SIZE, PageGenerator, amessages_of, messages_of

__all__ = ["Record", "ReferenceHistory"]

_POLL_SECONDS = 0.02

Record = tuple[int, str | bytes]
"""The position of a record, and its text."""

T = TypeVar("T")


class ReferenceHistory(BaseChatMessageHistory):
    """Base class of the reference histories: a chat history with bounded reads.

    It adds two kinds of bounded read to the standard interface. ``last_messages`` reads the end and
    moves nothing. The three ``messages_from_...`` methods are consuming reads. They share one
    *position* for each session, which is kept in the store. A consuming read moves the position
    past the messages that it returns, after it has decoded all of them. If it raises, it consumes
    nothing. Readers that overlap, on any handle and in any process, get each message once.

    Time to live: a message carries the time at which it expires, which follows from the ``ttl_ms``
    of the handle that wrote it. Every handle respects that time, whatever its own ``ttl_ms`` is. A
    message that was written without a time to live never expires.

    Async: each method has a twin with an ``a`` before its name, which runs in a worker thread if it
    may take long. If the twin is cancelled, the thread still finishes its work: a batch is stored
    as a whole or not at all, and a consuming read may have moved the position.

    Args:
        session_id: Any string, including the empty one. Two ids differ if any character does.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.

    Raises:
        TypeError: ``session_id`` is not a string, or ``ttl_ms`` is not an int.
        ValueError: ``ttl_ms`` is less than 1.
    """

    def __init__(self, session_id: str, *, ttl_ms: int | None = None) -> None:
        super().__init__()
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a str, not {type(session_id).__name__}")
        self.session_id = session_id
        self.ttl_ms = check_ttl(ttl_ms)

    # The storage operations. Each is atomic and leaves out expired records.

    @abstractmethod
    def _append(self, texts: Sequence[str]) -> None:
        """Store all texts, in order, or none."""

    @abstractmethod
    def _read(self, last: int | None = None) -> list[BaseMessage]:
        """Decode all records, or the last ``last`` of them, oldest first."""

    @abstractmethod
    def _pages(self, batch_size: int) -> PageGenerator:
        """Yield the decoded messages in lists, oldest first. This is a generator.

        The first ``next`` determines the newest record to yield. Each ``next`` is atomic: it holds
        no lock and no transaction after it has returned, and leaves out records that have expired
        or were cleared by then. It may yield an empty list. ``close`` releases everything that it
        holds.

        Args:
            batch_size: The most records to read from the store at a time, 1 or more.
        """

    @abstractmethod
    def _end(self) -> Any:
        """Return a mark after the newest record, in the form that the store uses."""

    @abstractmethod
    def _has_unread(self, after: Any, count: int) -> bool:
        """Return whether ``count`` records follow both the mark and the session's position."""

    @abstractmethod
    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: Any = ...
    ) -> list[BaseMessage]:
        """Decode up to ``count`` records after the position, then move it past them.

        Args:
            count: The most records to read; None for any number.
            deadline: The time of ``time.monotonic()`` at which to stop; None for no limit.
            rewind: Whether to start from the first record instead.
            after: A mark of ``_end``. The read starts no earlier than that.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove the session's messages for every handle.

        Consuming reads continue with the messages that are added next. Other sessions are not
        touched. Clearing an empty session does nothing.
        """

    @abstractmethod
    def discard(self, position: Any) -> None:
        """Remove the one record that an ``UndecodableRecordError`` names by its ``position``.

        Args:
            position: The error's ``position``. A record that does not exist, or belongs to another
                session, is ignored.
        """

    # The public interface.

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The whole conversation, oldest first: a new list of new objects on each access.

        Raises:
            UndecodableRecordError: A record is not a message; the error carries all the others.
        """
        return self._read()

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages. If this raises, none of them is stored.

        Args:
            messages: Any iterable of messages. An empty one stores nothing.

        Raises:
            TypeError: An item of the batch is not a message, or holds a value that JSON cannot
                represent; the text names the value and its place.
            ValueError: A message would come back changed.
        """
        if texts := encode_batch(messages):
            self._append(texts)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first. The position stays the same.

        Args:
            max_message_count: The most messages to return, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these records is not a message.
        """
        return self._read(check_count(max_message_count))

    def iter_messages(
        self, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Generator[BaseMessage, None, None]:
        """Iterate over the whole conversation, oldest first, without holding it whole in memory.

        The generator yields the messages that are stored when the first one is asked for. It does
        not yield messages that are added later. If the session is cleared meanwhile, or messages
        expire, it may end early or still yield removed messages. It never yields a message that was
        added after the clear. It yields no message twice, and skips none that is still stored.

        Between two messages it holds no lock and no transaction, so a slow reader does not keep
        anybody waiting. The position of consuming reads stays the same. ``close``, or the end of a
        ``for`` loop that is left early, releases everything.

        Args:
            batch_size: Messages to read from the store at a time, 1 or more. So many are in memory.

        Raises:
            TypeError: ``batch_size`` is not an int. It is checked by this call; all other errors
                are raised when a message is asked for.
            ValueError: ``batch_size`` is less than 1.
            UndecodableRecordError: The next record is not a message. All messages before it were
                yielded, and the error carries none. The generator has ended then.
        """
        return messages_of(self._pages(check_batch_size(batch_size)))

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Set the position to the start, and read on from there.

        Args:
            max_message_count: The most messages to return; None for any number.
            max_time_sec: Seconds after which to return what was read so far; None for no limit.

        Raises:
            TypeError: A bound is not a number of the right type.
            ValueError: A bound is negative or NaN.
            UndecodableRecordError: A record is not a message.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return self._consume(count, _deadline(seconds), rewind=True)

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Read on from the position. If nothing is new, return an empty list at once.

        Args:
            max_message_count: The most messages to return; None for any number.
            max_time_sec: Seconds after which to return what was read so far; None for no limit.

        Raises:
            TypeError: A bound is not a number of the right type.
            ValueError: A bound is negative or NaN.
            UndecodableRecordError: A record is not a message.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return self._consume(count, _deadline(seconds))

    def messages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Wait for messages that are added after this call, and set the position past them.

        Args:
            max_message_count: Return as soon as this many messages have arrived; None to wait for
                the whole time.
            max_time_sec: Seconds to wait; None to wait until the count is reached. The messages are
                read when the wait is over.

        Returns:
            The messages that arrived. The position is then after them, and after all messages that
            were there before.

        Raises:
            TypeError: A bound is not a number of the right type.
            ValueError: A bound is negative or NaN, or both are missing, which would wait for ever.
            UndecodableRecordError: A record is not a message.
        """
        count, seconds = check_wait(max_message_count, max_time_sec)
        start = self._end()
        for pause in self._pauses(start, count, _deadline(seconds)):
            time.sleep(pause)
        return self._consume(count, None, after=start)

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of :attr:`messages`."""
        return await self._in_thread(lambda: self.messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Async twin of :meth:`add_messages`."""
        await self._in_thread(self.add_messages, messages)

    async def aclear(self) -> None:
        """Async twin of :meth:`clear`."""
        await self._in_thread(self.clear)

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Async twin of :meth:`last_messages`."""
        return await self._in_thread(self.last_messages, max_message_count)

    def aiter_messages(
        self, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> AsyncGenerator[BaseMessage, None]:
        """Async twin of :meth:`iter_messages`. It uses a thread only while it reads from the store.

        ``aclose`` releases everything at once. After a ``break``, the event loop does that.
        """
        return amessages_of(self._pages(check_batch_size(batch_size)), self._in_thread)

    async def amessages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_beginning`."""
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return await self._in_thread(
            self.messages_from_beginning, count, seconds, limit_seconds=seconds
        )

    async def amessages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_last_consumed`."""
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return await self._in_thread(
            self.messages_from_last_consumed, count, seconds, limit_seconds=seconds
        )

    async def amessages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_latest`. If it is cancelled, it moves nothing."""
        count, seconds = check_wait(max_message_count, max_time_sec)
        deadline = _deadline(seconds)
        start = await self._in_thread(self._end)
        # The wait itself uses no thread. Otherwise a few waiting readers would use up the pool that
        # the writers need, and the readers wait for those writers.
        pauses = self._pauses(start, count, deadline)
        while (pause := await self._in_thread(next, pauses, None)) is not None:
            await asyncio.sleep(pause)
        return await self._in_thread(lambda: self._consume(count, None, after=start))

    async def _in_thread(
        self, function: Callable[..., T], *arguments: Any, limit_seconds: float | None = None
    ) -> T:
        """Run a function in a thread.

        Args:
            function: The function.
            arguments: Its arguments.
            limit_seconds: How long it may take; None for the limit of the store. A store that
                enforces its limits counts the time that the function waits for a thread.
        """
        return await asyncio.to_thread(function, *arguments)

    def _pauses(self, start: int, count: int | None, deadline: float | None) -> Iterator[float]:
        """Yield the seconds to sleep next, until ``count`` records arrived or the time is up."""
        while count is None or not self._has_unread(start, count):
            pause = _POLL_SECONDS
            if deadline is not None:
                pause = deadline - time.monotonic()
                if pause <= 0:
                    return
                # Without a count there is nothing to poll for.
                pause = min(pause, _POLL_SECONDS) if count is not None else pause
            yield pause


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
