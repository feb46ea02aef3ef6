"""Canonical forms: equal if a message is unchanged, apart from changes that JSON makes."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from pydantic import BaseModel

from chat_history_conformance import strategies
from chat_history_conformance.diagnosis.canonical import alternatives, dump, first_difference


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (1, 1.0),
        (True, 1.0),
        (False, None),
        (0.0, -0.0),
        (Decimal("1.0"), 1.0),
        (Decimal("1.0"), Decimal("1.00")),
        ("1", 1),
        (b"a", "a"),
        ([], {}),
        ([1, 2], [2, 1]),
        ({1}, [1]),
        ({"a": None}, {}),
        (math.inf, -math.inf),
        ("\u00e9", "e\u0301"),
        ("\ud800", "\ud801"),
    ],
)
def test_different_values_have_different_dumps(one: Any, other: Any) -> None:
    assert dump(one) != dump(other)
    assert dump([{"a": one}]) != dump([{"a": other}])
    assert dump(HumanMessage("", additional_kwargs={"a": one})) != dump(
        HumanMessage("", additional_kwargs={"a": other})
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (math.nan, float("nan")),
        ((1, (2,)), [1, [2]]),
        ({1: "a", None: 0, 1.5: 2}, {"1": "a", "null": 0, "1.5": 2}),
        ({1: "a", "1": "b"}, {"1": "b", 1: "a"}),
        (type("Text", (str,), {})("a"), "a"),
        (type("Fields", (dict,), {})(a=1), {"a": 1}),
        ({True: 2}, {"true": 2}),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        ("\ud83d\ude00", "\U0001f600"),
        ({"\ud83d\ude00": 1}, {"\U0001f600": 1}),
        ({1, 2}, {2, 1}),
    ],
)
def test_values_that_json_makes_equal_have_one_dump(one: Any, other: Any) -> None:
    assert dump(one) == dump(other)


class Shout(HumanMessage):
    """A user's message class, with the type of its base."""


class Point(BaseModel):
    x: int


@dataclasses.dataclass
class Spot:
    x: int


def test_a_subclass_with_the_type_of_its_base_is_the_same_message() -> None:
    assert dump(Shout(content="hello")) == dump(HumanMessage("hello"))


def test_messages_of_two_types_are_never_the_same() -> None:
    assert dump(HumanMessage("hello")) != dump(AIMessage("hello"))
    assert dump(AIMessageChunk(content="hello")) != dump(AIMessage("hello"))


def test_models_and_dataclasses_are_the_dictionaries_that_json_makes_of_them() -> None:
    assert dump(Point(x=1)) == dump(Spot(x=1)) == dump({"x": 1})


def test_an_extra_field_counts() -> None:
    assert dump(HumanMessage("a", mood="good")) != dump(HumanMessage("a"))


def test_an_object_whose_repr_raises_equals_itself_only() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no")

    one, other = Bad(), Bad()
    assert dump(one) == dump(one)
    assert dump(one) != dump(other)


@given(strategies.messages())
def test_a_message_may_come_back_unchanged_or_as_langchain_reads_it(message: BaseMessage) -> None:
    allowed = alternatives(message)
    assert dump(message) in allowed
    assert dump(messages_from_dict([message_to_dict(message)])[0]) in allowed


def test_a_message_that_json_cannot_carry_has_one_form() -> None:
    assert len(alternatives(HumanMessage("", additional_kwargs={"a": b"bytes"}))) == 1


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        (HumanMessage("a"), AIMessage("a"), "type"),
        (HumanMessage("a"), HumanMessage("b"), "content"),
        (
            HumanMessage([{"type": "text", "text": "a"}, "b"]),
            HumanMessage([{"type": "text", "text": "x"}, "b"]),
            "content[0].text",
        ),
        (HumanMessage(["a", "b"]), HumanMessage(["a"]), "content[1]"),
        (HumanMessage("a", id="1"), HumanMessage("a"), "id"),
        (HumanMessage("a", mood=1), HumanMessage("a"), "mood"),
    ],
)
def test_the_first_difference_is_named_by_its_path(
    one: BaseMessage, other: BaseMessage, path: str
) -> None:
    assert first_difference(dump(one), dump(other)) == path
