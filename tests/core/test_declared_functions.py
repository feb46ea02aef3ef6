"""Functions of a declaration that act on the store: new stores, refused writes, stop and start."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.messages import HumanMessage

from chat_history_backends.base import Record
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.registered import sqlite
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.execution import declared_server, engine
from chat_history_conformance.execution.probes import untried
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.faulty import stoppable
from chat_history_conformance.results.model import ContractResult, Mode

PROFILE = replace(engine.PROFILES["quick"], limit=8.0, shrink_seconds=0.0)
FORMS = ["batch", "one", "single"]
SQLITE = registry.resolve("sqlite")

Judge = Callable[..., ContractResult]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """Run a contract, or another body, on a backend."""
    monkeypatch.chdir(tmp_path)
    subjects = []

    def run(backend: Backend, id: str, mode: Mode = "sync", body: Any = None) -> ContractResult:
        subject = Subject(backend, limit=PROFILE.limit, faults=True)
        subjects.append(subject)
        contract = catalogue.load()[id]
        if body is not None:
            contract = replace(contract, body=body, program=None)
        return engine.run(contract, subject, mode, PROFILE, 0)

    yield run
    for subject in subjects:
        subject.stop()


# -- new stores --------------------------------------------------------------------------------


def test_a_new_store_is_cleaned_up_after_its_histories_are_closed(judge: Judge) -> None:
    events: list[str] = []

    class Closed(MemoryChatMessageHistory):
        def close(self) -> None:
            events.append("closed")

    @contextlib.contextmanager
    def fresh(store: str) -> Iterator[Callable[[str], Any]]:
        events.append(store)
        yield Closed
        events.append("cleaned up")

    def opens(s: Session, _: None) -> None:
        s.use_new_store()
        s.open()

    backend = Backend("mine", MemoryChatMessageHistory, fresh=fresh)
    assert judge(backend, "concurrency.first_use", body=opens).outcome == "passed"
    assert events[1:] == ["closed", "cleaned up"]
    assert events[0].isidentifier()


def test_each_example_of_first_use_has_another_store(judge: Judge) -> None:
    stores: list[str] = []

    def fresh(store: str) -> Callable[[str], Any]:
        stores.append(store)
        return MemoryChatMessageHistory

    backend = Backend("mine", MemoryChatMessageHistory, fresh=fresh)
    result = judge(backend, "concurrency.first_use")
    assert (result.outcome, result.reason) == ("passed", None)
    assert len(set(stores)) == len(stores) >= 3 * result.examples


def test_first_use_without_fresh_reports_what_was_not_tried(judge: Judge) -> None:
    result = judge(Backend("mine", MemoryChatMessageHistory), "concurrency.first_use")
    assert result.outcome == "passed"
    assert untried([result]) == [
        "not tried: first use of a store that was never used: declare fresh= to try it "
        "(concurrency.first_use)"
    ]


@pytest.mark.parametrize(
    ("fresh", "text"),
    [
        (lambda store: MemoryChatMessageHistory(store), "cannot be called with a session id"),
        (lambda store: {}[store], "fresh= could not begin: KeyError"),
    ],
)
def test_a_failed_fresh_is_an_error_and_not_a_finding(judge: Judge, fresh: Any, text: str) -> None:
    result = judge(Backend("mine", MemoryChatMessageHistory, fresh=fresh), "concurrency.first_use")
    assert result.outcome == "error"
    assert text in (result.reason or "")


def test_the_second_process_opens_histories_in_the_same_new_store(judge: Judge) -> None:
    result = judge(SQLITE, "concurrency.first_use", "process")
    assert (result.outcome, result.reason) == ("passed", None)
    assert not Path("chat_history.sqlite3").exists()


# -- refused writes ----------------------------------------------------------------------------


class Swallows(SQLiteChatMessageHistory):
    """Logs each error of a write of one message, as langchain-mongodb does."""

    def add_messages(self, messages: Any) -> None:
        for message in messages:
            with contextlib.suppress(Exception):
                super().add_messages([message])


def refusing(factory: Any, refuse: Any = SQLITE.refuse) -> Backend:
    return Backend("mine", factory, refuse=refuse, disposable=True)


def test_a_swallowed_refusal_of_the_store_is_a_finding(judge: Judge) -> None:
    def body(s: Session, _: None) -> None:
        catalogue.load()["errors.write_failure_raises"].body(s, (FORMS, []))

    assert judge(refusing(sqlite), "errors.write_failure_raises", body=body).outcome == "passed"
    result = judge(refusing(Swallows), "errors.write_failure_raises", body=body)
    assert result.finding is not None
    assert result.finding.kind == "swallowed_error"
    assert "although the store refused the write" in result.finding.summary
    assert "refuse_writes" in result.finding.reproducer


def test_a_refuse_without_effect_is_an_error(judge: Judge) -> None:
    @contextlib.contextmanager
    def nothing(session_id: str) -> Iterator[None]:
        yield

    result = judge(refusing(sqlite, nothing), "errors.write_failure_raises")
    assert result.outcome == "error"
    assert (result.reason or "").startswith("refuse= had no effect")


def test_a_refusal_of_the_next_write_may_be_tried_again(judge: Judge) -> None:
    failing: set[str] = set()

    class Retries(MemoryChatMessageHistory):
        def _append(self, texts: Any) -> None:
            failing.discard(self.session_id)  # the first attempt fails, and the second does not
            super()._append(texts)

    result = judge(refusing(Retries, failing.add), "errors.write_failure_raises")
    assert result.outcome == "passed"
    assert "perhaps by a retry" in (result.reason or "")


def test_an_error_that_says_which_part_was_refused_is_accepted(judge: Judge) -> None:
    class PartError(ValueError):
        unconfirmed = (1, 2, 3)

    class Honest(SQLiteChatMessageHistory):
        def _append(self, texts: Any) -> None:
            try:
                for text in texts:
                    super()._append([text])
            except Exception as error:
                raise PartError("refused") from error

    assert judge(refusing(Honest), "errors.refused_batch_stores_nothing").outcome == "passed"


# -- stop and start ----------------------------------------------------------------------------


def test_a_server_runs_again_after_a_contract_that_stopped_it(judge: Judge) -> None:
    def stops(s: Session, _: None) -> None:
        a = s.open()
        s.server.kill()
        assert Path("stopped").exists()
        assert a.try_add([HumanMessage("m0")]) is not None

    assert judge(stoppable.BACKEND, "faults.in_flight_once", body=stops).outcome == "passed"
    assert not Path("stopped").exists()


def test_the_mark_of_the_first_stop_is_removed(judge: Judge) -> None:
    def stops(s: Session, _: None) -> None:
        s.server.kill()
        s.server.restart()

    assert judge(stoppable.BACKEND, "faults.in_flight_once", body=stops).outcome == "passed"
    with contextlib.closing(sqlite3.connect("chat_history.sqlite3")) as connection:
        assert connection.execute("SELECT message FROM chat_messages").fetchall() == []


def test_a_stop_without_effect_is_an_error(judge: Judge) -> None:
    backend = replace(stoppable.BACKEND, stop=lambda: None)
    result = judge(backend, "faults.dead_server_clear")
    assert result.outcome == "error"
    assert "another process still reads the stored messages" in (result.reason or "")


@pytest.mark.parametrize("name", ["stop", "start"])
def test_a_failed_stop_or_start_is_an_error(judge: Judge, name: str) -> None:
    def fails() -> None:
        raise OSError("no permission")

    declared: dict[str, Any] = {name: fails}
    result = judge(replace(stoppable.BACKEND, **declared), "faults.handle_survives_restart")
    assert (result.outcome, result.reason) == (
        "error",
        f"server: {name}= raised OSError: no permission",
    )


def test_a_start_that_starts_nothing_is_an_error(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared_server, "_READY_SECONDS", 0.5)
    backend = replace(stoppable.BACKEND, start=lambda: None)
    result = judge(backend, "faults.handle_survives_restart")
    assert result.outcome == "error"
    assert "start= returned, and no new history could be read within 0.5 s" in str(result.reason)


class Pooled(stoppable.StoppableChatMessageHistory):
    """Uses a pool, whose first call after each restart fails, also that of a constructor."""

    patience_seconds = 0.0
    seen: ClassVar[set[float]] = set()

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._await_server()

    def _await_server(self) -> None:
        super()._await_server()
        started = Path("started").stat().st_mtime if Path("started").exists() else 0.0
        if started not in self.seen:
            self.seen.add(started)
            raise ConnectionError("the connection of the pool is closed")


def start_of_a_pool() -> None:
    Path("started").write_text(str(time.time()), "utf-8")
    stoppable.start()


def test_connections_from_before_a_restart_do_not_harm_the_next_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Pooled.seen.add(0.0)
    backend = replace(stoppable.BACKEND, factory=Pooled, origin=None, start=start_of_a_pool)
    subject = Subject(backend, limit=PROFILE.limit, faults=True)

    def stops(s: Session, _: None) -> None:
        s.server.kill()

    known = catalogue.load()
    stopping = replace(known["faults.in_flight_once"], body=stops)
    try:
        for contract in (stopping, stopping, known["faults.killed_server_keeps_acknowledged"]):
            result = engine.run(contract, subject, "sync", PROFILE, 0)
            assert (result.outcome, result.reason) == ("passed", None)
    finally:
        subject.stop()


def test_contracts_that_pause_a_server_are_not_applicable(judge: Judge) -> None:
    result = judge(stoppable.BACKEND, "faults.paused_server")
    assert result.outcome == "not_applicable"
    assert "do not pause a server" in (result.reason or "")


def test_stop_and_start_need_the_option_for_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subject = Subject(stoppable.BACKEND)
    try:
        contract = catalogue.load()["faults.unreachable_raises"]
        reason = engine.why_not_applicable(contract, subject, "sync")
    finally:
        subject.stop()
    assert reason == subject.why_no_faults != ""


def test_scripts_call_stop_and_start(judge: Judge) -> None:
    def fails(s: Session, _: None) -> None:
        s.open()
        s.server.shut_down()
        s.server.restart()
        s.fail("lost", "lost everything")

    finding = judge(stoppable.BACKEND, "faults.in_flight_once", body=fails).finding
    assert finding is not None
    assert "    stop_server()\n    start_server()" in finding.reproducer
    assert "import start as start_server, stop as stop_server" in finding.reproducer or (
        "import stop as stop_server" in finding.reproducer
    )
    assert "the server is stopped with stop=" in finding.steps


def test_scripts_ask_for_what_they_cannot_import(judge: Judge) -> None:
    def fails(s: Session, _: None) -> None:
        s.server.kill()
        s.server.restart()
        s.fail("lost", "lost everything")

    backend = replace(stoppable.BACKEND, stop=lambda: stoppable.stop())
    finding = judge(backend, "faults.in_flight_once", body=fails).finding
    assert finding is not None
    assert "    ask_for('stop the server of stoppable')\n    start_server()" in finding.reproducer


# -- reads that settle later -------------------------------------------------------------------


class Late(MemoryChatMessageHistory):
    """Shows a write after 0.15 seconds at most; reads go to copies that are differently late."""

    log: ClassVar[dict[str, list[tuple[float, list[Any]]]]] = {}
    lateness_seconds = (0.0, 0.15, 0.07)
    _reads = 0

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        self._write_down()

    def clear(self) -> None:
        super().clear()
        self._write_down()

    def _write_down(self) -> None:
        states = self.log.setdefault(self.session_id, [])
        states.append((time.monotonic(), list(self._session().records)))

    def _fetch(self, last: int | None = None) -> list[Record]:
        self._reads += 1
        late = self.lateness_seconds[self._reads % len(self.lateness_seconds)]
        moment = time.monotonic() - late
        state: list[Any] = []
        for written, records in self.log.get(self.session_id, []):
            state = records if written <= moment else state
        return [(one.position, one.text) for one in state]


class Forgets(Late):
    """Never shows the second message of a conversation."""

    def _fetch(self, last: int | None = None) -> list[Record]:
        return [record for place, record in enumerate(super()._fetch(last)) if place != 1]


class LaterThanDeclared(Late):
    lateness_seconds = (0.6, 0.6, 0.6)


def settling(factory: Any, seconds: float | None = 0.3) -> Backend:
    lacks = {"durable": "kept in process memory"}
    return Backend("mine", factory, lacks=lacks, disposable=True, eventual=seconds)


@pytest.mark.parametrize(
    "id",
    [
        "ordering.across_calls",
        "clear.empties",
        "concurrency.handles",
        "integration.turns",
        "bounded.count_of_consumed",
    ],
)
def test_contracts_wait_for_reads_that_settle_later(judge: Judge, id: str) -> None:
    result = judge(settling(Late), id)
    assert (result.outcome, result.finding) == ("passed", None)


def test_without_eventual_late_reads_are_findings(judge: Judge) -> None:
    assert judge(settling(Late, None), "ordering.across_calls").outcome == "failed"


def test_messages_that_are_missing_after_that_time_are_lost(judge: Judge) -> None:
    finding = judge(settling(Forgets), "ordering.across_calls").finding
    assert finding is not None
    assert finding.kind == "lost"
    assert "wait until reads have settled, 0.3 s after the last write" in finding.steps
    assert "time.sleep(0.3)" in finding.reproducer


def test_reads_that_settle_later_than_declared_are_stale(judge: Judge) -> None:
    finding = judge(settling(LaterThanDeclared), "ordering.across_calls").finding
    assert finding is not None
    assert finding.kind == "stale"


def test_contracts_that_cannot_wait_are_not_applicable(judge: Judge) -> None:
    result = judge(settling(Late), "concurrency.reader_sees_prefixes")
    assert result.outcome == "not_applicable"
    assert result.reason == (
        "lacks immediate_reads: reads show a write only after 0.3 s, as eventual= declares"
    )


def test_eventual_cannot_be_declared_without_a_time() -> None:
    with pytest.raises(DeclarationError, match=r"eventual=2\.0"):
        Backend("mine", Late, lacks={"immediate_reads": "replicas"}).check(())
