"""Measure how often `bench compare` is right: A against A, and with injected slowdowns.

python reports/benchmarks/detection.py measure EXPERIMENT --count N [--into FILE]
python reports/benchmarks/detection.py report [--from FILE]

Each comparison is real: it alternates between fresh processes, decides and measures again as the
command does. Each result is appended to a file at once, so that an experiment can be stopped and
continued. The report is made from that file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_history_conformance.bench.compare.decision import Operation, Role, Settings, compare
from chat_history_conformance.bench.compare.processes import Worker
from chat_history_conformance.bench.compare.run import measure_pairs

HERE = Path(__file__).parent

SLOWED = '''
"""The history in memory, with a slower add."""

import time

from chat_history_backends.memory import MemoryChatMessageHistory


class Slowed(MemoryChatMessageHistory):
    def add_messages(self, messages):
        began = time.perf_counter()
        super().add_messages(messages)
        until = began + (time.perf_counter() - began) * (1 + {share})
        while time.perf_counter() < until:
            pass
'''
"""Both versions use this class; the share of base is 0."""


@dataclass(frozen=True)
class Experiment:
    """One kind of comparison, to be repeated.

    Attributes:
        title: The title in the report.
        operations: The compared operations.
        settings: The settings of the command, with another number of pairs and other seconds.
        share: The slowdown of the add of head, as a share.
        wanted: The number of right results that is good enough.
    """

    title: str
    operations: Sequence[str]
    settings: Settings
    share: float | None
    wanted: str


EXPERIMENTS: Mapping[str, Experiment] = {
    "same": Experiment(
        "A against A",
        ("open[sync]", "add_1[sync]", "read_10[sync]", "chat_turn[sync]"),
        Settings(pairs=8, seconds=0.02),
        None,
        "at most 2 of 200 with a false alarm",
    ),
    "slower-10": Experiment(
        "add 100 slower by 10 %",
        ("add_100[sync]",),
        Settings(pairs=16, seconds=0.05),
        0.10,
        "19 of 20 found",
    ),
    "slower-10-busy": Experiment(
        "the same, with other work on both processors",
        ("add_100[sync]", "read_10[sync]"),
        Settings(pairs=16, seconds=0.05),
        0.10,
        "nothing",
    ),
    "slower-5": Experiment(
        "add 100 slower by 5 %, threshold 2.5 %",
        ("add_100[sync]", "read_10[sync]"),
        Settings(pairs=16, seconds=0.05, threshold=0.025),
        0.05,
        "15 of 20 found",
    ),
}


def measure(name: str, count: int, into: Path) -> None:
    """Repeat an experiment, and append the results to a file.

    Args:
        name: One of `EXPERIMENTS`.
        count: The number of comparisons.
        into: The file, with a JSON object on each line.
    """
    experiment = EXPERIMENTS[name]
    with tempfile.TemporaryDirectory() as place:
        workers: dict[Role, Worker] = {
            "base": _worker("base", experiment, Path(place)),
            "head": _worker("head", experiment, Path(place)),
        }
        backend = "memory" if experiment.share is None else "histories:Slowed"

        measure_pair = measure_pairs(backend, experiment.settings, workers)
        for number in range(count):
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            found = compare(experiment.operations, experiment.settings, measure_pair)
            line = {
                "experiment": name,
                "load": load,
                "operations": [_as_json(one) for one in found],
            }
            with into.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
            ratios = ", ".join(f"{one.name} {one.counted.estimate.value:.3f}" for one in found)
            flagged = [one.name for one in found if one.verdict in ("slower", "faster")]
            print(f"{name} {number + 1} of {count}: {ratios}; found {flagged}", file=sys.stderr)


def _worker(role: Role, experiment: Experiment, place: Path) -> Worker:
    directory = place / role
    directory.mkdir()
    share = experiment.share if role == "head" and experiment.share else 0.0
    (directory / "histories.py").write_text(SLOWED.format(share=share), encoding="utf-8")
    return Worker(role, Path(sys.executable), directory)


def _as_json(one: Operation) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict,
        "first": one.first.direction(one.settings),
        "ratio": one.counted.estimate.value,
        "interval": [one.counted.estimate.low, one.counted.estimate.high],
        "measured_again": one.second is not None,
    }


# -- the report --------------------------------------------------------------------------------


def report(lines: Iterable[str]) -> tuple[dict[str, Any], str]:
    """Return the results of the experiments as a value and as Markdown."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in EXPERIMENTS}
    for line in filter(str.strip, lines):
        one = json.loads(line)
        found[one["experiment"]].append(one)
    summaries = {name: _summary(name, runs) for name, runs in found.items() if runs}
    value = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "experiments": summaries,
    }
    return value, "\n".join(_markdown(value))


def _summary(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    experiment = EXPERIMENTS[name]
    slowed = experiment.operations[0] if experiment.share is not None else None
    right = sum(
        any(one["name"] == slowed and one["verdict"] == "slower" for one in run["operations"])
        for run in runs
    )
    wrong = sum(
        any(
            (one["name"] != slowed and one["verdict"] in ("slower", "faster"))
            or (one["name"] == slowed and one["verdict"] == "faster")
            for one in run["operations"]
        )
        for run in runs
    )
    ratios = sorted(
        one["ratio"] for run in runs for one in run["operations"] if one["name"] == slowed
    )
    loads = sorted(run["load"] for run in runs if run["load"] is not None)
    return {
        "title": experiment.title,
        "wanted": experiment.wanted,
        "comparisons": len(runs),
        "operations": list(experiment.operations),
        "pairs": experiment.settings.pairs,
        "seconds": experiment.settings.seconds,
        "threshold": experiment.settings.threshold,
        "found": right if slowed else None,
        "false_alarms": wrong,
        "suspected_first": sum(
            one["first"] is not None and one["name"] != slowed
            for run in runs
            for one in run["operations"]
        ),
        "median_ratio": ratios[len(ratios) // 2] if ratios else None,
        "load": [loads[0], loads[len(loads) // 2], loads[-1]] if loads else None,
    }


def _markdown(value: Mapping[str, Any]) -> Iterable[str]:
    yield "# How often a comparison is right"
    yield ""
    yield (
        f"Measured on {value['system']} with {value['cores']} cores of a shared virtual machine "
        f"and Python {value['python']}. The last column shows how busy the machine was. Every "
        "comparison is complete: it alternates between fresh processes, and decides and measures "
        "again as `history-conformance bench compare` does. `detection.py` runs them and writes "
        "this page. [detection.jsonl](detection.jsonl) has the result of each."
    )
    yield ""
    yield (
        "| experiment | comparisons | found | false alarms | suspected once | wanted | pairs "
        "| seconds each | threshold | system load (least, median, most) |"
    )
    yield "|---|--:|--:|--:|--:|---|--:|--:|--:|---|"
    for one in value["experiments"].values():
        load = " / ".join(f"{number:.1f}" for number in one["load"] or ())
        found = "" if one["found"] is None else f"{one['found']}"
        yield (
            f"| {one['title']} | {one['comparisons']} | {found} | {one['false_alarms']} "
            f"| {one['suspected_first']} | {one['wanted']} | {one['pairs']} | {one['seconds']:g} "
            f"| {one['threshold']:.1%} | {load} |"
        )
    yield ""
    yield (
        "A false alarm is a comparison in which any operation that was not changed is called "
        "slower or faster. `suspected once` counts the operations that looked changed in the first "
        "measurement and were measured again."
    )
    yield ""
    for one in value["experiments"].values():
        names = ", ".join(f"`{name}`" for name in one["operations"])
        ratio = one["median_ratio"]
        tail = "" if ratio is None else f"; the median ratio of the first is {ratio:.3f}"
        yield f"- {one['title']}: {names}{tail}"
    yield ""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, dest="command")
    measuring = commands.add_parser("measure", help="run an experiment")
    measuring.add_argument("experiment", choices=EXPERIMENTS)
    measuring.add_argument("--count", type=int, required=True, metavar="N")
    measuring.add_argument("--into", type=Path, default=HERE / "detection.jsonl", metavar="FILE")
    reporting = commands.add_parser("report", help="write detection.json and detection.md")
    reporting.add_argument(
        "--from", dest="source", type=Path, default=HERE / "detection.jsonl", metavar="FILE"
    )
    chosen = parser.parse_args()
    if chosen.command == "measure":
        measure(chosen.experiment, chosen.count, chosen.into)
        return
    with chosen.source.open(encoding="utf-8") as lines:
        value, page = report(lines)
    (HERE / "detection.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    (HERE / "detection.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
