"""The peak memory of a read, measured in an execution that is not timed.

Python's `tracemalloc` counts the bytes that Python objects hold. The resident memory of the process
would also include a client written in C, but it never falls after a larger operation, and it
differs between runs. This number is nearly the same in each run of synchronous calls.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from chat_history_conformance.bench.measure.contenders import Contender
from chat_history_conformance.bench.measure.operations import Operation

__all__ = ["peak_bytes"]


def peak_bytes(operation: Operation, contender: Contender, length: int) -> int:
    """Return the most bytes that a read held at once, with the messages that it returned.

    Args:
        operation: The operation, which only reads.
        contender: The contender.
        length: The length of the conversation.

    Raises:
        WrongResult: The read is wrong.
    """
    with operation.prepared(contender, length) as trial:
        trial.time()  # the first call imports modules and fills caches
        trial.make_ready()
        peak, result = _traced(trial.act)
        trial.finish(result)
    return peak


def _traced(act: Callable[[], Any]) -> tuple[int, Any]:
    """Run a function and return its peak and its result."""
    gc.collect()
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = act()
        return max(0, tracemalloc.get_traced_memory()[1] - before), result
    finally:
        if not was_tracing:
            tracemalloc.stop()
