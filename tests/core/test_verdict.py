"""The verdict and its headline, computed from outcomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Counts,
    VerdictName,
)
from chat_history_conformance.results.verdict import count, headline, judge, least_examples

PASSED = ContractResult("ordering.one", "must", "0.1", "sync", "passed")


def of(*outcomes: str, **changes: object) -> list[ContractResult]:
    return [replace(PASSED, outcome=outcome, **changes) for outcome in outcomes]  # type: ignore[arg-type]


def report(verdict: VerdictName, results: list[ContractResult], **changes: object) -> BackendReport:
    plain = BackendReport("mine", verdict, {}, count(results), tuple(results))
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_all_passed_is_conformant() -> None:
    assert judge(of("passed", "passed")) == "conformant"


def test_a_contract_that_is_not_applicable_does_not_change_the_verdict() -> None:
    assert judge(of("passed", "not_applicable")) == "conformant"


def test_a_failure_makes_any_run_not_conformant() -> None:
    assert judge(of("passed", "failed", "error", "not_run", "deviation")) == "not_conformant"


def test_an_unexpected_pass_is_not_conformant() -> None:
    assert judge(of("passed", "unexpected_pass")) == "not_conformant"


def test_a_deviation_appears_in_the_verdict() -> None:
    assert judge(of("passed", "deviation")) == "conformant_with_deviations"


@pytest.mark.parametrize("outcome", ["error", "not_run"])
def test_an_unexercised_must_makes_the_verdict_incomplete(outcome: str) -> None:
    assert judge(of("passed", "deviation", outcome)) == "incomplete"


@pytest.mark.parametrize("outcome", ["error", "not_run"])
def test_an_unexercised_should_does_not_change_the_verdict(outcome: str) -> None:
    assert judge([*of("passed"), *of(outcome, level="should")]) == "conformant"


def test_a_run_that_exercised_nothing_is_incomplete() -> None:
    assert judge([]) == "incomplete"
    assert judge(of("not_applicable", "not_applicable")) == "incomplete"
    assert judge(of("not_run", level="may")) == "incomplete"


def test_a_failure_that_does_not_count_does_not_change_the_verdict() -> None:
    results = [*of("passed"), *of("failed", "unexpected_pass", informs=True)]
    assert judge(results) == "conformant"
    counts = count(results)
    assert (counts.failed, counts.informing, counts.exercised) == (0, 2, 3)


def test_every_result_is_counted_once() -> None:
    results = of(
        "passed", "failed", "unexpected_pass", "deviation", "not_applicable", "error", "not_run"
    )
    assert count(results) == Counts(
        declared=7,
        exercised=4,
        passed=1,
        failed=2,
        deviations=1,
        not_applicable=1,
        errors=1,
        not_run=1,
    )


def test_the_headline_counts_the_other_outcomes() -> None:
    results = of("passed", "passed", "not_applicable", "not_run", "error")
    line = headline(report("incomplete", results))
    assert line == ("INCOMPLETE: 2 of 5 contracts exercised, 1 error, 1 not applicable, 1 not run")


def test_the_headline_uses_singular_and_plural_of_deviation() -> None:
    one, two = of("deviation"), of("deviation", "deviation")
    verdict: VerdictName = "conformant_with_deviations"
    assert headline(report(verdict, one)).startswith("CONFORMANT WITH 1 DEVIATION:")
    assert headline(report(verdict, two)).startswith("CONFORMANT WITH 2 DEVIATIONS:")


def test_the_headline_lists_the_missing_capabilities() -> None:
    lacks = {"threads": "slow", "durable": "memory"}
    line = headline(report("conformant", of("passed"), lacks=lacks))
    assert line == "CONFORMANT (without durable, threads): 1 of 1 contracts exercised"


def test_a_verdict_is_in_capitals() -> None:
    line = headline(report("not_conformant", of("failed")))
    assert line == "NOT CONFORMANT: 1 of 1 contracts exercised, 1 failed"


def test_an_unsettled_run_is_incomplete_and_the_headline_shows_why() -> None:
    verdict = judge(of("passed"), unsettled="a mock server gives no verdict")
    line = headline(
        report(
            verdict,
            of("passed"),
            lacks={"durable": "memory"},
            unsettled="a mock server gives no verdict",
        )
    )
    assert line == (
        "INCOMPLETE (without durable; a mock server gives no verdict): 1 of 1 contracts exercised"
    )


def test_a_failure_decides_even_in_an_unsettled_run() -> None:
    verdict = judge(of("failed"), unsettled="a mock server gives no verdict")
    line = headline(report(verdict, of("failed"), unsettled="a mock server gives no verdict"))
    assert line == "NOT CONFORMANT: 1 of 1 contracts exercised, 1 failed"


def test_the_least_number_of_examples_is_that_of_contracts_that_were_cut() -> None:
    all_tried = [replace(PASSED, examples=8), replace(PASSED, examples=1)]
    assert least_examples(report("conformant", all_tried)) == (
        "each contract that passed tried all its examples"
    )
    cut = [*all_tried, replace(PASSED, examples=3, cut=True)]
    assert least_examples(report("conformant", cut)) == (
        "each contract that passed tried all its examples, or at least 3: ordering.one[sync] used "
        "up the operations of the profile"
    )
    assert least_examples(report("not_conformant", of("failed"))) == ""
