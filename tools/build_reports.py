"""Rebuild the files in `reports/` that come from a run.

    tox -e reports                       # everything; takes about five hours on two cores
    tox -e reports -- third-party        # one part

Each part starts the servers that it needs and removes them. Results are written as JSON with one
contract in a line, so that a change of one contract is a change of one line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from chat_history_conformance.bench.measure.operations import OPERATIONS
from tools import busy_reports, campaign_reports, power_reports, suite_speed
from tools.site import examples

__all__ = ["PARTS", "compact", "main", "shorter"]

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
RESULTS = "results.json"


def compact(report: dict[str, Any]) -> str:
    """Return a JSON report as text with one contract in a line."""

    def row(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    backends = []
    for backend in report["backends"]:
        rows = [f"   {row(contract)}" for contract in backend["contracts"]]
        fields = [
            f'  "{name}": {row(value)}' for name, value in backend.items() if name != "contracts"
        ]
        listing = ",\n".join(rows)
        body = ",\n".join([*fields, f'  "contracts": [\n{listing}\n  ]'])
        backends.append(f" {{\n{body}\n }}")
    head = [f'"{name}": {row(value)}' for name, value in report.items() if name != "backends"]
    body = ",\n".join([*head, '"backends": [\n' + ",\n".join(backends) + "\n]"])
    return f"{{\n{body}\n}}\n"


def _command(*words: str, directory: Path = ROOT, allow: Iterable[int] = (0,)) -> None:
    """Run a module of this Python in a directory; end if its status is not allowed."""
    shown = " ".join(words)
    print(f"$ python -m {shown}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=directory,
        env={**environment, "PYTHONPATH": str(directory)},
        check=False,
    )
    print(f"  ended with status {done.returncode} after {time.monotonic() - started:.0f} s")
    if done.returncode not in allow:
        sys.exit(f"{shown} ended with status {done.returncode}")


def _check(directory: Path, backends: Iterable[str], *options: str, allow: int = 0) -> None:
    """Check backends and keep their results in a directory of reports."""
    named = [f"--history-backend={backend}" for backend in backends]
    output = directory / RESULTS
    _command(
        "pytest",
        *("-q", "-p", "no:cacheprovider", "--tb=no", *named, *options),
        f"--history-report={output}",
        directory=directory,
        allow=(0, allow),
    )
    output.write_text(compact(json.loads(output.read_text("utf-8"))), encoding="utf-8")


def contracts() -> None:
    """Write the page of all contracts."""
    page = subprocess.run(
        [sys.executable, "-m", "chat_history_conformance", "contracts", "--md"],
        capture_output=True,
        check=True,
        text=True,
    )
    (ROOT / "docs" / "contracts.md").write_text(page.stdout, encoding="utf-8")


def failures() -> None:
    """Keep a failure of each contract, for its page on the documentation site."""
    examples.write()


def third_party() -> None:
    """Check histories of langchain-core and langchain-community that need no server."""
    names = ["histories:community_sql", "histories:community_file", "histories:core_memory"]
    _check(REPORTS / "third-party", names, allow=1)


def kafka() -> None:
    """Check the Kafka history of langchain-community. It waits more than it works."""
    names = ["histories:upstream", "histories:upstream_one_partition"]
    _check(REPORTS / "kafka", names, "--history-server=jvm", "-n", "6", allow=1)


def elasticsearch() -> None:
    """Check the two histories of langchain-elasticsearch."""
    names = ["histories:upstream", "histories:upstream_async"]
    _check(REPORTS / "elasticsearch", names, "--history-server=jvm", "-n", "3", allow=1)


def matrix_page(reports: dict[str, dict[str, Any]]) -> str:
    """Return the verdicts of several reports next to each other, as Markdown.

    Args:
        reports: The JSON documents, by the name of their directory.
    """
    columns = [(name, one) for name, report in reports.items() for one in report["backends"]]
    families: dict[str, None] = {}
    for _, one in columns:
        families |= dict.fromkeys(row["id"].partition(".")[0] for row in one["contracts"])
    verdicts = [one["verdict"].replace("_", " ").upper() for _, one in columns]
    lines = [
        "# All results",
        "",
        "Each cell has the number of contracts that passed, and the number of those that ran, with",
        "each mode counted. Failures of level `may` are included.",
        "",
        "| | " + " | ".join(f"[{one['name']}]({name}/{RESULTS})" for name, one in columns) + " |",
        "|---|" + "---|" * len(columns),
        "| **verdict** | " + " | ".join(verdicts) + " |",
    ]
    for family in families:
        cells = []
        for _, one in columns:
            rows = [row for row in one["contracts"] if row["id"].partition(".")[0] == family]
            ran = [row["outcome"] for row in rows if row["outcome"] in ("passed", "failed")]
            cells.append(f"{ran.count('passed')} of {len(ran)}" if ran else "")
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def matrix() -> None:
    """Write the page with the verdicts of all results next to each other."""
    paths = sorted(REPORTS.glob(f"*/{RESULTS}"))
    reports = {path.parent.name: json.loads(path.read_text("utf-8")) for path in paths}
    (REPORTS / "matrix.md").write_text(matrix_page(reports), encoding="utf-8")


def kill_matrix() -> None:
    """Judge every broken history by every contract."""
    _command("chat_history_conformance", "selftest", "--output", str(REPORTS))


def power() -> None:
    """Measure how reliably broken histories are found at three speeds."""
    power_reports.build()


def busy() -> None:
    """Judge histories on an idle machine and on a busy one."""
    busy_reports.build()


def shorter(svg: str) -> str:
    """Return a picture with fewer lines: lines, bars and points follow the text before them."""
    return re.sub(r"\n<(path|circle|rect)\b", r"<\1", svg)


LARGE = [name for name, operation in OPERATIONS.items() if operation.is_optional]
"""The operations that are measured only if they are named."""


def benchmarks() -> None:
    """Measure the reference histories and draw their tables."""
    directory = REPORTS / "benchmarks"
    names: list[str] = []
    large: list[str] = []
    for group in (("memory", "sqlite"), ("kafka",), ("elasticsearch",)):
        named = [f"--history-backend={backend}" for backend in group]
        operations = [f"{backend}::benchmark.{name}" for backend in group for name in LARGE]
        for kept, output, chosen in (
            (names, f"{group[-1]}.json", []),
            (large, f"{group[-1]}-large.json", operations),
        ):
            kept.append(output)
            _command(
                # The settings of the project's own tests, which this directory is part of, make
                # errors of warnings.
                *("pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *named, *chosen),
                *("--history-benchmark", "--history-server=jvm", "--benchmark-max-time=0.4"),
                f"--benchmark-json={output}",
                directory=directory,
            )
    report = ("chat_history_conformance", "bench", "report")
    _command(*report, *names, "--md", "tables.md", "--svg", "tables.svg", directory=directory)
    _command(*report, *large, "--md", "large.md", directory=directory)
    picture = directory / "tables.svg"
    picture.write_text(shorter(picture.read_text("utf-8")), encoding="utf-8")
    for name in (*names, *large):
        (directory / name).unlink()


def campaigns() -> None:
    """Put the reference histories and the histories that they succeed through campaigns."""
    campaign_reports.build()


def speed() -> None:
    """Measure how long the suite itself takes."""
    suite_speed.build()


PARTS: dict[str, Callable[[], None]] = {
    "contracts": contracts,
    "examples": failures,
    "third-party": third_party,
    "kafka": kafka,
    "elasticsearch": elasticsearch,
    "matrix": matrix,
    "kill-matrix": kill_matrix,
    "power": power,
    "busy": busy,
    "benchmarks": benchmarks,
    "speed": speed,
    "campaigns": campaigns,
}
"""The parts in the order in which they are built."""


def main(arguments: list[str] | None = None) -> None:
    """Build the named parts, or all of them."""
    parser = argparse.ArgumentParser(
        description="Rebuild the files in reports/ that come from a run."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of: {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    for part in options.parts or PARTS:
        print(f"== {part}", flush=True)
        PARTS[part]()


if __name__ == "__main__":
    main()
