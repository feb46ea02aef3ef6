"""A conformance suite for chat-message histories, as a pytest plugin.

What adopters import. Each name is loaded when it is first used, so that declaring a backend costs
neither Hypothesis nor langchain-core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat_history_conformance import strategies
    from chat_history_conformance.declaration.backend import history_backend
    from chat_history_conformance.declaration.capabilities import Capabilities
    from chat_history_conformance.diagnosis.compare import ConformanceFailure

__version__ = "0.2.0.dev0"

__all__ = [
    "Capabilities",
    "ConformanceFailure",
    "__version__",
    "history_backend",
    "strategies",
]

_HOMES = {
    "Capabilities": "chat_history_conformance.declaration.capabilities",
    "ConformanceFailure": "chat_history_conformance.diagnosis.compare",
    "history_backend": "chat_history_conformance.declaration.backend",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "strategies":
        return importlib.import_module("chat_history_conformance.strategies")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
