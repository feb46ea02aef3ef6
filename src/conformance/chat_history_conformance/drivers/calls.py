"""Operations on a history, and the attribute of the history that each of them calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.declaration.backend import Backend

__all__ = [
    "ASYNC_NAMES",
    "Call",
    "Done",
    "How",
    "Invocation",
    "Repeated",
    "call_now",
    "call_on_loop",
    "has_operation",
    "invocation",
    "weight",
    "weight_together",
]

How = Literal["sync", "async"]
"""The way to call a history: on a thread, or on an event loop."""

ASYNC_NAMES = {"messages": "aget_messages", "add_messages": "aadd_messages", "clear": "aclear"}
"""The asynchronous twins that every asynchronous history has."""

_BATCH = 50
"""The number of messages that one time limit is meant for."""

_TOGETHER = 10
"""The number of concurrent calls that one time limit is meant for."""


class Call(NamedTuple):
    """One operation on one open history.

    Attributes:
        key: The key of the open history in its host.
        operation: The name of the operation, such as `"add_messages"`.
        args: The positional arguments of the operation.
        how: The way to call it.
    """

    key: str
    operation: str
    args: tuple[Any, ...] = ()
    how: How = "sync"


class Repeated(NamedTuple):
    """One call that is repeated while other things happen.

    Attributes:
        call: The call. The arguments of `add_messages` are made for each call.
        stem: The start of the contents that an add makes; numbers follow.
        size: The number of messages of each batch.
        pause: Seconds between a call that returned and the next one.
    """

    call: Call
    stem: str
    size: int
    pause: float


@dataclass
class Done:
    """The result of one of several concurrent calls.

    Attributes:
        call: The call.
        started: Its start, in seconds of the monotonic clock.
        ended: Its end, in seconds of the monotonic clock.
        value: The value that it returned.
        error: The exception that it raised, or None.
    """

    call: Call
    started: float
    ended: float
    value: Any = None
    error: BaseException | None = None


class Invocation(NamedTuple):
    """The Python expression for a call: `name(*args, **kwargs)`, or the plain attribute `name`."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    attribute: bool
    awaited: bool


def invocation(backend: Backend, history: Any, call: Call) -> Invocation:
    """Return the expression for `call`, by the declaration and the attributes of `history`."""
    operation, args, kwargs = _arguments(backend, call)
    name = backend.methods.get(operation, operation)
    if operation == "close":
        awaited = hasattr(history, "aclose") and (call.how == "async" or not hasattr(history, name))
        return Invocation("aclose" if awaited else "close", (), {}, False, awaited)
    if call.how == "async":
        if operation == "add_message":
            operation, args = "add_messages", ([args[0]],)
        twin = ASYNC_NAMES.get(operation, f"a{name}")
        if operation in ASYNC_NAMES or hasattr(history, twin):
            return Invocation(twin, args, kwargs, False, True)
    return Invocation(name, args, kwargs, operation == "messages" and not kwargs, False)


def _arguments(backend: Backend, call: Call) -> tuple[str, tuple[Any, ...], Mapping[str, Any]]:
    """Return the operation that replaces `call.operation`, if any, and its arguments."""
    if call.operation == "messages" and "whole_reads" in backend.lacks:
        operation = backend.methods.get("messages", "messages_from_beginning")
        if operation != "messages_from_beginning":
            return operation, call.args, {}
        return operation, call.args, {"max_message_count": None, "max_time_sec": None}
    if call.operation in capabilities.READS:
        names = ("max_message_count", "max_time_sec")
        return call.operation, (), dict(zip(names, call.args, strict=False))
    if call.operation == capabilities.ITERATION:
        return call.operation, (), dict(zip(("batch_size",), call.args, strict=False))
    return call.operation, call.args, {}


def has_operation(backend: Backend, history: Any, operation: str) -> bool:
    """Return whether `history` has an optional operation, in a mode that it does not lack."""
    name = backend.methods.get(operation, operation)
    if operation == "close":
        offered = [name, f"a{name}"]
    else:
        twins = {"sync": name, "async": f"a{name}"}
        offered = [twins[mode] for mode in backend.modes]
    return any(callable(getattr(history, attribute, None)) for attribute in offered)


def call_now(history: Any, expression: Invocation) -> Any:
    """Evaluate an expression that is not awaited."""
    if expression.name in ("str", "repr"):
        return (str if expression.name == "str" else repr)(history)
    target = getattr(history, expression.name)
    return target if expression.attribute else target(*expression.args, **expression.kwargs)


async def call_on_loop(history: Any, expression: Invocation) -> Any:
    """Evaluate an expression on the running event loop, and await it if it is awaited."""
    if not expression.awaited:
        return call_now(history, expression)
    return await getattr(history, expression.name)(*expression.args, **expression.kwargs)


def weight(call: Call) -> float:
    """Return the multiple of the time limit that a call may take; large batches take longer."""
    batch = call.args[0] if call.operation == "add_messages" and call.args else ()
    return max(1.0, len(batch) / _BATCH) if hasattr(batch, "__len__") else 1.0


def weight_together(lanes: Sequence[Sequence[Call]]) -> float:
    """Return the same for concurrent calls, which wait for each other if they share a lock."""
    return max(1.0, sum(weight(call) for lane in lanes for call in lane) / _TOGETHER)
