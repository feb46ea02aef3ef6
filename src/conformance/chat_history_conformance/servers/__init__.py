"""Real servers for the backends that need one: found or started, stopped, removed.

A factory calls `address` and `settings`. Importing this package imports no client and starts
nothing.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

__all__ = [
    "CONFIG_VARIABLE",
    "ENTRY_POINTS",
    "ServerError",
    "address",
    "addresses",
    "counted_variable",
    "kinds",
    "replicas",
    "separate",
    "settings",
    "variable",
]

ENTRY_POINTS = "chat_history_servers"
"""The group of entry points in which packages register kinds of servers."""

CONFIG_VARIABLE = "HISTORY_SERVER_CONFIG"


class ServerError(Exception):
    """A server is missing or cannot be started; the message says what to do."""


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds of servers that a package registers, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


def variable(kind: str) -> str:
    """Return the environment variable that holds the address, such as `HISTORY_KAFKA`.

    A run sets it for itself and for the processes it starts.
    """
    return f"HISTORY_{kind.upper()}"


def counted_variable(kind: str) -> str:
    """Return the environment variable that says where requests to a server may be counted.

    It holds three addresses: the server's own, the one at which a counter may listen, and the one
    to which the counter forwards requests.
    """
    return f"{variable(kind)}_COUNTED"


def address(kind: str) -> str:
    """Return the address of the server of a kind.

    Args:
        kind: A kind of server, such as `redis`.

    Returns:
        `host:port` for Kafka, a URL for the other kinds of this package; the addresses of a
        cluster are separated by commas.

    Raises:
        ServerError: No address is set in this process or a parent of it.
    """
    found = os.environ.get(variable(kind))
    if not found:
        raise ServerError(
            f"No {kind} server is known here. Set {variable(kind)} to its address, or run "
            f"`history-conformance server {kind}`, which starts one and prints its address."
        )
    return found


def addresses(kind: str) -> list[str]:
    """Return the addresses of the members of a cluster; the one address of any other server.

    Args:
        kind: A kind of server, such as `redis`.

    Raises:
        ServerError: No address is set in this process or a parent of it.
    """
    return separate(address(kind))


def separate(address: str) -> list[str]:
    """Split the address of a cluster into those of its members."""
    return re.split(r",(?=https?://)" if "://" in address else ",", address)


def replicas(kind: str) -> int:
    """Return how many copies of its data the server of a kind should keep.

    Args:
        kind: A kind of server, such as `kafka`.

    Returns:
        1 for a server with one address. For a cluster, at most 3 for Kafka, and 2 for
        Elasticsearch: a primary and one replica.

    Raises:
        ServerError: No address is set in this process or a parent of it.
    """
    return min(len(addresses(kind)), 2 if kind == "elasticsearch" else 3)


def settings(kind: str) -> Mapping[str, Any]:
    """Return the client settings: the table `[kind]` of the file of `--history-server-config`.

    Returns:
        The TOML table; empty if there is no file or no such table. Names of Kafka's settings have
        dots, which TOML reads as nested tables; they are joined again.

    Raises:
        ServerError: The file cannot be read.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if not path:
        return {}
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8")).get(kind, {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ServerError(f"The client settings in {path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise ServerError(f"{path}: [{kind}] must be a table of client settings")
    return dict(_dotted(table)) if kind == "kafka" else table


def _dotted(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield before + name, value
