"""The control `stoppable`, whose server is declared with `stop=` and `start=`, and broken ones.

Its server is the control `sqlite` behind a file: while the file exists, nothing answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.messages import BaseMessage

from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.results.model import Kind

__all__ = ["BACKEND", "StoppableChatMessageHistory", "start", "stop"]

logger = logging.getLogger(__name__)

_FILE = "stopped"
_PATIENCE_SECONDS = 2.0
"""Seconds for which a call waits for the server, as clients do while a server restarts."""


def stop() -> None:
    """Stop the server."""
    Path(_FILE).touch()


def start() -> None:
    """Start the server again."""
    Path(_FILE).unlink(missing_ok=True)


class StoppedError(ConnectionError):
    """The server is stopped, and the call was not carried out."""

    outcome_unknown = False


class StoppableChatMessageHistory(SQLiteChatMessageHistory):
    """An SQLite history that raises `StoppedError` while its server is stopped."""

    patience_seconds: ClassVar[float] = _PATIENCE_SECONDS

    @contextmanager
    def _transaction(self, kind: Any, deadline: float | None = None) -> Iterator[Any]:
        self._await_server()
        with super()._transaction(kind, deadline) as connection:
            yield connection

    def _await_server(self) -> None:
        until = time.monotonic() + self.patience_seconds
        while Path(_FILE).exists():
            if time.monotonic() > until:
                raise StoppedError(f"no server answers for session {self.session_id!r}")
            time.sleep(0.02)


BACKEND = Backend(
    name="stoppable",
    factory=StoppableChatMessageHistory,
    origin=Origin(__name__, "StoppableChatMessageHistory"),
    disposable=True,
    stop=stop,
    start=start,
)
"""The declaration of the control."""


def _broken(id: str, *, breaks: str, kind: Kind, seen: str = INVENTED) -> Callable[[Any], Any]:
    return faulty(
        id, breaks=breaks, kind=kind, seen=seen, control="stoppable", stop=stop, start=start
    )


@_broken(
    "stoppable.empty_while_stopped",
    breaks="faults.dead_server_reads",
    kind="swallowed_error",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py get_messages: an error is logged, "
    "and the list stays empty",
)
class EmptyWhileStopped(StoppableChatMessageHistory):
    """Returns an empty list while the server is stopped."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        try:
            return super().messages
        except StoppedError:
            return []


@_broken(
    "stoppable.drops_while_stopped",
    breaks="faults.unreachable_raises",
    kind="swallowed_error",
    seen="langchain-mongodb 0.12.1 add_message: the error of a write is only logged",
)
class DropsWhileStopped(StoppableChatMessageHistory):
    """Logs the error of an add while the server is stopped, and drops the messages."""

    def _append(self, texts: Sequence[str]) -> None:
        try:
            super()._append(texts)
        except StoppedError as error:
            logger.error("adding failed: %s", error)


@_broken("stoppable.adds_later", breaks="faults.errors_are_true", kind="wrong_error")
class AddsLater(StoppableChatMessageHistory):
    """Says that a batch was not stored, and stores it when the server is back."""

    _waiting: Sequence[str] = ()

    def _append(self, texts: Sequence[str]) -> None:
        waiting, self._waiting = self._waiting, ()
        try:
            super()._append([*waiting, *texts])
        except StoppedError:
            self._waiting = [*waiting, *texts]
            raise
