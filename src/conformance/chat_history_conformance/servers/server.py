"""A server in use, however it was started or found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, Protocol

from chat_history_conformance.servers import ServerError, variable

__all__ = [
    "Member",
    "Server",
    "State",
    "Unsupported",
]

State = Literal["up", "paused", "down"]
"""The state of one member of a server."""


class Unsupported(Exception):
    """This server cannot do that, or cannot be stopped from here; the message says why."""


class Member(Protocol):
    """One node of a server that this run started. Its methods return when they have taken effect.

    All methods raise `ServerError` if they fail, and `Unsupported` if this system cannot do that.
    """

    @property
    def name(self) -> str:
        """The name among the members: `"1"`, `"2"` and so on."""

    @property
    def address(self) -> str:
        """Its own address for clients: `host:port`, or a URL."""

    @property
    def state(self) -> State:
        """The state: it runs, is paused, or has ended."""

    def pause(self) -> None:
        """Make it keep its connections and answer nothing until `resume`."""

    def resume(self) -> None:
        """End a pause. Does nothing if it is not paused."""

    def kill(self) -> None:
        """End it at once, like a power cut. Its data stays for `restart`."""

    def shut_down(self) -> None:
        """End it in an orderly way, as with SIGTERM. Its data stays for `restart`."""

    def restart(self) -> None:
        """Start it again, with its address and data.

        Waits until it is ready, if the members that are up and connected are a majority.
        """


class Server(ABC):
    """A server in use. Every method is synchronous and returns when it has taken effect.

    Attributes:
        kind: The kind, such as `kafka`.
        way: `address`, `container`, `jvm`, `local` or `mock`.
        address: The address for clients: `host:port`, or a URL. It stays the same after `restart`.
        version: The server's version, or an empty string if it is unknown.
    """

    kind: str
    way: str
    address: str
    version: str = ""

    @property
    def description(self) -> str:
        """Version and way, such as `4.1.1 (jvm)`; never an address or a secret."""
        return f"{self.version} ({self.way})".strip()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that this process and its children need."""
        return {variable(self.kind): self.address}

    @property
    def owned(self) -> bool:
        """True if this run started it, so that its data is removed with it."""
        return self.way != "address"

    @property
    def why_no_faults(self) -> str:
        """The reason why it cannot be paused, killed and restarted; empty if it can."""
        return f"the run did not start this server (way: {self.way}), so it does not stop it"

    @property
    def why_no_pause(self) -> str:
        """The reason why it cannot be paused; empty if it can."""
        return self.why_no_faults

    @property
    def log(self) -> str:
        """The last lines of its output; empty if there is none."""
        return ""

    def ended(self) -> str:
        """Describe how it ended by itself; empty while it runs or if that is unknown."""
        return ""

    def pause(self) -> None:
        """Make it keep its connections and answer nothing until `resume`.

        Raises:
            Unsupported: This server cannot be paused.
        """
        raise Unsupported(self.why_no_faults)

    def resume(self) -> None:
        """End a pause. Does nothing if it is not paused."""
        raise Unsupported(self.why_no_faults)

    def kill(self) -> None:
        """End it at once, like a power cut. Its data stays for `restart`."""
        raise Unsupported(self.why_no_faults)

    def shut_down(self) -> None:
        """End it in an orderly way, as with SIGTERM. Its data stays for `restart`.

        A paused server is resumed first.

        Raises:
            ServerError: It, or the majority of a cluster, did not end within 30 s, and was killed.
            Unsupported: This server cannot be stopped.
        """
        raise Unsupported(self.why_no_faults)

    def restart(self) -> None:
        """Start it again, with its address and data, and wait until it is ready."""
        raise Unsupported(self.why_no_faults)

    @property
    def members(self) -> tuple[Member, ...]:
        """The nodes of a cluster, or the one process of a server; empty if neither is in reach."""
        return ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles for `holder`: none if it is not a cluster.

        They are `leader`, `coordinator` and `controller` for Kafka, and `primary`, `replica` and
        `master` for Elasticsearch.
        """
        return ()

    def holder(self, role: str, session: str) -> Member:
        """Return the member that has a role now.

        Args:
            role: One of `roles`.
            session: The session id whose data the role is about.

        Raises:
            Unsupported: The server has no such role.
            ServerError: No member that is up has this role, or none answers.
        """
        raise Unsupported(_no_cluster(self))

    @property
    def why_no_partition(self) -> str:
        """The reason why no member can be cut off from the others; empty if it can."""
        return _no_cluster(self)

    def cut_off(self, member: Member) -> None:
        """Cut a member off from all other members. Clients still reach it. Idempotent.

        Raises:
            Unsupported: See `why_no_partition`.
        """
        raise Unsupported(self.why_no_partition)

    def reconnect(self, member: Member) -> None:
        """End the effect of `cut_off`. Idempotent.

        Raises:
            Unsupported: See `why_no_partition`.
        """
        raise Unsupported(self.why_no_partition)

    def reassign(self, session: str) -> None:
        """Move the data of a session to other members, and wait until it is there.

        Raises:
            Unsupported: It is not a cluster.
            ServerError: The data cannot be moved now.
        """
        raise Unsupported(_no_cluster(self))

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait until all members are up and connected, and all replicas are in sync.

        Raises:
            ServerError: It is not healthy after this time; the message says why.
        """
        if how := self.ended():
            raise ServerError(f"{self.kind} {self.description}: {how}")

    @abstractmethod
    def stop(self) -> None:
        """End it and remove its data, if this run started it. Idempotent."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _no_cluster(server: Server) -> str:
    return f"{server.kind} {server.description} is not a cluster; start one with jvm:3"
