"""An account without privileges, for servers that do not run as root."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from chat_history_conformance.servers import ServerError

__all__ = [
    "Account",
    "account",
    "check_reach",
    "within_reach",
]

_NAME = "nobody"


@dataclass(frozen=True)
class Account:
    """The account that runs a server.

    Attributes:
        user: The user id.
        group: The group id.
    """

    user: int
    group: int

    def own(self, directory: Path) -> None:
        """Make this account the owner of a directory and everything in it."""
        for path in (directory, *directory.rglob("*")):
            os.chown(path, self.user, self.group, follow_symlinks=False)


def account(title: str, directory: Path) -> Account | None:
    """Return the account for a server that must not run as root; None if we are not root.

    Args:
        title: The name of the server, for messages.
        directory: The directory of the server. Every directory above it must be open to all.

    Raises:
        ServerError: There is no such account, or it cannot enter the directory.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise ServerError(
            f"{title} does not run as root, and this machine has no user {_NAME} to run it "
            "instead. Run the tests as another user."
        ) from None
    if closed := _closed(directory):
        raise ServerError(
            f"{title} does not run as root, and the user {_NAME}, who would run it instead, may "
            f"not enter {closed} on the way to {directory}. Set TMPDIR to a directory that is "
            "open to all, or run the tests as another user."
        )
    return Account(entry.pw_uid, entry.pw_gid)


def check_reach(title: str, program: Path) -> None:
    """Check that the account of a server can run a program.

    Args:
        title: The name of the server, for messages.
        program: The program.

    Raises:
        ServerError: This user is root, and the account cannot enter a directory on the way.
    """
    if os.name == "posix" and os.geteuid() == 0 and (closed := _closed(program)):
        raise ServerError(
            f"{title} does not run as root, and the user {_NAME}, who would run it instead, may "
            f"not enter {closed} on the way to {program}. Install it in a directory that is open "
            "to all, or run the tests as another user."
        )


def within_reach(java: Path, directory: Path) -> Path:
    """Return a Java program that the account without privileges can run.

    Args:
        java: The program.
        directory: The target of a copy of the runtime, if the account cannot reach the program. An
            example is a virtual environment below the home directory of root.

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
    """Return the nearest parent directory that is not open to all, or None."""
    for above in path.resolve().parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            return above
    return None
