"""Causes: the defect, which failures share it, and which failure shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.faulty.selftest import results_on
from chat_history_conformance.results.causes import causes, ranking, sort_of
from chat_history_conformance.results.model import ContractResult, Finding, Kind, Mode

OPEN = "a = open('N-1')"
ADD = "a.add_messages([Human 'm0'])"
READ = "a.messages  ->  []"
ONE_HANDLE = (OPEN, ADD, READ)
TWO_HANDLES = (OPEN, "b = open('N-1')", ADD, "b.messages  ->  []")
TWO_PROCESSES = (OPEN, "b = open('N-1')  in a second process", ADD, READ)
RACE = (OPEN, "at the same time:\n  lane 1: a.add_messages([Human 'm0'])")


def failed(
    contract: str,
    summary: str,
    kind: Kind = "lost",
    *,
    mode: Mode = "sync",
    steps: tuple[str, ...] = ONE_HANDLE,
    **changes: object,
) -> ContractResult:
    found = replace(Finding(kind, summary, steps), **changes)  # type: ignore[arg-type]
    return ContractResult(contract, "must", "0.1", mode, "failed", reason=summary, finding=found)


def titles(*results: ContractResult) -> list[tuple[str, int]]:
    return [(cause.title, len(cause.results)) for cause in causes(results)]


def test_a_changed_type_is_one_cause_in_every_family() -> None:
    assert titles(
        failed("ordering.a", "message 1 came back as AI instead of System", "altered"),
        failed("fidelity.b", "message 7 came back as AI instead of System, and 3 of 9 messages "
               "are altered", "altered"),
        failed("clear.c", "message 2 came back as AI instead of Tool", "altered"),
    ) == [("message type changed System, Tool → AI", 3)]  # fmt: skip


def test_types_that_change_into_different_types_are_different_causes() -> None:
    assert titles(
        failed("ordering.a", "message 1 came back as AI instead of System", "altered"),
        failed("ordering.b", "message 1 came back as Human instead of Tool", "altered"),
    ) == [("message type changed System → AI", 1), ("message type changed Tool → Human", 1)]


def test_a_changed_field_is_a_cause() -> None:
    assert titles(
        failed("a.a", "message 1 came back with a different `tool_calls[0].args.x`", "altered"),
        failed("a.b", "message 4 came back with a different `tool_calls`", "altered"),
        failed("a.c", "message 4 came back with a different `content`", "altered"),
    ) == [("`tool_calls` of a message is changed", 2), ("`content` of a message is changed", 1)]


def test_modes_of_one_contract_join_although_their_numbers_differ() -> None:
    modes: tuple[Mode, ...] = ("sync", "async", "mixed", "process")
    results = [
        failed("bounded.x", f"`{'a' * (mode == 'async')}clear` left {n} messages", "other",
               mode=mode, steps=TWO_PROCESSES if mode == "process" else ONE_HANDLE)
        for n, mode in enumerate(modes)
    ]  # fmt: skip
    assert [len(cause.results) for cause in causes(results)] == [4]


def test_modes_of_one_contract_join_although_their_stories_differ() -> None:
    results = [
        failed("fidelity.x", "message 1 came back with a different `content`", "altered"),
        failed(
            "fidelity.x", "message 1 came back with a different `name`", "altered", mode="async"
        ),
    ]
    assert [len(cause.results) for cause in causes(results)] == [2]


def test_an_exception_is_one_cause_whatever_method_raises_it() -> None:
    raises = "raises OperationalError: no such table"
    results = [
        failed("a.a", "", "other", cause=f"`add_messages` {raises}"),
        failed("a.a", "", "other", mode="async", cause=f"`aadd_messages` {raises}"),
        failed("a.b", "", "other", cause=f"`messages` {raises}"),
    ]
    assert titles(*results) == [
        (
            "`add_messages`, `aadd_messages` and `messages` raise OperationalError: no such table",
            3,
        )
    ]


def test_missing_synchronous_and_asynchronous_methods_are_two_causes() -> None:
    results = [
        failed(
            "a.a", "", "other", cause="`messages` raises NotImplementedError: use aget_messages"
        ),
        failed("a.b", "", "other", cause="`clear` raises NotImplementedError"),
        failed("a.c", "", "other", mode="async", cause="`aclear` raises NotImplementedError"),
    ]
    assert titles(*results) == [
        ("`messages` and `clear` raise NotImplementedError", 2),
        ("`aclear` raises NotImplementedError", 1),
    ]


def test_a_story_that_needs_more_follows_from_the_simpler_one() -> None:
    results = [
        failed("durability.c", "lost 1 of 1 message", mode="process", steps=TWO_PROCESSES),
        failed("reads.b", "lost 2 of 3 messages", steps=TWO_HANDLES),
        failed("concurrency.d", "lost 1 of 4 messages (4 writers at once)", steps=RACE),
    ]
    assert titles(*results) == [
        ("messages are lost if a session has several handles", 2),
        ("messages are lost if several callers act at the same time", 1),
    ]
    plain = failed("ordering.a", "lost 1 of 2 messages")
    assert titles(*results, plain) == [("messages are lost", 4)]


def test_losing_equal_messages_and_losing_tool_messages_are_separate_causes() -> None:
    same, tool = ("Human 'm0'", "Human 'm0'"), ("Human 'm0'", "Tool 'm1'")
    assert titles(
        failed("a.a", "lost 1 of 2 messages", expected=same, returned=same[:1]),
        failed("a.b", "lost 1 of 2 messages", expected=tool, returned=tool[:1]),
        failed("a.c", "lost 1 of 1 message", expected=("Human 'm0'",)),
    ) == [
        ("a message equal to an earlier one is lost", 1),
        ("Tool messages are lost", 1),
        ("messages are lost", 1),
    ]


def test_all_types_that_are_lost_are_one_cause() -> None:
    tool, others = ("Human 'm0'", "Tool 'm1'"), ("Human 'm0'", "Function 'm1'", "Tool 'm2'")
    assert titles(
        failed("a.a", "lost 1 of 2 messages", expected=tool, returned=tool[:1]),
        failed("a.b", "lost 2 of 3 messages", expected=others, returned=others[:1]),
        failed("a.c", "lost 1 of 1 message", expected=("AIMessageChunk 'm0'",)),
    ) == [("Tool, Function and AIMessageChunk messages are lost", 3)]


def test_the_example_of_a_cause_has_plain_texts() -> None:
    odd = failed("fidelity.nul", "lost 1 of 1 message", expected=("Tool 'a\\x00b'",))
    plain = failed("fidelity.tool_results", "lost 1 of 1 message", expected=("Tool 'm0' id='t'",))
    assert causes([odd, plain])[0].example is plain


def test_addresses_and_session_ids_do_not_separate_causes() -> None:
    results = [
        failed(f"{family}.{n}", text.format(n=n), "other")
        for family, text in (
            ("a", "<Row object at 0x7f{n}e> is left of chc0123456789{n}"),
            (
                "b",
                "`messages` returned <Rows at 0x7f{n}> instead of a list of messages",
            ),
        )
        for n in "abc"
    ]
    assert [len(cause.results) for cause in causes(results)] == [3, 3]


def test_a_race_is_not_simple_however_short_it_is() -> None:
    summary = "`messages` raises Gone: no"
    race = failed("a.race", summary, "other", steps=RACE, cause=summary)
    flaky = failed("a.flaky", summary, "other", steps=(OPEN,), cause=summary,
                   notes=("the same steps did not fail every time",))  # fmt: skip
    calm = failed("a.calm", summary, "other", steps=(*ONE_HANDLE, *ONE_HANDLE), cause=summary)
    [cause] = causes([race, flaky, calm])
    assert cause.example is calm


def test_a_story_that_was_not_tried_again_is_not_simple_however_short_it_is() -> None:
    summary = "`messages` raises Gone: no"
    untried = failed("a.untried", summary, "other", steps=(OPEN,), cause=summary)
    tried = failed("a.tried", summary, "other", cause=summary, reproducer="raise Gone")
    [cause] = causes([untried, tried])
    assert cause.example is tried


def test_the_order_of_the_catalogue_decides_between_equally_simple_stories() -> None:
    results = [failed(f"a.{name}", "lost 1 of 2 messages") for name in "zab"]
    [cause] = causes(results)
    assert cause.example.id == "a.z"
    assert [result.id for result in cause.results] == ["a.z", "a.a", "a.b"]


def test_the_ranking_says_how_much_the_causes_explain_and_where_to_start() -> None:
    lost = [failed(f"a.{n}", "lost 1 of 2 messages") for n in range(4)]
    typed = [
        failed(f"b.{n}", "message 1 came back as AI instead of System", "altered") for n in range(9)
    ]
    others = [failed(f"c.{n}", f"{n * 'x'} went wrong", "other") for n in range(3)]
    start = "start with b.0[sync]: message type changed System → AI"
    found = causes([*lost, *typed, *others])
    assert ranking(found) == f"2 causes explain 13 of 16 failures; {start}"
    assert ranking(causes([*lost, *typed])) == f"2 causes explain all 13 failures; {start}"
    assert ranking(causes(typed)) == f"1 cause explains all 9 failures; {start}"
    assert ranking(causes(typed[:1])) == ""
    assert ranking([]) == ""


@pytest.mark.parametrize(
    ("kind", "summary", "cause", "sort"),
    [
        ("other", "`messages` raises Gone", "`messages` raises Gone", "raises"),
        ("hung", "`clear` did not return", "`clear` hangs", "hung"),
        ("crashed", "the second process died", "the process died", "crashed"),
        ("altered", "message 1 came back as AI instead of System", "", "type"),
        ("altered", "message 1 came back with a different `id`", "", "field"),
        ("aliased", "message 1 came back with a different `id` after a change", "", "other"),
        ("reordered", "message 1 came back as message 2 of 2", "", "order"),
        ("reordered", "message 1 came back in place 2 of 2", "", "order"),
        ("lost", "lost 1 of 2 messages", "", "lost"),
        ("stale", "a returned an earlier state: lost 1 of 1 message so far", "", "stale"),
        ("other", "`messages` returned a coroutine instead of a list of messages", "", "no_list"),
        ("other", "16 closed handles left 112 threads open", "", "other"),
    ],
)  # fmt: skip
def test_the_sort_follows_from_the_finding(kind: Kind, summary: str, cause: str, sort: str) -> None:
    assert sort_of(Finding(kind, summary, cause=cause)) == sort


# -- runs on broken histories ----------------------------------------------------------------------

TRIED = (
    "ordering.within_batch",
    "ordering.across_calls",
    "ordering.across_handles",
    "fidelity.message_types",
    "clear.empties",
    "reads.repeatable",
    "reads.other_process",
    "aliasing.list_passed_in",
)


def found(backend: Backend) -> list[tuple[str, set[str]]]:
    """Return the title and the contracts of each cause that a few contracts find."""
    contracts = [catalogue.load()[contract] for contract in TRIED]
    profile = replace(PROFILES["quick"], shrink_seconds=0.5)
    results = list(results_on(backend, contracts, profile=profile, seed=0))
    assert all(result.outcome != "error" for result in results)
    return [(cause.title, {result.id for result in cause.results}) for cause in causes(results)]


class PropertyIsAsync(MemoryChatMessageHistory):
    """`messages` is an `async def` under `@property`."""

    @property
    async def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages


def test_types_that_a_history_changes_are_one_cause_of_all_failures() -> None:
    [(title, contracts)] = found(faulty.load()["fidelity.human_or_ai"].backend)
    assert title.startswith("message type changed ")
    assert title.endswith(" → Human")
    assert {"ordering.within_batch", "fidelity.message_types", "reads.repeatable"} <= contracts


def test_a_history_that_returns_the_newest_first_has_one_cause() -> None:
    found_causes = found(faulty.load()["ordering.newest_first"].backend)
    title, contracts = found_causes[0]
    assert title == "messages come back in another order"
    assert {"ordering.within_batch", "ordering.across_calls", "reads.repeatable"} <= contracts


def test_a_coroutine_instead_of_messages_is_one_cause_also_from_another_process() -> None:
    backend = replace(registry.resolve(f"{__name__}:PropertyIsAsync"), lacks={})
    [(title, contracts)] = found(backend)
    assert title == "`messages` returned a coroutine instead of a list of messages"
    assert "reads.other_process" in contracts
    assert "ordering.within_batch" in contracts
