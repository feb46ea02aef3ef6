"""Records as the consumer returns them: position, order, age, and the mark of a discarded one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from confluent_kafka import Message

__all__ = [
    "CLEAR_HEADER",
    "DISCARD_HEADER",
    "discarded_position",
    "is_clear_marker",
    "merge",
    "next_offsets",
    "partition_of",
    "position",
    "time_ms",
]

DISCARD_HEADER = "chat-history-discard"
"""The header of a record without a value. It holds the position of a record to skip."""
CLEAR_HEADER = "chat-history-clear"
"""The header of a record without a value. The records before it in its partition are cleared."""


def partition_of(record: Message) -> int:
    """Return the partition of a record."""
    partition = record.partition()
    assert partition is not None  # a record that was read has one
    return partition


def position(record: Message) -> str:
    """Return what identifies a record: `partition:offset`."""
    return f"{record.partition()}:{record.offset()}"


def time_ms(record: Message) -> float:
    """Return the time of a record in milliseconds. A record without a time never expires."""
    kind, milliseconds = record.timestamp()
    return milliseconds if kind else math.inf


def discarded_position(record: Message) -> str | None:
    """Return the position that a record marks as discarded, or None if it marks nothing."""
    value = _mark(record, DISCARD_HEADER)
    return None if value is None else value.decode("ascii", "replace")


def is_clear_marker(record: Message) -> bool:
    """Return whether the records before this one in its partition are cleared."""
    return _mark(record, CLEAR_HEADER) is not None


def _mark(record: Message, name: str) -> bytes | None:
    """Return the value of a header of a record without a value."""
    if record.value() is not None:
        return None
    for header, value in list(record.headers() or ()):
        if header == name and isinstance(value, bytes):
            return value
    return None


def next_offsets(records: Iterable[Message]) -> dict[int, int]:
    """Return the offset after the last of these records, for each partition."""
    return {partition_of(r): offset + 1 for r in records if (offset := r.offset()) is not None}


def merge(partitions: Iterable[list[Message]]) -> list[Message]:
    """Merge the records of several partitions by time, then offset. Each keeps its own order."""
    filled = [records for records in partitions if records]
    if len(filled) == 1:
        return filled[0]
    return list(heapq.merge(*filled, key=lambda record: (record.timestamp()[1], record.offset())))
