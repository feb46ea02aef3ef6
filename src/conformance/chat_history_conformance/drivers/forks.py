"""Lanes that run in forks of one process, as in the workers of a server that forks."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.drivers.calls import Call, Done, weight_together
from chat_history_conformance.drivers.local import FIRST_OPENING, Local
from chat_history_conformance.drivers.second_process import SecondProcess, how_ended

__all__ = ["WHY_NO_FORKS", "in_forks", "run_in_forks"]

WHY_NO_FORKS = "" if hasattr(os, "fork") and sys.platform != "darwin" else "this system cannot fork"
"""Why lanes cannot run in forks; empty if they can. On macOS, a fork may crash in its libraries."""


def run_in_forks(
    backend: Backend, limit: float, lanes: Sequence[Sequence[Call]]
) -> list[list[Done]]:
    """Run lanes one after another, each in a fork of a new process that has imported the backend.

    Args:
        backend: The backend.
        limit: The time limit of one call, in seconds.
        lanes: The calls. Those of one lane run one after another.

    Returns:
        The results of each lane. A lane ends at its first error.

    Raises:
        Hung: A lane did not end in time.
        RemoteError: A fork ended without an answer.
    """
    process = SecondProcess(backend, limit)
    try:
        weight = len(lanes) * FIRST_OPENING + sum(weight_together([lane]) for lane in lanes)
        done: list[list[Done]] = process.request("in_forks", lanes, weight=weight)
        return done
    finally:
        process.stop()


def in_forks(
    backend: Backend,
    limit: float,
    lanes: Sequence[Sequence[Call]],
    portable: Callable[[BaseException, Local], BaseException],
) -> list[list[Done]]:
    """Run lanes one after another, each in a fork of this process.

    Args:
        backend: The backend.
        limit: The time limit of one call, in seconds.
        lanes: The calls.
        portable: Returns an exception that can be pickled.

    Raises:
        ChildProcessError: A fork ended without an answer.
    """
    return [_in_fork(backend, limit, lane, portable) for lane in lanes]


def _in_fork(
    backend: Backend,
    limit: float,
    lane: Sequence[Call],
    portable: Callable[[BaseException, Local], BaseException],
) -> list[Done]:
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of the threads that a backend has started
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.close(reading)
            answer = _answer(Local(backend, limit), lane, portable)
            with os.fdopen(writing, "wb") as stream:
                pickle.dump(answer, stream)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if not data:
        raise ChildProcessError(f"a fork {how_ended(os.waitstatus_to_exitcode(status))}")
    verdict, value = pickle.loads(data)
    if verdict == "error":
        raise value
    done: list[Done] = value
    return done


def _answer(
    local: Local,
    lane: Sequence[Call],
    portable: Callable[[BaseException, Local], BaseException],
) -> tuple[str, Any]:
    """Return the results of a lane in a fork, or the exception of the suite."""
    try:
        [done] = local.together([lane])
        for one in done:
            one.error = portable(one.error, local) if one.error else None
    except Exception as error:
        return "error", portable(error, local)
    for call in lane:
        if call.operation == "open":
            with contextlib.suppress(Exception):  # other contracts judge closing
                local.release(call.key, call.how)
    return "ok", done
