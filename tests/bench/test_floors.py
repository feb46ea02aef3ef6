"""Tests of the floors and peers of benchmarks: they store messages correctly too."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from chat_history_backends.benchmarks.floors import elasticsearch as on_elasticsearch
from chat_history_backends.benchmarks.floors import encoded
from chat_history_backends.benchmarks.floors import kafka as on_kafka
from chat_history_backends.benchmarks.floors.kafka import KafkaFloor
from chat_history_backends.codec import encode
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.registry import resolve
from chat_history_conformance.servers import ServerError

MESSAGES: list[BaseMessage] = [
    SystemMessage("be kind"),
    HumanMessage("Grüße 🙂", id="1", name="Ada"),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1.5}, "id": "t", "type": "tool_call"}]),
    ToolMessage("3", tool_call_id="t", artifact={"deep": [1, None]}),
    AIMessage([{"type": "text", "text": "3"}]),
]
FLOORS = ("memory", "sqlite", "kafka", "elasticsearch")
PEERS = {
    "memory": "langchain-core",
    "sqlite": "langchain-community",
    "kafka": "langchain-community",
    "elasticsearch": "langchain-elasticsearch",
}
THREADS = 8

Find = Callable[[str], Backend]
Open = Callable[[str, str], Any]


def numbered(count: int, start: int = 0) -> list[BaseMessage]:
    return [HumanMessage(str(number)) for number in range(start, start + count)]


@pytest.fixture
def session() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def find(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Find:
    """Return a function that finds a backend and starts its server, in a temporary directory."""
    monkeypatch.chdir(tmp_path)

    def found(name: str) -> Backend:
        backend = resolve(name)
        if backend.server is not None:
            server = request.getfixturevalue(backend.server)
            monkeypatch.setenv(f"HISTORY_{backend.server.upper()}", server.address)
        return backend

    return found


@pytest.fixture
def histories() -> Iterator[list[Any]]:
    """Return a list of histories that are closed after the test."""
    opened: list[Any] = []
    yield opened
    for history in opened:
        if hasattr(history, "close"):
            history.close()


@pytest.fixture
def open_floor(find: Find, histories: list[Any]) -> Open:
    """Return a function that opens the floor of a backend."""

    def opened(name: str, session_id: str) -> Any:
        floor = find(name).floor
        assert floor is not None
        histories.append(floor(session_id))
        return histories[-1]

    return opened


@pytest.fixture
def open_peer(find: Find, histories: list[Any]) -> Open:
    """Return a function that opens the peer of a backend, or skips if it is not installed."""

    def opened(name: str, session_id: str) -> Any:
        package = PEERS[name]
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
        histories.append(find(name).peers[package](session_id))
        return histories[-1]

    return opened


def contents(messages: Sequence[BaseMessage]) -> list[str]:
    return sorted(repr(message) for message in messages)


# Floors.


@pytest.mark.parametrize("name", FLOORS)
def test_floor_returns_all_messages_in_order_to_all_handles(
    open_floor: Open, session: str, name: str
) -> None:
    one, other = open_floor(name, session), open_floor(name, session)
    assert one.messages == one.last_messages(5) == []
    one.add_messages(MESSAGES)
    assert other.last_messages(2) == MESSAGES[-2:]
    other.add_messages(numbered(150))
    assert one.messages == other.messages == MESSAGES + numbered(150)
    assert open_floor(name, session).messages == MESSAGES + numbered(150)
    assert one.last_messages(152) == MESSAGES[-2:] + numbered(150)
    assert one.last_messages(1000) == MESSAGES + numbered(150)


@pytest.mark.parametrize("name", FLOORS)
def test_clear_of_a_floor_affects_all_handles_and_no_other_session(
    open_floor: Open, session: str, name: str
) -> None:
    one, other = open_floor(name, session), open_floor(name, session)
    foreign = open_floor(name, f"{session}-foreign")
    one.add_messages(MESSAGES)
    foreign.add_messages(numbered(3))
    other.clear()
    assert one.messages == other.messages == one.last_messages(5) == []
    assert foreign.messages == numbered(3)
    one.clear()
    one.add_messages(numbered(2))
    other.add_messages(numbered(2, 2))
    assert one.messages == other.messages == numbered(4)


@pytest.mark.parametrize("name", FLOORS)
def test_changes_to_message_objects_do_not_change_a_floor(
    open_floor: Open, session: str, name: str
) -> None:
    floor = open_floor(name, session)
    (message,) = given = numbered(1)
    floor.add_messages(given)
    message.content = "changed by the writer"
    floor.messages[0].content = "changed by a reader"
    floor.messages.clear()
    assert floor.messages == numbered(1)


@pytest.mark.parametrize("name", FLOORS)
def test_floor_stores_messages_of_concurrent_threads(
    open_floor: Open, session: str, name: str
) -> None:
    floors = [open_floor(name, session) for _ in range(THREADS)]
    said = [[HumanMessage(f"{thread} {n}") for n in range(20)] for thread in range(THREADS)]
    together = threading.Barrier(THREADS)

    def add(floor: Any, messages: list[HumanMessage]) -> None:
        together.wait()
        for begin in range(0, len(messages), 2):
            floor.add_messages(messages[begin : begin + 2])

    threads = [threading.Thread(target=add, args=pair) for pair in zip(floors, said, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = floors[0].messages
    assert len(kept) == THREADS * 20
    for number, messages in enumerate(said):
        assert [m for m in kept if str(m.content).startswith(f"{number} ")] == messages


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_floor_reads_on_from_the_position_of_the_session(
    open_floor: Open, session: str, name: str
) -> None:
    one, other = open_floor(name, session), open_floor(name, session)
    one.add_messages(numbered(10))
    assert one.messages_from_last_consumed(2, 1.0) == numbered(2)
    assert other.messages_from_last_consumed(3, 1.0) == numbered(3, 2)
    assert one.messages_from_beginning(4, 1.0) == numbered(4)
    assert other.messages_from_last_consumed(100, 1.0) == numbered(6, 4)
    assert one.messages_from_last_consumed(1, 1.0) == []
    assert open_floor(name, f"{session}-foreign").messages_from_last_consumed(1, 1.0) == []
    one.clear()
    other.add_messages(numbered(3))
    assert one.messages_from_last_consumed(2, 1.0) == numbered(2)


@pytest.mark.parametrize("count", [0, 1, 1_000, 2_001])
@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_floor_yields_one_message_after_the_other(
    open_floor: Open, session: str, name: str, count: int
) -> None:
    floor = open_floor(name, session)
    floor.add_messages(numbered(count))
    assert list(floor.iter_messages()) == numbered(count)


def test_floor_stores_the_same_text_as_our_histories() -> None:
    assert encoded(MESSAGES) == [encode(message) for message in MESSAGES]


def test_sqlite_floor_writes_to_the_disk_before_it_returns(open_floor: Open, session: str) -> None:
    floor = open_floor("sqlite", session)
    floor.add_messages(numbered(3))
    assert floor._file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert floor._file.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with closing(sqlite3.connect("floor.sqlite3")) as another:
        assert another.execute("SELECT count(*) FROM messages").fetchone() == (3,)


def test_sqlite_floor_closes_the_file_with_the_last_handle(open_floor: Open, session: str) -> None:
    one, other = open_floor("sqlite", session), open_floor("sqlite", session)
    connection = one._file.connection
    one.close()
    other.add_messages(numbered(1))
    other.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    with pytest.raises(RuntimeError, match="is closed"):
        other.add_messages(numbered(1))
    assert open_floor("sqlite", session).messages == numbered(1)


def test_sqlite_floor_works_after_a_failed_batch(open_floor: Open, session: str) -> None:
    floor = open_floor("sqlite", session)
    floor._file.connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON messages WHEN NEW.message LIKE '%too much%'"
        " BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        floor.add_messages([*numbered(2), HumanMessage("too much")])
    floor.add_messages(numbered(1))
    assert floor.messages == numbered(1)


def test_kafka_floor_finds_the_messages_of_another_process(
    open_floor: Open, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_floor("kafka", session).add_messages(numbered(3))
    open_floor("kafka", session).clear()
    open_floor("kafka", session).add_messages(numbered(2))
    monkeypatch.setattr(on_kafka, "_OFFSETS", {})
    assert open_floor("kafka", session).messages == numbered(2)


def test_kafka_floor_follows_the_address_in_the_environment(
    open_floor: Open, session: str, monkeypatch: pytest.MonkeyPatch, kafka: Any
) -> None:
    first = open_floor("kafka", session)
    first.add_messages(numbered(1))
    monkeypatch.setenv("HISTORY_KAFKA", kafka.address.replace("127.0.0.1", "localhost"))
    second = KafkaFloor(session)
    assert second._clients is not first._clients
    second.add_messages(numbered(1, 1))
    assert first.messages == second.messages == numbered(2)


def test_remove_deletes_the_topic_of_the_kafka_floor(open_floor: Open, session: str) -> None:
    floor = open_floor("kafka", session)
    floor.add_messages(numbered(2))
    floor.remove()
    assert open_floor("kafka", session).messages == []


def test_elasticsearch_floor_reads_and_clears_more_than_one_page(
    open_floor: Open, session: str
) -> None:
    floor = open_floor("elasticsearch", session)
    for begin in range(0, 10_500, 3500):
        floor.add_messages(numbered(3500, begin))
    assert floor.messages == numbered(10_500)
    floor.clear()
    assert floor.messages == []


def test_elasticsearch_floor_has_asynchronous_methods(open_floor: Open, session: str) -> None:
    floor = open_floor("elasticsearch", session)

    async def use() -> None:
        await floor.aadd_messages(MESSAGES)
        await open_floor("elasticsearch", session).aadd_messages(numbered(3))
        assert await floor.aget_messages() == MESSAGES + numbered(3)
        assert await floor.alast_messages(4) == MESSAGES[-1:] + numbered(3)
        assert len(on_elasticsearch._KEPT) == 1
        await floor.aclear()
        assert await floor.aget_messages() == []

    for _ in range(2):  # each loop has a client, which is closed with it
        asyncio.run(use())
        assert not on_elasticsearch._KEPT


# Peers.


@pytest.mark.parametrize("name", PEERS)
def test_peer_stores_messages_by_session(open_peer: Open, session: str, name: str) -> None:
    one, foreign = open_peer(name, session), open_peer(name, f"{session}-foreign")
    one.add_messages(MESSAGES)
    foreign.add_messages(numbered(3))
    again = open_peer(name, session)
    for history in (one, again, one):
        assert contents(history.messages) == contents(MESSAGES)
    assert contents(foreign.messages) == contents(numbered(3))


@pytest.mark.parametrize("name", ["memory", "sqlite", "elasticsearch"])
def test_peer_returns_messages_in_order_except_on_kafka(
    open_peer: Open, session: str, name: str
) -> None:
    peer = open_peer(name, session)
    fill = getattr(peer, "fill", peer.add_messages)
    fill(numbered(250))
    assert peer.messages == numbered(250)


@pytest.mark.parametrize("name", ["memory", "sqlite", "kafka"])
def test_peer_can_be_cleared_and_filled_again(open_peer: Open, session: str, name: str) -> None:
    peer = open_peer(name, session)
    fill = getattr(peer, "fill", peer.add_messages)
    for count in (3, 5, 2):
        fill(numbered(count))
        assert contents(peer.messages) == contents(numbered(count))
        peer.clear()
        assert list(peer.messages) == []


def test_elasticsearch_peer_clears_with_a_request_that_this_node_lacks(
    open_peer: Open, session: str
) -> None:
    peer = open_peer("elasticsearch", session)
    with pytest.raises(ApiError, match="_delete_by_query"):
        peer.clear()


def test_peers_on_servers_have_asynchronous_methods(open_peer: Open, session: str) -> None:
    async def use(name: str) -> None:
        peer = open_peer(name, session)
        await peer.aadd_messages(MESSAGES)
        assert contents(await peer.aget_messages()) == contents(MESSAGES)

    asyncio.run(use("elasticsearch"))
    asyncio.run(use("kafka"))
    assert not on_elasticsearch._KEPT


def test_sqlite_peer_has_no_asynchronous_methods(open_peer: Open, session: str) -> None:
    assert not hasattr(open_peer("sqlite", session), "aadd_messages")


def test_kafka_peer_refuses_client_settings(
    open_peer: Open, session: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text('[kafka]\n"sasl.username" = "me"\n')
    monkeypatch.setenv("HISTORY_SERVER_CONFIG", str(tmp_path / "settings.toml"))
    with pytest.raises(ServerError, match="takes no client settings"):
        open_peer("kafka", session)


@pytest.mark.parametrize(
    "name", ["memory", "sqlite", "kafka", "kafka-consuming", "elasticsearch", "elasticsearch-async"]
)
def test_every_reference_backend_has_a_floor_and_a_peer(name: str) -> None:
    backend = resolve(name)
    assert backend.floor is not None
    assert list(backend.peers) == [PEERS[name.split("-")[0]]]
