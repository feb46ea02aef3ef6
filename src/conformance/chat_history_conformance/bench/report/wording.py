"""Words and numbers that every format of a benchmark report shares."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chat_history_conformance.bench.measure.results import Measured, Missing, Result, Rival
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.reports.wording import visible

__all__ = [
    "Piece",
    "callouts",
    "code",
    "count",
    "digits",
    "duration",
    "facts",
    "headline",
    "interval",
    "missing",
    "pieces",
    "power",
    "powers",
    "prose",
    "rivals",
    "round_trips",
    "row",
    "size",
    "tick",
    "tick_of_size",
    "uncounted",
]

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BYTES = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1))


# Numbers -----------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a time with three digits in the unit that suits it: `12.3 µs`, `1,230 s`."""
    unit, size = _unit(seconds)
    return f"{digits(seconds / size)} {unit}"


def tick(seconds: float) -> str:
    """Return a round time for an axis: `20 ms`."""
    unit, size = _unit(seconds)
    return f"{seconds / size:g} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    # A time that rounds to 1,000 of a unit is 1 of the next.
    return next((one for one in _UNITS if seconds >= 0.9995 * one[1]), _UNITS[-1])


def size(count: float | None) -> str:
    """Return a number of bytes in the unit that suits it: `12.3 kB`. Nothing for None."""
    if count is None:
        return ""
    unit, factor = _unit_of_size(count)
    return f"{digits(count / factor) if factor > 1 else round(count)} {unit}"


def tick_of_size(count: float) -> str:
    """Return a round number of bytes for an axis: `20 kB`."""
    unit, factor = _unit_of_size(count)
    return f"{count / factor:g} {unit}"


def _unit_of_size(count: float) -> tuple[str, int]:
    return next((one for one in _BYTES if count >= 0.9995 * one[1]), _BYTES[-1])


def digits(value: float) -> str:
    """Return a number with three digits: `0.0123`, `1.23`, `123`, `12,300`."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    # Rounding may have added a digit: 9.999 is 10.0.
    places = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def interval(estimate: Estimate) -> str:
    """Return the interval of a ratio: `1.02 to 1.15`."""
    return f"{digits(estimate.low)} to {digits(estimate.high)}"


def power(value: float) -> str:
    """Return an exponent with two decimals, without a minus if it rounds to 0."""
    return f"{round(value, 2) + 0.0:.2f}"


def powers(estimate: Estimate) -> str:
    """Return the interval of an exponent."""
    return f"{power(estimate.low)} to {power(estimate.high)}"


def round_trips(measured: Measured | Rival) -> str:
    """Return the number of round trips, `?` if they were not counted."""
    return "?" if measured.round_trips is None else f"{measured.round_trips:,}"


def count(number: int, name: str) -> str:
    """Return a number with its noun: `1 operation`, `2 operations`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


# Sentences about a result ------------------------------------------------------------------------


def callouts(operations: Sequence[Measured]) -> Iterator[str]:
    """Yield a sentence for each operation that grows faster with the conversation than allowed."""
    for one in operations:
        growth = one.growth
        if growth is None or not growth.too_fast:
            continue
        verb = "grows faster than its length" if growth.allowed else "grows with the conversation"
        longest = max(growth.lengths)
        yield (
            f"`{one.label}` {verb}: its time grows with the length to the power of "
            f"{power(growth.exponent)} ({powers(growth.estimate)}), more than the allowed "
            f"{growth.allowed:g}; at {longest:,} messages it takes "
            f"{duration(growth.seconds[longest])}"
        )


def headline(result: Result) -> str:
    """Return the most important sentence about a result."""
    number = count(len(result.operations), "operation")
    too_fast = sum(one.growth is not None and one.growth.too_fast for one in result.operations)
    if too_fast:
        verb = "grows" if too_fast == 1 else "grow"
        return f"{too_fast} of {number} {verb} faster with the conversation than allowed"
    if any(one.growth is not None for one in result.operations):
        return f"{number}, none grows faster with the conversation than allowed"
    return f"{number}, growth not measured"


def facts(result: Result) -> list[tuple[str, str]]:
    """Describe the environment of a result, without identifying the machine."""
    pairs = [
        ("server", result.server or "none"),
        ("payload", result.payload),
        ("python", result.environment.python),
        ("machine", result.environment.machine),
        ("measured", result.measured_at[:16].replace("T", " ")),
    ]
    if result.commit is not None:
        pairs.append(("commit", result.commit.short))
    return [*pairs, *sorted(result.environment.packages.items())]


def missing(operations: Sequence[Measured]) -> list[str]:
    """Return a line for each peer that was not measured, or not in some operations, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in operations:
        for name, peer in one.peers.items():
            if isinstance(peer, Missing):
                reasons.setdefault((name, peer.missing), []).append(one.label)
    return [
        f"{name}: {why}" + ("" if len(labels) == len(operations) else f" (in {', '.join(labels)})")
        for (name, why), labels in reasons.items()
    ]


def uncounted(result: Result) -> list[str]:
    """Return each reason why round trips could not be counted."""
    reasons = (one.round_trips_unknown for one in result.operations)
    return list(dict.fromkeys(reason for reason in reasons if reason))


def rivals(operations: Sequence[Measured]) -> list[str]:
    """Return the names of the floor and of every peer that was measured, the floor first."""
    names = dict.fromkeys(name for one in operations for name in one.rivals)
    return sorted(names, key=lambda name: name != "floor")


# Text with code ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A part of a text: code if it was between backticks."""

    text: str
    is_code: bool


def pieces(text: str) -> tuple[Piece, ...]:
    """Split a text at its backticks."""
    parts = re.split("`([^`]+)`", text)
    return tuple(Piece(part, bool(n % 2)) for n, part in enumerate(parts) if part)


def code(text: str) -> str:
    """Return a text as code in Markdown, in a table too."""
    shown = visible(text).replace("|", r"\|") or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    blank = " " if "`" in shown else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def prose(text: str) -> str:
    """Return Markdown that shows a text unchanged; code between backticks stays code."""
    return "".join(
        f"`{piece.text}`"
        if piece.is_code
        else re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", piece.text)
        for piece in pieces(visible(text))
    )


def row(*cells: str) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
