"""Verify that messages are stored, if the answer to their request does not prove it.

If a request is sent again, the server reports a conflict for each message that an earlier attempt
has stored. This does not prove that a replica has the message: the earlier attempt may still wait
for it, and the message is lost if the primary fails now. A later operation does not prove it
either, because replicas may receive operations in another order. The *global checkpoint* of the
primary does: all copies that may become the primary have every operation up to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_transport import ApiResponseMeta
from elasticsearch import AuthorizationException

from .bulk import bulk_request, deletions
from .calls import Call
from .errors import UnavailableError, is_forbidden
from .index import IndexProperties
from .requests import Pause, Request, Steps
from .session import Session

__all__ = ["Findings", "confirm"]

_PAUSE_SECONDS = 0.1
_PAGE = 200


@dataclass(frozen=True)
class Findings:
    """The messages of a batch that are not stored as they were sent.

    Attributes:
        missing: The `_id` of each message that is not stored.
        foreign: The `_id` of each message in whose place another document is stored.
    """

    missing: Sequence[str]
    foreign: Sequence[str]


def confirm(
    session: Session, known: IndexProperties, documents: Mapping[str, Any], call: Call
) -> Steps[Findings]:
    """Verify that documents are stored on all copies of the shard.

    Args:
        session: The session that they belong to.
        known: The properties of the index.
        documents: The `_id` of each document, and the document as it was sent.
        call: The call; its outcome is unknown if this raises.

    Raises:
        UnavailableError: It is not certain that all copies have them.
    """
    uncertain, call.uncertain = call.uncertain, True
    shard = yield from _shard_of(session, known)
    while True:
        place = yield from _checkpoint(session, shard)
        try:
            findings, highest = yield from _find(session, documents, place.node)
        except UnavailableError as error:  # another node may have become the primary
            if not (yield Pause(_PAUSE_SECONDS)):
                raise error
            continue
        # The documents are looked up on the node whose checkpoint it is.
        if place.checkpoint is None or highest <= place.checkpoint:
            call.uncertain = uncertain
            return findings
        if not (yield Pause(_PAUSE_SECONDS)):
            raise UnavailableError(
                "the messages are stored on one node, and it is not certain that its replicas "
                "have them",
                place.meta,
                {},
            )


def _shard_of(session: Session, known: IndexProperties) -> Steps[str | None]:
    """Return the number of the shard of a session; None if the index has one only."""
    if not known.several_shards:
        return None
    arguments = {"index": session.index.name, "routing": session.routing}
    answer = yield Request("search_shards", arguments)
    return str(answer.body["shards"][0][0]["shard"])


@dataclass(frozen=True)
class _Primary:
    """The primary of a shard.

    Attributes:
        meta: The answer that describes it.
        node: The node that it is on; None if it is not known.
        checkpoint: All copies have every operation up to this one; None if it is the only copy.
    """

    meta: ApiResponseMeta
    node: str | None
    checkpoint: int | None


def _checkpoint(session: Session, shard: str | None) -> Steps[_Primary]:
    """Return the primary of a shard."""
    request = Request(
        "indices.stats", {"index": session.index.name, "metric": "docs", "level": "shards"}
    )
    while True:
        try:
            answer = yield request
        except AuthorizationException as error:
            if not is_forbidden(error):
                raise
            return (yield from _only_copy(session))
        for index in answer.body["indices"].values():
            for number, copies in index.get("shards", {}).items():
                for copy in copies:
                    if number == (shard or number) and copy["routing"]["primary"]:
                        checkpoint = copy["seq_no"]["global_checkpoint"]
                        return _Primary(answer.meta, copy["routing"]["node"], checkpoint)
        if not (yield Pause(_PAUSE_SECONDS)):
            raise UnavailableError("the primary of the shard did not answer", answer.meta, {})


def _only_copy(session: Session) -> Steps[_Primary]:
    """Return the primary of a shard that has no replica now, without asking for statistics.

    Raises:
        UnavailableError: There is a replica.
    """
    hit = {"_id": uuid.uuid4().hex, "_routing": session.routing}
    names = [("delete", hit["_id"])]
    answer = yield bulk_request(session.index, deletions([hit]), names, trial=True)
    (item,) = answer.body["items"]
    shards = item["delete"].get("_shards", {})
    if shards.get("successful") == 1 and not shards.get("failed"):
        return _Primary(answer.meta, None, None)
    raise UnavailableError(
        "the messages are stored on one node, and it is not certain that its replicas have them. "
        "Ask for the privilege monitor of the index, with which this can be verified",
        answer.meta,
        {},
    )


def _find(
    session: Session, documents: Mapping[str, Any], node: str | None
) -> Steps[tuple[Findings, int]]:
    """Look up documents on a node. Return the problem, and the highest sequence number."""
    names, highest = list(documents), -1
    missing: list[str] = []
    foreign: list[str] = []
    for start in range(0, len(names), _PAGE):
        docs = [{"_id": name, "routing": session.routing} for name in names[start : start + _PAGE]]
        arguments: dict[str, Any] = {"index": session.index.name, "docs": docs}
        if node is not None:
            arguments["preference"] = f"_only_nodes:{node}"
        answer = yield Request("mget", arguments, once=True)
        for doc in answer.body["docs"]:
            if not doc["found"]:
                missing.append(doc["_id"])
            elif doc["_source"] != documents[doc["_id"]]:
                foreign.append(doc["_id"])
            else:
                highest = max(highest, int(doc["_seq_no"]))
    return Findings(missing, foreign), highest
