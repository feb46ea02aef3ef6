"""Values as text for people and as Python source for scripts.

The functions work for any message, whatever its class or its content: a `repr` that raises,
10 MB of text, control characters, lone surrogates.
"""

from __future__ import annotations

import datetime
import decimal
import inspect
import keyword
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from chat_history_conformance.diagnosis.code import Code, Need, Ref, fill, join, need_of

WIDTH = 100
"""Maximum width of a message in a listing, in characters; a longer text loses its middle."""

__all__ = ["WIDTH", "clip", "listing", "show", "show_odd", "source", "type_label"]

_LONG_TEXT = 2_000
_SHORT_NAMES: dict[type[BaseMessage], str] = {
    HumanMessage: "Human",
    AIMessage: "AI",
    SystemMessage: "System",
    ToolMessage: "Tool",
    FunctionMessage: "Function",
}
_TYPE_LABELS = {name.lower(): name for name in _SHORT_NAMES.values()}


def show(value: Any, width: int = WIDTH) -> str:
    """Return `value` on one line of at most `width` characters: `AI "hello" id="m1"`."""
    if isinstance(value, BaseMessage):
        return clip(_show_message(value), width)
    if isinstance(value, list | tuple):
        return _show_row([show(item, width // 2) for item in _ends(value)], len(value), width)
    return clip(_repr(value), width)


def show_odd(value: Any) -> str:
    """Return a value that came back instead of messages. A coroutine is closed."""
    if inspect.iscoroutine(value):
        value.close()  # otherwise Python warns that it was not awaited
        return "a coroutine"
    return show(value)


def type_label(message_type: str) -> str:
    """Return the name of a type of message for people: `AI` for `ai`."""
    return _TYPE_LABELS.get(message_type, message_type)


def clip(text: str, width: int = WIDTH) -> str:
    """Return `text` on one printable line, without its middle if it is longer than `width`."""
    if len(text) > 4 * width:
        text = f"{text[: 2 * width]} … {text[-width:]}"
    text = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
    if len(text) <= width:
        return text
    return f"{text[: width * 2 // 3]} … {text[-(width // 3 - 3) :]}"


def source(value: Any) -> Code:
    """Write a Python expression that makes `value` again in a script.

    A `Ref` is written by its name, a function or a class by its own. An object without a literal
    is written by its `repr`: the script then fails and names the missing class.
    """
    if isinstance(value, Ref):
        return Code(value.name, value.needs)
    if isinstance(value, BaseMessage):
        return _message_source(value)
    match value:
        case list():
            return _numbered_source(value) or _list_source([source(item) for item in value])
        case tuple():
            return fill("({})", join("", [fill("{}, ", source(item)) for item in value]))
        case dict():
            pairs = [fill("{}: {}", source(key), source(item)) for key, item in value.items()]
            return fill("{{{}}}", join(", ", pairs))
        case _ if callable(value) and (need := need_of(value)):
            return Code(need.name, frozenset({need}))
        case _:
            return _scalar_source(value)


def _scalar_source(value: Any) -> Code:
    match value:
        case float() if not math.isfinite(value):
            return Code(f'float("{value}")')
        case str() if type(value) is str:
            return Code(_text_source(value))
        case decimal.Decimal():
            return Code(f"decimal.{value!r}", frozenset({Need("decimal")}))
        case datetime.date() | datetime.time() | datetime.timedelta() | datetime.tzinfo():
            return Code(_repr(value), frozenset({Need("datetime")}))
        case int() if value.bit_length() > 4_000:
            return Code(f"int({hex(value)!r}, 16)")
        case _:
            return Code(_repr(value))


def listing(messages: Sequence[BaseMessage], limit: int = 30) -> tuple[str, ...]:
    """Return one line for each message, without the middle of a long list."""
    lines = [show(message) for message in messages]
    if len(lines) <= limit:
        return tuple(lines)
    half = limit // 2
    return (*lines[:half], f"… {len(lines) - 2 * half} more …", *lines[-half:])


def _show_message(message: BaseMessage) -> str:
    name = _SHORT_NAMES.get(type(message), type(message).__name__)
    # Extra fields are shown too: a history may have lost them.
    parts = [f"{key}={_repr(item)}" for key, item in _set_fields(message) if key != "content"]
    return " ".join([name, _repr(getattr(message, "content", None)), *parts])


def _set_fields(message: BaseMessage) -> Iterable[tuple[str, Any]]:
    """Yield the fields that a constructor call has to name: those that differ from defaults."""
    for key, is_required, default in _fields(type(message)):
        item = getattr(message, key, None)
        if is_required or not _is_default(item, default):
            yield key, item
    yield from (message.__pydantic_extra__ or {}).items()


@lru_cache(maxsize=100)
def _fields(kind: type[BaseMessage]) -> tuple[tuple[str, bool, Any], ...]:
    """Return the fields of a class: name, whether it is required, and its default."""
    return tuple(
        (key, info.is_required(), info.get_default(call_default_factory=True))
        for key, info in kind.model_fields.items()
        if key != "type" or info.is_required()
    )


def _is_default(item: Any, default: Any) -> bool:
    return type(item) is type(default) and bool(item == default)


def _message_source(message: BaseMessage) -> Code:
    kind = type(message)
    arguments = [
        source(item)
        if key == "content" and kind is not RemoveMessage
        else fill("{}={}", key, source(item))
        if key.isidentifier() and not keyword.iskeyword(key)
        else fill("**{{{}: {}}}", repr(key), source(item))
        for key, item in _set_fields(message)
        if not (kind is RemoveMessage and key == "content")
    ]
    name = Code(kind.__name__, frozenset({need} if (need := need_of(kind)) else ()))
    return fill("{}({})", name, join(", ", arguments))


def _list_source(items: list[Code]) -> Code:
    """Write a short list on one line, and a longer one with one item a line."""
    line = fill("[{}]", join(", ", items))
    if len(line.text) <= 70 or len(items) < 2:
        return line
    return fill("[\n{}]", join("", [fill("    {},\n", item) for item in items]))


def _numbered_source(value: list[Any]) -> Code | None:
    """Write a long row of messages that differ by a number only as a comprehension."""
    if len(value) < 8 or not isinstance(value[0], BaseMessage):
        return None
    name, text = type(value[0]).__name__, value[0].content
    match = re.fullmatch(r"((?:w\d+\.)?[a-z]*)(\d+)", text) if isinstance(text, str) else None
    if match is None:
        return None
    stem, first = match[1], int(match[2])
    items = [source(item) for item in value]
    if [item.text for item in items] != [
        f"{name}({f'{stem}{number}'!r})" for number in range(first, first + len(value))
    ]:
        return None
    row = f'[{name}(f"{stem}{{n}}") for n in range({first}, {first + len(value)})]'
    return Code(row, items[0].needs)


def _text_source(text: str) -> str:
    if len(text) > 200 and len(set(text)) == 1:
        return f"{text[0]!r} * {len(text)}"
    period = text[: len(text) // 2].rfind(text[:1], 1) if len(text) > _LONG_TEXT else -1
    for size in (1, 2, 3, 5, 8, 10, 16, 26, 32, 64, 100, 128) if period > 0 else ():
        repeats = len(text) // size
        if text == text[:size] * repeats + text[: len(text) - repeats * size]:
            tail = text[: len(text) - repeats * size]
            return f"{text[:size]!r} * {repeats}" + (f" + {tail!r}" if tail else "")
    return repr(text)


def _repr(value: Any) -> str:
    try:
        if isinstance(value, str) and len(value) > 4 * _LONG_TEXT:
            head, tail = repr(value[:_LONG_TEXT]), repr(value[-_LONG_TEXT:])
            return f"{head[:-1]} … {tail[1:]} ({len(value):,} characters)"
        return repr(value)
    except Exception as error:  # a repr may raise anything, and the report must survive it
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


def _ends(values: Sequence[Any], limit: int = 12) -> list[Any]:
    """Return the values of a short list, and the first and last ones of a long list."""
    return list(values) if len(values) <= limit else [*values[: limit - 2], *values[-2:]]


def _show_row(items: list[str], length: int, width: int) -> str:
    """Return items between brackets; many items lose all but the first ones and the last."""
    line = f"[{', '.join(items)}]"
    if length == len(items) and (len(line) <= width or length < 3):
        return clip(line, width)
    head: list[str] = []
    while len(head) < len(items) - 2 and len(", ".join(head)) + len(items[-1]) < width - 40:
        head.append(items[len(head)])
    left_out = length - len(head) - 1
    return clip(f"[{', '.join([*head, f'… {left_out} more …', items[-1]])}]", width + 20)
