"""A conformance suite for chat-message histories, as a pytest plugin.

What adopters import. Each name is loaded when it is first used, so that declaring a backend costs
neither Hypothesis nor langchain-core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance import strategies
    from conformance.capabilities import Capabilities
    from conformance.declaration import history_backend
    from conformance.findings import ConformanceFailure

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "ConformanceFailure",
    "__version__",
    "history_backend",
    "strategies",
]

_HOMES = {
    "Capabilities": "conformance.capabilities",
    "ConformanceFailure": "conformance.findings",
    "history_backend": "conformance.declaration",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "strategies":
        return importlib.import_module("conformance.strategies")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
