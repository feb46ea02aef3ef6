"""Values as text for people and as Python source for reproducers.

Survives any message: a `repr` that raises, a content of 10 MB, control characters, lone
surrogates, classes of a user's own.
"""

from __future__ import annotations

import math
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
        return clip(f"[{', '.join(show(item, width) for item in _head(value))}]", width)
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
        case int() if value.bit_length() > 4_000:
            return f"int({hex(value)!r}, 16)"
        case list():
            return f"[{', '.join(source(item) for item in value)}]"
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
    return " ".join([name, _repr(message.content), *parts])


def _set_fields(message: BaseMessage) -> Iterable[tuple[str, Any]]:
    """The fields that a constructor call would have to name: those that differ from defaults."""
    for key, info in type(message).model_fields.items():
        if key == "type":
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
        if key.isidentifier()
        else f"**{{{key!r}: {source(item)}}}"
        for key, item in _set_fields(message)
        if not (name == "RemoveMessage" and key == "content")
    )
    return f"{name}({arguments})"


def message_names() -> tuple[str, ...]:
    """The classes that message sources may use, all importable from `langchain_core.messages`."""
    return tuple(name for name in _message_exports if "Message" in name and name[0].isupper())


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


def _head(values: Sequence[Any], limit: int = 20) -> list[Any]:
    return list(values[:limit])
