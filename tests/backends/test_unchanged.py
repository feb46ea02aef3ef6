"""Messages that are kept without reading them back, compared with reading them back."""

from __future__ import annotations

import enum
import json
import math
import random
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_to_dict,
)

from chat_history_backends.codec import decode
from chat_history_backends.unchanged import is_certain

DRAWN = 100_000


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    """A text of a class that JSON does not know."""


TEXTS = ["", "a", "tool_call", "success", "error", "human", "ai", "é", "\ud800", "\0", "5", "{}"]
KEYS: list[Any] = ["a", "b", "type", "text", "tool_calls", "name", "args", "id", "1", Text("t"), 1]
KEYS += [None, True, 1.5, "audio", "reasoning", "input_tokens", "output_tokens", "total_tokens"]
SCALARS: list[Any] = [0, 1, -1, 2**70, True, False, None, 1.0, -0.0, 1e300, math.nan, math.inf]
SCALARS += [Number.ONE, Text("subclass"), uuid.UUID(int=1), b"bytes", *TEXTS]
CALLS = [{"type": "function", "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}]
FIELDS = ["content", "id", "name", "additional_kwargs", "response_metadata", "tool_calls"]
FIELDS += ["invalid_tool_calls", "usage_metadata", "artifact", "status", "tool_call_id", "type"]
FIELDS += ["extra", "example"]


def draw_value(r: random.Random, depth: int = 0) -> Any:
    shape = r.random()
    if depth > 3 or shape < 0.55:
        return r.choice(SCALARS)
    items = [draw_value(r, depth + 1) for _ in range(r.randrange(4))]
    if shape < 0.7:
        return items
    if shape < 0.75:
        return tuple(items)
    return {r.choice(KEYS): item for item in items}


def draw_plain(r: random.Random, depth: int = 0) -> Any:
    shape = r.random()
    if depth > 3 or shape < 0.6:
        return r.choice([0, 1, 2**70, True, None, 1.5, math.nan, *TEXTS])
    items = [draw_plain(r, depth + 1) for _ in range(r.randrange(4))]
    return items if shape < 0.8 else dict(zip("abcd", items, strict=False))


def draw_call(r: random.Random, value: Callable[[random.Random], Any]) -> Any:
    call = {"name": r.choice(TEXTS), "args": {"a": value(r)}, "id": r.choice(["c", None])}
    if r.random() < 0.8:
        call["type"] = "tool_call"
    if r.random() < 0.1:
        call[r.choice(KEYS)] = value(r)
    return call


def draw_usage(r: random.Random, value: Callable[[random.Random], Any]) -> Any:
    names = ["input_tokens", "output_tokens", "total_tokens"]
    usage: dict[Any, Any] = {name: r.randrange(9) for name in names}
    for name, keys in (
        ("input_token_details", ["audio", "cache_creation", "cache_read"]),
        ("output_token_details", ["audio", "reasoning"]),
    ):
        if r.random() < 0.5:
            details: dict[Any, Any] = {key: r.randrange(9) for key in keys if r.random() < 0.5}
            if r.random() < 0.2:
                details[r.choice(KEYS)] = value(r)
            if r.random() < 0.1:
                details = dict(r.sample(list(details.items()), len(details)))
            usage[name] = details
    if r.random() < 0.2:
        usage[r.choice(list(usage))] = value(r)
    if r.random() < 0.1:
        usage = dict(r.sample(list(usage.items()), len(usage)))
    return usage


def draw_message(r: random.Random) -> BaseMessage | None:
    """Build a message, then perhaps set some of its fields to anything."""
    value = draw_plain if r.random() < 0.7 else draw_value
    blocks = [r.choice(["text", {"type": "text", "text": value(r)}]) for _ in range(r.randrange(3))]
    given: dict[str, Any] = {
        "content": r.choice(["text", r.choice(TEXTS), blocks]),
        "additional_kwargs": {"a": value(r)},
        "response_metadata": {"b": value(r)},
    }
    if r.random() < 0.1:
        given["additional_kwargs"]["tool_calls"] = CALLS
    if r.random() < 0.1:
        given[r.choice(FIELDS)] = value(r)
    kind = r.choice([HumanMessage, SystemMessage, AIMessage, ToolMessage])
    if kind is ToolMessage:
        given = {"tool_call_id": "c", "artifact": value(r), **given}
    if kind is AIMessage and r.random() < 0.6:
        given["tool_calls"] = [draw_call(r, value) for _ in range(r.randrange(3))]
        given["usage_metadata"] = draw_usage(r, value) if r.random() < 0.7 else None
    try:
        message: BaseMessage = kind(**given)
    except Exception:
        return None
    for _ in range(r.choice([0, 0, 0, 1, 2])):
        name = r.choice(FIELDS)
        special = {"tool_calls": [draw_call(r, value)], "usage_metadata": draw_usage(r, value)}
        message.__dict__[name] = special.get(name) if r.random() < 0.5 else value(r)
    return message


@pytest.mark.benchmark
def test_no_message_that_is_called_certain_comes_back_changed() -> None:
    r = random.Random(0)
    drawn = certain = uncertain_and_unchanged = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic warns about values of other types
        while drawn < DRAWN:
            message = draw_message(r)
            if message is None:
                continue
            try:
                document = message_to_dict(message)
                text = json.dumps(document)
            except Exception:
                continue
            drawn += 1
            is_known = is_certain(message, document["data"])
            try:
                unchanged = json.dumps(message_to_dict(decode(text, 0))) == text
            except Exception:
                unchanged = False
            assert unchanged or not is_known, text
            certain += is_known
            uncertain_and_unchanged += unchanged and not is_known
    print(f"{certain} of {drawn} certain, {uncertain_and_unchanged} others unchanged")
    assert certain > DRAWN // 4
