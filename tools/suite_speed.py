"""Measure how long the suite itself takes, and write `docs/speed.md`.

py-spy samples a quick run of each embedded backend 100 times a second, in all its processes.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, HumanMessage

import chat_history_conformance
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Mode

__all__ = [
    "OTHER",
    "Run",
    "build",
    "importing",
    "on_one_core",
    "overhead",
    "page",
    "sampled",
    "share",
]

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BACKENDS = ("memory", "sqlite")
RATE = 100
"""Samples in a second."""

IMPORT = "import langchain_core.messages"
"""Work to compare this machine with another one. A loop of Python would not do: on a machine with
busy neighbours, it took as long as before while imports and runs took twice as long."""

OTHER = "other"
_PARTS = (
    ("drawing examples, with Hypothesis", ("/hypothesis/", "chat_history_conformance/strategies")),
    ("the history", ("/chat_history_backends/", "/sqlite3/")),
    (
        "comparing messages, and writing steps and scripts",
        ("chat_history_conformance/diagnosis/",),
    ),
    ("calling the history", ("chat_history_conformance/drivers/",)),
    (
        "the functions of contracts, and what they use",
        ("chat_history_conformance/execution/", "chat_history_conformance/contracts/"),
    ),
    ("the rest of the suite", ("/chat_history_conformance/",)),
    ("pytest", ("/_pytest/", "/pluggy/", "/pytest/")),
)
_IMPORTS = "imports, in this process and in those that contracts start"


def share(stack: str) -> str:
    """Return what a sample counts for.

    Args:
        stack: The frames from the outermost to the innermost, with their files, and `;` between
            them. The innermost frame of a known file decides, so that a library counts for its
            caller. Imports count as imports for every caller.
    """
    if "<frozen importlib" in stack:
        return _IMPORTS
    for frame in reversed(stack.split(";")):
        for part, files in _PARTS:
            if any(file in frame for file in files):
                return part
    return OTHER


class Run(NamedTuple):
    """A quick run of a backend."""

    seconds: float
    """From start to end, without py-spy."""

    parts: Counter[str]
    """The seconds of work of each part in all processes."""

    unit: float
    """The seconds of `IMPORT`, just before and just after: their mean."""


def importing() -> float:
    """Return the seconds that a new process takes for `IMPORT`: the median of 5."""
    command = [sys.executable, "-c", IMPORT]
    seconds = timeit.repeat(lambda: subprocess.run(command, check=True), number=1, repeat=5)
    return statistics.median(seconds)


def sampled(backend: str) -> Run:
    """Sample a quick run.

    Args:
        backend: The name of an embedded backend.
    """
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "stacks")
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "pytest", "-q", f"--history-backend={backend}"]
        before = importing()
        started = time.monotonic()
        subprocess.run(command, cwd=directory, env=environment, check=True)
        seconds = time.monotonic() - started
        unit = (before + importing()) / 2
        py_spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses"]
        subprocess.run(
            [
                *(*py_spy, "--gil", "--full-filenames", "--rate", str(RATE)),
                *("--format", "raw", "--output", str(output), "--", *command),
            ],
            cwd=directory,
            env=environment,
            check=True,
        )
        parts: Counter[str] = Counter()
        for line in output.read_text("utf-8").splitlines():
            stack, _, samples = line.rpartition(" ")
            parts[share(stack)] += int(samples)
    return Run(seconds, Counter({part: number / RATE for part, number in parts.items()}), unit)


class _Free(BaseChatMessageHistory):
    """A history whose calls cost next to nothing."""

    def __init__(self, session_id: str) -> None:
        self.messages: list[BaseMessage] = []

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.messages.extend(messages)

    def clear(self) -> None:
        self.messages.clear()

    async def aget_messages(self) -> list[BaseMessage]:
        return self.messages

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.add_messages(messages)

    async def aclear(self) -> None:
        self.clear()


def overhead(mode: Mode, stories: int = 25, operations: int = 200) -> float:
    """Return the microseconds that the suite adds to an operation: the median of stories.

    Args:
        mode: `sync`, `async` or `mixed`.
        stories: How many stories to measure.
        operations: The operations of a story: add a message, read, clear, read, ...
    """
    subject = Subject(Backend("free", _Free))

    def story() -> float:
        session = Session(subject, mode)
        handle = session.open()
        batches = [[HumanMessage(f"m{number}")] for number in range(operations // 4)]
        started = time.perf_counter()
        for batch in batches:
            handle.add(batch)
            handle.reads_back()
            handle.clear()
            handle.reads_back()
        return (time.perf_counter() - started) / operations * 1e6

    return statistics.median(story() for _ in range(stories))


def on_one_core(measure: Callable[[], float]) -> float:
    """Return the result of a measurement in which this thread and new ones share one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        return measure()
    finally:
        os.sched_setaffinity(0, before)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def page(
    runs: dict[str, Run],
    costs: dict[Mode, tuple[float, float]],
    today: datetime.date,
) -> str:
    """Return the page.

    Args:
        runs: The results of `sampled`, by backend.
        costs: The results of `overhead` on all cores and on one, by mode.
        today: The day of the measurement.
    """
    backends = list(runs)
    work = {backend: sum(run.parts.values()) for backend, run in runs.items()}
    total: Counter[str] = sum((run.parts for run in runs.values()), Counter())
    rows = [
        [
            part,
            *(
                f"{runs[backend].parts[part]:.1f} ({runs[backend].parts[part] / work[backend]:.0%})"
                for backend in backends
            ),
        ]
        for part, _ in total.most_common()
    ]
    lines = [
        "# The speed of the suite",
        "",
        f"Measured on {today}, with version {chat_history_conformance.__version__} on",
        f"Python {platform.python_version()}, on {os.cpu_count()} cores of a shared virtual",
        "machine that was otherwise idle. `tox -e reports -- speed` measures again and writes this",
        "page.",
        "",
        "## Where the time of a quick run goes",
        "",
        "[py-spy](https://github.com/benfred/py-spy) looked at all processes of the run",
        f"{RATE} times a second, and counts the threads that hold Python's lock. So work in C",
        "that releases it, such as that of SQLite, is missing. A sample counts for the innermost",
        "frame of the suite, of Hypothesis, of pytest or of the history; other libraries count for",
        "their caller. The numbers are seconds of work. The time from start to end is that of a",
        "run without py-spy. A run also waits, for example until a time to live has passed.",
        "",
        "The last line shows how fast the machine was during the run: it is the time of this",
        "command, which you can compare with that of another machine:",
        "",
        "```",
        f'time python -c "{IMPORT}"',
        "```",
        "",
        *_table(
            ["part", *(f"`{backend}`" for backend in backends)],
            [
                *rows,
                ["all work", *(f"{work[backend]:.1f}" for backend in backends)],
                ["from start to end", *(f"{runs[backend].seconds:.1f}" for backend in backends)],
                ["an import", *(f"{runs[backend].unit:.2f}" for backend in backends)],
            ],
        ),
        "",
        "## What an operation costs",
        "",
        "The time that the suite adds to each operation, in microseconds. A history whose calls",
        "cost next to nothing gets 200 operations in a row: add a message, read and compare,",
        "clear, read and compare. The numbers are medians of 25 such stories.",
        "",
        "Each call runs in another thread, so that the run can go on without a call that hangs. If",
        "other cores are idle, that thread runs on one of them. To wake a core twice takes half of",
        "the time. So the second number is from a process that may use one core only.",
        "",
        *_table(
            ["mode", "µs, on all cores", "µs, on one core"],
            [[f"`{mode}`", *(f"{cost:.0f}" for cost in both)] for mode, both in costs.items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def build(report: Callable[[str], None] = print) -> None:
    """Measure, and write the page."""
    modes: tuple[Mode, ...] = ("sync", "async", "mixed")
    costs = {mode: (overhead(mode), on_one_core(partial(overhead, mode))) for mode in modes}
    report(f"microseconds of an operation: {costs}")
    runs = {}
    for backend in BACKENDS:
        runs[backend] = sampled(backend)
        report(f"{backend}: {runs[backend]}")
    PAGE.write_text(page(runs, costs, datetime.date.today()), encoding="utf-8")
