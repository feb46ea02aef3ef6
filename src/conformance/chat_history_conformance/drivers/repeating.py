"""Calls that are made again and again while something else happens, for the run and for scripts."""

import asyncio
import functools
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import HumanMessage

__all__ = ["Lane", "Repeating", "Seen", "adds", "calls"]

PAUSE_AFTER_ERROR: float = 0.02  # seconds, so that a dead server does not keep the processor busy


class Seen(NamedTuple):
    """One of several repeated calls; times are seconds of the monotonic clock."""

    began: float
    ended: float
    texts: tuple[str, ...]  # the contents that it added, or that it returned
    error: BaseException | None


class Lane(NamedTuple):
    """A call that is repeated."""

    prepare: Callable[[int], tuple[Sequence[str] | None, Callable[[], Any]]]
    pause: float  # seconds between a call that returned and the next call


def adds(stem: str, size: int, pause: float, add: Callable[[list[Any]], Any]) -> Lane:
    """Return a lane that adds numbered batches, each time with other contents."""

    def prepare(number: int) -> tuple[list[str], Callable[[], Any]]:
        places = [f"{number}.{place}" for place in range(size)] if size > 1 else [f"{number}"]
        texts = [stem + place for place in places]
        return texts, lambda: add([HumanMessage(text) for text in texts])

    return Lane(prepare, pause)


def calls(pause: float, call: Callable[[], Any]) -> Lane:
    """Return a lane that reads, or makes any other call without new messages."""
    return Lane(lambda number: (None, call), pause)


class Repeating:
    """Lanes that run at the same time, until they are ended.

    Args:
        lanes: Each runs in its own thread.
        awaited: Each runs as a task of one event loop.
        loop: That loop. If it does not run, a thread runs it until the lanes end.
    """

    def __init__(self, lanes: Iterable[Lane], awaited: Iterable[Lane] = (), loop: Any = None):
        plain, tasks = list(lanes), list(awaited)
        self.seen: list[list[Seen]] = [[] for _ in (*plain, *tasks)]
        self._began: list[float | None] = [None] * len(self.seen)
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._ended = threading.Event()
        self._waiting: list[Callable[[float], Any]] = []
        self._loop = loop if tasks and not loop.is_running() else None
        if self._loop is not None:
            self._runner = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._runner.start()
        for number, lane in enumerate(plain):
            name = f"history-repeats-{number}"
            thread = threading.Thread(target=self._run, args=(number, lane), name=name, daemon=True)
            thread.start()
            self._waiting.append(thread.join)
        for number, lane in enumerate(tasks, len(plain)):
            future = asyncio.run_coroutine_threadsafe(self._arun(number, lane), loop)
            self._waiting.append(functools.partial(wait_for, future))

    def end(self, seconds: float) -> list[list[Seen]]:
        """End all lanes, wait for their last calls, and return their results.

        A call that does not end within these seconds is recorded with a TimeoutError.
        """
        self._ended.set()
        deadline = time.monotonic() + seconds
        for wait in self._waiting:
            wait(max(0.0, deadline - time.monotonic()))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._runner.join(5.0)
        now = time.monotonic()
        for number, began in enumerate(self._began):
            if began is not None:
                self.seen[number].append(Seen(began, now, (), TimeoutError("did not return")))
        return self.seen

    def _run(self, number: int, lane: Lane) -> None:
        turn = 0
        while not self._ended.is_set():
            texts, call = lane.prepare(turn)
            began = self._began[number] = time.monotonic()
            try:
                value = call()
            except Exception as error:
                self._keep(number, began, texts or (), error)
                self._ended.wait(PAUSE_AFTER_ERROR)
            else:
                self._keep(number, began, contents_of(value) if texts is None else texts, None)
                self._ended.wait(lane.pause)
            turn += 1

    async def _arun(self, number: int, lane: Lane) -> None:
        turn = 0
        while not self._ended.is_set():
            texts, call = lane.prepare(turn)
            began = self._began[number] = time.monotonic()
            try:
                value = await call()
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and self._ended.is_set():
                    raise  # this lane is cancelled, and not the call
                self._keep(number, began, texts or (), error)
                await asyncio.sleep(PAUSE_AFTER_ERROR)
            else:
                self._keep(number, began, contents_of(value) if texts is None else texts, None)
                await asyncio.sleep(lane.pause)
            turn += 1

    def _keep(
        self, number: int, began: float, texts: Sequence[str], error: BaseException | None
    ) -> None:
        self._began[number] = None
        if error is not None:
            forget_values(error)
        key = tuple(texts)
        key = self._known.setdefault(key, key)  # many reads return the same, kept once
        self.seen[number].append(Seen(began, time.monotonic(), key, error))


def forget_values(error: BaseException) -> None:
    """Drop the values of the calls that led to an exception, such as clients with threads.

    Thousands of exceptions are kept until the lanes end. Their lines stay known.
    """
    shown: BaseException | None = error
    seen = set[int]()
    while shown is not None and id(shown) not in seen:
        seen.add(id(shown))
        traceback.clear_frames(shown.__traceback__)
        shown = shown.__cause__ or shown.__context__


def wait_for(future: Any, seconds: float) -> None:
    """Wait for a task of an event loop in another thread, and cancel it if it does not end."""
    try:
        future.result(seconds)
    except TimeoutError:
        future.cancel()


def contents_of(value: Any) -> list[str]:
    """Return the contents of the messages that a call returned, as text."""
    items = value if isinstance(value, (list, tuple)) else []
    return [str(getattr(item, "content", item)) for item in items]
