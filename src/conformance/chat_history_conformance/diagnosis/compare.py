"""Differences between the messages that a history returned and those of a plain list.

Pure functions: nothing here knows a history.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.diagnosis.canonical import (
    Canonical,
    alternatives,
    dump,
    first_difference,
)
from chat_history_conformance.diagnosis.rendering import clip, listing, show, type_label
from chat_history_conformance.drivers.errors import RemoteError, text_of
from chat_history_conformance.results.model import Finding, Kind

__all__ = [
    "ConformanceFailure",
    "Difference",
    "HookFailure",
    "NotApplicable",
    "ServerFailure",
    "Shortage",
    "Snapshot",
    "Unrepeated",
    "compare",
    "first_line",
    "lines",
    "raised",
    "returned_lines",
    "type_name",
]


class ConformanceFailure(AssertionError):
    """A failure of a contract, with its `finding`.

    Args:
        finding: The finding.
        script: Makes the script of the finding, if the finding has none yet.
    """

    def __init__(self, finding: Finding, script: Callable[[], str] | None = None) -> None:
        super().__init__(finding.summary)
        self.finding = finding
        self.script = script


class ServerFailure(Exception):
    """A server that did not answer; it says nothing about the history."""


class Shortage(ServerFailure):
    """A machine without disk, open files or memory; it says nothing about the history."""


class Unrepeated(ServerFailure):
    """A call that was late once and not again, as on a busy machine."""


class HookFailure(ServerFailure):
    """A function of the declaration that failed; it says nothing about the history."""


class NotApplicable(Exception):
    """A reason why a contract does not apply to a history, found while running it."""


class Snapshot:
    """A message of the model, as it was when it was added.

    Attributes:
        exact: The canonical form of the message.
        message: A copy of the message.
    """

    __slots__ = ("_keys", "exact", "message")

    def __init__(self, message: BaseMessage) -> None:
        self.exact = dump(message)
        self._keys: frozenset[Canonical] | None = None
        try:
            self.message = copy.deepcopy(message)
        except Exception:  # some values cannot be copied; the message may change later
            self.message = message
            self._keys = alternatives(message)

    @property
    def keys(self) -> frozenset[Canonical]:
        """The canonical forms in which the message may come back.

        Most messages come back in the exact form, and the other one takes long to compute.
        """
        if self._keys is None:
            self._keys = alternatives(self.message) | {self.exact}
        return self._keys

    def matches(self, key: Canonical) -> bool:
        """Return whether the message may come back in this form."""
        return key == self.exact or key in self.keys


@dataclass(frozen=True)
class Difference:
    """The kind and the summary of a difference between two lists of messages."""

    kind: Kind
    summary: str


def compare(
    expected: Sequence[Snapshot],
    returned: Sequence[Any],
    *,
    foreign: Iterable[Snapshot] = (),
    cleared: Iterable[Snapshot] = (),
    refused: Iterable[Snapshot] = (),
) -> Difference | None:
    """Return the difference between `returned` and `expected`, or None.

    Args:
        expected: The messages of a plain list, in order.
        returned: The items that the history returned.
        foreign: Messages of other sessions.
        cleared: Messages that this session held before it was cleared.
        refused: Messages of batches that were refused.
    """
    facts = _Facts(expected, returned, foreign, cleared, refused)
    if facts.are_equal:
        return None
    for kind, find, describe in _RULES:
        found = find(facts)
        if found:
            return Difference(kind, describe(facts, found))
    raise AssertionError("two lists that differ fit no rule")


@dataclass(frozen=True)
class _Facts:
    """The two lists, and all messages that may explain a difference."""

    expected: Sequence[Snapshot]
    returned: Sequence[Any]
    foreign: Iterable[Snapshot]
    cleared: Iterable[Snapshot]
    refused: Iterable[Snapshot]

    @cached_property
    def keys(self) -> list[Canonical]:
        """The canonical form of each returned item."""
        return [
            dump(item) if isinstance(item, BaseMessage) else ("no message", type(item).__name__)
            for item in self.returned
        ]

    @property
    def are_equal(self) -> bool:
        """The answer whether exactly the expected messages came."""
        return len(self.keys) == len(self.expected) and all(
            kept.matches(key) for key, kept in zip(self.keys, self.expected, strict=True)
        )

    @cached_property
    def present(self) -> frozenset[Canonical]:
        """The keys of all expected messages."""
        return _keys(self.expected)

    @cached_property
    def unmatched(self) -> tuple[list[int], list[Canonical]]:
        """Indices of expected messages, and keys of returned ones, without a partner."""
        return _unmatched(self.expected, self.keys)

    @property
    def missing(self) -> list[int]:
        """Indices of expected messages that did not come."""
        return self.unmatched[0]

    @property
    def extra(self) -> list[Canonical]:
        """Keys of returned messages that have no place in the expected list."""
        return self.unmatched[1]

    @property
    def unknown(self) -> list[Canonical]:
        """Keys of returned messages that are not expected at all."""
        return [key for key in self.extra if key not in self.present]

    def unknown_in(self, others: Iterable[Snapshot]) -> list[Canonical]:
        """Return the unknown keys that belong to one of some other messages."""
        unknown = self.unknown
        keys = _keys(others) if unknown else frozenset()
        return [key for key in unknown if key in keys]


def _describe_strays(facts: _Facts, strays: Sequence[Any]) -> str:
    return (
        f"returned {_count(len(strays), type(strays[0]).__name__ + ' object')} instead of messages"
    )


def _describe_order(facts: _Facts, keys: Sequence[Canonical]) -> str:
    """Name the first message in a wrong place, and that place."""
    places = zip(facts.expected, keys, strict=True)
    index = next(number for number, (kept, key) in enumerate(places) if key not in kept.keys)
    wanted = facts.expected[index].keys
    place = next(number for number in range(index, len(keys)) if keys[number] in wanted)
    return f"message {index + 1} came back as message {place + 1} of {len(keys)}"


def _describe_alteration(facts: _Facts, unknown: Sequence[Canonical]) -> str:
    """Name the first altered message, and the first difference in it."""
    index = facts.missing[0]
    exact = dump(facts.expected[index].message)
    path = first_difference(exact, unknown[0])
    came = f"a different `{path}`"
    if path == "type":
        came = f"{type_label(unknown[0][1])} instead of {type_label(exact[1])}"
    summary = f"message {index + 1} came back {'as' if path == 'type' else 'with'} {came}"
    altered = min(len(facts.missing), len(unknown))
    total = _count(len(facts.expected), "message")
    return summary if altered == 1 else f"{summary}, and {altered} of {total} are altered"


def _describe_copies(facts: _Facts, copies: Sequence[Canonical]) -> str:
    index = next(number for number, kept in enumerate(facts.expected) if copies[0] in kept.keys)
    if len(copies) == 1:
        return f"returned 1 extra copy of message {index + 1}"
    return f"returned {len(copies)} extra copies, the first of message {index + 1}"


def _describe_loss(facts: _Facts, missing: Sequence[int]) -> str:
    return f"lost {len(missing)} of {_count(len(facts.expected), 'message')}"


def _messages(template: str) -> Callable[[_Facts, Sequence[Any]], str]:
    """Return a description that only counts the messages."""
    return lambda facts, found: template.format(_count(len(found), "message"))


_Rule = tuple[Kind, Callable[[_Facts], Sequence[Any]], Callable[[_Facts, Sequence[Any]], str]]

# The first rule that finds something gives the kind and the summary.
_RULES: tuple[_Rule, ...] = (
    (
        "altered",
        lambda facts: [item for item in facts.returned if not isinstance(item, BaseMessage)],
        _describe_strays,
    ),
    (
        "reordered",
        lambda facts: [] if facts.missing or facts.extra else facts.keys,
        _describe_order,
    ),
    (
        "foreign",
        lambda facts: facts.unknown_in(facts.foreign),
        _messages("returned {} of another session"),
    ),
    (
        "resurrected",
        lambda facts: facts.unknown_in(facts.cleared),
        _messages("returned {} that had been cleared"),
    ),
    (
        "foreign",
        lambda facts: facts.unknown_in(facts.refused),
        _messages("kept {} of a batch that it refused"),
    ),
    ("altered", lambda facts: facts.unknown if facts.missing else [], _describe_alteration),
    ("foreign", lambda facts: facts.unknown, _messages("returned {} that was never added")),
    ("duplicated", lambda facts: facts.extra, _describe_copies),
    ("lost", lambda facts: facts.missing, _describe_loss),
)


_TASK = re.compile(r"<(Task|Future)\b[^<>]*(?:<[^<>]*(?:<[^<>]*>[^<>]*)*>[^<>]*)*>")
"""The text of a task of an event loop, which shows the code that waits for it."""


def raised(operation: str, error: BaseException) -> tuple[str, str]:
    """Return the summary and the cause of an exception that an operation raised.

    The causes of two exceptions are equal if only ids and numbers differ in their texts.
    """
    text = first_line(error)
    cause = f"`{operation}` raises {type_name(error)}"
    stable = re.sub(r"chc[0-9a-f]{8,}\S*|0x[0-9a-f]+|\d{2,}", "…", text)
    return f"{cause}: {text}" if text else cause, f"{cause}: {stable}" if stable else cause


def type_name(error: BaseException | None) -> str:
    """Return the name of an exception's type, also of one in the second process."""
    return error.type_name if isinstance(error, RemoteError) else type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, short enough for a summary."""
    text = text_of(error).strip().partition("\n")[0]
    return clip(re.sub(_TASK, r"<\1 …>", text), 160)


def lines(kept: Sequence[Snapshot]) -> tuple[str, ...]:
    """Return the messages of a model as a listing."""
    return listing([item.message for item in kept])


def returned_lines(returned: Sequence[Any]) -> tuple[str, ...]:
    """Return the items that a history returned as a listing, also for items other than messages."""
    if all(isinstance(item, BaseMessage) for item in returned):
        return listing(returned)
    return tuple(show(item) for item in returned[:30])


def _keys(kept: Iterable[Snapshot]) -> frozenset[Canonical]:
    return frozenset(key for item in kept for key in item.keys)


def _unmatched(
    expected: Sequence[Snapshot], keys: Sequence[Canonical]
) -> tuple[list[int], list[Canonical]]:
    """Pair equal messages, and return the others of both sides."""
    open_places: dict[Canonical, list[int]] = {}
    for index in reversed(range(len(expected))):
        for key in expected[index].keys:
            open_places.setdefault(key, []).append(index)
    taken: set[int] = set()
    extra: list[Canonical] = []
    for key in keys:
        places = open_places.get(key, [])
        while places and places[-1] in taken:
            places.pop()
        if places:
            taken.add(places.pop())
        else:
            extra.append(key)
    return [index for index in range(len(expected)) if index not in taken], extra


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
