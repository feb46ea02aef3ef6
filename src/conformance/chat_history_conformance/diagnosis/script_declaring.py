"""The part of a declaring module that a script needs, such as a factory in a `conftest.py`.

A script then depends neither on the place of that module nor on the suite that it imports.
"""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import CodeType

__all__ = ["Part", "part_of"]

_SUITE = "chat_history_conformance"
_KNOWN = {*dir(builtins), "__name__", "__doc__", "__annotations__"}


@dataclass(frozen=True)
class Part:
    """Some statements of a module, in their order.

    Attributes:
        text: Their source.
        imports: The names that its imports bind, and what each import is.
        names: The names that its other statements bind.
        has_future: Whether annotations are texts there.
    """

    text: str
    imports: Mapping[str, str]
    names: frozenset[str]
    has_future: bool


@dataclass(frozen=True)
class _Statement:
    """A statement at the top of the module.

    Attributes:
        text: Its source, without decorators of the suite.
        binds: The names that it binds.
        loads: The global names that it, or anything inside it, uses.
        imported: For an import, what it imports.
        is_effect: Whether it changes what others have bound, such as a call.
    """

    text: str
    binds: frozenset[str]
    loads: frozenset[str]
    imported: str | None
    is_effect: bool


def part_of(file: str, names: Sequence[str]) -> Part | None:
    """Return the statements that bind some names, and all that these need.

    Args:
        file: The path of the module.
        names: The names.

    Returns:
        The part, or None if it would not be complete: it uses the suite, the place of its file or
        a name that nothing binds.
    """
    try:
        source = Path(file).read_text("utf-8")
        tree = ast.parse(source)
    except (OSError, UnicodeError, SyntaxError):
        return None
    suite = set(chain.from_iterable(map(_imported_from_suite, tree.body)))
    singles = chain.from_iterable(map(_single_imports, tree.body))
    statements = [_statement(source, node, suite) for node in singles]
    used = _used(statements, names)
    bound = frozenset[str]().union(*(statement.binds for statement in used))
    loads = frozenset[str]().union(*(statement.loads for statement in used))
    if not set(names) <= bound or loads & suite or not loads <= bound | _KNOWN or "*" in bound:
        return None
    imports = {name: one.imported for one in used for name in one.binds if one.imported is not None}
    return Part("".join(_spaced(used)), imports, bound - set(imports), _has_future(tree))


def _has_future(tree: ast.Module) -> bool:
    return any(isinstance(one, ast.ImportFrom) and one.module == "__future__" for one in tree.body)


def _used(statements: Sequence[_Statement], names: Iterable[str]) -> list[_Statement]:
    """Return the statements that bind the names and all that these need, in their order."""
    chosen = _chosen(statements, names)
    return [statement for place, statement in enumerate(statements) if place in chosen]


def _chosen(statements: Sequence[_Statement], names: Iterable[str]) -> set[int]:
    """Return the places of the statements that bind the names and all that these need."""
    chosen, wanted, bound = set[int](), set(names), set[str]()
    while True:
        more = {
            place
            for place, one in enumerate(statements)
            if place not in chosen and (one.binds & wanted or (one.is_effect and one.loads & bound))
        }
        if not more:
            return chosen
        chosen |= more
        for place in more:
            bound |= statements[place].binds
            wanted |= statements[place].loads


def _spaced(statements: Sequence[_Statement]) -> Iterator[str]:
    """Yield the source, with blank lines between imports, values, and functions or classes."""
    before = 0
    for one in statements:
        is_block = one.text.startswith(("def ", "class ", "async ", "@"))
        kind = 0 if one.imported is not None else 2 if is_block else 1
        yield "\n" * max(before, kind) if 2 in (before, kind) else "\n" * (before != kind)
        yield f"{one.text}\n"
        before = kind


def _imported_from_suite(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _SUITE:
        yield from (alias.asname or alias.name for alias in node.names)
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] == _SUITE:
                yield alias.asname or _SUITE


def _single_imports(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yield an import of several names as one import for each, any other statement as it is."""
    if isinstance(node, ast.Import):
        yield from (ast.Import([alias]) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
    elif not isinstance(node, ast.ImportFrom):
        yield node


def _statement(source: str, node: ast.stmt, suite: set[str]) -> _Statement:
    if isinstance(node, ast.Import | ast.ImportFrom):
        alias = node.names[0]
        name = alias.asname or alias.name.partition(".")[0]
        # A relative import does not work in a script.
        loads = {"."} if isinstance(node, ast.ImportFrom) and node.level else set[str]()
        if name in suite:
            return _Statement("", frozenset(), frozenset(), None, False)
        text = ast.unparse(node)
        return _Statement(text, frozenset({name}), frozenset(loads), text, False)
    text = ast.get_source_segment(source, node) or ""
    is_block = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        node.decorator_list = [one for one in node.decorator_list if _root(one) not in suite]
        lines = [f"@{ast.get_source_segment(source, one)}" for one in node.decorator_list]
        text = "\n".join([*lines, text])
    binds, loads = _names_of(node)
    is_plain = (isinstance(node, ast.Assign | ast.AnnAssign) and binds) or is_block
    is_effect = not is_plain and not loads & suite and not _is_text(node)
    return _Statement(text, frozenset(binds), frozenset(loads), None, is_effect)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _names_of(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the global names that a statement binds, and those that it uses."""
    code = compile(ast.Module([node], []), "declaring", "exec", dont_inherit=True)
    binds, loads = set[str](), set[str]()
    for part in _nested(code):
        names: dict[str, set[str]] = {}
        for one in dis.get_instructions(part):
            names.setdefault(one.opname, set()).add(str(one.argval))
        local = names.get("STORE_NAME", set())  # of a class body, if it is not the statement itself
        binds |= names.get("STORE_GLOBAL", set()) | (local if part is code else set())
        loads |= names.get("LOAD_GLOBAL", set()) | (names.get("LOAD_NAME", set()) - local)
        if "IMPORT_STAR" in names:
            binds.add("*")
    return binds - {"__annotations__"}, loads


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
