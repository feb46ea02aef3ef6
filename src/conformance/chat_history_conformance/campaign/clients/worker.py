"""The program of the client processes of a campaign. It ends when its stdin is closed.

    python -m chat_history_conformance.campaign.clients.worker probe|work|final JOB

JOB is a JSON file. `probe` opens a history and prints its abilities. `work` runs clients and
records their calls. `final` reads the sessions after the campaign.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chat_history_conformance.campaign.clients.calls import Clients, texts_of
from chat_history_conformance.campaign.plan import Client
from chat_history_conformance.campaign.recording import Final, Sample, Writer
from chat_history_conformance.declaration.capabilities import READS
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.declaration.registry import load_again
from chat_history_conformance.drivers.calls import Call, has_operation, invocation
from chat_history_conformance.drivers.errors import text_of
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.results.validation import validator

__all__ = ["Job", "main", "write_job"]

_FINAL_ATTEMPTS = 5
_FINAL_PAUSE_SECONDS = 1.0
_JOIN_EXTRA_SECONDS = 10.0


@dataclass(frozen=True)
class Job:
    """The job of one process.

    Attributes:
        backend: The name of the backend.
        origin: The place that declares it.
        path: The search path for modules.
        process: The name of the process.
        records: The file for its records.
        start: The start of the campaign, by the monotonic clock.
        limit_seconds: The limit of one call.
        sample_seconds: The time between two samples of the process.
        clients: Its clients.
        sessions: The sessions that it reads at last, or the one that it probes.
    """

    backend: str
    origin: Origin
    path: tuple[str, ...]
    process: str
    records: str
    start: float
    limit_seconds: float
    sample_seconds: float = 3.0
    clients: tuple[Client, ...] = ()
    sessions: tuple[str, ...] = ()


def write_job(job: Job, path: Path) -> None:
    """Write a job to a file for a process."""
    path.write_text(json.dumps(asdict(job)), encoding="ascii")


def _read_job(path: Path) -> Job:
    return validator(Job)(json.loads(path.read_text(encoding="ascii")))


def main() -> None:
    """Run the program and end the process."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the campaign, which stops this
    what, job = sys.argv[1], _read_job(Path(sys.argv[2]))
    # A history may print. Only answers of this program may be on stdout.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:] = job.path
    status = 0
    if what == "probe":
        print(json.dumps(_probe(job)), file=answers, flush=True)
    elif what == "final":
        print(json.dumps(_read_finally(job)), file=answers, flush=True)
    else:
        _work(job)
    sys.stderr.flush()
    # A history may leave threads that are not daemons. The campaign must not wait for them.
    os._exit(status)


def _probe(job: Job) -> dict[str, Any]:
    """Return the reads of a history by mode, or the error of opening it."""
    try:
        backend = load_again(job.backend, job.origin)
        local = Local(backend, job.limit_seconds)
        local.open("probe", job.sessions[0], backend.modes[0], None)
        history = local.history("probe")
        reads = {
            mode: [
                name
                for name in ("messages", *READS)
                if (name == "messages" or has_operation(backend, history, name))
                and (
                    mode == "sync"
                    or invocation(backend, history, Call("", name, (1, 1.0), mode)).awaited
                )
            ]
            for mode in backend.modes
        }
        local.release("probe", backend.modes[0])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {text_of(error)}"}
    return {"operations": reads, "class": f"{type(history).__module__}.{type(history).__name__}"}


def _work(job: Job) -> None:
    closed = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with Writer(Path(job.records)) as writer:
        backend = load_again(job.backend, job.origin)
        clients = Clients(backend, job.process, writer, job.start, job.limit_seconds)
        clients.start(job.clients)
        while not closed.wait(job.sample_seconds):
            writer.write(_sample(job))
            clients.replace_hung()
        clients.stopping.set()
        clients.join(job.limit_seconds + _JOIN_EXTRA_SECONDS)
        writer.write(_sample(job))


def _read_finally(job: Job) -> dict[str, str]:
    """Read each session with a fresh handle, again if it raises. Return the last errors."""
    backend = load_again(job.backend, job.origin)
    local = Local(backend, job.limit_seconds)
    mode = backend.modes[0]
    failed: dict[str, str] = {}
    with Writer(Path(job.records)) as writer:
        for session in job.sessions:
            for attempt in range(_FINAL_ATTEMPTS):
                key = f"{session} {attempt}"
                try:
                    local.open(key, session, mode, None)
                    messages = local.call(Call(key, "messages", (), mode))
                    writer.write(Final(session, texts_of(messages)))
                except Exception as error:
                    failed[session] = f"{type(error).__name__}: {text_of(error)}"
                    time.sleep(_FINAL_PAUSE_SECONDS)
                else:
                    failed.pop(session, None)
                    break
    return failed


def _sample(job: Job) -> Sample:
    threads, descriptors, rss_bytes = _size()
    return Sample(job.process, time.monotonic() - job.start, threads, descriptors, rss_bytes)


def _size() -> tuple[int, int, int]:
    """Return the numbers of threads, of descriptors and of resident bytes; 0 if unknown."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        threads, rss_kib = int(found["Threads"]), int(found["VmRSS"].split()[0])
        return threads, len(os.listdir("/proc/self/fd")), rss_kib * 1024
    descriptors = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    return threading.active_count(), descriptors, 0


if __name__ == "__main__":
    main()
