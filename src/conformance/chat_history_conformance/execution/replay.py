"""Run the scripts of recorded findings again: each is fixed or still fails."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chat_history_conformance.execution.scripts import run_script
from chat_history_conformance.results.causes import Cause, causes
from chat_history_conformance.results.model import BackendReport

__all__ = ["Replayed", "replay"]

_STATES: Mapping[str, Literal["fixed", "failing", "unknown"]] = {
    "shown": "failing",
    "late": "failing",
    "nothing": "fixed",
    "unknown": "unknown",
}


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
    ran = run_script(cause.finding.reproducer, environment, limit)
    return Replayed(cause, _STATES[ran.state], ran.text)
