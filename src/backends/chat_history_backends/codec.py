"""Messages to text and back, and the checks on arguments that all reference histories share.

The text is the JSON of ``message_to_dict``, pure ASCII: a NUL or half a surrogate pair is escaped,
so any store that keeps ASCII keeps any message. Non-finite floats are written the way Python's
``json`` writes and reads them (``NaN``, ``Infinity``).

The rule is *keep it exactly or refuse it before storing*. What JSON changes by its own rules is
accepted: a tuple becomes a list, an integer key a string, a dataclass or pydantic value a dict, a
subclass its base. Whatever else would not come back as it was is refused.
"""

from __future__ import annotations

import json
import math
import numbers
import threading
import time
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, TypeVar

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_to_dict,
    messages_from_dict,
)

P = TypeVar("P", bound=int | str)

_USE_JSON = "Use what JSON has: str, int, float, bool, None, list, dict with str keys"
_USE_CORE_CLASS = "Use the message classes of langchain-core, with fields that they accept"

# langchain-core's validators derive these from one another and from additional_kwargs whenever a
# message is built: tool calls that were emptied afterwards come back. That is not ours to refuse.
_REBUILT_BY_VALIDATORS = frozenset({"tool_calls", "invalid_tool_calls", "tool_call_chunks"})


class UndecodableRecordError(ValueError):
    """A stored record is no message that langchain-core can read. Nothing was consumed.

    Attributes:
        position: What identifies the record in its store: the first one, if there are several.
        messages: The messages of this read that could be decoded, in order.
    """

    def __init__(
        self, position: int | str, reason: str, messages: Iterable[BaseMessage] = ()
    ) -> None:
        self.position = position
        self.reason = reason
        self.messages = list(messages)
        super().__init__(position, reason, self.messages)

    def __str__(self) -> str:
        return (
            f"the record at position {self.position!r} cannot be decoded: {self.reason}. "
            f"The {len(self.messages)} other messages of this read are in the error's `messages`; "
            "remove the record with `discard(position)`"
        )


def encode(message: BaseMessage) -> str:
    """Write one message as text, or refuse it.

    Args:
        message: The message; it is not changed.

    Returns:
        ASCII text that :func:`decode` turns into an equal message.

    Raises:
        TypeError: It is no message, or holds a value that JSON has no form for (the text names
            its place, such as ``additional_kwargs['x'][2]``).
        ValueError: It holds a value that would not come back as it is, or langchain-core cannot
            read its class back.
    """
    if not isinstance(message, BaseMessage):
        hint = "; use add_user_message for text" if isinstance(message, str) else ""
        raise TypeError(f"a message is needed, not {type(message).__name__}{hint}")
    fields = {**message.__dict__, **(message.__pydantic_extra__ or {})}
    try:
        document = message_to_dict(message)
        fields = document["data"]
        text = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(_refusal(message, _find_unwritable(fields) or str(error))) from error
    if _is_plain(message, fields):
        return text
    # Reading it back is the only proof that it can be read back: the class may be one that
    # langchain-core does not know, and a field may have been assigned what its validator refuses.
    try:
        copy = message_to_dict(decode(text, 0))
    except UndecodableRecordError as error:
        reason = f"langchain-core cannot read it back ({error.reason})"
        raise ValueError(_refusal(message, reason, _USE_CORE_CLASS)) from error
    if json.dumps(copy) != text:
        for name in fields | copy["data"]:
            if name not in _REBUILT_BY_VALIDATORS and _differ(fields, copy["data"], name):
                reason = _find_unwritable(fields.get(name), name) or f"{name} would change"
                raise ValueError(_refusal(message, reason))
    return text


def encode_batch(messages: Iterable[BaseMessage]) -> list[str]:
    """Write a batch as texts, all of it before the caller stores any.

    Args:
        messages: Any iterable of messages; an iterator is consumed once.

    Returns:
        One text per message, in order.

    Raises:
        TypeError: As :func:`encode`, or ``messages`` is no iterable of messages. The text names the
            position in the batch, from 0.
        ValueError: As :func:`encode`, naming the position in the batch.
    """
    # All three can be iterated, and none over messages; empty ones would pass for an empty batch.
    if isinstance(messages, (str, bytes, Mapping)):
        raise TypeError(
            f"a sequence of messages is needed, not {type(messages).__name__}; "
            "use add_user_message for text"
        )
    if isinstance(messages, BaseMessage):
        raise TypeError("a sequence of messages is needed; use add_message for a single one")
    texts: list[str] = []
    for index, message in enumerate(messages):
        try:
            texts.append(encode(message))
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"message {index} of the batch is refused: {error}") from error
    return texts


def decode(text: str | bytes, position: int | str) -> BaseMessage:
    """Read one message from the text that :func:`encode` wrote.

    Args:
        text: The stored text.
        position: What identifies the record in its store, for the error.

    Returns:
        A new message.

    Raises:
        UndecodableRecordError: The text is no message.
    """
    try:
        return messages_from_dict([json.loads(text)])[0]
    except Exception as error:
        # Whatever a damaged text or a validator raises. The text of a pydantic error (it has
        # `errors`) quotes the content of the message, which belongs in no log.
        name = type(error).__name__
        detail = name if hasattr(error, "errors") else f"{name}: {error}"
        raise UndecodableRecordError(position, detail) from error


def decode_batch(
    records: Iterable[tuple[P, str | bytes]], deadline: float | None = None
) -> tuple[list[BaseMessage], P | None]:
    """Read records in order, up to a deadline.

    Args:
        records: Pairs of position and text. Consumed only as far as there is time.
        deadline: Time of ``time.monotonic()``, in seconds, from which no further record is read;
            None reads all.

    Returns:
        The messages, and the position of the last of them (None where there is none).

    Raises:
        UndecodableRecordError: A record is no message; raised after the others were decoded, and
            carries them.
    """
    messages: list[BaseMessage] = []
    reached: P | None = None
    failure: UndecodableRecordError | None = None
    for position, text in records:
        if deadline is not None and time.monotonic() >= deadline:
            break
        try:
            messages.append(decode(text, position))
            reached = position
        except UndecodableRecordError as error:
            failure = failure or error
    if failure is not None:
        raise UndecodableRecordError(failure.position, failure.reason, messages) from failure
    return messages, reached


def check_bounds(
    max_message_count: int | None, max_time_sec: float | None
) -> tuple[int | None, float | None]:
    """Check the two bounds of a read.

    Args:
        max_message_count: At most so many messages, 0 or more; None for any number.
        max_time_sec: At most so many seconds, 0 or more; None or infinity for any time.

    Returns:
        Both bounds, None where there is none.

    Raises:
        TypeError: A bound is not a number of its kind (a bool is none).
        ValueError: A bound is negative or not a number (NaN).
    """
    if max_message_count is not None:
        if isinstance(max_message_count, bool) or not isinstance(max_message_count, int):
            raise TypeError(f"max_message_count must be an int or None, not {max_message_count!r}")
        if max_message_count < 0:
            raise ValueError(f"max_message_count must be 0 or more, not {max_message_count}")
    if max_time_sec is None:
        return max_message_count, None
    if isinstance(max_time_sec, bool) or not isinstance(max_time_sec, numbers.Real):
        raise TypeError(f"max_time_sec must be a number of seconds or None, not {max_time_sec!r}")
    if not max_time_sec >= 0:  # so written that NaN is refused too
        raise ValueError(f"max_time_sec must be 0 or more, not {max_time_sec!r}")
    try:
        seconds = float(max_time_sec)
    except OverflowError:  # an int beyond every float
        seconds = math.inf
    return max_message_count, None if math.isinf(seconds) else seconds


def check_ttl(ttl_ms: int | None) -> int | None:
    """Check a time to live.

    Args:
        ttl_ms: Milliseconds, 1 or more; None for ever.

    Returns:
        The same value.

    Raises:
        TypeError: It is neither an int (a bool is none) nor None.
        ValueError: It is less than 1.
    """
    if ttl_ms is not None:
        if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int):
            raise TypeError(f"ttl_ms must be an int or None, not {ttl_ms!r}")
        if ttl_ms < 1:
            raise ValueError(f"ttl_ms must be 1 or more, not {ttl_ms}; None keeps for ever")
    return ttl_ms


def check_seconds(name: str, value: float) -> float:
    """Check how long something may take.

    Args:
        name: What the argument is called.
        value: Seconds, above 0; infinity for any time.

    Returns:
        The value, or the longest time that threads can wait for.

    Raises:
        TypeError: It is no number (a bool is none).
        ValueError: It is not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value > 0:  # so written that NaN is refused too
        raise ValueError(f"{name} must be above 0 seconds, not {value!r}")
    return min(float(value), threading.TIMEOUT_MAX / 2)


_PLAIN_KEYS = {
    kind: frozenset(message_to_dict(kind(content=""))["data"])
    for kind in (HumanMessage, SystemMessage, AIMessage)
}
_WRITTEN_AS = {HumanMessage: "human", SystemMessage: "system", AIMessage: "ai"}


def _is_plain(message: BaseMessage, fields: Mapping[str, Any]) -> bool:
    """Whether a message is of the most common shape, which comes back as it is beyond doubt.

    It spares most messages four fifths of their cost. False says nothing.
    """
    kind = type(message)
    return (
        kind in _PLAIN_KEYS
        and _PLAIN_KEYS[kind] == fields.keys()
        and fields["type"] == _WRITTEN_AS[kind]
        and type(fields["content"]) is str
        and type(fields["id"]) in _TEXT_OR_NONE
        and type(fields["name"]) in _TEXT_OR_NONE
        and not fields["additional_kwargs"]
        and type(fields["additional_kwargs"]) is dict
        and type(fields["response_metadata"]) is dict
        and all(
            type(key) is str and type(value) in _SCALARS
            for key, value in fields["response_metadata"].items()
        )
        and (
            kind is not AIMessage
            or (
                fields["usage_metadata"] is None
                and fields["tool_calls"] == fields["invalid_tool_calls"] == []
            )
        )
    )


_TEXT_OR_NONE = (str, NoneType)
_SCALARS = (str, int, float, bool, NoneType)


def _refusal(message: BaseMessage, reason: str, remedy: str = _USE_JSON) -> str:
    return f"this {type(message).__name__} cannot be kept exactly: {reason}. {remedy}"


def _differ(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> bool:
    # Text against text: NaN differs from itself, and 1 is equal to 1.0 and True.
    if name not in before or name not in after:
        return True
    return json.dumps(before[name]) != json.dumps(after[name])


def _find_unwritable(value: Any, place: str = "", depth: int = 0) -> str | None:
    """Say where in ``value`` the first thing is that JSON cannot keep, and what it is."""
    if depth > 200:
        return f"{place[:100]}... is nested too deeply, or holds itself"
    if isinstance(value, (list, tuple)):
        items: Iterable[tuple[str, Any]] = ((f"{place}[{i}]", x) for i, x in enumerate(value))
    elif isinstance(value, dict):
        try:
            keys = [key if isinstance(key, str) else json.dumps(key) for key in value]
            json.dumps(dict.fromkeys(value))
        except (TypeError, ValueError) as error:
            return f"{place} has a key that JSON cannot hold ({error})"
        if len(set(keys)) < len(keys):
            return f"{place} has keys that JSON cannot tell apart, such as 1 and '1'"
        items = ((f"{place}[{key!r}]" if place else str(key), x) for key, x in value.items())
    else:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            return f"{place} is of type {type(value).__name__} ({error})"
        return None
    return next(filter(None, (_find_unwritable(x, where, depth + 1) for where, x in items)), None)
