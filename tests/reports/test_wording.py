"""Groups of results, and lines next to each other."""

from __future__ import annotations

import pytest

from chat_history_conformance.reports import wording
from chat_history_conformance.results.model import (
    MODES,
)
from tests.reports.samples import (
    backend,
    finding,
    result,
)


def test_an_altered_message_is_placed_next_to_the_original() -> None:
    rows = wording.aligned(
        ["Human 'one'", "AI 'two'", "Human 'three '"], ["Human 'one'", "Human 'three'"]
    )
    assert [(row.mark, row.expected, row.returned) for row in rows] == [
        (" ", "Human 'one'", "Human 'one'"),
        ("-", "AI 'two'", None),
        ("≠", "Human 'three '", "Human 'three'"),
    ]


@pytest.mark.parametrize(("expected", "returned"), [(3, 0), (0, 3), (30, 31), (2_000, 1_999)])
def test_aligning_keeps_all_lines(expected: int, returned: int) -> None:
    left = [f"line {number}" for number in range(expected)]
    right = [f"LINE {number * 7}" for number in range(returned)]
    rows = wording.aligned(left, right)
    assert [row.expected for row in rows if row.expected is not None] == left
    assert [row.returned for row in rows if row.returned is not None] == right


def test_the_same_finding_in_several_modes_of_a_contract_is_one_group() -> None:
    results = [
        result("a.b", "failed", mode=mode, finding=finding("lost", reproducer=mode))
        for mode in MODES
    ]
    [group] = wording.sections(backend("mine", results))["failed"]
    assert wording.labels(group.results) == ["a.b[sync,async,mixed,process]"]


def test_the_contract_that_is_named_is_the_one_whose_finding_is_shown() -> None:
    long = finding("other", cause="`add_messages` raises Gone")
    short = finding("other", cause="`add_messages` raises Gone", steps=("A reads",))
    results = [result("a.one", "failed", finding=long), result("a.two", "failed", finding=short)]
    [group] = wording.sections(backend("mine", results))["failed"]
    assert group.finding is short
    assert group.example.id == "a.two"
    assert (group.title, group.shared) == ("`add_messages` raises Gone", True)
    assert [other.id for other in group.others] == ["a.one"]


def test_summaries_of_other_failures_are_not_shown_as_reasons() -> None:
    cause = "`add_messages` raises Gone"
    results = [
        result(f"a.{name}", "failed", finding=found, reason=found.summary)
        for name in ("one", "two", "three")
        if (found := finding("other", summary=f"{cause}: {name}", cause=cause))
    ]
    [group] = wording.sections(backend("mine", results))["failed"]
    assert wording.other_reasons(group) == []
    assert [group.own_text(other) for other in group.others] == [f"{cause}: two", f"{cause}: three"]
    assert group.own_text(group.example) == ""


def test_the_reasons_of_deviations_with_one_cause_are_all_shown() -> None:
    found = finding("other", cause="`add_messages` raises Gone")
    results = [
        result(contract, "deviation", finding=found, reason=f"declared for {contract}")
        for contract in ("a.one", "a.two")
    ]
    [group] = wording.sections(backend("mine", results))["deviation"]
    assert wording.other_reasons(group) == ["declared for a.one", "declared for a.two"]
