"""Calls over their limit, client processes that died, and processes that keep growing."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from chat_history_conformance.campaign.checking.verdict import Defect
from chat_history_conformance.campaign.recording import NO_END, Exit, Operation, Recording, Sample

__all__ = ["GROWTHS", "TOLERANCE_SECONDS", "Growth", "judge_processes"]

TOLERANCE_SECONDS = 2.0
"""A call may take this much longer than its limit: a busy machine runs clients late."""

_WARM_UP = 1 / 3
_WINDOWS = 4
_MIN_SAMPLES = 3 * _WINDOWS


@dataclass(frozen=True)
class Growth:
    """A rule for the growth of a process.

    The first third of the samples of a process is its warm-up. The rest is cut into four windows.
    A process grows if the median of each window is above that of the window before, and the last is
    above the first by more than a quarter, and by more than `least` and `per_message` for each
    message of the longest conversation that the process read: conversations grow in a campaign.
    """

    name: str
    field: str
    least: int
    unit: int = 1
    suffix: str = ""
    per_message: int = 0


GROWTHS = (
    # A client that is replaced after a fault may live next to the new one for a while. On three
    # brokers, a client of Kafka has 8 threads and 10 descriptors.
    Growth("threads", "threads", 16),
    Growth("descriptors", "descriptors", 32),
    Growth("memory", "rss_bytes", 64 * 2**20, 2**20, " MiB", 8 * 1024),
)


def judge_processes(recording: Recording) -> Iterator[Defect]:
    """Yield the defects of calls and processes that no message shows."""
    exits = {end.process for end in recording.exits}
    yield from _over_limit(recording.operations, exits)
    yield from _died(recording.exits, recording.operations)
    by_process: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(recording.samples, key=lambda sample: sample.at):
        by_process[sample.process].append(sample)
    longest: defaultdict[str, int] = defaultdict(int)
    for call in recording.operations:
        longest[call.process] = max(longest[call.process], len(call.messages))
    for process, samples in sorted(by_process.items()):
        for growth in GROWTHS:
            least = growth.least + growth.per_message * longest[process]
            yield from _growth(process, samples, growth, least)


def _over_limit(operations: Iterable[Operation], exits: set[str]) -> Iterator[Defect]:
    for call in operations:
        took = call.ended - call.began
        if call.limit_seconds is None or took <= call.limit_seconds + TOLERANCE_SECONDS:
            continue
        did = "returned"
        if call.error:
            did = f"raised {call.error.type}"
            if call.error.type == NO_END:
                if call.process not in exits:
                    continue  # The end of the process is not known.
                did = "had not ended"
        text = f"{call.kind} {did} after {took:.1f} s; its limit is {call.limit_seconds:g} s"
        yield Defect("over_limit", call.session, text, (call,), call.ended)


def _died(exits: Iterable[Exit], operations: Sequence[Operation]) -> Iterator[Defect]:
    for end in exits:
        if end.status == 0:
            continue
        how = f"with status {end.status}" if end.status > 0 else f"by {_signal(-end.status)}"
        last = tuple(one for one in operations if one.process == end.process)[-1:]
        yield Defect("client_died", "", f"client process {end.process} ended {how}", last, end.at)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _growth(
    process: str, samples: Sequence[Sample], growth: Growth, least: int
) -> Iterator[Defect]:
    rest = samples[int(len(samples) * _WARM_UP) :]
    if len(rest) < _MIN_SAMPLES:
        return
    bounds = [len(rest) * number // _WINDOWS for number in range(_WINDOWS + 1)]
    values = [getattr(sample, growth.field) for sample in rest]
    medians = [median(values[start:end]) for start, end in pairwise(bounds)]
    first, last = medians[0], medians[-1]
    rises = all(before < after for before, after in pairwise(medians))
    if rises and last - first > max(least, first / 4):
        shown = " to ".join(f"{value / growth.unit:.0f}" for value in (first, last))
        text = f"{growth.name} of {process} grew from {shown}{growth.suffix} after the warm-up"
        yield Defect("growth", "", text, (), rest[-1].at)
