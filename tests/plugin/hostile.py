"""A correct history that does one hostile thing at one place, both named in the environment."""

import asyncio
import ctypes
import gc
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

ENDING, PLACE = os.environ["HOSTILE"].split()
STORE: dict[str, list[BaseMessage]] = {}
HERE = "HOSTILE_PID" not in os.environ
LOST: list[int] = []
CALLS: list[int] = []
os.environ.setdefault("HOSTILE_PID", str(os.getpid()))


def os_exit() -> None:
    os._exit(0)


def os_exit_seven() -> None:
    os._exit(7)


def os_exit_in_company() -> None:
    time.sleep(0.05)  # so slow that contracts run at the same time
    CALLS.append(1)
    if len(CALLS) == 200:
        os._exit(0)


def c_exit() -> None:
    ctypes.CDLL(None)._exit(0)


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_itself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def sys_exit() -> None:
    sys.exit(0)


def keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def generator_exit() -> None:
    raise GeneratorExit


def cancelled() -> None:
    raise asyncio.CancelledError


class Own(BaseException):
    """An exception that nothing catches by accident."""


def own_exception() -> None:
    raise Own("mine")


def pytest_skip() -> None:
    pytest.skip("nothing to see")


def pytest_fail() -> None:
    pytest.fail("failed by itself")


def pytest_xfail() -> None:
    pytest.xfail("expected")


def import_or_skip() -> None:
    pytest.importorskip("no_such_module")


def pytest_exit() -> None:
    pytest.exit("all is well", returncode=0)


def spin() -> None:
    while True:
        pass


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def hold_gil() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def flood_output() -> None:
    for _ in range(200):
        os.write(1, b"x" * 65536 + b"\n")
        print("y" * 65536)


def flood_memory() -> None:
    bytearray(1 << 60)


def huge_message() -> None:
    STORE["huge"] = []


def close_descriptors() -> None:
    os.closerange(3, 256)


def fork() -> None:
    os.fork()


def exit_in_text() -> None:
    class Quiet(Exception):
        def __str__(self) -> str:
            os._exit(0)

    raise Quiet


def lose_the_signal(number: int) -> None:
    def once(phase: str, details: dict[str, int]) -> None:
        if threading.current_thread() is threading.main_thread() and once in gc.callbacks:
            gc.callbacks.remove(once)
            os.kill(os.getppid(), number)
            time.sleep(3)  # Python drops the exception that the signal raises here

    if HERE and not LOST:
        LOST.append(number)
        gc.callbacks.append(once)


def lose_sigterm() -> None:
    lose_the_signal(signal.SIGTERM)


def lose_sigint() -> None:
    lose_the_signal(signal.SIGINT)


def interrupt_without_a_line() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def handler_without_a_line(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if HERE and ENDING == "interrupt_without_a_line":
    code = handler_without_a_line.__code__
    no_lines = b"\xff" * len(code.co_code)  # as the jump at the end of many loops
    handler_without_a_line.__code__ = code.replace(co_linetable=no_lines)
    signal.signal(signal.SIGINT, handler_without_a_line)


def end_slowly() -> None:
    class Slow:
        def __del__(self, sleep: Callable[[float], None] = time.sleep) -> None:
            sleep(100)  # while Python ends, when no other thread runs

    if "slow" not in sys.modules:
        sys.modules["slow"] = Slow()  # type: ignore[assignment]


def exit_later() -> None:
    import atexit

    atexit.register(os._exit, 0)
    raise RuntimeError("exits later")


def at(place: str) -> None:
    """Do the hostile thing if this is its place."""
    if "MARKS" in os.environ:
        Path(f"at-{place}").touch()
    if place == PLACE or (PLACE == "second" and place == "add" and not HERE):
        globals()[ENDING]()


class Hostile:
    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    @property
    def messages(self) -> list[BaseMessage]:
        at("read")
        stored = list(STORE.get(self.session_id, []))
        return [*stored, HumanMessage("z" * 50_000_000)] if "huge" in STORE else stored

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        at("add")
        STORE.setdefault(self.session_id, []).extend(m.model_copy(deep=True) for m in messages)

    def clear(self) -> None:
        STORE.pop(self.session_id, None)

    async def aget_messages(self) -> list[BaseMessage]:
        return self.messages

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.add_messages(messages)

    async def aclear(self) -> None:
        self.clear()


def open_history(session_id: str) -> Hostile:
    at("factory")
    return Hostile(session_id)
