"""A temporary directory in which everything runs, deep enough that `../..` stays inside."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Workspace:
    """A directory of the run's own, and the working directory within it.

    `inside` makes it the working directory while a contract runs, so that histories which write
    files beside them write here; `remove` deletes it with all that was stored.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="chat-history-conformance-"))
        # Ids such as `../../x` are among those tried: they must not lead out of the root.
        self.directory = self.root.joinpath(*"abcdefgh")
        self.directory.mkdir(parents=True)

    @contextlib.contextmanager
    def inside(self) -> Iterator[Path]:
        """Make it the working directory for a while."""
        before = os.getcwd()
        os.chdir(self.directory)
        try:
            yield self.directory
        finally:
            os.chdir(before)

    def remove(self) -> None:
        """Delete the directory; what another process still holds open there is left behind."""
        shutil.rmtree(self.root, ignore_errors=True)
