"""Opening and closing the histories of factories of every shape."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chat_history_conformance.drivers.opening import NeedsLoop, NotAHistory, Opened, aenter, enter


class History:
    """A minimal chat history that logs its clean-up."""

    def __init__(self, session_id: str = "s") -> None:
        self.session_id = session_id
        self.log: list[str] = []

    def add_messages(self, messages: list[Any]) -> None:
        raise AssertionError("opening must not add messages")


class SelfManaged(History):
    """A history that is also a context manager. Opening must not enter it."""

    def __enter__(self) -> SelfManaged:
        raise AssertionError("a history must not be entered")

    def __exit__(self, *exception: object) -> None:
        raise AssertionError("a history must not be entered")


LAST: list[History] = []


def plain(session_id: str) -> History:
    return History(session_id)


def generator(session_id: str) -> Iterator[History]:
    history = History(session_id)
    LAST.append(history)
    yield history
    history.log.append("cleaned up")


async def coroutine(session_id: str) -> History:
    await asyncio.sleep(0)
    return History(session_id)


async def async_generator(session_id: str) -> AsyncIterator[History]:
    history = History(session_id)
    LAST.append(history)
    yield history
    await asyncio.sleep(0)
    history.log.append("cleaned up")


class Manager:
    def __init__(self, session_id: str) -> None:
        self.history = History(session_id)

    def __enter__(self) -> History:
        return self.history

    def __exit__(self, *exception: object) -> None:
        self.history.log.append("cleaned up")


class AsyncManager:
    def __init__(self, session_id: str) -> None:
        self.history = History(session_id)

    async def __aenter__(self) -> History:
        await asyncio.sleep(0)
        return self.history

    async def __aexit__(self, *exception: object) -> None:
        self.history.log.append("cleaned up")


class Opener:
    """A callable object."""

    def __call__(self, session_id: str) -> History:
        return History(session_id)


SYNC = [
    History,
    SelfManaged,
    plain,
    generator,
    contextlib.contextmanager(generator),
    Manager,
    functools.partial(History),
    Opener(),
    lambda session_id: History(session_id),
]
ASYNC = [
    coroutine,
    async_generator,
    contextlib.asynccontextmanager(async_generator),
    AsyncManager,
    functools.partial(coroutine),
]


@pytest.mark.parametrize("factory", SYNC)
def test_every_synchronous_shape_opens_a_history(factory: Any) -> None:
    opened = enter(factory("mine"))
    assert isinstance(opened.history, History)
    assert opened.history.session_id == "mine"
    if opened.exit is not None:
        opened.exit()
        assert opened.history.log == ["cleaned up"]


@pytest.mark.parametrize("factory", [generator, contextlib.contextmanager(generator), Manager])
def test_a_shape_with_clean_up_has_an_exit(factory: Any) -> None:
    opened = enter(factory("mine"))
    assert opened.history.log == []
    assert opened.exit is not None


@pytest.mark.parametrize("factory", [*SYNC, *ASYNC])
def test_every_shape_opens_on_a_loop(factory: Any) -> None:
    async def on_loop() -> Opened:
        opened = await aenter(factory("mine"))
        if opened.aexit is not None:
            await opened.aexit()
            assert opened.history.log == ["cleaned up"]
        return opened

    opened = asyncio.run(on_loop())
    assert isinstance(opened.history, History)
    assert opened.history.session_id == "mine"


@pytest.mark.parametrize(
    "factory", [async_generator, contextlib.asynccontextmanager(async_generator), AsyncManager]
)
def test_an_asynchronous_shape_with_clean_up_has_an_asynchronous_exit(factory: Any) -> None:
    assert asyncio.run(aenter(factory("mine"))).aexit is not None


@pytest.mark.parametrize("factory", ASYNC)
def test_an_asynchronous_shape_needs_a_loop(factory: Any) -> None:
    with pytest.raises(NeedsLoop) as needs:
        enter(factory("mine"))
    assert isinstance(asyncio.run(aenter(needs.value.value)).history, History)


@pytest.mark.parametrize(
    "factory",
    [
        lambda session_id: None,
        lambda session_id: 7,
        lambda session_id: [],
        lambda session_id: iter(()),
        lambda session_id: (None for _ in range(1)),
        lambda session_id: contextlib.nullcontext("text"),
    ],
)
def test_an_object_that_is_not_a_history_is_refused_with_its_type(factory: Any) -> None:
    with pytest.raises(NotAHistory, match="is not a chat history: it has no add_messages"):
        enter(factory("mine"))


def test_a_coroutine_that_returns_no_history_is_refused() -> None:
    async def nothing() -> None: ...

    with pytest.raises(NotAHistory, match="NoneType is not a chat history"):
        asyncio.run(aenter(nothing()))


def test_a_generator_that_yields_nothing_is_refused() -> None:
    def empty() -> Iterator[History]:
        return
        yield

    async def async_empty() -> AsyncIterator[History]:
        return
        yield

    with pytest.raises(NotAHistory, match="yielded nothing"):
        enter(empty())
    with pytest.raises(NotAHistory, match="yielded nothing"):
        asyncio.run(aenter(async_empty()))


def test_an_exception_of_a_factory_is_raised() -> None:
    def failing() -> Iterator[History]:
        raise LookupError("no database")
        yield

    with pytest.raises(LookupError, match="no database"):
        enter(failing())
