"""What the benchmarks of the histories share: the watch, the operations, and who takes turns."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

T = TypeVar("T")

ADDS_PER_THREAD = 25
_WARM_UP = {"ours": 3, "floor": 3, "upstream": 1}


def conversation(count: int) -> list[BaseMessage]:
    """So many messages of about 200 bytes of JSON, from a human and a model by turns."""
    text = "What was said at this point of the talk, number"
    return [(AIMessage if n % 2 else HumanMessage)(f"{text} {n:05}") for n in range(count)]


def chunks(things: Sequence[T], size: int) -> Iterator[list[T]]:
    """The things, so many at a time."""
    for begin in range(0, len(things), size):
        yield list(things[begin : begin + size])


class Watch:
    """Measures what happens inside of `with`, each time anew, in milliseconds.

    Args:
        counter: Gives how many requests were sent until now; what is sent inside is kept too.
    """

    def __init__(self, counter: Callable[[], int] | None = None) -> None:
        self.samples: list[float] = []
        self.requests: list[int] = []
        self._counter = counter

    def __enter__(self) -> None:
        # Otherwise a collection of what the others left falls to whoever comes next. A full one
        # would leave the processor's caches cold, which costs more than a small operation.
        gc.collect(1)
        self._sent = self._counter() if self._counter else 0
        self._began = time.perf_counter()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            self.samples.append((time.perf_counter() - self._began) * 1000)
            if self._counter:
                self.requests.append(self._counter() - self._sent)


Turn = Callable[[Watch], None]


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Attributes:
        name: What it is called in the JSON.
        title: What it is called in the table.
        ours, floor, upstream: Do it once, measuring; None where it does not exist.
        share: How many rounds, as a share of those asked for.
        upstream_rounds: In how many of them upstream takes part.
        per: By what a sample is divided: how often it did the thing.
    """

    name: str
    title: str
    ours: Turn
    floor: Turn | None = None
    upstream: Turn | None = None
    share: float = 1.0
    upstream_rounds: int = 10
    per: int = 1


def measure(
    operations: Iterator[Operation], rounds: int, counter: Callable[[], int] | None = None
) -> list[dict[str, Any]]:
    """Measure all operations one after the other, and tell how far it is.

    Args:
        operations: What to measure.
        rounds: How often the operations are done that are done most often.
        counter: Gives how many requests were sent until now.
    """
    began = time.monotonic()
    rows = []
    for operation in operations:
        rows.append(alternate(operation, rounds, counter))
        medians = {name: rows[-1][name]["median_ms"] for name in _WARM_UP if name in rows[-1]}
        shown = ", ".join(f"{name} {median:.3g}" for name, median in medians.items())
        tell(f"{time.monotonic() - began:4.0f} s  {operation.title}: {shown} ms")
    return rows


def alternate(
    operation: Operation, rounds: int, counter: Callable[[], int] | None = None
) -> dict[str, Any]:
    """Measure one operation: ours, floor and upstream by turns, each beginning as often."""
    turns = {name: turn for name in _WARM_UP if (turn := getattr(operation, name)) is not None}
    rounds = max(2, round(rounds * operation.share))
    every = max(1, rounds // operation.upstream_rounds)
    for name, turn in turns.items():
        for _ in range(0 if name == "upstream" and every >= rounds else _WARM_UP[name]):
            turn(Watch())
    watches = {name: Watch(counter) for name in turns}
    names = list(turns)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name != "upstream" or number % every == 0:
                turns[name](watches[name])
    row: dict[str, Any] = {"name": operation.name, "title": operation.title}
    for name, watch in watches.items():
        row[name] = summary([sample / operation.per for sample in watch.samples])
        if watch.requests:
            row[name]["requests"] = sorted(set(watch.requests))
    if "floor" in row:
        row["ours_to_floor"] = row["ours"]["median_ms"] / row["floor"]["median_ms"]
    if "upstream" in row:
        row["upstream_to_ours"] = row["upstream"]["median_ms"] / row["ours"]["median_ms"]
    return row


def summary(samples: list[float]) -> dict[str, Any]:
    """Median, quartiles and 99th percentile of some times, in milliseconds."""
    if len(samples) == 1:
        samples = samples * 2
        count = 1
    else:
        count = len(samples)
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {
        "median_ms": statistics.median(samples),
        "lower_quartile_ms": cuts[24],
        "upper_quartile_ms": cuts[74],
        "p99_ms": cuts[98],
        "samples": count,
    }


def timed(function: Callable[[], object]) -> Turn:
    """A turn that measures the whole of a function."""

    def turn(watch: Watch) -> None:
        with watch:
            function()

    return turn


def awaited(runner: asyncio.Runner, function: Callable[[], Awaitable[object]]) -> Turn:
    """A turn that measures a coroutine inside of a running event loop."""

    def turn(watch: Watch) -> None:
        async def measured() -> None:
            with watch:
                await function()

        runner.run(measured())

    return turn


def in_threads(adders: Sequence[Callable[[], object]]) -> Turn:
    """A turn in which each function is called over and over by a thread of its own, all at once."""

    def turn(watch: Watch) -> None:
        watches = [Watch() for _ in adders]
        begin = threading.Barrier(len(adders))

        def work(add: Callable[[], object], own: Watch) -> None:
            begin.wait()
            for _ in range(ADDS_PER_THREAD):
                began = time.perf_counter()
                add()
                own.samples.append((time.perf_counter() - began) * 1000)

        gc.collect(1)
        threads = [
            threading.Thread(target=work, args=pair) for pair in zip(adders, watches, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for own in watches:
            if len(own.samples) != ADDS_PER_THREAD:
                raise RuntimeError("a thread could not add all its messages; see above")
            watch.samples.extend(own.samples)

    return turn


def need(count: int, messages: Sequence[BaseMessage]) -> None:
    """Refuse to measure a read that did not read everything."""
    if len(messages) != count:
        raise RuntimeError(f"a read gave {len(messages)} messages where there are {count}")


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)
