"""What an operation asks for, whoever carries it out: requests, and work that may take long."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

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
        """The client's answer; of an asynchronous client, what is to be awaited for it."""
        return attrgetter(self.api)(client)(**self.arguments)


@dataclass(frozen=True)
class Work:
    """Something to compute; an event loop should not wait for it."""

    do: Callable[[], Any]


Steps = Generator[Request | Work, Any, T]
"""An operation. It yields what it wants done and is sent what came of it; an error of the client is
thrown into it."""
