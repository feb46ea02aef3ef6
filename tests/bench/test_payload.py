"""Tests of the conversations that benchmarks store."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)

from chat_history_conformance.bench.measure.payload import DEFAULT, PAYLOADS, Payload

MIXED, PLAIN = PAYLOADS["mixed"], PAYLOADS["plain"]
PINNED = {
    "mixed": "faa4aa22550d349e6cbc8e63b7b3a63a47fae35966826d0949a89183fc716a2b",
    "plain": "e990285d8283beefd26601eef8cf8943288c2637cca40ac88a3939e6e29e45ff",
}


def kind(message: BaseMessage) -> str:
    if isinstance(message, AIMessage):
        parts = ["AI", *(["tool calls"] if message.tool_calls else [])]
        parts += ["usage"] if message.usage_metadata else []
        parts += ["metadata"] if message.response_metadata else []
        return ", ".join(parts)
    return f"{message.type}, {'blocks' if isinstance(message.content, list) else 'text'}"


def text_of(message: BaseMessage) -> str:
    if isinstance(message, AIMessage) and message.tool_calls:
        return str(message.tool_calls[0]["args"]["query"])
    if isinstance(message.content, list):
        [first, *_] = message.content
        assert isinstance(first, dict)
        return str(first["text"])
    return message.content


def test_ten_messages_in_a_row_have_every_kind() -> None:
    kinds = {
        "human, text": 2,
        "AI, tool calls, usage, metadata": 1,
        "tool, text": 3,
        "AI, usage, metadata": 2,
        "human, blocks": 1,
        "AI": 1,
    }
    for begin in range(0, 200, 10):
        assert Counter(map(kind, MIXED.conversation(200)[begin : begin + 10])) == kinds


def test_a_hundred_messages_have_texts_of_20_bytes_to_20_kb() -> None:
    for begin in (0, 700):
        found = MIXED.conversation(begin + 100)[begin:]
        sizes = sorted(len(text_of(message).encode()) for message in found)
        assert sizes[0] in range(17, 21)
        assert sizes[-1] in range(19_997, 20_001)
        assert 150 <= sizes[50] <= 400
        for least, most in ((0, 100), (100, 1_000), (1_000, 5_000)):
            assert sum(least <= size < most for size in sizes) >= 15


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_conversation_is_the_same_in_every_run(name: str) -> None:
    parts = [
        (one.type, one.content, getattr(one, "tool_calls", None), one.id, one.response_metadata)
        for one in PAYLOADS[name].conversation(1_000)
    ]
    assert hashlib.sha256(json.dumps(parts).encode()).hexdigest() == PINNED[name]


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_conversation_begins_like_every_longer_one(name: str) -> None:
    payload = PAYLOADS[name]
    assert payload.conversation(0) == []
    assert payload.conversation(7) == payload.conversation(300)[:7]
    payload.conversation(5).clear()
    assert len(payload.conversation(5)) == 5


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_two_messages_are_equal_and_all_are_unchanged_by_json(name: str) -> None:
    found = PAYLOADS[name].conversation(300)
    texts = [json.dumps(message_to_dict(message)) for message in found]
    assert len(set(texts)) == 300
    assert messages_from_dict([json.loads(text) for text in texts]) == found


def test_the_documentation_has_the_least_and_the_largest_text_of_each_place() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| .* \| ([^|]* to [^|]*) \|$", page, re.MULTILINE)
    documented = [
        tuple(int(number.replace(",", "")) for number in re.findall(r"[\d,]+", extent))
        for _, sizes in rows
        for extent in sizes.split("; ")
    ]
    found = [
        [len(text_of(message).encode()) for message in MIXED.conversation(100)[place::10]]
        for place in range(10)
    ]
    assert len(documented) == 10
    for (least, largest), sizes in zip(documented, found, strict=True):
        # A letter of several bytes is not cut in two.
        assert least - 3 <= min(sizes) <= least
        assert largest - 3 <= max(sizes) <= largest


def test_each_tool_result_answers_a_call_of_the_message_before() -> None:
    asked: list[str | None] = []
    for message in MIXED.conversation(100):
        if isinstance(message, AIMessage) and message.tool_calls:
            asked = [call["id"] for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            assert message.tool_call_id == asked.pop(0)
        else:
            assert asked == []


def test_the_messages_that_operations_add_are_of_the_kind_that_they_name() -> None:
    assert list(map(kind, MIXED.answer)) == ["AI, usage, metadata"]
    assert list(map(kind, MIXED.turn)) == ["human, text", "AI, usage, metadata"]
    called, *results, answer = map(kind, MIXED.agent_turn)
    assert called == "AI, tool calls, usage, metadata"
    assert results == ["tool, text"] * 3
    assert answer == "AI, usage, metadata"
    assert [len(PLAIN.answer), len(PLAIN.turn), len(PLAIN.agent_turn)] == [1, 2, 5]


def test_the_mixed_conversation_is_the_default_and_the_plain_one_is_short() -> None:
    assert DEFAULT is MIXED
    assert all(type(one) in (HumanMessage, AIMessage) for one in PLAIN.conversation(10))
    for message in PLAIN.conversation(10):
        assert 150 < len(json.dumps(message_to_dict(message))) < 500


def test_a_payload_makes_each_message_once() -> None:
    made = []

    def make(number: int) -> BaseMessage:
        made.append(number)
        return HumanMessage(str(number))

    payload = Payload("counted", make)
    payload.conversation(3)
    payload.conversation(5)
    payload.conversation(2)
    assert made == [0, 1, 2, 3, 4]
