"""What benchmarks measured, as frozen values, and how pytest-benchmark's JSON becomes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chat_history_conformance.bench.measure import statistics
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.bench.report.places import NotSuch, Place

_SUITE = "chat-history-conformance"
_NO_COMMIT = ("unversioned", "unknown")


@dataclass(frozen=True)
class Rival:
    """The floor or a peer beside ours, in the same run.

    Attributes:
        median_s: The median of its times, in seconds.
        ratio: Ours by its: below 1, ours is faster.
        samples: Of how many pairs.
        round_trips: How many its operation takes, None where they were not counted.
        version: Of the peer's distribution; None for a floor.
    """

    median_s: float
    ratio: Estimate
    samples: int
    round_trips: int | None = None
    version: str | None = None

    @classmethod
    def read(cls, place: Place) -> Rival:
        """The rival that stands there."""
        trips, version = place.maybe("round_trips"), place.maybe("version")
        return cls(
            place.at("median_s").positive(),
            _estimate(place, "ratio", positive=True),
            place.at("samples").whole(),
            None if trips is None else trips.whole(),
            None if version is None else version.text(),
        )

    def to_json(self) -> dict[str, Any]:
        """What `read` reads."""
        return {**asdict(self), **_told(self.ratio, "ratio")}


@dataclass(frozen=True)
class Growth:
    """How the time of an operation grew with the length of the conversation.

    Attributes:
        median_s: The median time in seconds by length.
        exponent: The power of the length that the time grows with.
        allowed: The power that it may grow with.
        too_fast: Whether it grows faster than that, beyond doubt.
    """

    median_s: Mapping[int, float]
    exponent: Estimate
    allowed: float
    too_fast: bool

    @classmethod
    def read(cls, place: Place) -> Growth:
        """The growth that stands there."""
        lengths = [length.whole() for length in place.at("lengths")]
        medians = [seconds.positive() for seconds in place.at("median_s")]
        if len(lengths) != len(medians) or 0 in lengths:
            raise place.wrong(f"{len(medians)} times for the lengths {lengths}")
        return cls(
            dict(sorted(zip(lengths, medians, strict=True))),
            _estimate(place, "exponent"),
            place.at("allowed").number(),
            place.at("too_fast").flag(),
        )

    def to_json(self) -> dict[str, Any]:
        """What `read` reads."""
        return {
            "lengths": list(self.median_s),
            "median_s": list(self.median_s.values()),
            **_told(self.exponent, "exponent"),
            "allowed": self.allowed,
            "too_fast": self.too_fast,
        }


@dataclass(frozen=True)
class Measured:
    """One operation in one mode.

    Attributes:
        operation: Its name, `read_1000`.
        title: Its name in tables, `read 1,000`.
        mode: `sync` or `async`.
        size: How many messages the conversation had.
        median_s: The median time in seconds; without an interval where the file has no samples.
        rounds: How many samples that is of.
        round_trips: How many it takes, None where they cannot be counted.
        round_trips_unknown: Why they cannot.
        floor: The raw client, None where the backend has no floor.
        peers: By distribution; for one that did not take part, the reason.
        growth: None where it was not measured.
    """

    operation: str
    title: str
    mode: str
    size: int
    median_s: Estimate
    rounds: int
    round_trips: int | None
    round_trips_unknown: str | None
    floor: Rival | None
    peers: Mapping[str, Rival | str]
    growth: Growth | None

    @property
    def label(self) -> str:
        """As in ids: `read_1000[sync]`."""
        return f"{self.operation}[{self.mode}]"

    @property
    def rivals(self) -> dict[str, Rival]:
        """The floor, named so, and all peers that took part."""
        peers = {name: peer for name, peer in self.peers.items() if isinstance(peer, Rival)}
        return peers if self.floor is None else {"floor": self.floor, **peers}

    @classmethod
    def read(cls, place: Place, median_s: Estimate, rounds: int) -> Measured:
        """The operation that stands there, but for its own times."""
        floor, growth = place.maybe("floor"), place.maybe("growth")
        trips, unknown = place.maybe("round_trips"), place.maybe("round_trips_unknown")
        peers = place.maybe("peers")
        return cls(
            operation=place.at("operation").text(),
            title=place.at("title").text(),
            mode=place.at("mode").text(),
            size=place.at("size").whole(),
            median_s=median_s,
            rounds=rounds,
            round_trips=None if trips is None else trips.whole(),
            round_trips_unknown=None if unknown is None else unknown.text(),
            floor=None if floor is None else Rival.read(floor),
            peers={
                name: peer.at("missing").text() if "missing" in peer else Rival.read(peer)
                for name, peer in (peers.items() if peers else ())
            },
            growth=None if growth is None else Growth.read(growth),
        )

    def to_json(self) -> dict[str, Any]:
        """What `Result.read` reads."""
        return {
            **asdict(self),
            **_told(self.median_s, "median_s"),
            "floor": self.floor and self.floor.to_json(),
            "peers": {
                name: {"missing": peer} if isinstance(peer, str) else peer.to_json()
                for name, peer in self.peers.items()
            },
            "growth": self.growth and self.growth.to_json(),
        }


@dataclass(frozen=True)
class Environment:
    """Where it was measured; nothing that tells whose machine it is.

    Attributes:
        python: Implementation and version, `CPython 3.11.7`.
        machine: What kind of machine: system, architecture, processors.
        packages: Version by distribution.
    """

    python: str
    machine: str
    packages: Mapping[str, str]

    @property
    def python_series(self) -> str:
        """Without the last number of its version, which does not change what is fast."""
        name, _, version = self.python.rpartition(" ")
        return f"{name} {'.'.join(version.split('.')[:2])}"

    @classmethod
    def read(cls, place: Place) -> Environment:
        """The environment that stands there."""
        packages = {name: version.text() for name, version in place.at("packages").items()}
        return cls(place.at("python").text(), place.at("machine").text(), packages)


@dataclass(frozen=True)
class Commit:
    """What was measured.

    Attributes:
        id: As the version control has it.
        time: When it was made, ISO 8601; None where nobody said.
        dirty: Whether there was more than the commit.
    """

    id: str
    time: str | None = None
    dirty: bool = False

    @classmethod
    def read(cls, place: Place) -> Commit | None:
        """The commit that stands there; None where pytest-benchmark knew none."""
        if place.at("id").text() in _NO_COMMIT:
            return None
        time = place.maybe("time")
        dirty = place.maybe("dirty")
        return cls(
            place.at("id").text(),
            None if time is None else time.moment(),
            dirty is not None and dirty.flag(),
        )

    @property
    def short(self) -> str:
        """For people: the first letters of a hash, any other name, and a plus where more was."""
        name = self.id[:9] if re.fullmatch("[0-9a-f]{12,}", self.id) else self.id
        return f"{name}{'+' if self.dirty else ''}"


@dataclass(frozen=True)
class Result:
    """One backend's benchmarks in one run.

    Attributes:
        backend: Its name.
        server: Version and kind of its server, `4.1.1 (jvm)`; None where it has none.
        measured_at: When, ISO 8601.
        commit: Of what, None where nobody said.
        environment: Where.
        operations: What was measured, in the order of the table.
    """

    backend: str
    server: str | None
    measured_at: str
    commit: Commit | None
    environment: Environment
    operations: tuple[Measured, ...]

    @classmethod
    def read(cls, place: Place) -> Result:
        """The result that stands there as `to_json` wrote it."""
        server, commit = place.maybe("server"), place.maybe("commit")
        return cls(
            backend=place.at("backend").text(),
            server=None if server is None else server.text(),
            measured_at=place.at("measured_at").moment(),
            commit=None if commit is None else Commit.read(commit),
            environment=Environment.read(place.at("environment")),
            operations=tuple(
                Measured.read(
                    one, _estimate(one, "median_s", positive=True), one.at("rounds").whole()
                )
                for one in place.at("operations")
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """What `read` reads."""
        return {**asdict(self), "operations": [one.to_json() for one in self.operations]}


def load(path: Path) -> list[Result]:
    """The results in a file of pytest-benchmark, a backend each; other benchmarks are passed over.

    Args:
        path: What `--benchmark-json` or `--benchmark-save` wrote.

    Raises:
        NotSuch: The file cannot be read, is no such file or holds no benchmark of a history; the
            text names the file and the place.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotSuch(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse(text, str(path))


def parse(text: str | bytes, file: str) -> list[Result]:
    """The results in what pytest-benchmark wrote; see `load`."""
    run = Place.parse(text, file)
    if not ("benchmarks" in run and "machine_info" in run):
        raise run.wrong(f"is not what pytest-benchmark writes. {_HOW_TO}")
    by_backend: dict[str, list[tuple[Place, Place]]] = {}
    for one in run.at("benchmarks"):
        about = one.at("extra_info")
        if "backend" in about and "operation" in about:
            by_backend.setdefault(about.at("backend").text(), []).append((about, one.at("stats")))
    if not by_backend:
        raise run.wrong(f"holds no benchmark of a chat history. {_HOW_TO}")
    return [_result(run, backend, found) for backend, found in by_backend.items()]


_HOW_TO = (
    "Such a file is written by: pytest --history-backend=NAME --history-benchmark "
    "--benchmark-json=RESULT.json"
)


def _result(run: Place, backend: str, found: Sequence[tuple[Place, Place]]) -> Result:
    operations: dict[str, Measured] = {}
    for about, stats in found:
        measured = _measured(about, stats)
        if measured.label in operations:
            raise about.wrong(f"{measured.label} of {backend} is there a second time")
        operations[measured.label] = measured
    first, _ = found[0]
    server, commit = first.maybe("server"), run.maybe("commit_info")
    return Result(
        backend=backend,
        server=None if server is None else server.text(),
        measured_at=run.at("datetime").moment(),
        commit=None if commit is None else Commit.read(commit),
        environment=_environment(first.at("environment"), run.at("machine_info")),
        operations=tuple(operations.values()),
    )


def _measured(about: Place, stats: Place) -> Measured:
    rounds = stats.at("rounds").whole()
    middle = stats.at("median").positive()
    median_s = Estimate(middle, middle, middle)
    # A file of --benchmark-save has no samples unless --benchmark-save-data asked for them.
    if "data" in stats and rounds > 1:
        median_s = statistics.median([sample.positive() for sample in stats.at("data")])
    return Measured.read(about, median_s, rounds)


def _environment(place: Place, machine_info: Place) -> Environment:
    told = {name: "" if value.value is None else str(value.value) for name, value in place.items()}
    for name in ("python", "implementation", "platform", "machine"):
        place.at(name).text()
    python = f"{told.pop('implementation')} {told.pop('python')}"
    machine = [f"{told.pop('platform')} {told.pop('machine')}"]
    cpu = machine_info.maybe("cpu")
    if cpu is not None and "brand_raw" in cpu:
        machine.append(" ".join(cpu.at("brand_raw").text().split()))
    if cores := told.pop("cores", ""):
        machine.append("1 core" if cores == "1" else f"{cores} cores")
    suite = told.pop("suite", "")
    packages = {_SUITE: suite, **told} if suite else told
    return Environment(python, ", ".join(machine), packages)


def _estimate(place: Place, name: str, *, positive: bool = False) -> Estimate:
    value = place.at(name).positive() if positive else place.at(name).number()
    ends = [end.positive() if positive else end.number() for end in place.at("interval")]
    if len(ends) != 2 or not ends[0] <= value <= ends[1]:
        raise place.at("interval").wrong(f"{ends} is no interval around the {name} {value}")
    return Estimate(value, *ends)


def _told(estimate: Estimate, name: str) -> dict[str, Any]:
    return {name: estimate.value, "interval": [estimate.low, estimate.high]}
