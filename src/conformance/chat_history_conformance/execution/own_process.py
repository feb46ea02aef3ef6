"""A fresh process that runs one contract, so that nothing else can harm it or be harmed by it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.drivers.second_process import how_ended
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.profiles import Profile
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult, Finding, Mode

__all__ = ["Answer", "Task", "environment", "run_in_own_process"]

_WORKER = "chat_history_conformance.judging.worker"
_EXTRA_SECONDS = 120.0
_CALLS = 10


@dataclass(frozen=True)
class Task:
    """One contract to run in another process.

    Attributes:
        path: The import path.
        backend: The name of the backend.
        origin: The module that declares the backend.
        contract: The id of the contract.
        mode: The mode.
        profile: The effort.
        seed: The seed of the examples.
        options: The keyword arguments of the subject.
        with_stories: Whether to return scripts that contain the earlier examples too.
    """

    path: tuple[str, ...]
    backend: str
    origin: Origin
    contract: str
    mode: Mode
    profile: Profile
    seed: int
    options: dict[str, Any]
    with_stories: bool = False


@dataclass(frozen=True)
class Answer:
    """The result of a task.

    Attributes:
        result: The result of the contract.
        stories: Findings about the same failure whose steps and scripts begin with 1, 2, 4 and
            more earlier examples.
    """

    result: ContractResult
    stories: tuple[Finding, ...] = ()


def run_in_own_process(
    contract: Contract,
    subject: Subject,
    mode: Mode,
    profile: Profile,
    seed: int,
    *,
    with_stories: bool = False,
) -> Answer:
    """Run a contract in a fresh process.

    Args:
        contract: The contract.
        subject: The backend under test, which a fresh process can import.
        mode: The mode.
        profile: The effort.
        seed: The seed of the examples.
        with_stories: Whether to return scripts that contain the earlier examples too.
    """
    origin = subject.backend.importable
    assert origin is not None
    task = Task(
        path=tuple(sys.path),
        backend=subject.backend.name,
        origin=origin,
        contract=contract.id,
        mode=mode,
        profile=profile,
        seed=seed,
        options=subject.options,
        with_stories=with_stories,
    )
    blank = contract.blank(mode, "error")
    limit = _EXTRA_SECONDS + profile.shrink_seconds + _CALLS * profile.limit
    with subprocess.Popen(
        [sys.executable, "-m", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        subject.end_with_this(process)
        try:
            output, _ = process.communicate(pickle.dumps(task), timeout=limit)
        except subprocess.TimeoutExpired:
            text = f"the process of this contract did not end within {limit:g} s"
            return Answer(ContractResult(**{**asdict(blank), "reason": text}))
        finally:
            process.kill()
            subject.own_process = None
    if process.returncode == 0 and output:  # a history may end the process with status 0
        answer = pickle.loads(output)
        assert isinstance(answer, Answer)
        return answer
    return Answer(_of_crash(blank, process.returncode))


def environment() -> dict[str, str]:
    """Return the environment of a process that can import what this process can."""
    path = os.pathsep.join(directory for directory in sys.path if directory)
    return {**os.environ, "PYTHONPATH": path}


def _of_crash(blank: ContractResult, status: int) -> ContractResult:
    how = how_ended(status)
    if -status in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        return ContractResult(**{**asdict(blank), "reason": f"the process of this contract {how}"})
    finding = Finding(
        kind="crashed",
        summary=f"the process {how}",
        cause=f"the process {how}",
        notes=("there is no script, because the steps were lost with the process",),
    )
    changes = {"outcome": "failed", "reason": finding.summary, "finding": finding}
    return ContractResult(**{**asdict(blank), **changes})
