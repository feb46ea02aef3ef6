"""The interface of a kind of server, such as `kafka`: how to run it and how to ask it."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import KINDS, ServerError
from chat_history_conformance.servers.server import Server

__all__ = [
    "Control",
    "Kind",
    "Launch",
    "NotReady",
    "Options",
    "Refused",
    "Seat",
    "load",
]


class NotReady(Exception):
    """The server does not answer correctly yet; the message says how."""


class Refused(Exception):
    """The server refuses this client, or the client refuses its settings. Waiting does not help."""


@dataclass(frozen=True)
class Options:
    """Options of a server beyond its defaults.

    Attributes:
        properties: The server's own properties by name, such as `message.max.bytes`.
        credentials: Passwords by user. If there are any, the server demands them.
        port: The port for clients; 0 for any free port.
        configuration: Text of files to add to its configuration directory, by file name.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    port: int = 0
    configuration: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Seat:
    """The place of a member in a cluster.

    Attributes:
        number: Its number, counted from 1.
        hosts: The hosts of all members, for clients.
        inside: The hosts of all members, for each other. All of them are loopback addresses.
        ports: The free ports of all members, `Kind.member_ports` each; clients get the first.
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


@dataclass(frozen=True)
class Launch:
    """Instructions to run a server as a process or a container, and to ask it.

    Attributes:
        command: Program and arguments; empty for the default command of a container.
        address: The address for clients.
        identity: The unique name that it answers with when asked for its cluster.
        config: Client settings that it accepts.
        environment: Variables to add to those of this process.
        port_inside: The port in the container that `address` leads to.
        counted: The address at which a counter of requests may listen, and the one to which it
            forwards them; empty if requests cannot be counted.
    """

    command: Sequence[str]
    address: str
    identity: str
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    port_inside: int = 0
    counted: tuple[str, str] | tuple[()] = ()


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


class Kind(ABC):
    """A kind of server. Its module has one instance, named `KIND`.

    Attributes:
        name: One of `KINDS`; also the name of the extra and of the module.
        title: The name for people.
        form: The form of an address, such as `HOST:PORT`.
        client: The package that asks it; empty if none is needed.
        version: The version that is started, unless another image is named.
        has_mock: True if there is a mock for a first look.
        image: The default image of the container way.
        image_licence: The licence of the image.
        java: The oldest Java version that runs it.
        refuses_root: True if it does not run as root.
        takes_files: True if a process of it has a directory for configuration files.
        ports: The number of ports that a process needs.
        member_ports: The number of ports that a member of a cluster needs; 0 if there are no
            clusters of this kind.
        taken: The text in its output if a port was taken.
    """

    name: str
    title: str
    form: str
    client: str
    version: str
    has_mock: bool
    image: str
    image_licence: str
    java: int
    refuses_root: bool = False
    takes_files: bool = False
    ports: int
    member_ports: int = 0
    taken: str

    @property
    def lock(self) -> Path:
        """The file that lists the artifacts of the server, next to the module of the kind."""
        return Path(__file__).with_name(f"{self.name}.lock")

    @abstractmethod
    def process(
        self,
        java: Path,
        files: Sequence[Path],
        directory: Path,
        ports: Sequence[int],
        options: Options,
    ) -> Launch:
        """Prepare a directory for a server and return how to run it there.

        Args:
            java: The Java program.
            files: The artifacts of the lock, in its order.
            directory: An empty directory for this server alone.
            ports: `self.ports` free ports; clients get the first.
            options: Options beyond the defaults.
        """

    def new_cluster(self) -> str:
        """Return a unique name for a cluster."""
        raise self._no_cluster()

    def member(
        self, java: Path, files: Sequence[Path], directory: Path, seat: Seat, options: Options
    ) -> Launch:
        """Prepare a directory for a member of a cluster and return how to run it there.

        Args:
            java: The Java program.
            files: The artifacts of the lock, in its order.
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

    @abstractmethod
    def container(self, port: int, options: Options) -> Launch:
        """Return how to run the image so that clients reach it at a loopback port.

        Raises:
            ServerError: A container does not support one of the options.
        """

    @abstractmethod
    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        """Ask a server once whether it is ready for clients.

        Args:
            address: Its address.
            config: Client settings.
            identity: The cluster name that it must answer with; empty for any.
            seconds: How long to wait for an answer.

        Raises:
            NotReady: It did not answer, or does not serve clients yet.
            Refused: It does not serve this client.
        """

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        """Return the version of a server that is ready; empty if it is unknown.

        Args:
            address: Its address.
            config: Client settings.
            seconds: How long to wait for an answer.
        """
        return ""

    def mock(self, options: Options) -> Server:
        """Start a mock of it in this process.

        Raises:
            ServerError: There is no mock, or it does not support the options.
        """
        raise ServerError(
            f"There is no mock of {self.title}. Use auto, container, jvm or an address."
        )


def load(name: str) -> Kind:
    """Return the kind with a name.

    Raises:
        ServerError: There is no such kind, or its client is not installed.
    """
    if name not in KINDS:
        raise ServerError(
            f"No kind of server is called {name!r}. The kinds are {', '.join(KINDS)}."
        )
    kind: Kind = importlib.import_module(f"{__package__}.{name}").KIND
    if kind.client and importlib.util.find_spec(kind.client) is None:
        raise ServerError(
            f"The package {kind.client} is not installed: "
            f"pip install 'chat-history-conformance[{name}]'"
        )
    return kind
