"""Clients in a process of a campaign: threads that call histories, and tasks that await them.

Every call is recorded before it begins and after it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance.campaign.clients.traffic import Request, requests
from chat_history_conformance.campaign.plan import Client
from chat_history_conformance.campaign.recording import Begun, Operation, OperationError, Writer
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.drivers.calls import Call, call_now, call_on_loop, invocation, weight
from chat_history_conformance.drivers.errors import text_of
from chat_history_conformance.drivers.opening import NeedsLoop, Opened, aenter, enter

__all__ = ["Clients", "error_of", "texts_of"]

_HUNG_AFTER_SECONDS = 15.0
"""The time after its limit until a call counts as one that never returns."""

_AFTER_ERROR_SECONDS = 0.25
_CLOSE_SECONDS = 5.0
_TEXT_LENGTH = 400


class _Running:
    """A client at work, and the call that it is in.

    Attributes:
        began: When its call began; None between two calls.
        limit_seconds: The limit of that call.
        failed: Whether its last call has raised.
        replaced: Whether another client has its work, because its call never returns.
        done: Whether it has ended.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.began: float | None = None
        self.limit_seconds = 0.0
        self.failed = False
        self.replaced = False
        self.done = False

    def pause(self, request: Request) -> float:
        """Return how many seconds to wait after a request, more if it has failed."""
        return request.pause_seconds + (_AFTER_ERROR_SECONDS if self.failed else 0.0)


class Clients:
    """The clients of one process.

    Args:
        backend: The backend whose histories they use.
        process: The name of the process.
        writer: The file of the recording.
        start: The start of the campaign, by the monotonic clock.
        limit_seconds: The limit of one call.
    """

    def __init__(
        self, backend: Backend, process: str, writer: Writer, start: float, limit_seconds: float
    ) -> None:
        self.stopping = threading.Event()
        self._backend = backend
        self._process = process
        self._writer = writer
        self._start = start
        self._limit = limit_seconds
        self._running: list[_Running] = []

    def start(self, clients: Sequence[Client]) -> None:
        """Start all clients: a thread for each synchronous one, one event loop for the others."""
        self._begin([_Running(client, f"{self._process}.{client.name}") for client in clients])

    def replace_hung(self) -> None:
        """Start a new client for each one whose call never returns."""
        now = self._now()
        hung = [
            one
            for one in self._running
            if not one.replaced
            and (began := one.began) is not None
            and now - began > one.limit_seconds + _HUNG_AFTER_SECONDS
        ]
        for one in hung:
            one.replaced = True
            self._begin([_Running(one.client, f"{one.name}+")])

    def join(self, seconds: float) -> bool:
        """Wait until all clients have ended, and return whether they have."""
        deadline = time.monotonic() + seconds
        while not (ended := all(one.done for one in self._running)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return ended

    def _begin(self, running: Sequence[_Running]) -> None:
        self._running += running
        for one in running:
            if one.client.mode == "sync":
                threading.Thread(target=self._work, args=(one,), daemon=True).start()
        tasks = [one for one in running if one.client.mode == "async"]
        if tasks:
            threading.Thread(target=asyncio.run, args=(self._all(tasks),), daemon=True).start()

    def _now(self) -> float:
        return time.monotonic() - self._start

    # -- threads -----------------------------------------------------------------------------

    def _work(self, running: _Running) -> None:
        handles: dict[str, tuple[Opened, asyncio.AbstractEventLoop | None]] = {}
        for request in requests(running.client, running.name):
            if self.stopping.is_set():
                break
            if request.reopen and request.session in handles:
                _close(*handles.pop(request.session))
            try:
                handle = handles.get(request.session) or _open(
                    self._backend, request.session, self._limit
                )
            except Exception:  # opening may need the server; a call that fails is recorded
                self.stopping.wait(0.2)
                continue
            handles[request.session] = handle
            history = handle[0].history
            with self._recorded(running, request) as (call, finish):
                finish(call_now(history, invocation(self._backend, history, call)))
            self.stopping.wait(running.pause(request))
        for handle in handles.values():
            _close(*handle)
        running.done = True

    # -- tasks -------------------------------------------------------------------------------

    async def _all(self, running: Sequence[_Running]) -> None:
        await asyncio.gather(*map(self._task, running))

    async def _task(self, running: _Running) -> None:
        handles: dict[str, Opened] = {}
        for request in requests(running.client, running.name):
            if self.stopping.is_set():
                break
            if request.reopen and request.session in handles:
                await _aclose(handles.pop(request.session))
            try:
                handle = handles.get(request.session) or await aenter(
                    self._backend.factory(request.session)
                )
            except Exception:
                await asyncio.sleep(0.2)
                continue
            handles[request.session] = handle
            history = handle.history
            with self._recorded(running, request) as (call, finish):
                finish(await call_on_loop(history, invocation(self._backend, history, call)))
            await asyncio.sleep(running.pause(request))
        for handle in handles.values():
            await _aclose(handle)
        running.done = True

    # -- recording ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _recorded(
        self, running: _Running, request: Request
    ) -> Iterator[tuple[Call, Callable[[Any], None]]]:
        """Record the call in the block. The block passes its result to the function."""
        call = _call(request, running.client.mode)
        limit = self._limit * weight(call)
        began = self._now()
        begun = Begun(
            request.kind,
            running.name,
            self._process,
            request.session,
            running.client.mode,
            began,
            request.texts,
            request.count,
            limit,
        )
        self._writer.begin(begun)
        running.limit_seconds, running.began = limit, began
        error: OperationError | None = None
        reads = request.kind not in ("add", "clear")
        texts = () if reads else request.texts
        result: list[Any] = []
        try:
            yield call, result.append
            ended = self._now()
            if reads:
                texts = texts_of(result[0])
        except BaseException as raised:  # a history may raise anything, and the client goes on
            ended = self._now()
            error = error_of(raised)
        running.began, running.failed = None, error is not None
        self._writer.write(
            Operation(
                begun.kind,
                begun.client,
                begun.process,
                begun.session,
                begun.mode,
                began,
                ended,
                texts,
                begun.count,
                error,
                limit,
            )
        )


def texts_of(messages: Sequence[BaseMessage]) -> tuple[str, ...]:
    """Return the texts of messages."""
    return tuple(
        message.content if isinstance(message.content, str) else repr(message.content)
        for message in messages
    )


def error_of(error: BaseException) -> OperationError:
    """Return the part of an error that the record keeps, with its claim about the outcome."""
    outcome = getattr(error, "outcome_unknown", None)
    unconfirmed = _items(error, "unconfirmed", int)
    return OperationError(
        type(error).__name__,
        text_of(error)[:_TEXT_LENGTH],
        outcome if isinstance(outcome, bool) else None,
        None if unconfirmed is None else tuple(unconfirmed),
        texts_of(_items(error, "messages", BaseMessage) or ()),
    )


_T = TypeVar("_T")


def _items(error: BaseException, name: str, kind: type[_T]) -> list[_T] | None:
    """Return the list that an error has as an attribute; None if it has none of that kind."""
    found = getattr(error, name, None)
    if isinstance(found, list | tuple) and all(isinstance(one, kind) for one in found):
        return list(found)
    return None


def _call(request: Request, mode: str) -> Call:
    args = request.args
    if request.kind == "add":
        kinds = (HumanMessage, AIMessage)
        args = ([kinds[i % 2](text) for i, text in enumerate(request.texts)],)
    return Call("", request.operation, args, "async" if mode == "async" else "sync")


def _open(
    backend: Backend, session: str, limit_seconds: float
) -> tuple[Opened, asyncio.AbstractEventLoop | None]:
    """Open a history on this thread; on a separate loop if its factory needs one."""
    try:
        return enter(backend.factory(session)), None
    except NeedsLoop as needs:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        opened = asyncio.run_coroutine_threadsafe(aenter(needs.value), loop)
        return opened.result(limit_seconds), loop


def _close(opened: Opened, loop: asyncio.AbstractEventLoop | None) -> None:
    """Close a history. The campaign goes on if that fails, because only its calls are judged."""
    with contextlib.suppress(Exception):
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_aclose(opened), loop).result(_CLOSE_SECONDS)
        elif opened.exit is not None:
            opened.exit()
        elif callable(getattr(opened.history, "close", None)):
            opened.history.close()
    if loop is not None:
        loop.call_soon_threadsafe(loop.stop)


async def _aclose(opened: Opened) -> None:
    with contextlib.suppress(Exception):
        if opened.aexit is not None:
            await opened.aexit()
        elif opened.exit is not None:
            opened.exit()
        elif hasattr(opened.history, "aclose"):
            await opened.history.aclose()
        elif callable(getattr(opened.history, "close", None)):
            await asyncio.to_thread(opened.history.close)
