"""Longer operations of broken histories, to measure the power of contracts on slow histories.

The time comes from an environment variable, so that second processes have it too.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["VARIABLE", "delay_seconds", "lasting", "slowed"]

F = TypeVar("F", bound=Callable[..., Any])

VARIABLE = "HISTORY_FAULTY_DELAY_MS"
"""The environment variable with the milliseconds by which each operation takes longer."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)
"""True inside an operation. The operations that it calls take no longer."""


def delay_seconds() -> float:
    """Return the seconds by which each operation takes longer, from the environment."""
    return float(os.environ.get(VARIABLE) or 0) / 1000


def lasting(seconds: float) -> float:
    """Return how long something in the background of a broken history lasts, in seconds.

    It is something that its store does after a call or next to it, and a slow store is slow there,
    too.
    """
    return seconds + delay_seconds()


def slowed(factory: F) -> F:
    """Return the class or function that opens a history, with slower operations.

    It is returned as it is if `VARIABLE` is not set.
    """
    if not delay_seconds():
        return factory
    if inspect.isclass(factory):
        _slow_down(factory)
        return factory

    @functools.wraps(factory)
    def opened(*arguments: Any, **named: Any) -> Any:
        history = factory(*arguments, **named)
        _slow_down(type(history))
        return history

    return opened  # type: ignore[return-value]


def _slow_down(history: type) -> None:
    if "_is_slow" in vars(history):
        return
    for name in dir(history):
        member = inspect.getattr_static(history, name)
        if name.startswith("_"):
            continue
        if isinstance(member, property) and member.fget is not None:
            setattr(history, name, member.getter(_delayed(member.fget)))
        elif inspect.iscoroutinefunction(member):
            setattr(history, name, _delayed_coroutine(member))
        elif inspect.isfunction(member):
            setattr(history, name, _delayed(member))
    history._is_slow = True  # type: ignore[attr-defined]


@contextmanager
def _operation() -> Iterator[float]:
    """Give the seconds by which the operation inside takes longer."""
    seconds = 0.0 if _inside.get() else delay_seconds()
    token = _inside.set(True)
    try:
        yield seconds
    finally:
        _inside.reset(token)


def _delayed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def slow(*arguments: Any, **named: Any) -> Any:
        with _operation() as seconds:
            if seconds:
                time.sleep(seconds)
            return function(*arguments, **named)

    return slow


def _delayed_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def slow(*arguments: Any, **named: Any) -> Any:
        with _operation() as seconds:
            if seconds:
                await asyncio.sleep(seconds)
            return await function(*arguments, **named)

    return slow
