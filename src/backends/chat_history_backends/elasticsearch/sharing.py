"""Clients that histories share if they have the same settings, as those of Kafka do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic
from weakref import WeakSet, WeakValueDictionary

from .clients import C

__all__ = ["Shared", "leave", "share"]


class Shared(Generic[C]):
    """A client, and the histories that use it. It is dropped with the last of them.

    Args:
        client: The client.

    Attributes:
        key: The key under which histories share it; None if they do not.
        handles: The histories that use it and are not closed.
    """

    def __init__(self, client: C) -> None:
        self.client: C = client
        self.key: Hashable = None
        self.handles: WeakSet[Any] = WeakSet()


_SHARED: WeakValueDictionary[Hashable, Shared[Any]] = WeakValueDictionary()
_guard = threading.Lock()


def share(
    handle: Any, key: Hashable, make: Callable[[], C], free: Shared[C] | None = None
) -> Shared[C]:
    """Return the client with this key for a history.

    Args:
        handle: The history.
        key: Equal for clients with the same owner and settings.
        make: Makes the client if there is none.
        free: A client that no history uses, to use instead of a new one.
    """
    with _guard:
        shared = _SHARED.get(key)
        if shared is None:
            shared = _SHARED[key] = free or Shared(make())
            shared.key = key
        shared.handles.add(handle)
        return shared


def leave(handle: Any, shared: Shared[Any]) -> bool:
    """Take a history away from its client, and return whether no other history uses the client."""
    with _guard:
        shared.handles.discard(handle)
        if shared.handles:
            return False
        if _SHARED.get(shared.key) is shared:
            del _SHARED[shared.key]
        return True


def _new_guard() -> None:
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_guard)  # another thread may have held it
