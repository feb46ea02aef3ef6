"""The client of a keeper: a server process that cannot outlive this process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.unprivileged import Account

__all__ = [
    "KeeperClient",
]

_LAST_LINES = 20
_LOOK_SECONDS = 0.02
_FRAME = re.compile(r"\t+(at |\.\.\. \d+ more)|$")


class KeeperClient:
    """A keeper process and its directory, which also holds the log of the server.

    Args:
        name: Part of the name of the directory.
        ending: A command that the keeper runs in the end.

    Attributes:
        directory: The directory for the server's files; it is removed when the keeper ends.
    """

    def __init__(self, name: str, ending: Sequence[str] = ()) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"history-{name}-"))
        self._log = self.directory / "server.log"
        self._lock = threading.Lock()
        detached: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        with self._log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))),
                    *(str(os.getpid()), str(self.directory), *ending),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                **detached,  # Ctrl-C in the terminal must not reach the server
            )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._requests, self._answers = self._keeper.stdin, self._keeper.stdout

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: Account | None = None,
        *,
        end_signal: str = "SIGKILL",
    ) -> None:
        """Run a command with its output in the log.

        Args:
            command: Program and arguments.
            environment: Variables to add to those of this process.
            account: The account that runs it. Defaults to the current user.
            end_signal: The signal that ends it when the keeper ends. After a few seconds it is
                killed.

        Raises:
            ServerError: The command cannot be run.
        """
        self._checked(
            "start",
            f"{command[0]} cannot be run",
            command=list(command),
            environment=dict(environment),
            user=account and account.user,
            group=account and account.group,
            end_signal=end_signal,
        )

    def set_up(
        self, command: Sequence[str], environment: Mapping[str, str], account: Account | None = None
    ) -> None:
        """Run a short command in the directory, and wait until it ends.

        Args:
            command: Program and arguments.
            environment: Variables to add to those of this process.
            account: The account that runs it. Defaults to the current user.

        Raises:
            ServerError: It cannot be run, or failed.
        """
        self._checked(
            "set_up",
            f"{command[0]} failed",
            command=list(command),
            environment=dict(environment),
            user=account and account.user,
            group=account and account.group,
        )

    @property
    def pid(self) -> int:
        """The process id of the keeper, which is the parent of the server."""
        return self._keeper.pid

    def isolate(self) -> int:
        """Move the keeper and the server that it will start into a new network namespace.

        Returns:
            The process id of the keeper, which names the namespace.

        Raises:
            ServerError: This system does not allow it.
        """
        return int(self._checked("isolate", "a network namespace cannot be made")["pid"])

    def run(self, *command: str) -> None:
        """Run a short command in the network namespace of the server.

        Raises:
            ServerError: It failed.
        """
        self._checked("run", "a command failed", command=command)

    def reach(self, host: str, port: int, seconds: float) -> None:
        """Try to reach a host from the network namespace of the server.

        Raises:
            ServerError: It does not even refuse the connection.
        """
        self._checked("reach", f"{host} cannot be reached", host=host, port=port, seconds=seconds)

    def ended(self) -> str:
        """Describe how the process ended; empty while it runs."""
        code = self._request("poll")["code"]
        return "" if code is None else f"its process ended with status {code}"

    def kill(self) -> None:
        """End the process at once."""
        self._request("kill")

    def shut_down(self, seconds: float, signal: str = "SIGTERM") -> bool:
        """Ask the process to end, and wait. After the time limit, kill it.

        Args:
            seconds: The time limit.
            signal: The name of the signal that asks it.

        Returns:
            True if it ended by itself.
        """
        deadline = time.monotonic() + seconds
        self.terminate(signal)
        while not (gone := self.gone) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if not gone:
            self.kill()
        return gone

    def terminate(self, signal: str = "SIGTERM") -> None:
        """Ask the process to end, with the signal of this name."""
        self._request("terminate", name=signal)

    @property
    def gone(self) -> bool:
        """True if no process of the server is left."""
        return bool(self._request("gone")["gone"])

    def pause(self) -> None:
        """Stop the process until `resume`."""
        self._request("pause")

    def resume(self) -> None:
        """Continue a stopped process."""
        self._request("resume")

    def stop(self) -> None:
        """End the process and remove the directory. Idempotent.

        In a fork of this process nothing happens, because the stream stays open in this process.

        Raises:
            ServerError: Something is left behind.
        """
        with self._lock:
            self._requests.close()
            left_behind = self._keeper.wait()
            self._answers.close()
        if left_behind:
            raise ServerError(
                f"A server could not be removed completely. See {self._log} and the running "
                "processes."
            )

    @property
    def log(self) -> str:
        """The last lines of the log, without the frames of stack traces."""
        lines = [line for line in self._text().splitlines() if not _FRAME.match(line)]
        return "\n".join(lines[-_LAST_LINES:])

    def has_said(self, text: str) -> bool:
        """Return whether the log contains a text."""
        return text in self._text()

    def keep_log(self) -> Path:
        """Copy the log to a file that stays after `stop`, and return its path."""
        handle, path = tempfile.mkstemp(prefix=f"{self.directory.name}-", suffix=".log")
        with os.fdopen(handle, "wb") as kept, self._log.open("rb") as log:
            kept.write(log.read())
        return Path(path)

    def _text(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _checked(self, what: str, failure: str, **arguments: Any) -> dict[str, Any]:
        answer = self._request(what, **arguments)
        if "error" in answer:
            raise ServerError(f"{failure}: {answer['error']}")
        return answer

    def _request(self, what: str, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            try:
                print(json.dumps({"do": what, **arguments}), file=self._requests, flush=True)
                answer: dict[str, Any] = json.loads(self._answers.readline())
            except (OSError, ValueError):  # the stream is closed, or the line is empty
                raise ServerError(
                    "The server was stopped, or its keeper was killed. Start another one."
                ) from None
        return answer
