"""Broken histories for campaigns: the control `served` with one defect each.

The names of the backends are the classes of defects that the checker must report.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from langchain_core.messages import BaseMessage

from chat_history_conformance import history_backend, servers
from chat_history_conformance.faulty.served import SERVED, ServedChatMessageHistory, ServedError

F = TypeVar("F", bound=Callable[..., Any])


def on_the_control(name: str, **declared: Any) -> Callable[[F], F]:
    """Declare a history on the server of the control."""
    return history_backend(name, server=SERVED, **declared)


class Served(ServedChatMessageHistory):
    """The control, with a short timeout."""

    answer_seconds: ClassVar[float | None] = 0.7

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, servers.address(SERVED))


@on_the_control("control")
class Control(Served):
    """The control without a defect."""


@on_the_control("control-sync", lacks={"async": "its asynchronous methods raise"})
class SyncOnly(Served):
    """The control with synchronous methods only."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        raise NotImplementedError

    async def aget_messages(self) -> list[BaseMessage]:
        raise NotImplementedError

    async def aclear(self) -> None:
        raise NotImplementedError


STARTS: list[str] = []


def _store() -> Iterator[dict[str, float]]:
    STARTS.append("start")
    yield {"seconds": 0.7}
    STARTS.append("end")


def _no_store() -> Iterator[dict[str, float]]:
    raise RuntimeError("no docker")
    yield {}


@on_the_control("control-lifespan", lifespan=_store)
def with_lifespan(session_id: str, seconds: float) -> Served:
    """Open the control with a value of a lifespan."""
    assert seconds == 0.7
    return Control(session_id)


@on_the_control("control-broken-lifespan", lifespan=_no_store)
def with_broken_lifespan(session_id: str, seconds: float) -> Served:
    """Open the control with a value that nothing gives."""
    return Control(session_id)


@on_the_control("control-fixture")
def with_fixture(session_id: str, redis_url: str) -> Served:
    """Open the control with a value that only pytest could give."""
    return Control(session_id)


class AsyncOnly:
    """The control with asynchronous methods only, which an asynchronous generator opens."""

    def __init__(self, session_id: str) -> None:
        self._inner = Served(session_id)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await self._inner.aadd_messages(messages)

    async def aget_messages(self) -> list[BaseMessage]:
        return await self._inner.aget_messages()

    async def aclear(self) -> None:
        await self._inner.aclear()

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        return await self._inner.alast_messages(max_message_count)


@on_the_control("control-async", lacks={"sync": "it has asynchronous methods only"})
async def open_async_only(session_id: str) -> Any:
    """Open a history that has asynchronous methods only."""
    yield AsyncOnly(session_id)


@on_the_control("lost")
class AcknowledgedBeforeSent(Served):
    """Returns from an add, and sends the batch from a thread that drops what fails."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._batches: queue.Queue[Sequence[str]] = queue.Queue()
        threading.Thread(target=self._send, daemon=True).start()

    def _append(self, texts: Sequence[str]) -> None:
        self._batches.put(texts)

    def _send(self) -> None:
        while True:
            texts = self._batches.get()
            with contextlib.suppress(ServedError):
                super()._append(texts)


@on_the_control("doubled")
class SentAgainAsNew(Served):
    """Sends a batch without an answer again with another identifier."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            self._ask(_append(texts), self.answer_seconds)
        except ServedError:
            try:
                self._ask(_append(texts), 4.0)
            except ServedError as error:
                error.outcome_unknown = True
                raise


class _KnowsItsFailures(Served):
    """Remembers for the whole process that a call has failed."""

    _failed: ClassVar[bool] = False

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            _KnowsItsFailures._failed = True
            raise


@on_the_control("order")
class SentFromTheEndAfterAFailure(_KnowsItsFailures):
    """Sends batches from the last message to the first after a call of the process failed."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(sorted(texts, reverse=True) if self._failed else texts)


@on_the_control("empty-read")
class EmptyWhenUnreachable(Served):
    """Returns no messages if the server does not answer a read."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        try:
            return super().messages
        except ServedError:
            return []

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        try:
            return super().last_messages(max_message_count)
        except ServedError:
            return []


@on_the_control("stale-read")
class CachedForSomeSeconds(Served):
    """Returns the result of an earlier read of the process, up to five seconds later."""

    _cache: ClassVar[dict[str, tuple[float, list[tuple[int, str]]]]] = {}

    def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
        if count is not None:
            return super()._records(count, seconds)
        at, known = self._cache.get(self.session_id, (0.0, []))
        if not at or time.monotonic() > at + 5.0:
            known = super()._records(count, seconds)
            self._cache[self.session_id] = time.monotonic(), known
        return known


@on_the_control("came-back")
class NoClearAfterAFailure(_KnowsItsFailures):
    """Sends no clear any more after a call of the process failed, and returns from it."""

    def clear(self) -> None:
        if not self._failed:
            super().clear()


@on_the_control("skipped")
class RaisesAfterItMoved(_KnowsItsFailures):
    """Raises without the messages after it moved the position, once a call has failed."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        found = super().messages_from_last_consumed(max_message_count, max_time_sec)
        if found and self._failed:
            _KnowsItsFailures._failed = False
            raise ServedError("the position is moved, and the messages are gone")
        return found


@on_the_control("wrong-claim")
class ClaimsNothingIsStored(Served):
    """Says that a batch is not stored, though the server may have it."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except ServedError as error:
            error.outcome_unknown = False
            raise


@on_the_control("over-limit")
class NoTimeout(Served):
    """Waits for an answer without a limit."""

    answer_seconds = None


@on_the_control("client-died")
class EndsTheProcess(Served):
    """Ends the process of the client if the server refuses a connection."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            os._exit(3)


@on_the_control("client-crashed")
class CrashesTheProcess(Served):
    """Crashes the process of the client if the server refuses a connection."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        try:
            return super()._ask(request, seconds)
        except ServedError:
            os.kill(os.getpid(), signal.SIGSEGV)
            raise


_kept: list[socket.socket] = []


@on_the_control("growth")
class KeepsASocketAndAThread(Served):
    """Leaves a socket and a thread behind with each request."""

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        _kept.append(socket.socket())
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super()._ask(request, seconds)


def _append(texts: Sequence[str]) -> dict[str, Any]:
    return {"do": "append", "texts": list(texts), "identifier": uuid.uuid4().hex}
