"""Errors: what cannot be stored or read is said, and leaves the history as it was."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ONE_HANDLE, contract
from chat_history_conformance.diagnosis.compare import compare
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.execution.session import Handle, Session

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"

_UNSTORABLE: list[BaseMessage] = [
    HumanMessage("bad", additional_kwargs={"colour": {1, 2}}),
    HumanMessage("bad", additional_kwargs={"colour": b"\xff"}),
    AIMessage("bad", response_metadata={"colour": 1j}),
    ToolMessage("bad", tool_call_id="t", artifact=range(3)),
    HumanMessage("bad \ud800"),
]
"""Messages with something in them that JSON, or UTF-8, has no form for."""

_NO_MESSAGES: list[Any] = ["text", 7, None, {"type": "human", "content": "text"}, ("human", "x")]
_REFUSABLE: list[Any] = [*_UNSTORABLE, *_NO_MESSAGES]


@contract(
    "errors.refused_batch_stores_nothing",
    rule="Where an `add_messages` raises because of one message of its batch, none of the batch is "
    "stored, and the history is as it was.",
    source=f"{_ADD_MESSAGES}: one call adds a sequence in bulk; after an error its caller "
    "cannot know which of it is there",
    cause="messages are encoded and stored one by one; or the file is opened for writing before "
    "the messages are encoded",
    remedy="encode the whole batch before anything is sent; write it in one request, in one "
    "transaction, or to a new file that then takes the old one's place",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: a message that cannot be "
    "encoded leaves an empty file (reproduced); langchain-elasticsearch 1.0.0 add_messages: one "
    "request for each message",
    modes=ONE_HANDLE,
    program=st.tuples(
        st.integers(0, 2),
        st.sampled_from(_REFUSABLE).map(copy.deepcopy),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
)
def a_refused_batch_stores_nothing(s: Session, program: tuple[int, Any, int, int]) -> None:
    earlier, refusable, before, after = program
    a = s.open()
    if earlier:
        a.add(_numbered("m", earlier))
    batch = [*_numbered("good", before), refusable, *_numbered("late", after)]
    if a.try_add(batch) is None:
        return
    got = a.read()
    part = [item for item in got if getattr(item, "content", "")[:4] in ("good", "bad", "late")]
    s.check(
        not part,
        "foreign",
        f"a refused batch left {len(part)} of its {len(batch)} messages in the history",
        f"len({a.last_variable}) == {earlier}",
        returned=[show(item) for item in got],
    )
    a.expect(got)


@contract(
    "errors.usable_after_refusal",
    rule="After an add was refused, the handle and others on the session can be used as before.",
    source="convention: an error about one message says nothing about the next one",
    cause="a transaction, a lock or a connection is left in the state of the failed statement",
    remedy="roll back and release in `finally`; check messages before the store is involved",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: no rollback, so every "
    "later statement fails; openai/openai-agents-python#4163: the lock stays",
    modes=ONE_HANDLE,
    program=strategies.some_of(_REFUSABLE).map(copy.deepcopy),
    examples=10,
)
def a_history_is_usable_after_a_refusal(s: Session, refusables: list[Any]) -> None:
    a = s.open()
    a.add(_numbered("m", 1))
    refused = [_refuses(a, refusable) for refusable in refusables]
    if not any(refused):
        return
    a.add(_numbered("after", 2))
    handles = [a]
    if "shared" not in s.subject.backend.lacks:
        handles.append(s.open())
        handles[1].add(_numbered("other", 1))
    a.clear()
    a.add(_numbered("last", 1))
    for handle in handles:
        handle.reads_back()


@contract(
    "errors.write_failure_raises",
    rule="When `add_messages` returns, its messages are there. What cannot be written raises, "
    "and is not merely logged.",
    source=f"{_ADD_MESSAGES}: adds a list of messages; there is no other sign of success than "
    "that it returns",
    cause="`except Exception` around the write, with a log line; or messages that cannot be "
    "encoded are skipped",
    remedy="let the exception pass; add to it what the caller needs to know",
    seen="langchain-mongodb 0.12.1 add_message: `except WriteError: logger.error`; "
    "langchain-couchbase 1.1.1 add_message: `except Exception`; langchain-community 0.4.2, tidb.py",
    modes=ONE_HANDLE,
    program=strategies.some_of(_UNSTORABLE).map(copy.deepcopy),
)
def a_write_that_fails_raises(s: Session, messages: list[BaseMessage]) -> None:
    a = s.open()
    kept = 0
    for number, message in enumerate(messages):
        batch = [HumanMessage(f"m{number}"), message]
        if a.try_add(batch) is None:
            kept += len(batch)
            # By number only: what has become of its contents is for the contracts on fidelity.
            got = a.bounded_unless_refused("messages")
            if got is None:
                return  # nothing is hidden, and what is wrong then is for fidelity
            s.check(
                len(got) >= kept,
                "swallowed_error",
                f"`add_messages` returned, and {kept - len(got)} of its {len(batch)} messages are "
                "not there",
                f"len({a.last_variable}) >= {kept}",
                returned=[show(item) for item in got],
            )


@contract(
    "errors.undecodable_record",
    rule="A stored record that is no message is not passed over in silence: a read raises, or "
    "returns the whole conversation all the same. The session can then be cleared and used again.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages; "
    "a shorter list would be taken for the conversation",
    cause="`except ValueError: continue` in the loop that decodes; or `clear` reads first",
    remedy="raise an error that names the record and carries the messages that could be read; "
    "delete without reading",
    seen="openai-agents 0.24.0, memory/sqlite_session.py _decode_rows: `except JSONDecodeError: "
    "continue`; langchain-couchbase 1.1.1 `messages`: logs and returns a part",
    needs=("corrupt",),
    modes=ONE_HANDLE,
    program=st.integers(1, 3),
    examples=4,
)
def an_undecodable_record_is_no_silent_loss(s: Session, size: int) -> None:
    a = s.open()
    a.add(_numbered("m", size))
    s.corrupt(a)
    if a.try_bounded("messages") is None:
        got = a.read()
        s.check(
            compare(a.model.stored, got) is None,
            "swallowed_error",
            f"a record cannot be decoded, and the read returned {len(got)} of {size} messages "
            "without an error",
            f"[m.content for m in {a.last_variable}] == {[f'm{n}' for n in range(size)]!r}",
            returned=[show(item) for item in got],
        )
    a.clear()
    a.add(_numbered("again", 2))
    a.reads_back()


@contract(
    "errors.undecodable_record_keeps_the_others",
    level="should",
    rule="The error of a read that met a record which is no message has an attribute `messages`, "
    "a list of the messages that could be read, in order.",
    source="convention: one damaged record must not take the conversation with it, and reading "
    "must not hide that it is damaged",
    cause="the first record that cannot be decoded ends the read",
    remedy="decode them all, and raise afterwards an error with the good ones in `messages`",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py and file.py: one such row makes "
    "the session unreadable; AntonOsika/gpt-engineer#859",
    needs=("corrupt",),
    modes=ONE_HANDLE,
    program=st.integers(1, 3),
    examples=4,
)
def an_undecodable_record_leaves_the_others_readable(s: Session, size: int) -> None:
    a = s.open()
    a.add(_numbered("m", size + 1))
    s.corrupt(a)
    error = a.try_bounded("messages")
    if error is None:
        return  # whether that is right is for errors.undecodable_record
    got = getattr(error, "messages", None)
    told = [getattr(item, "content", item) for item in got] if isinstance(got, list) else []
    wanted = [f"m{number}" for number in range(size)]
    s.check(
        told == wanted,
        "lost",
        f"one of {size + 1} records cannot be decoded, and the error holds "
        f"{len(told)} of the {size} others",
        f"[m.content for m in getattr(error, 'messages', [])] == {wanted!r}",
        expected=wanted,
        returned=[show(item) for item in told],
    )


@contract(
    "errors.refusal_names_the_problem",
    level="should",
    rule="The text of a refusal, or of the errors it came from, says something of what was "
    "refused: its type, its field, or the class of the message.",
    source="convention: a message comes out of a chain with hundreds of values, and one of them "
    "has to be found",
    cause="an exception without a text, or one text for all",
    remedy="pass the encoder's own text on, and put the field before it",
    seen="langchain-ai/langchain-mongodb#442: a NameError in the handler hides the error",
    modes=ONE_HANDLE,
    program=strategies.some_of(_UNSTORABLE).map(copy.deepcopy),
    examples=8,
)
def a_refusal_says_what_was_refused(s: Session, messages: list[BaseMessage]) -> None:
    a = s.open()
    a.add([HumanMessage("can be stored")])  # where nothing can, that is another finding
    for message in messages:
        words = _words(message)  # now, for there are histories that change what they are given
        error = a.try_add([message])
        text = full_text(error)
        s.check(
            error is None or any(word in text.lower() for word in words),
            "wrong_error",
            f"a refusal says nothing of what was refused: {type(error).__name__}: "
            f"{show(str(error), 80)}",
            f"error is None or any(word in str(error).lower() for word in {words!r})",
            expected=[f"a text with one of: {', '.join(words)}"],
            returned=[text],
        )


@contract(
    "errors.refusal_is_a_type_or_value_error",
    level="may",
    rule="What is refused for being no message, or for what a message holds, is refused with a "
    "TypeError or a ValueError, or a class derived from one of them.",
    source="convention: Python's own types say so of wrong arguments, and callers tell these from "
    "a store that is not there",
    cause="the first statement that trips over the value raises, AttributeError or KeyError",
    remedy="check what was passed before using it",
    seen="convention: message_to_dict of langchain-core raises AttributeError for a text",
    modes=ONE_HANDLE,
    program=strategies.some_of(_REFUSABLE).map(copy.deepcopy),
    examples=8,
)
def a_refusal_is_a_type_or_value_error(s: Session, refusables: list[Any]) -> None:
    a = s.open()
    for refusable in refusables:
        error = a.try_add([refusable])
        s.check(
            error is None or isinstance(error, TypeError | ValueError),
            "wrong_error",
            f"{show(refusable, 60)} was refused with {type(error).__name__}, which is neither a "
            "TypeError nor a ValueError",
            "error is None or isinstance(error, (TypeError, ValueError))",
        )


def _numbered(stem: str, count: int) -> list[BaseMessage]:
    return [HumanMessage(f"{stem}{number}") for number in range(count)]


def _refuses(a: Handle, refusable: Any) -> bool:
    """Whether an add is refused. One that was accepted is removed again, whatever it has become."""
    if a.try_add([refusable]) is not None:
        return True
    a.clear()
    return False


def _words(message: BaseMessage) -> list[str]:
    """What a refusal of a message may name, in lower case."""
    fields = ("additional_kwargs", "response_metadata", "artifact")
    for field in fields:
        value = getattr(message, field, None)
        if value:
            inner = value["colour"] if isinstance(value, dict) else value
            names = [field, "colour", type(inner).__name__, type(message).__name__, "json"]
            return [name.lower() for name in names]
    return ["content", "surrogate", "utf", "unicode", "str", type(message).__name__.lower()]


def full_text(error: BaseException | None) -> str:
    texts: list[str] = []
    while error is not None and len(texts) < 10:
        texts.append(f"{error} {' '.join(getattr(error, '__notes__', ()))}")
        hidden = error.__suppress_context__  # by `from None`, which no traceback shows
        error = error.__cause__ or (None if hidden else error.__context__)
    return " / ".join(texts)
