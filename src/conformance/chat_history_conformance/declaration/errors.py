"""The error about a declaration, and helpers for the texts of errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DeclarationError", "clip_repr", "did_you_mean"]


class DeclarationError(Exception):
    """A backend cannot be found, or its declaration is wrong. The text says what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'sqlite'?` with the known name nearest to `name`, or an empty text."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def clip_repr(value: object, width: int = 60) -> str:
    """Return the `repr` of `value`, cut to `width` characters."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"
