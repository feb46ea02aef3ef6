"""A temporary directory for a run, deep enough that `../..` stays inside."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Workspace"]


class Workspace:
    """A temporary directory, with a working directory deep inside it.

    Histories that write files into the working directory write them here while `inside` is active.

    Args:
        parent: The directory in which it is made. Defaults to that of all temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="chat-history-conformance-", dir=parent))
        # Contracts try ids such as `../../x`, which must not lead out of the root.
        self.directory = self.root.joinpath(*"abcdefgh")
        self.directory.mkdir(parents=True)

    @contextlib.contextmanager
    def inside(self) -> Iterator[Path]:
        """Make it the working directory inside a `with` block."""
        before = os.getcwd()
        os.chdir(self.directory)
        try:
            yield self.directory
        finally:
            os.chdir(before)

    def remove(self) -> None:
        """Delete the directory, except files that another process holds open."""
        shutil.rmtree(self.root, ignore_errors=True)
