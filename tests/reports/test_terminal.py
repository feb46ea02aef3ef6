"""The texts on the terminal: failures, summaries and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.reports.terminal import (
    by_cause,
    deviations_block,
    failure,
    side_by_side,
    summary,
    verdict_line,
    wrapped,
)
from chat_history_conformance.results.model import BackendReport, ContractResult, Finding, Outcome
from chat_history_conformance.results.verdict import count, judge

CONTRACT = catalogue.load()["ordering.across_calls"]
FINDING = Finding(
    kind="lost",
    summary="lost 1 of 2 messages",
    steps=("a = open('session-1')", "a.add_messages([Human '0', Human '1'])", "a.messages"),
    expected=("Human '0'", "Human '1'"),
    returned=("Human '0'",),
    reproducer="print('again')\n\nprint('and again')\n",
    notes=("flaky: the same steps did not fail every time",),
)
PASSED = ContractResult("ordering.across_calls", "must", "0.1", "sync", "passed")


def result(outcome: Outcome, name: str = "across_calls", cause: str = "") -> ContractResult:
    finding = replace(FINDING, cause=cause) if outcome in ("failed", "deviation") else None
    return replace(
        PASSED, id=f"ordering.{name}", outcome=outcome, reason="the reason", finding=finding
    )


def report(results: Sequence[ContractResult], *notes: str) -> BackendReport:
    return BackendReport("mine", judge(results), {}, count(results), tuple(results), notes)


def test_a_failure_shows_steps_rule_cause_and_script_in_this_order() -> None:
    text = failure(CONTRACT, FINDING)
    parts = [
        "lost 1 of 2 messages",
        "   1. a = open('session-1')",
        "   3. a.messages",
        "Expected",
        " <\n",
        "Note: flaky",
        "Rule  ordering.across_calls (must): ",
        "      from langchain_core/chat_history.py",
        "Usual cause: ",
        "What to do:  ",
        "    print('again')\n\n    print('and again')",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("lost 1 of 2 messages\n")


def test_a_failure_with_a_known_cause_is_short() -> None:
    text = failure(CONTRACT, FINDING, same_as="mine::ordering.within_batch[sync]")
    assert text == (
        "lost 1 of 2 messages\n\n"
        "  Same cause as mine::ordering.within_batch[sync], which shows the details."
    )


def test_lines_that_differ_are_marked_between_the_columns() -> None:
    _, same, other, missing = side_by_side(("a", "b", "c"), ("a", "x"))
    assert " | " not in same
    assert " | " in other
    assert missing.endswith("<")
    _, only_returned = side_by_side((), ("a",))
    assert " > a" in only_returned
    assert list(side_by_side((), ()))[1].split() == ["nothing", "nothing"]


def test_two_columns_are_never_wider_than_124_characters() -> None:
    lines = list(side_by_side(("x" * 1_000,) * 3, ("y" * 1_000,) * 3))
    assert max(map(len, lines)) <= 124


def test_failures_with_one_cause_are_listed_once() -> None:
    cause = "`aadd_messages` raises NotImplementedError"
    results = [result("failed", f"rule{number}", cause) for number in range(31)]
    lines = summary(report([*results, result("failed", "other")]))
    assert lines[0] == f"  31 contracts: {cause}"
    assert "ordering.rule0[sync] ordering.rule1[sync]" in " ".join(lines)
    assert not any("ordering.other" in line for line in lines)
    assert max(map(len, lines)) <= 120


def test_the_most_frequent_cause_comes_first() -> None:
    results = [result("failed", "a", "one"), *(result("failed", n, "other") for n in "bc")]
    assert list(by_cause(results)) == ["other", "one"]


def test_the_summary_lists_deviations_errors_and_contracts_that_are_not_applicable() -> None:
    lines = summary(
        report(
            [
                result("deviation", "a"),
                result("error", "b"),
                result("not_applicable", "c"),
                result("not_applicable", "d"),
                replace(result("failed", "e"), informs=True),
            ],
            "durable is not supported, but worked",
        )
    )
    assert lines == [
        "  deviation: ordering.a: the reason",
        "  failed but not counted: ordering.e[sync] (level must, since 0.1): the reason",
        "  error: ordering.b[sync]: the reason",
        "  not applicable: 2 contracts: the reason",
        "  note: durable is not supported, but worked",
    ]


def test_capabilities_that_were_not_found_share_one_reason() -> None:
    subject = Subject(registry.resolve("memory"), limit=15)
    try:
        results = [
            replace(PASSED, id=contract.id, mode=mode, outcome="not_applicable", reason=reason)
            for contract, mode in engine.each(catalogue.load().values())
            if (reason := engine.why_not_applicable(contract, subject, mode)) is not None
        ]
    finally:
        subject.stop()
    lines = summary(report(results))
    assert len(lines) == 2
    assert any(
        line.endswith("contracts: the history has no close, server, interference") for line in lines
    )
    assert any("durable: kept in process memory" in line for line in lines)


def test_the_verdict_is_one_line() -> None:
    assert verdict_line(report([PASSED])) == "mine: CONFORMANT: 1 of 1 contracts exercised"


def test_the_block_of_deviations_is_python_that_declares_each_failure_once() -> None:
    nasty = replace(result("failed", "b"), reason='it\'s "quoted"\n' + "x" * 500)
    informing = replace(result("failed", "d"), informs=True)
    results = [
        result("failed", "a"),
        result("failed", "a"),
        nasty,
        result("passed", "c"),
        informing,
    ]
    lines = deviations_block(report(results))
    assert lines[0] == "# mine"
    declared = eval("dict(" + "\n".join(lines[1:]) + ")")["deviations"]
    assert list(declared) == ["ordering.a", "ordering.b"]
    assert all(reason.strip() for reason in declared.values())


def test_wrapping_keeps_all_labels() -> None:
    labels = [f"ordering.rule{number}[sync]" for number in range(40)]
    lines = wrapped(labels)
    assert " ".join(lines).split() == labels
    assert max(map(len, lines)) <= 97
