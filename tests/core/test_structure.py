"""Rules about modules that hold for the whole project."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "src" / "conformance", ROOT / "src" / "backends"]
MODULES = sorted(path for source in SOURCES for path in source.rglob("*.py"))
CONTRACTS = ("contracts", "faulty")
"""Folders whose modules may be long: each is a list of short, independent pieces."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT / "src"))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_has_at_most_450_lines(path: Path) -> None:
    if path.parent.name not in CONTRACTS:
        assert len(path.read_text("utf-8").splitlines()) <= 450


@pytest.mark.parametrize(
    "path",
    # A family registers its pieces with decorators and exports nothing.
    [path for path in MODULES if path.parent.name not in CONTRACTS or path.name == "__init__.py"],
    ids=_name,
)
def test_module_lists_its_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assigned = {
        target.id
        for node in tree.body
        for target in (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if isinstance(target, ast.Name)
    }
    public = {name for name in defined | assigned if not name.startswith("_")}
    if not public:
        return
    assert "__all__" in assigned, "define __all__"
    [listed] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets)
    ]
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    lazy = {"__version__"} | ({"strategies"} if path.name == "__init__.py" else set())
    assert set(listed) <= defined | assigned | imported | lazy, "__all__ names something unknown"


def test_no_module_says_the_same_name_twice_in_all() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and any(
                isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets
            ):
                names = ast.literal_eval(node.value)
                assert len(names) == len(set(names)), path


def _imported() -> set[str]:
    """Return the top-level packages that the project imports, its own ones excluded."""
    found: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    own = {"chat_history_conformance", "chat_history_backends"}
    return {name for name in found if name not in sys.stdlib_module_names} - own


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras if name != "dev")]
    declared = {
        re.split(r"[\[<>=~! ]", requirement)[0].lower() for one in lists for requirement in one
    }
    by_package = packages_distributions()
    part_of = {"_pytest": ["pytest"], "pydantic_core": ["pydantic"]}
    imported = _imported()
    assert {"pydantic", "jinja2", "confluent_kafka"} <= imported
    for package in sorted(imported):
        distributions = part_of.get(package) or by_package.get(package, [package])
        assert {name.lower() for name in distributions} & declared, package
