"""Redis: one server that writes every command to disk, as a container or installed program."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from chat_history_conformance.servers import wire
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused, is_url
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.wire import Wire

__all__ = [
    "KIND",
    "SERVER",
    "Redis",
]

SERVER = {"appendonly": "yes", "appendfsync": "always", "save": ""}
"""Settings with which a command is on disk when it is acknowledged."""

_PORT = 6379


class Redis(Kind):
    """Redis, which is asked with its own protocol."""

    name = "redis"
    title = "Redis"
    form = "redis://HOST:PORT/0"
    schemes = ("redis", "rediss")
    ways = ("container", "local")
    requirement = "chat-history-conformance[redis]"
    image = "redis:7.2.5"
    image_licence = "BSD-3-Clause"
    programs = ("redis-server",)
    install = "apt-get install redis-server, or brew install redis"

    def fits(self, address: str) -> bool:
        of_form = is_url(address, self.schemes)
        return of_form and re.fullmatch(r"(/\d*)?", urlsplit(address).path) is not None

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        data = directory / "data"
        data.mkdir()
        own = {"bind": "127.0.0.1", "port": str(ports[0]), "dir": str(data)}
        return Launch(
            command=[str(program.path), *_arguments(own, options)],
            address=f"redis://127.0.0.1:{ports[0]}/0",
            identity=str(data),
            config=_client_settings(options.credentials),
        )

    def container(self, port: int, options: Options) -> Launch:
        return Launch(
            command=["redis-server", *_arguments({}, options)],
            address=f"redis://127.0.0.1:{port}/0",
            config=_client_settings(options.credentials),
            port_inside=_PORT,
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        with _connected(address, config, seconds) as connection:
            _call(connection, "PING")
            if identity and _call(connection, "CONFIG", "GET", "dir")[1:] != [identity]:
                raise NotReady("another Redis server answers there")

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        try:
            with _connected(address, config, seconds) as connection:
                answer = _call(connection, "INFO", "server")
        except (NotReady, Refused):
            return ""
        found = re.search(r"^redis_version:(\S+)", str(answer), re.MULTILINE)
        return found[1] if found else ""


KIND = Redis()


def _arguments(own: Mapping[str, str], options: Options) -> list[str]:
    """Return the arguments of the program: its settings and its users."""
    settings = {**SERVER, **own, **options.properties}
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    for user, password in options.credentials.items():
        arguments += ["--user", user, "on", f">{password}", "~*", "&*", "+@all"]
    if options.credentials and "default" not in options.credentials:
        arguments += ["--user", "default", "off"]
    return arguments


def _client_settings(credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a client with these credentials."""
    for user, password in credentials.items():
        return {"username": user, "password": password}
    return {}


@contextlib.contextmanager
def _connected(address: str, config: Mapping[str, Any], seconds: float) -> Iterator[Wire]:
    """Connect to a server, with the credentials of its address or of the client settings."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    user = unquote(parts.username or "") or config.get("username") or "default"
    password = unquote(parts.password or "") or config.get("password")
    with wire.connect(host, parts.port or _PORT, seconds) as connection:
        if parts.scheme == "rediss":
            try:
                context = ssl.create_default_context(cafile=config.get("ssl_ca_certs"))
            except OSError as error:
                raise Refused(f"ssl_ca_certs of the client settings: {error}") from None
            connection.encrypt(context, host)
        if password:
            _call(connection, "AUTH", str(user), str(password))
        yield connection


def _call(connection: Wire, *command: str) -> Any:
    """Send a command and return its answer.

    Raises:
        NotReady: The server is loading its data, or something else answers.
        Refused: It refuses the credentials, or the command.
    """
    parts = [b"$%d\r\n%s\r\n" % (len(part.encode()), part.encode()) for part in command]
    connection.send(b"*%d\r\n" % len(parts) + b"".join(parts))
    return _answer(connection)


def _answer(connection: Wire) -> Any:
    """Read one value of the protocol RESP."""
    line = connection.line().decode("utf-8", "replace")
    mark, text = line[:1], line[1:]
    if mark == "-":
        code = text.partition(" ")[0]
        if code in _REFUSALS:
            raise Refused(_REFUSALS[code])
        raise NotReady(f"it answers: {text}")
    if mark in "+:":
        return text
    if mark in "$*" and re.fullmatch(r"-1|\d{1,9}", text):
        number = int(text)
        if mark == "*":
            return [_answer(connection) for _ in range(number)]
        return connection.read(number + 2)[:-2].decode("utf-8", "replace") if number >= 0 else None
    raise NotReady("something listens there, but it does not answer as Redis does")


_REFUSALS = {
    "NOAUTH": "it demands a password: put it into the address or into the client settings",
    "WRONGPASS": "it refuses the user and password of the address or of the client settings",
    "NOPERM": "it does not let this user run the commands PING and CONFIG",
}
"""Messages for errors that waiting does not change, by their code."""
