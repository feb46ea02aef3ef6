"""The values of `--history-server`."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_history_conformance import servers
from chat_history_conformance.servers import ServerError, choice, kinds
from chat_history_conformance.servers.choice import Choice
from chat_history_conformance.servers.kind import load


@pytest.mark.parametrize("way", choice.WAYS)
def test_a_way_without_a_kind_applies_to_all_kinds(way: str) -> None:
    assert choice.parse(way) == Choice("", way)


@pytest.mark.parametrize("kind", kinds())
def test_a_kind_has_its_own_ways(kind: str) -> None:
    has = ("auto", *load(kind).ways)
    for way in has:
        assert choice.parse(f"{kind}={way}") == Choice(kind, way)
    for way in set(choice.WAYS) - set(has):
        with pytest.raises(
            ServerError, match=rf"has no way {way}\. Use {kind}=WAY\. WAY is auto, "
        ):
            choice.parse(f"{kind}={way}")
        with pytest.raises(ServerError, match=rf"server {kind}={way}: .* has no way {way}"):
            choice.pick(kind, [choice.parse(way)])


@pytest.mark.parametrize(
    "address", ["localhost:9092", "a.example.org:9092,b.example.org:9092", "[::1]:9092"]
)
def test_hosts_with_ports_are_kafka(address: str) -> None:
    expected = Choice("kafka", "address", address)
    assert choice.parse(address) == expected
    assert choice.parse(f"kafka={address}") == expected
    assert choice.parse(address, "kafka") == expected


@pytest.mark.parametrize("address", ["https://es.example.org:9200", "http://u:p=w@localhost/es"])
def test_a_web_address_is_elasticsearch(address: str) -> None:
    expected = Choice("elasticsearch", "address", address)
    assert choice.parse(address) == expected
    assert choice.parse(f"elasticsearch={address}") == expected


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("redis", "redis://localhost"),
        ("redis", "rediss://user:geheim@[::1]:6380/3"),
        ("postgresql", "postgresql://me@localhost:5432/chats"),
        ("postgresql", "postgres://me:geheim@db.example.org/chats?sslmode=require"),
        ("mongodb", "mongodb://localhost:27017/"),
        ("mongodb", "mongodb://me:geheim@a:27017,b:27018,c/?replicaSet=rs&password=geheim"),
    ],
)
def test_the_scheme_of_a_url_names_the_kind(kind: str, address: str) -> None:
    expected = Choice(kind, "address", address)
    assert choice.parse(address) == expected
    assert choice.parse(f"{kind}={address}") == expected
    assert choice.parse(address, kind) == expected
    assert "geheim" not in choice.parse(address).shown


@pytest.mark.parametrize(
    "text",
    [
        *("redis=localhost:6379", "redis=redis://", "redis://localhost/chats", "redis://a:0/1"),
        *("postgresql://localhost:5432/chats", "postgresql://me@localhost:5432/"),
        *("postgresql=postgresql+psycopg://me@localhost/chats", "postgresql://me@a:99999/chats"),
        *("mongodb://", "mongodb://a,,b/", "mongodb+srv://cluster.example.org/"),
        *("redis=mongodb://localhost:27017/", "mongodb=redis://localhost"),
    ],
)
def test_a_url_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ServerError, match=r"is not understood\. Use .*WAY"):
        choice.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "docker", "JVM", "kafka=", "kafka=localhost", "kafka=:9092"),
        *("kafka=a:9092,", "kafka=a:70000", "kafka=a:0", "kafka=https://localhost:9200"),
        *("elasticsearch=localhost:9200", "elasticsearch=ftp://localhost", "https://"),
        *("memcached=auto", "https://localhost:99999"),
        *("https://a,b", "https://a,ftp://b", "elasticsearch=https://a,"),
    ],
)
def test_other_values_are_refused_with_the_allowed_ones(text: str) -> None:
    with pytest.raises(
        ServerError, match=r"Use .*WAY is auto, container, jvm|No kind of server is called"
    ):
        choice.parse(text)


@pytest.mark.parametrize("nodes", [3, 5, 9])
def test_a_number_after_jvm_is_a_cluster(nodes: int) -> None:
    assert choice.parse(f"jvm:{nodes}") == Choice("", "jvm", nodes=nodes)
    assert choice.parse(f"kafka=jvm:{nodes}").shown == f"jvm:{nodes}"
    assert choice.parse("elasticsearch=jvm:1") == Choice("elasticsearch", "jvm")


@pytest.mark.parametrize("number", ["0", "2", "4", "11", "-3", "", "x", "03", "3.0", "9092"])
def test_other_numbers_of_nodes_are_refused(number: str) -> None:
    with pytest.raises(ServerError, match=r"an odd number of nodes, at most 9\. Use jvm:3"):
        choice.parse(f"kafka=jvm:{number}")


@pytest.mark.parametrize("way", ["container", "mock", "auto"])
def test_only_the_jvm_way_starts_a_cluster(way: str) -> None:
    with pytest.raises(ServerError, match=r"only the jvm way starts a cluster\. Use jvm:3"):
        choice.parse(f"kafka={way}:3")


def test_several_urls_are_an_elasticsearch_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://u:p,w@a.example.org:9200,https://v:x@b.example.org"
    assert choice.parse(address) == Choice("elasticsearch", "address", address)
    assert choice.parse(address).shown == "https://a.example.org:9200,https://b.example.org"
    monkeypatch.setenv("HISTORY_ELASTICSEARCH", address)
    assert servers.addresses("elasticsearch") == [
        "https://u:p,w@a.example.org:9200",
        "https://v:x@b.example.org",
    ]


@pytest.mark.parametrize(
    ("kind", "address", "copies"),
    [
        *(("kafka", "a:1", 1), ("kafka", "a:1,b:1,c:1", 3), ("kafka", "a:1,b:1,c:1,d:1,e:1", 3)),
        *(("elasticsearch", "http://a", 1), ("elasticsearch", "http://a,http://b,http://c", 2)),
    ],
)
def test_a_cluster_keeps_several_copies(
    kind: str, address: str, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.variable(kind), address)
    assert servers.replicas(kind) == copies


def test_a_kind_that_contradicts_the_known_one_is_refused() -> None:
    with pytest.raises(ServerError, match=r"the kind is kafka here\. Use kafka=WAY"):
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
