"""The two sides of a comparison: a commit, a path or a requirement, told apart; its source had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

SideKind = Literal["git", "path", "pip"]
KINDS: tuple[SideKind, ...] = ("git", "path", "pip")

FORMS = (
    "a side is a commit (HEAD~1, a branch, a tag), a path (a directory with pyproject.toml or "
    "setup.py, or a wheel) or a requirement (NAME==VERSION); git:, path: or pip: before it says "
    "which is meant"
)

_PROJECT_FILES = ("pyproject.toml", "setup.py")
# A hook of git is run with these, and git would then not look where it is told to.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


class SideError(Exception):
    """A side that cannot be had, or not as it was asked for; the text says what to do."""


@dataclass(frozen=True)
class Side:
    """One side, as it was asked for and as it was understood.

    Attributes:
        asked: What the user wrote.
        kind: What that turned out to be.
        target: A commit's full hash, an absolute path, or a requirement.
        repository: The top directory of the repository that a commit or a path is in.
        commit: The full hash of a commit, or of the one that a path's repository has checked out.
        within: Where the project lies in that repository, with slashes; empty for its top.
        changed: Whether a path differs from the commit that its repository has checked out.
    """

    asked: str
    kind: SideKind
    target: str
    repository: Path | None = None
    commit: str = ""
    within: str = ""
    changed: bool = False

    @property
    def label(self) -> str:
        """What a reader is told: `HEAD~1 (4ce57abf31)`, `. (4ce57abf31 with changes)`."""
        asked = without_passwords(self.asked)
        if not self.commit or asked.startswith(self.commit[:10]):
            return asked
        return f"{asked} ({self.commit[:10]}{' with changes' if self.changed else ''})"

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same whenever it is asked for, so that its installation can be kept."""
        if self.kind != "pip":
            return self.kind == "git"
        specifiers = list(Requirement(self.target).specifier)
        return any(one.operator == "==" and "*" not in one.version for one in specifiers)


def understand(text: str, directory: Path) -> Side:
    """Tell what a user means by `text`.

    A bare name is no requirement without `pip:`, so that a branch that is misspelt never installs
    a stranger's package.

    Args:
        text: `[git:|path:|pip:]...`
        directory: Where paths begin, and whose repository commits are of.

    Raises:
        SideError: It is nothing of the kind, or could be two things.
    """
    forced, separator, rest = text.partition(":")
    if separator and forced in KINDS:
        side = _READERS[forced](text, rest, directory)
        if side is None:
            raise SideError(f"{text}: {_why_not(forced, rest, directory)}")
        return side
    found = [side for kind in KINDS if (side := _READERS[kind](text, text, directory)) is not None]
    found = [side for side in found if side.kind != "pip" or not _is_bare(side.target)]
    if len(found) == 1:
        return found[0]
    if found:
        readings = " or ".join(f"{side.kind}:{text}" for side in found)
        raise SideError(f"{text} could mean several things: write {readings}")
    reasons = "; ".join(_why_not(kind, text, directory) for kind in KINDS)
    raise SideError(f"{text} is not understood: {reasons}. In general, {FORMS}")


def without_passwords(text: str) -> str:
    """`text` without the users and passwords that its URLs may hold."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


def export(side: Side, into: Path) -> Path:
    """Lay the source of a commit or of a directory where it can be built; touch no checkout.

    Args:
        side: A commit or a directory.
        into: A directory that does not exist yet.

    Returns:
        Where the project is in it.

    Raises:
        SideError: git refuses.
    """
    if side.repository is None:
        shutil.copytree(
            side.target,
            into,
            symlinks=True,
            ignore=shutil.ignore_patterns(
                ".venv", "venv", ".tox", ".nox", "__pycache__", "*.egg-info"
            ),
        )
        return into
    # A clone rather than an archive: what takes its version from tags finds them.
    _clone(side.repository, side.commit, into)
    if side.kind == "path":
        _lay_over(side.repository, into)
    return into / side.within


def _clone(repository: Path, commit: str, into: Path) -> None:
    steps = [["clone", "--quiet", "--shared", "--no-checkout", str(repository), str(into)]]
    if commit:
        steps.append(["-C", str(into), "checkout", "--quiet", "--detach", commit])
    for step in steps:
        done = _run_git(step)
        if done.returncode:
            raise SideError(f"git {step[0]} of {repository} failed: {done.stderr.strip()}")


def _lay_over(repository: Path, into: Path) -> None:
    """Make a clone what the working tree is: changed, added and removed files included."""
    named = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in dict.fromkeys(filter(None, named.split("\0"))):
        source, target = repository / name, into / name
        if source.is_dir() and not source.is_symlink():
            continue  # a submodule, or a repository within the repository
        target.unlink(missing_ok=True)
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _git_side(asked: str, text: str, directory: Path) -> Side | None:
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
    return Side(asked, "git", commit, Path(top), commit, within)


def _path_side(asked: str, text: str, directory: Path) -> Side | None:
    path = (directory / text).resolve()
    if path.is_file() and path.suffix == ".whl":
        return Side(asked, "path", str(path))
    if not any((path / name).is_file() for name in _PROJECT_FILES):
        return None
    top = _git(path, "rev-parse", "--show-toplevel")
    if not top or not _git(path, "ls-files", "--", "."):
        return Side(asked, "path", str(path))
    within = _git(path, "rev-parse", "--show-prefix").rstrip("/")
    changed = bool(_git(path, "status", "--porcelain"))
    commit = _git(path, "rev-parse", "--verify", "--quiet", "HEAD")
    return Side(asked, "path", str(path), Path(top), commit, within, changed)


def _pip_side(asked: str, text: str, directory: Path) -> Side | None:
    try:
        return Side(asked, "pip", str(Requirement(text)))
    except InvalidRequirement:
        return None


_READERS = {"git": _git_side, "path": _path_side, "pip": _pip_side}


def _is_bare(requirement: str) -> bool:
    parsed = Requirement(requirement)
    return not parsed.specifier and not parsed.url


def _why_not(kind: str, text: str, directory: Path) -> str:
    if kind == "git":
        if shutil.which("git") is None:
            return "no commit, since there is no git here"
        if not _git(directory, "rev-parse", "--show-toplevel"):
            return f"no commit, since {directory} is in no git repository"
        if _git(directory, "rev-parse", "--is-shallow-repository") == "true":
            return (
                "no commit that this repository has; it is a shallow clone, and `git fetch "
                "--unshallow` fetches the rest (fetch-depth: 0 in a workflow)"
            )
        return "no commit of this repository"
    if kind == "path":
        path = (directory / text).resolve()
        if path.is_dir():
            return f"no project, since {path} holds neither {' nor '.join(_PROJECT_FILES)}"
        if path.exists():
            return f"no project, since {path} is neither a directory nor a wheel (.whl)"
        return f"no path, since there is no {path}"
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*(\[.*\])?", text):
        return f"no requirement without a version (pip:{text} installs the newest one)"
    return "no requirement as pip reads them"


def _git(directory: Path, *arguments: str) -> str:
    """What git prints, without the end of its line; empty where it fails or is not there."""
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
        env={name: value for name, value in os.environ.items() if name not in _OF_A_HOOK},
    )
