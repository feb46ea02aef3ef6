"""The second process: answers requests from a `SecondProcess` on its standard input and output."""

from __future__ import annotations

import os
import sys
from typing import Any

from chat_history_conformance.declaration import backend as declaration
from chat_history_conformance.declaration.backend import Backend, Origin
from chat_history_conformance.drivers.local import Hung, Local, RemoteError, read_frame, write_frame


def main() -> None:
    """Serve until the other side closes the pipe."""
    requests = sys.stdin.buffer
    # What a backend prints must not get between the frames.
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
            write_frame(answers, ("ok", answer))
        except Exception as error:  # every failure of a history is an answer
            write_frame(answers, ("error", _portable(error, local)))
    if local is not None:
        local.stop()
    # A history may have left threads that are no daemons; the run must not wait for them.
    sys.stderr.flush()
    os._exit(0)


def _start(name: str, origin: Origin, path: list[str], limit: float) -> Local:
    sys.path[:] = path
    found = origin.load()
    declared = [backend for backend in declaration.declared() if backend.name == name]
    declared += [backend for backend in declaration.declared() if backend.factory is found]
    if not declared and not origin.attribute:
        raise ImportError(f"importing {origin.file or origin.module} declares no backend {name!r}")
    if not declared and isinstance(found, Backend):
        declared = [found]
    backend = (
        declared[0]
        if declared
        else Backend(name, found, origin, with_ttl=getattr(found, "with_ttl", None))
    )
    return Local(backend, limit)


def _serve(local: Local, what: str, args: tuple[Any, ...]) -> Any:
    if what == "together":
        lanes = local.together(args[0])
        for lane in lanes:
            for done in lane:
                done.error = _portable(done.error, local) if done.error else None
        return lanes
    return getattr(local, what)(*args)


def _portable(error: BaseException, local: Local | None) -> RemoteError | BaseException:
    if isinstance(error, Hung):
        return error
    from chat_history_conformance.diagnosis.compare import is_server_error, words

    server = local is not None and is_server_error(error, local.backend)
    return RemoteError(type(error).__name__, words(error), server)


if __name__ == "__main__":
    main()
