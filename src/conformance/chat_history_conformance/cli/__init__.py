"""The command `history-conformance`."""

from chat_history_conformance.cli.main import main

__all__ = ["main"]
