"""Iterations of a history: calls on it, its steps, and what is left of it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory, MemoryStore
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import ConformanceFailure
from chat_history_conformance.diagnosis.script_claims import are_among, are_same
from chat_history_conformance.diagnosis.script_iterating import live_messages, most_alive
from chat_history_conformance.drivers.calls import Call, How, has_operation, invocation
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.execution.iteration import joined
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject

STORE = MemoryStore()
EVENTS: list[str] = []


class Mine(MemoryChatMessageHistory):
    """A history that records the threads of its iterations and their ends."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, store=STORE)

    def iterated(self, batch_size: int = 1000) -> Iterator[BaseMessage]:
        try:
            for message in self.messages:
                EVENTS.append(threading.current_thread().name)
                if message.content == "bad":
                    raise ValueError("a bad record")
                yield message
        finally:
            EVENTS.append("closed")

    async def aiterated(self, batch_size: int = 1000) -> AsyncIterator[BaseMessage]:
        for message in self.iterated(batch_size):
            yield message


MAPPED = Backend("mine", Mine, methods={"iter_messages": "iterated"})


@pytest.fixture
def session() -> Iterator[Any]:
    """Return a function that makes sessions on `Mine`, and end them."""
    EVENTS.clear()
    made: list[Session] = []

    def make(mode: Any = "sync", backend: Backend = MAPPED) -> Session:
        made.append(Session(Subject(backend, limit=5.0), mode))
        return made[-1]

    yield make
    for item in made:
        item.finish(failed=True)
        item.subject.stop()


def batch(*contents: str) -> list[BaseMessage]:
    return [HumanMessage(content) for content in contents]


def contents(messages: Sequence[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]


def lines(s: Session) -> list[str]:
    return [step.line() for step in s.steps]


def source(s: Session) -> str:
    return "\n".join(step.source().text for step in s.steps)


@pytest.mark.parametrize(("how", "thread"), [("sync", "history-sync"), ("async", "history-loop")])
def test_an_iteration_runs_where_other_calls_run(how: How, thread: str) -> None:
    EVENTS.clear()
    local = Local(MAPPED, limit=5.0)
    local.open("a", "driven", how, None)
    local.call(Call("a", "add_messages", (batch("0", "1", "2"),), how))
    local.iterate("it", Call("a", "iter_messages", (2,), how))
    assert contents(local.call(Call("it", "take", (2, []), how))) == ["0", "1"]
    assert contents(local.call(Call("it", "take", (9, []), how))) == ["2"]
    assert local.call(Call("it", "take", (9, []), how)) == []
    assert set(EVENTS) == {thread, "closed"}
    local.call(Call("a", "clear", (), how))
    local.stop()


def test_a_mapped_iteration_is_called_by_the_name_of_the_history() -> None:
    history = Mine("s")
    expression = invocation(MAPPED, history, Call("a", "iter_messages", (3,), "async"))
    assert (expression.name, dict(expression.kwargs)) == ("aiterated", {"batch_size": 3})
    assert invocation(MAPPED, history, Call("a", "iter_messages")).kwargs == {}
    assert has_operation(MAPPED, history, "iter_messages")
    other = Backend("mine", Mine, methods={"iter_messages": "no_such_method"})
    assert not has_operation(other, history, "iter_messages")


def test_an_iteration_is_a_capability_of_the_histories_that_have_the_method() -> None:
    for methods, found in (("iterated", True), ("no_such_method", False)):
        subject = Subject(Backend("mine", Mine, methods={"iter_messages": methods}), limit=5.0)
        assert ("iter_messages" in subject.capabilities.names) is found
        subject.stop()


def test_the_steps_of_an_iteration_are_plain_python(session: Any) -> None:
    s = session()
    a = s.open()
    a.add(batch("0", "1", "2"))
    iteration = a.iterate(2)
    got = joined([iteration.take(1), iteration.take()])
    iteration.close()
    assert (got.name, contents(got.value)) == ("got2 + got3", ["0", "1", "2"])
    assert lines(s)[2:] == [
        "it1 = a.iterated(batch_size=2)",
        "list(itertools.islice(it1, 1))  ->  [Human '0']",
        "list(itertools.islice(it1, 5_000))  ->  [Human '1', Human '2']",
        "it1.close()",
    ]
    assert source(s).splitlines()[-3:] == [
        "got2 = list(itertools.islice(it1, 1))",
        "got3 = list(itertools.islice(it1, 5_000))",
        "it1.close()",
    ]


def test_the_steps_of_an_asynchronous_iteration_await_it(session: Any) -> None:
    s = session("async")
    a = s.open()
    a.add(batch("0", "1"))
    iteration = a.iterate()
    iteration.take(1)
    iteration.close()
    assert lines(s)[2:] == [
        "it1 = a.aiterated()",
        "await taken(it1, 1)  ->  [Human '0']",
        "await it1.aclose()",
    ]
    assert source(s).splitlines()[-3:] == [
        "it1 = a.aiterated()",
        "got2 = wait(taken(it1, 1))",
        "wait(it1.aclose())",
    ]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_came_before_an_error_is_kept(session: Any, mode: Any) -> None:
    s = session(mode)
    a = s.open()
    a.add(batch("0", "1", "bad", "3"))
    got, error = a.iterate(1).try_take()
    assert contents(got.value) == ["0", "1"]
    assert isinstance(error, ValueError)
    assert lines(s)[-1].endswith("->  [Human '0', Human '1'], then ValueError: 'a bad record'")
    with pytest.raises(ConformanceFailure, match="raises ValueError: a bad record"):
        a.iterate(1).take()


def test_an_iteration_that_is_dropped_or_forgotten_is_closed(session: Any) -> None:
    s = session()
    a = s.open()
    a.add(batch("0", "1"))
    dropped, forgotten = a.iterate(), a.iterate()
    for iteration in (dropped, forgotten):
        iteration.take(1)
    dropped.drop()
    assert EVENTS.count("closed") == 1
    s.finish(failed=False)
    assert EVENTS.count("closed") == 2


class NoIterator(Mine):
    """Returns a list, and nothing that can be iterated over asynchronously."""

    def iter_messages(self, batch_size: int = 1000) -> Any:
        return self.messages

    def aiter_messages(self, batch_size: int = 1000) -> Any:
        return self.messages


def test_a_list_can_be_iterated_over_and_awaited_cannot(session: Any) -> None:
    s = session(backend=Backend("mine", NoIterator))
    a = s.open()
    a.add(batch("0"))
    assert contents(a.iterate(1).take().value) == ["0"]
    s = session("async", Backend("mine", NoIterator))
    with pytest.raises(ConformanceFailure, match="aiter_messages` raises TypeError"):
        s.open().iterate(1)


def test_the_messages_that_are_alive_are_counted() -> None:
    def one_by_one() -> Iterator[BaseMessage]:
        return (HumanMessage(str(number)) for number in range(1000))

    def all_at_once() -> Iterator[BaseMessage]:
        yield from batch(*map(str, range(1000)))

    peaks = []
    for messages in (one_by_one(), all_at_once()):

        def take(count: int, messages: Iterator[BaseMessage] = messages) -> list[BaseMessage]:
            return list(islice(messages, count))

        peaks.append(most_alive(take, 100, 5_000))
    assert peaks[0] < 50
    assert peaks[1] > 950
    kept = batch("0", "1")
    assert live_messages() >= len(kept)


def test_claims_about_iterations() -> None:
    assert are_among(batch("a", "c"), ["a", "b", "c"])
    assert are_among([], ["a"])
    assert not are_among(batch("c", "a"), ["a", "b", "c"])
    assert not are_among(batch("a", "a"), ["a", "b"])
    assert not are_among(batch("x"), ["a"])
    assert are_same(batch("a"), batch("a"))
    assert not are_same(batch("a"), [HumanMessage("a", id="1")])
