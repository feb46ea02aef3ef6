"""Fixed lists of values, which the first example of a contract tries whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from hypothesis import strategies as st

__all__ = ["Enumeration", "enumerating", "takes_whole_list"]

_RARELY = 8
"""One example in this number is a whole list again, after the first one."""


@dataclass
class Enumeration:
    """Rules for the fixed lists in the examples of a contract, and a record of their use.

    Attributes:
        whole: Whether an example may have a whole list.
        used: Whether one had a whole list.
    """

    whole: bool = True
    used: bool = False


_current: ContextVar[Enumeration] = ContextVar("enumeration")


@contextlib.contextmanager
def enumerating(*, whole: bool) -> Iterator[Enumeration]:
    """Set the rules for fixed lists in the examples that are drawn inside the `with` block."""
    enumeration = Enumeration(whole)
    token = _current.set(enumeration)
    try:
        yield enumeration
    finally:
        _current.reset(token)


def takes_whole_list(draw: st.DrawFn) -> bool:
    """Return whether an example takes a whole list, as the first example does.

    A whole list does not shrink: it is made of the simplest choices, with which Hypothesis begins.
    So the search for a shorter example forbids it.

    Args:
        draw: The function that draws the values of the example.
    """
    enumeration = _current.get(Enumeration())
    if not enumeration.whole or draw(st.integers(0, _RARELY - 1)) > 0:
        return False
    enumeration.used = True
    return True
