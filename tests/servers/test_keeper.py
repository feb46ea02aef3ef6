"""The keeper: whatever happens to the process that wanted a server, nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.keeper_client import KeeperClient
from tests.servers.waiting import until

BEATING = """
import time
while True:
    with open("beats", "a") as beats:
        beats.write(".")
    time.sleep(0.02)
"""
"""A server that shows that it runs."""

PARENT = """
import os, signal, subprocess, sys, time
from chat_history_conformance.servers.keeper_client import KeeperClient
keeping = KeeperClient("test")
keeping.start([sys.executable, "-c", sys.argv[1]], {})
def report(other=0):
    print(keeping.directory, other, flush=True)
"""

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and processes")


def beats(directory: Path) -> int:
    try:
        return (directory / "beats").stat().st_size
    except FileNotFoundError:
        return 0


def beating(directory: Path) -> bool:
    before = beats(directory)
    time.sleep(0.3)
    return beats(directory) > before


def started() -> KeeperClient:
    keeping = KeeperClient("test")
    keeping.start([sys.executable, "-c", BEATING], {})
    until(lambda: beats(keeping.directory) > 0, "it does not run")
    return keeping


def parent(script: str) -> tuple[subprocess.Popen[str], Path, int]:
    """Start a process that has a server; its script prints the id of another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT + textwrap.dedent(script), BEATING],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    directory, other = process.stdout.readline().split()
    until(lambda: beats(Path(directory)) > 0, "it does not run")
    return process, Path(directory), int(other)


def ended(process: subprocess.Popen[str]) -> None:
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


def test_stop_ends_the_server_and_removes_its_directory() -> None:
    keeping = started()
    keeping.stop()
    assert not keeping.directory.exists()
    keeping.stop()
    with pytest.raises(ServerError, match="was stopped"):
        keeping.ended()


def test_a_killed_server_can_be_started_again_with_its_data() -> None:
    keeping = started()
    keeping.kill()
    assert not beating(keeping.directory)
    assert keeping.ended() == f"its process ended with status {-signal.SIGKILL}"
    before = beats(keeping.directory)
    keeping.start([sys.executable, "-c", BEATING], {})
    until(lambda: beats(keeping.directory) > before, "it does not run again")
    assert keeping.ended() == ""
    keeping.stop()


@posix
def test_a_paused_server_does_nothing_until_it_resumes() -> None:
    keeping = started()
    keeping.pause()
    keeping.pause()  # changes nothing
    assert not beating(keeping.directory)
    assert keeping.ended() == ""
    keeping.resume()
    assert beating(keeping.directory)
    keeping.pause()
    keeping.stop()
    assert not keeping.directory.exists()


ENDING_ITSELF = """
import signal, sys, time
def end(*_):
    open("ended", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end if sys.argv[1] == "orderly" else signal.SIG_IGN)
while True:
    with open("beats", "a") as beats:
        beats.write(".")
    time.sleep(0.02)
"""
"""A server that ends in an orderly way when asked, or ignores the request."""


@posix
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_server_that_is_shut_down_ends_by_itself(paused: bool) -> None:
    keeping = KeeperClient("test")
    keeping.start([sys.executable, "-c", ENDING_ITSELF, "orderly"], {})
    until(lambda: beats(keeping.directory) > 0, "it does not run")
    if paused:
        keeping.pause()
    assert keeping.shut_down(10)
    assert (keeping.directory / "ended").exists()
    assert keeping.ended() == "its process ended with status 0"
    assert keeping.shut_down(10)  # it has ended already
    keeping.start([sys.executable, "-c", BEATING], {})
    assert keeping.ended() == ""
    keeping.stop()


@posix
def test_a_server_that_ignores_the_request_to_end_is_killed_and_reported() -> None:
    keeping = KeeperClient("test")
    keeping.start([sys.executable, "-c", ENDING_ITSELF, "ignoring"], {})
    until(lambda: beats(keeping.directory) > 0, "it does not run")
    assert not keeping.shut_down(0.5)
    assert keeping.ended() == f"its process ended with status {-signal.SIGKILL}"
    keeping.stop()


@posix
def test_a_shut_down_waits_for_all_processes_of_the_server() -> None:
    keeping = KeeperClient("test")
    launching = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "time.sleep(60)"
    )
    slow = ENDING_ITSELF.replace('open("ended"', 'time.sleep(1); open("ended"')
    keeping.start([sys.executable, "-c", launching, slow.replace("sys.argv[1]", "'orderly'")], {})
    until(lambda: beats(keeping.directory) > 0, "it does not run")
    assert keeping.shut_down(10)
    assert (keeping.directory / "ended").exists()
    keeping.stop()


@posix
def test_a_server_of_two_processes_is_paused_and_killed_as_a_whole() -> None:
    keeping = KeeperClient("test")
    launching = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    keeping.start([sys.executable, "-c", launching, BEATING], {})
    until(lambda: beats(keeping.directory) > 0, "it does not run")
    keeping.pause()
    assert not beating(keeping.directory)
    keeping.resume()
    assert beating(keeping.directory)
    keeping.kill()
    assert not beating(keeping.directory)
    keeping.stop()


def test_the_log_has_the_output_without_stack_frames() -> None:
    keeping = KeeperClient("test")
    lines = [f"line {n}" for n in range(30)] + ["\tat a.Main", "\t\tat a.B", "\t... 9 more"]
    keeping.start(
        [sys.executable, "-c", f"print({chr(10).join(lines)!r}); raise SystemExit(3)"], {}
    )
    until(lambda: keeping.ended() != "", "it does not end")
    assert keeping.ended() == "its process ended with status 3"
    assert keeping.log.splitlines() == [f"line {n}" for n in range(10, 30)]
    kept = keeping.keep_log()
    keeping.stop()
    assert kept.read_text().splitlines() == lines
    kept.unlink()


def test_a_missing_program_is_named() -> None:
    keeping = KeeperClient("test")
    with pytest.raises(ServerError, match=r"/no/such/java cannot be run"):
        keeping.start(["/no/such/java"], {})
    keeping.stop()


def test_a_failed_clean_up_is_an_error_that_names_the_log() -> None:
    keeping = KeeperClient("test", [sys.executable, "-c", "raise SystemExit('no engine answers')"])
    with pytest.raises(ServerError, match="could not be removed completely"):
        keeping.stop()
    assert "no engine answers" in keeping.log
    (keeping.directory / "server.log").unlink()
    keeping.directory.rmdir()


@posix
@pytest.mark.parametrize(
    "script",
    [
        "report(); time.sleep(60)",
        # What another process inherits must not keep the stream to the keeper open,
        "report(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)",
        # and a copy of this process, which does keep it open, must not count for the parent.
        "copy = os.fork()\nif copy: report(copy)\ntime.sleep(60)",
    ],
    ids=["alone", "next to another process", "next to a fork of itself"],
)
def test_a_server_does_not_outlive_a_parent_that_is_killed(script: str) -> None:
    process, directory, other = parent(script)
    process.kill()
    try:
        until(lambda: not directory.exists(), "its directory is still there")
        if other:
            os.kill(other, 0)
    finally:
        if other:
            os.kill(other, signal.SIGKILL)
        ended(process)


@posix
def test_a_server_does_not_outlive_a_parent_that_ends() -> None:
    process, directory, _ = parent("report(); time.sleep(0.5)")
    ended(process)
    until(lambda: not directory.exists(), "its directory is still there")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_terminal_does_not_reach_the_server(
    number: signal.Signals,
) -> None:
    process, directory, _ = parent(
        f"signal.signal({number.value}, signal.SIG_IGN); report(); time.sleep(60)"
    )
    os.killpg(process.pid, number)
    assert beating(directory)
    process.kill()
    ended(process)
    until(lambda: not directory.exists(), "its directory is still there")


@posix
def test_a_fork_of_the_parent_stops_nothing() -> None:
    process, directory, _ = parent(
        """
        if not (child := os.fork()):
            keeping.stop()
            os._exit(0)
        os.waitpid(child, 0)
        report()
        time.sleep(60)
        """
    )
    assert beating(directory)
    process.kill()
    ended(process)
    until(lambda: not directory.exists(), "its directory is still there")
