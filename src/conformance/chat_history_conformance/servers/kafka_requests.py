"""Requests to Kafka brokers without its client library: is the port open, and move replicas.

AlterPartitionReassignments is sent in version 0, which brokers since 2.4 understand.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.kind import NotReady

__all__ = [
    "Fields",
    "check_port",
    "exchange",
    "move_replicas",
]

_ALTER = 45
_CLIENT = b"history-conformance"
_CORRELATION = 1


def move_replicas(address: str, targets: Mapping[str, Sequence[int]], seconds: float) -> None:
    """Let the brokers move partition 0 of topics to other brokers (AlterPartitionReassignments).

    Args:
        address: A broker.
        targets: The ids of the brokers that will have it, by topic; the first is preferred.
        seconds: The time limit.

    Raises:
        ServerError: The broker does not answer, or refuses.
    """
    topics = [
        _string(topic)
        + _array([_number(0, 4) + _array([_number(one, 4) for one in ids]) + _TAGS])
        + _TAGS
        for topic, ids in targets.items()
    ]
    body = _number(int(seconds * 1000), 4) + _array(topics) + _TAGS
    fields = Fields(exchange(address, _ALTER, body, seconds))
    fields.number(4)  # throttle time
    errors = [_error(fields)]
    for _ in fields.items():
        topic = fields.string()
        for _ in fields.items():
            fields.number(4)  # partition
            errors.append(_error(fields, f"of the topic {topic} "))
            fields.skip_tags()
        fields.skip_tags()
    if found := next(filter(None, errors), ""):
        raise ServerError(f"Kafka does not move the replicas {found}")


def exchange(address: str, key: int, body: bytes, seconds: float) -> bytes:
    """Send a request of a flexible version 0 and return the body of the answer.

    Args:
        address: A broker, at a listener without authentication.
        key: The key of the API.
        body: The request after its header.
        seconds: The time limit of each step.

    Raises:
        ServerError: The broker does not answer.
    """
    host, _, port = address.rpartition(":")
    header = _number(key, 2) + _number(0, 2) + _number(_CORRELATION, 4)
    request = header + _number(len(_CLIENT), 2) + _CLIENT + _TAGS + body
    try:
        with socket.create_connection((host.strip("[]"), int(port)), seconds) as broker:
            broker.sendall(_number(len(request), 4) + request)
            stream = broker.makefile("rb")
            size = int.from_bytes(stream.read(4), "big")
            answer = stream.read(size)
    except OSError as error:
        raise ServerError(f"Kafka at {address} does not answer: {error}") from None
    if not size or len(answer) < size:
        raise ServerError(f"Kafka at {address} closed the connection instead of an answer")
    fields = Fields(answer)
    fields.number(4)  # correlation id: the only request of this connection
    fields.skip_tags()
    return fields.rest


class Fields:
    """The fields of an answer, read one after the other.

    Args:
        data: The answer.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def rest(self) -> bytes:
        """The bytes that were not read yet."""
        return self._data[self._at :]

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self._at += size
        if self._at > len(self._data):
            raise ServerError("Kafka sent an answer that is too short")
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        """Return a number of this many bytes."""
        return int.from_bytes(self.take(size), "big", signed=True)

    def length(self) -> int:
        """Return the length of a string or an array; -1 if it is null."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - 1

    def items(self) -> Iterator[None]:
        """Yield once for each item of an array, which the caller reads."""
        for _ in range(self.length()):
            yield

    def string(self) -> str:
        """Return a string; an empty one if it is null."""
        return self.take(max(0, self.length())).decode()

    def skip_tags(self) -> None:
        """Skip the tagged fields, which version 0 does not have."""
        for _ in range(self.length() + 1):
            self.length()
            self.take(self.length() + 1)


_TAGS = b"\0"


def _error(fields: Fields, of: str = "") -> str:
    """Read an error code and its text; return a description, which is empty without an error."""
    code, text = fields.number(2), fields.string()
    return f"{of}(error {code}: {text})" if code else ""


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=True)


def _length(value: int) -> bytes:
    encoded = bytearray()
    value += 1
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _string(text: str) -> bytes:
    data = text.encode()
    return _length(len(data)) + data


def _array(items: Sequence[bytes]) -> bytes:
    return _length(len(items)) + b"".join(items)


def check_port(address: str, seconds: float) -> None:
    """Check that something listens, because the client prints an error if nothing does.

    Args:
        address: `host:port`; several are separated by commas, and one of them is enough.
        seconds: How long to wait for each of them.

    Raises:
        NotReady: Nothing listens there.
    """
    reasons = []
    for one in address.split(","):
        host, _, port = one.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
        except OSError as error:
            reasons.append(f"{one}: {error.strerror or error}")
        else:
            return
    raise NotReady(f"it cannot be reached ({'; '.join(reasons)})")
