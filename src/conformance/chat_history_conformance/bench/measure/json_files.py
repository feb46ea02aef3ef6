"""Read JSON into frozen dataclasses with pydantic, with errors that name the file and the place.

pydantic checks the types. A dataclass checks its own values in `__post_init__` and raises
ValueError. pydantic is imported when the first value is read.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chat_history_conformance.results.validation import join_place, place_in

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

__all__ = ["FormatError", "convert", "loads", "read_text"]

T = TypeVar("T")

_SHOWN = 60
_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "an object",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a string",
    "tuple_type": "an array",
}


class FormatError(ValueError):
    """A file that cannot be used. The text names the file, the place and what to do."""


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None if the file does not exist.

    Args:
        path: The file, in UTF-8.

    Raises:
        FormatError: The file cannot be read, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: not UTF-8: {error.reason} at byte {error.start}. Save the file as UTF-8"
        ) from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def loads(text: str | bytes, file: str, advice: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text; bytes are UTF-8.
        file: The name of the file in errors.
        advice: The sentence that ends an error: what to do.

    Raises:
        FormatError: The text is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise FormatError(f"{file}: not JSON: it is nested too deeply. {advice}") from None
    except ValueError as error:
        raise FormatError(f"{file}: not JSON: {error}. {advice}") from None


def convert(shape: type[T], value: Any, file: str, advice: str, place: str = "") -> T:
    """Return a value of a JSON file as a dataclass.

    Args:
        shape: The dataclass. Fields that it does not have are ignored.
        value: The value, as `json.loads` returns it.
        file: The name of the file in errors.
        advice: The sentence that ends an error: what to do.
        place: The place of the value in the file, such as `benchmarks[3]`.

    Raises:
        FormatError: The value does not have that shape.
    """
    from pydantic import ValidationError

    try:
        # Strict mode takes an array as a tuple only if it reads JSON.
        found: T = _adapter(cast(Hashable, shape)).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FormatError(f"{file}: {_explained(first, value, place)}. {advice}") from None
    return found


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)


def _explained(error: ErrorDetails, value: Any, place: str) -> str:
    """Describe an error and its place: `benchmarks[3].stats.median must be a number, not "5"`."""
    kind = error["type"]
    path, found = place_in(error["loc"], value)
    name = join_place([place, *path] if place else path)
    if kind == "missing":
        last = error["loc"][-1]
        lacks = f"has no {last!r}" if isinstance(last, str) else f"has too few values: {len(found)}"
        return f"{name} {lacks}".lstrip()
    if kind == "value_error":
        return f"{name}: {error['ctx']['error']}" if name else f"{error['ctx']['error']}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{name}: {error['msg']}"
    return f"{name} must be {expected}, not {_shown(found)}".lstrip()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
