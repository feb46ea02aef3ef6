"""One session of a campaign, prepared for judging: its messages, clears, reads and consuming reads.

A message whose add returned was stored at one time between the beginning and the end of that add.
If the add raised and its outcome is unknown, the message may be stored at any later time, or never.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

from chat_history_conformance.campaign.checking.verdict import Defect, DefectKind
from chat_history_conformance.campaign.recording import Fault, Operation, Recording

__all__ = ["Clears", "Conversation", "Look", "Message", "conversations"]

Claim = Literal["acknowledged", "confirmed", "unknown", "denied"]
"""The outcome of a message by the end of its add: stored because the call returned; stored although
the call raised; unknown; not stored."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message and the add that it belongs to.

    Attributes:
        began: the earliest time at which it may be stored.
        ended: the latest time at which it was stored; infinity if that is unknown.
    """

    text: str
    add: Operation
    index: int
    claim: Claim
    began: float
    ended: float

    @property
    def promised(self) -> bool:
        """True if the end of its add says that it is stored."""
        return self.claim in ("acknowledged", "confirmed")


@dataclass(slots=True)
class Look:
    """A read that returned, or the final read.

    Attributes:
        began: the earliest time of the state that it shows.
        messages: its messages without those that other defects explain.
        shape: whether it shows the whole state, or only its newest or its oldest messages.
        unproven: messages that only a member that is cut off may have stored.
    """

    operation: Operation
    began: float
    ended: float
    messages: tuple[str, ...]
    shape: Literal["whole", "newest", "oldest"] = "whole"
    final: bool = False
    unproven: set[str] = field(default_factory=set)

    @property
    def proven(self) -> tuple[str, ...]:
        """Its messages without the unproven ones."""
        if not self.unproven:
            return self.messages
        return tuple(text for text in self.messages if text not in self.unproven)


class Clears:
    """Clears as intervals in which each takes effect at one point."""

    def __init__(self, clears: Iterable[Operation]) -> None:
        self.operations = sorted(clears, key=lambda clear: clear.began)
        self._begins = [clear.began for clear in self.operations]
        ends = [math.inf if clear.error else clear.ended for clear in self.operations]
        self._latest_end = list(accumulate(ends, max))
        done = sorted((one.ended, one.began) for one in self.operations if not one.error)
        self._done_ends = [ended for ended, _ in done]
        self._done_begins = list(accumulate((began for _, began in done), max))

    def latest_end(self, at_most: float) -> float:
        """Return the latest possible effect of a clear that began at `at_most` or before."""
        number = bisect_right(self._begins, at_most)
        return self._latest_end[number - 1] if number else -math.inf

    def between(self, low: float, high: float) -> bool:
        """Return whether a clear may have taken effect between `low` and `high`."""
        return low <= high and self.latest_end(high) >= low

    def during(self, low: float, high: float) -> Operation | None:
        """Return a clear whose call overlaps the time between `low` and `high`."""
        overlapping = (one for one in self.operations if one.began <= high and one.ended >= low)
        return next(overlapping, None) if low <= high else None

    def done_before(self, time: float) -> float:
        """Return when the last clear began that had returned before `time`."""
        number = bisect_left(self._done_ends, time)
        return self._done_begins[number - 1] if number else -math.inf


@dataclass
class Conversation:
    """One session.

    Attributes:
        latest: for each message the latest time at which it was stored, as far as the ends of the
            adds and the reads show.
        clears: the clears that may have taken effect.
        denied: the clears whose errors say that nothing was removed.
        undone: whether the declaration allows that a fault undoes a clear.
        behind: whether the declaration allows that a read asks a server that is behind the others.
        consumes: the consuming reads without the messages that other defects explain.
        recorded_consumes: the consuming reads as they were recorded.
        excused: messages that other defects explain. No read has to show them.
    """

    name: str
    messages: dict[str, Message] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    clears: Clears = field(default_factory=lambda: Clears(()))
    denied: Clears = field(default_factory=lambda: Clears(()))
    looks: list[Look] = field(default_factory=list)
    final: Look | None = None
    consumes: list[Operation] = field(default_factory=list)
    recorded_consumes: dict[tuple[str, str, str, float, float], Operation] = field(
        default_factory=dict
    )
    undone: bool = False
    behind: bool = False
    excused: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)
    defects: list[Defect] = field(default_factory=list)

    def report(
        self, kind: DefectKind, text: str, operations: Iterable[Operation], at: float
    ) -> None:
        """Add a defect. The operations that prove it are put in the order of their beginnings."""
        recorded = self.recorded_consumes
        unique = list(dict.fromkeys(recorded.get(_place(one), one) for one in operations))
        proof = tuple(sorted(unique, key=lambda one: (one.began, one.ended)))
        self.defects.append(Defect(kind, self.name, text, proof, at))

    def excuse(self, texts: Iterable[str]) -> None:
        """Remove messages from all reads, because other defects explain what they show of them."""
        gone = set(texts)
        self.excused |= gone
        if not gone:
            return
        for look in self.all_looks:
            if not gone.isdisjoint(look.messages):
                look.messages = tuple(text for text in look.messages if text not in gone)
                if not look.messages and look.shape == "whole" and not look.final:
                    look.shape = "oldest"  # It does not show that the session was empty.
        self.consumes = [
            call
            if gone.isdisjoint(call.messages)
            else replace(call, messages=tuple(text for text in call.messages if text not in gone))
            for call in self.consumes
        ]

    def visible_from(self, text: str) -> float:
        """Return the latest time from which every read shows a message.

        A read that shows it proves nothing for the others if these may ask a server that is behind.
        """
        return self.messages[text].ended if self.behind else self.latest[text]

    @property
    def all_looks(self) -> list[Look]:
        """The reads and the final read."""
        return [*self.looks, self.final] if self.final else self.looks


def conversations(recording: Recording) -> list[Conversation]:
    """Return the sessions of a recording.

    Raises:
        ValueError: if one text is added twice. Then its copies look alike.
    """
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in recording.operations:
        found[operation.session].append(operation)
    end = max((operation.ended for operation in recording.operations), default=0.0)
    undone = "durable_clear" in recording.meta.lacks and bool(recording.faults)
    behind = "fresh_reads" in recording.meta.lacks
    stale = [fault for fault in recording.faults if behind and fault.splits]
    result = []
    for name in sorted({*found, *recording.final}):
        conversation = _conversation(name, found[name], undone, stale)
        conversation.behind = behind
        if name in recording.final:
            conversation.final = _final(name, recording.final[name], end)
        result.append(conversation)
    return result


def _conversation(
    name: str, operations: list[Operation], undone: bool, stale: Sequence[Fault]
) -> Conversation:
    one = Conversation(name)
    one.messages = _messages(operations)
    one.latest = {text: message.ended for text, message in one.messages.items()}
    clears = [op for op in operations if op.kind == "clear"]
    one.undone = undone and bool(clears)
    one.denied = Clears(op for op in clears if _denies(op))
    one.clears = Clears(op for op in clears if not _denies(op))
    reads = [op for op in operations if op.kind in ("read", "last") and not op.error]
    one.looks = sorted(
        (_look(op, stale, one.messages) for op in reads), key=lambda look: look.ended
    )
    one.consumes = [op for op in operations if op.kind == "consume"]
    one.recorded_consumes = {_place(op): op for op in one.consumes}
    return one


def _place(call: Operation) -> tuple[str, str, str, float, float]:
    return call.kind, call.process, call.client, call.began, call.ended


def _denies(operation: Operation) -> bool:
    return operation.error is not None and operation.error.outcome_unknown is False


def _messages(operations: Iterable[Operation]) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    for add in operations:
        if add.kind != "add":
            continue
        for index, text in enumerate(add.messages):
            if text in messages:
                raise ValueError(
                    f"{text!r} is added twice to session {add.session!r}. Give each message of a "
                    "campaign another text."
                )
            claim = _claim(add, index)
            ended = add.ended if claim in ("acknowledged", "confirmed") else math.inf
            messages[text] = Message(text, add, index, claim, add.began, ended)
    return messages


def _claim(add: Operation, index: int) -> Claim:
    error = add.error
    if error is None:
        return "acknowledged"
    # An empty list is what an error class without a list has by default, so it says nothing.
    if error.unconfirmed and index not in error.unconfirmed:
        return "confirmed"
    return "denied" if error.outcome_unknown is False else "unknown"


def _look(read: Operation, stale: Sequence[Fault], messages: Mapping[str, Message]) -> Look:
    # A read that may be stale has taken effect at any time since the fault began. It may show what
    # only the member that is cut off stores, which proves nothing if it was not acknowledged.
    overlapping = [
        one.began for one in stale if one.began <= read.ended and read.began <= one.ended
    ]
    look = Look(read, min([read.began, *overlapping]), read.ended, read.messages)
    if overlapping:
        look.unproven = {
            text
            for text in read.messages
            if text in messages and messages[text].began <= read.ended < messages[text].ended
        }
    if read.count is not None and len(read.messages) >= read.count:
        look.shape = "newest" if read.kind == "last" else "oldest"
    return look


def _final(name: str, messages: tuple[str, ...], end: float) -> Look:
    operation = Operation("read", "final read", "", name, "sync", end, end, messages)
    return Look(operation, math.inf, math.inf, messages, final=True)
