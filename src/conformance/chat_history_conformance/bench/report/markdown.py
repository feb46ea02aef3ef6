"""Benchmarks, timelines and comparisons as Markdown (GitHub's)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.compare.decision import Comparison, Operation
from chat_history_conformance.bench.measure.results import Result
from chat_history_conformance.bench.report import comparison as words
from chat_history_conformance.bench.report import tables
from chat_history_conformance.bench.report.timeline import Track, separate
from chat_history_conformance.bench.report.wording import (
    callouts,
    code,
    duration,
    facts,
    headline,
    prose,
    row,
)

__all__ = ["comparison", "results", "timeline"]

_OUTCOME_MARKS = {"worse": "❌", "unclear": "⚪", "no worse": "✅"}


def results(results: Sequence[Result]) -> str:
    """Return the results of one or several runs; operations that grow too fast come first."""
    lines = [f"# {tables.RESULTS_TITLE}", ""]
    for result in results:
        lines.append(f"- {code(result.backend)}: {prose(headline(result))}")
        lines += [f"  - {prose(line)}" for line in callouts(result.operations)]
    for result in results:
        lines += ["", f"## {code(result.backend)}", ""]
        lines += [", ".join(f"{prose(name)} {prose(value)}" for name, value in facts(result)), ""]
        lines += _table(tables.of_result(result))
        notes = tables.notes(result)
        lines += ["", *(f"- {prose(note)}" for note in notes)] if notes else []
    return "\n".join([*lines, "", tables.RESULTS_LEGEND, ""])


def timeline(tracks: Sequence[Track]) -> str:
    """Return the changes of the newest commit, then its numbers next to the commit before."""
    lines = [f"# {tables.TIMELINE_TITLE}", ""]
    for track in tracks:
        lines.append(f"- {code(track.backend)}: {prose(tables.timeline_headline(track))}")
        lines += [f"  - {prose(line)}" for line in tables.change_sentences(track)]
    for track in tracks:
        lines += ["", f"## {code(track.backend)}", ""]
        lines += [f"{prose(sentence)}.\n" for sentence in separate(track)]
        lines += _table(tables.of_series(track.series[0]))
    return "\n".join([*lines, "", tables.TIMELINE_LEGEND, ""])


def _table(table: tables.Table) -> Iterator[str]:
    yield row(*map(prose, table.columns))
    yield f"|---|{'--:|' * (len(table.columns) - 1)}"
    for one in table.rows:
        cells = [prose(one.name) + (f" ({prose(one.mode)})" if one.mode else "")]
        for cell in one.cells:
            large = f"**{cell.large}, too fast**" if cell.is_bad else prose(cell.large)
            cells.append(f"{large} ({prose(cell.small)})" if cell.small else large)
        yield row(*cells)


def comparison(comparison: Comparison) -> str:
    """Return a comment for a pull request: the changes first, everything else folded away."""
    lines = [f"## {_OUTCOME_MARKS[comparison.outcome]} {words.headline(comparison)}", ""]
    lines.append(f"{code(comparison.base.asked)} → {code(comparison.head.asked)}")
    changed = [*comparison.regressions, *comparison.improvements]
    if changed:
        lines += ["", *_compared([(backend.name, operation) for backend, operation in changed])]
    lines += _warnings(comparison)
    rows = [(backend.name, one) for backend in comparison.backends for one in backend.operations]
    lines += ["", f"<details><summary>All {words.operations(len(rows))}</summary>", ""]
    lines += _compared(rows)
    lines += ["", f"{words.legend(comparison)}.", "", "</details>"]
    lines += ["", "<details><summary>How it was measured</summary>", ""]
    for name, side in (("base", comparison.base), ("head", comparison.head)):
        lines.append(f"- {name}: {code(f'{side.asked}: {words.version(side)}')}")
    for backend in comparison.backends:
        if backend.server:
            lines.append(f"- server of {code(backend.name)}: {code(backend.server)}")
    lines += [f"- {name}: {code(value)}" for name, value in words.facts(comparison)]
    return "\n".join([*lines, "", "</details>", ""])


def _warnings(comparison: Comparison) -> Iterator[str]:
    differing = [code(line) for line in words.differing(comparison)]
    if differing:
        yield f"\nOther packages differ too: {', '.join(differing)}."
    for backend, line in words.skipped(comparison):
        yield f"\n{code(backend.name)}: {line}."


def _compared(rows: Sequence[tuple[str, Operation]]) -> Iterator[str]:
    yield "| backend | operation | verdict | ratio | interval | round trips | base | head |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for backend, operation in rows:
        base, head = map(duration, words.median_seconds(operation.counted))
        verdict = words.verdict(operation)
        yield row(
            code(backend),
            code(operation.name),
            f"**{verdict}**" if operation.is_regression else verdict,
            words.ratio(operation.counted.estimate.value),
            words.interval(operation.counted),
            words.round_trips(operation),
            base,
            head,
        )
