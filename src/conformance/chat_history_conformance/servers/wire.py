"""A connection to a server that is asked without its client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

from chat_history_conformance.servers.kind import NotReady

__all__ = [
    "Wire",
    "connect",
]


class Wire:
    """An open connection. Its methods raise `NotReady` if the other side ends it or is silent.

    Args:
        connection: The connection.
        seconds: The time limit of the whole conversation.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._socket = connection
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """Send bytes."""
        with self._limited():
            self._socket.sendall(data)

    def read(self, number: int) -> bytes:
        """Return the next bytes, exactly this number."""
        data = b""
        while len(data) < number:
            with self._limited():
                more = self._socket.recv(number - len(data))
            if not more:
                raise NotReady("it closes the connection without an answer")
            data += more
        return data

    def line(self) -> bytes:
        """Return the next line, without its end."""
        data = b""
        while not data.endswith(b"\n"):
            data += self.read(1)
        return data.rstrip(b"\r\n")

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on with TLS."""
        with self._limited():
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Limit a call to the time that is left."""
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            yield
        except TimeoutError:
            raise NotReady(
                f"something listens there, but does not answer within {self._seconds:.0f} s"
            ) from None
        except OSError as error:
            raise NotReady(f"the connection fails: {error}") from None


@contextlib.contextmanager
def connect(host: str, port: int, seconds: float) -> Iterator[Wire]:
    """Connect to a server.

    Args:
        host: Its host.
        port: Its port.
        seconds: The time limit of the whole conversation.

    Raises:
        NotReady: It cannot be reached, or does not answer.
    """
    try:
        connection = socket.create_connection((host, port), seconds)
    except OSError as error:
        raise NotReady(f"it cannot be reached: {error}") from None
    with contextlib.closing(Wire(connection, seconds)) as wire:
        yield wire
