"""Hypothesis strategies for messages, batches, conversations and session ids.

They are public. Use them in your own tests: `from chat_history_conformance import strategies`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from chat_history_conformance.execution.enumeration import takes_whole_list

__all__ = [
    "batches",
    "contents",
    "conversations",
    "json_values",
    "messages",
    "numbered",
    "session_ids",
    "some_of",
    "texts",
    "tool_calls",
]

T = TypeVar("T")

_ROLES: tuple[type[BaseMessage], ...] = (HumanMessage, AIMessage, SystemMessage)


def numbered(roles: Iterable[Iterable[type[BaseMessage]]]) -> list[list[BaseMessage]]:
    """Return batches of messages of the given roles, with the contents `m0`, `m1`, and so on."""
    number = iter(range(1_000_000))
    return [[role(content=f"m{next(number)}") for role in batch] for batch in roles]


def batches(
    *, min_batches: int = 1, max_batches: int = 5, min_size: int = 1, max_size: int = 4
) -> st.SearchStrategy[list[list[BaseMessage]]]:
    """Generate lists of batches of numbered messages, for rules about order and number.

    Args:
        min_batches: The smallest number of batches.
        max_batches: The largest number of batches.
        min_size: The smallest number of messages in a batch.
        max_size: The largest number of messages in a batch.
    """
    batch = st.lists(st.sampled_from(_ROLES), min_size=min_size, max_size=max_size)
    return st.lists(batch, min_size=min_batches, max_size=max_batches).map(numbered)


def some_of(values: Sequence[T]) -> st.SearchStrategy[list[T]]:
    """Generate ordered, non-empty selections of `values`: all of them first, then about half.

    So one example covers each value. A failure shrinks to the one value that causes it.
    """
    return _selections(tuple(values))


@st.composite
def _selections(draw: st.DrawFn, values: Sequence[T]) -> list[T]:
    if takes_whole_list(draw):
        return list(values)
    flags = draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    return [value for value, flag in zip(values, flags, strict=True) if flag] or [values[0]]


_LARGEST = 1e15
"""Python writes larger whole floats with an exponent, and others read those as integers."""


def json_values(max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Generate JSON values: null, booleans, 64-bit integers, floats, text, nested.

    There are no floats at the ends of the range, large whole ones and negative zero, which some
    stores write in another way.
    """
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(-_LARGEST, _LARGEST).map(lambda number: number if abs(number) > 1e-100 else 0.0)
        | texts()
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=max_leaves,
    )


def texts(max_size: int = 20) -> st.SearchStrategy[str]:
    """Generate Unicode texts without NUL and lone surrogates, which some stores may refuse."""
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=max_size
    )


def contents() -> st.SearchStrategy[str | list[str | dict[Any, Any]]]:
    """Generate message contents: a text, or a list of texts and content blocks."""
    block = st.fixed_dictionaries({"type": st.just("text"), "text": texts()})
    return texts() | st.lists(texts() | block, max_size=3)


def tool_calls() -> st.SearchStrategy[dict[str, Any]]:
    """Generate tool calls in the form of `AIMessage.tool_calls`."""
    return st.fixed_dictionaries(
        {
            "name": texts(),
            "args": st.dictionaries(texts(), json_values(4), max_size=3),
            "id": st.none() | texts(),
            "type": st.just("tool_call"),
        }
    )


def messages() -> st.SearchStrategy[BaseMessage]:
    """Generate messages of every role with JSON fields. Every store must keep them exactly."""
    common: dict[str, st.SearchStrategy[Any]] = {
        "content": contents(),
        "id": st.none() | texts(),
        "name": st.none() | texts(),
        "additional_kwargs": st.dictionaries(_keys(), json_values(4), max_size=2),
        "response_metadata": st.dictionaries(_keys(), json_values(4), max_size=2),
    }
    return st.one_of(
        st.builds(HumanMessage, **common),
        st.builds(AIMessage, **common, tool_calls=st.lists(tool_calls(), max_size=2)),
        st.builds(SystemMessage, **common),
        st.builds(ToolMessage, **common, tool_call_id=texts(), artifact=json_values(4)),
        st.builds(ChatMessage, **common, role=texts()),
        st.builds(FunctionMessage, **{**common, "name": texts()}),
    )


def conversations(*, min_size: int = 1, max_size: int = 6) -> st.SearchStrategy[list[BaseMessage]]:
    """Generate lists of messages that every store must keep exactly."""
    return st.lists(messages(), min_size=min_size, max_size=max_size)


def session_ids() -> st.SearchStrategy[str]:
    """Generate session ids without NUL and lone surrogates. A history may refuse some."""
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
        min_size=1,
        max_size=40,
    )


def _keys() -> st.SearchStrategy[str]:
    """Generate keys that have no meaning for the validators of langchain-core."""
    return texts(8).filter(lambda key: key not in ("tool_calls", "function_call"))
