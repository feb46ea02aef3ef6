"""The markup of reports is in templates only, and every value in it is escaped."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_history_conformance import reports
from chat_history_conformance.reports import templating

FOLDER = Path(reports.__file__).parent
TAG = re.compile(r"</?[a-z][a-z0-9]*[\s/>]|<!doctype", re.IGNORECASE)
# GitHub's Markdown uses a few HTML tags, which no template engine has to escape.
MODULES = sorted(path for path in FOLDER.glob("*.py") if path.name != "markdown.py")
TEMPLATES = sorted((FOLDER / "templates").iterdir())


def strings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=[path.name for path in MODULES])
def test_a_module_holds_no_markup(path: Path) -> None:
    assert not [text for text in strings(path.read_text("utf-8")) if TAG.search(text)]


def test_the_search_for_markup_finds_it_in_f_strings() -> None:
    source = 'name = 1\nf"<li class={name}>{name}</li>"\n'
    assert [text for text in strings(source) if TAG.search(text)] == ["<li class=", "</li>"]


def test_templates_escape_values() -> None:
    environment = templating.environment()
    template = environment.from_string('<p title="{{ text }}">{{ text }}</p>')
    shown = template.render(text='"><script>')
    assert shown == '<p title="&#34;&gt;&lt;script&gt;">&#34;&gt;&lt;script&gt;</p>'


@pytest.mark.parametrize("path", TEMPLATES, ids=[path.name for path in TEMPLATES])
def test_only_the_style_and_the_script_are_not_escaped(path: Path) -> None:
    unescaped = re.findall(r"\{\{([^}]*)\|\s*safe", path.read_text("utf-8"))
    assert [name.strip() for name in unescaped] == (
        ["page.style", "page.script"] if path.name == "page.html" else []
    )
