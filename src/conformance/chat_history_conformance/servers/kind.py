"""What a kind of server, `kafka` say, tells the common machinery: how it is run and asked."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import KINDS, ServerError
from chat_history_conformance.servers.handle import Server


class NotReady(Exception):
    """It does not answer as it should; the text says how. It may later."""


class Refused(Exception):
    """It refuses this client, or the client its settings: waiting is no use."""


@dataclass(frozen=True)
class Wishes:
    """What is wanted of a server beyond its defaults.

    Attributes:
        properties: The server's own properties by name, such as `message.max.bytes`.
        credentials: Passwords by user; with any, it serves nobody else.
        port: Where clients are to find it; 0 for any that is free.
        configuration: Text of files to lay among those of its configuration, by file name.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    port: int = 0
    configuration: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Launch:
    """A server as a process or a container: what is run and how it is then asked.

    Attributes:
        command: Program and arguments; empty for a container's own.
        address: Where clients will find it.
        identity: What it will answer when asked who it is, unlike any other server.
        config: Client settings with which it can be asked.
        environment: Variables to add to those of this process.
        port_inside: The port in the container that `address` leads to.
        counted: Where whoever counts requests may listen, and where to pass them on to; empty
            where the server's clients cannot be led past a counter.
    """

    command: Sequence[str]
    address: str
    identity: str
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    port_inside: int = 0
    counted: tuple[str, str] | tuple[()] = ()


class Kind(ABC):
    """A kind of server. Its module has one instance, named `KIND`.

    Attributes:
        name: One of `KINDS`; also the extra to install, and the module's name.
        title: What people call it.
        form: What an address of it looks like.
        client: The package with which it is asked; empty where none is needed.
        version: What is started, unless another image is named.
        has_mock: Whether there is an imitation for a first look.
        image: The image that the container way runs by default.
        image_licence: Under what terms.
        java: The oldest Java that runs it.
        refuses_root: Whether it ends at once where root runs it.
        takes_files: Whether a process of it has a directory of configuration to lay files in.
        ports: How many ports a process of it needs.
        taken: What its output says where a port was taken.
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
    taken: str

    @property
    def lock(self) -> Path:
        """The list of the artifacts that make up the server, beside the kind's module."""
        return Path(__file__).with_name(f"{self.name}.lock")

    @abstractmethod
    def process(
        self,
        java: Path,
        files: Sequence[Path],
        directory: Path,
        ports: Sequence[int],
        wishes: Wishes,
    ) -> Launch:
        """Prepare a directory for a server and say how to run it there.

        Args:
            java: The program.
            files: The artifacts of the lock, in its order.
            directory: An empty one, of its own.
            ports: As many as `self.ports`; clients get the first.
            wishes: What is wanted beyond the defaults.
        """

    @abstractmethod
    def container(self, port: int, wishes: Wishes) -> Launch:
        """How the image is run so that clients on this machine reach it at a loopback port.

        Raises:
            ServerError: A wish that a container cannot fulfil.
        """

    @abstractmethod
    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        """Ask a server once whether it is ready for clients.

        Args:
            address: Where it should be.
            config: Client settings.
            identity: What it must say it is; empty where any will do.
            seconds: How long to wait for an answer.

        Raises:
            NotReady: It did not answer, or not yet as one that serves clients.
            Refused: It never will.
        """

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        """The version of a server that is ready; empty where it cannot be known.

        Args:
            address: Where it is.
            config: Client settings.
            seconds: How long to wait for an answer.
        """
        return ""

    def mock(self, wishes: Wishes) -> Server:
        """An imitation in this process.

        Raises:
            ServerError: There is none, or not as wished.
        """
        raise ServerError(
            f"there is no mock of {self.title}: use auto, container, jvm or an address"
        )


def load(name: str) -> Kind:
    """The kind of a name.

    Raises:
        ServerError: There is no such kind, or nothing to ask it with.
    """
    if name not in KINDS:
        raise ServerError(f"no kind of server is called {name!r}: there is {', '.join(KINDS)}")
    kind: Kind = importlib.import_module(f"{__package__}.{name}").KIND
    if kind.client and importlib.util.find_spec(kind.client) is None:
        raise ServerError(
            f"the package {kind.client} is not installed: "
            f"pip install 'chat-history-conformance[{name}]'"
        )
    return kind
