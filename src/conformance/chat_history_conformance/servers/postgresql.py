"""PostgreSQL: one server that writes every commit to disk, as a container or installed program."""

from __future__ import annotations

import contextlib
import ssl
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from chat_history_conformance.servers import ServerError, wire
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused, is_url
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.wire import Wire

__all__ = [
    "KIND",
    "SERVER",
    "PostgreSQL",
]

SERVER = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200"}
"""Settings with which a commit is on disk when it is acknowledged. A run opens many connections."""

_PORT = 5432
_USER = _DATABASE = "postgres"
_VERSION = 3 << 16
_TLS = struct.pack("!ii", 8, 80877103)


class PostgreSQL(Kind):
    """PostgreSQL, which is asked with its own protocol.

    A server that this run starts lets everybody on this machine connect without a password.
    """

    name = "postgresql"
    title = "PostgreSQL"
    form = "postgresql://USER@HOST:PORT/DATABASE"
    schemes = ("postgresql", "postgres")
    ways = ("container", "local")
    requirement = "chat-history-conformance[postgresql]"
    image = "postgres:17.5"
    image_licence = "PostgreSQL"
    programs = ("postgres",)
    places = (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/opt/postgresql*/bin",
        "/usr/local/opt/postgresql*/bin",
        "/Applications/Postgres.app/Contents/Versions/*/bin",
    )
    install = "apt-get install postgresql, or brew install postgresql"

    def fits(self, address: str) -> bool:
        parts = urlsplit(address)
        return is_url(address, self.schemes) and bool(parts.username) and len(parts.path) > 1

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        data, identity = directory / "data", f"history-{uuid.uuid4().hex}"
        programs = program.path.resolve().parent  # PATH may have a link to this one alone
        own = {
            "listen_addresses": "127.0.0.1",
            "port": str(ports[0]),
            "unix_socket_directories": "",
        }
        make = [
            *(str(programs / "initdb"), "--pgdata", str(data)),
            *("--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
            "--no-sync",  # only what is written later has to survive
        ]
        return Launch(
            command=[str(program.path), "-D", str(data), *_arguments(identity, own, options)],
            address=f"postgresql://{_USER}@127.0.0.1:{ports[0]}/{_DATABASE}",
            identity=identity,
            environment={"LC_ALL": "C"},  # messages in English
            setup=make,
            # SIGTERM would wait until all clients disconnect.
            stop_signal="SIGINT",
            # It releases its shared memory.
            end_signal="SIGQUIT",
        )

    def container(self, port: int, options: Options) -> Launch:
        identity = f"history-{uuid.uuid4().hex}"
        return Launch(
            command=["postgres", *_arguments(identity, {}, options)],
            address=f"postgresql://{_USER}@127.0.0.1:{port}/{_DATABASE}",
            identity=identity,
            environment={"POSTGRES_HOST_AUTH_METHOD": "trust"},
            port_inside=_PORT,
            stop_signal="SIGINT",
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        with _connected(address, config, seconds) as (connection, known):
            if identity and known and _value(connection, "SHOW cluster_name") != identity:
                raise NotReady("another PostgreSQL server answers there")

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        try:
            with _connected(address, config, seconds) as (_, known):
                return known.get("server_version", "").partition(" ")[0]
        except (NotReady, Refused):
            return ""


KIND = PostgreSQL()


def _arguments(identity: str, own: Mapping[str, str], options: Options) -> list[str]:
    """Return the arguments of the program: its settings."""
    if options.credentials:
        raise ServerError(
            "A PostgreSQL server that a run starts does not support users and passwords here. "
            "Name the address of one that has them."
        )
    settings = {**SERVER, "cluster_name": identity, **own, **options.properties}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


@contextlib.contextmanager
def _connected(
    address: str, config: Mapping[str, Any], seconds: float
) -> Iterator[tuple[Wire, Mapping[str, str]]]:
    """Connect to a server until it is ready for queries or asks for a password.

    Yields:
        The connection, and the parameters that the server reports; empty if it asks for a password.

    Raises:
        NotReady: It does not answer, or does not serve clients yet.
        Refused: It does not serve this user or this database.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    user = unquote(parts.username or "") or str(config.get("user", ""))
    with wire.connect(host, parts.port or _PORT, seconds) as connection:
        connection.send(_TLS)
        if (answer := connection.read(1)) == b"S":
            # No secret is sent, so it does not matter whose certificate it is.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.encrypt(context, host)
        elif answer != b"N":
            raise NotReady("something listens there, but it does not answer as PostgreSQL does")
        texts = ("user", user, "database", unquote(parts.path[1:]), "")
        greeting = struct.pack("!i", _VERSION) + b"".join(t.encode() + b"\0" for t in texts)
        connection.send(struct.pack("!i", len(greeting) + 4) + greeting)
        known: dict[str, str] = {}
        for mark, content in _messages(connection):
            if mark == b"R" and content[:4] != b"\0\0\0\0":
                break  # it asks for a password
            if mark == b"S":
                name, value, *_ = content.decode("utf-8", "replace").split("\0")
                known[name] = value
        yield connection, known
        connection.send(b"X\0\0\0\4")


def _messages(connection: Wire) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and content of each message until the server is ready for queries."""
    while True:
        mark, length = struct.unpack("!ci", connection.read(5))
        content = connection.read(max(0, length - 4))
        if mark == b"E":
            raise _error(content)
        yield mark, content
        if mark == b"Z":
            return


def _value(connection: Wire, query: str) -> str:
    """Return the first value that a query finds, or an empty text."""
    text = query.encode() + b"\0"
    connection.send(b"Q" + struct.pack("!i", len(text) + 4) + text)
    rows = [content for mark, content in _messages(connection) if mark == b"D"]
    return rows[0][6:].decode() if rows else ""


def _error(content: bytes) -> NotReady | Refused:
    """Return the exception for an error of the server."""
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in content.split(b"\0")}
    code, text = fields.get(b"C", ""), fields.get(b"M", "")
    if code.startswith(("57P", "53", "08")):  # it starts, shuts down, or has no connection left
        return NotReady(f"it answers: {text}")
    return Refused(f"it refuses the connection: {text}")
