"""Write the pages of the reference that follow from the code.

    python -m tools.site.reference

This writes `docs/options.md`, `docs/declaration.md` and `docs/report.md`. They are kept, so that
they can be read without the site, and `tests/docs/test_site.py` compares them with the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chat_history_conformance import history_backend, servers
from chat_history_conformance.declaration import capabilities
from chat_history_conformance.plugin import OPTIONS, Option
from chat_history_conformance.reports import document

__all__ = ["PAGES", "arguments_of", "declaration", "options", "report", "sections_of"]

DOCS = Path(__file__).parents[2] / "docs"
_COMMAND = "`python -m tools.site.reference` writes this page"
_RUNS = {
    "any": "All runs",
    "judging": "Runs of the contracts",
    "measuring": "Benchmarks: with `--history-benchmark`",
}
_SHAPES = {"flag": "a flag", "value": "one value", "list": "a list; repeat it on the command line"}


def options() -> str:
    """Return the page about the options of the plugin, from their definitions."""
    lines = [
        "# Options",
        "",
        f"These are the options that the plugin adds to pytest. {_COMMAND} from their definitions.",
        "",
        "Each option has a twin in the ini file of pytest. `--history-require-verdict` is "
        "`history_require_verdict` there:",
        "",
        "```toml",
        "[tool.pytest.ini_options]",
        'history_backend = ["mine"]',
        "history_require_verdict = true",
        "```",
        "",
        "The command line wins. All options of pytest itself work too, such as `-k`, `-x`, `--lf` "
        "and `-n` of pytest-xdist. Without `--history-backend`, the plugin does nothing.",
    ]
    for run, heading in _RUNS.items():
        lines += ["", f"## {heading}"]
        for option in OPTIONS:
            if option.run == run:
                lines += _option(option)
    return "\n".join(lines) + "\n"


def _option(option: Option) -> Iterator[str]:
    value = f"={option.metavar or '|'.join(option.choices or ())}" if option.kind != "flag" else ""
    text, _, default = option.help.rpartition(" Default: ")
    yield from ("", f"### --history-{option.name}", "")
    yield from ("```text", f"--history-{option.name}{value}", "```", "")
    yield from (_with_code(text), "")
    yield f"- Default: {_with_code(default.rstrip('.'))}"
    yield f"- In the ini file: `history_{option.name.replace('-', '_')}`, {_SHAPES[option.kind]}"


_CODE = re.compile(
    r"--history-[\w-]+|@history_backend|package\.module:attribute|HISTORY_[A-Z]+|conftest\.py|"
    r"\.(?:json|md|html|svg)\b|(?<=format of )--\S+|deviations=|jvm:3|kafka=broker:9092|"
    r'"CONTRACT" = "REASON"|KIND=|\bCI\b'
)


def _with_code(text: str) -> str:
    """Return a help text whose names are code."""
    return _CODE.sub(lambda found: f"`{found.group()}`", text)


def declaration() -> str:
    """Return the page about the names that a declaration uses, from their docstrings."""
    lines = [
        "# The declaration",
        "",
        "A declaration in a `conftest.py` names a history and says what the suite cannot find out "
        f"by itself. [Check your own history](adopting.md) explains it with examples. {_COMMAND} "
        "from the docstrings.",
        "",
        "## history_backend",
        "",
        *_described(history_backend, "chat_history_conformance.history_backend"),
        "",
        "## Capabilities",
        "",
        "The suite assumes these capabilities. `lacks=` takes their names:",
        "",
        *_capabilities(assumed=True),
        "",
        "It finds these by the methods of the history and the arguments of the declaration:",
        "",
        *_capabilities(assumed=False),
        "",
        "A contract that needs a missing capability is not applicable.",
        "",
        "## Servers",
    ]
    for function in (servers.address, servers.settings):
        name = function.__name__
        described = _described(function, f"chat_history_conformance.servers.{name}")
        lines += ["", f"### servers.{name}", "", *described]
    return "\n".join(lines) + "\n"


def _capabilities(*, assumed: bool) -> Iterator[str]:
    yield from ("| name | meaning |", "|---|---|")
    for name, item in capabilities.catalogue().items():
        if item.assumed is assumed:
            yield f"| `{name}` | {' '.join(inspect.cleandoc(item.__doc__ or '').split())} |"


def _described(function: Callable[..., Any], name: str) -> Iterator[str]:
    """Yield the docstring of a function as Markdown."""
    yield from ("```python", *_signature(function, name), "```")
    for title, text in sections_of(function).items():
        if title == "Args":
            yield from ("", "Arguments:", "")
            parameters = inspect.signature(function).parameters
            for argument, meaning in arguments_of(text).items():
                default = parameters[argument].default
                shown = "" if default in (None, inspect.Parameter.empty) else f" (`{default!r}`)"
                yield f"- **`{argument}`**{shown}: {meaning}"
        elif title in ("Returns", "Raises"):
            yield from ("", f"{title}: {' '.join(text.split())}")
        else:
            yield from ("", text)


def _signature(function: Callable[..., Any], name: str) -> Iterator[str]:
    """Yield the call of a function, with an argument in each line if there are many."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        needed = parameter.default is inspect.Parameter.empty
        shown.append(parameter.name + ("" if needed else f"={parameter.default!r}"))
    short = f"{name}({', '.join(shown)})"
    yield from [short] if len(short) < 80 else [f"{name}(", *(f"    {x}," for x in shown), ")"]


def sections_of(function: Callable[..., Any]) -> Mapping[str, str]:
    """Return the sections of a docstring: `Args`, `Returns`, `Raises`, and the text as ``""``."""
    sections: dict[str, list[str]] = {"": []}
    current = sections[""]
    for line in inspect.cleandoc(function.__doc__ or "").splitlines():
        if found := re.fullmatch(r"(Args|Returns|Raises|Example):", line):
            current = sections.setdefault(found.group(1), [])
        else:
            current.append(line)
    return {title: inspect.cleandoc("\n".join(lines)) for title, lines in sections.items()}


def arguments_of(text: str) -> Mapping[str, str]:
    """Return the text of each argument in an `Args` section."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.match(r"(\w+): (.*)", line):
            found[match.group(1)] = match.group(2)
        else:
            found[list(found)[-1]] += f" {line.strip()}"
    return found


def report() -> str:
    """Return the page about the JSON report, from its published schema."""
    schema = document.schema()
    lines = [
        "# The JSON report",
        "",
        f"`--history-report=report.json` writes a report with the schema "
        f"`{schema['properties']['schema']['const']}`. Later versions of the suite may add fields, "
        "but never remove one. The JSON schema itself is `report-1.schema.json` in the package "
        f"`chat_history_conformance.reports`. {_COMMAND} from it.",
        "",
        "`history-conformance report a.json b.json --html matrix.html` makes pages from such "
        "files.",
        "",
        "## The document",
        "",
        *_fields(schema, schema["$defs"]),
    ]
    for name, definition in schema["$defs"].items():
        fields = _fields(definition, schema["$defs"])
        lines += ["", f"## {name}", "", definition["description"], "", *fields]
    return "\n".join(lines) + "\n"


def _fields(definition: Mapping[str, Any], others: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the fields of a definition. A field may refer to one of the others."""
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in definition["properties"].items():
        other = others.get(field.get("$ref", "").rpartition("/")[2], {})
        described = {"description": other.get("description", ""), **field}
        yield f"| `{name}` | {_type(field)} | {_cell(described)} |"


def _cell(field: Mapping[str, Any]) -> str:
    """Return the meaning of a field, with the values that it may have."""
    values = (
        f" One of: {', '.join(f'`{one}`' for one in field['enum'])}." if "enum" in field else ""
    )
    return f"{field['description']}{values}".replace("|", "\\|")


def _type(field: Mapping[str, Any]) -> str:
    """Return the type of a field in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(one) for one in field["anyOf"]))
    kind = field.get("type", "string")
    if kind == "array":
        return f"list of {_type(field['items'])}"
    return str(kind)


PAGES: Mapping[str, Callable[[], str]] = {
    "options.md": options,
    "declaration.md": declaration,
    "report.md": report,
}
"""The pages by the name of their file in `docs/`."""


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
