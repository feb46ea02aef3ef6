"""The proof of findings in fresh processes, and contracts that run in a separate process."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.scripts import Ran, run_script
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.judging import proof
from chat_history_conformance.judging.proof import UNTRIED, prove
from chat_history_conformance.results.model import ContractResult

Make = Callable[[Any], Subject]
QUICK = replace(PROFILES["quick"], shrink_seconds=0.5)
OWNERS: dict[str, str] = {}
PROCESSES: list[int] = []


class UniqueTexts(MemoryChatMessageHistory):
    """Stores a message only if no other session has one with its text."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        super().add_messages(
            [
                message
                for message in messages
                if OWNERS.setdefault(str(message.content), self.session_id) == self.session_id
            ]
        )


class DropsSystem(MemoryChatMessageHistory):
    """Loses system messages."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        super().add_messages([message for message in messages if message.type != "system"])


class TossesACoin(MemoryChatMessageHistory):
    """Loses system messages in about half of the sessions."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        drops = sum(self.session_id.encode()) % 2
        super().add_messages([one for one in messages if one.type != "system" or not drops])


class LosesTheFirst(MemoryChatMessageHistory):
    """Loses the first batch of a process."""

    added: ClassVar[list[int]] = []

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        self.added.append(1)
        if len(self.added) > 1:
            super().add_messages(messages)


class NotesProcesses(MemoryChatMessageHistory):
    """Notes the processes in which it was opened."""

    def __init__(self, session_id: str) -> None:
        PROCESSES.append(os.getpid())
        super().__init__(session_id)


class Refusing(MemoryChatMessageHistory):
    """Ignores messages while its store refuses them, if it is broken."""

    refuses: ClassVar[list[str]] = []
    broken = False

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        if not self.refuses:
            super().add_messages(messages)
        elif not self.broken:
            raise OSError("the store is full")


class Ignoring(Refusing):
    """Ignores messages while its store refuses them."""

    broken = True


def without_a_place(factory: type[Refusing], name: str) -> Backend:
    """Return a backend whose `refuse=` no script can import."""

    @contextlib.contextmanager
    def refuse(session_id: str) -> Iterator[None]:
        Refusing.refuses.append(session_id)
        yield
        Refusing.refuses.clear()

    lacks = {"durable": "in memory"}
    return Backend(name, factory, origin=Origin(__name__, name), lacks=lacks, refuse=refuse)


IGNORING = without_a_place(Ignoring, "IGNORING")
REFUSING = without_a_place(Refusing, "REFUSING")


@pytest.fixture
def subject() -> Iterator[Make]:
    """Return a function that makes subjects, and stop them at the end."""
    made: list[Subject] = []

    def make(factory: Any) -> Subject:
        backend = factory
        if not isinstance(backend, Backend):
            origin = Origin(__name__, factory.__name__)
            backend = Backend("mine", factory, origin=origin, lacks={"durable": "in memory"})
        made.append(Subject(backend, limit=15.0, owned=True, apart=True))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def judged(subject: Subject, name: str, mode: str = "sync") -> ContractResult:
    return engine.run(catalogue.load()[name], subject, mode, QUICK, 0)  # type: ignore[arg-type]


def proven(subject: Subject, result: ContractResult, seconds: float = 60.0) -> ContractResult:
    profile = replace(QUICK, proof_seconds=seconds)
    (one,) = prove([result], catalogue.load(), subject, profile, 0)
    return one


def state_of(script: str) -> str:
    """Run a script in a fresh process, and return how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return run_script(script, environment, 60.0).state


def test_a_finding_whose_script_shows_it_stays_as_it_is(subject: Make) -> None:
    mine = subject(DropsSystem)
    result = judged(mine, "ordering.within_batch")
    assert result.outcome == "failed"
    assert proven(mine, result) == result


def test_a_script_gets_the_earlier_conversations_that_it_needs(subject: Make) -> None:
    mine = subject(UniqueTexts)
    result = judged(mine, "ordering.across_calls")
    assert result.finding is not None
    better = proven(mine, result)
    assert better.finding is not None
    assert any("earlier conversation" in note for note in better.finding.notes)
    assert better.finding.steps[0].startswith("earlier, in other sessions: a = open(")
    assert state_of(better.finding.reproducer) == "shown"


def test_a_script_repeats_steps_that_do_not_fail_every_time(subject: Make) -> None:
    mine = subject(TossesACoin)
    result = judged(mine, "ordering.within_batch")
    assert result.finding is not None
    better = proven(mine, result)
    assert better.finding is not None
    assert (
        "for _ in range(200):  # the defect does not show every time" in better.finding.reproducer
    )
    assert "the same steps do not fail every time" in better.finding.notes[-1]
    for _ in range(3):
        assert state_of(better.finding.reproducer) == "shown"


def test_a_script_of_what_fails_once_in_each_process_does_not_repeat_it(subject: Make) -> None:
    mine = subject(LosesTheFirst)
    result = judged(mine, "ordering.within_batch")
    assert result.finding is not None
    assert proven(mine, result) == result


@pytest.mark.parametrize("script", ["print('nothing is wrong')", "a_mistake_in_the_script()"])
def test_what_no_fresh_process_shows_is_an_error_of_the_run(subject: Make, script: str) -> None:
    result = judged(subject(DropsSystem), "ordering.within_batch")
    assert result.finding is not None
    polluted = replace(result, finding=replace(result.finding, reproducer=script))
    one = proven(subject(MemoryChatMessageHistory), polluted)
    assert (one.outcome, one.finding) == ("error", None)
    assert one.reason is not None
    assert one.reason.startswith("this failed once, and not again in a fresh process")


def test_a_script_that_asks_a_person_is_not_shown() -> None:
    for question in ("input()", "input('Please stop the server, then press Enter: ')"):
        assert run_script(question, os.environ, 60.0).state == "unknown"


@pytest.mark.parametrize("script", ["input()", ""])
def test_a_script_that_cannot_be_carried_out_is_proven_by_its_contract(
    subject: Make, script: str
) -> None:
    mine = subject(IGNORING)
    result = judged(mine, "errors.write_failure_raises")
    assert result.finding is not None
    assert "refuse_writes = ...  #" in result.finding.reproducer
    finding = replace(result.finding, reproducer=script or result.finding.reproducer)
    better = proven(mine, replace(result, finding=finding))
    assert better.finding is not None
    assert better.finding.reproducer == finding.reproducer
    assert "failed again in a fresh process" in better.finding.notes[-1]


def test_a_script_that_cannot_be_carried_out_proves_nothing(
    subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = subject(REFUSING)
    monkeypatch.setattr(Refusing, "broken", True)  # in this process only
    result = judged(mine, "errors.write_failure_raises")
    assert result.outcome == "failed"
    one = proven(mine, result)
    assert (one.outcome, one.finding) == ("error", None)


def test_scripts_that_disturb_the_store_run_one_after_another(
    subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[str] = []
    overlaps: list[str] = []

    def run(text: str, *_: Any) -> Ran:
        running.append(text)
        time.sleep(0.05)
        overlaps.extend(running[1:] if any("refuse_writes(" in one for one in running) else [])
        running.remove(text)
        return Ran("shown")

    monkeypatch.setattr(proof, "run_script", run)
    mine = subject(DropsSystem)
    result = judged(mine, "ordering.within_batch")
    assert result.finding is not None
    scripts = ["pass", "refuse_writes(1)", "pass # 2", "refuse_writes(2)", "pass # 3"]
    several = [
        replace(result, finding=replace(result.finding, reproducer=text)) for text in scripts
    ]
    prove(several, catalogue.load(), mine, QUICK, 0)
    assert not overlaps


def test_the_example_of_a_cause_is_tried_for_longer(
    subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> Ran:
        time.sleep(0.6)
        return Ran("shown")

    monkeypatch.setattr(proof, "run_script", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    mine = subject(DropsSystem)
    result = judged(mine, "ordering.within_batch")
    assert result.finding is not None
    summaries = ["`a` raises A: no", "`b` raises B: no", "`c` raises C: no", "`c` raises C: no"]
    ids = ["ordering.within_batch", "ordering.across_calls", "clear.empties", "clear.every_handle"]
    several = [
        replace(
            result,
            id=id,
            finding=replace(
                result.finding, kind="other", summary=text, cause=text, reproducer="pass"
            ),
        )
        for id, text in zip(ids, summaries, strict=True)
    ]
    shown = prove(several, catalogue.load(), mine, replace(QUICK, proof_seconds=1.0), 0)
    assert [bool(one.finding and one.finding.reproducer) for one in shown] == [True] * 3 + [False]


def test_a_script_that_was_not_tried_is_left_out(subject: Make) -> None:
    mine = subject(DropsSystem)
    one = proven(mine, judged(mine, "ordering.within_batch"), seconds=-1.0)
    assert one.finding is not None
    assert one.finding.notes[-1] == UNTRIED
    assert one.finding.reproducer == ""


def test_contracts_that_can_break_event_loops_run_in_a_separate_process(subject: Make) -> None:
    mine = subject(NotesProcesses)
    PROCESSES.clear()
    assert judged(mine, "parity.one_handle_over_loops", "async").outcome == "passed"
    assert not PROCESSES
    assert judged(mine, "ordering.within_batch", "async").outcome == "passed"
    assert set(PROCESSES) == {os.getpid()}
