"""The network between the members of a cluster, and how it is cut.

As root on Linux, each member runs in its own network namespace. A further namespace, the hub, has a
bridge that connects the members with each other and with this machine. No namespace has a name, so
the system removes each with its last process, and with it all its devices: nothing stays, however
the run ends.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.keeper_client import KeeperClient

__all__ = [
    "Loopback",
    "Namespaces",
    "Network",
    "connect",
]

_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""The private addresses, in which a free subnet is chosen."""

_SUBNET_BITS = 24
_ATTEMPTS = 50
_REACH_SECONDS = 3.0
_CLOSED_PORT = 1
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
    """Members that listen on loopback, and cannot be cut off.

    Args:
        reason: Why there is no better network.
    """

    description = "loopback"

    def __init__(self, reason: str) -> None:
        self.why_no_partition = f"members can be cut off only in network namespaces: {reason}"

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
    """Members in network namespaces of their own, connected by a bridge.

    Args:
        keepers: The keepers of the members, which have started nothing yet.
        ip: The program `ip`.

    Raises:
        ServerError: This system does not allow it, or the members cannot reach each other.
    """

    description = "network namespaces"

    def __init__(self, keepers: Sequence[KeeperClient], ip: str) -> None:
        self._keepers = keepers
        self._ip = ip
        self._subnet = _free_subnet(_routes(ip))
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
        self._hub.stop()

    def _build(self) -> None:
        hub = self._hub.isolate()
        outside = f"history{random.SystemRandom().randrange(16**8):08x}"  # at most 15 characters
        self._in_hub("link add hub type bridge")
        self._in_hub("link set hub up")
        _outside(self._ip, f"link add {outside} type veth peer name machine netns {hub}")
        _outside(self._ip, f"address add {self._subnet[-2]}/{_SUBNET_BITS} dev {outside}")
        _outside(self._ip, f"link set {outside} up")
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


def connect(
    number: int, keeper: Callable[[], KeeperClient]
) -> tuple[Network, tuple[KeeperClient, ...]]:
    """Start the keepers of the members, in network namespaces if this system allows it.

    Args:
        number: The number of members.
        keeper: Starts a keeper.
    """
    ip = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    keepers = [keeper() for _ in range(number)]
    if sys.platform != "linux":
        return Loopback("they exist only on Linux"), (*keepers,)
    if os.geteuid() != 0:
        return Loopback("only root can make them"), (*keepers,)
    if ip is None:
        return Loopback("the program ip (package iproute2) is missing"), (*keepers,)
    try:
        return Namespaces(keepers, ip), (*keepers,)
    except ServerError as error:
        # Some of them may be in a network namespace that nothing reaches.
        for one in keepers:
            one.stop()
        return Loopback(str(error)), tuple(keeper() for _ in range(number))


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
