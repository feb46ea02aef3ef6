"""What two sides' times say: pairs by turns, an interval, a verdict. Values and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from chat_history_conformance.bench.measure.statistics import Estimate, fewest, ratio

Role = Literal["base", "head"]
Direction = Literal["slower", "faster"]
Verdict = Literal["slower", "faster", "unchanged", "unclear"]


@dataclass(frozen=True)
class Sample:
    """What one process measured of one operation.

    Attributes:
        seconds: The least of its times.
        round_trips: How many the operation made to the server; None where nobody can count.
    """

    seconds: float
    round_trips: int | None = None

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Sample:
        """From the worker's answer."""
        return Sample(float(told["seconds"]), told.get("round_trips"))


Measure = Callable[[Role, Sequence[str], int], Mapping[str, Sample]]
"""Measure operations on a side in a fresh process; the number is that of the pair."""


@dataclass(frozen=True)
class Settings:
    """How a comparison is made and decided.

    Attributes:
        pairs: How many processes of each side measure an operation.
        threshold: The change that matters, as a share: 0.05 for 5 %.
        confidence: Of the intervals, as a share.
        seconds: How long each operation is measured in each process.
    """

    pairs: int = 20
    threshold: float = 0.05
    confidence: float = 0.99
    seconds: float = 0.05

    def check(self) -> None:
        """Refuse what cannot be decided with.

        Raises:
            ValueError: The text says what is possible.
        """
        if not 0 < self.threshold < 10:
            raise ValueError("the threshold must be more than 0 % and less than 1000 %")
        if not 0.5 <= self.confidence < 1:
            raise ValueError("the confidence must be at least 0.5 and less than 1")
        if not self.seconds > 0:
            raise ValueError("an operation must be measured for more than 0 seconds")
        if self.pairs < (least := fewest(self.confidence)):
            raise ValueError(
                f"{self.pairs} pairs cannot give an interval of {self.confidence:g} confidence: "
                f"at least {least} can"
            )

    @property
    def band(self) -> tuple[float, float]:
        """The ratios within which a change does not matter."""
        return 1 / (1 + self.threshold), 1 + self.threshold


@dataclass(frozen=True)
class Measured:
    """One measurement of an operation on both sides.

    Attributes:
        pairs: Seconds of base and head, in the order in which they were measured.
        estimate: The median of head / base, with its interval.
    """

    pairs: tuple[tuple[float, float], ...]
    estimate: Estimate

    def direction(self, settings: Settings) -> Direction | None:
        """Which way it points: beyond the threshold, and by more than chance explains."""
        fastest, slowest = settings.band
        if self.estimate.low > 1 and self.estimate.value > slowest:
            return "slower"
        if self.estimate.high < 1 and self.estimate.value < fastest:
            return "faster"
        return None


@dataclass(frozen=True)
class Operation:
    """One operation, compared.

    Attributes:
        name: Such as `add_1[sync]`.
        settings: How it was decided.
        first: What was measured of it.
        second: What was measured anew because the first pointed some way.
        base_round_trips, head_round_trips: The least that any process of a side made; None where
            nobody can count.
    """

    name: str
    settings: Settings
    first: Measured
    second: Measured | None = None
    base_round_trips: int | None = None
    head_round_trips: int | None = None

    @property
    def counted(self) -> Measured:
        """The measurement that is reported: the second, since the first was chosen for its size."""
        return self.second or self.first

    @property
    def verdict(self) -> Verdict:
        """What was found about time.

        `unchanged` where the whole interval is within the threshold, `unclear` where it is not.
        """
        first = self.first.direction(self.settings)
        if first is not None and first == self.counted.direction(self.settings):
            return first
        fastest, slowest = self.settings.band
        found = self.counted.estimate
        return "unchanged" if fastest <= found.low and found.high <= slowest else "unclear"

    @property
    def is_withdrawn(self) -> bool:
        """Whether the first measurement pointed some way and the second did not confirm it."""
        return self.second is not None and self.verdict not in ("slower", "faster")

    @property
    def more_round_trips(self) -> int:
        """How many more round trips head makes; negative where fewer, 0 where nobody can count."""
        if self.base_round_trips is None or self.head_round_trips is None:
            return 0
        return self.head_round_trips - self.base_round_trips

    @property
    def is_regression(self) -> bool:
        """Whether head is worse: slower, or with more round trips, which no noise explains."""
        return self.verdict == "slower" or self.more_round_trips > 0

    @property
    def is_improvement(self) -> bool:
        """Whether head is better in something and worse in nothing."""
        better = self.verdict == "faster" or self.more_round_trips < 0
        return better and not self.is_regression


@dataclass(frozen=True)
class Backend:
    """One backend, compared.

    Attributes:
        name: As it was named.
        operations: What both sides have.
        server: The server that both used, such as `4.1.1 (jvm)`; None where none is needed.
        only_base, only_head: Operations that only one side has.
    """

    name: str
    operations: Sequence[Operation]
    server: str | None = None
    only_base: Sequence[str] = ()
    only_head: Sequence[str] = ()


@dataclass(frozen=True)
class SideTold:
    """What a reader is told of a side.

    Attributes:
        asked: As it was asked for and understood: `HEAD~1 (4ce57abf31)`.
        kind: `git`, `path` or `pip`.
        commit: The full hash, where there is one.
        package, version: The distribution that is compared.
    """

    asked: str
    kind: str
    commit: str
    package: str
    version: str


@dataclass(frozen=True)
class Comparison:
    """All that was compared in one call.

    Attributes:
        base, head: The sides.
        settings: How it was decided.
        environment: Where it ran; the same for both.
        differing: Packages other than the compared one that are not the same on both sides, with
            their versions; None where it is missing.
        backends: What was measured.
        created: When, as ISO 8601 in UTC.
        suite: The version of the measuring suite.
    """

    base: SideTold
    head: SideTold
    settings: Settings
    environment: Mapping[str, str | int]
    differing: Mapping[str, tuple[str | None, str | None]]
    backends: Sequence[Backend]
    created: str
    suite: str

    @property
    def regressions(self) -> list[tuple[Backend, Operation]]:
        """Everything that got worse."""
        return self._those(lambda operation: operation.is_regression)

    @property
    def improvements(self) -> list[tuple[Backend, Operation]]:
        """Everything that got better, and in nothing worse."""
        return self._those(lambda operation: operation.is_improvement)

    @property
    def unclear(self) -> list[tuple[Backend, Operation]]:
        """Everything of which nothing can be told."""
        return self._those(
            lambda operation: (
                operation.verdict == "unclear"
                and not operation.is_regression
                and not operation.is_improvement
            )
        )

    @property
    def outcome(self) -> Literal["worse", "unclear", "no worse"]:
        """What it comes to; `unclear` where nothing can be told of anything."""
        if self.regressions:
            return "worse"
        all_of_it = sum(len(backend.operations) for backend in self.backends)
        return "unclear" if len(self.unclear) == all_of_it else "no worse"

    def _those(self, wanted: Callable[[Operation], bool]) -> list[tuple[Backend, Operation]]:
        return [
            (backend, operation)
            for backend in self.backends
            for operation in backend.operations
            if wanted(operation)
        ]


def turns(pairs: int) -> Iterator[tuple[int, Role]]:
    """Which side is next: A B, B A, A B, so that whatever drifts falls to both alike."""
    for pair in range(pairs):
        for role in ("base", "head") if pair % 2 == 0 else ("head", "base"):
            yield pair, role


def compare(
    operations: Sequence[str],
    settings: Settings,
    measure: Measure,
    step: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> list[Operation]:
    """Measure operations by turns and decide; measure again what points some way.

    Args:
        operations: What both sides have.
        settings: How.
        measure: Measures; called for each turn.
        step: Told what is going on, how many turns of it are over, and of how many.
    """
    pairs, trips = _by_turns(operations, settings, measure, 0, _telling(step, "measured"))
    first = {name: _estimated(pairs[name], settings) for name in operations}
    flagged = [name for name in operations if first[name].direction(settings) is not None]
    again: dict[str, Measured] = {}
    if flagged:
        more, more_trips = _by_turns(
            flagged, settings, measure, settings.pairs, _telling(step, "measured again")
        )
        again = {name: _estimated(more[name], settings) for name in flagged}
        for key, counts in more_trips.items():
            trips[key] += counts
    return [
        Operation(
            name,
            settings,
            first[name],
            again.get(name),
            _least(trips["base", name]),
            _least(trips["head", name]),
        )
        for name in operations
    ]


_Pairs = dict[str, list[tuple[float, float]]]
_Trips = dict[tuple[Role, str], list[int | None]]


def _by_turns(
    operations: Sequence[str],
    settings: Settings,
    measure: Measure,
    first_pair: int,
    step: Callable[[int, int], None],
) -> tuple[_Pairs, _Trips]:
    roles: tuple[Role, Role] = ("base", "head")
    pairs: _Pairs = {name: [] for name in operations}
    trips: _Trips = {(role, name): [] for role in roles for name in operations}
    waiting: dict[int, Mapping[str, Sample]] = {}
    total = settings.pairs * 2
    step(0, total)
    for number, (pair, role) in enumerate(turns(settings.pairs), 1):
        measured = measure(role, operations, first_pair + pair)
        for name in operations:
            trips[role, name].append(measured[name].round_trips)
        other = waiting.pop(pair, None)
        if other is None:
            waiting[pair] = measured
        else:
            base, head = (other, measured) if role == "head" else (measured, other)
            for name in operations:
                pairs[name].append((base[name].seconds, head[name].seconds))
        step(number, total)
    return pairs, trips


def _telling(step: Callable[[str, int, int], None], what: str) -> Callable[[int, int], None]:
    return lambda done, of: step(what, done, of)


def _estimated(pairs: Sequence[tuple[float, float]], settings: Settings) -> Measured:
    return Measured(tuple(pairs), ratio(pairs, settings.confidence))


def _least(counts: Iterable[int | None]) -> int | None:
    """The least: what a client does in the background now and then can only add to it."""
    known = [count for count in counts if count is not None]
    return min(known, default=None)


_MUST_AGREE = {
    "implementation": "implementation of Python",
    "python": "version of Python",
    "platform": "operating system",
    "machine": "kind of machine",
    "processor": "processor",
    "cores": "number of processor cores",
    "server": "server",
}


def incomparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Why two descriptions' times cannot be compared, a sentence each; empty where they can.

    Args:
        one, other: What `worker.py describe` prints.
    """
    return [
        f"another {words}: {one.get(key) or 'none'} and {other.get(key) or 'none'}"
        for key, words in _MUST_AGREE.items()
        if one.get(key) != other.get(key)
    ]


def differing(
    one: Mapping[str, str], other: Mapping[str, str], compared: Iterable[str]
) -> dict[str, tuple[str | None, str | None]]:
    """Packages that two sides do not have alike, with both versions.

    Args:
        one, other: Versions by name.
        compared: The names of what is compared, which is meant to differ.
    """
    left_out = set(compared)
    return {
        name: (one.get(name), other.get(name))
        for name in sorted({*one, *other} - left_out)
        if one.get(name) != other.get(name)
    }


def chosen(operations: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The operations that any of some patterns matches; all where there are no patterns.

    Args:
        operations: Such as `add_1[sync]`.
        patterns: With `*` and `?`, of the name with its mode or without.
    """
    # A bracket begins a mode here, not a set of characters.
    plain = [pattern.replace("[", "[[]") for pattern in patterns]
    return [
        name
        for name in operations
        if not plain
        or any(fnmatchcase(name, one) or fnmatchcase(name.partition("[")[0], one) for one in plain)
    ]
