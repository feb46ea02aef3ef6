"""The plan of a campaign: its faults and its clients, drawn from the seed. Pure functions.

The same seed, options and abilities always give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from chat_history_conformance.campaign.server.faults import FAULTS, Ability, possible

__all__ = ["Client", "Event", "Process", "Role", "Traffic", "draw_events", "draw_processes"]

Role = Literal["writer", "reader", "clearer", "mixed_clearer", "consumer"]
Mode = Literal["sync", "async"]

_CALM_SECONDS = (1.0, 3.0)
_READERS_OF_A_PROCESS = 4


@dataclass(frozen=True)
class Event:
    """One fault of the plan.

    Attributes:
        fault: The name of the fault.
        numbers: The numbers that were drawn for it.
        calm_seconds: How long the clients work undisturbed before it.
    """

    fault: str
    numbers: Mapping[str, float]
    calm_seconds: float


@dataclass(frozen=True)
class Client:
    """One client: a thread or a task with its own handles.

    Attributes:
        name: Its name.
        role: Its task.
        mode: Whether it is a thread that calls, or a task that awaits.
        sessions: The sessions that it uses.
        operations: The reads that its histories have in its mode.
        seed: The seed of its choices.
        consumed: The sessions among them in which a consumer reads on from the last consumed
            message. A read from the beginning moves that position.
    """

    name: str
    role: Role
    mode: Mode
    sessions: tuple[str, ...]
    operations: tuple[str, ...]
    seed: int
    consumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """One process of clients."""

    name: str
    clients: tuple[Client, ...]


@dataclass(frozen=True)
class Traffic:
    """The number of clients and sessions, and the abilities of the histories.

    Attributes:
        sessions: The number of sessions that only grow.
        writers: The number of clients that add messages to them.
        readers: The number of clients that read them.
        operations: The reads that a history has, by mode.
        threads: Whether several threads of a process may use histories.
    """

    sessions: int = 4
    writers: int = 6
    readers: int = 4
    operations: Mapping[Mode, tuple[str, ...]] = field(default_factory=dict)
    threads: bool = True


def draw_events(
    seed: int, number: int, ability: Ability, only: Sequence[str] = ()
) -> tuple[Event, ...]:
    """Draw the faults of a campaign.

    Each possible fault is drawn once before one is drawn again.

    Args:
        seed: The seed of the campaign.
        number: The number of events.
        ability: What can be done to the server.
        only: The names of the faults to draw from. Defaults to all possible ones.
    """
    rng = random.Random(f"events {seed}")
    names = [name for name in possible(ability) if not only or name in only]
    drawn: list[str] = []
    while names and len(drawn) < number:
        drawn += rng.sample(names, len(names))
    return tuple(
        Event(
            name,
            {what: round(rng.uniform(*bounds), 3) for what, bounds in FAULTS[name].numbers.items()},
            round(rng.uniform(*_CALM_SECONDS), 3),
        )
        for name in drawn[:number]
    )


def draw_processes(seed: int, traffic: Traffic) -> tuple[Process, ...]:
    """Return the processes of clients.

    Writers, readers and consumers share the sessions that only grow. The clearers have a session
    each, and share one with two writers. Each client has its process if histories are not for
    several threads.
    """
    grown = [f"campaign-{seed}-{number}" for number in range(1, traffic.sessions + 1)]
    mixed = f"campaign-{seed}-mixed"
    modes = [mode for mode in ("sync", "async") if mode in traffic.operations]
    rng = random.Random(f"clients {seed}")

    def client(role: Role, number: int, sessions: Sequence[str]) -> Client:
        mode: Mode = modes[number % len(modes)]  # type: ignore[assignment]
        return Client(
            f"{role}{number + 1}",
            role,
            mode,
            tuple(sessions),
            traffic.operations[mode],
            rng.randrange(2**32),
        )

    def several(role: Role, number: int) -> list[Client]:
        return [client(role, one, [grown[one % len(grown)]]) for one in range(number)]

    writers = several("writer", traffic.writers)
    writers += [client("writer", traffic.writers + one, [mixed]) for one in range(2)]
    # The stored position belongs to the session, so each session has one consumer only.
    consumers = [
        one
        for one in several("consumer", min(2, len(grown)))
        if "messages_from_last_consumed" in one.operations
    ]
    consumed = tuple(session for one in consumers for session in one.sessions)
    readers = [
        replace(client("reader", number, [*grown, mixed]), consumed=consumed)
        for number in range(traffic.readers)
    ]
    clearers = [client("clearer", one, [f"campaign-{seed}-clear-{one + 1}"]) for one in range(2)]
    clearers += [client("mixed_clearer", one, [mixed]) for one in range(1)]
    found = [Process("writers", tuple(writers))]
    for first in range(0, len(readers), _READERS_OF_A_PROCESS):
        name = "readers" if first == 0 else f"readers{first // _READERS_OF_A_PROCESS + 1}"
        found.append(Process(name, tuple(readers[first : first + _READERS_OF_A_PROCESS])))
    if consumers:
        found.append(Process("consumers", tuple(consumers)))
    found.append(Process("clearers", tuple(clearers)))
    if not traffic.threads:
        return tuple(Process(one.name, (one,)) for process in found for one in process.clients)
    return tuple(found)
