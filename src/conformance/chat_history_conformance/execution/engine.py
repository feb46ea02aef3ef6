"""Run one contract on one backend in one mode: examples, time limits, shrinking, outcome.

This module uses Hypothesis, and not pytest.
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

from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    HookFailure,
    NotApplicable,
    ServerFailure,
    Shortage,
)
from chat_history_conformance.execution.contract import NEEDS_OF_MODE, Contract, version
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import LEVELS, ContractResult, Finding, Level, Mode

__all__ = [
    "MIN_EXAMPLES",
    "PROFILES",
    "Profile",
    "each",
    "informs",
    "run",
    "run_declared",
    "why_not_applicable",
]

MIN_EXAMPLES = 3
"""Examples that every contract gets, also on a slow backend."""


@dataclass(frozen=True)
class Profile:
    """The effort of a run.

    Attributes:
        name: Its name for `--history-profile`.
        examples: Maximum number of examples of a contract.
        seconds: Time for these examples. A slow backend gets fewer examples, never fewer contracts.
        shrink_seconds: Time for the search for a shorter example, from the first failure on.
        limit: Seconds after which an operation counts as hung.
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
    """The end of the time for examples; not an `Exception`, so that Hypothesis stops at once."""


class _Decided(BaseException):
    """An outcome that no further example can change."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Examples:
    """The examples of one contract, with their number, their time and the smallest failure."""

    def __init__(self, contract: Contract, subject: Subject, mode: Mode, profile: Profile) -> None:
        self.contract = contract
        self.subject = subject
        self.mode = mode
        self.profile = profile
        self.examples = 0
        self.untried: dict[str, None] = {}
        self.found: Finding | None = None
        self.deadline = time.monotonic() + profile.seconds

    def run_one(self, program: Any) -> None:
        """Run the contract once, with one value drawn from its program."""
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
                self._run_body(session, program)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    self.subject.hurry()
                session.finish(failed=True)
                raise
            session.finish(failed=False)
            self.untried |= session.untried
        except ConformanceFailure as failure:
            self.examples += self.found is None
            self._keep(failure)
        except (ServerFailure, NotApplicable) as decided:
            raise _Decided(decided) from decided
        else:
            self.examples += self.found is None

    def _run_body(self, session: Session, program: Any) -> None:
        try:
            self.contract.body(session, program)
        except (ConformanceFailure, ServerFailure, NotApplicable):
            raise
        except Exception as error:
            session.explain_body(error)

    def check_budget(self) -> None:
        """Raise when the time is up."""
        if time.monotonic() > self.deadline:
            raise _TimeIsUp

    def check_budget_of_shrinking(self) -> None:
        """Raise when the time for the search for a shorter example is up."""
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
    """Run a contract and return its result, without regard to deviations and levels.

    Args:
        contract: The contract.
        subject: The backend under test.
        mode: One of the contract's modes.
        profile: The effort of the run.
        seed: The seed of the examples; the same seed draws the same examples.
    """
    started = time.monotonic()
    blank = ContractResult(contract.id, contract.level, contract.since, mode, "passed")
    reason = why_not_applicable(contract, subject, mode)
    if reason is not None:
        return replace(blank, outcome="not_applicable", reason=reason)
    examples = _Examples(contract, subject, mode, profile)
    notes: list[str] = []
    decided: Exception | None = None
    try:
        _search(examples, seed)
    except ConformanceFailure:
        pass  # `examples` has kept its finding
    except _TimeIsUp:
        if examples.found is not None:
            notes.append("these steps may not be the shortest: the time to shorten them was up")
    except _Decided as decision:
        decided = decision.cause
    except Flaky:
        notes.append("the same steps did not fail every time")
    result = replace(
        blank, examples=examples.examples, duration_s=round(time.monotonic() - started, 4)
    )
    if examples.found is not None:
        if contract.racy:
            notes.append("these steps may not be the shortest: the suite does not shorten races")
        finding = replace(examples.found, notes=(*examples.found.notes, *notes))
        return replace(result, outcome="failed", reason=finding.summary, finding=finding)
    if isinstance(decided, NotApplicable):
        return replace(result, outcome="not_applicable", reason=str(decided))
    if decided is not None:
        origin = "" if isinstance(decided, Shortage | HookFailure) else "server: "
        return replace(result, outcome="error", reason=f"{origin}{decided}")
    return replace(result, reason="; ".join(examples.untried) or None)


def why_not_applicable(contract: Contract, subject: Subject, mode: Mode) -> str | None:
    """Return why a contract does not apply to a backend in a mode, or None if it does."""
    lacks = subject.backend.lacks
    needs = (*NEEDS_OF_MODE[mode], *contract.needs)
    for name in needs:
        if name in lacks:
            return f"lacks {name}: {lacks[name]}"
    found = [name for name in needs if name not in assumed()]
    if not found:
        return None
    try:
        able = subject.capabilities.names
    except Exception as error:  # other contracts judge opening
        return f"needs {found[0]}, and no history could be opened ({type(error).__name__})"
    for name in found:
        if name not in able:
            return subject.why_not(name) or _MISSING.get(name, f"has no {name}")
    return None


_MISSING = {
    "server": "declares no server",
    "outage": "declares no server",
    "cluster": "the server has one member: start several, as with --history-server=kafka=jvm:3",
    "with_ttl": "has no with_ttl(session_id, ttl_ms) on its factory",
    "corrupt": "declares no way to corrupt a stored record",
    "interference": "declares no interference=, or keeps data that must not be thrown away",
    "disposable": "such ids could belong to existing data: declare the backend disposable, or give "
    "--history-allow-destructive",
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
    """Run a contract, and apply the deviations of the backend and the levels of the run.

    Args:
        contract: The contract.
        subject: The backend under test. A failure that it declares becomes a deviation. A declared
            deviation from a contract that holds in every mode becomes an unexpected pass.
        mode: One of the contract's modes.
        profile: The effort of the run.
        seed: The seed of the examples.
        level: Contracts of lower levels are reported but do not fail the run.
        since: Contracts newer than this catalogue are reported but do not fail the run.
    """
    result = run(contract, subject, mode, profile, seed)
    result = replace(result, informs=informs(result, level, since))
    reason = subject.backend.deviations.get(contract.id)
    if reason is None:
        return result
    if result.outcome == "failed":
        return replace(result, outcome="deviation", reason=reason)
    # A deviation names a contract and no mode, so one mode that fails is enough.
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


def informs(result: ContractResult, level: Level, since: str | None) -> bool:
    """Return whether a failure of a contract is only reported.

    Args:
        result: A result of the contract.
        level: The lowest level that counts in the run.
        since: The newest catalogue that counts in the run; None for all.
    """
    below = LEVELS.index(result.level) > LEVELS.index(level)
    return below or (since is not None and version(result.since) > version(since))


def _search(examples: _Examples, seed: int) -> None:
    """Draw examples until one fails or the time is up, then look for a shorter one."""
    contract, profile = examples.contract, examples.profile
    if contract.program is None:
        examples.run_one(None)
        return
    number = min(profile.examples, contract.examples or profile.examples)
    is_short = contract.racy or number == 1
    phases = [Phase.generate] if is_short else [Phase.generate, Phase.shrink]
    choose = settings(
        max_examples=number,
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

    def example(program: list[Any]) -> None:
        examples.run_one(program[0])

    mixed = seed ^ zlib.crc32(f"{contract.id}[{examples.mode}]".encode())
    choose(with_seed(mixed)(drawn(example)))()


def _wrapped(program: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Wrap each value in a list, so that Hypothesis never prints it."""
    return st.builds(lambda value: [value], program)


def each(contracts: Iterable[Contract]) -> Iterable[tuple[Contract, Mode]]:
    """Yield every contract with each of its modes, in order."""
    for contract in contracts:
        for mode in contract.modes:
            yield contract, mode
