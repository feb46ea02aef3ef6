"""Finding pytest fixtures for the functions of a declaration, and their values.

pytest has no public way to use a fixture without a test. So this makes an item that asks for one
fixture, and never runs it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError

__all__ = ["Fixtures", "is_async", "needed"]

_CONFTEST = "conftest.py"


class _Place(pytest.Collector):
    """A directory whose conftest.py was loaded, if pytest has not collected the directory."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return nothing: only fixtures are looked up here."""
        return iter(())


class Fixtures:
    """The fixtures that a run can use.

    It finds a fixture as a test next to the declaration does. Otherwise it uses the only
    conftest.py that defines a fixture of that name.

    Args:
        session: The session of pytest.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._manager: Any = session._fixturemanager
        self._root = session.config.rootpath
        # From pytest 9.1 on, a fixture of a conftest.py belongs to a collected directory.
        self._by_node: dict[str, Any] | None = getattr(self._manager, "_arg2node2fixturedefs", None)
        nodes = {node for table in (self._by_node or {}).values() for node in table}
        self._places: dict[Path, pytest.Collector] = {
            node.path: node for node in nodes if isinstance(node, pytest.Directory)
        }

    def request(self, name: str, backend: Backend) -> pytest.Function | None:
        """Return an item that asks for a fixture, or None if there is no such fixture.

        Args:
            name: The name of the fixture.
            backend: The backend that needs it.

        Raises:
            DeclarationError: Several fixtures have that name, or its value is not one for a run.
        """
        found: dict[int, pytest.Function] = {}
        for directory in self._directories(backend):
            node = self._place(directory)
            if definitions := self._manager.getfixturedefs(name, node):
                item = _asking(node, name, ())
                if directory == self._home(backend):
                    return self._checked(item, name, backend)
                found.setdefault(id(definitions[-1]), item)
        if len(found) > 1:
            places = " and ".join(str(item.path / _CONFTEST) for item in found.values())
            raise DeclarationError(
                f"Backend {backend.name!r}: several fixtures are named {name!r}, in {places}, and "
                "none is next to the declaration. Declare the backend in one of these files."
            )
        return self._checked(next(iter(found.values())), name, backend) if found else None

    def names(self) -> list[str]:
        """Return the names of all fixtures that do not begin with an underscore."""
        for directory in self._conftests():
            self._place(directory)
        table = self._manager._arg2fixturedefs if self._by_node is None else self._by_node
        return sorted(name for name in table if not name.startswith("_"))

    def _checked(self, item: pytest.Function, name: str, backend: Backend) -> pytest.Function:
        """Return the item, which can ask for the fixture in a session, or raise."""
        definitions: dict[str, Any] = vars(item)["_fixtureinfo"].name2fixturedefs
        definition = definitions[name][-1]

        def refuse(text: str) -> DeclarationError:
            return DeclarationError(f"Backend {backend.name!r}: the fixture {name!r} {text}")

        if definition.scope != "session":
            raise refuse(
                f"has the scope {definition.scope!r}, and a backend is used by the whole session. "
                'Write @pytest.fixture(scope="session").'
            )
        if definition.params is not None:
            raise refuse("has params=, and a backend takes one value. Declare a backend for each.")
        unhandled = [
            one
            for one in needed(name, definitions)
            if is_async(definitions[one]) and not self._is_of_asyncio(definitions[one][-1].func)
        ]
        if not unhandled:
            return item
        if not self._session.config.pluginmanager.hasplugin("anyio"):
            raise refuse(
                f"needs the async fixture {unhandled[0]!r}, and no plugin runs it. Install "
                "pytest-asyncio and decorate it with "
                '@pytest_asyncio.fixture(scope="session", loop_scope="session").'
            )
        backends = self._manager.getfixturedefs("anyio_backend", item.parent)
        if backends[-1].scope != "session" or backends[-1].params is not None:
            raise refuse(
                f"needs the async fixture {unhandled[0]!r}. If anyio runs it, add the fixture "
                '@pytest.fixture(scope="session") def anyio_backend(): return "asyncio". If '
                "pytest-asyncio runs it, decorate it with "
                '@pytest_asyncio.fixture(scope="session", loop_scope="session").'
            )
        assert item.parent is not None
        return _asking(item.parent, name, ("anyio_backend",))

    def _is_of_asyncio(self, function: Any) -> bool:
        """Return whether pytest-asyncio runs an async fixture."""
        config = self._session.config
        if not config.pluginmanager.hasplugin("asyncio"):
            return False
        mode = config.getoption("asyncio_mode", None) or config.getini("asyncio_mode")
        return mode == "auto" or hasattr(function, "_force_asyncio_fixture")

    # -- directories -------------------------------------------------------------------------

    def _home(self, backend: Backend) -> Path:
        """Return the directory of the declaration, if it is in the project, or its root."""
        place = backend.declared_in or backend.origin
        file = None if place is None else place.file or _file_of(place.module)
        directory = Path(file).resolve().parent if file else self._root
        return directory if directory.is_relative_to(self._root) else self._root

    def _directories(self, backend: Backend) -> list[Path]:
        return list(dict.fromkeys([self._home(backend), *self._conftests()]))

    def _conftests(self) -> dict[Path, object]:
        """Return the loaded conftest.py files of the project by their directories."""
        plugins = self._session.config.pluginmanager.list_name_plugin()
        found = {Path(name).parent: one for name, one in plugins if name.endswith(_CONFTEST)}
        return {path: one for path, one in found.items() if path.is_relative_to(self._root)}

    def _place(self, directory: Path) -> pytest.Collector:
        """Return the node of a directory, at which its fixtures are visible."""
        if directory == self._root:
            return self._session
        if directory not in self._places:
            parent = self._place(directory.parent)
            place = _Place.from_parent(
                parent,
                name=directory.name,
                path=directory,
                nodeid=directory.relative_to(self._root).as_posix(),
            )
            self._places[directory] = place
            conftest = self._conftests().get(directory)
            if self._by_node is not None and conftest is not None:
                self._manager.parsefactories(holder=conftest, node=place)
        return self._places[directory]


def _asking(parent: pytest.Collector, name: str, first: tuple[str, ...]) -> pytest.Function:
    """Return an item that asks for a fixture, after others.

    Args:
        parent: The place of the request.
        name: The fixture.
        first: Fixtures that are made before it.
    """

    def ask() -> None:
        """Ask for the fixture. This is never called."""

    names = dict.fromkeys([*first, name])
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    vars(ask)["__signature__"] = inspect.Signature([inspect.Parameter(one, kind) for one in names])
    item: pytest.Function = pytest.Function.from_parent(
        parent, name="the declaration of a backend", callobj=ask
    )
    return item


def needed(name: str, definitions: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the names of a fixture and of those that it needs.

    Args:
        name: The name of the fixture.
        definitions: The definitions of fixtures by name, as pytest keeps them.
    """
    names = {name: None}
    waiting = [name]
    while waiting:
        for one in definitions[waiting.pop()][-1].argnames:
            if one in definitions and one not in names:
                names[one] = None
                waiting.append(one)
    return list(names)


def is_async(definitions: Sequence[Any]) -> bool:
    """Return whether a fixture is a coroutine function or an async generator function."""
    function = definitions[-1].func
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)
