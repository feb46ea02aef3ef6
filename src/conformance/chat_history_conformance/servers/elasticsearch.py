"""Elasticsearch: one node, as a process or a container. It is asked without its client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import ssl
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from chat_history_conformance.servers import ServerError, unprivileged
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused

__all__ = [
    "KIND",
    "NODE",
    "Elasticsearch",
]

NODE = {
    "discovery.type": "single-node",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "node.store.allow_mmap": "false",
}
"""Settings of a single node for tests, on a small machine with a nearly full disk."""

_HEAP = "-Xms512m -Xmx512m"
_JVM_OPTIONS = """\
-Xms512m
-Xmx512m
-XX:-AlwaysPreTouch
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${ES_TMPDIR}
-Des.queryable_built_in_roles_enabled=false
"""
"""JVM options that replace those of the distribution, which are for large machines. The last one
keeps the node from writing roles to an index that needs missing analysis modules."""

_TAKEN_BY_THE_IMAGE = re.compile(r"[-a-z0-9_]+(\.[-a-z0-9_]+)+")
"""Names of environment variables that the image accepts as settings. It ignores all others."""

_TLS = "xpack.security.http.ssl."
_PBKDF2_ROUNDS = 10_000
_MISSING_SCHEME = "the address of Elasticsearch is a URL, such as http://127.0.0.1:9200"


class Elasticsearch(Kind):
    """The node that Elastic publishes for integration tests, or the official image."""

    name = "elasticsearch"
    title = "Elasticsearch"
    form = "http://HOST:PORT"
    client = ""
    version = "8.19.4"
    has_mock = False
    image = "elasticsearch:8.19.4"
    image_licence = "AGPL-3.0, SSPL-1.0 or Elastic-2.0"
    java = 17
    refuses_root = True
    takes_files = True
    ports = 2
    taken = "Address already in use"

    def process(
        self,
        java: Path,
        files: Sequence[Path],
        directory: Path,
        ports: Sequence[int],
        options: Options,
    ) -> Launch:
        port, transport = ports
        cluster = _cluster_name()
        (distribution,) = files
        # Each node gets its own copy, because it writes to it. Unpacking takes a second.
        with zipfile.ZipFile(distribution) as packed:
            packed.extractall(directory)
        (unpacked,) = directory.glob("elasticsearch-*")
        for entry in list(unpacked.iterdir()):
            entry.rename(directory / entry.name)  # the node uses the working directory
        unpacked.rmdir()
        temporary, config = directory / "tmp", directory / "config"
        temporary.mkdir()
        settings = {
            **NODE,
            "cluster.name": cluster,
            "node.name": "history",
            "network.host": "127.0.0.1",
            "http.port": str(port),
            "transport.port": str(transport),
            "path.data": str(directory / "data"),
            "path.logs": str(directory / "logs"),
            "logger.level": "WARN",
            "xpack.security.enabled": "true" if options.credentials else "false",
            **options.properties,
        }
        (config / "elasticsearch.yml").write_text(
            "".join(  # JSON is YAML
                f"{name}: {json.dumps(value, ensure_ascii=False)}\n"
                for name, value in settings.items()
            ),
            encoding="utf-8",
        )
        (config / "jvm.options").write_text(_JVM_OPTIONS, encoding="ascii")
        (config / "users").write_text(
            "".join(f"{user}:{_hashed(word)}\n" for user, word in options.credentials.items()),
            encoding="utf-8",
        )
        (config / "users_roles").write_text(
            f"superuser:{','.join(options.credentials)}\n" if options.credentials else "",
            encoding="utf-8",
        )
        for name, text in options.configuration.items():
            (config / name).write_text(text, encoding="utf-8")
        presenting = _client_settings(options.credentials)
        if authority := settings.get(_TLS + "certificate_authorities"):
            presenting["ca_certs"] = str(config / authority)
        scheme = "https" if settings.get(_TLS + "enabled") == "true" else "http"
        return Launch(
            # The command of its shell scripts, which need bash and the run bits that zipfile drops.
            command=[
                str(unprivileged.within_reach(java, directory / "java")),
                *("-Xms4m", "-Xmx64m", "-XX:+UseSerialGC"),
                "-Dcli.name=server",
                f"-Dcli.script={directory / 'bin' / 'elasticsearch'}",
                "-Dcli.libs=lib/tools/server-cli",
                f"-Des.path.home={directory}",
                f"-Des.path.conf={config}",
                "-Des.distribution.type=zip",
                "-Des.java.type=ES_JAVA_HOME",
                "-cp",
                os.pathsep.join(str(directory / "lib" / of) for of in ("*", "cli-launcher/*")),
                "org.elasticsearch.launcher.CliToolLauncher",
            ],
            address=f"{scheme}://127.0.0.1:{port}",
            identity=cluster,
            config=presenting,
            environment={"ES_JAVA_OPTS": "", "ES_TMPDIR": str(temporary)},
        )

    def container(self, port: int, options: Options) -> Launch:
        if options.credentials:
            raise ServerError(
                "An Elasticsearch container does not support users and passwords here. "
                "Use the jvm way."
            )
        for name in options.properties:
            if not _TAKEN_BY_THE_IMAGE.fullmatch(name):
                raise ServerError(
                    f"An Elasticsearch container does not accept the property {name}, only names "
                    "with a dot and without capitals. Use the jvm way."
                )
        cluster = _cluster_name()
        return Launch(
            command=(),
            address=f"http://127.0.0.1:{port}",
            identity=cluster,
            environment={
                **NODE,
                "cluster.name": cluster,
                "xpack.security.enabled": "false",
                "ES_JAVA_OPTS": _HEAP,
                **options.properties,
            },
            port_inside=9200,
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        status, answer = _get(
            address, "/_cluster/health?timeout=1s&master_timeout=1s", config, seconds
        )
        if status in (
            403,
            410,
        ):  # this user may not ask, or the API is missing, as on a serverless cluster
            return
        if status != 200 or "cluster_name" not in answer:
            raise NotReady(f"it answers HTTP status {status} to a request for its health")
        if identity and answer["cluster_name"] != identity:
            raise NotReady("another Elasticsearch cluster answers there")
        if answer["status"] == "red":
            raise NotReady("its health is red: not all data can be read")

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        path = "/_nodes/_all/none?filter_path=nodes.*.version"  # the node for tests has no `GET /`
        try:
            _, answer = _get(address, path, config, seconds)
        except (NotReady, Refused):
            return ""
        versions = {node["version"] for node in answer.get("nodes", {}).values()}
        return versions.pop() if len(versions) == 1 else ""


KIND = Elasticsearch()


def _cluster_name() -> str:
    return f"history-{uuid.uuid4().hex}"


def _get(
    address: str, path: str, config: Mapping[str, Any], seconds: float
) -> tuple[int, dict[str, Any]]:
    """Send a GET request with these client settings, without following a redirection.

    Returns:
        The status and the JSON object of the answer; empty if the answer is not an object.
    """
    # This client cannot check a fingerprint, so it sends no credentials.
    pinned = "ssl_assert_fingerprint" in config
    headers = {} if pinned else _headers(address, config)
    answer, body = _send(address, path, headers, _unverified() if pinned else None, config, seconds)
    if answer.status == 401:
        if pinned:
            return 403, {}
        raise Refused(
            "it refuses the credentials of the client settings"
            if "Authorization" in headers
            else "it demands credentials; set them in the client settings"
        )
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    document = document if isinstance(document, dict) else {}
    if (
        answer.status < 500
        and answer.getheader("X-elastic-product") != "Elasticsearch"
        and not _forbidden(document)  # this error lacks the header
    ):
        raise NotReady("something answers there, but it is not Elasticsearch 7.14 or later")
    return answer.status, document


def _send(
    address: str,
    path: str,
    headers: Mapping[str, str],
    context: ssl.SSLContext | None,
    config: Mapping[str, Any],
    seconds: float,
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a GET request and return the answer with its body."""
    parts = urlsplit(address)
    if parts.hostname is None:
        raise Refused(_MISSING_SCHEME)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=seconds, context=context or _tls(config)
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers=dict(headers))
        answer = connection.getresponse()
        return answer, answer.read()
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"its certificate is not trusted ({error.verify_message}); set ca_certs in the client "
            "settings to its authority"
        ) from None
    except TimeoutError:
        raise NotReady(f"no answer within {seconds:.0f} s") from None
    except OSError as error:
        raise NotReady(f"it cannot be reached ({error.strerror or error})") from None
    except http.client.HTTPException:
        raise NotReady("something listens there, but it does not speak HTTP") from None
    finally:
        connection.close()


def _forbidden(document: Mapping[str, Any]) -> bool:
    """Return whether Elasticsearch answered that the user lacks a privilege."""
    error = document.get("error")
    return isinstance(error, dict) and error.get("type") == "security_exception"


def _headers(address: str, config: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in config.get("headers", {}).items()}
    parts = urlsplit(address)
    if "api_key" in config:
        headers["Authorization"] = f"ApiKey {_pair(config['api_key'])}"
    elif "bearer_auth" in config:
        headers["Authorization"] = f"Bearer {config['bearer_auth']}"
    elif "basic_auth" in config:
        headers["Authorization"] = f"Basic {_pair(config['basic_auth'])}"
    elif parts.username:
        pair = [unquote(parts.username), unquote(parts.password or "")]
        headers["Authorization"] = f"Basic {_pair(pair)}"
    return headers


def _pair(value: Any) -> str:
    """Encode two parts for HTTP. A string is already encoded."""
    if isinstance(value, str):
        return value
    return base64.b64encode(":".join(map(str, value)).encode()).decode("ascii")


def _tls(config: Mapping[str, Any]) -> ssl.SSLContext:
    if not config.get("verify_certs", True):
        context = _unverified()
    else:
        try:
            context = ssl.create_default_context(cafile=config.get("ca_certs"))
        except OSError as error:
            raise Refused(f"ca_certs of the client settings: {error.strerror or error}") from None
    if "client_cert" in config:
        try:
            context.load_cert_chain(config["client_cert"], config.get("client_key"))
        except OSError as error:
            raise Refused(
                f"client_cert of the client settings: {error.strerror or error}"
            ) from None
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hashed(password: str) -> str:
    """Hash a password for the file of users."""
    salt = os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PBKDF2_ROUNDS, 32)
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, derived)]
    return f"{{PBKDF2}}{_PBKDF2_ROUNDS}${encoded[0]}${encoded[1]}"


def _client_settings(credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a client with these credentials."""
    return {"basic_auth": next(iter(credentials.items()))} if credentials else {}
