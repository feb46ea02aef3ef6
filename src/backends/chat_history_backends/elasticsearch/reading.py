"""Read a session: the documents after its last marker that have not expired, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from ..codec import decode_batch
from .errors import ElasticsearchHistoryError
from .index import IndexProperties
from .pages import KEEP_ALIVE, Pages
from .requests import Request, Steps, Work
from .session import Hit, Session, expired, on_current_index

__all__ = ["conversation", "merge", "read"]

_ATTEMPTS = 5


def read(session: Session, last: int | None = None) -> Steps[list[BaseMessage]]:
    """Decode the conversation, or its last `last` messages, oldest first.

    Raises:
        UndecodableRecordError: A document is not a message.
        ElasticsearchHistoryError: The conversation was cleared again and again during the read.
    """
    hits = yield from on_current_index(
        session.index, lambda known: conversation(session, known, last)
    )
    if not hits:
        return []
    records = [(hit["_id"], hit["_source"].get("history") or "") for hit in hits]
    messages: list[BaseMessage] = yield Work(lambda: decode_batch(records)[0])
    return messages


def conversation(session: Session, known: IndexProperties, last: int | None) -> Steps[list[Hit]]:
    """Return the documents after the last marker that have not expired, oldest first."""
    for _ in range(_ATTEMPTS):
        if known.several_shards:
            hits, complete = yield from _merged(session, known, last)
        else:
            query = session.query(must_not=[expired()])
            hits, complete = yield from _ordered(session, known, query, last)
        if complete:
            return hits
        # Documents were removed between two pages.
    raise ElasticsearchHistoryError(
        f"the conversation was cleared {_ATTEMPTS} times while it was read. Read it again"
    )


def _ordered(
    session: Session, known: IndexProperties, query: Mapping[str, Any], last: int | None
) -> Steps[tuple[list[Hit], bool]]:
    """Return the documents of one shard, in order, and whether all existed at the same time."""
    newest_first = last is not None
    search = {
        "query": query,
        "sort": [{"_seq_no": "desc" if newest_first else "asc"}],
        "track_total_hits": not newest_first,
    }
    if known.several_shards:
        search["routing"] = session.routing
    pages = Pages(session.index, known, search)
    hits: list[Hit] = []
    while last is None or len(hits) < last:
        page = yield from pages.next(None if last is None else last - len(hits))
        session.check_owner(page)
        hits += page
        if pages.ended or len(hits) == pages.total:
            break
        if newest_first and session.has_marker(page):
            break
    if newest_first:
        hits.reverse()
    alive, cleared = session.after_last_marker(hits)
    return alive, newest_first or cleared or len(hits) >= (pages.total or 0)


def _merged(
    session: Session, known: IndexProperties, last: int | None
) -> Steps[tuple[list[Hit], bool]]:
    """Return the session's documents of all shards, merged by time, and whether they are complete.

    Documents of this package are on one shard; those of langchain-elasticsearch may be on any.
    """
    routed, gone = session.routed, expired()
    ours, complete = yield from _ordered(
        session, known, session.query(filter=[routed], must_not=[gone]), last
    )
    foreign = yield from _foreign(session, known, session.query(must_not=[routed, gone]), last)
    return merge(ours, foreign, last), complete


def _foreign(
    session: Session, known: IndexProperties, query: Mapping[str, Any], last: int | None
) -> Steps[list[Hit]]:
    """Return the documents that are not routed by session, by time, as of one point in time."""
    opened = yield Request(
        "open_point_in_time",
        {"index": session.index.name, "keep_alive": KEEP_ALIVE},
        node=known.node,
    )
    order = "asc" if last is None else "desc"
    hits: list[Hit] = []
    search = {"query": query, "sort": [{"created_at": order}]}
    pages = Pages(session.index, known, search, pit=opened.body["id"])
    while not pages.ended and (last is None or len(hits) < last):
        page = yield from pages.next(None if last is None else last - len(hits))
        session.check_owner(page)
        hits += page
    yield Request("close_point_in_time", {"id": pages.pit})
    return hits if last is None else hits[::-1]


def merge(ours: list[Hit], foreign: list[Hit], last: int | None) -> list[Hit]:
    """Merge two ordered lists by time, from the end. Each keeps its own order."""
    merged: list[Hit] = []
    ours, foreign = list(ours), list(foreign)
    while (ours or foreign) and (last is None or len(merged) < last):
        if not foreign or (ours and _time_ms(ours[-1]) >= _time_ms(foreign[-1])):
            merged.append(ours.pop())
        else:
            merged.append(foreign.pop())
    return merged[::-1]


def _time_ms(hit: Hit) -> int:
    return int(hit["_source"]["created_at"])
