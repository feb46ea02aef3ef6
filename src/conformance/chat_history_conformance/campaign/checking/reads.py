"""The third pass over a session: the order of its messages, and what each read must show."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from operator import itemgetter

from chat_history_conformance.campaign.checking.conversation import Conversation, Look, Message
from chat_history_conformance.campaign.checking.epochs import Epoch, Epochs, latest_bounds
from chat_history_conformance.campaign.checking.verdict import DefectKind, quoted
from chat_history_conformance.campaign.recording import Operation

__all__ = ["judge_order", "judge_reads", "must_precede"]


def must_precede(first: Message, second: Message) -> DefectKind | None:
    """Return the kind of order that puts `first` before `second`, or None if they are free."""
    if first.add is second.add:
        return "order_in_batch" if first.index < second.index else None
    if first.promised and first.ended < second.began:
        same = (first.add.process, first.add.client) == (second.add.process, second.add.client)
        return "order_of_writer" if same else "order_in_real_time"
    return None


_SAYINGS: dict[DefectKind, str] = {
    "order_in_batch": "is before it in the batch",
    "order_of_writer": "was acknowledged to the same client before",
    "order_in_real_time": "was acknowledged to another client before",
    "wrong_read": "was read before its add began",
}


class _Order:
    """Reports of wrong order, at most one for two adds."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.reported: set[tuple[Operation, Operation]] = set()

    def judge(self, messages: Sequence[str], look: Look) -> bool:
        """Report a wrong order of messages. Return whether it is wrong."""
        all_messages, latest = self.conversation.messages, self.conversation.latest
        wrong = False
        last_of: dict[int, Message] = {}
        earliest: Message | None = None
        for text in reversed(messages):
            message = all_messages[text]
            later = last_of.get(id(message.add))
            if later and later.index < message.index:
                wrong = True
                self._report("order_in_batch", later, message, look)
            last_of[id(message.add)] = message
            if earliest and latest[earliest.text] < message.began:
                wrong = True
                kind = must_precede(earliest, message)
                self._report(kind or "wrong_read", earliest, message, look)
            if earliest is None or latest[text] < latest[earliest.text]:
                earliest = message
        return wrong

    def _report(self, kind: DefectKind, first: Message, second: Message, look: Look) -> None:
        if (first.add, second.add) in self.reported:
            return
        self.reported.add((first.add, second.add))
        self.conversation.report(
            kind,
            f"{quoted([second.text])} comes before {quoted([first.text])}, which {_SAYINGS[kind]}",
            [first.add, second.add, look.operation],
            look.operation.ended,
        )


def judge_order(conversation: Conversation, epochs: Epochs) -> None:
    """Report wrong order of the stored messages, and the reads that contradict the others."""
    order = _Order(conversation)
    for epoch in epochs.all:
        longest = max(epoch.looks, key=lambda one: (one[0].final, one[1]))[0]
        order.judge(epoch.messages, longest)
    for look in epochs.odd:
        if conversation.behind and _lacks_only_unfinished(conversation, epochs, look):
            continue
        before = len(order.reported)
        if order.judge(look.messages, look) and len(order.reported) > before:
            continue
        text, other = _contradiction(conversation, epochs, look)
        conversation.report(
            "wrong_read",
            text,
            [look.operation, *([other.operation] if other else [])],
            look.operation.ended,
        )


def _lacks_only_unfinished(conversation: Conversation, epochs: Epochs, look: Look) -> bool:
    """Return whether a read is in order and lacks only messages and a clear that were unfinished.

    A server that is behind may know a message before it knows an earlier message or clear.
    """
    if not all(text in epochs.places for text in look.proven):
        return False
    known = map(epochs.places.__getitem__, look.proven)
    runs = [(epoch, [n for _, n in run]) for epoch, run in groupby(known, key=itemgetter(0))]
    if len(runs) > 1 and not conversation.clears.during(look.began, look.ended):
        return False
    is_front = look.shape != "newest" and not conversation.undone
    for number, (epoch, places) in enumerate(runs):
        begins = number > 0 or (is_front and not epoch.open_start)
        ends = number == len(runs) - 1 and look.shape == "oldest"
        last = places[-1] if ends else len(epoch.messages)
        missing = _holes(epoch, look, 0 if begins else places[0], last)
        if any(a >= b for a, b in pairwise(places)) or any(
            conversation.messages[text].ended < look.began for text in missing
        ):
            return False
    return len(runs) <= 2


def _contradiction(
    conversation: Conversation, epochs: Epochs, look: Look
) -> tuple[str, Look | None]:
    """Say how a read contradicts the others, and name one of them."""
    known = [text for text in look.messages if text in epochs.places]
    if not known:
        return "the read shows a state that no other read allows", None
    counts = Counter(id(epochs.places[text][0]) for text in known)
    [(common, _)] = counts.most_common(1)
    epoch = next(one for one in epochs.all if id(one) == common)
    is_front = look.shape != "newest" and not conversation.undone
    return _saying(epochs, epoch, look, is_front)


def _saying(epochs: Epochs, epoch: Epoch, look: Look, is_front: bool) -> tuple[str, Look]:
    own = [epochs.places[text] for text in look.messages if text in epochs.places]
    here = [place for one, place in own if one is epoch]
    last = max(here)
    holes = _holes(epoch, look, 0 if is_front else here[0], last)
    swapped = next((pair for pair in pairwise(here) if pair[1] < pair[0]), None)
    if swapped:
        one, other = (quoted([epoch.messages[place]]) for place in swapped)
        said = f"{one} comes before {other}, unlike elsewhere"
    elif holes:
        said = f"the read shows {quoted([epoch.messages[last]])} but not {quoted(holes)} before it"
    else:
        places = {text: epochs.places.get(text, (None, 0))[0] for text in look.messages}
        strange = [text for text, place in places.items() if place is not epoch]
        said = f"no other read shows {quoted(strange)} next to {quoted([epoch.messages[here[0]]])}"
    return said, _showing(epoch, last)


def _holes(epoch: Epoch, look: Look, first: int, last: int) -> list[str]:
    """Return the messages from one position of an epoch to another that a read does not show."""
    shown = set(look.messages)
    return [text for text in epoch.messages[first:last] if text not in shown]


def _showing(epoch: Epoch, place: int) -> Look:
    showing = [look for look, end in epoch.looks if end > place]
    return next((look for look in showing if look.final), showing[0])


@dataclass(slots=True)
class _Item:
    """Something that was there for a time: an epoch, or a promised message that no read shows.

    Attributes:
        since: the latest time at which it began to be there.
        until: the earliest time at which it ceased to be there, as far as the reads before show.
        proof: the operations that show it.
    """

    key: object
    since: float
    until: float
    name: str
    proof: tuple[Operation, ...]


class _Front:
    """The two items of different keys that were there longest."""

    def __init__(self) -> None:
        self.best: _Item | None = None
        self.second: _Item | None = None

    def put(self, item: _Item) -> None:
        if self.best is None or item is self.best or item.until > self.best.until:
            if item is not self.best:
                self.best, self.second = item, self.best
        elif self.second is None or item.until > self.second.until:
            self.second = item

    def other_than(self, key: object) -> _Item | None:
        return self.second if self.best and self.best.key is key else self.best


def judge_reads(conversation: Conversation, epochs: Epochs) -> None:
    """Report reads that are stale, empty or go back in time."""
    bounds = {id(epoch): latest_bounds(conversation, epoch) for epoch in epochs.all}
    fine: list[tuple[float, Epoch, Look]] = []
    for epoch in epochs.all:
        fine += _judge_in_epoch(conversation, epoch, bounds[id(epoch)])
        _judge_batches(conversation, epoch, bounds[id(epoch)][0])
    items = _items(conversation, epochs, bounds)
    _judge_across(conversation, fine, items, bounds)
    _judge_empty(conversation, epochs, items)


def _judge_in_epoch(
    conversation: Conversation, epoch: Epoch, bounds: Sequence[float]
) -> list[tuple[float, Epoch, Look]]:
    """Report reads that lack messages at their ends. Return the others, with their times."""
    begins = [conversation.messages[text].began for text in epoch.messages]
    latest_begin = [-math.inf, *accumulate(begins, max)]
    fine = []
    for look, end in epoch.looks:
        time = max(look.began, latest_begin[end])
        if look.shape == "oldest":
            fine.append((latest_begin[end], epoch, look))
        elif bounds[end] < look.began:
            _report_stale(conversation, epoch, look, end)
        else:
            fine.append((time, epoch, look))
    return fine


def _judge_batches(conversation: Conversation, epoch: Epoch, high: float) -> None:
    """Report reads that show a part of a batch which no clear can have left.

    A clear removes the front of a batch, or all of it. `high` is the latest time at which the
    epoch began.
    """
    shown = set(epoch.messages) | conversation.excused
    reported: set[int] = set()
    for place, text in enumerate(epoch.messages):
        message = conversation.messages[text]
        if epoch.final or not message.promised or shown.issuperset(message.add.messages):
            continue
        hidden = _hidden(conversation, message, shown, high, epoch.open_start)
        for look, end in epoch.looks:
            sure = hidden if message.ended < look.began and look.shape != "oldest" else hidden[:1]
            names = [name for names in sure for name in names]
            if place < end and names and id(look) not in reported:
                reported.add(id(look))
                conversation.report(
                    "wrong_read",
                    f"the read shows {quoted([text])} but not {quoted(names)} of the same add",
                    [message.add, look.operation],
                    look.operation.ended,
                )


def _hidden(
    conversation: Conversation, message: Message, shown: set[str], high: float, is_open: bool
) -> tuple[list[str], list[str]]:
    """Return the messages before and after one in its batch that are not shown and should be."""
    batch, index = message.add.messages, message.index
    if is_open or conversation.undone:
        removed = message.began <= high
    else:
        removed = conversation.clears.between(message.began, high)

    def missing(names: Sequence[str]) -> list[str]:
        return [one for one in names if one not in shown and conversation.messages[one].promised]

    return [] if removed else missing(batch[:index]), missing(batch[index + 1 :])


def _report_stale(conversation: Conversation, epoch: Epoch, look: Look, end: int) -> None:
    rest = epoch.messages[end:]
    for text in rest:
        message = conversation.messages[text]
        if message.promised and message.ended < look.began:
            late = [
                text
                for text in rest
                if conversation.messages[text].promised
                and conversation.messages[text].ended < look.began
            ]
            said, proof = f"{quoted(late)}, acknowledged before it began", message.add
            break
    else:
        other, other_end = min(
            ((one, one_end) for one, one_end in epoch.looks if one_end > end),
            key=lambda one: one[0].ended,
        )
        late = list(epoch.messages[end:other_end])
        said, proof = f"{quoted(late)}, which an earlier read shows", other.operation
    conversation.report(
        "wrong_read",
        f"the read does not show {said}",
        [proof, look.operation],
        look.operation.ended,
    )


def _items(
    conversation: Conversation, epochs: Epochs, bounds: dict[int, list[float]]
) -> list[_Item]:
    items = []
    for epoch in epochs.all:
        if not epoch.messages:
            continue
        first = conversation.messages[epoch.messages[0]]
        until = max(conversation.messages[text].began for text in epoch.messages)
        proof = (first.add, epoch.looks[0][0].operation)
        items.append(_Item(epoch, bounds[id(epoch)][0], until, quoted([first.text]), proof))
    for text, message in conversation.messages.items():
        if message.promised and text not in epochs.places and text not in conversation.excused:
            since = conversation.visible_from(text)
            items.append(_Item(message, since, message.began, quoted([text]), (message.add,)))
    return sorted(items, key=lambda item: item.since)


def _judge_across(
    conversation: Conversation,
    looks: list[tuple[float, Epoch, Look]],
    items: list[_Item],
    bounds: dict[int, list[float]],
) -> None:
    """Report reads that do not show earlier messages, if no clear can have removed it."""
    by_epoch = {id(item.key): item for item in items}
    any_open = any(epoch.open_start for _, epoch, _ in looks)
    front, active = _Front(), 0
    for time, epoch, look in sorted(looks, key=lambda one: one[0]):
        while active < len(items) and items[active].since < time:
            front.put(items[active])
            active += 1
        other = front.other_than(epoch)
        high = bounds[id(epoch)][0]
        if other and not look.final and not _removed(conversation, other, high, epoch):
            _report_missing(conversation, other, look, high)
        elif epoch.messages:
            item = by_epoch[id(epoch)]
            # A read of the oldest messages says nothing about the messages after them, which may
            # be those of an epoch with an open start.
            limited = look.shape == "oldest" and any_open
            item.until = max(item.until, time if limited else look.began)
            if item.since < time:
                front.put(item)


def _removed(
    conversation: Conversation, item: _Item, high: float, epoch: Epoch | None = None
) -> bool:
    """Return whether an item may be gone, or comes before the first message that is known."""
    if conversation.undone:
        return True
    if epoch and epoch.open_start:
        return item.until <= high
    return conversation.clears.between(item.until, high)


def _longer(one: _Item, other: _Item) -> _Item:
    return other if other.until > one.until else one


def _judge_empty(conversation: Conversation, epochs: Epochs, items: list[_Item]) -> None:
    """Report reads that are empty while something was there."""
    for item in items:
        if isinstance(item.key, Epoch) and item.key.final:
            item.until = math.inf
    times = [item.since for item in items]
    longest = list(accumulate(items, _longer))
    for look in epochs.empty:
        number = bisect_left(times, look.began)
        if number and not _removed(conversation, longest[number - 1], look.ended):
            _report_missing(conversation, longest[number - 1], look, look.ended)


def _report_missing(conversation: Conversation, item: _Item, look: Look, high: float) -> None:
    state = "is empty" if not look.messages else f"shows {quoted([look.messages[0]])}"
    clear = conversation.denied.during(item.until, high)
    if clear and clear.error:
        conversation.report(
            "wrong_claim",
            f"{clear.error.type} says that nothing was removed, but a read {state} after "
            f"{item.name}",
            [*item.proof, clear, look.operation],
            look.operation.ended,
        )
        return
    conversation.report(
        "wrong_read",
        f"the read {state} although {item.name} was stored before it began, and no clear "
        "explains it",
        [*item.proof, look.operation],
        look.operation.ended,
    )
