"""A temporary directory for a run, deep enough that `../..` stays inside."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
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
        self._outside: str | None = None
        self._depth = 0

    @contextlib.contextmanager
    def inside(self, stay: Callable[[], bool] = lambda: False) -> Iterator[Path]:
        """Make it the working directory inside a `with` block.

        Args:
            stay: Called at the end. If it returns True, the working directory stays for other
                threads that use it, until the end of a later block or until `leave`.
        """
        if self._outside is None:
            self._outside = os.getcwd()
        self._depth += 1
        os.chdir(self.directory)
        try:
            yield self.directory
        finally:
            self._depth -= 1
            if self._depth == 0 and not stay():
                self.leave()

    def leave(self) -> None:
        """Go back to the working directory from before."""
        if self._outside is not None:
            os.chdir(self._outside)
            self._outside = None

    def remove(self) -> None:
        """Leave and delete the directory, except files that another process holds open."""
        self.leave()
        shutil.rmtree(self.root, ignore_errors=True)
