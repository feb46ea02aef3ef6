"""A correct chat history on a cluster of `served` members."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from chat_history_conformance.faulty.served.history import (
    ServedChatMessageHistory,
    ServedError,
    countdown,
    pause,
)

__all__ = ["ClusteredChatMessageHistory"]

_ATTEMPT_SECONDS = 0.8
"""Time that one member gets to answer at first. A paused one takes connections and is silent."""

_MORE = 2.0
"""The multiple of the timeout of a single server: another member has to take over."""


class ClusteredChatMessageHistory(ServedChatMessageHistory):
    """A conversation on a cluster. Each request is sent to one member after the other.

    Args:
        session_id: Any string.
        address: The addresses of all members, `host:port,host:port`.
    """

    def __init__(self, session_id: str, address: str) -> None:
        super().__init__(session_id, address)
        self.addresses: Sequence[str] = address.split(",")
        self._at = 0

    def _change(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        # A change is carried out once, however often its identifier is sent.
        return self._ask({"identifier": uuid.uuid4().hex, **request}, seconds)

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        line = json.dumps({**request, "session": self.session_id}).encode("ascii") + b"\n"
        left, sent = countdown(None if seconds is None else seconds * _MORE), False
        patience = _ATTEMPT_SECONDS
        while True:
            try:
                answer = self._exchange(line, _within(patience, left))
                if answer.get("error") == "not leader":
                    raise BlockingIOError("no member leads")
            except OSError as error:
                sent = sent or not isinstance(error, (ConnectionRefusedError, BlockingIOError))
                # A long answer of a busy member takes longer than a first attempt waits.
                patience *= 2 if isinstance(error, TimeoutError) else 1
                self._next()
                if not pause(left):
                    failure = ServedError(
                        f"{request['do']} of session {self.session_id!r}: no member of the "
                        f"cluster {self.address} answered ({type(error).__name__}: {error}). Do "
                        "most of them run?"
                    )
                    failure.outcome_unknown = sent
                    raise failure from error
                continue
            return answer

    def _next(self) -> None:
        """Use another member for the next attempt."""
        self._at = (self._at + 1) % len(self.addresses)

    def _connect(self, left: Callable[[], float | None]) -> socket.socket:
        host, _, port = self.addresses[self._at].rpartition(":")
        return socket.create_connection((host, int(port)), left())


def _within(seconds: float, left: Callable[[], float | None]) -> Callable[[], float | None]:
    """Return a countdown of one attempt, which does not last longer than the whole request."""
    attempt = countdown(seconds)

    def limited() -> float:
        mine, whole = attempt(), left()
        assert mine is not None
        return mine if whole is None else min(mine, whole)

    return limited
