"""The program of a server, and programs that are installed on this machine."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chat_history_conformance.servers import ServerError

__all__ = [
    "Program",
    "find",
]

_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """A program that runs a server.

    Attributes:
        path: The program.
        version: The version of the server.
        way: The way to a server that runs this program: `jvm` or `local`.
        files: The files that it needs, such as the artifacts of a lock.
    """

    path: Path
    version: str
    way: str = "local"
    files: Sequence[Path] = ()


def find(title: str, names: Sequence[str], places: Sequence[str], install: str) -> Program:
    """Find an installed program: on `PATH`, else in other directories.

    Args:
        title: The name of the server, for messages.
        names: The names of the program. The first that is found is used.
        places: Patterns of further directories. Of several that match, the one with the highest
            numbers is used.
        install: The way to install it, for messages.

    Raises:
        ServerError: It is not installed, or does not run.
    """
    known = sorted((at for place in places for at in glob.glob(place)), key=_numbers, reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", ""), *known])
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        where = " or ".join(["on PATH", *(f"in {place}" for place in places)])
        raise ServerError(f"There is no {' or '.join(names)} {where}. Install {title}: {install}.")
    return Program(Path(found).absolute(), _version(Path(found)))


def _version(program: Path) -> str:
    """Return the version that a program prints.

    Raises:
        ServerError: It cannot be run.
    """
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            encoding="utf-8",
            errors="replace",
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(f"{program} cannot be run: {error}") from None
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else ""


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]
