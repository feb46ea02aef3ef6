"""Merge several runs into one report, whose columns are the backends of all runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from chat_history_conformance.reports import wording
from chat_history_conformance.results.model import RunReport

__all__ = ["labels_of", "merge"]


def merge(
    reports: Sequence[RunReport] | Mapping[Path, RunReport], labels: Sequence[str] = ()
) -> RunReport:
    """Return one report with the backends of all `reports`, in the same order.

    If two backends have the same name, the first of these that differs is added: the version of the
    suite, the label of the run, the number of the run. Examples: `kafka (0.2.0)`, `kafka (linux)`,
    `kafka (run 2)`. If the runs differ in a fact, such as a version, the merged report lists all
    values, and each backend gets a note with its own value.

    Args:
        reports: The runs, or the runs by file. The files label the runs then.
        labels: A name for each run, such as the result of `labels_of`.

    Raises:
        ValueError: The number of labels is not the number of runs.
    """
    if isinstance(reports, Mapping):
        labels = labels or labels_of(list(reports))
        reports = list(reports.values())
    if labels and len(labels) != len(reports):
        raise ValueError(
            f"There are {len(labels)} labels for {len(reports)} reports. Give one for each report."
        )
    names = _names(reports, labels)
    columns = []
    for run, report in enumerate(reports):
        own = _own(report, reports)
        for backend in report.backends:
            notes = (*backend.notes, f"Ran with {own}.") if own else tuple(backend.notes)
            columns.append(replace(backend, name=names[run, backend.name], notes=notes))
    return RunReport(
        suite=_common([report.suite for report in reports]),
        environment=_common([report.environment for report in reports]),
        backends=tuple(columns),
    )


def labels_of(paths: Sequence[str | PurePath]) -> list[str]:
    """Return the shortest ends of `paths` that all differ, without their suffix."""
    parts = [PurePath(path).with_suffix("").parts for path in paths]
    longest = max(map(len, parts), default=0)
    for length in range(1, longest + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [str(path) for path in paths]


def _names(reports: Sequence[RunReport], labels: Sequence[str]) -> dict[tuple[int, str], str]:
    runs_of: dict[str, list[int]] = {}
    for run, report in enumerate(reports):
        for backend in report.backends:
            runs_of.setdefault(backend.name, []).append(run)
    names = {}
    for name, runs in runs_of.items():
        ways = [
            [str(reports[run].suite.get("version", "")) for run in runs],
            [labels[run] for run in runs] if labels else [],
            [f"run {run + 1}" for run in runs],
        ]
        chosen = next((way for way in ways if len(set(way)) == len(runs) and all(way)), ways[-1])
        for run, addition in zip(runs, chosen, strict=True):
            names[run, name] = name if len(runs) == 1 else f"{name} ({addition})"
    # A backend may already have the name that another one got above.
    taken = Counter(names.values())
    return {
        (run, name): f"{shown} (run {run + 1})" if taken[shown] > 1 else shown
        for (run, name), shown in names.items()
    }


def _own(report: RunReport, reports: Sequence[RunReport]) -> str:
    """Return the facts of `report` that are not the same in all `reports`."""
    everywhere = set.intersection(*(set(_facts(other)) for other in reports))
    return ", ".join(
        f"{name} {text}" for name, text in _facts(report) if (name, text) not in everywhere
    )


def _facts(report: RunReport) -> list[tuple[str, str]]:
    suite: list[tuple[str, str]] = wording.facts(report.suite)
    return [*((f"suite {name}", text) for name, text in suite), *wording.facts(report.environment)]


def _common(values: Sequence[Any]) -> dict[str, Any]:
    """Return one mapping of all keys. If the values of a key differ, they are joined by commas."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for value in values for key in value):
        found = [value[key] for value in values if key in value]
        if all(isinstance(item, Mapping) for item in found):
            merged[key] = _common(found)
        elif all(item == found[0] for item in found):
            merged[key] = found[0]
        else:
            merged[key] = ", ".join(dict.fromkeys(str(item) for item in found))
    return merged
