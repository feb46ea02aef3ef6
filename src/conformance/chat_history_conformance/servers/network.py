"""The network between the members of a cluster, and how it is cut.

There are two ways to cut it, and a cluster names its way in its description.

As root on Linux, each member runs in its own network namespace. A further namespace, the hub, has a
bridge that connects the members with each other and with this machine. No namespace has a name, so
the system removes each with its last process, and with it all its devices: nothing stays, however
the run ends. On Linux without root, a proxy is between the members.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.keeper_client import KeeperClient
from chat_history_conformance.servers.process import free_ports

__all__ = [
    "Loopback",
    "Namespaces",
    "Network",
    "Proxied",
    "connect",
]

_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""The private addresses, in which a free subnet is chosen."""

_SUBNET_BITS = 24
_ATTEMPTS = 50
_REACH_SECONDS = 3.0
_CLOSED_PORT = 1
_PROXY_SECONDS = 30.0
_LOOK_SECONDS = 0.02
_NOBODY = "02:00:00:00:00:01"
"""An Ethernet address that no device of the bridge has."""
_INSIDE = ipaddress.IPv4Network("127.77.77.0/24")
_ROUTE_LOOPBACK = "/proc/sys/net/ipv4/conf/eth0/route_localnet"
_RETRIES = "/proc/sys/net/ipv4/tcp_retries2"
"""A connection to a member that is cut off breaks after about 6 s and not after 15 minutes. The
makers of Elasticsearch recommend this value for all nodes."""


class Network(ABC):
    """The network between the members of a cluster.

    Attributes:
        description: How the members are connected, for the description of the cluster.
        why_no_partition: The reason why members cannot be cut off; empty if they can.
    """

    description: str
    why_no_partition: str = ""

    @abstractmethod
    def host(self, number: int) -> str:
        """Return the address of a member for clients, counted from 1."""

    @abstractmethod
    def inside(self, number: int) -> str:
        """Return a loopback address of a member for the others.

        Elasticsearch makes higher demands on a machine if its nodes use another address.
        """

    def fronts(self, ports: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Return the ports at which the members reach each other.

        Args:
            ports: The ports at which each member listens; the first is for clients.
        """
        return ports

    @abstractmethod
    def part(self, one: int, other: int) -> None:
        """Stop all traffic between two members, in both directions. Idempotent."""

    @abstractmethod
    def join(self, one: int, other: int) -> None:
        """Allow the traffic between two members again. Idempotent."""

    @abstractmethod
    def stop(self) -> None:
        """Remove everything. Idempotent."""


class Loopback(Network):
    """Members that listen on loopback, and cannot be cut off."""

    description = "loopback"
    why_no_partition = "a member of a cluster can be cut off from the others only on Linux"

    def host(self, number: int) -> str:
        return "127.0.0.1"

    def inside(self, number: int) -> str:
        return "127.0.0.1"

    def part(self, one: int, other: int) -> None:
        raise ServerError(self.why_no_partition)

    def join(self, one: int, other: int) -> None:
        raise ServerError(self.why_no_partition)

    def stop(self) -> None:
        """Do nothing: there is nothing to remove."""


class Namespaces(Network):
    """Members in separate network namespaces, connected by a bridge.

    Args:
        keepers: The keepers of the members, which have started nothing yet.
        ip: The program `ip`.

    Attributes:
        device: The device of this machine that leads to the members.

    Raises:
        ServerError: This system does not allow it, or the members cannot reach each other.
    """

    description = "network namespaces"

    def __init__(self, keepers: Sequence[KeeperClient], ip: str) -> None:
        self._keepers = keepers
        self._ip = ip
        self._subnet = _free_subnet(_routes(ip))
        self.device = (
            f"history{random.SystemRandom().randrange(16**8):08x}"  # 15 characters at most
        )
        self._hub = KeeperClient("hub")
        try:
            self._build()
            self._check()
        except BaseException:
            self.stop()
            raise

    def host(self, number: int) -> str:
        return str(self._subnet[number])

    def inside(self, number: int) -> str:
        return str(_INSIDE[number])

    def part(self, one: int, other: int) -> None:
        # Packets to this Ethernet address are lost on the bridge, as if a cable were cut.
        self._lead(one, other, _NOBODY)
        self._lead(other, one, _NOBODY)

    def join(self, one: int, other: int) -> None:
        self._lead(one, other, _ethernet(other))
        self._lead(other, one, _ethernet(one))

    def stop(self) -> None:
        with contextlib.suppress(ServerError):  # it may be gone with its namespace already
            _outside(self._ip, f"link delete {self.device}")
        self._hub.stop()

    def _build(self) -> None:
        hub = self._hub.isolate()
        self._in_hub("link add hub type bridge")
        self._in_hub("link set hub up")
        _outside(self._ip, f"link add {self.device} type veth peer name machine netns {hub}")
        _outside(self._ip, f"address add {self._subnet[-2]}/{_SUBNET_BITS} dev {self.device}")
        _outside(self._ip, f"link set {self.device} up")
        self._in_hub("link set machine up master hub")
        for number, keeper in enumerate(self._keepers, 1):
            member, namespace = f"member{number}", keeper.isolate()
            peer = f"peer name eth0 address {_ethernet(number)} netns {namespace}"
            self._in_hub(f"link add {member} type veth {peer}")
            self._in_hub(f"link set {member} up master hub")
            self._in_member(number, "link set lo up")
            self._in_member(number, "link set eth0 up")
            # Loopback addresses, except the usual one, lead to the other members.
            keeper.run("sh", "-c", f"echo 1 > {_ROUTE_LOOPBACK}; echo 5 > {_RETRIES}")
            self._in_member(number, "route delete local 127.0.0.0/8 dev lo table local")
            for address in (self.host(number), self.inside(number)):
                self._in_member(number, f"address add {address}/{_SUBNET_BITS} dev eth0")

    def _check(self) -> None:
        """Check that this machine and the members reach each other; a firewall may forbid it."""
        for number in range(1, len(self._keepers) + 1):
            try:
                socket.create_connection((self.host(number), _CLOSED_PORT), _REACH_SECONDS).close()
            except ConnectionRefusedError:
                pass  # as expected: the member answers, and nothing listens there yet
            except OSError as error:
                raise ServerError(f"{self.host(number)} cannot be reached: {error}") from None
            if number > 1:
                for address in (self.host(number), self.inside(number)):
                    self._keepers[0].reach(address, _CLOSED_PORT, _REACH_SECONDS)

    def _lead(self, here: int, there: int, ethernet: str) -> None:
        """Send what one member sends to another one to an Ethernet address."""
        for address in (self.host(there), self.inside(there)):
            leading = f"lladdr {ethernet} nud permanent dev eth0"
            self._in_member(here, f"neighbour replace {address} {leading}")

    def _in_hub(self, command: str) -> None:
        self._hub.run(self._ip, *command.split())

    def _in_member(self, number: int, command: str) -> None:
        """Run `ip` in the network namespace of a member."""
        self._keepers[number - 1].run(self._ip, *command.split())


class Proxied(Network):
    """Members that listen on loopback and reach each other by a proxy.

    Args:
        keepers: The keepers of the members.
    """

    description = "proxy"

    def __init__(self, keepers: Sequence[KeeperClient]) -> None:
        self._keepers = keepers
        self._keeper = KeeperClient("proxy")
        self._file = self._keeper.directory / "proxy.json"
        self._parted: list[list[int]] = []
        self._routes: list[tuple[int, int, int]] = []
        self._version = 0

    def host(self, number: int) -> str:
        return "127.0.0.1"

    def inside(self, number: int) -> str:
        return "127.0.0.1"

    def fronts(self, ports: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        free = free_ports(sum(map(len, ports)))
        fronts = [[own[0], *(free.pop() for _ in own[1:])] for own in ports]
        for number, (own, front) in enumerate(zip(ports, fronts, strict=True), 1):
            pairs = zip(front[1:], own[1:], strict=True)
            self._routes += [(number, before, behind) for before, behind in pairs]
        program = Path(__file__).with_name("proxy.py")
        self._write()
        self._keeper.start([sys.executable, "-I", "-S", str(program), str(self._file)], {})
        self._await()
        return fronts

    def part(self, one: int, other: int) -> None:
        if sorted((one, other)) not in self._parted:
            self._parted.append(sorted((one, other)))
            self._write()
            self._await()

    def join(self, one: int, other: int) -> None:
        if sorted((one, other)) in self._parted:
            self._parted.remove(sorted((one, other)))
            self._write()
            self._await()

    def stop(self) -> None:
        self._keeper.stop()

    def _write(self) -> None:
        self._version += 1
        new = self._file.with_suffix(".new")
        state = {
            "version": self._version,
            "keepers": [keeper.pid for keeper in self._keepers],
            "routes": self._routes,
            "parted": self._parted,
        }
        new.write_text(json.dumps(state), encoding="utf-8")
        os.replace(new, self._file)

    def _await(self) -> None:
        """Wait until the proxy follows the file."""
        done = Path(f"{self._file}.done")
        deadline = time.monotonic() + _PROXY_SECONDS
        while not done.exists() or done.read_text(encoding="utf-8") != str(self._version):
            if how := self._keeper.ended():
                raise ServerError(f"the proxy between the members: {how}\n{self._keeper.log}")
            if time.monotonic() > deadline:
                raise ServerError("the proxy between the members does not answer")
            time.sleep(_LOOK_SECONDS)


def connect(
    number: int, keeper: Callable[[], KeeperClient]
) -> tuple[Network, tuple[KeeperClient, ...]]:
    """Start the keepers of the members, in network namespaces or else with a proxy.

    Args:
        number: The number of members.
        keeper: Starts a keeper.
    """
    ip = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    keepers = [keeper() for _ in range(number)]
    if sys.platform != "linux":
        return Loopback(), (*keepers,)
    if os.geteuid() != 0 or ip is None:
        return Proxied(keepers), (*keepers,)
    try:
        return Namespaces(keepers, ip), (*keepers,)
    except ServerError:
        # Some of them may be in a network namespace that nothing reaches.
        for one in keepers:
            one.stop()
        keepers = [keeper() for _ in range(number)]
        return Proxied(keepers), (*keepers,)


def _ethernet(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def _outside(ip: str, command: str) -> str:
    """Run `ip` in the network namespace of this process and return its output."""
    done = subprocess.run([ip, *command.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"ip {command}: {done.stderr.strip()}")
    return done.stdout


def _routes(ip: str) -> list[ipaddress.IPv4Network]:
    """Return the networks that this machine has or knows a way to."""
    routes: list[dict[str, Any]] = json.loads(_outside(ip, "-json -4 route show table all"))
    known = [str(route["dst"]) for route in routes if route["dst"] != "default"]
    return [ipaddress.IPv4Network(one, strict=False) for one in known]


def _free_subnet(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return a private subnet that overlaps none of these networks.

    Raises:
        ServerError: None was found.
    """
    known = list(taken)
    for attempt in range(_ATTEMPTS):
        whole = ipaddress.IPv4Network(_RANGES[attempt % len(_RANGES)])
        step = 2 ** (32 - _SUBNET_BITS)
        first = whole[random.SystemRandom().randrange(whole.num_addresses // step) * step]
        subnet = ipaddress.IPv4Network((first, _SUBNET_BITS))
        if not any(subnet.overlaps(network) for network in known):
            return subnet
    raise ServerError("no private subnet is free")
