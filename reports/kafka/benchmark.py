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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import benchmarking
import confluent_kafka
from benchmark_floor import encoded
from benchmark_operations import HANDLES, Bench, can_count_threads, count_threads
from benchmark_pages import picture, verdicts
from benchmark_report import judge, markdown
from benchmarking import conversation, tell

from chat_history_conformance.servers import ladder


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
        "benchmark.svg": picture(measured, "the Kafka history"),
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
    bench = Bench(address)
    try:
        rows = benchmarking.measure(bench.operations(), rounds)
        after_clear = bench.after_clear()
        threads = {}
        if can_count_threads():
            for name, count in HANDLES.items():
                # A process of its own has no other clients in it.
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    sessions = bench.prepared(count)
                    threads[name] = process.submit(count_threads, name, address, sessions).result()
                tell(f"threads, {name}: {threads[name]}")
        else:
            tell("threads are not counted: this platform has no /proc/self/task")
    finally:
        bench.close()
    return {"rounds": rounds, "rows": rows, "after_clear": after_clear, "threads": threads}


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


if __name__ == "__main__":
    main()
