"""Functions and classes that a script uses: scripts contain the source of those they need.

Each uses nothing but the standard library, langchain-core and its neighbours here.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)

from chat_history_conformance.diagnosis.script_claims import contents, dump

__all__ = [
    "Adding",
    "Elsewhere",
    "add_at_last",
    "answer_elsewhere",
    "attempted",
    "claim",
    "end_after",
    "ending",
    "expect",
    "expect_kept",
    "in_forks",
    "kept",
    "more_than",
    "numbered_messages",
    "open_files",
    "open_threads",
    "please",
    "read_until",
    "read_while_refused",
    "refused",
    "rest_of",
    "timed",
    "together",
    "unsure",
]

nonce: str = ""  # a part of each session id, set before each repetition of a script

# -- claims --------------------------------------------------------------------------------------


def claim(holds: bool, otherwise: str) -> None:
    """End the script with an error unless the claim holds."""
    if not holds:
        sys.exit(otherwise)


def expect(returned: Iterable[Any], expected: Iterable[Any], otherwise: str) -> None:
    """End the script with an error unless exactly the expected messages came."""
    came, wanted = [dump(message) for message in returned], [dump(message) for message in expected]
    if came != wanted:
        print("expected:", *wanted, "returned:", *came, sep="\n  ")
        sys.exit(otherwise)


kept: list[str] = []  # contents whose add returned
unsure: list[str] = []  # contents whose add raised: they may be stored or not


def expect_kept(returned: Iterable[Any], otherwise: str) -> None:
    """End the script unless all of `kept` came, in order, `unsure` at most once, and no others."""
    came = contents(returned)
    sure = [text for text in came if text not in unsure]
    if sure != kept or any(came.count(text) > 1 for text in unsure):
        print("acknowledged:", *kept, "raised:", *unsure, "returned:", *came, sep="\n  ")
        sys.exit(otherwise)


def end_after(seconds: float, otherwise: str) -> None:
    """End the script if the calls that follow neither return nor raise."""

    def end() -> None:
        print(otherwise, file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


# -- calls ---------------------------------------------------------------------------------------


def refused(call: Callable[[], Any]) -> Exception | None:
    """Return the exception that a call raised, or None."""
    try:
        call()
    except Exception as error:
        print(f"refused: {type(error).__name__}: {error}"[:300])
        return error
    return None


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the value of a call, and the seconds that it took."""
    started = time.monotonic()
    value = call()
    return value, time.monotonic() - started


def attempted(read: Callable[[], Any]) -> tuple[list[Any], Exception | None, float]:
    """Return the messages or the exception of a read, and the seconds that it took."""
    got: list[Any] = []
    started = time.monotonic()
    error = refused(lambda: got.extend(read()))
    return got, error, time.monotonic() - started


def read_until(
    read: Callable[[], Any], seconds: float, enough: Callable[..., bool], *arguments: Any
) -> Any:
    """Read again and again, until the messages are enough or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= deadline
        got = read()
        if late or enough(got, *arguments):
            return got
        time.sleep(0.02)


def read_while_refused(read: Callable[[], Any], seconds: float) -> Any:
    """Read again and again while that raises, until the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return read()
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def add_at_last(add: Callable[[list[Any]], Any], stem: str, seconds: float) -> None:
    """Add one message, each time with another number, until an add returns or the time is over."""
    deadline, number = time.monotonic() + seconds, 0
    while True:
        try:
            add([HumanMessage(f"{stem}.{number}")])
        except Exception:
            if time.monotonic() > deadline:
                raise
            number += 1
            time.sleep(0.2)
        else:
            return


def rest_of(read: Callable[[], Any], seconds: float) -> list[Any]:
    """Make consuming reads until one returns nothing, and repeat them while they raise.

    The result has the messages that errors carry, too.
    """
    got: list[Any] = []
    deadline = time.monotonic() + seconds
    while True:
        try:
            came = list(read())
        except Exception as error:
            got += getattr(error, "messages", None) or []
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        if not came:
            return got
        got += came


def numbered_messages(first: int, end: int, length: int = 0) -> list[BaseMessage]:
    """Return messages with the contents `m<first>` to `m<end - 1>`, followed by dots if short."""
    return [HumanMessage(f"m{number}".ljust(length, ".")) for number in range(first, end)]


def please(request: str, variable: str) -> None:
    """Ask the reader to do something to the server, and wait for Enter."""
    input(f"Please {request} at {os.environ[variable]}, then press Enter: ")


# -- threads and processes -----------------------------------------------------------------------


def together(*lanes: Callable[[], Any]) -> None:
    """Run several functions at once, each in a thread."""
    sys.setswitchinterval(1e-5)
    start, errors = threading.Barrier(len(lanes)), list[Exception]()

    def run(lane: Callable[[], Any]) -> None:
        start.wait()
        try:
            lane()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[lane]) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def in_forks(*lanes: Callable[[], Any]) -> None:
    """Run several functions one after another, each in a fork of this process."""
    for lane in lanes:
        child = os.fork()
        if not child:
            try:
                lane()
                os._exit(0)
            except Exception:
                traceback.print_exc()
            os._exit(1)
        if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise RuntimeError(f"a fork {ending(status)}")


class Adding:
    """A thread that adds numbered messages, one by one, until it is ended."""

    def __init__(
        self,
        stem: str,
        add: Callable[[list[BaseMessage]], Any],
        kept: list[str],
        unsure: list[str],
    ) -> None:
        self.stem, self.add, self.kept, self.unsure = stem, add, kept, unsure
        self.errors: list[Exception] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="history-adds", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        number = 0
        while not self._ended.is_set():
            text = f"{self.stem}{number}"
            try:
                self.add([HumanMessage(text)])
            except Exception as error:
                self.unsure.append(text)
                self.errors.append(error)
                self._ended.wait(0.02)
            else:
                self.kept.append(text)
            number += 1

    def end(self, seconds: float) -> None:
        """End the adding, and wait at most some seconds for the last call."""
        self._ended.set()
        self._thread.join(seconds)


class Elsewhere:
    """A second process that runs lines of this script."""

    def __init__(self, script: str) -> None:
        self.script = script
        self._lock = threading.Lock()
        self._start()

    def _start(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, self.script, "elsewhere"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, code: str) -> list[BaseMessage]:
        """Run a line there, and return the messages that it returns."""
        assert self._process.stdout is not None
        answer: Any = ""
        with contextlib.suppress(OSError), self._lock:
            print(json.dumps([nonce, code]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"the second process {ending(self._process.wait())}")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(f"in the second process: {answer['error']}")
        return messages_from_dict(answer["messages"])

    def kill(self, **environment: str) -> None:
        """Kill the process and start another, with other environment variables."""
        self._process.kill()
        self._process.wait()
        self._start(**environment)


def ending(status: int) -> str:
    """Return how a process ended, such as `died of SIGSEGV`."""
    names = {one.value: one.name for one in signal.Signals}
    known = names.get(-status)
    return f"died of {known}" if known else f"ended with status {status}"


def answer_elsewhere(names: dict[str, Any]) -> None:
    """Run the lines that the first process sends, and send back what each returns."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        names["nonce"], code = json.loads(line)
        try:
            try:
                value = eval(compile(code, "elsewhere", "eval"), names)
            except SyntaxError:
                value = None
                exec(code, names)
            items = value if isinstance(value, list) else []
            messages = [message_to_dict(item) for item in items if isinstance(item, BaseMessage)]
            answer: dict[str, Any] = {"messages": messages}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


# -- open threads and files ----------------------------------------------------------------------


def open_threads() -> int:
    """Return how many threads this process has, with those of C libraries if that is known."""
    if os.path.isdir("/proc/self/task"):
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()


def open_files() -> int:
    """Return how many files and sockets this process has open, 0 if that is not known."""
    known = [path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)]
    return len(os.listdir(known[0])) if known else 0


def more_than(before: int, count: Callable[[], int], spare: int) -> int:
    """Return how many more than before are open, after garbage collection and at most 3 seconds."""
    deadline = time.monotonic() + 3.0
    while (more := count() - before) >= spare and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.1)
    return more
