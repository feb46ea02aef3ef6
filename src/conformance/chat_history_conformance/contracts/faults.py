"""Faults: what a history says and keeps where its server is not there, stalls, or is killed."""

from __future__ import annotations

from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.contracts.errors import full_text
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.execution.outage import (
    add_kept,
    adds_during,
    attempt_add,
    expect_acknowledged,
    read_when_back,
)
from chat_history_conformance.execution.session import Session

_ADD_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds a list of messages; "
    "there is no other sign of success than that it returns"
)
_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages; a "
    "shorter list would be taken for the conversation"
)
_TIMED_READS = ("messages_from_beginning", "messages_from_last_consumed")
_BOUND = 1.0
_TOLERANCE = 2.0
"""Seconds by which a read may exceed its time on a server that stalls."""


@contract(
    "faults.unreachable_raises",
    rule="Where no server is, opening a history raises, or else adding and reading do, each within "
    "the limit of one operation. An add never returns, and a read never gives a list, not even an "
    "empty one.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="errors of the connection are logged, or retried without end; or an error in a read "
    "counts as the end of what there is",
    remedy="let the client's error pass, or raise one that names the server, when its time-out is "
    "over",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py __init__: `except "
    "OperationalError: logger.error`; kafka.py __read_messages: logs the consumer's error, goes on "
    "and returns what came",
    needs=("server",),
    modes=(SYNC, ASYNC),
)
def a_server_that_is_not_there_is_told(s: Session, _: None) -> None:
    with s.nowhere() as address:
        a, refusal = s.try_open()
        if a is None or refusal is not None:
            return
        got = a.bounded_unless_refused("messages")
        s.check(
            got is None,
            "swallowed_error",
            f"reading returned {len(got or ())} messages from a server that is not there",
            "error is not None",
            expected=[f"an error: nothing listens at {address}"],
            returned=[show(got)],
        )
        s.check(
            a.try_add([HumanMessage("m0")]) is not None,
            "swallowed_error",
            "`add_messages` returned, and its server is not there",
            "error is not None",
            expected=[f"an error: nothing listens at {address}"],
        )


@contract(
    "faults.unreachable_names_session_and_server",
    level="should",
    rule="The text of the error where no server is, or of the errors it came from, holds the "
    "session id and the server's host and port.",
    source="convention: whoever reads the log of a program with many sessions and servers has to "
    "know which of them to look at",
    cause="the client's error is passed on as it is, and the client knows no session",
    remedy="raise an error of your own from the client's, with the session id and the address, and "
    "never a password",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: `Failed to add messages to "
    "Kafka: {e}` goes to the log, and the client's error to the caller",
    needs=("server",),
    modes=(SYNC, ASYNC),
)
def an_error_names_the_session_and_the_server(s: Session, _: None) -> None:
    with s.nowhere() as address:
        place = address.rpartition("/")[2]
        a, error = s.try_open()
        session_id = s.id_of("{nonce}-1")
        if a is not None:
            error = a.try_add([HumanMessage("m0")])
        if error is None:
            return  # whether that is right is for faults.unreachable_raises
        text = full_text(error)
        for name, word, code in (
            ("the session id", session_id, "nonce + '-1'"),
            ("the server's address", place, repr(place)),
        ):
            s.check(
                word in text,
                "wrong_error",
                f"the error where no server is does not name {name}: {type(error).__name__}: "
                f"{show(str(error), 80)}",
                f"{code} in str(error)",
                expected=[f"a text with {session_id} and {place}"],
                returned=[text],
            )


@contract(
    "faults.killed_server_keeps_acknowledged",
    rule="What was added before the server was killed is there after it was started again, once "
    "and in order, through the handle that added it and through a new one.",
    source=_ADD_MESSAGES,
    cause="the add returns before the server has said that it stored the messages; or the server "
    "is asked to say so before it has",
    remedy="wait for the acknowledgement of every message, and ask for one that outlives the "
    "server: `acks=all`, a commit, a request that is durable",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: returns with a "
    "warning while messages are still in flight",
    needs=("faults", "shared", "durable"),
    modes=(SYNC, ASYNC),
)
def what_was_acknowledged_outlives_the_server(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0", "m1", "m2")
    add_kept(s, a, "m3")
    s.kill_server()
    s.restart_server()
    b = s.open()
    expect_acknowledged(s, b, read_when_back(s, b))
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.handle_survives_restart",
    rule="A handle that was opened before the server was killed can be used when the server runs "
    "again, without being opened anew: reading works within the limit of one operation, then "
    "adding and clearing do.",
    source="convention: a program that serves conversations outlives a restart of its database",
    cause="the connection is made once, in the constructor, and nobody makes another; or a failed "
    "client is kept for ever",
    remedy="connect anew when the connection is found broken, or take it from a pool that does",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: one psycopg.connect for "
    "the life of the object",
    needs=("faults", "durable"),
    modes=(SYNC, ASYNC),
)
def an_old_handle_is_usable_after_a_restart(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0")
    a.reads_back()
    s.kill_server()
    s.restart_server()
    read_when_back(s, a)
    add_kept(s, a, "m1")
    a.reads_back()
    a.clear()
    a.reads_back()


@contract(
    "faults.in_flight_once",
    rule="Of messages added one by one while the server is killed and started again, each one "
    "whose add returned is there exactly once and in order, each one whose add raised is there at "
    "most once, and nothing else is.",
    source=_ADD_MESSAGES,
    cause="a buffer or a thread sends after the add has returned, and drops what fails; or a batch "
    "is sent again on the next connection, stored already or not",
    remedy="return when the server has acknowledged, raise when it has not; give each batch an id "
    "by which the server knows it when it comes again",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: a Producer without "
    "enable.idempotence, and a flush whose time-out is only logged",
    needs=("faults", "durable"),
    modes=(SYNC, ASYNC),
)
def adds_during_a_restart_are_stored_once_or_raise(s: Session, _: None) -> None:
    a = s.open()

    def restart() -> None:
        s.kill_server()
        s.restart_server()

    adds_during(s, a, "m", restart)
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.paused_server",
    rule="While the server is paused, an add and a read each return or raise within the limit of "
    "one operation; a read that returns gives the whole conversation. Afterwards what was added "
    "by a call that returned is there once and in order, and what was added by a call that raised "
    "at most once.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="the socket has no time-out; or an add that got no answer returns, or is sent a second "
    "time as a new one while the first one waits",
    remedy="set a time-out on every wait; raise when it is over; give each batch an id before it "
    "is sent first, so that the server stores it once",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: `messages are "
    "still in-flight` is a warning; redis.py: get_client(redis_url=url), without "
    "a socket_timeout",
    needs=("faults",),
    modes=(SYNC, ASYNC),
)
def a_paused_server_neither_blocks_nor_loses(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0", "m1")
    a.reads_back()
    s.pause_server()
    attempt_add(s, a, "m2")
    got = a.bounded_unless_refused("messages")
    if got is not None:
        expect_acknowledged(s, a, got)
    s.resume_server()
    read_when_back(s, a)
    add_kept(s, a, "m3")
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.paused_bounded_read",
    rule=f"While the server is paused, a read with `max_time_sec` of {_BOUND:g} returns or raises "
    f"within {_BOUND + _TOLERANCE:g} seconds. If it returns, it gives the whole conversation: what "
    "could not be read is no end of it.",
    source="convention: max_time_sec, as langchain-community 0.4.2 documents it for "
    "KafkaChatMessageHistory; a list that is short because the server stalls cannot be told from "
    "a short conversation",
    cause="the time bounds the loop and not the wait for the server inside it; or time that has "
    "passed without an answer ends the read like the end of the conversation",
    remedy="give each wait what is left of the time; raise where it has passed before the server "
    "said how much there is",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py __read_messages: when the "
    "time is over, what came is returned, nothing included",
    needs=("faults",),
    modes=(SYNC, ASYNC),
)
def a_bounded_read_of_a_paused_server_ends_in_time(s: Session, _: None) -> None:
    offered = s.offered(_TIMED_READS)
    if not offered:
        s.not_applicable(f"has none of {', '.join(_TIMED_READS)}")
    a = s.open()
    a.add([HumanMessage("m0"), HumanMessage("m1"), HumanMessage("m2")])
    a.bounded(offered[0], None, None)
    a.add([HumanMessage("m3")])
    s.pause_server()
    for operation in reversed(offered):  # the one from the beginning may move the position
        wanted = a.model.stored[-1 if operation == "messages_from_last_consumed" else 0 :]
        got = a.bounded_unless_refused(operation, None, _BOUND)
        s.check(
            a.took <= _BOUND + _TOLERANCE,
            "wrong_bound",
            f"`{operation}` took {a.took:.1f} s on a paused server where at most {_BOUND:g} s were "
            "asked for",
            f"took <= {_BOUND + _TOLERANCE:g}",
        )
        s.check(
            got is None or len(got) >= len(wanted),
            "swallowed_error",
            f"`{operation}` returned {len(got or ())} of {len(wanted)} messages from a paused "
            "server without an error",
            f"error is not None or len({a.last_variable}) >= {len(wanted)}",
            returned=[show(got)],
        )
