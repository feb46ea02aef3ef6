"""Scripts: their contents, and the functions that they contain."""

from __future__ import annotations

import ast
import asyncio
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.diagnosis import (
    script_chat,
    script_claims,
    script_helpers,
    script_loops,
    script_opening,
)
from chat_history_conformance.diagnosis.code import (
    Code,
    Need,
    Ref,
    call,
    fill,
    join,
    lazily,
    values_of,
)
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script import script
from chat_history_conformance.diagnosis.script_claims import (
    are_equal,
    are_messages,
    are_no_files,
    are_whole,
    at_least,
    at_most,
    below,
    carries,
    contents_are,
    contents_are_one_of,
    contents_besides,
    deliver_all,
    deliver_once,
    dump,
    end_with_same,
    full_text,
    grow,
    have_no_doubles,
    is_empty,
    is_list,
    is_sized,
    is_type_or_value_error,
    keep_order,
    mentions,
    mentions_any,
    reads_are,
    reads_are_prefixes,
    refused_or_at_least,
    starting_with,
    stay_together,
    was_accepted,
    was_refused,
)
from chat_history_conformance.diagnosis.script_declaring import part_of
from chat_history_conformance.diagnosis.steps import Step, listed
from chat_history_conformance.execution.phrase import opening_code

HELPERS = sorted(
    {*script_claims.__all__, *script_helpers.__all__, *script_loops.__all__, *script_chat.__all__}
)
MEMORY = Backend(
    "memory",
    MemoryChatMessageHistory,
    origin=Origin("chat_history_backends.memory", "MemoryChatMessageHistory"),
)


def said(*contents: str) -> list[BaseMessage]:
    return [HumanMessage(content) for content in contents]


def script_of(*steps: Code) -> str:
    return script(MEMORY, "a.contract[sync]", "lost all", [Step("", code) for code in steps])


# -- the contents of scripts ---------------------------------------------------------------------


def test_the_names_of_helpers_in_a_message_add_nothing_to_a_script() -> None:
    def lines(content: str) -> int:
        added = call(script_helpers.numbered_messages, Code("0"), Code("1"))
        return len(script_of(fill("a.add({})", source(said(content))), added).splitlines())

    nasty = "look elsewhere. Then wait(5) json. os. sys. kept unsure corrupt( open_with_ttl "
    nasty += " ".join(f"{name}( {name}." for name in HELPERS)
    assert lines(nasty) == lines("hello")


@pytest.mark.parametrize("name", HELPERS)
def test_a_script_with_any_helper_is_complete_and_has_blank_lines(name: str) -> None:
    modules = (script_claims, script_helpers, script_loops, script_chat, script_opening)
    module = next(module for module in modules if name in module.__all__)
    other = Need(script_helpers.__name__, "claim")
    text = script_of(Code(name, frozenset({Need(module.__name__, name), other})))
    assert "chat_history_conformance" not in text
    rules = ("--preview", "--select", "F,E30")
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", *rules, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{text}"


def test_a_script_contains_only_the_helpers_that_it_uses() -> None:
    tree = ast.parse(script_of(call(script_helpers.claim, Code("True"), Code("''"))))
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == [
        "claim",
        "story",
    ]


def test_a_claim_is_called_with_values_and_printed_with_names() -> None:
    read = Ref("got1", said("m0", "m1"))
    assert values_of([read, [read]]) == [read.value, [read.value]]
    assert call(at_most, source(read), source(2)).text == "at_most(got1, 2)"
    assert source([read[0], read[:1], read.attribute("append")]).text == (
        "[got1[0], got1[:1], got1.append]"
    )


def test_functions_and_classes_are_written_by_their_names_and_imported() -> None:
    assert source(len) == Code("len", frozenset({Need("builtins", "len")}))
    assert source(HumanMessage).needs == {Need("langchain_core.messages", "HumanMessage")}
    text = script_of(fill("{}({})", source(at_most), source([HumanMessage("a")])))
    assert "from langchain_core.messages import HumanMessage\n" in text


# -- claims --------------------------------------------------------------------------------------

WRITERS = said("w0.0", "w1.0", "w0.1")


@pytest.mark.parametrize(
    ("claim", "holds", "fails"),
    [
        (is_empty, ([],), (said("m0"),)),
        (at_least, (said("a", "b"), 2), (said("a"), 2)),
        (at_most, (said("a", "b"), 2), (said("a", "b", "c"), 2)),
        (is_list, ([],), ((),)),
        (is_sized, ((),), ("text",)),
        (is_sized, ({},), (iter([]),)),
        (are_messages, (said("a"),), ([None],)),
        (are_equal, (1, 1), (1, 2)),
        (contents_are, (said("a", "b"), ["a", "b"]), (said("b", "a"), ["a", "b"])),
        (contents_are, ([None], [None]), (said("a"), [None])),
        (contents_are_one_of, (said("a"), [["b"], ["a"]]), (said("a"), [["b"], []])),
        (contents_besides, (said("x", "a"), ["x"], ["a"]), (said("x", "b"), ["x"], ["a"])),
        (have_no_doubles, (said("x", "a", "a"), ["x"]), (said("x", "a", "x"), ["x"])),
        (starting_with, (said("old", "new"), "n", ["new"]), (said("n1", "n0"), "n", ["n0", "n1"])),
        (keep_order, (said("b", "x", "c"), ["a", "b", "c"]), (said("c", "b"), ["a", "b", "c"])),
        (end_with_same, (said("b", "x", "c"), ["a", "b", "c"]), (said("a", "c"), ["a", "b", "c"])),
        (end_with_same, ([], ["a"]), (said("a", "a"), ["a"])),
        (stay_together, (said("x", "a", "b"), ["a", "b"]), (said("a", "x", "b"), ["a", "b"])),
        (are_whole, (WRITERS, [2, 1]), (WRITERS, [2, 2])),
        (are_whole, (WRITERS, [2, 1]), ([*WRITERS, HumanMessage("x")], [2, 1])),
        (reads_are, ([[said("a")], [said("a")]], ["a"]), ([[said("a")], [[]]], ["a"])),
        (reads_are_prefixes, ([[WRITERS]], 2), ([[WRITERS[1:]]], 2)),
        (grow, ([[], [1], [1]],), ([[1], []],)),
        (deliver_all, ([[said("m1")], [said("m0")]], 2), ([[said("m1")]], 2)),
        (deliver_once, ([[said("m1")], [said("m0")]],), ([[said("m1")], [said("m1")]],)),
        (was_refused, (ValueError(),), (None,)),
        (was_accepted, (None,), (ValueError(),)),
        (refused_or_at_least, (None, said("a"), 1), (None, [], 1)),
        (refused_or_at_least, (ValueError(), [], 1), (None, [], 1)),
        (is_type_or_value_error, (None,), (KeyError(),)),
        (is_type_or_value_error, (UnicodeError(),), (OSError(),)),
        (mentions, (ValueError("no colour"), "colour"), (ValueError("no"), "colour")),
        (mentions_any, (ValueError("No Colour"), ["x", "colour"]), (ValueError("no"), ["x"])),
        (mentions_any, (None, ["x"]), (ValueError(""), ["x"])),
        (below, (1.0, 2.0), (2.0, 2.0)),
    ],
)
def test_a_claim_holds_and_fails(
    claim: Callable[..., bool], holds: tuple[Any, ...], fails: tuple[Any, ...]
) -> None:
    assert claim(*holds) is True
    assert claim(*fails) is False


def test_an_error_carries_the_messages_that_could_be_read() -> None:
    error = ValueError("a damaged record")
    assert not carries(error, ["m0"])
    error.messages = said("m0")  # type: ignore[attr-defined]
    assert carries(error, ["m0"])
    assert not carries(error, ["m1"])


def test_the_full_text_of_an_error_includes_its_notes_and_causes() -> None:
    error = ValueError("outer")
    error.add_note("a note")
    error.__cause__ = KeyError("inner")
    assert full_text(error) == "outer a note / 'inner' "
    error = ValueError("shown")
    error.__context__, error.__suppress_context__ = KeyError("hidden"), True
    assert full_text(error) == "shown "


def test_files_with_a_name_are_found(tmp_path: Path) -> None:
    assert are_no_files(str(tmp_path), "repro")
    (tmp_path / "repro1.json").touch()
    assert not are_no_files(str(tmp_path), "repro")


def test_a_dump_distinguishes_all_fields_and_types() -> None:
    assert dump(HumanMessage("a")) == dump(HumanMessage("a"))
    different = [
        HumanMessage("a"),
        AIMessage("a"),
        HumanMessage("a", id="1"),
        HumanMessage("a", additional_kwargs={"n": 1}),
        HumanMessage("a", additional_kwargs={"n": 1.0}),
        HumanMessage("a", additional_kwargs={"n": True}),
        HumanMessage("a", additional_kwargs={"n": math.nan}),
        HumanMessage("a", additional_kwargs={"n": b"1"}),
        ToolMessage("a", tool_call_id="1"),
        None,
    ]
    assert len({dump(message) for message in different}) == len(different)


# -- helpers -------------------------------------------------------------------------------------


def test_claim_ends_the_script_unless_it_holds() -> None:
    script_helpers.claim(True, "lost all")
    with pytest.raises(SystemExit, match="lost all"):
        script_helpers.claim(False, "lost all")


def test_expect_prints_both_lists_and_ends_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    script_helpers.expect(said("a"), said("a"), "lost all")
    with pytest.raises(SystemExit, match="lost all"):
        script_helpers.expect([None], said("a"), "lost all")
    assert "returned:\n  None" in capsys.readouterr().out


def test_expect_kept_allows_an_unsure_message_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_helpers, "kept", ["m0", "m1"])
    monkeypatch.setattr(script_helpers, "unsure", ["u"])
    for fine in (("m0", "m1"), ("m0", "u", "m1")):
        script_helpers.expect_kept(said(*fine), "lost")
    for wrong in (("m0",), ("m1", "m0"), ("u", "m0", "m1", "u"), ("m0", "m1", "x")):
        with pytest.raises(SystemExit, match="lost"):
            script_helpers.expect_kept(said(*wrong), "lost")


def test_refused_returns_the_exception() -> None:
    assert isinstance(script_helpers.refused(lambda: 1 / 0), ZeroDivisionError)
    assert script_helpers.refused(lambda: 1) is None


def test_attempted_returns_messages_or_the_exception() -> None:
    got, error, seconds = script_helpers.attempted(lambda: said("a"))
    assert (got, error) == (said("a"), None)
    got, error, seconds = script_helpers.attempted(lambda: 1 / 0)
    assert got == []
    assert isinstance(error, ZeroDivisionError)
    assert seconds < 1.0


def test_timed_returns_the_value_and_the_seconds() -> None:
    def slow() -> int:
        time.sleep(0.02)
        return 7

    value, seconds = script_helpers.timed(slow)
    assert value == 7
    assert 0.02 <= seconds < 2.0


def test_read_until_ends_when_it_is_enough_or_too_late() -> None:
    reads = iter([said("a", "b"), said("a"), []])
    assert script_helpers.read_until(lambda: next(reads), 5.0, at_most, 1) == said("a")
    assert script_helpers.read_until(lambda: said("a"), 0.05, is_empty) == said("a")


def test_read_while_refused_returns_the_first_read_that_does_not_raise() -> None:
    attempts = iter([False, True])

    def read() -> list[BaseMessage]:
        if not next(attempts):
            raise ValueError
        return said("a")

    assert script_helpers.read_while_refused(read, 5.0) == said("a")
    with pytest.raises(ZeroDivisionError):
        script_helpers.read_while_refused(lambda: 1 / 0, 0.0)


def test_numbered_messages_count_from_the_first() -> None:
    assert script_helpers.numbered_messages(2, 4) == said("m2", "m3")


def test_please_names_the_server_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", asked.append)
    monkeypatch.setenv("SERVER", "here:1")
    script_helpers.please("kill the server", "SERVER")
    assert asked == ["Please kill the server at here:1, then press Enter: "]


def test_wait_runs_on_the_last_loop_that_was_entered() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = script_loops.wait(loop())
    script_loops.enter_new_loop()
    assert script_loops.wait(loop()) is not first
    script_loops.leave_loop()
    assert script_loops.wait(loop()) is first
    script_loops.leave_loop()
    assert first.is_closed()


def test_a_history_is_opened_whatever_the_factory_returns() -> None:
    class Context:
        def __init__(self, history: Any) -> None:
            self.history = history

        def __enter__(self) -> Any:
            return self.history

        def __exit__(self, *exception: object) -> None:
            pass

    class AsyncContext(Context):
        async def __aenter__(self) -> Any:
            return self.history

    async def coroutine(history: Any) -> Any:
        return history

    def generator(history: Any) -> Iterator[Any]:
        yield history

    async def async_generator(history: Any) -> AsyncIterator[Any]:
        yield history

    history = MemoryChatMessageHistory("opened")
    factories = [lambda given: given, coroutine, generator, async_generator, Context, AsyncContext]
    for factory in factories:
        assert asyncio.run(script_opening.opened(factory, history)) is history
    script_opening.history_contexts.clear()


def test_all_at_once_awaits_each_lane() -> None:
    done: list[int] = []

    async def lane(number: int) -> None:
        await asyncio.sleep(0.001)
        done.append(number)

    async def run() -> None:
        await script_loops.all_at_once(lane(1), lane(2))

    asyncio.run(run())
    assert sorted(done) == [1, 2]


@pytest.mark.parametrize(
    ("number", "turns", "begun"), [(1, 0, 1), (3, 0, 3), (1, 1, 1), (1, 2, 2), (2, 3, 4)]
)
def test_a_call_is_cancelled_at_one_of_its_waits(number: int, turns: int, begun: int) -> None:
    waits: list[int] = []

    async def endless() -> None:
        while True:
            waits.append(len(waits))
            await asyncio.sleep(0)

    assert asyncio.run(script_loops.cancelled_at(number, turns, endless)) is None
    assert len(waits) == begun


def test_a_wait_at_which_a_call_is_cancelled_does_not_depend_on_its_length() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(0.05)
            ended.append("first")
            await asyncio.sleep(60)
        finally:
            ended.append("second")

    assert asyncio.run(script_loops.cancelled_at(2, 0, slow)) is None
    assert ended == ["first", "second"]


def test_turns_after_its_wait_let_the_tasks_of_a_call_go_on() -> None:
    reached: list[int] = []

    async def step() -> None:
        for number in range(5):
            reached.append(number)
            await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(step(), step())

    assert asyncio.run(script_loops.cancelled_at(1, 2, both)) is None
    assert max(reached) in (1, 2)


def test_a_cancelled_call_gives_the_other_error_that_it_raised() -> None:
    async def translated() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("not stored") from None

    async def finished() -> None:
        return None

    raised = asyncio.run(script_loops.cancelled_at(1, 0, translated))
    assert isinstance(raised, ValueError)
    assert asyncio.run(script_loops.cancelled_at(1, 0, finished)) is None


def test_a_call_is_made_under_a_running_loop() -> None:
    loop = asyncio.run(script_loops.under_a_loop(asyncio.get_running_loop))
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_only_a_call_that_blocks_the_loop_is_measured() -> None:
    async def blocks() -> None:
        time.sleep(0.05)

    async def waits() -> None:
        await asyncio.sleep(0.05)

    def measured(call: Callable[[], Awaitable[Any]]) -> float:
        return asyncio.run(script_loops.blocked_seconds(call))

    async def waits_and_blocks() -> None:
        await asyncio.sleep(0.1)
        time.sleep(0.05)
        await asyncio.sleep(0.1)

    async def blocks_in_a_task() -> None:
        await asyncio.gather(waits(), waits_and_blocks())

    async def computes() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            hash("")

    for one in (blocks, waits_and_blocks, blocks_in_a_task):
        assert measured(one) >= 0.05
    for one in (waits, computes):
        assert measured(one) < 0.04


def test_a_loop_that_is_late_for_another_reason_is_not_measured() -> None:
    async def waits() -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 0.05)
        await asyncio.sleep(0.06)

    assert asyncio.run(script_loops.blocked_seconds(waits)) < 0.04


def test_a_call_gives_its_value_and_its_error_through_its_steps() -> None:
    async def value() -> int:
        await asyncio.sleep(0)
        return 1

    async def error() -> None:
        await asyncio.sleep(0)
        raise KeyError("m0")

    async def in_steps(call: Callable[[], Any]) -> Any:
        return await script_loops.in_steps(call(), lambda step: step())

    assert asyncio.run(in_steps(value)) == 1
    with pytest.raises(KeyError, match="m0"):
        asyncio.run(in_steps(error))


def test_together_runs_lanes_at_once_and_raises_their_error() -> None:
    interval = sys.getswitchinterval()
    try:
        barrier = threading.Barrier(2)
        script_helpers.together(lambda: barrier.wait(5), lambda: barrier.wait(5))
        with pytest.raises(ZeroDivisionError):
            script_helpers.together(lambda: 1 / 0, lambda: None)
    finally:
        sys.setswitchinterval(interval)


def test_adding_records_returned_and_raised_messages() -> None:
    kept: list[str] = []
    unsure: list[str] = []

    def add(batch: list[BaseMessage]) -> None:
        if batch[0].content == "m1":
            raise ValueError

    adding = script_helpers.Adding("m", add, kept, unsure)
    deadline = time.monotonic() + 5.0
    while len(kept) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    adding.end(5.0)
    assert kept[:3] == ["m0", "m2", "m3"]
    assert unsure == ["m1"]
    assert [type(error) for error in adding.errors] == [ValueError]


def test_the_second_process_runs_lines_of_the_script(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        script_of(
            Code("elsewhere('a = [HumanMessage(nonce)]')", source(script_helpers.Elsewhere).needs),
            fill("print(elsewhere('a')[0].content == nonce)"),
            fill("elsewhere.kill()"),
            fill("{}[:0]", source(said("a"))),
            fill("elsewhere('a')"),
        ),
        "utf-8",
    )
    run = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout == "True\n"
    expected = "RuntimeError: in the second process: NameError: name 'a' is not defined"
    assert run.stderr.splitlines()[-1] == expected  # an error, so that `refused` can catch it


def test_end_after_ends_a_script_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        script_of(
            call(script_helpers.end_after, Code("0.1"), Code("'hangs'")),
            Code("time.sleep(60)", frozenset({Need("time")})),
        ),
        "utf-8",
    )
    run = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (run.returncode, run.stderr) == (1, "hangs\n")


def test_more_threads_and_files_are_counted() -> None:
    threads, files = script_helpers.open_threads(), script_helpers.open_files()
    release = threading.Event()
    waiting = threading.Thread(target=release.wait)
    waiting.start()
    try:
        with open(os.devnull):
            assert script_helpers.open_threads() > threads
            assert script_helpers.open_files() > files
        assert script_helpers.more_than(0, lambda: 1, 2) == 1
    finally:
        release.set()
        waiting.join()


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
@pytest.mark.parametrize("keyed", [False, True])
def test_a_fake_chat_stores_questions_and_answers(keyed: bool) -> None:
    history = MemoryChatMessageHistory(f"chat-{keyed}")
    chat = script_chat.FakeChat(history, keyed)
    asyncio.run(chat.ainvoke(said("q0"), [AIMessage("a0")]))
    chat.stream(said("q1"), [AIMessage("a1")])
    asyncio.run(chat.astream(said("q2"), [AIMessage("a2")]))
    chat.invoke(said("q3"), [AIMessage("a3")])
    contents = [message.content for message in history.messages]
    assert contents == ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3"]
    seen = [message.content for message in chat.last_history()]
    assert seen == contents[:6] if keyed else [*contents[:6], "q3"]


def test_a_step_shows_the_name_of_its_result_if_another_line_uses_it() -> None:
    read = Step("a.messages", Code(""), "[]", "got1")
    assert listed([read, Step("got1.clear()", Code(""))])[0] == "got1 = a.messages  ->  []"
    assert listed([read, Step("b.messages", Code("")), Step("", Code(""))]) == (
        "a.messages  ->  []",
        "b.messages",
    )


def test_a_settled_step_keeps_its_text_when_the_shown_value_changes() -> None:
    shown = ["m0"]
    step = Step("a.messages", Code(""), lambda: str(shown)).settled()
    shown.append("m1")
    assert step.line() == "a.messages  ->  ['m0']"


# -- declarations --------------------------------------------------------------------------------

DECLARING = """
import json as js, os
from collections.abc import Iterator

from chat_history_conformance import history_backend
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import BaseMessage

STORE: dict[str, "Mine"] = {}
UNUSED = undefined = 1
LOG = os.environ["LOG"]


def logged(text):
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(js.dumps(text) + "\\n")


class Limits:
    limit = 2
    double = limit + limit


class Mine(InMemoryChatMessageHistory, Limits):
    def clear(self) -> None:
        logged("clear")
        super().clear()


Limits.limit = 3


@history_backend("declared")
def declared(session_id: str) -> "Iterator[Mine]":
    yield STORE.setdefault(session_id, Mine())
    logged("close")
"""


@pytest.fixture
def declaring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that makes a backend of the source of a `conftest.py`."""
    monkeypatch.setattr(registry, "_declared", {})
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))

    def declare(source: str = DECLARING) -> tuple[Backend, Path]:
        path = tmp_path / "conftest.py"
        path.write_text(source, "utf-8")
        backend = Origin("conftest", "declared", str(path))
        factory = backend.load()
        return Backend("declared", factory, origin=backend), log

    yield declare
    sys.modules.pop("conftest", None)


def run_alone(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    path = directory / "alone.py"
    path.write_text(text, "utf-8")
    command = [sys.executable, "-I", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def opening_of(backend: Backend) -> Code:
    code = opening_code(backend, "{nonce}-1", "sync")
    return fill("a = {}\na.add_messages([])", code)


def test_a_script_contains_the_part_of_a_conftest_that_it_needs(declaring: Any) -> None:
    backend, log = declaring()
    text = script(backend, "a.contract[sync]", "lost all", [Step("", opening_of(backend))])
    (log.parent / "conftest.py").unlink()
    run = run_alone(text, log.parent)
    assert (run.returncode, run.stderr) == (0, "")
    assert "chat_history_conformance" not in text
    assert "history_backend" not in text
    assert "UNUSED" not in text
    assert "Limits.limit = 3" in text
    assert "import json as js" in text


def test_a_script_removes_what_it_stored_and_closes_what_it_opened(declaring: Any) -> None:
    backend, log = declaring()
    failing = fill("{}(False, 'lost all')", source(script_helpers.claim))
    steps = [Step("", opening_of(backend)), Step("", failing)]
    run = run_alone(script(backend, "a.contract[sync]", "lost all", steps), log.parent)
    assert run.stderr == "lost all\n"
    assert log.read_text("utf-8") == '"clear"\n"close"\n'


@pytest.mark.parametrize(
    "change",
    [
        ("STORE: dict", "PLACE = __file__\nSTORE: dict"),
        ("import json as js, os", "import os\nfrom .json import js"),
        ("    yield STORE", "    address('kafka')\n    yield STORE"),
    ],
)
def test_a_conftest_that_needs_its_place_or_the_suite_is_loaded_by_its_path(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    text = DECLARING.replace("import history_backend", "import address, history_backend")
    text = text.replace(*change).replace("setdefault(session_id", "setdefault(PLACE or session_id")
    text = text if "PLACE =" in text else text.replace("PLACE or ", "")
    path = tmp_path / "conftest.py"
    path.write_text(text, "utf-8")
    assert part_of(str(path), ["declared"]) is None


def test_several_lanes_can_open_histories_of_a_generator_function(declaring: Any) -> None:
    backend, log = declaring()
    lane = fill("lambda: {}", opening_code(backend, "{nonce}-1", "sync"))
    many = join(", ", [lane] * 20)
    text = script(
        backend, "a.contract[sync]", "lost all", [Step("", call(script_helpers.together, many))]
    )
    run = run_alone(text, log.parent)
    assert (run.returncode, run.stderr) == (0, "")


def test_several_lanes_can_use_the_second_process(tmp_path: Path) -> None:
    elsewhere = Code("elsewhere", source(script_helpers.Elsewhere).needs)
    lane = fill("lambda: [{}('1') for _ in range(200)]", elsewhere)
    run = run_alone(script_of(call(script_helpers.together, lane, lane, lane)), tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


def test_an_add_that_is_refused_in_the_second_process_does_not_end_the_script() -> None:
    call_ = fill("{}({})", Code("elsewhere", source(script_helpers.Elsewhere).needs), "'1 / 0'")
    refused = fill("error = {}\nprint(error)", lazily(script_helpers.refused, call_))
    with tempfile.TemporaryDirectory() as directory:
        run = run_alone(script_of(refused), Path(directory))
    assert run.returncode == 0
    assert "in the second process: ZeroDivisionError" in run.stdout
