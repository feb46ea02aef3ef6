"""Measures the Kafka history against raw clients and against langchain-community's, in one run.

python reports/kafka/benchmark.py [--address HOST:PORT] [--rounds N] [--output DIR]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import confluent_kafka
from benchmark_floor import Watch, conversation, encoded
from benchmark_operations import HANDLES, Bench, Operation, can_count_threads, count_threads
from benchmark_report import judge, markdown, picture, verdicts

from conformance.servers import ladder

_WARM_UP = {"ours": 3, "floor": 3, "upstream": 1}


def main() -> None:
    """Run the benchmark as the command line says, and write its three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", metavar="HOST:PORT", help="a broker; without, one is started")
    parser.add_argument("--rounds", type=int, default=100, help="how often (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("--rounds must be 1 or more")
    chosen.output.mkdir(parents=True, exist_ok=True)
    with ladder.start("kafka", chosen.address or "jvm", announce=tell) as server:
        try:
            measured = measure(server.address, chosen.rounds)
        except Exception:
            if ended := server.ended():
                tell(f"the broker itself has ended: {ended}; its last lines:\n{server.log}")
            raise
        measured["environment"] = environment(server.description)
    measured["limits"] = judge(measured)
    written = {
        "benchmark.json": json.dumps(measured, indent=1) + "\n",
        "benchmark.md": markdown(measured),
        "benchmark.svg": picture(measured),
    }
    for name, text in written.items():
        (chosen.output / name).write_text(text, encoding="utf-8")
    print("\n".join(verdicts(measured)))


def measure(address: str, rounds: int) -> dict[str, Any]:
    """Measure everything once.

    Args:
        address: `host:port` of a broker.
        rounds: How often the operations are done that are done most often.
    """
    began = time.monotonic()
    bench = Bench(address)
    try:
        rows = []
        for operation in bench.operations():
            rows.append(alternate(operation, rounds))
            medians = {name: rows[-1][name]["median_ms"] for name in _WARM_UP if name in rows[-1]}
            shown = ", ".join(f"{name} {median:.3g}" for name, median in medians.items())
            tell(f"{time.monotonic() - began:4.0f} s  {operation.title}: {shown} ms")
        after_clear = bench.after_clear()
        threads = {}
        if can_count_threads():
            for name, count in HANDLES.items():
                # A process of its own has no other clients in it.
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    sessions = bench.prepared(count)
                    threads[name] = process.submit(count_threads, name, address, sessions).result()
                tell(f"{time.monotonic() - began:4.0f} s  threads, {name}: {threads[name]}")
        else:
            tell("threads are not counted: this platform has no /proc/self/task")
    finally:
        bench.close()
    return {"rounds": rounds, "rows": rows, "after_clear": after_clear, "threads": threads}


def alternate(operation: Operation, rounds: int) -> dict[str, Any]:
    """Measure one operation: ours, floor and upstream by turns, each beginning as often."""
    turns = {name: turn for name in _WARM_UP if (turn := getattr(operation, name)) is not None}
    rounds = max(2, round(rounds * operation.share))
    every = max(1, rounds // operation.upstream_rounds)
    for name, turn in turns.items():
        for _ in range(0 if name == "upstream" and every >= rounds else _WARM_UP[name]):
            turn(Watch())
    watches = {name: Watch() for name in turns}
    names = list(turns)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name != "upstream" or number % every == 0:
                turns[name](watches[name])
    row: dict[str, Any] = {"name": operation.name, "title": operation.title}
    for name, watch in watches.items():
        row[name] = summary([sample / operation.per for sample in watch.samples])
    if "floor" in row:
        row["ours_to_floor"] = row["ours"]["median_ms"] / row["floor"]["median_ms"]
    if "upstream" in row:
        row["upstream_to_ours"] = row["upstream"]["median_ms"] / row["ours"]["median_ms"]
    return row


def summary(samples: list[float]) -> dict[str, float]:
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


def environment(server: str) -> dict[str, Any]:
    """On what was measured; nothing that tells whose machine it is."""
    sizes = [len(text) for text in encoded(conversation(100))]
    packages = ("confluent-kafka", "langchain-core", "langchain-community")
    return {
        "kafka": server,
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        **{package: importlib.metadata.version(package) for package in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "bytes_per_message": round(statistics.mean(sizes)),
    }


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
