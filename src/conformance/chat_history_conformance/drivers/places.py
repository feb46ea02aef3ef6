"""The line of a history's own code that raised an exception."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from pathlib import Path

__all__ = ["raised_at"]

_SUITE = str(Path(__file__).parents[1])
_STANDARD = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
_INSTALLED = {sysconfig.get_path(name) for name in ("purelib", "platlib")}


def raised_at(error: BaseException) -> str:
    """Return the line that raised, such as `histories.py:12, in add_messages`, or an empty text.

    It is the last line of the traceback in code that is not installed. Compiled modules are left
    out: the names of their files are not absolute. If all code is installed,
    it is the first line outside of the suite and the standard library: the history's own method.
    The file is relative to the directory that it was imported from, so the text does not identify
    the machine.

    Args:
        error: The exception, as it was caught in the process that called the history.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _inside(frame.filename, {_SUITE}) and os.path.isabs(frame.filename)
    ]
    own = [frame for frame in frames if not _inside(frame.filename, _STANDARD | _INSTALLED)]
    packaged = [frame for frame in frames if _inside(frame.filename, _INSTALLED)]
    if not own and not packaged:
        return ""
    frame = own[-1] if own else packaged[0]
    # Python knows no line for some instructions, such as those of generated code.
    line = "" if frame.lineno is None else f":{frame.lineno}"
    return f"{_relative(frame.filename)}{line}, in {frame.name}"


def _inside(filename: str, directories: set[str]) -> bool:
    return any(filename.startswith(f"{directory}{os.sep}") for directory in directories)


def _relative(filename: str) -> str:
    roots = [root for root in map(str, sys.path) if root and filename.startswith(f"{root}{os.sep}")]
    return filename[len(max(roots, key=len)) + 1 :] if roots else Path(filename).name
