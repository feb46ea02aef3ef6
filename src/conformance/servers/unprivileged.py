"""An account without rights, for servers that refuse to run as root."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from conformance.servers import ServerError

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


def account(title: str, directory: Path, program: Path) -> Account | None:
    """The account for a server that must not run as root; none where we are not root ourselves.

    Args:
        title: What is to run.
        directory: In which directory; it will be handed over, what is above it must be open.
        program: Which program.

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
    for what, path in (("TMPDIR", directory.resolve()), ("JAVA_HOME", program.resolve())):
        for above in path.parents:
            if not above.stat().st_mode & stat.S_IXOTH:
                raise ServerError(
                    f"{title} does not run as root, and the user {_NAME}, as whom it is run "
                    f"instead, must not enter {above} on the way to {path}: "
                    f"set {what} to a place that is open to all, or run as another user"
                )
    return Account(entry.pw_uid, entry.pw_gid)
