"""A chat history on that server: bounded waits, retries that store nothing twice, clear errors."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.codec import check_bounds, decode_batch, encode_batch

_LEAST_SECONDS = 0.5


class ServedError(ConnectionError):
    """The server did not answer; the text names the session and the server."""


class ServedChatMessageHistory(BaseChatMessageHistory):
    """A conversation on a `served` server, shared by all handles with its session id.

    Every request has a connection of its own, so that a handle outlives its server.

    Args:
        session_id: Any string.
        address: Where the server is, `host:port`.
    """

    answer_seconds: ClassVar[float | None] = 2.0
    """How long to wait for the answer to one request."""

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
        """Store a batch of messages: all of them, or none where this raises TypeError.

        Raises:
            TypeError: Something in the batch cannot be stored.
            ServedError: The server did not answer; whether the batch is stored is not known.
        """
        if texts := encode_batch(messages):
            self._append(texts)

    def clear(self) -> None:
        """Remove the session's messages.

        Raises:
            ServedError: The server did not answer.
        """
        self._ask({"do": "clear"}, self.answer_seconds)

    def messages_from_beginning(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        """The oldest messages, in order.

        Args:
            max_message_count: How many at most; None for all.
            max_time_sec: After how many seconds to return what was decoded so far; the server gets
                half a second in any case.

        Raises:
            ServedError: The server did not answer in time.
        """
        count, seconds = check_bounds(max_message_count, max_time_sec)
        deadline = None if seconds is None else time.monotonic() + seconds
        records = self._records(count, self._patience(seconds))
        return decode_batch(records, deadline)[0]

    async def aget_messages(self) -> list[BaseMessage]:
        """Async twin of `messages`."""
        return await asyncio.to_thread(lambda: self.messages)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Async twin of `add_messages`."""
        await asyncio.to_thread(self.add_messages, messages)

    async def aclear(self) -> None:
        """Async twin of `clear`."""
        await asyncio.to_thread(self.clear)

    def _patience(self, seconds: float | None) -> float | None:
        """How long a read bounded to so many seconds waits for the server."""
        limits = [limit for limit in (seconds, self.answer_seconds) if limit is not None]
        return max(min(limits), _LEAST_SECONDS) if limits else None

    def _append(self, texts: Sequence[str]) -> None:
        request = {"do": "append", "texts": texts, "identifier": uuid.uuid4().hex}
        try:
            self._ask(request, self.answer_seconds)
        except ServedError:
            # The same identifier: if only the answer was lost, nothing is stored twice.
            self._ask(request, self.answer_seconds)

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        answer = self._ask({"do": "read", "count": count}, seconds)
        return [(position, text) for position, text in answer["records"]]

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        line = json.dumps({**request, "session": self.session_id}).encode("ascii") + b"\n"
        try:
            return self._exchange(line, _countdown(seconds))
        except OSError as error:
            raise ServedError(
                f"{request['do']} of session {self.session_id!r}: the server at {self.address} "
                f"did not answer ({type(error).__name__}: {error}). Is it running there?"
            ) from error

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
                raise ConnectionResetError("it closed the connection")
            received += part
        answer: dict[str, Any] = json.loads(received)
        return answer


def _countdown(seconds: float | None) -> Callable[[], float | None]:
    """Says how many of the seconds are left; raises when none are."""
    if seconds is None:
        return lambda: None
    deadline = time.monotonic() + seconds

    def left() -> float:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the time was up")
        return remaining

    return left
