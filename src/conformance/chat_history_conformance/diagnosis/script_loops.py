"""Functions about event loops that a script uses: scripts contain the source of those they need.

Each uses nothing but the standard library and its neighbours here.
"""

import asyncio
import functools
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

__all__ = [
    "all_at_once",
    "blocked_seconds",
    "cancelled_at",
    "enter_new_loop",
    "event_loop",
    "in_steps",
    "leave_loop",
    "under_a_loop",
    "wait",
]

loops: list[asyncio.AbstractEventLoop] = []


def wait(awaitable: Awaitable[Any]) -> Any:
    """Return the result of an awaitable, run on the event loop of this script."""
    loop = event_loop()
    if loop.is_running():  # in another thread, with calls that are repeated

        async def result() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(result(), loop).result()
    return loop.run_until_complete(awaitable)


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this script."""
    if not loops:
        enter_new_loop()
    return loops[-1]


def enter_new_loop() -> None:
    """Run what follows on another event loop."""
    loops.append(asyncio.new_event_loop())


def leave_loop() -> None:
    """End the event loop, and run what follows on the one before."""
    loops.pop().close()


async def all_at_once(*lanes: Coroutine[Any, Any, None]) -> None:
    """Run several coroutines at once."""
    await asyncio.gather(*lanes)


@types.coroutine
def in_steps(
    coroutine: Coroutine[Any, Any, Any], run: Callable[[Callable[[], Any]], Any]
) -> Generator[Any, Any, Any]:
    """Await a coroutine, and let a function run each of its steps: to the next wait, or the end."""
    step: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            awaited = run(step)
        except StopIteration as end:
            return end.value
        try:
            value = yield awaited
        except BaseException as error:
            step = functools.partial(coroutine.throw, error)
        else:
            step = functools.partial(coroutine.send, value)


async def cancelled_at(
    number: int, turns: int, call: Callable[[], Coroutine[Any, Any, Any]]
) -> BaseException | None:
    """Make a call as a task and cancel it when it waits, some turns of the event loop later.

    `number` says which of its waits that is: 1 is the first one. Return the error of the task, or
    None if it was cancelled or had returned.
    """
    waits = 0

    def cancel(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(cancel, left - 1)
        else:
            task.cancel()

    def run(step: Callable[[], Any]) -> Any:
        nonlocal waits
        awaited = step()
        waits += 1
        if waits == number:
            cancel(turns)
        return awaited

    async def work() -> None:
        await in_steps(call(), run)

    task = asyncio.ensure_future(work())
    await asyncio.wait([task])
    return None if task.cancelled() else task.exception()


async def under_a_loop(call: Callable[[], Any]) -> Any:
    """Make a synchronous call in a thread whose event loop is running."""
    return call()


async def blocked_seconds(call: Callable[[], Awaitable[Any]]) -> float:
    """Return the longest time in seconds in which a call, and no other task, kept the event loop.

    That is in one step of its tasks, without another task in between, and not to compute.
    """
    loop, ended = asyncio.get_running_loop(), False
    longest_gap = longest_step = 0.0

    async def heartbeat() -> None:
        nonlocal longest_gap
        while not ended:
            started = time.monotonic()
            await asyncio.sleep(0.001)
            longest_gap = max(longest_gap, time.monotonic() - started)

    def run(step: Callable[[], Any]) -> Any:
        nonlocal longest_step
        wall, work = time.monotonic(), time.thread_time()
        try:
            return step()
        finally:
            wall, work = time.monotonic() - wall, time.thread_time() - work
            if work < wall / 10:  # a loop that computes is busy and not blocked
                longest_step = max(longest_step, wall)

    async def work(coroutine: Any) -> Any:
        return await in_steps(coroutine, run)

    def task_of(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(work(coroutine), loop=loop, **named)

    async def awaited() -> None:
        await call()

    beating = asyncio.ensure_future(heartbeat())
    await asyncio.sleep(0.005)
    longest_gap, before = 0.0, loop.get_task_factory()
    loop.set_task_factory(task_of)  # so that tasks of the call are measured, too
    try:
        await asyncio.ensure_future(awaited())
    finally:
        loop.set_task_factory(before)
        ended = True
        await beating
    return min(longest_gap, longest_step)
