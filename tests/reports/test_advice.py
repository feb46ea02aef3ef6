"""The advice next to a finding, and the hint on capabilities."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.reports.advice import advised, capability_hint
from chat_history_conformance.results.model import ContractResult, Finding, Kind, Mode

RULES = catalogue.rule_texts()


def failed(
    contract: str,
    kind: Kind,
    summary: str,
    cause: str = "",
    mode: Mode = "sync",
    steps: tuple[str, ...] = (),
) -> ContractResult:
    found = Finding(kind, summary, steps, cause=cause)
    return ContractResult(contract, "must", "0.1", mode, "failed", reason=summary, finding=found)


@pytest.mark.parametrize(
    ("kind", "summary", "cause", "remedy"),
    [
        ("other", "`messages` raises Gone", "`messages` raises Gone", "line of the history"),
        ("hung", "`clear` did not return", "`clear` hangs", "give the wait a limit"),
        ("crashed", "the process died", "the process died", "faulthandler"),
        ("altered", "message 1 came back as AI instead of System", "", "message_to_dict"),
        ("altered", "message 1 came back with a different `id`", "", "message_to_dict"),
        ("lost", "lost 1 of 2 messages", "", "look into the store"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("contract", [name for name in RULES if name.startswith("ordering.")])
def test_contracts_about_order_advise_a_counter_only_for_a_wrong_order(
    contract: str, kind: Kind, summary: str, cause: str, remedy: str
) -> None:
    rule = advised(failed(contract, kind, summary, cause), RULES)
    assert rule is not None
    assert remedy in rule.remedy
    assert "counter" not in f"{rule.cause} {rule.remedy}"
    assert rule.rule == RULES[contract].rule


def test_a_wrong_order_is_advised_by_the_contract_if_that_is_about_order() -> None:
    summary = "message 1 came back as message 2 of 2"
    assert (
        advised(failed("ordering.within_batch", "reordered", summary), RULES)
        is (RULES["ordering.within_batch"])
    )
    other = advised(failed("fidelity.text", "reordered", summary), RULES)
    assert other is not None
    assert "counter" in other.remedy


def test_contracts_about_clear_advise_on_it_only_if_the_story_has_one() -> None:
    contract, steps = "clear.every_handle", ("a = open('N-1')", "a.clear()", "a.messages  ->  []")
    story = failed(contract, "lost", "lost 1 of 1 message", steps=steps)
    assert advised(story, RULES) is RULES[contract]
    without = failed(contract, "lost", "lost 1 of 1 message", steps=(steps[0], steps[2]))
    other = advised(without, RULES)
    assert other is not None
    assert "look into the store" in other.remedy


def test_an_unusual_finding_keeps_the_advice_of_its_contract() -> None:
    result = failed("durability.resources_freed", "other", "16 closed handles left 8 files open")
    assert advised(result, RULES) is RULES["durability.resources_freed"]


def test_a_contract_that_is_not_known_has_no_advice() -> None:
    assert advised(failed("gone.away", "lost", "lost 1 of 2 messages"), RULES) is None


def test_the_hint_names_the_capability_that_all_failures_need() -> None:
    results = [
        failed("ordering.across_handles", "lost", "lost 1 of 2 messages"),
        failed("reads.other_handle", "lost", "lost 1 of 2 messages"),
    ]
    assert 'lacks={"shared": "REASON"}' in capability_hint(results, RULES)
    beyond = failed("ordering.within_batch", "lost", "lost 1 of 2 messages")
    assert capability_hint([*results, beyond], RULES) == ""


def test_the_hint_for_stale_reads_names_the_time_after_which_reads_settle() -> None:
    steps = ("a = open('session-1')", "a.messages  ->  []")
    stale = failed("ordering.across_calls", "stale", "a returned an earlier state", steps=steps)
    assert "eventual=SECONDS" in capability_hint([stale], RULES)
    lost = failed("ordering.across_handles", "lost", "lost 1 of 2 messages")
    assert "eventual" not in capability_hint([stale, lost], RULES)


def test_the_hint_for_stale_reads_of_other_handles_names_what_the_contract_needs() -> None:
    steps = ("a = open('session-1')", "b = open('session-1')", "b.messages  ->  []")
    stale = failed("reads.other_handle", "stale", "b returned an earlier state", steps=steps)
    assert 'lacks={"shared": "REASON"}' in capability_hint([stale], RULES)


def test_the_hint_names_two_capabilities_if_each_failure_needs_one_of_them() -> None:
    results = [
        failed("ordering.across_handles", "lost", "lost 1 of 2 messages"),
        failed("model.agrees_with_list", "lost", "lost 1 of 2 messages", mode="process"),
    ]
    hint = capability_hint(results, RULES)
    assert 'lacks={"shared": "REASON", "durable": "REASON"}' in hint


def test_there_is_no_hint_for_openings_that_raise() -> None:
    def raised(call: str) -> list[ContractResult]:
        text = f"`{call}` raises TooMany: sorry, too many clients already"
        names = [name for name in RULES if name.startswith(("clear.", "ordering.", "fidelity."))]
        return [failed(name, "other", text, text, mode="async") for name in names]

    assert 'lacks={"async": "REASON"}' in capability_hint(raised("aadd_messages"), RULES)
    assert capability_hint(raised("mine(session_id)"), RULES) == ""


def test_the_hint_for_failures_of_second_processes_only_is_durable() -> None:
    results = [
        failed("ordering.across_handles", "lost", "lost 1 of 2 messages", mode="process"),
        failed("durability.new_process", "lost", "lost 1 of 1 message", mode="process"),
    ]
    assert 'lacks={"durable": "REASON"}' in capability_hint(results, RULES)


def test_the_hint_names_a_mode_only_if_its_methods_are_missing() -> None:
    missing, broken = "`messages` raises NotImplementedError", "`messages` raises Gone"
    assert 'lacks={"sync": "REASON"}' in capability_hint(
        [failed("ordering.within_batch", "other", missing, missing)], RULES
    )
    assert capability_hint([failed("fidelity.text", "other", broken, broken)], RULES) == ""
    both = [
        failed("fidelity.text", "other", missing, missing),
        failed("fidelity.text", "other", missing, missing.replace("messages", "aget_messages")),
    ]
    assert capability_hint(both, RULES) == ""


def test_the_hint_follows_from_the_story_if_the_contract_needs_nothing() -> None:
    steps = ("a = open('N-1')", "b = open('N-1')", "a.add_messages([Human 'm0'])")
    model = failed("model.agrees_with_list", "lost", "lost 1 of 1 message", steps=steps)
    assert 'lacks={"shared": "REASON"}' in capability_hint([model], RULES)
    alone = failed("model.agrees_with_list", "lost", "lost 1 of 1 message", steps=steps[:1])
    assert capability_hint([alone], RULES) == ""


def test_a_missing_method_is_not_explained_by_the_second_process() -> None:
    missing = "`messages` raises NotImplementedError"
    results = [
        failed("reads.repeatable", "other", missing, missing, mode)
        for mode in ("sync", "mixed", "process")
    ]
    assert 'lacks={"sync": "REASON"}' in capability_hint(results, RULES)


RACE = "at the same time:\n      lane 1: a = open('N-1')\n      lane 2: b = open('N-1')"
NEW = "a new store, by fresh='new1N'"


@pytest.mark.parametrize("contract", ["concurrency.first_use", "clear.unused_session"])
def test_contracts_about_calls_that_raise_advise_on_the_exception(contract: str) -> None:
    raised = "`open` raises OperationalError: table messages already exists"
    result = failed(contract, "other", raised, raised)
    assert advised(result, RULES) is RULES[contract]


def test_a_call_that_always_raises_gets_no_advice_of_one_contract() -> None:
    missing = "`clear` raises NotImplementedError"
    result = failed("clear.unused_session", "other", missing, missing)
    raised = "`clear` raises Gone"
    other = failed("clear.unused_session", "other", raised, raised)
    assert other.finding is not None
    follows = replace(other, finding=replace(other.finding, plain=other.finding))
    for one in (result, follows):
        rule = advised(one, RULES)
        assert rule is not None
        assert rule.remedy == "start at the line of the history that raised"


@pytest.mark.parametrize("contract", [name for name in RULES if name.startswith("faults.")])
def test_a_failure_after_a_fault_hints_at_no_lack_that_simpler_contracts_show(
    contract: str,
) -> None:
    steps = ("a = open('N-1')", "b = open('N-1')", "the server is killed", "b.messages  ->  []")
    result = failed(contract, "lost", "lost 1 of 2 messages", steps=steps)
    hint = capability_hint([result], RULES)
    assert not any(name in hint for name in ('"shared"', '"threads"', '"durable"'))


def test_a_race_between_handles_hints_at_threads_and_not_at_separate_handles() -> None:
    result = failed("concurrency.handles", "lost", "lost 1 of 2 messages", steps=(RACE,))
    hint = capability_hint([result], RULES)
    assert '"threads"' in hint
    assert '"shared"' not in hint


def test_a_race_in_a_new_store_hints_at_nothing() -> None:
    result = failed("concurrency.first_use", "lost", "lost 1 of 2 messages", steps=(NEW, RACE))
    assert capability_hint([result], RULES) == ""


def test_a_killed_writer_still_hints_at_a_history_that_is_not_durable() -> None:
    steps = (
        "a = open('N-1')",
        "b = open('N-1')  in a second process",
        "the second process is killed",
        "a.messages  ->  []",
    )
    result = failed("durability.writer_killed", "lost", "lost 1 of 1 message", steps=steps)
    assert 'lacks={"durable": "REASON"}' in capability_hint(
        [replace(result, mode="process")], RULES
    )
