"""What went wrong, told in messages: the diagnosis of a difference and the failure carrying it.

Pure: compares what a history returned with what a plain list would hold.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.diagnosis.canonical import (
    Canonical,
    alternatives,
    dump,
    first_difference,
)
from chat_history_conformance.diagnosis.rendering import clip, listing, show
from chat_history_conformance.drivers.errors import RemoteError, text_of
from chat_history_conformance.results.model import Finding, Kind


class ConformanceFailure(AssertionError):
    """A history broke a contract; `finding` says how."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.summary)
        self.finding = finding


class ServerFailure(Exception):
    """The server was not there; nothing is said about the history."""


class NotApplicable(Exception):
    """Met while running: this history cannot be asked this; the text says why."""


class Snapshot:
    """One message of the model: as it was when it was added, whatever becomes of the object."""

    __slots__ = ("keys", "message")

    def __init__(self, message: BaseMessage) -> None:
        self.keys = alternatives(message)
        try:
            self.message = copy.deepcopy(message)
        except Exception:  # an object of a user's own may not be copied; it is only displayed
            self.message = message


@dataclass(frozen=True)
class Difference:
    """How a returned list differs from the expected one."""

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
    """What is wrong with `returned`, or None.

    Args:
        expected: What a plain list would hold, in order.
        returned: What the history gave.
        foreign: Messages of other sessions.
        cleared: Messages that this session held before it was cleared.
        refused: Messages of batches that were refused.
    """
    keys = [dump(item) if isinstance(item, BaseMessage) else _no_message(item) for item in returned]
    if len(keys) == len(expected) and all(
        key in kept.keys for key, kept in zip(keys, expected, strict=True)
    ):
        return None
    strays = [item for item in returned if not isinstance(item, BaseMessage)]
    if strays:
        return Difference(
            "altered",
            f"returned {_count(len(strays), type(strays[0]).__name__ + ' object')} "
            f"in place of messages",
        )
    missing, extra = _unmatched(expected, keys)
    if not missing and not extra:
        return Difference("reordered", _reordering(expected, keys))
    others = _all_keys(foreign)
    gone = _all_keys(cleared)
    present = _all_keys(expected)
    strangers = [key for key in extra if key in others and key not in present]
    if strangers:
        return Difference(
            "foreign", f"returned {_count(len(strangers), 'message')} of another session"
        )
    risen = [key for key in extra if key in gone and key not in present]
    if risen:
        return Difference(
            "resurrected", f"returned {_count(len(risen), 'message')} that had been cleared"
        )
    half_refused = _all_keys(refused)
    kept_anyway = [key for key in extra if key in half_refused and key not in present]
    if kept_anyway:
        return Difference(
            "foreign", f"kept {_count(len(kept_anyway), 'message')} of a batch that it refused"
        )
    again = [key for key in extra if key in present]
    unknown = [key for key in extra if key not in present]
    if unknown and missing:
        return Difference("altered", _alteration(expected, missing, unknown))
    if unknown:
        return Difference(
            "foreign", f"returned {_count(len(unknown), 'message')} that nobody added"
        )
    if again:
        extra_copies = _count(len(again), "message")
        return Difference("duplicated", f"returned {extra_copies} more often than added")
    return Difference("lost", f"lost {len(missing)} of {_count(len(expected), 'message')}")


def raised(operation: str, error: BaseException) -> tuple[str, str]:
    """The summary and the cause of "`operation` raised `error`": equal for equal causes."""
    text = first_line(error)
    cause = f"`{operation}` raises {type_name(error)}"
    return (f"{cause}: {text}" if text else cause), cause_key(cause, text)


def type_name(error: BaseException | None) -> str:
    """Return the name of an exception's type, also of one in the second process."""
    return error.type_name if isinstance(error, RemoteError) else type(error).__name__


def first_line(error: BaseException) -> str:
    """What an exception says, as short as a summary has to be."""
    return clip(text_of(error).strip().partition("\n")[0], 160)


def cause_key(cause: str, text: str) -> str:
    """`cause` with the part of `text` that does not change from run to run."""
    stable = re.sub(r"chc[0-9a-f]{8,}\S*|0x[0-9a-f]+|\d{2,}", "…", text)
    return f"{cause}: {stable}" if stable else cause


def lines(kept: Sequence[Snapshot]) -> tuple[str, ...]:
    """The messages of a model as a listing."""
    return listing([item.message for item in kept])


def returned_lines(returned: Sequence[Any]) -> tuple[str, ...]:
    """What a history returned as a listing, whatever it is."""
    if all(isinstance(item, BaseMessage) for item in returned):
        return listing(returned)
    return tuple(show(item) for item in returned[:30])


def _no_message(item: Any) -> Canonical:
    return ("no message", type(item).__name__)


def _all_keys(kept: Iterable[Snapshot]) -> frozenset[Canonical]:
    return frozenset(key for item in kept for key in item.keys)


def _unmatched(
    expected: Sequence[Snapshot], keys: Sequence[Canonical]
) -> tuple[list[int], list[Canonical]]:
    """Indices of expected messages and keys of returned ones that have no partner."""
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


def _reordering(expected: Sequence[Snapshot], keys: Sequence[Canonical]) -> str:
    for index, (kept, key) in enumerate(zip(expected, keys, strict=True)):
        if key not in kept.keys:
            place = next(number for number in range(index, len(keys)) if keys[number] in kept.keys)
            return (
                f"reordered {_count(len(expected), 'message')}: "
                f"number {index + 1} came back as number {place + 1}"
            )
    raise AssertionError("only lists that differ in order come here")


def _alteration(
    expected: Sequence[Snapshot], missing: Sequence[int], unknown: Sequence[Canonical]
) -> str:
    index = missing[0]
    exact = dump(expected[index].message)
    where = first_difference(exact, unknown[0])
    summary = f"altered {min(len(missing), len(unknown))} of {_count(len(expected), 'message')}"
    return f"{summary}: `{where}` of number {index + 1}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
