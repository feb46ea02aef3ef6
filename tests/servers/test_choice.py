"""The values of `--history-server`."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_history_conformance import servers
from chat_history_conformance.servers import ServerError, choice
from chat_history_conformance.servers.choice import Choice


@pytest.mark.parametrize("way", choice.WAYS)
def test_a_way_without_a_kind_applies_to_all_kinds(way: str) -> None:
    assert choice.parse(way) == Choice("", way)
    assert choice.parse(f"kafka={way}") == Choice("kafka", way)


@pytest.mark.parametrize(
    "address", ["localhost:9092", "a.example.org:9092,b.example.org:9092", "[::1]:9092"]
)
def test_hosts_with_ports_are_kafka(address: str) -> None:
    expected = Choice("kafka", "address", address)
    assert choice.parse(address) == expected
    assert choice.parse(f"kafka={address}") == expected
    assert choice.parse(address, "kafka") == expected


@pytest.mark.parametrize("address", ["https://es.example.org:9200", "http://u:p=w@localhost/es"])
def test_a_url_is_elasticsearch(address: str) -> None:
    expected = Choice("elasticsearch", "address", address)
    assert choice.parse(address) == expected
    assert choice.parse(f"elasticsearch={address}") == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "docker", "JVM", "kafka=", "kafka=localhost", "kafka=:9092"),
        *("kafka=a:9092,", "kafka=a:70000", "kafka=a:0", "kafka=https://localhost:9200"),
        *("elasticsearch=localhost:9200", "elasticsearch=ftp://localhost", "https://"),
        *("elasticsearch=mock", "redis=auto", "https://localhost:99999"),
    ],
)
def test_other_values_are_refused_with_the_allowed_ones(text: str) -> None:
    with pytest.raises(ServerError, match=r"Use \[KIND=\]auto, container, jvm or mock"):
        choice.parse(text)


def test_a_kind_that_contradicts_the_known_one_is_refused() -> None:
    with pytest.raises(ServerError, match="no kafka kind"):
        choice.parse("elasticsearch=jvm", "kafka")


def test_the_password_in_an_address_is_hidden() -> None:
    address = "https://elastic:geheim@es.example.org:9200"
    assert choice.parse(address).shown == "https://es.example.org:9200"
    assert "geheim" not in repr(choice.parse(address))
    with pytest.raises(ServerError) as refused:
        choice.parse("kafka=https://elastic:geheim@es.example.org")
    assert "geheim" not in str(refused.value)


def test_the_last_choice_for_a_kind_wins_over_the_last_for_all() -> None:
    choices = [choice.parse(text) for text in ("kafka=jvm", "kafka=container", "auto", "mock")]
    assert choice.pick("kafka", choices).way == "container"
    assert choice.pick("kafka", choices[2:]).way == "mock"
    assert choice.pick("kafka", []).way == "auto"


def test_the_mock_is_only_for_kafka() -> None:
    with pytest.raises(ServerError, match="Kafka only"):
        choice.pick("elasticsearch", [choice.parse("mock")])


def test_kafka_settings_keep_their_dotted_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(
        '[kafka]\nsecurity.protocol = "SASL_SSL"\n"sasl.mechanism" = "PLAIN"\n'
        "[elasticsearch]\nheaders = {trace = 'x'}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv(servers.CONFIG_VARIABLE, str(file))
    assert servers.settings("kafka") == {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    assert servers.settings("elasticsearch") == {"headers": {"trace": "x"}}
