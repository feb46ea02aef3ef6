"""Consuming reads: read on from the cursor, then move it past the messages that were decoded."""

from __future__ import annotations

import time
from collections.abc import Collection

from confluent_kafka import Message
from langchain_core.messages import BaseMessage

from . import cursor
from .call import Call
from .reading import Read, decoded, has_messages, read
from .records import next_offsets
from .topics import Offsets, Topic, bounds

__all__ = ["consume", "has_unread"]

_CATCH_UP_SECONDS = 1.0
"""The time for which a log may end before a committed offset."""
_PAUSE_SECONDS = 0.05


def consume(
    call: Call,
    topic: Topic,
    count: int | None,
    deadline: float | None,
    *,
    rewind: bool,
    after: Offsets,
) -> list[BaseMessage]:
    """Return up to `count` unread messages, and move the cursor past them.

    Args:
        call: The call.
        topic: The topic, as `find` returned it.
        count: The most messages to read; None for any number.
        deadline: The time of `time.monotonic()` at which to stop; None for no limit.
        rewind: Whether to start from the first record instead of the cursor.
        after: Offsets before which the read does not start, by partition.

    Raises:
        UndecodableRecordError: A record is not a message; the cursor stays.
        UnconfirmedReadError: The cursor may have been moved or not.
    """
    with cursor.exclusive(call):
        committed = cursor.offsets(call, topic)
        _wait_for_end(call, topic, committed)
        starts = {} if rewind else dict(committed)
        for partition, end in after.items():
            starts[partition] = max(end, starts.get(partition, 0))
        found = Read([], {}, {})

        def unread(skipped: Collection[str]) -> list[Message]:
            nonlocal found
            bounded = deadline is not None
            found = read(call, topic, starts, limit=count, bounded=bounded, skipped=skipped)
            return found.records[:count]

        messages = decoded(call, topic, unread, deadline)
        reached = _reached(topic, starts, found, len(messages))
        changed = {p: offset for p, offset in reached.items() if offset != committed.get(p, 0)}
        if changed:
            cursor.move(call, changed, messages)
        return messages


def has_unread(call: Call, topic: Topic, after: Offsets, count: int) -> bool:
    """Return whether `count` messages follow both the offsets `after` and the cursor."""
    if not has_messages(call, topic, after, count):
        return False
    starts = {p: max(after.get(p, 0), offset) for p, offset in cursor.offsets(call, topic).items()}
    return has_messages(call, topic, {**after, **starts}, count)


def _wait_for_end(call: Call, topic: Topic, committed: Offsets) -> None:
    """Give a broker time to catch up with the committed offsets.

    If the log still ends before them, the topic was deleted and created again.
    """
    unseen = {p for p, offset in committed.items() if offset > topic.log.ends.get(p, 0)}
    give_up = time.monotonic() + _CATCH_UP_SECONDS
    while unseen and not call.is_late:
        current = bounds(call, topic)
        unseen = {p for p in unseen if p in current and committed[p] > current[p][1]}
        if time.monotonic() >= give_up:
            return
        if unseen:
            time.sleep(_PAUSE_SECONDS)


def _reached(topic: Topic, starts: Offsets, found: Read, decoded_count: int) -> dict[int, int]:
    """Return the offset after the decoded messages, for each partition."""
    reached = dict.fromkeys(range(topic.partitions), 0) | dict(starts)
    if decoded_count == len(found.records):
        reached.update(found.reached)
    else:
        reached.update(next_offsets(found.records[:decoded_count]))
    return reached
