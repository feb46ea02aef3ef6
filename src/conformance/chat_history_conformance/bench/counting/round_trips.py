"""How often a backend goes to its server and back: counted exactly, so that one more is one more.

A round trip is made where on one connection something was sent and then an answer received:
requests that are sent one after the other before the first answer are one. Clients in Python are
seen at their sockets, SQLite at its statements, Kafka's in `kafka_trips`. What sends past Python's
sockets (another client in C, uvloop) is not seen: its backend declares `round_trips=`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sqlite3
import ssl
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from chat_history_conformance.declaration.backend import Backend

_IS_WINDOWS = os.name == "nt"
_WINDOWS = (
    "on Windows the event loop of asyncio sends past Python's sockets: count on another system, or "
    "declare round_trips="
)
_RECORDS = range(20, 24)
_LONGEST_RECORD = 2**14 + 2048
_SENDING = ("send", "sendall")
_RECEIVING = ("recv", "recv_into", "recvmsg", "recvmsg_into", "recvfrom", "recvfrom_into")


class CannotCount(Exception):
    """It cannot be counted now; the text says why."""


class RoundTrips(ABC):
    """Counts while it is entered; what is counted is opened after that.

    Several may be entered at once, and in several threads: each counts what all threads of the
    process do.
    """

    why_not: str | None = None
    """Why it cannot count, and what would help; `sent` means nothing then. Ask when it is entered:
    some things show only then."""

    def __init__(self) -> None:
        self._before = 0
        self._after: int | None = 0
        self._entered = contextlib.ExitStack()

    @property
    def sent(self) -> int:
        """How many round trips were made since it was entered, until it was left."""
        return (self._so_far() if self._after is None else self._after) - self._before

    def __enter__(self) -> RoundTrips:
        if self._after is None:
            raise RuntimeError("these round trips are being counted already: make another counter")
        if self.why_not is None:
            try:
                self._entered.enter_context(self._watching())
            except CannotCount as error:
                self.why_not = str(error)
            else:
                self._before, self._after = self._so_far(), None
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._after is None:
            self._after = self._so_far()
        self._entered.close()

    @abstractmethod
    def _so_far(self) -> int:
        """A number that rises by one with each round trip."""

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        """What has to be in place for that.

        Raises:
            CannotCount: It cannot be had.
        """
        return contextlib.nullcontext()


def of(backend: Backend) -> RoundTrips:
    """The counter for a backend: the one that it declares, or the one for its kind of client."""
    if backend.round_trips is not None:
        return Declared(backend.round_trips)
    if backend.server == "kafka":
        from chat_history_conformance.bench.counting.kafka_proxy import KafkaTrips

        return KafkaTrips()
    watched = Watched()
    if _IS_WINDOWS and not backend.disposable:
        watched.why_not = _WINDOWS
    return watched


class Declared(RoundTrips):
    """What the backend counts itself.

    Args:
        count: How many round trips this process has made so far.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__()
        self._count = count

    def _so_far(self) -> int:
        return self._count()


class Watched(RoundTrips):
    """What Python's sockets and `sqlite3` do.

    Neither opening a TCP connection counts nor agreeing on TLS, nor what this process does as a
    server. Of SQLite each statement counts that is carried out, one of `executemany` for each row.
    """

    def _so_far(self) -> int:
        return _watch.total

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        return _watch.on()


@dataclass(slots=True)
class _Connection:
    asked: bool = False
    """Whether something was sent since the last answer."""
    enciphered: bool = False
    """Whether it carries TLS that is made elsewhere in Python, and looked at there."""


class _Watch:
    """The one look at the sockets and SQLite connections of this process, for all counters."""

    def __init__(self) -> None:
        self.total = 0
        self._users = 0
        # An object that is collected meanwhile may send a farewell in the same thread.
        self._lock = threading.RLock()
        self._connections: WeakKeyDictionary[Any, _Connection] = WeakKeyDictionary()
        self._accepted: WeakSet[socket.socket] = WeakSet()
        self._patched = contextlib.ExitStack()

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._start()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._stop()

    def _start(self) -> None:
        for name in _SENDING:
            self._replace(socket.socket, name, self._sending)
        self._replace(socket.socket, "sendmsg", self._sending_buffers)
        for name in _RECEIVING:
            self._replace(socket.socket, name, self._receiving)
        self._replace(socket.socket, "accept", self._accepting)
        # What is written here is enciphered in C; their other methods come down to these.
        for kind, name in (
            (ssl.SSLSocket, "send"),
            (ssl.SSLSocket, "write"),
            (ssl.SSLObject, "write"),
        ):
            self._replace(kind, name, self._sending)
        for kind in (ssl.SSLSocket, ssl.SSLObject):
            self._replace(kind, "read", self._receiving)
        # Its audit event would be the place, but comes before a connection can be traced.
        connect = sqlite3.connect
        watched = wraps(connect)(self._connecting(connect))
        _exchange(connect, watched)
        self._patched.callback(_exchange, watched, connect)
        self._trace(self._statement)

    def _stop(self) -> None:
        self._patched.close()
        self._trace(None)
        self._connections.clear()
        self._accepted.clear()

    def _replace(
        self, kind: type, name: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        original = getattr(kind, name, None)
        if original is None:  # not every system has all, nor every class
            return
        if name in vars(kind):
            self._patched.callback(setattr, kind, name, original)
        else:
            self._patched.callback(delattr, kind, name)
        setattr(kind, name, wraps(original)(change(original)))

    # Sockets.

    def _sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send(connection: Any, data: Any, *arguments: Any, **keywords: Any) -> Any:
            with self._asking(connection, memoryview(data)):
                return original(connection, data, *arguments, **keywords)

        return send

    def _sending_buffers(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def sendmsg(connection: Any, buffers: Any, *arguments: Any) -> Any:
            buffers = list(buffers)  # asyncio gives an iterator
            with self._asking(connection, memoryview(b"".join(buffers))):
                return original(connection, buffers, *arguments)

        return sendmsg

    def _receiving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def receive(connection: Any, *arguments: Any, **keywords: Any) -> Any:
            received = original(connection, *arguments, **keywords)
            data = received[0] if isinstance(received, tuple) else received
            if data:
                self._is_answered(connection)
            return received

        return receive

    def _accepting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def accept(listener: socket.socket) -> Any:
            accepted, address = original(listener)
            self._accepted.add(accepted)
            return accepted, address

        return accept

    @contextlib.contextmanager
    def _asking(self, connection: Any, data: memoryview) -> Iterator[None]:
        with self._lock:
            if self._is_no_client(connection):
                known = _Connection()
            else:
                known = self._connections.setdefault(connection, _Connection())
            if not isinstance(connection, ssl.SSLObject) and _is_tls(data):
                known.enciphered = True
            before = known.asked
            if data.nbytes and not known.enciphered:
                # Before it is sent: another thread may have the answer before this one goes on.
                known.asked = True
        try:
            yield
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            known.asked = before  # nothing was sent
            raise

    def _is_answered(self, connection: Any) -> None:
        with self._lock:
            known = self._connections.get(connection)
            if known is not None and known.asked:
                known.asked = False
                self.total += 1

    def _is_no_client(self, connection: Any) -> bool:
        if isinstance(connection, (ssl.SSLObject, ssl.SSLSocket)) and connection.server_side:
            return True
        if not isinstance(connection, socket.socket):
            return False
        # Datagrams are questions about names, or statistics.
        return connection in self._accepted or connection.type != socket.SOCK_STREAM

    # SQLite.

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*arguments: Any, **keywords: Any) -> Any:
            connection = original(*arguments, **keywords)
            if self._users:
                connection.set_trace_callback(self._statement)
            return connection

        return connect

    def _statement(self, statement: str) -> None:
        if self._users:  # it stays on a connection that only another thread may touch
            with self._lock:
                self.total += 1

    def _trace(self, callback: Callable[[str], None] | None) -> None:
        """Trace the connections that a pool, say, holds already."""
        for connection in gc.get_objects():
            if issubclass(type(connection), sqlite3.Connection):  # asking a proxy may raise
                with contextlib.suppress(sqlite3.ProgrammingError):  # closed, or another thread's
                    connection.set_trace_callback(callback)


_watch = _Watch()


def _exchange(function: object, other: object) -> None:
    """Put another function in the place of one in every module that has it by some name."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in list(names.items()) if value is function]:
            names[name] = other


def _is_tls(data: memoryview) -> bool:
    """Whether these bytes are records of TLS."""
    at = 0
    while at < data.nbytes:
        head = bytes(data.cast("B")[at : at + 5])
        length = int.from_bytes(head[3:5], "big")
        if len(head) < 5 or head[0] not in _RECORDS or head[1] != 3 or length > _LONGEST_RECORD:
            return False
        at += 5 + length
    return at > 0
