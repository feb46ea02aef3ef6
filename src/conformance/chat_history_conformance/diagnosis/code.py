"""Pieces of a script's source, each with the names that it needs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Code", "Need", "Ref", "call", "fill", "given", "join", "lazily", "need_of", "values_of"]


class Need(NamedTuple):
    """A name that a piece of source uses.

    Attributes:
        module: The module that defines the name, empty if the script's own frame defines it.
        name: The name in that module, empty for the module itself.
    """

    module: str
    name: str = ""


@dataclass(frozen=True)
class Code:
    """Source text and the names that it needs."""

    text: str
    needs: frozenset[Need] = frozenset()

    def indented(self) -> Code:
        """Return the same source, one level deeper."""
        return Code(textwrap.indent(self.text, "    "), self.needs)

    def quoted(self) -> Code:
        """Return a string literal that holds the source."""
        return Code(repr(self.text), self.needs)


@dataclass(frozen=True)
class Ref:
    """A value that has a name in the steps and in the script.

    Attributes:
        name: An expression of the script, usually the name of a variable.
        value: The value during the run.
        needs: Names that the expression needs.
    """

    name: str
    value: Any
    needs: frozenset[Need] = field(default=frozenset(), compare=False)

    def __repr__(self) -> str:
        return self.name

    def __getitem__(self, key: Any) -> Ref:
        """Return an item, or a slice, of the value."""
        if isinstance(key, slice):
            text = (
                f"{'' if key.start is None else key.start}:{'' if key.stop is None else key.stop}"
            )
        else:
            text = repr(key)
        return Ref(f"{self.name}[{text}]", self.value[key], self.needs)

    def attribute(self, name: str) -> Ref:
        """Return an attribute of the value."""
        return Ref(f"{self.name}.{name}", getattr(self.value, name), self.needs)


def values_of(argument: Any) -> Any:
    """Return `argument` with each `Ref`, also in a list or a tuple, replaced by its value."""
    if isinstance(argument, Ref):
        return argument.value
    if type(argument) in (list, tuple) and any(isinstance(item, Ref) for item in argument):
        return type(argument)(values_of(item) for item in argument)
    return argument


def fill(template: str, *parts: Code | str) -> Code:
    """Put `parts` into the places `{}` of `template`."""
    needs = frozenset[Need]().union(*(part.needs for part in parts if isinstance(part, Code)))
    texts = (part.text if isinstance(part, Code) else part for part in parts)
    return Code(template.format(*texts), needs)


def join(separator: str, parts: Iterable[Code]) -> Code:
    """Join pieces of source."""
    pieces = list(parts)
    needs = frozenset[Need]().union(*(piece.needs for piece in pieces))
    return Code(separator.join(piece.text for piece in pieces), needs)


def call(function: Callable[..., Any], *arguments: Code, **named: Code) -> Code:
    """Write a call of a function that scripts may use."""
    need = need_of(function)
    assert need is not None, f"{function!r} has no name that a script could import"
    pairs = (fill("{}={}", name, value) for name, value in named.items())
    listed = join(", ", (*arguments, *pairs))
    return fill("{}({})", Code(need.name, frozenset({need})), listed)


def lazily(function: Callable[..., Any], code: Code) -> Code:
    """Write a call of a helper that is given a function to call."""
    return call(function, fill("lambda: {}", code))


def given(name: str) -> Code:
    """Write a name that the script's own frame defines, such as `open_history`."""
    return Code(name, frozenset({Need("", name)}))


def need_of(value: Any) -> Need | None:
    """Return how a script imports a function or a class, or None if it cannot."""
    name, module = getattr(value, "__name__", ""), getattr(value, "__module__", None)
    if not module or not name.isidentifier() or getattr(value, "__qualname__", name) != name:
        return None
    if module.startswith("langchain_core.messages."):
        return Need("langchain_core.messages", name)
    return Need(module, name)
