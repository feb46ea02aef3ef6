"""Shortages of the machine that a history is not to blame for: disk, open files, memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile

__all__ = ["shortage"]

_DISK_BYTES = 1 << 20
_MEMORY_BYTES = 64 << 20
_FILES = 4


def shortage() -> str | None:
    """Return what this process has run out of, or None.

    A history that only says so, such as one that raises MemoryError by itself, is judged.
    """
    opened: list[int] = []
    try:
        opened += (os.open(os.devnull, os.O_RDONLY) for _ in range(_FILES))
    except OSError as error:
        return f"this process cannot open another file: {error.strerror}"
    finally:
        for file in opened:
            os.close(file)
    try:
        mmap.mmap(-1, _MEMORY_BYTES).close()  # reserved, and not used, so that it costs nothing
    except (OSError, MemoryError):
        return "this process cannot get 64 MiB of memory"
    for find in (os.getcwd, tempfile.gettempdir):
        with contextlib.suppress(OSError):
            directory = find()
            if shutil.disk_usage(directory).free < _DISK_BYTES:
                return f"the disk is full: less than 1 MiB is free in {directory}"
    return None
