"""The capabilities of a history. The class `Capabilities` is the reference for their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

__all__ = [
    "READS",
    "Assumed",
    "AssumedCapability",
    "Capabilities",
    "Found",
    "assumed",
    "catalogue",
]

AssumedCapability = Literal["shared", "durable", "threads", "sync", "async", "whole_reads"]
"""The names that `lacks=` takes."""


class _Capability(property):
    """A documented capability. `name` is its name in declarations and reports."""

    assumed: bool

    def __init__(self, documented: Callable[[Any], bool]) -> None:
        self.name = documented.__name__.rstrip("_")
        super().__init__(lambda owner: self.name in owner.names, doc=documented.__doc__)


class Assumed(_Capability):
    """A capability of every history, unless the declaration lists it in `lacks=`."""

    assumed = True


class Found(_Capability):
    """A capability of the histories that have a certain method or declare a certain argument."""

    assumed = False


class Capabilities:
    """The capabilities of one history: the assumed ones that it does not lack, and those found.

    Ordering, fidelity, isolation and clear are not in this list, because no history may lack them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    @Assumed
    def shared(self) -> bool:  # type: ignore[empty-body]
        """Two handles with the same session id, in one process, share one conversation."""

    @Assumed
    def durable(self) -> bool:  # type: ignore[empty-body]
        """Messages outlive the handle and the process. Another process reads them."""

    @Assumed
    def threads(self) -> bool:  # type: ignore[empty-body]
        """Several threads may use handles at the same time, including one handle."""

    @Assumed
    def sync(self) -> bool:  # type: ignore[empty-body]
        """`messages`, `add_messages` and `clear` work."""

    @Assumed
    def async_(self) -> bool:  # type: ignore[empty-body]
        """`aget_messages`, `aadd_messages` and `aclear` work."""

    @Assumed
    def whole_reads(self) -> bool:  # type: ignore[empty-body]
        """`messages` returns the whole conversation each time and consumes nothing.

        If a history lacks this, the suite reads with `messages_from_beginning` without bounds
        instead, or with the method that the declaration maps to `messages`.
        """

    @Found
    def messages_from_beginning(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_beginning(max_message_count, max_time_sec)` reads the oldest first."""

    @Found
    def messages_from_latest(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_latest(max_message_count, max_time_sec)` waits for new messages."""

    @Found
    def messages_from_last_consumed(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_last_consumed(max_message_count, max_time_sec)` reads from a cursor on."""

    @Found
    def last_messages(self) -> bool:  # type: ignore[empty-body]
        """`last_messages(max_message_count)` returns the newest messages, oldest first."""

    @Found
    def close(self) -> bool:  # type: ignore[empty-body]
        """`close()` or `aclose()` frees the resources of the handle."""

    @Found
    def with_ttl(self) -> bool:  # type: ignore[empty-body]
        """`with_ttl(session_id, ttl_ms)` on the factory opens a history whose messages expire.

        With `ttl_ms=None`, its messages never expire. Declare `ttl_granularity="session"` if all
        messages of a session expire together.
        """

    @Found
    def corrupt(self) -> bool:  # type: ignore[empty-body]
        """A declared `corrupt(session_id)` makes the last stored record undecodable."""

    @Found
    def disposable(self) -> bool:  # type: ignore[empty-body]
        """All stored data is in the directory or on the server of the run, which are discarded.

        It is declared, or implied by `--history-allow-destructive`. Without it, the run does not
        try session ids that may belong to real data: the empty id and ids that look like paths.
        """

    @Found
    def server(self) -> bool:  # type: ignore[empty-body]
        """The history needs a server, declared as `server="kafka"`.

        The suite can change the address, and so check the errors of an unreachable server.
        """

    @Found
    def faults(self) -> bool:  # type: ignore[empty-body]
        """The run started the server and may pause, kill and restart it.

        It needs `--history-faults`, and a server that was not named by its address.
        """


def catalogue() -> Mapping[str, _Capability]:
    """Return all capabilities by name, in the order of this module."""
    properties = (item for item in vars(Capabilities).values() if isinstance(item, _Capability))
    return {item.name: item for item in properties}


def assumed() -> tuple[str, ...]:
    """Return the names that `lacks=` takes."""
    return tuple(name for name, item in catalogue().items() if item.assumed)


READS = (
    "messages_from_beginning",
    "messages_from_latest",
    "messages_from_last_consumed",
    "last_messages",
)
"""The bounded reads and the consuming read. `methods=` maps them to other names."""
