"""The interface of a kind of server that runs on Java, alone or as a cluster."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chat_history_conformance.servers import ServerError, artifacts, java
from chat_history_conformance.servers.kind import Kind, Launch, Options
from chat_history_conformance.servers.program import Program

__all__ = [
    "Control",
    "JvmKind",
    "Seat",
]


@dataclass(frozen=True)
class Seat:
    """The place of a member in a cluster.

    Attributes:
        number: Its number, counted from 1.
        hosts: The hosts of all members, for clients.
        inside: The hosts of all members, for each other. All of them are loopback addresses.
        ports: The free ports of all members, `JvmKind.member_ports` each; clients get the first.
        fronts: The ports at which the others reach the members, in the same order. They differ from
            `ports` if there is a proxy between the members.
        cluster: The unique name of the cluster.
        template: The prepared directory of the first member, to share files; None for itself.
    """

    number: int
    hosts: Sequence[str]
    inside: Sequence[str]
    ports: Sequence[Sequence[int]]
    fronts: Sequence[Sequence[int]]
    cluster: str
    template: Path | None = None

    def places(self, which: int) -> list[str]:
        """Return `host:port` of all members for clients, with the port at this position."""
        pairs = zip(self.hosts, self.ports, strict=True)
        return [f"{host}:{ports[which]}" for host, ports in pairs]

    def fronts_at(self, hosts: Sequence[str], which: int) -> list[str]:
        """Return `host:port` of all members for each other, at these hosts."""
        return [f"{host}:{ports[which]}" for host, ports in zip(hosts, self.fronts, strict=True)]

    @property
    def host(self) -> str:
        """The host of this member."""
        return self.hosts[self.number - 1]


class Control(ABC):
    """Questions to a running cluster about its members, which are numbered from 1.

    Attributes:
        roles: The roles that a member can have.
    """

    roles: tuple[str, ...]

    @abstractmethod
    def holder(self, role: str, session: str, up: Sequence[int]) -> int:
        """Return the member that has a role now.

        Args:
            role: One of `roles`.
            session: The session id whose data the role is about.
            up: The members that can be asked.

        Raises:
            ServerError: None has this role, or none answers.
        """

    @abstractmethod
    def reassign(self, session: str, up: Sequence[int]) -> None:
        """Move the data of a session to other members, and wait until it is there.

        Args:
            session: The session id.
            up: The members that can be asked and can have data.

        Raises:
            ServerError: The data cannot be moved now.
        """

    @abstractmethod
    def check_member(self, number: int, seconds: float) -> None:
        """Check that a member belongs to the running cluster.

        Raises:
            NotReady: It does not answer, or has not joined yet.
        """

    @abstractmethod
    def check_health(self, seconds: float) -> None:
        """Check that all members run and all replicas are in sync.

        Raises:
            NotReady: Something is missing; the message says what.
        """


class JvmKind(Kind):
    """A kind of server that runs on Java.

    Attributes:
        version: The version that is started, unless another image is named.
        java: The oldest Java version that runs it.
        takes_files: True if a process of it has a directory for configuration files.
        member_ports: The number of ports that a member of a cluster needs; 0 if there are no
            clusters of this kind.
    """

    version: str
    java: int
    takes_files: bool = False
    unprivileged = False
    member_ports: int = 0

    @property
    def lock(self) -> Path:
        """The file that lists the artifacts of the server, next to the module of the kind."""
        module = sys.modules[type(self).__module__].__file__
        assert module is not None  # the module is a file
        return Path(module).with_name(f"{self.name}.lock")

    def obtain(self, announce: Callable[[str], None], *, offline: bool) -> Program:
        runtime = java.find(self.java, self.requirement)
        files = artifacts.obtain(artifacts.Lock.read(self.lock), announce, offline=offline)
        return Program(runtime, self.version, "jvm", files)

    def new_cluster(self) -> str:
        """Return a unique name for a cluster."""
        raise self._no_cluster()

    def member(self, program: Program, directory: Path, seat: Seat, options: Options) -> Launch:
        """Prepare a directory for a member of a cluster and return how to run it there.

        Args:
            program: The Java program and the artifacts.
            directory: An empty directory for this member alone.
            seat: Its place in the cluster.
            options: Options beyond the defaults.

        Raises:
            ServerError: A cluster does not support one of the options.
        """
        raise self._no_cluster()

    def control(
        self, seat: Seat, launches: Sequence[Launch], directories: Sequence[Path]
    ) -> Control:
        """Return what answers questions about a cluster.

        Args:
            seat: The place of any member.
            launches: How each member runs.
            directories: The directory of each member.
        """
        raise self._no_cluster()

    def _no_cluster(self) -> ServerError:
        return ServerError(f"There are no clusters of {self.title} here. Use the jvm way.")
