"""Conversion of messages to text and back.

The text is the JSON of ``message_to_dict`` in pure ASCII. A NUL or half a surrogate pair is
escaped, so any store that keeps ASCII keeps any message. Non-finite floats are written the way
Python's ``json`` writes and reads them (``NaN``, ``Infinity``).

The rule is: keep a message exactly, or refuse it before it is stored. Changes that JSON makes by
its own rules are accepted: a tuple becomes a list, an integer key a string, a dataclass or pydantic
value a dict, a subclass its base. Every other value that would come back changed is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from .unchanged import is_certain

__all__ = [
    "UndecodableRecordError",
    "decode",
    "decode_batch",
    "decode_page",
    "encode",
    "encode_batch",
]

P = TypeVar("P", bound=int | str)

# Deep nesting is refused all the same, and the search for circles takes a tenth of the time.
_to_json = json.JSONEncoder(check_circular=False).encode

_USE_JSON = "Use the values that JSON has: str, int, float, bool, None, list, dict with str keys"
_USE_CORE_CLASS = "Use the message classes of langchain-core, with fields that they accept"

# langchain-core's validators derive these from each other and from additional_kwargs whenever a
# message is built. Tool calls that were removed from a message come back that way. This does not
# count as a change.
_REBUILT_BY_VALIDATORS = frozenset({"tool_calls", "invalid_tool_calls", "tool_call_chunks"})


class UndecodableRecordError(ValueError):
    """A stored record is not a message that langchain-core can read. Nothing was consumed.

    Attributes:
        position: The id of the record in its store; of the first one, if there are several.
        reason: Why it cannot be decoded.
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
        count = len(self.messages)
        others = f"the {count} other messages of this read are in the error's `messages`; "
        return (
            f"the record at position {self.position!r} cannot be decoded: {self.reason}; "
            f"{others if count else ''}remove the record with `discard(position)`"
        )


def encode(message: BaseMessage) -> str:
    """Return the text of one message, or refuse the message.

    Args:
        message: The message; it is not changed.

    Returns:
        ASCII text that :func:`decode` turns into an equal message.

    Raises:
        TypeError: It is not a message, or holds a value that JSON cannot represent (the text names
            its place, such as ``additional_kwargs['x'][2]``).
        ValueError: It holds a value that would come back changed, or langchain-core cannot read
            its class back.
    """
    if not isinstance(message, BaseMessage):
        hint = "; use add_user_message for text" if isinstance(message, str) else ""
        raise TypeError(f"a message is needed, not {type(message).__name__}{hint}")
    fields: Mapping[str, Any] | None = None
    try:
        document = message_to_dict(message)
        fields = document["data"]
        text = _to_json(document)
    except (TypeError, ValueError, RecursionError) as error:
        if fields is None:
            fields = {**message.__dict__, **(message.__pydantic_extra__ or {})}
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(_refusal(message, _find_unwritable(fields) or str(error))) from error
    if not is_certain(message, document["data"]):
        _check_reads_back(message, document["data"], text)
    return text


def _check_reads_back(message: BaseMessage, fields: Mapping[str, Any], text: str) -> None:
    """Raise ``ValueError`` if the text does not come back as the same message.

    Only reading it proves that. langchain-core may not know the class of the message, and a field
    may hold a value that its validator refuses.
    """
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


def encode_batch(messages: Iterable[BaseMessage]) -> list[str]:
    """Return the texts of a batch. All are encoded before the caller stores any.

    Args:
        messages: Any iterable of messages; an iterator is consumed once.

    Returns:
        One text for each message, in order.

    Raises:
        TypeError: As :func:`encode`, or ``messages`` is not an iterable of messages. The text names
            the position in the batch, from 0.
        ValueError: As :func:`encode`. The text names the position in the batch.
    """
    # These types are iterable, but do not hold messages. An empty one would pass for an empty
    # batch.
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
    """Return the message that :func:`encode` wrote as this text.

    Args:
        text: The stored text.
        position: The id of the record in its store, for the error.

    Returns:
        A new message.

    Raises:
        UndecodableRecordError: The text is not a message.
    """
    try:
        return messages_from_dict([json.loads(text)])[0]
    except Exception as error:
        # A damaged text or a validator may raise any exception. The text of a pydantic error (it
        # has `errors`) quotes the content of the message, which must not get into a log.
        name = type(error).__name__
        detail = name if hasattr(error, "errors") else f"{name}: {error}"
        raise UndecodableRecordError(position, detail) from error


def decode_batch(
    records: Iterable[tuple[P, str | bytes]], deadline: float | None = None
) -> tuple[list[BaseMessage], P | None]:
    """Decode records in order, up to a deadline.

    Args:
        records: Pairs of position and text. They are consumed only as far as there is time.
        deadline: The time of ``time.monotonic()``, in seconds, from which no further record is
            read; None reads all.

    Returns:
        The messages, and the position of the last one (None without a message).

    Raises:
        UndecodableRecordError: A record is not a message. It is raised after the others were
            decoded, and carries them.
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


def decode_page(records: Iterable[tuple[P, str | bytes]]) -> Iterator[list[BaseMessage]]:
    """Decode one page of an iteration. Yield its messages as one list.

    Args:
        records: Pairs of position and text.

    Raises:
        UndecodableRecordError: A record is not a message. It is raised after the list of the
            messages before it was yielded, and carries no messages.
    """
    messages: list[BaseMessage] = []
    for position, text in records:
        try:
            messages.append(decode(text, position))
        except UndecodableRecordError:
            yield messages
            raise
    yield messages


def _refusal(message: BaseMessage, reason: str, remedy: str = _USE_JSON) -> str:
    return f"this {type(message).__name__} cannot be kept exactly: {reason}. {remedy}"


def _differ(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> bool:
    # Compare texts: NaN differs from itself, and 1 is equal to 1.0 and True.
    if name not in before or name not in after:
        return True
    return json.dumps(before[name]) != json.dumps(after[name])


def _find_unwritable(value: Any, place: str = "", depth: int = 0) -> str | None:
    """Return the place and the problem of the first value that JSON cannot keep, or None."""
    if depth > 200:
        return f"{place[:100]}... is nested too deeply, or holds itself"
    if isinstance(value, (list, tuple)):
        items = [(f"{place}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        if problem := _key_problem(value, place):
            return problem
        items = [(f"{place}[{key!r}]" if place else str(key), item) for key, item in value.items()]
    else:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            return f"{place} is of type {type(value).__name__} ({error})"
        return None
    problems = (_find_unwritable(item, inner, depth + 1) for inner, item in items)
    return next(filter(None, problems), None)


def _key_problem(value: dict[Any, Any], place: str) -> str | None:
    try:
        keys = [key if isinstance(key, str) else json.dumps(key) for key in value]
        json.dumps(dict.fromkeys(value))
    except (TypeError, ValueError) as error:
        return f"{place} has a key that JSON cannot hold ({error})"
    if len(set(keys)) < len(keys):
        return f"{place} has keys that JSON cannot distinguish, such as 1 and '1'"
    return None
