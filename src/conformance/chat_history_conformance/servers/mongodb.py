"""MongoDB: one server, as a container or an installed program, and replica sets at an address."""

from __future__ import annotations

import contextlib
import re
import ssl
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chat_history_conformance.servers import ServerError, wire
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused, is_url
from chat_history_conformance.servers.program import Program

__all__ = [
    "KIND",
    "MongoDB",
]

_PORT = 27017
_OP_MSG = 2013


class MongoDB(Kind):
    """MongoDB, which is asked with its own protocol."""

    name = "mongodb"
    title = "MongoDB"
    form = "mongodb://HOST:PORT/"
    schemes = ("mongodb",)
    ways = ("container", "local")
    requirement = "chat-history-conformance[mongodb]"
    image = "mongo:8.0.4"
    image_licence = "SSPL-1.0"
    programs = ("mongod",)
    install = "https://www.mongodb.com/docs/manual/installation says how"

    def fits(self, address: str) -> bool:
        return all(is_url(one, self.schemes) for one in _members(address))

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        data = directory / "data"
        data.mkdir()
        own = {"bind_ip": "127.0.0.1", "port": str(ports[0]), "dbpath": str(data)}
        return Launch(
            command=[str(program.path), "--nounixsocket", *_arguments(own, options)],
            address=_address(ports[0]),
            identity=str(data),
        )

    def container(self, port: int, options: Options) -> Launch:
        return Launch(
            command=["mongod", "--bind_ip_all", *_arguments({}, options)],
            address=_address(port),
            port_inside=_PORT,
        )

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        reasons = []
        for one in _members(address):
            try:
                answer = _command(one, config, "hello", seconds)
                if not answer.get("isWritablePrimary"):
                    raise NotReady("it is not the primary, or its replica set has none")
                if identity and identity not in str(
                    _command(one, config, "getCmdLineOpts", seconds)
                ):
                    raise NotReady("another MongoDB server answers there")
            except NotReady as error:
                reasons.append(str(error))
            else:
                return
        raise NotReady("; ".join(dict.fromkeys(reasons)))

    def version_at(self, address: str, config: Mapping[str, Any], seconds: float) -> str:
        for one in _members(address):
            with contextlib.suppress(NotReady, Refused):
                return str(_command(one, config, "buildInfo", seconds).get("version", ""))
        return ""


KIND = MongoDB()


def _address(port: int) -> str:
    """Return the address of a started server: its clients wait until a write is on disk."""
    return f"mongodb://127.0.0.1:{port}/?journal=true"


def _arguments(own: Mapping[str, str], options: Options) -> list[str]:
    """Return the arguments of the program: its settings."""
    if options.credentials:
        raise ServerError(
            "A MongoDB server that a run starts does not support users and passwords here. "
            "Name the address of one that has them."
        )
    settings = {**own, **options.properties}
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def _members(address: str) -> list[str]:
    """Return a URL for each host of an address, without the user."""
    found = re.fullmatch(r"(\w+://)(?:[^/?#]*@)?([^/?#]*)(.*)", address)
    return [f"{found[1]}{host}{found[3]}" for host in found[2].split(",")] if found else [address]


def _command(address: str, config: Mapping[str, Any], name: str, seconds: float) -> dict[str, Any]:
    """Run a command without arguments and return its answer.

    Raises:
        NotReady: Something else answers.
        Refused: The client settings do not fit.
    """
    parts = urlsplit(address)
    query = {name.lower(): values[-1] for name, values in parse_qs(parts.query).items()}
    body = b"\x10" + name.encode() + b"\0" + struct.pack("<i", 1) + b"\x02$db\0\6\0\0\0admin\0"
    message = b"\0\0\0\0\0" + struct.pack("<i", len(body) + 5) + body + b"\0"
    with wire.connect(parts.hostname or "", parts.port or _PORT, seconds) as connection:
        if "true" in (query.get("tls"), query.get("ssl")):
            authority = query.get("tlscafile") or config.get("tlsCAFile")
            try:
                context = ssl.create_default_context(cafile=authority)
            except OSError as error:
                raise Refused(f"tlsCAFile of the client settings: {error}") from None
            connection.encrypt(context, parts.hostname or "")
        connection.send(struct.pack("<iiii", len(message) + 16, 1, 0, _OP_MSG) + message)
        length, _, to, kind = struct.unpack("<iiii", connection.read(16))
        if (to, kind) != (1, _OP_MSG) or not 26 <= length < 1 << 24:
            raise NotReady("something listens there, but it does not answer as MongoDB does")
        document = connection.read(length - 16)[5:]
    try:
        return _document(document, 0)[0]
    except (struct.error, ValueError, IndexError) as error:
        raise NotReady(f"it answers in an unknown format: {error}") from None


_NUMBERS = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}
"""Formats of the types of BSON that have a fixed size: double, bool, date, integers, timestamp."""


def _document(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Return the document of BSON that begins at a position, and its end.

    Raises:
        ValueError: It has a type that answers to these commands do not have.
    """
    found: dict[str, Any] = {}
    at += 4
    while kind := data[at]:
        end = data.index(b"\0", at)
        name, at = data[at + 1 : end].decode(), end + 1
        if kind in _NUMBERS:
            (found[name],) = struct.unpack_from(_NUMBERS[kind], data, at)
            at += struct.calcsize(_NUMBERS[kind])
        elif kind == 0x02:
            (length,) = struct.unpack_from("<i", data, at)
            found[name] = data[at + 4 : at + 3 + length].decode("utf-8", "replace")
            at += 4 + length
        elif kind in (0x03, 0x04):
            found[name], at = _document(data, at)
        elif kind == 0x05:
            at += 5 + struct.unpack_from("<i", data, at)[0]
        elif kind == 0x07:
            at += 12
        elif kind != 0x0A:
            raise ValueError(f"type {kind} of {name}")
    return found, at + 1
