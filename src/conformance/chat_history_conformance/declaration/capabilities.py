"""The capabilities of a history. The class `Capabilities` is the reference for their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal

__all__ = [
    "ITERATION",
    "READS",
    "Assumed",
    "AssumedCapability",
    "Capabilities",
    "Found",
    "assumed",
    "catalogue",
]

AssumedCapability = Literal[
    "shared",
    "durable",
    "durable_clear",
    "fresh_reads",
    "ttl_per_handle",
    "immediate_reads",
    "threads",
    "sync",
    "async",
    "whole_reads",
]
"""The names that `lacks=` takes."""


class _Capability(property):
    """A documented capability. `name` is its name in declarations and reports."""

    assumed: bool

    def __init__(self, documented: Callable[[Any], bool]) -> None:
        self.name = documented.__name__.rstrip("_")
        super().__init__(lambda owner: self.name in owner.names)
        self.__doc__ = documented.__doc__  # property ignores `doc=` if a subclass has a docstring


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
        """Share one conversation between two handles of one session, in one process."""

    @Assumed
    def durable(self) -> bool:  # type: ignore[empty-body]
        """Keep messages after the handle and the process end; another process reads them."""

    @Assumed
    def durable_clear(self) -> bool:  # type: ignore[empty-body]
        """Keep a session cleared if the server crashes directly after a clear that returned."""

    @Assumed
    def fresh_reads(self) -> bool:  # type: ignore[empty-body]
        """Read what is acknowledged, even while a server is cut off from its cluster."""

    @Assumed
    def ttl_per_handle(self) -> bool:  # type: ignore[empty-body]
        """Let a handle choose another time to live than earlier handles of its session."""

    @Assumed
    def immediate_reads(self) -> bool:  # type: ignore[empty-body]
        """Show a write to every read that begins after the write returned.

        A history lacks this if its declaration has `eventual=SECONDS`. Contracts wait for that
        time before they read. Contracts that cannot wait are not applicable.
        """

    @Assumed
    def threads(self) -> bool:  # type: ignore[empty-body]
        """Allow several threads to use handles at the same time, including one handle."""

    @Assumed
    def sync(self) -> bool:  # type: ignore[empty-body]
        """Support `messages`, `add_messages` and `clear`."""

    @Assumed
    def async_(self) -> bool:  # type: ignore[empty-body]
        """Support `aget_messages`, `aadd_messages` and `aclear`."""

    @Assumed
    def whole_reads(self) -> bool:  # type: ignore[empty-body]
        """Return the whole conversation from `messages` each time, and consume nothing.

        If a history lacks this, the suite reads with `messages_from_beginning` without bounds
        instead, or with the method that the declaration maps to `messages`.
        """

    @Found
    def messages_from_beginning(self) -> bool:  # type: ignore[empty-body]
        """Read the oldest messages: `messages_from_beginning(max_message_count, max_time_sec)`."""

    @Found
    def messages_from_latest(self) -> bool:  # type: ignore[empty-body]
        """Wait for new messages: `messages_from_latest(max_message_count, max_time_sec)`."""

    @Found
    def messages_from_last_consumed(self) -> bool:  # type: ignore[empty-body]
        """Continue from a stored cursor.

        The method is `messages_from_last_consumed(max_message_count, max_time_sec)`.
        """

    @Found
    def last_messages(self) -> bool:  # type: ignore[empty-body]
        """Read the newest messages, oldest first: `last_messages(max_message_count)`."""

    @Found
    def iter_messages(self) -> bool:  # type: ignore[empty-body]
        """Read the conversation page by page: `iter_messages(batch_size)` returns an iterator.

        Its asynchronous twin is `aiter_messages(batch_size)`, which returns an asynchronous
        iterator.
        """

    @Found
    def close(self) -> bool:  # type: ignore[empty-body]
        """Free the resources of the handle with `close()` or `aclose()`."""

    @Found
    def with_ttl(self) -> bool:  # type: ignore[empty-body]
        """Open a history whose messages expire: `with_ttl(session_id, ttl_ms)` of the factory.

        With `ttl_ms=None`, its messages never expire. Declare `ttl_granularity="session"` if all
        messages of a session expire together.
        """

    @Found
    def corrupt(self) -> bool:  # type: ignore[empty-body]
        """Make the last stored record undecodable with a declared `corrupt(session_id)`."""

    @Found
    def disposable(self) -> bool:  # type: ignore[empty-body]
        """Store all data in the directory or on the server of the run, which are discarded.

        It is declared, or implied by `--history-allow-destructive`. Without it, the run does not
        try session ids that may belong to real data: the empty id and ids that look like paths.
        """

    @Found
    def server(self) -> bool:  # type: ignore[empty-body]
        """Need a server, declared as `server="kafka"`.

        The suite can change the address, and so check the errors of an unreachable server.
        """

    @Found
    def faults(self) -> bool:  # type: ignore[empty-body]
        """Allow the run to end and restart the server.

        It needs `--history-faults`, and a server that the run started, or `stop=` and `start=`.
        """

    @Found
    def pause(self) -> bool:  # type: ignore[empty-body]
        """Allow the run to pause the server, which needs a server that the run started."""

    @Found
    def outage(self) -> bool:  # type: ignore[empty-body]
        """Make the server unreachable: by a wrong address of `server=`, or with `stop=`."""

    @Found
    def interference(self) -> bool:  # type: ignore[empty-body]
        """Declare what other users of the store may do to a session: `interference={...}`.

        It needs a store whose data can be thrown away: a server that the run started, or a
        `disposable` backend.
        """

    @Found
    def cluster(self) -> bool:  # type: ignore[empty-body]
        """Allow the run to pause, kill, cut off and restart single members of the server.

        It needs a server with several members, such as `--history-server=kafka=jvm:3`.
        """


@cache
def catalogue() -> Mapping[str, _Capability]:
    """Return all capabilities by name, in the order of this module."""
    properties = (item for item in vars(Capabilities).values() if isinstance(item, _Capability))
    return {item.name: item for item in properties}


def assumed() -> tuple[str, ...]:
    """Return the names that `lacks=` takes."""
    return tuple(name for name, item in catalogue().items() if item.assumed)


ITERATION = "iter_messages"
"""The read that returns an iterator. `methods=` maps it to another name."""

READS = (
    "messages_from_beginning",
    "messages_from_latest",
    "messages_from_last_consumed",
    "last_messages",
)
"""The bounded reads and the consuming read. `methods=` maps them to other names."""
