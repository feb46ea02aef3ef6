"""Clusters of servers: several processes of one kind that know each other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from chat_history_conformance.servers import ServerError, network, process, unprivileged
from chat_history_conformance.servers.jvm import Control, JvmKind, Seat
from chat_history_conformance.servers.keeper_client import KeeperClient
from chat_history_conformance.servers.kind import Launch, NotReady, Options, Refused
from chat_history_conformance.servers.network import Network
from chat_history_conformance.servers.process import ProcessServer, free_ports, until_free
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Member, Server, Unsupported
from chat_history_conformance.servers.unprivileged import Account

__all__ = [
    "READY_SECONDS",
    "Cluster",
    "Node",
    "start",
]

READY_SECONDS = 300.0
"""Time limit until all members serve clients, or one of them after a restart."""

_MINORITY_SECONDS = 5.0
"""Time limit for the last members of a shut-down. Without a majority they cannot end in order."""

_LOOK_SECONDS = 0.02

_T = TypeVar("_T")


class Node(ProcessServer):
    """A member of a cluster.

    Args:
        kind: The kind of server.
        program: The program that runs it.
        keeper: The keeper and its directory, in which the member was prepared.
        launch: How to run it.
        account: The account that runs it; None for the current user.
        number: Its number in the cluster, counted from 1.
        joined: Waits until it has joined, if the others let it; called after a restart.
    """

    def __init__(
        self,
        kind: JvmKind,
        program: Program,
        keeper: KeeperClient,
        launch: Launch,
        account: Account | None,
        number: int,
        joined: Callable[[Node], None],
    ) -> None:
        super().__init__(kind, program, keeper, launch, account)
        self.name = str(number)
        self.number = number
        self._joined = joined

    def start(self) -> None:
        self.begin()
        self._joined(self)


class Cluster(Server):
    """Several nodes that this run started. A fault of the cluster is a fault of each node.

    Args:
        kind: The kind of server.
        program: The program that runs each of them.
        seats: The places of its members.
        launches: How to run each of them.
        keepers: Their keepers, in whose directories they were prepared.
        connection: The network between them.
        accounts: The accounts that run them.
    """

    way = "jvm"

    def __init__(
        self,
        kind: JvmKind,
        program: Program,
        seats: Sequence[Seat],
        launches: Sequence[Launch],
        keepers: Sequence[KeeperClient],
        connection: Network,
        accounts: Sequence[Account | None],
    ) -> None:
        self.kind = kind.name
        self.version = program.version
        self.address = ",".join(launch.address for launch in launches)
        self._of_kind = kind
        self._network = connection
        self._cut: set[int] = set()
        self._nodes = tuple(
            Node(kind, program, keeper, launch, account, seat.number, self._wait_for)
            for keeper, launch, account, seat in zip(
                keepers, launches, accounts, seats, strict=True
            )
        )
        self._control: Control = kind.control(
            seats[0], launches, [keeper.directory for keeper in keepers]
        )

    @property
    def description(self) -> str:
        return f"{self.version} ({self.way}:{len(self._nodes)}, {self._network.description})"

    @property
    def why_no_faults(self) -> str:
        return self._nodes[0].why_no_faults

    @property
    def why_no_partition(self) -> str:
        return self._network.why_no_partition

    @property
    def members(self) -> tuple[Member, ...]:
        return self._nodes

    @property
    def roles(self) -> tuple[str, ...]:
        return self._control.roles

    @property
    def log(self) -> str:
        ended = [node for node in self._nodes if node.ended()]
        return "\n".join(f"member {node.name}:\n{node.log}" for node in ended or self._nodes)

    def ended(self) -> str:
        reasons = [(node.name, how) for node in self._nodes if (how := node.ended())]
        return "; ".join(f"member {name}: {how}" for name, how in reasons)

    def pause(self) -> None:
        _each(self._nodes, Node.pause)

    def resume(self) -> None:
        _each(self._nodes, Node.resume)
        if len(self._connected()) == len(self._nodes):
            self.wait_until_healthy(READY_SECONDS)  # the members elect leaders first

    def kill(self) -> None:
        _each(self._nodes, Node.kill)

    def shut_down(self) -> None:
        if self.why_no_faults:
            raise Unsupported(self.why_no_faults)
        _each(self._nodes, Node.terminate)
        deadline = time.monotonic() + process.SHUT_DOWN_SECONDS
        minority = (len(self._nodes) - 1) // 2
        left = self._left(minority, deadline)
        if len(left) <= minority:
            left = self._left(0, min(deadline, time.monotonic() + _MINORITY_SECONDS))
        _each(left, Node.kill)
        if len(left) > minority:
            raise ServerError(process.not_in_time(self))

    def _left(self, most: int, deadline: float) -> list[Node]:
        """Wait until at most so many members are left, and return those that are."""
        while len(left := [node for node in self._nodes if not node.gone]) > most:
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_SECONDS)
        return left

    def restart(self) -> None:
        self.kill()
        for node in self._nodes:
            self._reconnect(node.number)
        try:
            self.start()
        except process.PortTaken:
            raise ServerError(
                f"Another program took a port of {self.address} while the cluster was down."
            ) from None

    def start(self) -> None:
        """Run all members and wait until the cluster is healthy.

        Raises:
            PortTaken: Another program has a port.
            ServerError: A member ended, or they were not ready in time.
        """
        _each(self._nodes, Node.begin)
        try:
            self._wait(READY_SECONDS)
        except (NotReady, Refused) as error:
            blamed = next((node for node in self._nodes if node.ended()), self._nodes[0])
            raise blamed.failure(error) from None

    def holder(self, role: str, session: str) -> Member:
        if role not in self.roles:
            raise Unsupported(
                f"{self.kind} has no role {role!r}; its roles are {', '.join(self.roles)}"
            )
        # A member that was cut off may know an older truth: it is asked last.
        up = sorted(
            (node.number for node in self._nodes if node.state == "up"), key=self._cut.__contains__
        )
        if not up:
            raise ServerError(f"no member of {self.kind} is up, so none is the {role}")
        node = self._nodes[self._control.holder(role, session, up) - 1]
        if (state := node.state) != "up":
            raise ServerError(f"member {node.name} of {self.kind} is the {role}, but it is {state}")
        return node

    def cut_off(self, member: Member) -> None:
        number = self._number(member)
        for other in self._others(number):
            self._network.part(number, other)
        self._cut.add(number)

    def reconnect(self, member: Member) -> None:
        self._reconnect(self._number(member))

    def reassign(self, session: str) -> None:
        self._control.reassign(session, self._connected())

    def wait_until_healthy(self, seconds: float) -> None:
        try:
            self._wait(seconds)
        except (NotReady, Refused) as error:
            raise ServerError(f"{self.kind} {self.description} is not healthy: {error}") from None

    def stop(self) -> None:
        try:
            _each(self._nodes, Node.stop)
        finally:
            self._network.stop()

    def _number(self, member: Member) -> int:
        if self.why_no_partition:
            raise Unsupported(self.why_no_partition)
        for node in self._nodes:
            if node is member:
                return node.number
        raise ServerError(f"{self.kind} {self.description} has no such member")

    def _others(self, number: int) -> list[int]:
        return [node.number for node in self._nodes if node.number != number]

    def _reconnect(self, number: int) -> None:
        if number in self._cut:
            self._cut.remove(number)
            for other in self._others(number):
                if other not in self._cut:
                    self._network.join(number, other)

    def _connected(self) -> list[int]:
        """Return the members that are up and not cut off."""
        return [
            node.number
            for node in self._nodes
            if node.state == "up" and node.number not in self._cut
        ]

    def _wait_for(self, node: Node) -> None:
        """Wait until a member has joined the others, if they are enough to let it."""
        connected = self._connected()
        if node.number not in connected or 2 * len(connected) <= len(self._nodes):
            return
        try:
            process.wait_until_ready(
                lambda seconds: self._control.check_member(node.number, seconds),
                node.ended,
                READY_SECONDS,
            )
        except (NotReady, Refused) as error:
            raise node.failure(error) from None

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        if self._cut:
            raise NotReady(f"member {min(self._cut)} is cut off")
        for node in self._nodes:
            if node.state == "paused":
                raise NotReady(f"member {node.name} is paused")
        process.wait_until_ready(
            self._control.check_health, self.ended, max(0.0, deadline - time.monotonic())
        )


def start(kind: JvmKind, program: Program, options: Options, number: int) -> Cluster:
    """Start a cluster, and on other ports if another program takes one of them.

    Args:
        kind: The kind of server.
        program: The program that runs each member.
        options: Options of each member. The port is that of the first member.
        number: The number of members.

    Raises:
        ServerError: It did not start.
    """
    if not kind.member_ports:
        raise ServerError(f"{kind.title} cannot be a cluster here.")

    def attempt() -> Cluster:
        connection, keepers = network.connect(number, lambda: KeeperClient(kind.name))
        try:
            cluster = _prepare(kind, program, options, connection, keepers)
            cluster.start()
        except BaseException:
            _each(keepers, KeeperClient.stop)
            connection.stop()
            raise
        return cluster

    return until_free(attempt, options)


def _prepare(
    kind: JvmKind,
    program: Program,
    options: Options,
    connection: Network,
    keepers: Sequence[KeeperClient],
) -> Cluster:
    """Prepare the directories of all members."""
    numbers = range(1, len(keepers) + 1)
    ports = free_ports(len(keepers) * kind.member_ports, options.port)
    per_member = [ports[at :: len(keepers)] for at in range(len(keepers))]
    first = Seat(
        number=1,
        hosts=[connection.host(number) for number in numbers],
        inside=[connection.inside(number) for number in numbers],
        ports=per_member,
        fronts=connection.fronts(per_member),
        cluster=kind.new_cluster(),
    )
    further = [
        dataclasses.replace(first, number=number, template=keepers[0].directory)
        for number in numbers[1:]
    ]
    seats = [first, *further]
    launches, accounts = [], []
    for seat, keeper in zip(seats, keepers, strict=True):
        account = unprivileged.account(kind.title, keeper.directory) if kind.unprivileged else None
        launches.append(kind.member(program, keeper.directory, seat, options))
        if account is not None:
            account.own(keeper.directory)
        accounts.append(account)
    return Cluster(kind, program, seats, launches, keepers, connection, accounts)


def _each(items: Iterable[_T], action: Callable[[_T], None]) -> None:
    """Do something to all items at the same time.

    Raises:
        Exception: The first error, after the action has ended for all items.
    """
    several = list(items)
    if not several:
        return
    with ThreadPoolExecutor(len(several)) as pool:
        running = [pool.submit(action, item) for item in several]
    for one in running:
        one.result()
