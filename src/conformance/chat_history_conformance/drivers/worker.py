"""The program of the second process: it answers a `SecondProcess` on stdin and stdout."""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.drivers.errors import (
    SAYS,
    Hung,
    RemoteError,
    is_server_error,
    text_of,
)
from chat_history_conformance.drivers.frames import Unsendable, read_frame, write_frame
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.places import raised_at

__all__ = ["main"]


def main() -> None:
    """Answer requests until the other process closes the pipe."""
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
            _write_answer(answers, answer)
        except Exception as error:  # the other process judges every failure of a history
            write_frame(answers, ("error", _portable(error, local)))
    if local is not None:
        local.stop()
    # A history may leave threads that are not daemons. The run must not wait for them.
    sys.stderr.flush()
    os._exit(0)


def _write_answer(answers: IO[bytes], answer: Any) -> None:
    """Write the answer to a request. A history may return a value that cannot be sent."""
    try:
        write_frame(answers, ("ok", answer))
    except (TypeError, AttributeError, pickle.PicklingError):
        write_frame(answers, ("ok", Unsendable(answer)))


def _start(name: str, origin: Origin, path: list[str], limit: float) -> Local:
    sys.path[:] = path
    return Local(registry.load_again(name, origin), limit)


def _serve(local: Local, what: str, args: tuple[Any, ...]) -> Any:
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
    if isinstance(error, Hung):
        return error
    server = local is not None and is_server_error(error, local.backend)
    said = {name: getattr(error, name) for name in SAYS if hasattr(error, name)}
    return RemoteError(type(error).__name__, text_of(error), server, said, raised_at(error))


if __name__ == "__main__":
    main()
