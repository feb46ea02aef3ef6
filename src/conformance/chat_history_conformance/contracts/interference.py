"""Interference: what other users of the store do to a session hides, loses and breaks nothing."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.bounded import BEGINNING, CONSUMED, LAST
from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.execution.fault_steps import read_when_back
from chat_history_conformance.execution.outcome_steps import Adds, Consumption
from chat_history_conformance.execution.session import Handle, Session

_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages; a "
    "caller would take a shorter list for the whole conversation"
)
_ADD_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds a list of messages; "
    "a return is the only sign of success"
)
_ALL = 1000
"""A bound that no conversation of these contracts reaches."""


def _sessions(s: Session) -> Iterator[tuple[str, str]]:
    """Yield each declared interference, with the template of a session for it."""
    for number, name in enumerate(s.subject.backend.interference, 1):
        yield name, f"{{nonce}}-{number}"


def _whole_reads(s: Session) -> list[tuple[str, tuple[int | None, ...]]]:
    """Return the reads that can return the whole conversation, with their bounds."""
    bounds: dict[str, tuple[int | None, ...]] = {LAST: (_ALL,), BEGINNING: (_ALL, None)}
    return [("messages", ()), *((name, bounds[name]) for name in s.offered(tuple(bounds)))]


def _look(s: Session, adds: Adds, handle: Handle) -> None:
    """Read in every way; each read raises or returns all that was acknowledged."""
    for operation, bounds in _whole_reads(s):
        got = handle.bounded_unless_refused(operation, *bounds)
        if got is not None:
            adds.check(handle, got)


@contract(
    "interference.hides_nothing",
    since="0.2",
    rule="While another user of the store interferes with a session, in each way that the "
    "declaration lists in `interference=`, an add raises, or its messages are visible. Each read "
    "(`messages`, `last_messages`, `messages_from_beginning`) raises, or returns all messages "
    "whose add returned, before or during the interference. Each call ends within the limit of "
    "one operation.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="The store hides records at the moment, or refuses a request, and the history takes "
    "this for the end of the conversation. Or an add returns although the store has refused or "
    "dropped its messages.",
    remedy="Compare the end of what was read with the end that the store reports, and raise if "
    "something is missing. Check the answer to each write.",
    seen="confluentinc/librdkafka#3423: a reader of committed messages sees nothing behind the "
    "open transaction of another producer",
    needs=("interference", "shared"),
    modes=(SYNC, ASYNC),
)
def nothing_acknowledged_is_hidden_by_another_user(s: Session, _: None) -> None:
    for name, session in _sessions(s):
        adds = Adds(s)
        a, b = s.open(session), s.open(session)
        adds.add(a, "m0", "m1")
        a.reads_back()
        adds.during = f"during {show(name)}, "
        with s.interfering(name, session):
            for content in ("m2", "m3"):
                adds.attempt(a, content)
                _look(s, adds, a)
            got = b.bounded_unless_refused("messages")
            if got is not None:
                adds.check(b, got)


@contract(
    "interference.skips_nothing",
    since="0.2",
    rule="While another user of the store interferes with a session, a consuming read raises, or "
    "continues without a gap. All consuming reads, during the interference and after it, deliver "
    "each stored message, in order. A read that raises has consumed nothing, or its error has the "
    "messages in `messages` and does not say `outcome_unknown=False`; only such messages, and "
    "those after them, may come again.",
    source="convention: a message that was not delivered was not consumed; a caller that catches "
    "an error reads again",
    cause="The read moves the position over records that the store hides at the moment. Or it "
    "moves the position, fails afterwards, and drops the messages.",
    remedy="Move the position as the last step, past the returned messages only. If its outcome "
    "is unknown, put the messages into the error.",
    seen="convention: a position that moves over hidden records never returns to them",
    needs=("interference", CONSUMED),
    modes=(SYNC, ASYNC),
)
def consuming_reads_skip_nothing_because_of_another_user(s: Session, _: None) -> None:
    for name, session in _sessions(s):
        adds, consumption = Adds(s), Consumption(s, CONSUMED)
        a = s.open(session)
        adds.add(a, "m0", "m1")
        consumption.read(a, _ALL, None)
        consumption.during = adds.during = f"with {show(name)}, "
        with s.interfering(name, session):
            for content in ("m2", "m3"):
                adds.attempt(a, content)
                consumption.read(a, _ALL, None)
        adds.add_when_back(a, "m4")
        consumption.read_to_the_end(a)
        whole = read_when_back(s, a)
        adds.check(a, whole)
        consumption.check(a, whole)


@contract(
    "interference.recovers",
    since="0.2",
    rule="After another user of the store has interfered with a session, everything works again "
    "in the same process, without a restart: reading, adding and clearing, through the handles "
    "that were used during the interference, through other handles, and in other sessions. The "
    "first read and the first add succeed within the limit of one operation. Messages whose add "
    "returned are stored once and in order, messages whose add raised are stored at most once.",
    source="convention: an application keeps running when a permission is restored or a setting "
    "is corrected",
    cause="A client whose state went bad is kept: a connection, a producer with a fatal error, a "
    "thread that has ended, a failed check that is remembered. Or messages whose add has failed "
    "are sent again later.",
    remedy="Replace a client after an error that it does not recover from. Remember success only. "
    "Drop what the caller knows as failed.",
    seen="confluentinc/confluent-kafka-python#1151: a producer that was refused its id keeps its "
    "fatal error for ever",
    needs=("interference", "shared"),
    modes=(SYNC, ASYNC),
)
def everything_works_again_after_another_user_interfered(s: Session, _: None) -> None:
    for name, session in _sessions(s):
        adds = Adds(s)
        a, b = s.open(session), s.open(session)
        adds.add(a, "m0")
        a.reads_back()
        b.reads_back()
        with s.interfering(name, session):
            for content in ("m1", "m2"):
                adds.attempt(a, content)
            a.bounded_unless_refused("messages")
        adds.during = f"after {show(name)}, "
        adds.check(a, read_when_back(s, a))
        adds.add_when_back(a, "m3")
        adds.add_when_back(b, "m4")
        s.sleep(0.5)
        adds.check(b, b.read())
        adds.check(a, a.read())
        other = s.open(f"{session}-other")
        other.add([HumanMessage("m5")])
        other.reads_back()
        a.clear()
        a.reads_back()


@contract(
    "interference.claims_are_true",
    since="0.2",
    rule="If an add raises while another user of the store interferes, what its error says is "
    "true, during the interference and after it. With `outcome_unknown=False`, no message of the "
    "batch is stored, or, if the error has `unconfirmed`, none at these positions. Messages at "
    "other positions than `unconfirmed` are stored.",
    source="convention: `outcome_unknown` and `unconfirmed` of errors, described in "
    "docs/adopting.md; a caller repeats an add that is surely not stored",
    cause="Every refusal is reported as `not stored`, although a part of the batch, or the whole "
    "batch, was stored before the answer was lost. Or the client keeps the batch and sends it "
    "later.",
    remedy="Say `outcome_unknown=False` only if the store has refused the request, or the request "
    "was never sent, and no client will send it later.",
    seen="convention: the error of a batch of which a part is stored, with the advice to add it "
    "again, doubles messages",
    needs=("interference",),
    modes=(SYNC, ASYNC),
)
def errors_of_adds_say_the_truth_about_what_is_stored(s: Session, _: None) -> None:
    for name, session in _sessions(s):
        adds = Adds(s)
        a = s.open(session)
        adds.add(a, "m0")
        adds.during = f"with {show(name)}, "
        with s.interfering(name, session):
            for number in (1, 2):
                adds.attempt(a, *(f"m{number}{letter}" for letter in "abc"))
                got = a.bounded_unless_refused("messages")
                if got is not None:
                    adds.check(a, got)
        adds.check(a, read_when_back(s, a))
        adds.add_when_back(a, "m3")
        s.sleep(0.5)
        adds.check(a, a.read())
