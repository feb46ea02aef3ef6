"""Claims about calls that were repeated during faults: the run and scripts use the same source.

A lane is the list of what `drivers.repeating.Seen` recorded of one repeated call. Each claim
returns None if all is well, and otherwise the kind of the finding and a sentence.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from chat_history_conformance.diagnosis.script_claims import contents

__all__ = [
    "Problem",
    "acknowledged",
    "no_problem",
    "short_reads",
    "skipped",
    "too_long",
    "unsure",
    "wrong_batches",
    "wrong_conversation",
    "wrong_reads",
]

Problem: Any = tuple[str, str] | None


def no_problem(found: Problem) -> bool:
    """Return whether a claim of this module found nothing wrong."""
    return found is None


def acknowledged(lanes: Iterable[Sequence[Any]]) -> list[str]:
    """Return the contents whose add returned."""
    return [text for lane in lanes for seen in lane if seen.error is None for text in seen.texts]


def unsure(lanes: Iterable[Sequence[Any]]) -> list[str]:
    """Return the contents whose add raised: they may be stored or not."""
    return [text for lane in lanes for seen in lane if seen.error for text in seen.texts]


def shown(texts: Sequence[Any]) -> str:
    """Return the first of some contents, for a sentence."""
    return ", ".join(map(str, texts[:5])) + (", …" if len(texts) > 5 else "")


def is_of(text: Any, stems: Sequence[str]) -> bool:
    """Return whether a content begins with one of the stems."""
    return str(text).startswith(tuple(stems))


def out_of_order(texts: Sequence[Any], wanted: Sequence[str]) -> bool:
    """Return whether contents that came once each did not come in the wanted order."""
    places = {text: place for place, text in enumerate(texts)}
    order = [places[text] for text in wanted if text in places]
    return order != sorted(order)


def wrong_conversation(
    before: list[str],
    lanes: Sequence[Sequence[Any]],
    came: Iterable[Any],
    stems: Sequence[str] = (),
) -> Problem:
    """Check that each acknowledged message is stored once and in order, and no other one twice.

    Args:
        before: The contents that were acknowledged before the lanes began.
        lanes: The lanes of adds.
        came: The messages of the whole conversation.
        stems: The starts of contents that other calls added, and that may be stored.
    """
    texts, sure = contents(came), [*before, *acknowledged(lanes)]
    counted, maybe = Counter(texts), {*unsure(lanes)}
    if lost := [text for text in sure if not counted[text]]:
        return "lost", f"lost {len(lost)} of {len(sure)} acknowledged messages: {shown(lost)}"
    if doubled := [text for text, number in counted.items() if number > 1]:
        return "duplicated", f"{len(doubled)} messages are stored more than once: {shown(doubled)}"
    if foreign := [
        text
        for text in counted
        if text not in maybe and text not in sure and not is_of(text, stems)
    ]:
        return "foreign", f"{len(foreign)} messages were never added: {shown(foreign)}"
    for lane in (before, *(acknowledged([lane]) for lane in lanes)):
        if out_of_order(texts, lane):
            return "reordered", "acknowledged messages are not in the order of their adds"
    return overtaken(lanes, texts)


def overtaken(lanes: Sequence[Sequence[Any]], texts: Sequence[Any]) -> Problem:
    """Check that an add that began after another one had returned is stored behind it."""
    places = {text: place for place, text in enumerate(texts)}
    done = [seen for lane in lanes for seen in lane if seen.error is None and seen.texts]
    latest, name = 0.0, ""
    for seen in sorted(done, key=lambda seen: places[seen.texts[0]]):
        if seen.ended < latest:
            text = f"{name} is stored before {seen.texts[0]}, whose add had returned before"
            return "reordered", f"acknowledged messages are not in the order of their adds: {text}"
        if seen.began > latest:
            latest, name = seen.began, seen.texts[0]
    return None


def wrong_reads(
    before: list[str],
    lanes: Sequence[Sequence[Any]],
    reads: Iterable[Any],
    stems: Sequence[str] = (),
) -> Problem:
    """Check that each read that returned has all messages that were acknowledged before it.

    Args:
        before: The contents that were acknowledged before the lanes began.
        lanes: The lanes of adds.
        reads: Reads of the whole conversation.
        stems: The starts of contents that other calls added, and that may be stored.
    """
    known = {*before, *acknowledged(lanes), *unsure(lanes)}
    done = sorted(
        (seen.ended, text)
        for lane in lanes
        for seen in lane
        if seen.error is None
        for text in seen.texts
    )
    for read in reads:
        if read.error is not None:
            continue
        came = set(read.texts)
        sure = [*before, *(text for ended, text in done if ended < read.began)]
        if lost := [text for text in sure if text not in came]:
            return (
                "lost",
                f"a read returned {len(read.texts)} messages and not {len(lost)} of {len(sure)} "
                f"acknowledged before it: {shown(lost)}",
            )
        if len(came) < len(read.texts):
            return "duplicated", "a read returned a message twice"
        if foreign := [text for text in sorted(came - known) if not is_of(text, stems)]:
            return "foreign", f"a read returned messages that were never added: {shown(foreign)}"
    return None


def short_reads(name: str, expected: list[str], reads: Iterable[Any]) -> Problem:
    """Check that each read of a conversation that does not change raised or returned all of it."""
    for read in reads:
        if read.error is not None or list(read.texts) == expected:
            continue
        if foreign := [text for text in read.texts if text not in expected]:
            return "foreign", f"`{name}` returned messages that were never added: {shown(foreign)}"
        number = f"{len(read.texts)} of {len(expected)} messages"
        return "swallowed_error", f"`{name}` returned {number} without an error"
    return None


def too_long(name: str, limit: float, seen: Iterable[Any]) -> Problem:
    """Check that each call ended within a limit in seconds."""
    longest = max((one.ended - one.began for one in seen), default=0.0)
    if longest >= limit:
        return "hung", f"`{name}` did not return within {limit:g} s"
    return None


def skipped(
    lanes: Sequence[Sequence[Any]], consumed: Iterable[Sequence[Any]], rest: Iterable[Any]
) -> Problem:
    """Check that consuming reads skipped no acknowledged message.

    Args:
        lanes: The lanes of adds.
        consumed: The lanes of consuming reads. A read that raised has consumed nothing, or its
            error carries the messages as `messages`.
        rest: The messages of the consuming reads afterwards.
    """
    delivered = {*contents(rest)}
    for lane in consumed:
        for read in lane:
            delivered.update(read.texts, contents(getattr(read.error, "messages", None) or ()))
    sure = acknowledged(lanes)
    if lost := [text for text in sure if text not in delivered]:
        number = f"{len(lost)} of {len(sure)}"
        return "lost", f"consuming reads skipped {number} acknowledged messages: {shown(lost)}"
    return None


def wrong_batches(lanes: Sequence[Sequence[Any]], came: Iterable[Any]) -> Problem:
    """Check that a batch whose add raised is stored whole or not at all, or as its error says.

    An error may say `outcome_unknown = False`: nothing is stored. Or it may list the positions of
    messages that were not acknowledged as `unconfirmed`: the others are stored.
    """
    stored = {*contents(came)}
    for lane in lanes:
        for seen in lane:
            if seen.error is None:
                continue
            found = [text for text in seen.texts if text in stored]
            number = f"{len(found)} of {len(seen.texts)}"
            missing = getattr(seen.error, "unconfirmed", None) or ()
            sure = [text for place, text in enumerate(seen.texts) if place not in missing]
            if getattr(seen.error, "outcome_unknown", None) is False and found and not missing:
                return "wrong_error", f"an error says that nothing is stored, but {number} are"
            if missing and [text for text in sure if text not in stored]:
                return "lost", "messages are missing that an error does not list as unconfirmed"
            if not missing and 0 < len(found) < len(seen.texts):
                return (
                    "lost",
                    f"stored {number} messages of a batch, and the error does not say which",
                )
    return None
