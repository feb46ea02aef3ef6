"""The self-test: run every contract on every broken history, and measure how reliably it is found.

The kill matrix runs all contracts on all broken histories. Discovery power runs the contract that a
history was made for, with many seeds. Each history is judged in its own process, so that it cannot
see objects that another history left in memory.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.execution.workspace import Workspace
from chat_history_conformance.faulty import served, slowness, stoppable
from chat_history_conformance.faulty.processes import spread
from chat_history_conformance.faulty.proof import CONTROLS, Kill, Row
from chat_history_conformance.results.model import ContractResult, Kind, Mode

__all__ = ["SEEDS", "control", "discovery", "kill_matrix", "results_on"]

SEEDS = 20
"""The seeds with which the discovery power is measured."""


def kill_matrix(
    report: Callable[[str], None] = lambda line: None,
    *,
    jobs: int | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> Iterator[Row]:
    """Run every contract in profile `quick` on the controls and on every broken history.

    The rows come as they end.

    The controls, and the contract that a history was made to break, run in all modes. Every other
    contract runs only in its first applicable mode, because the number of pairs is large.

    Args:
        report: Called with a line of text for each finished history.
        jobs: The number of processes. Defaults to the number of processors.
        only: Chooses histories by id.
    """
    names = [name for name in (*CONTROLS, *faulty.load()) if only(name)]
    return (row for _, row in spread(_row, [(name,) for name in names], report, jobs))


def discovery(
    report: Callable[[str], None] = lambda line: None,
    *,
    seeds: Sequence[int] = range(1, SEEDS + 1),
    profile: str = "quick",
    delay_ms: int = 0,
    jobs: int | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[str, int]]:
    """Count the seeds with which each broken history is found by its contract, as they end.

    Args:
        report: Called with a line of text for each finished history.
        seeds: The seeds to try.
        profile: The profile, which sets the number of examples.
        delay_ms: The milliseconds by which each operation of the histories takes longer.
        jobs: The number of processes. Defaults to the number of processors.
        only: Chooses histories by id.
    """
    tasks = [(name, tuple(seeds), profile, delay_ms) for name in faulty.load() if only(name)]
    return spread(_power, tasks, report, jobs)


def control(name: str) -> Backend:
    """Return a backend without a defect: a registered reference backend, or one of here."""
    here = (stoppable.BACKEND, served.BACKEND, served.CLUSTERED_BACKEND)
    known = {backend.name: backend for backend in here}
    return known.get(name) or registry.resolve(name)


def results_on(
    backend: Backend,
    contracts: Iterable[Contract],
    *,
    profile: engine.Profile,
    seed: int,
    in_all_modes: Callable[[Contract], bool] = lambda contract: True,
    clustered: bool = False,
) -> Generator[ContractResult]:
    """Run contracts on a backend in separate workspaces, and yield the results.

    The workspaces and their servers are removed after the last result, or by `close`.

    Args:
        backend: The backend.
        contracts: The contracts.
        profile: The profile, which sets the number of examples.
        seed: The seed of the examples.
        in_all_modes: Returns True for a contract that runs in each mode. Other contracts run only
            in their first applicable mode.
        clustered: Whether the server of the backend has three members.
    """
    for part in _parts(contracts, has_server=backend.server is not None):
        workspace = Workspace()
        with contextlib.ExitStack() as stack:
            stack.callback(workspace.remove)
            server, limit = None, profile.limit
            if backend.server is not None:
                server = stack.enter_context(served.serving(clustered=clustered))
                limit = served.CLUSTERED_LIMIT if clustered else served.LIMIT
            elif backend.stop is not None:
                limit = served.LIMIT
            subject = Subject(backend, limit=limit, server=server, owned=True, faults=True)
            stack.callback(subject.stop)
            stack.enter_context(workspace.inside())
            for contract in part:
                for mode in contract.modes:
                    result = _run(contract, subject, mode, profile, seed)
                    yield result
                    if result.outcome != "not_applicable" and not in_all_modes(contract):
                        break


def _parts(contracts: Iterable[Contract], *, has_server: bool) -> Iterator[Iterable[Contract]]:
    """Yield the contracts that share a server: each that disturbs it gets a separate one.

    A member that starts again reads all that was stored before, so an old server starts slowly.
    """
    if not has_server:
        yield contracts
        return
    for disturbs, part in groupby(contracts, lambda contract: contract.disturbs_a_server):
        if disturbs:
            yield from ([contract] for contract in part)
        else:
            yield part


def _run(
    contract: Contract, subject: Subject, mode: Mode, profile: engine.Profile, seed: int
) -> ContractResult:
    """Call `engine.run`, and return a failure of the suite itself as an error of this pair."""
    try:
        return engine.run(contract, subject, mode, profile, seed)
    except Exception as error:
        reason = f"the suite failed: {type(error).__name__}: {error}"
        blank = contract.blank(mode, "error")
        return replace(blank, reason=reason)


def _row(name: str) -> Row:
    backend = control(name) if name in CONTROLS else faulty.load()[name].backend
    # The first finding decides, so looking for a shorter one takes time for nothing.
    profile = replace(PROFILES["quick"], shrink_seconds=0.0)
    kinds: dict[str, list[Kind]] = {}
    errors = []
    broken = None if name in CONTROLS else faulty.load()[name].breaks
    for result in results_on(
        backend,
        catalogue.load().values(),
        profile=profile,
        seed=0,
        in_all_modes=lambda contract: broken in (None, contract.id),
        clustered=_is_clustered(name),
    ):
        if result.finding is not None:
            found = kinds.setdefault(result.id, [])
            found += [result.finding.kind] if result.finding.kind not in found else []
        elif result.outcome == "error":
            errors.append(f"{result.label}: {result.reason}")
    return Row(name, tuple(Kill(key, tuple(value)) for key, value in kinds.items()), tuple(errors))


def _power(name: str, seeds: Sequence[int], profile_name: str, delay_ms: int) -> int:
    os.environ[slowness.VARIABLE] = str(delay_ms)  # before this process loads the histories
    history = faulty.load()[name]
    contract = catalogue.load()[history.breaks]
    profile = replace(PROFILES[profile_name], shrink_seconds=0.0)
    gc.freeze()  # a failure collects garbage, and need not look at what was imported
    return sum(
        any(
            result.finding is not None and result.finding.kind == history.kind
            for result in results_on(
                history.backend,
                [contract],
                profile=profile,
                seed=seed,
                clustered=_is_clustered(name),
            )
        )
        for seed in seeds
    )


def _is_clustered(name: str) -> bool:
    """Return whether a history needs a server with several members."""
    control = name if name in CONTROLS else faulty.load()[name].control
    return control == served.CLUSTERED
