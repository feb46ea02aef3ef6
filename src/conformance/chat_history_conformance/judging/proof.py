"""The proof of findings: each script runs again in a fresh process before it is printed.

A script that ends without an error belongs to a story that needs a state from before, such as
earlier sessions. The contract then runs again in a fresh process. The finding gets the earlier
conversations that it needs, or becomes an error of the run.

A script that a person has to help, or that ends the server, proves nothing here. The contract runs
again instead of it, because the contract can call the functions of the declaration.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from chat_history_conformance.diagnosis.script import counting, repeated
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.engine import NOT_EVERY_TIME
from chat_history_conformance.execution.own_process import (
    Answer,
    environment,
    run_in_own_process,
)
from chat_history_conformance.execution.profiles import Profile
from chat_history_conformance.execution.scripts import Ran, run_script
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.causes import MOST, causes
from chat_history_conformance.results.model import ContractResult, Finding

__all__ = ["UNTRIED", "prove"]

UNTRIED = "the script is left out: the time to run it again was up; run this contract alone for it"

_SCRIPT_LIMITS = 4.0
"""The multiple of the time limit of a call that a script may take."""

_PATIENCE = 5.0
"""The multiple of the time for scripts after which the examples of the first causes are no longer
tried. They are printed in full."""

_EXCEPTION = re.compile(r"(?:\w+\.)*(\w+(?:Error|Exception))\b")
"""The last line of the traceback of an exception."""

_MISTAKES = ("AttributeError", "NameError", "TypeError", "UnboundLocalError")
"""Exceptions of a script that uses something in a wrong way."""

_NEED_THE_RUN = frozenset({"faults", "cluster", "interference", "server"})
"""Capabilities of contracts whose scripts need the server of the run."""

_NOT_ALONE = ("= ...  #", "ask_for(", "please(", "stop_server(")
"""Parts of scripts that are not run: they need a person, or leave the server ended."""

_DISTURBING = (*_NOT_ALONE, "refuse_writes(")
"""Parts of scripts that disturb other scripts that run at the same time."""

_ATTEMPTS = ((0.005, 20), (0.02, 5), (float("inf"), 2))
"""The stories that a script calls in one process, to see whether each fails: their number up to a
mean time of an operation, in seconds."""

_REPEATS = "the same steps do not fail every time, so the script repeats them"

_FAILED_AGAIN = "the script could not be run here, but the contract failed again in a fresh process"


@dataclass(frozen=True)
class _Proof:
    """The means of the proof."""

    subject: Subject
    profile: Profile
    seed: int
    deadline: float
    environment: Mapping[str, str]

    def shows(self, finding: Finding, *, racy: bool) -> str:
        """Return how the script of a finding ends; see `scripts.Ran`.

        A script that ends with another exception than the one of the finding shows nothing.
        """
        if _has_any(finding, _NOT_ALONE):
            return "unknown"
        return self._judged(finding, self._ran(finding.reproducer), racy=racy)

    def attempts(self, finding: Finding) -> tuple[str, Sequence[bool]]:
        """Return how the script of a finding ends, and whether each of some attempts failed.

        There are none if the script cannot call its story again.
        """
        mean = self.subject.pace.mean_seconds
        number = next(number for most, number in _ATTEMPTS if mean <= most)
        if not self.can_repeat(finding):
            return self.shows(finding, racy=False), ()
        ran = self._ran(counting(finding.reproducer, number))
        failed = [one == "1" for one in ran.output]
        # A crash, or a call that hung, ends the process.
        if len(failed) != number or not set(ran.output) <= {"0", "1"}:
            return self.shows(finding, racy=False), ()
        return self._judged(finding, ran, racy=False), failed

    @staticmethod
    def can_repeat(finding: Finding) -> bool:
        """Return whether the script of a finding can call its story several times."""
        return not _has_any(finding, _DISTURBING) and bool(counting(finding.reproducer, 1))

    def _ran(self, text: str) -> Ran:
        return run_script(text, self.environment, _SCRIPT_LIMITS * self.profile.limit)

    @staticmethod
    def _judged(finding: Finding, ran: Ran, *, racy: bool) -> str:
        text = ran.text.removeprefix("RuntimeError: in the second process: ")
        match = _EXCEPTION.match(text) if ran.state == "shown" else None
        if match is None or match[1] in f"{finding.cause} {finding.summary}":
            return ran.state
        # Two callers at once can fail in several ways, but not by a mistake in the script.
        return ran.state if racy and match[1] not in _MISTAKES else "nothing"


def prove(
    results: Sequence[ContractResult],
    contracts: Mapping[str, Contract],
    subject: Subject,
    profile: Profile,
    seed: int,
) -> list[ContractResult]:
    """Return the results, changed by what their scripts show in fresh processes.

    The simplest story of each cause comes first, because it is printed.

    Args:
        results: The results on one backend.
        contracts: The contracts by id.
        subject: The backend.
        profile: The effort of the run, which limits the time.
        seed: The seed of the run.
    """
    failed = [result for result in results if _can_be_proven(result, contracts, subject)]
    if not failed:
        return list(results)
    shown = [cause.example.label for cause in causes(failed)]
    failed.sort(key=lambda result: result.label not in shown)
    now = time.monotonic()
    proof = _Proof(subject, profile, seed, now + profile.proof_seconds, environment())
    patient = replace(proof, deadline=now + _PATIENCE * profile.proof_seconds)
    disturbing = [one for one in failed if one.finding and _has_any(one.finding, _DISTURBING)]
    others = [one for one in failed if one not in disturbing]

    def tried(one: ContractResult) -> ContractResult:
        means = patient if one.label in shown[:MOST] else proof
        return _prove(one, contracts[one.id], means)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        proven = list(pool.map(tried, others))
    proven += map(tried, disturbing)
    by_label = {result.label: result for result in proven}
    return [by_label.get(result.label, result) for result in results]


def _can_be_proven(
    result: ContractResult, contracts: Mapping[str, Contract], subject: Subject
) -> bool:
    if result.outcome != "failed" or result.finding is None or result.id not in contracts:
        return False
    needed = set(contracts[result.id].needs) & _NEED_THE_RUN
    return bool(result.finding.reproducer) and not needed and subject.can_be_imported


def _has_any(finding: Finding, parts: Sequence[str]) -> bool:
    return any(part in finding.reproducer for part in parts)


def _prove(result: ContractResult, contract: Contract, proof: _Proof) -> ContractResult:
    finding = result.finding
    assert finding is not None
    if time.monotonic() > proof.deadline:
        return _with(result, _noted(replace(finding, reproducer=""), UNTRIED))
    state, shown = _shown(finding, contract, proof)
    if state not in ("nothing", "unknown"):
        return _with(result, shown)
    # Without the search for a shorter story: its attempts would leave a state behind too.
    answer = run_in_own_process(
        contract, proof.subject, result.mode, proof.profile, proof.seed, with_stories=True
    )
    if state == "unknown" and answer.result.outcome != "passed":
        again = answer.result.outcome == "failed"
        return _with(result, _noted(finding, _FAILED_AGAIN)) if again else result
    for other in _stories(answer):
        if time.monotonic() < proof.deadline:
            state, shown = _shown(other, contract, proof)
            # One that does not fail every time may have failed by chance with these before it.
            if state == "shown" and (
                shown is not other or proof.shows(other, racy=contract.racy) == state
            ):
                return _with(result, shown)
    if answer.result.finding is not None and time.monotonic() > proof.deadline:
        return _with(result, _noted(replace(answer.result.finding, reproducer=""), UNTRIED))
    if proof.can_repeat(finding) and (repeating := _repeated(finding, proof)):
        return _with(result, repeating)
    if contract.racy:
        text = "the script did not show this race, so it is left out: run the contract again"
        return _with(result, _noted(replace(finding, reproducer=""), text))
    if answer.result.finding is not None:
        text = "no script shows this, but the contract fails in a fresh process too"
        return _with(result, _noted(replace(answer.result.finding, reproducer=""), text))
    return replace(
        result,
        outcome="error",
        finding=None,
        reason=f"this failed once, and not again in a fresh process, neither the script nor the "
        f"contract: {finding.summary}",
    )


def _shown(finding: Finding, contract: Contract, proof: _Proof) -> tuple[str, Finding]:
    """Return how the script of a finding ends, and the finding with a script that shows it.

    If the story does not fail every time, the script repeats it.
    """
    if contract.racy:  # its script repeats the story anyway
        return proof.shows(finding, racy=True), finding
    state, failed = proof.attempts(finding)
    if state != "shown" or all(failed):
        return state, finding
    if not failed[0] and all(failed[1:]):
        return "nothing", finding  # it needs a conversation before, which its script does not have
    if not any(failed[1:]) and all(proof.shows(finding, racy=False) == "shown" for _ in range(2)):
        return state, finding  # the first story of a process fails each time
    return state, _repeated(finding, proof) or finding


def _repeated(finding: Finding, proof: _Proof) -> Finding | None:
    """Return the finding with a script that repeats the story until it fails, if it ever does."""
    other = replace(finding, reproducer=repeated(finding.reproducer))
    shows = proof.shows(other, racy=False) == "shown"
    others = tuple(note for note in finding.notes if note != NOT_EVERY_TIME)
    return _noted(replace(other, notes=others), _REPEATS) if shows else None


def _stories(answer: Answer) -> list[Finding]:
    found = answer.result.finding
    return [*([found] if found and found.reproducer else []), *answer.stories]


def _noted(finding: Finding, note: str) -> Finding:
    return replace(finding, notes=(*finding.notes, note))


def _with(result: ContractResult, finding: Finding) -> ContractResult:
    return replace(result, finding=finding, reason=finding.summary)
