"""Tests of comparisons: the decision, and whole comparisons of real processes."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import pytest

from chat_history_conformance.bench.compare import document as documents
from chat_history_conformance.bench.compare import processes
from chat_history_conformance.bench.compare.decision import (
    Measure,
    Role,
    Sample,
    Settings,
    compare,
    differing,
    incomparable,
    interleaved,
    matching,
)
from chat_history_conformance.bench.compare.processes import Progress, Worker, WorkerError
from chat_history_conformance.cli.main import main
from tests.bench.repositories import commit, git

ROOT = Path(__file__).parents[2]

# Deciding


def noisy(seed: int, slower: Mapping[str, float], noise: float = 0.04) -> Measure:
    """Return times with log-normal noise and sometimes a disturbance."""
    drawn = random.Random(seed)

    def measure(role: Role, operations: Sequence[str], pair: int) -> dict[str, Sample]:
        found = {}
        for name in operations:
            seconds = 0.001 * math.exp(drawn.gauss(0, noise))
            seconds *= 1.5 if drawn.random() < 0.05 else 1
            found[name] = Sample(seconds * (slower.get(name, 1.0) if role == "head" else 1.0), 1)
        return found

    return measure


def scripted(first: float, second: float, pairs: int = 20) -> Measure:
    """Return times with one ratio in the first measurement and another in the second."""

    def measure(role: Role, operations: Sequence[str], pair: int) -> dict[str, Sample]:
        wobble = 1 + 0.001 * (pair % 3)
        seconds = wobble * (1 if role == "base" else first if pair < pairs else second)
        return {name: Sample(seconds) for name in operations}

    return measure


def test_versions_alternate_and_each_begins_every_other_pair() -> None:
    assert list(interleaved(3)) == [
        (0, "base"),
        (0, "head"),
        (1, "head"),
        (1, "base"),
        (2, "base"),
        (2, "head"),
    ]


def test_pairs_have_base_first() -> None:
    [operation] = compare(["add"], Settings(), scripted(2.0, 2.0))
    assert all(head == 2 * base for base, head in operation.first.pairs)
    assert len(operation.first.pairs) == 20


@pytest.mark.parametrize(
    ("first", "second", "verdict", "withdrawn"),
    [
        (1.2, 1.2, "slower", False),
        (0.8, 0.8, "faster", False),
        (1.2, 1.0, "unchanged", True),
        (1.2, 0.8, "unclear", True),
        (0.8, 1.2, "unclear", True),
        (1.03, None, "unchanged", False),
        (0.97, None, "unchanged", False),
    ],
)
def test_change_counts_only_if_it_is_found_twice(
    first: float, second: float | None, verdict: str, withdrawn: bool
) -> None:
    [operation] = compare(["add"], Settings(), scripted(first, second or 99))
    assert operation.verdict == verdict
    assert operation.is_withdrawn is withdrawn
    assert (operation.second is not None) is (second is not None)
    assert operation.is_regression is (verdict == "slower")
    # The first measurement was selected for its size, so the second one is reported.
    assert operation.counted.estimate.value == pytest.approx(second or first)


def test_only_changed_operations_are_measured_again() -> None:
    asked: list[tuple[str, ...]] = []
    measure = noisy(1, {"slow": 1.3})

    def watched(role: Role, operations: Sequence[str], pair: int) -> Mapping[str, Sample]:
        asked.append(tuple(operations))
        return measure(role, operations, pair)

    found = compare(["same", "slow"], Settings(), watched)
    assert [each.second is not None for each in found] == [False, True]
    assert found[1].verdict == "slower"
    assert asked == [("same", "slow")] * 40 + [("slow",)] * 40


def test_change_below_the_threshold_does_not_count() -> None:
    [operation] = compare(["add"], Settings(threshold=0.1), scripted(1.08, 99))
    assert operation.counted.estimate.low > 1
    assert operation.verdict == "unchanged"


def test_noisy_operation_is_unclear() -> None:
    [operation] = compare(["add"], Settings(pairs=8), noisy(1, {}, noise=0.5))
    assert operation.verdict == "unclear"


@pytest.mark.parametrize("noise", [0.04, 0.2])
def test_equal_versions_rarely_differ(noise: float) -> None:
    names = [f"operation {number}" for number in range(20)]
    alarms = sum(
        any(each.verdict in ("slower", "faster") for each in found)
        for found in (compare(names, Settings(), noisy(seed, {}, noise)) for seed in range(200))
    )
    assert alarms <= 2


def test_slowdown_of_10_percent_is_found() -> None:
    found = [compare(["add"], Settings(), noisy(seed, {"add": 1.1}))[0] for seed in range(100)]
    assert sum(each.verdict == "slower" for each in found) >= 95


def test_one_more_round_trip_is_a_regression() -> None:
    def measure(role: Role, operations: Sequence[str], pair: int) -> dict[str, Sample]:
        trips = {"more": (4, 5), "fewer": (5, 4), "same": (4, 4), "uncounted": (4, None)}
        # A background request can only add to the count of a process.
        extra = 1 if pair == 3 else 0
        counted = {name: trips[name][role == "head"] for name in operations}
        return {
            name: Sample(1.0 + pair / 1000, None if count is None else count + extra)
            for name, count in counted.items()
        }

    found = {
        each.name: each
        for each in compare(["more", "fewer", "same", "uncounted"], Settings(), measure)
    }
    assert {name: each.is_regression for name, each in found.items()} == {
        "more": True,
        "fewer": False,
        "same": False,
        "uncounted": False,
    }
    assert found["more"].verdict == "unchanged"
    assert (found["more"].base_round_trips, found["more"].head_round_trips) == (4, 5)
    assert found["fewer"].is_improvement
    assert found["uncounted"].head_round_trips is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Settings(pairs=7), "7 pairs cannot give an interval of 0.99 confidence: at least 8"),
        (Settings(threshold=0), "more than 0 %"),
        (Settings(confidence=1), "less than 1"),
        (Settings(confidence=0.2), "at least 0.5"),
        (Settings(seconds=0), "more than 0 seconds"),
        (Settings(seconds=math.nan), "more than 0 seconds"),
    ],
)
def test_settings_that_allow_no_decision_are_an_error(settings: Settings, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        settings.check()


DESCRIBED = {
    "python": "3.11.7",
    "implementation": "CPython",
    "platform": "Linux",
    "machine": "x86_64",
    "processor": "some",
    "cores": 2,
    "server": None,
    "packages": {"a": "1"},
    "operations": ["open[sync]"],
}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("python", "3.12.1", "another version of Python: 3.11.7 and 3.12.1"),
        ("implementation", "PyPy", "another implementation of Python: CPython and PyPy"),
        ("platform", "Darwin", "another operating system: Linux and Darwin"),
        ("machine", "arm64", "another kind of machine: x86_64 and arm64"),
        ("processor", "other", "another processor: some and other"),
        ("cores", 8, "another number of processor cores: 2 and 8"),
        ("server", "kafka", "another server: none and kafka"),
    ],
)
def test_different_environments_cannot_be_compared(key: str, value: object, reason: str) -> None:
    assert incomparable(DESCRIBED, {**DESCRIBED, key: value}) == [reason]


def test_same_environment_can_be_compared() -> None:
    other = {**DESCRIBED, "packages": {"a": "2"}, "operations": []}
    assert incomparable(DESCRIBED, other) == []


def test_differing_packages_are_listed_without_the_compared_one() -> None:
    one = {"mine": "1", "same": "1", "newer": "1", "gone": "1"}
    other = {"mine": "2", "same": "1", "newer": "2", "added": "1"}
    assert differing(one, other, ["mine"]) == {
        "added": (None, "1"),
        "gone": ("1", None),
        "newer": ("1", "2"),
    }


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], ["add_1[sync]", "add_1[async]", "add_100[sync]", "clear[sync]"]),
        (["add_1"], ["add_1[sync]", "add_1[async]"]),
        (["add_1[sync]"], ["add_1[sync]"]),
        (["add_*[sync]"], ["add_1[sync]", "add_100[sync]"]),
        (["*[async]", "clear"], ["add_1[async]", "clear[sync]"]),
        (["nothing"], []),
    ],
)
def test_patterns_match_names_with_or_without_a_mode(patterns: list[str], found: list[str]) -> None:
    names = ["add_1[sync]", "add_1[async]", "add_100[sync]", "clear[sync]"]
    assert matching(names, patterns) == found


# Processes


def script(directory: Path, body: str) -> Path:
    path = directory / "worker.py"
    path.write_text("import json, os, sys, time\n" + textwrap.dedent(body))
    return path


def worker(directory: Path, body: str, role: str = "head") -> Worker:
    return Worker(role, Path(sys.executable), directory, script(directory, body))


def test_worker_passes_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    each = worker(
        tmp_path,
        """
        assert "PYTHONPATH" not in os.environ
        assert os.environ["PYTHONHASHSEED"] == "7"
        names = sys.argv[sys.argv.index("--operations") + 1].split(",")
        assert sys.argv[1:4] == ["measure", "--backend", "tiny"], sys.argv
        assert sys.argv[sys.argv.index("--seconds") + 1] == "0.25"
        samples = {name: {"seconds": 0.5, "samples": 3, "round_trips": 2} for name in names}
        print(json.dumps({"operations": samples}))
        """,
    )
    found = each.measure("tiny", ["a[sync]", "b[async]"], 0.25, 7)
    assert found == {"a[sync]": Sample(0.5, 2), "b[async]": Sample(0.5, 2)}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "print('half', flush=True); sys.exit('the server at https://me:secret@host is gone')",
            r"head cannot measure tiny \(exit status 1\):\nthe server at https://host is gone",
        ),
        ("print('no json')", "did not answer `measure` of tiny with JSON but with 'no json"),
        (
            """print('{"operations": {"a[sync]": {"seconds": "1"}}}')""",
            r'the answer of a process: operations.a\[sync\].seconds must be a number, not "1"',
        ),
        ("time.sleep(60)", "head did not measure tiny within 0 s"),
    ],
)
def test_failed_process_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    monkeypatch.setattr(processes, "_HUNG_SECONDS", 0.2 if "sleep" in body else 60.0)
    with pytest.raises(WorkerError, match=reason):
        worker(tmp_path, body).measure("tiny", ["a[sync]"], 0.01, 0)


SLICES = """
def wait():
    print(flush=True)
    if not sys.stdin.readline():
        sys.exit("the comparison has ended")

log = open("log", "a")
for number in range(3):
    wait()
    print("in", file=log, flush=True)
    time.sleep(0.02)
    print("out", file=log, flush=True)
print(json.dumps({"operations": {"a[sync]": {"seconds": 0.5, "samples": 3}}}))
"""


def test_only_one_of_two_processes_works_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workers = [worker(tmp_path, SLICES, role) for role in ("base", "head")]
    found = processes.measure_interleaved(workers, "tiny", ["a[sync]"], 0.1, 0)
    assert found == [{"a[sync]": Sample(0.5)}] * 2
    assert Path("log").read_text().split() == ["in", "out"] * 6


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (
            "wait(); sys.exit('it is gone')",
            r"head cannot measure tiny \(exit status 1\):\nit is gone",
        ),
        (
            "print('no json'); wait()",
            "head did not answer `measure` of tiny with JSON but with 'no",
        ),
        ("wait(); time.sleep(60)", "did not measure tiny within"),
    ],
)
def test_failed_process_ends_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "_HUNG_SECONDS", 1.0 if "sleep" in failing else 60.0)
    for name in ("base", "head"):
        (tmp_path / name).mkdir()
    endless = SLICES.replace("range(3)", "range(10**6)")
    workers = [
        worker(tmp_path / "base", endless, "base"),
        worker(tmp_path / "head", SLICES.replace("for number", f"{failing}\nfor number"), "head"),
    ]
    with pytest.raises(WorkerError, match=reason):
        processes.measure_interleaved(workers, "tiny", ["a[sync]"], 0.01, 0)


def test_conftest_is_found_in_the_directories_of_pytest(tmp_path: Path) -> None:
    body = "print(json.dumps({'directory': sys.argv[sys.argv.index('--directory') + 1]}))"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text("")
    each = worker(tmp_path, body)
    assert each.describe("tiny") == {"directory": str(tmp_path / "tests")}
    assert each.describe("module:factory") == {"directory": str(tmp_path)}
    (tmp_path / "conftest.py").write_text("")
    assert each.describe("tiny") == {"directory": str(tmp_path)}


def test_values_of_a_declaration_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conftest.py").write_text(
        "from chat_history_backends.sqlite import SQLiteChatMessageHistory\n"
        "from chat_history_conformance import history_backend\n"
        "def store():\n"
        "    raise RuntimeError('a comparison runs no lifespan')\n"
        "    yield {}\n"
        "@history_backend('tiny', lifespan=store)\n"
        "def tiny(session_id, path):\n"
        "    return SQLiteChatMessageHistory(session_id, path)\n"
    )
    head = Worker("head", Path(sys.executable), tmp_path)
    monkeypatch.delenv("HISTORY_VALUES", raising=False)
    with pytest.raises(WorkerError) as caught:
        head.describe("tiny")
    text = " ".join(str(caught.value).split())
    assert "nothing gives 'path', a parameter of the factory, a value here" in text
    assert """it from HISTORY_VALUES='{"tiny": {"path": ...}}'""" in text
    path = tmp_path / "given.db"
    monkeypatch.setenv("HISTORY_VALUES", json.dumps({"tiny": {"path": str(path)}}))
    assert "add_1[sync]" in head.describe("tiny")["operations"]
    assert list(head.measure("tiny", ["add_1[sync]"], 0.001, 0)) == ["add_1[sync]"]
    assert path.exists()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_short_comparison_prints_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Clock()
    progress = Progress(clock)
    for done in range(11):
        progress.step("tiny", done, 10)
        clock.now += 0.1
    assert capsys.readouterr().err == ""


def test_progress_in_a_file_is_plain_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    progress = Progress(clock)
    for done in range(41):
        progress.step("tiny, measured", done, 40)
        clock.now += 5
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tiny, measured: 3 of 40 processes, 3 min 05 s left"
    assert len(lines) == 13
    assert not any("\r" in line for line in lines)


def test_progress_in_a_terminal_replaces_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Clock()
    progress = Progress(clock)
    for done in range(3):
        progress.step("tiny", done, 10)
        clock.now += 5
    progress.say("a line")
    drawn = capsys.readouterr().err
    assert drawn.startswith("\rtiny: 1 of 10 processes, 45 s left\rtiny: 2 of 10")
    assert drawn.endswith("\ra line\n")


# Whole comparisons

HISTORY = """
import time
from langchain_core.chat_history import BaseChatMessageHistory

STORE = {}


class History(BaseChatMessageHistory):
    def __init__(self, session_id):
        self.stored = STORE.setdefault(session_id, [])

    @property
    def messages(self):
        return [message.model_copy(deep=True) for message in self.stored]

    def add_messages(self, messages):
        self.stored.extend(message.model_copy(deep=True) for message in messages)

    def clear(self):
        self.stored.clear()
"""

SLOWER = """
    def add_messages(self, messages):
        time.sleep(0.02)
        self.stored.extend(message.model_copy(deep=True) for message in messages)

    def last_messages(self, max_message_count=None):
        return self.messages[-max_message_count:] if max_message_count else self.messages
"""

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tinyhist"
version = "1.0"
dependencies = ["langchain-core>=1"]
[project.entry-points.chat_history_backends]
tiny = "tinyhist:History"
"""

QUICK = ["--pairs", "8", "--seconds", "0.002"]
"""Enough for a factor of a thousand, which noise cannot hide."""


@dataclass(frozen=True)
class Compared:
    """A comparison that the command made."""

    project: Path
    cache: Path
    status: int
    output: str
    progress: str

    def read(self, ending: str) -> str:
        return (self.project.parent / f"out.{ending}").read_text("utf-8")

    @property
    def command(self) -> list[str]:
        versions = ["--base", "HEAD~1", "--head", "HEAD", "--cache", str(self.cache)]
        return ["bench", "compare", *versions]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Compare two commits of another package. The second one has a slower `add_messages`."""
    directory = tmp_path_factory.mktemp("third-party")
    project = directory / "project"
    (project / "tinyhist").mkdir(parents=True)
    git(project, "init", "--quiet", "--initial-branch=main")
    (project / "pyproject.toml").write_text(PROJECT)
    for text in (HISTORY, HISTORY + SLOWER):
        (project / "tinyhist" / "__init__.py").write_text(text)
        commit(project, "a version")
    outputs = [f"--{ending}={directory / 'out'}.{ending}" for ending in ("md", "html", "json")]
    blank = Compared(project, directory / "cache", 0, "", "")
    asked = [
        "--backend",
        "tiny",
        "--operations",
        "add_1[sync]",
        "clear[sync]",
        "last_10_of_10000[sync]",
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "chat_history_conformance",
            *blank.command,
            *asked,
            *QUICK,
            *outputs,
        ],
        cwd=project,
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    return replace(blank, status=done.returncode, output=done.stdout, progress=done.stderr)


def test_slower_commit_of_another_package_is_found(compared: Compared) -> None:
    assert compared.status == 1, compared.progress
    document = json.loads(compared.read("json"))
    jsonschema.validate(document, documents.schema(), cls=jsonschema.Draft202012Validator)
    [backend] = document["backends"]
    found = {each["name"]: each for each in backend["operations"]}
    assert list(found) == ["add_1[sync]", "clear[sync]"]
    assert found["add_1[sync]"]["verdict"] == "slower"
    assert found["add_1[sync]"]["second"]["ratio"] > 5
    assert len(found["add_1[sync]"]["second"]["pairs"]) == 8
    assert backend["only_head"] == ["last_10_of_10000[sync]"]
    assert document["differing"] == {}
    assert document["base"]["commit"] == git(compared.project, "rev-parse", "HEAD~1")


def test_result_is_in_every_output(compared: Compared) -> None:
    assert "tiny add_1[sync] takes" in compared.output
    assert "only head has last_10_of_10000[sync]" in compared.output
    assert "got worse" in compared.read("md").splitlines()[0]
    assert "<svg" in compared.read("html")
    assert "installing base, HEAD~1" in compared.progress
    assert "tiny, measured" in compared.progress


def test_checkout_is_unchanged(compared: Compared) -> None:
    assert git(compared.project, "status", "--porcelain", "--ignored") == ""
    assert git(compared.project, "worktree", "list").count("\n") == 0


def run_again(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, *options: str, backend: str = "tiny"
) -> int:
    """Compare the same two commits in this process."""
    monkeypatch.chdir(compared.project)
    return main([*compared.command, "--backend", backend, *QUICK, *options])


def test_unchanged_operation_has_exit_status_0(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = run_again(compared, monkeypatch, "--operations", "clear[sync]", "--threshold", "900")
    assert status == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--base", "nowhere"], "nowhere is not understood"),
        (["--pairs", "3"], "at least 8"),
        (["--threshold", "-1"], "more than 0 %"),
        (["--html", "."], "is a directory. Name a file in it"),
        (["--operations", "add_2"], "no operation of base matches add_2. There are open[sync]"),
        (["--server", "nothing"], "'nothing' is not understood"),
    ],
)
def test_wrong_option_is_an_error_with_advice(
    compared: Compared,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    assert run_again(compared, monkeypatch, *options) == 2
    assert reason in capsys.readouterr().err


def test_versions_in_different_environments_are_not_compared(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    describe = Worker.describe

    def elsewhere(self: Worker, backend: str) -> Mapping[str, object]:
        changed = {"python": "3.99.0"} if self.role == "head" else {}
        return {**describe(self, backend), **changed}

    monkeypatch.setattr(Worker, "describe", elsewhere)
    assert run_again(compared, monkeypatch) == 2
    errors = capsys.readouterr().err
    assert "tiny: base and head cannot be compared: another version of Python" in errors


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to look into")
def test_interrupt_ends_every_process(compared: Compared) -> None:
    options = ["--backend", "tiny", "--pairs", "1000", "--seconds", "5"]
    with subprocess.Popen(
        [sys.executable, "-m", "chat_history_conformance", *compared.command, *options],
        cwd=compared.project,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts background jobs with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        assert running.stderr is not None
        while "trying every operation" not in (line := running.stderr.readline()):
            assert "installing" in line
        time.sleep(3)
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
        assert running.wait(30) == 130
    assert rest == "history-conformance: stopped; nothing was compared\n"
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


SLOW_MEMORY = """

import time as _time
_add = MemoryChatMessageHistory.add_messages


def _slow(self, messages):
    _time.sleep(0.02)
    _add(self, messages)


MemoryChatMessageHistory.add_messages = _slow
"""

CHATTY_SQLITE = """

_add = SQLiteChatMessageHistory.add_messages


def _chatty(self, messages):
    import contextlib, sqlite3
    with contextlib.closing(sqlite3.connect(":memory:")) as other:
        other.execute("SELECT 1")
    _add(self, messages)


SQLiteChatMessageHistory.add_messages = _chatty
"""


def test_each_version_measures_its_own_reference_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(project))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    left_out = shutil.ignore_patterns("__pycache__", "bench")
    shutil.copytree(ROOT / "src", project / "src", ignore=left_out)
    commit(project, "before there were benchmarks")
    for name, added in (("memory", SLOW_MEMORY), ("sqlite", CHATTY_SQLITE)):
        with (project / "src/backends/chat_history_backends" / f"{name}.py").open("a") as file:
            file.write(added)
    monkeypatch.chdir(project)
    output = tmp_path / "out.json"
    versions = ["--base", "HEAD", "--head", ".", "--cache", str(tmp_path / "cache")]
    asked = ["--backend", "memory", "--backend", "sqlite", "--operations", "add_1[sync]"]
    status = main(["bench", "compare", *versions, *asked, *QUICK, "--json", str(output)])
    assert status == 1
    document = json.loads(output.read_text("utf-8"))
    assert document["head"]["asked"].endswith("with changes)")
    (memory,), (sqlite,) = (backend["operations"] for backend in document["backends"])
    assert memory["verdict"] == "slower"
    assert memory["round_trips"] == {"base": 0, "head": 0}
    assert sqlite["regression"] is True
    assert sqlite["round_trips"]["head"] == sqlite["round_trips"]["base"] + 1
