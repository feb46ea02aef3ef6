"""The contracts that may run at the same time, and those that must be alone or apart."""

from __future__ import annotations

import dis
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

import pytest

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine, resource_steps
from chat_history_conformance.execution.ahead import RunningAhead
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.quiet import Quiet
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult, Mode

QUICK = replace(PROFILES["quick"], shrink_seconds=0.5)
CONTRACTS = list(catalogue.load().values())

ALONE = {
    "another_directory",
    "away",
    "blocked_seconds",
    "clock",
    "listdir",
    "open_files",
    "open_threads",
    "unreachable",
}
"""Names with which a contract uses what belongs to the whole process."""
APART = {"cancelled_at", "another_loop", "under_a_loop"}
"""Names with which a contract can leave a loop, a pool or a lock in pieces."""
COUNTING = resource_steps.__name__
SHORT_MOMENTS = {"model.agrees_with_list"}
"""Contracts that set the clock back for one call, while others wait."""


def names_in(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if isinstance(instruction.argval, str):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def used_by(function: FunctionType) -> set[str]:
    """Return the names that a function uses, with the functions of its module that it calls.

    The functions that count threads and files for several modules belong to it, too.
    """
    module = sys.modules[function.__module__]
    used: set[str] = set()
    waiting = [function.__code__]
    while waiting:
        for name in set(names_in(waiting.pop())) - used:
            used.add(name)
            own = getattr(module, name, None)
            if inspect.isfunction(own) and own.__module__ in (module.__name__, COUNTING):
                waiting.append(own.__code__)
            elif inspect.isclass(own) and own.__module__ == module.__name__:
                waiting += [one.__code__ for one in vars(own).values() if inspect.isfunction(one)]
    return used


def uses(contract: Contract) -> set[str]:
    assert isinstance(contract.body, FunctionType)
    return used_by(contract.body)


def test_contracts_about_the_process_run_alone() -> None:
    in_company = {
        contract.id: used
        for contract in CONTRACTS
        if not contract.needs_quiet and (used := uses(contract) & ALONE)
    }
    assert in_company == {name: {"clock"} for name in SHORT_MOMENTS}


def test_contracts_that_can_break_loops_and_pools_run_apart() -> None:
    together = {
        contract.id: used
        for contract in CONTRACTS
        if contract.company != "apart" and (used := uses(contract) & APART)
    }
    assert together == {}


def test_contracts_with_a_separate_process_leave_the_store_to_other_processes() -> None:
    separate = [contract for contract in CONTRACTS if contract.can_be_separate]
    assert {contract.company for contract in separate} == {"alone_in_process", "apart"}
    assert [contract.id for contract in separate if "refusing" in uses(contract)] == []
    assert any("refusing" in uses(contract) for contract in CONTRACTS)


def test_the_rules_find_the_names_that_they_look_for() -> None:
    everything = set[str]().union(*(uses(contract) for contract in CONTRACTS))
    assert everything >= ALONE | APART


def test_session_ids_of_contracts_in_company_belong_to_one_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed: set[str] = set()
    real = Session._new_handle

    def new_handle(self: Session, session: str, *rest: Any, **named: Any) -> Any:
        if self.id_of(session) == session:
            fixed.add(self.label.partition("[")[0])
        return real(self, session, *rest, **named)

    monkeypatch.setattr(Session, "_new_handle", new_handle)
    subject = Subject(Backend("mine", MemoryChatMessageHistory), limit=15.0, owned=True)
    try:
        for contract in CONTRACTS:
            if contract.company != "apart" and "sync" in contract.modes:
                engine.run(contract, subject, "sync", replace(QUICK, examples=3), 0)
    finally:
        subject.stop()
    assert fixed == {"isolation.empty_id"}
    assert catalogue.load()["isolation.empty_id"].company == "alone"


# -- a disturbed clock or store ------------------------------------------------------------------

REFUSING = ("errors.write_failure_raises", "errors.refused_batch_stores_nothing")
OTHERS = ("ordering.across_calls", "reads.own_writes", "concurrency.threads_one_handle")


class Full(MemoryChatMessageHistory):
    """Takes 5 ms for each add. While the store is full, an add of any session raises."""

    refuses = threading.Event()

    def add_messages(self, messages: Any) -> None:
        time.sleep(0.005)
        if self.refuses.is_set():
            raise OSError("the store is full")
        super().add_messages(messages)


@contextmanager
def refuse(session_id: str) -> Iterator[None]:
    Full.refuses.set()
    try:
        yield
    finally:
        Full.refuses.clear()


def test_a_store_that_refuses_writes_disturbs_no_contract_that_runs_at_the_same_time() -> None:
    lacks = {"durable": "in memory"}
    subject = Subject(Backend("mine", Full, lacks=lacks, refuse=refuse), limit=15.0, owned=True)
    failed: list[str] = []

    def screen(contract: Contract, one: Subject, mode: Mode) -> ContractResult:
        result = engine.screen(contract, one, mode, QUICK, 0)
        if result.outcome != "passed":
            failed.append(f"{result.label}: {result.reason}")
        return result

    known = catalogue.load()
    pairs: list[tuple[Contract, Mode]] = [
        (known[name], "sync") for name in (*OTHERS, *REFUSING, *OTHERS[:2])
    ]
    pairs += [(known[name], "async") for name in (*OTHERS[:2], *REFUSING)]
    subject.ahead = RunningAhead(subject, screen)
    try:
        subject.ahead.offer(pairs)
        results = [engine.run(contract, subject, mode, QUICK, 0) for contract, mode in pairs]
    finally:
        subject.stop()
    assert not failed
    assert {result.outcome for result in results} == {"passed"}


def in_thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_an_example_that_disturbs_waits_for_calls_of_others_and_keeps_them_waiting() -> None:
    quiet, one, other = Quiet(), object(), object()
    seen: list[str] = []

    def call() -> None:
        with quiet.call(other):
            seen.append("other")

    def disturb() -> None:
        with quiet.disturbing(one), quiet.call(one):
            seen.append("one")
            waiting.append(in_thread(call))
            time.sleep(0.1)
            seen.append("one again")

    waiting: list[threading.Thread] = []
    with quiet.call(other):
        disturbing = in_thread(disturb)
        time.sleep(0.1)
        assert seen == []
    disturbing.join(10)
    waiting[0].join(10)
    assert seen == ["one", "one again", "other"]


def test_an_example_that_disturbs_the_store_waits_for_processes_and_lets_none_start() -> None:
    quiet, one, other = Quiet(), object(), object()
    seen: list[str] = []

    def start_process() -> None:
        with quiet.separate_process():
            seen.append("process")

    def disturb() -> None:
        with quiet.disturbing_store(one), quiet.call(one):
            seen.append("one")
            time.sleep(0.1)
            seen.append("one again")

    with quiet.separate_process():
        disturbing = in_thread(disturb)
        time.sleep(0.1)
        with quiet.call(other):
            seen.append("other")
        further = in_thread(start_process)
        time.sleep(0.1)
        assert seen == ["other"]
    disturbing.join(10)
    further.join(10)
    assert seen == ["other", "one", "one again", "process"]


def test_an_example_that_disturbs_its_process_does_not_wait_for_other_processes() -> None:
    quiet = Quiet()
    with quiet.separate_process(), quiet.disturbing(object()), quiet.separate_process():
        pass
