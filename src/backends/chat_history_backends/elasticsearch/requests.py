"""The steps of an operation: requests to the server, and work that may take long.

An operation does no I/O itself. Both histories, synchronous and asynchronous, carry out its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

__all__ = ["Request", "Steps", "Work"]

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One request to the server.

    Attributes:
        api: A method of the client, such as `search` or `indices.refresh`.
        arguments: Its keyword arguments.
    """

    api: str
    arguments: Mapping[str, Any]

    def send(self, client: Any) -> Any:
        """Send the request and return the answer; an asynchronous client returns an awaitable."""
        return attrgetter(self.api)(client)(**self.arguments)


@dataclass(frozen=True)
class Work:
    """A computation that should not block an event loop."""

    do: Callable[[], Any]


Steps = Generator[Request | Work, Any, T]
"""An operation. It yields its steps, and the history sends back the result of each, or throws the
error of the client into it."""
