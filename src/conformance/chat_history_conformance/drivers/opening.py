"""Opening and closing the histories of factories of every supported shape.

A factory is a class, a function, a generator function, a context manager, or an asynchronous form
of these. Nothing here starts a thread: the caller decides on which thread or loop it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["NeedsLoop", "NotAHistory", "Opened", "aenter", "enter", "is_history"]


class NotAHistory(TypeError):
    """A factory returned an object without the methods of a chat history."""


class NeedsLoop(Exception):
    """The result of a factory must be entered on an event loop.

    Args:
        value: The result of the factory, not yet entered.
    """

    def __init__(self, value: Any) -> None:
        super().__init__("this has to be entered on an event loop")
        self.value = value


@dataclass
class Opened:
    """An open history, and the function that closes it.

    Attributes:
        history: The history.
        exit: Closes it; to be called on the thread that opened it. None if nothing needs closing.
        aexit: Closes it; to be awaited on the loop that opened it. None if nothing needs closing.
    """

    history: Any
    exit: Callable[[], Any] | None = None
    aexit: Callable[[], Awaitable[Any]] | None = None


def is_history(value: object) -> bool:
    """Return whether `value` has a method that adds messages."""
    return any(hasattr(value, name) for name in ("add_messages", "aadd_messages", "add_message"))


def enter(value: Any) -> Opened:
    """Enter the result of a synchronous factory.

    Raises:
        NeedsLoop: It is awaitable or an asynchronous context manager.
        NotAHistory: It does not lead to a chat history.
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
    """Enter the result of any factory on the running event loop.

    Raises:
        NotAHistory: It does not lead to a chat history.
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
        raise NotAHistory("a generator that yielded nothing is not a chat history")
    if not is_history(value):
        raise NotAHistory(
            f"{type(value).__name__} is not a chat history: it has no add_messages, "
            "aadd_messages or add_message"
        )
    return value
