"""The imports that a script needs, and the functions whose source it contains."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType

from chat_history_conformance.diagnosis.code import Need

__all__ = [
    "SESSION",
    "SESSIONS",
    "SUITE",
    "Used",
    "carried_names",
    "import_lines",
    "imported_names",
    "is_block",
    "resolved",
]

SUITE = "chat_history_conformance"
"""The package whose functions a script contains instead of importing them."""

SESSION = "<session>"
"""The module of needs that are not names but the expressions of the ids of opened sessions."""

SESSIONS = "<sessions>"
"""The module of a `Need` whose name is the source of several session ids, an iterable."""


@dataclass(frozen=True)
class _Statement:
    """A statement at the top of a module that scripts take source from.

    Attributes:
        number: Its line.
        text: Its source, empty for an import.
        names: The names that it loads.
        imported: The import that it is, if it is one.
    """

    number: int
    text: str
    names: frozenset[str] = frozenset()
    imported: Need | None = None


@dataclass(frozen=True)
class Used:
    """All that a script needs: imports, and the source of functions, classes and lists."""

    imports: frozenset[Need]
    carried: tuple[str, ...]


def resolved(needs: Iterable[Need]) -> Used:
    """Follow all needs to the end."""
    waiting, imports = list(needs), set[Need]()
    carried: dict[tuple[int, str, int], str] = {}
    done = set[Need]()
    while waiting:
        need = waiting.pop()
        if need in done or need.module in ("", "builtins", SESSION, SESSIONS):
            continue
        done.add(need)
        if need.module.partition(".")[0] != SUITE:
            imports.add(need)
            continue
        table = _statements(need.module)
        statement = table.get(need.name)
        if statement is None:
            imports.add(need)
        elif statement.imported is not None:
            waiting.append(statement.imported)
        else:
            place = is_block(statement.text), need.module, statement.number
            carried[place] = statement.text
            waiting += [Need(need.module, name) for name in statement.names if name in table]
    return Used(frozenset(imports), tuple(carried[place] for place in sorted(carried)))


def is_block(text: str) -> bool:
    """Return whether a statement is a function or a class."""
    return text.startswith(("def ", "class ", "async ", "@"))


@cache
def _statements(module_name: str) -> Mapping[str, _Statement]:
    """Return the statements at the top of a module, by the names that they bind."""
    source = inspect.getsource(importlib.import_module(module_name))
    lines = source.splitlines()
    found: dict[str, _Statement] = {}
    for node in ast.parse(source).body:
        decorated = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(one.lineno for one in decorated)])
        text = "\n".join(lines[start - 1 : node.end_lineno])
        text = re.sub(r"  # type: ignore\S*( \S+\])?", "", text)
        match node:
            case ast.Import():
                for alias in node.names:
                    need = Need(alias.name)
                    found[alias.asname or alias.name] = _Statement(node.lineno, "", imported=need)
            case ast.ImportFrom():
                for alias in node.names:
                    need = Need(node.module or "", alias.name)
                    found[alias.name] = _Statement(node.lineno, "", imported=need)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[node.name] = _Statement(node.lineno, text, _loaded(node))
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = _Statement(node.lineno, text, _loaded(node))
    return found


def _loaded(node: ast.stmt) -> frozenset[str]:
    """Return the global names that a statement, or anything inside it, loads."""
    code = compile(ast.Module([node], []), "helpers", "exec", dont_inherit=True)
    return frozenset(
        str(instruction.argval)
        for part in _nested(code)
        for instruction in dis.get_instructions(part)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    )


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def import_lines(used: Used) -> list[str]:
    """Return the import statements of a script: of modules, then of names."""
    modules = sorted(need.module for need in used.imports if not need.name)
    names: dict[str, list[str]] = {}
    for need in sorted(used.imports):
        if need.name:
            names.setdefault(need.module, []).append(need.name)
    lines = [f"import {module}" for module in modules]
    standard = [module for module in names if module.partition(".")[0] in sys.stdlib_module_names]
    for module in [*standard, *(module for module in names if module not in standard)]:
        if module not in standard and lines and not lines[-1].startswith("from langchain"):
            lines.append("")
        lines.append(f"from {module} import {', '.join(names[module])}")
    return lines


def carried_names(carried: Iterable[str]) -> Iterator[str]:
    for text in carried:
        if match := re.match(r"(?:(?:async )?def|class|@.*\n(?:async )?def)? ?(\w+)", text):
            yield match[1]


def imported_names(used: Used) -> dict[str, str]:
    """Return the names that the imports of a script bind, and what each import is."""
    return {
        need.name or need.module.partition(".")[0]: f"from {need.module} import {need.name}"
        if need.name
        else f"import {need.module}"
        for need in used.imports
    }
