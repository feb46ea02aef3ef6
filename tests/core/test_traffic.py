"""Repeated calls: what is recorded of them, and the claims about it."""

from __future__ import annotations

import asyncio
import gc
import re
import time
import weakref
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.diagnosis import script_traffic as claims
from chat_history_conformance.drivers.errors import RemoteError
from chat_history_conformance.drivers.places import raised_at
from chat_history_conformance.drivers.repeating import Repeating, Seen, adds, calls


def seen(*texts: str, began: float = 0.0, ended: float = 0.1, error: Any = None) -> Seen:
    return Seen(began, ended, texts, error)


def messages(*contents: str) -> list[BaseMessage]:
    return [HumanMessage(content) for content in contents]


def says(**said: Any) -> RemoteError:
    return RemoteError("Lost", "no answer", True, said)


# -- recording -----------------------------------------------------------------------------------


def test_repeated_adds_have_new_contents_each_time() -> None:
    stored: list[BaseMessage] = []
    repeated = Repeating([adds("m", 2, 0.0, stored.extend)])
    while len(stored) < 6:
        time.sleep(0.01)
    (lane,) = repeated.end(5)
    assert [one.texts for one in lane[:2]] == [("m0.0", "m0.1"), ("m1.0", "m1.1")]
    assert [text for one in lane for text in one.texts] == [m.content for m in stored]
    assert all(one.error is None and one.began <= one.ended for one in lane)


def test_repeated_calls_go_on_after_an_error() -> None:
    def fails() -> None:
        raise ValueError

    async def reads() -> list[BaseMessage]:
        return messages("m0")

    loop = asyncio.new_event_loop()
    repeated = Repeating([calls(0.0, fails)], [calls(0.0, reads)], loop)
    time.sleep(0.2)
    failing, reading = repeated.end(5)
    loop.close()
    assert len(failing) > 1
    assert all(isinstance(one.error, ValueError) for one in failing)
    assert {one.texts for one in reading} == {("m0",)}


class Client:
    """A value that a failed call leaves in its frame, as the clients of a server are."""


def test_the_kept_exceptions_hold_no_value_of_the_calls() -> None:
    clients = weakref.WeakSet[Client]()

    def fails() -> None:
        client = Client()
        clients.add(client)
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise RuntimeError("outer") from error

    repeated = Repeating([calls(0.0, fails)])
    time.sleep(0.3)
    (lane,) = repeated.end(5)
    gc.collect()
    assert len(lane) > 2
    assert not clients
    assert lane[0].error is not None
    assert raised_at(lane[0].error).endswith("in fails")


def test_a_repeated_call_that_does_not_end_is_recorded_as_too_long() -> None:
    repeated = Repeating([calls(0.0, lambda: time.sleep(3))])
    (lane,) = repeated.end(0.2)
    assert isinstance(lane[-1].error, TimeoutError)
    assert claims.too_long("read", 0.2, lane) == ("hung", "`read` did not return within 0.2 s")
    assert claims.too_long("read", 5.0, lane) is None


# -- claims --------------------------------------------------------------------------------------

LANES = [[seen("a0"), seen("a1", error=ValueError())], [seen("b0", "b1")]]


@pytest.mark.parametrize(
    "came",
    [("x", "a0", "b0", "b1"), ("x", "b0", "a1", "b1", "a0"), ("a1", "x", "b0", "a0", "b1")],
)
def test_a_conversation_with_all_acknowledged_messages_is_right(came: tuple[str, ...]) -> None:
    assert claims.wrong_conversation(["x"], LANES, messages(*came)) is None


@pytest.mark.parametrize(
    ("kind", "came"),
    [
        ("lost", ()),
        ("lost", ("x", "a0", "b0")),
        ("duplicated", ("x", "a0", "b0", "b1", "a0")),
        ("duplicated", ("x", "a0", "a1", "b0", "b1", "a1")),
        ("foreign", ("x", "a0", "b0", "b1", "c0")),
        ("reordered", ("x", "a0", "b1", "b0")),
    ],
)
def test_a_wrong_conversation_is_named_by_its_kind(kind: str, came: tuple[str, ...]) -> None:
    found = claims.wrong_conversation(["x"], LANES, messages(*came))
    assert found is not None
    assert found[0] == kind


def test_an_add_that_overtakes_one_that_had_returned_is_reordered() -> None:
    lanes = [[seen("a0", began=0.0, ended=1.0)], [seen("b0", began=2.0, ended=3.0)]]
    assert claims.wrong_conversation([], lanes, messages("a0", "b0")) is None
    found = claims.wrong_conversation([], lanes, messages("b0", "a0"))
    assert found is not None
    assert found[0] == "reordered"
    at_once = [[seen("a0", began=0.0, ended=3.0)], [seen("b0", began=2.0, ended=4.0)]]
    assert claims.wrong_conversation([], at_once, messages("b0", "a0")) is None


def test_a_read_has_all_that_was_acknowledged_before_it_began() -> None:
    lanes = [[seen("a0", ended=1.0), seen("a1", ended=3.0), seen("a2", error=ValueError())]]

    def problem(*texts: str, began: float, error: Any = None) -> str | None:
        found: tuple[str, str] | None = claims.wrong_reads(
            [], lanes, [seen(*texts, began=began, error=error)], ["oth"]
        )
        return found and found[0]

    assert problem("a0", began=2.0) is None
    assert problem("a0", "a1", "a2", "other", began=2.0) is None
    assert problem(began=4.0, error=ValueError()) is None
    assert problem(began=2.0) == "lost"
    assert problem("a0", began=4.0) == "lost"
    assert problem("a0", "a0", began=2.0) == "duplicated"
    assert problem("a0", "never added", began=2.0) == "foreign"


def test_a_read_of_a_fixed_conversation_raises_or_is_whole() -> None:
    def problem(*texts: str, error: Any = None) -> str | None:
        found: tuple[str, str] | None = claims.short_reads(
            "messages", ["m0", "m1"], [seen(*texts, error=error)]
        )
        return found and found[0]

    assert problem("m0", "m1") is None
    assert problem(error=ValueError()) is None
    assert problem() == "swallowed_error"
    assert problem("m0") == "swallowed_error"
    assert problem("m0", "m1", "m2") == "foreign"


def test_consuming_reads_skip_nothing_if_errors_carry_the_messages() -> None:
    lanes = [[seen("a0"), seen("a1"), seen("a2", error=ValueError())]]
    carried = seen(error=says(messages=messages("a1")))
    assert claims.skipped(lanes, [[seen("a0"), carried]], []) is None
    assert claims.skipped(lanes, [[seen("a0")]], messages("a1")) is None
    found = claims.skipped(lanes, [[seen("a0"), seen(error=ValueError())]], [])
    assert found is not None
    assert found == ("lost", "consuming reads skipped 1 of 2 acknowledged messages: a1")


@pytest.mark.parametrize(
    ("error", "stored", "kind"),
    [
        (ValueError(), (), None),
        (ValueError(), ("b0", "b1", "b2"), None),
        (ValueError(), ("b0",), "lost"),
        (says(outcome_unknown=True), ("b0", "b1"), "lost"),
        (says(outcome_unknown=False), (), None),
        (says(outcome_unknown=False), ("b0", "b1", "b2"), "wrong_error"),
        (says(unconfirmed=(1, 2)), ("b0",), None),
        (says(unconfirmed=(1, 2)), ("b0", "b2"), None),
        (says(unconfirmed=(1, 2)), ("b1",), "lost"),
    ],
)
def test_a_batch_is_whole_or_as_its_error_says(
    error: Any, stored: tuple[str, ...], kind: str | None
) -> None:
    found = claims.wrong_batches([[seen("b0", "b1", "b2", error=error)]], messages(*stored))
    assert (found and found[0]) == kind


def test_the_place_of_an_exception_needs_no_line() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    fail.__code__ = fail.__code__.replace(co_linetable=b"\xff" * len(fail.__code__.co_code))
    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert re.fullmatch(r"\S*test_traffic\.py, in fail", raised_at(caught.value))
