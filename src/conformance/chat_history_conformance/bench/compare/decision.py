"""The decision of a comparison: interleaved pairs, an interval and a verdict for each operation.

Values and pure functions. A change counts only if a second measurement confirms it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

from chat_history_conformance.bench.measure.statistics import Estimate, fewest, ratio

__all__ = [
    "Backend",
    "Comparison",
    "Direction",
    "Measure",
    "Measured",
    "Operation",
    "Role",
    "Sample",
    "Settings",
    "Verdict",
    "VersionSummary",
    "compare",
    "differing",
    "incomparable",
    "interleaved",
    "matching",
]

Role = Literal["base", "head"]
Direction = Literal["slower", "faster"]
Verdict = Literal["slower", "faster", "unchanged", "unclear"]


@dataclass(frozen=True)
class Sample:
    """The measurement of one operation by one process.

    Attributes:
        seconds: The shortest of its times.
        round_trips: The number of round trips to the server. None if they cannot be counted.
    """

    seconds: float
    round_trips: int | None = None


Measure = Callable[[Role, Sequence[str], int], Mapping[str, Sample]]
"""Measure operations of a version in a new process. The number is that of the pair."""


@dataclass(frozen=True)
class Settings:
    """The settings of a comparison.

    Attributes:
        pairs: The number of processes of each version that measure an operation.
        threshold: The smallest change that matters, as a share: 0.05 for 5 %.
        confidence: The confidence of the intervals, as a share.
        seconds: The time that each process measures each operation.
    """

    pairs: int = 20
    threshold: float = 0.05
    confidence: float = 0.99
    seconds: float = 0.05

    def check(self) -> None:
        """Raise an error if these settings allow no decision.

        Raises:
            ValueError: A setting is out of range. The text says which values are possible.
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
        """The smallest and the largest ratio that do not matter."""
        return 1 / (1 + self.threshold), 1 + self.threshold


@dataclass(frozen=True)
class Measured:
    """One measurement of an operation of both versions.

    Attributes:
        pairs: The seconds of base and head, in the order of measurement.
        estimate: The median of head / base, with its interval.
    """

    pairs: tuple[tuple[float, float], ...]
    estimate: Estimate

    def direction(self, settings: Settings) -> Direction | None:
        """Return `slower` or `faster` if the change exceeds threshold and noise, or else None."""
        fastest, slowest = settings.band
        if self.estimate.low > 1 and self.estimate.value > slowest:
            return "slower"
        if self.estimate.high < 1 and self.estimate.value < fastest:
            return "faster"
        return None


@dataclass(frozen=True)
class Operation:
    """The comparison of one operation.

    Attributes:
        name: Its label, such as `add_1[sync]`.
        settings: The settings of the decision.
        first: The first measurement.
        second: The second measurement, made only if the first one looked like a change.
        base_round_trips, head_round_trips: The smallest number that any process of the version
            made. None if they cannot be counted.
    """

    name: str
    settings: Settings
    first: Measured
    second: Measured | None = None
    base_round_trips: int | None = None
    head_round_trips: int | None = None

    @property
    def counted(self) -> Measured:
        """The second measurement if there is one, because the first was selected for its size."""
        return self.second or self.first

    @property
    def verdict(self) -> Verdict:
        """The verdict about the time.

        `unchanged` if the whole interval is within the threshold, and `unclear` if it is not.
        """
        first = self.first.direction(self.settings)
        if first is not None and first == self.counted.direction(self.settings):
            return first
        fastest, slowest = self.settings.band
        found = self.counted.estimate
        return "unchanged" if fastest <= found.low and found.high <= slowest else "unclear"

    @property
    def is_withdrawn(self) -> bool:
        """True if the first measurement looked like a change and the second did not confirm it."""
        return self.second is not None and self.verdict not in ("slower", "faster")

    @property
    def more_round_trips(self) -> int:
        """The round trips of head minus those of base. 0 if they cannot be counted."""
        if self.base_round_trips is None or self.head_round_trips is None:
            return 0
        return self.head_round_trips - self.base_round_trips

    @property
    def is_regression(self) -> bool:
        """True if head is slower or makes more round trips, which noise cannot explain."""
        return self.verdict == "slower" or self.more_round_trips > 0

    @property
    def is_improvement(self) -> bool:
        """True if head is faster or makes fewer round trips, and is worse in nothing."""
        better = self.verdict == "faster" or self.more_round_trips < 0
        return better and not self.is_regression


@dataclass(frozen=True)
class Backend:
    """The comparison of one backend.

    Attributes:
        name: The name that the user wrote.
        operations: The operations that both versions have.
        server: The server that both used, such as `4.1.1 (jvm)`. None if the backend needs none.
        only_base, only_head: The operations that only one version has.
    """

    name: str
    operations: Sequence[Operation]
    server: str | None = None
    only_base: Sequence[str] = ()
    only_head: Sequence[str] = ()


@dataclass(frozen=True)
class VersionSummary:
    """One of the two versions, as reports show it.

    Attributes:
        asked: The label, such as `HEAD~1 (4ce57abf31)`.
        kind: `git`, `path` or `pip`.
        commit: The full hash, or an empty string.
        package, version: The compared distribution.
    """

    asked: str
    kind: str
    commit: str
    package: str
    version: str


@dataclass(frozen=True)
class Comparison:
    """The result of one comparison.

    Attributes:
        base, head: The two versions.
        settings: The settings of the decision.
        environment: The environment of both versions, as names and values.
        differing: Other packages that the two versions do not have in common, with both versions.
            None for a missing package.
        backends: The compared backends.
        created: The time of the comparison, as ISO 8601 in UTC.
        suite: The version of the suite that measured.
    """

    base: VersionSummary
    head: VersionSummary
    settings: Settings
    environment: Mapping[str, str | int]
    differing: Mapping[str, tuple[str | None, str | None]]
    backends: Sequence[Backend]
    created: str
    suite: str

    @property
    def regressions(self) -> list[tuple[Backend, Operation]]:
        """The operations that got worse."""
        return self._select(lambda operation: operation.is_regression)

    @property
    def improvements(self) -> list[tuple[Backend, Operation]]:
        """The operations that got better, and worse in nothing."""
        return self._select(lambda operation: operation.is_improvement)

    @property
    def unclear(self) -> list[tuple[Backend, Operation]]:
        """The operations without a result, because the noise hides it."""
        return self._select(
            lambda operation: (
                operation.verdict == "unclear"
                and not operation.is_regression
                and not operation.is_improvement
            )
        )

    @property
    def outcome(self) -> Literal["worse", "unclear", "no worse"]:
        """The result as a whole. `unclear` if no operation has a result."""
        if self.regressions:
            return "worse"
        total = sum(len(backend.operations) for backend in self.backends)
        return "unclear" if len(self.unclear) == total else "no worse"

    def _select(self, wanted: Callable[[Operation], bool]) -> list[tuple[Backend, Operation]]:
        return [
            (backend, operation)
            for backend in self.backends
            for operation in backend.operations
            if wanted(operation)
        ]


def interleaved(pairs: int) -> Iterator[tuple[int, Role]]:
    """Yield the order of measurement, A B, B A, A B, so that a drift affects both equally."""
    for pair in range(pairs):
        for role in ("base", "head") if pair % 2 == 0 else ("head", "base"):
            yield pair, role


def compare(
    operations: Sequence[str],
    settings: Settings,
    measure: Measure,
    step: Callable[[str, int, int], None] = lambda part, done, total: None,
) -> list[Operation]:
    """Measure operations alternately and decide. Measure those again that look changed.

    Args:
        operations: The operations that both versions have.
        settings: The settings of the decision.
        measure: Measures one version; called for base and head alternately.
        step: Shows the progress: the part of the work, the calls that are done, and their total.
    """
    pairs, trips = _measure(operations, settings, measure, 0, partial(step, "measured"))
    first = {name: _estimate(pairs[name], settings) for name in operations}
    changed = [name for name in operations if first[name].direction(settings) is not None]
    second: dict[str, Measured] = {}
    if changed:
        more, more_trips = _measure(
            changed, settings, measure, settings.pairs, partial(step, "measured again")
        )
        second = {name: _estimate(more[name], settings) for name in changed}
        for key, counts in more_trips.items():
            trips[key] += counts
    return [
        Operation(
            name,
            settings,
            first[name],
            second.get(name),
            _minimum(trips["base", name]),
            _minimum(trips["head", name]),
        )
        for name in operations
    ]


_Pairs = dict[str, list[tuple[float, float]]]
_Trips = dict[tuple[Role, str], list[int | None]]


def _measure(
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
    for number, (pair, role) in enumerate(interleaved(settings.pairs), 1):
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


def _estimate(pairs: Sequence[tuple[float, float]], settings: Settings) -> Measured:
    return Measured(tuple(pairs), ratio(pairs, settings.confidence))


def _minimum(counts: Iterable[int | None]) -> int | None:
    """Return the minimum, because background requests of a client can only add to it."""
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
    """Return the reasons why the times of two environments cannot be compared, or an empty list.

    Args:
        one, other: The output of `worker.py describe`.
    """
    return [
        f"another {words}: {one.get(key) or 'none'} and {other.get(key) or 'none'}"
        for key, words in _MUST_AGREE.items()
        if one.get(key) != other.get(key)
    ]


def differing(
    one: Mapping[str, str], other: Mapping[str, str], compared: Iterable[str]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the packages that two environments do not have in common, with both versions.

    Args:
        one, other: Versions by package name.
        compared: The names of the compared packages, which may differ.
    """
    left_out = set(compared)
    return {
        name: (one.get(name), other.get(name))
        for name in sorted({*one, *other} - left_out)
        if one.get(name) != other.get(name)
    }


def matching(operations: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the operations that match any of the patterns, or all operations without patterns.

    Args:
        operations: Labels such as `add_1[sync]`.
        patterns: Patterns with `*` and `?`, of the label or of the name without its mode.
    """
    # A bracket begins a mode here, not a set of characters.
    plain = [pattern.replace("[", "[[]") for pattern in patterns]
    return [
        name
        for name in operations
        if not plain
        or any(fnmatchcase(name, one) or fnmatchcase(name.partition("[")[0], one) for one in plain)
    ]
