"""Remove a container by its name: what a keeper runs in the end."""

from __future__ import annotations

import sys
import time

import docker
from docker.errors import NotFound

_SECONDS = 3.0


def remove(name: str) -> None:
    """Remove a container with its volumes, one that is only just being created included."""
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
