"""Faults: errors and stored messages when the server is unreachable, paused or killed."""

from __future__ import annotations

from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import (
    below,
    full_text,
    mentions,
    refused_or_at_least,
    was_refused,
)
from chat_history_conformance.execution.fault_steps import (
    add_kept,
    adds_during,
    attempt_add,
    expect_acknowledged,
    read_when_back,
)
from chat_history_conformance.execution.session import Session

_ADD_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds a list of messages; "
    "a return is the only sign of success"
)
_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages; a "
    "caller would take a shorter list for the whole conversation"
)
_TIMED_READS = ("messages_from_beginning", "messages_from_last_consumed")
_BOUND_SECONDS = 1.0
"""Time bound of the reads of a paused server."""
_TOLERANCE_SECONDS = 2.0
"""Seconds by which a read may exceed its time bound while the server is paused."""


@contract(
    "faults.unreachable_raises",
    rule="If no server is running, opening a history raises an error. If it does not, adding and "
    "reading raise an error. Each of these calls ends within the limit of one operation. No add "
    "succeeds, and no read returns a list, not even an empty one.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="Connection errors are only logged, or are retried without end. Or a read takes an "
    "error for the end of the conversation.",
    remedy="When the timeout is over, let the client's error pass, or raise an error that names "
    "the server.",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py __init__: `except "
    "OperationalError: logger.error`; kafka.py __read_messages: logs the consumer's error, "
    "continues and returns the messages received so far",
    needs=("server",),
    modes=(SYNC, ASYNC),
)
def an_unreachable_server_raises_an_error(s: Session, _: None) -> None:
    with s.server.unreachable() as address:
        a, refusal = s.try_open()
        if a is None or refusal is not None:
            return
        got = a.bounded_unless_refused("messages")
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary=f"the read returned {len(got or ())} messages although no server is running",
            expected=[f"an error: nothing listens at {address}"],
            returned=[show(got)],
        )
        a.try_add([HumanMessage("m0")])
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary="`add_messages` returned although no server is running",
            expected=[f"an error: nothing listens at {address}"],
        )


@contract(
    "faults.unreachable_names_session_and_server",
    level="should",
    rule="If no server is running, the text of the error, or of the errors that caused it, "
    "contains the session id and the server's host and port.",
    source="convention: the reader of a log with many sessions and servers has to know which of "
    "them failed",
    cause="The client's error is passed on unchanged, and the client does not know the session.",
    remedy="Raise your own error from the client's error, with the session id and the address. "
    "Never include a password.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: `Failed to add messages to "
    "Kafka: {e}` goes to the log, and the client's error to the caller",
    needs=("server",),
    modes=(SYNC, ASYNC),
)
def an_error_names_the_session_and_the_server(s: Session, _: None) -> None:
    with s.server.unreachable() as address:
        place = address.rpartition("/")[2]
        a, error = s.try_open()
        session_id = s.id_of("{nonce}-1")
        if a is not None:
            error = a.try_add([HumanMessage("m0")])
        if error is None:
            return  # faults.unreachable_raises requires an error
        text = full_text(error)
        for name, word in (
            ("the session id", s.id_ref("{nonce}-1")),
            ("the server's address", place),
        ):
            s.check(
                mentions,
                s.error,
                word,
                kind="wrong_error",
                summary=f"the error for an unreachable server does not name {name}: "
                f"{type(error).__name__}: {show(str(error), 80)}",
                expected=[f"a text with {session_id} and {place}"],
                returned=[text],
            )


@contract(
    "faults.killed_server_keeps_acknowledged",
    rule="Messages that were added before the server was killed are stored after its restart, "
    "once and in order. The handle that added them reads them, and so does a new handle.",
    source=_ADD_MESSAGES,
    cause="The add returns before the server has acknowledged the messages. Or the request asks "
    "the server to acknowledge them before it has stored them.",
    remedy="Wait for the acknowledgement of every message, and ask for one that survives a crash "
    "of the server: `acks=all`, a commit, a durable request.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: returns with a "
    "warning while messages are still in flight",
    needs=("faults", "shared", "durable"),
    modes=(SYNC, ASYNC),
)
def acknowledged_messages_survive_a_killed_server(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0", "m1", "m2")
    add_kept(s, a, "m3")
    s.server.kill()
    s.server.restart()
    b = s.open()
    expect_acknowledged(s, b, read_when_back(s, b))
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.handle_survives_restart",
    rule="A handle that was opened before the server was killed works again after the restart, "
    "without being opened again. The first read succeeds within the limit of one operation. After "
    "it, adding and clearing succeed too.",
    source="convention: an application keeps running when its database restarts",
    cause="The connection is created once, in the constructor, and never again. Or a failed "
    "client is kept for ever.",
    remedy="Reconnect when the connection is broken, or take connections from a pool that does so.",
    seen="langchain-community 0.4.2, chat_message_histories/postgres.py: one psycopg.connect for "
    "the life of the object",
    needs=("faults", "durable"),
    modes=(SYNC, ASYNC),
)
def an_old_handle_is_usable_after_a_restart(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0")
    a.reads_back()
    s.server.kill()
    s.server.restart()
    read_when_back(s, a)
    add_kept(s, a, "m1")
    a.reads_back()
    a.clear()
    a.reads_back()


@contract(
    "faults.in_flight_once",
    rule="The server is killed and restarted while messages are added one by one. A message whose "
    "add returned is stored exactly once and in order. A message whose add raised is stored at "
    "most once, and nothing else is stored.",
    source=_ADD_MESSAGES,
    cause="A buffer or a thread sends messages after the add has returned, and drops those that "
    "fail. Or a batch is sent again on the next connection although it may be stored already.",
    remedy="Return when the server has acknowledged, and raise if it has not. Give each batch an "
    "id by which the server recognises it when it is sent again.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: a Producer without "
    "enable.idempotence, and a flush whose timeout is only logged",
    needs=("faults", "durable"),
    modes=(SYNC, ASYNC),
)
def adds_during_a_restart_are_stored_once_or_raise(s: Session, _: None) -> None:
    a = s.open()

    def restart() -> None:
        s.server.kill()
        s.server.restart()

    adds_during(s, a, "m", restart)
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.paused_server",
    rule="While the server is paused, an add and a read each return or raise within the limit of "
    "one operation. A read that returns gives the whole conversation. Afterwards, messages whose "
    "add returned are stored once and in order, and messages whose add raised are stored at most "
    "once.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="The socket has no timeout. Or an add that received no answer returns, or is sent again "
    "as a new request while the first one still waits.",
    remedy="Set a timeout for every wait, and raise when it is over. Give each batch an id before "
    "it is first sent, so that the server stores it once.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: `messages are "
    "still in-flight` is a warning; redis.py: get_client(redis_url=url), without "
    "a socket_timeout",
    needs=("faults",),
    modes=(SYNC, ASYNC),
)
def a_paused_server_neither_blocks_calls_nor_loses_messages(s: Session, _: None) -> None:
    a = s.open()
    add_kept(s, a, "m0", "m1")
    a.reads_back()
    s.server.pause()
    attempt_add(s, a, "m2")
    got = a.bounded_unless_refused("messages")
    if got is not None:
        expect_acknowledged(s, a, got)
    s.server.resume()
    read_when_back(s, a)
    add_kept(s, a, "m3")
    expect_acknowledged(s, a, read_when_back(s, a))


@contract(
    "faults.paused_bounded_read",
    rule=f"While the server is paused, a read with `max_time_sec` of {_BOUND_SECONDS:g} returns or "
    f"raises within {_BOUND_SECONDS + _TOLERANCE_SECONDS:g} seconds. If it returns, it returns the "
    "whole conversation: a missing answer is not the end of the conversation.",
    source="convention: max_time_sec, as langchain-community 0.4.2 documents it for "
    "KafkaChatMessageHistory; a caller cannot distinguish a list that is short because of a "
    "paused server from a short conversation",
    cause="The time limits the loop, but not the wait for the server inside it. Or the read ends "
    "when its time is over without an answer, as if the conversation ended there.",
    remedy="Give each wait the time that is left. Raise an error if the time is over before the "
    "server has reported the length of the conversation.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py __read_messages: when the "
    "time is over, the messages received so far are returned, even an empty list",
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
    s.server.pause()
    for operation in reversed(offered):  # a read from the beginning may move the position
        wanted = a.model.stored[-1 if operation == "messages_from_last_consumed" else 0 :]
        got = a.bounded_unless_refused(operation, None, _BOUND_SECONDS)
        s.check(
            below,
            a.took_ref,
            _BOUND_SECONDS + _TOLERANCE_SECONDS,
            kind="wrong_bound",
            summary=f"`{operation}` took {a.took:.1f} s on a paused server with a time bound of "
            f"{_BOUND_SECONDS:g} s",
        )
        s.check(
            refused_or_at_least,
            s.error,
            a.result,
            len(wanted),
            kind="swallowed_error",
            summary=f"`{operation}` returned {len(got or ())} of {len(wanted)} messages from a "
            "paused server without an error",
            returned=[show(got)],
        )
