"""The places that factories are imported from, for a second process and for scripts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.declaration.parameters import unbound

__all__ = ["Origin", "module_origin", "origin_of"]


@dataclass(frozen=True)
class Origin:
    """The place of a factory, from which another process can import it.

    Attributes:
        module: The name of the module.
        attribute: A dotted name in the module. Empty for the module itself.
        file: The path of the module's source, if the module cannot be imported by its name, such
            as a conftest.
    """

    module: str
    attribute: str
    file: str | None = None

    def load(self) -> Any:
        """Import the module and return the attribute.

        Raises:
            DeclarationError: `file` is not Python source.
            Exception: Any exception that importing the module or reading the attribute raises.
        """
        target: Any = self._module()
        for name in filter(None, self.attribute.split(".")):
            target = getattr(target, name)
        return target

    def _module(self) -> ModuleType:
        loaded = sys.modules.get(self.module)
        if loaded is not None and (
            self.file is None or getattr(loaded, "__file__", None) == self.file
        ):
            return loaded
        if self.file is None:
            return importlib.import_module(self.module)
        spec = importlib.util.spec_from_file_location(self.module, self.file)
        if spec is None or spec.loader is None:
            raise DeclarationError(
                f"{self.file} cannot be imported. Declare the backend in a Python source file."
            )
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        spec.loader.exec_module(module)
        return module


def origin_of(factory: Callable[..., Any]) -> Origin | None:
    """Return the place of `factory`, or None if it has no name in its module."""
    factory = unbound(factory)
    name = getattr(factory, "__qualname__", "")
    if not name or "<" in name:
        return None
    module = module_origin(factory.__module__)
    return None if module is None else Origin(module.module, name, module.file)


def module_origin(name: str) -> Origin | None:
    """Return the place of a loaded module, or None if it cannot be imported again."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    importable = module is not None and getattr(module, "__spec__", None) is not None
    if importable and name.rpartition(".")[2] not in ("conftest", "__main__"):
        return Origin(name, "")
    return Origin(name, "", file) if file else None
