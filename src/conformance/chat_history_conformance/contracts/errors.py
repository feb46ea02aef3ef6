"""Errors: a history reports messages that it cannot store or read, and stays intact."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.bounded import BEGINNING, CONSUMED, DEFAULT_SECONDS, LAST
from chat_history_conformance.contracts.catalogue import ONE_HANDLE, contract
from chat_history_conformance.diagnosis.compare import HookFailure, compare
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import (
    are_at_the_end_of,
    at_least,
    at_most,
    carries,
    contents,
    contents_are,
    full_text,
    is_type_or_value_error,
    mentions_any,
)
from chat_history_conformance.execution.session import Handle, Session

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"

_UNSTORABLE: list[BaseMessage] = [
    HumanMessage("bad", additional_kwargs={"colour": {1, 2}}),
    HumanMessage("bad", additional_kwargs={"colour": b"\xff"}),
    AIMessage("bad", response_metadata={"colour": 1j}),
    ToolMessage("bad", tool_call_id="t", artifact=range(3)),
    HumanMessage("bad \ud800"),
]
"""Messages with a value that JSON or UTF-8 cannot represent."""

REFUSED = "refuse this"
"""The content that the store refuses inside `refuse=`. It may refuse all others too."""

_REFUSING = "{nonce}-refusing"
"""The template of sessions whose writes the store refuses."""

_NOT_REFUSED = "a write that the store itself refuses: declare refuse= to try it"

_NO_MESSAGES: list[Any] = ["text", 7, None, {"type": "human", "content": "text"}, ("human", "x")]
_MANY = 120
"""More messages than one request of most stores takes."""
_REFUSABLE: list[Any] = [
    *_UNSTORABLE,
    HumanMessage("bad \x00"),
    HumanMessage("bad", additional_kwargs={"colour": float("nan")}),
    *_NO_MESSAGES,
]
"""Values that a history may refuse, some of them only when they reach the store."""


@contract(
    "errors.refused_batch_stores_nothing",
    level="should",
    rule="If `add_messages` raises because of one message of its batch, or because the store "
    "refuses the write, it stores no message of the batch, and the history is unchanged. Later "
    "adds do not store one either. If the store has refused a part of the batch only, an error "
    "whose `unconfirmed` has the positions of this part is accepted too.",
    source=f"convention: after an error the caller cannot know which messages are stored; "
    f"{_ADD_MESSAGES}, the inherited implementation, stores one message after the other, so "
    "this is a recommendation",
    cause="Messages are encoded and stored one by one. Or the file is opened for writing before "
    "the messages are encoded. Or a buffer still has the first messages when the next batch comes.",
    remedy="Encode the whole batch before sending any of it. Write it in one request or one "
    "transaction, or to a new file that then replaces the old one. Empty buffers if it fails.",
    seen="langchain-community 0.4.2, chat_message_histories/file.py: a message that cannot be "
    "encoded leaves an empty file (reproduced); langchain-elasticsearch 1.0.0 add_messages: one "
    "request for each message",
    modes=ONE_HANDLE,
    program=st.tuples(
        st.integers(0, 2),
        strategies.some_of(_REFUSABLE).map(copy.deepcopy),
        st.integers(0, 2),
        st.integers(0, 2),
        strategies.some_of([1, _MANY]),
    ),
    examples=6,
    is_long=True,
)
def a_refused_batch_stores_no_messages(
    s: Session, program: tuple[int, list[Any], int, int, list[int]]
) -> None:
    earlier, refusables, before, after, sizes = program
    a = s.open()
    stored = _begin(a, earlier)
    batches = [
        [*_numbered("good", before), refusable, *_numbered("late", after)]
        for refusable in refusables
    ]
    # A batch that is sent in parts may have sent the first ones when it is refused.
    long = [*_numbered("good", _MANY), copy.deepcopy(refusables[0])]
    for batch in [*batches, *([long] if _MANY in sizes else [])]:
        if a.try_add(batch) is None:
            a.clear()
            stored = _begin(a, earlier)
            continue
        reader = _expect_none_of(s, a, batch, stored)
        if reader is None or not _adds_nothing_else(s, a, batch, stored):
            break
        a, stored = reader, stored + 1
    _refused_by_the_store(s, earlier, before, after)


def _refused_by_the_store(s: Session, earlier: int, before: int, after: int) -> None:
    """Add a batch that the store refuses. No message of it may be stored."""
    if s.subject.backend.refuse is None:
        s.not_tried(_NOT_REFUSED)
        return
    a = s.open(_REFUSING)
    stored = _begin(a, earlier)
    batch = [*_numbered("good", before + 1), HumanMessage(REFUSED), *_numbered("late", after)]
    with s.refusing(a.session):
        error = a.try_add(batch)
    if error is not None and not getattr(error, "unconfirmed", None):
        reader = _expect_none_of(s, a, batch, stored)
        if reader is not None:
            _adds_nothing_else(s, a, batch, stored)


_LATER = "the add after a refused batch stored {} of the {} messages of that batch"


def _begin(a: Handle, earlier: int) -> int:
    """Add messages to a session that has none, and return their number."""
    if earlier:
        a.add(_numbered("m", earlier))
    return earlier


def _adds_nothing_else(s: Session, a: Handle, batch: list[Any], stored: int) -> bool:
    """Add a message after a batch that was refused. Fail if it brings a part of the batch.

    Returns:
        Whether it was added, and could be read: `errors.usable_after_refusal` judges that.
    """
    if a.try_add(_numbered("next", 1)) is not None:
        return False
    return _expect_none_of(s, a, batch, stored + 1, _LATER) is not None


def _expect_none_of(
    s: Session,
    a: Handle,
    batch: list[Any],
    stored: int,
    summary: str = "a refused batch left {} of its {} messages stored",
) -> Handle | None:
    """Fail unless the conversation has nothing of a batch that was refused.

    Args:
        s: The session of the contract.
        a: The handle that was refused.
        batch: The batch.
        stored: The number of messages of the conversation.
        summary: The summary of the finding, with places for two numbers of messages.

    Returns:
        The handle that could read it, for further use. None if there is none: reads that raise
        after a refusal are the matter of `errors.usable_after_refusal`.
    """
    got = a.bounded_unless_refused("messages")
    if got is None:
        if "shared" in s.subject.backend.lacks:
            return None
        a = s.open(a.session)
        got = a.read()
    starts = ("good", "bad", "late", REFUSED[:4])
    part = [item for item in got if getattr(item, "content", "")[:4] in starts]
    if part:
        s.fail_claim(
            at_most,
            a.result,
            stored,
            kind="foreign",
            summary=summary.format(len(part), len(batch)),
            returned=[show(item) for item in got],
        )
    a.expect(got)
    return a


@contract(
    "errors.usable_after_refusal",
    rule="After an add was refused, its handle and other handles of the session can be used as "
    "before.",
    source="convention: an error about one message says nothing about the next one",
    cause="A transaction, a lock or a connection stays in the state of the failed statement.",
    remedy="Roll back and release in `finally`. Check messages before using the store.",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: no rollback, so every "
    "later statement fails; openai/openai-agents-python#4163: the lock is not released",
    modes=ONE_HANDLE,
    program=strategies.some_of(_REFUSABLE).map(copy.deepcopy),
    examples=10,
    is_long=True,
)
def a_history_is_usable_after_a_refusal(s: Session, refusables: list[Any]) -> None:
    a = s.open()
    a.add(_numbered("m", 1))
    refused = [_refuses(a, refusable) for refusable in refusables]
    if any(refused):
        _use(s, a)
    if s.subject.backend.refuse is None:
        s.not_tried(_NOT_REFUSED)
        return
    with s.refusing(a.session):
        a.try_add([HumanMessage(REFUSED)])
    a.clear()  # the add may have been stored
    _use(s, a)


def _use(s: Session, a: Handle) -> None:
    """Add, clear and read through a handle, and through another one of its session."""
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
    rule="When `add_messages` returns, its messages are stored. If a message cannot be written, "
    "`add_messages` raises an error; a log entry is not enough.",
    source=f"{_ADD_MESSAGES}: adds a list of messages; a return is the only sign of success",
    cause="An `except Exception` around the write only logs the error. Or messages that cannot be "
    "encoded are skipped.",
    remedy="Let the exception pass, and add the details that the caller needs.",
    seen="langchain-mongodb 0.12.1 add_message: `except WriteError: logger.error`; "
    "langchain-couchbase 1.1.1 add_message: `except Exception`; langchain-community 0.4.2, tidb.py",
    modes=ONE_HANDLE,
    program=st.tuples(
        strategies.some_of(["batch", "one", "single"]),
        strategies.some_of(_UNSTORABLE).map(copy.deepcopy),
    ),
)
def a_failed_write_raises_an_error(
    s: Session, program: tuple[list[str], list[BaseMessage]]
) -> None:
    forms, messages = program
    if s.subject.backend.refuse is None:
        s.not_tried(_NOT_REFUSED)
    else:
        for number, form in enumerate(forms):
            _try_refused_write(s, f"{_REFUSING}{number}", form)
    a, _ = s.try_open()
    if a is not None:  # if not, errors.usable_after_refusal reports it
        _try_unstorable(s, a, messages)


def _try_unstorable(s: Session, a: Handle, messages: list[BaseMessage]) -> None:
    kept = 0
    for number, message in enumerate(messages):
        batch = [HumanMessage(f"m{number}"), message]
        if a.try_add(batch) is None:
            kept += len(batch)
            # Compare only the number of messages: the fidelity contracts compare their content.
            got = a.bounded_unless_refused("messages")
            if got is None:
                return  # the read raises, so it hides nothing; the fidelity contracts report it
            stored = len(batch) - (kept - len(got))
            s.check(
                at_least,
                a.result,
                kept,
                kind="swallowed_error",
                summary=f"`add_messages` returned, but stored only {stored} of its "
                f"{len(batch)} messages",
                returned=[show(item) for item in got],
            )


def _try_refused_write(s: Session, session: str, form: str) -> None:
    """Add while the store refuses writes: the add raises, or its messages are stored.

    Args:
        s: The session of the contract.
        session: The template of a session id.
        form: `batch`, `one` for a batch of one message, or `single` for `add_message`.
    """
    a, refusal = s.try_open(session)
    if a is None or refusal is not None:
        return  # an earlier refusal made this one: errors.usable_after_refusal reports it
    batch = [*_numbered("good", form == "batch"), HumanMessage(REFUSED)]
    operation, added = ("add_message", batch[0]) if form == "single" else ("add_messages", batch)
    with s.refusing(session) as refuses_all:
        error = a.try_add(added, operation=operation)
    if error is not None:
        return  # a part may be stored: errors.refused_batch_stores_nothing
    for handle in (a, None):
        if handle is None and "shared" in s.subject.backend.lacks:
            break
        reader = handle or s.open(session)  # the first one may show what it only remembers
        got = reader.bounded_unless_refused("messages")
        if got is None:
            return  # the read raises, so it hides nothing
        lost = len(batch) - len(got)
        s.check(
            at_least,
            reader.result,
            len(batch),
            kind="swallowed_error",
            summary=f"`{operation}` returned although the store refused the write, and {lost} of "
            f"{len(batch)} message{'s'[: len(batch) != 1]} {'is' if lost == 1 else 'are'} not "
            "stored",
            returned=[show(item) for item in got],
        )
    if refuses_all:
        raise HookFailure(
            "refuse= had no effect: a message that was added inside it is stored. Let it make the "
            f"store refuse each write, or each message with the content {REFUSED!r}."
        )
    s.not_tried("a write that fails: the write after refuse= was stored, perhaps by a retry")


@contract(
    "errors.undecodable_record",
    rule="If a stored record is not a message, a read raises an error, or still returns the whole "
    "conversation. It never skips the record silently. The session can then be cleared and used "
    "again.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the "
    "messages; a caller would take a shorter list for the whole conversation",
    cause="The loop that decodes contains `except ValueError: continue`. Or `clear` reads the "
    "session first.",
    remedy="Raise an error that names the record and carries the messages that could be read. "
    "Delete without reading.",
    seen="openai-agents 0.24.0, memory/sqlite_session.py _decode_rows: `except JSONDecodeError: "
    "continue`; langchain-couchbase 1.1.1 `messages`: logs and returns a part",
    needs=("corrupt",),
    modes=ONE_HANDLE,
    program=st.integers(1, 3),
    examples=4,
)
def an_undecodable_record_is_not_skipped_silently(s: Session, size: int) -> None:
    a = s.open()
    a.add(_numbered("m", size))
    s.corrupt(a)
    for operation, *bounds in (("messages",), *_reads_of_all(s)):
        got = a.bounded_unless_refused(operation, *bounds)
        if got is not None and compare(a.model.stored, got) is not None:
            s.fail_claim(
                contents_are,
                a.result,
                [f"m{number}" for number in range(size)],
                kind="swallowed_error",
                summary=f"`{operation}` skipped a record that cannot be decoded: it returned "
                f"{len(got)} of {size} messages without an error",
                returned=[show(item) for item in got],
            )
    a.clear()
    a.add(_numbered("again", 2))
    a.reads_back()


def _reads_of_all(s: Session) -> list[tuple[Any, ...]]:
    """Return the bounded reads that the history has, each with bounds that are not reached."""
    reads = [(LAST, 100), (CONSUMED, 100, DEFAULT_SECONDS), (BEGINNING, 100, DEFAULT_SECONDS)]
    if "whole_reads" in s.subject.backend.lacks:
        reads.remove((CONSUMED, 100, DEFAULT_SECONDS))  # `messages` may have moved the position
    return [read for read in reads if s.offered([str(read[0])])]


@contract(
    "errors.add_after_undecodable_record",
    level="should",
    since="0.2",
    rule="If an add returns although an earlier record of the session is not a message, its "
    "messages are stored: a read that returns shows them. If a read fails, and its error has a "
    "list `messages`, they are in it.",
    source=f"{_ADD_MESSAGES}: adds a list of messages; a return is the only sign of success; "
    "convention: `messages` of an error has all messages that could be read",
    cause="A writer was killed in the middle of a line, and the next one continues that line.",
    remedy="Begin each record at a known place: end the torn line first, or cut it off.",
    seen="Tracer-Cloud/opensre#5750: a torn final line swallows the next turn",
    needs=("corrupt",),
    modes=ONE_HANDLE,
    program=st.integers(1, 3),
    examples=2,
)
def an_add_after_an_undecodable_record_is_stored(s: Session, size: int) -> None:
    a = s.open()
    a.add(_numbered("m", size))
    s.corrupt(a)
    added = [f"after{number}" for number in range(size)]
    if a.try_add(_numbered("after", size)) is not None:
        return
    reads: list[tuple[Any, ...]] = [("messages",)]
    reads += [(LAST, size)] if s.offered([LAST]) else []
    for operation, *bounds in reads:
        got = a.bounded_unless_refused(operation, *bounds)
        came = getattr(s.error.value, "messages", None) if got is None else got
        if not isinstance(came, list):
            continue  # an error that carries no messages hides none
        s.check(
            are_at_the_end_of,
            s.error if got is None else a.result,
            added,
            kind="lost",
            summary=f"messages that were added after a damaged record did not come back: "
            f"`{operation}` {'failed with' if got is None else 'returned'} {len(came)} messages",
            expected=added,
            returned=[show(item) for item in came],
        )


@contract(
    "errors.undecodable_record_keeps_the_others",
    level="may",
    rule="If a read fails because a record is not a message, its error has an attribute "
    "`messages`: a list of the messages that could be read, in order.",
    source="convention: one damaged record need not make the conversation unreadable, and a read "
    "must not hide the damage; langchain-core defines no error for this, so the attribute is a "
    "choice of this suite",
    cause="The first record that cannot be decoded ends the read.",
    remedy="Decode all records, then raise an error with the decoded messages in `messages`.",
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
        return  # errors.undecodable_record requires an error
    got = getattr(error, "messages", None)
    carried = contents(got) if isinstance(got, list) else []
    wanted = [f"m{number}" for number in range(size)]
    s.check(
        carries,
        s.error,
        wanted,
        kind="lost",
        summary=f"the error of the read carries {len(carried)} of the {size} messages that can be "
        "decoded",
        expected=wanted,
        returned=[show(item) for item in carried],
    )


@contract(
    "errors.refusal_names_the_problem",
    level="should",
    rule="The text of a refusal, or of the errors that caused it, names something of the refused "
    "value: its type, its field, or the class of the message.",
    source="convention: a message comes from a chain with hundreds of values, and a developer has "
    "to find the wrong one",
    cause="The exception has no text, or all refusals have the same text.",
    remedy="Pass on the text of the encoder's error, and put the name of the field before it.",
    seen="langchain-ai/langchain-mongodb#442: a NameError in the handler hides the error",
    modes=ONE_HANDLE,
    program=strategies.some_of(_UNSTORABLE).map(copy.deepcopy),
    examples=8,
)
def a_refusal_names_the_refused_value(s: Session, messages: list[BaseMessage]) -> None:
    a = s.open()
    a.add([HumanMessage("can be stored")])  # if this fails, the finding is another one
    for message in messages:
        words = _words(message)  # now, because the history may change the message
        error = a.try_add([message])
        s.check(
            mentions_any,
            s.error,
            words,
            kind="wrong_error",
            summary=f"a refusal does not name the refused value: {type(error).__name__}: "
            f"{show(str(error), 80)}",
            expected=[f"a text with one of: {', '.join(words)}"],
            returned=[full_text(error)],
        )


@contract(
    "errors.refusal_is_a_type_or_value_error",
    level="may",
    rule="A value that is not a message, or a message that cannot be stored because of its "
    "content, is refused with a TypeError or a ValueError, or with a subclass of one of them.",
    source="convention: Python's own types raise these errors for wrong arguments, and callers "
    "can distinguish them from an unavailable store",
    cause="The first statement that fails on the value raises AttributeError or KeyError.",
    remedy="Check the arguments before using them.",
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
            is_type_or_value_error,
            s.error,
            kind="wrong_error",
            summary=f"{show(refusable, 60)} was refused with {type(error).__name__} instead "
            "of a TypeError or a ValueError",
        )


def _numbered(stem: str, count: int) -> list[BaseMessage]:
    return [HumanMessage(f"{stem}{number}") for number in range(count)]


def _refuses(a: Handle, refusable: Any) -> bool:
    """Return whether an add is refused; if it is not, clear the session."""
    if a.try_add([refusable]) is not None:
        return True
    a.clear()
    return False


def _words(message: BaseMessage) -> list[str]:
    """Return the words, in lower case, of which a refusal of a message must contain one."""
    fields = ("additional_kwargs", "response_metadata", "artifact")
    for field in fields:
        value = getattr(message, field, None)
        if value:
            inner = value["colour"] if isinstance(value, dict) else value
            names = [field, "colour", type(inner).__name__, type(message).__name__, "json"]
            return [name.lower() for name in names]
    return ["content", "surrogate", "utf", "unicode", "str", type(message).__name__.lower()]
