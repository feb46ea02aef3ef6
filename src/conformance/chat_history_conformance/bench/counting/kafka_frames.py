"""What a counter of round trips has to understand of Kafka: where is read, and what is written.

For the versions of requests that brokers take since Kafka 4.0.
"""

from __future__ import annotations

from collections.abc import Iterator

PRODUCE = 0
FETCH = 1
"""The numbers of the requests that write records and read them."""

_BEGUN_AT = 27
"""Where in a batch of records the time of the first is."""

Place = tuple[bytes, int]
"""The name or id of a topic, and a partition."""


def starts(version: int, request: bytes) -> dict[Place, int]:
    """From which offset on each partition is read.

    Args:
        version: That of the request to fetch, 4 to 18.
        request: What follows the correlation id.
    """
    fields = _request(request, compact=version >= 12)
    if version < 15:
        fields.skip(4)  # a replica
    fields.skip(4 + 4 + 4 + 1)  # how long to wait, for how much, at most how much; isolation
    if version >= 7:
        fields.skip(4 + 4)  # the session of fetches, and its epoch
    found = {}
    for topic in _topics(fields, by_id=version >= 13):
        partition = fields.number(4)
        if version >= 9:
            fields.skip(4)  # the leader's epoch
        found[topic, partition] = fields.number(8)
        if version >= 12:
            fields.skip(4)  # the epoch of what was fetched last
        if version >= 5:
            fields.skip(8)  # the first offset of a follower's log
        fields.skip(4)  # at most how much
        fields.skip_tags()
    return found


def ends(version: int, answer: bytes) -> tuple[dict[Place, int], set[Place]]:
    """Where each partition ends, and those of which the answer brings records.

    Args:
        version: That of the request to fetch, 4 to 18.
        answer: What follows the correlation id.
    """
    fields = _Fields(answer, compact=version >= 12)
    fields.skip_tags()
    fields.skip(4)  # how long the client is throttled
    if version >= 7:
        fields.skip(2 + 4)  # an error, and the session of fetches
    found, bringing = {}, set()
    for topic in _topics(fields, by_id=version >= 13):
        partition = fields.number(4)
        fields.skip(2)  # an error
        found[topic, partition] = fields.number(8)
        fields.skip(8)  # the end of what is committed
        if version >= 5:
            fields.skip(8)  # the first offset
        for _ in range(fields.length()):
            fields.skip(8 + 8)  # an aborted transaction
            fields.skip_tags()
        if version >= 11:
            fields.skip(4)  # the replica to read from
        if records := fields.length():
            bringing.add((topic, partition))
            fields.skip(records)
        fields.skip_tags()
    return found, bringing


def begun_at(version: int, request: bytes) -> int:
    """When the last of the batches of records was begun that are to be written.

    Args:
        version: That of the request to produce, 3 to 13.
        request: What follows the correlation id.

    Returns:
        Milliseconds since the epoch, by the client's clock or as its user wishes.
    """
    fields = _request(request, compact=version >= 9)
    fields.skip(fields.length(2))  # the id for transactions
    fields.skip(2 + 4)  # whose acknowledgement to wait for, and how long
    found = -1
    for _ in _topics(fields, by_id=version >= 13):
        fields.skip(4)  # the partition
        batch = fields.take(fields.length())
        time = batch[_BEGUN_AT : _BEGUN_AT + 8]
        found = max(found, int.from_bytes(time, "big", signed=True))
        fields.skip_tags()
    return found


def _request(data: bytes, *, compact: bool) -> _Fields:
    fields = _Fields(data, compact=False)
    fields.skip(fields.length(2))  # the client's name, never in the compact form
    fields.compact = compact
    fields.skip_tags()
    return fields


def _topics(fields: _Fields, *, by_id: bool) -> Iterator[bytes]:
    """The topic of each partition, whose fields are to be taken before the next is asked for."""
    for _ in range(fields.length()):
        topic = fields.take(16 if by_id else fields.length(2))
        for _ in range(fields.length()):
            yield topic
        fields.skip_tags()


class _Fields:
    """The bytes of a request or an answer, taken one field after the other."""

    def __init__(self, data: bytes, *, compact: bool) -> None:
        self.compact = compact
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def skip(self, size: int) -> None:
        self._at += size

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def length(self, size: int = 4) -> int:
        """How long a string, an array or a block of records is; that of none at all is 0.

        Args:
            size: Of the length itself in bytes, where it is not compact.
        """
        return max(0, self._unsigned() - 1 if self.compact else self.number(size))

    def skip_tags(self) -> None:
        if self.compact:
            for _ in range(self._unsigned()):
                self._unsigned()
                self.skip(self._unsigned())

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
