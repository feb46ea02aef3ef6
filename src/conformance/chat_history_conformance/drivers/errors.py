"""The ways in which a call on a history fails, apart from what the history itself raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_history_conformance.declaration.backend import Backend

__all__ = [
    "SAYS",
    "EscapedError",
    "Hung",
    "RemoteError",
    "SecondProcessCrashed",
    "SecondProcessLost",
    "is_server_error",
    "text_of",
]

SAYS = ("outcome_unknown", "unconfirmed", "messages")
"""Attributes by which an error of a history shows the outcome of the call."""


class Hung(Exception):
    """A call did not return within its time limit. It may still be running."""


class RemoteError(Exception):
    """An exception that a history raised in the second process.

    Args:
        type_name: The name of its class.
        text: Its message.
        server: Whether it means that the server cannot be reached.
        said: Its attributes among `SAYS`, which show the outcome of the call.
        raised_at: The line of the history that raised; see `places.raised_at`.
    """

    def __init__(
        self,
        type_name: str,
        text: str,
        server: bool,
        said: Mapping[str, Any] | None = None,
        raised_at: str = "",
    ) -> None:
        # Unpickling passes these arguments again.
        super().__init__(type_name, text, server, said, raised_at)
        self.type_name = type_name
        self.text = text
        self.server = server
        self.raised_at = raised_at
        for name, value in (said or {}).items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.text


class EscapedError(RemoteError):
    """An exception of a history that is not an `Exception`, such as SystemExit or pytest's Skipped.

    It would end the thread, the event loop or the run. A history has no right to that, so it is
    judged like every other exception.

    Args:
        error: The exception of the history.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__, text_of(error), server=False)
        self.__cause__ = error

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteError, self.args


class SecondProcessLost(Exception):
    """The second process could not be started, or has ended."""


class SecondProcessCrashed(SecondProcessLost):
    """The second process has ended by itself during a call on a history.

    Args:
        how: How it ended, such as `died of SIGSEGV`.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"the second process {how}")
        self.how = how


def is_server_error(error: BaseException, backend: Backend) -> bool:
    """Return whether an exception means that the backend's server cannot be reached."""
    if isinstance(error, RemoteError):
        return error.server
    return isinstance(error, (ConnectionError, *backend.server_errors))


def text_of(error: BaseException) -> str:
    """Return the message of an exception, even if its `__str__` raises."""
    try:
        return str(error)
    except BaseException as trouble:  # the code of a history
        return f"<{type(trouble).__name__} in str>"
