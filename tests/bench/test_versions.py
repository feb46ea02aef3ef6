"""Tests of the versions of a comparison: how they are read, copied and installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.bench.compare import environments
from chat_history_conformance.bench.compare.environments import Conflict, Environment, Installer
from chat_history_conformance.bench.compare.versions import (
    Version,
    VersionError,
    copy_source,
    parse,
    strip_logins,
)
from tests.bench.repositories import commit, git

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tinyhist"
version = "1.0"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project in a repository of two commits, with a different `module.py` in each."""
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "--quiet", "--initial-branch=main")
    (top / "pyproject.toml").write_text(PYPROJECT)
    (top / ".gitignore").write_text("ignored.txt\n")
    for version in ("one", "two"):
        (top / "module.py").write_text(f"VERSION = {version!r}\n")
        commit(top, version)
    return top


# Reading


def test_commit_is_found_by_every_name_that_git_knows(project: Path) -> None:
    first = git(project, "rev-parse", "HEAD~1")
    git(project, "tag", "v1", first)
    for text in ("HEAD~1", "v1", first, first[:12], "git:v1"):
        version = parse(text, project)
        assert (version.kind, version.commit) == ("git", first)
    assert parse("HEAD~1", project).label == f"HEAD~1 ({first[:10]})"
    assert parse(first[:12], project).label == first[:12]


def test_directory_is_a_path_and_its_label_shows_changes(project: Path) -> None:
    known = git(project, "rev-parse", "--short=10", "HEAD")
    version = parse(".", project)
    assert (version.kind, version.target) == ("path", str(project.resolve()))
    assert version.label == f". ({known})"
    (project / "new.py").write_text("")
    assert parse(".", project).label == f". ({known} with changes)"


def test_wheel_is_a_path(tmp_path: Path) -> None:
    wheel = tmp_path / "tinyhist-1.0-py3-none-any.whl"
    wheel.write_bytes(b"")
    version = parse(wheel.name, tmp_path)
    assert (version.kind, version.target) == ("path", str(wheel.resolve()))


@pytest.mark.parametrize(
    "text",
    [
        "tinyhist==1.0",
        "tinyhist[fast]==1.0",
        "tinyhist>=1",
        "pip:tinyhist",
        "tinyhist @ https://example.org/tinyhist-1.0-py3-none-any.whl",
    ],
)
def test_requirement_is_read_as_one(project: Path, text: str) -> None:
    assert parse(text, project).kind == "pip"


def test_misspelt_branch_does_not_install_a_package_of_that_name(project: Path) -> None:
    with pytest.raises(VersionError, match="not a commit of this repository") as raised:
        parse("mian", project)
    assert "not a path, because" in str(raised.value)
    assert "pip:mian installs the newest one" in str(raised.value)


def test_name_of_a_branch_and_a_path_needs_a_prefix(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "pyproject.toml").write_text(PYPROJECT)
    git(project, "branch", "inner", "HEAD~1")
    with pytest.raises(VersionError, match="write git:inner or path:inner"):
        parse("inner", project)
    assert parse("git:inner", project).kind == "git"
    assert parse("path:inner", project).kind == "path"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("git:nowhere", "not a commit of this repository"),
        ("git:--help", "not a commit of this repository"),
        ("path:nowhere", "does not exist"),
        ("path:empty", "has neither pyproject.toml nor setup.py"),
        ("path:module.py", "neither a directory nor a wheel"),
        ("pip:a b", "not a requirement as pip reads them"),
    ],
)
def test_wrong_prefix_is_an_error(project: Path, text: str, reason: str) -> None:
    (project / "empty").mkdir()
    with pytest.raises(VersionError, match=reason):
        parse(text, project)


def test_error_outside_of_a_repository_says_so(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="is not in a git repository"):
        parse("HEAD~1", tmp_path)


def test_error_in_a_shallow_clone_explains_how_to_fetch_the_rest(
    project: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), str(shallow))
    with pytest.raises(VersionError, match=r"--unshallow.*fetch-depth: 0"):
        parse("HEAD~1", shallow)


def test_label_has_no_password() -> None:
    text = "tinyhist @ git+https://user:secret@example.org/tinyhist"
    assert "secret" not in Version(text, "pip", text).label
    assert strip_logins(text) == "tinyhist @ git+https://example.org/tinyhist"


# Copying


def test_copy_of_a_commit_leaves_the_checkout_unchanged(project: Path, tmp_path: Path) -> None:
    (project / "module.py").write_text("VERSION = 'being edited'\n")
    before = git(project, "status", "--porcelain"), git(project, "worktree", "list")
    copied = copy_source(parse("HEAD~1", project), tmp_path / "out")
    assert (copied / "module.py").read_text() == "VERSION = 'one'\n"
    assert (git(project, "status", "--porcelain"), git(project, "worktree", "list")) == before


def test_copy_of_a_commit_has_the_tags(project: Path, tmp_path: Path) -> None:
    git(project, "tag", "v7", "HEAD~1")
    copied = copy_source(parse("HEAD~1", project), tmp_path / "out")
    assert git(copied, "describe", "--tags") == "v7"


def test_copy_of_a_path_has_its_uncommitted_changes(project: Path, tmp_path: Path) -> None:
    (project / "module.py").write_text("VERSION = 'being edited'\n")
    (project / "new.py").write_text("")
    (project / "ignored.txt").write_text("")
    (project / ".gitignore").unlink()
    (project / ".gitignore").symlink_to("ignore-rules")
    (project / "ignore-rules").write_text("ignored.txt\n")
    git(project, "config", "core.excludesFile", str(project / "ignore-rules"))
    copied = copy_source(parse(".", project), tmp_path / "out")
    assert (copied / "module.py").read_text() == "VERSION = 'being edited'\n"
    assert (copied / "new.py").exists()
    assert (copied / ".gitignore").is_symlink()
    assert not (copied / "ignored.txt").exists()


def test_copy_of_a_path_lacks_removed_files(project: Path, tmp_path: Path) -> None:
    (project / "module.py").unlink()
    assert not (copy_source(parse(".", project), tmp_path / "out") / "module.py").exists()


def test_directory_outside_of_a_repository_is_copied(tmp_path: Path) -> None:
    (tmp_path / "plain" / ".venv").mkdir(parents=True)
    (tmp_path / "plain" / "pyproject.toml").write_text(PYPROJECT)
    copied = copy_source(parse("plain", tmp_path), tmp_path / "out")
    assert (copied / "pyproject.toml").exists()
    assert not (copied / ".venv").exists()


def test_shallow_clone_is_copied(project: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), str(shallow))
    for text in ("HEAD", "."):
        copied = copy_source(parse(text, shallow), tmp_path / f"out-{len(text)}")
        assert (copied / "module.py").read_text() == "VERSION = 'two'\n"


def test_project_below_the_top_of_its_repository_is_found(project: Path, tmp_path: Path) -> None:
    inner = project / "packages" / "inner"
    (inner / "tests").mkdir(parents=True)
    (inner / "pyproject.toml").write_text(PYPROJECT)
    (inner / "tests" / "test_it.py").write_text("")
    commit(project, "three")
    for number, (text, directory) in enumerate(
        [("HEAD", inner), ("HEAD", inner / "tests"), (".", inner)]
    ):
        copied = copy_source(parse(text, directory), tmp_path / f"out-{number}")
        assert copied == tmp_path / f"out-{number}" / "packages" / "inner"
        assert (copied / "pyproject.toml").exists()
    # A commit from before the project was moved there has it at the top.
    assert parse("HEAD~1", inner).within == ""


# Installing


def wheel(directory: Path, version: str, *, name: str = "tinyhist", needs: str = "") -> Path:
    """Write a wheel, so that no build backend must be downloaded."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    inside = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "Provides-Extra: tiny\nProvides-Extra: other\n"
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{inside}/METADATA", metadata)
        archive.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{inside}/RECORD", f"{name}/__init__.py,,\n{inside}/METADATA,,\n")
    return path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the only directory to install from. The suite seems to have no requirements."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    monkeypatch.setattr(environments, "_suite_requirements", list)
    environments.pip_settings_for_uv.cache_clear()
    yield directory
    environments.pip_settings_for_uv.cache_clear()


def installer(tmp_path: Path, lines: list[str], **options: Any) -> Installer:
    (tmp_path / "work").mkdir(exist_ok=True)
    cache = tmp_path / "cache"
    return Installer(tmp_path / "work", lines.append, offline=True, cache=cache, **options)


def output(environment: Environment, program: str) -> str:
    command = [str(environment.python), "-I", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_requirement_is_installed_from_the_place_that_pip_is_configured_for(
    wheels: Path, tmp_path: Path
) -> None:
    wheel(wheels, "1.0")
    lines: list[str] = []
    made = installer(tmp_path, lines).install(parse("tinyhist==1.0", tmp_path), "base")
    assert output(made, "import tinyhist; print(tinyhist.VERSION)") == "1.0"
    assert (made.package, made.package_version, made.modules) == ("tinyhist", "1.0", ["tinyhist"])
    (line,) = lines
    assert line.startswith("installing base, tinyhist==1.0; uv uses ")
    assert "UV_FIND_LINKS" in line
    assert (tmp_path / "cache").is_dir()


def test_settings_of_pip_become_variables_of_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://me:secret@one.example/simple\n"
        "extra-index-url =\n    https://two.example/simple\n    https://three.example/simple\n"
        "[install]\ntrusted-host = two.example\n"
    )
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    find = environments.pip_settings_for_uv.__wrapped__
    expected = {
        "UV_DEFAULT_INDEX": "https://me:secret@one.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "two.example",
    }
    assert {name: find().get(name) for name in expected} == expected
    # The environment wins over the file, and a setting of uv wins over both.
    monkeypatch.setenv("PIP_INDEX_URL", "https://four.example/simple")
    assert find()["UV_DEFAULT_INDEX"] == "https://four.example/simple"
    monkeypatch.setenv("UV_INDEX_URL", "https://five.example/simple")
    assert "UV_DEFAULT_INDEX" not in find()


def test_missing_uv_names_the_extra(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(VersionError, match=r"pip install 'chat-history-conformance\[benchmark\]'"):
        installer(tmp_path, []).install(parse("tinyhist==1.0", tmp_path), "base")


def test_both_versions_get_the_same_other_packages(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "1", name="other")
    wheel(wheels, "2", name="other")
    wheel(wheels, "1.0", needs="other<2")
    wheel(wheels, "2.0", needs="other")
    first, second = installer(tmp_path, []).install_both(
        parse("tinyhist==1.0", tmp_path), parse("tinyhist==2.0", tmp_path)
    )
    assert (first.package_version, second.package_version) == ("1.0", "2.0")
    assert first.versions["other"] == second.versions["other"] == "1"


def test_base_gets_the_packages_of_head_if_head_needs_newer_ones(
    wheels: Path, tmp_path: Path
) -> None:
    wheel(wheels, "1", name="other")
    wheel(wheels, "2b1", name="other")
    wheel(wheels, "1.0", needs="other")
    wheel(wheels, "2.0", needs="other>=2b1")
    lines: list[str] = []
    first, second = installer(tmp_path, lines).install_both(
        parse("tinyhist==1.0", tmp_path), parse("tinyhist==2.0", tmp_path)
    )
    assert first.versions["other"] == second.versions["other"] == "2b1"
    assert any("head does not accept the package versions of base" in line for line in lines)


def test_versions_without_common_packages_get_different_ones(wheels: Path, tmp_path: Path) -> None:
    for version in ("1", "2"):
        wheel(wheels, version, name="other")
        wheel(wheels, f"{version}.0", needs=f"other=={version}")
    lines: list[str] = []
    first, second = installer(tmp_path, lines).install_both(
        parse("tinyhist==1.0", tmp_path), parse("tinyhist==2.0", tmp_path)
    )
    assert (first.versions["other"], second.versions["other"]) == ("1", "2")
    assert any("other packages will differ" in line for line in lines)


def test_extra_with_the_name_of_the_backend_is_installed(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "1", name="other")
    built = wheel(wheels, "1.0", needs='other; extra == "tiny"')
    version = parse(str(built), tmp_path)
    for backends, is_installed in ((["tiny"], True), (["tiny-async"], True), (["tinyish"], False)):
        made = installer(tmp_path, [], backends=backends).install(version, "head")
        assert ("other" in made.versions) is is_installed
    assert "other" in installer(tmp_path, [], extras=["tiny"]).install(version, "head").versions


def test_unknown_extra_names_the_known_ones(wheels: Path, tmp_path: Path) -> None:
    version = parse(str(wheel(wheels, "1.0")), tmp_path)
    with pytest.raises(VersionError, match=r"has no extra tny\. It offers tiny, other"):
        installer(tmp_path, [], extras=["tny"]).install(version, "head")


def test_failed_installation_shows_the_output_of_uv(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="tinyhist==9") as raised:
        installer(tmp_path, []).install(parse("tinyhist==9", tmp_path), "base")
    assert "--offline forbids downloads" in str(raised.value)
    assert not isinstance(raised.value, Conflict)


def test_missing_interpreter_is_an_error(wheels: Path, tmp_path: Path) -> None:
    python = str(tmp_path / "none")
    with pytest.raises(VersionError, match=re.escape(python)):
        installer(tmp_path, [], python=python).install(parse("tinyhist==1.0", tmp_path), "base")


def test_modules_in_the_working_directory_do_not_hide_installed_ones(tmp_path: Path) -> None:
    version = Version("tinyhist==1.0", "pip", "tinyhist==1.0")
    home = tmp_path / "home"
    made = Environment(version, home, "tinyhist", {"tinyhist": "1.0"}, ["tinyhist"], None)
    assert made.directory(tmp_path) == tmp_path
    (tmp_path / "tinyhist").mkdir()
    assert made.directory(tmp_path) is None


def test_variables_that_mislead_another_python_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("HISTORY_KAFKA", "host:1")
    found = environments.environment_without_python_paths()
    assert "PYTHONPATH" not in found
    assert found["HISTORY_KAFKA"] == "host:1"
    assert found.get("PATH") == os.environ.get("PATH")
