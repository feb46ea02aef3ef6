"""Moments in which no other contract calls the history, although some run at the same time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Quiet"]


class Quiet:
    """Calls that may run at the same time, and examples that disturb all of them.

    A wall clock belongs to the whole process, and a store that refuses writes to all processes. An
    example that changes them waits until no other example calls the history, and the others wait
    for it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._processes = 0
        self._disturbers = 0
        self._owner: object | None = None

    @contextlib.contextmanager
    def call(self, example: object) -> Iterator[None]:
        """Call the history inside the `with` block, once no other example disturbs it.

        Args:
            example: The example that calls.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._owner in (None, example))
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def separate_process(self) -> Iterator[None]:
        """Run a process that calls histories, once no example disturbs the store."""
        with self._changed:
            self._changed.wait_for(lambda: self._disturbers == 0)
            self._processes += 1
        try:
            yield
        finally:
            with self._changed:
                self._processes -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def disturbing_store(self, example: object) -> Iterator[None]:
        """Let only one example call histories inside the `with` block, in any process.

        Args:
            example: The example that disturbs the others. It is not calling the history.
        """
        with self._changed:
            self._disturbers += 1  # no further process starts
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._processes == 0)  # meanwhile, others may call
            with self.disturbing(example):
                yield
        finally:
            with self._changed:
                self._disturbers -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def disturbing(self, example: object) -> Iterator[None]:
        """Let only one example of this process call the history inside the `with` block.

        Args:
            example: The example that disturbs the others. It is not calling the history.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None)
            self._owner = example
            self._changed.wait_for(lambda: self._calls == 0)
        try:
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()
