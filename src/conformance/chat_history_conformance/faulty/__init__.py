"""Broken histories, each a few lines, that prove that each contract can fail.

Each is a reference backend with one defect, which its docstring names. `seen` cites where that
defect was met in a real backend, or says that it is invented.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from chat_history_conformance.declaration.backend import Backend, Origin
from chat_history_conformance.results.model import Kind

F = TypeVar("F", bound=Callable[..., Any])

INVENTED = "invented"


@dataclass(frozen=True)
class Faulty:
    """A broken history and what must find it.

    Attributes:
        id: `family.defect`.
        breaks: The contract that it was made to break.
        kind: The finding kind that this contract must report.
        seen: A citation, or `INVENTED`.
        control: `memory`, `sqlite` or `served`: the backend that it is, but for the defect.
        backend: How to open it, with the declaration of its control.
    """

    id: str
    breaks: str
    kind: Kind
    seen: str
    control: str
    backend: Backend

    @property
    def defect(self) -> str:
        """What is wrong with it, from its docstring."""
        return " ".join((self.backend.factory.__doc__ or "").split())


_faulty: dict[str, Faulty] = {}


def faulty(
    id: str,
    *,
    breaks: str,
    kind: Kind,
    seen: str,
    control: str = "memory",
    lacks: Mapping[str, str] | None = None,
    **declared: Any,
) -> Callable[[F], F]:
    """Register a class or function that opens a broken history.

    Args:
        id: `family.defect`.
        breaks: The contract that must find it.
        kind: The kind of that finding.
        seen: Where the defect was met, or `INVENTED`.
        control: The backend that it is, but for the defect: `memory`, `sqlite`, or `served`, for
            which the self-test runs a server.
        lacks: What it gives up, where that is not what its control gives up.
        declared: Further arguments of `history_backend`, such as `with_ttl`.
    """

    def register(factory: F) -> F:
        if id in _faulty and _faulty[id].backend.factory.__module__ != factory.__module__:
            raise ValueError(f"two broken histories are called {id!r}")
        given_up = {"durable": "kept in process memory by design"} if control == "memory" else {}
        backend = Backend(
            name=f"faulty/{id}",
            factory=factory,
            origin=Origin(factory.__module__, factory.__qualname__),
            lacks=dict(given_up if lacks is None else lacks),
            disposable=True,
            server="served" if control == "served" else None,
            **{"with_ttl": getattr(factory, "with_ttl", None), **declared},
        )
        _faulty[id] = Faulty(id, breaks, kind, seen, control, backend)
        return factory

    return register


@cache
def load() -> Mapping[str, Faulty]:
    """Every broken history by id, in alphabetical order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_faulty.items()))
