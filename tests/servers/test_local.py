"""Servers of programs that are installed on this machine: Redis and PostgreSQL, for real."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from chat_history_conformance.servers import (
    ServerError,
    launcher,
    mongodb,
    postgresql,
    variable,
)
from chat_history_conformance.servers.kind import Kind, NotReady, Options, Refused, load
from chat_history_conformance.servers.process import ProcessServer
from chat_history_conformance.servers.server import Server
from tests.servers.waiting import answers, until

KINDS = ("redis", "postgresql")


def started(kind: str, **options: Any) -> ProcessServer:
    """Start a server of an installed program; skip the test if it is not installed."""
    try:
        load(kind).obtain(print, offline=True)
    except ServerError as error:
        pytest.skip(str(error))
    server = launcher.start(kind, "local", announce=print, offline=True, **options)
    assert isinstance(server, ProcessServer)
    return server


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[ProcessServer]:
    running = started(request.param)
    with running:
        yield running


def store(server: Server, value: str) -> None:
    if server.kind == "redis":
        with redis.Redis.from_url(server.address) as client:
            client.rpush("values", value)
        return
    with psycopg.connect(server.address) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value TEXT)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def stored(server: Server) -> list[str]:
    if server.kind == "redis":
        with redis.Redis.from_url(server.address, decode_responses=True) as client:
            values: Any = client.lrange("values", 0, -1)
            return list(values)
    with psycopg.connect(server.address) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept")]


def clear(server: Server) -> None:
    if server.kind == "redis":
        with redis.Redis.from_url(server.address) as client:
            client.delete("values")
        return
    with psycopg.connect(server.address) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")


def directory_of(server: ProcessServer) -> Path:
    return server._keeper.directory


def test_it_has_an_address_and_a_version(server: ProcessServer) -> None:
    assert urlsplit(server.address).hostname == "127.0.0.1"
    assert load(server.kind).fits(server.address)
    assert (server.way, server.owned, server.why_no_faults, server.state) == (
        "local",
        True,
        "",
        "up",
    )
    found = launcher.start(server.kind, server.address, announce=print)
    assert (found.version, found.owned) == (server.version, False)
    assert server.version.partition(".")[0].isdecimal()


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can become another user"
)
def test_it_does_not_run_as_root(server: ProcessServer) -> None:
    assert directory_of(server).stat().st_uid == pwd.getpwnam("nobody").pw_uid
    listed = subprocess.run(
        ["ps", "-A", "-o", "user=,args="], capture_output=True, text=True, check=True
    )
    port = str(urlsplit(server.address).port)
    running = [line for line in listed.stdout.splitlines() if port in line and "-server" in line]
    running += [line for line in listed.stdout.splitlines() if str(directory_of(server)) in line]
    users = {line.split()[0] for line in running if "keeper.py" not in line}
    assert users == {"nobody"}


def test_a_paused_server_and_its_open_connections_are_silent(server: ProcessServer) -> None:
    clear(server)
    store(server, "before")
    place = urlsplit(server.address)
    assert (place.hostname, bool(place.port)) == ("127.0.0.1", True)
    with OpenConnection(server) as ask:
        assert ask() == 1
        server.pause()
        assert server.state == "paused"
        assert not answers(server, 1)
        with pytest.raises((redis.TimeoutError, TimeoutError)):
            ask()
        server.resume()
    until(lambda: answers(server), "it does not answer again")
    assert stored(server) == ["before"]


class OpenConnection:
    """An open connection; calling it asks the server for a number within a second."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> Any:
        if self.server.kind == "redis":
            self.client: Any = redis.Redis.from_url(
                self.server.address, socket_timeout=1, single_connection_client=True, retry=None
            )
            return lambda: self.client.exists("values")
        self.client = psycopg.connect(self.server.address, autocommit=True)
        return self._ask_postgresql

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _ask_postgresql(self) -> int:
        """Send a query without waiting for its answer for more than a second."""
        self.client.pgconn.send_query(b"SELECT count(*) FROM kept")
        if not select.select([self.client.fileno()], [], [], 1.0)[0]:
            raise TimeoutError
        while (result := self.client.pgconn.get_result()) is not None:
            number = int(result.get_value(0, 0))
        return number


@pytest.mark.parametrize("end", ["kill", "shut_down"])
def test_acknowledged_writes_survive(server: ProcessServer, end: str) -> None:
    clear(server)
    address = server.address
    with OpenConnection(server):  # an orderly end does not wait for it
        for number in range(20):
            store(server, str(number))
        getattr(server, end)()
    assert server.state == "down"
    assert not answers(server, 1)
    server.restart()
    assert server.address == address
    assert stored(server) == [str(number) for number in range(20)]


def test_it_reports_that_its_port_was_taken_while_it_was_down(server: ProcessServer) -> None:
    clear(server)
    store(server, "kept")
    server.kill()
    with closing(socket.create_server(("127.0.0.1", urlsplit(server.address).port or 0))):
        with pytest.raises(ServerError, match=rf"Another program took {server.address}"):
            server.restart()
    server.restart()
    assert stored(server) == ["kept"]


def test_another_server_at_its_address_is_recognised(server: ProcessServer) -> None:
    with pytest.raises(NotReady, match=r"another .* server answers there"):
        load(server.kind).ask(server.address, {}, "/somewhere/else", 5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_it(kind: str) -> None:
    server = started(kind)
    store(server, "removed")
    directory = directory_of(server)
    segment = shared_memory(directory / "data" / "postmaster.pid")
    assert bool(segment) == (kind == "postgresql" and SEGMENTS.exists())
    server.stop()
    assert not directory.exists()
    assert not answers(server, 1)
    assert not segment or segment not in SEGMENTS.read_text().split()
    listed = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True)
    assert str(directory) not in listed.stdout
    server.stop()


SEGMENTS = Path("/proc/sysvipc/shm")


def shared_memory(lock: Path) -> str:
    """Return the id of the segment of shared memory in the lock file of PostgreSQL, if any."""
    if not (lock.exists() and SEGMENTS.exists()):
        return ""
    return lock.read_text().splitlines()[6].split()[1]


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a temporary directory that the unprivileged user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_not_outlive_a_parent_that_is_killed(kind: str, open_to_all: Path) -> None:
    started(kind).stop()  # skips the test if it is not installed
    script = (
        "import sys, time\nfrom chat_history_conformance.servers import launcher\n"
        "server = launcher.start(sys.argv[1], 'local', announce=lambda _: None)\n"
        "print(server.address, flush=True)\ntime.sleep(120)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, kind],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(open_to_all)},
    )
    with parent:
        assert parent.stdout is not None
        address = parent.stdout.readline().strip()
        load(kind).ask(address, {}, "", 5)
        parent.kill()
    until(lambda: list(open_to_all.iterdir()) == [], "its directory is still there")
    with pytest.raises(NotReady):
        load(kind).ask(address, {}, "", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_taken_port_is_an_error_if_it_was_named(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as thief:
        port = thief.getsockname()[1]
        with pytest.raises(ServerError, match=rf"Another program has port {port}\. Name another"):
            started(kind, port=port)


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_that_it_refuses_is_shown_with_its_log(kind: str) -> None:
    with pytest.raises(ServerError, match=r"did not start: its process ended with status 1") as no:
        started(kind, properties={"no_such_setting": "1"})
    assert "no_such_setting" in str(no.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("redis", r"no redis-server on PATH\. Install Redis: apt-get install redis-server, or"),
        (
            "postgresql",
            r"no postgres on PATH or in .*\. Install PostgreSQL: apt-get install postgre",
        ),
        ("mongodb", r"no mongod on PATH\. Install MongoDB: https://www\.mongodb\.com/docs/manual/"),
    ],
)
def test_a_missing_program_is_an_error_that_says_how_to_install_it(
    kind: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql.PostgreSQL, "places", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.delenv(variable(kind), raising=False)
    with pytest.raises(ServerError, match=f"^There is {expected}"):
        launcher.start(kind, "local", announce=print)
    with pytest.raises(ServerError) as failed:
        launcher.start(kind, "auto", announce=print)
    reasons, _, commands = str(failed.value).partition("Do one of these:")
    assert "container: No Docker engine answers" in reasons
    assert "local: There is no " in reasons
    for command in (
        f"pip install 'chat-history-conformance[{kind}]'  (for the way container)",
        f"--history-server={kind}={load(kind).form} or HISTORY_{kind.upper()}={load(kind).form}",
        f"--history-server={kind}=local  (an installed {load(kind).programs[0]}: ",
    ):
        assert command in commands


def test_the_newest_postgresql_is_found_without_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9.6", "16", "15"):
        program = tmp_path / version / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.1'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(postgresql.PostgreSQL, "places", (f"{tmp_path}/*/bin",))
    found = postgresql.KIND.obtain(print, offline=True)
    assert (found.path, found.version) == (tmp_path / "16" / "bin" / "postgres", "16.1")


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can become another user"
)
def test_a_program_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no redis-server on PATH")
    tmp_path.chmod(0o700)
    copy = tmp_path / "bin"
    copy.mkdir()
    shutil.copy(found, copy / "redis-server")
    monkeypatch.setenv("PATH", str(copy))
    with pytest.raises(ServerError, match=rf"Redis does not run as root.* enter {tmp_path} on the"):
        launcher.start("redis", "local", announce=print)


def test_redis_demands_the_password_of_the_address_or_the_client_settings() -> None:
    with started("redis", credentials={"me": "ge/heim"}) as server:
        plain = server.address.removeprefix("redis://")
        ask = load("redis").ask
        ask(f"redis://me:ge%2Fheim@{plain}", {}, "", 5)
        ask(server.address, {"username": "me", "password": "ge/heim"}, "", 5)
        with pytest.raises(Refused, match="demands a password: put it into the address"):
            ask(server.address, {}, "", 5)
        with pytest.raises(Refused, match="refuses the user and password"):
            ask(f"redis://me:wrong@{plain}", {}, "", 5)


def test_postgresql_is_ready_when_it_asks_for_a_password() -> None:
    server = started("postgresql")
    with server:
        store(server, "kept")
        rules = directory_of(server) / "data" / "pg_hba.conf"
        ask = load("postgresql").ask
        with pytest.raises(Refused, match='database "none" does not exist'):
            ask(f"{server.address.rpartition('/')[0]}/none", {}, "", 5)
        with psycopg.connect(server.address, autocommit=True) as connection:
            rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        ask(server.address, {}, "", 5)
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            stored(server)
        assert launcher.start("postgresql", server.address, announce=print).version == ""


@pytest.mark.parametrize("kind", [postgresql.KIND, mongodb.KIND])
def test_users_of_a_started_server_are_refused(kind: Kind) -> None:
    with pytest.raises(ServerError, match="does not support users and passwords here"):
        kind.container(1, Options(credentials={"user": "password"}))


@pytest.mark.parametrize("kind", ["redis", "postgresql", "mongodb"])
def test_another_program_at_an_address_is_named(kind: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = load(kind).form.replace("HOST:PORT", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NotReady, match="something listens there, but does not answer within"):
            load(kind).ask(address, {}, "", 0.5)
    with pytest.raises(NotReady, match="it cannot be reached"):
        load(kind).ask(address, {}, "", 0.5)
