"""Each kind of difference, on lists of messages that fit in a line."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from chat_history_conformance import strategies
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.compare import (
    Difference,
    Snapshot,
    compare,
    lines,
    raised,
    returned_lines,
)
from chat_history_conformance.drivers.errors import RemoteError, is_server_error


def compared(
    expected: str, returned: str, *, foreign: str = "", cleared: str = ""
) -> tuple[str, str] | None:
    """Compare conversations whose messages are letters."""
    difference = compare(
        kept(letters(expected)),
        letters(returned),
        foreign=kept(letters(foreign)),
        cleared=kept(letters(cleared)),
    )
    return (difference.kind, difference.summary) if difference else None


def letters(text: str) -> list[BaseMessage]:
    return [HumanMessage(letter) for letter in text]


def kept(messages: Sequence[BaseMessage]) -> list[Snapshot]:
    return [Snapshot(message) for message in messages]


def kind(difference: Difference | None) -> str | None:
    return difference.kind if difference else None


def test_equal_lists_have_no_difference() -> None:
    assert compared("", "") is None
    assert compared("abc", "abc") is None
    assert compared("aab", "aab") is None


def test_a_missing_message_is_lost() -> None:
    assert compared("abc", "ac") == ("lost", "lost 1 of 3 messages")
    assert compared("a", "") == ("lost", "lost 1 of 1 message")


def test_a_missing_copy_is_lost() -> None:
    assert compared("aab", "ab") == ("lost", "lost 1 of 3 messages")


def test_a_message_that_comes_twice_is_duplicated() -> None:
    assert compared("ab", "aab") == ("duplicated", "returned 1 extra copy of message 1")
    assert compared("ab", "abab") == (
        "duplicated",
        "returned 2 extra copies, the first of message 1",
    )
    assert compared("aab", "aaab") == ("duplicated", "returned 1 extra copy of message 1")


def test_an_extra_copy_and_a_missing_message_are_duplicated() -> None:
    assert compared("ab", "aa") == ("duplicated", "returned 1 extra copy of message 1")


def test_the_same_messages_in_another_order_are_reordered() -> None:
    assert compared("abc", "cab") == (
        "reordered",
        "message 1 came back as message 2 of 3",
    )
    assert compared("aba", "baa") == (
        "reordered",
        "message 1 came back as message 2 of 3",
    )


def test_a_message_instead_of_another_is_altered() -> None:
    assert compared("abc", "axc") == ("altered", "message 2 came back with a different `content`")


def test_a_message_of_another_type_is_altered() -> None:
    difference = compare(kept([SystemMessage("a")]), [AIMessage("a")])
    assert difference == Difference("altered", "message 1 came back as AI instead of System")


def test_several_altered_messages_are_counted() -> None:
    assert compared("abc", "xbz") == (
        "altered",
        "message 1 came back with a different `content`, and 2 of 3 messages are altered",
    )


def test_a_message_of_a_refused_batch_is_foreign() -> None:
    difference = compare(kept(letters("a")), letters("ax"), refused=kept(letters("x")))
    assert difference == Difference("foreign", "kept 1 message of a batch that it refused")


def test_a_message_of_another_session_is_foreign() -> None:
    assert compared("a", "ax", foreign="x") == ("foreign", "returned 1 message of another session")
    assert compared("ab", "ax", foreign="x")[0] == "foreign"  # type: ignore[index]


def test_a_message_of_both_sessions_is_not_foreign() -> None:
    assert compared("a", "aa", foreign="a")[0] == "duplicated"  # type: ignore[index]


def test_a_message_that_was_never_added_is_foreign() -> None:
    assert compared("a", "ax") == ("foreign", "returned 1 message that was never added")


def test_a_cleared_message_that_comes_back_is_resurrected() -> None:
    assert compared("", "x", cleared="x") == (
        "resurrected",
        "returned 1 message that had been cleared",
    )


def test_a_cleared_message_that_was_added_again_is_not_resurrected() -> None:
    assert compared("x", "xx", cleared="x")[0] == "duplicated"  # type: ignore[index]


def test_other_objects_than_messages_are_altered() -> None:
    difference = compare(kept(letters("ab")), ["a", "b"])
    assert difference == Difference("altered", "returned 2 str objects instead of messages")
    assert compare([], [None]) == Difference(
        "altered", "returned 1 NoneType object instead of messages"
    )


def test_the_model_keeps_a_message_as_it_was_when_it_was_added() -> None:
    message = HumanMessage("before", additional_kwargs={"a": [1]})
    model = [Snapshot(message)]
    message.content = "after"
    message.additional_kwargs["a"].append(2)
    assert kind(compare(model, [message])) == "altered"
    assert model[0].message.content == "before"
    assert model[0].message.additional_kwargs == {"a": [1]}


@given(strategies.conversations())
def test_a_conversation_does_not_differ_from_itself(messages: list[BaseMessage]) -> None:
    assert compare(kept(messages), messages) is None


@given(strategies.conversations(), st.data())
def test_a_removed_message_is_lost(messages: list[BaseMessage], data: st.DataObject) -> None:
    returned = list(messages)
    returned.pop(data.draw(st.integers(0, len(messages) - 1)))
    assert kind(compare(kept(messages), returned)) == "lost"


@given(strategies.conversations(), st.data())
def test_a_doubled_message_is_duplicated(messages: list[BaseMessage], data: st.DataObject) -> None:
    returned = list(messages)
    returned.insert(
        data.draw(st.integers(0, len(messages))),
        messages[data.draw(st.integers(0, len(messages) - 1))],
    )
    assert kind(compare(kept(messages), returned)) == "duplicated"


@given(strategies.conversations(min_size=2), st.randoms(use_true_random=False))
def test_a_shuffled_conversation_is_reordered(
    messages: list[BaseMessage], random: random.Random
) -> None:
    returned = list(messages)
    random.shuffle(returned)
    assume(list(map(dump, returned)) != list(map(dump, messages)))
    assert kind(compare(kept(messages), returned)) == "reordered"


@given(strategies.conversations(), st.data())
def test_a_changed_message_is_altered(messages: list[BaseMessage], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(messages) - 1))
    changed = messages[index].model_copy(update={"content": "changed by the store, surely"})
    assert kind(compare(kept(messages), [*messages[:index], changed, *messages[index + 1 :]])) == (
        "altered"
    )


def test_a_field_that_langchain_rebuilds_on_reading_may_differ() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = AIMessage("", additional_kwargs={"tool_calls": [call]})
    message.tool_calls = []
    rebuilt = AIMessage("", additional_kwargs={"tool_calls": [call]})
    assert rebuilt.tool_calls
    assert compare([Snapshot(message)], [rebuilt]) is None
    assert compare([Snapshot(message)], [message]) is None


def test_causes_with_other_ids_and_numbers_are_equal() -> None:
    _, one = raised("add_messages", ValueError("no topic 'chc0123456789x-1' at 0x7f12, line 31"))
    _, other = raised("add_messages", ValueError("no topic 'chcabcdef0123x-1' at 0x7f99, line 42"))
    assert one == other
    assert raised("clear", ValueError("no"))[1] != raised("add_messages", ValueError("no"))[1]


def test_an_exception_is_summarised_on_one_line() -> None:
    summary, _ = raised("clear", KeyError("first\nsecond"))
    assert "\n" not in summary
    assert summary.startswith("`clear` raises KeyError: ")
    assert raised("clear", NotImplementedError()) == (
        "`clear` raises NotImplementedError",
        "`clear` raises NotImplementedError",
    )


def test_an_exception_that_cannot_be_printed_is_named_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    summary, _ = raised("clear", Mute())
    assert summary.startswith("`clear` raises Mute")


@pytest.mark.parametrize(
    ("error", "server"),
    [
        (ConnectionRefusedError("gone"), True),
        (LookupError("gone"), True),
        (KeyError("gone"), True),
        (ValueError("no"), False),
        (OSError("disk full"), False),
        (RemoteError("Whatever", "gone", server=True), True),
        (RemoteError("ValueError", "no", server=False), False),
    ],
)
def test_an_error_of_the_server_is_recognised(error: Exception, server: bool) -> None:
    backend = Backend("mine", lambda session_id: None, server_errors=(LookupError,))
    assert is_server_error(error, backend) is server


def test_a_long_conversation_is_listed_with_its_middle_left_out() -> None:
    listed = lines(kept([HumanMessage(str(number)) for number in range(1000)]))
    assert len(listed) == 31
    assert listed[0] == "Human '0'"
    assert listed[15] == "… 970 more …"
    assert listed[-1] == "Human '999'"


def test_any_returned_items_can_be_listed() -> None:
    assert returned_lines(letters("a")) == ("Human 'a'",)
    assert returned_lines([None, 1, HumanMessage("a")]) == ("None", "1", "Human 'a'")


def test_the_summary_of_an_exception_shows_no_tasks() -> None:
    task = "<Task pending name='Task-2' coro=<run() at /a.py:1> cb=[<Wakeup object at 0x7f>()]>"
    error = RuntimeError(f"Task {task} got Future <Future pending> attached to a different loop")
    expected = "Task <Task …> got Future <Future …> attached to a different loop"
    assert raised("clear", error)[0] == f"`clear` raises RuntimeError: {expected}"
