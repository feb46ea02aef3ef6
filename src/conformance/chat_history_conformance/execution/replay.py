"""Run the scripts of recorded findings again: each is fixed or still fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chat_history_conformance.results.causes import Cause, causes
from chat_history_conformance.results.model import BackendReport

__all__ = ["Replayed", "replay"]

_NOT_RUN = ("ImportError", "ModuleNotFoundError", "SyntaxError")
"""Exceptions that say that the script, and not the history, does not work."""


@dataclass(frozen=True)
class Replayed:
    """A cause whose script was run again.

    Attributes:
        cause: The cause.
        state: `fixed` if the script ended without an error, `failing` if it found the same or
            another error, `unknown` if there is no script or it could not be run.
        text: The last line that the script wrote, or the reason of `unknown`.
    """

    cause: Cause
    state: Literal["fixed", "failing", "unknown"]
    text: str = ""


def replay(report: BackendReport, paths: Iterable[Path], *, limit: float = 60.0) -> list[Replayed]:
    """Run the script of each cause of failures again, several at a time.

    Args:
        report: The report of an earlier run on the same backend.
        paths: Directories that the scripts import the history from.
        limit: The seconds after which a script counts as hung.
    """
    failed = [result for result in report.contracts if result.outcome == "failed"]
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path.strip(os.pathsep)}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda cause: _run(cause, environment, limit), causes(failed)))


def _run(cause: Cause, environment: dict[str, str], limit: float) -> Replayed:
    if not cause.finding.reproducer:
        return Replayed(cause, "unknown", "the report has no script")
    command: Sequence[str] = [sys.executable, "-c", cause.finding.reproducer]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Replayed(cause, "failing", f"the script did not end in {limit:g} s")
    if done.returncode == 0:
        return Replayed(cause, "fixed")
    lines = done.stderr.strip().splitlines() or [f"the script ended with {done.returncode}"]
    state: Literal["failing", "unknown"] = (
        "unknown" if lines[-1].startswith(_NOT_RUN) else "failing"
    )
    return Replayed(cause, state, lines[-1])
