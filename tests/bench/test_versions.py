"""The sides of a comparison: told apart, exported without touching a checkout, installed, kept."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

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
    """A project in a repository of two commits; `module.py` says which one it is of."""
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "--quiet", "--initial-branch=main")
    (top / "pyproject.toml").write_text(PYPROJECT)
    (top / ".gitignore").write_text("ignored.txt\n")
    for version in ("one", "two"):
        (top / "module.py").write_text(f"VERSION = {version!r}\n")
        commit(top, version)
    return top


# Told apart


def test_a_commit_is_known_by_any_name_that_git_knows(project: Path) -> None:
    first = git(project, "rev-parse", "HEAD~1")
    git(project, "tag", "v1", first)
    for text in ("HEAD~1", "v1", first, first[:12], "git:v1"):
        side = parse(text, project)
        assert (side.kind, side.commit) == ("git", first)
        assert side.is_fixed
    assert parse("HEAD~1", project).label == f"HEAD~1 ({first[:10]})"
    assert parse(first[:12], project).label == first[:12]


def test_a_directory_is_a_path_and_says_whether_it_has_changes(project: Path) -> None:
    known = git(project, "rev-parse", "--short=10", "HEAD")
    side = parse(".", project)
    assert (side.kind, side.target) == ("path", str(project.resolve()))
    assert not side.is_fixed
    assert side.label == f". ({known})"
    (project / "new.py").write_text("")
    assert parse(".", project).label == f". ({known} with changes)"


def test_a_wheel_is_a_path(tmp_path: Path) -> None:
    wheel = tmp_path / "tinyhist-1.0-py3-none-any.whl"
    wheel.write_bytes(b"")
    side = parse(wheel.name, tmp_path)
    assert (side.kind, side.target) == ("path", str(wheel.resolve()))


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("tinyhist==1.0", True),
        ("tinyhist[fast]==1.0", True),
        ("tinyhist==1.*", False),
        ("tinyhist>=1", False),
        ("pip:tinyhist", False),
        ("tinyhist @ https://example.org/tinyhist-1.0-py3-none-any.whl", False),
    ],
)
def test_a_requirement_is_fixed_only_by_one_version(project: Path, text: str, fixed: bool) -> None:
    side = parse(text, project)
    assert side.kind == "pip"
    assert side.is_fixed is fixed


def test_a_misspelt_branch_installs_no_package_of_that_name(project: Path) -> None:
    with pytest.raises(VersionError, match="no commit of this repository") as raised:
        parse("mian", project)
    assert "no path, since there is no" in str(raised.value)
    assert "pip:mian installs the newest one" in str(raised.value)


def test_what_is_both_a_branch_and_a_path_must_be_said(project: Path) -> None:
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
        ("git:nowhere", "no commit of this repository"),
        ("git:--help", "no commit of this repository"),
        ("path:nowhere", "there is no"),
        ("path:empty", "holds neither pyproject.toml nor setup.py"),
        ("path:module.py", "neither a directory nor a wheel"),
        ("pip:a b", "no requirement as pip reads them"),
    ],
)
def test_a_side_that_is_not_what_its_prefix_says_is_refused(
    project: Path, text: str, reason: str
) -> None:
    (project / "empty").mkdir()
    with pytest.raises(VersionError, match=reason):
        parse(text, project)


def test_outside_of_a_repository_the_reason_says_so(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="is in no git repository"):
        parse("HEAD~1", tmp_path)


def test_a_shallow_clone_is_told_how_to_get_the_rest(project: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), str(shallow))
    with pytest.raises(VersionError, match=r"--unshallow.*fetch-depth: 0"):
        parse("HEAD~1", shallow)


def test_a_password_in_a_url_is_not_told() -> None:
    text = "tinyhist @ git+https://user:secret@example.org/tinyhist"
    assert "secret" not in Version(text, "pip", text).label
    assert strip_logins(text) == "tinyhist @ git+https://example.org/tinyhist"


# Exported


def test_a_commit_is_exported_without_touching_the_checkout(project: Path, tmp_path: Path) -> None:
    (project / "module.py").write_text("VERSION = 'being edited'\n")
    before = git(project, "status", "--porcelain"), git(project, "worktree", "list")
    exported = copy_source(parse("HEAD~1", project), tmp_path / "out")
    assert (exported / "module.py").read_text() == "VERSION = 'one'\n"
    assert (git(project, "status", "--porcelain"), git(project, "worktree", "list")) == before


def test_an_exported_commit_has_the_tags_that_give_a_version(project: Path, tmp_path: Path) -> None:
    git(project, "tag", "v7", "HEAD~1")
    exported = copy_source(parse("HEAD~1", project), tmp_path / "out")
    assert git(exported, "describe", "--tags") == "v7"


def test_a_path_is_exported_as_it_is_now(project: Path, tmp_path: Path) -> None:
    (project / "module.py").write_text("VERSION = 'being edited'\n")
    (project / "new.py").write_text("")
    (project / "ignored.txt").write_text("")
    (project / ".gitignore").unlink()
    (project / ".gitignore").symlink_to("ignore-rules")
    (project / "ignore-rules").write_text("ignored.txt\n")
    git(project, "config", "core.excludesFile", str(project / "ignore-rules"))
    exported = copy_source(parse(".", project), tmp_path / "out")
    assert (exported / "module.py").read_text() == "VERSION = 'being edited'\n"
    assert (exported / "new.py").exists()
    assert (exported / ".gitignore").is_symlink()
    assert not (exported / "ignored.txt").exists()


def test_a_file_removed_from_the_path_is_not_exported(project: Path, tmp_path: Path) -> None:
    (project / "module.py").unlink()
    assert not (copy_source(parse(".", project), tmp_path / "out") / "module.py").exists()


def test_a_directory_outside_of_any_repository_is_copied(tmp_path: Path) -> None:
    (tmp_path / "plain" / ".venv").mkdir(parents=True)
    (tmp_path / "plain" / "pyproject.toml").write_text(PYPROJECT)
    exported = copy_source(parse("plain", tmp_path), tmp_path / "out")
    assert (exported / "pyproject.toml").exists()
    assert not (exported / ".venv").exists()


def test_a_shallow_clone_can_be_exported(project: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", project.as_uri(), str(shallow))
    for text in ("HEAD", "."):
        exported = copy_source(parse(text, shallow), tmp_path / f"out-{len(text)}")
        assert (exported / "module.py").read_text() == "VERSION = 'two'\n"


def test_a_project_below_the_top_of_its_repository_is_found_there(
    project: Path, tmp_path: Path
) -> None:
    inner = project / "packages" / "inner"
    (inner / "tests").mkdir(parents=True)
    (inner / "pyproject.toml").write_text(PYPROJECT)
    (inner / "tests" / "test_it.py").write_text("")
    commit(project, "three")
    for number, (text, where) in enumerate(
        [("HEAD", inner), ("HEAD", inner / "tests"), (".", inner)]
    ):
        exported = copy_source(parse(text, where), tmp_path / f"out-{number}")
        assert exported == tmp_path / f"out-{number}" / "packages" / "inner"
        assert (exported / "pyproject.toml").exists()
    # A commit from before the project was moved there has it at the top.
    assert parse("HEAD~1", inner).within == ""


# Installed


def wheel(directory: Path, version: str, *, name: str = "tinyhist", needs: str = "") -> Path:
    """A wheel made by hand, so that no build backend has to be downloaded."""
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
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory from which alone packages are installed; the suite is taken to need none."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("UV_FIND_LINKS", str(directory))
    monkeypatch.setattr(environments, "_needs_of_the_suite", list)
    return directory


def maker(tmp_path: Path, said: list[str], **options: object) -> Installer:
    (tmp_path / "work").mkdir(exist_ok=True)
    return Installer(
        tmp_path / "work",
        tmp_path / "cache",
        said.append,
        offline=True,
        **options,  # type: ignore[arg-type]
    )


def asked(environment: Environment, program: str) -> str:
    command = [str(environment.python), "-I", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_fixed_requirement_is_installed_once_and_kept(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "1.0")
    said: list[str] = []
    side = parse("tinyhist==1.0", tmp_path)
    made = maker(tmp_path, said).make(side, "base", ())
    assert asked(made, "import tinyhist; print(tinyhist.VERSION)") == "1.0"
    assert (made.package, made.version, made.modules) == ("tinyhist", "1.0", ["tinyhist"])
    assert len(said) == 1
    assert "installing base, tinyhist==1.0, to be kept in" in said[0]
    assert maker(tmp_path, said).make(side, "base", ()) == made
    assert len(said) == 1
    # Nothing half made is left beside it.
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [made.home.name]


def test_what_is_installed_differently_is_kept_apart(wheels: Path, tmp_path: Path) -> None:
    side = parse("tinyhist==1.0", tmp_path)
    makers = [
        maker(tmp_path, []),
        maker(tmp_path, [], extras=["tiny"]),
        maker(tmp_path, [], beside=["other==1"]),
        maker(tmp_path, [], backends=["tiny"]),
    ]
    keys = [each._key(side, ()) for each in makers] + [makers[0]._key(side, ["other==1"])]
    assert len(set(keys)) == len(keys)
    assert makers[0]._key(side, ()) == maker(tmp_path, [])._key(side, ())


def test_both_sides_get_one_version_of_everything_else(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "1", name="other")
    wheel(wheels, "1.0", needs="other")
    wheel(wheels, "2.0", needs="other")
    each = maker(tmp_path, [])
    base = parse("tinyhist==1.0", tmp_path)
    each.make(base, "base", ())
    # A newer one appears between the two installations.
    wheel(wheels, "2", name="other")
    first, second = each.both(base, parse("tinyhist==2.0", tmp_path))
    assert (first.version, second.version) == ("1.0", "2.0")
    assert first.versions["other"] == second.versions["other"] == "1"


def test_base_follows_head_where_head_needs_something_newer(wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "1", name="other")
    wheel(wheels, "1.0", needs="other")
    said: list[str] = []
    each = maker(tmp_path, said)
    base = parse("tinyhist==1.0", tmp_path)
    each.make(base, "base", ())
    wheel(wheels, "2", name="other")
    wheel(wheels, "2.0", needs="other>=2")
    first, second = each.both(base, parse("tinyhist==2.0", tmp_path))
    assert first.versions["other"] == second.versions["other"] == "2"
    assert any("head does not take the versions that base got" in line for line in said)


def test_sides_that_agree_on_nothing_are_installed_as_they_want(
    wheels: Path, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        wheel(wheels, version, name="other")
        wheel(wheels, f"{version}.0", needs=f"other=={version}")
    said: list[str] = []
    first, second = maker(tmp_path, said).both(
        parse("tinyhist==1.0", tmp_path), parse("tinyhist==2.0", tmp_path)
    )
    assert (first.versions["other"], second.versions["other"]) == ("1", "2")
    assert any("differ in more than themselves" in line for line in said)


def test_an_extra_called_as_the_backend_is_installed_by_itself(
    wheels: Path, tmp_path: Path
) -> None:
    wheel(wheels, "1", name="other")
    built = wheel(wheels, "1.0", needs='other; extra == "tiny"')
    side = parse(str(built), tmp_path)
    for backends, installed in ((["tiny"], True), (["tiny-async"], True), (["tinyish"], False)):
        made = maker(tmp_path, [], backends=backends).make(side, "head", ())
        assert ("other" in made.versions) is installed
    assert "other" in maker(tmp_path, [], extras=["tiny"]).make(side, "head", ()).versions


def test_an_extra_that_is_not_offered_is_refused(wheels: Path, tmp_path: Path) -> None:
    side = parse(str(wheel(wheels, "1.0")), tmp_path)
    with pytest.raises(VersionError, match="has no extra tny; it offers tiny, other"):
        maker(tmp_path, [], extras=["tny"]).make(side, "head", ())


def test_what_cannot_be_installed_says_what_the_installer_said(
    wheels: Path, tmp_path: Path
) -> None:
    with pytest.raises(VersionError, match="tinyhist==9") as raised:
        maker(tmp_path, []).make(parse("tinyhist==9", tmp_path), "base", ())
    assert "--offline let nothing be downloaded" in str(raised.value)
    assert not isinstance(raised.value, Conflict)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_python_that_is_none_is_refused(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="cannot be run as a Python"):
        maker(tmp_path, [], python=str(tmp_path / "none")).make(
            parse("tinyhist==1.0", tmp_path), "base", ()
        )


def test_a_cache_that_cannot_be_written_is_refused(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(VersionError, match="name another directory with --cache"):
        maker(tmp_path, []).make(parse("tinyhist==1.0", tmp_path), "base", ())


def test_the_working_directory_does_not_hide_what_is_installed(tmp_path: Path) -> None:
    side = Version("tinyhist==1.0", "pip", "tinyhist==1.0")
    made = Environment(side, tmp_path / "home", "tinyhist", {"tinyhist": "1.0"}, ["tinyhist"], None)
    assert made.directory(tmp_path) == tmp_path
    (tmp_path / "tinyhist").mkdir()
    assert made.directory(tmp_path) is None


def test_variables_that_mislead_another_python_are_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("HISTORY_KAFKA", "host:1")
    found = environments.clean_environment()
    assert "PYTHONPATH" not in found
    assert found["HISTORY_KAFKA"] == "host:1"
    assert found.get("PATH") == os.environ.get("PATH")


def test_a_platform_keeps_caches_where_it_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(VersionError, match=r"chat-history-conformance\[benchmark\].*--cache"):
        environments.default_cache()
    monkeypatch.undo()
    assert "chat-history-conformance" in environments.default_cache().parts
