"""Messages that certainly come back unchanged from the text of `message_to_dict`.

Reading a text back proves that its message can be kept, and costs more than writing it. For the
classes below, the fields and validators of langchain-core guarantee the same if each field has a
value of the type that it declares, and everything else is plain JSON. That is cheaper to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from types import NoneType
from typing import Any, get_type_hints

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
)
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

__all__ = ["is_certain"]

Fields = Mapping[str, Any]

_SCALARS = frozenset({str, int, float, bool, NoneType})
_TEXT_OR_NONE = frozenset({str, NoneType})
_are_scalars = _SCALARS.issuperset
_require_texts = "".join
_are_blocks = frozenset({str, dict}).issuperset
_are_numbers = frozenset({int}).issuperset
_DEEPEST = 32
"""The deepest nesting that is checked here. The limits of parsers are far beyond it."""


def is_certain(message: BaseMessage, fields: Fields) -> bool:
    """Return whether a message certainly comes back unchanged. If not, it has to be read back.

    Args:
        message: The message.
        fields: Its `data` in `message_to_dict`, of which `json.dumps` has made a text.
    """
    known = _KNOWN.get(type(message))
    if known is None:
        return False
    written_as, keys, has_certain_rest = known
    content = fields["content"]
    try:
        return (
            keys == fields.keys()
            and fields["type"] == written_as
            and (type(content) is str or _is_list_of_blocks(content))
            and type(fields["id"]) in _TEXT_OR_NONE
            and type(fields["name"]) in _TEXT_OR_NONE
            and _is_plain_dict(fields["additional_kwargs"])
            and _is_plain_dict(fields["response_metadata"])
            and has_certain_rest(fields)
        )
    except TypeError:  # a key is not a text: JSON may not distinguish it from another
        return False


def _is_plain_dict(value: Any, depth: int = 0) -> bool:
    """Return whether a value is a dict of JSON values that comes back as it is.

    Raises:
        TypeError: A key is not a text.
    """
    if type(value) is not dict:
        return False
    if value:
        _require_texts(value)
        values = value.values()
        return _are_scalars(map(type, values)) or _are_plain(values, depth)
    return True


def _are_plain(values: Iterable[Any], depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not _is_plain_dict(value, depth + 1):
                return False
        elif kind is not list or not _are_plain(value, depth + 1):
            return False
    return True


def _is_list_of_blocks(content: Any) -> bool:
    return type(content) is list and _are_blocks(map(type, content)) and _are_plain(content, 0)


def _has_certain_nothing(fields: Fields) -> bool:
    return True


def _has_certain_calls(fields: Fields) -> bool:
    calls, usage = fields["tool_calls"], fields["usage_metadata"]
    if type(calls) is not list or fields["invalid_tool_calls"] != []:
        return False
    if not calls and "tool_calls" in fields["additional_kwargs"]:
        return False  # a validator takes tool calls from there
    for call in calls:
        if not _is_certain_call(call):
            return False
    return usage is None or _is_certain_usage(usage)


def _is_certain_call(call: Any) -> bool:
    return (
        type(call) is dict
        and call.keys() == _CALL
        and call["type"] == "tool_call"
        and type(call["name"]) is str
        and type(call["id"]) in _TEXT_OR_NONE
        and _is_plain_dict(call["args"])
    )


def _is_certain_usage(usage: Any) -> bool:
    if type(usage) is not dict or tuple(usage) not in _USAGE:
        return False
    for key, value in usage.items():
        if key in _DETAILS:
            if type(value) is not dict or tuple(value) not in _DETAILS[key]:
                return False
            if not _are_numbers(map(type, value.values())):
                return False
        elif type(value) is not int:
            return False
    return True


def _has_certain_result(fields: Fields) -> bool:
    artifact = fields["artifact"]
    return (
        type(fields["tool_call_id"]) is str
        and fields["status"] in ("success", "error")
        and (artifact is None or _are_plain((artifact,), 0))
    )


def _orders(declared: type, required: int = 0) -> frozenset[tuple[str, ...]]:
    """Return the keys that a TypedDict may have, in the order in which pydantic returns them."""
    names = tuple(get_type_hints(declared))
    always, optional = names[:required], names[required:]
    return frozenset(
        (*always, *chosen)
        for count in range(len(optional) + 1)
        for chosen in combinations(optional, count)
    )


_CALL = frozenset({"name", "args", "id", "type"})
_USAGE = _orders(UsageMetadata, required=len(UsageMetadata.__required_keys__))
_DETAILS = {
    "input_token_details": _orders(InputTokenDetails),
    "output_token_details": _orders(OutputTokenDetails),
}

_Known = tuple[str, frozenset[str], Callable[[Fields], bool]]


def _known(example: BaseMessage, has_certain_rest: Callable[[Fields], bool]) -> _Known:
    document = message_to_dict(example)
    return document["type"], frozenset(document["data"]), has_certain_rest


_KNOWN: Mapping[type[BaseMessage], _Known] = {
    HumanMessage: _known(HumanMessage(""), _has_certain_nothing),
    SystemMessage: _known(SystemMessage(""), _has_certain_nothing),
    AIMessage: _known(AIMessage(""), _has_certain_calls),
    ToolMessage: _known(ToolMessage("", tool_call_id=""), _has_certain_result),
}
