"""Faults: errors and stored messages when the server is unreachable, paused or killed."""

from __future__ import annotations

import re
import time

from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import (
    below,
    content,
    contents_are_one_of,
    full_text,
    mentions,
    refused_or_at_least,
    was_refused,
)
from chat_history_conformance.diagnosis.script_outcomes import any_raised, any_undocumented
from chat_history_conformance.diagnosis.script_traffic import (
    short_reads,
    skipped,
    wrong_batches,
    wrong_conversation,
    wrong_reads,
)
from chat_history_conformance.execution.fault_steps import (
    add_kept,
    adds_during,
    attempt_add,
    expect_acknowledged,
    read_when_back,
)
from chat_history_conformance.execution.outcome_steps import Adds
from chat_history_conformance.execution.resource_steps import leaves_nothing_open
from chat_history_conformance.execution.session import Handle, Session
from chat_history_conformance.execution.traffic import Stream, adds, reads, rest, settled, traffic

_ADD_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: adds a list of messages; "
    "a return is the only sign of success"
)
_MESSAGES = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.messages: returns the messages; a "
    "caller would take a shorter list for the whole conversation"
)
_CONSUMED = "messages_from_last_consumed"
_CONSUME_SECONDS = 2.0
"""Time bound of consuming reads."""
_SESSIONS = 3
_RESTARTS = 4
"""Restarts of the server, the last of them after a kill."""
_PAUSES = (
    (0.3, ("resume",)),
    (6.5, ("resume",)),
    (2.5, ("resume", "kill", "restart")),
    (1.5, ("resume",)),
    (4.0, ("kill", "restart")),
)
"""Pauses of the server in seconds, some longer than clients wait, and the end of each."""
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
    needs=("outage",),
    modes=(SYNC, ASYNC),
)
def an_unreachable_server_raises_an_error(s: Session, _: None) -> None:
    with s.server.away() as why:
        a, refusal = s.try_open()
        if a is None or refusal is not None:
            return
        got = a.bounded_unless_refused("messages")
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary=f"the read returned {len(got or ())} messages although no server is running",
            expected=[f"an error: {why}"],
            returned=[show(got)],
        )
        a.try_add([HumanMessage("m0")])
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary="`add_messages` returned although no server is running",
            expected=[f"an error: {why}"],
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
        place = re.sub(r"^\w+://|/.*$", "", address)
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
    b = s.open(again=True)
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
    needs=(
        "faults",
        "pause",
    ),
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
    "faults.dead_server_reads",
    since="0.2",
    rule="The server is killed, or shut down, while handles that were in use read without a "
    "pause. Each read raises an error within the limit of one operation, or returns all that it "
    "would return if the server ran. An empty or a short list never stands for an error. This "
    "holds for `messages` and for each bounded read, also in the first milliseconds.",
    source=_MESSAGES,
    cause="The client has lost the server and reports that it does not know the conversation. The "
    "history takes this for the server's answer that the conversation is empty. Or a read takes a "
    "broken connection for the end of the conversation.",
    remedy="Return a list only if the server itself has said where the conversation ends. Raise "
    "for every error that the client library makes up, whatever its code.",
    seen="chat-history-conformance 0.1.0, kafka/log.py: the client's _UNKNOWN_PARTITION after a "
    "kill counts as a partition without messages; langchain-community 0.4.2, "
    "chat_message_histories/kafka.py __read_messages",
    needs=("faults", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def reads_of_a_dead_server_raise_or_return_everything(s: Session, _: None) -> None:
    texts = [f"m{number}" for number in range(5)]
    a, b = s.open(), s.open()
    add_kept(s, a, *texts)
    a.reads_back()
    b.reads_back()
    expected = {reads(handle, pause=0.0): texts for handle in (a, b)}
    if s.offered(("last_messages",)):
        expected[reads(a, "last_messages", 3, pause=0.0)] = texts[-3:]
    if s.offered(("messages_from_beginning",)):
        expected[reads(b, "messages_from_beginning", 4, None, pause=0.0)] = texts[:4]
    with traffic(s, [*expected]) as seen:
        for end, seconds in (
            (s.server.kill, 0.7),
            (s.server.kill, s.subject.limit / 2),  # so long that retries come to an end
            (s.server.shut_down, 0.7),
        ):
            end()
            s.sleep(seconds)
            s.server.restart()
            s.sleep(1.0)
    for stream, wanted in expected.items():
        seen.claim_none(short_reads, stream.phrase.invocation.name, wanted, seen.seen[stream])
    for handle in (a, b):
        expect_acknowledged(s, handle, read_when_back(s, handle))


@contract(
    "faults.dead_server_clear",
    since="0.2",
    rule="A clear raises an error within the limit of one operation if the server was killed or "
    "shut down after the handle was used. After the restart the session has all its messages or "
    "none. Messages that are added afterwards stay, and the next clear works.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages; a "
    "return is the only sign of success",
    cause="The error of a delete is only logged. Or the clear waits in a queue of the client, and "
    "is carried out when the server is back, together with what was added since.",
    remedy="Return when the server has confirmed the clear, and raise if it has not. Let a clear "
    "that may arrive late remove only what was stored when it was called.",
    seen="langchain-community 0.4.2, chat_message_histories/elasticsearch.py clear: `except "
    "ApiError: logger.error`, then raise; kafka.py clear: a failed delete_records is only logged",
    needs=("faults", "shared", "durable"),
    modes=(SYNC, ASYNC),
)
def a_clear_of_a_dead_server_raises(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    for number, end in enumerate((s.server.kill, s.server.shut_down)):
        texts = [f"m{number}.{place}" for place in range(5)]
        a.add([HumanMessage(text) for text in texts])
        a.reads_back()
        b.reads_back()
        end()
        (a, b)[number].try_clear()
        s.check(
            was_refused,
            s.error,
            kind="swallowed_error",
            summary="`clear` returned although no server is running",
        )
        s.server.restart()
        read_when_back(s, a)
        left = [content(message) for message in a.result.value]
        s.check(
            contents_are_one_of,
            a.result,
            [texts, []],
            kind="lost" if len(left) < len(texts) else "foreign",
            summary=f"{len(left)} of {len(texts)} messages are left of a clear that raised",
            expected=["all of them, or none"],
            returned=list(map(str, left)),
        )
        later = f"later{number}"
        a.add([HumanMessage(later)])
        s.sleep(1.0)
        for handle in (a, b):
            handle.read()
            s.check(
                contents_are_one_of,
                handle.result,
                [[*left, later], [later]],
                kind="lost",
                summary="a clear that raised has changed what was added after it",
                expected=[*map(str, left), later],
                returned=[str(content(message)) for message in handle.result.value],
            )
        b.clear()
        a.reads_back()


@contract(
    "faults.clear_survives_kill",
    since="0.2",
    rule="The server is killed directly after clears that returned. After its restart the "
    "sessions are still empty: for the handles from before, for new ones, in another process, and "
    "for consuming reads. A history whose store cannot promise that declares it with "
    "`lacks={'durable_clear': REASON}`.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.clear: removes all messages; a "
    "caller clears to be rid of them, for instance because a user asked for it",
    cause="The store acknowledges the removal before it has written it. Or it writes a checkpoint "
    "of what is removed only from time to time.",
    remedy="Ask for a removal that survives a crash. If the store has none, store a record that "
    "says `cleared up to here` and let reads begin behind it. Or declare that the history lacks "
    "`durable_clear`.",
    seen="chat-history-conformance 0.1.0, kafka/history.py clear: delete_records returns, and the "
    "broker writes the new start of the log every 60 s",
    needs=("faults", "shared", "durable", "durable_clear"),
    modes=(SYNC, ASYNC),
)
def a_clear_survives_a_killed_server(s: Session, _: None) -> None:
    consumes = bool(s.offered((_CONSUMED,)))
    names = [f"{{nonce}}-{number}" for number in range(3)]
    handles = [s.open(name) for name in names]
    for a in handles:
        a.add([HumanMessage(f"{a.name}{number}") for number in range(20)])
        if consumes:
            a.bounded(_CONSUMED, 3, _CONSUME_SECONDS)
    for a in handles:
        a.clear()
    s.server.kill()
    s.server.restart()
    for name, a in zip(names, handles, strict=True):
        b, c = s.open(name, again=True), s.open(name, in_second_process=True, again=True)
        for handle in (a, b, c):
            handle.expect(read_when_back(s, handle))
        if consumes:
            b.expect(rest(s, b, _CONSUMED, None, _CONSUME_SECONDS))
        a.add([HumanMessage("new")])
        for handle in (c, b, a):
            handle.reads_back()
        if consumes:
            a.expect(rest(s, a, _CONSUMED, None, _CONSUME_SECONDS))


@contract(
    "faults.survives_restarts",
    since="0.2",
    rule="The server is shut down in an orderly way and started again, several times, and then "
    "killed, while several sessions add, read and consume. The process that uses the history "
    "survives. Each call ends within the limit of one operation. Messages whose add returned are "
    "stored once and in order, messages whose add raised at most once. A read returns all "
    "messages that were acknowledged before it, or raises. Consuming reads skip nothing: one that "
    "raises has consumed nothing, or its error has the messages as `messages`.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}; convention: servers are updated while applications run",
    cause="A library in C uses freed memory when a broker goes away. Or the position of a "
    "consuming read is stored, and then the read raises because the answer was lost.",
    remedy="Do not call what crashes; see whether another call of the library gives the same "
    "answer. Read first and store the position last, and let an error carry the messages if its "
    "outcome is unknown.",
    seen="chat-history-conformance 0.1.0, kafka/log.py: ListConsumerGroupOffsets ends the process "
    "with SIGSEGV in rd_kafka_cgrp_op when a broker ends in an orderly way",
    needs=("faults", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def the_process_survives_restarts_of_the_server(s: Session, _: None) -> None:
    consumes = bool(s.offered((_CONSUMED,)))
    names = [f"{{nonce}}-{number}" for number in range(_SESSIONS)]
    writers = [s.open(name, in_second_process=True) for name in names]
    readers = [s.open(name, in_second_process=True) for name in names]
    streams = [adds(handle, "m", pause=0.05) for handle in writers]
    streams += [reads(handle, pause=0.05) for handle in readers]
    if consumes:
        streams += [reads(a, _CONSUMED, None, _CONSUME_SECONDS) for a in (*readers, *writers)]
    with traffic(s, streams) as seen:
        for number in range(_RESTARTS):
            (s.server.kill if number == _RESTARTS - 1 else s.server.shut_down)()
            s.sleep(0.1 * number)
            s.server.restart()
            s.sleep(0.7)
    for name, a in zip(names, writers, strict=True):
        came = settled(s, a)
        added = seen.lanes("add_messages", session=name)
        seen.claim_none(wrong_conversation, [], added, came)
        if _sees_writes_at_once(s):
            for read in seen.lanes("messages", session=name):
                seen.claim_none(wrong_reads, [], added, read)
        if consumes:
            consumed = seen.lanes(_CONSUMED, session=name)
            left = rest(s, a, _CONSUMED, None, _CONSUME_SECONDS)
            seen.claim_none(skipped, added, consumed, left)


@contract(
    "faults.late_answers_once",
    since="0.2",
    rule="The server is paused for shorter and for longer than a client waits, is killed while it "
    "is paused, and is killed directly after a pause, while messages and batches are added. Each "
    "call ends within the limit of one operation. Messages whose add returned are stored once and "
    "in order, messages whose add raised at most once, and nothing else is stored. A read returns "
    "all messages that were acknowledged before it, or raises.",
    source=f"{_ADD_MESSAGES}; {_MESSAGES}",
    cause="A request that was answered late is sent again under a new identity: a new id, a new "
    "producer, or a new epoch of the producer.",
    remedy="Give each batch an identity before it is first sent, and keep it for each repetition, "
    "on each connection. If the identity is lost, raise instead of sending again.",
    seen="chat-history-conformance 0.1.0, kafka/clients.py: message.timeout.ms ends the epoch of "
    "the shared producer, and one message is stored under two epochs",
    needs=("faults", "pause", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def late_answers_store_each_message_once(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    add_kept(s, a, "first")
    b.reads_back()
    streams = [adds(a, "a"), adds(b, "b", size=3), reads(b, pause=0.1)]
    with traffic(s, streams) as seen:
        for seconds, ends in _PAUSES:
            s.server.pause()
            s.sleep(seconds)
            for end in ends:
                getattr(s.server, end)()
            s.sleep(1.0)
    added = seen.lanes("add_messages")
    for handle in (a, b):
        seen.claim_none(wrong_conversation, ["first"], added, settled(s, handle))
    if _sees_writes_at_once(s):
        for read in seen.lanes("messages"):
            seen.claim_none(wrong_reads, ["first"], added, read)


@contract(
    "faults.batch_whole_or_reported",
    level="should",
    since="0.2",
    rule="The server is killed while batches of 40 messages are added. A batch whose add raised "
    "is stored whole or not at all, or the error says what is stored: `outcome_unknown = False` "
    "means nothing, and `unconfirmed` lists the positions that were not acknowledged; the other "
    "messages are stored.",
    source="convention: a caller adds a failed batch again, and has to know which part of it",
    cause="The messages of a batch are sent one by one, and the first error ends the sending.",
    remedy="Send a batch as one request that the server carries out whole. If it cannot, list the "
    "positions without an acknowledgement in the error.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: one produce "
    "for each message, and one flush",
    needs=("faults", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def a_batch_that_raised_is_stored_whole_or_as_the_error_says(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    with traffic(s, [adds(one, one.name, size=40, pause=0.0) for one in (a, b)]) as seen:
        for end, seconds in (
            (s.server.kill, 0.0),
            (s.server.shut_down, s.subject.limit / 2),  # so long that retries come to an end
            (s.server.kill, 0.0),
        ):
            end()
            s.sleep(seconds)
            s.server.restart()
            s.sleep(1.0)
    seen.claim_none(wrong_batches, seen.lanes("add_messages"), settled(s, a))


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
    needs=(
        "faults",
        "pause",
    ),
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


_WAITING_READS = 64
_WAITING_ADDS = 16
_SHORT_SECONDS = 0.5
_QUICK_SECONDS = 1.5
"""The time of a restart up to which calls are expected to wait for the server."""


def _sees_writes_at_once(s: Session) -> bool:
    """Return whether reads can be judged that run while messages are added."""
    return "immediate_reads" not in s.subject.backend.lacks


def _offered_reads(s: Session, handle: Handle, pause: float) -> list[Stream]:
    """Return a stream for each way to read that moves no position."""
    bounds = {"last_messages": (100,), "messages_from_beginning": (100, None)}
    names = s.offered(tuple(bounds))
    return [
        reads(handle, pause=pause),
        *(reads(handle, name, *bounds[name], pause=pause) for name in names),
    ]


@contract(
    "faults.error_class",
    level="should",
    since="0.2",
    rule="Each error that a call raises because the server is paused, killed, shut down or "
    "starting is a ConnectionError, a TimeoutError, or one of the classes that the declaration "
    "lists in `server_errors=`. This holds for adds and for each read, also if many calls wait.",
    source="convention: an application catches the errors of a server that is away by their "
    "class; Python has ConnectionError and TimeoutError for them",
    cause="An answer that the code does not expect raises a KeyError or an AttributeError. Or the "
    "client's own error class is passed on for some error codes.",
    remedy="Raise your own class, derived from ConnectionError, for each error of the client "
    "that means `no answer`. Or list the client's classes in `server_errors=`.",
    seen="chat-history-conformance 0.1.0, kafka/log.py: 63 of 64 reads of a broker that stalls "
    "raise KafkaHistoryError, which is not a ConnectionError",
    needs=("faults", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def errors_during_a_fault_have_a_documented_class(s: Session, _: None) -> None:
    handles = [s.open() for _ in range(4)]
    add_kept(s, handles[0], "first")
    for handle in handles:
        handle.reads_back()
    streams = [adds(handle, handle.name, pause=0.1) for handle in handles[:2]]
    for handle in handles:
        streams += [one for _ in range(6) for one in _offered_reads(s, handle, 0.1)[:1]]
        streams += _offered_reads(s, handle, 0.1)[1:]
    classes = [ConnectionError, TimeoutError, *s.subject.backend.server_errors]
    with traffic(s, streams) as seen:
        if s.server.can_pause:
            s.server.pause()
            s.sleep(3.0)
            s.server.resume()
            s.sleep(0.3)
        for end in (s.server.kill, s.server.shut_down):
            end()
            s.sleep(0.7)
            s.server.restart()
            s.sleep(0.3)
    for stream in streams:
        name = stream.phrase.invocation.name
        seen.claim_none(any_undocumented, name, classes, seen.seen[stream])


@contract(
    "faults.errors_are_true",
    since="0.2",
    rule="If an add raises because the server is paused or killed, what its error says is true, "
    "also after the server is back. With `outcome_unknown=False`, no message of the batch is "
    "stored, or, if the error has `unconfirmed`, none at these positions. Messages at other "
    "positions than `unconfirmed` are stored.",
    source="convention: `outcome_unknown` and `unconfirmed` of errors, described in "
    "docs/adopting.md; a caller repeats an add that is surely not stored",
    cause="A missing answer is taken for a missing message. But the request may wait in the "
    "server's socket, and is carried out when the server goes on.",
    remedy="Say `outcome_unknown=False` only if the request was never sent, and no client will "
    "send it later.",
    seen="convention: a batch that is added again because its error said `not stored` is doubled",
    needs=("faults", "durable"),
    modes=(SYNC, ASYNC),
)
def errors_of_adds_during_a_fault_say_the_truth(s: Session, _: None) -> None:
    a, batches = s.open(), Adds(s)
    batches.add(a, "m0")
    a.reads_back()
    if s.server.can_pause:
        s.server.pause()
        batches.attempt(a, "m1a", "m1b", "m1c")
        s.server.resume()
        batches.check(a, read_when_back(s, a))
    s.server.kill()
    batches.attempt(a, "m2a", "m2b", "m2c")
    s.server.restart()
    batches.check(a, read_when_back(s, a))
    batches.add_when_back(a, "m3")
    s.sleep(0.5)
    batches.check(a, a.read())


@contract(
    "faults.short_stall_is_waited_for",
    level="should",
    since="0.2",
    rule=f"The server stalls for {_SHORT_SECONDS:g} s, several times, while messages are added and "
    "read. No call raises.",
    source="convention: a pause of the garbage collector or of a virtual machine is not an "
    "outage, and the limit of a call is much longer",
    cause="The client's time limit for one attempt is shorter than the stall, and there is no "
    "second attempt. Or an error that passes by itself is raised at once.",
    remedy="Repeat what can be repeated until the time limit of the call is over.",
    seen="chat-history-conformance 0.1.0, kafka/log.py _COMING: a list of error codes by hand, "
    "without _TIMED_OUT_QUEUE and OFFSET_NOT_AVAILABLE",
    needs=("faults", "pause", "shared", "threads"),
    modes=(SYNC, ASYNC),
)
def a_short_stall_of_the_server_is_waited_for(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    add_kept(s, a, "first")
    b.reads_back()
    streams = [adds(a, "m", pause=0.1), *_offered_reads(s, b, 0.1)]
    with traffic(s, streams) as seen:
        for seconds in (0.2, 0.37, 0.61):
            s.sleep(seconds)
            s.server.pause()
            s.sleep(_SHORT_SECONDS)
            s.server.resume()
        s.sleep(0.3)
    for stream in streams:
        seen.claim_none(any_raised, stream.phrase.invocation.name, seen.seen[stream])
    came = settled(s, b)
    seen.claim_none(wrong_conversation, ["first"], seen.lanes("add_messages"), came)


@contract(
    "faults.quick_restart_is_waited_for",
    level="may",
    since="0.2",
    rule=f"The server is shut down and started again within {_QUICK_SECONDS:g} s while messages "
    "are read: no read raises, also if the server answers at first that it is not ready yet. If "
    "the restart takes longer, each error is a ConnectionError, a TimeoutError, or one of "
    "`server_errors=`.",
    source="convention: servers are updated while applications run, and a server that says `not "
    "yet` asks for another attempt; clients of SQL databases and of Redis leave the attempt to the "
    "application, so this is a choice",
    cause="A refused connection, or the answer `busy`, is raised at once.",
    remedy="Repeat the attempt, with short pauses, until the time limit of the call is over.",
    seen="chat-history-conformance 0.1.0, kafka/log.py: _ALL_BROKERS_DOWN and _DESTROY are raised "
    "at once",
    needs=("faults", "shared", "durable", "threads"),
    modes=(SYNC, ASYNC),
)
def a_quick_restart_of_the_server_is_waited_for(s: Session, _: None) -> None:
    a, b = s.open(), s.open()
    add_kept(s, a, "first", "second")
    b.reads_back()
    streams = [*_offered_reads(s, a, 0.0), *_offered_reads(s, b, 0.02)]
    classes = [ConnectionError, TimeoutError, *s.subject.backend.server_errors]
    longest = 0.0
    with traffic(s, streams) as seen:
        for _attempt in range(2):
            began = time.monotonic()
            s.server.shut_down()
            s.server.restart()
            longest = max(longest, time.monotonic() - began)
            s.sleep(0.5)
    for stream in streams:
        name = stream.phrase.invocation.name
        seen.claim_none(any_undocumented, name, classes, seen.seen[stream])
        if longest <= _QUICK_SECONDS:
            seen.claim_none(any_raised, name, seen.seen[stream])


@contract(
    "faults.many_waiting",
    since="0.2",
    rule=f"{_WAITING_READS} reads and {_WAITING_ADDS} adds wait for a paused server at the same "
    "time. Each of them ends within the limit of one operation, as if it waited alone. When the "
    "server goes on, the history works: messages whose add returned are stored once and in order, "
    "messages whose add raised at most once. Afterwards about as many threads, files and sockets "
    "are open as before. A pool may grow once.",
    source="convention: the time limit of a call counts from the call, however many others wait",
    cause="Calls wait in the queue of a small pool or for a lock before their time limit begins. "
    "Or each call that fails leaves a client, a thread or a connection open.",
    remedy="Set the deadline at the call, and count all waiting. Close what a failed call used.",
    seen="chat-history-conformance 0.1.0, kafka/history.py aadd_messages: encoding waits in a "
    "pool of 8 threads, behind 64 reads, before the deadline is set",
    needs=("faults", "pause", "shared", "threads"),
    modes=(SYNC, ASYNC),
)
def many_calls_that_wait_end_within_their_limit(s: Session, _: None) -> None:
    handles = [s.open() for _ in range(8)]
    add_kept(s, handles[0], "first")
    for handle in handles:
        handle.reads_back()
    with traffic(s, _many(handles, "warm")):  # pools of threads may grow once
        s.server.pause()
        s.sleep(1.5)
        s.server.resume()

    def wait() -> None:
        handles[0].clear()
        with traffic(s, _many(handles, "m")) as seen:
            s.server.pause()
            s.sleep(s.subject.limit + 1.0)
            s.server.resume()
            s.sleep(0.5)
        came = settled(s, handles[0])
        seen.claim_none(wrong_conversation, [], seen.lanes("add_messages"), came)

    certain = _WAITING_READS + _WAITING_ADDS  # one for each call
    leaves_nothing_open(s, wait, "calls that waited for a paused server", certain=certain)


def _many(handles: list[Handle], stem: str) -> list[Stream]:
    streams = [reads(handles[number % 8], pause=0.3) for number in range(_WAITING_READS)]
    return streams + [
        adds(handles[number % 8], f"{stem}{number}.", pause=0.3) for number in range(_WAITING_ADDS)
    ]
