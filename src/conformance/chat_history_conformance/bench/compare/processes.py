"""The processes of a comparison: fresh ones that work alternately, each in its environment."""

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
from chat_history_conformance.bench.compare.environments import (
    environment_without_python_paths,
    run_command,
)
from chat_history_conformance.bench.compare.versions import strip_logins
from chat_history_conformance.bench.measure import json_files

__all__ = ["WORKER", "Progress", "Worker", "WorkerError", "measure_interleaved"]

WORKER = Path(chat_history_conformance.__file__).parent / "bench" / "compare" / "worker.py"
"""The script of this suite. Both versions run it, whatever suite they have installed."""

_SILENT_SECONDS = 2.0
"""A comparison that ends within this time prints no progress."""

_HUNG_SECONDS = 600.0
"""The time limit of a process without measuring. It may have to store 10,000 messages first."""

_LINE_SECONDS = 15.0
_OUTPUT_LINES = 25


class WorkerError(Exception):
    """A process that failed to measure. The text names the version and holds its output."""


@dataclass(frozen=True)
class Worker:
    """Starts processes with the Python of one version.

    Attributes:
        role: `base` or `head`, for errors.
        python: The interpreter of the version's environment.
        directory: A directory with a conftest.py that declares the backend, here or in `tests`.
        script: The script that the processes run.
    """

    role: str
    python: Path
    directory: Path | None
    script: Path = WORKER

    def describe(self, backend: str) -> Mapping[str, Any]:
        """Return the operations of the backend in this version, and the environment they run in.

        Raises:
            WorkerError: The process failed.
        """
        return self._run("describe", backend, [], _HUNG_SECONDS, 0)

    def measure(
        self, backend: str, operations: Sequence[str], seconds: float, seed: int
    ) -> dict[str, Sample]:
        """Measure operations in a new process.

        Args:
            backend: Its name.
            operations: Their names, as `describe` returns them.
            seconds: The time to measure each of them.
            seed: Seeds the hashes of Python. Both processes of a pair get the same.

        Returns:
            A sample for each operation that the backend supports.

        Raises:
            WorkerError: An operation failed, or the process printed no valid answer.
        """
        options, limit = _options(operations, seconds), _limit(operations, seconds)
        return _samples(self._run("measure", backend, options, limit, seed))

    def _run(
        self, command: str, backend: str, options: Sequence[str], limit: float, seed: int
    ) -> Mapping[str, Any]:
        try:
            done = run_command(
                self._command(command, backend, options), _variables(seed), seconds=limit
            )
        except subprocess.TimeoutExpired:
            raise self._late(command, backend, limit) from None
        return self._answer(command, backend, done.returncode, done.stdout, done.stderr)

    def _command(self, command: str, backend: str, options: Sequence[str]) -> list[str]:
        directory = self.directory and _conftest_directory(self.directory, backend)
        location = ["--directory", str(directory)] if directory else []
        script = [str(self.python), str(self.script)]
        return [*script, command, "--backend", backend, *location, *options]

    def _late(self, command: str, backend: str, limit: float) -> WorkerError:
        return WorkerError(f"{self.role} did not {command} {backend} within {limit:.0f} s")

    def _answer(
        self, command: str, backend: str, status: int, stdout: str, stderr: str
    ) -> Mapping[str, Any]:
        if status:
            output = "\n".join(stderr.strip().splitlines()[-_OUTPUT_LINES:])
            raise WorkerError(
                f"{self.role} cannot {command} {backend} (exit status {status}):\n"
                + strip_logins(output)
            )
        try:
            answer: Mapping[str, Any] = json.loads(stdout)
        except ValueError:
            raise WorkerError(
                f"{self.role} did not answer `{command}` of {backend} with JSON but with "
                f"{stdout[:200]!r}"
            ) from None
        return answer


def _options(operations: Sequence[str], seconds: float) -> list[str]:
    return ["--operations", ",".join(operations), "--seconds", f"{seconds:g}"]


def _limit(operations: Sequence[str], seconds: float) -> float:
    return _HUNG_SECONDS + 20 * seconds * len(operations)


@dataclass(frozen=True)
class _Answer:
    """The answer of a worker to `measure`."""

    operations: dict[str, Sample]


def _samples(answer: Mapping[str, Any]) -> dict[str, Sample]:
    advice = "Report this as a bug"
    try:
        return json_files.convert(_Answer, answer, "the answer of a process", advice).operations
    except json_files.FormatError as error:
        raise WorkerError(str(error)) from None


def _variables(seed: int) -> dict[str, str]:
    return {
        **environment_without_python_paths(),
        "PYTHONHASHSEED": str(seed),
        "PYTHONUTF8": "1",
    }


def measure_interleaved(
    workers: Sequence[Worker], backend: str, operations: Sequence[str], seconds: float, seed: int
) -> list[dict[str, Sample]]:
    """Measure operations in a new process of each version. Only one process works at a time.

    The processes alternate every few milliseconds. If the machine is slow for a while, it is slow
    for all of them.

    Args:
        workers: The versions, in the order in which they begin.
        backend, operations, seconds, seed: As for `Worker.measure`.

    Returns:
        The samples of each version.

    Raises:
        WorkerError: A process failed, or did not end in time.
    """
    limit = 2 * _limit(operations, seconds)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_SlicedProcess(each, backend, operations, seconds, seed))
            for each in workers
        ]
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            for process in processes:
                process.kill()

        watch = threading.Timer(limit, stop)
        watch.daemon = True
        watch.start()
        stack.callback(watch.cancel)
        waiting = list(processes)
        while waiting:
            waiting = [process for process in waiting if process.run_slice()]
            for process in processes:
                if process.has_failed and not is_late.is_set():
                    process.answer()  # raises
        if is_late.is_set():
            raise workers[0]._late("measure", backend, limit)
        return [_samples(process.answer()) for process in processes]


class _SlicedProcess:
    """A process that waits before each slice of its work."""

    def __init__(
        self, worker: Worker, backend: str, operations: Sequence[str], seconds: float, seed: int
    ) -> None:
        self._worker = worker
        self._backend = backend
        options = [*_options(operations, seconds), "--interleaved", f"--processor={seed}"]
        self._command = worker._command("measure", backend, options)
        self._seed = seed
        self._line: str | None = None

    def __enter__(self) -> Self:
        # A file, because a pipe that is read at the end only could fill up.
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
        """Kill the process."""
        self._process.kill()

    @property
    def has_failed(self) -> bool:
        """True if it neither waits for its next slice nor has an answer."""
        return self._line is not None and self._line != "\n" and self._line[:1] != "{"

    def run_slice(self) -> bool:
        """Let it work until it waits for its next slice. Return whether it waits."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._line is not None:  # otherwise it is just starting
            with suppress(OSError):  # the process has ended, as the next line shows
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        self._line = self._process.stdout.readline()
        return self._line == "\n"

    def answer(self) -> Mapping[str, Any]:
        """Return its answer.

        Raises:
            WorkerError: It has none.
        """
        status = 0 if self._line else self._process.wait()
        self._errors.seek(0)
        output = self._errors.read()
        return self._worker._answer("measure", self._backend, status, self._line or "", output)


def _conftest_directory(top: Path, backend: str) -> Path:
    """Return the directory of the conftest.py that pytest would load, or `top`."""
    directories = [top, top / "tests", top / "test"] if ":" not in backend else []
    return next((one for one in directories if (one / "conftest.py").is_file()), top)


class Progress:
    """Prints the progress of a long comparison on stderr.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._printed_at = clock()
        self._in_place = sys.stderr.isatty()
        self._width = 0

    def say(self, line: str) -> None:
        """Print a line."""
        self.clear()
        print(line, file=sys.stderr, flush=True)

    def step(self, part: str, done: int, total: int) -> None:
        """Show how many processes of a part of the work have ended.

        Args:
            part: The name of the part.
            done: The number of processes that have ended.
            total: The number of processes in the part.
        """
        if done == 0:
            self._began = self._clock()
            return
        now = self._clock()
        spent = now - self._began
        left = spent / done * (total - done)
        if spent + left < _SILENT_SECONDS:
            return
        line = f"{part}: {done} of {total} processes, {_duration(left)} left"
        if self._in_place:
            print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(line)
        elif now - self._printed_at >= _LINE_SECONDS:
            print(line, file=sys.stderr, flush=True)
            self._printed_at = now

    def clear(self) -> None:
        """Remove the line that `step` drew in a terminal, if there is one."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60:02} s"
