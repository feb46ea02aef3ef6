"""How benchmarks are told, whatever the format: times, ratios, and what deserves a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.measure.results import Measured, Result, Rival
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.reports.wording import visible

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def duration(seconds: float) -> str:
    """A time with three digits in the unit that suits it: `12.3 µs`, `1,230 s`."""
    # What rounds to 1,000 of a unit is 1 of the next.
    unit, size = next((one for one in _UNITS if seconds >= 0.9995 * one[1]), _UNITS[-1])
    return f"{digits(seconds / size)} {unit}"


def tick(seconds: float) -> str:
    """A round time for an axis: `20 ms`."""
    unit, size = next((one for one in _UNITS if seconds >= 0.9995 * one[1]), _UNITS[-1])
    return f"{seconds / size:g} {unit}"


def digits(value: float) -> str:
    """Three digits: `0.0123`, `1.23`, `123`, `12,300`."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    # Rounding may have made one digit more: 9.999 is 10.0.
    places = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def interval(estimate: Estimate) -> str:
    """`1.02 to 1.15`."""
    return f"{digits(estimate.low)} to {digits(estimate.high)}"


def power(value: float) -> str:
    """An exponent with two digits behind the point, and no minus before what rounds to 0."""
    return f"{round(value, 2) + 0.0:.2f}"


def powers(estimate: Estimate) -> str:
    """The interval of an exponent."""
    return f"{power(estimate.low)} to {power(estimate.high)}"


def round_trips(measured: Measured | Rival) -> str:
    """Their number, `?` where they were not counted."""
    return "?" if measured.round_trips is None else f"{measured.round_trips:,}"


def count(number: int, name: str) -> str:
    """`1 operation`, `2 operations`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def callouts(operations: Sequence[Measured]) -> Iterator[str]:
    """A sentence for each operation that grows faster with the conversation than it may."""
    for one in operations:
        if one.growth is None or not one.growth.too_fast:
            continue
        exponent, allowed = one.growth.exponent, one.growth.allowed
        what = "grows faster than its length" if allowed else "grows with the conversation"
        longest = max(one.growth.median_s)
        yield (
            f"`{one.label}` {what}: its time goes with the length to the power of "
            f"{power(exponent.value)} ({powers(exponent)}) where {allowed:g} is allowed; at "
            f"{longest:,} messages it takes {duration(one.growth.median_s[longest])}"
        )


def headline(result: Result) -> str:
    """The one sentence that matters most."""
    number = count(len(result.operations), "operation")
    too_fast = sum(one.growth is not None and one.growth.too_fast for one in result.operations)
    if too_fast:
        verb = "grows" if too_fast == 1 else "grow"
        return f"{too_fast} of {number} {verb} faster with the conversation than allowed"
    if any(one.growth is not None for one in result.operations):
        return f"{number}, none grows faster with the conversation than allowed"
    return f"{number}, growth not measured"


def facts(result: Result) -> list[tuple[str, str]]:
    """Where and of what a result is, as names and values; nothing that tells whose machine."""
    told = [
        ("server", result.server or "none"),
        ("python", result.environment.python),
        ("machine", result.environment.machine),
        ("measured", result.measured_at[:16].replace("T", " ")),
    ]
    if result.commit is not None:
        told.append(("commit", result.commit.short))
    return [*told, *sorted(result.environment.packages.items())]


def missing(operations: Sequence[Measured]) -> list[str]:
    """A line for each peer that was not measured at all, or not in some operations: and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in operations:
        for name, peer in one.peers.items():
            if isinstance(peer, str):
                reasons.setdefault((name, peer), []).append(one.label)
    return [
        f"{name}: {why}" + ("" if len(labels) == len(operations) else f" (in {', '.join(labels)})")
        for (name, why), labels in reasons.items()
    ]


def uncounted(result: Result) -> list[str]:
    """Each reason for which round trips could not be counted."""
    reasons = (one.round_trips_unknown for one in result.operations)
    return list(dict.fromkeys(reason for reason in reasons if reason))


def rivals(results: Sequence[Result]) -> list[str]:
    """The floor and every peer that was measured, each once."""
    names = dict.fromkeys(
        name for result in results for one in result.operations for name in one.rivals
    )
    return sorted(names, key=lambda name: name != "floor")


def code(text: str) -> str:
    """Text as code in Markdown, in a table too."""
    shown = visible(text).replace("|", r"\|") or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    blank = " " if "`" in shown else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def prose(text: str) -> str:
    """Text as Markdown that shows it as it is; what stands between backticks stays code."""
    pieces = re.split(r"(`[^`]+`)", visible(text))
    return "".join(
        piece if index % 2 else re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", piece)
        for index, piece in enumerate(pieces)
    )


def row(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
