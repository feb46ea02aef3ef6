"""Finding the backend of a campaign."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_history_conformance.campaign.clients import importing
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.errors import DeclarationError

_DECLARATION = """\
from chat_history_conformance import history_backend

@history_backend({name!r}, server="kafka")
def open_history(session_id):
    raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "_declared", dict(registry._declared))
    before = set(sys.modules)
    conftest = sys.modules.get("conftest")
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    if conftest is not None:
        sys.modules["conftest"] = conftest


def _declare(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_DECLARATION.format(name=name), encoding="utf-8")
    return path


def test_registered_name_is_found(tmp_path: Path) -> None:
    assert importing.find("kafka", [], tmp_path).server == "kafka"


@pytest.mark.parametrize("folder", [".", "test_it", "tests"])
def test_declaration_in_a_conftest_is_found(tmp_path: Path, folder: str) -> None:
    path = _declare(tmp_path / folder / "conftest.py", "campaign-conftest")
    backend = importing.find("campaign-conftest", [], tmp_path)
    assert backend.server == "kafka"
    assert backend.importable is not None
    assert Path(str(backend.importable.file)) == path


def test_conftest_of_a_parent_is_found_up_to_the_root_of_the_project(tmp_path: Path) -> None:
    _declare(tmp_path / "conftest.py", "campaign-outside")
    root = tmp_path / "project"
    _declare(root / "conftest.py", "campaign-parent")
    (root / "pyproject.toml").touch()
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    assert importing.conftests(deep) == [root / "conftest.py"]
    assert importing.find("campaign-parent", [], deep).name == "campaign-parent"


def test_conftest_of_testpaths_is_found(tmp_path: Path) -> None:
    path = _declare(tmp_path / "checks" / "conftest.py", "campaign-testpaths")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\ntestpaths = ["checks"]\n', encoding="utf-8"
    )
    assert importing.conftests(tmp_path) == [path]


def test_conftest_in_a_package_can_import_from_it(tmp_path: Path) -> None:
    path = _declare(tmp_path / "tests" / "conftest.py", "campaign-package")
    (path.parent / "__init__.py").touch()
    (path.parent / "helper.py").write_text("x = 1\n", encoding="utf-8")
    path.write_text("from .helper import x\n" + path.read_text("utf-8"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in sys.modules if one.partition(".")[0] == "tests"]:
            patch.delitem(sys.modules, name)
        assert importing.find("campaign-package", [], tmp_path).server == "kafka"


def test_named_file_is_imported(tmp_path: Path) -> None:
    path = _declare(tmp_path / "elsewhere" / "campaign_histories.py", "campaign-file")
    backend = importing.find("campaign-file", [str(path)], Path.cwd())
    assert backend.importable is not None
    assert backend.importable.module == "campaign_histories"
    assert str(path.parent) in sys.path  # the clients import it by its name


def test_named_module_is_imported(tmp_path: Path) -> None:
    _declare(tmp_path / "campaign_module.py", "campaign-module")
    assert importing.find("campaign-module", ["campaign_module"], tmp_path).server == "kafka"


def test_undeclared_callable_is_found(tmp_path: Path) -> None:
    (tmp_path / "campaign_plain.py").write_text("def open_it(session_id): ...\n", "utf-8")
    assert importing.find("campaign_plain:open_it", [], tmp_path).server is None


def test_unknown_name_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="Did you mean 'kafka'"):
        importing.find("kafak", [], tmp_path)


@pytest.mark.parametrize("text", ["import no_such_module_at_all", "1 +", "raise SystemExit(3)"])
def test_file_that_cannot_be_imported_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "campaign_wrong.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(importing.ImportFailed, match=r"campaign_wrong\.py failed"):
        importing.find("x", [str(path)], tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(importing.ImportFailed, match=r"nothing\.py is not a file"):
        importing.find("x", ["nothing.py"], tmp_path)
