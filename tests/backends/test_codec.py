"""Tests of the codec: messages are kept exactly, or refused before anything is stored."""

import dataclasses
import datetime
import decimal
import json
import math
import time
from collections.abc import Iterator
from fractions import Fraction
from unittest import mock

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolCall,
    ToolMessage,
    ToolMessageChunk,
    message_to_dict,
)
from langchain_core.messages.ai import UsageMetadata

from chat_history_backends import codec
from chat_history_backends.arguments import check_bounds, check_ttl
from chat_history_backends.codec import (
    UndecodableRecordError,
    decode,
    decode_batch,
    encode,
    encode_batch,
)

EVERY_CLASS = [
    HumanMessage("a", id="1", name="n"),
    SystemMessage("a", response_metadata={"m": 1}),
    ChatMessage(content="a", role="r"),
    FunctionMessage(content="a", name="f"),
    ToolMessage("a", tool_call_id="t", artifact={"x": [1, None]}, status="error"),
    RemoveMessage(id="x"),
    AIMessage(
        "a",
        tool_calls=[{"name": "f", "args": {"a": 1}, "id": "1"}],
        invalid_tool_calls=[{"name": "g", "args": "{", "id": "2", "error": "e"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    ),
    AIMessageChunk(
        content="a", tool_call_chunks=[{"name": "f", "args": '{"a', "id": "1", "index": 0}]
    ),
    AIMessageChunk(content="a", chunk_position="last"),
    HumanMessageChunk(content="a"),
    SystemMessageChunk(content="a"),
    FunctionMessageChunk(content="a", name="f"),
    ToolMessageChunk(content="a", tool_call_id="t"),
    ChatMessageChunk(content="a", role="r"),
]

HARD_VALUES: list[object] = [
    "",
    " \t\n",
    "\x00",
    "a\x00b",
    "\ud800",
    "e\u0301\u00e9",
    "\U0001f600",
    "x" * 100_000,
    None,
    True,
    0,
    -0.0,
    1.0,
    10**4000,
    5e-324,
    math.inf,
    -math.inf,
    math.nan,
    {"": {"a.b": [[], {}, None]}},
]


@dataclasses.dataclass
class Point:
    x: int = 1


def with_value(value: object) -> HumanMessage:
    return HumanMessage("a", additional_kwargs={"x": [0, 1, value]})


@pytest.mark.parametrize("message", EVERY_CLASS, ids=lambda m: type(m).__name__)
def test_every_message_class_comes_back_unchanged(message: BaseMessage) -> None:
    copy = decode(encode(message), 1)

    assert type(copy) is type(message)
    assert copy == message


@pytest.mark.parametrize("value", HARD_VALUES, ids=lambda v: type(v).__name__)
def test_hard_values_come_back_unchanged_and_the_text_is_ascii(value: object) -> None:
    message = with_value(value)

    text = encode(message)
    back = decode(text, 1).additional_kwargs["x"][2]

    assert text.isascii()
    assert "\x00" not in text
    assert json.dumps(back) == json.dumps(value)
    assert type(back) is type(value)


def test_changes_that_json_makes_are_accepted() -> None:
    class Speech(HumanMessage):
        pass

    given = {"t": (1, 2), "d": Point(), 1: "a", None: "b", "m": HumanMessage("inner")}

    copy = decode(encode(Speech(content="a", additional_kwargs=given)), 1)

    assert type(copy) is HumanMessage
    assert copy.additional_kwargs.pop("m")["content"] == "inner"
    assert copy.additional_kwargs == {"t": [1, 2], "d": {"x": 1}, "1": "a", "null": "b"}


def test_tool_calls_that_validators_rebuild_are_not_refused() -> None:
    raw = {"id": "1", "function": {"name": "f", "arguments": "{}"}, "type": "function"}
    message = AIMessage("a", additional_kwargs={"tool_calls": [raw]})
    message.tool_calls = []

    assert decode(encode(message), 1).content == "a"


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        bytearray(b"x"),
        {1, 2},
        frozenset(),
        decimal.Decimal("1.0"),
        datetime.datetime(2020, 1, 1),
        1j,
        object(),
        iter([1]),
        range(2),
        int,
    ],
    ids=lambda v: type(v).__name__,
)
def test_an_error_names_the_place_of_a_value_that_json_cannot_represent(value: object) -> None:
    with pytest.raises(TypeError, match=r"additional_kwargs\['x'\]\[2\]"):
        encode(with_value(value))


@pytest.mark.parametrize("value", [10**4300, -(10**5000)], ids=["4301 digits", "negative"])
def test_an_error_names_the_place_of_an_integer_that_python_does_not_print(value: int) -> None:
    with pytest.raises(ValueError, match=r"additional_kwargs\['x'\]\[2\]"):
        encode(with_value(value))


def test_an_error_names_the_offending_value_and_not_one_that_json_accepts() -> None:
    message = ToolMessage("a", tool_call_id="1", artifact=[Point(), (1,), {"k": {"deep": b""}}])

    with pytest.raises(TypeError, match=r"artifact\[2\]\['k'\]\['deep'\] is of type bytes"):
        encode(message)


@pytest.mark.parametrize("key", [(1, 2), b"k", decimal.Decimal(1)], ids=repr)
def test_a_key_that_json_cannot_hold_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match=r"additional_kwargs\['x'\]\[2\] has a key"):
        encode(with_value({key: 1}))


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {True: 1, "true": 2}, {None: 1, "null": 2}])
def test_keys_that_json_would_merge_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"additional_kwargs\['x'\]\[2\] has keys"):
        encode(with_value(value))


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)

    with pytest.raises(ValueError, match="cannot be kept exactly"):
        encode(with_value(loop))


def test_a_class_that_langchain_core_cannot_read_back_is_refused() -> None:
    class Telegram(BaseMessage):
        type: str = "telegram"

    with pytest.raises(ValueError, match=r"Telegram cannot be kept.*unexpected message type"):
        encode(Telegram(content="stop"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("field", "value"), [("content", 123), ("content", None), ("id", 5)])
def test_a_field_that_its_validator_changes_or_refuses_is_refused(
    field: str, value: object
) -> None:
    message = HumanMessage("a")
    setattr(message, field, value)

    with pytest.raises(ValueError, match="cannot be kept exactly"):
        encode(message)


FIELDS = ["content", "id", "name", "type", "additional_kwargs", "response_metadata"]
FIELDS += ["tool_calls", "invalid_tool_calls", "usage_metadata", "example", "foreign"]
VALUES = ["", "a", "\ud800", "ai", 5, 1.5, math.nan, True, None, b"x", [], ["a"], (1, 2), {}]
VALUES += [{1: 2}, {1: 2, "1": 3}, {"a": 1}, {"a": (1,)}, {"a": {"b": 1}}, {"tool_calls": [{}]}]
VALUES += [{"a": b"x"}, {"input_tokens": 1}, [{"name": "f", "args": {}, "id": "1"}]]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", [HumanMessage, SystemMessage, AIMessage, ToolMessage])
def test_the_short_cut_for_certain_messages_agrees_with_the_full_check(
    kind: type[BaseMessage], field: str
) -> None:
    for value in VALUES:
        message = kind(content="plain", **({"tool_call_id": "c"} if kind is ToolMessage else {}))
        setattr(message, field, value)

        def outcome(message: BaseMessage = message) -> object:
            try:
                return encode(message)
            except (TypeError, ValueError) as error:
                return type(error)

        short = outcome()
        with mock.patch.object(codec, "is_certain", return_value=False):
            assert outcome() == short, value


def test_the_messages_of_an_agent_are_not_read_back() -> None:
    usage = UsageMetadata(input_tokens=1, output_tokens=2, total_tokens=3)
    usage["output_token_details"] = {"reasoning": 1}
    call = ToolCall(name="f", args={"a": [1, {"b": None}]}, id="1", type="tool_call")
    metadata = {"model": "m", "token_usage": {"total": 3}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org"}}
    with mock.patch.object(codec, "decode", side_effect=AssertionError):
        encode_batch(
            [
                HumanMessage("a", id="1"),
                SystemMessage("b"),
                AIMessage("c", name="n", response_metadata=metadata, usage_metadata=usage),
                AIMessage("", tool_calls=[call], additional_kwargs={"refusal": None}),
                ToolMessage("d", tool_call_id="1", artifact={"rows": [{"a": 1.5}]}),
                HumanMessage(["text", image]),
            ]
        )


@pytest.mark.parametrize("thing", ["text", None, 1, {"content": "a"}, ("human", "a")], ids=repr)
def test_an_object_that_is_not_a_message_is_refused_and_its_type_named(thing: object) -> None:
    with pytest.raises(TypeError, match=type(thing).__name__):
        encode(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", ["hello", "", b"", {}, HumanMessage("a")], ids=repr)
def test_an_object_that_is_not_a_batch_is_refused_even_if_empty(batch: object) -> None:
    with pytest.raises(TypeError, match="sequence of messages"):
        encode_batch(batch)  # type: ignore[arg-type]


def test_a_batch_may_be_an_iterator_and_an_error_names_the_position_in_it() -> None:
    assert len(encode_batch(HumanMessage(str(i)) for i in range(3))) == 3
    assert encode_batch(iter([])) == []
    with pytest.raises(TypeError, match="message 1 of the batch"):
        encode_batch([HumanMessage("a"), with_value(b"x")])
    with pytest.raises(ValueError, match="message 2 of the batch"):
        encode_batch([HumanMessage("a"), HumanMessage("b"), with_value(10**5000)])


def test_encoding_does_not_change_the_message() -> None:
    message = with_value({1: (1, 2)})
    before = repr(message_to_dict(message))

    encode(message)

    assert repr(message_to_dict(message)) == before


BAD_TEXTS = [
    "",
    "no json",
    "[]",
    "{}",
    "null",
    '{"type": "human"}',
    '{"type": "telegram", "data": {"content": "a"}}',
    '{"type": "human", "data": {"content": 5}}',
    b"\xff",
    "[" * 100_000,
]


@pytest.mark.parametrize("text", BAD_TEXTS, ids=range(len(BAD_TEXTS)))
def test_an_undecodable_record_is_named_and_the_error_carries_the_others(
    text: str | bytes,
) -> None:
    good = [HumanMessage("a"), HumanMessage("b"), HumanMessage("c")]
    a, b, c = encode_batch(good)

    with pytest.raises(UndecodableRecordError, match="position 3 ") as caught:
        decode_batch([(1, a), (2, b), (3, text), (4, c), (5, "worse")])

    assert caught.value.position == 3
    assert caught.value.messages == good


def test_the_error_of_a_record_does_not_show_its_content() -> None:
    text = '{"type": "human", "data": {"content": {"secret": "swordfish"}}}'

    with pytest.raises(UndecodableRecordError) as caught:
        decode(text, 1)

    assert "swordfish" not in str(caught.value)


def test_decoding_stops_at_the_deadline_and_returns_the_position() -> None:
    texts = encode_batch([HumanMessage(str(i)) for i in range(3)])

    def late_after_two() -> Iterator[tuple[int, str]]:
        yield 7, texts[0]
        yield 8, texts[1]
        time.sleep(0.3)
        yield 9, texts[2]

    messages, reached = decode_batch(late_after_two(), time.monotonic() + 0.25)

    assert [m.content for m in messages] == ["0", "1"]
    assert reached == 8
    assert decode_batch([(7, texts[0])], time.monotonic()) == ([], None)
    assert decode_batch(zip([7, 8, 9], texts, strict=True))[1] == 9


def test_bounds_are_returned_and_infinity_means_no_bound() -> None:
    assert check_bounds(5, 2) == (5, 2.0)
    assert check_bounds(0, 0.0) == (0, 0.0)
    assert check_bounds(None, None) == (None, None)
    assert check_bounds(10**30, math.inf) == (10**30, None)
    assert check_bounds(1, 10**400) == (1, None)
    assert check_bounds(1, Fraction(1, 2)) == (1, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "seconds", "kind"),
    [
        (-1, None, ValueError),
        (True, None, TypeError),
        (1.0, None, TypeError),
        ("1", None, TypeError),
        (None, -0.1, ValueError),
        (None, -math.inf, ValueError),
        (None, math.nan, ValueError),
        (None, True, TypeError),
        (None, "1", TypeError),
        (None, 1j, TypeError),
    ],
)
def test_nonsense_bounds_are_refused(count: object, seconds: object, kind: type) -> None:
    with pytest.raises(kind, match="must be"):
        check_bounds(count, seconds)  # type: ignore[arg-type]


def test_a_time_to_live_is_a_positive_int_or_none() -> None:
    assert check_ttl(None) is None
    assert check_ttl(1) == 1
    for nonsense, kind in [
        (0, ValueError),
        (-1, ValueError),
        (True, TypeError),
        (1.5, TypeError),
        ("1", TypeError),
    ]:
        with pytest.raises(kind, match="ttl_ms"):
            check_ttl(nonsense)  # type: ignore[arg-type]
