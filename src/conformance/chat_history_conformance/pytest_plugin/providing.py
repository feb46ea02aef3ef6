"""The values of the functions of declarations in one process: of lifespans and of fixtures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.declaration.lifespan import Lifespans
from chat_history_conformance.declaration.parameters import VARIABLE, not_json, publish
from chat_history_conformance.drivers.places import raised_at
from chat_history_conformance.pytest_plugin.fixtures import Fixtures, is_async, needed
from chat_history_conformance.servers import separate, variable

__all__ = ["Provider", "Unavailable"]


class Unavailable(Exception):
    """A backend has no values, so that its contracts cannot be judged. The text says why."""


class Provider:
    """The values of all backends of a run, in one process.

    Args:
        release: Ends everything that uses the values. It is called before fixtures are torn down.

    Attributes:
        lifespans: The lifespans of the run.
        notes: Remarks about the values of a backend, by its name.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self.lifespans = Lifespans()
        self.notes: dict[str, list[str]] = {}
        self._release = release
        self._session: pytest.Session | None = None
        self._fixtures: Fixtures | None = None
        self._backends: dict[str, Backend] = {}
        self._broken: dict[str, str] = {}
        self._before = os.environ.get(VARIABLE)

    def begin(self, session: pytest.Session) -> None:
        """Use the fixtures of a session from now on."""
        self._session = session

    @property
    def troubles(self) -> Mapping[str, str]:
        """The reasons why backends have no values, or why these could not be cleaned up."""
        return {**self._broken, **self.lifespans.troubles}

    def fixtures_of(self, backend: Backend) -> list[str]:
        """Return the parameters of a backend that its lifespan does not give."""
        given = self.lifespans.objects.get(backend.name, {})
        return [name for name in backend.wanted if name not in given]

    def is_ready(self, backend: Backend) -> bool:
        """Return whether the backend has its values, or gets them without a fixture."""
        if backend.name in self.troubles:
            return False
        return backend.name in self._backends or not self.fixtures_of(backend)

    def bound(self, backend: Backend) -> Backend:
        """Return the backend with its values, which are made at the first call.

        Raises:
            DeclarationError: A parameter has no value, or that of an unusable fixture.
            Unavailable: A fixture or the lifespan has failed.
        """
        if backend.name in self.troubles:
            raise Unavailable(self.troubles[backend.name])
        if backend.name not in self._backends:
            self._backends[backend.name] = self._bind(backend)
        return self._backends[backend.name]

    def check(self, backend: Backend) -> None:
        """Check that there is a fixture for each parameter, without using it.

        Raises:
            DeclarationError: There is none, or it is not one for a run.
        """
        if backend.name not in self.troubles:
            for name in self.fixtures_of(backend):
                self._request(backend, name)

    def _bind(self, backend: Backend) -> Backend:
        values = dict(self.lifespans.objects.get(backend.name, {}))
        items = {name: self._request(backend, name) for name in self.fixtures_of(backend)}
        unsendable = ""
        for name, item in items.items():
            try:
                values[name] = self._value(name, item)
            except Unavailable as error:
                self._broken[backend.name] = str(error)
                raise
            problem = not_json(values[name], "it")
            if problem is None:
                continue
            unsendable = unsendable or (
                f"the value of the fixture {name!r} cannot be sent to a second process: {problem}, "
                "which is not JSON. Let the fixture give the values to connect with, such as a "
                "URL, or use lifespan="
            )
            if any(map(is_async, _definitions(item, name))):
                self.notes.setdefault(backend.name, []).append(
                    f"the fixture {name!r} is async, and its event loop does not run while "
                    "contracts run on another one: if its value is bound to that loop, let the "
                    "fixture give a URL, and connect in the factory"
                )
        for name in backend.wanted:
            _refuse_address(backend, name, values[name])
        if backend.wanted and not unsendable:
            publish(backend.name, {name: values[name] for name in backend.wanted})
        return backend.bind(values, unsendable)

    def _request(self, backend: Backend, name: str) -> pytest.Function:
        assert self._session is not None
        if self._fixtures is None:
            self._fixtures = Fixtures(self._session)
        item = self._fixtures.request(name, backend)
        if item is None:
            keys = self.lifespans.objects.get(backend.name, {})
            backend.refuse_parameter(name, keys, self._fixtures.names())
        assert item is not None
        return item

    def _value(self, name: str, item: pytest.Function) -> Any:
        """Return the value of a fixture, which lives until the session is torn down."""
        assert self._session is not None
        state: Any = self._session._setupstate
        if self._session not in state.stack:
            state.setup(self._session)
        state.stack[item] = ([], None)  # pytest makes fixtures only for an item that is set up
        try:
            value = item._request.getfixturevalue(name)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:  # also the outcome of a test, such as that of pytest.skip
            raise Unavailable(_failed(name, error)) from error
        finally:
            del state.stack[item]
        # Finalizers run in reverse, so this comes before the fixture is torn down.
        self._session.addfinalizer(self._forget)
        return value

    def _forget(self) -> None:
        """End everything that uses fixtures. The next use makes them again."""
        self._release()
        self._backends.clear()

    def tear_down(self, backends: Iterable[Backend]) -> None:
        """Tear down the fixtures of the session, and then end the lifespans. Idempotent.

        Args:
            backends: The backends whose verdicts a failure concerns.
        """
        self._release()
        using = [one for one in backends if one.name in self._backends and self.fixtures_of(one)]
        if self._session is not None and using:
            state: Any = self._session._setupstate
            try:
                state.teardown_exact(None)
            except (KeyboardInterrupt, pytest.exit.Exception):
                raise
            except BaseException as error:  # the code of fixtures
                self._broken |= {one.name: _failed("", error) for one in using}
        self.end()

    def end(self) -> None:
        """End the lifespans, and restore the environment. Idempotent."""
        try:
            self.lifespans.end()
        finally:
            if self._before is None:
                os.environ.pop(VARIABLE, None)
            else:
                os.environ[VARIABLE] = self._before


def _definitions(item: pytest.Function, name: str) -> list[Any]:
    definitions = vars(item)["_fixtureinfo"].name2fixturedefs
    return [definitions[one] for one in needed(name, definitions)]


def _refuse_address(backend: Backend, name: str, value: Any) -> None:
    """Refuse a value with the address of the declared server, which contracts change.

    Raises:
        DeclarationError: The value contains the address.
    """
    address = os.environ.get(variable(backend.server)) if backend.server else None
    if address is None or not_json(value, name) is not None:
        return
    text = json.dumps(value)
    for one in separate(address):
        if re.sub(r"^\w+://|/.*$", "", one).rpartition("@")[2] in text:
            raise DeclarationError(
                f"Backend {backend.name!r}: the value of {name!r} contains the address of the "
                f"server, and contracts change that address. Call address({backend.server!r}) in "
                f"the function that opens a history, or leave server={backend.server!r} out."
            )


def _failed(name: str, error: BaseException) -> str:
    what = f"the fixture {name!r}" if name else "tearing down the fixtures"
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, pytest.skip.Exception):
        return f"{what} skipped: {text}. The contracts need it"
    place = raised_at(error)
    return f"{what} raised {type(error).__name__}{text and f': {text}'}{place and f' ({place})'}"
