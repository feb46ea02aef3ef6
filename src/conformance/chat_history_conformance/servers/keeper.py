"""The keeper of one server: a process that stops the server and removes its data in the end.

It runs by the path of this file, without site-packages, so that it starts fast. The parent writes
one request a line and gets one answer a line, both JSON. If that stream or the parent ends, the
keeper stops the server. Its stderr is the log of the server.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "ENDED",
    "Keeper",
    "main",
]

ENDED = None
"""The marker for the end: the parent has closed the stream or has ended."""

_SIGNAL_SECONDS = 5.0
_CLONE_NEWNET = 0x40000000
_DEAD, _STOPPED = {"Z", "X"}, {"T", "t"}


class Keeper:
    """A server and its clean-up.

    Args:
        directory: The directory that is removed in the end.
        ending: A command to run in the end; empty for none.
    """

    def __init__(self, directory: str, ending: Sequence[str]) -> None:
        self.directory = directory
        self.ending = ending
        self.process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._end_signal = "SIGKILL"

    def start(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        user: int | None,
        group: int | None,
        end_signal: str,
    ) -> dict[str, Any]:
        self._paused = False
        self._end_signal = end_signal
        self.process = subprocess.Popen(
            command,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            process_group=0 if os.name == "posix" else None,  # a server may be several processes
            **self._surroundings(environment, user, group),
        )
        return {"pid": self.process.pid}

    def set_up(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        user: int | None,
        group: int | None,
    ) -> dict[str, Any]:
        """Run a short command that prepares the directory."""
        done = subprocess.run(
            command,
            stdout=sys.stderr.fileno(),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            **self._surroundings(environment, user, group),
        )
        return {"error": done.stderr.strip()} if done.returncode else {}

    def _surroundings(
        self, environment: dict[str, str], user: int | None, group: int | None
    ) -> dict[str, Any]:
        return {
            "stdin": subprocess.DEVNULL,
            "cwd": self.directory,
            "env": {**os.environ, **environment},
            "user": user,
            "group": group,
            "extra_groups": None if group is None else [],
        }

    def isolate(self) -> dict[str, Any]:
        """Move this process and its future children into a new network namespace of Linux."""
        import ctypes  # only for clusters, because it takes time

        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            return {"error": os.strerror(ctypes.get_errno())}
        return {"pid": os.getpid()}

    def run(self, command: Sequence[str]) -> dict[str, Any]:
        """Run a short command, such as `ip`, in the network namespace of this process."""
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return {"error": f"{' '.join(command)}: {done.stderr.strip()}"} if done.returncode else {}

    def reach(self, host: str, port: int, seconds: float) -> dict[str, Any]:
        """Return whether a host answers, if only to refuse a connection."""
        try:
            socket.create_connection((host, port), seconds).close()
        except ConnectionRefusedError:
            return {"refused": True}
        return {"refused": False}

    def poll(self) -> dict[str, Any]:
        return {"code": self.process.poll() if self.process else 0}

    def kill(self) -> dict[str, Any]:
        if self.process is not None:
            if os.name == "posix":
                self._send("SIGSTOP")  # so that it starts no process in the meantime
            family = self._send("SIGKILL")
            self.process.wait()
            _until(lambda: not _states(family) - _DEAD)
        return {}

    def terminate(self, name: str) -> dict[str, Any]:
        """Ask the server to end, with a signal. It does not wait; see `gone`."""
        self._send(name, to_descendants=False)
        self._send("SIGCONT")  # a paused process receives the request only then
        return {}

    def gone(self) -> dict[str, Any]:
        """Return whether all processes of the server have ended."""
        if self.process is None:
            return {"gone": True}
        gone = self.process.poll() is not None and not _states(_family(self.process.pid)) - _DEAD
        return {"gone": gone}

    def pause(self) -> dict[str, Any]:
        if self.process is not None and self.process.poll() is None and not self._paused:
            family = self._send("SIGSTOP")
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                self.process.returncode = os.waitstatus_to_exitcode(status)
            _until(lambda: not _states(family) - _DEAD - _STOPPED)
            self._paused = self.process.returncode is None
        return self.poll()

    def resume(self) -> dict[str, Any]:
        if self.process is not None:
            self._send("SIGCONT")
            self._paused = False
        return self.poll()

    def _send(self, name: str, *, to_descendants: bool = True) -> set[int]:
        """Send a signal to the processes of a server. On Windows, kill it.

        The signal reaches the process group, and then the descendants outside of it: PostgreSQL
        gives each of its processes a group.

        Returns:
            The ids of these processes.
        """
        if self.process is None:
            return set()
        main = self.process.pid
        family = _family(main)
        if self.process.poll() is not None:
            return family
        if os.name != "posix":
            self.process.kill()
            return family
        number = getattr(signal, name)
        os.killpg(main, number)
        if not to_descendants:
            return family
        family |= _family(main)  # a stopped process starts no others
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) != main:
                    os.kill(pid, number)
        return family

    def end(self) -> int:
        """End everything and remove the directory, unless something could not be ended.

        Returns:
            0 if nothing is left.
        """
        if self._end_signal != "SIGKILL":
            self.terminate(self._end_signal)
            _until(lambda: bool(self.gone()["gone"]))
        self.kill()
        if self.ending:
            done = subprocess.run(
                self.ending, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False
            )
            if done.returncode:
                return done.returncode
        for _ in range(50):
            shutil.rmtree(self.directory, ignore_errors=True)
            if not os.path.exists(self.directory):
                return 0
            time.sleep(0.1)  # Windows releases the files of a dead process a little later
        return 1


def _family(main: int) -> set[int]:
    """Return a process, its process group, and all descendants of them."""
    table = _table()
    family = {main, *(process for process, _, group in table if group == main)}
    while more := {process for process, parent, _ in table if parent in family} - family:
        family |= more
    return family


def _table() -> list[tuple[int, int, int]]:
    """Return the ids of each process of this machine, its parent and its group."""
    if os.path.isdir("/proc/self"):
        found = ((path.split("/")[2], *_fields(path)[1:3]) for path in glob.iglob("/proc/*/stat"))
        rows = [row for row in found if row[0].isdecimal()]
    elif os.name == "posix":
        command = ("ps", "-A", "-o", "pid=,ppid=,pgid=")
        listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        rows = [tuple(line.split()) for line in listed.stdout.splitlines()]
    else:
        rows = []
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows if len(row) == 3]


def _states(processes: Iterable[int]) -> set[str]:
    """Return the states of the threads of processes on Linux; empty elsewhere."""
    states = set()
    for process in processes:
        for thread in glob.iglob(f"/proc/{process}/task/*/stat"):
            states.update(_fields(thread)[:1])
    return states


def _fields(stat: str) -> list[str]:
    """Return state, parent, group and so on of a process; empty if it has just ended."""
    try:
        with open(stat, encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _until(condition: Callable[[], bool]) -> None:
    """Wait for the effect of a signal. Only one of the processes is our child."""
    deadline = time.monotonic() + _SIGNAL_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def main() -> None:
    """Serve the parent, whose process id is the first argument, until it or the stream ends."""
    parent, directory, *ending = sys.argv[1:]
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    lines: queue.SimpleQueue[str | None] = (
        queue.SimpleQueue()
    )  # a signal handler may put into this queue
    signal.signal(signal.SIGTERM, lambda *_: lines.put(ENDED))
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    keeper = Keeper(directory, ending)
    try:
        while (line := _next(lines, int(parent))) is not ENDED:
            request = json.loads(line)
            try:
                answer = getattr(keeper, request.pop("do"))(**request)
            except OSError as error:
                answer = {"error": str(error)}
            with contextlib.suppress(BrokenPipeError):  # the stream has ended too
                print(json.dumps(answer), flush=True)
    finally:
        # The thread may still wait for a line, which would block a normal exit.
        os._exit(keeper.end())


def _read(lines: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(ENDED)


def _next(lines: queue.SimpleQueue[str | None], parent: int) -> str | None:
    """Return the next line. Watch the parent too: a fork of it would keep the stream open."""
    while True:
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            if os.name == "posix" and os.getppid() != parent:
                return ENDED


if __name__ == "__main__":
    main()
