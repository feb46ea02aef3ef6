"""Tasks that each run in a separate process, so that none sees objects that another has left."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Any

__all__ = ["spread"]


def spread(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    report: Callable[[str], None],
    jobs: int | None = None,
) -> Iterator[tuple[str, Any]]:
    """Call a function once in each of several processes, and yield the results as they come.

    If the caller is interrupted, the processes are ended.

    Args:
        work: The function.
        tasks: Its arguments. The first one names the task.
        report: Called with a line of text for each finished task.
        jobs: The number of processes at the same time. Defaults to the number of processors.
    """
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    jobs = jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:

        def submit() -> dict[Future[Any], str]:
            return {pool.submit(work, *task): task[0] for task in tasks}

        try:
            # An interruption reaches the main thread only, so no process stays half started.
            with ThreadPoolExecutor(1) as starter:
                running = starter.submit(submit).result()
            for number, future in enumerate(as_completed(running), 1):
                name = running[future]
                elapsed = time.monotonic() - started
                left = elapsed / number * (len(tasks) - number)
                report(f"{number:>4} of {len(tasks)}  {name}  ({left:.0f} s left)")
                yield name, future.result()
        except BaseException:
            # Otherwise the pool would carry out all tasks before it lets the exception through.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
