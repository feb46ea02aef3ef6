"""The values of `--history-server`: how to get a server of each kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from chat_history_conformance.servers import ServerError, kinds, separate
from chat_history_conformance.servers.kind import Kind, Way, load

__all__ = [
    "NODES",
    "WAYS",
    "Choice",
    "allowed",
    "parse",
    "pick",
    "shown",
]

WAYS = ("auto", *get_args(Way))
"""The named ways to get a server. Any other value is an address."""

_CLUSTER = re.compile(r"([a-z]+):(\S*)")

NODES = (1, 3, 5, 7, 9)
"""The sizes of a cluster. With an even number, one more node would not survive one more failure."""


@dataclass(frozen=True)
class Choice:
    """A way to get a server.

    Attributes:
        kind: A kind of server, or empty for all of them.
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
    """Read `[KIND=]auto|container|jvm[:NODES]|local|mock|ADDRESS`.

    Args:
        text: The value that the user gave.
        kind: The kind, if the caller knows it.

    Raises:
        ServerError: The value is not valid; the message lists what is allowed.
    """
    before, separator, wanted = text.strip().partition("=")
    if not (separator and re.fullmatch(r"[a-z0-9_]+", before)):
        before, wanted = "", text
    if kind and before not in ("", kind):
        raise ServerError(f"server {before}=...: the kind is {kind} here. {allowed(kind)}")
    known = load(before or kind) if before or kind else None
    name, wanted = known.name if known else "", wanted.strip()
    if wanted in WAYS:
        return _possible(Choice(name, wanted), known)
    if (found := _CLUSTER.fullmatch(wanted)) and found[1] in WAYS:
        return _possible(Choice(name, found[1], nodes=_nodes(*found.groups())), known)
    fitting = [one.name for one in ([known] if known else map(load, kinds())) if one.fits(wanted)]
    if len(fitting) > 1:
        raise ServerError(
            f"server {shown(wanted)!r} can be an address of {' or '.join(fitting)}. Name the kind: "
            f"{fitting[0]}={shown(wanted)}"
        )
    if not fitting:
        raise ServerError(f"server {shown(text.strip())!r} is not understood. {allowed(name)}")
    return Choice(fitting[0], "address", wanted)


def allowed(kind: str = "") -> str:
    """Return a sentence with the values that are allowed for a kind, or for all kinds."""
    if not kind:
        return (
            "Use [KIND=]WAY. WAY is auto, container, jvm, jvm:3 (a cluster of three), local, mock "
            f"(Kafka only) or an address. KIND is {', '.join(kinds())}."
        )
    of = load(kind)
    return f"Use {kind}=WAY. WAY is {', '.join(('auto', *of.ways))} or an address: {of.form}."


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
                return _possible(choice, load(kind))
    return Choice(kind, "auto")


def shown(address: str) -> str:
    """Return an address without the user, password and query of a URL."""
    public = (re.sub(r"(?<=://)[^/?#]*@", "", one) for one in separate(address))
    return ",".join(re.sub(r"(://[^?#]*)[?#].*", r"\1", one) for one in public)


def _possible(choice: Choice, kind: Kind | None) -> Choice:
    if kind is not None and choice.way not in ("auto", "address", *kind.ways):
        raise ServerError(
            f"server {kind.name}={choice.shown}: {kind.title} has no way {choice.way}. "
            f"{allowed(kind.name)}"
        )
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
