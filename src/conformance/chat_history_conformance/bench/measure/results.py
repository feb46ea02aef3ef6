"""Results of benchmarks as frozen values.

The dataclasses have the same fields as the JSON, so that pydantic reads them and
`dataclasses.asdict` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from chat_history_conformance.bench.measure.checks import (
    check_count,
    check_finite,
    check_interval,
    check_positive,
    check_text,
    check_time,
)
from chat_history_conformance.bench.measure.statistics import Estimate

__all__ = [
    "Commit",
    "Environment",
    "Growth",
    "Measured",
    "Memory",
    "Missing",
    "OperationFacts",
    "Result",
    "Rival",
]

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The floor or a peer, measured in the same run.

    Attributes:
        median_s: The median of its times, in seconds.
        ratio: Our time divided by its time: below 1, ours is faster.
        interval: The interval of the ratio.
        samples: The number of pairs.
        round_trips: The number of round trips of its operation, None if they were not counted.
        peak_bytes: The peak memory of its read, None if it was not measured.
        version: The version of the peer's distribution; None for a floor.
    """

    median_s: float
    ratio: float
    interval: Interval
    samples: int
    round_trips: int | None = None
    peak_bytes: int | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A time or a ratio is not positive, or the interval does not hold the ratio.
        """
        check_positive(median_s=self.median_s)
        check_interval("ratio", self.ratio, self.interval, positive=True)
        check_count(samples=self.samples, round_trips=self.round_trips)
        check_count(peak_bytes=self.peak_bytes)

    @property
    def estimate(self) -> Estimate:
        """The ratio with its interval."""
        return Estimate(self.ratio, *self.interval)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A peer that was not measured.

    Attributes:
        missing: The reason.
    """

    missing: str

    def __post_init__(self) -> None:
        """Check the reason.

        Raises:
            ValueError: The reason is empty.
        """
        check_text(missing=self.missing)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The growth of an operation's time with the length of the conversation.

    Attributes:
        lengths: The lengths of the conversations, in messages.
        median_s: The median time for each length, in seconds.
        exponent: The power of the length that the time grows with.
        interval: The interval of the exponent.
        allowed: The power that it may grow with.
        too_fast: Whether it certainly grows faster than that.
    """

    lengths: tuple[int, ...]
    median_s: tuple[float, ...]
    exponent: float
    interval: Interval
    allowed: float
    too_fast: bool

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: There is not one positive time for each positive length, or the interval
                does not hold the exponent.
        """
        if len(self.lengths) != len(self.median_s) or not all(n > 0 for n in self.lengths):
            raise ValueError(f"{len(self.median_s)} times for the lengths {list(self.lengths)}")
        check_positive(**{f"median_s[{n}]": each for n, each in enumerate(self.median_s)})
        check_interval("exponent", self.exponent, self.interval)
        check_finite(allowed=self.allowed)

    @property
    def estimate(self) -> Estimate:
        """The exponent with its interval."""
        return Estimate(self.exponent, *self.interval)

    @property
    def seconds(self) -> dict[int, float]:
        """The median time in seconds by length, the shortest first."""
        return dict(sorted(zip(self.lengths, self.median_s, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The peak memory of a read by the length of the conversation.

    Attributes:
        lengths: The lengths of the conversations, in messages.
        peak_bytes: The most bytes that Python held at once, for each length.
    """

    lengths: tuple[int, ...]
    peak_bytes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: There is not one number of bytes for each positive length.
        """
        if len(self.lengths) != len(self.peak_bytes) or not all(n > 0 for n in self.lengths):
            number = len(self.peak_bytes)
            raise ValueError(f"{number} numbers of bytes for the lengths {list(self.lengths)}")
        check_count(**{f"peak_bytes[{n}]": each for n, each in enumerate(self.peak_bytes)})

    @property
    def by_length(self) -> dict[int, int]:
        """The bytes by length, the shortest first."""
        return dict(sorted(zip(self.lengths, self.peak_bytes, strict=True)))


@dataclass(frozen=True, kw_only=True)
class OperationFacts:
    """The facts of a measured operation, without its own times.

    Attributes:
        operation: Its name, `read_1000`.
        title: Its name in tables, `read 1,000`.
        mode: `sync` or `async`.
        size: The number of messages in the conversation.
        round_trips: The number of round trips, None if they cannot be counted.
        round_trips_unknown: The reason why they cannot be counted.
        floor: The raw client, None if the backend has no floor.
        peers: The peers by distribution.
        growth: The growth, None if it was not measured.
        memory: The peak memory, None if it was not measured.
    """

    operation: str
    title: str
    mode: str
    size: int
    round_trips: int | None = None
    round_trips_unknown: str | None = None
    floor: Rival | None = None
    peers: Mapping[str, Rival | Missing] = field(default_factory=dict)
    growth: Growth | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A text is empty, or a number is below 0.
        """
        check_text(operation=self.operation, title=self.title, mode=self.mode)
        check_text(round_trips_unknown=self.round_trips_unknown)
        check_count(size=self.size, round_trips=self.round_trips)

    @property
    def label(self) -> str:
        """The name as in ids: `read_1000[sync]`."""
        return f"{self.operation}[{self.mode}]"

    @property
    def peak_bytes(self) -> int | None:
        """The peak memory at the length of the operation, None if it was not measured."""
        return None if self.memory is None else self.memory.by_length.get(self.size)


@dataclass(frozen=True, kw_only=True)
class Measured(OperationFacts):
    """One operation in one mode, with its times.

    Attributes:
        median_s: The median time in seconds.
        interval: The interval of the median; the median twice if the file has no samples.
        rounds: The number of samples.
    """

    median_s: float
    interval: Interval
    rounds: int

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is out of range.
        """
        super().__post_init__()
        check_interval("median_s", self.median_s, self.interval, positive=True)
        check_count(rounds=self.rounds)

    @property
    def estimate(self) -> Estimate:
        """The median time with its interval."""
        return Estimate(self.median_s, *self.interval)

    @property
    def rivals(self) -> dict[str, Rival]:
        """The floor, under the name `floor`, and all peers that took part."""
        peers = {name: peer for name, peer in self.peers.items() if isinstance(peer, Rival)}
        return peers if self.floor is None else {"floor": self.floor, **peers}


@dataclass(frozen=True)
class Environment:
    """The environment of a measurement, without identifying the machine.

    Attributes:
        python: Implementation and version, `CPython 3.11.7`.
        machine: The kind of machine: system, architecture, processors.
        packages: The versions by distribution.
    """

    python: str
    machine: str
    packages: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A text is empty.
        """
        check_text(python=self.python, machine=self.machine)
        check_text(**{f"packages.{name}": each for name, each in self.packages.items()})

    @property
    def python_series(self) -> str:
        """The Python without the last number of its version, which does not change its speed."""
        name, _, version = self.python.rpartition(" ")
        return f"{name} {'.'.join(version.split('.')[:2])}"


@dataclass(frozen=True)
class Commit:
    """The commit that was measured.

    Attributes:
        id: The id that the version control gave it.
        time: The time of the commit, ISO 8601; None if it is not known.
        dirty: Whether there were changes that were not committed.
    """

    id: str
    time: str | None = None
    dirty: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: The id is empty, or the time is not ISO 8601.
        """
        check_text(id=self.id)
        check_time(time=self.time)

    @property
    def short(self) -> str:
        """The name for people: the first letters of a hash, and a plus if it is dirty."""
        name = self.id[:9] if re.fullmatch("[0-9a-f]{12,}", self.id) else self.id
        return f"{name}{'+' if self.dirty else ''}"


@dataclass(frozen=True)
class Result:
    """The benchmarks of one backend in one run.

    Attributes:
        backend: Its name.
        server: Version and kind of its server, `4.1.1 (jvm)`; None if it has no server.
        measured_at: The time of the run, ISO 8601.
        commit: The commit that was measured, None if it is not known.
        environment: The environment.
        operations: The operations, in the order of the table.
        payload: The conversation that was stored and read. Before 0.2.0 there was only `plain`.
    """

    backend: str
    server: str | None
    measured_at: str
    commit: Commit | None
    environment: Environment
    operations: tuple[Measured, ...]
    payload: str = "plain"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A text is empty, or the time is not ISO 8601.
        """
        check_text(backend=self.backend, server=self.server, payload=self.payload)
        check_time(measured_at=self.measured_at)
