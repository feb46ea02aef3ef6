"""Functions about errors during a fault: what they say of a batch, and of a consuming read.

Scripts contain their source, as that of `script_helpers` and `script_claims`.
"""

import atexit
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from chat_history_conformance.diagnosis.script_claims import contents
from chat_history_conformance.diagnosis.script_helpers import kept, unsure
from chat_history_conformance.diagnosis.script_traffic import Problem, shown

__all__ = [
    "any_raised",
    "any_undocumented",
    "consumed_by",
    "delivered",
    "denied",
    "exit_is_a_failure",
    "expect_not_stored",
    "forget_added",
    "outcome_of",
    "repeat_nothing",
    "skip_nothing",
    "sort_out",
    "wrong_consumption",
]

denied: list[str] = []  # contents of which the error of the add says that they are not stored
delivered: list[tuple[list[str], bool]] = []  # contents of consuming reads; True if an error's


def outcome_of(error: BaseException | None, position: int) -> str:
    """Return the outcome of a message of a batch: `stored`, `unknown` or `not stored`.

    The attributes of the error say it: `unconfirmed` has the positions of the messages that were
    not acknowledged, and `outcome_unknown` is False if none of these is stored.
    """
    unconfirmed = getattr(error, "unconfirmed", None)
    if error is None or (unconfirmed is not None and position not in unconfirmed):
        return "stored"
    return "not stored" if getattr(error, "outcome_unknown", None) is False else "unknown"


def sort_out(error: BaseException | None, batch: Sequence[str]) -> None:
    """Sort the contents of a batch into `kept`, `unsure` and `denied`."""
    lists = {"stored": kept, "unknown": unsure, "not stored": denied}
    for position, text in enumerate(batch):
        lists[outcome_of(error, position)].append(text)


def forget_added() -> None:
    """Begin again with another session."""
    for texts in (kept, unsure, denied, delivered):
        texts.clear()


def expect_not_stored(returned: Iterable[Any], otherwise: str) -> None:
    """End the script if a message came back of which an error said that it is not stored."""
    came = contents(returned)
    if set(came) & set(denied):
        print("not stored, as errors said:", *denied, "returned:", *came, sep="\n  ")
        sys.exit(otherwise)


def exit_is_a_failure(otherwise: str) -> None:
    """End with status 1 if a call that follows raises SystemExit, with whatever status."""

    def end() -> None:
        print(otherwise, file=sys.stderr, flush=True)
        os._exit(1)

    atexit.register(end)


# -- consuming reads -----------------------------------------------------------------------------


def consumed_by(got: Iterable[Any], error: BaseException | None) -> tuple[list[str], bool]:
    """Return the contents that a consuming read has, or may have, consumed; True if it raised."""
    if error is None:
        return contents(got), False
    if getattr(error, "outcome_unknown", None) is False:
        return [], True
    return contents(getattr(error, "messages", None) or ()), True


def skip_nothing(reads: Iterable[tuple[list[str], bool]], conversation: list[str]) -> bool:
    """Return whether the reads delivered the conversation in order and to its end, without a gap.

    A read may begin before the end of the one before it.
    """
    places = {text: place for place, text in enumerate(conversation)}
    reached = 0
    for texts, _ in reads:
        if not texts:
            continue
        start = places.get(texts[0], -1)
        if not 0 <= start <= reached or texts != conversation[start : start + len(texts)]:
            return False
        reached = max(reached, start + len(texts))
    return reached == len(conversation)


def repeat_nothing(reads: Iterable[tuple[list[str], bool]]) -> bool:
    """Return whether no message came again that a read had returned.

    A message that an error carried may come again, and so may all that came after it.
    """
    returned: set[str] = set()
    for texts, raised in reads:
        if returned & set(texts):
            return False
        if raised and texts:
            return True
        returned.update(texts)
    return True


def wrong_consumption(
    before: list[str], lane: Iterable[Any], rest: Iterable[Any], whole: Iterable[Any]
) -> Problem:
    """Check that the consuming reads of one reader skipped and repeated nothing.

    Args:
        before: The contents that were consumed before the faults.
        lane: The reads during the faults, as `drivers.repeating.Seen` recorded them.
        rest: The messages of the reads afterwards.
        whole: The whole conversation.
    """
    during = [consumed_by(seen.texts, seen.error) for seen in lane]
    reads = [(before, False), *during, (contents(rest), False)]
    conversation = contents(whole)
    if not skip_nothing(reads, conversation):
        came = {text for texts, _ in reads for text in texts}
        if lost := [text for text in conversation if text not in came]:
            number = f"{len(lost)} of {len(conversation)}"
            return "lost", f"consuming reads skipped {number} messages: {shown(lost)}"
        return "reordered", "consuming reads did not go on where the ones before them ended"
    if not repeat_nothing(reads):
        return "duplicated", "consuming reads delivered messages again that a read had returned"
    return None


# -- errors of repeated calls --------------------------------------------------------------------


def any_undocumented(name: str, classes: list[type[BaseException]], lane: Iterable[Any]) -> Problem:
    """Check that each error of a repeated call is of one of the classes."""
    for seen in lane:
        if seen.error is not None and not isinstance(seen.error, tuple(classes)):
            wanted = ", ".join(one.__name__ for one in classes)
            found = f"{type(seen.error).__name__} instead of one of {wanted}"
            return "wrong_error", f"`{name}` raises {found}: {seen.error}"[:300]
    return None


def any_raised(name: str, lane: Iterable[Any], when: str = "at once instead of waiting") -> Problem:
    """Check that no repeated call raised."""
    errors = [seen.error for seen in lane if seen.error is not None]
    if errors:
        first = f"{type(errors[0]).__name__}: {errors[0]}"
        return "other", f"`{name}` raises {when}: {first}"[:300]
    return None
