"""The work of each role, as an endless sequence of steps. It does no I/O.

The seed of a client fixes its steps, whatever the history answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chat_history_conformance.campaign.plan import Client, Role
from chat_history_conformance.campaign.recording import Kind

__all__ = ["Request", "requests"]

_BATCHES = (1, 1, 1, 1, 2, 2, 3, 4)
_LARGE_BATCH = 50
_READ_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """One call of a client, and the pause after it.

    Attributes:
        kind: Its task.
        operation: The operation of a history.
        session: Its session.
        args: The arguments of the operation. An add takes `texts` instead.
        texts: The texts of the messages to add.
        count: The number of messages that a bounded read asks for.
        reopen: Whether the client opens the session again before it.
        pause_seconds: How long the client waits after it.
    """

    kind: Kind
    operation: str
    session: str
    args: tuple[Any, ...] = ()
    texts: tuple[str, ...] = ()
    count: int | None = None
    reopen: bool = False
    pause_seconds: float = 0.0


def requests(client: Client, name: str) -> Iterator[Request]:
    """Return the requests of a client.

    Args:
        client: The client.
        name: The prefix of its texts, which no other client of the campaign has.
    """
    return _ROLES[client.role](client, name, random.Random(client.seed))


def _writer(client: Client, name: str, rng: random.Random) -> Iterator[Request]:
    (session,) = client.sessions
    number = 0
    while True:
        size = _LARGE_BATCH if rng.random() < 0.01 else rng.choice(_BATCHES)
        yield _add(name, number, size, session, rng.random() < 0.02, rng.uniform(0.0, 0.2))
        number += size


def _reader(client: Client, name: str, rng: random.Random) -> Iterator[Request]:
    while True:
        session = rng.choice(client.sessions)
        reopen, pause = rng.random() < 0.1, rng.uniform(0.05, 0.4)
        kind = rng.choice(("whole", "last", "last", "first"))
        if kind == "first" and session in client.consumed:
            kind = "whole"
        if kind == "last" and "last_messages" in client.operations:
            count = rng.choice((1, 5, 30))
            yield Request("last", "last_messages", session, (count,), (), count, reopen, pause)
        elif kind == "first" and "messages_from_beginning" in client.operations:
            count = rng.choice((1, 10, 100))
            args = (count, _READ_SECONDS)
            yield Request(
                "read", "messages_from_beginning", session, args, (), count, reopen, pause
            )
        else:
            yield _whole(session, reopen, pause)


def _clearer(client: Client, name: str, rng: random.Random) -> Iterator[Request]:
    (session,) = client.sessions
    number = 0
    while True:
        for _ in range(rng.randrange(1, 4)):
            yield _add(name, number, 2, session, False, 0.0)
            number += 2
        yield Request("clear", "clear", session, reopen=rng.random() < 0.05)
        yield _whole(session, False, rng.uniform(0.0, 0.5))


def _mixed_clearer(client: Client, name: str, rng: random.Random) -> Iterator[Request]:
    (session,) = client.sessions
    number = 0
    while True:
        yield _add(name, number, 1, session, rng.random() < 0.05, rng.uniform(0.5, 3.0))
        number += 1
        yield Request("clear", "clear", session, pause_seconds=rng.uniform(0.1, 0.5))


def _consumer(client: Client, name: str, rng: random.Random) -> Iterator[Request]:
    (session,) = client.sessions
    while True:
        count = rng.choice((1, 10, None))
        yield Request(
            "consume",
            "messages_from_last_consumed",
            session,
            (count, _READ_SECONDS),
            (),
            count,
            rng.random() < 0.03,
            rng.uniform(0.05, 0.4),
        )


_ROLES: Mapping[Role, Callable[[Client, str, random.Random], Iterator[Request]]] = {
    "writer": _writer,
    "reader": _reader,
    "clearer": _clearer,
    "mixed_clearer": _mixed_clearer,
    "consumer": _consumer,
}


def _add(
    name: str, number: int, size: int, session: str, reopen: bool, pause_seconds: float
) -> Request:
    texts = tuple(f"{name}-{number + one}" for one in range(size))
    return Request("add", "add_messages", session, (), texts, None, reopen, pause_seconds)


def _whole(session: str, reopen: bool, pause_seconds: float) -> Request:
    return Request("read", "messages", session, reopen=reopen, pause_seconds=pause_seconds)
