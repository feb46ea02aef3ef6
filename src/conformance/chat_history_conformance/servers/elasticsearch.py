"""Elasticsearch: one node, as a process or a container. It is asked without its client."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError, elasticsearch_http, separate, unprivileged
from chat_history_conformance.servers.jvm import Control, JvmKind, Seat
from chat_history_conformance.servers.kind import Launch, NotReady, Options, Refused
from chat_history_conformance.servers.program import Program

__all__ = [
    "KIND",
    "MEMBER",
    "NODE",
    "Elasticsearch",
]

NODE = {
    "discovery.type": "single-node",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "node.store.allow_mmap": "false",
}
"""Settings of a single node for tests, on a small machine with a nearly full disk."""

MEMBER = {
    "cluster.fault_detection.follower_check.timeout": "2s",
    "cluster.fault_detection.follower_check.retry_count": "2",
    "cluster.fault_detection.leader_check.timeout": "2s",
    "cluster.fault_detection.leader_check.retry_count": "2",
    "cluster.publish.timeout": "10s",
    "discovery.probe.connect_timeout": "3s",
    "discovery.probe.handshake_timeout": "3s",
    "transport.connect_timeout": "3s",
}
"""Further settings of a member of a cluster, in which faults show after seconds."""

_READ_ONLY = ("bin", "java", "lib", "modules")
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


class Elasticsearch(JvmKind):
    """The node that Elastic publishes for integration tests, or the official image."""

    name = "elasticsearch"
    title = "Elasticsearch"
    form = "http://HOST:PORT"
    schemes = ("http", "https")
    ways = ("container", "jvm")
    requirement = "chat-history-conformance[elasticsearch]"
    version = "8.19.4"
    image = "elasticsearch:8.19.4"
    image_licence = "AGPL-3.0, SSPL-1.0 or Elastic-2.0"
    java = 17
    unprivileged = True
    takes_files = True
    ports = 2
    member_ports = 2

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        port, transport = ports
        cluster = self.new_cluster()
        _unpack(program.files[0], directory)
        settings = {
            **NODE,
            "node.name": "history",
            "network.host": "127.0.0.1",
            "http.port": str(port),
            "transport.port": str(transport),
        }
        java = unprivileged.within_reach(program.path, directory / "java")
        return _launch(java, directory, cluster, f"127.0.0.1:{port}", settings, options)

    def new_cluster(self) -> str:
        return f"history-{uuid.uuid4().hex}"

    def member(self, program: Program, directory: Path, seat: Seat, options: Options) -> Launch:
        if options.credentials:
            raise ServerError(
                "An Elasticsearch cluster does not support users and passwords here. "
                "Use a single node."
            )
        if seat.template is None:
            _unpack(program.files[0], directory)
            java = unprivileged.within_reach(program.path, directory / "java")
        elif (seat.template / "java").exists():
            _share(seat.template, directory)
            java = directory / "java" / "bin" / program.path.name
        else:
            _share(seat.template, directory)
            java = program.path
        port, transport = seat.ports[seat.number - 1]
        settings = {
            **{name: value for name, value in NODE.items() if name != "discovery.type"},
            **MEMBER,
            "node.name": str(seat.number),
            "http.host": seat.host,
            "transport.host": seat.inside[seat.number - 1],
            "http.port": str(port),
            "transport.port": str(transport),
            "transport.publish_port": str(seat.fronts[seat.number - 1][1]),
            "discovery.seed_hosts": seat.fronts_at(seat.inside, 1),
            "cluster.initial_master_nodes": [str(at) for at, _ in enumerate(seat.hosts, 1)],
        }
        return _launch(java, directory, seat.cluster, f"{seat.host}:{port}", settings, options)

    def control(
        self, seat: Seat, launches: Sequence[Launch], directories: Sequence[Path]
    ) -> Control:
        from chat_history_conformance.servers.elasticsearch_cluster import ElasticsearchControl

        return ElasticsearchControl(launches)

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
        cluster = self.new_cluster()
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
        if len(members := separate(address)) > 1:
            self._ask_any(members, config, identity, seconds)
            return
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
        if identity and identity not in _WARM:
            _warm_up(address, config, seconds)
            _WARM.add(identity)

    def _ask_any(
        self, members: Sequence[str], config: Mapping[str, Any], identity: str, seconds: float
    ) -> None:
        """Ask the members of a cluster until one is ready."""
        reasons = []
        for address in members:
            try:
                self.ask(address, config, identity, seconds)
            except NotReady as error:
                reasons.append(str(error))
            else:
                return
        raise NotReady("; ".join(dict.fromkeys(reasons)))

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        path = "/_nodes/_all/none?filter_path=nodes.*.version"  # the node for tests has no `GET /`
        try:
            _, answer = elasticsearch_http.get(separate(address)[0], path, config, seconds)
        except (NotReady, Refused):
            return ""
        versions = {node["version"] for node in answer.get("nodes", {}).values()}
        return versions.pop() if len(versions) == 1 else ""


KIND = Elasticsearch()

_WARM: set[str] = set()
"""The names of the clusters that were started and have used an index."""


def _warm_up(address: str, config: Mapping[str, Any], seconds: float) -> None:
    """Create, use and delete an index, as the first call of a history does.

    On a slow machine a new node needs many seconds for that, although it reports its health at
    once. A history would take the node for one that does not answer.

    Raises:
        NotReady: A request takes too long, or the node cannot carry it out yet.
    """
    index = "/history-warm-up"
    for method, path, body in (
        ("PUT", index, None),
        ("PUT", f"{index}/_doc/1?refresh=true", {"text": "warm up"}),
        ("POST", f"{index}/_search", {"query": {"match_all": {}}}),
        ("DELETE", index, None),
    ):
        status, _ = elasticsearch_http.request(method, address, path, config, seconds, body)
        if status >= 500 or status == 429:
            raise NotReady(f"it answers HTTP status {status} to {method} {path}")


def _unpack(distribution: Path, directory: Path) -> None:
    """Unpack the distribution. Each node gets its own copy, because it writes to it."""
    with zipfile.ZipFile(distribution) as packed:
        packed.extractall(directory)
    (unpacked,) = directory.glob("elasticsearch-*")
    for entry in list(unpacked.iterdir()):
        entry.rename(directory / entry.name)  # the node uses the working directory
    unpacked.rmdir()


def _share(template: Path, directory: Path) -> None:
    """Prepare a directory like another one, with hard links to the files that no node writes."""
    for entry in template.iterdir():
        if entry.name in _READ_ONLY:
            shutil.copytree(entry, directory / entry.name, symlinks=True, copy_function=os.link)
    shutil.copytree(template / "config", directory / "config")
    (directory / "plugins").mkdir()


def _launch(
    java: Path,
    directory: Path,
    cluster: str,
    place: str,
    own: Mapping[str, object],
    options: Options,
) -> Launch:
    """Write the configuration of a node and return how to run it.

    Args:
        java: The Java program.
        directory: The directory of the node, with the unpacked distribution.
        cluster: The name of its cluster.
        place: `host:port` for clients.
        own: Settings of this node.
        options: Options beyond the defaults.
    """
    temporary, config = directory / "tmp", directory / "config"
    temporary.mkdir()
    settings = {
        **own,
        "cluster.name": cluster,
        "path.data": str(directory / "data"),
        "path.logs": str(directory / "logs"),
        "logger.level": "WARN",
        "xpack.security.enabled": "true" if options.credentials else "false",
        **options.properties,
    }
    users = options.credentials
    texts = {
        "elasticsearch.yml": "".join(  # JSON is YAML
            f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items()
        ),
        "jvm.options": _JVM_OPTIONS,
        "users": "".join(f"{user}:{_hashed(word)}\n" for user, word in users.items()),
        "users_roles": f"superuser:{','.join(users)}\n" if users else "",
        **options.configuration,
    }
    for name, text in texts.items():
        (config / name).write_text(text, encoding="utf-8")
    presenting = _client_settings(options.credentials)
    if authority := settings.get(_TLS + "certificate_authorities"):
        presenting["ca_certs"] = str(config / str(authority))
    scheme = "https" if settings.get(_TLS + "enabled") == "true" else "http"
    return Launch(
        # The command of its shell scripts, which need bash and the run bits that zipfile drops.
        command=[
            str(java),
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
        address=f"{scheme}://{place}",
        identity=cluster,
        config=presenting,
        environment={"ES_JAVA_OPTS": "", "ES_TMPDIR": str(temporary)},
    )


def _hashed(password: str) -> str:
    """Hash a password for the file of users."""
    salt = os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PBKDF2_ROUNDS, 32)
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, derived)]
    return f"{{PBKDF2}}{_PBKDF2_ROUNDS}${encoded[0]}${encoded[1]}"


def _client_settings(credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a client with these credentials."""
    return {"basic_auth": next(iter(credentials.items()))} if credentials else {}
