"""Functions that take messages from iterators: the run calls them, and scripts contain them.

Each uses nothing but the standard library, langchain-core and its neighbours here.
"""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from langchain_core.messages import BaseMessage

__all__ = ["live_messages", "most_alive", "taken"]


async def taken(
    iterator: AsyncIterator[Any], count: int, came: list[Any] | None = None
) -> list[Any]:
    """Append the next messages to a list, as many as there are, and return it."""
    came = [] if came is None else came
    while len(came) < count:
        try:
            came.append(await anext(iterator))
        except StopAsyncIteration:
            break
    return came


def live_messages() -> int:
    """Return how many messages this process has in memory, without those that are frozen."""
    kinds = Counter(map(type, gc.get_objects()))
    return sum(number for kind, number in kinds.items() if BaseMessage in kind.__mro__)


def most_alive(take: Callable[[int], list[Any]], step: int, count: int) -> int:
    """Take messages, some at a time. Return how many more than before were alive at most."""
    gc.freeze()  # leaves out all objects of before, because looking at them takes long
    try:
        before, most = live_messages(), 0
        for _ in range(0, count, step):
            if len(take(step)) < step:
                break
            most = max(most, live_messages() - before)
        return most
    finally:
        gc.unfreeze()
