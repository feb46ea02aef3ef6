"""The error that ends a command with exit status 2."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """Wrong use of a command. The text says what to do."""
