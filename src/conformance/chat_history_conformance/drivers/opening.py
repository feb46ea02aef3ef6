"""Opening what a factory gives, whatever its shape, and closing it the way that shape asks for.

A class, a function, a generator function that yields the history and then cleans up, a context
manager, and the async forms of these. Knows no threads: the caller decides where this runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


class NotAHistory(TypeError):
    """A factory gave something that has none of a chat history's methods."""


class NeedsLoop(Exception):
    """What a factory gave has to be entered on an event loop; `value` is what it gave."""

    def __init__(self, value: Any) -> None:
        super().__init__("this has to be entered on an event loop")
        self.value = value


@dataclass
class Opened:
    """An open history and what to call, on the thread it was opened on, to be rid of it."""

    history: Any
    exit: Callable[[], Any] | None = None
    aexit: Callable[[], Awaitable[Any]] | None = None


def is_history(value: object) -> bool:
    """Whether `value` can be judged at all: it has a way to add and a way to clear."""
    return any(hasattr(value, name) for name in ("add_messages", "aadd_messages", "add_message"))


def enter(value: Any) -> Opened:
    """What a synchronous factory gave, entered.

    Raises:
        NeedsLoop: It is awaitable or an async context manager.
        NotAHistory: It leads to no chat history.
    """
    if is_history(value):
        return Opened(value)
    if inspect.isgenerator(value):
        return Opened(_need_history(next(value, _NOTHING)), exit=lambda: next(value, None))
    if hasattr(value, "__enter__"):
        return Opened(
            _need_history(value.__enter__()), exit=lambda: value.__exit__(None, None, None)
        )
    if inspect.isawaitable(value) or inspect.isasyncgen(value) or hasattr(value, "__aenter__"):
        raise NeedsLoop(value)
    return Opened(_need_history(value))


async def aenter(value: Any) -> Opened:
    """What a factory gave, entered on the running event loop.

    Raises:
        NotAHistory: It leads to no chat history.
    """
    if inspect.isawaitable(value):
        value = await value
    if is_history(value):
        return Opened(value)
    if inspect.isasyncgen(value):
        return Opened(_need_history(await anext(value, _NOTHING)), aexit=lambda: anext(value, None))
    if hasattr(value, "__aenter__"):
        return Opened(
            _need_history(await value.__aenter__()),
            aexit=lambda: value.__aexit__(None, None, None),
        )
    return enter(value)


_NOTHING = object()


def _need_history(value: Any) -> Any:
    if value is _NOTHING:
        raise NotAHistory("a generator that yielded nothing is no chat history")
    if not is_history(value):
        raise NotAHistory(
            f"{type(value).__name__} is no chat history: it has none of add_messages, "
            "aadd_messages and add_message"
        )
    return value
