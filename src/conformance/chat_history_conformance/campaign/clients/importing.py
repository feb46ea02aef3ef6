"""Importing the declarations of backends: a named module or file, or the conftest.py files here."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.declaration.origin import Origin

__all__ = ["ImportFailed", "conftests", "find"]

_ROOT_FILES = ("pyproject.toml", "pytest.toml", "pytest.ini", "tox.ini", "setup.cfg", ".git")


class ImportFailed(Exception):
    """A module that cannot be imported; the text says which one and why."""


def find(name: str, modules: Sequence[str], directory: Path) -> Backend:
    """Find a backend by its name.

    Args:
        name: A registered name, a declared name, or `package.module:attribute`.
        modules: Modules or Python files that declare backends. Without any, and if no package
            registers the name, the conftest.py files that pytest would load are imported.
        directory: The directory that the command was started in.

    Raises:
        ImportFailed: A module cannot be imported.
        DeclarationError: No backend has this name.
    """
    _put_first(directory)
    for module in modules:
        _import(module, directory)
    if not modules and ":" not in name and name not in registry.names():
        for path in conftests(directory):
            _import_file(path)
    return registry.resolve(name)


def conftests(directory: Path) -> list[Path]:
    """Return the conftest.py files that pytest would load at its start in a directory.

    They are those of the directory and its parents up to the root of the project, and those of its
    `test*` directories and of `testpaths`.
    """
    folders = [directory, *_parents_up_to_root(directory)][::-1]
    folders += [one for one in sorted(directory.glob("test*")) if one.is_dir()]
    folders += [directory / one for one in _testpaths(directory)]
    found = (folder / "conftest.py" for folder in folders)
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _parents_up_to_root(directory: Path) -> Iterator[Path]:
    """Return the parents up to the first that has a configuration, the nearest first."""
    above = [directory, *directory.parents]
    roots = [i for i, one in enumerate(above) if any((one / name).exists() for name in _ROOT_FILES)]
    yield from above[1 : roots[0] + 1] if roots else ()


def _testpaths(directory: Path) -> list[str]:
    try:
        table = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
        found = table["tool"]["pytest"]["ini_options"]["testpaths"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found.split() if isinstance(found, str) else [str(one) for one in found]


def _import(module: str, directory: Path) -> None:
    path = directory / module
    if module.endswith(".py") or path.is_file():
        if not path.is_file():
            raise ImportFailed(f"{module} is not a file. Name a Python file or a module.")
        _import_file(path.resolve())
        return
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # importing runs the user's code
        raise ImportFailed(_failure(module, error)) from error


def _import_file(path: Path) -> None:
    """Import a file as pytest does: by its name in the highest directory that is a package."""
    folder, names = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    _put_first(folder)
    name = ".".join(names)
    try:
        Origin(name, "", str(path)).load()
    except DeclarationError:
        raise
    except (Exception, SystemExit) as error:
        raise ImportFailed(_failure(str(path), error)) from error


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _failure(what: str, error: BaseException) -> str:
    return f"Importing {what} failed: {type(error).__name__}: {error}"
