"""Runs one contract on one backend in one mode: examples, budgets, shrinking, and its outcome.

Knows Hypothesis and nothing of pytest.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import NEEDS_OF_MODE, Contract
from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    NotApplicable,
    ServerFailure,
)
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import LEVELS, ContractResult, Finding, Level, Mode

MIN_EXAMPLES = 3
"""Examples that a contract gets however slow the backend is."""


@dataclass(frozen=True)
class Profile:
    """How much is tried.

    Attributes:
        name: What `--history-profile` calls it.
        examples: Examples a contract, at most.
        seconds: Time for them; a slow backend gets fewer examples, never fewer contracts.
        shrink_seconds: Time to find the shortest story, beginning with the first failure.
        limit: Seconds that one operation may take before it counts as hung.
    """

    name: str
    examples: int
    seconds: float
    shrink_seconds: float
    limit: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", examples=8, seconds=1.0, shrink_seconds=2.0, limit=15.0),
        Profile("ci", examples=40, seconds=5.0, shrink_seconds=6.0, limit=30.0),
        Profile("thorough", examples=400, seconds=60.0, shrink_seconds=60.0, limit=60.0),
    )
}


class _TimeIsUp(BaseException):
    """No `Exception`, so that it ends Hypothesis' search at once."""


class _Decided(BaseException):
    """The outcome is known and no further example can change it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Telling:
    """The examples of one contract: counted, timed, and the smallest failure kept."""

    def __init__(self, contract: Contract, subject: Subject, mode: Mode, profile: Profile) -> None:
        self.contract = contract
        self.subject = subject
        self.mode = mode
        self.profile = profile
        self.examples = 0
        self.found: Finding | None = None
        self.deadline = time.monotonic() + profile.seconds

    def tell(self, program: Any) -> None:
        """Tell the contract's story once with what was drawn for it."""
        if self.examples >= MIN_EXAMPLES:
            self.check_budget()
        session = Session(
            self.subject,
            self.mode,
            f"{self.contract.id}[{self.mode}]",
            racy=self.contract.racy,
            pinned=None if self.found is None else self.found.kind,
            check_budget=self.check_budget_of_shrinking,
        )
        try:
            try:
                self._tell(session, program)
            except BaseException:
                session.finish(failed=True)
                raise
            session.finish(failed=False)
        except ConformanceFailure as failure:
            self.examples += self.found is None
            self._keep(failure)
        except (ServerFailure, NotApplicable) as decided:
            raise _Decided(decided) from decided
        else:
            self.examples += self.found is None

    def _tell(self, session: Session, program: Any) -> None:
        try:
            self.contract.body(session, program)
        except (ConformanceFailure, ServerFailure, NotApplicable):
            raise
        except Exception as error:
            session.explain_body(error)

    def check_budget(self) -> None:
        """Stop when the time is up."""
        if time.monotonic() > self.deadline:
            raise _TimeIsUp

    def check_budget_of_shrinking(self) -> None:
        """Between operations only the search for a shorter story is stopped."""
        if self.found is not None:
            self.check_budget()

    def _keep(self, failure: ConformanceFailure) -> None:
        if self.found is None:
            self.deadline = time.monotonic() + self.profile.shrink_seconds
        elif failure.finding.kind != self.found.kind:
            return  # shrinking must not slip from one defect to another
        self.found = failure.finding
        raise failure


def run(
    contract: Contract, subject: Subject, mode: Mode, profile: Profile, seed: int
) -> ContractResult:
    """Run a contract and say what became of it, leaving deviations and levels aside.

    Args:
        contract: The contract.
        subject: The backend, ready to be used.
        mode: One of the contract's modes.
        profile: How much is tried.
        seed: Seeds the examples; the same seed draws the same.
    """
    started = time.monotonic()
    blank = ContractResult(contract.id, contract.level, contract.since, mode, "passed")
    reason = why_not_applicable(contract, subject, mode)
    if reason is not None:
        return replace(blank, outcome="not_applicable", reason=reason)
    telling = _Telling(contract, subject, mode, profile)
    notes: list[str] = []
    decided: Exception | None = None
    try:
        _search(telling, seed)
    except ConformanceFailure:
        pass  # kept by the telling
    except _TimeIsUp:
        if telling.found is not None:
            notes.append("not minimal: the time for finding a shorter story was up")
    except _Decided as decision:
        decided = decision.cause
    except Flaky:
        notes.append("flaky: the same steps did not fail every time")
    result = replace(
        blank, examples=telling.examples, duration_s=round(time.monotonic() - started, 4)
    )
    if telling.found is not None:
        if contract.racy:
            notes.append("not minimal: a race is told as it was met")
        finding = replace(telling.found, notes=(*telling.found.notes, *notes))
        return replace(result, outcome="failed", reason=finding.summary, finding=finding)
    if isinstance(decided, NotApplicable):
        return replace(result, outcome="not_applicable", reason=str(decided))
    if decided is not None:
        return replace(result, outcome="error", reason=f"server: {decided}")
    return result


def why_not_applicable(contract: Contract, subject: Subject, mode: Mode) -> str | None:
    """Why a contract cannot be asked of a backend in a mode, or None if it can."""
    lacks = subject.backend.lacks
    needs = (*NEEDS_OF_MODE[mode], *contract.needs)
    for name in needs:
        if name in lacks:
            return f"gives up {name}: {lacks[name]}"
    found = [name for name in needs if name not in assumed()]
    if not found:
        return None
    try:
        able = subject.capabilities.names
    except Exception as error:  # opening is judged by the contracts that need nothing else
        return f"needs {found[0]}, and no history could be opened ({type(error).__name__})"
    for name in found:
        if name not in able:
            return (
                subject.why_no_faults if name == "faults" else _MISSING.get(name, f"has no {name}")
            )
    return None


_MISSING = {
    "server": "declares no server",
    "with_ttl": "has no with_ttl(session_id, ttl_ms) on its factory",
    "corrupt": "declares no way to corrupt a stored record",
    "disposable": "such ids could meet somebody's data: the backend is not declared disposable, "
    "and --history-allow-destructive was not given",
}


def run_declared(
    contract: Contract,
    subject: Subject,
    mode: Mode,
    profile: Profile,
    seed: int,
    *,
    level: Level = "should",
    since: str | None = None,
) -> ContractResult:
    """As `run`, with the backend's deviations, and what the run lets count, applied.

    Args:
        contract: The contract.
        subject: The backend; its deviations turn a failure into a deviation, and a contract that
            holds in every mode into an unexpected pass.
        mode: One of the contract's modes.
        profile: How much is tried.
        seed: Seeds the examples.
        level: Contracts below it inform.
        since: Contracts newer than this catalogue inform; None pins nothing.
    """
    result = run(contract, subject, mode, profile, seed)
    informs = LEVELS.index(result.level) > LEVELS.index(level)
    if since is not None:
        informs = informs or catalogue.version(result.since) > catalogue.version(since)
    result = replace(result, informs=informs)
    reason = subject.backend.deviations.get(contract.id)
    if reason is None:
        return result
    if result.outcome == "failed":
        return replace(result, outcome="deviation", reason=reason)
    # A deviation names a contract: one mode that shows it is enough, wherever the modes are run.
    if result.outcome == "passed" and not any(
        run(contract, subject, other, profile, seed).outcome == "failed"
        for other in contract.modes
        if other != mode
    ):
        return replace(
            result,
            outcome="unexpected_pass",
            reason=f"{contract.id} holds, but is declared as a deviation ({reason}). "
            "Delete this line from deviations=.",
        )
    return result


def _search(telling: _Telling, seed: int) -> None:
    """Draw examples until one fails or the budget is spent, then look for a shorter one."""
    contract, profile = telling.contract, telling.profile
    if contract.program is None:
        telling.tell(None)
        return
    examples = min(profile.examples, contract.examples or profile.examples)
    one_telling = contract.racy or examples == 1
    phases = [Phase.generate] if one_telling else [Phase.generate, Phase.shrink]
    choose = settings(
        max_examples=examples,
        phases=phases,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    drawn: Callable[[Callable[[Any], None]], Callable[[], None]] = given(_wrapped(contract.program))

    def story(program: list[Any]) -> None:
        telling.tell(program[0])

    mixed = seed ^ zlib.crc32(f"{contract.id}[{telling.mode}]".encode())
    choose(with_seed(mixed)(drawn(story)))()


def _wrapped(program: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """In a list, so that Hypothesis never prints what was drawn."""
    return st.builds(lambda value: [value], program)


def each(contracts: Iterable[Contract]) -> Iterable[tuple[Contract, Mode]]:
    """Every contract in every one of its modes, in order."""
    for contract in contracts:
        for mode in contract.modes:
            yield contract, mode
