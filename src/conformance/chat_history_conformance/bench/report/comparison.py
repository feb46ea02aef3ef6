"""The sentences of a comparison, which every format shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measured,
    Operation,
    Verdict,
    VersionSummary,
)
from chat_history_conformance.bench.report.wording import count, duration

__all__ = [
    "differing",
    "facts",
    "headline",
    "interval",
    "legend",
    "mark",
    "median_seconds",
    "operations",
    "percent",
    "ratio",
    "round_trips",
    "sentence",
    "skipped",
    "verdict",
    "version",
]

_MARKS: Mapping[Verdict, str] = {"slower": "✗", "faster": "✓", "unchanged": "=", "unclear": "~"}


def headline(comparison: Comparison) -> str:
    """Return the most important sentence."""
    number = sum(len(backend.operations) for backend in comparison.backends)
    worse, better = len(comparison.regressions), len(comparison.improvements)
    unclear = len(comparison.unclear)
    rest = f"; {unclear} {'is' if unclear == 1 else 'are'} unclear" if unclear else ""
    if comparison.outcome == "worse":
        return f"{worse} of {operations(number)} got worse{rest}"
    if comparison.outcome == "unclear":
        return f"No result for {operations(number)}: the noise is too large"
    got_better = f", {better} got better" if better else ""
    return f"None of {operations(number)} got worse{got_better}{rest}"


def sentence(operation: Operation) -> str:
    """Describe a change: `takes 1.1 times as long and makes 5 round trips, before 4`."""
    parts = []
    found = operation.counted.estimate
    if operation.verdict in ("slower", "faster"):
        parts.append(
            f"takes {ratio(found.value)} times as long ({ratio(found.low)} to {ratio(found.high)})"
        )
    if operation.more_round_trips:
        trips = count(operation.head_round_trips or 0, "round trip")
        parts.append(f"makes {trips}, before {operation.base_round_trips}")
    return " and ".join(parts)


def ratio(value: float) -> str:
    """Return a ratio with enough digits to distinguish it from 1."""
    return f"{value:.3f}" if 0.2 < value < 2 else f"{value:.3g}"


def interval(measured: Measured) -> str:
    """Return the interval of a ratio: `1.08 – 1.12`."""
    return f"{ratio(measured.estimate.low)} – {ratio(measured.estimate.high)}"


def mark(operation: Operation) -> str:
    """Return a sign for the verdict. Additional round trips count as slower."""
    if operation.is_regression:
        return _MARKS["slower"]
    return _MARKS["faster" if operation.is_improvement else operation.verdict]


def verdict(operation: Operation) -> str:
    """Return the verdict in words, with the round trips first if their number changed."""
    words: str = operation.verdict
    if operation.is_withdrawn:
        words += ", change not confirmed"
    if operation.more_round_trips:
        number = "more" if operation.more_round_trips > 0 else "fewer"
        return f"{number} round trips; time {words}"
    return words


def round_trips(operation: Operation) -> str:
    """Return `4`, `4 → 5`, or `?` if they were not counted."""
    base, head = operation.base_round_trips, operation.head_round_trips
    if base is None or head is None:
        return "?"
    return f"{base}" if base == head else f"{base} → {head}"


def median_seconds(measured: Measured) -> tuple[float, float]:
    """Return the median time of base and of head, in seconds."""
    middle = len(measured.pairs) // 2
    return (
        sorted(base for base, _ in measured.pairs)[middle],
        sorted(head for _, head in measured.pairs)[middle],
    )


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Describe the environment and the settings, as names and values."""
    settings, found = comparison.settings, comparison.environment
    pairs = [
        ("python", f"{found.get('implementation', '')} {found.get('python', '')}".strip()),
        ("on", f"{found.get('platform', '')} {found.get('machine', '')}".strip()),
        # Some Linux systems do not name their processor.
        ("processor", f"{found.get('processor') or ''}, {found['cores']} cores".lstrip(", ")),
        ("pairs", str(settings.pairs)),
        ("threshold", percent(settings.threshold)),
        ("confidence", percent(settings.confidence)),
        ("each operation", f"{duration(settings.seconds)} a process"),
        ("measured", comparison.created),
        ("suite", comparison.suite),
    ]
    return [(name, value) for name, value in pairs if value]


def percent(share: float) -> str:
    """Return a share as `5 %`."""
    return f"{share * 100:.4g} %"


def skipped(comparison: Comparison) -> Iterator[tuple[Backend, str]]:
    """Yield a sentence about the operations that only one side has."""
    for backend in comparison.backends:
        for side, names in (("base", backend.only_base), ("head", backend.only_head)):
            if names:
                yield backend, f"only {side} has {', '.join(names)}: nothing to compare"


def legend(comparison: Comparison) -> str:
    """Explain the verdicts."""
    threshold = percent(comparison.settings.threshold)
    return (
        f"slower, faster: two measurements are beyond {threshold}, with intervals that exclude 1; "
        f"unchanged: the interval lies within {threshold}; unclear: it does not, so a change of "
        f"{threshold} can be neither shown nor excluded"
    )


def version(side: VersionSummary) -> str:
    """Return the package and the version of a side."""
    return f"{side.package} {side.version}"


def differing(comparison: Comparison) -> Iterator[str]:
    """Yield the other packages that differ, with both versions: `other 1 → missing`."""
    for name, (base, head) in comparison.differing.items():
        yield f"{name} {base or 'missing'} → {head or 'missing'}"


def operations(number: int) -> str:
    """Return `1 operation`, `2 operations`."""
    return count(number, "operation")
