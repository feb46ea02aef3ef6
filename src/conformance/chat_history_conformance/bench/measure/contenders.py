"""The contenders of a measurement: a backend, its floor or a peer.

Operations run on the measuring thread. The time limit of the contracts would need a second thread,
which costs more than a small operation.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage

from chat_history_conformance.bench.measure.payload import DEFAULT, Payload
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import first_line
from chat_history_conformance.drivers.calls import Call, How, Invocation, invocation
from chat_history_conformance.drivers.opening import NeedsLoop, Opened, aenter, enter

__all__ = [
    "Contender",
    "Handle",
    "NotSupported",
    "WrongResult",
    "describe_error",
]

T = TypeVar("T")

_FILL_BATCH = 1000


class NotSupported(Exception):
    """An operation that this history does not support. The text names the missing method."""


class WrongResult(Exception):
    """A measured operation with a wrong result, which makes its time worthless."""


@dataclass(frozen=True)
class Handle:
    """An open history, with a function for each operation.

    Attributes:
        add: Adds a list of messages.
        add_unawaited: As `add`. If `is_async`, it returns a coroutine.
        is_async: Whether the history is used asynchronously.
        read: Returns the whole conversation.
        clear: Removes the messages.
        remove: Removes all traces of the session, if the history can do that; otherwise clears it.
        close: Closes the history.
        fill: Stores a conversation in the fastest way. It is never timed.
        bounded: Takes the name of a bounded read and its bounds. Returns a function that reads,
            or raises `NotSupported`.
        stream: Returns a function that passes one message after the other to its argument, or
            raises `NotSupported`.
    """

    add: Callable[[list[BaseMessage]], Any]
    add_unawaited: Callable[[list[BaseMessage]], Any]
    is_async: bool
    read: Callable[[], list[BaseMessage]]
    clear: Callable[[], Any]
    remove: Callable[[], Any]
    close: Callable[[], Any]
    fill: Callable[[Sequence[BaseMessage]], Any]
    bounded: Callable[..., Callable[[], list[BaseMessage]]]
    stream: Callable[[], Callable[[Callable[[BaseMessage], object]], object]]


class Contender:
    """A backend, a floor or a peer that takes part in a measurement.

    Args:
        backend: Opens the histories, and names their methods.
        mode: `sync` or `async`.
        payload: The conversation that its sessions hold.
        strict: Whether an operation without an asynchronous method is refused in the mode `async`.
            If not, it is called synchronously.

    Attributes:
        backend, mode, payload, strict: The arguments.
        positions: The number of messages before the position of consuming reads, by session.
    """

    def __init__(
        self, backend: Backend, mode: How, payload: Payload = DEFAULT, *, strict: bool = True
    ) -> None:
        self.backend = backend
        self.mode: How = mode
        self.payload = payload
        self.strict = strict
        self.positions: dict[str, int] = {}
        self._prefix = f"chb{uuid.uuid4().hex[:8]}x"
        self._sessions: list[str] = []
        self._shared: dict[tuple[int, str], str] = {}
        self._others: list[str] = []
        self._runner = asyncio.Runner()
        self._threads: dict[int, ThreadPoolExecutor] = {}

    # -- sessions ----------------------------------------------------------------------------

    def new_session(self) -> str:
        """Return the id of an unused session."""
        self._sessions.append(f"{self._prefix}{len(self._sessions)}")
        return self._sessions[-1]

    def filled_session(self, length: int) -> str:
        """Return a new session with a conversation of `length` messages."""
        session = self.new_session()
        if length:
            with self.opened(session) as handle:
                handle.fill(self.payload.conversation(length))
        return session

    def shared_session(self, length: int, use: str = "") -> str:
        """Return a session of `length` messages, which is shared and must not be changed.

        Args:
            length: The number of messages.
            use: The name of the only operation that uses it. Empty if all may use it.
        """
        if (length, use) not in self._shared:
            self._shared[length, use] = self.filled_session(length)
        return self._shared[length, use]

    def add_other_sessions(self, count: int) -> None:
        """Store a message in each of `count` other sessions, once for this contender."""
        while len(self._others) < count:
            self._others.append(self.filled_session(1))

    def with_same_sessions(self, mode: How | None = None) -> Contender:
        """Return another contender with the same sessions and no open history.

        Args:
            mode: Its mode. None for the mode of this one.
        """
        other = Contender(self.backend, mode or self.mode, self.payload, strict=self.strict)
        other._sessions, other._shared, other._prefix = self._sessions, self._shared, self._prefix
        other._others, other.positions = self._others, self.positions
        return other

    # -- histories ---------------------------------------------------------------------------

    def open(self, session: str) -> Handle:
        """Open a history. The caller closes the handle."""
        opened = self._open(session)
        history = opened.history
        is_async = self.mode == "async" and (self.strict or hasattr(history, "aadd_messages"))
        mode: How = "async" if is_async else "sync"

        def method(operation: str, *args: Any) -> tuple[Callable[..., Any], bool]:
            found = invocation(self.backend, history, Call("", operation, args, mode))
            return _bound(history, found), found.awaited

        def called(operation: str, *args: Any) -> Callable[..., Any]:
            function, is_awaited = method(operation, *args)
            return self._awaiting(function) if is_awaited else function

        def bounded(operation: str, *bounds: Any) -> Callable[[], list[BaseMessage]]:
            name = self.backend.methods.get(operation, operation)
            if not any(hasattr(history, one) for one in (name, f"a{name}")):
                raise NotSupported(f"has no {name}")
            function, is_awaited = method(operation, *bounds)
            if mode == "async" and self.strict and not is_awaited:
                raise NotSupported(f"has no a{name}")
            return self._awaiting(function) if is_awaited else function

        add = called("add_messages", [])
        return Handle(
            add=add,
            add_unawaited=method("add_messages", [])[0],
            is_async=is_async,
            read=called("messages"),
            clear=called("clear"),
            remove=getattr(history, "remove", called("clear")),
            close=lambda: self._close(opened, mode),
            fill=lambda messages: self._fill(history, add, mode, messages),
            bounded=bounded,
            stream=lambda: self._streaming(history, mode),
        )

    @contextmanager
    def opened(self, session: str) -> Iterator[Handle]:
        """Open a history and close it at the end."""
        handle = self.open(session)
        try:
            yield handle
        finally:
            handle.close()

    def add_concurrently(
        self, handles: Sequence[Handle], messages: list[BaseMessage]
    ) -> list[float]:
        """Let each handle add the messages at the same time, in a thread or a task.

        Returns:
            The seconds that each add took.
        """
        if handles[0].is_async:

            async def add(handle: Handle) -> float:
                began = time.perf_counter()
                await handle.add_unawaited(messages)
                return time.perf_counter() - began

            async def add_all() -> list[float]:
                return await asyncio.gather(*map(add, handles))

            return self._run(add_all())

        def add_in_thread(handle: Handle) -> float:
            began = time.perf_counter()
            handle.add(messages)
            return time.perf_counter() - began

        count = len(handles)
        if count not in self._threads:
            self._threads[count] = ThreadPoolExecutor(count, "history-bench")
        return list(self._threads[count].map(add_in_thread, handles))

    def _streaming(
        self, history: Any, mode: How
    ) -> Callable[[Callable[[BaseMessage], object]], object]:
        async def stream_awaited(visit: Callable[[BaseMessage], object]) -> None:
            async for message in history.aiter_messages():
                visit(message)

        def stream(visit: Callable[[BaseMessage], object]) -> None:
            for message in history.iter_messages():
                visit(message)

        if mode == "async" and hasattr(history, "aiter_messages"):
            return self._awaiting(stream_awaited)
        name = "aiter_messages" if mode == "async" and self.strict else "iter_messages"
        if not hasattr(history, name):
            raise NotSupported(f"has no {name}")
        return stream

    def _open(self, session: str) -> Opened:
        async def on_loop() -> Opened:
            return await aenter(self.backend.factory(session))

        if self.mode == "async":
            return self._run(on_loop())
        try:
            return enter(self.backend.factory(session))
        except NeedsLoop as needs:
            return self._run(aenter(needs.value))

    def _fill(
        self, history: Any, add: Callable[..., Any], mode: How, messages: Sequence[BaseMessage]
    ) -> None:
        if mode == "async" and hasattr(history, "afill"):
            self._run(history.afill(list(messages)))
        elif hasattr(history, "fill"):
            history.fill(list(messages))
        else:
            for begin in range(0, len(messages), _FILL_BATCH):
                add(list(messages[begin : begin + _FILL_BATCH]))

    def _close(self, opened: Opened, mode: How) -> None:
        """Close a history by its context manager, or else by its method."""
        if opened.aexit is not None:
            self._run(_await(opened.aexit()))
        elif opened.exit is not None:
            opened.exit()
        elif any(hasattr(opened.history, name) for name in ("close", "aclose")):
            found = invocation(self.backend, opened.history, Call("", "close", (), mode))
            function = _bound(opened.history, found)
            (self._awaiting(function) if found.awaited else function)()

    def _awaiting(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        run = self._runner.get_loop().run_until_complete
        return lambda *args: run(function(*args))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.get_loop().run_until_complete(coroutine)

    def remove_sessions(self) -> str | None:
        """Remove all sessions of this contender. Return an error message, or None."""
        try:
            for session in self._sessions:
                if self.backend.remove is not None:
                    self.backend.remove(session)
                else:
                    with self.opened(session) as handle:
                        handle.remove()
        except Exception as error:  # a history or a server may raise anything
            return f"{self.backend.name}: not all sessions were removed: {describe_error(error)}"
        return None

    def stop(self) -> None:
        """End the threads and the event loop."""
        for threads in self._threads.values():
            threads.shutdown()
        self._runner.close()


def describe_error(error: Exception) -> str:
    """Return an exception on one line, such as `raises ValueError: ...`.

    For the two exceptions of this module, return their text alone.
    """
    text = first_line(error)
    if isinstance(error, NotSupported | WrongResult):
        return text
    return f"raises {type(error).__name__}{text and f': {text}'}"


def _bound(history: Any, found: Invocation) -> Callable[..., Any]:
    """Return the call as a function. It takes the messages unless they are given already."""
    if found.attribute:
        return lambda: getattr(history, found.name)
    method = getattr(history, found.name)
    kwargs = dict(found.kwargs)
    if kwargs:
        return lambda: method(**kwargs)
    return method  # type: ignore[no-any-return]


async def _await(awaitable: Any) -> Any:
    return await awaitable
