"""Calls that run in forks of one process."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.drivers.calls import Call, How
from chat_history_conformance.drivers.errors import Hung, RemoteError
from chat_history_conformance.drivers.forks import WHY_NO_FORKS, run_in_forks

pytestmark = pytest.mark.skipif(bool(WHY_NO_FORKS), reason=WHY_NO_FORKS)

LIMIT = 20.0
DECLARING = """
import os, time
from langchain_core.messages import AIMessage
IMPORTED = os.getpid()
STORED = []
class Mine:
    def __init__(self, session_id):
        self.session_id = session_id
    @property
    def messages(self):
        return [AIMessage(f"{IMPORTED} {os.getpid()} {len(STORED)}")]
    async def aget_messages(self):
        return self.messages
    def add_messages(self, messages):
        STORED.extend(messages)
        doing[messages[0].content]()
    def clear(self):
        STORED.clear()
    def close(self):
        with open(self.session_id, "w") as file:
            file.write("closed")
def refuse():
    raise ValueError("refused")
doing = {
    "nothing": lambda: None, "exit": lambda: os._exit(3), "abort": os.abort,
    "refuse": refuse, "sleep": lambda: time.sleep(60),
}
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Return a backend that another process can import."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "conftest.py"
    file.write_text(textwrap.dedent(DECLARING), encoding="utf-8")
    origin = Origin("conftest", "Mine", str(file))
    return Backend("mine", origin.load(), origin)


def lane(*texts: str, session: str = "session", how: How = "sync") -> list[Call]:
    adds = [Call("a", "add_messages", ([HumanMessage(text)],)) for text in texts]
    return [Call("a", "open", (session, None), how), *adds, Call("a", "messages", (), how)]


def test_each_lane_gets_a_fork_of_the_process_that_imported_the_backend(backend: Backend) -> None:
    first, second = run_in_forks(backend, LIMIT, [lane("nothing", "nothing"), lane("nothing")])
    imported, one, number = first[-1].value[0].content.split()
    assert number == "2"
    imported_too, two, number = second[-1].value[0].content.split()
    assert number == "1", "the second lane sees nothing of the first"
    assert imported == imported_too
    assert len({imported, one, two}) == 3


def test_asynchronous_calls_run_in_forks_too(backend: Backend) -> None:
    [[opened, read]] = run_in_forks(backend, LIMIT, [lane(how="async")])
    assert opened.error is None
    assert read.value[0].content.endswith(" 0")


def test_the_histories_of_a_fork_are_closed(backend: Backend, tmp_path: Path) -> None:
    run_in_forks(backend, LIMIT, [lane(session="one"), lane(session="two")])
    assert (tmp_path / "one").read_text("utf-8") == "closed"
    assert (tmp_path / "two").read_text("utf-8") == "closed"


def test_an_error_of_the_history_ends_its_lane(backend: Backend) -> None:
    [done, other] = run_in_forks(backend, LIMIT, [lane("refuse", "nothing"), lane()])
    assert isinstance(done[-1].error, RemoteError)
    assert str(done[-1].error) == "refused"
    assert done[-1].error.type_name == "ValueError"
    assert len(done) == 2
    assert other[-1].error is None


@pytest.mark.parametrize(
    ("act", "how"),
    [("exit", "a fork ended with status 3"), ("abort", "a fork died of SIGABRT")],
)
def test_a_fork_that_ends_is_an_error(backend: Backend, act: str, how: str) -> None:
    with pytest.raises(RemoteError, match=how) as raised:
        run_in_forks(backend, LIMIT, [lane(act)])
    assert raised.value.type_name == "ChildProcessError"


def test_a_fork_that_hangs_is_reported(backend: Backend) -> None:
    with pytest.raises(Hung):
        run_in_forks(backend, 1.0, [lane("sleep")])
