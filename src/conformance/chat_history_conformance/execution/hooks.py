"""A function that a backend declares, called during an example: it begins, and ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from chat_history_conformance.diagnosis.compare import HookFailure, type_name
from chat_history_conformance.drivers.errors import Hung
from chat_history_conformance.execution.subject import Subject

__all__ = ["Hook"]

_PERHAPS = ", perhaps because the history keeps a transaction or a lock open"


class Hook:
    """A declared function, and the context manager that it returns.

    Args:
        subject: The backend under test.
        name: Its name in errors, such as `refuse=`.
        function: The function.
        argument: Its argument.

    Attributes:
        value: The value of the context manager. If there is none, the result of the function.
    """

    def __init__(
        self, subject: Subject, name: str, function: Callable[[str], Any], argument: str
    ) -> None:
        self._subject = subject
        self._name = name
        self._function = function
        self._argument = argument
        self._context: AbstractContextManager[Any] | None = None
        self.value: Any = None

    @property
    def is_context(self) -> bool:
        """True if the function returned a context manager."""
        return self._context is not None

    def begin(self) -> None:
        """Call the function, and enter the context manager that it returns.

        Raises:
            HookFailure: That failed, which says nothing about the history.
        """
        run = self._subject.local.run
        try:
            self.value = run(lambda: self._function(self._argument))
            if isinstance(self.value, AbstractContextManager):
                context = self.value
                self.value = run(context.__enter__)
                self._context = context
        except Exception as error:
            self._fail("could not begin", error)

    def end(self, *, failed: bool) -> None:
        """Leave the context manager, if there is one.

        Args:
            failed: Whether the example has failed. A second failure would hide the first.

        Raises:
            HookFailure: That failed, so that later contracts may fail.
        """
        context, self._context = self._context, None
        if context is None:
            return
        leave: Callable[..., bool | None] = context.__exit__
        try:
            self._subject.local.run(lambda: leave(None, None, None))
        except Exception as error:
            self._subject.notes.append(f"{self._name} could not end: {error}")
            if not failed:
                hung = isinstance(error, Hung)
                self._fail(f"could not end{_PERHAPS if hung else ''}", error)

    def _fail(self, what: str, error: Exception) -> NoReturn:
        raise HookFailure(f"{self._name} {what}: {type_name(error)}: {error}") from error
