"""Steps around the history: the working directory, and the functions of a declaration."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.code import Code, Need, call, fill, given
from chat_history_conformance.diagnosis.compare import HookFailure
from chat_history_conformance.diagnosis.rendering import show, show_odd, source
from chat_history_conformance.diagnosis.script import id_source
from chat_history_conformance.diagnosis.script_hooks import entered, left
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.errors import RemoteError
from chat_history_conformance.execution.hooks import Hook
from chat_history_conformance.execution.phrase import elsewhere
from chat_history_conformance.execution.story import Story

__all__ = ["Declared"]


class Declared(Story):
    """The record of an example that changes things around the history.

    Attributes:
        untried: What the contract could not try, in words, if it passes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.untried: dict[str, None] = {}
        self._stores: list[Hook] = []

    @contextlib.contextmanager
    def another_directory(self) -> Iterator[None]:
        """Use another working directory inside the `with` block."""
        before = os.getcwd()
        needs = frozenset({Need("os"), Need("tempfile")})
        code = Code("before = os.getcwd()\nos.chdir(tempfile.mkdtemp())", needs)
        self.steps.append(Step("the working directory is another one:", code))
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            try:
                yield
            finally:
                os.chdir(before)
        code = Code("os.chdir(before)")
        self.steps.append(Step("the working directory is the first one again", code))

    @contextlib.contextmanager
    def interfering(self, name: str, session: str) -> Iterator[None]:
        """Let another user of the store interfere with a session inside the `with` block.

        Args:
            name: A key of the backend's `interference`.
            session: The template of the session id.
        """
        number = list(self.subject.backend.interference).index(name) + 1
        function = given(f"interference_{number}")
        begin = f"interfering = {{}}({{}})  # {name}\ninterfering.__enter__()"
        code = fill(begin, function, id_source(session))
        self.steps.append(Step(f"{show(name)} begins, by another user of the store", code))
        declared = self.subject.backend.interference[name]
        hook = Hook(self.subject, f"interference {name!r}", declared, self.id_of(session))
        hook.begin()
        if not hook.is_context:
            raise HookFailure(
                f"interference {name!r} returned {type(hook.value).__name__} instead of a "
                "context manager. Decorate its generator function with contextlib.contextmanager."
            )
        self.disturbed = True
        with self._until_left(hook):
            yield
            ending = Code("interfering.__exit__(None, None, None)")
            self.steps.append(Step(f"{show(name)} ends", ending))

    @contextlib.contextmanager
    def refusing(self, session: str) -> Iterator[bool]:
        """Let the store refuse writes to a session inside the `with` block.

        Args:
            session: The template of the session id.

        Yields:
            Whether it refuses all of them, and not only the next one.
        """
        refuse = self.subject.backend.refuse
        assert refuse is not None  # the contract has looked
        code = call(entered, fill("{}({})", given("refuse_writes"), id_source(session)))
        self.steps.append(Step("the store refuses writes to the session, by refuse=", code))
        hook = Hook(self.subject, "refuse=", refuse, self.id_of(session))
        with self.subject.quiet.disturbing_store(
            self
        ):  # it may refuse writes to other sessions too
            hook.begin()
            self.disturbed = True
            with self._until_left(hook):
                yield hook.is_context
                self.steps.append(Step("the store accepts writes again", call(left)))

    @contextlib.contextmanager
    def _until_left(self, hook: Hook) -> Iterator[None]:
        """End a hook after the `with` block, however it ends."""
        try:
            yield
        except BaseException:
            hook.end(failed=True)
            raise
        hook.end(failed=False)

    def use_new_store(self) -> None:
        """Open all histories from now on in another store that was never used."""
        fresh = self.subject.backend.fresh
        assert fresh is not None  # the contract has looked
        number = len(self._stores) + 1
        name = f"new{number}{self.nonce}"
        new = fill("{}({} + nonce)", given("fresh_store"), source(f"new{number}"))
        code = fill("open_history = {}", call(entered, new))
        self.steps.append(Step(f"a new store, by fresh={show(name)}", code))
        store = Hook(self.subject, "fresh=", fresh, name)
        self._stores.append(store)
        store.begin()
        if not callable(store.value):
            raise HookFailure(
                f"fresh= returned {show_odd(store.value)}, which cannot be called with a "
                "session id. Return a factory: lambda session_id: MyHistory(session_id, ...)."
            )
        self.subject.local.factory = store.value
        if self.mode == "process":
            self.steps.append(Step("the same store in the second process", elsewhere(code)))
            try:
                self.subject.second_process.enter_store(name)
            except RemoteError as error:
                raise HookFailure(f"fresh= in the second process: {error.text}") from error

    def not_tried(self, what: str) -> None:
        """Record what this example could not try. The report says it if the contract passes."""
        self.untried[what] = None

    @property
    def opening(self) -> Backend:
        """The backend as it opens histories in this example."""
        return replace(self.subject.backend, factory=self.subject.local.factory)

    def leave_store(self, *, failed: bool) -> None:
        """Open histories as before again, and let the declaration clean up the new stores.

        Args:
            failed: Whether the example has failed. A second failure would hide the first.
        """
        stores, self._stores = self._stores, []
        if not stores:
            return
        self.subject.local.factory = self.subject.backend.factory
        if self.mode == "process":
            with contextlib.suppress(Exception):  # the next store replaces this one
                self.subject.second_process.leave_store()
        for store in stores:
            store.end(failed=failed)
