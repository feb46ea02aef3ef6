"""A finding as a standalone script: plain langchain-core and the backend, without this suite."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin, origin_of
from chat_history_conformance.diagnosis.code import (
    Code,
    Need,
    call,
    fill,
    given,
    join,
    lazily,
    need_of,
)
from chat_history_conformance.diagnosis.script_helpers import (
    Elsewhere,
    answer_elsewhere,
    opened,
    under_a_loop,
)
from chat_history_conformance.diagnosis.steps import Step

__all__ = ["id_source", "opener", "script"]

_SUITE = "chat_history_conformance"
_ATTEMPTS = 200
_FUNCTIONS = {
    "corrupt": ("corrupt", "damage the last stored record of a session"),
    "fresh_store": ("fresh", "return a factory for a store with this name"),
    "refuse_writes": ("refuse", "make the store refuse writes to a session"),
    "stop_server": ("stop", "stop the server"),
    "start_server": ("start", "start the server"),
}
"""The functions of a declaration by their names in scripts: the argument, and the purpose."""


def script(
    backend: Backend,
    label: str,
    summary: str,
    steps: Sequence[Step],
    *,
    racy: bool = False,
    earlier: Sequence[Sequence[Step]] = (),
) -> str:
    """Return a script that does `steps` again and ends with an error if the defect shows.

    Args:
        backend: The backend whose histories the script opens.
        label: The contract and its mode, for the first line.
        summary: The summary of the finding, for the first line.
        steps: The steps, the failing check last.
        racy: Whether the defect depends on timing: the steps are repeated many times then.
        earlier: The steps of conversations before, without which the defect does not show.
    """
    body = _body(steps)
    before = [_body(one) for one in earlier]
    needs = body.needs.union(*(one.needs for one in before))
    frame = _frame(needs, racy, len(before))
    openings = _openings(backend, needs)
    used = _resolved({*needs, *frame.needs, *openings.needs})
    blocks = [f'"""{_one_line(summary)} - {backend.name}, {label}"""', ""]
    blocks += [*_imports(used), "", *openings.text.splitlines()]
    carried = [(part, part.startswith(("def ", "class ", "async "))) for part in used.carried]
    if not all(is_block for _, is_block in carried):
        blocks.append("")
    for part, is_block in carried:
        blocks += ["", "", part] if is_block else [part]
    for number, one in enumerate(before, 1):
        blocks += ["", "", f"def earlier_{number}():", one.indented().text or "    pass"]
    story = body.indented().text or "    pass"
    blocks += ["", "", "def story():", story, "", "", frame.text]
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(blocks)) + "\n"


def _body(steps: Sequence[Step]) -> Code:
    return join("\n", [code for step in steps if (code := step.source()).text])


def opener(
    backend: Backend, session_id: Code, how: str, ttl: tuple[int | None] | None
) -> tuple[Code, bool]:
    """Write the expression that opens a history of `backend` in a script.

    Returns:
        The expression, and whether it has to be awaited.
    """
    factory, arguments = given("open_history"), session_id
    if ttl is not None:
        factory, arguments = given("open_with_ttl"), fill("{}, {}", session_id, repr(ttl[0]))
    if how == "async" and ttl is None and _is_history_class(backend.factory):
        return lazily(under_a_loop, fill("{}({})", factory, arguments)), True
    if how == "async" or not _is_plain(backend.factory):
        return call(opened, factory, arguments), True
    return fill("{}({})", factory, arguments), False


def id_source(template: str) -> Code:
    """Write the expression of a session id that contains the script's `nonce`."""
    needs = frozenset({Need("", "nonce")})
    for token, value in (
        ("{uuid}", "str(uuid.uuid5(uuid.NAMESPACE_OID, nonce))"),
        ("{UUID}", "str(uuid.uuid5(uuid.NAMESPACE_OID, nonce)).upper()"),
        ("{uuid-hex}", "uuid.uuid5(uuid.NAMESPACE_OID, nonce).hex"),
    ):
        if token in template:
            return Code(f"{template!r}.replace({token!r}, {value})", needs)
    if "{number}" in template:  # the nonce of a script ends with hexadecimal digits
        return Code(f'{template!r}.replace("{{number}}", str(int(nonce[5:], 16)))', needs)
    if template.startswith("{nonce}") and "{nonce}" not in template[7:]:
        return Code(f"nonce + {template[7:]!r}" if template[7:] else "nonce", needs)
    if "{nonce}" in template:
        return Code(f'{template!r}.replace("{{nonce}}", nonce)', needs)
    return Code(repr(template))


def _is_history_class(factory: Any) -> bool:
    """Return whether instances of the factory are histories that need no further opening."""
    adds = hasattr(factory, "add_messages") or hasattr(factory, "aadd_messages")
    return inspect.isclass(factory) and adds and not hasattr(factory, "__await__")


def _is_plain(factory: Any) -> bool:
    """Return whether calling the factory gives the history itself, as far as can be seen."""
    shapes = (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    if any(shape(factory) for shape in shapes):
        return False
    return inspect.isclass(factory) or not hasattr(factory, "__wrapped__")


def _frame(needs: frozenset[Need], racy: bool, earlier: int = 0) -> Code:
    """Write the end of a script, which calls the story."""
    lines = []
    if need_of(Elsewhere) in needs:
        lines += [
            Code('if sys.argv[1:] == ["elsewhere"]:', frozenset({Need("sys")})),
            call(answer_elsewhere, Code("globals()")).indented(),
            Code("    sys.exit()\n"),
            fill("elsewhere = {}", call(Elsewhere, Code("__file__"))),
        ]
    new_nonce = 'nonce = f"repro{uuid.uuid4().hex[:10]}"  # each run uses new session ids'
    for number in range(1, earlier + 1):
        lines += [Code(new_nonce, frozenset({Need("uuid")})), Code(f"earlier_{number}()")]
    if racy:
        lines += [Code(f"for _ in range({_ATTEMPTS}):  # a race does not show every time")]
        lines += [Code(f"    {new_nonce}", frozenset({Need("uuid")})), Code("    story()")]
    else:
        lines += [Code(new_nonce, frozenset({Need("uuid")})), Code("story()")]
    return join("\n", lines)


def _openings(backend: Backend, needs: frozenset[Need]) -> Code:
    """Write the lines that bind `open_history` and the other functions of the declaration."""
    parts: list[Code] = []
    history = _bind("open_history", backend.origin, f"open {backend.name}")
    if Need("", "open_history") in needs:
        parts.append(history)
    if Need("", "open_with_ttl") in needs:
        if getattr(backend.factory, "with_ttl", None) is not None:
            parts += [history, Code("open_with_ttl = open_history.with_ttl")]
        else:
            origin = origin_of(backend.with_ttl) if backend.with_ttl else None
            purpose = f"open {backend.name} with a time to live"
            parts.append(_bind("open_with_ttl", origin, purpose))
    for name, (argument, purpose) in _FUNCTIONS.items():
        if Need("", name) in needs:
            function = getattr(backend, argument)
            parts.append(_bind(name, origin_of(function) if function else None, purpose))
    for number, (name, function) in enumerate(backend.interference.items(), 1):
        if Need("", f"interference_{number}") in needs:
            parts.append(_bind(f"interference_{number}", origin_of(function), name))
    lines = dict.fromkeys(line for part in parts for line in part.text.splitlines())
    return Code("\n".join(lines), join("", parts).needs)


def _bind(name: str, origin: Origin | None, purpose: str) -> Code:
    if origin is None:
        return Code(f"{name} = ...  # {purpose}: its factory is a function inside a function")
    head, _, rest = origin.attribute.partition(".")
    if origin.file is None:
        if not rest:
            renamed = "" if head == name else f" as {name}"
            return Code(f"from {origin.module} import {head}{renamed}")
        return Code(f"from {origin.module} import {head}\n{name} = {origin.attribute}")
    return Code(
        f'spec = importlib.util.spec_from_file_location("declaring", {origin.file!r})\n'
        "declaring = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(declaring)\n"
        f"{name} = declaring.{origin.attribute}",
        frozenset({Need("importlib.util")}),
    )


# -- imports and helpers -------------------------------------------------------------------------


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
class _Used:
    """All that a script needs: imports, and the source of functions, classes and lists."""

    imports: frozenset[Need]
    carried: tuple[str, ...]


def _resolved(needs: Iterable[Need]) -> _Used:
    """Follow all needs to the end."""
    waiting, imports = list(needs), set[Need]()
    carried: dict[tuple[int, str, int], str] = {}
    done = set[Need]()
    while waiting:
        need = waiting.pop()
        if need in done or need.module in ("", "builtins"):
            continue
        done.add(need)
        if need.module.partition(".")[0] != _SUITE:
            imports.add(need)
            continue
        table = _statements(need.module)
        statement = table.get(need.name)
        if statement is None:
            imports.add(need)
        elif statement.imported is not None:
            waiting.append(statement.imported)
        else:
            is_list = not statement.text.startswith(("def ", "class ", "async "))
            carried[not is_list, need.module, statement.number] = statement.text
            waiting += [Need(need.module, name) for name in statement.names if name in table]
    return _Used(frozenset(imports), tuple(carried[place] for place in sorted(carried)))


@cache
def _statements(module_name: str) -> Mapping[str, _Statement]:
    """Return the statements at the top of a module, by the names that they bind."""
    source = inspect.getsource(importlib.import_module(module_name))
    lines = source.splitlines()
    found: dict[str, _Statement] = {}
    for node in ast.parse(source).body:
        text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
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


def _imports(used: _Used) -> list[str]:
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


def _one_line(text: str) -> str:
    return " ".join(text.replace('"""', "'''").replace("\\", "/").split())
