"""Counting the round trips of Kafka's clients, which are written in C: between them and a broker.

A broker that the run has started on the JVM has a second listener, whose address for clients is
that of a proxy in the process that counts. While it counts, `HISTORY_KAFKA` leads there. What is
counted is what a client waits for, whatever the timing:

- An answer is passed on only when its connection has sent nothing for `QUIET_SEC`: requests that do
  not wait for each other's answers have all been sent by then, and are one round trip.
- A `Produce` of records that the client was given before the answer to the last one goes along
  with that: into how many it cuts what it is given at once depends on the timing.
- Not counted are the set-up of a connection (`ApiVersions`, SASL), what goes by the clock
  (heartbeats, telemetry), and a `Fetch` that brings nothing or begins at the end: clients ask ahead
  for what may come, and sometimes it comes.
- A look at the metadata counts. Clients have some of their own, on connecting, when a topic is new
  and every few minutes: what an operation takes is the least of several.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chat_history_conformance import servers
from chat_history_conformance.bench.counting.kafka_frames import (
    FETCH,
    PRODUCE,
    Place,
    begun_at,
    ends,
    starts,
)
from chat_history_conformance.bench.counting.round_trips import CannotCount, RoundTrips

QUIET_SEC = 0.02
"""So long a connection has to be silent before it is given an answer."""

_UNCOUNTED = {
    12: "Heartbeat",
    17: "SaslHandshake",
    18: "ApiVersions",
    36: "SaslAuthenticate",
    68: "ConsumerGroupHeartbeat",
    71: "GetTelemetrySubscriptions",
    72: "PushTelemetry",
}
_STOP_SEC = 5.0


class KafkaTrips(RoundTrips):
    """Counts what is sent to the broker that the run has started."""

    def __init__(self) -> None:
        super().__init__()
        known = os.environ.get(servers.counted_variable("kafka"), "").split()
        if len(known) != 3 or os.environ.get(servers.variable("kafka")) not in known[:2]:
            self.why_not = (
                "only what is sent to a Kafka broker that the run has started on the JVM can be "
                "counted: use --history-server=kafka=jvm"
            )
            known = ["", "", ""]
        self._front, self._behind = known[1:]

    def _so_far(self) -> int:
        return _proxies[self._front].total

    def _watching(self) -> contextlib.AbstractContextManager[object]:
        with _starting:
            if self._front not in _proxies:
                _proxies[self._front] = Proxy(self._front, self._behind)
            return _proxies[self._front].counting()


class _Request(NamedTuple):
    kind: int
    version: int
    trip: int
    """Which trip of its connection it would be."""
    starts: Mapping[Place, int]
    """For a fetch, where it begins."""


@dataclass
class _Connection:
    sent_at: float = 0.0
    """When the client last sent a request."""
    stored_at: int = 0
    """When it was last told of what was stored, in milliseconds since the epoch."""
    trips: int = 0
    asked: dict[bytes, _Request] = field(default_factory=dict)
    """What has no answer yet, by correlation id."""
    ends: dict[Place, int] = field(default_factory=dict)
    """Where partitions ended by the last fetch, until something else was asked."""

    def ask(self, frame: bytes) -> None:
        """Take note of a request."""
        kind, version = (int.from_bytes(frame[at : at + 2], "big") for at in (4, 6))
        along = kind == PRODUCE and begun_at(version, frame[12:]) < self.stored_at
        if kind != FETCH and kind not in _UNCOUNTED:
            self.ends.clear()
        self.asked[frame[8:12]] = _Request(
            kind,
            version,
            self.trips if along else self.trips + 1,
            starts(version, frame[12:]) if kind == FETCH else {},
        )

    def answer(self, frame: bytes) -> bool:
        """Take note of an answer; whether it makes a round trip."""
        request = self.asked.pop(frame[4:8])
        is_trip = request.kind not in _UNCOUNTED
        if request.kind == FETCH:
            found, bringing = ends(request.version, frame[8:])
            is_trip = any(request.starts[p] < self.ends.get(p, found[p]) for p in bringing)
            self.ends |= found
        elif request.kind == PRODUCE:
            self.stored_at = time.time_ns() // 1_000_000
        # What was sent before the answer that was counted last went along with it.
        is_trip = is_trip and request.trip > self.trips
        self.trips += is_trip
        return is_trip


class Proxy:
    """Passes on what clients and a broker say to each other, and counts the round trips.

    It takes new clients while somebody counts. Those that it has then, it serves until the end of
    the process: without it they would knock in vain several times a second, while others are being
    measured.

    Args:
        front: Where clients are led, `host:port`.
        behind: Where the broker is.
    """

    def __init__(self, front: str, behind: str) -> None:
        self.total = 0
        """How many round trips were made so far."""
        self._front, self._behind = front, behind
        self._users = 0
        self._lock = threading.Lock()
        self._led_from = ""
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kafka-round-trips", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Lead there whoever asks for the address of Kafka.

        Raises:
            CannotCount: Somebody else listens there.
        """
        name = servers.variable("kafka")
        with self._lock:
            if not self._users:
                self._do(self._listen())
                self._led_from, os.environ[name] = os.environ[name], self._front
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    os.environ[name] = self._led_from
                    self._do(self._listen_no_more())

    def close(self) -> None:
        """End the connections of its clients, and itself."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SEC)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(_STOP_SEC)

    async def _listen(self) -> None:
        try:
            listener = socket.create_server(_host_and_port(self._front))
        except OSError as error:
            raise CannotCount(
                f"{self._front}, where the requests to Kafka would be counted, is taken, as by "
                f"another process that counts: {error}"
            ) from error
        self._accepting = asyncio.create_task(self._accept(listener))
        await asyncio.sleep(0)  # from now on it closes the listener, whenever it is cancelled

    async def _listen_no_more(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])

    async def _accept(self, listener: socket.socket) -> None:
        # asyncio's own server leaks a connection that it was just taking when it is closed.
        with listener:
            listener.setblocking(False)
            while True:
                accepted, _ = await self._loop.sock_accept(listener)
                serving = self._loop.create_task(self._serve(accepted))
                self._serving.add(serving)
                serving.add_done_callback(self._serving.discard)

    async def _end(self) -> None:
        await self._listen_no_more()
        await asyncio.sleep(0)  # one that has not begun would not close its connection
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # the connections are closed by then

    async def _serve(self, accepted: socket.socket) -> None:
        writers = []
        try:
            requests, client = await asyncio.open_connection(sock=accepted)
            writers.append(client)
            answers, broker = await asyncio.open_connection(*_host_and_port(self._behind))
            writers.append(broker)
            connection = _Connection()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_requests(connection, requests, broker))
                both.create_task(self._pass_answers(connection, answers, client))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # who is gone, on either side, is gone for the other
        finally:
            for writer in writers:
                writer.close()
            if not writers:
                accepted.close()

    async def _pass_requests(
        self, connection: _Connection, requests: asyncio.StreamReader, broker: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await _frame(requests)
            connection.ask(frame)
            connection.sent_at = self._loop.time()
            broker.write(frame)
            await broker.drain()

    async def _pass_answers(
        self, connection: _Connection, answers: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await _frame(answers)
            while self._users and (
                (left := connection.sent_at + QUIET_SEC - self._loop.time()) > 0
            ):
                await asyncio.sleep(left)
            self.total += connection.answer(frame)
            client.write(frame)
            await client.drain()


_starting = threading.Lock()
_proxies: dict[str, Proxy] = {}


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, with the length that goes before it."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
