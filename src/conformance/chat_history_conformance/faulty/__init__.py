"""Broken histories of a few lines each, which prove that every contract can fail.

Each one is a reference backend with one defect. Its docstring names the defect. `seen` cites a real
backend with the defect, or says that the defect is invented.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.faulty.slowness import slowed
from chat_history_conformance.results.model import Kind

__all__ = ["INVENTED", "Control", "Faulty", "faulty", "load"]

F = TypeVar("F", bound=Callable[..., Any])

Control = Literal["memory", "sqlite", "stoppable", "served", "served-cluster"]
"""A correct backend that broken histories are made of."""

INVENTED = "invented"
"""The citation of a defect that was not seen in a real backend."""


@dataclass(frozen=True)
class Faulty:
    """A broken history, and the contract that must catch it.

    Attributes:
        id: `family.defect`.
        breaks: The id of the contract that must catch it.
        kind: The kind of finding that the contract must report.
        seen: A citation, or `INVENTED`.
        control: The same backend without the defect: one of the controls.
        backend: The declaration to open it with.
    """

    id: str
    breaks: str
    kind: Kind
    seen: str
    control: Control
    backend: Backend

    @property
    def defect(self) -> str:
        """The defect, as its docstring describes it."""
        return " ".join((self.backend.factory.__doc__ or "").split())


_faulty: dict[str, Faulty] = {}


def faulty(
    id: str,
    *,
    breaks: str,
    kind: Kind,
    seen: str,
    control: Control = "memory",
    lacks: Mapping[str, str] | None = None,
    **declared: Any,
) -> Callable[[F], F]:
    """Register a class or function that opens a broken history.

    Args:
        id: `family.defect`.
        breaks: The id of the contract that must catch it.
        kind: The kind of finding that the contract must report.
        seen: A citation of a real backend with the defect, or `INVENTED`.
        control: The same backend without the defect: `memory`, `sqlite`, `stoppable`, `served` or
            `served-cluster`. The self-test runs a server for the last two.
        lacks: Unsupported capabilities with reasons. Defaults to those of the control.
        declared: Further arguments of `history_backend`, such as `with_ttl`.

    Raises:
        ValueError: Another broken history already has this id.
    """

    def register(given: F) -> F:
        factory = slowed(given)
        if id in _faulty:
            raise ValueError(
                f"Two broken histories have the id {id!r}: {_name(_faulty[id].backend.factory)} "
                f"and {_name(factory)}. Choose another id for one of them."
            )
        lacks_of_control = {"durable": "kept in process memory"} if control == "memory" else {}
        backend = Backend(
            name=f"faulty/{id}",
            factory=factory,
            origin=Origin(factory.__module__, factory.__qualname__),
            lacks=dict(lacks_of_control if lacks is None else lacks),
            disposable=True,
            server="served" if control.startswith("served") else None,
            **{"with_ttl": getattr(factory, "with_ttl", None), **declared},
        )
        _faulty[id] = Faulty(id, breaks, kind, seen, control, backend)
        return factory

    return register


def _name(factory: Callable[..., Any]) -> str:
    return f"{factory.__module__}.{factory.__qualname__}"


@cache
def load() -> Mapping[str, Faulty]:
    """Import and return every broken history by id, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_faulty.items()))
