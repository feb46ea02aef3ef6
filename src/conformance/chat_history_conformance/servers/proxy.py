"""A proxy between the members of a cluster that share one machine, which can part them.

Usage: `python -I -S proxy.py FILE`. It runs by the path of this file. The file is JSON: `routes`
lists `[member, port of the proxy, port of the member]`, `keepers` has the process id of the keeper
of each member, `parted` lists pairs of members, and `version` is a number. The proxy reads the file
again if it changes, and then writes its version to `FILE.done`.

A connection belongs to the member whose process has opened it, which `/proc` shows. While two
members are parted, no byte passes between them in either direction, and their connections stay
open, as if a cable were cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import os
import sys
from typing import Any

__all__ = [
    "Proxy",
    "main",
]

_LOOK_SECONDS = 0.02
_PIECE_BYTES = 65_536


class Proxy:
    """The listeners of all members.

    Args:
        path: The file with the routes and the parted pairs.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Listen for the members, and follow the file, for ever."""
        self._read()
        for member, front, behind in self._known["routes"]:
            await asyncio.start_server(self._accepting(member, behind), "127.0.0.1", front)
        while True:
            self._acknowledge()
            version = self._known["version"]
            while self._known["version"] == version:
                await asyncio.sleep(_LOOK_SECONDS)
                self._read()
            self._changed.set()
            self._changed = asyncio.Event()

    def _read(self) -> None:
        with contextlib.suppress(ValueError), open(self._path, encoding="utf-8") as file:
            self._known = json.load(file)

    def _acknowledge(self) -> None:
        with open(f"{self._path}.done", "w", encoding="utf-8") as file:
            file.write(str(self._known["version"]))

    def _accepting(self, member: int, behind: int) -> Any:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            origin = self._origin(writer.get_extra_info("peername")[1])
            pair = sorted((member, origin))
            with contextlib.suppress(OSError), contextlib.closing(writer):
                await self._passable(pair)
                back, forth = await asyncio.open_connection("127.0.0.1", behind)
                with contextlib.closing(forth):
                    ways = (
                        asyncio.create_task(self._pass(pair, reader, forth)),
                        asyncio.create_task(self._pass(pair, back, writer)),
                    )
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()

        return accept

    async def _passable(self, pair: list[int]) -> None:
        while pair in self._known["parted"]:
            await self._changed.wait()

    async def _pass(
        self, pair: list[int], source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE_BYTES):
                await self._passable(pair)
                target.write(piece)
                await target.drain()
        await self._passable(pair)  # the end of a connection is a packet too

    def _origin(self, port: int) -> int:
        """Return the member that has opened a connection from this port; 0 if none has."""
        inode = _inode(port)
        for process in glob.iglob("/proc/[0-9]*"):
            member = self._member(process)
            if member and any(
                _target(descriptor) == f"socket:[{inode}]"
                for descriptor in glob.iglob(f"{process}/fd/*")
            ):
                return member
        return 0

    def _member(self, process: str) -> int:
        """Return the member to which a process belongs; 0 if it is not part of one."""
        group = _fields(process)[2:3]
        parent = _fields(f"/proc/{group[0]}")[1:2] if group else []
        keepers: list[int] = self._known["keepers"]
        return keepers.index(int(parent[0])) + 1 if parent and int(parent[0]) in keepers else 0


def _inode(port: int) -> str:
    """Return the inode of the socket that is connected from a port of loopback."""
    # A Java process uses IPv6 sockets for IPv4 too, with `0100007F` at the end of the address.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if fields[1].endswith(f"0100007F:{port:04X}"):
                    return fields[9]
    return ""


def _fields(process: str) -> list[str]:
    """Return state, parent, group and so on of a process; empty if it has just ended."""
    try:
        with open(f"{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def main() -> None:
    """Serve until this process is killed."""
    asyncio.run(Proxy(sys.argv[1]).serve())


if __name__ == "__main__":
    main()
