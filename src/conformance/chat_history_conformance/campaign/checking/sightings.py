"""The first pass over a session: the sightings of each message.

It reports messages that no client added, that came back after a clear, that are stored twice, or
that an error calls not stored. It removes them, so that later passes do not report them again.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from chat_history_conformance.campaign.checking.conversation import Conversation, Look
from chat_history_conformance.campaign.checking.verdict import quoted
from chat_history_conformance.campaign.recording import Operation

__all__ = ["inspect_sightings"]


_NEVER = sys.float_info.max
"""A time after all times that are known."""


class _Fronts:
    """The front parts of a list of messages that most reads are a front part of."""

    def __init__(self, conversation: Conversation, messages: tuple[str, ...]) -> None:
        self.places: dict[str, int] = {}
        self.latest_begin = [-math.inf]
        for number, text in enumerate(messages):
            message = conversation.messages.get(text)
            if message is None or text in self.places:
                break
            self.places[text] = number
            self.latest_begin.append(max(self.latest_begin[-1], message.began))
        self.messages = messages[: len(self.places)]


class _Inspector:
    def __init__(self, conversation: Conversation, elsewhere: Mapping[str, str]) -> None:
        self.conversation = conversation
        self.elsewhere = elsewhere
        self.began = {text: one.began for text, one in conversation.messages.items()}
        self.waiting = sorted(self.began, key=self.began.__getitem__, reverse=True)
        self.in_flight: set[str] = set()
        self.fronts = _Fronts(conversation, _longest(conversation))
        self.reported: set[tuple[str, str]] = set()
        self.came_back: set[str] = set()
        self.denied: defaultdict[Operation, dict[str, Operation]] = defaultdict(dict)

    def look(self, look: Look) -> None:
        """Inspect one read."""
        if self._in_front(look):
            return
        messages = self._without_foreign(look.messages, look.ended, look.operation)
        messages = self._without_doubled(messages, look)
        messages = self._without_cleared(messages, look.began, look.operation)
        if look.messages and not messages:
            look.shape = "oldest"  # It does not show that the session was empty.
        look.messages = messages
        self._first_sight(look.proven, look.ended, look.operation)

    def consume(self, call: Operation) -> Operation:
        """Inspect a consuming read, and return it without the messages that are reported."""
        if call.error:
            return call
        messages = self._without_foreign(call.messages, call.ended, call)
        messages = self._without_cleared(messages, call.began, call)
        self._first_sight(messages, call.ended, call)
        return call if messages == call.messages else replace(call, messages=messages)

    def _in_front(self, look: Look) -> bool:
        """Return whether a read is a front part of the longest one, and nothing is wrong with it.

        This is the fast way for long conversations.
        """
        fronts, length = self.fronts, len(look.messages)
        if (
            length > len(fronts.messages)
            or fronts.latest_begin[length] > look.ended
            or look.messages != fronts.messages[:length]
            or self._cleared_before(look.began) > -math.inf
        ):
            return False
        self._advance(look.ended)
        shown = [text for text in self.in_flight if fronts.places.get(text, length) < length]
        self._note(set(shown) - look.unproven, look.ended, look.operation)
        return True

    def _cleared_before(self, time: float) -> float:
        if self.conversation.undone:
            return -math.inf
        return self.conversation.clears.done_before(time)

    def _first_sight(self, messages: tuple[str, ...], time: float, operation: Operation) -> None:
        self._advance(time)
        self._note(self.in_flight.intersection(messages), time, operation)

    def _advance(self, time: float) -> None:
        """Keep in `in_flight` the messages that no add or read shows to be stored before `time`."""
        latest = self.conversation.latest
        while self.waiting and self.began[self.waiting[-1]] <= time:
            self.in_flight.add(self.waiting.pop())
        self.in_flight -= {text for text in self.in_flight if latest[text] <= min(time, _NEVER)}

    def _note(self, texts: Iterable[str], time: float, operation: Operation) -> None:
        for text in texts:
            message = self.conversation.messages[text]
            if message.claim == "denied":
                self.denied[message.add].setdefault(text, operation)
            self.conversation.latest[text] = time

    def _without_foreign(
        self, messages: tuple[str, ...], ended: float, operation: Operation
    ) -> tuple[str, ...]:
        began = self.began
        foreign = {text for text in messages if text not in began or began[text] > ended}
        if not foreign:
            return messages
        for text in messages:
            if text not in foreign or not self._is_new("foreign", text):
                continue
            message = self.conversation.messages.get(text)
            if message:
                said, proof = "was seen before its add began", [message.add, operation]
            elif text in self.elsewhere:
                said, proof = f"was added to session {self.elsewhere[text]!r}", [operation]
            else:
                said, proof = "was never added", [operation]
            self.conversation.report("foreign", f"{quoted([text])} {said}", proof, operation.ended)
        return tuple(text for text in messages if text not in foreign)

    def _without_doubled(self, messages: tuple[str, ...], look: Look) -> tuple[str, ...]:
        if len(set(messages)) == len(messages):
            return messages
        for text, copies in Counter(messages).items():
            if copies < 2:
                continue
            self.conversation.doubled.add(text)
            if self._is_new("doubled", text):
                self.conversation.report(
                    "doubled",
                    f"{quoted([text])} was added once and is stored {copies} times",
                    [self.conversation.messages[text].add, look.operation],
                    look.operation.ended,
                )
        return tuple(dict.fromkeys(messages))

    def _without_cleared(
        self, messages: tuple[str, ...], began: float, operation: Operation
    ) -> tuple[str, ...]:
        cleared = self._cleared_before(began)
        latest = self.conversation.latest
        if min(map(latest.__getitem__, messages), default=math.inf) >= cleared:
            return messages
        back = {text for text in messages if latest[text] < cleared}
        self.came_back |= back
        for text in messages:
            if text in back and self._is_new("came_back", text):
                self._report_back(text, began, operation)
        return tuple(text for text in messages if text not in back)

    def _report_back(self, text: str, began: float, operation: Operation) -> None:
        conversation = self.conversation
        stored = conversation.latest[text]
        clear = next(
            one
            for one in conversation.clears.operations
            if not one.error and one.began > stored and one.ended < began
        )
        conversation.report(
            "came_back",
            f"{quoted([text])} was stored before a clear and is there after it",
            [conversation.messages[text].add, clear, operation],
            operation.ended,
        )

    def _is_new(self, kind: str, text: str) -> bool:
        known = (kind, text) in self.reported
        self.reported.add((kind, text))
        return not known

    def report_denied(self) -> None:
        """Report the adds whose errors call messages not stored that were seen."""
        for add, seen in self.denied.items():
            texts = [text for text in add.messages if text in seen]
            assert add.error
            if add.error.unconfirmed:
                they_are = "it is" if len(texts) == 1 else "they are"
                what = f"calls {quoted(texts)} not stored, but {they_are}"
            else:
                are = "is" if len(texts) == 1 else "are"
                what = f"says that nothing was stored, but {quoted(texts)} {are} stored "
                what += f"({len(texts)} of {len(add.messages)})"
            first = seen[texts[0]]
            self.conversation.report(
                "wrong_claim", f"{add.error.type} {what}", [add, first], first.ended
            )


def inspect_sightings(conversation: Conversation, elsewhere: Mapping[str, str]) -> None:
    """Report and remove single messages that the reads of one session should not show.

    Args:
        conversation: The session. Its reads and its `latest` times change.
        elsewhere: For each message of the campaign the session that it was added to.
    """
    inspector = _Inspector(conversation, elsewhere)
    calls: list[Look | Operation] = [*conversation.all_looks, *conversation.consumes]
    consumes = []
    for call in sorted(calls, key=lambda one: one.ended):
        if isinstance(call, Look):
            inspector.look(call)
        else:
            consumes.append(inspector.consume(call))
    conversation.consumes = sorted(consumes, key=lambda one: (one.began, one.ended))
    conversation.excuse(conversation.doubled | inspector.came_back)
    inspector.report_denied()
    _report_too_many(conversation)


def _longest(conversation: Conversation) -> tuple[str, ...]:
    if conversation.final:
        return conversation.final.messages
    return max((look.messages for look in conversation.looks), key=len, default=())


def _report_too_many(conversation: Conversation) -> None:
    for look in conversation.looks:
        asked, found = look.operation.count, len(look.operation.messages)
        if asked is not None and found > asked:
            conversation.report(
                "wrong_read",
                f"a read of {asked} messages returned {found}",
                [look.operation],
                look.operation.ended,
            )
