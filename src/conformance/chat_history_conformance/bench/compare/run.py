"""A whole comparison: install two versions, start servers, measure alternately, decide."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chat_history_conformance
from chat_history_conformance.bench.compare import decision
from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measure,
    Role,
    Sample,
    Settings,
    VersionSummary,
)
from chat_history_conformance.bench.compare.environments import Environment, Installer
from chat_history_conformance.bench.compare.processes import (
    Progress,
    Worker,
    WorkerError,
    measure_interleaved,
)
from chat_history_conformance.bench.compare.versions import VersionError, parse
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.run import Servers

__all__ = ["ComparisonError", "Request", "measure_pairs", "run"]

_TRIAL_SECONDS = 0.001


class ComparisonError(Exception):
    """A comparison that cannot be made. The text says why, and what to do."""


@dataclass(frozen=True)
class Request:
    """The options of `history-conformance bench compare`, which `--help` explains.

    Attributes:
        base, head: Versions, as `versions.parse` reads them.
        backends: The names of the backends, at least one.
        operations: Patterns of operations. Empty for all.
        settings: The settings of the decision.
        extras: Extras to install with both versions.
        requirements: Requirements to install with both versions.
        python: The interpreter of both environments.
        cache: uv's cache. None for uv's default.
        servers: The values of `--server`.
        server_config: The value of `--server-config`.
        offline: Whether to download nothing.
        directory: The start of relative paths, and a directory of the repository of commits. None
            for the working directory.
    """

    base: str
    head: str
    backends: Sequence[str]
    operations: Sequence[str] = ()
    settings: Settings = field(default_factory=Settings)
    extras: Sequence[str] = ()
    requirements: Sequence[str] = ()
    python: str = sys.executable
    cache: Path | None = None
    servers: Sequence[str] = ()
    server_config: Path | None = None
    offline: bool = False
    directory: Path | None = None


def run(request: Request, progress: Progress) -> Comparison:
    """Compare two versions.

    Args:
        request: The options.
        progress: Prints the progress.

    Raises:
        ComparisonError: A version cannot be installed, the two cannot be compared, a server cannot
            be started, or an operation fails.
        ValueError: The settings allow no decision.
    """
    request.settings.check()
    try:
        with tempfile.TemporaryDirectory(prefix="history-bench-") as directory:
            base, head = _install(request, Path(directory), progress)
            return _compare(request, base, head, progress)
    except (VersionError, WorkerError, ServerError) as error:
        raise ComparisonError(str(error)) from error


def _install(
    request: Request, directory: Path, progress: Progress
) -> tuple[Environment, Environment]:
    installer = Installer(
        directory=directory,
        announce=progress.say,
        python=request.python,
        backends=request.backends,
        extras=request.extras,
        requirements=request.requirements,
        cache=request.cache and request.cache.resolve(),
        offline=request.offline,
    )
    here = _here(request)
    return installer.install_both(parse(request.base, here), parse(request.head, here))


def _here(request: Request) -> Path:
    return (request.directory or Path.cwd()).resolve()


def _compare(
    request: Request, base: Environment, head: Environment, progress: Progress
) -> Comparison:
    here = _here(request)
    workers: dict[Role, Worker] = {
        "base": Worker("base", base.python, base.directory(here)),
        "head": Worker("head", head.python, head.directory(here)),
    }
    descriptions = {
        name: {role: worker.describe(name) for role, worker in workers.items()}
        for name in request.backends
    }
    wanted = {name: _select(name, request, both) for name, both in descriptions.items()}
    servers = Servers(request.servers, request.server_config, offline=request.offline)
    try:
        kinds = [both["head"].get("server") for both in descriptions.values()]
        servers.start([kind for kind in kinds if kind], progress.say)
        backends = []
        for name in request.backends:
            operations, only = _measure(name, wanted[name], request.settings, workers, progress)
            kind = descriptions[name]["head"].get("server")
            server = servers.described().get(kind) if kind else None
            backends.append(Backend(name, operations, server, only["base"], only["head"]))
    finally:
        servers.stop()
    return Comparison(
        base=_summary(base),
        head=_summary(head),
        settings=request.settings,
        environment=_machine(descriptions[request.backends[0]]["head"]),
        differing=decision.differing(base.versions, head.versions, [base.package, head.package]),
        backends=backends,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suite=chat_history_conformance.__version__,
    )


def _machine(description: Mapping[str, Any]) -> dict[str, Any]:
    names = ("python", "implementation", "platform", "machine", "processor", "cores")
    return {name: description[name] for name in names if description.get(name)}


def _select(
    backend: str, request: Request, described: Mapping[Role, Mapping[str, Any]]
) -> Mapping[Role, Sequence[str]]:
    """Return the operations of each version that the user asked for."""
    if reasons := decision.incomparable(described["base"], described["head"]):
        raise ComparisonError(f"{backend}: base and head cannot be compared: {'; '.join(reasons)}")
    offered = {role: list(one["operations"]) for role, one in described.items()}
    wanted = {role: decision.matching(names, request.operations) for role, names in offered.items()}
    for role, names in wanted.items():
        if not names:
            raise ComparisonError(
                f"{backend}: no operation of {role} matches {' or '.join(request.operations)}. "
                f"There are {', '.join(offered[role]) or 'no operations'}"
            )
    return wanted


def _measure(
    name: str,
    wanted: Mapping[Role, Sequence[str]],
    settings: Settings,
    workers: Mapping[Role, Worker],
    progress: Progress,
) -> tuple[list[decision.Operation], dict[Role, list[str]]]:
    """Measure one backend; return its operations, and those that only one version has."""
    progress.say(f"{name}: trying every operation once in both versions")
    offered: dict[Role, list[str]] = {
        role: list(worker.measure(name, wanted[role], _TRIAL_SECONDS, 0))
        for role, worker in workers.items()
    }
    both = [operation for operation in offered["head"] if operation in offered["base"]]
    if not both:
        lists = [f"{role} has {', '.join(names) or 'none'}" for role, names in offered.items()]
        raise ComparisonError(f"{name}: the versions have no common operation: {'; '.join(lists)}")
    operations = decision.compare(
        both,
        settings,
        measure_pairs(name, settings, workers),
        lambda part, done, total: progress.step(f"{name}, {part}", done, total),
    )
    only = {role: [one for one in names if one not in both] for role, names in offered.items()}
    return operations, only


def measure_pairs(name: str, settings: Settings, workers: Mapping[Role, Worker]) -> Measure:
    """Return a function that measures both versions of a pair when asked for the first of them.

    Args:
        name: The name of the backend.
        settings: The settings of the decision.
        workers: The worker of each version.
    """
    measured: dict[Role, Mapping[str, Sample]] = {}

    def measure(role: Role, operations: Sequence[str], pair: int) -> Mapping[str, Sample]:
        if role not in measured:
            order: list[Role] = [role, "head" if role == "base" else "base"]
            both = [workers[each] for each in order]
            found = measure_interleaved(both, name, operations, settings.seconds, pair)
            measured.update(zip(order, found, strict=True))
        return measured.pop(role)

    return measure


def _summary(environment: Environment) -> VersionSummary:
    version = environment.version
    return VersionSummary(
        version.label,
        version.kind,
        version.commit,
        environment.package,
        environment.package_version,
    )
