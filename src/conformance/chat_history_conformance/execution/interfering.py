"""One interference of another user of the store with a session, as the backend declares it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn

from chat_history_conformance.diagnosis.compare import ServerFailure, type_name
from chat_history_conformance.execution.subject import Subject

__all__ = ["Interfering"]


class Interfering:
    """An interference that begins and ends.

    Args:
        subject: The backend under test.
        name: A key of its `interference`.
        session_id: The session to interfere with.
    """

    def __init__(self, subject: Subject, name: str, session_id: str) -> None:
        self._subject = subject
        self._name = name
        self._session_id = session_id
        self._context: AbstractContextManager[None] | None = None

    def begin(self) -> None:
        """Begin it.

        Raises:
            ServerFailure: It could not begin, which says nothing about the history.
        """
        function = self._subject.backend.interference[self._name]
        try:
            context = self._subject.local.run(lambda: function(self._session_id))
        except Exception as error:
            self._fail("could not begin", error)
        if not isinstance(context, AbstractContextManager):
            raise ServerFailure(
                f"interference {self._name!r} returned {type(context).__name__} instead of a "
                "context manager. Decorate its generator function with contextlib.contextmanager."
            )
        try:
            self._subject.local.run(context.__enter__)
        except Exception as error:
            self._fail("could not begin", error)
        self._context = context

    def end(self, *, failed: bool) -> None:
        """End it.

        Args:
            failed: Whether the example has failed. A second failure would hide the first.

        Raises:
            ServerFailure: It could not end, so that later contracts may fail.
        """
        assert self._context is not None  # it has begun
        leave: Callable[..., bool | None] = self._context.__exit__
        try:
            self._subject.local.run(lambda: leave(None, None, None))
        except Exception as error:
            self._subject.notes.append(f"interference {self._name!r} could not end: {error}")
            if not failed:
                self._fail("could not end", error)

    def _fail(self, what: str, error: Exception) -> NoReturn:
        raise ServerFailure(
            f"interference {self._name!r} {what}: {type_name(error)}: {error}"
        ) from error
