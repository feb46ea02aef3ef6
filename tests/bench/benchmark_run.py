"""The file that pytest-benchmark writes of a real run, for tests that read it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

MEASURED = ("add_1[sync]", "read_100[async]")
"""The measured operations: one has a growth, the other does not."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@cache
def _written() -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "result.json"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("--history-backend=sqlite", "--history-benchmark", f"--benchmark-json={path}"),
            *("--benchmark-max-time=0.005", "--benchmark-min-rounds=5"),
            *(f"sqlite::benchmark.{one}" for one in MEASURED),
        ]
        # In a worker of pytest-xdist, which may run this, pytest-benchmark measures nothing.
        alone = {name: os.environ[name] for name in os.environ if name != "PYTEST_XDIST_WORKER"}
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=alone,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return path.read_text("utf-8")


def real_run() -> dict[str, Any]:
    """Return the JSON of a run on the sqlite backend, a copy that a test may change."""
    written: dict[str, Any] = json.loads(_written())
    return written


def run_of(backend: str = "sqlite", *, commit: str = COMMIT, day: int = 1, **about: Any) -> Any:
    """Return the JSON of a run with another backend, commit, day, or environment.

    Args:
        backend: Its name.
        commit: The id of its commit.
        day: The day of the month of the commit.
        about: Other values for the `extra_info` of every benchmark. `environment` holds only the
            values that differ.
    """
    run = real_run()
    moment = f"2026-11-{day:02}T10:00:00+00:00"
    run["commit_info"] = {**run["commit_info"], "id": commit, "time": moment, "dirty": False}
    for one in run["benchmarks"]:
        info = one["extra_info"]
        environment = {**info["environment"], **about.get("environment", {})}
        info.update(copy.deepcopy(about), backend=backend, environment=environment)
    return run


def rival(value: float, wide: float = 1.1, **more: Any) -> dict[str, Any]:
    """Return a floor or a peer. Our time is `value` times its time."""
    interval = [value / wide, value * wide]
    return {"median_s": 1e-3, "ratio": value, "interval": interval, "samples": 20, **more}


def grown(exponent: float, allowed: float = 0.0, *, too_fast: bool = False) -> dict[str, Any]:
    """Return a growth of that power."""
    lengths = [10, 100, 1_000, 10_000]
    return {
        "lengths": lengths,
        "median_s": [1e-5 * length**exponent for length in lengths],
        "exponent": exponent,
        "interval": [exponent - 0.1, exponent + 0.1],
        "allowed": allowed,
        "too_fast": too_fast,
    }


def remembered(*peaks: int) -> dict[str, Any]:
    """Return the peak memory at 10, 100, ... messages."""
    return {"lengths": [10 ** (n + 1) for n in range(len(peaks))], "peak_bytes": list(peaks)}


def save(path: Path, run: Any) -> Path:
    """Write a run to a file and return its path."""
    path.write_text(json.dumps(run), encoding="utf-8")
    return path
