"""The further parameters of the functions of a declaration, and their values.

The suite calls a function with fixed arguments, such as the session id. Each further parameter
without a default gets a value by its name: from `lifespan=`, or from a pytest fixture.
"""

from __future__ import annotations

import dis
import functools
import inspect
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chat_history_conformance.declaration.errors import DeclarationError, clip_repr

__all__ = [
    "VARIABLE",
    "Bound",
    "bound",
    "not_json",
    "placeholder",
    "publish",
    "published",
    "unbound",
    "wanted",
]

VARIABLE = "HISTORY_VALUES"
"""The environment variable with the values for other processes: `{BACKEND: {PARAMETER: VALUE}}`."""

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Bound(functools.partial[Any]):
    """A function of a declaration with the values of its further parameters."""


def wanted(function: Callable[..., Any], count: int) -> tuple[str, ...]:
    """Return the names of the further parameters without a default.

    Args:
        function: The function.
        count: The number of arguments that the suite gives by position.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable without a signature has none
        return ()
    first = [one for one in parameters if one.kind in _BY_POSITION][:count]
    return tuple(
        one.name
        for one in parameters
        if one not in first and one.kind in _BY_NAME and one.default is one.empty
    )


def placeholder(function: Any) -> str | None:
    """Return the place of the first `...` that a function uses as a value, or None.

    Returns:
        A text such as `line 40 of conftest.py`.
    """
    code = getattr(inspect.unwrap(unbound(function)), "__code__", None)
    if code is None:  # a class, or another callable
        return None
    for step in dis.get_instructions(code):
        if step.argval is ... and step.positions is not None:
            return f"line {step.positions.lineno} of {Path(code.co_filename).name}"
    return None


def bound(function: Callable[..., Any], count: int, values: Mapping[str, Any]) -> Any:
    """Return the function with the values of its further parameters; itself if it has none."""
    names = wanted(function, count)
    return Bound(function, **{name: values[name] for name in names}) if names else function


def unbound(function: Any) -> Any:
    """Return a function as it was declared."""
    return function.func if isinstance(function, Bound) else function


def not_json(value: object, place: str) -> str | None:
    """Return which part of a value is not JSON, such as `its 'client' is a Redis`, or None.

    Args:
        value: The value.
        place: The words for it, such as `it`.
    """
    return next(_not_json(value, place), None)


def _not_json(value: object, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                yield f"{place} has the key {clip_repr(key)}, which is not a text"
            yield from _not_json(
                one, f"its {key!r}" if place in ("it", "") else f"{place}[{key!r}]"
            )
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _not_json(one, f"{place}[{number}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{place} is {value}"
    elif value is not None and not isinstance(value, str | int):
        name = type(value).__name__
        yield f"{place} is {'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def publish(backend: str, values: Mapping[str, Any]) -> None:
    """Let the processes that this one starts know the values of a backend.

    Args:
        backend: The name of the backend.
        values: JSON values by the names of parameters.
    """
    os.environ[VARIABLE] = json.dumps({**_table(), backend: dict(values)})


def published(backend: str) -> Mapping[str, Any]:
    """Return the values of a backend that a parent of this process, or a user, has published.

    Raises:
        DeclarationError: The environment variable has something else.
    """
    found = _table().get(backend, {})
    if not isinstance(found, dict):
        raise DeclarationError(_wrong_table())
    return found


def _table() -> dict[str, Any]:
    try:
        table = json.loads(os.environ.get(VARIABLE) or "{}")
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise DeclarationError(_wrong_table())
    return table


def _wrong_table() -> str:
    return (
        f"The environment variable {VARIABLE} is not a JSON object with an object for each "
        f"""backend. Write: {VARIABLE}='{{"mine": {{"url": "..."}}}}'."""
    )
