"""The counter of round trips to Kafka: a proxy between the clients, written in C, and a broker.

A broker that the run starts on the JVM has a second listener. Its address for clients is that of a
proxy in the counting process. `HISTORY_KAFKA` names that address while round trips are counted. The
rules make the count independent of timing:

- The proxy passes an answer on only after the connection has sent nothing for `QUIET_SECONDS`.
  Requests that do not wait for each other's answers have all been sent by then, and are one round
  trip.
- A `Produce` request is part of the previous round trip if the client got its records before the
  last answer. The timing decides into how many requests a client cuts what it gets at once.
- Not counted are the set-up of a connection (`ApiVersions`, SASL), periodic requests (heartbeats,
  telemetry), and a `Fetch` that returns nothing or begins at the end. Clients fetch ahead, and
  sometimes a new record arrives.
- A `Metadata` request counts. Clients send some by themselves: on connecting, for a new topic, and
  every few minutes. The cost of an operation is the minimum of several counts.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chat_history_conformance import servers
from chat_history_conformance.bench.counting.counter import CannotCount, RoundTripCounter
from chat_history_conformance.bench.counting.kafka_frames import (
    FETCH,
    PRODUCE,
    Partition,
    UnknownFrame,
    end_offsets,
    fetch_offsets,
    produce_timestamp,
)

__all__ = ["QUIET_SECONDS", "KafkaCounter", "Proxy"]

QUIET_SECONDS = 0.02
"""The time that a connection must be silent before it gets an answer."""

_UNCOUNTED = {
    12: "Heartbeat",
    17: "SaslHandshake",
    18: "ApiVersions",
    36: "SaslAuthenticate",
    68: "ConsumerGroupHeartbeat",
    71: "GetTelemetrySubscriptions",
    72: "PushTelemetry",
}
_STOP_SECONDS = 5.0


class KafkaCounter(RoundTripCounter):
    """Counts the round trips to the broker that the run has started."""

    def __init__(self) -> None:
        super().__init__()
        addresses = os.environ.get(servers.counted_variable("kafka"), "").split()
        current = os.environ.get(servers.variable("kafka"))
        if len(addresses) != 3 or current not in addresses[:2]:
            self.problem = (
                "round trips can be counted only to a Kafka broker that the run has started on the "
                "JVM: use --history-server=kafka=jvm"
            )
            addresses = ["", "", ""]
        self._front, self._broker = addresses[1:]

    def _so_far(self) -> int:
        proxy = _proxies[self._front]
        if proxy.unknown:
            raise CannotCount(proxy.unknown)
        return proxy.total

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        with _starting:
            if self._front not in _proxies:
                _proxies[self._front] = Proxy(self._front, self._broker)
            return _proxies[self._front].counting()


class _Request(NamedTuple):
    key: int
    version: int
    trip: int
    """The number that its round trip would have on the connection."""
    offsets: Mapping[Partition, int]
    """For a fetch, the offsets from which it reads."""


@dataclass
class _Connection:
    sent_at: float = 0.0
    """The time of the last request."""
    stored_at: int = 0
    """The time of the last answer to a Produce request, in milliseconds since the epoch."""
    trips: int = 0
    waiting: dict[bytes, _Request] = field(default_factory=dict)
    """The requests without an answer, by correlation id."""
    ends: dict[Partition, int] = field(default_factory=dict)
    """The end offsets in the last fetch. Emptied by a request of another kind."""

    def request(self, frame: bytes) -> bool:
        """Record a request. Return False, since only an answer completes a round trip.

        Raises:
            UnknownFrame: Its version is not understood.
        """
        key, version = (int.from_bytes(frame[at : at + 2], "big") for at in (4, 6))
        if key != FETCH and key not in _UNCOUNTED:
            self.ends.clear()
        request = _Request(key, version, self.trips + 1, {})
        self.waiting[frame[8:12]] = request
        if key == FETCH:
            request = request._replace(offsets=fetch_offsets(version, frame[12:]))
        elif key == PRODUCE and produce_timestamp(version, frame[12:]) < self.stored_at:
            request = request._replace(trip=self.trips)
        self.waiting[frame[8:12]] = request
        return False

    def answer(self, frame: bytes) -> bool:
        """Record an answer. Return whether it completes a round trip.

        Raises:
            UnknownFrame: Its version is not understood.
        """
        request = self.waiting.pop(frame[4:8])
        is_trip = request.key not in _UNCOUNTED
        if request.key == FETCH:
            found, with_records = end_offsets(request.version, frame[8:])
            is_trip = any(
                request.offsets[one] < self.ends.get(one, found[one]) for one in with_records
            )
            self.ends |= found
        elif request.key == PRODUCE:
            self.stored_at = time.time_ns() // 1_000_000
        # Requests that were sent before the last counted answer belong to its round trip.
        is_trip = is_trip and request.trip > self.trips
        self.trips += is_trip
        return is_trip


class Proxy:
    """Passes on the messages between clients and a broker, and counts the round trips.

    It accepts new clients only while counting. It serves the clients that it has until the process
    ends: without it, they would try to connect several times a second and disturb measurements.

    Args:
        front: The address for clients, `host:port`.
        broker: The address of the broker.
    """

    def __init__(self, front: str, broker: str) -> None:
        self.total = 0
        """The number of round trips so far."""
        self.unknown = ""
        """A description of the first message that the proxy did not understand."""
        self._front, self._broker = front, broker
        self._users = 0
        self._lock = threading.Lock()
        self._address_before = ""
        self._listener: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kafka-round-trips", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the context is entered, with the proxy's address in `HISTORY_KAFKA`.

        Raises:
            CannotCount: Another process listens at that address.
        """
        name = servers.variable("kafka")
        with self._lock:
            if not self._users:
                self._do(self._listen())
                self._address_before, os.environ[name] = os.environ[name], self._front
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    os.environ[name] = self._address_before
                    self._do(self._stop_listening())

    def close(self) -> None:
        """Close the connections of the clients, and end the thread."""
        atexit.unregister(self.close)
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop.close()

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_STOP_SECONDS)

    async def _listen(self) -> None:
        try:
            listener = socket.create_server(_host_and_port(self._front))
        except OSError as error:
            raise CannotCount(
                f"round trips to Kafka are counted at {self._front}, and that address is in use, "
                f"perhaps by another process that counts: {error}"
            ) from error
        listener.setblocking(False)
        self._listener = listener
        self._loop.add_reader(listener, self._accept, listener)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        # A task that waits for `sock_accept`, like asyncio's own server, leaks a connection if it
        # is cancelled between the acceptance and its next step.
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client is gone again
        serving = self._loop.create_task(self._serve(accepted))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _end(self) -> None:
        await self._stop_listening()
        await asyncio.sleep(0)  # a task that has not begun would not close its connection
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # lets the connections close

    async def _serve(self, accepted: socket.socket) -> None:
        writers = []
        try:
            requests, client = await asyncio.open_connection(sock=accepted)
            writers.append(client)
            answers, broker = await asyncio.open_connection(*_host_and_port(self._broker))
            writers.append(broker)
            connection = _Connection()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_requests(connection, requests, broker))
                both.create_task(self._pass_answers(connection, answers, client))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # one side has closed the connection, so the other is closed too
        finally:
            for writer in writers:
                writer.close()
            if not writers:
                accepted.close()

    async def _pass_requests(
        self, connection: _Connection, requests: asyncio.StreamReader, broker: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await _read_frame(requests)
            self._understand(connection.request, frame)
            connection.sent_at = self._loop.time()
            broker.write(frame)
            await broker.drain()

    async def _pass_answers(
        self, connection: _Connection, answers: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await _read_frame(answers)
            while self._users and (
                (left := connection.sent_at + QUIET_SECONDS - self._loop.time()) > 0
            ):
                await asyncio.sleep(left)
            self.total += self._understand(connection.answer, frame)
            client.write(frame)
            await client.drain()

    def _understand(self, record: Callable[[bytes], bool], frame: bytes) -> bool:
        """Record a message. If it is not understood, every counter raises an error from now on."""
        try:
            return record(frame)
        except UnknownFrame as error:
            self.unknown = self.unknown or str(error)
            return False


_starting = threading.Lock()
_proxies: dict[str, Proxy] = {}


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return a request or an answer with its length prefix."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
