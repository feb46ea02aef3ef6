"""Faults of a real server: their effect on a session, the outcome of errors, and their end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from langchain_core.messages import HumanMessage

from chat_history_conformance import faulty, servers
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import ServerFailure, Snapshot
from chat_history_conformance.execution import engine, fault_steps, outage
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.faulty import selftest, served
from chat_history_conformance.results.model import ContractResult
from chat_history_conformance.servers.server import Server

PROFILE = replace(engine.PROFILES["quick"], limit=served.LIMIT)
VARIABLE = servers.variable(served.SERVED)

Judge = Callable[..., ContractResult]


class Prompt(served.ServedChatMessageHistory):
    """The control, with time-outs that a test can wait for."""

    answer_seconds: ClassVar[float | None] = 0.5

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, servers.address(served.SERVED))


@pytest.fixture
def server() -> Iterator[Server]:
    with served.serving() as running:
        yield running


@pytest.fixture
def judge(server: Server) -> Iterator[Judge]:
    """Run a body as a contract on the control, or on another history."""
    subjects = []

    def run(
        body: Callable[[Session, None], None], factory: Any = Prompt, **declared: Any
    ) -> ContractResult:
        backend = Backend("tested", factory, server=served.SERVED, **declared)
        subject = Subject(backend, limit=PROFILE.limit, server=server, owned=True, faults=True)
        subjects.append(subject)
        return engine.run(contract(body), subject, "sync", PROFILE, 0)

    yield run
    for subject in subjects:
        subject.stop()


def contract(body: Any) -> Contract:
    return replace(catalogue.load()["faults.paused_server"], id="faults.tested", body=body)


def answers(server: Server) -> bool:
    try:
        Prompt("anybody").add_messages([HumanMessage("is it there?")])
    except served.ServedError:
        return False
    return True


# -- how faults end ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["pause", "kill"])
@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_the_server_runs_after_every_contract(
    fault: str, ending: type[BaseException] | None, judge: Judge, server: Server
) -> None:
    def leaves_it_broken(s: Session, _: None) -> None:
        s.open()
        getattr(s.server, fault)()
        assert not answers(server)
        if ending is not None:
            raise ending

    if ending is None:
        assert judge(leaves_it_broken).outcome == "passed"
    else:
        with pytest.raises(ending):
            judge(leaves_it_broken)
    assert answers(server)


def test_a_failure_stays_the_finding_and_the_server_runs_afterwards(
    judge: Judge, server: Server
) -> None:
    def fails(s: Session, _: None) -> None:
        s.open()
        s.server.kill()
        s.fail("lost", "lost everything")

    assert judge(fails).reason == "lost everything"
    assert answers(server)


def test_a_server_that_does_not_come_back_is_an_error_and_not_a_finding(
    judge: Judge, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> None:
        raise servers.ServerError("the port is taken")

    monkeypatch.setattr(server, "restart", refuses)
    for restarting in (True, False):

        def kills(s: Session, _: None, restarting: bool = restarting) -> None:
            s.server.kill()
            if restarting:
                s.server.restart()

        result = judge(kills)
        assert (result.outcome, result.reason) == ("error", "server: the port is taken")


def test_a_contract_runs_again_after_a_restart_if_the_server_does_not_answer(
    judge: Judge, server: Server
) -> None:
    serves = [False]

    def meets_an_error(s: Session, _: None) -> None:
        s.open()
        if not serves[0]:
            server.kill()  # not by the contract
            serves[0] = True
        s.handles[0].add([HumanMessage("a")])

    result = judge(meets_an_error)
    assert (result.outcome, result.reason) == ("passed", None)


def test_a_server_is_restarted_only_a_few_times(
    judge: Judge, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts: list[bool] = []
    subjects: list[Subject] = []
    monkeypatch.setattr(server, "restart", lambda: restarts.append(True))

    def meets_an_error(s: Session, _: None) -> None:
        subjects.append(s.subject)
        raise ServerFailure("no answer")

    for _ in range(5):
        result = judge(meets_an_error)
        assert (result.outcome, result.reason) == ("error", "server: no answer")
    assert len(restarts) == 5  # each subject is another run
    for _ in range(5):
        subjects[-1].restart_server()
    assert len(restarts) == 7
    assert "the server was restarted, and faults.tested[sync] ran again" in subjects[-1].notes[0]


# -- the outcome of errors ---------------------------------------------------------------------


def test_a_connection_error_counts_as_an_answer_only_after_a_fault(
    judge: Judge, server: Server
) -> None:
    def before(s: Session, _: None) -> None:
        server.kill()
        try:
            s.open().read()
        finally:
            server.restart()

    def during(s: Session, _: None) -> None:
        a = s.open()
        s.server.kill()
        a.read()

    def judged(s: Session, _: None) -> None:
        a = s.open()
        s.server.kill()
        assert isinstance(a.try_add([HumanMessage("m0")]), served.ServedError)
        assert a.bounded_unless_refused("messages") is None

    assert judge(before).outcome == "error"
    found = judge(during)
    assert found.outcome == "failed"
    assert "`messages` raises ServedError" in str(found.reason)
    assert judge(judged).outcome == "passed"


def test_a_declared_server_error_counts_like_a_connection_error(judge: Judge) -> None:
    class Gone(Exception):
        pass

    class Raising(Prompt):
        def clear(self) -> None:
            raise Gone

    def clears(s: Session, _: None) -> None:
        s.open().clear()

    def clears_during_a_fault(s: Session, _: None) -> None:
        a = s.open()
        s.server.pause()
        a.clear()

    assert judge(clears, Raising, server_errors=(Gone,)).outcome == "error"
    assert judge(clears_during_a_fault, Raising, server_errors=(Gone,)).outcome == "failed"


# -- unreachable servers -----------------------------------------------------------------------


def test_an_unreachable_server_has_no_listener_and_comes_back(judge: Judge, server: Server) -> None:
    seen = []

    def is_unreachable(s: Session, _: None) -> None:
        before = s.open()
        with s.server.unreachable() as address:
            assert servers.address(served.SERVED) == address != server.address
            lost = s.open()
            error = lost.try_add([HumanMessage("m0")])
            assert isinstance(error, served.ServedError)
            assert "ConnectionRefusedError" in str(error)
            before.add([HumanMessage("m1")])
        assert servers.address(served.SERVED) == server.address
        s.open().add([HumanMessage("m2")])
        seen.append([message.content for message in before.read()])

    assert judge(is_unreachable).outcome == "passed"
    assert seen == [["m1", "m2"]]


def test_a_server_is_reachable_again_after_a_failure(judge: Judge, server: Server) -> None:
    def fails(s: Session, _: None) -> None:
        with s.server.unreachable():
            s.fail("lost", "lost everything")

    assert judge(fails).outcome == "failed"
    assert os.environ[VARIABLE] == server.address


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("broker:9092", "127.0.0.1:1"),
        ("one:9092,two:9092", "127.0.0.1:1"),
        ("https://me:secret@search.example:9200", "https://127.0.0.1:1"),
    ],
)
def test_an_address_with_another_place_keeps_its_form(address: str, elsewhere: str) -> None:
    assert outage._with_place(address, "127.0.0.1:1") == elsewhere


# -- adding during a fault ---------------------------------------------------------------------


def test_adds_during_a_fault_are_recorded_as_returned_or_raised(
    judge: Judge,
) -> None:
    counted = {}

    def adds(s: Session, _: None) -> None:
        a = s.open()

        def restart() -> None:
            s.server.kill()
            s.sleep(3)  # the control repeats a request for two seconds
            s.server.restart()

        fault_steps.adds_during(s, a, "m", restart)
        counted["returned"], counted["raised"] = len(a.model.stored), len(a.model.refused)
        fault_steps.expect_acknowledged(s, a, fault_steps.read_when_back(s, a))

    result = judge(adds)
    assert (result.outcome, result.reason) == ("passed", None)
    assert counted["returned"] > 3
    assert counted["raised"] > 0


def test_a_message_whose_add_raised_may_come_once_and_not_twice(judge: Judge) -> None:
    def returned(*contents: str) -> Callable[[Session, None], None]:
        def body(s: Session, _: None) -> None:
            a = s.open()
            fault_steps.add_kept(s, a, "m0", "m1")
            a.model.refused.append(Snapshot(HumanMessage("u")))
            a.read()
            fault_steps.expect_acknowledged(s, a, [HumanMessage(content) for content in contents])

        return body

    for fine in (("m0", "m1"), ("m0", "u", "m1"), ("u", "m0", "m1"), ("m0", "m1", "u")):
        assert judge(returned(*fine)).outcome == "passed", fine
    for wrong, kind in (
        (("m0", "u", "m1", "u"), "duplicated"),
        (("m0", "m0", "m1"), "duplicated"),
        (("m1", "m0"), "reordered"),
        (("m1", "u"), "lost"),
        ((), "lost"),
        (("m0", "m1", "never added"), "foreign"),
    ):
        result = judge(returned(*wrong))
        assert result.finding is not None, wrong
        assert result.finding.kind == kind, wrong


def test_reading_goes_on_until_the_server_is_back(judge: Judge, server: Server) -> None:
    class Slow(Prompt):
        """A history that finds its server again only after a while."""

        ready = 0.0

        def _records(self, count: int | None, seconds: float | None) -> list[tuple[int, str]]:
            if time.monotonic() < self.ready:
                raise served.ServedError("still waiting")
            return super()._records(count, seconds)

    def reads(s: Session, _: None) -> None:
        a = s.open()
        fault_steps.add_kept(s, a, "m0")
        s.server.kill()
        s.server.restart()
        Slow.ready = time.monotonic() + 0.6
        fault_steps.expect_acknowledged(s, a, fault_steps.read_when_back(s, a))

    result = judge(reads, Slow)
    assert (result.outcome, result.reason) == ("passed", None)


def test_a_hung_call_is_a_finding_whose_script_ends(judge: Judge, server: Server) -> None:
    class Waiting(Prompt):
        answer_seconds = None

    def waits(s: Session, _: None) -> None:
        a = s.open()
        s.subject.local.limit = 0.5
        s.server.pause()
        a.read()

    result = judge(waits, Waiting)
    assert result.finding is not None
    assert result.finding.kind == "hung"
    assert "end_after(" in result.finding.reproducer


# -- members of a cluster ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["pause", "kill", "shut_down", "cut_off"])
def test_a_cluster_is_healthy_after_every_contract(fault: outage.MemberFault) -> None:
    with served.serving(clustered=True) as cluster:
        subject = Subject(
            served.CLUSTERED_BACKEND,
            limit=served.CLUSTERED_LIMIT,
            server=cluster,
            owned=True,
            faults=True,
        )

        def leaves_it_broken(s: Session, _: None) -> None:
            leader = cluster.holder("leader", "any")
            s.server.disturb(fault, "leader", "{nonce}-1")
            deadline = time.monotonic() + 30
            while cluster.holder("leader", "any") is leader and time.monotonic() < deadline:
                time.sleep(0.1)  # another member has to take over first
            assert cluster.holder("leader", "any") is not leader
            s.open().add([HumanMessage("m0")])

        try:
            result = engine.run(contract(leaves_it_broken), subject, "sync", PROFILE, 0)
        finally:
            subject.stop()
        assert (result.outcome, result.reason) == ("passed", None)
        assert {member.state for member in cluster.members} == {"up"}
        cluster.wait_until_healthy(0.0)


def test_contracts_about_clusters_need_several_members(server: Server) -> None:
    subject = Subject(served.BACKEND, limit=PROFILE.limit, server=server, owned=True, faults=True)
    about = catalogue.load()["cluster.leader_fails"]
    try:
        reason = engine.why_not_applicable(about, subject, "sync")
    finally:
        subject.stop()
    assert reason is not None
    assert "jvm:3" in reason


def test_a_process_that_dies_during_repeated_calls_is_a_finding() -> None:
    history = faulty.load()["faults.dies_of_lost_connections"]
    about = catalogue.load()[history.breaks]
    found = [
        result.finding
        for result in selftest.results_on(history.backend, [about], profile=PROFILE, seed=0)
    ]
    assert {finding and finding.kind for finding in found} == {"crashed"}
    assert all(finding and "SIGSEGV" in finding.summary for finding in found)
