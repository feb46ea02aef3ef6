"""The offsets and timestamps in Kafka's Fetch and Produce messages, for the counter of round trips.

Our own decoder of a few fields, not the library kio. The counter runs inside the environment of
each version that `bench compare` measures, and kio (a compiled package) would have to be installed
next to every backend. It understands the versions that brokers accept since Kafka 4.0, and raises
`UnknownFrame` for any other.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "FETCH",
    "PRODUCE",
    "Partition",
    "UnknownFrame",
    "end_offsets",
    "fetch_offsets",
    "produce_timestamp",
]

PRODUCE = 0
FETCH = 1
"""The API keys of the requests that write and read records."""

_VERSIONS = {FETCH: ("Fetch", range(4, 19)), PRODUCE: ("Produce", range(3, 14))}

_TIMESTAMP_AT = 27
"""The position of the first record's timestamp in a batch of records."""

Partition = tuple[bytes, int]
"""The name or the id of a topic, and the number of a partition."""


class UnknownFrame(Exception):
    """A message of a version that this decoder does not understand, or a malformed one."""


def fetch_offsets(version: int, request: bytes) -> dict[Partition, int]:
    """Return the offset from which a Fetch request reads each partition.

    Args:
        version: The version of the request, 4 to 18.
        request: The bytes after the correlation id.

    Raises:
        UnknownFrame: The version is unknown, or the request is malformed.
    """
    _check(FETCH, version)
    fields = _request(request, compact=version >= 12)
    if version < 15:
        fields.skip(4)  # replica id
    fields.skip(4 + 4 + 4 + 1)  # maximum wait, minimum and maximum bytes, isolation level
    if version >= 7:
        fields.skip(4 + 4)  # fetch session and its epoch
    offsets = {}
    for topic in _topics(fields, by_id=version >= 13):
        partition = fields.number(4)
        if version >= 9:
            fields.skip(4)  # leader epoch
        offsets[topic, partition] = fields.number(8)
        if version >= 12:
            fields.skip(4)  # epoch of the last fetch
        if version >= 5:
            fields.skip(8)  # first offset of a follower's log
        fields.skip(4)  # maximum bytes
        fields.skip_tags()
    return offsets


def end_offsets(version: int, answer: bytes) -> tuple[dict[Partition, int], set[Partition]]:
    """Return the end offset of each partition, and the partitions of which an answer has records.

    Args:
        version: The version of the Fetch request, 4 to 18.
        answer: The bytes after the correlation id.

    Raises:
        UnknownFrame: The version is unknown, or the answer is malformed.
    """
    _check(FETCH, version)
    fields = _Fields(answer, compact=version >= 12)
    fields.skip_tags()
    fields.skip(4)  # throttle time
    if version >= 7:
        fields.skip(2 + 4)  # error, and fetch session
    offsets, with_records = {}, set()
    for topic in _topics(fields, by_id=version >= 13):
        partition = fields.number(4)
        fields.skip(2)  # error
        offsets[topic, partition] = fields.number(8)
        fields.skip(8)  # end of the committed transactions
        if version >= 5:
            fields.skip(8)  # first offset
        for _ in range(fields.length()):
            fields.skip(8 + 8)  # aborted transaction
            fields.skip_tags()
        if version >= 11:
            fields.skip(4)  # preferred replica
        if size := fields.length():
            with_records.add((topic, partition))
            fields.skip(size)
        fields.skip_tags()
    return offsets, with_records


def produce_timestamp(version: int, request: bytes) -> int:
    """Return the timestamp of the newest batch of records in a Produce request.

    Args:
        version: The version of the request, 3 to 13.
        request: The bytes after the correlation id.

    Returns:
        Milliseconds since the epoch, by the client's clock or as its user wishes.

    Raises:
        UnknownFrame: The version is unknown, or the request is malformed.
    """
    _check(PRODUCE, version)
    fields = _request(request, compact=version >= 9)
    fields.skip(fields.length(2))  # transactional id
    fields.skip(2 + 4)  # acknowledgements and timeout
    newest = -1
    for _ in _topics(fields, by_id=version >= 13):
        fields.skip(4)  # partition
        batch = fields.take(fields.length())
        timestamp = batch[_TIMESTAMP_AT : _TIMESTAMP_AT + 8]
        newest = max(newest, int.from_bytes(timestamp, "big", signed=True))
        fields.skip_tags()
    return newest


def _check(key: int, version: int) -> None:
    name, known = _VERSIONS[key]
    if version not in known:
        raise UnknownFrame(
            f"the client sent {name} (API key {key}) in version {version}, and round trips can be "
            f"counted for the versions {known[0]} to {known[-1]}. Use another version of the client"
        )


def _request(data: bytes, *, compact: bool) -> _Fields:
    fields = _Fields(data, compact=False)
    fields.skip(fields.length(2))  # the client id, which is never compact
    fields.compact = compact
    fields.skip_tags()
    return fields


def _topics(fields: _Fields, *, by_id: bool) -> Iterator[bytes]:
    """Yield the topic of each partition. The caller takes the partition's fields in between."""
    for _ in range(fields.length()):
        topic = fields.take(16 if by_id else fields.length(2))
        for _ in range(fields.length()):
            yield topic
        fields.skip_tags()


class _Fields:
    """The bytes of a message, taken one field after the other."""

    def __init__(self, data: bytes, *, compact: bool) -> None:
        self.compact = compact
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        self.skip(size)
        return self._data[self._at - size : self._at]

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise UnknownFrame("a message of Kafka's protocol is shorter than its fields")

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def length(self, size: int = 4) -> int:
        """Return the length of a string, an array or a block of records. The length of null is 0.

        Args:
            size: The size of the length itself in bytes, if it is not compact.
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
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
