"""The steps of an operation: requests to the server, work that may take long, and pauses.

An operation does no I/O itself. Both histories, synchronous and asynchronous, carry out its steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from elastic_transport import NodeConfig

__all__ = ["Pause", "Request", "Step", "Steps", "Work"]

T = TypeVar("T")

_WAITING = {
    "bulk": "timeout",
    "indices.get": "master_timeout",
    "indices.create": "master_timeout",
    "indices.put_mapping": "master_timeout",
}
"""Requests that wait on the server, and the argument that limits the wait."""


@dataclass(frozen=True)
class Request:
    """One request to the server.

    Attributes:
        api: A method of the client, such as `search` or `indices.refresh`.
        arguments: Its keyword arguments.
        operations: The operations of a bulk request: the action and the `_id` of each.
        counts: Whether a user can see what it writes.
        once: Whether a failure is reported at once, and not repeated.
        node: The node to send it to; None for any.
    """

    api: str
    arguments: Mapping[str, Any]
    operations: tuple[tuple[str, str], ...] = ()
    counts: bool = True
    once: bool = False
    node: NodeConfig | None = None

    @property
    def writes(self) -> bool:
        """True if it writes something that a user can see."""
        return self.api == "bulk" and self.counts

    def send(self, client: Any, seconds: float) -> Any:
        """Send the request and return the answer; an asynchronous client returns an awaitable.

        Args:
            client: The client.
            seconds: The time limit of the client. The server answers before, with a reason.
        """
        arguments = dict(self.arguments)
        if self.api in _WAITING and not math.isinf(seconds):
            arguments[_WAITING[self.api]] = f"{max(1, int(seconds * 700))}ms"
        return attrgetter(self.api)(client)(**arguments)


@dataclass(frozen=True)
class Work:
    """A computation that should not block an event loop."""

    do: Callable[[], Any]


@dataclass(frozen=True)
class Pause:
    """A pause before an operation tries something again. The result is whether time is left."""

    seconds: float


Step = Request | Work | Pause

Steps = Generator[Step, Any, T]
"""An operation. It yields its steps, and the history sends back the result of each, or throws the
error of the client into it."""
