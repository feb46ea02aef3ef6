"""The interface of a kind of server, such as `redis`: how to run it and how to ask it.

A package adds a kind with an entry point in the group `chat_history_servers`. Its name is the name
of the kind, and its value an instance of `Kind`.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from chat_history_conformance.servers import (
    ENTRY_POINTS,
    ServerError,
    kinds,
    program,
    separate,
)
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Server

__all__ = [
    "Kind",
    "Launch",
    "NotReady",
    "Options",
    "Refused",
    "Way",
    "is_url",
    "load",
]

Way = Literal["container", "jvm", "local", "mock"]
"""The ways to start a server.

- `container`: a container of an image.
- `jvm`: a process of Java artifacts, which are downloaded.
- `local`: a process of a program that is installed on this machine.
- `mock`: a mock in this process.
"""


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
class Launch:
    """Instructions to run a server as a process or a container, and to ask it.

    Attributes:
        command: Program and arguments; empty for the default command of a container.
        address: The address for clients.
        identity: A unique text that `Kind.ask` finds in the answers of this server alone; empty if
            there is none.
        config: Client settings that it accepts.
        environment: Variables to add to those of this process.
        setup: A command that prepares the directory of a process. It runs once, before the first
            start, as the user that runs the server.
        port_inside: The port in the container that `address` leads to.
        counted: The address at which a counter of requests may listen, and the one to which it
            forwards them; empty if requests cannot be counted.
        stop_signal: The name of the signal that ends it in an orderly way, although clients are
            still connected.
        end_signal: The name of the signal that ends a process whose data is no longer needed. If
            it is not `SIGKILL`, the process gets a few seconds to release what the system would
            keep, such as shared memory.
    """

    command: Sequence[str]
    address: str
    identity: str = ""
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    setup: Sequence[str] = ()
    port_inside: int = 0
    counted: tuple[str, str] | tuple[()] = ()
    stop_signal: str = "SIGTERM"
    end_signal: str = "SIGKILL"


class Kind(ABC):
    """A kind of server.

    A kind with the way `container` defines `image` and `container`. One with the way `local`
    defines `programs`, `install` and `process`. Every kind defines `ask`.

    Attributes:
        name: The name in `server=` and `--history-server`, and of the entry point: lower-case
            letters, digits and `_`. The address is in the environment variable `HISTORY_NAME`.
        title: The name for people.
        form: The form of an address, such as `redis://HOST:PORT/0`.
        schemes: The schemes of the URL that is an address, such as `redis`.
        ways: The ways to start such a server. `auto` tries them in this order, except `mock`.
        requirement: What to give to `pip install` for these ways.
        client: The package that `ask` imports; empty if none is needed.
        image: The default image of the container way.
        image_licence: The licence of the image.
        programs: The names of the program of the local way. The first that is found is used.
        places: Patterns of directories in which to look for it after `PATH`.
        install: The way to install it, for messages: `apt-get install redis-server`.
        unprivileged: True if a process of it runs as another user if this user is root.
        ports: The number of ports that a process needs.
        taken: The text in its output if a port was taken.
    """

    name: str
    title: str
    form: str
    schemes: Sequence[str] = ()
    ways: Sequence[Way] = ("container",)
    requirement: str = "testcontainers"
    client: str = ""
    image: str = ""
    image_licence: str = ""
    programs: Sequence[str] = ()
    places: Sequence[str] = ()
    install: str = "its documentation says how"
    unprivileged: bool = True
    ports: int = 1
    taken: str = "Address already in use"

    @abstractmethod
    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        """Ask a server once whether it is ready for clients.

        Args:
            address: Its address.
            config: Client settings.
            identity: The `identity` of its `Launch`; empty for any server.
            seconds: How long to wait for an answer.

        Raises:
            NotReady: It did not answer, does not serve clients yet, or is another server.
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

    def fits(self, address: str) -> bool:
        """Return whether a text has the form of an address of this kind."""
        return all(is_url(one, self.schemes) for one in separate(address))

    def container(self, port: int, options: Options) -> Launch:
        """Return how to run the image so that clients reach it at a loopback port.

        Raises:
            ServerError: A container does not support one of the options.
        """
        raise ServerError(f"There are no containers of {self.title} here.")

    def obtain(self, announce: Callable[[str], None], *, offline: bool) -> Program:
        """Return the program for `process`.

        Args:
            announce: Called with a line of text before a download and with its progress.
            offline: Download nothing.

        Raises:
            ServerError: There is no such program.
        """
        return program.find(self.title, self.programs, self.places, self.install)

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        """Prepare a directory for a server and return how to run it there.

        Args:
            program: The program.
            directory: An empty directory for this server alone. The server runs in it. If another
                user runs the server, the directory with everything in it is given to that user.
            ports: `self.ports` free ports of 127.0.0.1; clients get the first.
            options: Options beyond the defaults.

        Raises:
            ServerError: It cannot be prepared, or does not support one of the options.
        """
        raise ServerError(f"There are no processes of {self.title} here.")

    def mock(self, options: Options) -> Server:
        """Start a mock of it in this process.

        Raises:
            ServerError: There is no mock, or it does not support the options.
        """
        raise ServerError(f"There is no mock of {self.title}.")


def is_url(text: str, schemes: Sequence[str]) -> bool:
    """Return whether a text is a URL with one of these schemes and with one host."""
    try:
        parts = urlsplit(text)
        host_is_valid = bool(parts.hostname) and "," not in str(parts.hostname)
        return parts.scheme in schemes and host_is_valid and parts.port != 0
    except ValueError:
        return False


def load(name: str) -> Kind:
    """Return the kind with a name.

    Raises:
        ServerError: No kind or more than one has this name, or it cannot be imported or used.
    """
    points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if not points:
        known = kinds()
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise ServerError(
            f"No kind of server is called {name!r}."
            + (f" Did you mean {close[0]!r}?" if close else "")
            + f" The kinds are {', '.join(known)}."
        )
    if len({point.value for point in points}) > 1:
        raise ServerError(
            f"Several packages register the kind of server {name!r}: "
            f"{' and '.join(map(_registered, points))}. Uninstall all but one."
        )
    where = f"The kind of server {name!r}, {_registered(points[0])},"
    try:
        found = points[0].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing runs the code of a package, which may even exit
        raise ServerError(
            f"{where} cannot be imported: {type(error).__name__}: {error}. Check that its package "
            "and what it needs are installed."
        ) from error
    if problem := _problem(name, found):
        raise ServerError(f"{where} cannot be used: {problem}")
    assert isinstance(found, Kind)
    return found


def _registered(point: EntryPoint) -> str:
    owner = f"{point.dist.name}, " if point.dist is not None else ""
    return f"{point.value!r} ({owner}group {ENTRY_POINTS})"


_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _problem(name: str, found: object) -> str:
    """Return the reason why a registered value cannot be used; empty if it can."""
    if isinstance(found, type) and issubclass(found, Kind):
        return f"it is a class. Register an instance: KIND = {found.__name__}()."
    if not isinstance(found, Kind):
        return f"it is not an instance of {Kind.__module__}.Kind."
    if not _NAME.fullmatch(name) or name == "server_config" or name.endswith("_counted"):
        return (
            "a name has lower-case letters, digits and _ only, because the address is in "
            "HISTORY_NAME. It does not end with _counted and is not server_config, which have "
            "another meaning there."
        )
    if missing := [one for one in ("name", "title", "form") if not getattr(found, one, "")]:
        return f"its {missing[0]} is missing."
    if found.name != name:
        return f"its name is {found.name!r}. Give both the same name."
    if unknown := [way for way in found.ways if way not in get_args(Way)]:
        return f"{unknown[0]!r} in its ways is unknown. Choose from: {', '.join(get_args(Way))}."
    return ""
