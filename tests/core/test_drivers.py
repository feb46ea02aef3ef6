"""The threads, loops and processes that calls run on, and their time limits."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin, origin_of
from chat_history_conformance.declaration.registry import resolve
from chat_history_conformance.drivers.calls import Call, How, has_operation, invocation
from chat_history_conformance.drivers.errors import Hung, RemoteError, SecondProcessLost
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.drivers.threads import LoopThread, SyncThread
from chat_history_conformance.execution.subject import Subject

PLACES: list[tuple[str, int, asyncio.AbstractEventLoop | None]] = []


def here(what: str) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    PLACES.append((what, threading.get_ident(), loop))


class Placed:
    """A history that records the thread and the loop of each call."""

    def __init__(self, session_id: str) -> None:
        self.stored: list[BaseMessage] = []

    @property
    def messages(self) -> list[BaseMessage]:
        here("messages")
        return list(self.stored)

    def add_messages(self, messages: list[BaseMessage]) -> None:
        here("add_messages")
        self.stored.extend(messages)

    def clear(self) -> None:
        here("clear")
        self.stored.clear()

    async def aget_messages(self) -> list[BaseMessage]:
        here("aget_messages")
        return list(self.stored)

    async def aadd_messages(self, messages: list[BaseMessage]) -> None:
        here("aadd_messages")
        self.stored.extend(messages)

    async def aclear(self) -> None:
        here("aclear")
        self.stored.clear()


def generator(session_id: str) -> Iterator[Placed]:
    here("open")
    yield Placed(session_id)
    here("close")


async def async_generator(session_id: str) -> AsyncIterator[Placed]:
    here("open")
    yield Placed(session_id)
    await asyncio.sleep(0)
    here("close")


@pytest.fixture(autouse=True)
def _no_places() -> None:
    PLACES.clear()


@pytest.fixture
def local(request: pytest.FixtureRequest) -> Iterator[Local]:
    """Yield a host for the factory in the parameter of the test, by default `Placed`."""
    host = Local(Backend("mine", getattr(request, "param", Placed)), limit=5.0)
    yield host
    host.stop()


def use(host: Local | SecondProcess, how: Any) -> None:
    host.open("a", "session", how, None)
    host.call(Call("a", "add_messages", ([HumanMessage("0")],), how))
    assert [m.content for m in host.call(Call("a", "messages", (), how))] == ["0"]
    host.call(Call("a", "clear", (), how))
    assert host.call(Call("a", "messages", (), how)) == []
    host.release("a", how)


@pytest.mark.parametrize("local", [generator], indirect=True)
def test_synchronous_calls_share_one_thread_without_a_loop(local: Local) -> None:
    use(local, "sync")
    names = [what for what, _, _ in PLACES]
    assert names == ["open", "add_messages", "messages", "clear", "messages", "close"]
    assert {loop for _, _, loop in PLACES} == {None}
    (thread,) = {thread for _, thread, _ in PLACES}
    assert thread != threading.get_ident()


@pytest.mark.parametrize("local", [generator, async_generator], indirect=True)
def test_asynchronous_calls_share_one_loop_with_the_factory_and_its_clean_up(
    local: Local,
) -> None:
    use(local, "async")
    names = [what for what, _, _ in PLACES]
    assert names[0] == "open"
    assert names[1:-1] == ["aadd_messages", "aget_messages", "aclear", "aget_messages"]
    assert names[-1] == "close"
    if local.backend.factory is async_generator:
        assert {loop for _, _, loop in PLACES} == {local.loop.loop}


@pytest.mark.parametrize("local", [async_generator], indirect=True)
def test_an_asynchronous_factory_can_be_called_synchronously(local: Local) -> None:
    use(local, "sync")
    places = {what: loop for what, _, loop in PLACES}
    assert places["open"] is places["close"] is local.loop.loop
    assert places["add_messages"] is None


def test_a_call_that_does_not_return_is_hung_and_the_next_one_runs() -> None:
    thread = SyncThread()
    started = time.monotonic()
    with pytest.raises(Hung, match=r"no answer within 0\.1 s"):
        thread.run(lambda: time.sleep(3), 0.1)
    assert time.monotonic() - started < 2.5

    class Stuck(Placed):
        def clear(self) -> None:
            time.sleep(3)

    local = Local(Backend("mine", Stuck), limit=0.1)
    local.open("a", "session", "sync", None)
    with pytest.raises(Hung):
        local.call(Call("a", "clear"))
    assert local.call(Call("a", "messages")) == []
    local.stop()


def test_an_operation_that_keeps_hanging_gets_less_time() -> None:
    stuck = threading.Event()

    class Sometimes(Placed):
        def clear(self) -> None:
            if stuck.is_set():
                time.sleep(5)

    local = Local(Backend("mine", Sometimes), limit=0.5)
    local.open("a", "session", "sync", None)
    stuck.set()
    for _ in range(4):
        with pytest.raises(Hung, match=r"within 0\.5 s"):
            local.call(Call("a", "clear"))
    with pytest.raises(Hung, match=r"within 0\.1 s"):
        local.call(Call("a", "clear"))
    stuck.clear()
    local.call(Call("a", "clear"))
    stuck.set()
    with pytest.raises(Hung, match=r"within 0\.5 s"):
        local.call(Call("a", "clear"))
    local.stop()


def test_a_coroutine_that_does_not_return_is_hung_and_cancelled() -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loop = LoopThread()
    with pytest.raises(Hung):
        loop.run(wait(), 0.1)
    assert cancelled.wait(2)
    loop.stop()


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_process_ends_although_a_call_never_returns(how: str) -> None:
    script = f"""
        import time
        from concurrent.futures import ThreadPoolExecutor
        from langchain_core.chat_history import InMemoryChatMessageHistory
        from chat_history_conformance.declaration.backend import Backend
        from chat_history_conformance.drivers.calls import Call
        from chat_history_conformance.drivers.errors import Hung
        from chat_history_conformance.drivers.local import Local

        POOL = ThreadPoolExecutor()

        class Stuck(InMemoryChatMessageHistory):
            def clear(self):
                POOL.submit(time.sleep, 1000).result()

        local = Local(Backend("mine", lambda session_id: Stuck()), limit=0.2)
        local.open("a", "session", {how!r}, None)
        try:
            local.call(Call("a", "clear", (), {how!r}))
        except Hung:
            print("hung")
        local.stop()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("hung\n", 0), done.stderr


def test_the_pool_has_threads_left_after_many_hung_calls() -> None:
    class StuckReads(Placed):
        async def aget_messages(self) -> list[BaseMessage]:
            await asyncio.to_thread(time.sleep, 1000)
            return []

        async def aadd_messages(self, messages: list[BaseMessage]) -> None:
            await asyncio.to_thread(self.add_messages, messages)

    local = Local(Backend("mine", StuckReads), limit=0.5)
    local.open("a", "session", "async", None)
    for _ in range(40):  # a pool has at most 32 threads
        with pytest.raises(Hung):
            local.call(Call("a", "messages", (), "async"))
    local.call(Call("a", "add_messages", ([HumanMessage("0")],), "async"))
    local.stop()


def test_a_timeout_error_of_a_history_is_not_a_hang() -> None:
    def late() -> None:
        raise TimeoutError("the server was slow")

    with pytest.raises(TimeoutError, match="the server was slow"):
        SyncThread().run(late, 1.0)


def test_lanes_run_at_the_same_time_and_return_their_results(local: Local) -> None:
    meeting = threading.Barrier(2)

    class Meeting(Placed):
        def add_messages(self, messages: list[BaseMessage]) -> None:
            meeting.wait(2)
            super().add_messages(messages)

    local = Local(Backend("mine", Meeting), limit=5.0)
    local.open("a", "session", "sync", None)
    lanes = [[Call("a", "add_messages", ([HumanMessage(str(n))],))] for n in range(2)]
    done = local.together(lanes)
    assert [[item.error for item in lane] for lane in done] == [[None], [None]]
    assert len(local.call(Call("a", "messages"))) == 2
    local.stop()


@pytest.mark.parametrize("how", ["sync", "async"])
def test_lanes_that_wait_for_a_shared_lock_are_not_hung(how: How) -> None:
    """Run calls that each take less than the limit, but more than it in total."""
    alone = threading.Lock()

    class Alone(Placed):
        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            with alone:
                time.sleep(0.03)

        async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
            await asyncio.sleep(0.0)
            self.add_messages(messages)

    local = Local(Backend("mine", Alone), limit=1.0)
    local.open("a", "session", how, None)
    lane = [Call("a", "add_messages", ([HumanMessage("m")],), how)] * 10
    began = time.monotonic()
    done = local.together([lane] * 4)
    assert time.monotonic() - began > 1.0
    assert [len(one) for one in done] == [10] * 4
    local.stop()


def test_lanes_that_never_end_are_hung() -> None:
    class Deadlocked(Placed):
        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            time.sleep(5)

    local = Local(Backend("mine", Deadlocked), limit=0.1)
    local.open("a", "session", "sync", None)
    began = time.monotonic()
    with pytest.raises(Hung, match=r"no answer within 0\.1 s"):
        local.together([[Call("a", "add_messages", ([HumanMessage("m")],))]] * 2)
    assert time.monotonic() - began < 4
    local.stop()


def test_asynchronous_lanes_are_tasks_of_one_loop(local: Local) -> None:
    local.open("a", "session", "async", None)
    adding = [Call("a", "add_messages", ([HumanMessage(str(n))],), "async") for n in range(2)]
    local.together([[adding[0]], [adding[1]]])
    assert {loop for _, _, loop in PLACES} == {local.loop.loop}


def test_a_lane_ends_at_its_first_error(local: Local) -> None:
    local.open("a", "session", "sync", None)
    (lane,) = local.together([[Call("a", "no_such_method"), Call("a", "messages")]])
    assert len(lane) == 1
    assert isinstance(lane[0].error, AttributeError)


# -- operations and attributes ------------------------------------------------------------------


class Mapped(Placed):
    def tail(self, max_message_count: int) -> list[BaseMessage]:
        return self.stored[-max_message_count:]

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> list[BaseMessage]:
        assert max_time_sec is None
        return self.stored[:max_message_count]


def test_a_mapped_read_is_called_by_the_name_of_the_history() -> None:
    backend = Backend("mine", Mapped, methods={"last_messages": "tail"})
    history = Mapped("s")
    expression = invocation(backend, history, Call("a", "last_messages", (3,)))
    assert (expression.name, dict(expression.kwargs)) == ("tail", {"max_message_count": 3})
    assert has_operation(backend, history, "last_messages")
    assert not has_operation(Backend("mine", Mapped), history, "last_messages")


def test_messages_from_beginning_replaces_messages_without_whole_reads() -> None:
    local = Local(Backend("mine", Mapped, lacks={"whole_reads": "consumes"}), limit=5.0)
    local.open("a", "session", "sync", None)
    local.call(Call("a", "add_messages", ([HumanMessage(str(n)) for n in range(9)],)))
    assert len(local.call(Call("a", "messages"))) == 9
    local.stop()


# -- the second process --------------------------------------------------------------------------

DECLARING = """
import functools
import os

from chat_history_conformance import history_backend
from langchain_core.messages import HumanMessage


class Mine:
    def __init__(self, session_id, folder="."):
        self.path = os.path.join(folder, "kept.txt")

    @property
    def messages(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path) as file:
            return [HumanMessage(line.rstrip()) for line in file]

    def add_messages(self, messages):
        print("this output must not mix with the answers")
        with open(self.path, "a") as file:
            file.writelines(message.content + "\\n" for message in messages)

    def clear(self):
        if os.path.exists(self.path):
            os.remove(self.path)


def opening(folder):
    def open_mine(session_id):
        return Mine(session_id, folder)

    return open_mine


class Opener:
    def __call__(self, session_id):
        return Mine(session_id)


class Dying(Mine):
    def add_messages(self, messages):
        os._exit(3)


class Failing(Mine):
    def add_messages(self, messages):
        raise LookupError("no such table")

    def clear(self):
        raise ConnectionError("gone")


class Sleeping(Mine):
    def add_messages(self, messages):
        import time

        time.sleep(30)


history_backend("class")(Mine)
a_lambda = history_backend("lambda")(lambda session_id: Mine(session_id))
history_backend("anonymous lambda")(lambda session_id: Mine(session_id))
a_closure = history_backend("closure")(opening("."))
a_partial = history_backend("partial")(functools.partial(Mine, folder="."))
an_object = history_backend("object")(Opener())
history_backend("dying")(Dying)
history_backend("failing")(Failing)
history_backend("sleeping")(Sleeping)


@history_backend("generator")
def generator(session_id):
    yield Mine(session_id)
"""
NAMED = ["class", "lambda", "anonymous lambda", "closure", "partial", "object", "generator"]


@pytest.fixture(params=["module", "conftest"])
def declaring(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Declare backends in an importable module or in a conftest, which is not importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_declared", {})
    if request.param == "module":
        tmp_path.joinpath("declaring.py").write_text(DECLARING)
        monkeypatch.syspath_prepend(str(tmp_path))
        Origin("declaring", "").load()
        yield
        del sys.modules["declaring"]
    else:
        file = tmp_path / "conftest.py"
        file.write_text(DECLARING)
        outer = sys.modules.pop("conftest", None)
        Origin("conftest", "", str(file)).load()
        yield
        del sys.modules["conftest"]
        if outer is not None:
            sys.modules["conftest"] = outer


@pytest.fixture
def second_process(request: pytest.FixtureRequest, declaring: None) -> Iterator[SecondProcess]:
    """Yield a second process for the backend in the parameter of the test."""
    host = SecondProcess(resolve(request.param), limit=1.0)
    yield host
    host.stop()
    assert not host.alive


@pytest.mark.parametrize("declaring", ["conftest"], indirect=True)
@pytest.mark.parametrize("name", NAMED)
def test_a_second_process_opens_backends_of_every_shape(declaring: None, name: str) -> None:
    second_process = SecondProcess(resolve(name), limit=20.0)
    try:
        use(second_process, "sync")
    finally:
        second_process.stop()


@pytest.mark.parametrize("declaring", ["module"], indirect=True)
@pytest.mark.parametrize("name", ["class", "closure"])
def test_a_second_process_imports_the_declaring_module(declaring: None, name: str) -> None:
    second_process = SecondProcess(resolve(name), limit=20.0)
    try:
        use(second_process, "sync")
    finally:
        second_process.stop()


def test_a_second_process_reads_messages_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = resolve("sqlite")
    local, second_process = Local(backend, limit=20.0), SecondProcess(backend, limit=20.0)
    try:
        for host in (local, second_process):
            host.open("a", "session", "sync", None)
        local.call(Call("a", "add_messages", ([HumanMessage("0")],)))
        assert [m.content for m in second_process.call(Call("a", "messages"))] == ["0"]
    finally:
        local.stop()
        second_process.stop()


def test_an_unread_answer_is_not_taken_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    second_process = SecondProcess(resolve("sqlite"), limit=20.0)
    try:
        second_process.open("a", "session", "sync", None)
        second_process.begin([[Call("a", "add_messages", ([HumanMessage("0")],))]])
        assert [m.content for m in second_process.call(Call("a", "messages"))] == ["0"]
        wait = second_process.begin([[Call("a", "messages")]])
        ((done,),) = wait()
        assert [m.content for m in done.value] == ["0"]
    finally:
        second_process.stop()


@pytest.mark.parametrize("declaring", ["conftest"], indirect=True)
@pytest.mark.parametrize("second_process", ["dying"], indirect=True)
def test_a_second_process_that_dies_is_lost_at_once(second_process: SecondProcess) -> None:
    second_process.open("a", "session", "sync", None)
    started = time.monotonic()
    with pytest.raises(SecondProcessLost, match="the second process ended with status 3"):
        second_process.call(Call("a", "add_messages", ([],)))
    with pytest.raises(SecondProcessLost):
        second_process.call(Call("a", "messages"))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("declaring", ["conftest"], indirect=True)
@pytest.mark.parametrize("second_process", ["failing"], indirect=True)
def test_an_exception_in_a_second_process_has_its_name_and_text(
    second_process: SecondProcess,
) -> None:
    second_process.open("a", "session", "sync", None)
    with pytest.raises(RemoteError) as raised:
        second_process.call(Call("a", "add_messages", ([],)))
    error = raised.value
    assert (error.type_name, str(error), error.server) == ("LookupError", "no such table", False)
    with pytest.raises(RemoteError) as raised:
        second_process.call(Call("a", "clear"))
    assert raised.value.server


@pytest.mark.parametrize("declaring", ["conftest"], indirect=True)
@pytest.mark.parametrize("second_process", ["sleeping"], indirect=True)
def test_a_call_that_hangs_in_a_second_process_is_hung(second_process: SecondProcess) -> None:
    second_process.open("a", "session", "sync", None)
    with pytest.raises((Hung, RemoteError)) as raised:
        second_process.call(Call("a", "add_messages", ([],)))
    assert isinstance(raised.value, Hung)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
def test_a_second_process_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_history_conformance.drivers.second_process._EXTRA_SECONDS", 0.1)
    subject = Subject(resolve("sqlite"), limit=60.0)
    first = subject.second_process
    first.limit = 0.5
    subject.end_hung_process()
    assert subject.second_process is first
    os.kill(first._process.pid, signal.SIGSTOP)
    with pytest.raises(Hung):
        first.open("a", "session", "sync", None)
    subject.end_hung_process()
    assert not first.alive
    second = subject.second_process
    assert second is not first
    assert second.alive
    subject.stop()


def test_a_function_inside_a_function_cannot_have_a_second_process() -> None:
    def inner(session_id: str) -> Placed:
        return Placed(session_id)

    backend = Backend("mine", inner, origin_of(inner))
    with pytest.raises(SecondProcessLost, match="Move it to module level"):
        SecondProcess(backend, limit=1.0)


def test_a_backend_that_a_second_process_cannot_import_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "conftest.py"
    file.write_text(textwrap.dedent("raise LookupError('only at home')"))
    backend = Backend("mine", Placed, Origin("conftest", "mine", str(file)))
    with pytest.raises(
        SecondProcessLost, match="cannot import the backend: LookupError: only at home"
    ):
        SecondProcess(backend, limit=5.0)


def test_stopping_ends_threads_and_processes() -> None:
    before = threading.active_count()
    local = Local(Backend("mine", async_generator), limit=5.0)
    use(local, "sync")
    local.stop()
    deadline = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_hung_coroutine_does_not_block_the_loop() -> None:
    class Waiting(Placed):
        async def aclear(self) -> None:
            await asyncio.sleep(30)

    local = Local(Backend("mine", Waiting), limit=0.1)
    local.open("a", "session", "async", None)
    loop = local.loop
    with pytest.raises(Hung):
        local.call(Call("a", "clear", (), "async"))
    assert local.loop is loop
    assert local.call(Call("a", "messages", (), "async")) == []
    local.stop()


def test_a_blocked_loop_is_replaced() -> None:
    class Blocking(Placed):
        async def aclear(self) -> None:
            time.sleep(1.6)

    local = Local(Backend("mine", Blocking), limit=0.1)
    local.open("a", "session", "async", None)
    loop = local.loop
    with pytest.raises(Hung):
        local.call(Call("a", "clear", (), "async"))
    assert local.loop is not loop
    assert local.call(Call("a", "messages", (), "async")) == []
    local.stop()
    loop._thread.join(3)
    assert loop.loop.is_closed()


def test_a_hung_call_that_ends_late_does_not_disturb_the_next() -> None:
    thread = SyncThread()
    with pytest.raises(Hung):
        thread.run(lambda: time.sleep(0.1), 0.02)
    assert thread.run(lambda: 7, 1.0) == 7
    thread.stop()


def test_a_loop_that_ends_says_nothing_about_tasks_that_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = LoopThread()
    left: list[asyncio.Task[None]] = []

    async def goes_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(asyncio.ensure_future(asyncio.sleep(60)))

    async def start() -> None:
        left.append(asyncio.ensure_future(goes_on()))
        await asyncio.sleep(0)

    loop.run(start(), 5.0)
    loop.stop()
    assert len(left) == 2
    left.clear()
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
