"""What the reference histories have in common: one public interface over a few storage operations.

A history stores records, each a position and the text of one message. A position is never used
twice, so that "everything behind this one" stays right whatever is removed meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from .codec import check_bounds, check_ttl, encode_batch

_POLL_SEC = 0.02

Record = tuple[int, str | bytes]

T = TypeVar("T")


class WindowedHistory(BaseChatMessageHistory):
    """A chat history that can also be read in part, once, and for a limited time.

    Beside the standard interface there are two kinds of bounded read. ``last_messages`` looks at
    the end and moves nothing. The three ``messages_from_...`` are consumed reads: they share one
    *position* per session, kept in the store, and move it past what they return, after all of it
    was decoded. A read that raises consumes nothing, and readers that overlap, on any handle or
    in any process, are given each message once.

    Time to live: a message carries the time at which it expires, from the ``ttl_ms`` of the handle
    that wrote it. Every handle honours it, whatever its own ``ttl_ms`` is, so what is written
    without one never expires.

    Async: each method has a twin with ``a`` before its name, which runs in a worker thread. When
    it is cancelled the work in the thread still ends: a batch is stored as a whole or not at all,
    and a consumed read may have moved the position.

    Args:
        session_id: Any string, the empty one included; two differ if any character does.
        ttl_ms: Milliseconds until a message written by this handle expires; None for never.

    Raises:
        TypeError: ``session_id`` is no string, or ``ttl_ms`` no int.
        ValueError: ``ttl_ms`` is less than 1.
    """

    def __init__(self, session_id: str, *, ttl_ms: int | None = None) -> None:
        super().__init__()
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a str, not {type(session_id).__name__}")
        self.session_id = session_id
        self.ttl_ms = check_ttl(ttl_ms)

    # What a store has to do. Each is atomic, and leaves out what has expired.

    @abstractmethod
    def _append(self, texts: Sequence[str]) -> None:
        """Store all texts, in order, or none."""

    @abstractmethod
    def _read(self, last: int | None = None) -> list[BaseMessage]:
        """Decode all records, or the last so many, oldest first."""

    @abstractmethod
    def _end(self) -> Any:
        """Return a mark behind the newest record, in whatever form the store has for one."""

    @abstractmethod
    def _has_unread(self, after: Any, count: int) -> bool:
        """Say whether ``count`` records lie behind both the mark and the session's position."""

    @abstractmethod
    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: Any = ...
    ) -> list[BaseMessage]:
        """Decode up to ``count`` records behind the position, then move it past them.

        ``rewind`` starts from the first record, ``after`` from no earlier than that mark.
        ``deadline`` is a time of ``time.monotonic()``.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove the session's messages for every handle. Consumed reads go on with what follows.

        Other sessions are not touched. Clearing an empty session does nothing.
        """

    @abstractmethod
    def discard(self, position: Any) -> None:
        """Remove the one record that an ``UndecodableRecordError`` names by its ``position``.

        Args:
            position: The error's ``position``. A record that is not there, or belongs to another
                session, is left alone.
        """

    # The public interface.

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The whole conversation, oldest first: a new list of new objects on each access.

        Raises:
            UndecodableRecordError: A record is no message; the error carries all the others.
        """
        return self._read()

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages: all of them, or none where this raises.

        Args:
            messages: Any iterable of messages; none stores nothing.

        Raises:
            TypeError: Something in the batch is no message or holds a value that JSON has no form
                for; the text says what and where.
            ValueError: A message would not come back as it is.
        """
        if texts := encode_batch(messages):
            self._append(texts)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the end of the conversation, oldest first. The position stays where it is.

        Args:
            max_message_count: How many messages at most, 0 or more.

        Raises:
            TypeError: The bound is not an int.
            ValueError: The bound is negative.
            UndecodableRecordError: One of these records is no message.
        """
        if max_message_count is None:
            raise TypeError("max_message_count must be an int; use `messages` for all of them")
        check_bounds(max_message_count, None)
        return self._read(max_message_count)

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Set the position back to the start, and read on from there.

        Args:
            max_message_count: How many messages at most; None for any number.
            max_time_sec: After how many seconds to return what was read so far; None for no limit.

        Raises:
            TypeError: A bound is not a number of its kind.
            ValueError: A bound is negative or NaN.
            UndecodableRecordError: A record is no message.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return self._consume(count, _deadline(seconds), rewind=True)

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Read on from the position; an empty list at once where nothing is new.

        Args:
            max_message_count: How many messages at most; None for any number.
            max_time_sec: After how many seconds to return what was read so far; None for no limit.

        Raises:
            TypeError: A bound is not a number of its kind.
            ValueError: A bound is negative or NaN.
            UndecodableRecordError: A record is no message.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        return self._consume(count, _deadline(seconds))

    def messages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Wait for what is added after this call, and set the position past it.

        Args:
            max_message_count: Return as soon as so many have come; None to wait the whole time.
            max_time_sec: How many seconds to wait; None to wait until the count is reached. What
                has come is read when the wait is over.

        Returns:
            What has come; the position is then behind it, and behind all that was there before.

        Raises:
            TypeError: A bound is not a number of its kind.
            ValueError: A bound is negative or NaN, or there is none, which would wait for ever.
            UndecodableRecordError: A record is no message.
        """
        count, seconds = _check_wait(max_message_count, max_time_sec)
        start = self._end()
        for pause in self._pauses(start, count, _deadline(seconds)):
            time.sleep(pause)
        return self._consume(count, None, after=start)

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Async twin of :meth:`last_messages`."""
        return await self._in_thread(self.last_messages, max_message_count)

    async def amessages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_beginning`."""
        return await self._in_thread(self.messages_from_beginning, max_message_count, max_time_sec)

    async def amessages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_last_consumed`."""
        return await self._in_thread(
            self.messages_from_last_consumed, max_message_count, max_time_sec
        )

    async def amessages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        """Async twin of :meth:`messages_from_latest`. Cancelled while waiting it moves nothing."""
        count, seconds = _check_wait(max_message_count, max_time_sec)
        deadline = _deadline(seconds)
        start = await self._in_thread(self._end)
        # The wait itself takes no thread: a few waiting readers would use up the pool that the
        # writers they wait for need.
        pauses = self._pauses(start, count, deadline)
        while (pause := await self._in_thread(next, pauses, None)) is not None:
            await asyncio.sleep(pause)
        return await self._in_thread(lambda: self._consume(count, None, after=start))

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(function, *arguments)

    def _pauses(self, start: int, count: int | None, deadline: float | None) -> Iterator[float]:
        """Yield the seconds to sleep next, until ``count`` records came or the time has passed."""
        while count is None or not self._has_unread(start, count):
            pause = _POLL_SEC
            if deadline is not None:
                pause = deadline - time.monotonic()
                if pause <= 0:
                    return
                # With no count to look for there is nothing to poll.
                pause = min(pause, _POLL_SEC) if count is not None else pause
            yield pause


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _check_wait(
    max_message_count: int | None, max_time_sec: float | None
) -> tuple[int | None, float | None]:
    count, seconds = check_bounds(max_message_count, max_time_sec)
    if count is None and seconds is None:
        raise ValueError("messages_from_latest needs a bound: without one it would wait for ever")
    return count, seconds
