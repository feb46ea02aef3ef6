"""The time and the place of a run, and where its backends are declared, for reports."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

from chat_history_conformance.declaration.backend import Backend

__all__ = ["environment", "moment", "origin_text"]

_GIT_SECONDS = 5.0


@cache
def moment(root: Path) -> dict[str, str]:
    """Return the date of the first call in UTC, and the commit if `root` is in a Git repository.

    `-dirty` follows the commit if a tracked file was changed.
    """
    date = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        asked = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # there is no Git, or it is too slow
        return date
    commit = asked.stdout.strip()
    return {**date, "commit": commit} if commit and asked.returncode == 0 else date


def environment(root: Path, modules: Iterable[str]) -> dict[str, str]:
    """Return the time and the commit of a run, and the versions of what it uses.

    Args:
        root: The directory of the project.
        modules: The top-level modules whose packages are listed too.
    """
    owners = packages_distributions()
    packages = {owner for module in modules for owner in owners.get(module, ())}
    packages |= {"pytest", "hypothesis", "langchain-core"}
    packages.discard("chat-history-conformance")  # its version is the suite's
    return {
        **moment(root),
        "python": platform.python_version(),
        "platform": platform.system(),
        **{package: version(package) for package in sorted(packages)},
    }


def origin_text(backend: Backend, root: Path) -> str:
    """Return where a backend is declared: `module:attribute`, or a file in `root` and a name.

    It is empty for a backend without a name in a module.
    """
    origin = backend.origin
    if origin is None:
        return ""
    place = origin.module
    if origin.file is not None:
        file = Path(origin.file)
        place = str(file.relative_to(root)) if file.is_relative_to(root) else file.name
    return f"{place}:{origin.attribute}" if origin.attribute else place
