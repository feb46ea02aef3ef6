"""The command `history-conformance`, one module a command."""

from chat_history_conformance.cli.main import main

__all__ = ["main"]
