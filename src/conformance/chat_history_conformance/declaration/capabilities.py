"""What a history can do. The properties of `Capabilities` are the reference page for the names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class _Capability(property):
    """A documented capability; `name` is what declarations and reports call it."""

    assumed: bool

    def __init__(self, documented: Callable[[Any], bool]) -> None:
        self.name = documented.__name__.rstrip("_")
        super().__init__(lambda owner: self.name in owner.names, doc=documented.__doc__)


class Assumed(_Capability):
    """Taken for granted; given up by name with a reason, `lacks={"durable": "..."}`."""

    assumed = True


class Found(_Capability):
    """Used where the history has a method of that name, or the declaration maps one to it."""

    assumed = False


class Capabilities:
    """What one history can do: the assumed capabilities that it keeps and the ones found on it.

    Ordering, fidelity, isolation and clear are no capabilities: they cannot be given up.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    @Assumed
    def shared(self) -> bool:  # type: ignore[empty-body]
        """Two handles opened with one session id are one conversation, in one process."""

    @Assumed
    def durable(self) -> bool:  # type: ignore[empty-body]
        """Messages outlive their handle and their process; another process sees them."""

    @Assumed
    def threads(self) -> bool:  # type: ignore[empty-body]
        """Handles may be used from several threads at once, one handle too."""

    @Assumed
    def sync(self) -> bool:  # type: ignore[empty-body]
        """`messages`, `add_messages` and `clear` work."""

    @Assumed
    def async_(self) -> bool:  # type: ignore[empty-body]
        """`aget_messages`, `aadd_messages` and `aclear` work."""

    @Assumed
    def whole_reads(self) -> bool:  # type: ignore[empty-body]
        """`messages` returns the whole conversation each time, and consumes nothing.

        A history whose `messages` consumes gives this up; `messages_from_beginning` without
        bounds, or what the declaration maps to `messages`, is read in its place.
        """

    @Found
    def messages_from_beginning(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_beginning(max_message_count, max_time_sec)` reads the oldest first."""

    @Found
    def messages_from_latest(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_latest(max_message_count, max_time_sec)` waits for what comes next."""

    @Found
    def messages_from_last_consumed(self) -> bool:  # type: ignore[empty-body]
        """`messages_from_last_consumed(max_message_count, max_time_sec)` goes on from a cursor."""

    @Found
    def last_messages(self) -> bool:  # type: ignore[empty-body]
        """`last_messages(max_message_count)` returns the newest ones, oldest of them first."""

    @Found
    def close(self) -> bool:  # type: ignore[empty-body]
        """`close()`, or `aclose()`, frees what the handle holds."""

    @Found
    def with_ttl(self) -> bool:  # type: ignore[empty-body]
        """`with_ttl(session_id, ttl_ms)` on the factory opens a history whose messages expire.

        `ttl_ms=None` opens one whose messages never do. Whether each message expires by its own
        age or the session by its last write is declared as `ttl_granularity`.
        """

    @Found
    def corrupt(self) -> bool:  # type: ignore[empty-body]
        """`corrupt(session_id)`, declared, makes the session's last stored record undecodable."""

    @Found
    def disposable(self) -> bool:  # type: ignore[empty-body]
        """All that is stored lies in the run's own directory or server and goes with it.

        Declared, or implied by `--history-allow-destructive`. Only then are session ids tried
        that could meet somebody's data: the empty id and ids that look like paths.
        """

    @Found
    def server(self) -> bool:  # type: ignore[empty-body]
        """It needs a server, declared as `server="kafka"`, whose address the suite can change.

        Only then can it be asked what it says where nothing listens.
        """

    @Found
    def faults(self) -> bool:  # type: ignore[empty-body]
        """The run started the server itself and may pause, kill and restart it.

        Only with `--history-faults`, and not where the server was named by its address.
        """


def catalogue() -> Mapping[str, _Capability]:
    """Every capability by name, in the order of the reference page."""
    properties = (item for item in vars(Capabilities).values() if isinstance(item, _Capability))
    return {item.name: item for item in properties}


def assumed() -> tuple[str, ...]:
    """The names that `lacks` may give up."""
    return tuple(name for name, item in catalogue().items() if item.assumed)


READS = (
    "messages_from_beginning",
    "messages_from_latest",
    "messages_from_last_consumed",
    "last_messages",
)
"""The bounded and consumed reads: found by name, or mapped to another in a declaration."""
