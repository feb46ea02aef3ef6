"""Consuming reads: at least once, in order, nothing skipped.

The position of a session belongs to all its consumers. A consuming read that raises has delivered
nothing but the messages of its error. A message may be delivered again after a call that raised, or
if two calls overlapped.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from chat_history_conformance.campaign.checking.conversation import Conversation, Message
from chat_history_conformance.campaign.checking.epochs import Epoch, Epochs
from chat_history_conformance.campaign.checking.reads import must_precede
from chat_history_conformance.campaign.checking.verdict import quoted
from chat_history_conformance.campaign.recording import NO_END, Operation

__all__ = ["judge_consuming"]


class _Deliveries:
    """The consuming reads of a session.

    Attributes:
        returned: the calls that returned, in the order of their ends.
        first: the earliest beginning of a call that delivered the message, or may have.
        open_since: the beginning of the first call without an end: it may have delivered
            anything.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        calls = conversation.consumes
        self.returned = sorted((one for one in calls if not one.error), key=lambda one: one.ended)
        self.raised = sorted(one.began for one in calls if one.error)
        self.first: dict[str, float] = {}
        for call in calls:
            for text in (*call.messages, *(call.error.messages if call.error else ())):
                self.first[text] = min(call.began, self.first.get(text, math.inf))
        self.open_since = min(
            (one.began for one in calls if one.error and one.error.type == NO_END),
            default=math.inf,
        )
        self.overlapped = _overlapped(calls)

    def passed_over(self, message: Message, call: Operation) -> bool:
        """Return whether `call` went past a message that no call had begun to deliver by then."""
        return self.first.get(message.text, math.inf) > call.ended and self.open_since > call.ended

    def report(self, message: Message, call: Operation) -> None:
        """Report a message that `call` passed over."""
        after = quoted(call.messages[-1:])
        if message.text not in self.first:
            kind, text = "skipped", f"{quoted([message.text])} was never delivered, but {after} was"
        else:
            kind, text = "out_of_order", f"{quoted([message.text])} was delivered after {after}"
        later = [one for one in self.returned if message.text in one.messages][:1]
        self.conversation.report(
            "skipped" if kind == "skipped" else "out_of_order",
            text,
            [message.add, call, *later],
            (later or [call])[0].ended,
        )


def judge_consuming(conversation: Conversation, epochs: Epochs) -> None:
    """Report messages that consuming reads skipped, repeated or delivered out of order."""
    if not conversation.consumes:
        return
    deliveries = _Deliveries(conversation)
    _judge_inside(conversation, epochs, deliveries.returned)
    reported = set()
    for epoch in epochs.all:
        reported |= _judge_epoch(conversation, epoch, deliveries)
    _judge_others(conversation, epochs, deliveries, reported)
    _judge_repeats(conversation, deliveries)


def _judge_inside(conversation: Conversation, epochs: Epochs, calls: Sequence[Operation]) -> None:
    """Report wrong order and repeats inside what one call delivered."""
    for call in calls:
        seen: set[str] = set()
        for one, other in pairwise(call.messages):
            seen.add(one)
            if other in seen:
                conversation.report(
                    "doubled_consume",
                    f"{quoted([other])} was delivered twice by one call",
                    [conversation.messages[other].add, call],
                    call.ended,
                )
            elif _precedes(conversation, epochs, other, one):
                conversation.report(
                    "out_of_order",
                    f"{quoted([one])} was delivered before {quoted([other])} by one call",
                    [conversation.messages[one].add, conversation.messages[other].add, call],
                    call.ended,
                )


def _precedes(conversation: Conversation, epochs: Epochs, one: str, other: str) -> bool:
    """Return whether `one` is stored before `other` for certain."""
    epoch, place = epochs.places.get(one, (None, 0))
    other_epoch, other_place = epochs.places.get(other, (None, 0))
    if epoch is not None and epoch is other_epoch:
        return place < other_place
    return must_precede(conversation.messages[one], conversation.messages[other]) is not None


def _judge_epoch(conversation: Conversation, epoch: Epoch, deliveries: _Deliveries) -> set[str]:
    """Report messages of one epoch that a call passed over. Return them."""
    places = {text: number for number, text in enumerate(epoch.messages)}
    # For each position the call with the earliest end that delivered something at or after it.
    passing: list[Operation | None] = [None] * (len(epoch.messages) + 1)
    for call in reversed(deliveries.returned):
        last = max((places.get(text, -1) for text in call.messages), default=-1)
        if last >= 0:
            passing[last] = call
    for number in range(len(epoch.messages) - 1, -1, -1):
        before, here = passing[number + 1], passing[number]
        if before and (here is None or before.ended < here.ended):
            passing[number] = before
    found = set()
    for number, text in enumerate(epoch.messages):
        passed, message = passing[number + 1], conversation.messages[text]
        if passed and deliveries.passed_over(message, passed):
            found.add(text)
            deliveries.report(message, passed)
    return found


def _judge_others(
    conversation: Conversation, epochs: Epochs, deliveries: _Deliveries, reported: set[str]
) -> None:
    """Report messages that no read shows and that a call passed over for certain."""
    calls = [call for call in deliveries.returned if call.messages]
    begins = [max(conversation.messages[text].began for text in call.messages) for call in calls]
    latest_begin = list(accumulate(begins, max))
    for text, message in conversation.messages.items():
        if not message.promised or text in epochs.places or text in conversation.excused:
            continue
        number = bisect_right(latest_begin, message.ended)
        if number == len(calls) or text in reported:
            continue
        call = calls[number]
        cleared = conversation.clears.between(message.began, call.ended)
        if not cleared and deliveries.passed_over(message, call):
            deliveries.report(message, call)


def _judge_repeats(conversation: Conversation, deliveries: _Deliveries) -> None:
    """Report messages that were delivered again although no call can explain it."""
    delivered: dict[str, Operation] = {}
    for call in deliveries.returned:
        for text in call.messages:
            before = delivered.get(text)
            delivered[text] = call
            if before is None or before.ended >= call.began:
                continue
            raised = bool(deliveries.raised) and deliveries.raised[0] <= call.ended
            overlapped = id(before) in deliveries.overlapped or id(call) in deliveries.overlapped
            if not raised and not overlapped:
                conversation.report(
                    "doubled_consume",
                    f"{quoted([text])} was delivered again, and no call that raised explains it",
                    [conversation.messages[text].add, before, call],
                    call.ended,
                )


def _overlapped(calls: Sequence[Operation]) -> set[int]:
    """Return the ids of the calls that overlap another one. `calls` is in order of beginning."""
    found: set[int] = set()
    longest: Operation | None = None
    for call in calls:
        if longest and call.began <= longest.ended:
            found |= {id(call), id(longest)}
        if longest is None or call.ended > longest.ended:
            longest = call
    return found
