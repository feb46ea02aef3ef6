"""Iterations that a history has begun, in the form of objects whose methods drivers can call."""

from __future__ import annotations

from itertools import islice
from typing import Any

__all__ = ["AsyncIteration", "SyncIteration", "iteration_of"]

_END = object()


class SyncIteration:
    """An iteration with `next`.

    Args:
        iterator: The value of `iter_messages`: an iterator, or anything else to iterate over.
    """

    def __init__(self, iterator: Any) -> None:
        self._iterator = iter(iterator)

    def take(self, count: int, came: list[Any]) -> list[Any]:
        """Append the next messages to a list, as many as there are, and return it."""
        came.extend(islice(self._iterator, count))  # keeps what came before an error
        return came

    def close(self) -> None:
        """Call `close` of the iterator if it has one, and drop it."""
        close = getattr(self._iterator, "close", None)
        self.drop()
        if close is not None:
            close()

    def drop(self) -> None:
        """Drop the iterator, as a `for` loop does that is left early."""
        self._iterator = iter(())


class AsyncIteration:
    """An iteration with `anext`.

    Args:
        iterator: The value of `aiter_messages`: an asynchronous iterator or iterable.
    """

    def __init__(self, iterator: Any) -> None:
        self._iterator: Any = aiter(iterator)

    async def atake(self, count: int, came: list[Any]) -> list[Any]:
        """Append the next messages to a list, as many as there are, and return it."""
        while len(came) < count:
            message = await anext(self._iterator, _END)
            if message is _END:
                break
            came.append(message)
        return came

    async def aclose(self) -> None:
        """Await `aclose` of the iterator if it has one, and drop it."""
        aclose = getattr(self._iterator, "aclose", None)
        await self.adrop()
        if aclose is not None:
            await aclose()

    async def adrop(self) -> None:
        """Drop the iterator, as an `async for` loop does that is left early."""
        self._iterator = None


def iteration_of(begun: Any, *, awaited: bool) -> SyncIteration | AsyncIteration:
    """Return the iteration that a call has begun.

    Args:
        begun: The value of the call.
        awaited: Whether its messages are awaited.

    Raises:
        TypeError: The value cannot be iterated over in this way.
    """
    return AsyncIteration(begun) if awaited else SyncIteration(begun)
