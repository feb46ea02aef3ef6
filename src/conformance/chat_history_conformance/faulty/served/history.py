"""A correct chat history on the `served` server, with timeouts, safe retries and clear errors."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.arguments import check_bounds, check_count
from chat_history_backends.codec import decode_batch, encode_batch

__all__ = ["ServedChatMessageHistory", "ServedError", "countdown", "pause"]

T = TypeVar("T")

_LEAST_SECONDS = 0.5
_THREADS = ThreadPoolExecutor(128, "served")
"""Threads of asynchronous calls: so many that no call has to wait for another one to end."""
_RETRY_SECONDS = 0.05


class ServedError(ConnectionError):
    """A server that did not answer, or refused; the text names the session and the server.

    Attributes:
        outcome_unknown: Whether the request may have been carried out, or may be carried out later.
        messages: The messages that a consuming read may have consumed.
    """

    outcome_unknown = False
    messages: Sequence[BaseMessage] = ()


class ServedChatMessageHistory(BaseChatMessageHistory):
    """A conversation on a `served` server, shared by all handles with its session id.

    Every request uses a new connection, so a handle still works after a restart of the server.

    Args:
        session_id: Any string.
        address: The address of the server, `host:port`.
    """

    answer_seconds: ClassVar[float | None] = 2.0
    """Timeout of one request in seconds; None waits for ever."""

    patience_seconds: ClassVar[float] = 2.0
    """Seconds for which a request is repeated while no server is running."""

    def __init__(self, session_id: str, address: str) -> None:
        super().__init__()
        self.session_id = session_id
        self.address = address

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The whole conversation, oldest first.

        Raises:
            ServedError: The server did not answer.
        """
        return decode_batch(self._records(None, self.answer_seconds))[0]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Store a batch of messages: all of them, or none if this raises TypeError.

        Raises:
            TypeError: A message of the batch cannot be stored.
            ServedError: The server did not answer. The batch may be stored or not.
        """
        if texts := encode_batch(messages):
            self._append(texts)

    def clear(self) -> None:
        """Remove the session's messages.

        Raises:
            ServedError: The server did not answer.
        """
        self._change({"do": "clear"}, self.answer_seconds)

    def messages_from_beginning(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        """Return the oldest messages, in order.

        Args:
            max_message_count: Maximum number of messages; None for all.
            max_time_sec: Seconds after which to return the messages decoded so far. The server gets
                at least half a second to answer.

        Raises:
            ServedError: The server did not answer in time.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        deadline = None if seconds is None else time.monotonic() + seconds
        records = self._records(count, self._timeout_seconds(seconds))
        return decode_batch(records, deadline)[0]

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Return the newest messages, in order.

        Raises:
            ServedError: The server did not answer.
        """
        request = {"do": "read", "count": check_count(max_message_count), "newest": True}
        return decode_batch(self._complete(request, self.answer_seconds)["records"])[0]

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        """Return the messages after the last consumed one, and consume them.

        Args:
            max_message_count: Maximum number of messages; None for all.
            max_time_sec: Seconds after which to return the messages decoded so far.

        Raises:
            ServedError: The server did not answer. Nothing was consumed, or the error carries the
                messages that may be consumed.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            request = {"do": "read", "count": count, "unconsumed": True}
            answer = self._complete(request, self._timeout_seconds(seconds))
            records = [(position, text) for position, text in answer["records"]]
            messages = decode_batch(records, deadline)[0]
            if not messages or self._consume(
                answer["consumed"], records[: len(messages)], messages
            ):
                return messages

    async def aget_messages(self) -> list[BaseMessage]:
        """Return `messages`, read in a thread."""
        return await _in_thread(lambda: self.messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Run `add_messages` in a thread."""
        await _in_thread(self.add_messages, messages)

    async def aclear(self) -> None:
        """Run `clear` in a thread."""
        await _in_thread(self.clear)

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        """Run `last_messages` in a thread."""
        return await _in_thread(self.last_messages, max_message_count)

    async def amessages_from_beginning(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        """Run `messages_from_beginning` in a thread."""
        return await _in_thread(self.messages_from_beginning, max_message_count, max_time_sec)

    async def amessages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        """Run `messages_from_last_consumed` in a thread."""
        return await _in_thread(self.messages_from_last_consumed, max_message_count, max_time_sec)

    def _consume(
        self, start: int, records: Sequence[tuple[int, str]], messages: list[BaseMessage]
    ) -> bool:
        """Move the stored position behind some records, unless another reader has moved it."""
        try:
            answer = self._change(
                {"do": "consume", "start": start, "end": records[-1][0]}, self.answer_seconds
            )
        except ServedError as error:
            if error.outcome_unknown:
                error.messages = messages
            raise
        return bool(answer["moved"])

    def _timeout_seconds(self, seconds: float | None) -> float | None:
        """Return how many seconds a read with this time bound waits for the server."""
        limits = [limit for limit in (seconds, self.answer_seconds) if limit is not None]
        return max(min(limits), _LEAST_SECONDS) if limits else None

    def _append(self, texts: Sequence[str]) -> None:
        self._change({"do": "append", "texts": texts}, self.answer_seconds)

    def _change(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """Ask twice at most: the server carries out a request with the same identifier once."""
        request = {**request, "identifier": uuid.uuid4().hex}
        try:
            return self._ask(request, seconds)
        except ServedError as error:
            if not error.outcome_unknown:
                raise
        try:
            return self._ask(request, seconds)
        except ServedError as error:
            error.outcome_unknown = True  # of the first attempt
            raise

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        answer = self._complete({"do": "read", "count": count}, seconds)
        return [(position, text) for position, text in answer["records"]]

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """Return the answer to a read.

        Raises:
            ServedError: The server hides records of the session, or did not answer.
        """
        answer = self._ask(request, seconds)
        if answer["hidden"]:
            raise ServedError(
                f"read of session {self.session_id!r}: the server at {self.address} hides "
                f"{answer['hidden']} of its records at the moment. Try again later"
            )
        return answer

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """Return the answer to a request, and repeat it while the server is down or busy.

        Raises:
            ServedError: There was no answer in time, or it is a refusal.
        """
        line = json.dumps({**request, "session": self.session_id}).encode("ascii") + b"\n"
        left, sent, closed, started = countdown(seconds), False, 0, time.monotonic()
        while True:
            try:
                answer = self._exchange(line, left)
                if answer.get("error") == "busy":
                    raise BlockingIOError("the server is busy")
            except OSError as error:
                sent = sent or not isinstance(error, (ConnectionRefusedError, BlockingIOError))
                closed += isinstance(error, ConnectionResetError)
                impatient = closed > 3 or time.monotonic() - started >= self.patience_seconds
                impatient = impatient and not isinstance(error, BlockingIOError)
                if isinstance(error, TimeoutError) or impatient or not pause(left):
                    failure = ServedError(
                        f"{request['do']} of session {self.session_id!r}: the server at "
                        f"{self.address} did not answer ({type(error).__name__}: {error}). Is it "
                        "running there?"
                    )
                    failure.outcome_unknown = sent
                    raise failure from error
                continue
            if "error" in answer:
                raise ServedError(
                    f"{request['do']} of session {self.session_id!r}: the server at "
                    f"{self.address} refuses it ({answer['error']})"
                )
            return answer

    def _exchange(self, line: bytes, left: Callable[[], float | None]) -> dict[str, Any]:
        """Send a request on a fresh connection and read its answer."""
        with self._connect(left) as connection:
            return self._converse(connection, line, left)

    def _connect(self, left: Callable[[], float | None]) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), left())

    def _converse(
        self, connection: socket.socket, line: bytes, left: Callable[[], float | None]
    ) -> dict[str, Any]:
        connection.settimeout(left())
        connection.sendall(line)
        received = bytearray()
        while not received.endswith(b"\n"):
            connection.settimeout(left())
            part = connection.recv(1 << 16)
            if not part:
                raise ConnectionResetError("the server closed the connection")
            received += part
        answer: dict[str, Any] = json.loads(received)
        return answer


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


def countdown(seconds: float | None) -> Callable[[], float | None]:
    """Return a function that returns the seconds left, and raises TimeoutError at the end."""
    if seconds is None:
        return lambda: None
    deadline = time.monotonic() + seconds

    def left() -> float:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        return remaining

    return left


def pause(left: Callable[[], float | None]) -> bool:
    """Sleep before the next attempt; return False if no time is left for one."""
    try:
        seconds = left()
    except TimeoutError:
        return False
    if seconds is not None and seconds <= _RETRY_SECONDS:
        return False
    time.sleep(_RETRY_SECONDS)
    return True
