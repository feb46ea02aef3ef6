"""The values of `--history-server`: how to get a server of each kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chat_history_conformance.servers import KINDS, ServerError, separate

__all__ = [
    "ALLOWED",
    "NODES",
    "WAYS",
    "Choice",
    "parse",
    "pick",
    "shown",
]

WAYS = ("auto", "container", "jvm", "mock")
"""The named ways to get a server. Any other value is an address."""

_HOST_AND_PORT = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s,/:@=\[\]]+):\d{1,5}"
_BROKERS = re.compile(rf"{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*")

_CLUSTER = re.compile(r"([a-z]+):(\S*)")

NODES = (1, 3, 5, 7, 9)
"""The sizes of a cluster. With an even number, one more node would not survive one more failure."""

ALLOWED = (
    "Use [KIND=]auto, container, jvm or mock (Kafka only), jvm:3 for a cluster of three, or an "
    "address: kafka=HOST:PORT[,HOST:PORT...] or elasticsearch=https://HOST:PORT[,https://...]."
)


@dataclass(frozen=True)
class Choice:
    """A way to get a server.

    Attributes:
        kind: One of `KINDS`, or empty for all of them.
        way: One of `WAYS`, or `address`.
        address: The address of the server; empty for any other way.
        nodes: The number of nodes; 1 for a single server.
    """

    kind: str
    way: str
    address: str = field(default="", repr=False)
    nodes: int = 1

    @property
    def shown(self) -> str:
        """The way as written, without the user and password of an address."""
        if self.way == "address":
            return shown(self.address)
        return self.way if self.nodes == 1 else f"{self.way}:{self.nodes}"


def parse(text: str, kind: str = "") -> Choice:
    """Read `[KIND=]auto|container|jvm[:NODES]|mock|ADDRESS`.

    Args:
        text: The value that the user gave.
        kind: The kind, if the caller knows it.

    Raises:
        ServerError: The value is not valid; the message lists what is allowed.
    """
    before, separator, after = text.strip().partition("=")
    if separator and re.fullmatch(r"[a-z_]+", before):
        if before not in KINDS or kind not in ("", before):
            raise ServerError(
                f"server {before}=...: no {kind or 'such'} kind; the kinds are "
                f"{', '.join(KINDS)}. {ALLOWED}"
            )
        kind, wanted = before, after.strip()
    else:
        wanted = text.strip()
    if wanted in WAYS:
        return _possible(Choice(kind, wanted), kind)
    if (found := _CLUSTER.fullmatch(wanted)) and found[1] in WAYS:
        return Choice(kind, found[1], nodes=_nodes(*found.groups()))
    of_form = _kind_of(wanted)
    if not of_form or kind not in ("", of_form):
        raise ServerError(f"server {shown(text.strip())!r} is not understood. {ALLOWED}")
    return Choice(of_form, "address", wanted)


def pick(kind: str, choices: Sequence[Choice]) -> Choice:
    """Return the choice for a kind: the last one for this kind, else the last one for all kinds.

    Returns:
        `auto` if there is no choice.

    Raises:
        ServerError: The choice for all kinds is not possible for this kind.
    """
    for of in (kind, ""):
        for choice in reversed(choices):
            if choice.kind == of:
                return _possible(choice, kind)
    return Choice(kind, "auto")


def shown(address: str) -> str:
    """Return an address without the user and password of a URL."""
    return ",".join(re.sub(r"(?<=://)[^/?#]*@", "", one) for one in separate(address))


def _possible(choice: Choice, kind: str) -> Choice:
    if choice.way == "mock" and kind not in ("", "kafka"):
        raise ServerError(f"server {kind}=mock: there is a mock of Kafka only. {ALLOWED}")
    return choice


def _nodes(way: str, number: str) -> int:
    """Return the number of nodes of a cluster."""
    if way != "jvm":
        raise ServerError(
            f"server {way}:{number}: only the jvm way starts a cluster. Use jvm:{number or 3}."
        )
    if number not in map(str, NODES):
        raise ServerError(
            f"server jvm:{number}: a cluster has an odd number of nodes, at most {NODES[-1]}. "
            "Use jvm:3."
        )
    return int(number)


def _kind_of(address: str) -> str:
    """Return the kind that an address belongs to: URLs are Elasticsearch, HOST:PORT is Kafka."""
    if _BROKERS.fullmatch(address):
        ports = [int(one.rpartition(":")[2]) for one in address.split(",")]
        return "kafka" if all(0 < port < 65_536 for port in ports) else ""
    return "elasticsearch" if all(map(_is_url, separate(address))) else ""


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host_is_valid = bool(parts.hostname) and "," not in str(parts.hostname)
        return parts.scheme in ("http", "https") and host_is_valid and parts.port != 0
    except ValueError:
        return False
