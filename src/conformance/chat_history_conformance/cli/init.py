"""The command `init`: write the files with which a project checks its chat history."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_history_conformance import __version__, project
from chat_history_conformance.cli.refusal import Refusal

__all__ = ["BADGE", "CONFTEST", "WORKFLOW", "add_parser"]

CONFTEST = "conftest.py"
WORKFLOW = ".github/workflows/chat-history-conformance.yml"
BADGE = "chat-history.svg"
"""The file of the badge, which a run writes."""

_TEMPLATES = {CONFTEST: "conftest.py.jinja", WORKFLOW: "workflow.yml.jinja"}
_CLIENTS = {
    "redis": "redis",
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "pymongo": "mongodb",
    "motor": "mongodb",
    "elasticsearch": "elasticsearch",
    "confluent_kafka": "kafka",
}
"""The kinds of servers by the packages of their clients."""

_METAVAR = "PACKAGE.MODULE:CLASS"
_NOTHING = "Nothing was written."


@dataclass(frozen=True)
class _Target:
    """The callable that opens the history.

    Attributes:
        module: The name of its module.
        attribute: Its dotted name in the module.
        value: The callable itself.
    """

    module: str
    attribute: str
    value: Any


@dataclass(frozen=True)
class _Call:
    """The arguments with which a history is opened, as source.

    Attributes:
        arguments: All arguments.
        missing: The parameters that have no default and are not the session id, in words.
    """

    arguments: tuple[str, ...]
    missing: tuple[str, ...] = ()


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `init` to the commands."""
    parser = commands.add_parser(
        "init",
        help="write a conftest.py and a CI job for your history",
        description="Write a conftest.py that declares your history, and a job for GitHub Actions. "
        "Prints the next command and the badge for a README. Files that exist are not changed.",
        epilog="example: history-conformance init mypackage.histories:RedisHistory",
    )
    parser.add_argument(
        "history",
        metavar=_METAVAR,
        help="a class of histories, or a function that opens one",
    )
    parser.add_argument(
        "--name", help="the name for --history-backend (default: that of the package)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="DIRECTORY",
        help="write into this directory (default: the current one)",
    )
    parser.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    from chat_history_conformance.servers import kinds

    target = _find(options.history)
    lacks = _lacks(target)
    call = _call(target)
    name = _name(options.name, target)
    texts = _render(
        {
            "name": name,
            "module": target.module,
            "attribute": target.attribute,
            "imported": target.attribute.partition(".")[0],
            "is_class": inspect.isclass(target.value),
            "call": call.arguments,
            "missing": call.missing,
            "lacks": lacks,
            "with_ttl": f"{target.attribute}.with_ttl" if _has(target, "with_ttl") else "",
            "arguments": _arguments(),
            "kinds": kinds(),
            "kind": _kind(target),
            "documentation": project.url("Documentation"),
            "install": _install(options.output),
            "version": _pinned(__version__),
        }
    )
    _write(options.output, texts)
    for line in _next_steps(target, name, call, options.output):
        print(line)
    return 0


def _find(spec: str) -> _Target:
    """Import the callable that opens the history.

    Raises:
        Refusal: There is none. The text says why and what to do.
    """
    from chat_history_conformance.declaration.errors import clip_repr, did_you_mean

    module, colon, attribute = spec.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", spec):
        dotted, dot, last = spec.rpartition(".")
        meant = f"{dotted}:{last}" if dot and not colon and "/" not in spec else _METAVAR
        raise Refusal(f"{spec!r} is not the name of a class. Write it as {meant}. {_NOTHING}")
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())  # as pytest does
    try:
        value: Any = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing runs the code of the project, which may exit
        raise Refusal(f"{_import_failure(module, error)} {_NOTHING}") from error
    finally:
        sys.path[:] = before
    for part in attribute.split("."):
        if not hasattr(value, part):
            known = [one for one in vars(value) if not one.startswith("_")]
            raise Refusal(f"{module} has no {attribute!r}.{did_you_mean(part, known)} {_NOTHING}")
        value = getattr(value, part)
    if not callable(value):
        raise Refusal(
            f"{spec} is {type(value).__name__} {clip_repr(value)}, which cannot be called. Name a "
            f"class of chat histories, or a function that opens one. {_NOTHING}"
        )
    return _Target(module, attribute, value)


def _import_failure(module: str, error: BaseException) -> str:
    text = f"{module} cannot be imported: {type(error).__name__}: {error}."
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    top = module.partition(".")[0]
    if missing == top:
        return f"{text} Install {top}, or run this command in the directory that contains it."
    if missing and module.startswith(missing):
        return f"{text} Check the name of the module."
    if missing:
        return f"{text} Install what it needs."
    return f"{text} Correct the module first."


def _has(target: _Target, name: str) -> bool:
    return hasattr(target.value, name)


def _lacks(target: _Target) -> tuple[str, str] | None:
    """Return the capability that a class certainly lacks, with a reason, or None.

    Raises:
        Refusal: The class cannot be a chat history.
    """
    if not inspect.isclass(target.value):
        return None
    if abstract := sorted(getattr(target.value, "__abstractmethods__", ())):
        raise Refusal(
            f"{target.attribute} has abstract methods and cannot be opened: {', '.join(abstract)}. "
            f"Name a class that implements them. {_NOTHING}"
        )
    synchronous = _has(target, "add_messages") and _has(target, "clear")
    if not synchronous and _has(target, "aadd_messages") and _has(target, "aclear"):
        return "sync", "it has only asynchronous methods"
    if not synchronous:
        raise Refusal(
            f"{target.attribute} is not a chat history, because it has no `add_messages` or no "
            "`clear`. Name a class that has them, such as a subclass of BaseChatMessageHistory, or "
            f"a function that opens one. {_NOTHING}"
        )
    if not _has(target, "aadd_messages"):
        return "async", "it has only synchronous methods"
    return None


def _call(target: _Target) -> _Call:
    """Return the arguments that open a session, as far as the signature shows them.

    Raises:
        Refusal: The callable takes no argument.
    """
    try:
        parameters = list(inspect.signature(target.value).parameters.values())
    except ValueError:  # a callable of an extension module may have no signature
        return _Call(("session_id",))
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not parameters:
        raise Refusal(
            f"{target.attribute} takes no argument, but a history is opened with a session id. "
            f"Name a callable that takes one. {_NOTHING}"
        )
    if not named:
        return _Call(("session_id",))
    session = _session(named)
    arguments, missing, by_name = [], [], False
    for parameter in named:
        required = parameter.default is parameter.empty
        if parameter is not session and not required:
            by_name = by_name or parameter.kind is not parameter.POSITIONAL_ONLY
            continue
        value = "session_id" if parameter is session else "..."
        keyword = parameter.kind is parameter.KEYWORD_ONLY or by_name or value == "..."
        if parameter.kind is parameter.POSITIONAL_ONLY:
            keyword = False
        if parameter is session and parameter is named[0] and not keyword:
            arguments.append(value)
        else:
            arguments.append(f"{parameter.name}={value}" if keyword else value)
            by_name = by_name or keyword
        if parameter is not session:
            missing.append(str(parameter).partition("=")[0].strip())
    return _Call(tuple(arguments), tuple(missing))


def _session(parameters: list[inspect.Parameter]) -> inspect.Parameter:
    """Return the parameter that takes the session id: by its name, else the first one."""
    for wanted in (r"session_?id", r"session", r"(conversation|thread|chat)_?id"):
        for parameter in parameters:
            if re.fullmatch(wanted, parameter.name):
                return parameter
    required = [one for one in parameters if one.default is one.empty]
    return (required or parameters)[0]


def _kind(target: _Target) -> str:
    """Return the kind of server whose client the module of the history imports; Kafka if none."""
    imported = {
        getattr(value, "__module__", None) or getattr(value, "__name__", "")
        for value in vars(importlib.import_module(target.module)).values()
    }
    packages = {name.partition(".")[0] for name in imported if isinstance(name, str)}
    found = [kind for package, kind in _CLIENTS.items() if package in packages]
    return found[0] if found else "kafka"


def _arguments() -> tuple[str, ...]:
    """Return the names of the arguments of a declaration."""
    from chat_history_conformance.declaration.registry import history_backend

    return tuple(inspect.signature(history_backend).parameters)


def _name(given: str | None, target: _Target) -> str:
    """Return the name of the backend: the given one, or that of the package.

    Raises:
        Refusal: The given name has other characters than letters, digits, `-`, `_` and `.`.
    """
    from chat_history_conformance.declaration import registry

    if given is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", given):
            raise Refusal(
                f"{given!r} cannot be the name of a backend. Use letters, digits and hyphens. "
                f"{_NOTHING}"
            )
        return given
    package = target.module.partition(".")[0].strip("_").replace("_", "-") or "mine"
    return f"{package}-history" if package in registry.names() else package


def _install(directory: Path) -> str:
    """Return what the CI job installs next to the suite."""
    if any((directory / name).exists() for name in ("pyproject.toml", "setup.py")):
        return "-e . "
    return "-r requirements.txt " if (directory / "requirements.txt").exists() else ""


def _pinned(version: str) -> str:
    """Return the release to which a project is pinned: `0.2.0` for `0.2.0.dev2` and `0.2.3`."""
    major, minor, *_ = version.split(".")
    return f"{major}.{minor}.0"


def _render(values: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the text of each file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return {
        path: environment.get_template(template).render(values)
        for path, template in _TEMPLATES.items()
    }


def _write(directory: Path, texts: Mapping[str, str]) -> None:
    """Write all files, or none if one of them exists.

    Raises:
        Refusal: A file exists or cannot be written.
    """
    if existing := [str(directory / name) for name in texts if (directory / name).exists()]:
        raise Refusal(
            f"{' and '.join(existing)} {'exist' if len(existing) > 1 else 'exists'}. {_NOTHING} "
            "Move what exists away, or write into another directory with --output DIRECTORY and "
            "copy what you need."
        )
    try:
        for name, text in texts.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise Refusal(f"The files cannot be written: {error}") from error


def _next_steps(target: _Target, name: str, call: _Call, directory: Path) -> Iterator[str]:
    """Yield the files that were written and the next step."""
    from chat_history_conformance.declaration.capabilities import ITERATION, READS

    for path in _TEMPLATES:
        yield f"wrote {directory / path}"
    extra = [one for one in (*READS, ITERATION, "close", "aclose", "with_ttl") if _has(target, one)]
    if extra:
        yield f"{target.attribute} has {', '.join(extra)}. The contracts check them too."
    yield ""
    if call.missing:
        yield f"First give {target.attribute} in {directory / CONFTEST} what it needs:"
        yield from (f"    {argument}" for argument in call.missing)
        yield ""
    where = "" if directory == Path() else f"cd {directory} && "
    run = f"{where}pytest --history-backend={name}"
    yield "Check the history:"
    yield f"    {run}"
    yield "Write the badge, and show it in the README:"
    yield f"    {run} --history-report={BADGE}"
    site = project.url("Documentation")
    yield f"    [![chat history]({BADGE})]({site})" if site else f"    ![chat history]({BADGE})"
