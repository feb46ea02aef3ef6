"""What `--history-server` and its twins say: which way a server of a kind is to be had."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chat_history_conformance.servers import KINDS, ServerError

WAYS = ("auto", "container", "jvm", "mock")
"""The ways that have a name. Any other word is an address."""

_HOST_AND_PORT = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s,/:@=\[\]]+):\d{1,5}"
_BROKERS = re.compile(rf"{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*")

ALLOWED = (
    "allowed is [KIND=]auto, container, jvm, mock (Kafka only) or an address: "
    "kafka=HOST:PORT[,HOST:PORT...] or elasticsearch=https://HOST:PORT"
)


@dataclass(frozen=True)
class Choice:
    """A way to a server.

    Attributes:
        kind: One of `KINDS`, or empty where it holds for all of them.
        way: One of `WAYS`, or `address`.
        address: Where the server is; empty for any other way.
    """

    kind: str
    way: str
    address: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The way as it was written, without a user and password that the address may hold."""
        return shown(self.address) if self.way == "address" else self.way


def parse(text: str, kind: str = "") -> Choice:
    """Read `[KIND=]auto|container|jvm|mock|ADDRESS`.

    Args:
        text: As given by a user.
        kind: Its kind, where that is known from elsewhere.

    Raises:
        ServerError: It is none of these; the text says what is allowed.
    """
    before, separator, after = text.strip().partition("=")
    if separator and re.fullmatch(r"[a-z_]+", before):
        if before not in KINDS or kind not in ("", before):
            raise ServerError(
                f"server {before}=...: no {kind or 'such'} kind; the kinds are "
                f"{', '.join(KINDS)}, and {ALLOWED}"
            )
        kind, wanted = before, after.strip()
    else:
        wanted = text.strip()
    if wanted in WAYS:
        return _possible(Choice(kind, wanted), kind)
    of_form = _kind_of(wanted)
    if not of_form or kind not in ("", of_form):
        raise ServerError(f"server {shown(text.strip())!r} is not understood: {ALLOWED}")
    return Choice(of_form, "address", wanted)


def pick(kind: str, choices: Sequence[Choice]) -> Choice:
    """The choice that counts for a kind: the last one made for it, else the last one for all.

    Returns:
        `auto` where none was made.

    Raises:
        ServerError: The one for all is none for this kind.
    """
    for of in (kind, ""):
        for choice in reversed(choices):
            if choice.kind == of:
                return _possible(choice, kind)
    return Choice(kind, "auto")


def shown(address: str) -> str:
    """An address without the user and password that a URL may hold."""
    return re.sub(r"(?<=://)[^/?#]*@", "", address)


def _possible(choice: Choice, kind: str) -> Choice:
    if choice.way == "mock" and kind not in ("", "kafka"):
        raise ServerError(f"server {kind}=mock: there is a mock of Kafka only; {ALLOWED}")
    return choice


def _kind_of(address: str) -> str:
    """Whose form an address has: a URL is Elasticsearch's, hosts with ports are Kafka's."""
    if _BROKERS.fullmatch(address):
        ports = [int(one.rpartition(":")[2]) for one in address.split(",")]
        return "kafka" if all(0 < port < 65_536 for port in ports) else ""
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return ""
    return "elasticsearch" if valid else ""
