"""A comparison in a terminal's table, as Markdown for a pull request, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any

from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measured,
    Operation,
    Verdict,
)
from chat_history_conformance.bench.report.wording import code, duration
from chat_history_conformance.reports.wording import visible

Render = Callable[[Comparison], str]

SCHEMA = "chat-history-conformance/comparison/1"

_MARKS: Mapping[Verdict, str] = {"slower": "✗", "faster": "✓", "unchanged": "=", "unclear": "~"}

_OUTCOME_MARKS = {"worse": "❌", "unclear": "⚪", "no worse": "✅"}


def schema() -> dict[str, Any]:
    """The JSON schema of `document`."""
    text = (
        resources.files("chat_history_conformance.bench.compare") / "comparison-1.schema.json"
    ).read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


# What every format says ------------------------------------------------------------------------


def headline(comparison: Comparison) -> str:
    """The one sentence that matters most."""
    number = sum(len(backend.operations) for backend in comparison.backends)
    worse, better = len(comparison.regressions), len(comparison.improvements)
    unclear = len(comparison.unclear)
    open_yet = f"; {unclear} {'is' if unclear == 1 else 'are'} unclear" if unclear else ""
    if comparison.outcome == "worse":
        return f"{worse} of {_operations(number)} got worse{open_yet}"
    if comparison.outcome == "unclear":
        return f"Nothing can be told of {_operations(number)}: the noise hides it"
    got_better = f", {better} got better" if better else ""
    return f"None of {_operations(number)} got worse{got_better}{open_yet}"


def sentence(operation: Operation) -> str:
    """What became of an operation: `takes 1.1 times as long and makes 5 round trips, before 4`."""
    told = []
    found = operation.counted.estimate
    if operation.verdict in ("slower", "faster"):
        told.append(
            f"takes {ratio(found.value)} times as long ({ratio(found.low)} to {ratio(found.high)})"
        )
    if operation.more_round_trips:
        told.append(
            f"makes {_trips(operation.head_round_trips)}, before {operation.base_round_trips}"
        )
    return " and ".join(told)


def ratio(value: float) -> str:
    """A ratio with as many digits as tell it from 1."""
    return f"{value:.3f}" if 0.2 < value < 2 else f"{value:.3g}"


def interval(measured: Measured) -> str:
    """`1.08 – 1.12`."""
    return f"{ratio(measured.estimate.low)} – {ratio(measured.estimate.high)}"


def mark(operation: Operation) -> str:
    """A sign for its verdict, or for what round trips make of it."""
    if operation.is_regression:
        return _MARKS["slower"]
    return _MARKS["faster" if operation.is_improvement else operation.verdict]


def verdict(operation: Operation) -> str:
    """Its verdict in words, after what round trips add to it."""
    words: str = operation.verdict
    if operation.is_withdrawn:
        words += ", seen once and not again"
    if operation.more_round_trips:
        number = "more" if operation.more_round_trips > 0 else "fewer"
        return f"{number} round trips; time {words}"
    return words


def round_trips(operation: Operation) -> str:
    """`4`, `4 → 5`, or `?` where nobody can count."""
    base, head = operation.base_round_trips, operation.head_round_trips
    if base is None or head is None:
        return "?"
    return f"{base}" if base == head else f"{base} → {head}"


def seconds_of(measured: Measured) -> tuple[float, float]:
    """The middle time of base and of head."""
    middle = len(measured.pairs) // 2
    return (
        sorted(base for base, _ in measured.pairs)[middle],
        sorted(head for _, head in measured.pairs)[middle],
    )


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Where and how it was measured, as names and values."""
    settings, where = comparison.settings, comparison.environment
    told = [
        ("python", f"{where.get('implementation', '')} {where.get('python', '')}".strip()),
        ("on", f"{where.get('platform', '')} {where.get('machine', '')}".strip()),
        # Many a Linux does not name its processor.
        ("processor", f"{where.get('processor') or ''}, {where['cores']} cores".lstrip(", ")),
        ("pairs", str(settings.pairs)),
        ("threshold", percent(settings.threshold)),
        ("confidence", percent(settings.confidence)),
        ("each operation", f"{duration(settings.seconds)} a process"),
        ("measured", comparison.created),
        ("suite", comparison.suite),
    ]
    return [(name, value) for name, value in told if value]


def percent(share: float) -> str:
    """`5 %`."""
    return f"{share * 100:.4g} %"


def left_out(comparison: Comparison) -> Iterator[tuple[Backend, str]]:
    """What only one side has, a sentence each."""
    for backend in comparison.backends:
        for side, names in (("base", backend.only_base), ("head", backend.only_head)):
            if names:
                yield backend, f"only {side} has {', '.join(names)}: nothing to compare"


def legend(comparison: Comparison) -> str:
    """What the verdicts mean."""
    threshold = percent(comparison.settings.threshold)
    return (
        f"slower, faster: twice beyond {threshold}, with an interval that excludes 1; unchanged: "
        f"the interval lies within {threshold}; unclear: it does not, so that a change of "
        f"{threshold} can neither be shown nor excluded"
    )


def _operations(number: int) -> str:
    return f"{number} operation{'s' if number != 1 else ''}"


def _trips(number: int | None) -> str:
    return f"{number} round trip{'s' if number != 1 else ''}"


# A terminal --------------------------------------------------------------------------------------


def terminal(comparison: Comparison) -> str:
    """A table for each backend, and the headline last, where it is read."""
    lines = [f"base: {_side(comparison.base)}", f"head: {_side(comparison.head)}"]
    lines += [f"what differs: {line}" for line in _differing(comparison)]
    for backend in comparison.backends:
        on = f" on {backend.server}" if backend.server else ""
        lines += ["", f"{visible(backend.name)}{on}"]
        rows = [("operation", "base", "head", "ratio", "interval", "round trips", "verdict")]
        for operation in backend.operations:
            base, head = map(duration, seconds_of(operation.counted))
            rows.append(
                (
                    operation.name,
                    base,
                    head,
                    ratio(operation.counted.estimate.value),
                    interval(operation.counted),
                    round_trips(operation),
                    f"{mark(operation)} {verdict(operation)}",
                )
            )
        lines += _aligned(rows)
        lines += [f"  {line}" for of, line in left_out(comparison) if of is backend]
    lines += ["", f"({legend(comparison)})", "", headline(comparison)]
    for backend, operation in comparison.regressions:
        lines.append(f"  {visible(backend.name)} {operation.name} {sentence(operation)}")
    return "\n".join(lines) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if index in (0, len(row) - 1) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells).rstrip()


def _side(side: Any) -> str:
    return visible(f"{side.asked}: {side.package} {side.version}")


def _differing(comparison: Comparison) -> Iterator[str]:
    for name, (base, head) in comparison.differing.items():
        yield f"{name} {base or 'missing'} → {head or 'missing'}"


# Markdown ----------------------------------------------------------------------------------------


def markdown(comparison: Comparison) -> str:
    """A comment for a pull request: what got worse, what else changed, all of it folded away."""
    lines = [f"## {_OUTCOME_MARKS[comparison.outcome]} {headline(comparison)}", ""]
    lines.append(f"{code(comparison.base.asked)} → {code(comparison.head.asked)}")
    changed = [*comparison.regressions, *comparison.improvements]
    if changed:
        lines += ["", *_table([(backend.name, operation) for backend, operation in changed])]
    lines += _warnings(comparison)
    rows = [(backend.name, one) for backend in comparison.backends for one in backend.operations]
    lines += ["", f"<details><summary>All {_operations(len(rows))}</summary>", "", *_table(rows)]
    lines += ["", f"{legend(comparison)}.", "", "</details>"]
    lines += ["", "<details><summary>How it was measured</summary>", ""]
    for side, told in (("base", comparison.base), ("head", comparison.head)):
        lines.append(f"- {side}: {code(_side(told))}")
    for backend in comparison.backends:
        if backend.server:
            lines.append(f"- server of {code(backend.name)}: {code(backend.server)}")
    lines += [f"- {name}: {code(value)}" for name, value in facts(comparison)]
    return "\n".join([*lines, "", "</details>", ""])


def _warnings(comparison: Comparison) -> Iterator[str]:
    differing = [code(line) for line in _differing(comparison)]
    if differing:
        yield f"\nNot only what is compared differs: {', '.join(differing)}."
    for backend, line in left_out(comparison):
        yield f"\n{code(backend.name)}: {line}."


def _table(rows: Sequence[tuple[str, Operation]]) -> Iterator[str]:
    yield "| backend | operation | verdict | ratio | interval | round trips | base | head |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for backend, operation in rows:
        base, head = map(duration, seconds_of(operation.counted))
        words = verdict(operation)
        cells = [
            code(backend),
            code(operation.name),
            f"**{words}**" if operation.is_regression else words,
            ratio(operation.counted.estimate.value),
            interval(operation.counted),
            round_trips(operation),
            base,
            head,
        ]
        yield f"| {' | '.join(cells)} |"


# JSON --------------------------------------------------------------------------------------------


def document(comparison: Comparison) -> str:
    """All that is known, as `schema` says."""
    return json.dumps(to_json(comparison), indent=1, ensure_ascii=False) + "\n"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The same as plain values. Times are in seconds, ratios are head / base."""
    return {
        "schema": SCHEMA,
        "suite": comparison.suite,
        "created": comparison.created,
        "headline": headline(comparison),
        "regression": bool(comparison.regressions),
        "base": asdict(comparison.base),
        "head": asdict(comparison.head),
        "settings": asdict(comparison.settings),
        "environment": dict(comparison.environment),
        "differing": {
            name: {"base": base, "head": head}
            for name, (base, head) in comparison.differing.items()
        },
        "backends": [
            {
                "name": backend.name,
                "server": backend.server,
                "only_base": list(backend.only_base),
                "only_head": list(backend.only_head),
                "operations": [_operation_json(operation) for operation in backend.operations],
            }
            for backend in comparison.backends
        ],
    }


def _operation_json(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "verdict": operation.verdict,
        "regression": operation.is_regression,
        "first": _measured_json(operation.first),
        "second": None if operation.second is None else _measured_json(operation.second),
        "round_trips": {"base": operation.base_round_trips, "head": operation.head_round_trips},
    }


def _measured_json(measured: Measured) -> dict[str, Any]:
    found = measured.estimate
    return {
        "ratio": found.value,
        "interval": [found.low, found.high],
        "pairs": [list(pair) for pair in measured.pairs],
    }
