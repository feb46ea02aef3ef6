"""Remove a container by its name. A keeper runs this at its end."""

from __future__ import annotations

import sys
import time

import docker
from docker.errors import NotFound

__all__ = [
    "remove",
]

_SECONDS = 3.0


def remove(name: str) -> None:
    """Remove a container and its volumes, even if it is being created right now."""
    engine = docker.from_env()
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            engine.containers.get(name).remove(force=True, v=True)
        except NotFound:
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    remove(sys.argv[1])
