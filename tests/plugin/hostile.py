"""A correct history that does one hostile thing at one place, both named in the environment."""

import asyncio
import ctypes
import os
import re
import signal
import sys
import threading

import pytest
from langchain_core.messages import HumanMessage

ENDING, PLACE = os.environ["HOSTILE"].split()
STORE = {}
HERE = "HOSTILE_PID" not in os.environ
os.environ.setdefault("HOSTILE_PID", str(os.getpid()))


def os_exit():
    os._exit(0)


def os_exit_seven():
    os._exit(7)


def c_exit():
    ctypes.CDLL(None)._exit(0)


def segfault():
    ctypes.string_at(0)


def abort():
    os.abort()


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_itself():
    os.kill(os.getpid(), signal.SIGTERM)


def sys_exit():
    sys.exit(0)


def keyboard_interrupt():
    raise KeyboardInterrupt


def generator_exit():
    raise GeneratorExit


def cancelled():
    raise asyncio.CancelledError


class Own(BaseException):
    """An exception that nothing catches by accident."""


def own_exception():
    raise Own("mine")


def pytest_skip():
    pytest.skip("nothing to see")


def pytest_fail():
    pytest.fail("failed by itself")


def pytest_xfail():
    pytest.xfail("expected")


def import_or_skip():
    pytest.importorskip("no_such_module")


def pytest_exit():
    pytest.exit("all is well", returncode=0)


def spin():
    while True:
        pass


def deadlock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def hold_gil():
    re.match(r"(a+)+$", "a" * 64 + "b")


def flood_output():
    for _ in range(200):
        os.write(1, b"x" * 65536 + b"\n")
        print("y" * 65536)


def flood_memory():
    return bytearray(1 << 60)


def huge_message():
    STORE["huge"] = True


def close_descriptors():
    os.closerange(3, 256)


def fork():
    os.fork()


def exit_in_text():
    class Quiet(Exception):
        def __str__(self):
            os._exit(0)

    raise Quiet


def exit_later():
    import atexit

    atexit.register(os._exit, 0)
    raise RuntimeError("exits later")


def at(place):
    if place == PLACE or (PLACE == "second" and place == "add" and not HERE):
        globals()[ENDING]()


class Hostile:
    def __init__(self, session_id):
        self.session_id = session_id

    @property
    def messages(self):
        at("read")
        stored = list(STORE.get(self.session_id, []))
        return [*stored, HumanMessage("z" * 50_000_000)] if "huge" in STORE else stored

    def add_messages(self, messages):
        at("add")
        STORE.setdefault(self.session_id, []).extend(m.model_copy(deep=True) for m in messages)

    def clear(self):
        STORE.pop(self.session_id, None)

    async def aget_messages(self):
        return self.messages

    async def aadd_messages(self, messages):
        self.add_messages(messages)

    async def aclear(self):
        self.clear()


def open_history(session_id):
    at("factory")
    return Hostile(session_id)
