"""Open histories in this process, and calls on them.

Synchronous calls run on one thread, asynchronous calls on an event loop in another thread. Each
call has a time limit, so that a history that waits forever is a finding and does not hang the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.declaration.parameters import bound, published
from chat_history_conformance.drivers.calls import (
    Call,
    Done,
    How,
    Repeated,
    call_now,
    call_on_loop,
    invocation,
    weight,
    weight_together,
)
from chat_history_conformance.drivers.errors import EscapedError, Hung
from chat_history_conformance.drivers.iterating import iteration_of
from chat_history_conformance.drivers.opening import NeedsLoop, Opened, aenter, enter
from chat_history_conformance.drivers.repeating import Lane, Repeating, Seen, adds, calls
from chat_history_conformance.drivers.threads import LoopThread, SyncThread, contain

__all__ = ["FIRST_OPENING", "Local"]

_HANGS_UNTIL_KNOWN = 4
"""Hangs in a row after which an operation gets less time: two contracts each check it twice."""

FIRST_OPENING = 4.0
"""The multiple of a time limit for the first opening, which may import modules and connect."""

_SWITCH_INTERVAL_SECONDS = 1e-5
"""The time between thread switches in lanes. A longer one lets short lanes run one by one."""


class Local:
    """Open histories of one backend in this process, each with a key.

    Args:
        backend: The backend whose histories are opened.
        limit: The time limit of one call, in seconds.
        loop_of: Another one, whose event loop is used here too. The histories of a backend may have
            a client in common that belongs to one loop.
    """

    def __init__(self, backend: Backend, limit: float, loop_of: Local | None = None) -> None:
        self.backend = backend
        self.limit = limit
        self._loop_of = loop_of
        self._was_opened = False
        self._opened: dict[str, Opened] = {}
        self._thread: SyncThread | None = None
        self._loop: LoopThread | None = None
        self._hangs: Counter[str] = Counter()
        self._repeating: Repeating | None = None
        self._numbers: list[int] = []
        self.factory: Callable[[str], Any] = backend.factory
        """Opens histories: the factory of the backend, or that of a new store."""
        self._stores: list[Any] = []  # kept, because a generator runs its clean-up when collected

    @property
    def thread(self) -> SyncThread:
        """The thread of the synchronous calls."""
        if self._thread is None:
            self._thread = SyncThread()
        return self._thread

    @property
    def loop(self) -> LoopThread:
        """The thread of the event loop, for the asynchronous calls."""
        if self._loop_of is not None:
            return self._loop_of.loop
        if self._loop is None:
            self._loop = LoopThread()
        return self._loop

    def history(self, key: str) -> Any:
        """Return the open history that has this key."""
        return self._opened[key].history

    def open(self, key: str, session_id: str, how: How, ttl: tuple[int | None] | None) -> None:
        """Open a history.

        Args:
            key: The key of the open history.
            session_id: The session to open.
            how: The way in which the history will be called.
            ttl: The argument of `with_ttl` in a tuple, in milliseconds. None calls the factory.

        Raises:
            Hung: Opening did not end within the limit.
            NotAHistory: The factory returned something else.
        """
        factory = self._factory(session_id, ttl)

        async def on_loop() -> Opened:
            return await aenter(factory())

        weight = 1.0 if self._was_opened else FIRST_OPENING
        self._was_opened = True
        with self._time_limit("open", weight) as limit:
            if how == "async":
                self._opened[key] = self._on_loop(on_loop(), limit)
                return
            try:
                self._opened[key] = self._on_thread(lambda: enter(factory()), limit)
            except NeedsLoop as needs:
                self._opened[key] = self._on_loop(aenter(needs.value), limit)

    def _factory(self, session_id: str, ttl: tuple[int | None] | None) -> Callable[[], Any]:
        if ttl is not None and self.backend.with_ttl is not None:
            with_ttl, lifetime = self.backend.with_ttl, ttl[0]
            return lambda: with_ttl(session_id, lifetime)
        factory = self.factory
        return lambda: factory(session_id)

    def call(self, call: Call) -> Any:
        """Call one operation and return its result.

        Raises:
            Hung: It did not return within the limit.
        """
        history = self.history(call.key)
        expression = invocation(self.backend, history, call)
        with self._time_limit(call.operation, weight(call)) as limit:
            if expression.awaited:
                return self._on_loop(call_on_loop(history, expression), limit)
            return self._on_thread(lambda: call_now(history, expression), limit)

    def iterate(self, key: str, call: Call) -> None:
        """Begin an iteration with a call.

        Its key is then that of an open object with the operations `take`, `drop` and `close`.

        Raises:
            Hung: The call did not return within the limit.
        """
        history = self.history(call.key)
        expression = invocation(self.backend, history, call)

        def begin() -> Opened:
            return Opened(iteration_of(call_now(history, expression), awaited=expression.awaited))

        with self._time_limit(call.operation) as limit:
            if expression.awaited:
                self._opened[key] = self._on_loop(_await(begin), limit)
            else:
                self._opened[key] = self._on_thread(begin, limit)

    def run(self, function: Callable[[], Any], how: How = "sync") -> Any:
        """Run `function` on the thread or on the loop, and await its result if it is a coroutine.

        Raises:
            Hung: It did not end within the limit.
        """
        if how == "sync":
            return self._on_thread(function)
        return self._on_loop(_await(function))

    @contextlib.contextmanager
    def another_loop(self) -> Iterator[None]:
        """Use another event loop inside the `with` block."""
        usual, self._loop = self._loop, None
        try:
            yield
        finally:
            if self._loop is not None:
                self._loop.stop()
            self._loop = usual

    def together(self, lanes: Sequence[Sequence[Call]]) -> list[list[Done]]:
        """Run several lanes of calls at the same time, each on its own thread or as its own task.

        Args:
            lanes: The calls. Those of one lane run one after another.

        Returns:
            The results of each lane. A lane ends at its first error.

        Raises:
            Hung: A lane did not end within the limit.
        """
        with self._time_limit("several at once", weight_together(lanes)) as limit:
            if all(call.how == "async" for lane in lanes for call in lane):
                return self._tasks(lanes, limit)
            return self._threads(lanes, limit)

    def _tasks(self, lanes: Sequence[Sequence[Call]], limit: float) -> list[list[Done]]:
        async def on_loop() -> list[list[Done]]:
            return await asyncio.gather(*(self._lane_task(lane) for lane in lanes))

        done: list[list[Done]] = self._on_loop(on_loop(), limit)
        return done

    def _threads(self, lanes: Sequence[Sequence[Call]], limit: float) -> list[list[Done]]:
        barrier = threading.Barrier(len(lanes))
        threads = [SyncThread(f"history-lane-{index}") for index in range(len(lanes))]
        try:
            with _fast_switching():
                pending = [
                    thread.submit(lambda lane=lane: self._lane(lane, barrier))  # type: ignore[misc]
                    for thread, lane in zip(threads, lanes, strict=True)
                ]
                return [item.result_within(limit) for item in pending]
        finally:
            for thread in threads:
                thread.stop()

    def begin_repeating(self, lanes: Sequence[Repeated]) -> None:
        """Start calls that are repeated at the same time, until `end_repeating`.

        Args:
            lanes: The calls. Each runs in its own thread, or as its own task if it is awaited.
        """
        plain, awaited = dict[int, Lane](), dict[int, Lane]()
        for number, lane in enumerate(lanes):
            history = self.history(lane.call.key)
            is_awaited = invocation(self.backend, history, lane.call).awaited
            (awaited if is_awaited else plain)[number] = self._lane_of(lane, history, is_awaited)
        loop = self.loop.loop if awaited else None
        self._repeating = Repeating(plain.values(), awaited.values(), loop)
        self._numbers = [*plain, *awaited]

    def end_repeating(self, seconds: float) -> list[list[Seen]]:
        """End these calls, wait at most some seconds for the last ones, and return their results.

        Returns:
            For each lane the calls that ended, in order.
        """
        assert self._repeating is not None
        seen = dict(zip(self._numbers, self._repeating.end(seconds), strict=True))
        self._repeating = None
        return [seen[number] for number in sorted(seen)]

    def _lane_of(self, lane: Repeated, history: Any, is_awaited: bool) -> Lane:
        run = call_on_loop if is_awaited else call_now

        def call(*args: Any) -> Any:
            one = lane.call._replace(args=args or lane.call.args)
            return run(history, invocation(self.backend, history, one))

        if lane.call.operation == "add_messages":
            return adds(lane.stem, lane.size, lane.pause, call)
        return calls(lane.pause, call)

    def enter_store(self, name: str, origin: Origin | None) -> None:
        """Open histories in the new store of this name, which another process has made.

        Args:
            name: The name of the store.
            origin: The place of `fresh=`, for a process that knows only the factory.
        """
        fresh = self.backend.fresh
        if fresh is None and origin is not None:
            fresh = bound(origin.load(), 1, published(self.backend.name))
        if fresh is None:
            raise RuntimeError(
                "a second process cannot import fresh=. Write a function at module level."
            )
        store = self.factory = self._on_thread(lambda: fresh(name))
        self._stores.append(store)
        if hasattr(type(store), "__enter__"):
            self.factory = self._on_thread(store.__enter__)

    def leave_store(self) -> None:
        """Open histories with the factory of the backend. The other process removes the store."""
        self.factory = self.backend.factory

    def release(self, key: str, how: How) -> None:
        """Close a history in the way of its factory, or with its `close` or `aclose`, if any.

        Raises:
            Hung: It did not end within the limit.
        """
        opened = self._opened.pop(key, None)
        if opened is None:
            return
        if opened.aexit is not None:
            self._on_loop(_await(opened.aexit))
        elif opened.exit is not None:
            self.run(opened.exit, how)
        elif hasattr(opened.history, "aclose") and (
            how == "async" or not hasattr(opened.history, "close")
        ):
            self._on_loop(_await(opened.history.aclose))
        elif callable(getattr(opened.history, "close", None)):
            self.run(opened.history.close, how)

    def forget(self) -> None:
        """Drop all open histories without closing them."""
        self._opened.clear()

    def stop(self) -> None:
        """Drop all open histories and end the thread and the loop."""
        self.forget()
        if self._thread is not None:
            self._thread.stop()
        if self._loop is not None:
            self._loop.stop()
        self._thread = self._loop = None

    @contextlib.contextmanager
    def _time_limit(self, operation: str, weight: float = 1.0) -> Iterator[float]:
        """Yield the seconds that an operation may take, less if its last calls all hung.

        Without this, a run with a history that always hangs takes hours.
        """
        limit = self.limit * weight
        try:
            yield limit / 5 if self._hangs[operation] >= _HANGS_UNTIL_KNOWN else limit
        except Hung:
            self._hangs[operation] += 1
            raise
        except Exception:
            del self._hangs[operation]  # the call returned
            raise
        del self._hangs[operation]

    def _on_thread(self, function: Callable[[], Any], limit: float | None = None) -> Any:
        try:
            return self.thread.run(function, limit or self.limit)
        except Hung:
            self.thread.stop()
            self._thread = None  # the hung call blocks this thread; the next call needs another
            raise

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any], limit: float | None = None) -> Any:
        try:
            return self.loop.run(coroutine, limit or self.limit)
        except Hung:
            if self.loop.blocked:
                self.loop.abandon()
                (self._loop_of or self)._loop = None
            else:
                self.loop.renew_pool()
            raise

    def _lane(self, lane: Sequence[Call], barrier: threading.Barrier) -> list[Done]:
        barrier.wait(self.limit)
        done: list[Done] = []
        for call in lane:
            started = time.monotonic()
            try:
                value = self._perform(call)
            except BaseException as error:
                done.append(Done(call, started, time.monotonic(), error=_plain(error)))
                return done
            done.append(Done(call, started, time.monotonic(), value))
        return done

    async def _lane_task(self, lane: Sequence[Call]) -> list[Done]:
        done: list[Done] = []
        for call in lane:
            started = time.monotonic()
            try:
                value = await contain(self._perform_async(call))
            except Exception as error:
                done.append(Done(call, started, time.monotonic(), error=error))
                return done
            done.append(Done(call, started, time.monotonic(), value))
        return done

    def _perform(self, call: Call) -> Any:
        """Run one call of a lane on the lane's thread."""
        if call.operation == "wait":
            return time.sleep(*call.args)
        if call.operation == "open":
            try:
                self._opened[call.key] = enter(self._factory(*call.args)())
            except NeedsLoop as needs:
                self._opened[call.key] = self._on_loop(aenter(needs.value))
            return None
        history = self.history(call.key)
        return call_now(history, invocation(self.backend, history, call))

    async def _perform_async(self, call: Call) -> Any:
        """Run one call of a lane in the lane's task."""
        if call.operation == "wait":
            return await asyncio.sleep(*call.args)
        if call.operation == "open":
            self._opened[call.key] = await aenter(self._factory(*call.args)())
            return None
        history = self.history(call.key)
        return await call_on_loop(history, invocation(self.backend, history, call))


_switching = threading.Lock()
_fast: list[float] = []


@contextlib.contextmanager
def _fast_switching() -> Iterator[None]:
    """Switch threads often inside the `with` block. Several threads may use it at once."""
    with _switching:
        if not _fast:
            usual = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        else:
            usual = _fast[0]
        _fast.append(usual)
    try:
        yield
    finally:
        with _switching:
            _fast.pop()
            if not _fast:
                sys.setswitchinterval(usual)


def _plain(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else EscapedError(error)


async def _await(function: Callable[[], Any]) -> Any:
    result = function()
    return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result
