"""Rules about modules that hold for the whole project."""

from __future__ import annotations

import ast
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
