"""Messages as type-tagged plain values, so that equality means "nothing was changed".

`==` will not do: `1 == True == 1.0`, `0.0 == -0.0`, `Decimal("1.0") == 1.0`, and a NaN differs
from itself. What JSON itself changes is levelled out here, because it is not the backend's doing:
a tuple is a list, a key becomes a string, two half surrogates become one character.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from pydantic import BaseModel

Canonical = tuple[Any, ...]


def dump(value: Any) -> Canonical:
    """`value` as nested tuples whose equality tells types, signs and NaNs apart."""
    match value:
        case None:
            return ("null",)
        case bool():
            return ("bool", bool(value))
        case int():
            return ("int", hex(value))  # decimal digits are bounded, and slow
        case float():
            return ("float", float.__repr__(value))
        case str():
            return ("str", _joined(value))
        case BaseMessage():
            return ("message", value.type, dump(_fields(value)))
        case BaseModel():
            return dump(_fields(value))
        case Mapping():
            entries = sorted(((_key(key), dump(item)) for key, item in value.items()), key=repr)
            return ("object", tuple(entries))
        case list() | tuple():
            return ("array", tuple(dump(item) for item in value))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dump({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        case set() | frozenset():
            return (type(value).__name__, tuple(sorted((dump(item) for item in value), key=repr)))
        case _:
            return (f"{type(value).__module__}.{type(value).__qualname__}", _opaque(value))


def alternatives(message: BaseMessage) -> frozenset[Canonical]:
    """What `message` may come back as: itself, or what langchain-core's own round trip makes of it.

    The second form differs where validators rebuild a field on reading, such as tool calls that
    are also in `additional_kwargs`. Where JSON cannot carry the message, there is only the first.
    """
    exact = dump(message)
    try:
        again = messages_from_dict([json.loads(json.dumps(message_to_dict(message)))])[0]
    except Exception:  # any failure of the round trip means that it offers no second form
        return frozenset({exact})
    return frozenset({exact, dump(again)})


def first_difference(expected: Any, returned: Any) -> str:
    """The path of the first place where two canonical values differ, such as `content[1].text`."""
    return ".".join(_difference(expected, returned)).replace(".[", "[") or "value"


def _fields(model: BaseModel) -> dict[str, Any]:
    """All fields of a model, extra ones too, read without running any serializer."""
    fields = dict(model.__dict__)
    fields.update(model.__pydantic_extra__ or {})
    return fields


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _joined(key)
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    return f"{type(key).__name__}:{_opaque(key)}"


def _joined(text: str) -> str:
    """`text` with surrogate pairs joined, lone surrogates left alone."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return str(text)


def _opaque(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # a repr may raise anything; the value stays itself by identity
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
