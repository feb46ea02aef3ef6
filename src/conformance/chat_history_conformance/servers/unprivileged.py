"""An account without rights, for servers that refuse to run as root."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from chat_history_conformance.servers import ServerError

_NAME = "nobody"


@dataclass(frozen=True)
class Account:
    """Who runs a server.

    Attributes:
        user: Its number.
        group: Its number.
    """

    user: int
    group: int

    def own(self, directory: Path) -> None:
        """Hand over a directory with all that is in it."""
        for path in (directory, *directory.rglob("*")):
            os.chown(path, self.user, self.group, follow_symlinks=False)


def account(title: str, directory: Path) -> Account | None:
    """The account for a server that must not run as root; none where we are not root ourselves.

    Args:
        title: What is to run.
        directory: In which directory; it will be handed over, what is above it must be open.

    Raises:
        ServerError: There is no such account, or it could not get there.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise ServerError(
            f"{title} does not run as root, and there is no user {_NAME} here, as whom it would be "
            "run instead: run as another user"
        ) from None
    if closed := _closed(directory):
        raise ServerError(
            f"{title} does not run as root, and the user {_NAME}, as whom it is run instead, must "
            f"not enter {closed} on the way to {directory}: set TMPDIR to a place that is open to "
            "all, or run as another user"
        )
    return Account(entry.pw_uid, entry.pw_gid)


def within_reach(java: Path, directory: Path) -> Path:
    """A Java program that the account without rights can run.

    Args:
        java: The program.
        directory: Where its runtime is copied to if that account could not get to it, as in a
            virtual environment below the home of root.

    Returns:
        The program itself, or its copy.
    """
    if os.name != "posix" or os.geteuid() != 0 or not _closed(java):
        return java
    program = java.resolve()
    runtime = program.parent.parent
    shutil.copytree(runtime, directory, symlinks=True)
    return directory / program.relative_to(runtime)


def _closed(path: Path) -> Path | None:
    """The first directory on the way up from a path that is not open to all."""
    for above in path.resolve().parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            return above
    return None
