"""One contract on one history: examples, time limits, the shortest example, and the outcome."""

from __future__ import annotations

import gc
import re
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import HANDLES, ONE_HANDLE, Contract
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution.engine import (
    MIN_EXAMPLES,
    PROFILES,
    Profile,
    each,
    run,
    run_declared,
)
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.reports.advice import capability_hint
from chat_history_conformance.results.model import ContractResult, Finding

BRIEF = Profile("brief", examples=20, operations=1_000, effort=1, shrink_seconds=5.0, limit=5.0)

STORE: dict[str, list[BaseMessage]] = {}


class Mine:
    """A correct history."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    @property
    def messages(self) -> list[BaseMessage]:
        return list(STORE.get(self.session_id, []))

    def add_messages(self, messages: list[BaseMessage]) -> None:
        STORE.setdefault(self.session_id, []).extend(messages)

    def clear(self) -> None:
        STORE.pop(self.session_id, None)

    async def aget_messages(self) -> list[BaseMessage]:
        return self.messages

    async def aadd_messages(self, messages: list[BaseMessage]) -> None:
        self.add_messages(messages)

    async def aclear(self) -> None:
        self.clear()


class Forgetful(Mine):
    """Keeps no third message."""

    def add_messages(self, messages: list[BaseMessage]) -> None:
        super().add_messages(messages[:2])


def adds_batches(s: Session, batches: Any) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()


def contract(body: Any = adds_batches, **changes: Any) -> Contract:
    blank = catalogue.load()["ordering.within_batch"]
    program = strategies.batches(max_size=6)
    return replace(blank, **{"id": "ordering.tested", "body": body, "program": program, **changes})


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that makes subjects, and stop them at the end."""
    monkeypatch.setattr(
        "chat_history_conformance.execution.handle.STALE_WAIT", 0.0
    )  # nothing here comes late
    made: list[Subject] = []

    def make(factory: Any = Mine, *, limit: float = 5.0, **declared: Any) -> Subject:
        made.append(Subject(Backend("mine", factory, **declared), limit=limit))
        return made[-1]

    yield make
    for item in made:
        item.stop()
    assert not STORE, "every session that was written is cleared at the end"


def judged(subject: Subject, tested: Contract, mode: Any = "sync", seed: int = 0) -> ContractResult:
    return run(tested, subject, mode, BRIEF, seed)


def found(result: ContractResult) -> Finding:
    """Return the finding of a result, which must have one."""
    assert result.finding is not None, result
    return result.finding


@pytest.mark.parametrize("mode", ONE_HANDLE)
def test_a_correct_history_passes_with_every_example(subject: Any, mode: Any) -> None:
    result = judged(subject(), contract(), mode)
    assert (result.outcome, result.reason, result.finding) == ("passed", None, None)
    assert result.examples == BRIEF.examples
    assert result.label == f"ordering.tested[{mode}]"


@pytest.mark.parametrize("mode", ONE_HANDLE)
def test_the_shortest_example_of_a_known_defect_is_found(subject: Any, mode: Any) -> None:
    patient = replace(BRIEF, shrink_seconds=300.0, limit=60.0)  # however busy the machine is
    result = run(contract(), subject(Forgetful, limit=60.0), mode, patient, 0)
    assert result.outcome == "failed"
    assert result.reason == "lost 1 of 3 messages"
    finding = found(result)
    assert finding.kind == "lost"
    assert finding.expected == ("Human 'm0'", "Human 'm1'", "Human 'm2'")
    assert finding.returned == ("Human 'm0'", "Human 'm1'")
    assert len(finding.steps) == 3
    assert finding.notes == ()


def test_the_same_seed_draws_the_same_examples(subject: Any) -> None:
    def drawn(seed: int) -> list[int]:
        sizes: list[int] = []

        def body(s: Session, batches: Any) -> None:
            sizes.append(sum(map(len, batches)))

        judged(subject(), contract(body), seed=seed)
        return sizes

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_two_contracts_draw_different_examples(subject: Any) -> None:
    drawn: dict[str, list[int]] = {}

    def body(s: Session, batches: Any) -> None:
        drawn.setdefault(s.label, []).append(sum(map(len, batches)))

    for name in ("ordering.one", "ordering.other"):
        judged(subject(), contract(body, id=name))
    one, other = drawn.values()
    assert one != other


def test_a_contract_without_a_program_has_one_example(subject: Any) -> None:
    def body(s: Session, nothing: None) -> None:
        assert nothing is None

    assert judged(subject(), contract(body, program=None)).examples == 1


def test_a_contract_may_ask_for_fewer_examples(subject: Any) -> None:
    assert judged(subject(), contract(examples=4)).examples == 4


def test_shrinking_keeps_the_kind_of_the_first_failure(subject: Any) -> None:
    class TwoDefects(Mine):
        """Reverses three messages and more; loses the second of two."""

        def add_messages(self, messages: list[BaseMessage]) -> None:
            super().add_messages(messages[::-1] if len(messages) > 2 else messages[:1])

    kinds: dict[str, Finding] = {}
    for seed in range(8):
        finding = found(judged(subject(TwoDefects), contract(), seed=seed))
        kinds.setdefault(finding.kind, finding)
    assert set(kinds) == {"lost", "reordered"}
    assert kinds["reordered"].expected == ("Human 'm0'", "Human 'm1'", "Human 'm2'")
    assert kinds["lost"].expected == ("Human 'm0'", "Human 'm1'")


def test_a_search_that_runs_out_of_time_is_marked_as_not_minimal(subject: Any) -> None:
    class Slow(Forgetful):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            time.sleep(0.05)
            super().add_messages(messages)

    started = time.monotonic()
    hasty = replace(BRIEF, shrink_seconds=0.2)
    result = run(contract(), subject(Slow), "sync", hasty, 0)
    assert result.outcome == "failed"
    assert (
        "these steps may not be the shortest: the time to shorten them was up"
        in found(result).notes
    )
    assert time.monotonic() - started < 10


def test_a_defect_that_comes_and_goes_is_called_flaky(subject: Any) -> None:
    calls = iter(range(1_000))

    class Moody(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            super().add_messages(messages[1:] if next(calls) == 3 else messages)

    result = judged(subject(Moody), contract())
    assert result.outcome == "failed"
    assert found(result).kind == "lost"
    assert "the same steps did not fail every time" in found(result).notes


def test_an_id_that_is_refused_leaves_no_note_about_messages_that_stay(subject: Any) -> None:
    class NoSpaces(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            raise UnicodeEncodeError("ascii", self.session_id, 0, 1, "no")

        def clear(self) -> None:
            raise UnicodeEncodeError("ascii", self.session_id, 0, 1, "no")

    def refused_id(s: Session, program: Any) -> None:
        a = s.open()
        assert a.try_add([HumanMessage("m0")]) is not None

    tested = subject(NoSpaces)
    assert judged(tested, contract(refused_id, program=None)).outcome == "passed"
    assert tested.notes == []


def test_lanes_of_an_async_only_history_show_its_async_methods(subject: Any) -> None:
    def adds_at_once(s: Session, batches: Any) -> None:
        a, b = s.open(in_this_process=True), s.open(in_this_process=True)
        s.together([[(a, "add_messages", (batches[0],))], [(b, "messages", ())]])
        s.fail("lost", "always")

    tested = subject(lacks={"sync": "async only"})
    finding = found(judged(tested, contract(adds_at_once, racy=True), "process"))
    assert "lane 1: await a.aadd_messages(" in "\n".join(finding.steps)
    assert "lane2_got.append(wait(b.aget_messages()))" in finding.reproducer


def test_calls_at_the_same_time_that_fail_again_have_a_script(subject: Any) -> None:
    def adds_at_once(s: Session, batches: Any) -> None:
        a = s.open()
        s.together([[(a, "add_messages", (batch,))] for batch in batches])
        s.fail("lost", "always")

    finding = found(judged(subject(Forgetful), contract(adds_at_once, racy=True)))
    assert "def lane1():\n        a.add_messages([" in finding.reproducer


def test_a_race_is_not_shortened(subject: Any) -> None:
    result = judged(subject(Forgetful), contract(racy=True))
    assert result.outcome == "failed"
    assert (
        "these steps may not be the shortest: the suite does not shorten races"
        in found(result).notes
    )
    assert "for _ in range(" in found(result).reproducer


@pytest.mark.parametrize("racy", [True, False])
@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_calls_at_the_same_time_get_a_script_when_they_fail_again(
    subject: Any, racy: bool, opened: bool, mode: Any
) -> None:
    def adds_at_once(s: Session, batches: Any) -> None:
        a = s.open() if opened else s.prepare()
        opening = [] if opened else [(a, "open", ())]
        (batch, *_) = batches
        s.together([[*opening, (a, "add_messages", (batch,))]])
        a.model.add(batch)
        a.reads_back()

    result = judged(subject(Forgetful), contract(adds_at_once, racy=racy), mode)
    name = "aadd_messages" if mode == "async" else "add_messages"
    assert f"a.{name}([" in found(result).reproducer


@pytest.mark.parametrize("pause_seconds", [0.0, 0.02])
def test_the_number_of_examples_does_not_depend_on_the_speed_of_the_history(
    subject: Any, pause_seconds: float
) -> None:
    class Slow(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            time.sleep(pause_seconds)
            super().add_messages(messages)

    program = strategies.batches(max_batches=1)
    result = run(contract(program=program), subject(Slow), "sync", BRIEF, 0)
    assert (result.outcome, result.examples, result.cut) == ("passed", 20, False)


@pytest.mark.parametrize(("operations", "examples"), [(1, MIN_EXAMPLES), (12, 4), (1_000, 20)])
def test_operations_limit_the_examples_but_not_below_three(
    subject: Any, operations: int, examples: int
) -> None:
    program = strategies.batches(min_batches=1, max_batches=1)
    few = replace(BRIEF, operations=operations)
    result = run(contract(program=program), subject(Mine), "sync", few, 0)
    assert (result.examples, result.cut) == (examples, examples < 20)


def test_the_first_example_has_the_whole_of_a_fixed_list(subject: Any) -> None:
    seen: list[list[int]] = []

    def body(s: Session, numbers: list[int]) -> None:
        seen.append(numbers)

    program = strategies.some_of([1, 2, 3, 4])
    assert run(contract(body, program=program), subject(Mine), "sync", BRIEF, 0).outcome == "passed"
    assert seen[0] == [1, 2, 3, 4]
    assert len(seen) > MIN_EXAMPLES
    assert any(0 < len(numbers) < 4 for numbers in seen[1:])


def test_a_failure_with_a_whole_list_shrinks_to_the_value_that_causes_it(subject: Any) -> None:
    def body(s: Session, texts: list[str]) -> None:
        a = s.open()
        a.add([HumanMessage(text) for text in texts])
        a.reads_back()

    class Drops(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            super().add_messages([one for one in messages if one.content != "e"])

    program = strategies.some_of(list("abcdefgh"))
    result = run(contract(body, program=program), subject(Drops), "sync", BRIEF, 0)
    assert result.examples == 1
    assert found(result).expected == ("Human 'e'",)


def test_every_profile_tries_more_than_the_one_before() -> None:
    quick, ci, thorough = (PROFILES[name] for name in ("quick", "ci", "thorough"))
    assert quick.examples < ci.examples < thorough.examples
    assert quick.operations < ci.operations < thorough.operations


# -- findings about other things than messages ---------------------------------------------------


def test_an_exception_of_an_operation_is_a_finding_with_its_cause(subject: Any) -> None:
    class Missing(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            raise NotImplementedError("use another class")

    finding = found(judged(subject(Missing), contract()))
    assert finding.kind == "other"
    assert finding.summary == "`add_messages` raises NotImplementedError: use another class"
    assert finding.cause.startswith("`add_messages` raises NotImplementedError")


def test_an_exception_of_a_constructor_is_a_finding(subject: Any) -> None:
    class Refusing(Mine):
        def __init__(self, session_id: str) -> None:
            raise ValueError("no url given")

    finding = found(judged(subject(Refusing), contract()))
    assert finding.summary == "`Refusing(session_id)` raises ValueError: no url given"


def test_a_refused_connection_is_an_error_and_not_a_finding(subject: Any) -> None:
    class Gone(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            raise ConnectionRefusedError("no listener")

    result = judged(subject(Gone), contract())
    assert (result.outcome, result.finding) == ("error", None)
    assert result.reason == ("server: `add_messages`: ConnectionRefusedError: no listener")


def test_a_declared_server_error_is_an_error(subject: Any) -> None:
    class Gone(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            raise LookupError("no broker")

    assert judged(subject(Gone, server_errors=(LookupError,)), contract()).outcome == "error"
    assert judged(subject(Gone), contract()).outcome == "failed"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_call_that_does_not_return_is_hung(subject: Any, mode: Any) -> None:
    release = threading.Event()

    class Stuck(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            release.wait(3)

    hasty = replace(BRIEF, shrink_seconds=0.1)
    result = run(contract(), subject(Stuck, limit=0.1), mode, hasty, 0)
    release.set()
    assert result.outcome == "failed"
    assert found(result).kind == "hung"
    assert "did not return: no answer within 0.1 s" in found(result).summary


def test_a_call_that_is_late_once_is_an_error_and_not_a_finding(subject: Any) -> None:
    release = threading.Event()
    calls = iter(range(1_000))

    class Late(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            if next(calls) == 2:
                release.wait(3)
                return
            super().add_messages(messages)

    result = run(contract(), subject(Late, limit=0.3), "sync", BRIEF, 0)
    release.set()
    assert (result.outcome, result.finding) == ("error", None)
    assert result.reason == (
        "`add_messages` did not return: no answer within 0.3 s; when the same steps ran again, "
        "this did not happen"
    )


def test_the_first_opening_may_take_longer_than_a_call(subject: Any) -> None:
    openings = iter(range(1_000))

    class Importing(Mine):
        def __init__(self, session_id: str) -> None:
            super().__init__(session_id)
            if next(openings) == 0:
                time.sleep(0.5)

    assert run(contract(), subject(Importing, limit=0.3), "sync", BRIEF, 0).outcome == "passed"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_failed_story_lets_go_of_its_handles(subject: Any, mode: Any) -> None:
    alive: set[int] = set()

    class Locking(Mine):
        def __init__(self, session_id: str) -> None:
            super().__init__(session_id)
            alive.add(id(self))
            weakref.finalize(self, alive.discard, id(self))

        def add_messages(self, messages: list[BaseMessage]) -> None:
            try:
                raise ValueError("locked")
            except ValueError as error:
                self.error = error  # a cycle of the history, the exception and its frame
                raise

    gc.disable()
    try:
        assert judged(subject(Locking), contract(), mode).outcome == "failed"
        assert not alive
    finally:
        gc.enable()


@pytest.mark.parametrize("returned", [None, 7, "text", b"bytes", object()])
def test_a_read_that_returns_no_list_is_a_finding(subject: Any, returned: Any) -> None:
    class Odd(Mine):
        @property
        def messages(self) -> Any:
            return returned

    finding = found(judged(subject(Odd), contract()))
    assert finding.kind == "other"
    assert finding.summary.startswith("`messages` returned ")
    assert finding.summary.endswith(" instead of a list of messages")


def test_a_read_that_returns_a_generator_is_a_finding(subject: Any) -> None:
    class Lazy(Mine):
        @property
        def messages(self) -> Any:
            return (1 / 0 for _ in range(1))

    finding = found(judged(subject(Lazy), contract()))
    assert "<generator object" in finding.summary


def test_a_read_that_returns_strings_or_none_in_its_list_is_altered(subject: Any) -> None:
    for stray in ("text", None, 7, {"content": "0"}):

        class Odd(Mine):
            @property
            def messages(self, stray: Any = stray) -> Any:
                return [stray for _ in super().messages]

        finding = found(judged(subject(Odd), contract()))
        assert finding.kind == "altered"
        assert "instead of messages" in finding.summary


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_read_that_returns_a_coroutine_is_a_finding(subject: Any) -> None:
    class Async(Mine):
        @property
        def messages(self) -> Any:
            return self.aget_messages()

        async def aget_messages(self) -> list[BaseMessage]:
            return []

    tested = contract(program=None, body=lambda s, _: s.open().read())
    finding = found(judged(subject(Async), tested))
    assert finding.summary == "`messages` returned a coroutine instead of a list of messages"
    gc.collect()  # coroutines of the search for a shorter example are never awaited


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "nasty",
    [
        HumanMessage("x" * 10_000_000),
        HumanMessage("\ud800"),
        HumanMessage("", response_metadata={"nan": float("nan")}),
        HumanMessage("", additional_kwargs={"value": Unprintable()}),
        HumanMessage('"""\n\\'),
    ],
    ids=["long", "surrogate", "nan", "unprintable", "quotes"],
)
def test_a_finding_survives_any_message(subject: Any, nasty: HumanMessage) -> None:
    def body(s: Session, _: None) -> None:
        a = s.open()
        a.add([HumanMessage("0"), HumanMessage("1"), nasty])
        a.reads_back()

    result = judged(subject(Forgetful), contract(body, program=None))
    assert result.reason == "lost 1 of 3 messages"
    assert max(map(len, found(result).expected)) <= 100
    assert len(found(result).reproducer) < 20_000
    compile(found(result).reproducer, "reproducer", "exec") if nasty.content else None


def test_equal_messages_with_nan_pass(subject: Any) -> None:
    def body(s: Session, _: None) -> None:
        a = s.open()
        a.add([HumanMessage("", response_metadata={"nan": float("nan")})])
        a.reads_back()

    assert judged(subject(), contract(body, program=None)).outcome == "passed"


@pytest.mark.parametrize("racy", [False, True])
def test_a_defect_of_closing_is_a_finding(subject: Any, racy: bool) -> None:
    class Unclosable(Mine):
        def close(self) -> None:
            raise ValueError("cannot be closed")

    finding = found(judged(subject(Unclosable), contract(racy=racy)))
    assert finding.summary == "`close` raises ValueError: cannot be closed"
    assert "a.close()" in finding.reproducer


@pytest.mark.parametrize("racy", [False, True])
def test_sessions_that_are_written_and_closed_at_once_need_no_closing(
    subject: Any, racy: bool
) -> None:
    def body(s: Session, _: None) -> None:
        for _group in range(2):  # the handles of both groups have the same keys
            s.write_sessions(8, 2, [HumanMessage("0")])
        assert [handle for handle in s.handles if handle.is_open] == []

    result = judged(subject(Closing), contract(body, program=None, racy=racy))
    assert (result.outcome, result.reason) == ("passed", None)


@pytest.mark.parametrize("racy", [False, True])
def test_only_a_contract_that_closes_twice_judges_the_second_close(
    subject: Any, racy: bool
) -> None:
    class ClosesOnce(Mine):
        is_open = True

        def close(self) -> None:
            if not self.is_open:
                raise ValueError("already closed")
            self.is_open = False

    def closes(times: int) -> ContractResult:
        def body(s: Session, _: None) -> None:
            a = s.open()
            for _time in range(times):
                a.close()

        return judged(subject(ClosesOnce), contract(body, program=None, racy=racy))

    once, twice = closes(1), closes(2)
    assert (once.outcome, once.reason) == ("passed", None)
    assert found(twice).summary == "`close` raises ValueError: already closed"


def test_a_server_error_of_a_closed_handle_is_not_one_of_the_server(subject: Any) -> None:
    class Disconnected(Mine):
        is_open = True

        def __getattribute__(self, name: str) -> Any:
            if name in ("messages", "add_messages", "clear") and not self.is_open:
                raise ConnectionError("not connected")
            return super().__getattribute__(name)

        def close(self) -> None:
            self.is_open = False

    tested = catalogue.load()["durability.use_after_close"]
    result = judged(subject(Disconnected, server_errors=(ConnectionError,)), tested)
    assert (result.outcome, result.reason) == ("passed", None)


class Closing(Mine):
    """Refuses everything once it is closed."""

    is_open = True

    @property
    def messages(self) -> list[BaseMessage]:
        assert self.is_open
        return super().messages

    def clear(self) -> None:
        assert self.is_open
        super().clear()

    def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize("how", ["close", "release"])
def test_a_session_whose_handles_are_closed_is_cleared(subject: Any, how: str) -> None:
    def body(s: Session, _: None) -> None:
        a = s.open()
        a.add([HumanMessage("0")])
        getattr(a, how)()

    result = judged(subject(Closing), contract(body, program=None))
    assert (result.outcome, result.reason) == ("passed", None)


def test_a_session_that_cannot_be_cleared_is_noted(subject: Any) -> None:
    class Lasting(Mine):
        def clear(self) -> None:
            raise NotImplementedError

    lasting = subject(Lasting)
    assert judged(lasting, contract()).outcome == "passed"
    note = "stored messages could not be cleared (NotImplementedError)"
    assert lasting.notes == [note]
    STORE.clear()


def test_a_session_is_removed_as_declared_after_its_handles_are_closed(subject: Any) -> None:
    closed: list[str] = []
    removed: list[str] = []

    class Logged(Mine):
        def close(self) -> None:
            closed.append(self.session_id)

    def remove(session_id: str) -> None:
        assert session_id in closed
        STORE.pop(session_id, None)
        removed.append(session_id)

    tested = subject(Logged, remove=remove)
    assert judged(tested, contract()).outcome == "passed"
    assert set(removed) == set(closed)
    assert tested.notes == []


def test_a_session_that_cannot_be_removed_is_noted(subject: Any) -> None:
    def remove(session_id: str) -> None:
        raise PermissionError

    tested = subject(remove=remove)
    assert judged(tested, contract()).outcome == "passed"
    assert tested.notes == ["stored messages could not be removed (PermissionError)"]
    STORE.clear()


def test_nothing_is_removed_from_a_disposable_backend(subject: Any) -> None:
    removed: list[str] = []
    assert judged(subject(remove=removed.append, disposable=True), contract()).outcome == "passed"
    assert removed == []
    STORE.clear()


def test_sessions_are_removed_from_a_server_that_the_run_restarts() -> None:
    removed: list[str] = []

    def remove(session_id: str) -> None:
        removed.append(session_id)
        raise PermissionError  # the run removes the whole server

    backend = Backend("mine", Mine, remove=remove)
    for faults in (False, True):
        tested = Subject(backend, limit=5.0, owned=True, faults=faults)
        assert judged(tested, contract()).outcome == "passed"
        tested.stop()
        assert bool(removed) is faults
        assert tested.notes == []
    STORE.clear()


# -- contracts that do not apply -----------------------------------------------------------------


def test_a_lacking_capability_makes_contracts_not_applicable_with_its_reason(subject: Any) -> None:
    given_up = subject(Mine, lacks={"async": "no driver"})
    for mode in ("async", "mixed"):
        result = judged(given_up, contract(), mode)
        assert (result.outcome, result.reason) == ("not_applicable", "lacks async: no driver")
    assert judged(given_up, contract()).outcome == "passed"
    assert judged(given_up, contract(needs=("threads",))).outcome == "passed"


def test_a_missing_method_makes_contracts_not_applicable(subject: Any) -> None:
    result = judged(subject(), contract(needs=("last_messages",)))
    assert (result.outcome, result.reason) == ("not_applicable", "has no last_messages")
    result = judged(subject(), contract(needs=("with_ttl",)))
    assert "with_ttl(session_id, ttl_ms)" in str(result.reason)


def test_a_function_inside_a_function_cannot_be_opened_in_a_second_process(subject: Any) -> None:
    def body(s: Session, _: Any) -> None:
        s.open()
        s.open().read()

    result = judged(subject(), contract(body, modes=HANDLES), "process")
    assert result.outcome == "not_applicable"
    assert "Move it to module level" in str(result.reason)


# -- deviations, levels and pins ---------------------------------------------------------------


def declared(
    subject: Subject, tested: Contract, mode: Any = "sync", **stated: Any
) -> ContractResult:
    return run_declared(tested, subject, mode, BRIEF, 0, **stated)


def test_a_failure_of_a_declared_deviation_is_a_deviation(subject: Any) -> None:
    deviating = subject(Forgetful, deviations={"ordering.tested": "keeps two"})
    result = declared(deviating, contract())
    assert (result.outcome, result.reason) == ("deviation", "keeps two")
    assert found(result).kind == "lost"


def test_a_deviation_whose_contract_holds_is_an_unexpected_pass(subject: Any) -> None:
    result = declared(subject(Mine, deviations={"ordering.tested": "keeps two"}), contract())
    assert result.outcome == "unexpected_pass"
    assert "Delete this line" in str(result.reason)


def test_a_deviation_that_fails_in_one_mode_may_pass_in_the_others(subject: Any) -> None:
    class HalfForgetful(Mine):
        async def aadd_messages(self, messages: list[BaseMessage]) -> None:
            self.add_messages(messages[:2])

    deviating = subject(HalfForgetful, deviations={"ordering.tested": "keeps two"})
    assert declared(deviating, contract(), "sync").outcome == "passed"
    assert declared(deviating, contract(), "async").outcome == "deviation"


def test_a_server_error_is_not_a_deviation(subject: Any) -> None:
    class Gone(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            raise ConnectionError("gone")

    deviating = subject(Gone, deviations={"ordering.tested": "keeps two"})
    assert declared(deviating, contract()).outcome == "error"


class Busy(Mine):
    """Belongs to a server that does not answer now and then."""

    refusals = 1

    def add_messages(self, messages: list[BaseMessage]) -> None:
        if Busy.refusals:
            Busy.refusals -= 1
            raise ConnectionError("too busy")
        super().add_messages(messages)


def test_a_contract_runs_again_if_the_server_did_not_answer_once(
    subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Busy, "refusals", 1)
    busy = subject(Busy)
    result = judged(busy, contract())
    assert (result.outcome, result.reason) == ("passed", None)
    assert busy.notes == [
        "ordering.tested[sync] ran again, after server: `add_messages`: ConnectionError: too busy"
    ]


def test_a_defect_is_found_in_the_second_attempt(
    subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BusyAndForgetful(Busy):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            super().add_messages(messages[:2])

    monkeypatch.setattr(Busy, "refusals", 1)
    assert judged(subject(BusyAndForgetful), contract()).outcome == "failed"


def test_only_a_few_contracts_run_again(subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Busy, "refusals", 1000)
    busy = subject(Busy)
    for _ in range(20):
        assert judged(busy, contract()).outcome == "error"
    assert len(busy.notes) == 5
    assert Busy.refusals == 1000 - 25


def test_a_contract_does_not_run_again_if_no_history_can_be_read(
    subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(Busy):
        @property
        def messages(self) -> list[BaseMessage]:
            raise ConnectionError("gone")

    monkeypatch.setattr(Busy, "refusals", 1)
    gone = subject(Gone, limit=0.3)
    assert judged(gone, contract()).outcome == "error"
    assert gone.notes == []
    assert Busy.refusals == 0


@pytest.mark.parametrize(
    ("level", "of_run", "informs"),
    [
        ("must", "must", False),
        ("should", "must", True),
        ("should", "should", False),
        ("may", "should", True),
        ("may", "may", False),
    ],
)
def test_a_contract_below_the_level_of_the_run_does_not_fail_it(
    subject: Any, level: Any, of_run: Any, informs: bool
) -> None:
    result = declared(subject(Forgetful), contract(level=level), level=of_run)
    assert (result.outcome, result.informs) == ("failed", informs)


def test_a_contract_newer_than_the_pinned_catalogue_does_not_fail_the_run(subject: Any) -> None:
    newer = contract(since="0.10")
    assert declared(subject(Forgetful), newer, since="0.9").informs
    assert not declared(subject(Forgetful), newer, since="0.10").informs
    assert not declared(subject(Forgetful), newer).informs


# -- the catalogue ---------------------------------------------------------------------------------


def test_each_contract_comes_in_each_of_its_modes() -> None:
    tested = contract(modes=("sync", "async"))
    assert [mode for _, mode in each([tested])] == ["sync", "async"]


def test_a_history_that_lacks_every_capability_still_has_to_keep_the_core(subject: Any) -> None:
    from chat_history_conformance.declaration.capabilities import assumed
    from chat_history_conformance.execution.engine import why_not_applicable

    lacks = dict.fromkeys(set(assumed()) - {"sync"}, "a reason")
    minimal = subject(Mine, lacks=lacks, methods={"messages": "messages"})
    asked = {
        tested.family
        for tested, mode in each(catalogue.load().values())
        if tested.level == "must" and why_not_applicable(tested, minimal, mode) is None
    }
    assert {"ordering", "fidelity", "isolation", "clear"} <= asked


def test_session_ids_carry_a_nonce_of_the_run_and_the_example(subject: Any) -> None:
    seen: list[str] = []

    class Seeing(Mine):
        def __init__(self, session_id: str) -> None:
            seen.append(session_id)
            super().__init__(session_id)

    one, other = subject(Seeing), subject(Seeing)
    judged(one, contract(examples=3))
    judged(other, contract(examples=3))
    assert len(set(seen)) == 6
    assert all(session_id.startswith("chc") for session_id in seen)
    assert len({session_id[:11] for session_id in seen}) == 2


class AsyncOnly(Mine):
    """A history without synchronous methods."""

    def add_messages(self, messages: list[BaseMessage]) -> None:
        """Refuse every batch."""
        raise NotImplementedError


def test_a_method_that_is_not_implemented_comes_with_a_hint_on_lacks(subject: Any) -> None:
    result = judged(subject(AsyncOnly), contract())
    assert 'lacks={"sync": "REASON"}' in capability_hint([result], {})


def test_a_finding_names_the_line_that_raised_in_the_code_of_the_history(subject: Any) -> None:
    finding = found(judged(subject(AsyncOnly), contract()))
    assert re.fullmatch(r"(tests/core/)?test_engine\.py:\d+, in add_messages", finding.raised_at)


def test_a_compiled_module_is_not_the_place_that_raised(subject: Any) -> None:
    compiled: dict[str, Any] = {}
    exec(compile("def query(): raise ValueError('no')", "protocol.pyx", "exec"), compiled)

    class UsesDriver(Mine):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            compiled["query"]()

    finding = found(judged(subject(UsesDriver), contract()))
    assert re.fullmatch(r"(tests/core/)?test_engine\.py:\d+, in add_messages", finding.raised_at)
