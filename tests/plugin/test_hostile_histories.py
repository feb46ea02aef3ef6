"""Histories that end, block or flood the process of the run: each run ends with a verdict.

`hostile.py` has the histories. Each case is a run of pytest in its own process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from chat_history_conformance.reports import load_report

HOSTILE = Path(__file__).with_name("hostile.py").read_text(encoding="utf-8")
SECONDS = 240
QUIET = ("-p", "no:cacheprovider", "-p", "no:langsmith_plugin", "-p", "no:anyio")
Start = Callable[..., "Run"]
BACKEND = "--history-backend=hostile:open_history"


@dataclass
class Run:
    """One run on a hostile history."""

    process: subprocess.Popen[str]
    directory: Path

    def ended(self) -> tuple[int, str]:
        """Return the exit status and the output, and check that nothing is left."""
        try:
            output, _ = self.process.communicate(timeout=SECONDS)
        finally:
            self.kill()
        print(output)
        return self.process.returncode, output

    def kill(self) -> None:
        """End what has not ended by itself."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def left(self) -> list[str]:
        """The names of temporary files that the run has left."""
        return sorted(path.name for path in (self.directory / "tmp").iterdir())

    @property
    def verdict(self) -> str:
        """The verdict in the report of the run."""
        return load_report(self.directory / "report.json").backends[0].verdict


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a run on a hostile history."""
    runs = []

    def start_run(ending: str, place: str, *arguments: str) -> Run:
        (tmp_path / "hostile.py").write_text(HOSTILE, encoding="utf-8")
        (tmp_path / "tmp").mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        environment |= {
            "HOSTILE": f"{ending} {place}",
            "TMPDIR": str(tmp_path / "tmp"),
            "MARKS": "1",
        }
        environment["PYTHONPATH"] = str(tmp_path)
        report = "--history-report=report.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *QUIET, BACKEND, report, *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        runs.append(Run(process, tmp_path))
        return runs[-1]

    yield start_run
    for run in runs:
        run.kill()


ENDS_THE_PROCESS = [
    ("os_exit", "ended with status 0"),
    ("os_exit_seven", "ended with status 7"),
    ("c_exit", "ended with status 0"),
    ("segfault", "died of SIGSEGV"),
    ("abort", "died of SIGABRT"),
    ("exit_in_text", "ended with status 0"),
]


@pytest.mark.parametrize(("ending", "how"), ENDS_THE_PROCESS)
def test_a_history_that_ends_the_process_is_a_finding(start: Start, ending: str, how: str) -> None:
    run = start(ending, "add", "-k", "within_batch and sync")
    status, output = run.ended()
    assert status == 1
    assert f"The process of the run {how} in hostile:open_history::ordering.within_batch" in output
    assert "hostile:open_history: NOT CONFORMANT: " in output
    assert run.verdict == "not_conformant"
    assert run.left == []


@pytest.mark.parametrize(("ending", "place"), [("os_exit", "read"), ("c_exit", "read")])
def test_the_operation_that_ended_the_process_is_named(
    start: Start, ending: str, place: str
) -> None:
    status, output = start(ending, place, "-k", "within_batch and sync and not async").ended()
    assert status == 1
    assert "the process ended with status 0 during `messages`" in output


def test_an_end_while_contracts_run_at_the_same_time_blames_none_of_them(start: Start) -> None:
    run = start("os_exit_in_company", "add", "-k", "sync and (ordering or clear)")
    status, output = run.ended()
    assert status == 1
    assert "up to 16 contracts run at the same time" in output
    place = re.search(r"status 0 in one of (\d+) contracts that ran at the same time\.", output)
    assert place is not None
    others = int(place[1]) - 1
    reason = f"during this contract and {others} more that ran at the same time"
    assert output.count(reason) == others + 1
    assert "hostile:open_history: INCOMPLETE (" in output
    results = load_report(run.directory / "report.json").backends[0].contracts
    assert [result.outcome for result in results].count("error") == others + 1
    assert "failed" not in {result.outcome for result in results}


RAISES = [
    ("sys_exit", "SystemExit"),
    ("keyboard_interrupt", "KeyboardInterrupt"),
    ("generator_exit", "GeneratorExit"),
    ("cancelled", "CancelledError"),
    ("own_exception", "Own"),
    ("pytest_skip", "Skipped"),
    ("pytest_fail", "Failed"),
    ("pytest_xfail", "XFailed"),
    ("import_or_skip", "Skipped"),
    ("pytest_exit", "Exit"),
]


@pytest.mark.parametrize(("ending", "name"), RAISES)
def test_every_exception_of_a_call_is_a_finding(start: Start, ending: str, name: str) -> None:
    run = start(ending, "add", "-k", "within_batch and (sync or mixed)")
    status, output = run.ended()
    assert status == 1
    assert f"`add_messages` raises {name}" in output
    assert "3 failed" in output
    assert "INTERNALERROR" not in output
    assert run.left == []


@pytest.mark.parametrize(("ending", "name"), RAISES)
def test_every_exception_of_a_factory_is_refused_at_the_start(
    start: Start, ending: str, name: str
) -> None:
    status, output = start(ending, "factory", "-k", "within_batch and sync").ended()
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"opening a history raised {name}: " in output
    assert "Traceback" not in output


def test_a_factory_that_ends_the_process_makes_the_verdict_incomplete(start: Start) -> None:
    run = start("os_exit", "factory", "-k", "within_batch")
    status, output = run.ended()
    assert status == 1
    assert "ended with status 0 while the first history of hostile:open_history was" in output
    assert run.verdict == "incomplete"
    assert run.left == []


def test_a_call_that_holds_the_gil_is_ended_and_named(start: Start) -> None:
    run = start("hold_gil", "add", "-k", "within_batch and sync and not async")
    status, output = run.ended()
    assert status == 1
    assert "the process gave no sign of life for 30 s" in output
    assert "hostile.py" in output  # the frame that holds it
    assert run.verdict == "not_conformant"
    report = json.loads((run.directory / "report.json").read_text(encoding="utf-8"))
    findings = [
        one["finding"]["kind"] for one in report["backends"][0]["contracts"] if one["finding"]
    ]
    assert findings == ["hung"]


def test_an_exit_after_the_last_contract_does_not_hide_the_failures(start: Start) -> None:
    status, output = start("exit_later", "add", "-k", "within_batch and sync").ended()
    assert status == 1
    assert "NOT CONFORMANT" in output


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("lose_sigterm", 128 + signal.SIGTERM), ("lose_sigint", pytest.ExitCode.INTERRUPTED)],
)
def test_a_signal_is_sent_again_if_python_drops_its_exception(
    start: Start, ending: str, expected: int
) -> None:
    run = start(ending, "add", "--history-profile=ci")
    status, output = run.ended()
    assert status == expected
    assert "!! KeyboardInterrupt" in output
    assert run.left == []


def test_a_signal_may_arrive_where_python_knows_no_line(start: Start) -> None:
    status, output = start("interrupt_without_a_line", "add", "-k", "within_batch").ended()
    assert status == pytest.ExitCode.INTERRUPTED
    assert "!! KeyboardInterrupt" in output
    assert re.search(r"hostile\.py:\d+: KeyboardInterrupt", output)


def test_a_slow_end_of_python_after_the_verdict_does_not_change_the_status(start: Start) -> None:
    run = start("end_slowly", "add", "-k", "within_batch and sync and not async")
    status, output = run.ended()
    assert status == 0
    assert "hostile:open_history: INCOMPLETE: 1 of " in output
    assert "Fatal Python error" not in output
    assert run.left == []


@pytest.mark.parametrize("ending", ["os_exit", "segfault", "sys_exit", "pytest_skip"])
def test_the_second_process_may_end_too(start: Start, ending: str) -> None:
    run = start(ending, "second", "-m", "history(mode='process')", "-k", "ordering.across_handles")
    status, output = run.ended()
    assert status == 1
    assert "hostile:open_history: NOT CONFORMANT: 1 of " in output
    assert run.left == []


def test_a_worker_of_xdist_that_ends_makes_the_verdict_incomplete(start: Start) -> None:
    status, output = start("os_exit", "add", "-k", "within_batch and async", "-n2").ended()
    assert status == 1
    assert "ordering.within_batch[async]: the worker of pytest-xdist ended" in output
    assert "INCOMPLETE: 0 of " in output


SIGNALS: Sequence[tuple[str, int, int]] = [
    ("first history", signal.SIGTERM, 128 + signal.SIGTERM),
    ("contract", signal.SIGTERM, 128 + signal.SIGTERM),
    ("contract", signal.SIGHUP, 128 + signal.SIGHUP),
    ("contract", signal.SIGKILL, -signal.SIGKILL),
]


@pytest.mark.parametrize(("moment", "number", "status"), SIGNALS)
def test_a_run_that_is_ended_leaves_nothing(
    start: Start, moment: str, number: int, status: int
) -> None:
    place = "read" if moment == "contract" else "factory"
    run = start("deadlock", place, "-k", "within_batch and sync")
    deadline = time.monotonic() + SECONDS
    while not list((run.directory / "tmp").rglob(f"at-{place}")):
        assert time.monotonic() < deadline, "the history was not called"
        time.sleep(0.2)
    run.process.send_signal(number)
    code, output = run.ended()
    assert code == status
    assert "INCOMPLETE" in output
    while run.left and time.monotonic() < deadline:
        time.sleep(0.2)
    assert run.left == []


REFUSED = [
    ("--history-report=/proc/report.md", "/proc/report.md: cannot be written: "),
    ("--history-backend=hostile.open_history", "write a colon: --history-backend=hostile:open_h"),
    ("--history-backend=./hostile.py::open_history", "its file: --history-backend=hostile:open_h"),
    ("--history-backend=sqlite,memory", "--history-backend=sqlite --history-backend=memory."),
    ("hostile:open_history::orderin", "Did you mean 'hostile:open_history::ordering'?"),
]


@pytest.mark.parametrize(("argument", "answer"), REFUSED)
def test_what_can_be_refused_is_refused_at_the_start(
    start: Start, argument: str, answer: str
) -> None:
    status, output = start("os_exit", "read", argument).ended()
    assert status == pytest.ExitCode.USAGE_ERROR
    assert answer in output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
