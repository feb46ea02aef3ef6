"""Values as text and as source: for any message, and without an exception."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import langchain_core.messages
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage

from chat_history_conformance import strategies
from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import Code
from chat_history_conformance.diagnosis.rendering import clip, listing, show, source


class Unspeakable:
    """An object that cannot be printed, compared or copied."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    __hash__ = None  # type: ignore[assignment]


def evaluated(text: Code) -> Any:
    return eval(text.text, dict(vars(langchain_core.messages)))


@given(strategies.messages())
def test_the_source_of_a_message_makes_an_equal_message(message: BaseMessage) -> None:
    assert dump(evaluated(source(message))) == dump(message)


@given(strategies.conversations())
def test_the_source_of_a_conversation_makes_an_equal_one(messages: list[BaseMessage]) -> None:
    assert dump(evaluated(source(messages))) == dump(messages)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_source_of_a_long_numbered_conversation_makes_an_equal_one(
    first: int, number: int
) -> None:
    messages = [HumanMessage(f"m{n}") for n in range(first, first + number)]
    assert dump(evaluated(source(messages))) == dump(messages)


def test_a_long_numbered_conversation_is_written_as_a_comprehension() -> None:
    assert source([HumanMessage(f"m{n}") for n in range(5, 50)]).text == (
        '[HumanMessage(f"m{n}") for n in range(5, 50)]'
    )


def test_numbers_with_leading_zeros_are_not_taken_for_a_row() -> None:
    messages = [HumanMessage(f"{n:03}") for n in range(20)]
    assert dump(evaluated(source(messages))) == dump(messages)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        -0.0,
        10**5000,
        -(10**5000),
        "\ud800",
        "a\x00b",
        "ab" * 5_000,
        "x" * 10_000,
        "abc" * 3_000 + "ab",
        "".join(map(chr, range(32, 4_000))),
        (),
        (1,),
        {"a": [None, True, {"b": (1, 2.5)}]},
        {1: "a", None: "b"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_source_of_a_value_makes_it_again(value: Any) -> None:
    assert dump(evaluated(source(value))) == dump(value)


def test_the_source_of_a_repetitive_text_is_short() -> None:
    assert len(source("ab" * 50_000).text) < 40


@pytest.mark.parametrize("field", ["mood", "class", "two words", ""])
def test_the_source_of_an_extra_field_makes_it_again(field: str) -> None:
    message = HumanMessage("a", **{field: [1]})
    assert dump(evaluated(source(message))) == dump(message)


def test_the_source_of_a_removal_makes_it_again() -> None:
    message = RemoveMessage(id="1")
    assert dump(evaluated(source(message))) == dump(message)


def test_a_message_is_shown_with_every_field_that_is_set() -> None:
    assert show(HumanMessage("hello", id="m1", mood="good")) == (
        "Human 'hello' id='m1' mood='good'"
    )
    assert show(AIMessage("")) == "AI ''"


@given(strategies.messages(), st.integers(12, 200))
def test_a_message_is_shown_on_one_printable_line(message: BaseMessage, width: int) -> None:
    text = show(message, width)
    assert len(text) <= width
    assert text.isprintable()


@given(st.text(st.characters()), st.integers(12, 200))
def test_a_clipped_text_is_one_printable_line(text: str, width: int) -> None:
    assert len(clip(text, width)) <= width
    assert clip(text, width).isprintable()


def test_a_clipped_text_keeps_its_beginning_and_its_end() -> None:
    text = clip(f"begin{'x' * 1_000}end", 40)
    assert text.startswith("begin")
    assert text.endswith("end")
    assert clip("short", 40) == "short"


@dataclasses.dataclass
class Cell:
    value: Any


class Loud(HumanMessage):
    """A message class whose `repr` raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value",
    [
        Unspeakable(),
        [Unspeakable()] * 100,
        HumanMessage("", additional_kwargs={"a": Unspeakable()}),
        HumanMessage("", mood=Unspeakable()),
        Cell(Unspeakable()),
        Loud(content="hello"),
        HumanMessage("x" * 10_000_000),
        HumanMessage(["x" * 10_000_000]),
        HumanMessage("\ud800"),
        HumanMessage("\x1b[31m\r\n\x00"),
        HumanMessage("", response_metadata={"nan": math.nan}),
        HumanMessage.model_construct(),
        HumanMessage.model_construct(content=None),
        None,
        object,
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_can_be_shown_and_written_as_source(value: Any) -> None:
    assert show(value).isprintable()
    assert len(show(value)) <= 100
    source(value).text.encode()


def test_a_listing_omits_the_middle_of_a_long_conversation() -> None:
    messages = [HumanMessage(str(number)) for number in range(10)]
    assert listing(messages, limit=4) == (
        "Human '0'",
        "Human '1'",
        "… 6 more …",
        "Human '8'",
        "Human '9'",
    )
    assert len(listing(messages, limit=10)) == 10
