"""One body, many ways in: where operations on a history are really carried out.

A `Local` host carries them out in this process, synchronously on a thread of its own or on an
event loop in another; a `SecondProcess` is a `Local` in a second process. Every call has a time
limit, so that a history that waits for ever is a finding and not a hung run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import thread as pools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.drivers.opening import NeedsLoop, Opened, aenter, enter

How = Literal["sync", "async"]

_HANGS_UNTIL_KNOWN = 4
"""Twice in each of two contracts: once found, and once more to be sure."""

ASYNC_NAMES = {"messages": "aget_messages", "add_messages": "aadd_messages", "clear": "aclear"}


class Hung(Exception):
    """A call did not return within the limit; it may still be running."""


class RemoteError(Exception):
    """An exception in the second process, by the name of its type and its text."""

    def __init__(self, type_name: str, text: str, server: bool) -> None:
        super().__init__(type_name, text, server)  # all of them, for it is pickled
        self.type_name = type_name
        self.text = text
        self.server = server

    def __str__(self) -> str:
        return self.text


class SecondProcessLost(Exception):
    """The second process could not be started, or ended."""


class Call(NamedTuple):
    """One operation on one open history."""

    key: str
    operation: str
    args: tuple[Any, ...] = ()
    how: How = "sync"


@dataclass
class Done:
    """How one call of several concurrent ones went, with its times on the monotonic clock."""

    call: Call
    started: float
    ended: float
    value: Any = None
    error: BaseException | None = None


class Invocation(NamedTuple):
    """How an operation is spelt on one history: `name(*args, **kwargs)`, or a plain attribute."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    attribute: bool
    awaited: bool


def invocation(backend: Backend, history: Any, call: Call) -> Invocation:
    """How `call` is spelt on `history`, by its declaration and by what it has."""
    operation, args = call.operation, call.args
    kwargs: Mapping[str, Any] = {}
    if operation == "messages" and "whole_reads" in backend.lacks:
        operation = backend.methods.get("messages", "messages_from_beginning")
        if operation == "messages_from_beginning":
            kwargs = {"max_message_count": None, "max_time_sec": None}
    elif operation in capabilities.READS:
        names = ("max_message_count", "max_time_sec")
        kwargs, args = dict(zip(names, args, strict=False)), ()
    name = backend.methods.get(operation, operation)
    if operation == "close":
        awaited = hasattr(history, "aclose") and (call.how == "async" or not hasattr(history, name))
        return Invocation("aclose" if awaited else "close", (), {}, False, awaited)
    if call.how == "async":
        if operation == "add_message":
            operation, args = "add_messages", ([args[0]],)
        twin = ASYNC_NAMES.get(operation, f"a{name}")
        if operation in ASYNC_NAMES or hasattr(history, twin):
            return Invocation(twin, args, kwargs, False, True)
    return Invocation(name, args, kwargs, operation == "messages" and not kwargs, False)


def has_operation(backend: Backend, history: Any, operation: str) -> bool:
    """Whether `history` offers a bounded read or `close`, in a way that it keeps."""
    name = backend.methods.get(operation, operation)
    kept = [
        twin for twin, mode in ((name, "sync"), (f"a{name}", "async")) if mode not in backend.lacks
    ]
    if operation == "close":
        kept = [name, f"a{name}"]
    return any(callable(getattr(history, twin, None)) for twin in kept)


class SyncThread:
    """A daemon thread that runs one function after another, each with a time limit."""

    def __init__(self, name: str = "history-sync") -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, function: Callable[[], Any], limit: float) -> Any:
        """What `function` returns or raises.

        Raises:
            Hung: It did not end within `limit` seconds; the thread is lost then.
        """
        return self.submit(function).result_within(limit)

    def submit(self, function: Callable[[], Any]) -> _Pending:
        """Start `function` as soon as what was submitted before has ended."""
        future: Future[Any] = Future()
        self._tasks.put((function, future))
        return _Pending(future)

    def stop(self) -> None:
        """End the thread once it is idle."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # handed to whoever waits for the result
                future.set_exception(error)
            del task, function, future  # an idle thread must not keep a history alive


class _Pending:
    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def result_within(self, limit: float) -> Any:
        try:
            return self._future.result(limit)
        except TimeoutError:
            if self._future.done():
                raise
            self._future.cancel()
            _let_the_process_end()
            raise Hung(f"no answer within {limit:g} s") from None


class LoopThread:
    """An event loop in a daemon thread, for histories that are used asynchronously."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="history-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], limit: float) -> Any:
        """What `coroutine` returns or raises, awaited on the loop.

        Raises:
            Hung: It did not end within `limit` seconds; it is cancelled then.
        """
        return _Pending(asyncio.run_coroutine_threadsafe(coroutine, self.loop)).result_within(limit)

    def stop(self) -> None:
        """Cancel what runs, let async generators and the executor end, and close the loop."""
        self.abandon()
        self._thread.join(5.0)

    def abandon(self) -> None:
        """End the loop as soon as what blocks it lets go of it."""
        self.loop.call_soon_threadsafe(self.loop.stop)

    def renew_pool(self) -> None:
        """Have other threads for `asyncio.to_thread`: a call that never ends keeps its own."""
        self.loop.call_soon_threadsafe(
            lambda: self.loop.set_default_executor(pools.ThreadPoolExecutor())
        )

    @property
    def blocked(self) -> bool:
        """Whether a call on the loop keeps it from serving others."""
        try:
            self.run(asyncio.sleep(0), 1.0)
        except Hung:
            return True
        return False

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_drain())
        finally:
            self.loop.close()


async def _drain() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class Local:
    """Open histories of one backend in this process, by a key, and calls on them.

    Args:
        backend: What is opened.
        limit: Seconds that any one call may take.
    """

    def __init__(self, backend: Backend, limit: float) -> None:
        self.backend = backend
        self.limit = limit
        self._opened: dict[str, Opened] = {}
        self._thread: SyncThread | None = None
        self._loop: LoopThread | None = None
        self._hangs: Counter[str] = Counter()

    @property
    def thread(self) -> SyncThread:
        """The thread of the synchronous calls."""
        if self._thread is None:
            self._thread = SyncThread()
        return self._thread

    @property
    def loop(self) -> LoopThread:
        """The loop of the asynchronous ones."""
        if self._loop is None:
            self._loop = LoopThread()
        return self._loop

    def history(self, key: str) -> Any:
        """The open history itself."""
        return self._opened[key].history

    def open(self, key: str, session_id: str, how: How, ttl: tuple[int | None] | None) -> None:
        """Open a history under `key`, with `ttl[0]` milliseconds to live where `ttl` is given."""
        factory = self._factory(session_id, ttl)

        async def on_loop() -> Opened:
            return await aenter(factory())

        with self._patience("open") as limit:
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
        return lambda: self.backend.factory(session_id)

    def call(self, call: Call) -> Any:
        """Carry out one operation and return what it returns."""
        history = self.history(call.key)
        spelt = invocation(self.backend, history, call)
        with self._patience(call.operation, _weight(call)) as limit:
            if spelt.awaited:
                return self._on_loop(_awaited(history, spelt), limit)
            return self._on_thread(lambda: _plain(history, spelt), limit)

    def run(self, function: Callable[[], Any], how: How = "sync") -> Any:
        """Run a function where the calls of `how` are carried out."""
        if how == "sync":
            return self._on_thread(function)

        async def on_loop() -> Any:
            result = function()
            return await result if asyncio.iscoroutine(result) else result

        return self._on_loop(on_loop())

    @contextlib.contextmanager
    def another_loop(self) -> Iterator[None]:
        """Use another event loop for a while; it ends, and the usual one is back, afterwards."""
        usual, self._loop = self._loop, None
        try:
            yield
        finally:
            if self._loop is not None:
                self._loop.stop()
            self._loop = usual

    def together(self, lanes: Sequence[Sequence[Call]]) -> list[list[Done]]:
        """Carry out several lists of calls at once: a thread each, or a task each.

        Returns:
            For each lane what its calls gave, errors included; a lane ends at its first error.
        """
        with self._patience("several at once", _weight_together(lanes)) as limit:
            return self._together(lanes, limit)

    def _together(self, lanes: Sequence[Sequence[Call]], limit: float) -> list[list[Done]]:
        if all(call.how == "async" for lane in lanes for call in lane):

            async def on_loop() -> list[list[Done]]:
                return await asyncio.gather(*(self._lane_task(lane) for lane in lanes))

            done: list[list[Done]] = self._on_loop(on_loop(), limit)
            return done
        barrier = threading.Barrier(len(lanes))
        threads = [SyncThread(f"history-lane-{index}") for index in range(len(lanes))]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)  # else a short lane ends before the next one has begun
        try:
            pending = [
                thread.submit(lambda lane=lane: self._lane(lane, barrier))  # type: ignore[misc]
                for thread, lane in zip(threads, lanes, strict=True)
            ]
            return [item.result_within(limit) for item in pending]
        finally:
            sys.setswitchinterval(interval)
            for thread in threads:
                thread.stop()

    def release(self, key: str, how: How) -> None:
        """Close the history the way its factory's shape asks for; `close` where it has one."""
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
        """Drop what is still open without closing it."""
        self._opened.clear()

    def stop(self) -> None:
        """End the thread and the loop."""
        self.forget()
        if self._thread is not None:
            self._thread.stop()
        if self._loop is not None:
            self._loop.stop()
        self._thread = self._loop = None

    @contextlib.contextmanager
    def _patience(self, operation: str, weight: float = 1.0) -> Iterator[float]:
        """Seconds for an operation: fewer where it has done nothing but hang in its last calls.

        Otherwise a run with a history that always hangs would take hours to say so.
        """
        limit = self.limit * weight
        try:
            yield limit / 5 if self._hangs[operation] >= _HANGS_UNTIL_KNOWN else limit
        except Hung:
            self._hangs[operation] += 1
            raise
        except Exception:
            del self._hangs[operation]  # it has come back
            raise
        del self._hangs[operation]

    def _on_thread(self, function: Callable[[], Any], limit: float | None = None) -> Any:
        try:
            return self.thread.run(function, limit or self.limit)
        except Hung:
            self.thread.stop()
            self._thread = None  # it is stuck in that call; the next one needs another
            raise

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any], limit: float | None = None) -> Any:
        try:
            return self.loop.run(coroutine, limit or self.limit)
        except Hung:
            if self.loop.blocked:
                self.loop.abandon()
                self._loop = None
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
            except Exception as error:
                done.append(Done(call, started, time.monotonic(), error=error))
                return done
            done.append(Done(call, started, time.monotonic(), value))
        return done

    async def _lane_task(self, lane: Sequence[Call]) -> list[Done]:
        done: list[Done] = []
        for call in lane:
            started = time.monotonic()
            try:
                value = await self._perform_async(call)
            except Exception as error:
                done.append(Done(call, started, time.monotonic(), error=error))
                return done
            done.append(Done(call, started, time.monotonic(), value))
        return done

    def _perform(self, call: Call) -> Any:
        """One item of a lane, in the lane's own thread."""
        if call.operation == "wait":
            return time.sleep(*call.args)
        if call.operation == "open":
            try:
                self._opened[call.key] = enter(self._factory(*call.args)())
            except NeedsLoop as needs:
                self._opened[call.key] = self._on_loop(aenter(needs.value))
            return None
        history = self.history(call.key)
        return _plain(history, invocation(self.backend, history, call))

    async def _perform_async(self, call: Call) -> Any:
        """One item of a lane, in the lane's own task."""
        if call.operation == "wait":
            return await asyncio.sleep(*call.args)
        if call.operation == "open":
            self._opened[call.key] = await aenter(self._factory(*call.args)())
            return None
        history = self.history(call.key)
        spelt = invocation(self.backend, history, call)
        return await _awaited(history, spelt) if spelt.awaited else _plain(history, spelt)


class SecondProcess:
    """A second process with a `Local` of its own, started anew: nothing is forked or pickled
    but messages and plain values. It imports the declaring file again and opens by name."""

    def __init__(self, backend: Backend, limit: float) -> None:
        if backend.importable is None:
            raise SecondProcessLost(
                f"backend {backend.name!r} is a function inside a function, which a second process "
                "cannot import; move it to module level"
            )
        self.backend = backend
        self.limit = limit
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chat_history_conformance.drivers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._answers: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._asked = self._answered = 0
        threading.Thread(target=self._listen, name="history-peer", daemon=True).start()
        try:
            self.request("start", backend.name, backend.importable, sys.path, limit)
        except RemoteError as error:
            self.stop()
            raise SecondProcessLost(
                f"the second process cannot import the backend: {error.type_name}: {error}"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether the process still answers."""
        return self._process.poll() is None

    def request(self, what: str, *args: Any, weight: float = 1.0) -> Any:
        """Send a request and wait for its answer; `weight` is how many times the limit it has."""
        self._send(what, *args)
        return self._receive(weight)

    def begin(self, lanes: Sequence[Sequence[Call]]) -> Callable[[], list[list[Done]]]:
        """As `Local.together`, without waiting: that does what is returned."""
        self._send("together", lanes)
        return lambda: self._receive(_weight_together(lanes))

    def _send(self, what: str, *args: Any) -> None:
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, (what, args))
        except OSError as error:
            raise SecondProcessLost(f"the second process ended ({error})") from error
        self._asked += 1

    def _receive(self, weight: float) -> Any:
        """The answer to the newest request; to those that were given up, nobody listens."""
        limit = self.limit * weight
        until = time.monotonic() + limit + 20.0
        verdict: str = ""
        value: Any = None
        while self._answered < self._asked:
            try:
                answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise Hung(f"no answer from the second process within {limit:g} s") from None
            if answer is None:
                raise SecondProcessLost(
                    f"the second process ended with status {self._process.wait()}"
                )
            self._answered += 1
            verdict, value = answer
        if verdict == "error":
            raise value
        return value

    def open(self, key: str, session_id: str, how: How, ttl: tuple[int | None] | None) -> None:
        """As `Local.open`."""
        self.request("open", key, session_id, how, ttl)

    def call(self, call: Call) -> Any:
        """As `Local.call`."""
        return self.request("call", call, weight=_weight(call))

    def release(self, key: str, how: How) -> None:
        """As `Local.release`."""
        self.request("release", key, how)

    def die(self) -> None:
        """End the process at once, without any clean-up in it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # what was not sent any more cannot be flushed
            self._process.stdin.close()

    def stop(self) -> None:
        """End the process in order; kill it if it does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.die()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(OSError, EOFError, ValueError):
                while True:
                    self._answers.put(read_frame(self._process.stdout))
        finally:  # whatever ends this thread, nobody may wait for it
            self._answers.put(None)
            self._process.stdout.close()


def _weight(call: Call) -> float:
    """How many times the limit a call may take: a batch of 1,000 is no hang where one is slow."""
    batch = call.args[0] if call.operation == "add_messages" and call.args else ()
    return max(1.0, len(batch) / 50) if hasattr(batch, "__len__") else 1.0


def _weight_together(lanes: Sequence[Sequence[Call]]) -> float:
    """The same for calls at once: where there is one lock for all, they wait for one another."""
    return max(1.0, sum(_weight(call) for lane in lanes for call in lane) / 10)


def _let_the_process_end() -> None:
    """Have nobody wait, when the process ends, for a pool's thread that never will.

    Pools that are made or used on our threads, which are daemons, have daemons for threads. All
    the same `concurrent.futures` joins them at exit, and offers nothing to keep it from that.
    """
    joined: Any = pools._threads_queues
    for thread in [one for one in joined if one.daemon]:
        joined.pop(thread, None)


def write_frame(stream: Any, value: Any) -> None:
    """Write a length-prefixed pickle; both processes run the same code and trust each other."""
    data = pickle.dumps(value)
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def read_frame(stream: Any) -> Any:
    """Read what `write_frame` wrote.

    Raises:
        EOFError: The other side is gone.
    """
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError
    data = stream.read(struct.unpack(">Q", header)[0])
    return pickle.loads(data)


def _plain(history: Any, spelt: Invocation) -> Any:
    if spelt.name in ("str", "repr"):
        return (str if spelt.name == "str" else repr)(history)
    target = getattr(history, spelt.name)
    return target if spelt.attribute else target(*spelt.args, **spelt.kwargs)


async def _awaited(history: Any, spelt: Invocation) -> Any:
    return await getattr(history, spelt.name)(*spelt.args, **spelt.kwargs)


async def _await(function: Callable[[], Any]) -> Any:
    result = function()
    return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result
