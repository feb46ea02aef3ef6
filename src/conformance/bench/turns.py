"""The processes of a comparison: fresh ones by turns, each side in its own environment."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conformance
from conformance.bench.comparison import Sample
from conformance.bench.environments import clean_environment, run_to_its_end
from conformance.bench.sides import without_passwords

WORKER = Path(conformance.__file__).parent / "bench" / "worker.py"
"""The measuring suite's own, whatever the sides have installed."""

TELL_SECONDS = 2.0
"""How long all may take before anybody is told how long it still takes."""

_HUNG_SECONDS = 600.0
"""How long a process may take beyond measuring; preparing 10,000 messages is part of that."""

_LINE_SECONDS = 15.0
_LINES_OF_OUTPUT = 25


class WorkerError(Exception):
    """A process that should have measured and did not; the text says which and what it said."""


@dataclass(frozen=True)
class Worker:
    """Starts processes with a side's Python.

    Attributes:
        role: `base` or `head`, for errors.
        python: The interpreter of the side's environment.
        directory: Where, or in whose tests, a conftest.py that declares the backend may be.
        script: What the processes run.
    """

    role: str
    python: Path
    directory: Path | None
    script: Path = WORKER

    def describe(self, backend: str) -> Mapping[str, Any]:
        """What the backend is on this side, and where it runs.

        Raises:
            WorkerError: It cannot be told.
        """
        return self._run("describe", backend, [], _HUNG_SECONDS, 0)

    def measure(
        self, backend: str, operations: Sequence[str], seconds: float, seed: int
    ) -> dict[str, Sample]:
        """Measure operations in a process of their own.

        An operation that the backend turns out not to offer is missing in the answer.

        Args:
            backend: Its name.
            operations: Their names, as `describe` gives them.
            seconds: How long to measure each.
            seed: For what Python randomizes at its start, so that a pair can share it.

        Raises:
            WorkerError: An operation failed, or the answer is not one.
        """
        asked = ["--operations", ",".join(operations), "--seconds", f"{seconds:g}"]
        limit = _HUNG_SECONDS + 20 * seconds * len(operations)
        answer = self._run("measure", backend, asked, limit, seed)
        return {name: Sample.from_json(told) for name, told in answer["operations"].items()}

    def _run(
        self, command: str, backend: str, options: Sequence[str], limit: float, seed: int
    ) -> Mapping[str, Any]:
        directory = self.directory and _declaring(self.directory, backend)
        where = ["--directory", str(directory)] if directory else []
        try:
            done = run_to_its_end(
                [
                    str(self.python),
                    str(self.script),
                    command,
                    "--backend",
                    backend,
                    *where,
                    *options,
                ],
                {**clean_environment(), "PYTHONHASHSEED": str(seed), "PYTHONUTF8": "1"},
                seconds=limit,
            )
        except subprocess.TimeoutExpired:
            raise WorkerError(
                f"{self.role} did not {command} {backend} within {limit:.0f} s"
            ) from None
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[-_LINES_OF_OUTPUT:])
            raise WorkerError(
                f"{self.role} cannot {command} {backend} (exit status {done.returncode}):\n"
                + without_passwords(said)
            )
        try:
            answer: Mapping[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise WorkerError(
                f"{self.role} did not answer `{command}` of {backend} with JSON but with "
                f"{done.stdout[:200]!r}"
            ) from None
        return answer


def _declaring(top: Path, backend: str) -> Path:
    """The directory whose conftest.py pytest would load; `top` for what is named by its module."""
    places = [top, top / "tests", top / "test"] if ":" not in backend else []
    return next((place for place in places if (place / "conftest.py").is_file()), top)


class Progress:
    """Tells on stderr how far a comparison is, where it takes long.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._told = clock()
        self._in_place = sys.stderr.isatty()
        self._drawn = 0

    def say(self, line: str) -> None:
        """Tell something that is worth a line of its own."""
        self.clear()
        print(line, file=sys.stderr, flush=True)

    def step(self, what: str, done: int, of: int) -> None:
        """Tell that so many of so many processes have ended.

        Args:
            what: What is going on.
            done: How many.
            of: How many there will be in this part.
        """
        if done == 0:
            self._began = self._clock()
            return
        now = self._clock()
        spent = now - self._began
        left = spent / done * (of - done)
        if spent + left < TELL_SECONDS:
            return
        line = f"{what}: {done} of {of} processes, {_duration(left)} left"
        if self._in_place:
            print(f"\r{line:<{self._drawn}}", end="", file=sys.stderr, flush=True)
            self._drawn = len(line)
        elif now - self._told >= _LINE_SECONDS:
            print(line, file=sys.stderr, flush=True)
            self._told = now

    def clear(self) -> None:
        """Remove the line that is drawn in place, if there is one."""
        if self._drawn:
            print(f"\r{' ' * self._drawn}\r", end="", file=sys.stderr, flush=True)
            self._drawn = 0


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60:02} s"
