"""Short ways to write recordings by hand. All calls are on session `s` if nothing else is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_history_conformance.campaign.checking.checker import check
from chat_history_conformance.campaign.recording import (
    Exit,
    Fault,
    Kind,
    Meta,
    Operation,
    OperationError,
    Recording,
    Sample,
)

UNKNOWN = OperationError("ConnectionError", "lost", True)
DENIED = OperationError("RefusedError", "refused", False)
PLAIN = OperationError("ValueError", "broken")


def call(
    kind: Kind,
    began: float,
    ended: float,
    messages: str = "",
    *,
    by: str = "w",
    error: OperationError | None = None,
    **more: Any,
) -> Operation:
    """Return one call. `messages` are texts separated by blanks."""
    fields: dict[str, Any] = {"session": "s", "process": "p", "mode": "sync", **more}
    return Operation(
        kind=kind,
        client=by,
        began=began,
        ended=ended,
        messages=tuple(messages.split()),
        error=error,
        **fields,
    )


def add(began: float, ended: float, messages: str, **more: Any) -> Operation:
    """Return an add."""
    return call("add", began, ended, messages, **more)


def clear(began: float, ended: float, **more: Any) -> Operation:
    """Return a clear."""
    return call("clear", began, ended, **more)


def read(began: float, ended: float, messages: str = "", **more: Any) -> Operation:
    """Return a read."""
    return call("read", began, ended, messages, by="r", **more)


def last(began: float, ended: float, messages: str, count: int) -> Operation:
    """Return a read of the newest messages."""
    return call("last", began, ended, messages, by="r", count=count)


def consume(began: float, ended: float, messages: str = "", **more: Any) -> Operation:
    """Return a consuming read."""
    return call("consume", began, ended, messages, **{"by": "k", **more})


def recorded(
    *operations: Operation,
    final: str | None = None,
    lacks: Mapping[str, str] | None = None,
    faults: tuple[Fault, ...] = (),
    samples: tuple[Sample, ...] = (),
    exits: tuple[Exit, ...] = (),
) -> Recording:
    """Return a recording. `final` is what session `s` holds at the end; None if it was not read."""
    return Recording(
        meta=Meta(lacks=lacks or {}),
        operations=tuple(sorted(operations, key=lambda one: (one.began, one.ended))),
        faults=faults,
        samples=samples,
        exits=exits,
        final={} if final is None else {"s": tuple(final.split())},
    )


def found(recording: Recording) -> list[tuple[str, str]]:
    """Return the kinds and texts of the defects in a recording."""
    return [(defect.kind, defect.text) for defect in check(recording).defects]
