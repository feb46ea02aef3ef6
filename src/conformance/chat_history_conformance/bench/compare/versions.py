"""The versions that a comparison measures: a commit, a path or a requirement, and its source."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

__all__ = [
    "FORMS",
    "Version",
    "VersionError",
    "VersionKind",
    "copy_source",
    "parse",
    "strip_logins",
]

VersionKind = Literal["git", "path", "pip"]
_KINDS: tuple[VersionKind, ...] = ("git", "path", "pip")

FORMS = (
    "a version is a commit (HEAD~1, a branch, a tag), a path (a directory with pyproject.toml or "
    "setup.py, or a wheel) or a requirement (NAME==VERSION). Write git:, path: or pip: before it "
    "to choose one of them"
)

_PROJECT_FILES = ("pyproject.toml", "setup.py")
# A git hook runs with these variables. With them, git would ignore the directory of `-C`.
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


class VersionError(Exception):
    """A version that cannot be found or installed. The text says what to do."""


@dataclass(frozen=True)
class Version:
    """One version of a package, as the user wrote it and as it was read.

    Attributes:
        asked: The user's text.
        kind: `git`, `path` or `pip`.
        target: The full hash of a commit, an absolute path, or a requirement.
        repository: The top directory of the repository of a commit or a path.
        commit: The full hash of the commit, or of the commit that a path's repository has checked
            out.
        within: The project's directory in that repository, with slashes. Empty for the top.
        changed: Whether a path differs from the commit that its repository has checked out.
    """

    asked: str
    kind: VersionKind
    target: str
    repository: Path | None = None
    commit: str = ""
    within: str = ""
    changed: bool = False

    @property
    def label(self) -> str:
        """The name in reports, such as `HEAD~1 (4ce57abf31)` or `. (4ce57abf31 with changes)`."""
        asked = strip_logins(self.asked)
        if not self.commit or asked.startswith(self.commit[:10]):
            return asked
        return f"{asked} ({self.commit[:10]}{' with changes' if self.changed else ''})"


def parse(text: str, directory: Path) -> Version:
    """Return the version that `text` names.

    A bare name is a requirement only after `pip:`. Otherwise a misspelt branch would install an
    unrelated package of that name.

    Args:
        text: `[git:|path:|pip:]...`
        directory: The start of relative paths, and a directory of the repository of commits.

    Raises:
        VersionError: The text names nothing, or could name two things.
    """
    prefix, separator, rest = text.partition(":")
    if separator and prefix in _KINDS:
        version = _READERS[prefix](text, rest, directory)
        if version is None:
            raise VersionError(f"{text}: {_problem(prefix, rest, directory)}")
        return version
    found = [one for kind in _KINDS if (one := _READERS[kind](text, text, directory)) is not None]
    found = [one for one in found if one.kind != "pip" or not _is_bare(one.target)]
    if len(found) == 1:
        return found[0]
    if found:
        readings = " or ".join(f"{one.kind}:{text}" for one in found)
        raise VersionError(f"{text} could mean several things: write {readings}")
    reasons = "; ".join(_problem(kind, text, directory) for kind in _KINDS)
    raise VersionError(f"{text} is not understood: {reasons}. In general, {FORMS}")


def strip_logins(text: str) -> str:
    """Return `text` without the user names and passwords in its URLs."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


def copy_source(version: Version, into: Path) -> Path:
    """Copy the source of a commit or a directory, to be built there. The checkout stays as it is.

    Args:
        version: A commit or a directory.
        into: A directory that does not exist yet.

    Returns:
        The project's directory in the copy.

    Raises:
        VersionError: git reports an error.
    """
    if version.repository is None:
        shutil.copytree(
            version.target,
            into,
            symlinks=True,
            ignore=shutil.ignore_patterns(
                ".venv", "venv", ".tox", ".nox", "__pycache__", "*.egg-info"
            ),
        )
        return into
    # A clone, unlike an archive, has the tags that some build backends make versions from.
    _clone(version.repository, version.commit, into)
    if version.kind == "path":
        _copy_working_tree(version.repository, into)
    return into / version.within


def _clone(repository: Path, commit: str, into: Path) -> None:
    steps = [["clone", "--quiet", "--shared", "--no-checkout", str(repository), str(into)]]
    if commit:
        steps.append(["-C", str(into), "checkout", "--quiet", "--detach", commit])
    for step in steps:
        done = _run_git(step)
        if done.returncode:
            raise VersionError(f"git {step[0]} of {repository} failed: {done.stderr.strip()}")


def _copy_working_tree(repository: Path, into: Path) -> None:
    """Make a clone equal to the working tree, with its changed, added and removed files."""
    named = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in dict.fromkeys(filter(None, named.split("\0"))):
        source, target = repository / name, into / name
        if source.is_dir() and not source.is_symlink():
            continue  # a submodule, or a repository within the repository
        target.unlink(missing_ok=True)
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _read_commit(asked: str, text: str, directory: Path) -> Version | None:
    top = _git(directory, "rev-parse", "--show-toplevel")
    if not top:
        return None
    commit = _git(directory, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
    if not commit:
        return None
    within = _git(directory, "rev-parse", "--show-prefix").rstrip("/")
    while within and not any(
        _git(directory, "cat-file", "-t", f"{commit}:{within}/{name}") for name in _PROJECT_FILES
    ):
        within = str(PurePosixPath(within).parent).removeprefix(".")
    return Version(asked, "git", commit, Path(top), commit, within)


def _read_path(asked: str, text: str, directory: Path) -> Version | None:
    path = (directory / text).resolve()
    if path.is_file() and path.suffix == ".whl":
        return Version(asked, "path", str(path))
    if not any((path / name).is_file() for name in _PROJECT_FILES):
        return None
    top = _git(path, "rev-parse", "--show-toplevel")
    if not top or not _git(path, "ls-files", "--", "."):
        return Version(asked, "path", str(path))
    within = _git(path, "rev-parse", "--show-prefix").rstrip("/")
    changed = bool(_git(path, "status", "--porcelain"))
    commit = _git(path, "rev-parse", "--verify", "--quiet", "HEAD")
    return Version(asked, "path", str(path), Path(top), commit, within, changed)


def _read_requirement(asked: str, text: str, directory: Path) -> Version | None:
    try:
        return Version(asked, "pip", str(Requirement(text)))
    except InvalidRequirement:
        return None


_READERS = {"git": _read_commit, "path": _read_path, "pip": _read_requirement}


def _is_bare(requirement: str) -> bool:
    parsed = Requirement(requirement)
    return not parsed.specifier and not parsed.url


def _problem(kind: str, text: str, directory: Path) -> str:
    """Return the reason why `text` is not a version of this kind."""
    return {"git": _no_commit, "path": _no_path, "pip": _no_requirement}[kind](text, directory)


def _no_commit(text: str, directory: Path) -> str:
    if shutil.which("git") is None:
        return "not a commit, because git is not installed"
    if not _git(directory, "rev-parse", "--show-toplevel"):
        return f"not a commit, because {directory} is not in a git repository"
    if _git(directory, "rev-parse", "--is-shallow-repository") == "true":
        return (
            "not a commit that this repository has. It is a shallow clone; `git fetch "
            "--unshallow` fetches the rest (fetch-depth: 0 in a workflow)"
        )
    return "not a commit of this repository"


def _no_path(text: str, directory: Path) -> str:
    path = (directory / text).resolve()
    if path.is_dir():
        return f"not a project, because {path} has neither {' nor '.join(_PROJECT_FILES)}"
    if path.exists():
        return f"not a project, because {path} is neither a directory nor a wheel (.whl)"
    return f"not a path, because {path} does not exist"


def _no_requirement(text: str, directory: Path) -> str:
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*(\[.*\])?", text):
        return f"not a requirement without a version (pip:{text} installs the newest one)"
    return "not a requirement as pip reads them"


def _git(directory: Path, *arguments: str) -> str:
    """Return git's output without the last line break, or an empty string if git fails."""
    if shutil.which("git") is None:
        return ""
    done = _run_git(["-C", str(directory), *arguments])
    return "" if done.returncode else done.stdout.rstrip("\n")


def _run_git(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="surrogateescape",
        env={name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES},
    )
