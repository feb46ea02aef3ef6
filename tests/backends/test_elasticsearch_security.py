"""Tests of credentials and privileges, on an Elasticsearch node with TLS and users."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from elasticsearch import Elasticsearch
from langchain_core.messages import HumanMessage

from chat_history_backends.elasticsearch import (
    AsyncElasticsearchChatMessageHistory,
    AsyncPreviousMajorNode,
    ElasticsearchChatMessageHistory,
    PreviousMajorNode,
    RefusedError,
    UnreachableError,
)
from chat_history_backends.elasticsearch.index import MAPPING
from chat_history_conformance.servers.server import Server
from tests.conftest import Run
from tests.servers.elasticsearch_node import Secured


@pytest.fixture
def superuser(secured_elasticsearch: Secured) -> Iterator[Elasticsearch]:
    with Elasticsearch(
        secured_elasticsearch.server.address,
        node_class=PreviousMajorNode,
        basic_auth=secured_elasticsearch.superuser,
        ca_certs=secured_elasticsearch.ca_certs,
    ) as client:
        yield client


@pytest.fixture
def index(superuser: Elasticsearch) -> Iterator[str]:
    name = f"chat-{uuid.uuid4().hex}"
    yield name
    superuser.options(ignore_status=404).indices.delete(index=name)


def opened(secured: Secured, index: str, **arguments: Any) -> ElasticsearchChatMessageHistory:
    config = {"node_class": PreviousMajorNode, "ca_certs": secured.ca_certs}
    return ElasticsearchChatMessageHistory(
        index,
        "s",
        es_url=secured.server.address,
        config={**config, **arguments.pop("config", {})},
        **arguments,
    )


def test_user_and_password_work_over_tls(secured_elasticsearch: Secured, index: str) -> None:
    user, password = secured_elasticsearch.superuser
    with opened(secured_elasticsearch, index, es_user=user, es_password=password) as history:
        history.add_messages([HumanMessage("a")])
        assert history.messages == [HumanMessage("a")]

    async def work() -> None:
        async with AsyncElasticsearchChatMessageHistory(
            index,
            "s",
            es_url=secured_elasticsearch.server.address,
            es_user=user,
            es_password=password,
            config={
                "node_class": AsyncPreviousMajorNode,
                "ca_certs": secured_elasticsearch.ca_certs,
            },
        ) as history:
            await history.aadd_message(HumanMessage("b"))
            assert len(await history.aget_messages()) == 2

    asyncio.run(work())


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"es_user": "superuser", "es_password": "wrong word"},
        {"es_user": "nobody", "es_password": "wrong word"},
        {"es_api_key": base64.b64encode(b"id:wrong word").decode()},
    ],
    ids=["no credentials", "password", "user", "api key"],
)
def test_wrong_credentials_raise_a_clear_error_that_does_not_show_them(
    secured_elasticsearch: Secured,
    index: str,
    superuser: Elasticsearch,
    credentials: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with opened(secured_elasticsearch, index, **credentials) as history:
        for call in (
            lambda: history.messages,
            lambda: history.add_messages([HumanMessage("a")]),
            history.clear,
        ):
            with pytest.raises(
                RefusedError, match=r"'s'.*does not accept the credentials"
            ) as caught:
                call()
            assert caught.value.status_code == 401
            for secret in ("wrong word", *credentials.values()):
                if secret not in ("superuser", "nobody"):
                    assert secret not in str(caught.value)
                    assert secret not in caplog.text
    assert not superuser.indices.exists(index=index)


def test_an_untrusted_certificate_raises_a_clear_error(
    secured_elasticsearch: Secured, index: str, tmp_path: Any
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    user, password = secured_elasticsearch.superuser
    with opened(
        secured_elasticsearch,
        index,
        es_user=user,
        es_password=password,
        config={"ca_certs": str(other)},
    ) as history:
        with pytest.raises(UnreachableError, match=r"certificate.*ca_certs"):
            _ = history.messages


def test_a_user_with_only_read_and_write_reads_its_own_messages(
    secured_elasticsearch: Secured,
    index: str,
    superuser: Elasticsearch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    superuser.indices.create(
        index=index,
        mappings={"properties": dict(MAPPING)},
        settings={"refresh_interval": "1h"},
    )
    user, password = secured_elasticsearch.restricted
    caplog.set_level(logging.WARNING)
    handles = [
        opened(secured_elasticsearch, index, es_user=user, es_password=password) for _ in range(2)
    ]
    for number in range(6):
        handles[number % 2].add_messages([HumanMessage(str(number))])
        assert [m.content for m in handles[1 - number % 2].messages] == [
            str(n) for n in range(number + 1)
        ]
    assert [m.content for m in handles[0].last_messages(2)] == ["4", "5"]
    handles[0].clear()
    assert handles[1].messages == []
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("chat_history_backends.")]
    assert len(logged) == 2  # once each, for both handles
    assert "view_index_metadata" in logged[0]
    assert "maintenance" in logged[1]
    for handle in handles:
        handle.close()


def test_the_privileges_of_one_user_are_not_assumed_for_another(
    secured_elasticsearch: Secured, index: str
) -> None:
    name, password = secured_elasticsearch.superuser
    other, others_password = secured_elasticsearch.restricted
    with (
        opened(secured_elasticsearch, index, es_user=name, es_password=password) as one,
        opened(secured_elasticsearch, index, es_user=other, es_password=others_password) as two,
    ):
        one.add_message(HumanMessage("0"))
        assert len(one.messages) == len(two.messages) == 1
        two.add_message(HumanMessage("1"))
        assert len(one.messages) == len(two.messages) == 2
        two.clear()
        one.add_message(HumanMessage("2"))
        assert len(one.messages) == 1


def test_a_user_that_may_not_examine_the_index_creates_it_with_the_right_mapping(
    secured_elasticsearch: Secured, index: str, superuser: Elasticsearch
) -> None:
    name, password = secured_elasticsearch.maker
    with opened(secured_elasticsearch, index, es_user=name, es_password=password) as history:
        for number in range(2):
            history.add_message(HumanMessage(str(number)))
        assert [message.content for message in history.messages] == ["0", "1"]
    mapping = superuser.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert mapping == MAPPING


def test_a_user_that_may_not_create_the_index_gets_a_clear_error(
    secured_elasticsearch: Secured, index: str
) -> None:
    user, password = secured_elasticsearch.restricted
    with opened(secured_elasticsearch, index, es_user=user, es_password=password) as history:
        with pytest.raises(RefusedError, match=r"unauthorized.*create_index.*Nothing of"):
            history.add_messages([HumanMessage("a")])


@pytest.mark.parametrize("backend", ["elasticsearch", "elasticsearch-async"])
def test_client_settings_of_a_run_give_access(
    secured_elasticsearch: Secured, pytester: pytest.Pytester, run_apart: Run, backend: str
) -> None:
    user, password = secured_elasticsearch.superuser
    pytester.path.joinpath("client.toml").write_text(
        f"[elasticsearch]\nca_certs = {json.dumps(secured_elasticsearch.ca_certs)}\n"
        f"basic_auth = {json.dumps([user, password])}\n"
    )
    result = run_apart(
        f"--history-backend={backend}",
        f"--history-server=elasticsearch={secured_elasticsearch.server.address}",
        "--history-server-config=client.toml",
        "--history-require-verdict",
    )
    assert result.ret == 0
    assert f"{backend}: CONFORMANT" in result.stdout.str()
    assert password not in result.stdout.str() + result.stderr.str()


@pytest.fixture
def gateway(elasticsearch: Server) -> Iterator[tuple[str, str]]:
    """Put the node behind a gateway that checks an API key, because the node cannot create keys."""
    key = base64.b64encode(b"id:the right word").decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") != f"ApiKey {key}":
                return self.answer(401, {}, b"{}")
            request = urllib.request.Request(
                elasticsearch.address + self.path, method=self.command, data=body or None
            )
            for name in ("Content-Type", "Accept"):
                if name in self.headers:
                    request.add_header(name, self.headers[name])
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.answer(answer.status, answer.headers, answer.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.headers, error.read())

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def answer(self, status: int, headers: Any, body: bytes) -> None:
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", key
        server.shutdown()
        thread.join()


def test_an_api_key_is_sent(gateway: tuple[str, str]) -> None:
    address, key = gateway
    name = f"chat-{uuid.uuid4().hex}"
    with ElasticsearchChatMessageHistory(
        name, "s", es_url=address, es_api_key=key, config={"node_class": PreviousMajorNode}
    ) as history:
        history.add_messages([HumanMessage("a")])
        assert history.messages == [HumanMessage("a")]
        history.client.indices.delete(index=name)
    with ElasticsearchChatMessageHistory(
        name, "s", es_url=address, es_api_key=key[:-4], config={"node_class": PreviousMajorNode}
    ) as history:
        with pytest.raises(RefusedError, match="does not accept the credentials"):
            _ = history.messages
