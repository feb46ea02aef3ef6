"""A conformance suite for chat histories, as a pytest plugin.

These are the names that adopters import. Each is loaded at its first use, so that declaring a
backend loads neither Hypothesis nor langchain-core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat_history_conformance import strategies
    from chat_history_conformance.declaration.capabilities import Capabilities
    from chat_history_conformance.declaration.registry import history_backend
    from chat_history_conformance.diagnosis.compare import ConformanceFailure
    from chat_history_conformance.protocols import AsyncChatHistory, ChatHistory, Floor

__version__ = "0.2.0.dev2"

__all__ = [
    "AsyncChatHistory",
    "Capabilities",
    "ChatHistory",
    "ConformanceFailure",
    "Floor",
    "__version__",
    "history_backend",
    "strategies",
]

_HOMES = {
    "AsyncChatHistory": "chat_history_conformance.protocols",
    "Capabilities": "chat_history_conformance.declaration.capabilities",
    "ChatHistory": "chat_history_conformance.protocols",
    "ConformanceFailure": "chat_history_conformance.diagnosis.compare",
    "Floor": "chat_history_conformance.protocols",
    "history_backend": "chat_history_conformance.declaration.registry",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "strategies":
        return importlib.import_module("chat_history_conformance.strategies")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
