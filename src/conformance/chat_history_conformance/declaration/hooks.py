"""The functions of a declaration that act on the store or its server, and their validation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from chat_history_conformance.declaration.errors import clip_repr
from chat_history_conformance.declaration.parameters import wanted

__all__ = [
    "HOOKS",
    "MOST_EVENTUAL_SECONDS",
    "Fresh",
    "Refuse",
    "wrong_eventual",
    "wrong_hooks",
    "wrong_lifespan",
]

Fresh = Callable[[str], Any]
"""A function of an unused name. It returns a factory that opens histories in a store of that name,
or a context manager around such a factory."""

Refuse = Callable[[str], AbstractContextManager[Any] | None]
"""A function of a session id. The store refuses writes to the session inside the context manager
that it returns. If it returns None, the store refuses the next write."""

MOST_EVENTUAL_SECONDS = 60.0
"""The longest time in which reads may settle. Contracts wait for it again and again."""

_FORMS = {
    "fresh": (
        ("store",),
        "Write a function of the name of a store that returns a factory for it: "
        "def fresh(store): return lambda session_id: MyHistory(session_id, table=store).",
    ),
    "refuse": (
        ("session",),
        "Write a function of a session id, and let the store refuse its writes until the function "
        "goes on: @contextlib.contextmanager, def refuse(session_id): ...; yield; ....",
    ),
    "stop": ((), "Write a function without arguments that ends the server."),
    "start": (
        (),
        "Write a function without arguments that starts the server, and returns when it is ready.",
    ),
}
"""The arguments of each function, and what to write."""

HOOKS = tuple(_FORMS)
"""The names of these arguments."""


def wrong_hooks(hooks: dict[str, Any]) -> Iterator[str]:
    """Yield the mistakes in the functions of a declaration, and what to write.

    Args:
        hooks: The functions by the names of their arguments, None if they are not declared.
    """
    for name, (arguments, form) in _FORMS.items():
        function = hooks[name]
        if function is None:
            continue
        if not callable(function):
            yield f"{name}={clip_repr(function)} cannot be called. {form}"
            continue
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            yield f"{name}= is an async function, and is called without await. {form}"
        if inspect.isgeneratorfunction(function):
            fix = "Decorate it with @contextlib.contextmanager." if arguments else form
            yield f"{name}= is a generator function, which does nothing when it is called. {fix}"
        if (problem := _wrong_signature(function, arguments)) is not None:
            number = f"with {len(arguments)} argument" if arguments else "without arguments"
            yield f"{name}= cannot be called {number} ({problem}). {form}"
    if (hooks["stop"] is None) != (hooks["start"] is None):
        given, missing = ("stop", "start") if hooks["start"] is None else ("start", "stop")
        yield (
            f"{given}= is declared without {missing}=. Declare both: the run stops the server and "
            "starts it again."
        )


def wrong_eventual(seconds: Any) -> Iterator[str]:
    """Yield the mistake in `eventual=`, if there is one, and what to write."""
    if seconds is None:
        return
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 < seconds <= MOST_EVENTUAL_SECONDS:
        yield (
            f"eventual={clip_repr(seconds)} is not a number of seconds between 0 and "
            f"{MOST_EVENTUAL_SECONDS:g}. Write the time after a write from which each read shows "
            "it: eventual=2.0. Leave it out if reads show each write at once."
        )


def wrong_lifespan(function: Any) -> Iterator[str]:
    """Yield the mistakes in `lifespan=`, and what to write."""
    form = (
        "Write a generator function without arguments that yields a JSON object: "
        'def store(): ...; yield {"url": url}; ....'
    )
    if function is None:
        return
    if not callable(function):
        yield f"lifespan={clip_repr(function)} cannot be called. {form}"
        return
    if type(function).__module__.startswith("_pytest."):
        yield f"lifespan= is a pytest fixture, which only tests use. Remove the decorator. {form}"
    inner = inspect.unwrap(function)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        yield f"lifespan= is an async function, and no event loop runs it. {form}"
    if (problem := _wrong_signature(function, ())) is not None or wanted(function, 0):
        problem_text = problem or f"it has the parameter {wanted(function, 0)[0]!r}"
        yield f"lifespan= cannot be called without arguments ({problem_text}). {form}"


def _wrong_signature(function: Callable[..., Any], arguments: tuple[str, ...]) -> TypeError | None:
    try:
        further = dict.fromkeys(wanted(function, len(arguments)))
        inspect.signature(function).bind(*arguments, **further)
    except TypeError as error:
        return error
    except ValueError:  # a callable without a signature is called without this check
        return None
    return None
