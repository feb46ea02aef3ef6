"""Remove documents: clear a session, discard one document, delete expired messages."""

from __future__ import annotations

import uuid

from .bulk import deletions, storing, write
from .index import Index, IndexProperties
from .pages import Pages, ids_only
from .requests import Steps
from .session import Session, expired, now_ms, on_current_index

__all__ = ["clear", "delete_expired", "discard"]


def clear(session: Session) -> Steps[None]:
    """Remove the documents of the session."""
    yield from on_current_index(session.index, lambda known: _clear(session, known))


def _clear(session: Session, known: IndexProperties) -> Steps[None]:
    if known.several_shards:
        foreign = ids_only(session.query(must_not=[session.routed]))
        while hits := (yield from Pages(session.index, known, foreign).next()):
            yield from write(session.index, deletions(hits))
    end = yield from _mark(session)
    pages = _pages_to_clear(session, known)
    while not pages.ended:
        page = yield from pages.next()
        # Documents after the marker stay. If the marker is not on the pages, another clear has
        # removed it, or the node that was asked is behind. Then it stays until the next clear.
        before = [hit for hit in page if hit["sort"][0] <= end]
        # Removing the marker makes no difference to any search, so save the time for a refresh.
        visible = any(hit["sort"][0] < end for hit in before)
        if before:
            yield from write(session.index, deletions(before), refresh=visible)
        if len(before) < len(page):
            return


def _pages_to_clear(session: Session, known: IndexProperties) -> Pages:
    query = session.query(filter=[session.routed]) if known.several_shards else session.query()
    search = {**ids_only(query), "sort": [{"_seq_no": "asc"}]}
    if known.several_shards:
        search["routing"] = session.routing
    return Pages(session.index, known, search)


def _mark(session: Session) -> Steps[int]:
    """Write a marker, and return its place in the order."""
    while True:
        operation = storing(uuid.uuid4().hex, routing=session.routing)
        document = {"session_id": session.marker_key, "created_at": now_ms()}
        (written,) = yield from write(session.index, [operation, document])
        if "_seq_no" in written:
            return int(written["_seq_no"])
        # An attempt whose answer was lost has stored it. The last marker of several counts.


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
