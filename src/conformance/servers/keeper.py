"""The keeper of one server: a process that ends the server and what it stored when its parent ends.

Run by the path of this file, without the site: it must start fast and import nothing else. The
parent writes a request a line and gets an answer a line, both JSON; the end of that stream, or the
parent's end, is the end of the server. Its stderr is the server's log.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

ENDED = None
"""In the place of a line: the parent has closed the stream, or there is no parent any more."""


class Keeper:
    """The server, if it runs, and what is to be done in the end.

    Args:
        directory: Removed in the end.
        ending: A command that is run in the end; empty for none.
    """

    def __init__(self, directory: str, ending: Sequence[str]) -> None:
        self.directory = directory
        self.ending = ending
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            cwd=self.directory,
            env={**os.environ, **environment},
        )
        return {"pid": self.process.pid}

    def poll(self) -> dict[str, Any]:
        return {"code": self.process.poll() if self.process else 0}

    def kill(self) -> dict[str, Any]:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        return {}

    def pause(self) -> dict[str, Any]:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.poll()

    def resume(self) -> dict[str, Any]:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        return self.poll()

    def end(self) -> int:
        """End everything; the directory stays where something could not be ended.

        Returns:
            0 where nothing is left.
        """
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
            time.sleep(0.1)  # Windows lets go of a dead process' files a little later
        return 1


def main() -> None:
    """Serve the parent whose process id is the first argument, until it or the stream ends."""
    parent, directory, *ending = sys.argv[1:]
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # a signal handler may put into it
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
            with contextlib.suppress(BrokenPipeError):  # then the stream has ended, too
                print(json.dumps(answer), flush=True)
    finally:
        # The thread may still wait for a line, which would disturb an orderly exit.
        os._exit(keeper.end())


def _read(lines: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(ENDED)


def _next(lines: queue.SimpleQueue[str | None], parent: int) -> str | None:
    """The next line. A copy of the parent made by fork would hold the stream open: watch both."""
    while True:
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            if os.name == "posix" and os.getppid() != parent:
                return ENDED


if __name__ == "__main__":
    main()
