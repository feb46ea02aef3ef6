"""Run one contract on one backend in one mode: examples, time limits, shrinking, outcome.

This module uses Hypothesis, and not pytest.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis.errors import Flaky

from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    HookFailure,
    NotApplicable,
    Shortage,
    Unrepeated,
)
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.contract import NEEDS_OF_MODE, Contract, version
from chat_history_conformance.execution.examples import Decided, Examples, TimeIsUp
from chat_history_conformance.execution.own_process import run_in_own_process
from chat_history_conformance.execution.plain import with_plain_round_trip
from chat_history_conformance.execution.profiles import MIN_EXAMPLES, PROFILES, Profile
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import LEVELS, ContractResult, Level, Mode

__all__ = [
    "MIN_EXAMPLES",
    "NOT_EVERY_TIME",
    "PROFILES",
    "Profile",
    "each",
    "informs",
    "run",
    "run_declared",
    "screen",
    "why_not_applicable",
]


NOT_EVERY_TIME = "the same steps did not fail every time"
"""The note of a finding whose steps passed once while a shorter story was searched."""

_SERVER = "server: "
"""The beginning of the reason of a contract that ended in an error of the server."""


def run(
    contract: Contract,
    subject: Subject,
    mode: Mode,
    profile: Profile,
    seed: int,
    *,
    stories: list[Sequence[Step]] | None = None,
    again: bool = True,
) -> ContractResult:
    """Run a contract and return its result, without regard to deviations and levels.

    Args:
        contract: The contract.
        subject: The backend under test.
        mode: One of the contract's modes.
        profile: The effort of the run.
        seed: The seed of the examples; the same seed draws the same examples.
        stories: A list for the steps of all examples until the first failure. If it is given, the
            failure is not shortened.
        again: Whether the contract may run once more if it ends in an error of the server.
    """
    blank = contract.blank(mode, "passed")
    reason = why_not_applicable(contract, subject, mode)
    if reason is not None:
        return replace(blank, outcome="not_applicable", reason=reason)
    if subject.ahead is not None:
        taken = subject.ahead.take(contract.id, mode, needs_quiet=contract.needs_quiet)
        if taken is not None:
            return taken
    result = _attempt(contract, subject, mode, profile, seed, stories)
    if again and result.outcome == "error" and (result.reason or "").startswith(_SERVER):
        how = subject.recover_server()
        if how is not None:
            subject.notes.append(f"{how}{result.label} ran again, after {result.reason}")
            result = _attempt(contract, subject, mode, profile, seed, stories)
    ran = None
    if subject.ahead is not None and not _is_apart(contract, subject):
        ran = subject.ahead.failure_of(contract.id, mode)
    if result.outcome != "passed" or ran is None:
        return result
    if contract.racy and ran.finding is not None and not ran.finding.cause:
        return ran  # a race need not come again; an exception may be a lack of connections
    subject.notes.append(
        f"{ran.label} failed while other contracts ran, and passed when it ran alone: {ran.reason}"
    )
    return result


def _is_apart(contract: Contract, subject: Subject) -> bool:
    """Return whether the contract always runs in a fresh process."""
    return contract.company == "apart" and subject.apart


def _attempt(
    contract: Contract,
    subject: Subject,
    mode: Mode,
    profile: Profile,
    seed: int,
    stories: list[Sequence[Step]] | None,
) -> ContractResult:
    """Run the examples, in a fresh process if the contract can harm this one."""
    if _is_apart(contract, subject):
        return run_in_own_process(contract, subject, mode, profile, seed).result
    examples = Examples(contract, subject, mode, profile, stories)
    return _searched(examples, seed, contract.blank(mode, "passed"))


def _searched(examples: Examples, seed: int, blank: ContractResult) -> ContractResult:
    """Run the examples, shorten the first failure, and return the result."""
    started = time.monotonic()
    notes: list[str] = []
    decided: Exception | None = None
    try:
        examples.search(seed)
    except ConformanceFailure:
        pass  # `examples` has kept its finding
    except TimeIsUp:
        notes.append("these steps may not be the shortest: the time to shorten them was up")
    except Decided as decision:
        decided = decision.cause
    except Flaky:
        notes.append(NOT_EVERY_TIME)
    if (found := examples.finding()) is not None:
        gc.collect()  # nothing of a failed story may hold a lock or a connection
        contract = examples.contract
        if contract.company != "apart" and not contract.disturbs_a_server:
            examples.found = with_plain_round_trip(
                found, examples.messages, examples.subject, examples.mode
            )
    return _with_outcome(blank, examples, started, decided, notes)


def screen(
    contract: Contract, subject: Subject, mode: Mode, profile: Profile, seed: int
) -> ContractResult:
    """Run the examples of `run` next to other contracts, up to the first failure.

    Args:
        contract: The contract.
        subject: A subject that no other thread uses.
        mode: One of the contract's modes.
        profile: The effort of the run.
        seed: The seed of the examples.
    """
    started = time.monotonic()
    blank = contract.blank(mode, "passed")
    reason = why_not_applicable(contract, subject, mode)
    if reason is not None:
        return replace(blank, outcome="not_applicable", reason=reason)
    profile = replace(profile, shrink_seconds=0.0)
    if contract.can_be_separate and subject.apart:
        with subject.quiet.separate_process():
            return run_in_own_process(contract, subject, mode, profile, seed).result
    examples = Examples(contract, subject, mode, profile)
    decided: Exception | None = None
    try:
        examples.screen(seed)
    except (ConformanceFailure, TimeIsUp):
        pass  # `examples` has kept its finding
    except Decided as decision:
        decided = decision.cause
    return _with_outcome(blank, examples, started, decided, [])


def _with_outcome(
    blank: ContractResult,
    examples: Examples,
    started: float,
    decided: Exception | None,
    notes: list[str],
) -> ContractResult:
    duration = round(time.monotonic() - started, 4)
    result = replace(blank, examples=examples.number, cut=examples.cut, duration_s=duration)
    if examples.found is not None:
        if examples.contract.racy:
            notes.append("these steps may not be the shortest: the suite does not shorten races")
        finding = replace(examples.found, notes=(*examples.found.notes, *notes))
        return replace(result, outcome="failed", reason=finding.summary, finding=finding)
    if isinstance(decided, NotApplicable):
        return replace(result, outcome="not_applicable", reason=str(decided))
    if decided is not None:
        origin = "" if isinstance(decided, Shortage | Unrepeated | HookFailure) else _SERVER
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


def each(contracts: Iterable[Contract]) -> Iterable[tuple[Contract, Mode]]:
    """Yield every contract with each of its modes, in order."""
    for contract in contracts:
        for mode in contract.modes:
            yield contract, mode
