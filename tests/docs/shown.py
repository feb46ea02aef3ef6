"""Pages whose code and commands are run, and whose output is compared with what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

__all__ = ["blocks", "missing", "run"]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAMS = {
    "pytest": ["-m", "pytest"],
    "coverage": ["-m", "coverage"],
    "python": [],
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block of code."""
    return _BLOCK.findall(page)


def missing(shown: str, output: str) -> list[str]:
    """Return what a page shows and a command did not print."""
    return [
        group for group in _groups(shown) if f"\n{_stable(group)}\n" not in f"\n{_stable(output)}"
    ]


def run(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a page, as a user without settings of pytest and of this suite does.

    Args:
        command: The command, as the page shows it.
        directory: The working directory.
        environment: Further environment variables.

    Returns:
        The ended process. Its `stdout` has both outputs.
    """
    program, _, arguments = command.partition(" ")
    ignored = ("CI", "PYTEST_", "COV_", "COVERAGE_", "HISTORY_")
    kept: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(ignored)
    }
    return subprocess.run(
        [sys.executable, *_PROGRAMS[program], *arguments.split()],
        cwd=directory,
        # Their plugins print a line, and not all readers have them.
        env={**kept, "PYTEST_ADDOPTS": "-p no:asyncio", "COLUMNS": "80", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _groups(shown: str) -> Iterator[str]:
    """Yield the rows of lines that the page shows without a gap."""
    for left_out, lines in groupby(shown.splitlines(), lambda line: line == "..."):
        if not left_out:
            yield "\n".join(lines)


def _stable(text: str) -> str:
    """Return an output without its times."""
    return re.sub(r"\d+\.\d+ ?s\b", "N s", text)
