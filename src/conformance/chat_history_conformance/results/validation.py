"""Validate JSON values against a dataclass with pydantic, and name the place of a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    # Importing pydantic takes long, and most runs read no report.
    from pydantic import ValidationError

__all__ = ["join_place", "json_schema", "place_in", "validator"]

T = TypeVar("T")


def validator(kind: type[T]) -> Callable[[object], T]:
    """Return a function that turns JSON values into the dataclass `kind`.

    Unknown fields are ignored. The function raises a ValueError if a value does not fit. The
    message names the first place that does not, such as `backends[0].verdict`, and the value there.
    """
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)

    def validate(data: object) -> T:
        try:
            return adapter.validate_python(data)
        except ValidationError as error:
            raise ValueError(_explained(error, data)) from None

    return validate


def _explained(error: ValidationError, data: object) -> str:
    mistakes = error.errors(include_url=False, include_context=False)
    first = mistakes[0]
    place, found = place_in(first["loc"], data)
    if first["type"] == "missing":
        text = f"{join_place([*place, first['loc'][-1]])}: this field is missing"
    else:
        message = first["msg"][0].lower() + first["msg"][1:]
        text = f"{join_place(place) or 'the document'}: {message}, but it is {_short(found)}"
    places = {mistake["loc"] for mistake in mistakes}
    return text + (f" (and {len(places) - 1} more)" if len(places) > 1 else "")


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the dataclass `kind`, as it is written."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutTitles(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    return TypeAdapter(kind).json_schema(mode="serialization", schema_generator=WithoutTitles)


def place_in(location: Sequence[str | int], data: Any) -> tuple[list[str | int], Any]:
    """Return the part of a pydantic location that exists in `data`, and the value there.

    The rest names a choice of a union, or a missing field.
    """
    place: list[str | int] = []
    for key in location:
        inside = (isinstance(data, Mapping) and key in data) or (
            isinstance(data, list) and isinstance(key, int) and key < len(data)
        )
        if inside:
            place.append(key)
            data = data[key]
    return place, data


def join_place(place: Sequence[str | int]) -> str:
    """Return a place as text, such as `backends[0].verdict`."""
    joined = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return joined.removeprefix(".")


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
