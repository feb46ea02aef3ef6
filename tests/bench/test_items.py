"""Tests of benchmarks as pytest items: their results, and the budget of round trips."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

# Here, since pytester forgets the modules that a run imports first, and their package does not.
import chat_history_conformance.pytest_plugin.benchmarks  # noqa: F401
from chat_history_conformance.bench.measure.contenders import (
    NotSupported,
    WrongResult,
    describe_error,
)

pytest.importorskip("pytest_benchmark")

Run = Callable[..., pytest.RunResult]

SHORT = ("--benchmark-max-time=0.005", "--benchmark-min-rounds=2")
PRINTED = "--history-write-round-trips"
USUAL = ("-p", "no:xdist")
MINE = "histories:Mine"
JUDGED = f"--history-backend={MINE}"
RIVALS = '''
import sqlite3

from chat_history_conformance import history_backend
from histories import Mine


class Slow(Mine):
    """Reads twice."""

    @property
    def messages(self):
        super().messages
        return [message.model_copy(deep=True) for message in super().messages]


class Odd(Mine):
    def clear(self):
        raise RuntimeError("clearing is not for everyone\\nand more")


@history_backend(
    "mine",
    floor=Mine,
    peers={"langchain-core": Slow, "hypothesis": Odd, "no-such-package": Mine},
)
def mine(session_id):
    return Slow(session_id)
'''
CHATTY = '''
import sqlite3

from chat_history_backends.sqlite import SQLiteChatMessageHistory


class Plain(SQLiteChatMessageHistory):
    """The history of the suite, without floor and peers."""


class Chatty(SQLiteChatMessageHistory):
    """Makes a needless round trip with each add."""

    def add_messages(self, messages):
        self.messages_there()
        super().add_messages(messages)

    def messages_there(self):
        with sqlite3.connect("chat_history.sqlite3") as connection:
            connection.execute("SELECT count(*) FROM chat_messages").fetchone()
        connection.close()
'''


@pytest.fixture(autouse=True)
def _as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a worker of pytest-xdist, in which pytest-benchmark measures nothing."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture
def measure(run: Run, pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Return a function that runs short benchmarks in this process."""
    pytester.makepyfile(chatty=CHATTY)

    def measure(backend: str, operations: str, *arguments: str) -> pytest.RunResult:
        chosen = [f"{backend}::benchmark.{one}" for one in operations.split()]
        judged = f"--history-backend={backend}"
        return run("--history-benchmark", judged, *chosen, *SHORT, *USUAL, *arguments)

    return measure


Measure = Callable[..., pytest.RunResult]


def saved() -> dict[str, Mapping[str, Any]]:
    """Return the last saved result of each benchmark, by the end of its name."""
    *_, newest = sorted(Path(".benchmarks").glob("*/*_history.json"))
    found = json.loads(newest.read_text("utf-8"))["benchmarks"]
    return {one["name"].removeprefix("benchmark."): one for one in found}


def usage_error(result: pytest.RunResult) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return " ".join(result.errlines + result.outlines)


# -- measuring -------------------------------------------------------------------------------------


def test_every_operation_is_measured_in_both_modes(measure: Measure) -> None:
    result = measure(MINE, "", "-k", "not 10000")
    result.assert_outcomes(passed=24, skipped=2, deselected=4)
    names = ["open", "add_1", "add_100", "read_empty", "read_10", "read_100", "read_1000"]
    names += ["read_10_in_a_row", "chat_turn", "agent_turn", "clear", "add_1_by_8_handles"]
    assert list(saved()) == [f"{name}[{mode}]" for name in names for mode in ("sync", "async")]
    for name, one in saved().items():
        assert one["group"] == one["extra_info"]["title"]
        assert one["fullname"] == f"histories:Mine::benchmark.{name}"
        assert one["extra_info"]["backend"] == "histories:Mine"
        assert one["extra_info"]["round_trips"] == 0
        assert one["stats"]["rounds"] >= 2
        environment = one["extra_info"]["environment"]
        assert {"python", "machine", "cores", "langchain-core"} <= environment.keys()
        assert platform.node() not in environment.values()


def test_optional_operation_runs_only_if_the_command_line_names_it(measure: Measure) -> None:
    result = measure(MINE, "open_among_1000_sessions[sync] open[sync]")
    result.assert_outcomes(passed=2, deselected=30)


def test_concurrent_adds_have_a_99th_percentile(measure: Measure) -> None:
    result = measure(MINE, "add_1_by_8_handles[sync] add_1_by_8_handles[async]")
    for one in saved().values():
        latency = one["extra_info"]["latency"]
        assert 0 < latency["median_s"] <= latency["p99_s"]
    result.stdout.fnmatch_lines(["*add_1_by_8_handles[[]sync[]]: half of the adds took at most*"])


SLOW_AT_FIRST = """
import time

from histories import Mine

SEEN = set()


class Slow(Mine):
    def add_messages(self, messages):
        if self.session_id not in SEEN:
            SEEN.add(self.session_id)
            time.sleep(0.2)
        super().add_messages(messages)
"""


def test_the_99th_percentile_leaves_out_the_warm_up(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(slow=SLOW_AT_FIRST)
    measure("slow:Slow", "add_1_by_8_handles[sync]")
    (one,) = saved().values()
    assert one["extra_info"]["latency"]["p99_s"] < 0.1


WAITING = """
import time

from histories import Mine


class Waiting(Mine):
    reads = 0

    @property
    def messages(self):
        Waiting.reads += 1
        time.sleep(0.2 if Waiting.reads % 5 == 0 else 0)
        return super().messages
"""


def test_rounds_that_a_median_hides_are_reported(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(waiting=WAITING)
    read = "read_10[sync]"
    result = measure("waiting:Waiting", read, "--benchmark-min-rounds=40")
    result.stdout.fnmatch_lines(
        ["waiting:Waiting read_10[[]sync[]]: * of * rounds took more than ten times the median, *"]
    )
    result = measure(MINE, read, "--benchmark-min-rounds=40")
    result.stdout.no_fnmatch_line("*ten times the median*")


def test_unsupported_operation_is_skipped_with_the_reason(
    measure: Measure,
) -> None:
    result = measure(MINE, "last_10_of_10000[sync] last_10_of_10000[async]", "-rs")
    result.assert_outcomes(skipped=2, deselected=28)
    result.stdout.fnmatch_lines(["SKIPPED [[]2[]]*not applicable: has no last_messages"])


def test_mode_in_lacks_is_not_measured(measure: Measure, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from chat_history_conformance import history_backend
        from histories import Mine

        @history_backend("awaited", lacks={"sync": "made for a loop"})
        async def awaited(session_id):
            yield Mine(session_id)
        """
    )
    measure("awaited", "", "-k", "add_1 or chat_turn or open").assert_outcomes(
        passed=5, deselected=10
    )
    assert all(name.endswith("[async]") for name in saved())


def test_payload_is_mixed_unless_the_plain_one_is_chosen(measure: Measure) -> None:
    contents = {}
    for chosen in ("mixed", "plain"):
        options = () if chosen == "mixed" else ("--history-payload=plain",)
        result = measure("memory", "read_10[sync]", *options)
        result.stdout.fnmatch_lines([f"chat history benchmark: *operations, {chosen} messages"])
        about = saved()["read_10[sync]"]["extra_info"]
        assert about["payload"] == chosen
        contents[chosen] = about["memory"]["peak_bytes"][0]
    assert contents["mixed"] > 1.5 * contents["plain"]


def test_unknown_payload_is_a_usage_error(measure: Measure, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nhistory_payload = large")
    error = usage_error(measure(MINE, "read_10[sync]"))
    assert "history_payload = large is not known. Use mixed or plain." in error


def test_peak_memory_of_reads_is_in_the_table_and_the_results(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(RIVALS)
    result = measure("mine", "read_100[sync] add_1[sync]")
    found = {name: one["extra_info"] for name, one in saved().items()}
    assert found["add_1[sync]"]["memory"] is None
    assert found["add_1[sync]"]["floor"]["peak_bytes"] is None
    memory, floor = found["read_100[sync]"]["memory"], found["read_100[sync]"]["floor"]
    assert memory["lengths"] == [100]
    # Ours copies the messages of the floor, which returns its own in a new list.
    assert memory["peak_bytes"][0] > 10 * floor["peak_bytes"] > 100
    assert found["read_100[sync]"]["peers"]["langchain-core"]["peak_bytes"] > 1_000
    result.stdout.re_match_lines([r"mine .* trips +memory +growth", r"read 100 .* \d\S* kB"])


def test_operation_is_measured_without_a_floor_that_does_not_support_it(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        from chat_history_backends.memory import MemoryChatMessageHistory
        from chat_history_conformance import history_backend
        from histories import Mine

        history_backend("mine", floor=Mine)(MemoryChatMessageHistory)
        """
    )
    measure("mine", "bounded_middle[sync]").assert_outcomes(passed=1, deselected=29)
    about = saved()["bounded_middle[sync]"]["extra_info"]
    assert about["floor"] is None
    assert about["memory"]["lengths"] == [100, 1000, 10000]


def test_read_that_loses_messages_fails(measure: Measure) -> None:
    result = measure("histories:Forgetful", "read_10[sync]")
    result.stdout.fnmatch_lines(["*a read returned 2 messages instead of 10*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_floor_and_peers_are_measured(measure: Measure, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(RIVALS)
    measure("mine", "read_100[sync]", "--benchmark-min-rounds=15")
    about = saved()["read_100[sync]"]["extra_info"]
    assert about["floor"]["ratio"] > 2  # ours copies, the floor does not
    assert about["floor"]["interval"][0] <= about["floor"]["ratio"] <= about["floor"]["interval"][1]
    peer = about["peers"]["langchain-core"]
    assert peer["ratio"] < about["floor"]["ratio"] / 10  # it copies too
    assert peer["version"]
    assert peer["samples"] >= 2
    assert about["peers"]["no-such-package"] == {"missing": "not installed"}


def test_error_of_a_peer_is_reported_and_does_not_fail_the_run(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(RIVALS)
    measure("mine", "clear[sync]").assert_outcomes(passed=1, deselected=29)
    missing = saved()["clear[sync]"]["extra_info"]["peers"]["hypothesis"]["missing"]
    assert missing == "raises RuntimeError: clearing is not for everyone"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such index\nand more"), "raises ValueError: no such index"),
        (KeyError(), "raises KeyError"),
        (NotSupported("has no last_messages"), "has no last_messages"),
        (
            WrongResult("a read returned 2 messages instead of 10"),
            "a read returned 2 messages",
        ),
    ],
)
def test_describe_error_returns_one_line(error: Exception, line: str) -> None:
    text = describe_error(error)
    assert text.startswith(line)
    assert "\n" not in text


def test_describe_error_shortens_long_texts() -> None:
    text = describe_error(RuntimeError(f"begin {'of a long story ' * 40}end"))
    assert len(text) < 200
    assert " … " in text
    assert text.endswith("end")


def test_floor_without_async_methods_is_called_synchronously(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        from chat_history_conformance import history_backend
        from histories import Mine

        class Bare:
            def __init__(self, session_id):
                self.stored = []
            @property
            def messages(self):
                return list(self.stored)
            def add_messages(self, messages):
                self.stored.extend(messages)
            def clear(self):
                self.stored.clear()

        kept = {}

        @history_backend("mine", floor=lambda session_id: kept.setdefault(session_id, Bare("")))
        def mine(session_id):
            return Mine(session_id)
        """
    )
    measure("mine", "add_1[async]").assert_outcomes(passed=1, deselected=29)
    assert saved()["add_1[async]"]["extra_info"]["floor"]["samples"] >= 2


def test_add_that_grows_with_the_conversation_is_reported(
    measure: Measure, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        growing="""
        from histories import STORE, Mine

        class Growing(Mine):
            def add_messages(self, messages):
                sum(len(message.content) for message in STORE.get(self.session_id, []))
                super().add_messages(messages)
        """
    )
    for backend in ("growing:Growing", "histories:Mine"):
        measure(backend, "add_1[sync]", "--benchmark-min-rounds=15")
        growth = saved()["add_1[sync]"]["extra_info"]["growth"]
        assert growth["lengths"] == [10, 100, 1000, 10000]
        assert growth["too_fast"] == (backend == "growing:Growing")


# -- options of pytest-benchmark -------------------------------------------------------------------


def test_contracts_do_not_run_and_no_verdict_is_printed(measure: Measure) -> None:
    result = measure(MINE, "open[sync] open[async]")
    assert "CONFORMANT" not in result.stdout.str()
    assert "INCOMPLETE" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*benchmark 'open': 2 tests*"])


def test_node_id_selects_one_benchmark(measure: Measure) -> None:
    measure(MINE, "open[sync]").assert_outcomes(passed=1, deselected=29)
    error = usage_error(measure(MINE, "opne[sync]"))
    assert "No benchmark has the node id 'histories:Mine::benchmark.opne[sync]'" in error
    assert "Did you mean 'histories:Mine::benchmark.open[sync]'?" in error


def test_benchmark_disable_runs_once_and_counts_round_trips(measure: Measure) -> None:
    result = measure("chatty:Plain", "open[sync]", "--benchmark-disable", PRINTED)
    result.assert_outcomes(passed=1, deselected=29)
    result.stdout.fnmatch_lines(['[[]"chatty:Plain"[]]', '"open[[]sync[]]" = *'])


def test_benchmark_skip_skips_all(measure: Measure) -> None:
    measure(MINE, "open[sync]", "--benchmark-skip").assert_outcomes(skipped=1, deselected=29)


def test_run_is_saved_by_default(run: Run) -> None:
    some = ("--history-benchmark", JUDGED, *SHORT, *USUAL, "-k", "open")
    run(*some)
    (found,) = Path(".benchmarks").glob("*/0001_history.json")
    assert json.loads(found.read_text("utf-8"))["benchmarks"]
    again = run(*some, "--benchmark-compare")
    again.stdout.fnmatch_lines(["*(NOW)*"])


# -- the budget of round trips ---------------------------------------------------------------------


def _budget(result: pytest.RunResult) -> str:
    """Return the output of `--history-write-round-trips`."""
    lines = result.outlines
    begin = next(n for n, line in enumerate(lines) if line.startswith("["))
    block = [line for line in lines[begin:] if line.startswith(("[", '"'))]
    return "\n".join(block) + "\n"


def test_printed_budget_passes_in_the_next_run(measure: Measure) -> None:
    some = ("chatty:Plain", "add_1[sync] add_100[async] add_1_by_8_handles[sync]")
    Path("budget.toml").write_text(_budget(measure(*some, PRINTED)))
    result = measure(*some, "--history-max-round-trips=budget.toml")
    result.assert_outcomes(passed=3, deselected=27)


@pytest.mark.parametrize("extent", [(), ("--benchmark-disable",)])
def test_one_more_round_trip_per_add_fails_the_run(
    measure: Measure, extent: tuple[str, ...]
) -> None:
    plain = _budget(measure("chatty:Plain", "add_1[sync]", PRINTED, *extent))
    Path("budget.toml").write_text(plain.replace("Plain", "Chatty"))
    for _ in range(3):
        budget = "--history-max-round-trips=budget.toml"
        result = measure("chatty:Chatty", "add_1[sync]", budget, *extent)
        result.assert_outcomes(failed=1, deselected=29)
        result.stdout.fnmatch_lines(
            ["add_1[[]sync[]] takes 5 round trips, and budget.toml allows 4. Find the new request*"]
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sqlite", "cannot be read"),
        ("sqlite = 3", "a table for each backend"),
        ("[sqlite]\nadd_one = 1", "no operation named 'add_one'"),
        ('[sqlite]\n"add_1[sync]" = "one"', "write a whole number"),
        ('[sqlite]\n"add_1[sync]" = true', "write a whole number"),
        ('[sqlite]\n"add_1[sync]" = -1', "write a whole number"),
        ('[memory]\n"add_1[sync]" = 1', "has no table for sqlite"),
    ],
)
def test_wrong_budget_is_a_usage_error(measure: Measure, text: str, message: str) -> None:
    Path("budget.toml").write_text(text)
    result = measure("sqlite", "", "--history-max-round-trips=budget.toml")
    assert message in usage_error(result)


def test_missing_budget_is_a_usage_error(measure: Measure) -> None:
    result = measure("sqlite", "", "--history-max-round-trips=none.toml")
    assert "none.toml cannot be read" in usage_error(result)


# -- wrong use -------------------------------------------------------------------------------------


def test_missing_pytest_benchmark_is_a_usage_error(run: Run) -> None:
    error = usage_error(run("--history-benchmark", JUDGED, "-p", "no:benchmark"))
    assert "pip install 'chat-history-conformance[benchmark]'" in error


def test_xdist_workers_are_a_usage_error(run_apart: Run) -> None:
    pytest.importorskip("xdist")
    error = usage_error(run_apart("--history-benchmark", JUDGED, "-n", "2"))
    assert "cannot be combined with pytest-xdist's -n" in error


@pytest.mark.parametrize("option", ["--history-report=a.html", "--history-require-verdict"])
def test_judging_option_is_a_usage_error(run: Run, option: str) -> None:
    error = usage_error(run("--history-benchmark", JUDGED, option))
    assert f"{option.partition('=')[0]} is for runs of the contracts" in error


@pytest.mark.parametrize(
    "option", ["--history-max-round-trips=a.toml", "--history-write-round-trips"]
)
def test_measuring_option_without_benchmark_is_a_usage_error(run: Run, option: str) -> None:
    error = usage_error(run(JUDGED, option))
    assert f"{option.partition('=')[0]} does nothing without --history-benchmark" in error
