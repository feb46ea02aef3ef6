"""The protocols of histories and floors, and the classes that match them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory

import chat_history_conformance
from chat_history_backends.benchmarks.floors.memory import MemoryFloor
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import AsyncChatHistory, ChatHistory, Floor, history_backend
from chat_history_conformance.declaration import registry


class FromLangChain(InMemoryChatMessageHistory):
    """A history of langchain-core, which warns only about direct instances of its class."""


# mypy checks these assignments.
SYNC: list[ChatHistory] = [FromLangChain(), MemoryChatMessageHistory("s")]
ASYNC: list[AsyncChatHistory] = [FromLangChain(), MemoryChatMessageHistory("s")]
FLOORS: list[Floor] = [MemoryFloor("s")]


def members(protocol: Any) -> set[str]:
    """Return the public names of a protocol, with those of its bases."""
    return {name for kind in protocol.__mro__[:-3] for name in vars(kind) if name[0] != "_"}


@pytest.mark.parametrize(
    ("protocol", "examples"), [(ChatHistory, SYNC), (AsyncChatHistory, ASYNC), (Floor, FLOORS)]
)
def test_examples_have_the_methods_of_their_protocol(protocol: Any, examples: list[Any]) -> None:
    names = members(protocol)
    assert len(names) == 3
    for example in examples:
        assert all(hasattr(example, name) for name in names)


@pytest.mark.parametrize("name", chat_history_conformance.__all__)
def test_the_package_exports_every_name_in_all(name: str) -> None:
    assert getattr(chat_history_conformance, name) is not None


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'history_backends'"):
        _ = chat_history_conformance.history_backends


def test_the_decorator_accepts_every_typed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check with mypy that the type of a factory covers the documented shapes."""
    monkeypatch.setattr(registry, "_declared", {})

    def generator(session_id: str) -> Iterator[MemoryChatMessageHistory]:
        yield MemoryChatMessageHistory(session_id)

    async def coroutine(session_id: str) -> FromLangChain:
        return FromLangChain()

    async def async_generator(session_id: str) -> AsyncIterator[MemoryChatMessageHistory]:
        yield MemoryChatMessageHistory(session_id)

    history_backend("class")(MemoryChatMessageHistory)
    history_backend("generator")(generator)
    history_backend("context manager")(contextmanager(generator))
    history_backend("coroutine")(coroutine)
    history_backend("async generator")(async_generator)
    history_backend("async context manager")(asynccontextmanager(async_generator))
    assert len(registry.declared()) == 6
