"""The processes of a comparison: fresh ones by turns, each side in its own environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import chat_history_conformance
from chat_history_conformance.bench.compare.decision import Sample
from chat_history_conformance.bench.compare.environments import clean_environment, run_to_its_end
from chat_history_conformance.bench.compare.versions import without_passwords

WORKER = Path(chat_history_conformance.__file__).parent / "bench" / "compare" / "worker.py"
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
        asked, limit = _asked(operations, seconds), _limit(operations, seconds)
        return _samples(self._run("measure", backend, asked, limit, seed))

    def _run(
        self, command: str, backend: str, options: Sequence[str], limit: float, seed: int
    ) -> Mapping[str, Any]:
        try:
            done = run_to_its_end(
                self._command(command, backend, options), _variables(seed), seconds=limit
            )
        except subprocess.TimeoutExpired:
            raise self._late(command, backend, limit) from None
        return self._answer(command, backend, done.returncode, done.stdout, done.stderr)

    def _command(self, command: str, backend: str, options: Sequence[str]) -> list[str]:
        directory = self.directory and _declaring(self.directory, backend)
        where = ["--directory", str(directory)] if directory else []
        script = [str(self.python), str(self.script)]
        return [*script, command, "--backend", backend, *where, *options]

    def _late(self, command: str, backend: str, limit: float) -> WorkerError:
        return WorkerError(f"{self.role} did not {command} {backend} within {limit:.0f} s")

    def _answer(
        self, command: str, backend: str, status: int, stdout: str, stderr: str
    ) -> Mapping[str, Any]:
        if status:
            said = "\n".join(stderr.strip().splitlines()[-_LINES_OF_OUTPUT:])
            raise WorkerError(
                f"{self.role} cannot {command} {backend} (exit status {status}):\n"
                + without_passwords(said)
            )
        try:
            answer: Mapping[str, Any] = json.loads(stdout)
        except ValueError:
            raise WorkerError(
                f"{self.role} did not answer `{command}` of {backend} with JSON but with "
                f"{stdout[:200]!r}"
            ) from None
        return answer


def _asked(operations: Sequence[str], seconds: float) -> list[str]:
    return ["--operations", ",".join(operations), "--seconds", f"{seconds:g}"]


def _limit(operations: Sequence[str], seconds: float) -> float:
    return _HUNG_SECONDS + 20 * seconds * len(operations)


def _samples(answer: Mapping[str, Any]) -> dict[str, Sample]:
    return {name: Sample.from_json(told) for name, told in answer["operations"].items()}


def _variables(seed: int) -> dict[str, str]:
    return {**clean_environment(), "PYTHONHASHSEED": str(seed), "PYTHONUTF8": "1"}


def measure_by_turns(
    workers: Sequence[Worker], backend: str, operations: Sequence[str], seconds: float, seed: int
) -> list[dict[str, Sample]]:
    """Measure operations on several sides, a fresh process each, of which one works at a time.

    They take turns by slices of some milliseconds, so that what slows the machine down for a while
    slows all of them.

    Args:
        workers: The sides, in the order of their turns.
        backend, operations, seconds, seed: As for `Worker.measure`.

    Returns:
        What each measured.

    Raises:
        WorkerError: One of them failed, or did not end in time.
    """
    limit = 2 * _limit(operations, seconds)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_Turns(each, backend, operations, seconds, seed))
            for each in workers
        ]
        late = threading.Event()

        def give_up() -> None:
            late.set()
            for process in processes:
                process.kill()

        watch = threading.Timer(limit, give_up)
        watch.daemon = True
        watch.start()
        stack.callback(watch.cancel)
        waiting = list(processes)
        while waiting:
            waiting = [process for process in waiting if process.turn()]
            for process in processes:
                if process.failed and not late.is_set():
                    process.answer()  # raises
        if late.is_set():
            raise workers[0]._late("measure", backend, limit)
        return [_samples(process.answer()) for process in processes]


class _Turns:
    """A process that measures a slice whenever it is given a turn."""

    def __init__(
        self, worker: Worker, backend: str, operations: Sequence[str], seconds: float, seed: int
    ) -> None:
        self._worker = worker
        self._backend = backend
        self._command = worker._command(
            "measure", backend, [*_asked(operations, seconds), "--by-turns", f"--processor={seed}"]
        )
        self._seed = seed
        self._line: str | None = None

    def __enter__(self) -> Self:
        # A file, because nobody reads what it says before its end.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_variables(self._seed),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.communicate()
        self._errors.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    @property
    def failed(self) -> bool:
        """Whether it neither waits for its turn nor has an answer."""
        return self._line is not None and self._line != "\n" and self._line[:1] != "{"

    def turn(self) -> bool:
        """Let it go on until it waits for its next turn; whether it does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._line is not None:  # otherwise it is just starting
            with suppress(OSError):  # it has ended, which the next line tells
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        self._line = self._process.stdout.readline()
        return self._line == "\n"

    def answer(self) -> Mapping[str, Any]:
        """What it measured."""
        status = 0 if self._line else self._process.wait()
        self._errors.seek(0)
        said = self._errors.read()
        return self._worker._answer("measure", self._backend, status, self._line or "", said)


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
