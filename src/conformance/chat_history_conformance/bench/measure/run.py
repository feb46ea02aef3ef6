"""One operation measured: a backend, its floor and its peers by turns, its growth, its round trips.

Does not import pytest. `pytest_plugin.benchmarks` and the processes of `bench compare` use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from chat_history_conformance.bench.counting import round_trips as trips
from chat_history_conformance.bench.measure import statistics
from chat_history_conformance.bench.measure.contenders import Contender, told
from chat_history_conformance.bench.measure.operations import Operation, Trial
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.drivers.calls import How

_TOLERANCE = {0.0: 0.1, 1.0: 0.3}
"""By how much an exponent may exceed what is allowed, with its whole interval. What must not grow
has 26 % a decade. What grows in proportion has more: ten times the objects fall out of processor
caches."""

_WARM_UP = 3
_LEAST_ROUNDS = 5
_LEAST_OF_A_PEER = 3
_MOST_ROUNDS = 200
_COUNTED = 3


class Field:
    """All who take part in the measurements of one backend in one mode.

    Args:
        backend: The backend.
        how: Whether it is called or awaited.
    """

    def __init__(self, backend: Backend, how: How) -> None:
        self.backend = backend
        self.ours = Contender(backend, how)
        self.floor: Contender | None = None
        self.peers: dict[str, Contender] = {}
        self.missing: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        if backend.floor is not None:
            self.floor = self._other("floor", backend.floor)
        for name, factory in backend.peers.items():
            try:
                self._versions[name] = version(name)
            except PackageNotFoundError:
                self.missing[name] = "not installed"
            else:
                self.peers[name] = self._other(name, factory)

    def _other(self, name: str, factory: Callable[[str], Any]) -> Contender:
        other = Backend(
            f"{self.backend.name}'s {name}",
            factory,
            server=self.backend.server,
            round_trips=self.backend.round_trips,
        )
        return Contender(other, self.ours.how, strict=False)

    def version_of(self, peer: str) -> str:
        """The version of an installed peer."""
        return self._versions[peer]

    @property
    def is_first_mode(self) -> bool:
        """Whether this is the mode that a backend is measured in first."""
        return self.ours.how == self.backend.modes[0]

    @property
    def everybody(self) -> Iterator[Contender]:
        """All contenders."""
        yield self.ours
        if self.floor is not None:
            yield self.floor
        yield from self.peers.values()

    def remove(self) -> Iterator[str]:
        """Remove what all have stored; gives what could not be removed."""
        for contender in self.everybody:
            if left := contender.remove():
                yield left

    def stop(self) -> None:
        """End what was started."""
        for contender in self.everybody:
            contender.stop()


@dataclass
class _Side:
    """One who is measured beside ours: its times by the number of the round."""

    trial: Trial
    every: int = 1
    times: dict[int, float] = field(default_factory=dict)

    def turn(self, number: int) -> None:
        if number % self.every == 0:
            self.times[number] = self.trial.timed()


class Match:
    """One operation on a field, arranged and warmed up.

    A round is `let_others`, then ours, which the caller times and hands to `take`.

    Args:
        operation: What is measured.
        contenders: Who takes part.
        stack: Closes what is opened.
        seconds: About how long each may be measured; None for ours alone, and once.
        least: The least number of rounds.
    """

    def __init__(
        self,
        operation: Operation,
        contenders: Field,
        stack: ExitStack,
        *,
        seconds: float | None,
        least: int = _LEAST_ROUNDS,
    ) -> None:
        self.operation = operation
        self.field = contenders
        self.times: list[float] = []
        self.failed: dict[str, str] = {}
        self._sides: dict[str, _Side] = {}
        self._lengths: dict[int, _Side] = {}

        def arranged(contender: Contender, length: int) -> Trial:
            return stack.enter_context(operation.arrange(contender, length))

        self.trial = arranged(contenders.ours, operation.size)
        self.rounds = 1
        if seconds is None:
            return
        costs = {"ours": _cost(self.trial)}
        if contenders.floor is not None:
            self._sides["floor"] = _Side(arranged(contenders.floor, operation.size))
            costs["floor"] = _cost(self._sides["floor"].trial)
        for name, peer in contenders.peers.items():
            with self.if_it_can(name):
                trial = arranged(peer, operation.size)
                costs[name] = _cost(trial)
                self._sides[name] = _Side(trial)
        own = costs["ours"] + costs.get("floor", 0.0)
        # The second mode leads to the same store.
        grows_over = operation.grows_over if contenders.is_first_mode else ()
        if grows_over:
            least = max(least, statistics.fewest())  # fewer have no interval
        self.rounds = round(min(max(seconds / own, least, 2), _MOST_ROUNDS))
        for name in contenders.peers.keys() & self._sides.keys():
            turns = max(seconds / costs[name], _LEAST_OF_A_PEER)
            self._sides[name].every = max(1, int(self.rounds // turns))
        self._lengths = {length: _Side(arranged(contenders.ours, length)) for length in grows_over}
        spent = sum(_cost(side.trial, 1) for side in self._lengths.values())
        for side in self._lengths.values():
            turns = max(2 * seconds / spent, least)
            side.every = max(1, int(self.rounds // turns))

    def let_others(self) -> None:
        """Let all others whose turn it is in this round do it."""
        number = len(self.times)
        others = [*self._lengths.items(), *self._sides.items()]
        # Another one begins each time, so that none falls into step with what else is going on.
        begin = number % len(others) if others else 0
        for name, side in others[begin:] + others[:begin]:
            if name not in self.field.peers:
                side.turn(number)
            elif name not in self.failed:
                with self.if_it_can(str(name)):
                    side.turn(number)

    @contextmanager
    def if_it_can(self, peer: str) -> Iterator[None]:
        """Note that a peer raises: it is what it is, and that it cannot is its result."""
        try:
            yield
        except Exception as error:
            self.failed[peer] = told(error)

    def take(self, seconds: float) -> None:
        """Note what ours took in this round, which ends it."""
        self.times.append(seconds)

    def against(self, name: str) -> Mapping[str, Any] | None:
        """What was measured of the floor or a peer, as a benchmark's `extra_info` has it."""
        if name in self.failed:
            return {"missing": self.failed[name]}
        side = self._sides.get(name)
        if side is None:
            return None
        pairs = [(theirs, self.times[number]) for number, theirs in side.times.items()]
        ratio = statistics.ratio(pairs)
        return {
            "median_s": median(side.times.values()),
            "ratio": ratio.value,
            "interval": [ratio.low, ratio.high],
            "samples": len(pairs),
        }

    def growth(self) -> Mapping[str, Any] | None:
        """How the time grew with the length of the conversation; None where it is not measured."""
        if not self._lengths:
            return None
        numbers = next(iter(self._lengths.values())).times
        rounds = [
            {length: side.times[number] for length, side in self._lengths.items()}
            for number in numbers
        ]
        grows, allowed = statistics.exponent(rounds), self.operation.allowed
        return {
            "lengths": list(self._lengths),
            "median_s": [median(side.times.values()) for side in self._lengths.values()],
            "exponent": grows.value,
            "interval": [grows.low, grows.high],
            "allowed": allowed,
            "too_fast": grows.low > allowed + _TOLERANCE[allowed],
        }


def round_trips(
    operation: Operation, contender: Contender, times: int = _COUNTED
) -> tuple[int | None, str | None]:
    """How many round trips one operation takes, exactly.

    It is done several times, and the least is what it takes: whatever a client does besides, at a
    time of its own, only adds to it.

    Args:
        operation: The operation.
        contender: Who does it; in sessions of its own, through histories opened anew.
        times: How often.

    Returns:
        The number, or None and the reason why it cannot be told.
    """
    with trips.of(contender.backend) as counter:
        if counter.why_not:
            return None, counter.why_not
        again = contender.again()
        try:
            with operation.arrange(again, operation.size) as trial:
                found = [_counted(trial, counter) for _ in range(times)]
        finally:
            again.stop()
    return min(found), None


def _counted(trial: Trial, counter: trips.RoundTrips) -> int:
    trial.prepare()
    before = counter.sent
    result = trial.act()
    taken = counter.sent - before
    trial.finish(result)
    return taken


def _cost(trial: Trial, times: int = _WARM_UP) -> float:
    """About how long one time takes, what is not measured included; warms up besides."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        trial.timed()
        took.append(time.perf_counter() - began)
        if took[-1] > 1.0:
            break
    return max(min(took), 1e-6)
