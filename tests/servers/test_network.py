"""The network between the members of a cluster, without any server."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chat_history_conformance.servers import ServerError, network
from chat_history_conformance.servers.keeper_client import KeeperClient
from chat_history_conformance.servers.network import Namespaces, Proxied
from chat_history_conformance.servers.process import free_ports
from tests.servers.waiting import until

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="only root makes network namespaces, on Linux and with iproute2",
)

_SECONDS = 1.0


def keeper() -> KeeperClient:
    return KeeperClient("network")


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@pytest.fixture
def connected() -> Iterator[tuple[Namespaces, tuple[KeeperClient, ...]]]:
    connection, keepers = network.connect(3, keeper)
    try:
        assert isinstance(connection, Namespaces), connection.why_no_partition
        assert connection.device in devices()
        yield connection, keepers
    finally:
        for one in keepers:
            one.stop()
        connection.stop()
    until(lambda: connection.device not in devices(), "a network device is left")


def reaches(keepers: tuple[KeeperClient, ...], one: int, host: str) -> bool:
    try:
        keepers[one - 1].reach(host, 1, _SECONDS)
    except ServerError:
        return False
    return True


@as_root
def test_members_that_are_parted_do_not_reach_each_other(
    connected: tuple[Namespaces, tuple[KeeperClient, ...]],
) -> None:
    connection, keepers = connected
    connection.part(1, 2)
    for address in (connection.host, connection.inside):
        assert not reaches(keepers, 1, address(2))
        assert not reaches(keepers, 2, address(1))
        assert reaches(keepers, 1, address(3))
        assert reaches(keepers, 3, address(2))
    with pytest.raises(ConnectionRefusedError):  # clients still reach it
        socket.create_connection((connection.host(1), 1), _SECONDS)
    connection.join(1, 2)
    assert reaches(keepers, 1, connection.host(2))
    assert reaches(keepers, 2, connection.inside(1))


@as_root
def test_nothing_stays_if_the_parent_is_killed() -> None:
    script = (
        "import os\nfrom chat_history_conformance.servers import network\n"
        "from chat_history_conformance.servers.keeper_client import KeeperClient\n"
        "connection, keepers = network.connect(3, lambda: KeeperClient('network'))\n"
        "print(connection.device, *(one.directory for one in keepers), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    device, *directories = done.stdout.split()
    assert len(directories) == 3
    until(lambda: device not in devices(), "a network device is left")
    until(lambda: not any(map(os.path.exists, directories)), "a directory is left")


SPEAKING = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def answer():
    while True:
        listener.accept()[0].close()
threading.Thread(target=answer, daemon=True).start()
while True:
    time.sleep(0.1)
    answered = False
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 1) as other:
            other.settimeout(1)
            answered = other.recv(1) == b""
    except OSError:
        pass
    with open("answered", "w") as file:
        file.write(str(answered))
"""
"""A member that accepts connections, and records whether another one answers."""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the origin of a connection in /proc")
def test_without_root_a_proxy_parts_the_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    connection, keepers = network.connect(3, keeper)
    ports = [free_ports(2) for _ in keepers]
    try:
        assert isinstance(connection, Proxied)
        fronts = connection.fronts(ports)
        assert [own[0] for own in ports] == [own[0] for own in fronts]
        for at, one in enumerate(keepers):
            there = fronts[(at + 1) % 3][1]
            one.start([sys.executable, "-c", SPEAKING, str(ports[at][1]), str(there)], {})

        def answered(number: int, expected: bool) -> None:
            file = keepers[number - 1].directory / "answered"
            file.unlink(missing_ok=True)
            until(lambda: file.exists() and file.read_text() == str(expected), f"{number} not")

        answered(1, True)
        connection.part(2, 1)
        answered(1, False)
        answered(2, True)
        answered(3, True)
        connection.join(1, 2)
        answered(1, True)
    finally:
        for one in keepers:
            one.stop()
        connection.stop()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no user ids")
def test_on_other_systems_the_members_cannot_be_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    connection, keepers = network.connect(2, keeper)
    for one in keepers:
        one.stop()
    assert "only on Linux" in connection.why_no_partition
    assert connection.host(2) == "127.0.0.1"


def test_a_free_subnet_overlaps_no_known_network() -> None:
    taken = [ipaddress.IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12")]
    for _ in range(20):
        subnet = network._free_subnet(taken)
        assert subnet.is_private
        assert not any(subnet.overlaps(one) for one in taken)
    with pytest.raises(ServerError, match="no private subnet is free"):
        network._free_subnet([ipaddress.IPv4Network("0.0.0.0/0")])
