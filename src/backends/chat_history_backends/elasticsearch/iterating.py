"""Read a session page by page, without holding anything on the server between two pages.

A point in time would be lost if the reader pauses for longer than it is kept, or if its node
restarts. So each page is a separate search for the documents after the last one. Documents are
never changed, and no `_seq_no` is used twice in one index. All messages of the iteration were
stored before its first page refreshed the index, so no further refresh is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from elastic_transport import NodeConfig

from .index import IndexProperties
from .pages import Pages
from .reading import conversation
from .requests import Steps
from .session import Hit, Session, expired, on_current_index

__all__ = ["Place", "read_page"]


@dataclass(frozen=True)
class Place:
    """A place between two pages of an iteration.

    Attributes:
        after: The `_seq_no` of the last document that was read, or of the marker of a clear.
        end: The `_seq_no` of the newest document when the iteration began.
        uuid: The identity of the index. One that was dropped and created again numbers its
            documents from the start.
        node: The node that has refreshed the index; None for any.
        last: The `_id` of the last document that was read; empty if none was read since a clear.
    """

    after: int
    end: int
    uuid: str
    node: NodeConfig | None
    last: str = ""


Page = tuple[list[Hit], Place | None]
"""The documents of a page, oldest first, and the place after it; None after the last."""


def read_page(
    session: Session, place: Place | None, size: int
) -> Steps[tuple[list[tuple[str, str]], Place | None]]:
    """Read one page.

    Args:
        session: The session.
        place: The place after the page before; None for the first page.
        size: The most documents to read.

    Returns:
        The `_id` and the text of each message, oldest first, and the place after the page; None
        after the last. If documents of the session are on several shards, only all of them
        together have an order, and the first page has all.
    """
    found: Page | None = yield from on_current_index(
        session.index, lambda known: _page(session, known, place, size), refreshes=place is None
    )
    hits, next_place = found or ([], None)
    return [(hit["_id"], hit["_source"].get("history") or "") for hit in hits], next_place


def _page(session: Session, known: IndexProperties, place: Place | None, size: int) -> Steps[Page]:
    if place is None:
        if known.several_shards and (yield from _has_foreign(session, known)):
            return (yield from conversation(session, known, None)), None
        place = yield from _start(session, known)
        if place is None:
            return [], None
    known = known if known.node else replace(known, node=place.node)
    pages = Pages(session.index, known, _search(session, known, place))
    hits = yield from pages.next(size + bool(place.last))
    session.check_owner(hits)
    if hits and hits[0]["_id"] == place.last:
        hits = hits[1:]  # found again, so this is the same index
    elif (yield from session.index.uuid(known)) != place.uuid:
        return [], None
    ended = pages.ended and len(hits) <= size
    hits = hits[:size]
    # One search returns the markers and the documents. If it misses a document that a clear has
    # deleted, it has found the marker of that clear, unless it misses all of them.
    markers = [_number(hit) for hit in hits if session.is_marker(hit)]
    cleared = max(markers, default=place.after)
    documents = hits[len(markers) :]
    last = hits[-1]["_id"] if documents and _number(hits[-1]) > cleared else ""
    after = _number(hits[-1]) if last else cleared
    alive = [hit for hit in documents if _number(hit) > cleared]
    if ended or after >= place.end:
        return alive, None
    return alive, replace(place, after=after, last=last, node=known.node)


def _start(session: Session, known: IndexProperties) -> Steps[Place | None]:
    """Return the place before the first document; None if the session is empty."""
    uuid = yield from session.index.uuid(known)
    newest = {"query": session.query(), "sort": [{"_seq_no": "desc"}], "source": False}
    hits = yield from Pages(session.index, known, _routed(session, known, newest)).next(1)
    return Place(-1, _number(hits[0]), uuid, known.node) if hits else None


def _has_foreign(session: Session, known: IndexProperties) -> Steps[bool]:
    """Return whether documents of the session are not on its shard."""
    query = session.query(must_not=[session.routed, expired()])
    return bool((yield from Pages(session.index, known, {"query": query, "source": False}).next(1)))


def _search(session: Session, known: IndexProperties, place: Place) -> dict[str, Any]:
    """Return a search for the last document, all markers after it, and the next documents."""
    key = {"term": {"session_id": session.key}}
    later = {"gt": place.after}
    owned = [session.routed] if known.several_shards else []
    last = [key, {"term": {"_seq_no": place.after}}]
    markers = [{"term": {"session_id": session.marker_key}}, {"range": {"_seq_no": later}}]
    documents = [key, {"range": {"_seq_no": {**later, "lte": place.end}}}, *owned]
    kinds = [
        _scored(3, {"filter": last}),
        _scored(2, {"filter": markers}),
        _scored(1, {"filter": documents, "must_not": [expired()]}),
    ]
    query = {"bool": {"should": kinds if place.last else kinds[1:]}}
    sort = [{"_score": "desc"}, {"_seq_no": "asc"}]
    return _routed(session, known, {"query": query, "sort": sort})


def _scored(score: int, query: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"constant_score": {"filter": {"bool": query}, "boost": score}}


def _routed(session: Session, known: IndexProperties, search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the search, limited to the shard of the session."""
    return {**search, **({"routing": session.routing} if known.several_shards else {})}


def _number(hit: Hit) -> int:
    """Return the `_seq_no` by which a search is sorted in the last place."""
    return int(hit["sort"][-1])
