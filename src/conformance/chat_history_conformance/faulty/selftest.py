"""Proof that the suite bites: every contract against every broken history, and how surely.

The kill matrix runs all contracts on all broken histories; discovery power runs the contract that
each was made for, over many seeds. Each history is judged in a process of its own, so that none
sees what another one left in memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.execution.workspace import Workspace
from chat_history_conformance.faulty import Faulty, served
from chat_history_conformance.results.model import ContractResult, Mode

SEEDS = 20
NEEDED = 19
"""Of `SEEDS` seeds, those in which profile `ci` has to find each broken history."""

CONTROLS = ("memory", "sqlite", "served")


@dataclass(frozen=True)
class Kill:
    """A contract that turned red on a broken history, and the kinds of its findings."""

    contract: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """What the whole catalogue said of one history, a control or a broken one."""

    history: str
    kills: tuple[Kill, ...]
    errors: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """The row that `asdict` made `data` of."""
        kills = tuple(Kill(kill["contract"], tuple(kill["kinds"])) for kill in data["kills"])
        return cls(data["history"], kills, tuple(data["errors"]))


@dataclass(frozen=True)
class Proof:
    """The whole matrix: a row for each history, and in how many seeds each was found.

    `power` is empty where it was not measured.
    """

    rows: Mapping[str, Row]
    power: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The proof as JSON values."""
        return {
            "rows": [asdict(row) for row in self.rows.values()],
            "power": dict(sorted(self.power.items())),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proof:
        """The proof that `to_json` wrote as `data`."""
        rows = [Row.from_json(row) for row in data["rows"]]
        return cls({row.history: row for row in rows}, dict(data["power"]))

    def updated(self, other: Proof, broken: Iterable[str]) -> Proof:
        """This proof with what `other` measured anew, and without histories that are gone."""
        rows, power = {**self.rows, **other.rows}, {**self.power, **other.power}
        names = [*CONTROLS, *broken]
        return Proof(
            {name: rows[name] for name in names if name in rows},
            {name: power[name] for name in names if name in power},
        )

    def killers(self, contract: str) -> list[str]:
        """The broken histories that turned a contract red."""
        return [
            row.history
            for row in self.rows.values()
            if row.history not in CONTROLS and any(kill.contract == contract for kill in row.kills)
        ]

    def faults(self, contracts: Iterable[str], broken: Mapping[str, Faulty]) -> list[str]:
        """What is wrong with the proof, one sentence each; empty where it holds.

        A kill counts only where the control is green, and by the contract's own finding of the
        expected kind; a crash of the suite or a server error is none.
        """
        wrong = [
            f"the control {name} is red: {', '.join(kill.contract for kill in row.kills)}"
            for name, row in self.rows.items()
            if name in CONTROLS and row.kills
        ]
        wrong += [
            f"{row.history}: no finding but an error: {error}"
            for row in self.rows.values()
            for error in row.errors
        ]
        wrong += [f"the control {name} was not run" for name in CONTROLS if name not in self.rows]
        for identifier, history in broken.items():
            row = self.rows.get(identifier)
            if row is None:
                wrong.append(f"{identifier} was not run")
            elif not any(
                kill.contract == history.breaks and history.kind in kill.kinds for kill in row.kills
            ):
                got = [kill for kill in row.kills if kill.contract == history.breaks]
                kinds = f"reports {', '.join(got[0].kinds)}" if got else "is green"
                wrong.append(
                    f"{identifier} is not caught: {history.breaks} {kinds} in place of "
                    f"{history.kind}"
                )
            if self.power and self.power.get(identifier, 0) < NEEDED:
                wrong.append(
                    f"{identifier} is found in {self.power.get(identifier, 0)} of {SEEDS} seeds"
                )
        wrong += [
            f"{contract} was never seen red" for contract in contracts if not self.killers(contract)
        ]
        return wrong


def kill_matrix(
    report: Callable[[str], None] = lambda line: None,
    *,
    jobs: int | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> Proof:
    """Run every contract in profile `quick` on the controls and on every broken history.

    The controls, and the contract that a history was made to break, are run in all modes; every
    other contract in its first applicable mode, for the number of pairs is large.

    Args:
        report: Told a line for each history that is done.
        jobs: How many processes; as many as there are processors by default.
        only: Which histories, by id.
    """
    names = [name for name in (*CONTROLS, *faulty.load()) if only(name)]
    rows = dict(_spread(_row, [(name,) for name in names], report, jobs))
    return Proof({name: rows[name] for name in names})


def discovery(
    report: Callable[[str], None] = lambda line: None,
    *,
    seeds: Sequence[int] = range(1, SEEDS + 1),
    jobs: int | None = None,
    only: Callable[[str], bool] = lambda name: True,
) -> dict[str, int]:
    """In how many of `seeds` the expected contract finds each broken history, in profile `ci`."""
    tasks = [(name, tuple(seeds)) for name in faulty.load() if only(name)]
    return dict(_spread(_power, tasks, report, jobs))


def control(name: str) -> Backend:
    """A backend that is right: a reference backend as registered, or the served one."""
    return served.BACKEND if name == served.SERVED else registry.resolve(name)


def results_on(
    backend: Backend,
    contracts: Iterable[Contract],
    *,
    profile: engine.Profile,
    seed: int,
    in_all_modes: Callable[[Contract], bool] = lambda contract: True,
) -> Iterator[ContractResult]:
    """The results of each contract, in a workspace of its own.

    Args:
        backend: What is judged.
        contracts: By which.
        profile: How much is tried.
        seed: Seeds the examples.
        in_all_modes: Whether a contract is run in each mode, or in its first applicable one.
    """
    workspace = Workspace()
    with contextlib.ExitStack() as stack:
        stack.callback(workspace.remove)
        server, limit = None, profile.limit
        if backend.server is not None:
            server, limit = stack.enter_context(served.serving()), served.LIMIT
        subject = Subject(backend, limit=limit, server=server, owned=True, faults=True)
        stack.callback(subject.stop)
        with workspace.inside():
            for contract in contracts:
                for mode in contract.modes:
                    result = _run(contract, subject, mode, profile, seed)
                    yield result
                    if result.outcome != "not_applicable" and not in_all_modes(contract):
                        break


def _run(
    contract: Contract, subject: Subject, mode: Mode, profile: engine.Profile, seed: int
) -> ContractResult:
    """As `engine.run`; a failure of the suite itself is an error of this pair, not of the proof."""
    try:
        return engine.run(contract, subject, mode, profile, seed)
    except Exception as error:
        reason = f"the suite failed: {type(error).__name__}: {error}"
        blank = ContractResult(contract.id, contract.level, contract.since, mode, "error")
        return replace(blank, reason=reason)


def _row(name: str) -> Row:
    backend = control(name) if name in CONTROLS else faulty.load()[name].backend
    # A first finding decides; the shortest story is for people.
    profile = replace(PROFILES["quick"], shrink_seconds=0.0)
    kinds: dict[str, list[str]] = {}
    errors = []
    broken = None if name in CONTROLS else faulty.load()[name].breaks
    for result in results_on(
        backend,
        catalogue.load().values(),
        profile=profile,
        seed=0,
        in_all_modes=lambda contract: broken in (None, contract.id),
    ):
        if result.finding is not None:
            found = kinds.setdefault(result.id, [])
            found += [result.finding.kind] if result.finding.kind not in found else []
        elif result.outcome == "error":
            errors.append(f"{result.label}: {result.reason}")
    return Row(name, tuple(Kill(key, tuple(value)) for key, value in kinds.items()), tuple(errors))


def _power(name: str, seeds: Sequence[int]) -> int:
    history = faulty.load()[name]
    contract = catalogue.load()[history.breaks]
    profile = replace(PROFILES["ci"], shrink_seconds=0.0)
    return sum(
        any(
            result.finding is not None and result.finding.kind == history.kind
            for result in results_on(history.backend, [contract], profile=profile, seed=seed)
        )
        for seed in seeds
    )


def _spread(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    report: Callable[[str], None],
    jobs: int | None,
) -> Iterator[tuple[str, Any]]:
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    jobs = jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        running = {pool.submit(work, *task): task[0] for task in tasks}
        for number, future in enumerate(as_completed(running), 1):
            name = running[future]
            elapsed = time.monotonic() - started
            left = elapsed / number * (len(tasks) - number)
            report(f"{number:>4} of {len(tasks)}  {name}  ({left:.0f} s left)")
            yield name, future.result()
