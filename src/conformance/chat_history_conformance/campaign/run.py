"""One campaign: start the server and the clients, cause the faults, read everything at last."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chat_history_conformance.campaign import recording as records
from chat_history_conformance.campaign.clients.worker import Job
from chat_history_conformance.campaign.clients.workers import Counts, WorkerFailed, Workers
from chat_history_conformance.campaign.plan import (
    Event,
    Process,
    Traffic,
    draw_events,
    draw_processes,
)
from chat_history_conformance.campaign.recording import Fault, Meta, Recording, Writer
from chat_history_conformance.campaign.server.faults import FAULTS, Ability
from chat_history_conformance.campaign.server.providing import provided
from chat_history_conformance.campaign.server.serving import Refused, serving
from chat_history_conformance.campaign.server.stage import Stage
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.server import Server, Unsupported

__all__ = ["LIMIT_SECONDS", "Options", "Outcome", "Refused", "run"]

LIMIT_SECONDS = 30.0
"""The limit of one call, as in the profile `ci`."""

_PROBE_SECONDS = 90.0
_WORKING_SECONDS = 120.0
_RECOVERED_SECONDS = 30.0
_FINAL_SECONDS = 600.0
_SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """The options of a campaign.

    Attributes:
        backend: The backend.
        ways: The values of `--server`, as for `--history-server`.
        nodes: The number of nodes of the server; 0 for the number in `ways`, or one.
        events: The number of faults.
        duration_seconds: How long the clients work if there are no faults.
        seed: The seed of the plan.
        faults: The names of the faults to draw from; empty for all that are possible.
        traffic: The numbers of sessions, writers and readers.
        limit_seconds: The limit of one call.
        sample_seconds: The time between two samples of a process.
        calm: A factor for the times without faults.
        planned: The faults, instead of faults that are drawn.
        offline: Download nothing.
        config: The file of client settings, if there is one.
        command: The command that runs this campaign again.
    """

    backend: Backend
    ways: tuple[str, ...] = ()
    nodes: int = 0
    events: int = 30
    duration_seconds: float = 0.0
    seed: int = 1
    faults: tuple[str, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    limit_seconds: float = LIMIT_SECONDS
    sample_seconds: float = 3.0
    calm: float = 1.0
    planned: tuple[Event, ...] = ()
    offline: bool = False
    config: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of a campaign.

    Attributes:
        recording: Everything that was recorded.
        trouble: Why it is incomplete; empty if it is not.
        stopped: When a signal has ended it; empty if none has.
    """

    recording: Recording
    trouble: str = ""
    stopped: str = ""


def run(options: Options, say: Callable[[str], None]) -> Outcome:
    """Run a campaign.

    The first SIGINT or SIGTERM ends it early: it is reported so far.

    Args:
        options: What to do.
        say: Called with a line of text for each thing that happens.

    Raises:
        Refused: It cannot be run; the text says what to do.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(options, say))
        stack.enter_context(provided(options.backend, say))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
        writer = stack.enter_context(Writer(directory / "campaign.jsonl"))
        stopping = stack.enter_context(_interruptible(say))
        campaign = _Campaign(options, server, directory, writer, stopping, say)
        return campaign.run()


class _Campaign:
    """The state of one campaign."""

    def __init__(
        self,
        options: Options,
        server: Server,
        directory: Path,
        writer: Writer,
        stopping: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        assert options.backend.importable is not None  # `serving` has refused it
        self._options = options
        self._server = server
        self._directory = directory
        self._writer = writer
        self._stopping = stopping
        self._say = say
        self._date = datetime.now(UTC).isoformat(timespec="seconds")
        self._start = time.monotonic()
        self._trouble: list[str] = []
        self._stopped = ""
        self._counts = Counts(directory)
        job = Job(
            backend=options.backend.name,
            origin=options.backend.importable,
            path=tuple(path for path in sys.path if path),
            process="",
            records="",
            start=self._start,
            limit_seconds=options.limit_seconds,
            sample_seconds=options.sample_seconds,
        )
        self._workers = Workers(job, directory, writer, say)

    def run(self) -> Outcome:
        traffic = replace(
            self._options.traffic,
            operations=self._probe(),
            threads="threads" not in self._options.backend.lacks,
        )
        processes = draw_processes(self._options.seed, traffic)
        events = self._events()
        stage = Stage(
            self._server,
            _written_sessions(processes),
            self._options.limit_seconds,
            self._stopping,
        )
        try:
            self._workers.start(processes)
            self._workers.wait_until_working(self._counts, _WORKING_SECONDS, self._stopping)
            self._cause(events, stage)
            if not events:
                began = self._now()
                if self._stopping.wait(self._options.duration_seconds):
                    self._stopped = f"stopped after {self._now() - began:.0f} s"
            self._stopping.wait(_SETTLE_SECONDS * self._options.calm)
        finally:
            self._say("stopping the clients")
            self._workers.stop()
        self._read_finally(stage, processes)
        return self._outcome(len(events))

    def _probe(self) -> dict[Any, tuple[str, ...]]:
        """Return the reads of a history by mode.

        Raises:
            Refused: No history can be opened.
        """
        session = f"campaign-{self._options.seed}-probe"
        try:
            found = json.loads(self._workers.ask("probe", "probe", [session], _PROBE_SECONDS))
        except (WorkerFailed, ValueError) as error:
            raise Refused(
                f"Backend {self._options.backend.name!r} cannot be opened in a client process: "
                f"{error}"
            ) from error
        if "error" in found:
            raise Refused(
                f"Opening a history of backend {self._options.backend.name!r} raised "
                f"{found['error']}"
            )
        return {mode: tuple(names) for mode, names in found["operations"].items()}

    def _events(self) -> tuple[Event, ...]:
        """Draw the faults.

        Raises:
            Refused: The server cannot have one of the named faults.
        """
        ability = _ability(self._server)
        for name in self._options.faults:
            if not FAULTS[name].fits(ability):
                raise Refused(
                    f"The fault {name} is not possible on this server ({ability.members} members"
                    f"{self._why_not(name)}). Choose another one, or another number of --nodes."
                )
        return self._options.planned or draw_events(
            self._options.seed, self._options.events, ability, self._options.faults
        )

    def _why_not(self, name: str) -> str:
        return f"; {self._server.why_no_partition}" if name == "cut-off" else ""

    def _cause(self, events: Sequence[Event], stage: Stage) -> None:
        """Cause the faults one after another, until all are done or the campaign stops."""
        for number, event in enumerate(events, 1):
            self._stopping.wait(event.calm_seconds * self._options.calm)
            if self._stopping.is_set():
                self._stopped = f"stopped after {number - 1} of {len(events)} events"
                return
            began = self._now()
            fault = FAULTS[event.fault]
            stage.begin()
            failed = ""
            try:
                fault.body(stage, **event.numbers)
            except (ServerError, Unsupported) as error:
                stage.notes.append(f"failed: {error}")
            try:
                stage.heal()
            except (ServerError, Unsupported) as error:
                failed = f"the server did not come back after event {number}: {error}"
                stage.notes.append(failed)
            ended = self._now()
            members = ", ".join(stage.touched)
            self._writer.write(
                Fault(
                    fault.description, members, began, ended, "; ".join(stage.notes), fault.splits
                )
            )
            self._counts.update()
            named = f" (member {members})" if members and _ability(self._server).members > 1 else ""
            self._say(
                f"{number} of {len(events)}: {fault.description}{named}, {ended - began:.0f} s; "
                f"{self._counts.acknowledged:,} acknowledged, {self._counts.errors:,} errors"
            )
            if failed:
                self._trouble.append(failed)
                return
            self._workers.wait_until_working(self._counts, _RECOVERED_SECONDS, self._stopping)

    def _read_finally(self, stage: Stage, processes: Sequence[Process]) -> None:
        """Read all sessions in a fresh process, when the server is well."""
        sessions = sorted({s for p in processes for c in p.clients for s in c.sessions})
        try:
            stage.heal()
            failed = json.loads(self._workers.ask("final", "final", sessions, _FINAL_SECONDS))
        except (ServerError, Unsupported, WorkerFailed, ValueError) as error:
            self._trouble.append(f"the last read is missing: {error}")
            return
        for session, text in failed.items():
            self._trouble.append(f"the last read of {session} is missing: {text}")

    def _outcome(self, events: int) -> Outcome:
        options, backend = self._options, self._options.backend
        self._writer.write(
            Meta(
                backend=backend.name,
                server=f"{self._server.kind} {self._server.description}",
                nodes=_ability(self._server).members,
                seed=options.seed,
                events=events,
                command=options.command,
                date=self._date,
                seconds=round(self._now(), 1),
                lacks=dict(backend.lacks),
                versions=_versions(),
            )
        )
        found = records.read(sorted(self._directory.glob("*.jsonl")))
        if not any(one.kind == "add" and not one.error for one in found.operations):
            self._trouble.append("no add returned, so there was nothing to check")
        return Outcome(found, "; ".join(self._trouble), self._stopped)

    def _now(self) -> float:
        return time.monotonic() - self._start


def _ability(server: Server) -> Ability:
    members = len(server.members) or 1
    return Ability(
        members,
        tuple(server.roles),
        members > 1 and not server.why_no_partition,
        not server.why_no_faults,
    )


def _written_sessions(processes: Sequence[Process]) -> list[str]:
    return list(dict.fromkeys(s for c in processes[0].clients for s in c.sessions))


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in (
        "chat-history-conformance",
        "langchain-core",
        "confluent-kafka",
        "elasticsearch",
    ):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@contextlib.contextmanager
def _interruptible(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets. The second one raises."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        say("stopping; the report follows. Press Ctrl-C again to end at once.")

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
