"""Three `served` members as one server, whose leader can be killed, paused and cut off."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.faulty.served.history import ServedChatMessageHistory
from chat_history_conformance.servers import ServerError, process
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options
from chat_history_conformance.servers.process import ProcessServer
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Member, Server, Unsupported

__all__ = ["ServedCluster", "start_cluster"]

_HEALTHY_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class _OneMember(Kind):
    """The kind of one member, which runs on the same Python as the suite."""

    name = "served"
    title = "a member of the served control"
    form = "HOST:PORT"
    ways = ("local",)
    unprivileged = False

    def __init__(self, number: int, shared: Path | None) -> None:
        self.number = number
        self.shared = shared

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        self.shared = self.shared or directory
        source = Path(__file__).with_name("member.py")
        arguments = [str(ports[0]), str(self.number), str(self.shared)]
        return Launch(
            command=[str(program.path), "-I", "-S", str(source), *arguments],
            address=f"127.0.0.1:{ports[0]}",
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        _leader_seen_by(address)


def _leader_seen_by(address: str) -> int:
    """Return the number of the member that leads, as one member sees it; 0 if none does.

    Raises:
        NotReady: It does not answer.
    """
    request = json.dumps({"do": "who leads", "session": ""}).encode("ascii") + b"\n"
    try:
        answer = ServedChatMessageHistory("", address)._exchange(request, lambda: 2.0)
    except OSError as error:
        raise NotReady(str(error)) from error
    return int(answer["leader"])


class ServedCluster(Server):
    """Three members with a shared directory.

    Args:
        nodes: The members.
        shared: The directory.
    """

    kind = "served"
    way = "process"
    version = "1"

    def __init__(self, nodes: Sequence[ProcessServer], shared: Path) -> None:
        self._nodes = tuple(nodes)
        self._shared = shared
        self.address = ",".join(node.address for node in nodes)

    @property
    def why_no_faults(self) -> str:
        return self._nodes[0].why_no_faults

    @property
    def why_no_partition(self) -> str:
        return ""

    @property
    def members(self) -> tuple[Member, ...]:
        return self._nodes

    @property
    def roles(self) -> tuple[str, ...]:
        return ("leader", "coordinator")

    def ended(self) -> str:
        return "; ".join(how for node in self._nodes if (how := node.ended()))

    def pause(self) -> None:
        for node in self._nodes:
            node.pause()

    def resume(self) -> None:
        for node in self._nodes:
            node.resume()

    def kill(self) -> None:
        for node in self._nodes:
            node.kill()

    def shut_down(self) -> None:
        for node in self._nodes:
            node.shut_down()

    def restart(self) -> None:
        self.kill()
        for node in self._nodes:
            self.reconnect(node)
            node.restart()
        self.wait_until_healthy(_HEALTHY_SECONDS)

    def holder(self, role: str, session: str) -> Member:
        if role not in self.roles:
            raise Unsupported(f"served has no role {role!r}; its roles are leader, coordinator")
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while True:
            up = {node.name: node for node in self._nodes if node.state == "up"}
            for node in up.values():
                with contextlib.suppress(NotReady):
                    name = str(_leader_seen_by(node.address))
                    if name in up:
                        return up[name]
            if time.monotonic() > deadline:
                raise ServerError("no member leads")
            time.sleep(_LOOK_SECONDS)

    def cut_off(self, member: Member) -> None:
        self._mark(member).touch()

    def reconnect(self, member: Member) -> None:
        self._mark(member).unlink(missing_ok=True)

    def wait_until_healthy(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                seen = {_leader_seen_by(node.address) for node in self._nodes}
            except NotReady as error:
                seen, reason = set(), str(error)
            else:
                reason = f"the members see different leaders: {sorted(seen)}"
            if len(seen) == 1 and 0 not in seen:
                return
            if time.monotonic() > deadline:
                raise ServerError(f"the served cluster is not healthy: {reason}")
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        for node in reversed(self._nodes):  # the first one has the shared directory
            node.stop()

    def _mark(self, member: Member) -> Path:
        return self._shared / f"cut-{member.name}"


def start_cluster() -> ServedCluster:
    """Start three members on free loopback ports.

    Raises:
        ServerError: A member did not start.
    """
    nodes: list[ProcessServer] = []
    python = Program(Path(sys.executable), "1", "process")
    shared: Path | None = None
    for number in (1, 2, 3):
        kind = _OneMember(number, shared)
        node = process.start(kind, python, Options())
        node.name = str(number)
        nodes.append(node)
        shared = kind.shared
    assert shared is not None
    cluster = ServedCluster(nodes, shared)
    cluster.wait_until_healthy(_HEALTHY_SECONDS)
    return cluster
