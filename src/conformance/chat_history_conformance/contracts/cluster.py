"""Clusters: what a history promises while single members of its server fail."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.messages import HumanMessage

from chat_history_conformance.contracts.catalogue import ASYNC, SYNC, contract
from chat_history_conformance.diagnosis.script_traffic import (
    skipped,
    wrong_conversation,
    wrong_reads,
)
from chat_history_conformance.execution.outage import MemberFault
from chat_history_conformance.execution.session import Handle, Session
from chat_history_conformance.execution.traffic import (
    Traffic,
    add_again,
    adds,
    reads,
    rest,
    settled,
    traffic,
)

_STORED = (
    "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages: a return is the only "
    "sign of success; and convention: the members of a cluster replace each other"
)
_NEEDS = ("faults", "cluster", "shared", "durable", "threads", "immediate_reads")
_CONSUMED = "messages_from_last_consumed"
_CONSUME_SECONDS = 2.0
_SESSION = "{nonce}-1"
_PROMISES = (
    "Each call ends within the limit of one operation. Messages whose add returned are stored "
    "once and in order, messages whose add raised at most once, and nothing else is stored. A "
    "read returns all messages that were acknowledged before it, or raises."
)
_AGAIN = (
    "Calls that raise may be repeated for three times the limit of one operation, because the "
    "members need time to agree."
)


def _works(s: Session, a: Handle, text: str) -> None:
    """Fail unless reading and adding work again, with repetitions."""
    settled(s, a)
    add_again(s, a, text)


def _judge(s: Session, seen: Traffic, a: Handle, stems: list[str]) -> None:
    """Check the conversation and the reads. Other calls added contents with these stems."""
    added = seen.lanes("add_messages")
    seen.claim_none(wrong_conversation, ["first"], added, settled(s, a), stems)
    for read in seen.lanes("messages"):
        seen.claim_none(wrong_reads, ["first"], added, read, stems)


def _first(a: Handle) -> None:
    """Add one message, so that the session has members to fail."""
    a.add([HumanMessage("first")])
    a.reads_back()


def _disturb(s: Session, faults: list[tuple[MemberFault, str]], seconds: float) -> None:
    """Let a member with a role fail in several ways, while adds and reads go on."""
    a, b, c = s.open(), s.open(), s.open()
    streams = [adds(a, "a"), adds(b, "b", size=3), reads(b, pause=0.1)]
    _first(c)
    stems = []
    with traffic(s, streams) as seen:
        for number, (fault, role) in enumerate(faults):
            s.server.disturb(fault, role, _SESSION)
            s.sleep(seconds)
            if fault != "cut_off":  # clients may still use the member that is cut off
                stems.append(f"meanwhile{number}")
                _works(s, c, stems[-1])
            s.server.heal()
            stems.append(f"healed{number}")
            _works(s, c, stems[-1])
    _judge(s, seen, a, stems)


@contract(
    "cluster.leader_fails",
    since="0.2",
    rule="The member that stores a session is killed, paused and shut down, each time with adds "
    f"and reads under way, and comes back. {_PROMISES} While the member is away, and after it is "
    f"back, reading and adding work again. {_AGAIN}",
    source=_STORED,
    cause="The client knows one address, or asks the old leader for ever. Or the answer of a "
    "member that does not lead is taken for an empty conversation. Or a batch is sent to the new "
    "leader under a new identity.",
    remedy="Give the client all addresses, and let it ask for the leader again after an error. "
    "Take a list only from the member that leads. Keep the identity of a batch.",
    seen="chat-history-conformance 0.1.0 on three brokers: 8 of 18,646 messages are stored twice, "
    "under two epochs of the producer",
    needs=_NEEDS,
    modes=(SYNC, ASYNC),
)
def another_member_takes_over_from_the_leader(s: Session, _: None) -> None:
    role = s.server.roles[0]
    _disturb(s, [("kill", role), ("pause", role), ("shut_down", role)], 1.0)


@contract(
    "cluster.leader_cut_off",
    since="0.2",
    rule="The member that stores a session is cut off from the others, but clients still reach "
    f"it. Then it is connected again. {_PROMISES} Afterwards reading and adding work. {_AGAIN}",
    source=_STORED,
    cause="A member that is cut off acknowledges what the others never get, or answers reads with "
    "what it knew. The client asks for no confirmation by the others.",
    remedy="Ask for an acknowledgement by a majority: `acks=all` with `min.insync.replicas`, or "
    "`wait_for_active_shards`.",
    seen="jepsen.io/analyses/elasticsearch: acknowledged writes to a primary that was cut off are "
    "lost",
    needs=_NEEDS,
    modes=(SYNC, ASYNC),
)
def a_leader_that_is_cut_off_acknowledges_nothing_in_vain(s: Session, _: None) -> None:
    if s.server.why_no_partition:
        s.not_applicable(s.server.why_no_partition)
    _disturb(s, [("cut_off", s.server.roles[0])], 6.0)


@contract(
    "cluster.coordinator_fails",
    since="0.2",
    rule="Members with the other roles (for Kafka the coordinator of the positions, and the "
    "controller) are killed and paused, while consuming reads and adds are under way, and come "
    f"back. {_PROMISES} Consuming reads skip nothing: one that raises has consumed nothing, or "
    "its error has the messages as `messages`.",
    source=_STORED,
    cause="A consumer that finds no stored position starts at the newest message. Or the position "
    "is stored before the messages are returned, and the read raises.",
    remedy="Take a position only from the member that keeps it, and raise if it is unknown. Store "
    "the position last, and let an error carry the messages if its outcome is unknown.",
    seen="convention: auto.offset.reset=latest, the default of Kafka's consumers",
    needs=(*_NEEDS, _CONSUMED),
    modes=(SYNC, ASYNC),
)
def consuming_reads_survive_the_loss_of_a_coordinator(s: Session, _: None) -> None:
    _consume_while(s, _fail_other_roles)


@contract(
    "cluster.rolling_restart",
    since="0.2",
    rule="All members are shut down and started again, one after the other, while several handles "
    f"add, read and consume. The process that uses the history survives. {_PROMISES} Consuming "
    "reads skip nothing.",
    source=f"{_STORED}; servers are updated while applications run",
    cause="The client fails when one member is away. Or it keeps the addresses that it found "
    "first, and after the last restart none of them is right.",
    remedy="Repeat retriable errors within the time limit, on the other members too. Learn the "
    "members of the cluster again after an error.",
    seen="chat-history-conformance 0.1.0, kafka/log.py: SIGSEGV in ListConsumerGroupOffsets when a "
    "broker ends in an orderly way",
    needs=_NEEDS,
    modes=(SYNC, ASYNC),
)
def a_rolling_restart_loses_and_doubles_nothing(s: Session, _: None) -> None:
    _consume_while(s, _restart_all)


def _fail_other_roles(s: Session, a: Handle) -> list[str]:
    stems = []
    faults: tuple[MemberFault, ...] = ("kill", "pause")
    for role in s.server.roles[1:]:
        for fault in faults:
            s.server.disturb(fault, role, _SESSION)
            s.sleep(1.0)
            stems.append(f"{role}{fault}")
            _works(s, a, stems[-1])
            s.server.heal()
    return stems


def _restart_all(s: Session, a: Handle) -> list[str]:
    stems = []
    for name in s.server.names:
        s.server.disturb_member("shut_down", name)
        stems.append(f"without{name}")
        _works(s, a, stems[-1])
        s.server.heal()
    return stems


def _consume_while(s: Session, disturb: Callable[[Session, Handle], list[str]]) -> None:
    """Add, read and consume in the second process, while members fail."""
    a = s.open(in_second_process=True)
    b = s.open(in_second_process=True)
    c = s.open(in_this_process=True)
    _first(c)
    streams = [adds(a, "a", pause=0.05), reads(b, pause=0.1)]
    consumes = bool(s.offered((_CONSUMED,)))
    if consumes:
        streams += [reads(handle, _CONSUMED, None, _CONSUME_SECONDS) for handle in (a, b)]
    with traffic(s, streams) as seen:
        stems = disturb(s, c)
    _judge(s, seen, a, stems)
    if consumes:
        left = rest(s, a, _CONSUMED, None, _CONSUME_SECONDS)
        seen.claim_none(skipped, seen.lanes("add_messages"), seen.lanes(_CONSUMED), left)
