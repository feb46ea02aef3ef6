"""Elasticsearch: one node, as a process or a container. It is asked without its client."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError, elasticsearch_http, unprivileged
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
        status, answer = elasticsearch_http.get(
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
            _, answer = elasticsearch_http.get(address, path, config, seconds)
        except (NotReady, Refused):
            return ""
        versions = {node["version"] for node in answer.get("nodes", {}).values()}
        return versions.pop() if len(versions) == 1 else ""


KIND = Elasticsearch()


def _cluster_name() -> str:
    return f"history-{uuid.uuid4().hex}"


def _hashed(password: str) -> str:
    """Hash a password for the file of users."""
    salt = os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PBKDF2_ROUNDS, 32)
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, derived)]
    return f"{{PBKDF2}}{_PBKDF2_ROUNDS}${encoded[0]}${encoded[1]}"


def _client_settings(credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a client with these credentials."""
    return {"basic_auth": next(iter(credentials.items()))} if credentials else {}
