"""The measurement of one operation: a backend interleaved with its floor and its peers.

It also measures the growth with the length of the conversation and counts round trips. It imports
no pytest: `pytest_plugin.benchmarks` and the processes of `bench compare` use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from chat_history_conformance.bench.counting.counter import CannotCount, RoundTripCounter
from chat_history_conformance.bench.counting.round_trips import counter_for
from chat_history_conformance.bench.measure import statistics
from chat_history_conformance.bench.measure.contenders import (
    Contender,
    NotSupported,
    describe_error,
)
from chat_history_conformance.bench.measure.operations import Operation
from chat_history_conformance.bench.measure.payload import Payload
from chat_history_conformance.bench.measure.trials import Trial
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.drivers.calls import How

__all__ = ["Contenders", "Measurement", "count_round_trips"]

_TOLERANCE = {0.0: 0.1, 1.0: 0.3}
"""By how much an exponent, with its whole interval, may exceed the allowed one. Constant time may
grow by 26 % in a decade. Linear time may grow more, because ten times the objects do not fit into
the processor's caches."""

_WARM_UP = 3
_MIN_ROUNDS = 5
_MIN_ROUNDS_OF_A_PEER = 3
_MAX_ROUNDS = 200
_STALL_SECONDS = 0.05
_TIMES_COUNTED = 3


class Contenders:
    """The contenders of all measurements of one backend in one mode.

    Args:
        backend: The backend.
        mode: `sync` or `async`.
        payload: The conversation that every session holds.
    """

    def __init__(self, backend: Backend, mode: How, payload: Payload) -> None:
        self.backend = backend
        self.ours = Contender(backend, mode, payload)
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
        return Contender(other, self.ours.mode, self.ours.payload, strict=False)

    def version_of(self, peer: str) -> str:
        """Return the version of an installed peer."""
        return self._versions[peer]

    @property
    def is_first_mode(self) -> bool:
        """True if this is the first of the backend's modes."""
        return self.ours.mode == self.backend.modes[0]

    def all(self) -> Iterator[Contender]:
        """Yield the backend, the floor and the peers."""
        yield self.ours
        if self.floor is not None:
            yield self.floor
        yield from self.peers.values()

    def remove_sessions(self) -> Iterator[str]:
        """Remove the sessions of all contenders. Yield error messages."""
        for contender in self.all():
            if left := contender.remove_sessions():
                yield left

    def stop(self) -> None:
        """End the threads and event loops of all contenders."""
        for contender in self.all():
            contender.stop()


@dataclass
class _Other:
    """A trial next to that of the backend, with its times by the number of the round."""

    trial: Trial
    every: int = 1
    times: dict[int, float] = field(default_factory=dict)

    def time(self, number: int) -> None:
        if number % self.every == 0:
            self.times[number] = self.trial.time()


class Measurement:
    """One operation on all contenders, prepared and warmed up.

    A round consists of `time_others` and the time of the backend itself. The caller measures that
    and passes it to `record`.

    Args:
        operation: The operation.
        contenders: The contenders.
        stack: Closes everything that is opened.
        seconds: About the time to measure each contender. None to run the backend alone, once.
        min_rounds: The minimum number of rounds.
    """

    def __init__(
        self,
        operation: Operation,
        contenders: Contenders,
        stack: ExitStack,
        *,
        seconds: float | None,
        min_rounds: int = _MIN_ROUNDS,
    ) -> None:
        self.operation = operation
        self.contenders = contenders
        self.times: list[float] = []
        self.failed: dict[str, str] = {}
        self._others: dict[str, _Other] = {}
        self._lengths: dict[int, _Other] = {}
        self._stack = stack
        self.trial = self._prepare(contenders.ours, operation.size)
        self.rounds = 1
        if seconds is not None:
            self._plan(seconds, min_rounds)
            self.trial.latencies.clear()  # those of the warm-up, as for all other times

    def _prepare(self, contender: Contender, length: int) -> Trial:
        return self._stack.enter_context(self.operation.prepared(contender, length))

    def _plan(self, seconds: float, min_rounds: int) -> None:
        """Prepare the others, and set the number of rounds by what each costs."""
        operation, contenders = self.operation, self.contenders
        costs = {"ours": _cost(self.trial)}
        if contenders.floor is not None and operation.has_floor:
            with suppress(NotSupported):  # the floor of an adopter need not have every method
                self._others["floor"] = _Other(self._prepare(contenders.floor, operation.size))
                costs["floor"] = _cost(self._others["floor"].trial)
        for name, peer in contenders.peers.items() if operation.has_peers else ():
            with self.if_supported(name):
                trial = self._prepare(peer, operation.size)
                costs[name] = _cost(trial)
                self._others[name] = _Other(trial)
        # The second mode uses the same storage, so growth is measured in the first only.
        grows_over = operation.grows_over if contenders.is_first_mode else ()
        if grows_over:
            min_rounds = max(min_rounds, statistics.fewest())
        own = costs["ours"] + costs.get("floor", 0.0)
        self.rounds = round(min(max(seconds / own, min_rounds, 2), _MAX_ROUNDS))
        for name in contenders.peers.keys() & self._others.keys():
            wanted = max(seconds / costs[name], _MIN_ROUNDS_OF_A_PEER)
            self._others[name].every = max(1, int(self.rounds // wanted))
        self._lengths = {
            length: _Other(self._prepare(contenders.ours, length)) for length in grows_over
        }
        spent = sum(_cost(other.trial, 1) for other in self._lengths.values())
        for other in self._lengths.values():
            wanted = max(2 * seconds / spent, min_rounds)
            other.every = max(1, int(self.rounds // wanted))

    def time_others(self) -> None:
        """Time all others that take part in this round."""
        number = len(self.times)
        others = [*self._lengths.items(), *self._others.items()]
        # Another one begins each round, so that none falls into step with a disturbance.
        begin = number % len(others) if others else 0
        for name, other in others[begin:] + others[:begin]:
            if name not in self.contenders.peers:
                other.time(number)
            elif name not in self.failed:
                with self.if_supported(str(name)):
                    other.time(number)

    @contextmanager
    def if_supported(self, peer: str) -> Iterator[None]:
        """Record an exception of a peer as its result. We cannot fix a peer."""
        try:
            yield
        except Exception as error:
            self.failed[peer] = describe_error(error)

    def record(self, seconds: float) -> None:
        """Record the backend's time of this round, which ends the round."""
        self.times.append(seconds)

    def compared_with(self, name: str) -> Mapping[str, Any] | None:
        """Return the comparison with the floor or a peer, as stored in `extra_info`."""
        if name in self.failed:
            return {"missing": self.failed[name]}
        other = self._others.get(name)
        if other is None:
            return None
        pairs = [(theirs, self.times[number]) for number, theirs in other.times.items()]
        ratio = statistics.ratio(pairs)
        return {
            "median_s": median(other.times.values()),
            "ratio": ratio.value,
            "interval": [ratio.low, ratio.high],
            "samples": len(pairs),
        }

    def latency(self) -> Mapping[str, float] | None:
        """Return the median and the 99th percentile of single adds by several handles at once."""
        latencies = sorted(self.trial.latencies)
        if not latencies:
            return None
        return {"median_s": median(latencies), "p99_s": _percentile(latencies, 0.99)}

    def stalls(self) -> list[float]:
        """Return the times of rounds that waited, which a median hides; nothing if they are few.

        Such a round takes ten times the median, and 50 ms more than it. A busy machine makes a
        single round that slow, so there have to be three of them, and one in fifty.
        """
        usual = median(self.times)
        waited = [one for one in self.times if one > max(10 * usual, usual + _STALL_SECONDS)]
        return waited if len(waited) >= max(3, len(self.times) / 50) else []

    def growth(self) -> Mapping[str, Any] | None:
        """Return the growth of the time with the length, or None if it is not measured."""
        if not self._lengths:
            return None
        numbers = next(iter(self._lengths.values())).times
        rounds = [
            {length: other.times[number] for length, other in self._lengths.items()}
            for number in numbers
        ]
        grows, allowed = statistics.exponent(rounds), self.operation.allowed
        return {
            "lengths": list(self._lengths),
            "median_s": [median(other.times.values()) for other in self._lengths.values()],
            "exponent": grows.value,
            "interval": [grows.low, grows.high],
            "allowed": allowed,
            "too_fast": grows.low > allowed + _TOLERANCE[allowed],
        }


def count_round_trips(
    operation: Operation, contender: Contender, times: int = _TIMES_COUNTED
) -> tuple[int | None, str | None]:
    """Count the round trips of an operation exactly.

    The operation runs several times, and the minimum counts. A client's background requests can
    only add to it.

    Args:
        operation: The operation.
        contender: The contender, which opens new histories for this.
        times: How often to run the operation.

    Returns:
        The number and None, or None and the reason why it cannot be counted.
    """
    late: tuple[type[BaseException], ...] = (TimeoutError, ConnectionError)
    late += contender.backend.server_errors
    with counter_for(contender.backend) as counter:
        if counter.problem:
            return None, counter.problem
        again = contender.with_same_sessions()
        try:
            with operation.prepared(again, operation.size) as trial:
                counts = [_count(trial, counter) for _ in range(times)]
        except CannotCount as error:
            return None, str(error)
        except late as error:
            # The counter for Kafka delays answers, and with many calls at once the delays add up.
            return None, f"a call failed while round trips were counted: {error}"
        finally:
            again.stop()
    return min(counts), None


def _count(trial: Trial, counter: RoundTripCounter) -> int:
    trial.prepare()
    before = counter.total
    result = trial.act()
    made = counter.total - before
    trial.finish(result)
    return made


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _cost(trial: Trial, times: int = _WARM_UP) -> float:
    """Return about the seconds of a trial with its preparation. This warms it up, too."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        trial.time()
        took.append(time.perf_counter() - began)
        if took[-1] > 1.0:
            break
    return max(min(took), 1e-6)
