"""Values as text for people and as Python source for reproducers.

Survives any message: a `repr` that raises, a content of 10 MB, control characters, lone
surrogates, classes of a user's own.
"""

from __future__ import annotations

import decimal
import keyword
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import __all__ as _message_exports

WIDTH = 100
"""Characters that one message may take in a listing; the middle of a longer one is left out."""

_LONG_TEXT = 2_000
_SHORT_NAMES: dict[type[BaseMessage], str] = {
    HumanMessage: "Human",
    AIMessage: "AI",
    SystemMessage: "System",
    ToolMessage: "Tool",
    FunctionMessage: "Function",
}


def show(value: Any, width: int = WIDTH) -> str:
    """`value` in at most `width` characters on one line: `AI "hello" id="m1"` for a message."""
    if isinstance(value, BaseMessage):
        return clip(_show_message(value), width)
    if isinstance(value, list | tuple):
        return _show_row([show(item, width // 2) for item in _ends(value)], len(value), width)
    return clip(_repr(value), width)


def clip(text: str, width: int = WIDTH) -> str:
    """`text` on one printable line, its middle left out beyond `width` characters."""
    if len(text) > 4 * width:
        text = f"{text[: 2 * width]} … {text[-width:]}"
    text = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
    if len(text) <= width:
        return text
    return f"{text[: width * 2 // 3]} … {text[-(width // 3 - 3) :]}"


def source(value: Any) -> str:
    """A Python expression that makes `value` again in a script with the names of `preamble`.

    A value that has no literal (an object of a user's own class) is given by its `repr`, marked
    in a comment-free way that a reader will see fail: such a script names what is missing.
    """
    if isinstance(value, BaseMessage):
        return _message_source(value)
    match value:
        case bool() | None:
            return repr(value)
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case str() if type(value) is str:
            return _text_source(value)
        case decimal.Decimal():
            return f"decimal.{value!r}"
        case int() if value.bit_length() > 4_000:
            return f"int({hex(value)!r}, 16)"
        case list():
            return _numbered_source(value) or _list_source([source(item) for item in value])
        case tuple():
            return f"({''.join(source(item) + ', ' for item in value)})"
        case dict():
            return (
                "{"
                + ", ".join(f"{source(key)}: {source(item)}" for key, item in value.items())
                + "}"
            )
        case _:
            return _repr(value)


def listing(messages: Sequence[BaseMessage], limit: int = 30) -> tuple[str, ...]:
    """One line a message, the middle of a long list left out."""
    lines = [show(message) for message in messages]
    if len(lines) <= limit:
        return tuple(lines)
    half = limit // 2
    return (*lines[:half], f"… {len(lines) - 2 * half} more …", *lines[-half:])


def _show_message(message: BaseMessage) -> str:
    name = _SHORT_NAMES.get(type(message), type(message).__name__)
    # Extra fields and odd states are shown too: they may be what was lost.
    parts = [f"{key}={_repr(item)}" for key, item in _set_fields(message) if key != "content"]
    return " ".join([name, _repr(getattr(message, "content", None)), *parts])


def _set_fields(message: BaseMessage) -> Iterable[tuple[str, Any]]:
    """The fields that a constructor call would have to name: those that differ from defaults."""
    for key, info in type(message).model_fields.items():
        if key == "type" and not info.is_required():
            continue
        item = getattr(message, key, None)
        if info.is_required() or not _is_default(item, info.get_default(call_default_factory=True)):
            yield key, item
    yield from (message.__pydantic_extra__ or {}).items()


def _is_default(item: Any, default: Any) -> bool:
    return type(item) is type(default) and bool(item == default)


def _message_source(message: BaseMessage) -> str:
    name = type(message).__name__
    arguments = ", ".join(
        source(item)
        if key == "content" and name != "RemoveMessage"
        else f"{key}={source(item)}"
        if key.isidentifier() and not keyword.iskeyword(key)
        else f"**{{{key!r}: {source(item)}}}"
        for key, item in _set_fields(message)
        if not (name == "RemoveMessage" and key == "content")
    )
    return f"{name}({arguments})"


def message_names() -> tuple[str, ...]:
    """The classes that message sources may use, all importable from `langchain_core.messages`."""
    return tuple(name for name in _message_exports if "Message" in name and name[0].isupper())


def _list_source(items: list[str]) -> str:
    """On one line where it is short, an item a line where it is not."""
    line = f"[{', '.join(items)}]"
    if len(line) <= 70 or len(items) < 2:
        return line
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _numbered_source(value: list[Any]) -> str:
    """A comprehension for a long row of messages that differ by a number only, or nothing."""
    if len(value) < 8 or not isinstance(value[0], BaseMessage):
        return ""
    name, text = type(value[0]).__name__, value[0].content
    match = re.fullmatch(r"([a-z]*)(\d+)", text) if isinstance(text, str) else None
    if match is None:
        return ""
    stem, first = match[1], int(match[2])
    if [source(item) for item in value] != [
        f"{name}({f'{stem}{number}'!r})" for number in range(first, first + len(value))
    ]:
        return ""
    return f'[{name}(f"{stem}{{n}}") for n in range({first}, {first + len(value)})]'


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
    """The values of a short list, and the first and last ones of a long list."""
    return list(values) if len(values) <= limit else [*values[: limit - 2], *values[-2:]]


def _show_row(items: list[str], length: int, width: int) -> str:
    """Items between brackets; where they are too many, the last one behind what was left out."""
    line = f"[{', '.join(items)}]"
    if length == len(items) and (len(line) <= width or length < 3):
        return clip(line, width)
    head: list[str] = []
    while len(head) < len(items) - 2 and len(", ".join(head)) + len(items[-1]) < width - 40:
        head.append(items[len(head)])
    left_out = length - len(head) - 1
    return clip(f"[{', '.join([*head, f'… {left_out} more …', items[-1]])}]", width + 20)
