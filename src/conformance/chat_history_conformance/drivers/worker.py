"""The program of the second process: it answers a `SecondProcess` on stdin and stdout."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import Any

from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.drivers.errors import (
    SAYS,
    EscapedError,
    Hung,
    RemoteError,
    is_server_error,
    text_of,
)
from chat_history_conformance.drivers.forks import in_forks
from chat_history_conformance.drivers.frames import Unsendable, frame_of, read_frame
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.places import raised_at

__all__ = ["main"]


def main() -> None:
    """Answer requests until the other process closes the pipe."""
    signal.signal(signal.SIGINT, lambda number, frame: None)  # the other process ends this one
    requests = sys.stdin.buffer
    # A history may print. That must not get between the frames, so it goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    local: Local | None = None
    while True:
        try:
            what, args = read_frame(requests)
        except EOFError:
            break
        try:
            if what == "start":
                local = _start(*args)
                answer: Any = None
            else:
                assert local is not None
                answer = _serve(local, what, args)
            frame = _answer_frame(answer)
        except BaseException as error:  # the other process judges every failure of a history
            frame = frame_of(("error", _portable(error, local)))
        try:
            answers.write(frame)
            answers.flush()
        except BrokenPipeError:  # the other process has ended
            break
    if local is not None:
        local.stop()
    # A history may leave threads that are not daemons. The run must not wait for them.
    _save_coverage()
    sys.stderr.flush()
    os._exit(0)


def _answer_frame(answer: Any) -> bytes:
    """Return the answer to a request. A history may return a value that cannot be sent."""
    try:
        return frame_of(("ok", answer))
    except (TypeError, AttributeError, pickle.PicklingError):
        return frame_of(("ok", Unsendable(answer)))


def _save_coverage() -> None:
    """Save what coverage.py has measured in this process, which ends without its exit handlers."""
    coverage = sys.modules.get("coverage")
    measuring = coverage.Coverage.current() if coverage is not None else None
    if measuring is not None:
        measuring.stop()
        measuring.save()


def _start(name: str, origin: Origin, path: list[str], limit: float) -> Local:
    sys.path[:] = path
    return Local(registry.load_again(name, origin), limit)


def _serve(local: Local, what: str, args: tuple[Any, ...]) -> Any:
    if what == "in_forks":
        return in_forks(local.backend, local.limit, args[0], _portable)
    if what == "together":
        lanes = local.together(args[0])
        for lane in lanes:
            for done in lane:
                done.error = _portable(done.error, local) if done.error else None
        return lanes
    if what == "end_repeating":
        return [
            [seen._replace(error=seen.error and _portable(seen.error, local)) for seen in lane]
            for lane in local.end_repeating(*args)
        ]
    return getattr(local, what)(*args)


def _portable(error: BaseException, local: Local | None) -> RemoteError | BaseException:
    """Return an exception that can be pickled, because that of a history may not."""
    if isinstance(error, (Hung, EscapedError)):
        return error
    server = local is not None and is_server_error(error, local.backend)
    said = {name: getattr(error, name) for name in SAYS if hasattr(error, name)}
    return RemoteError(type(error).__name__, text_of(error), server, said, raised_at(error))


if __name__ == "__main__":
    main()
