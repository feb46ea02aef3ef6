"""Tests of exact counts of round trips: sockets, TLS, SQLite, Elasticsearch and Kafka."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import http.client
import http.server
import os
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from chat_history_backends.kafka import KafkaChatMessageHistory, topics
from chat_history_conformance import servers
from chat_history_conformance.bench.counting import kafka_frames, kafka_proxy, round_trips
from chat_history_conformance.bench.counting.counter import CannotCount, RoundTripCounter
from chat_history_conformance.bench.counting.kafka_frames import FETCH, PRODUCE
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.registry import resolve
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.process import free_ports
from chat_history_conformance.servers.run import Servers
from chat_history_conformance.servers.server import Server
from tests.servers.elasticsearch_node import Secured

PATCHED = [
    (kind, name)
    for kind in (socket.socket, ssl.SSLSocket, ssl.SSLObject)
    for name in dir(kind)
    if name.startswith(("send", "recv", "read", "write", "accept"))
]
CONNECT = sqlite3.connect


def _as_they_are() -> list[object]:
    return [sqlite3.connect, CONNECT, *(vars(kind).get(name) for kind, name in PATCHED)]


@pytest.fixture(autouse=True)
def _nothing_stays_patched() -> Iterator[None]:
    before = _as_they_are()
    yield
    assert _as_they_are() == before


def _undeclared() -> Backend:
    return Backend("mine", lambda session_id: None)


@pytest.fixture
def counted() -> Iterator[RoundTripCounter]:
    with round_trips.counter_for(_undeclared()) as counted:
        assert counted.problem is None
        yield counted


class _Echo(socketserver.StreamRequestHandler):
    """Sends a greeting, then answers each line with the same line, in two parts."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a test may leave in the middle
            self.wfile.write(b"welcome\n")
            while line := self.rfile.readline():
                self.wfile.write(line[:1])
                self.wfile.write(line[1:])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        if self.context is not None:
            accepted = self.context.wrap_socket(accepted, server_side=True)
        return accepted, address


@contextlib.contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[str, int]]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        server.context = context
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_address[:2]  # type: ignore[misc]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with _serving() as address:
        yield address


@contextlib.contextmanager
def _client(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, 10) as client:
        assert _line(client) == b"welcome\n"
        yield client


def _line(client: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = client.recv(100)
        assert part
        line += part
    return line


def _authority() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS contexts of a server and of a client that trusts it."""
    trustme = pytest.importorskip("trustme", reason="the tests' own extra, dev, is not installed")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


# Sockets.


def test_request_with_its_answer_counts_once(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    with _client(address) as client:
        for expected in range(1, 4):
            client.sendall(b"one")
            client.send(b" request\n")
            assert _line(client) == b"one request\n"
            assert counted.total == expected


@pytest.mark.parametrize("send", ["send", "sendall", "sendmsg"])
@pytest.mark.parametrize("receive", ["recv", "recv_into", "recvmsg", "recvfrom", "makefile"])
def test_every_method_of_a_socket_is_watched(
    send: str, receive: str, address: tuple[str, int], counted: RoundTripCounter
) -> None:
    if not (hasattr(socket.socket, send) and hasattr(socket.socket, receive)):
        pytest.skip(f"this system has no {send} or no {receive}")
    with _client(address) as client:
        getattr(client, send)(iter([b"a", b"b\n"]) if send == "sendmsg" else b"ab\n")
        if receive == "makefile":
            with client.makefile("rb") as file:
                assert file.readline() == b"ab\n"
        else:
            assert getattr(client, receive)(bytearray(1) if receive == "recv_into" else 1)
    assert counted.total == 1


def test_two_requests_before_the_first_answer_count_once(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    with _client(address) as client:
        client.sendall(b"one\n")
        client.sendall(b"two\n")
        with client.makefile("rb") as file:
            assert [file.readline(), file.readline()] == [b"one\n", b"two\n"]
    assert counted.total == 1


def test_greeting_of_a_server_does_not_count(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    with socket.create_connection(address, 10) as client:
        client.sendall(b"")
        assert _line(client) == b"welcome\n"
        assert counted.total == 0
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert counted.total == 0


def test_request_without_an_answer_does_not_count(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    with _client(address) as client:
        client.sendall(b"no end of line")
        client.shutdown(socket.SHUT_WR)
        while client.recv(100):
            pass
    assert counted.total == 1  # the echo of the unfinished line
    with _client(address) as client:
        client.sendall(b"x\n")
    assert counted.total == 1


def test_datagrams_do_not_count(
    counted: RoundTripCounter,
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering,
    ):
        answering.bind(("127.0.0.1", 0))
        asking.connect(answering.getsockname())
        asking.send(b"who is it?")
        question, sender = answering.recvfrom(100)
        answering.sendto(question, sender)
        assert asking.recv(100) == question
    assert counted.total == 0


def test_threads_are_counted_together(address: tuple[str, int], counted: RoundTripCounter) -> None:
    def ask(number: int) -> None:
        with _client(address) as client:
            for _ in range(50):
                client.sendall(b"%d\n" % number)
                assert _line(client) == b"%d\n" % number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert counted.total == 400


def test_answer_in_another_thread_counts(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    with _client(address) as client, ThreadPoolExecutor(1) as pool:
        for _ in range(100):
            received = pool.submit(_line, client)
            client.sendall(b"x\n")
            assert received.result(10) == b"x\n"
    assert counted.total == 100


def test_wake_ups_of_an_event_loop_do_not_count(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    async def ask() -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.readline() == b"welcome\n"
        for expected in range(1, 4):
            await asyncio.to_thread(lambda: None)  # it wakes the loop through a pair of sockets
            writer.write(b"one")
            await writer.drain()
            writer.writelines([b" request", b"\n"])
            assert await reader.readline() == b"one request\n"
            assert counted.total == expected
        writer.close()
        await writer.wait_closed()

    asyncio.run(ask())
    assert counted.total == 3


def test_long_request_of_an_event_loop_counts_once(
    address: tuple[str, int], counted: RoundTripCounter
) -> None:
    text = b"x" * 5_000_000 + b"\n"

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(*address, limit=2 * len(text))
        assert await reader.readline() == b"welcome\n"
        writer.write(text)
        await writer.drain()
        assert await reader.readline() == text
        writer.close()
        await writer.wait_closed()

    asyncio.run(ask())
    assert counted.total == 1


def test_each_request_on_an_http_connection_counts_once(
    counted: RoundTripCounter,
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        for expected in range(1, 4):
            client.request("POST", "/", body=b"x" * 300_000)
            assert len(client.getresponse().read()) == 300_000
            assert counted.total == expected
        client.close()
        server.shutdown()
        thread.join()


# TLS.


def test_tls_handshake_does_not_count(
    counted: RoundTripCounter,
) -> None:
    server, trusting = _authority()
    with _serving(server) as address:
        with socket.create_connection(address, 10) as plain:
            with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client:
                assert _line(client) == b"welcome\n"
                assert counted.total == 0
                for expected, size in enumerate((1, 100_000, 1), 1):
                    client.sendall(b"x" * size + b"\n")
                    with client.makefile("rb") as file:
                        assert len(file.readline()) == size + 1
                    assert counted.total == expected


def test_tls_handshake_on_an_event_loop_does_not_count(
    counted: RoundTripCounter,
) -> None:
    server, trusting = _authority()

    async def ask(address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address, ssl=trusting, limit=1_000_000)
        assert await reader.readline() == b"welcome\n"
        assert counted.total == 0
        for expected, size in enumerate((1, 500_000, 1), 1):
            writer.write(b"x" * size + b"\n")
            await writer.drain()
            assert len(await reader.readline()) == size + 1
            assert counted.total == expected
        writer.close()
        await writer.wait_closed()

    with _serving(server) as address:
        asyncio.run(ask(address))
    assert counted.total == 3


def test_failed_attempt_to_send_does_not_count(counted: RoundTripCounter) -> None:
    server_context, trusting = _authority()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(down, up, server_hostname="127.0.0.1")
    server = server_context.wrap_bio(up, down, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):  # the handshake comes first
        client.write(b"too early")
    shaken = 0
    while shaken < 2:
        shaken = 0
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                shaken += 1
    server.write(b"welcome")
    assert client.read() == b"welcome"
    assert counted.total == 0
    client.write(b"question")
    assert server.read() == b"question"
    server.write(b"answer")
    assert client.read() == b"answer"
    assert counted.total == 1


# SQLite.


def test_each_statement_of_sqlite_counts_once(tmp_path: Path, counted: RoundTripCounter) -> None:
    connection = sqlite3.connect(tmp_path / "some.sqlite3")
    with contextlib.closing(connection):
        connection.execute("CREATE TABLE texts (text)")
        assert counted.total == 1
        connection.executemany("INSERT INTO texts VALUES (?)", [["a"], ["b"], ["c"]])
        connection.commit()
        assert counted.total == 6  # with BEGIN and COMMIT
        assert len(connection.execute("SELECT * FROM texts").fetchall()) == 3
        assert counted.total == 7


def test_open_connection_to_sqlite_is_watched_too(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "some.sqlite3")
    with contextlib.closing(connection):
        with round_trips.counter_for(_undeclared()) as counted:
            connection.execute("SELECT 1")
        assert counted.total == 1
        connection.execute("SELECT 1")
        assert counted.total == 1


def test_sqlite_is_unchanged_after_counting(tmp_path: Path) -> None:
    statements: list[str] = []

    class Connection(sqlite3.Connection):
        def set_trace_callback(self, callback: Any) -> None:
            statements.append(f"trace {callback}")
            super().set_trace_callback(callback)

    with round_trips.counter_for(_undeclared()) as counted:
        connection = sqlite3.connect(tmp_path / "some.sqlite3", factory=Connection)
        connection.execute("SELECT 1")
        assert counted.total == 1
    with contextlib.closing(connection):
        assert statements[-1] == "trace None"
    assert sqlite3.connect is sqlite3.dbapi2.connect is CONNECT
    unwatched = sqlite3.connect(tmp_path / "some.sqlite3", factory=Connection)
    with contextlib.closing(unwatched):
        assert len(statements) == 2


def test_imported_connect_function_is_watched_too(
    tmp_path: Path, counted: RoundTripCounter
) -> None:
    with contextlib.closing(CONNECT(tmp_path / "some.sqlite3")) as connection:
        connection.execute("SELECT 1")
    assert counted.total == 1


def test_sqlalchemy_is_watched_too(tmp_path: Path, counted: RoundTripCounter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that it is being sunset
        community = pytest.importorskip(
            "langchain_community.chat_message_histories", reason="of the extra dev"
        )
        history = community.SQLChatMessageHistory(
            "s", connection=f"sqlite:///{tmp_path / 'some.sqlite3'}"
        )
    history.add_messages([HumanMessage("one")])
    before = counted.total
    assert [len(history.messages) for _ in range(3)] == [1, 1, 1]
    assert counted.total == before + 3
    history.engine.dispose()


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_embedded_histories_always_have_the_same_counts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = resolve(name)
    with round_trips.counter_for(backend) as counted:
        history = backend.factory("session")
        costs = {count: _costs_of_adding(history, counted, count) for count in (1, 100)}
    if name == "memory":
        assert costs == {1: {0}, 100: {0}}
    else:
        assert {len(of_a_size) for of_a_size in costs.values()} == {1}
        assert max(costs[1]) < 10
        assert max(costs[100]) - max(costs[1]) == 99  # a statement for each row
        history.close()


def _costs_of_adding(history: Any, counted: RoundTripCounter, count: int) -> set[int]:
    costs = set()
    for _ in range(5):
        before = counted.total
        history.add_messages([AIMessage(str(number)) for number in range(count)])
        costs.add(counted.total - before)
    return costs


# Elasticsearch, with its clients on urllib3 and aiohttp.


def test_elasticsearch_takes_one_round_trip_to_add_and_two_to_read(
    elasticsearch: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_ELASTICSEARCH", elasticsearch.address)
    backend = resolve("elasticsearch")
    with round_trips.counter_for(backend) as counted:
        history = backend.factory(f"test-{uuid.uuid4().hex}")
        history.add_messages([HumanMessage("the first finds the index, or makes it")])
        for count in (1, 100):
            assert _costs_of_adding(history, counted, count) == {1}
        before = counted.total
        assert len(history.messages) == 506
        assert counted.total - before == 2
        history.clear()
        history.close()


def test_asynchronous_elasticsearch_takes_the_same_round_trips(
    elasticsearch: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_ELASTICSEARCH", elasticsearch.address)
    backend = resolve("elasticsearch-async")

    async def use(counted: RoundTripCounter) -> list[int]:
        history = backend.factory(f"test-{uuid.uuid4().hex}")
        await history.aadd_messages([HumanMessage("the first finds the index, or makes it")])
        seen = [counted.total]
        for count in (1, 100, 1):
            await history.aadd_messages([AIMessage(str(number)) for number in range(count)])
            seen.append(counted.total)
        assert len(await history.aget_messages()) == 103
        seen.append(counted.total)
        await history.aclear()
        await history.aclose()
        return [after - before for before, after in pairwise(seen)]

    with round_trips.counter_for(backend) as counted:
        assert asyncio.run(use(counted)) == [1, 1, 1, 2]


def test_elasticsearch_with_tls_takes_the_same_round_trips(secured_elasticsearch: Secured) -> None:
    from chat_history_backends.elasticsearch import (
        AsyncElasticsearchChatMessageHistory,
        AsyncPreviousMajorNode,
        ElasticsearchChatMessageHistory,
        PreviousMajorNode,
    )

    user, password = secured_elasticsearch.superuser
    login: dict[str, Any] = {
        "es_url": secured_elasticsearch.server.address,
        "es_user": user,
        "es_password": password,
    }
    trusting = {"ca_certs": secured_elasticsearch.ca_certs}

    async def use_awaited(session_id: str, counted: RoundTripCounter) -> list[int]:
        history = AsyncElasticsearchChatMessageHistory(
            "chat-trips",
            session_id,
            **login,
            config={"node_class": AsyncPreviousMajorNode, **trusting},
        )
        async with history:
            await history.aadd_messages(_batch(1))
            seen = [counted.total]
            await history.aadd_messages(_batch(1))
            seen.append(counted.total)
            assert len(await history.aget_messages()) == 5
            seen.append(counted.total)
            await history.aclear()
        return [after - before for before, after in pairwise(seen)]

    session_id = f"test-{uuid.uuid4().hex}"
    with round_trips.counter_for(_undeclared()) as counted:
        with ElasticsearchChatMessageHistory(
            "chat-trips", session_id, **login, config={"node_class": PreviousMajorNode, **trusting}
        ) as history:
            history.add_messages(_batch(1))
            assert _costs_of_adding(history, counted, 1) == {1}
            before = counted.total
            assert len(history.messages) == 6
            assert counted.total - before == 2
            history.clear()
            history.add_messages(_batch(3))
        assert asyncio.run(use_awaited(session_id, counted)) == [1, 2]


# Kafka.


@pytest.fixture
def on_kafka(kafka: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoundTripCounter]:
    for name, value in kafka.environment.items():
        monkeypatch.setenv(name, value)
    with round_trips.counter_for(resolve("kafka")) as counted:
        assert counted.problem is None
        yield counted


def _least(counted: RoundTripCounter, operation: Callable[[], object], times: int = 8) -> int:
    costs = []
    for _ in range(times):
        before = counted.total
        operation()
        costs.append(counted.total - before)
    return min(costs)


def _open_on_kafka(session_id: str | None = None) -> Any:
    history = resolve("kafka").factory(session_id or f"test-{uuid.uuid4().hex}")
    if session_id is None:
        history.add_messages([HumanMessage("makes the topic")])
    return history


def _batch(count: int) -> list[HumanMessage]:
    return [HumanMessage(f"{number} {'x' * 150}") for number in range(count)]


def test_operations_on_kafka_have_exact_counts(on_kafka: RoundTripCounter) -> None:
    history = _open_on_kafka()
    assert _least(on_kafka, lambda: _open_on_kafka(history.session_id)) == 0
    assert _least(on_kafka, lambda: history.add_messages(_batch(1))) == 1
    assert _least(on_kafka, lambda: history.add_messages(_batch(100))) == 1
    assert _least(on_kafka, lambda: history.messages) == 2  # the end, and the records meanwhile
    assert _least(on_kafka, lambda: history.last_messages(10)) == 2
    assert _least(on_kafka, lambda: (history.messages, history.add_messages(_batch(2)))) == 3
    assert _least(on_kafka, history.clear) == 3  # the marker, the leader, the deletion
    assert _least(on_kafka, lambda: asyncio.run(history.aadd_messages(_batch(1)))) == 1
    assert _least(on_kafka, lambda: asyncio.run(history.aget_messages())) == 3


def test_long_conversation_on_kafka_needs_a_fetch_for_each_megabyte(
    on_kafka: RoundTripCounter,
) -> None:
    history = _open_on_kafka()
    history.add_messages(_batch(10_000))
    counts = [_least(on_kafka, lambda: history.messages) for _ in range(2)]
    assert 3 < min(counts) < 11
    # On a busy machine, the client asks for more before the read ends.
    assert max(counts) - min(counts) <= 1
    assert _least(on_kafka, lambda: history.last_messages(10)) == 2


def _ends(history: Any) -> None:
    with history._call() as call:
        topic = topics.find(call)
        assert topic is not None
        topics.bounds(call, topic)


@pytest.mark.parametrize(
    ("extra", "costs"),
    [
        (lambda history: history.admin_client.list_topics(timeout=10), {1}),
        (lambda history: history.producer.list_topics(timeout=10), {1}),
        (_ends, {1, 2}),
        (lambda history: history.add_messages(_batch(1)), {1}),
    ],
    ids=["list_topics", "list_topics of the producer", "watermarks", "a flushed record"],
)
def test_one_more_request_per_add_counts(
    extra: Callable[[Any], object], costs: set[int], on_kafka: RoundTripCounter
) -> None:
    history = _open_on_kafka()
    plain = _least(on_kafka, lambda: history.add_messages(_batch(1)))
    more = _least(on_kafka, lambda: (extra(history), history.add_messages(_batch(1))))
    assert more - plain in costs


def test_records_that_a_producer_gets_at_once_count_once(
    on_kafka: RoundTripCounter, half_read: tuple[bytes, bytes]
) -> None:
    from confluent_kafka import Producer

    one_by_one = {"batch.num.messages": 5, "max.in.flight": 1, "log_level": 0}
    producer = Producer({"bootstrap.servers": servers.address("kafka"), **one_by_one})

    def write(*counts: int) -> None:
        for count in counts:
            for _ in range(count):
                producer.produce(half_read[0].decode(), "text", partition=1)
            assert producer.flush(10) == 0

    assert _least(on_kafka, lambda: write(50), 3) == 1
    assert _least(on_kafka, lambda: write(1, 1, 1), 3) == 3


def test_parallel_requests_to_kafka_count_once(
    on_kafka: RoundTripCounter, half_read: tuple[bytes, bytes]
) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        ConfigResource,
        ResourceType,
    )

    admin = AdminClient({"bootstrap.servers": servers.address("kafka"), "log_level": 0})
    topic = ConfigResource(ResourceType.TOPIC, half_read[0].decode())

    def ask() -> Any:
        return admin.describe_configs([topic])[topic]

    def ask_both() -> None:
        for asked in [ask(), ask()]:
            asked.result(10)

    assert _least(on_kafka, ask_both) == 1
    assert _least(on_kafka, lambda: (ask().result(10), ask().result(10))) == 2


def test_request_shortly_after_another_does_not_count(
    on_kafka: RoundTripCounter,
    half_read: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_proxy, "QUIET_SECONDS", 1.0)
    frames = [_frame(FETCH, 4, _fetch(4, half_read[0], {1: 0}), n) for n in (b"ping", b"pong")]
    host, _, port = servers.address("kafka").rpartition(":")

    def ask(pause: Callable[[], object]) -> None:
        client.sendall(frames[0])
        pause()
        client.sendall(frames[1])

    with socket.create_connection((host, int(port)), 10) as client:
        with client.makefile("rb") as file:

            def read() -> None:
                file.read(int.from_bytes(file.read(4), "big"))

            def soon() -> None:
                ask(lambda: time.sleep(0.1))  # longer than an answer takes
                read()
                read()

            def later() -> None:
                ask(read)
                read()

            assert _least(on_kafka, soon, 1) == 1
            assert _least(on_kafka, later, 1) == 2


def test_fetch_at_the_end_does_not_count(
    kafka: Server, on_kafka: RoundTripCounter, half_read: tuple[bytes, bytes]
) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    topic = half_read[0].decode()
    client = {"bootstrap.servers": servers.address("kafka"), "log_level": 0}
    producer = Producer({**client, "bootstrap.servers": kafka.address})
    consumer = Consumer({**client, "group.id": "any", "enable.auto.commit": False})

    def add() -> None:
        producer.produce(topic, "text", partition=0)
        assert producer.flush(10) == 0

    with contextlib.closing(consumer):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)
        consumer.assign([TopicPartition(topic, 0, end - 1)])
        assert consumer.poll(10) is not None

        def add_and_poll() -> None:
            add()
            consumer.poll(10)

        def seek_and_poll() -> None:
            consumer.seek(TopicPartition(topic, 0, end - 1))
            consumer.poll(10)

        assert _least(on_kafka, add_and_poll, 5) == 0
        assert _least(on_kafka, seek_and_poll, 5) == 1


def test_concurrent_adds_on_kafka_share_round_trips(
    on_kafka: RoundTripCounter,
) -> None:
    first = _open_on_kafka()
    handles = [_open_on_kafka(first.session_id) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for handle in handles:  # each thread is there before it is counted
            pool.submit(handle.add_messages, _batch(1)).result(10)
        at_once = _least(
            on_kafka, lambda: list(pool.map(lambda h: h.add_messages(_batch(1)), handles))
        )
    assert 1 <= at_once <= 2


def test_history_of_another_package_on_kafka_is_counted(
    on_kafka: RoundTripCounter,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that it is being sunset
        community = pytest.importorskip(
            "langchain_community.chat_message_histories", reason="of the extra dev"
        )
        history = community.KafkaChatMessageHistory(
            f"test-{uuid.uuid4().hex}", servers.address("kafka")
        )
    history.add_messages(_batch(1))
    assert _least(on_kafka, lambda: history.add_messages(_batch(1))) == 1
    # It makes a consumer that joins a group: more than a dozen requests, and the records.
    assert _least(on_kafka, lambda: history.messages_from_beginning(5, 20), 2) > 8
    history.admin_client.delete_topics([history.session_id])


def test_kafka_counts_only_while_the_counter_is_entered(
    kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in kafka.environment.items():
        monkeypatch.setenv(name, value)
    outer, inner = (
        round_trips.counter_for(resolve("kafka")),
        round_trips.counter_for(resolve("kafka")),
    )
    with outer:
        history = _open_on_kafka()
        assert servers.address("kafka") != kafka.address
        # An add asks for the partitions if the last answer is older than a quarter of a second.
        history.add_messages(_batch(1))
        with inner:
            history.add_messages(_batch(1))
        assert servers.address("kafka") != kafka.address
        history.add_messages(_batch(1))
        assert inner.total == 1
    assert servers.address("kafka") == kafka.address
    counted = outer.total
    assert counted >= inner.total + 1
    for _ in range(20):
        with outer, inner:
            assert (outer.problem, inner.problem) == (None, None)
    assert (outer.total, inner.total) == (0, 0)
    history.add_messages(_batch(1))  # works, and is not counted
    with outer:
        direct = KafkaChatMessageHistory(history.session_id, kafka.address)
        direct.add_messages(_batch(1))
        direct.close()
        assert outer.total == 0  # it was not led past the counter
        history.add_messages(_batch(1))
        assert outer.total == 1


def test_process_that_has_counted_ends_without_output(kafka: Server) -> None:
    program = """
from chat_history_conformance.bench.counting import round_trips
from chat_history_conformance.declaration.registry import resolve

backend = resolve("kafka")
with round_trips.counter_for(backend) as counted:
    history = backend.factory("test-of-a-process")
    assert history.messages == []
    print(counted.total > 0)
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **kafka.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True\n", "")


@pytest.mark.parametrize("known", [None, "127.0.0.1:1 127.0.0.1:2 127.0.0.1:3"])
def test_kafka_of_the_user_cannot_be_counted(
    known: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_KAFKA", "broker.example:9092")
    monkeypatch.delenv("HISTORY_KAFKA_COUNTED", raising=False)
    if known is not None:
        monkeypatch.setenv("HISTORY_KAFKA_COUNTED", known)
    with round_trips.counter_for(resolve("kafka")) as counted:
        assert "--history-server=kafka=jvm" in (counted.problem or "")
        assert servers.address("kafka") == "broker.example:9092"
    assert counted.total == 0


def test_second_counting_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        front = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HISTORY_KAFKA", "127.0.0.1:1")
        monkeypatch.setenv("HISTORY_KAFKA_COUNTED", f"127.0.0.1:1 {front} 127.0.0.1:2")
        with round_trips.counter_for(resolve("kafka")) as counted:
            assert front in (counted.problem or "")
            assert "another process" in (counted.problem or "")
            assert servers.address("kafka") == "127.0.0.1:1"


def test_broker_with_passwords_can_be_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "clients.toml"
    config.write_text(
        "[kafka]\n'security.protocol' = 'SASL_PLAINTEXT'\n'sasl.mechanism' = 'PLAIN'\n"
        "'sasl.username' = 'someone'\n'sasl.password' = 'quite secret'\n"
    )
    monkeypatch.setenv("HISTORY_SERVER_CONFIG", str(config))
    with launcher.start(
        "kafka", "jvm", announce=print, credentials={"someone": "quite secret"}
    ) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with round_trips.counter_for(resolve("kafka")) as counted:
            history = _open_on_kafka()
            assert _least(counted, lambda: history.add_messages(_batch(1))) == 1
            history.close()


def test_run_passes_counting_addresses_to_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counted(Server):
        kind, way, address = "kafka", "jvm", "127.0.0.1:1"

        @property
        def environment(self) -> Mapping[str, str]:
            return {**super().environment, "HISTORY_KAFKA_COUNTED": "127.0.0.1:1 a:2 b:3"}

        def stop(self) -> None:
            """Nothing runs."""

    monkeypatch.setattr(launcher, "start", lambda *arguments, **keywords: Counted())
    monkeypatch.setenv("HISTORY_KAFKA", "127.0.0.1:9")
    monkeypatch.delenv("HISTORY_KAFKA_COUNTED", raising=False)
    run = Servers(["kafka=jvm"])
    run.start(["kafka"], print)
    assert os.environ["HISTORY_KAFKA"] == "127.0.0.1:1"
    assert os.environ["HISTORY_KAFKA_COUNTED"] == "127.0.0.1:1 a:2 b:3"
    run.stop()
    assert os.environ["HISTORY_KAFKA"] == "127.0.0.1:9"
    assert "HISTORY_KAFKA_COUNTED" not in os.environ


@pytest.fixture
def half_read(kafka: Server) -> tuple[bytes, bytes]:
    """Return the name and id of a topic with 1 record in partition 0 and 3 in partition 1."""
    from confluent_kafka import Producer, TopicCollection
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    topic = f"test-{uuid.uuid4().hex}"
    quiet: dict[str, Any] = {"bootstrap.servers": kafka.address, "log_level": 0}
    admin = AdminClient(quiet)
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(10)
    producer = Producer(quiet)
    for partition in (0, 1, 1, 1):
        producer.produce(topic, "text", partition=partition)
    assert producer.flush(10) == 0
    described = admin.describe_topics(TopicCollection([topic]))[topic].result(10)
    return topic.encode(), base64.urlsafe_b64decode(f"{described.topic_id}==")


@pytest.mark.parametrize("version", range(4, 19))
def test_every_version_of_fetch_is_understood(
    version: int, kafka: Server, half_read: tuple[bytes, bytes]
) -> None:
    place = half_read[version >= 13]
    request = _fetch(version, place, {0: 1, 1: 2})
    assert kafka_frames.fetch_offsets(version, request) == {(place, 0): 1, (place, 1): 2}
    found, bringing = kafka_frames.end_offsets(version, _answer(kafka, FETCH, version, request))
    assert found == {(place, 0): 1, (place, 1): 3}
    assert bringing == {(place, 1)}


@pytest.mark.parametrize("version", range(3, 14))
def test_every_version_of_produce_is_understood(
    version: int, kafka: Server, half_read: tuple[bytes, bytes]
) -> None:
    from confluent_kafka import Consumer, TopicPartition

    reader = Consumer({"bootstrap.servers": kafka.address, "group.id": "any", "log_level": 0})
    with contextlib.closing(reader):
        reader.assign([TopicPartition(half_read[0].decode(), 0, 0)])
        first = reader.poll(10)
        assert first is not None
        begun = first.timestamp()[1]
        # The broker's own bytes of the batch: they end the answer that brings them.
        kept = _answer(kafka, FETCH, 4, _fetch(4, half_read[0], {0: 0}))
        batch = kept[-_size_of_batch(kept, half_read[0]) :]
        request = _produce(version, half_read[version >= 13], batch)
        assert kafka_frames.produce_timestamp(version, request) == begun
        _answer(kafka, PRODUCE, version, request)
        place = TopicPartition(half_read[0].decode(), 1)
        assert reader.get_watermark_offsets(place, 10) == (0, 4)


@pytest.mark.parametrize(("key", "version"), [(FETCH, 19), (FETCH, 3), (PRODUCE, 14)])
def test_unknown_version_of_a_message_is_an_error(key: int, version: int) -> None:
    decode = {FETCH: kafka_frames.fetch_offsets, PRODUCE: kafka_frames.produce_timestamp}[key]
    with pytest.raises(kafka_frames.UnknownFrame, match=rf"API key {key}\) in version {version}"):
        decode(version, b"")


def test_short_message_is_an_error() -> None:
    with pytest.raises(kafka_frames.UnknownFrame, match="shorter than its fields"):
        kafka_frames.fetch_offsets(4, _fetch(4, b"topic", {0: 1})[:-1])


def test_counter_raises_after_a_message_of_an_unknown_version(
    on_kafka: RoundTripCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests of this process may have counted on another broker.
    assert isinstance(on_kafka, kafka_proxy.KafkaCounter)
    monkeypatch.setattr(kafka_proxy._proxies[on_kafka._front], "unknown", "")
    host, _, port = servers.address("kafka").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(_frame(FETCH, 99, b""))
        client.recv(100)  # the broker answers or closes the connection after the proxy has seen it
    with pytest.raises(CannotCount, match=r"Fetch \(API key 1\) in version 99"):
        on_kafka.total  # noqa: B018


def _size_of_batch(answer: bytes, topic: bytes) -> int:
    """Return the size of the only records in an answer of version 4."""
    # Throttling, two numbers of elements; the partition, its error, two ends, no transactions.
    at = 4 + 4 + 2 + len(topic) + 4 + 4 + 2 + 8 + 8 + 4
    size = int.from_bytes(answer[at : at + 4], "big")
    assert at + 4 + size == len(answer)
    return size


def _answer(kafka: Server, kind: int, version: int, request: bytes) -> bytes:
    """Return the answer of a broker, without its correlation id."""
    host, _, port = kafka.address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(_frame(kind, version, request))
        with client.makefile("rb") as file:
            answer = file.read(int.from_bytes(file.read(4), "big"))
    assert answer[:4] == b"corr"
    return answer[4:]


def _frame(kind: int, version: int, request: bytes, identifier: bytes = b"corr") -> bytes:
    text = kind.to_bytes(2, "big") + version.to_bytes(2, "big") + identifier + request
    return len(text).to_bytes(4, "big") + text


def _produce(version: int, place: bytes, batch: bytes) -> bytes:
    """Return a Produce request with a batch for partition 1, as the protocol documents it."""
    compact = version >= 9

    def length(value: int, size: int = 4) -> bytes:
        if not compact:
            return value.to_bytes(size, "big", signed=True)
        value += 1
        return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])

    tags = b"\0" if compact else b""
    text = (3).to_bytes(2, "big") + b"who" + tags
    text += length(-1, 2)  # no transaction
    text += (1).to_bytes(2, "big") + (10_000).to_bytes(4, "big")
    text += length(1) + (place if version >= 13 else length(len(place), 2) + place)
    text += length(1) + (1).to_bytes(4, "big") + length(len(batch)) + batch
    return text + 3 * tags


def _fetch(version: int, place: bytes, starts: Mapping[int, int]) -> bytes:
    """Return a Fetch request, by the documentation of the protocol."""
    compact = version >= 12

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "big", signed=True)

    def length(value: int, size: int = 4) -> bytes:
        return bytes([value + 1]) if compact else number(value, size)

    tags = b"\0" if compact else b""
    text = number(3, 2) + b"who" + tags
    if version < 15:
        text += number(-1, 4)
    text += number(1000, 4) + number(1, 4) + number(1_000_000, 4) + b"\0"
    if version >= 7:
        text += number(0, 4) + number(-1, 4)
    text += length(1)
    text += place if version >= 13 else length(len(place), 2) + place
    text += length(len(starts))
    for partition, start in starts.items():
        text += number(partition, 4)
        if version >= 9:
            text += number(-1, 4)
        text += number(start, 8)
        if version >= 12:
            text += number(-1, 4)
        if version >= 5:
            text += number(-1, 8)
        text += number(100_000, 4) + tags
    text += tags
    if version >= 7:
        text += length(0)  # topics to forget
    if version >= 11:
        text += length(0, 2)  # a rack
    return text + tags


# The counters themselves.


def test_counters_can_be_nested_and_left_in_any_order(address: tuple[str, int]) -> None:
    before = _as_they_are()
    first, second = round_trips.counter_for(_undeclared()), round_trips.counter_for(_undeclared())
    first.__enter__()
    with _client(address) as client:
        _ask(client)
        second.__enter__()
        assert _as_they_are() != before
        _ask(client)
        first.__exit__(None, None, None)
        _ask(client)
        second.__exit__(None, None, None)
        assert _as_they_are() == before
        _ask(client)
    assert (first.total, second.total) == (2, 2)


def test_counters_in_threads_count_the_whole_process(address: tuple[str, int]) -> None:
    both_count, both_asked = threading.Barrier(2), threading.Barrier(2)

    def count(_: int) -> int:
        with round_trips.counter_for(_undeclared()) as counted, _client(address) as client:
            both_count.wait(10)
            _ask(client)
            both_asked.wait(10)
            return counted.total

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(count, range(2))) == [2, 2]


def test_counter_cannot_be_entered_twice_at_once(counted: RoundTripCounter) -> None:
    with pytest.raises(RuntimeError, match="make another one"):
        counted.__enter__()


def test_counter_starts_again_at_zero(address: tuple[str, int]) -> None:
    counted = round_trips.counter_for(_undeclared())
    assert counted.total == 0
    with _client(address) as client:
        for _ in range(2):
            with counted:
                _ask(client)
            assert counted.total == 1


def _ask(client: socket.socket) -> None:
    client.sendall(b"x\n")
    assert _line(client) == b"x\n"


def test_declared_counter_is_used(address: tuple[str, int]) -> None:
    made = 7
    backend = Backend("mine", lambda session_id: None, round_trips=lambda: made)
    with round_trips.counter_for(backend) as counted, _client(address) as client:
        _ask(client)
        assert counted.total == 0
        made = 9
        assert counted.total == 2
    made = 20
    assert counted.total == 2


def test_windows_cannot_count_round_trips_to_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trips, "_IS_WINDOWS", True)
    assert "asyncio" in (round_trips.counter_for(_undeclared()).problem or "")
    assert round_trips.counter_for(resolve("sqlite")).problem is None
    with round_trips.counter_for(_undeclared()) as counted:
        assert socket.socket.send is _SEND
    assert counted.total == 0


_SEND = socket.socket.send


def test_a_client_that_comes_while_counting_ends_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(servers.variable("kafka"), "127.0.0.1:1")
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as broker, warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        unraised: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda raised: unraised.append(raised.exc_value))
        proxy = kafka_proxy.Proxy(f"127.0.0.1:{port}", f"127.0.0.1:{broker.getsockname()[1]}")
        for _ in range(50):
            with proxy.counting():
                client = socket.create_connection(("127.0.0.1", port))
            client.close()
        proxy.close()
        gc.collect()
        assert unraised == []
