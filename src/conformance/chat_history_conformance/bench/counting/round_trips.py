"""Exact counts of the round trips that a backend makes to its server.

A round trip is one or more requests on a connection followed by an answer. Requests that are sent
before the first answer are one round trip. Python clients are watched at their sockets, SQLite at
its statements, and Kafka's clients by `kafka_proxy`. Clients that bypass Python's sockets (written
in C, or on uvloop) cannot be watched: their backends declare `round_trips=`.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from chat_history_conformance.bench.counting.counter import RoundTripCounter
from chat_history_conformance.declaration.backend import Backend

__all__ = ["DeclaredCounter", "SocketCounter", "counter_for"]

_IS_WINDOWS = os.name == "nt"
_WINDOWS = (
    "on Windows the event loop of asyncio bypasses Python's sockets: count on another system, or "
    "declare round_trips="
)
_RECORD_TYPES = range(20, 24)
_MAX_RECORD = 2**14 + 2048
_SENDING = ("send", "sendall")
_RECEIVING = ("recv", "recv_into", "recvmsg", "recvmsg_into", "recvfrom", "recvfrom_into")


def counter_for(backend: Backend) -> RoundTripCounter:
    """Return the counter that a backend declares, or the counter for its kind of client."""
    if backend.round_trips is not None:
        return DeclaredCounter(backend.round_trips)
    if backend.server == "kafka":
        from chat_history_conformance.bench.counting.kafka_proxy import KafkaCounter

        return KafkaCounter()
    counter = SocketCounter()
    if _IS_WINDOWS and not backend.disposable:
        counter.problem = _WINDOWS
    return counter


class DeclaredCounter(RoundTripCounter):
    """Uses the backend's own count.

    Args:
        count: Returns the number of round trips that this process has made so far.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__()
        self._count = count

    def _so_far(self) -> int:
        return self._count()


class SocketCounter(RoundTripCounter):
    """Watches Python's sockets and `sqlite3`.

    Opening a TCP connection, a TLS handshake and connections that this process accepts do not
    count. Each statement of SQLite counts as one; `executemany` counts one for each row.
    """

    def _so_far(self) -> int:
        return _watch.total

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        return _watch.on()


@dataclass(slots=True)
class _Connection:
    has_sent: bool = False
    """True if something was sent since the last answer."""
    is_encrypted: bool = False
    """True if it carries TLS of another object in Python, which is watched instead."""


class _Watch:
    """Watches the sockets and SQLite connections of this process, for all counters."""

    def __init__(self) -> None:
        self.total = 0
        self._users = 0
        # The garbage collector may close an object meanwhile, which sends in the same thread.
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
        # These methods encrypt in C. All other methods of these classes call them.
        for kind, name in (
            (ssl.SSLSocket, "send"),
            (ssl.SSLSocket, "write"),
            (ssl.SSLObject, "write"),
        ):
            self._replace(kind, name, self._sending)
        for kind in (ssl.SSLSocket, ssl.SSLObject):
            self._replace(kind, "read", self._receiving)
        # The audit event of `connect` comes too early: the connection does not exist yet.
        connect = sqlite3.connect
        watched = wraps(connect)(self._connecting(connect))
        _exchange(connect, watched)
        self._patched.callback(_exchange, watched, connect)
        self._trace(self._count_statement)

    def _stop(self) -> None:
        self._patched.close()
        self._trace(None)
        self._connections.clear()
        self._accepted.clear()

    def _replace(
        self, kind: type, name: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        original = getattr(kind, name, None)
        if original is None:  # some systems and classes do not have all of them
            return
        if name in vars(kind):
            self._patched.callback(setattr, kind, name, original)
        else:
            self._patched.callback(delattr, kind, name)
        setattr(kind, name, wraps(original)(change(original)))

    # Sockets.

    def _sending(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def send(connection: Any, data: Any, *arguments: Any, **keywords: Any) -> Any:
            with self._recording(connection, memoryview(data)):
                return original(connection, data, *arguments, **keywords)

        return send

    def _sending_buffers(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def sendmsg(connection: Any, buffers: Any, *arguments: Any) -> Any:
            buffers = list(buffers)  # asyncio passes an iterator
            with self._recording(connection, memoryview(b"".join(buffers))):
                return original(connection, buffers, *arguments)

        return sendmsg

    def _receiving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def receive(connection: Any, *arguments: Any, **keywords: Any) -> Any:
            received = original(connection, *arguments, **keywords)
            data = received[0] if isinstance(received, tuple) else received
            if data:
                self._record_answer(connection)
            return received

        return receive

    def _accepting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def accept(listener: socket.socket) -> Any:
            accepted, address = original(listener)
            self._accepted.add(accepted)
            return accepted, address

        return accept

    @contextlib.contextmanager
    def _recording(self, connection: Any, data: memoryview) -> Iterator[None]:
        with self._lock:
            if self._is_uncounted(connection):
                known = _Connection()
            else:
                known = self._connections.setdefault(connection, _Connection())
            if not isinstance(connection, ssl.SSLObject) and _is_tls(data):
                known.is_encrypted = True
            before = known.has_sent
            if data.nbytes and not known.is_encrypted:
                # Before sending, because another thread may get the answer before this one goes on.
                known.has_sent = True
        try:
            yield
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            known.has_sent = before  # nothing was sent
            raise

    def _record_answer(self, connection: Any) -> None:
        with self._lock:
            known = self._connections.get(connection)
            if known is not None and known.has_sent:
                known.has_sent = False
                self.total += 1

    def _is_uncounted(self, connection: Any) -> bool:
        """Return whether this process is the server, or sends datagrams (DNS, statistics)."""
        if isinstance(connection, (ssl.SSLObject, ssl.SSLSocket)) and connection.server_side:
            return True
        if not isinstance(connection, socket.socket):
            return False
        return connection in self._accepted or connection.type != socket.SOCK_STREAM

    # SQLite.

    def _connecting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*arguments: Any, **keywords: Any) -> Any:
            connection = original(*arguments, **keywords)
            if self._users:
                connection.set_trace_callback(self._count_statement)
            return connection

        return connect

    def _count_statement(self, statement: str) -> None:
        if self._users:  # the callback stays on connections that belong to other threads
            with self._lock:
                self.total += 1

    def _trace(self, callback: Callable[[str], None] | None) -> None:
        """Trace the connections that are open already, such as those of a pool."""
        for connection in gc.get_objects():
            if issubclass(
                type(connection), sqlite3.Connection
            ):  # `isinstance` may raise for a proxy
                with contextlib.suppress(sqlite3.ProgrammingError):  # closed, or of another thread
                    connection.set_trace_callback(callback)


_watch = _Watch()


def _exchange(function: object, other: object) -> None:
    """Replace a function in every module that has imported it."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in list(names.items()) if value is function]:
            names[name] = other


def _is_tls(data: memoryview) -> bool:
    """Return whether these bytes are TLS records."""
    at = 0
    while at < data.nbytes:
        head = bytes(data.cast("B")[at : at + 5])
        length = int.from_bytes(head[3:5], "big")
        if len(head) < 5 or head[0] not in _RECORD_TYPES or head[1] != 3 or length > _MAX_RECORD:
            return False
        at += 5 + length
    return at > 0
