"""Contracts of a slow history that run at the same time, and the speed of a history."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.ahead import RunningAhead, can_run_ahead
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.pace import Pace
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult, Mode

QUICK = replace(PROFILES["quick"], shrink_seconds=0.5)
Start = Callable[[type], Subject]
NAMES = ("ordering.within_batch", "ordering.across_calls", "clear.nothing_returns")


class Slow(MemoryChatMessageHistory):
    """Takes 20 ms for each add, and counts the adds at the same time."""

    running: ClassVar[list[int]] = []
    most: ClassVar[list[int]] = [0]

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        self.running.append(1)
        self.most[0] = max(self.most[0], len(self.running))
        time.sleep(0.02)
        self.running.pop()
        super().add_messages(messages)


class DropsSystem(Slow):
    """Loses system messages."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        super().add_messages([message for message in messages if message.type != "system"])


class FailsInCompany(Slow):
    """Raises while another thread adds."""

    busy = threading.Lock()

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        if not self.busy.acquire(blocking=False):
            raise RuntimeError("busy")
        try:
            super().add_messages(messages)
        finally:
            self.busy.release()


def pairs(
    modes: tuple[Mode, ...] = ("sync", "async"), *, racy: bool = False
) -> list[tuple[Contract, Mode]]:
    contracts = [replace(catalogue.load()[name], racy=racy) for name in NAMES]
    return [(contract, mode) for contract in contracts for mode in modes]


def subject_of(factory: type, **declared: object) -> Subject:
    lacks = {"durable": "in memory"}
    return Subject(Backend("mine", factory, **{"lacks": lacks, **declared}), limit=15.0, owned=True)  # type: ignore[arg-type]


@pytest.fixture
def ahead() -> Iterator[Start]:
    """Return a function that starts contracts ahead, and stop them at the end."""
    made: list[Subject] = []

    def start(factory: type) -> Subject:
        subject = subject_of(factory)
        made.append(subject)

        def screen(contract: Contract, one: Subject, mode: Mode) -> ContractResult:
            return engine.screen(contract, one, mode, QUICK, 0)

        subject.ahead = RunningAhead(subject, screen)
        subject.ahead.offer(pairs())
        return subject

    yield start
    for subject in made:
        subject.stop()


def judged(subject: Subject, *, racy: bool = False) -> list[ContractResult]:
    return [engine.run(contract, subject, mode, QUICK, 0) for contract, mode in pairs(racy=racy)]


def plain(result: ContractResult) -> ContractResult:
    return replace(result, duration_s=0.0)


def test_contracts_that_run_ahead_try_the_same_examples(ahead: Start) -> None:
    alone = subject_of(Slow)
    Slow.most[0] = 0
    expected = judged(alone)
    alone.stop()
    assert Slow.most == [1]
    assert list(map(plain, judged(ahead(Slow)))) == list(map(plain, expected))
    assert Slow.most[0] > 1


def test_a_failure_ahead_is_judged_again_alone_and_shortened(ahead: Start) -> None:
    results = judged(ahead(DropsSystem))
    assert [result.outcome for result in results] == ["failed"] * len(results)
    first = results[0].finding
    assert first is not None
    assert first.summary == "lost 1 of 1 message"


@pytest.mark.parametrize("racy", [False, True])
def test_what_raises_only_next_to_other_contracts_is_a_note(ahead: Start, racy: bool) -> None:
    subject = ahead(FailsInCompany)
    assert {result.outcome for result in judged(subject, racy=racy)} == {"passed"}
    assert any("failed while other contracts ran, and passed" in note for note in subject.notes)


def test_contracts_that_need_quiet_do_not_run_ahead(ahead: Start) -> None:
    subject = ahead(Slow)
    quiet = catalogue.load()["isolation.empty_id"]
    assert quiet.company == "alone"
    assert isinstance(subject.ahead, RunningAhead)
    subject.ahead.offer([(quiet, "sync")])
    assert subject.ahead.take(quiet.id, "sync", needs_quiet=True) is None
    assert subject.ahead.left == 0, "everything else has ended"


def test_long_contracts_begin_first() -> None:
    begun: list[str] = []
    subject = subject_of(Slow)

    def screen(contract: Contract, one: Subject, mode: Mode) -> ContractResult:
        begun.append(contract.id)
        return contract.blank(mode, "passed")

    running = RunningAhead(subject, screen)
    short, long = catalogue.find("ordering.within_batch"), catalogue.find("model.agrees_with_list")
    running.offer([(short, "async"), (long, "sync"), (short, "sync"), (long, "async")], lanes=1)
    assert running.take(short.id, "sync", needs_quiet=False) is not None
    running.stop()
    subject.stop()
    assert begun == [long.id, long.id, short.id, short.id]


def test_contracts_that_mostly_wait_run_at_the_same_time() -> None:
    waiting = [one for one in catalogue.load().values() if one.mostly_waits]
    assert {one.family for one in waiting} == {"ttl", "parity"}
    assert not any(one.needs_quiet for one in waiting if one.family == "ttl")
    subject = Subject(registry.resolve("memory"), limit=15.0)
    changes: list[tuple[str, Mode, bool]] = []
    subject.ahead = ahead = RunningAhead(
        subject,
        lambda contract, one, mode: engine.screen(contract, one, mode, QUICK, 0),
        on_change=lambda *change: changes.append(change),
    )
    expiring = catalogue.load()["ttl.expires"]
    others = [catalogue.load()[name] for name in ("ttl.reads_agree", "ttl.usable_after_expiry")]
    ahead.offer([(contract, "sync") for contract in (expiring, *others)], 2)
    assert engine.run(expiring, subject, "sync", QUICK, 0).outcome == "passed"
    assert ahead.take(others[1].id, "sync", needs_quiet=False) is not None
    subject.stop()
    assert [begins for _, _, begins in changes[:2]] == [True, True], "two began, and none had ended"
    assert len(changes) == 6


def test_contracts_that_need_a_process_begin_first_where_there_is_one() -> None:
    begun: list[tuple[str, Mode]] = []
    subject = Subject(registry.resolve("memory"), limit=15.0, apart=True)

    def screen(contract: Contract, one: Subject, mode: Mode) -> ContractResult:
        begun.append((contract.id, mode))
        return contract.blank(mode, "passed")

    running = RunningAhead(subject, screen)
    short = catalogue.find("ordering.within_batch")
    running.offer([(short, "async"), (short, "process"), (apart(), "async")], lanes=1)
    assert running.take(short.id, "async", needs_quiet=False) is not None
    running.stop()
    subject.stop()
    assert begun == [(short.id, "process"), (apart().id, "async"), (short.id, "async")]


def apart() -> Contract:
    return next(one for one in catalogue.load().values() if one.company == "apart")


@pytest.fixture
def held() -> Iterator[tuple[RunningAhead, threading.Event]]:
    """Return contracts in separate processes, one at a time, which end after an event."""
    subject = Subject(registry.resolve("memory"), limit=15.0, apart=True)
    may_end = threading.Event()

    def screen(contract: Contract, one: Subject, mode: Mode) -> ContractResult:
        assert may_end.wait(30.0)
        return contract.blank(mode, "passed")

    running = RunningAhead(subject, screen)
    running.offer([(apart(), "sync"), (apart(), "async")], 4, 1)
    yield running, may_end
    may_end.set()
    running.stop()
    subject.stop()


def test_a_contract_does_not_wait_for_separate_processes(
    held: tuple[RunningAhead, threading.Event],
) -> None:
    running, _ = held
    assert running.take("ordering.within_batch", "sync", needs_quiet=False) is None
    assert running.left == 2


def test_a_contract_that_needs_quiet_waits_for_separate_processes(
    held: tuple[RunningAhead, threading.Event],
) -> None:
    running, may_end = held
    threading.Timer(0.3, may_end.set).start()
    assert running.take("isolation.empty_id", "sync", needs_quiet=True) is None
    assert may_end.is_set()
    assert running.left == 0


def test_only_so_many_contracts_use_a_process_at_the_same_time(
    held: tuple[RunningAhead, threading.Event],
) -> None:
    running, _ = held
    until = time.monotonic() + 10.0
    while not running._running:
        assert time.monotonic() < until
    time.sleep(0.1)  # a second thread would take the other one
    assert len(running.lanes) == 4
    assert len(running._running) == len(running._waiting) == 1


SEPARATE = ("parity.cancelled_error", "ordering.clock_stands_still", "durability.resources_freed")


@pytest.mark.parametrize("name", SEPARATE)
def test_a_contract_runs_ahead_in_a_separate_process(name: str) -> None:
    contract = catalogue.find(name)
    subject = Subject(registry.resolve("memory"), limit=15.0, apart=True)
    changes: list[object] = []
    ahead = RunningAhead(
        subject,
        lambda one, of, mode: engine.screen(one, of, mode, QUICK, 0),
        on_change=lambda *change: changes.append(change),
    )
    ahead.offer([(contract, "async")])
    result = ahead.take(contract.id, "async", needs_quiet=False)
    subject.stop()
    ahead.stop()
    assert result is not None
    assert result.outcome == "passed"
    assert changes == [], "it does not run in this process"


def test_a_contract_that_is_apart_waits_for_its_turn_if_it_has_no_process() -> None:
    subject = subject_of(Slow)
    ahead = RunningAhead(subject, lambda contract, one, mode: contract.blank(mode, "passed"))
    ahead.offer([(apart(), "async")])
    assert ahead.take(apart().id, "async", needs_quiet=False) is None
    ahead.stop()
    subject.stop()


def test_the_end_of_a_run_ends_the_process_of_a_contract() -> None:
    subject = Subject(registry.resolve("memory"), limit=15.0, apart=True)
    ahead = RunningAhead(
        subject, lambda contract, one, mode: engine.screen(contract, one, mode, QUICK, 0)
    )
    ahead.offer([(apart(), "async")])
    until = time.monotonic() + 30.0
    while not (running := [one.own_process for one in ahead.lanes if one.own_process]):
        assert time.monotonic() < until, "no process began"
    running[0].send_signal(signal.SIGSTOP)  # so that it does not end by itself
    ahead.stop()
    assert running[0].wait(30.0) == -signal.SIGKILL
    subject.stop()


def test_a_process_that_begins_after_the_end_of_a_run_is_ended() -> None:
    subject = Subject(registry.resolve("memory"), limit=15.0, apart=True)
    subject.stop()
    result = engine.run(apart(), subject, "async", QUICK, 0)
    assert result.outcome == "error"
    assert result.reason is not None
    assert "SIGKILL" in result.reason


def test_a_history_that_lacks_threads_does_not_run_ahead_unless_it_is_async_only() -> None:
    lacks = {"threads": "one thread", "durable": "in memory"}
    assert not can_run_ahead(subject_of(Slow, lacks=lacks))
    assert can_run_ahead(subject_of(Slow, lacks={**lacks, "sync": "async only"}))


def test_the_pace_is_the_mean_time_of_an_operation() -> None:
    pace = Pace()
    assert (pace.number, pace.mean_seconds) == (0, 0.0)
    for seconds in (0.1, 0.3, 50.0):
        pace.record(seconds)
    assert pace.number == 3
    assert pace.mean_seconds == pytest.approx((0.1 + 0.3 + 1.0) / 3)
