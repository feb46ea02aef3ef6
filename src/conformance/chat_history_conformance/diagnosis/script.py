"""A finding as a standalone script: plain langchain-core and the backend, without this suite."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin, origin_of
from chat_history_conformance.declaration.parameters import VARIABLE, Bound, unbound
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
from chat_history_conformance.diagnosis.script_declaring import Part, part_of
from chat_history_conformance.diagnosis.script_helpers import Elsewhere, answer_elsewhere
from chat_history_conformance.diagnosis.script_hooks import all_left
from chat_history_conformance.diagnosis.script_loops import under_a_loop, wait
from chat_history_conformance.diagnosis.script_needs import (
    SESSION,
    SESSIONS,
    SUITE,
    carried_names,
    import_lines,
    imported_names,
    is_block,
    resolved,
)
from chat_history_conformance.diagnosis.script_opening import (
    cleaning_up,
    cleared,
    opened,
    opened_now,
)
from chat_history_conformance.diagnosis.steps import Step

__all__ = ["counting", "id_source", "is_entered", "noted", "opener", "repeated", "script"]

_ATTEMPTS = 200
_NEW_NONCE = 'nonce = f"repro{uuid.uuid4().hex[:10]}"  # each run uses new session ids'
"""The first line of the end of a script, which calls the story once."""

_VALUES = "history_values"
_FUNCTIONS = {
    "corrupt": ("corrupt", "damage the last stored record of a session"),
    "fresh_store": ("fresh", "return a factory for a store with this name"),
    "refuse_writes": ("refuse", "make the store refuse writes to a session"),
    "stop_server": ("stop", "stop the server"),
    "start_server": ("start", "start the server"),
    "remove_session": ("remove", "remove a session"),
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
    frame = _frame(needs, racy, len(before), _cleaning(backend, needs))
    needs |= frame.needs
    openings, has_future = _openings(backend, needs)
    used = resolved({*needs, *openings.needs})
    blocks = [f'"""{_one_line(summary)} - {backend.name}, {label}"""', ""]
    blocks += ["from __future__ import annotations", ""] if has_future else []
    blocks += [*import_lines(used), "", *openings.text.splitlines()]
    if not all(map(is_block, used.carried)):
        blocks.append("")
    for part in used.carried:
        blocks += ["", "", part] if is_block(part) else [part]
    for number, one in enumerate(before, 1):
        blocks += ["", "", f"def earlier_{number}():", one.indented().text or "    pass"]
    story = body.indented().text or "    pass"
    blocks += ["", "", "def story():", story, "", "", frame.text]
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(blocks)) + "\n"


def repeated(text: str) -> str:
    """Return a script that calls its story many times, because it does not fail every time."""
    head, end = _split(text)
    loop = f"for _ in range({_ATTEMPTS}):  # the defect does not show every time"
    return f"{head}{loop}\n{textwrap.indent(end, '    ')}"


def counting(text: str, attempts: int) -> str:
    """Return a script that calls its story some times, and ends with the first error.

    The last line that it prints has a 1 for each attempt that failed and a 0 for the others. It is
    empty if the story cannot be called again, because a script with earlier conversations or with
    many attempts is as it must be.
    """
    if text.count(_NEW_NONCE) != 1 or f"\n{_NEW_NONCE}" not in text:
        return ""
    head, end = _split(text)
    return (
        f"{head}attempts, errors = [], []\n"
        f"for _ in range({attempts}):\n"
        "    try:\n"
        f"{textwrap.indent(end, '        ')}"
        "        attempts.append('0')\n"
        "    except (Exception, SystemExit) as error:\n"
        "        attempts.append('1')\n"
        "        errors.append(error)\n"
        "print(*attempts, sep='', flush=True)\n"
        "if errors:\n"
        "    raise errors[0]\n"
    )


def _split(text: str) -> tuple[str, str]:
    """Return what defines the story of a script, and what calls it."""
    place = text.rindex(f"\n{_NEW_NONCE}") + 1
    return text[:place], text[place:]


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
    if how != "async" and inspect.isgeneratorfunction(inspect.unwrap(unbound(backend.factory))):
        return call(opened_now, factory, arguments), False  # an event loop has one thread
    if is_entered(backend.factory, how):
        return call(opened, factory, arguments), True
    return fill("{}({})", factory, arguments), False


def is_entered(factory: Any, how: str) -> bool:
    """Return whether a script opens the histories of a factory with `opened`."""
    return how == "async" or not _is_plain(factory)


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


def noted(session_id: Code) -> Code:
    """Return the expression of a session id, with a note for the script to remove the session."""
    return Code(session_id.text, session_id.needs | {Need(SESSION, session_id.text)})


def _is_history_class(factory: Any) -> bool:
    """Return whether instances of the factory are histories that need no further opening."""
    factory = unbound(factory)
    adds = hasattr(factory, "add_messages") or hasattr(factory, "aadd_messages")
    return inspect.isclass(factory) and adds and not hasattr(factory, "__await__")


def _is_plain(factory: Any) -> bool:
    """Return whether calling the factory gives the history itself, as far as can be seen."""
    factory = unbound(factory)
    shapes = (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    if any(shape(factory) for shape in shapes):
        return False
    return inspect.isclass(factory) or not hasattr(factory, "__wrapped__")


def _cleaning(backend: Backend, needs: frozenset[Need]) -> Code:
    """Write the start of the `with` statement that removes the stored messages of a script."""

    def lazy(code: Code) -> Code:
        return fill("lambda: {}", code)

    if Need("", "fresh_store") in needs:
        parts = [lazy(call(all_left))]
    else:
        ids = sorted(need.name for need in needs if need.module == SESSION)
        parts = [lazy(_removal(backend, Code(session_id))) for session_id in ids]
        each = fill("lambda session_id=session_id: {}", _removal(backend, Code("session_id")))
        parts += [
            fill("*(({}) for session_id in {})", each, need.name)
            for need in sorted(needs)
            if need.module == SESSIONS
        ]
    if not parts:
        return Code("")
    return fill("with {}:  # remove the stored messages", call(cleaning_up, *parts))


def _removal(backend: Backend, session_id: Code) -> Code:
    """Write the call that removes a session."""
    if backend.remove is not None and origin_of(backend.remove) is not None:
        return fill("{}({})", given("remove_session"), session_id)
    factory = given("open_history")
    if "sync" not in backend.lacks and not is_entered(backend.factory, "sync"):
        return fill("{}({}).clear()", factory, session_id)
    method = "aclear" if "sync" in backend.lacks else "clear"
    return call(wait, call(cleared, factory, session_id, Code(repr(method))))


def _frame(needs: frozenset[Need], racy: bool, earlier: int, cleaning: Code) -> Code:
    """Write the end of a script, which calls the story."""
    lines = []
    if need_of(Elsewhere) in needs:
        lines += [
            Code('if sys.argv[1:] == ["elsewhere"]:', frozenset({Need("sys")})),
            call(answer_elsewhere, Code("globals()")).indented(),
            Code("    sys.exit()\n"),
            fill("elsewhere = {}", call(Elsewhere, Code("__file__"))),
        ]
    for number in range(1, earlier + 1):
        lines += [Code(_NEW_NONCE, frozenset({Need("uuid")})), Code(f"earlier_{number}()")]
    shown = [cleaning, Code("story()").indented()] if cleaning.text else [Code("story()")]
    shown = [Code(_NEW_NONCE, frozenset({Need("uuid")})), *shown]
    if racy:
        lines += [Code(f"for _ in range({_ATTEMPTS}):  # a race does not show every time")]
        shown = [line.indented() for line in shown]
    return join("\n", [*lines, *shown])


@dataclass(frozen=True)
class _Bound:
    """A name that a script gives to a function of the declaration.

    Attributes:
        name: The name.
        origin: The place of the function, None if it cannot be imported.
        purpose: What the function does, in words.
        parameters: Its further parameters, which get values from outside of the script.
    """

    name: str
    origin: Origin | None
    purpose: str
    parameters: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The name in the module of the origin that leads to the function."""
        return self.origin.attribute.partition(".")[0] if self.origin else ""


def _openings(backend: Backend, needs: frozenset[Need]) -> tuple[Code, bool]:
    """Write the statements that bind `open_history` and the other functions of the declaration.

    Returns:
        The statements, and whether annotations are texts in them.
    """
    bound = list(dict.fromkeys(_bound(backend, needs)))
    parts = _parts(bound, needs)
    pieces = [Code(f"{_without_imports(part.text, needs)}\n") for part in parts.values()]
    loaders: dict[str, None] = {}
    parameters = dict.fromkeys(name for one in bound for name in one.parameters)
    if parameters:
        pieces.append(_values(backend, parameters))
    for one in bound:
        file = _declaring_file(one.origin)
        if one.origin is None:
            text = f"{one.name} = ...  # {one.purpose}: its factory is a function inside a function"
            pieces.append(Code(text))
        elif file in parts:
            if one.origin.attribute != one.name:
                pieces.append(Code(f"{one.name} = {one.origin.attribute}"))
        else:
            pieces += _loaded_from(one.origin, one.name, loaders)
        if one.parameters:
            pieces.append(_with_values(one))
    if Need("", "open_with_ttl") in needs and getattr(backend.factory, "with_ttl", None):
        pieces.append(Code("open_with_ttl = open_history.with_ttl"))
    return join("\n", pieces), any(part.has_future for part in parts.values())


def _values(backend: Backend, names: Iterable[str]) -> Code:
    """Write the statement that takes the values of further parameters from outside."""
    shown = ", ".join(f'"{name}": ...' for name in names)
    if backend.unsendable:
        return Code(f"{_VALUES} = ...  # {{{shown}}}, which a fixture gives to the run")
    table = f'{{"{backend.name}": {{{shown}}}}}'
    return Code(
        f"# set {VARIABLE}='{table}'\n"
        f'{_VALUES} = json.loads(os.environ["{VARIABLE}"])[{backend.name!r}]',
        frozenset({Need("json"), Need("os")}),
    )


def _with_values(one: _Bound) -> Code:
    """Write the statement that gives values to the further parameters of a function."""
    pairs = ", ".join(f'{name}={_VALUES}["{name}"]' for name in one.parameters)
    text = f"{one.name} = functools.partial({one.name}, {pairs})"
    return Code(text, frozenset({Need("functools")}))


def _parts(bound: Sequence[_Bound], needs: frozenset[Need]) -> dict[str, Part]:
    """Return the parts of declaring modules that a script contains, by file."""
    parts: dict[str, Part] = {}
    for file in {file for one in bound if (file := _declaring_file(one.origin))}:
        names = [one.root for one in bound if _declaring_file(one.origin) == file]
        part = part_of(file, list(dict.fromkeys(names)))
        if part is not None and not _collides(part, bound, needs):
            parts[file] = part
    return parts if len(parts) == 1 else {}  # the names of several could collide


def _bound(backend: Backend, needs: frozenset[Need]) -> Iterator[_Bound]:
    """Yield the functions of the declaration that a script uses."""
    has_own_ttl = getattr(backend.factory, "with_ttl", None) is not None
    with_ttl = Need("", "open_with_ttl") in needs
    if Need("", "open_history") in needs or (with_ttl and has_own_ttl):
        names = _parameters(backend.factory)
        yield _Bound("open_history", backend.origin, f"open {backend.name}", names)
    if with_ttl and not has_own_ttl:
        origin = origin_of(backend.with_ttl) if backend.with_ttl else None
        purpose = f"open {backend.name} with a time to live"
        yield _Bound("open_with_ttl", origin, purpose, _parameters(backend.with_ttl))
    for name, (argument, purpose) in _FUNCTIONS.items():
        if Need("", name) in needs:
            function = getattr(backend, argument)
            origin = origin_of(function) if function else None
            yield _Bound(name, origin, purpose, _parameters(function))
    for number, (name, function) in enumerate(backend.interference.items(), 1):
        if Need("", f"interference_{number}") in needs:
            names = _parameters(function)
            yield _Bound(f"interference_{number}", origin_of(function), name, names)


def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(function.keywords) if isinstance(function, Bound) else ()


def _declaring_file(origin: Origin | None) -> str | None:
    """Return the file of a module that a script should contain and not import, if it is one.

    That is a module that has no name to import it by, or a single file that imports this suite.
    """
    if origin is None or origin.file is not None or "." in origin.module:
        return None if origin is None else origin.file
    module = sys.modules.get(origin.module)
    names = vars(module).values() if module is not None else ()
    uses_suite = any(str(getattr(one, "__module__", "")).startswith(SUITE) for one in names)
    return getattr(module, "__file__", None) if uses_suite else None


def _loaded_from(origin: Origin, name: str, loaders: dict[str, None]) -> Iterator[Code]:
    """Yield the statements that import a function and give it a name."""
    head, _, rest = origin.attribute.partition(".")
    if origin.file is None:
        renamed = "" if head == name or rest else f" as {name}"
        yield Code(f"from {origin.module} import {head}{renamed}")
        if rest:
            yield Code(f"{name} = {origin.attribute}")
        return
    if origin.file not in loaders:
        loaders[origin.file] = None
        yield Code(
            f'spec = importlib.util.spec_from_file_location("declaring", {origin.file!r})\n'
            "declaring = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(declaring)",
            frozenset({Need("importlib.util")}),
        )
    yield Code(f"{name} = declaring.{origin.attribute}")


def _collides(part: Part, bound: Sequence[_Bound], needs: frozenset[Need]) -> bool:
    """Return whether the script uses a name of a part of a module for something else."""
    used = resolved(needs)
    own = {
        "story",
        "elsewhere",
        "nonce",
        "spec",
        "declaring",
        _VALUES,
        *carried_names(used.carried),
    }
    own |= {one.name for one in bound if one.name != getattr(one.origin, "attribute", "")}
    imported = imported_names(used)
    mine = {*part.names, *part.imports}
    others = {name for name, text in imported.items() if part.imports.get(name) != text}
    return bool(mine & (own | others))


def _without_imports(text: str, needs: frozenset[Need]) -> str:
    """Return the text without the imports that the script has anyway."""
    known = set(imported_names(resolved(needs)).values())
    return "\n".join(line for line in text.strip("\n").split("\n") if line not in known)


def _one_line(text: str) -> str:
    return " ".join(text.replace('"""', "'''").replace("\\", "/").split())
