"""This process' side of a keeper: a server's process that cannot outlive this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.unprivileged import Account

_LAST_LINES = 20
_FRAME = re.compile(r"\t+(at |\.\.\. \d+ more)|$")


class Keeping:
    """A keeper, a directory of its own, and in it the log of what it runs.

    Args:
        name: For the directory's name.
        ending: A command that the keeper runs in the end.

    Attributes:
        directory: For the server's files; it goes when the keeper does.
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
                **detached,  # Ctrl-C in the terminal is for us, not for the server
            )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._requests, self._answers = self._keeper.stdin, self._keeper.stdout

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        account: Account | None = None,
    ) -> None:
        """Run a command, its output going to the log.

        Args:
            command: Program and arguments.
            environment: Variables to add to those of this process.
            account: As whom; as ourselves where none is given.

        Raises:
            ServerError: It cannot be run.
        """
        answer = self._request(
            "start",
            command=list(command),
            environment=dict(environment),
            user=account and account.user,
            group=account and account.group,
        )
        if "error" in answer:
            raise ServerError(f"{command[0]} cannot be run: {answer['error']}")

    def ended(self) -> str:
        """How the process ended; empty while it runs."""
        code = self._request("poll")["code"]
        return "" if code is None else f"its process ended with status {code}"

    def kill(self) -> None:
        """End the process at once."""
        self._request("kill")

    def pause(self) -> None:
        """Stop the process until `resume`."""
        self._request("pause")

    def resume(self) -> None:
        """Let a stopped process go on."""
        self._request("resume")

    def stop(self) -> None:
        """End the process and remove the directory. Idempotent.

        In a copy of this process made by fork nothing happens: the stream stays open in this one.

        Raises:
            ServerError: Something is left behind.
        """
        with self._lock:
            self._requests.close()
            left_behind = self._keeper.wait()
            self._answers.close()
        if left_behind:
            raise ServerError(
                f"a server could not be removed altogether: see {self._log} and what runs"
            )

    @property
    def log(self) -> str:
        """The last lines of the log, without the frames of stack traces."""
        lines = [line for line in self._text().splitlines() if not _FRAME.match(line)]
        return "\n".join(lines[-_LAST_LINES:])

    def has_said(self, text: str) -> bool:
        """Whether a text is anywhere in the log."""
        return text in self._text()

    def keep_log(self) -> Path:
        """Copy the log to where it stays after `stop`."""
        handle, path = tempfile.mkstemp(prefix=f"{self.directory.name}-", suffix=".log")
        with os.fdopen(handle, "wb") as kept, self._log.open("rb") as log:
            kept.write(log.read())
        return Path(path)

    def _text(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _request(self, what: str, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            try:
                print(json.dumps({"do": what, **arguments}), file=self._requests, flush=True)
                answer: dict[str, Any] = json.loads(self._answers.readline())
            except (OSError, ValueError):  # of a closed stream, or of an empty line
                raise ServerError(
                    "the server was stopped, or its keeper was killed from outside: start another"
                ) from None
        return answer
