"""The counts, times and examples that a reader wants to see of a recording."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TypeVar

from chat_history_conformance.campaign.checking.verdict import (
    KINDS,
    MEANINGS,
    Defect,
    Verdict,
    quoted,
)
from chat_history_conformance.campaign.recording import Kind, Mode, Operation, Recording
from chat_history_conformance.campaign.report.result import (
    SCHEMA,
    Call,
    Campaign,
    Class,
    Curve,
    Example,
    Lane,
    Latency,
    Result,
    Shown,
    Step,
    Timeline,
)

__all__ = ["result_of", "sentence"]

_EXAMPLES = 20
_PARTS = 240
_POINTS = 120
_CALLS: tuple[Kind, ...] = ("add", "read", "last", "consume", "clear")
_MODES: tuple[Mode, ...] = ("sync", "async")

T = TypeVar("T")


def result_of(recording: Recording, verdict: Verdict) -> Result:
    """Return the result of a campaign.

    Args:
        recording: The recording.
        verdict: What `checker.check` found in it.
    """
    figures = verdict.figures
    return Result(
        schema=SCHEMA,
        # A campaign can end early, because the server does not come back or somebody stops it.
        campaign=Campaign(**{**asdict(recording.meta), "events": len(recording.faults)}),
        clean=verdict.clean,
        operations=figures.operations,
        acknowledged_calls=figures.acknowledged_calls,
        acknowledged_messages=figures.acknowledged_messages,
        raised=figures.raised,
        classes=_classes(verdict),
        calls=_calls(recording.operations),
        timeline=_timeline(recording, verdict),
        growth=_growth(recording),
    )


def _classes(verdict: Verdict) -> tuple[Class, ...]:
    by_kind: defaultdict[str, list[Defect]] = defaultdict(list)
    for defect in verdict.defects:
        by_kind[defect.kind].append(defect)
    return tuple(
        Class(
            kind,
            *MEANINGS[kind],
            len(by_kind[kind]),
            tuple(map(_example, by_kind[kind][:_EXAMPLES])),
        )
        for kind in KINDS
    )


def _example(defect: Defect) -> Example:
    steps = tuple(
        Step(one.began, one.ended, one.client, one.process, sentence(one))
        for one in defect.operations
    )
    return Example(defect.session, defect.text, defect.at, steps)


def sentence(call: Operation) -> str:
    """Return a call and what came of it: `read → 'a' and 'b'`."""
    words: list[str] = [call.kind]
    if call.count is not None:
        words.append(f"{'at most ' if call.kind == 'consume' else ''}{call.count}")
    if call.kind == "add":
        words.append(_texts(call.messages))
    if call.error:
        words.append(f"→ raised {call.error.type}{_claim(call)}")
    elif call.kind in ("add", "clear"):
        words.append("→ returned")
    else:
        words.append(f"→ {_texts(call.messages)}")
    return " ".join(words)


def _texts(messages: Sequence[str]) -> str:
    if not messages:
        return "nothing"
    if len(messages) <= 6:
        return quoted(messages, at_most=6)
    return f"{len(messages):,} messages, {quoted(messages[:1])} to {quoted(messages[-1:])}"


def _claim(call: Operation) -> str:
    error = call.error
    assert error
    said = []
    if error.outcome_unknown is not None:
        said.append("outcome unknown" if error.outcome_unknown else "not done")
    if error.unconfirmed:
        places = ", ".join(map(str, error.unconfirmed[:6]))
        said.append(f"not confirmed: {places}{', ...' if len(error.unconfirmed) > 6 else ''}")
    if error.messages:
        said.append(f"perhaps delivered: {_texts(error.messages)}")
    return f" ({'; '.join(said)})" if said else ""


def _calls(operations: Iterable[Operation]) -> tuple[Call, ...]:
    times: defaultdict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(
        lambda: ([], [])
    )
    for one in operations:
        times[one.kind, one.mode][one.error is not None].append(one.ended - one.began)
    return tuple(
        Call(kind, mode, *map(_latency, times[kind, mode]))
        for kind in _CALLS
        for mode in _MODES
        if (kind, mode) in times
    )


def _latency(times: list[float]) -> Latency | None:
    if not times:
        return None
    times.sort()
    last = len(times) - 1
    p50, p99 = (times[min(last, math.ceil(len(times) * share) - 1)] for share in (0.5, 0.99))
    return Latency(len(times), p50, p99, times[-1])


def _timeline(recording: Recording, verdict: Verdict) -> Timeline:
    operations = recording.operations
    length = max(
        [recording.meta.seconds, 1.0]
        + [one.ended for one in operations]
        + [one.ended for one in recording.faults]
        + [end.at for end in recording.exits]
    )
    part = length / _PARTS

    def lanes(
        items: Iterable[T], name: Callable[[T], str], at: Callable[[T], float]
    ) -> dict[str, Lane]:
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * _PARTS)
        for item in items:
            counts[name(item)][min(_PARTS - 1, max(0, int(at(item) / part)))] += 1
        return {key: Lane(key, tuple(found)) for key, found in counts.items()}

    raised = [one for one in operations if one.error]
    calls = lanes(operations, lambda one: one.kind, lambda one: one.began)
    errors = lanes(raised, lambda one: one.error.type if one.error else "", lambda one: one.ended)
    defects = lanes(verdict.defects, lambda one: one.kind, lambda one: one.at)
    return Timeline(
        seconds=length,
        part_seconds=part,
        faults=tuple(
            Shown(one.name, one.member, one.began, one.ended, one.detail)
            for one in recording.faults
        ),
        calls=tuple(calls[kind] for kind in _CALLS if kind in calls),
        errors=tuple(sorted(errors.values(), key=lambda lane: (-sum(lane.counts), lane.name))),
        defects=tuple(defects[kind] for kind in KINDS if kind in defects),
    )


def _growth(recording: Recording) -> tuple[Curve, ...]:
    by_process: defaultdict[str, list[tuple[float, int, int, int]]] = defaultdict(list)
    for one in recording.samples:
        by_process[one.process].append((one.at, one.threads, one.descriptors, one.rss_bytes))
    curves = []
    for number, what in enumerate(("threads", "descriptors", "memory"), 1):
        for process, samples in sorted(by_process.items()):
            kept = samples[:: max(1, len(samples) // _POINTS)]
            points = tuple((sample[0], float(sample[number])) for sample in kept)
            curves.append(Curve(process, what, points))  # type: ignore[arg-type]
    return tuple(curves)
