"""The second pass: the order of messages that the reads of a session agree on.

An epoch is the time from one clear that took effect to the next. All whole reads in an epoch begin
with its first message, so each is a front part of the longest. Reads that fit in no epoch together
with the others are put aside as odd.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chat_history_conformance.campaign.checking.conversation import Conversation, Look

__all__ = ["Epoch", "Epochs", "epochs_of", "latest_bounds"]


@dataclass(slots=True, eq=False)
class Epoch:
    """The messages between two clears, in the order that the reads show.

    Attributes:
        looks: the reads, each with the number of messages up to the end of what it shows.
        open_start: whether there may be messages before the first one. This is so if only reads of
            the newest messages show this epoch.
    """

    messages: tuple[str, ...]
    looks: list[tuple[Look, int]] = field(default_factory=list)
    final: bool = False
    open_start: bool = False


@dataclass
class Epochs:
    """All epochs of a session.

    Attributes:
        empty: the reads that show no message.
        odd: the reads that contradict the epochs.
        places: the epoch and the position of each message.
    """

    all: list[Epoch] = field(default_factory=list)
    empty: list[Look] = field(default_factory=list)
    odd: list[Look] = field(default_factory=list)
    places: dict[str, tuple[Epoch, int]] = field(default_factory=dict)

    def register(self, epoch: Epoch, start: int = 0) -> None:
        """Note the positions of the messages of an epoch from `start` on."""
        for number in range(start, len(epoch.messages)):
            self.places[epoch.messages[number]] = (epoch, number)


def epochs_of(conversation: Conversation) -> Epochs:
    """Return the epochs that the reads of a session show."""
    epochs = Epochs()
    looks = []
    for look in conversation.all_looks:
        limited = look.shape != "whole"
        if look.messages or look.final:
            looks.append(look)
        elif not limited:
            epochs.empty.append(look)
    fronts = [one for one in looks if one.shape != "newest" and not conversation.undone]
    pieces = [one for one in looks if one.shape == "newest" or conversation.undone]
    candidates = _front_candidates(fronts)
    if conversation.behind:
        _cut(candidates, conversation)
    _keep_consistent(epochs, candidates, longest_first=conversation.behind)
    pieces.sort(key=lambda look: (not look.final, look.ended))
    for look in pieces:
        if not _attach_piece(epochs, look):
            epochs.odd.append(look)
    return epochs


def _front_candidates(looks: Iterable[Look]) -> list[Epoch]:
    """Return the possible epochs. Each read is a front part of the one that it belongs to."""
    by_first: defaultdict[str | None, list[Epoch]] = defaultdict(list)
    # The last reads are the longest, so most others are front parts of them.
    for look in sorted(looks, key=lambda look: (look.final, look.began), reverse=True):
        length = len(look.messages)
        variants = by_first[look.messages[0] if look.messages else None]
        for epoch in variants:
            common = min(length, len(epoch.messages))
            if epoch.messages[:common] == look.messages[:common]:
                if length > common and epoch.final:
                    continue
                if length > common:
                    epoch.messages = look.messages
                epoch.looks.append((look, length))
                break
        else:
            variants.append(Epoch(look.messages, [(look, length)], look.final))
    return [epoch for variants in by_first.values() for epoch in variants]


def _keep_consistent(epochs: Epochs, candidates: list[Epoch], *, longest_first: bool) -> None:
    def rank(epoch: Epoch) -> tuple[bool, bool, int, int]:
        """Return the weight of this order if another one contradicts it."""
        looks, length = len(epoch.looks), len(epoch.messages)
        proven = any(not look.unproven for look, _ in epoch.looks)
        return (epoch.final, proven, *((length, looks) if longest_first else (looks, length)))

    rejected = []
    for epoch in sorted(candidates, key=rank, reverse=True):
        if epochs.places.keys().isdisjoint(epoch.messages):
            epochs.all.append(epoch)
            epochs.register(epoch)
        else:
            rejected += epoch.looks
    for look, length in rejected:
        place = epochs.places.get(look.messages[0])
        if place and place[1] == 0 and place[0].messages[:length] == look.messages:
            place[0].looks.append((look, length))
        else:
            epochs.odd.append(look)


def _cut(candidates: list[Epoch], conversation: Conversation) -> None:
    """Cut messages off that came after the next clear, if all reads that show them overlap it.

    A server that is behind may know a message before it knows of the clear before that message.
    """
    by_front = {epoch.messages[0]: epoch for epoch in candidates if epoch.messages}
    for epoch in candidates:
        end = next((n for n, text in enumerate(epoch.messages) if n and text in by_front), 0)
        rest = epoch.messages[end:]
        if not end or not set(by_front[rest[0]].messages).issuperset(rest):
            continue
        late = [look for look, length in epoch.looks if length > end]
        if all(conversation.clears.during(look.began, look.ended) for look in late):
            epoch.messages = epoch.messages[:end]
            epoch.looks = [(look, min(length, end)) for look, length in epoch.looks]


def _attach_piece(epochs: Epochs, look: Look) -> bool:
    """Put a read of neighbouring messages in its epoch. Return whether it fits in one."""
    places = epochs.places
    touched: list[Epoch] = []
    for text in look.messages:
        if text in places and places[text][0] not in touched:
            touched.append(places[text][0])
    whole = Epoch(look.messages, [(look, len(look.messages))], look.final, open_start=True)
    for epoch in touched:
        joined = _joined(epoch, whole, places)
        if joined is None:
            return False
        whole = joined
    if len(touched) == 1 and whole.messages == touched[0].messages:
        touched[0].looks = whole.looks
        return True
    epochs.all = [epoch for epoch in epochs.all if epoch not in touched]
    epochs.all.append(whole)
    epochs.register(whole)
    return True


def _joined(epoch: Epoch, piece: Epoch, places: Mapping[str, tuple[Epoch, int]]) -> Epoch | None:
    """Return an epoch and a piece of it as one epoch, or None if they contradict each other."""
    number = next(
        number
        for number, text in enumerate(piece.messages)
        if text in places and places[text][0] is epoch
    )
    start = places[piece.messages[number]][1] - number
    return _shifted(epoch, piece, start) if start >= 0 else _shifted(piece, epoch, -start)


def _shifted(first: Epoch, second: Epoch, offset: int) -> Epoch | None:
    """Return two epochs as one in which the second begins `offset` messages after the first."""
    common = min(len(first.messages) - offset, len(second.messages))
    rest = second.messages[common:]
    if (
        (offset and not second.open_start)
        or first.messages[offset : offset + common] != second.messages[:common]
        or (rest and first.final)
        or (second.final and offset + common < len(first.messages))
    ):
        return None
    return Epoch(
        first.messages + rest if rest else first.messages,
        [*first.looks, *((look, end + offset) for look, end in second.looks)],
        first.final or second.final,
        first.open_start and (offset > 0 or second.open_start),
    )


def latest_bounds(conversation: Conversation, epoch: Epoch) -> list[float]:
    """Return, for each position of an epoch, the latest time at which its message was stored.

    A message is stored before all that follow it, and before the ends of the reads that show it, if
    all reads ask servers that know the same. The list has one more item, infinity.
    """
    bounds = [conversation.visible_from(text) for text in epoch.messages] + [math.inf]
    for look, end in epoch.looks:
        if end and not conversation.behind:
            bounds[end - 1] = min(bounds[end - 1], look.ended)
    for number in range(len(bounds) - 2, -1, -1):
        bounds[number] = min(bounds[number], bounds[number + 1])
    return bounds
