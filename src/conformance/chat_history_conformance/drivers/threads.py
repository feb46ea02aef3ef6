"""Daemon threads that run functions or an event loop, with a time limit for each call."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import thread as pools
from typing import Any

from chat_history_conformance.drivers.errors import EscapedError, Hung

__all__ = ["LoopThread", "Pending", "SyncThread", "contain"]


class Pending:
    """The result of a call that may still be running."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def result_within(self, limit: float) -> Any:
        """Wait for the call and return what it returns, or raise what it raises.

        Args:
            limit: The longest time to wait, in seconds.

        Raises:
            Hung: The call did not end in time. It is cancelled if that is possible.
        """
        try:
            return self._future.result(limit)
        except TimeoutError:
            if self._future.done():
                raise
            self._future.cancel()
            _forget_pool_threads()
            raise Hung(f"no answer within {limit:g} s") from None


class SyncThread:
    """A daemon thread that runs one function after another.

    Args:
        name: The name of the thread.
    """

    def __init__(self, name: str = "history-sync") -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, function: Callable[[], Any], limit: float) -> Any:
        """Run `function` on the thread and return its result.

        Raises:
            Hung: It did not end within `limit` seconds. The thread cannot be used any more.
        """
        return self.submit(function).result_within(limit)

    def submit(self, function: Callable[[], Any]) -> Pending:
        """Start `function` after the functions that were submitted before it."""
        future: Future[Any] = Future()
        self._tasks.put((function, future))
        return Pending(future)

    def stop(self) -> None:
        """End the thread after the functions that were submitted."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except Exception as error:  # the waiting thread raises it
                future.set_exception(error)
            except BaseException as error:
                future.set_exception(EscapedError(error))
            del task, function, future  # an idle thread must not keep a history alive


class LoopThread:
    """A daemon thread that runs an event loop, for asynchronous calls."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="history-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], limit: float) -> Any:
        """Await `coroutine` on the loop and return its result.

        Raises:
            Hung: It did not end within `limit` seconds. It is cancelled.
        """
        contained = contain(coroutine)
        return Pending(asyncio.run_coroutine_threadsafe(contained, self.loop)).result_within(limit)

    def stop(self) -> None:
        """Cancel all tasks, shut down async generators and the executor, and close the loop."""
        self.abandon()
        self._thread.join(5.0)

    def abandon(self) -> None:
        """Ask the loop to stop, without waiting for a call that blocks it."""
        self.loop.call_soon_threadsafe(self.loop.stop)

    def renew_pool(self, threads: int | None = None) -> None:
        """Give `asyncio.to_thread` a new pool, because a hung call keeps a thread of the old.

        Args:
            threads: The number of its threads, by default that of asyncio.
        """
        self.loop.call_soon_threadsafe(
            lambda: self.loop.set_default_executor(pools.ThreadPoolExecutor(threads))
        )

    @property
    def blocked(self) -> bool:
        """True if a call blocks the loop, so that no other task can run."""
        try:
            self.run(asyncio.sleep(0), 1.0)
        except Hung:
            return True
        return False

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.set_exception_handler(lambda loop, context: None)  # no caller waits any more
            self.loop.run_until_complete(_drain())
        finally:
            self.loop.close()


async def contain(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await a call of a history so that no exception of it ends the event loop.

    Raises:
        CancelledError: The task of the call was cancelled, and not by the history.
        EscapedError: The history raised an exception that is not an `Exception`.
    """
    try:
        return await coroutine
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EscapedError(error) from error
    except Exception:
        raise
    except BaseException as error:
        raise EscapedError(error) from error


async def _drain() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _forget_pool_threads() -> None:
    """Keep the exit of this process from waiting for pool threads that never end.

    A thread pool that is used on our daemon threads has daemon threads too. `concurrent.futures`
    joins them at exit all the same, and has no public way to prevent that.
    """
    joined: Any = pools._threads_queues
    for thread in [one for one in joined if one.daemon]:
        joined.pop(thread, None)
