"""Judge histories on an idle machine and on a busy one, and write `reports/busy.md`.

The verdict on a history must not depend on what else the machine does. The numbers are kept in
`reports/busy.jsonl`, one run in a line. A run that is there is not repeated: delete its line, or
the file, for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from chat_history_conformance import faulty, history_backend
from chat_history_conformance.declaration.backend import Backend

__all__ = [
    "BURNERS",
    "BUSY",
    "CONTROLS",
    "IDLE",
    "PAGE",
    "build",
    "chosen",
    "declare",
    "load",
    "page",
]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "reports" / "busy.jsonl"
PAGE = ROOT / "reports" / "busy.md"

BURNERS = 4
"""The processes that do nothing but compute, on a busy machine."""
IDLE, BUSY = "idle", "busy"
CONTROLS = ("memory", "sqlite")
"""Histories without a defect, which are judged by all contracts."""
_BROKEN = 20
"""The number of broken histories, each of which is judged by one family of contracts."""

_OF_THE_REGISTRY = {"name", "factory", "origin", "declared_in", "unsendable", "server"}
"""Fields of a backend that a declaration does not have."""

Run = dict[str, Any]
Runs = Mapping[str, Mapping[str, Run]]
"""The results by the id of the history, and by `IDLE` or `BUSY`."""


def chosen() -> list[str]:
    """Return the ids of broken histories that need no server, evenly from all families."""
    names = [name for name, one in faulty.load().items() if one.control in CONTROLS]
    return names[:: len(names) // _BROKEN][:_BROKEN]


def declare(name: str) -> None:
    """Declare a broken history, as a `conftest.py` does it."""
    backend = faulty.load()[name].backend
    declared = {
        field.name: value
        for field in fields(Backend)
        if field.name not in _OF_THE_REGISTRY
        and (value := getattr(backend, field.name)) != _default(field)
    }
    history_backend("broken", **declared)(backend.factory)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def build() -> None:
    """Judge what is missing, idle first, and write the results and the page."""
    runs: dict[str, dict[str, Run]] = {name: {} for name in (*CONTROLS, *chosen())}
    for name, kept in load().items():
        if name in runs:
            runs[name].update(kept)
    for state, burners in ((IDLE, 0), (BUSY, BURNERS)):
        with _burning(burners):
            for name, kept in runs.items():
                if state not in kept:
                    kept[state] = _judged(name)
                    print(state, name, kept[state]["verdict"], flush=True)
                    _save(runs)
    PAGE.write_text(page(runs), encoding="utf-8")


@contextlib.contextmanager
def _burning(burners: int) -> Iterator[None]:
    """Run processes that do nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    burning = [subprocess.Popen(command) for _ in range(burners)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def _judged(name: str) -> Run:
    """Judge a history in a separate process, and return its verdict and what did not pass."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        wanted = [f"--history-backend={name}"]
        if name not in CONTROLS:
            conftest = f"from tools import busy_reports\n\nbusy_reports.declare({name!r})\n"
            Path(directory, "conftest.py").write_text(conftest, encoding="utf-8")
            family = faulty.load()[name].breaks.partition(".")[0]
            wanted = ["--history-backend=broken", f"broken::{family}"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no"]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [*command, *wanted, f"--history-report={report}"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            check=False,
            capture_output=True,
            text=True,
        )
        if not report.exists():
            sys.exit(f"{name}: no report was written\n{done.stdout}{done.stderr}")
        judged = json.loads(report.read_text("utf-8"))["backends"][0]
    rows = judged["contracts"]
    return {
        "verdict": judged["verdict"],
        "exercised": judged["counts"]["exercised"],
        "failed": sorted({row["id"] for row in rows if row["outcome"] == "failed"}),
        "errors": sorted({row["id"] for row in rows if row["outcome"] == "error"}),
    }


def load() -> dict[str, dict[str, Run]]:
    """Return the kept runs."""
    found: dict[str, dict[str, Run]] = {}
    if RESULTS.exists():
        for line in RESULTS.read_text("utf-8").splitlines():
            row = json.loads(line)
            found.setdefault(row.pop("history"), {})[row.pop("machine")] = row
    return found


def _save(runs: Runs) -> None:
    rows = [
        json.dumps({"history": name, "machine": state, **run})
        for name, kept in runs.items()
        for state, run in kept.items()
    ]
    RESULTS.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def page(runs: Runs) -> str:
    """Return the page with the results on the two machines side by side."""
    verdicts = _different(runs, "verdict")
    found = sorted({*_different(runs, "failed"), *_different(runs, "errors")})
    return "\n".join(
        [
            "# Verdicts on a busy machine",
            "",
            "Two histories without a defect were judged by all contracts, and",
            f"{len(runs) - 2} broken ones by the family of the contract that they break: on an",
            f"idle machine with 2 cores, and next to {BURNERS} processes that only compute.",
            "Each cell has the verdict, the number of contracts that ran, with each mode counted,",
            "and those that failed or ended in an error.",
            "`tox -e reports -- busy` repeats the runs.",
            "",
            f"- Verdicts that differ: {', '.join(verdicts) or 'none'}.",
            f"- Histories for which other contracts failed: {', '.join(found) or 'none'}.",
            "",
            "| history | idle | busy |",
            "|---|---|---|",
            *(
                f"| `{name}` | {_shown(kept[IDLE])} | {_shown(kept[BUSY])} |"
                for name, kept in runs.items()
            ),
            "",
        ]
    )


def _different(runs: Runs, field: str) -> list[str]:
    return [f"`{name}`" for name, kept in runs.items() if kept[IDLE][field] != kept[BUSY][field]]


def _shown(run: Run) -> str:
    what = [f"{run['verdict'].replace('_', ' ').upper()} ({run['exercised']} exercised)"]
    what += [f"`{name}`" for name in run["failed"]]
    what += [f"error: `{name}`" for name in run["errors"]]
    return ", ".join(what)
