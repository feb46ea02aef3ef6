"""Operations on histories as text for a report and as source for a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.code import Code, Need, call, fill, join
from chat_history_conformance.diagnosis.rendering import show, source
from chat_history_conformance.diagnosis.script import id_source, is_entered, noted, opener
from chat_history_conformance.diagnosis.script_helpers import Elsewhere
from chat_history_conformance.diagnosis.script_loops import wait
from chat_history_conformance.diagnosis.script_opening import closed
from chat_history_conformance.drivers.calls import How, Invocation

__all__ = ["ELSEWHERE", "SLEEP", "Phrase", "closing_code", "elsewhere", "opening_code"]

ELSEWHERE = Code("elsewhere", source(Elsewhere).needs)
"""The second process of a script."""

SLEEP = Code("time.sleep", frozenset({Need("time")}))
"""The function that lets time pass in a script."""


def elsewhere(code: Code) -> Code:
    """Write that the second process of a script runs a line."""
    return fill("{}({})", ELSEWHERE, code.quoted())


@dataclass(frozen=True)
class Phrase:
    """One operation on one handle.

    Attributes:
        handle: The name of the handle.
        in_second_process: Whether the handle is open in the second process.
        invocation: The method call that the operation is.
        args: The arguments to show; a `Ref` is shown by its name.
    """

    handle: str
    in_second_process: bool
    invocation: Invocation
    args: tuple[Any, ...]

    def text(self) -> str:
        """Return the line of a report, such as `await a.aadd_messages([Human "0"])`."""
        text = self._written(lambda value: Code(show(value))).text
        text = f"await {text}" if self.invocation.awaited else text
        return f"{text}  in the second process" if self.in_second_process else text

    def code(self) -> Code:
        """Return the expression of a script."""
        code = call(wait, self.bare()) if self.invocation.awaited else self.bare()
        return elsewhere(code) if self.in_second_process else code

    def bare(self) -> Code:
        """Return the method call alone, without `await`."""
        return self._written(source)

    def _written(self, write: Callable[[Any], Code]) -> Code:
        name, kwargs = self.invocation.name, self.invocation.kwargs
        if name in ("str", "repr"):
            return fill("{}({})", name, self.handle)
        if self.invocation.attribute:
            return fill("{}.{}", self.handle, name)
        arguments = [fill("{}={}", key, source(value)) for key, value in kwargs.items()]
        return fill("{}.{}({})", self.handle, name, join(", ", arguments or map(write, self.args)))


def opening_code(
    backend: Backend,
    session: str | Code,
    how: How,
    ttl: tuple[int | None] | None = None,
    *,
    inside_a_coroutine: bool = False,
) -> Code:
    """Return the expression of a script that opens a history.

    Args:
        backend: The backend of the history.
        session: The template of the session id. The script removes this session at its end. Or the
            expression of an id that it removes anyway.
        how: Whether the history is used synchronously or asynchronously.
        ttl: `(milliseconds,)` or `(None,)` to open it through `with_ttl`.
        inside_a_coroutine: Whether `await` can be used.
    """
    identifier = session if isinstance(session, Code) else noted(id_source(session))
    code, awaited = opener(backend, identifier, how, ttl)
    if not awaited:
        return code
    return fill("await {}", code) if inside_a_coroutine else call(wait, code)


def closing_code(
    name: str, history: Any, factory: Any, how: How, *, in_second_process: bool
) -> Code:
    """Return the line of a script that closes the history with this name.

    Args:
        name: The name of the handle.
        history: The open history, None in the second process.
        factory: The factory that made it.
        how: Whether it was opened synchronously or asynchronously.
        in_second_process: Whether it is open in the second process.
    """
    if in_second_process:
        return elsewhere(call(wait, call(closed, Code(name))))
    if is_entered(factory, how):
        return call(wait, call(closed, Code(name)))
    if callable(getattr(history, "close", None)):
        return Code(f"{name}.close()")
    if hasattr(history, "aclose"):
        return call(wait, Code(f"{name}.aclose()"))
    return Code(f"{name} = None")
