"""Copy an index in the order of its conversations.

`_reindex` copies documents in the order of a scan. An index of this package keeps the order in
which it accepted the documents, so such a copy reorders conversations.
"""

from __future__ import annotations

import datetime
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from elasticsearch import Elasticsearch

from .bulk import bulk_request, refusal
from .calls import Call, Operation, explained
from .clients import ClientIdentity, contact_of, identity_of, servers_of, with_user_agent
from .driving import drive
from .errors import ElasticsearchHistoryError
from .index import Index, IndexProperties
from .pages import KEEP_ALIVE, Pages
from .reading import merge
from .requests import Request, Steps
from .session import Hit, Session

__all__ = ["CopyReport", "copy_index"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAGE = 100


@dataclass(frozen=True)
class CopyReport:
    """The result of a copy.

    Attributes:
        documents: The number of documents that were copied.
        sessions: The number of sessions.
        left_out: The number of documents of cleared conversations, which were not copied.
        ties: The number of neighbours in a conversation whose order is not known, because they have
            the same time and are on different shards.
    """

    documents: int
    sessions: int
    left_out: int
    ties: int


def copy_index(
    client: Elasticsearch,
    source: str,
    target: str,
    *,
    by_time: bool = False,
    timeout_sec: float = 60.0,
) -> CopyReport:
    """Copy the documents of an index to a new index, each conversation in its order.

    The order is that of a read: documents of one shard in the order in which it accepted them, and
    documents of several shards by `created_at`. Each document keeps its `_id` and its content.
    Nothing may be added to the source meanwhile. The names, times and places of all documents are
    kept in memory, but not their content.

    Args:
        client: A client, which the function does not close.
        source: The index to copy. It may be one that a history refuses.
        target: The new index. It is created if it does not exist. It must be empty.
        by_time: Whether documents of langchain-elasticsearch are ordered by `created_at` on one
            shard too. Use it for an index whose documents were copied in another order before.
        timeout_sec: Seconds after which one page of the copy raises.

    Returns:
        A report. If its `ties` is not 0, a warning is logged.

    Raises:
        ValueError: The target is not empty, or is the source.
        UnfitIndexError: The target cannot keep sessions.
        ElasticsearchHistoryError: The copy failed, or the source was changed meanwhile. Delete the
            target before you copy again.
    """
    if source == target:
        raise ValueError("source and target must be two indices")
    copy = _Copy(with_user_agent(client), source, target, timeout_sec)
    if copy.run(copy.some(copy.target)):
        raise ValueError(f"the index {target!r} has documents already: copy to an empty one")
    shards, hits = copy.run(copy.list_source())
    conversations, left_out, ties = _in_order(hits, by_time=by_time or shards > 1)
    copied = 0
    for routing, ordered in conversations:
        for page in _pages(ordered):
            copied += copy.run(copy.page(page, routing))
    if copy.run(copy.list_source())[1] != hits:
        raise ElasticsearchHistoryError(
            f"the index {source!r} was changed while it was copied. Stop all who write to it, "
            f"delete {target!r} and copy again"
        )
    copy.run(copy.some(copy.target))  # which refreshes it
    if ties:
        logger.warning(
            "%d messages of index %r have the same time as the message before, on another shard. "
            "Their order is not known",
            ties,
            source,
        )
    sessions = sum(1 for routing, _ in conversations if routing is not None)
    return CopyReport(copied, sessions, left_out, ties)


class _Copy:
    """A copy that is running."""

    def __init__(self, client: Elasticsearch, source: str, target: str, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        identity = identity_of(client, {})
        self._contact = contact_of(identity)
        self.source, self.target = Index(source, identity), Index(target, identity)

    def run(self, steps: Steps[T]) -> T:
        """Carry out one part of the copy."""
        call = Call(self._seconds, self._contact)
        where = f"index {self.source.name!r} to {self.target.name!r} on "
        where += ", ".join(servers_of(self._client))
        return drive(
            Operation(explained(steps, "copy", where, call, writes=True), call), self._client
        )

    def some(self, index: Index) -> Steps[bool]:
        """Create the index if it does not exist, and return whether it has a document."""
        known = yield from index.ready(expiring=True)
        yield from index.refresh(known)
        search = {"query": {"match_all": {}}, "source": False}
        return bool((yield from Pages(index, known, search).next(1)))

    def list_source(self) -> Steps[tuple[int, list[Hit]]]:
        """Return the number of shards of the source, and all its documents without the messages."""
        name = self.source.name
        found = yield Request("indices.get", {"index": name, "flat_settings": True})
        if len(found.body) != 1:
            raise ElasticsearchHistoryError(f"the name {name!r} matches {len(found.body)} indices")
        (properties,) = found.body.values()
        shards = int(properties["settings"].get("index.number_of_shards", 1))
        size = int(properties["settings"].get("index.max_result_window", 10_000))
        yield Request("indices.refresh", {"index": name})
        opened = yield Request("open_point_in_time", {"index": name, "keep_alive": KEEP_ALIVE})
        search = {
            "query": {"match_all": {}},
            "sort": [{"_seq_no": "asc"}, {"_shard_doc": "asc"}],
            "source": ["session_id", "created_at"],
        }
        known = IndexProperties(page=size, several_shards=True)
        pages = Pages(self.source, known, search, pit=opened.body["id"])
        hits: list[Hit] = []
        while not pages.ended:
            hits += [_small(hit) for hit in (yield from pages.next())]
        yield Request("close_point_in_time", {"id": pages.pit})
        return shards, hits

    def page(self, hits: Sequence[Hit], routing: str | None) -> Steps[int]:
        """Copy some documents, in order."""
        docs = [
            {"_id": hit["_id"], **({"routing": hit["_routing"]} if hit["_routing"] else {})}
            for hit in hits
        ]
        answer = yield Request("mget", {"index": self.source.name, "docs": docs})
        lines: list[Any] = []
        for hit, doc in zip(hits, answer.body["docs"], strict=True):
            if not doc["found"] or "_source" not in doc:
                raise ElasticsearchHistoryError(
                    f"the document {hit['_id']!r} was deleted, or the index keeps no _source"
                )
            place = routing or hit["_routing"]
            create = {"_id": hit["_id"], **({"routing": place} if place else {})}
            lines += [{"create": create}, doc["_source"]]
        names = [("create", str(hit["_id"])) for hit in hits]
        answer = yield bulk_request(self.target, lines, names)
        for item in answer.body["items"]:
            if "error" in item["create"]:
                raise refusal(item["create"], answer.meta, answer.body)
        return len(hits)


def _small(hit: Hit) -> Hit:
    """Return the fields of a document that decide its order."""
    seq_no, place = hit["sort"][:2]
    return {
        "_id": hit["_id"],
        "_routing": hit.get("_routing"),
        "_source": hit["_source"],
        "seq_no": seq_no,
        "shard": place >> 32,  # the rest is the place of the document in the shard
    }


def _pages(hits: Sequence[Hit]) -> Iterator[Sequence[Hit]]:
    for start in range(0, len(hits), _PAGE):
        yield hits[start : start + _PAGE]


def _in_order(
    hits: Sequence[Hit], *, by_time: bool
) -> tuple[list[tuple[str | None, list[Hit]]], int, int]:
    """Return the documents of each session in order, with the routing of the session.

    Documents that belong to no session come last, with no routing. The other results are the number
    of documents that are left out, and of those whose order is not known.
    """
    groups: dict[str, list[Hit]] = {}
    others: list[Hit] = []
    for hit in hits:
        key = hit["_source"].get("session_id")
        (groups.setdefault(key, []) if isinstance(key, str) else others).append(hit)
    index = Index("", ClientIdentity())
    sessions = [Session.of_key(index, key) for key in groups]
    markers = {session.marker_key for session in sessions} & groups.keys()
    conversations: list[tuple[str | None, list[Hit]]] = []
    left_out = ties = 0
    for session in sessions:
        if session.key in markers:
            continue
        found = sorted(
            groups[session.key] + groups.get(session.marker_key, []),
            key=lambda hit: hit["seq_no"],
        )
        ordered, more = _conversation(session, found, by_time)
        ties += more
        left_out += len(found) - len(ordered)
        conversations.append((session.routing, ordered))
    return [*conversations, (None, others)], left_out, ties


def _conversation(session: Session, found: Sequence[Hit], by_time: bool) -> tuple[list[Hit], int]:
    """Return the documents of a session in order, and how many of them have no known place."""
    if not by_time:
        return session.after_last_marker(found)[0], 0
    ours, _ = session.after_last_marker([h for h in found if h["_routing"] == session.routing])
    foreign = [hit for hit in found if hit["_routing"] != session.routing]
    ordered = merge(
        [_timed(hit) for hit in ours],
        sorted(map(_timed, foreign), key=lambda hit: hit["_source"]["created_at"]),
        None,
    )
    ties = sum(
        one["_source"]["created_at"] == next_["_source"]["created_at"]
        and one["shard"] != next_["shard"]
        for one, next_ in itertools.pairwise(ordered)
    )
    return ordered, ties


def _timed(hit: Hit) -> Hit:
    """Return the document with its time in milliseconds."""
    return {**hit, "_source": {**hit["_source"], "created_at": _time_ms(hit["_source"])}}


def _time_ms(source: Mapping[str, Any]) -> int:
    value = source.get("created_at")
    if isinstance(value, (int, float)) or str(value).isdigit():
        return int(value or 0)
    try:
        moment = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)
