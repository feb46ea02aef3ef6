"""The client processes of a campaign: started, watched, started again if they die, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chat_history_conformance.campaign.clients.worker import Job, write_job
from chat_history_conformance.campaign.plan import Process
from chat_history_conformance.campaign.recording import Exit, Writer

__all__ = ["Counts", "WorkerFailed", "Workers"]

_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 0.5
_STOP_EXTRA_SECONDS = 30.0


class WorkerFailed(Exception):
    """A process that had one thing to do has not done it; the text says why."""


class Counts:
    """The numbers of acknowledged messages and of errors so far, from the files of the clients.

    Attributes:
        acknowledged: The number of acknowledged messages.
        errors: The number of calls that raised.
        returned: The number of calls of each process that returned.
    """

    def __init__(self, directory: Path) -> None:
        self.acknowledged = 0
        self.errors = 0
        self.returned: Counter[str] = Counter()
        self._directory = directory
        self._read: dict[Path, int] = {}

    def update(self) -> None:
        """Count the operations that were recorded since the last time."""
        for path in self._directory.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    self._read[path] = self._read.get(path, 0) + len(line)
                    if line.startswith(b'{"record": "operation"'):
                        self._count(json.loads(line))

    def _count(self, operation: Mapping[str, Any]) -> None:
        if operation["error"] is not None:
            self.errors += 1
            return
        self.returned[operation["process"]] += 1
        if operation["kind"] == "add":
            self.acknowledged += len(operation["messages"])


class _Worker:
    """A process that runs, and its job."""

    def __init__(self, job: Job, process: subprocess.Popen[bytes], number: int) -> None:
        self.job = job
        self.process = process
        self.number = number


class Workers:
    """All client processes of a campaign.

    Args:
        job: The common part of all jobs.
        directory: The directory for jobs, records and logs.
        writer: The file of the campaign's own records.
        say: Called with a line of text for each process that dies.
    """

    def __init__(
        self, job: Job, directory: Path, writer: Writer, say: Callable[[str], None]
    ) -> None:
        self.deaths = 0
        self._job = job
        self._directory = directory
        self._writer = writer
        self._say = say
        self._workers: list[_Worker] = []
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="campaign-watch", daemon=True)

    def start(self, processes: Sequence[Process]) -> None:
        """Start the processes, and watch them."""
        for process in processes:
            job = replace(self._job, process=process.name, clients=process.clients)
            self._workers.append(self._started(job, 1))
        self._watcher.start()

    def wait_until_working(self, counts: Counts, seconds: float, stopping: threading.Event) -> None:
        """Wait until a call of each process has returned.

        Args:
            counts: The counts of the campaign.
            seconds: The longest time to wait.
            stopping: Ends the wait if it is set.
        """
        deadline = time.monotonic() + seconds
        counts.update()
        before = counts.returned.copy()
        while not stopping.wait(_LOOK_SECONDS) and time.monotonic() < deadline:
            counts.update()
            names = [worker.job.process for worker in self._workers]
            if all(counts.returned[name] > before[name] for name in names):
                return

    def stop(self) -> None:
        """Let all processes end, and record how they ended.

        A process that does not end is killed. Idempotent.
        """
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for worker in self._workers:
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        deadline = time.monotonic() + self._job.limit_seconds + _STOP_EXTRA_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"the process {worker.job.process} does not end, and is killed")
                worker.process.kill()
                worker.process.wait()
            self._record_exit(worker)
        self._workers = []

    def ask(self, what: str, process: str, sessions: Sequence[str], seconds: float) -> str:
        """Run a process that has one thing to do, and return its output.

        Raises:
            WorkerFailed: It did not end in time, or its exit status is not 0.
        """
        job = self._complete(replace(self._job, process=process, sessions=tuple(sessions)))
        running = self._run(what, job, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            answer, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            raise WorkerFailed(f"it did not end within {seconds:g} s") from None
        if running.returncode:
            raise WorkerFailed(
                f"it ended with {_ending(running.returncode)}{self._last_words(process)}"
            )
        return answer.decode("utf-8", "replace")

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for index, worker in enumerate(self._workers):
                if worker.process.poll() is None:
                    continue
                self._record_exit(worker)
                assert worker.process.stdin is not None
                worker.process.stdin.close()
                self.deaths += 1
                self._say(
                    f"the process {worker.job.process} died with "
                    f"{_ending(worker.process.returncode)}, and is started again"
                    f"{self._last_words(worker.job.process)}"
                )
                if self._stopping.wait(_AGAIN_SECONDS):
                    del self._workers[index]
                    return
                first = worker.job.process.partition("~")[0]
                number = worker.number + 1
                job = replace(worker.job, process=f"{first}~{number}")
                self._workers[index] = self._started(job, number)

    def _started(self, job: Job, number: int) -> _Worker:
        job = self._complete(job)
        process = self._run("work", job, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        return _Worker(job, process, number)

    def _complete(self, job: Job) -> Job:
        return replace(job, records=str(self._directory / f"{job.process}.jsonl"))

    def _run(self, what: str, job: Job, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        path = self._directory / f"{job.process}.job"
        write_job(job, path)
        with (self._directory / f"{job.process}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "chat_history_conformance.campaign.clients.worker",
                    what,
                    str(path),
                ],
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, job.path))},
            )

    def _record_exit(self, worker: _Worker) -> None:
        at = time.monotonic() - self._job.start
        self._writer.write(Exit(worker.job.process, at, worker.process.returncode))

    def _last_words(self, process: str) -> str:
        """Return the line of a process's output that says most about its end, after a colon."""
        text = (self._directory / f"{process}.log").read_text("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        return f": {(fatal or lines)[-1].strip()}" if lines else ""


def _ending(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
