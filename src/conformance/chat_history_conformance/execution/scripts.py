"""Running the script of a finding in a fresh process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Ran", "run_script"]

_NOT_RUN = (
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
    "EOFError: EOF when reading a line",  # it asks a person to do something
)
"""Exceptions that say that the script could not be carried out."""


@dataclass(frozen=True)
class Ran:
    """The end of a script.

    Attributes:
        state: `shown` if it found an error, `nothing` if it ended without one, `late` if it did not
            end in time, `unknown` if it could not be carried out.
        text: The last line of its errors.
        output: The last line of its output.
    """

    state: Literal["shown", "nothing", "late", "unknown"]
    text: str = ""
    output: str = ""


def run_script(text: str, environment: Mapping[str, str], limit: float) -> Ran:
    """Run a script and return how it ended.

    Args:
        text: The source of the script.
        environment: The environment variables of its process.
        limit: The seconds after which it counts as late.
    """
    with tempfile.TemporaryDirectory(prefix="script-") as directory:
        path = Path(directory) / "script.py"  # a script may start itself as a second process
        path.write_text(text, "utf-8", errors="surrogatepass")
        try:
            done = subprocess.run(
                [sys.executable, str(path)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran("late", f"the script did not end in {limit:g} s")
    output = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode == 0:
        return Ran("nothing", output=output)
    lines = done.stderr.strip().splitlines() or [f"the script ended with {done.returncode}"]
    return Ran("unknown" if lines[-1].startswith(_NOT_RUN) else "shown", lines[-1], output)
