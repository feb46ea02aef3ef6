"""A whole comparison: sides understood and installed, servers started, turns taken, all told."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chat_history_conformance
from chat_history_conformance.bench.compare import decision as comparison
from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measure,
    Role,
    Sample,
    Settings,
    SideTold,
)
from chat_history_conformance.bench.compare.environments import Environment, Maker, default_cache
from chat_history_conformance.bench.compare.processes import (
    Progress,
    Worker,
    WorkerError,
    measure_by_turns,
)
from chat_history_conformance.bench.compare.versions import SideError, understand
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.run import Servers

_TRIAL_SECONDS = 0.001


class Unable(Exception):
    """Nothing can be compared; the text says why and what to do."""


@dataclass(frozen=True)
class Request:
    """What is asked for; the command's options, which `--help` explains.

    Attributes:
        base, head: Sides, as `sides.understand` reads them.
        backends: At least one.
        directory: Where relative paths begin and whose repository commits are of; None for the
            working directory.
    """

    base: str
    head: str
    backends: Sequence[str]
    operations: Sequence[str] = ()
    settings: Settings = field(default_factory=Settings)
    extras: Sequence[str] = ()
    beside: Sequence[str] = ()
    python: str = sys.executable
    cache: Path | None = None
    ways: Sequence[str] = ()
    server_config: Path | None = None
    offline: bool = False
    directory: Path | None = None


def run(request: Request, progress: Progress) -> Comparison:
    """Compare.

    Args:
        request: What is asked for.
        progress: Told how far it is.

    Raises:
        Unable: The sides cannot be had or compared, a server cannot be started, or an operation
            fails on a side.
        ValueError: The settings cannot decide anything.
    """
    request.settings.check()
    try:
        with tempfile.TemporaryDirectory(prefix="history-bench-") as workplace:
            base, head = _installed(request, Path(workplace), progress)
            return _compared(request, base, head, progress)
    except (SideError, WorkerError, ServerError) as error:
        raise Unable(str(error)) from error


def _installed(
    request: Request, workplace: Path, progress: Progress
) -> tuple[Environment, Environment]:
    directory = (request.directory or Path.cwd()).resolve()
    maker = Maker(
        workplace=workplace,
        cache=(request.cache or default_cache()).resolve(),
        announce=progress.say,
        python=request.python,
        backends=request.backends,
        extras=request.extras,
        beside=request.beside,
        offline=request.offline,
    )
    return maker.both(
        understand(request.base, directory),
        understand(request.head, directory),
    )


def _compared(
    request: Request, base: Environment, head: Environment, progress: Progress
) -> Comparison:
    here = (request.directory or Path.cwd()).resolve()
    workers: dict[Role, Worker] = {
        "base": Worker("base", base.python, base.directory(here)),
        "head": Worker("head", head.python, head.directory(here)),
    }
    told = {
        name: {role: worker.describe(name) for role, worker in workers.items()}
        for name in request.backends
    }
    wanted = {name: _chosen(name, request, described) for name, described in told.items()}
    servers = Servers(request.ways, request.server_config, offline=request.offline)
    try:
        kinds = [described["head"].get("server") for described in told.values()]
        servers.start([kind for kind in kinds if kind], progress.say)
        backends = [
            _backend(name, wanted[name], told[name], request.settings, workers, servers, progress)
            for name in request.backends
        ]
    finally:
        servers.stop()
    described = told[request.backends[0]]["head"]
    return Comparison(
        base=_side_told(base),
        head=_side_told(head),
        settings=request.settings,
        environment={
            key: described[key]
            for key in ("python", "implementation", "platform", "machine", "processor", "cores")
            if described.get(key)
        },
        differing=comparison.differing(base.versions, head.versions, [base.package, head.package]),
        backends=backends,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suite=chat_history_conformance.__version__,
    )


def _chosen(
    backend: str, request: Request, described: Mapping[Role, Mapping[str, Any]]
) -> Mapping[Role, Sequence[str]]:
    """The operations that were chosen, of each side."""
    if reasons := comparison.incomparable(described["base"], described["head"]):
        raise Unable(f"{backend}: base and head cannot be compared: {'; '.join(reasons)}")
    offered = {role: list(one["operations"]) for role, one in described.items()}
    wanted = {role: comparison.chosen(names, request.operations) for role, names in offered.items()}
    for role, names in wanted.items():
        if not names:
            raise Unable(
                f"{backend}: no operation of {role} is called {' or '.join(request.operations)}. "
                f"There are {', '.join(offered[role]) or 'none'}"
            )
    return wanted


def _backend(
    name: str,
    wanted: Mapping[Role, Sequence[str]],
    described: Mapping[Role, Mapping[str, Any]],
    settings: Settings,
    workers: Mapping[Role, Worker],
    servers: Servers,
    progress: Progress,
) -> Backend:
    measure = pairs(name, settings, workers)

    progress.say(f"{name}: trying every operation once on either side")
    offered = {
        role: list(worker.measure(name, wanted[role], _TRIAL_SECONDS, 0))
        for role, worker in workers.items()
    }
    both = [operation for operation in offered["head"] if operation in offered["base"]]
    if not both:
        told = [f"{role} has {', '.join(names) or 'none'}" for role, names in offered.items()]
        raise Unable(f"{name}: there is no operation that both sides have: {'; '.join(told)}")
    operations = comparison.compare(
        both,
        settings,
        measure,
        lambda what, done, of: progress.step(f"{name}, {what}", done, of),
    )
    kind = described["head"].get("server")
    return Backend(
        name,
        operations,
        servers.described().get(kind) if kind else None,
        [operation for operation in offered["base"] if operation not in both],
        [operation for operation in offered["head"] if operation not in both],
    )


def pairs(name: str, settings: Settings, workers: Mapping[Role, Worker]) -> Measure:
    """Measures both sides of a pair at once when the first of them is asked for."""
    measured: dict[Role, Mapping[str, Sample]] = {}

    def measure(role: Role, operations: Sequence[str], pair: int) -> Mapping[str, Sample]:
        if role not in measured:
            order: list[Role] = [role, "head" if role == "base" else "base"]
            sides = [workers[each] for each in order]
            found = measure_by_turns(sides, name, operations, settings.seconds, pair)
            measured.update(zip(order, found, strict=True))
        return measured.pop(role)

    return measure


def _side_told(environment: Environment) -> SideTold:
    side = environment.side
    return SideTold(side.label, side.kind, side.commit, environment.package, environment.version)
