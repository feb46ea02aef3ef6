"""Runs of the contracts: outcomes, verdicts, failures, and the usual options of pytest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import HANDLES, Contract
from chat_history_conformance.execution import engine

Run = Callable[..., pytest.RunResult]

ONE = "ordering.within_batch[sync]"
MINE = "--history-backend=histories:Mine"
BACKWARDS = "--history-backend=histories:Backwards"
IDS = [
    f"{name}[{mode}]"
    for name in ("ordering.within_batch", "ordering.across_calls")
    for mode in ("sync", "async", "mixed")
]


def declare(pytester: pytest.Pytester, stated: str, history: str = "Backwards") -> None:
    """Declare `mine` in a conftest."""
    pytester.makeconftest(
        f"""
        from chat_history_conformance import history_backend
        import histories

        @history_backend("mine", {stated})
        def mine(session_id):
            return histories.{history}(session_id)
        """
    )


def verdict(result: pytest.RunResult) -> str:
    """Return the last line about a verdict, without the name of the backend."""
    pattern = r": ((?:NOT )?CONFORMANT.*|INCOMPLETE.*)"
    found = re.findall(pattern, result.stdout.str())
    assert found, "the run printed no verdict"
    return str(found[-1])


# -- options of pytest -----------------------------------------------------------------------------


def test_node_ids_name_backend_contract_and_mode(run: Run) -> None:
    result = run("--history-backend=memory", MINE, "--co", "-q")
    listed = [line for line in result.outlines if "::" in line]
    assert listed == [f"{name}::{label}" for name in ("memory", "histories:Mine") for label in IDS]
    assert "CONFORMANT" not in result.stdout.str()


def test_a_keyword_selects_contracts(run: Run) -> None:
    result = run("--history-backend=memory", "-k", "across_calls and not mixed")
    result.assert_outcomes(passed=2, deselected=4)
    assert verdict(result) == (
        "INCOMPLETE (without durable): 2 of 6 contracts exercised, 4 not run"
    )
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("history", 6),
        ("history(family='ordering')", 6),
        ("history(mode='async')", 2),
        ("history(level='should')", 0),
        ("not history", 0),
    ],
)
def test_a_marker_selects_contracts(run: Run, expression: str, passed: int) -> None:
    result = run("--history-backend=memory", "-m", expression, "--strict-markers")
    result.assert_outcomes(passed=passed, deselected=6 - passed)


def test_lf_runs_the_last_failures_again(run: Run, pytester: pytest.Pytester) -> None:
    declare(pytester, "", "Mine")
    module = pytester.path / "histories.py"
    correct = module.read_text()
    module.write_text(
        correct + "\n\nasync def broken(self, messages): ...\n\nMine.aadd_messages = broken\n"
    )
    run("--history-backend=mine").assert_outcomes(passed=2, failed=4)
    module.write_text(correct)
    run("--history-backend=mine", "--lf").assert_outcomes(passed=4, deselected=2)
    run("--history-backend=mine", "--lf").assert_outcomes(passed=6)


def test_x_ends_the_run_at_the_first_failure(run: Run) -> None:
    result = run(BACKWARDS, "-x")
    result.assert_outcomes(failed=1)
    assert verdict(result) == "NOT CONFORMANT: 1 of 6 contracts exercised, 1 failed, 5 not run"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "no:cacheprovider"],
        ["-p", "no:xdist"],
        ["-p", "no:hypothesispytest"],
        ["-p", "no:terminal"],
        ["--strict-markers", "--strict-config"],
        ["-W", "error"],
        ["-v", "-rA"],
        ["-q", "-q"],
        ["--capture=no"],
        ["--durations=2"],
        ["--setup-show"],
        ["--reruns=1"],
    ],
    ids=" ".join,
)
def test_usual_options_of_pytest_work(run: Run, arguments: list[str]) -> None:
    result = run("--history-backend=memory", *arguments)
    assert result.ret == pytest.ExitCode.OK
    if arguments != ["-p", "no:terminal"]:
        assert verdict(result).startswith("CONFORMANT (without durable): 6 of 6")


@pytest.mark.parametrize("style", ["long", "native", "auto"])
def test_a_failure_looks_the_same_in_every_traceback_style(run: Run, style: str) -> None:
    result = run(BACKWARDS, f"histories:Backwards::{ONE}", f"--tb={style}")
    text = result.stdout.str()
    assert "Traceback" not in text
    result.stdout.fnmatch_lines(
        [
            "message 1 came back as message 2 of 2",
            "Steps",
            "   1. a = open('session-1')",
            "*Expected*Returned",
            "Rule  ordering.within_batch (must): *",
            "Usual cause: *",
            "What to do: *",
            "To reproduce this failure without this suite*",
            "FAILED histories:Backwards::*- message 1 came back*",
        ]
    )


def test_a_failure_can_be_short_or_one_line_or_hidden(run: Run) -> None:
    one = f"histories:Backwards::{ONE}"
    short = run(BACKWARDS, one, "--tb=short").stdout.str()
    assert "What to do: " in short
    assert "To reproduce" not in short
    line = run(BACKWARDS, one, "--tb=line")
    assert line.ret == pytest.ExitCode.TESTS_FAILED
    start, end = (
        next(number for number, text in enumerate(line.outlines) if title in text)
        for title in (" FAILURES ", " short test summary ")
    )
    [crash] = line.outlines[start + 1 : end]
    assert crash.endswith(": message 1 came back as message 2 of 2")
    silent = run(BACKWARDS, one, "--tb=no")
    assert "Usual cause" not in silent.stdout.str()
    assert verdict(silent).startswith("NOT CONFORMANT")


def test_reruns_count_as_one_result(run: Run) -> None:
    result = run(BACKWARDS, f"histories:Backwards::{ONE}", "--reruns=1")
    result.assert_outcomes(failed=1, deselected=5)
    assert "1 rerun" in result.stdout.str()
    assert verdict(result) == "NOT CONFORMANT: 1 of 6 contracts exercised, 1 failed, 5 not run"
    assert "Usual cause" in result.stdout.str()


NASTY = r'''
from langchain_core.messages import HumanMessage
from histories import Mine


class Nasty(Mine):
    """A history that adds a message with characters that XML cannot hold."""

    @property
    def messages(self):
        return [*super().messages, HumanMessage("]]> <&\x00\x1b\x7f\ud800 \U0001f600 \ufffe" * 3)]


class Raising(Mine):
    def add_messages(self, messages):
        raise ValueError("]]> <&\x00\x1b\x7f\ud800 \U0001f600 \ufffe")


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


class Strange(Mine):
    @property
    def messages(self):
        return [HumanMessage("x" * 500_000, mood=Unprintable(), number=float("nan"))]
'''


@pytest.mark.parametrize("name", ["Nasty", "Raising", "Strange"])
def test_unusual_messages_fit_into_xml_json_and_the_terminal(
    run: Run, pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile(nasty=NASTY)
    result = run(
        f"--history-backend=nasty:{name}", "--junitxml=j.xml", "--history-report=r.json", "-v"
    )
    result.assert_outcomes(failed=6)
    suite = ElementTree.parse("j.xml").getroot()[0]
    assert suite.get("tests") == suite.get("failures") == "6"
    assert suite[0].get("name") == ONE
    assert json.loads(Path("r.json").read_text())["backends"][0]["verdict"] == "not_conformant"
    assert len(result.stdout.str()) < 200_000


# -- verdicts and exit statuses --------------------------------------------------------------------


def test_a_correct_history_is_conformant(run: Run) -> None:
    result = run(MINE)
    assert verdict(result) == "CONFORMANT: 6 of 6 contracts exercised"
    assert result.ret == pytest.ExitCode.OK


def test_a_broken_history_is_not_conformant(run: Run) -> None:
    result = run(BACKWARDS)
    assert verdict(result) == "NOT CONFORMANT: 6 of 6 contracts exercised, 6 failed"
    assert result.ret == pytest.ExitCode.TESTS_FAILED


BOTH = "{'ordering.within_batch': 'newest first', 'ordering.across_calls': 'newest first'}"


def test_declared_deviations_do_not_fail_the_run(run: Run, pytester: pytest.Pytester) -> None:
    declare(pytester, f"deviations={BOTH}")
    result = run("--history-backend=mine", "-rx")
    result.assert_outcomes(xfailed=6)
    assert verdict(result) == "CONFORMANT WITH 6 DEVIATIONS: 6 of 6 contracts exercised"
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["  deviation: ordering.within_batch: newest first"])
    result.stdout.fnmatch_lines(["XFAIL mine::ordering.*deviation: newest first"])


def test_a_deviation_that_passes_fails_the_run_and_names_its_line(
    run: Run, pytester: pytest.Pytester
) -> None:
    declare(pytester, "deviations={'ordering.within_batch': 'newest first'}", "Mine")
    result = run("--history-backend=mine")
    result.assert_outcomes(passed=3, failed=3)
    assert verdict(result).startswith("NOT CONFORMANT")
    result.stdout.fnmatch_lines(
        ["ordering.within_batch holds, but *newest first*Delete this line*"]
    )


def test_write_deviations_prints_a_block_that_makes_the_run_pass(
    run: Run, pytester: pytest.Pytester
) -> None:
    declare(pytester, "")
    result = run("--history-backend=mine", "--history-write-deviations")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = result.outlines
    start = lines.index("deviations={")
    block = "\n".join(lines[start : lines.index("},", start) + 1])
    declare(pytester, block.replace("\n", " "))
    again = run("--history-backend=mine")
    assert again.ret == pytest.ExitCode.OK
    assert verdict(again).startswith("CONFORMANT WITH 6 DEVIATIONS")


FAILING = """
    import os
    import signal
    from histories import Mine

    class Gone(Mine):
        def add_messages(self, messages):
            raise ConnectionError("the server is gone")

    class NeverThere(Mine):
        def __init__(self, session_id):
            raise ConnectionRefusedError("connection refused")

    class Interrupted(Mine):
        def add_messages(self, messages):
            os.kill(os.getpid(), signal.SIGINT)

    class Exiting(Mine):
        def add_messages(self, messages):
            raise SystemExit(3)

    class Crashing(Mine):
        async def aadd_messages(self, messages):
            os._exit(9)
    """


@pytest.mark.parametrize("name", ["Gone", "NeverThere"])
def test_an_unreachable_server_is_an_error_and_makes_the_verdict_incomplete(
    run: Run, pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile(failing=FAILING)
    result = run(f"--history-backend=failing:{name}", "--history-report=r.json")
    assert verdict(result) == "INCOMPLETE: 0 of 6 contracts exercised, 6 errors"
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    contracts = json.loads(Path("r.json").read_text())["backends"][0]["contracts"]
    assert {entry["outcome"] for entry in contracts} == {"error"}


BUSY = """
    from histories import Mine

    class Busy(Mine):
        refusals = 1

        def add_messages(self, messages):
            if Busy.refusals:
                Busy.refusals -= 1
                raise ConnectionError("too busy")
            super().add_messages(messages)
    """


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_contract_that_runs_again_is_noted_by_each_process(
    run_apart: Run, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(busy=BUSY)
    result = run_apart("--history-backend=busy:Busy", "--history-report=r.json", *workers)
    assert result.ret == pytest.ExitCode.OK
    notes = json.loads(Path("r.json").read_text())["backends"][0]["notes"]
    again = [note for note in notes if "ran again, after server: " in note]
    assert len(again) == max(1, 2 * len(workers))
    for note in again:
        result.stdout.fnmatch_lines([f"*note: {note.partition(' ')[0].replace('[', '[[]')}*"])


def test_ctrl_c_makes_the_verdict_incomplete(run_apart: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(failing=FAILING)
    result = run_apart("--history-backend=memory", "--history-backend=failing:Interrupted")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "memory: CONFORMANT (without durable): 6 of 6 *",
            "failing:Interrupted: INCOMPLETE: * of 6 contracts exercised, * not run",
        ]
    )


def test_a_history_that_exits_does_not_pass(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(failing=FAILING)
    result = run("--history-backend=failing:Exiting", "-k", "sync and not async")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "INTERNALERROR" not in result.stdout.str()
    assert not verdict(result).startswith("CONFORMANT")


def test_xdist_workers_share_one_verdict(run_apart: Run) -> None:
    result = run_apart("-n2", MINE, BACKWARDS)
    result.assert_outcomes(passed=6, failed=6)
    result.stdout.fnmatch_lines(
        [
            "histories:Mine: CONFORMANT: 6 of 6 contracts exercised",
            "histories:Backwards: NOT CONFORMANT: 6 of 6 contracts exercised, 6 failed",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_xdist_workers_run_only_the_selected_contracts(
    run_apart: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    result = run_apart("-n2", "--history-backend=memory", "test_mine.py", f"memory::{ONE}")
    result.assert_outcomes(passed=2)
    assert "1 of 6 contracts exercised, 5 not run" in verdict(result)


def test_a_crashed_worker_makes_the_verdict_incomplete(
    run_apart: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(failing=FAILING)
    result = run_apart(
        "-n2", "--history-backend=failing:Crashing", "-k", "within_batch and not mixed"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert verdict(result) == "INCOMPLETE: 1 of 6 contracts exercised, 1 error, 4 not run"


def test_a_history_without_methods_is_not_conformant(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        nothing="""
        from langchain_core.chat_history import BaseChatMessageHistory

        class Nothing(BaseChatMessageHistory):
            def __init__(self, session_id):
                ...

        class Empty(BaseChatMessageHistory):
            def __init__(self, session_id):
                ...

            def clear(self):
                ...
        """
    )
    for name in ("Nothing", "Empty"):
        result = run(f"--history-backend=nothing:{name}")
        result.assert_outcomes(failed=6)
        assert verdict(result) == "NOT CONFORMANT: 6 of 6 contracts exercised, 6 failed"
        text = result.stdout.str()
        assert text.count("What to do:") == text.count("Usual cause:") < 6
        assert re.search(r"^The same cause in \d more contract", text, re.MULTILINE)
        result.stdout.fnmatch_lines(["   1. ? failures: * raise*"])


def test_failures_with_one_cause_are_explained_once(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        missing="""
        from histories import Mine

        class Missing(Mine):
            def add_messages(self, messages):
                raise NotImplementedError

            async def aadd_messages(self, messages):
                raise NotImplementedError
        """
    )
    result = run("--history-backend=missing:Missing")
    result.assert_outcomes(failed=6)
    text = result.stdout.str()
    assert text.count("What to do:") == 2
    result.stdout.fnmatch_lines(
        [
            "  2 causes explain all 6 failures; start with ordering.*:",
            "   1. ? failures: `*add_messages` raises NotImplementedError",
            "   2. ? failures: `*add_messages` raises NotImplementedError",
        ]
    )
    assert text.count('lacks={"sync": "REASON"}') == 1
    assert text.count('lacks={"async": "REASON"}') == 1


def test_a_failure_names_the_line_of_the_history_that_raised(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        raising="""
        from histories import Mine

        class Raising(Mine):
            def add_messages(self, messages):
                self.store(messages)

            def store(self, messages):
                raise KeyError("no such table")
        """
    )
    result = run("--history-backend=raising:Raising", f"raising:Raising::{ONE}")
    result.stdout.fnmatch_lines(["Raised at raising.py:8, in store"])


def test_the_verdict_is_the_last_line(run: Run) -> None:
    lines = run(BACKWARDS, "-rf").outlines
    while not lines[-1]:
        lines.pop()
    assert lines[-1].startswith("histories:Backwards: NOT CONFORMANT: ")
    last_failed = max(number for number, text in enumerate(lines) if text.startswith("FAILED "))
    ranking = next(number for number, text in enumerate(lines) if "explain" in text)
    assert last_failed < ranking < len(lines) - 1


def test_workers_of_xdist_show_each_cause_once(run_apart: Run) -> None:
    text = run_apart(BACKWARDS, "-n", "2").stdout.str()
    assert text.count("What to do:") == 1
    assert "1 cause explains all 6 failures" in text


def test_escape_sequences_of_a_history_do_not_reach_the_terminal(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        hostile="""
        from histories import Mine

        class Hostile(Mine):
            def add_messages(self, messages):
                raise type("Evil\\x1b[2J", (Exception,), {})("\\x1b]0;title\\x07")
        """
    )
    text = run("--history-backend=hostile:Hostile", "-rA").stdout.str()
    assert "Evil\\x1b[2J" in text
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text


def test_lacked_capabilities_are_listed_and_noted_if_they_work(
    run: Run, pytester: pytest.Pytester
) -> None:
    declare(
        pytester,
        "lacks={'durable': 'in memory', 'threads': 'never tried', 'async': 'no driver'}",
        "Mine",
    )
    result = run("--history-backend=mine")
    assert verdict(result) == (
        "CONFORMANT (without async, durable, threads): 2 of 6 contracts exercised, 4 not applicable"
    )
    result.stdout.fnmatch_lines(
        ["  not applicable: 4 contracts: * async: no driver", "* threads (never tried)*"]
    )
    notes = [line for line in result.outlines if line.startswith("  note: ")]
    assert any(" async (no driver), " in note for note in notes)
    assert not any(" durable " in note for note in notes)


# -- safety ----------------------------------------------------------------------------------------


def test_a_run_clears_its_sessions_and_removes_its_directory(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pytester.mkdir("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    pytester.makepyfile(
        keeping="""
        import os
        from pathlib import Path
        from histories import STORE, Mine

        LOG = Path(__file__).with_name("log.txt")

        class Keeping(Mine):
            def add_messages(self, messages):
                super().add_messages(messages)
                Path("extra.txt").write_text("x")
                with LOG.open("a") as log:
                    print("added", self.session_id, os.getcwd(), file=log)

            def clear(self):
                super().clear()
                with LOG.open("a") as log:
                    print("cleared", self.session_id, os.getcwd(), file=log)
        """
    )
    assert run("--history-backend=keeping:Keeping").ret == pytest.ExitCode.OK
    entries = [line.split() for line in Path("log.txt").read_text().splitlines()]
    added = {session for what, session, _ in entries if what == "added"}
    cleared = {session for what, session, _ in entries if what == "cleared"}
    assert added
    assert added == cleared
    assert all(session.startswith("chc") for session in added)
    assert all(directory.startswith(str(place)) for *_, directory in entries)
    assert not list(place.iterdir())
    assert not Path("extra.txt").exists()


def test_a_failing_run_removes_its_directory(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pytester.mkdir("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    run(BACKWARDS)
    run("--history-backend=memory", "-k", "nothing at all")
    run("--history-backend=memory", "memory::unknown")
    assert not list(place.iterdir())


def test_garbage_collection_leaves_out_older_objects_only_while_contracts_run(
    run_apart: Run, pytester: pytest.Pytester
) -> None:
    declare(pytester, "lacks={'durable': 'in memory'}", "Counting")
    pytester.makepyfile(
        histories="""
        import gc
        from pathlib import Path
        from chat_history_backends.memory import MemoryChatMessageHistory

        class Counting(MemoryChatMessageHistory):
            def __init__(self, session_id):
                super().__init__(session_id)
                with Path(__file__).with_name("during").open("a") as file:
                    print(gc.get_freeze_count(), file=file)
        """
    )
    conftest = pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
import gc
from pathlib import Path

def pytest_sessionfinish():
    Path(__file__).with_name("after").write_text(str(gc.get_freeze_count()))
"""
    )
    plugins = ("langsmith_plugin",)  # as an adopter's run has it
    run_apart("--history-backend=mine", plugins=plugins).assert_outcomes(passed=6)
    during = (pytester.path / "during").read_text().split()
    assert max(map(int, during)) > 100_000  # other processes open histories too
    assert int((pytester.path / "after").read_text()) == 0


def test_two_runs_use_different_session_ids(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        seeing="""
        from pathlib import Path
        from histories import Mine

        def seeing(session_id):
            with Path(__file__).with_name("seen.txt").open("a") as seen:
                print(session_id, file=seen)
            return Mine(session_id)
        """
    )
    arguments = ["--history-backend=seeing:seeing", f"seeing:seeing::{ONE}"]
    run(*arguments)
    first = set(Path("seen.txt").read_text().split())
    Path("seen.txt").unlink()
    run(*arguments)
    assert not first & set(Path("seen.txt").read_text().split())


def test_a_history_that_hangs_is_a_finding(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(engine.PROFILES["quick"], limit=0.2, shrink_seconds=0.1)
    monkeypatch.setitem(engine.PROFILES, "quick", quick)
    pytester.makepyfile(
        hanging="""
        import time
        from histories import Mine

        class Hanging(Mine):
            def add_messages(self, messages):
                time.sleep(1)
        """
    )
    result = run(
        "--history-backend=hanging:Hanging", f"hanging:Hanging::{ONE}", "--history-report=r.json"
    )
    result.assert_outcomes(failed=1, deselected=5)
    result.stdout.fnmatch_lines(["`add_messages` did not return: no answer within 0.2 s"])
    contracts = json.loads(Path("r.json").read_text())["backends"][0]["contracts"]
    assert contracts[0]["finding"]["kind"] == "hung"


# -- scripts of findings ---------------------------------------------------------------------------

DEFECTS = """
    import os
    import signal
    from pathlib import Path

    from langchain_core.messages import messages_from_dict, message_to_dict
    import json

    from chat_history_conformance import history_backend

    class Filed:
        def __init__(self, session_id):
            self.path = Path(f"{session_id}.json")

        def _kept(self):
            return json.loads(self.path.read_text()) if self.path.exists() else []

        @property
        def messages(self):
            return messages_from_dict(self._kept())

        def add_messages(self, messages):
            kept = self._kept() + [message_to_dict(message) for message in messages[:1]]
            self.path.write_text(json.dumps(kept))

        def clear(self):
            self.path.unlink(missing_ok=True)

        async def aget_messages(self):
            return self.messages

        async def aadd_messages(self, messages):
            self.add_messages(messages)

        async def aclear(self):
            self.clear()

    def function(session_id):
        return Filed(session_id)

    def generator(session_id):
        yield Filed(session_id)

    async def async_generator(session_id):
        yield Filed(session_id)

    @history_backend("declared")
    def declared(session_id):
        return Filed(session_id)

    a_lambda = history_backend("lambda")(lambda session_id: Filed(session_id))
    """


def reproduced(report: str, label: str) -> None:
    """Run the script of a finding with plain Python."""
    (backend,) = json.loads(Path(report).read_text())["backends"]
    by_label = {f"{entry['id']}[{entry['mode']}]": entry for entry in backend["contracts"]}
    finding = by_label[label]["finding"]
    Path("reproducer.py").write_text(finding["reproducer"])
    ended = subprocess.run(
        [sys.executable, "reproducer.py"], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode != 0, finding["reproducer"]
    assert finding["summary"] in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    ("factory", "mode"),
    [
        ("Filed", "sync"),
        ("Filed", "async"),
        ("function", "mixed"),
        ("generator", "sync"),
        ("async_generator", "async"),
    ],
)
def test_a_script_shows_the_defect_without_the_suite(
    run: Run, pytester: pytest.Pytester, factory: str, mode: str
) -> None:
    pytester.makepyfile(defects=DEFECTS)
    label = f"ordering.within_batch[{mode}]"
    selected = f"defects:{factory}::{label}"
    run(f"--history-backend=defects:{factory}", selected, "--history-report=r.json")
    reproduced("r.json", label)


@pytest.mark.parametrize("name", ["declared", "lambda"])
def test_a_script_imports_the_backend_of_a_conftest(
    run: Run, pytester: pytest.Pytester, name: str
) -> None:
    pytester.makeconftest(DEFECTS)
    run(f"--history-backend={name}", f"{name}::{ONE}", "--history-report=r.json")
    reproduced("r.json", ONE)


def test_a_script_starts_a_second_process(
    run: Run, pytester: pytest.Pytester, small_catalogue: dict[str, Contract]
) -> None:
    def seen_from_elsewhere(s: Any, batches: Any) -> None:
        a, b = s.open(), s.open()
        for batch in batches:
            b.add(batch)
        a.reads_back()

    name = "ordering.within_batch"
    tested = replace(
        catalogue.load()[name], body=seen_from_elsewhere, modes=(*HANDLES,), needs=("shared",)
    )
    small_catalogue[name] = tested
    pytester.makeconftest(DEFECTS)
    run("--history-backend=declared", f"declared::{name}[process]", "--history-report=r.json")
    reproduced("r.json", f"{name}[process]")


def test_a_report_lists_contracts_that_did_not_run(run: Run) -> None:
    run("--history-backend=memory", f"memory::{ONE}", "--history-report=r.json")
    data = json.loads(Path("r.json").read_text())
    (backend,) = data["backends"]
    assert data["suite"]["profile"] == "quick"
    assert backend["verdict"] == "incomplete"
    assert backend["counts"]["declared"] == 6
    assert [entry["outcome"] for entry in backend["contracts"]] == ["passed"] + ["not_run"] * 5


def test_a_history_that_cannot_be_constructed_is_a_finding(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        mine="""
        from langchain_core.chat_history import BaseChatMessageHistory

        class Nothing(BaseChatMessageHistory):
            pass
        """
    )
    run = pytester.runpytest_subprocess(
        "--history-backend=mine:Nothing", "-k", "bounded or ttl", "--tb=no", "-q"
    )
    output = run.stdout.str()
    assert "NOT CONFORMANT" in output
    assert "error" not in output.partition("chat history conformance")[2].partition("summary")[0]
    assert "failures: `Nothing(session_id)` raises TypeError" in output
