"""Measures the Elasticsearch history against raw clients and langchain-elasticsearch's, in one run.

python reports/elasticsearch/benchmark.py [--address URL] [--rounds N] [--output DIR]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmark_floor import REQUESTS, encoded
from benchmark_operations import Bench
from benchmark_pages import picture, verdicts
from benchmark_report import judge, markdown
from benchmarking import conversation, measure, tell

from chat_history_conformance.servers import ladder


def main() -> None:
    """Run the benchmark as the command line says, and write its three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", metavar="URL", help="a node; without, one is started")
    parser.add_argument("--rounds", type=int, default=100, help="how often (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("--rounds must be 1 or more")
    chosen.output.mkdir(parents=True, exist_ok=True)
    with ladder.start("elasticsearch", chosen.address or "jvm", announce=tell) as server:
        bench = Bench(server.address)
        try:
            rows = measure(bench.operations(), chosen.rounds, REQUESTS)
        except Exception:
            if ended := server.ended():
                tell(f"the node itself has ended: {ended}; its last lines:\n{server.log}")
            raise
        finally:
            bench.close()
        measured: dict[str, Any] = {"rounds": chosen.rounds, "rows": rows}
        measured["environment"] = environment(server.description)
    measured["limits"] = judge(measured)
    written = {
        "benchmark.json": json.dumps(measured, indent=1) + "\n",
        "benchmark.md": markdown(measured),
        "benchmark.svg": picture(measured, "the Elasticsearch history"),
    }
    for name, text in written.items():
        (chosen.output / name).write_text(text, encoding="utf-8")
    print("\n".join(verdicts(measured)))


def environment(server: str) -> dict[str, Any]:
    """On what was measured; nothing that tells whose machine it is."""
    sizes = [len(text) for text in encoded(conversation(100))]
    packages = ("elasticsearch", "langchain-core", "langchain-elasticsearch")
    return {
        "server": server,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "bytes_per_message": round(statistics.mean(sizes)),
    }


if __name__ == "__main__":
    main()
