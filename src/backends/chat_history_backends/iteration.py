"""Iteration over the messages of a conversation, which a store reads page by page."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import closing
from typing import Protocol, TypeVar

from langchain_core.messages import BaseMessage

__all__ = ["DEFAULT_BATCH_SIZE", "PageGenerator", "amessages_of", "messages_of"]

T = TypeVar("T")

DEFAULT_BATCH_SIZE = 1000
"""The messages that one page has, if the caller does not choose."""

PageGenerator = Generator[list[BaseMessage], None, None]
"""The pages of one conversation, oldest first. Closing it releases everything that it holds."""


class InThread(Protocol):
    """A function that runs another one in a thread."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Return the result of the function."""
        ...


def messages_of(pages: PageGenerator) -> Generator[BaseMessage, None, None]:
    """Yield the messages of the pages. The pages are closed with this generator."""
    with closing(pages):
        for page in pages:
            yield from page
            del page  # or two pages would be in memory while the store reads the next one


async def amessages_of(
    pages: PageGenerator, in_thread: InThread
) -> AsyncGenerator[BaseMessage, None]:
    """Yield the messages of the pages, and read each page in a thread.

    Args:
        pages: The pages. They are closed with this generator. If it is cancelled while a thread
            reads a page, that thread closes them as soon as it has read it.
        in_thread: Runs a function in a thread.
    """
    shared = _SharedPages(pages)
    try:
        while (page := await in_thread(shared.next)) is not None:
            for message in page:
                yield message
            del page
    finally:
        if shared.leave():
            await in_thread(shared.close_if_left)


class _SharedPages:
    """Pages that one thread may close while another one reads the next page.

    A generator that runs in a thread cannot be closed. It would have to be waited for, and a
    cancelled call would last as long as the store takes.
    """

    def __init__(self, pages: PageGenerator) -> None:
        self._pages = pages
        self._running = threading.Lock()
        self._left = False

    def next(self) -> list[BaseMessage] | None:
        """Return the next page; None after the last."""
        try:
            with self._running:
                return None if self._left else next(self._pages, None)
        finally:
            self.close_if_left()

    def leave(self) -> bool:
        """Declare that no further page is needed, and return whether the pages are still open.

        A thread that is reading a page closes them itself. Otherwise the caller does that.
        """
        self._left = True
        return inspect.getgeneratorstate(self._pages) == inspect.GEN_SUSPENDED

    def close_if_left(self) -> None:
        """Close the pages if they were left and no thread is reading one."""
        # The flag is set before the lock is tried, and the lock is released before the flag is
        # read. So one of the two threads closes the pages.
        if self._left and self._running.acquire(blocking=False):
            try:
                self._pages.close()
            finally:
                self._running.release()
