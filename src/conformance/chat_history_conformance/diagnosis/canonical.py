"""Messages as plain values with type tags, so that equal values mean unchanged messages.

`==` is not enough: `1 == True == 1.0`, `0.0 == -0.0`, `Decimal("1.0") == 1.0`, and a NaN differs
from itself. Changes that JSON makes do not count, because they are not the backend's fault: a
tuple becomes a list, a key becomes a string, two half surrogates become one character.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from types import NoneType
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from pydantic import BaseModel

__all__ = ["Canonical", "alternatives", "dump", "first_difference"]

_SURROGATE = re.compile("[\ud800-\udfff]")

Canonical = tuple[Any, ...]
"""The canonical form of a value."""


def dump(value: Any) -> Canonical:
    """Return `value` as nested tuples that differ for different types, signs and NaNs."""
    # A run dumps millions of values. Nearly all have one of these types, and no subclass of it.
    known = _KNOWN.get(type(value))
    if known is not None:
        return known(value)
    if isinstance(value, BaseMessage):
        return ("message", value.type, _object(_fields(value)))
    return _other(value)


def _other(value: Any) -> Canonical:
    """Return the form of a value of any other type, such as a subclass of a known one."""
    for kind, form in _KNOWN.items():
        if isinstance(value, kind):
            return form(value)
    match value:
        case BaseModel():
            return _object(_fields(value))
        case Mapping():
            return _object(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _object({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        case set() | frozenset():
            return (type(value).__name__, tuple(sorted((dump(item) for item in value), key=repr)))
        case _:
            return (f"{type(value).__module__}.{type(value).__qualname__}", _opaque(value))


def _object(fields: Mapping[Any, Any]) -> Canonical:
    entries = [
        (key if type(key) is str and key.isascii() else _key(key), dump(item))
        for key, item in fields.items()
    ]
    entries.sort(key=_FIRST)
    if len(dict(entries)) < len(entries):
        entries.sort(key=repr)  # two keys have the same text, such as 1 and "1"
    return ("object", tuple(entries))


def _array(items: Iterable[Any]) -> Canonical:
    return ("array", tuple([dump(item) for item in items]))


_FIRST = itemgetter(0)
_KNOWN: Mapping[type, Callable[[Any], Canonical]] = {
    str: lambda value: ("str", _joined(value)),
    dict: _object,
    list: _array,
    NoneType: lambda value: ("null",),
    bool: lambda value: ("bool", value),
    int: lambda value: ("int", hex(value)),  # decimal digits are bounded, and slow
    float: lambda value: ("float", float.__repr__(value)),
    tuple: _array,
}
"""The form of a value of a type, for the types that JSON has a form for."""


def alternatives(message: BaseMessage) -> frozenset[Canonical]:
    """Return the forms in which `message` may come back.

    These are the message itself, and the message after langchain-core's own round trip through
    JSON. The second differs if validators rebuild a field, such as tool calls that are also in
    `additional_kwargs`. A message that JSON cannot carry has only the first.
    """
    exact = dump(message)
    try:
        again = messages_from_dict([json.loads(json.dumps(message_to_dict(message)))])[0]
    except Exception:  # a message that cannot make the round trip has no second form
        return frozenset({exact})
    return frozenset({exact, dump(again)})


def first_difference(expected: Any, returned: Any) -> str:
    """Return the path of the first difference of two canonical values: `content[1].text`."""
    return ".".join(_difference(expected, returned)).replace(".[", "[") or "value"


def _fields(model: BaseModel) -> dict[str, Any]:
    """Return all fields of a model, also extra ones, without running any serializer."""
    more = model.__pydantic_extra__
    return {**model.__dict__, **more} if more else model.__dict__


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _joined(key)
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    return f"{type(key).__name__}:{_opaque(key)}"


def _joined(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates unchanged."""
    if not text.isascii() and _SURROGATE.search(text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return str(text)


def _opaque(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # a repr may raise anything; the id still distinguishes values
        return f"<{type(error).__name__} in repr at {id(value)}>"


def _difference(expected: Any, returned: Any) -> Iterable[str]:
    if expected[0] != returned[0]:
        return [] if expected[0] != "message" else ["type"]
    match expected[0]:
        case "message":
            if expected[1] != returned[1]:
                return ["type"]
            return _difference(expected[2], returned[2])
        case "object":
            old, new = dict(expected[1]), dict(returned[1])
            for key in [*old, *new]:
                if key not in old or key not in new:
                    return [key]
                if old[key] != new[key]:
                    return [key, *_difference(old[key], new[key])]
        case "array":
            for index, (one, other) in enumerate(zip(expected[1], returned[1], strict=False)):
                if one != other:
                    return [f"[{index}]", *_difference(one, other)]
            if len(expected[1]) != len(returned[1]):
                return [f"[{min(len(expected[1]), len(returned[1]))}]"]
    return []
