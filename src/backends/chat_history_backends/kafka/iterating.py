"""Iteration over a topic: read some records, decode a page of them, and go on later."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from confluent_kafka import Message
from langchain_core.messages import BaseMessage

from ..codec import UndecodableRecordError, decode_page
from .call import Call
from .reading import discarded, filter_of, read
from .records import next_offsets, partition_of, position
from .topics import Offsets, Topic, bounds

__all__ = ["Iteration", "Page"]

_LEAST_RECORDS = 1000
"""Records to read at a time. A page of fewer messages leaves the rest for the next pages."""


class Page(NamedTuple):
    """The next messages of an iteration, and the error of the record after them, if it has one."""

    messages: list[BaseMessage]
    error: UndecodableRecordError | None = None


class Iteration:
    """One iteration over a topic, up to the ends that it had at the first page.

    It keeps offsets and the records of a few pages, but no consumer.

    Args:
        batch_size: The most messages of a page.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._identity: str | None = None
        self._ends: Offsets = {}
        self._next: dict[int, int] = {}
        self._unread: list[Message] = []

    def next_page(self, call: Call, topic: Topic) -> Page | None:
        """Return the next messages; None after the last.

        Raises:
            TopicChanged: The topic is gone, or records that were to be read are. Call it again.
        """
        if self._identity not in (None, topic.identity):
            return None  # it was deleted, and the topic with its name has other messages
        if not self._unread:
            self._read_on(call, topic)
        if not self._unread:
            return None
        size = self._batch_size
        records, self._unread = self._unread[:size], self._unread[size:]
        is_wanted, cleared = filter_of(topic), topic.log.cleared
        return _decoded(
            call,
            topic,
            [
                record
                for record in records
                if is_wanted(record)
                and (record.offset() or 0) >= cleared.get(partition_of(record), 0)
            ],
        )

    def _read_on(self, call: Call, topic: Topic) -> None:
        """Read the next records, if more are left."""
        current = bounds(call, topic)
        if self._identity is None:
            self._identity = topic.identity
            self._ends = {p: end for p, (_, end) in current.items()}
        ends = {p: min(self._ends[p], current[p][1]) for p in self._ends if p in current}
        found = read(
            call,
            topic,
            # If a log was cut, it ends before the next offset, and has nothing more to read here.
            {p: min(offset, ends[p]) for p, offset in self._next.items() if p in ends},
            known_bounds={p: (min(current[p][0], end), end) for p, end in ends.items()},
            limit=max(self._batch_size, _LEAST_RECORDS),
        )
        # A partition that is not read to its end has more records, perhaps older than those of
        # another partition that follow here.
        counts = Counter(map(partition_of, found.records))
        unfinished = [p for p, end in ends.items() if found.reached.get(p, end) < end]
        safe = min((counts[p] for p in unfinished), default=len(found.records))
        self._unread = found.records[:safe]
        rest = {partition_of(record) for record in found.records[safe:]}
        self._next.update(next_offsets(self._unread))
        self._next.update((p, offset) for p, offset in found.reached.items() if p not in rest)


def _decoded(call: Call, topic: Topic, records: list[Message]) -> Page:
    """Decode records up to the first that is not a message and was not discarded."""
    skipped: set[str] | None = None
    while True:
        messages: list[BaseMessage] = []
        try:
            for page in decode_page(
                (position(record), record.value() or b"") for record in records
            ):
                messages = page
            return Page(messages)
        except UndecodableRecordError as error:
            if skipped is None:
                skipped = discarded(call, topic)
            if error.position not in skipped:
                return Page(messages, error)
            records = [record for record in records if position(record) not in skipped]
