"""Remove documents: clear a session, discard one document, delete expired messages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from .bulk import MAPPED_ONLY, deletions, write
from .index import Index, IndexProperties
from .pages import Pages, ids_only
from .requests import Steps
from .session import Hit, Session, expired, now_ms, on_current_index

__all__ = ["clear", "delete_expired", "discard"]


def clear(session: Session) -> Steps[None]:
    """Remove the documents of the session."""
    yield from on_current_index(session.index, lambda known: _clear(session, known))


def _clear(session: Session, known: IndexProperties) -> Steps[None]:
    if known.several_shards:
        foreign = ids_only(session.query(must_not=[session.routed]))
        while hits := (yield from Pages(session.index, known, foreign).next()):
            yield from write(session.index, deletions(hits))
    pages = _pages_to_clear(session, known)
    hits = yield from pages.next()
    if not hits:
        return
    end = yield from _mark(session, hits)
    more = True
    while more:
        # These pages have the documents that did not fit on the first page, those that came before
        # the marker, and at last the marker itself. Documents after the marker stay.
        page = yield from pages.next()
        before = [hit for hit in page if hit["sort"][0] <= end]
        more = not pages.ended and len(before) == len(page)
        # Removing the marker makes no difference to any search, so save the time for a refresh.
        visible = any(hit["sort"][0] < end for hit in before)
        if before:
            yield from write(session.index, deletions(before), refresh=visible)


def _pages_to_clear(session: Session, known: IndexProperties) -> Pages:
    query = session.query(filter=[session.routed]) if known.several_shards else session.query()
    search = {**ids_only(query), "sort": [{"_seq_no": "asc"}]}
    if known.several_shards:
        search["routing"] = session.routing
    return Pages(session.index, known, search)


def _mark(session: Session, hits: Sequence[Hit]) -> Steps[int]:
    """Write a marker, delete documents before it, and return its place in the order."""
    create = {"_id": uuid.uuid4().hex, "routing": session.routing, **MAPPED_ONLY}
    document = {"session_id": session.marker_key, "created_at": now_ms()}
    written, *_ = yield from write(session.index, [{"create": create}, document, *deletions(hits)])
    if "_seq_no" not in written:
        # An attempt whose answer was lost has stored it. The last marker of several counts.
        return (yield from _mark(session, ()))
    return int(written["_seq_no"])


def discard(session: Session, position: str) -> Steps[None]:
    """Remove the document with this `_id` if it belongs to the session."""

    def remove(known: IndexProperties) -> Steps[None]:
        query = session.query(filter=[{"ids": {"values": [position]}}])
        hits = yield from Pages(session.index, known, ids_only(query)).next()
        if hits:
            yield from write(session.index, deletions(hits))

    yield from on_current_index(session.index, remove)


def delete_expired(index: Index) -> Steps[int]:
    """Remove the expired messages of all sessions of the index, and return their number."""

    def remove(known: IndexProperties) -> Steps[int]:
        removed = 0
        search = ids_only(expired())
        while hits := (yield from Pages(index, known, search).next()):
            yield from write(index, deletions(hits))
            removed += len(hits)
        return removed

    return (yield from on_current_index(index, remove)) or 0
