"""Broken histories that fail when single members of their cluster fail."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance import servers
from chat_history_conformance.faulty import INVENTED, faulty
from chat_history_conformance.faulty.served import (
    SERVED,
    ClusteredChatMessageHistory,
    ServedError,
    in_second_process,
)


class _Clustered(ClusteredChatMessageHistory):
    """The control: a correct history on the cluster that the run started."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id, servers.address(SERVED))


@faulty(
    "cluster.first_leader_only",
    breaks="cluster.leader_fails",
    kind="other",
    seen="convention: a client that is given one address of a cluster",
    control="served-cluster",
)
class FirstLeaderOnly(_Clustered):
    """Never asks another member after one of them has answered."""

    _found = False

    def _ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        answer = super()._ask(request, seconds)
        self._found = True
        return answer

    def _next(self) -> None:
        if not self._found:
            super()._next()


@faulty(
    "cluster.not_leader_is_empty",
    breaks="cluster.leader_fails",
    kind="lost",
    seen="chat-history-conformance 0.1.0, kafka/log.py: the client's _UNKNOWN_PARTITION counts as "
    "a partition without messages",
    control="served-cluster",
)
class NotLeaderIsEmpty(_Clustered):
    """Takes the refusal of a member that does not lead for an empty conversation."""

    _found = False

    def _converse(
        self, connection: socket.socket, line: bytes, left: Callable[[], float | None]
    ) -> dict[str, Any]:
        answer = super()._converse(connection, line, left)
        if self._found and "error" in answer and b'"do": "read"' in line:
            return {"records": [], "consumed": 0, "hidden": 0}
        self._found = self._found or "error" not in answer
        return answer


@faulty(
    "cluster.sent_again_to_new_leader",
    breaks="cluster.leader_fails",
    kind="duplicated",
    seen="chat-history-conformance 0.1.0 on three brokers: one message under two epochs of the "
    "producer",
    control="served-cluster",
)
class SentAgainToNewLeader(_Clustered):
    """Sends the last batch again, as a new one, when another member leads."""

    _last: Sequence[str] = ()
    _leader = 0

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        if self._last and self._at != self._leader:
            super()._append(self._last)
        self._last, self._leader = texts, self._at


@faulty(
    "cluster.trusts_the_old_leader",
    breaks="cluster.leader_cut_off",
    kind="lost",
    seen="jepsen.io/analyses/elasticsearch: a primary that was cut off acknowledges writes",
    control="served-cluster",
)
class TrustsTheOldLeader(_Clustered):
    """Lets the first leader acknowledge messages without a confirmation by the others."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._writer = _Clustered(session_id)
        self._leader: int | None = None

    def _append(self, texts: Sequence[str]) -> None:
        if self._leader is not None:
            self._writer._at = self._leader
        request = {"do": "append", "texts": texts, "trusting": True}
        self._writer._change(request, self.answer_seconds)
        self._leader = self._writer._at if self._leader is None else self._leader


@faulty(
    "cluster.reads_the_old_leader",
    breaks="cluster.leader_cut_off",
    kind="lost",
    seen=INVENTED,
    control="served-cluster",
)
class ReadsTheOldLeader(_Clustered):
    """Reads from the first leader, without asking whether it still leads."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._reader = _Clustered(session_id)
        self._leader: int | None = None

    def _complete(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        if self._leader is not None:
            self._reader._at = self._leader
        answer = self._reader._ask({**request, "trusting": True}, seconds)
        self._leader = self._reader._at if self._leader is None else self._leader
        return answer


@faulty(
    "cluster.starts_at_the_newest",
    breaks="cluster.coordinator_fails",
    kind="lost",
    seen="convention: auto.offset.reset=latest, the default of Kafka's consumers",
    control="served-cluster",
)
class StartsAtTheNewest(_Clustered):
    """Continues behind the newest message when another member keeps the positions."""

    _keeper: int | None = None

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        got = super().messages_from_last_consumed(max_message_count, max_time_sec)
        if self._keeper not in (None, self._at):
            time.sleep(1.0)
            super().messages_from_last_consumed()
            got = []
        self._keeper = self._at
        return got


@faulty(
    "cluster.position_before_messages",
    breaks="cluster.coordinator_fails",
    kind="lost",
    seen="chat-history-conformance 0.1.0, kafka/history.py _consume: the position is stored, and "
    "then the read raises",
    control="served-cluster",
)
class PositionBeforeMessages(_Clustered):
    """Raises from a consuming read if the member that stored the position is not the one before."""

    _keeper: int | None = None

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        got = super().messages_from_last_consumed(max_message_count, max_time_sec)
        keeper, self._keeper = self._keeper, self._at
        if keeper not in (None, self._at):
            time.sleep(1.0)
            super().messages_from_last_consumed()
            raise ServedError("the coordinator has changed")
        return got


@faulty(
    "cluster.gives_up_with_one_member",
    breaks="cluster.rolling_restart",
    kind="other",
    seen=INVENTED,
    control="served-cluster",
)
class GivesUpWithOneMember(_Clustered):
    """Uses no member again that has once refused a connection of this handle."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._gone: set[str] = set()

    def _connect(self, left: Callable[[], float | None]) -> socket.socket:
        address = self.addresses[self._at]
        if address in self._gone:
            raise ConnectionRefusedError(f"{address} is known to be gone")
        try:
            return super()._connect(left)
        except ConnectionRefusedError:
            self._gone.add(address)
            raise


@faulty(
    "cluster.dies_in_a_rolling_restart",
    breaks="cluster.rolling_restart",
    kind="crashed",
    seen="chat-history-conformance 0.1.0, kafka/log.py: SIGSEGV in ListConsumerGroupOffsets when a "
    "broker ends in an orderly way",
    control="served-cluster",
)
class DiesInARollingRestart(_Clustered):
    """Ends the process with SIGSEGV when a consuming read finds another leader."""

    _keeper: int | None = None

    def messages_from_last_consumed(
        self, max_message_count: int | None = None, max_time_sec: float | None = None
    ) -> list[BaseMessage]:
        got = super().messages_from_last_consumed(max_message_count, max_time_sec)
        if self._keeper not in (None, self._at) and in_second_process():
            os.kill(os.getpid(), signal.SIGSEGV)
        self._keeper = self._at
        return got


@faulty(
    "cluster.sent_to_each_member",
    breaks="cluster.leader_cut_off",
    kind="duplicated",
    seen=INVENTED,
    control="served-cluster",
)
class SentToEachMember(_Clustered):
    """Gives a batch a new id for each member that it is sent to, and trusts each of them."""

    def _append(self, texts: Sequence[str]) -> None:
        before = self._at
        super()._append(texts)
        if self._at != before:
            request = {"do": "append", "texts": texts, "identifier": uuid.uuid4().hex}
            self._ask(request, self.answer_seconds)
