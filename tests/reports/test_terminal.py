"""The texts on the terminal: failures, summaries and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.reports import wording
from chat_history_conformance.reports.terminal import (
    deviations_block,
    failure,
    shared_by,
    side_by_side,
    summary,
    verdict_line,
)
from chat_history_conformance.results.model import BackendReport, ContractResult, Finding, Outcome
from chat_history_conformance.results.verdict import count, judge

RULES = catalogue.rule_texts()
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


def failed(contract: str = CONTRACT.id, found: Finding = FINDING) -> ContractResult:
    return replace(PASSED, id=contract, outcome="failed", reason=found.summary, finding=found)


def report(results: Sequence[ContractResult], *notes: str) -> BackendReport:
    return BackendReport("mine", judge(results), {}, count(results), tuple(results), notes)


def test_a_failure_shows_steps_rule_cause_and_script_in_this_order() -> None:
    text = failure(CONTRACT, failed())
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
        f"\nSee {CONTRACT.url}\n\nTo reproduce",
        "    print('again')\n\n    print('and again')",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("lost 1 of 2 messages\n")


def test_a_short_failure_has_no_script_and_no_text_of_the_rule() -> None:
    text = failure(CONTRACT, failed(), style="short")
    assert "print('again')" not in text
    assert "ordering.across_calls (must)" in text
    assert CONTRACT.rule not in text
    assert CONTRACT.url not in text


def test_a_failure_shows_the_line_of_the_history_that_raised() -> None:
    found = replace(FINDING, raised_at="mine.py:12, in add_messages")
    assert "\n\nRaised at mine.py:12, in add_messages\n\n" in failure(CONTRACT, failed(found=found))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_failure_keeps_within_the_width_of_the_terminal(width: int) -> None:
    step = "a.add_messages([Human 'm0', Human 'm1'])  ->  " + "refused " * 20
    found = replace(FINDING, steps=(step,), expected=("x" * 300,), reproducer="")
    text = failure(CONTRACT, failed(found=found), width=width)
    lines = text.replace(CONTRACT.url, "").splitlines()  # an address is never broken
    assert max(map(len, lines)) <= width


def test_words_of_a_rule_are_never_broken() -> None:
    text = failure(CONTRACT, failed(), width=60)
    shown = text[text.index("Rule  ") : text.index("To reproduce")].split()
    assert set(CONTRACT.rule.split()) <= set(shown)


def test_a_step_of_several_lines_keeps_its_lines() -> None:
    found = replace(FINDING, steps=("at the same time:\n  lane 1: a.messages",))
    assert "1. at the same time:\n        lane 1: a.messages" in failure(
        CONTRACT, failed(found=found)
    )


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    evil = "\x1b[2J\x07\u202e"
    found = replace(
        FINDING,
        summary=f"`messages` raises Evil{evil}",
        steps=(evil,),
        expected=(evil,),
        notes=(evil,),
        raised_at=evil,
        reproducer=evil,
    )
    results = [
        failed(found=found),
        replace(failed("ordering.x", found), informs=True),
        replace(PASSED, id="ordering.y", outcome="error", reason=evil),
    ]
    made = replace(report(results, evil), name=f"mine{evil}")
    [group] = wording.grouped(results[:1])
    for text in (
        failure(CONTRACT, results[0]),
        shared_by(group, 1, 1),
        *summary(made, RULES),
        verdict_line(made),
        *deviations_block(made),
    ):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text


def test_lines_that_differ_are_marked_between_the_columns() -> None:
    _, same, other, missing = side_by_side(("a", "b", "c"), ("a", "x"))
    assert " | " not in same
    assert " | " in other
    assert missing.endswith("<")
    _, only_returned = side_by_side((), ("a",))
    assert " > a" in only_returned
    assert list(side_by_side((), ()))[1].split() == ["nothing", "nothing"]


@pytest.mark.parametrize("width", [40, 80, 124])
def test_two_columns_are_never_wider_than_the_terminal(width: int) -> None:
    lines = list(side_by_side(("x" * 1_000,) * 3, ("y" * 1_000,) * 3, width))
    assert max(map(len, lines)) <= width


NOT_IMPLEMENTED = replace(
    FINDING,
    kind="other",
    summary="`aadd_messages` raises NotImplementedError",
    cause="`aadd_messages` raises NotImplementedError",
)


def test_the_summary_ranks_causes_by_the_failures_that_they_explain() -> None:
    results = [
        failed("clear.empties"),
        *(
            replace(failed(contract.id, NOT_IMPLEMENTED), mode="async")
            for contract in list(catalogue.load().values())[:31]
        ),
    ]
    lines = summary(report(results), RULES)
    assert lines[0] == (
        "  2 causes explain all 32 failures; start with ordering.within_batch[async]: "
        "`aadd_messages` raises\n  NotImplementedError"
    )
    assert lines[1] == "   1. 31 failures: `aadd_messages` raises NotImplementedError"
    assert lines[2] == "      ordering.within_batch[async] and 30 more contracts"
    assert 'lacks={"async": "REASON"}' in lines[3]
    assert lines[4] == "   2. 1 failure: lost 1 of 2 messages"
    assert lines[5] == "      clear.empties[sync]"
    assert "--history-write-deviations" in lines[6]


def test_a_shared_cause_gives_each_other_contract_one_line() -> None:
    ids = list(catalogue.load())[:14]
    results = [failed(contract, NOT_IMPLEMENTED) for contract in ids]
    results += [replace(result, mode="async") for result in results]
    [group] = wording.grouped(results)
    lines = shared_by(group, 1, 3).splitlines()
    assert lines[0] == "Cause 1 of 3: `aadd_messages` raises NotImplementedError (28 failures)"
    assert lines[1] == "The same cause in 13 more contracts:"
    assert lines[2] == f"  {ids[1]}[sync,async]"
    assert lines[-1] == "  and 3 more, listed in the reports"
    assert len(lines) == 2 + 10 + 1


def test_a_cause_of_one_contract_lists_no_others() -> None:
    [group] = wording.grouped([failed(), replace(failed(), mode="async")])
    assert shared_by(group, 1, 1) == ""


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
        ),
        RULES,
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
    lines = summary(report(results), RULES)
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
