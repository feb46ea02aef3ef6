"""A trial of an index that this process did not create, before the first message is stored in it.

A role may hide documents or fields, and not all settings are known here. So two documents are
stored in two sessions that no user can have. A read of one of the sessions must return its document
and not the other. Then both are deleted. This takes three or four requests, once for each index and
each user of it in a process.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from elasticsearch import AuthorizationException

from ..session_ids import ENCODED_PREFIX
from .bulk import bulk_request, deletions, is_temporary, item_reason, refusal, storing
from .errors import is_forbidden
from .fitness import unfit
from .index import Index, IndexProperties, is_missing_mapping
from .reading import conversation
from .requests import Pause, Steps
from .session import Session, now_ms

__all__ = ["prove"]


def prove(index: Index, known: IndexProperties) -> Steps[IndexProperties]:
    """Store two documents in the index, read one of them, delete both; return its properties.

    Raises:
        UnfitIndexError: The index refuses a document, or the read did not return exactly the one
            that was stored.
        RefusedError: The server refused one of them.
    """
    problem: str | None = None
    for _ in range(2):  # somebody may delete the index and create it again during the trial
        problem = yield from _try(index, known)
        if problem is None:
            return index.known or known
    raise unfit(
        index.name,
        f"a document that was stored in it for a trial {problem}",
        "look for a role with a query or with fields for this user, for a pipeline, and for "
        "runtime fields; or name an index that does not exist yet",
    )


def _try(index: Index, known: IndexProperties) -> Steps[str | None]:
    """Return the problem with the read of a document, or None."""
    start = f"{ENCODED_PREFIX}t{uuid.uuid4().hex}" + "x" * 1000
    sessions = [Session.of_key(index, start + end) for end in ("aé", "AÉ ")]
    documents = [_document(session) for session in sessions]
    written = yield from _write(index, known, sessions, documents)
    if not written:
        return None
    try:
        yield from index.refresh(known)
        found = yield from conversation(sessions[0], known, None)
    except AuthorizationException as error:
        if not is_forbidden(error):
            raise
        found = None  # this client may write and not read
    yield from _remove(index, sessions)
    if found is not None and [hit["_source"] for hit in found] != [documents[0]]:
        return "is not returned" if len(found) < 2 else "is returned with one of another session"
    if index.seen:
        index.note(known, proven=True)
    return None


def _document(session: Session) -> dict[str, Any]:
    text = {"type": "human", "data": {"content": 'a trial "\\ \u00e9'}}
    return {"session_id": session.key, "created_at": now_ms(), "history": json.dumps(text)}


def _write(
    index: Index, known: IndexProperties, sessions: list[Session], documents: list[Any]
) -> Steps[bool]:
    """Store the documents. Return False if the index has no mapping."""
    lines: list[Any] = []
    for session, document in zip(sessions, documents, strict=True):
        lines += [storing(f"{session.routing}-trial", routing=session.routing), document]
    names = [("index", line["index"]["_id"]) for line in lines[::2]]
    more = {} if known.refreshable else {"refresh": True}
    while True:
        answer = yield bulk_request(index, lines, names, trial=True, **more)
        items = [item["index"] for item in answer.body["items"]]
        refused = [item for item in items if "error" in item and item["status"] != 409]
        if not refused:
            return True
        if is_missing_mapping(refused[0]["error"]):
            return False
        if refused[0]["status"] == 400:
            raise unfit(
                index.name,
                f"it refuses a document that was sent to it for a trial: "
                f"{item_reason(refused[0]['error'])}",
                "change its mapping, or name an index that does not exist yet",
            )
        if not is_temporary(refused[0]) or not (yield Pause(0.2)):
            raise refusal(refused[0], answer.meta, answer.body)


def _remove(index: Index, sessions: list[Session]) -> Steps[None]:
    hits = [{"_id": f"{s.routing}-trial", "_routing": s.routing} for s in sessions]
    names = [("delete", str(hit["_id"])) for hit in hits]
    # If this is refused, the documents stay, in sessions that no user has.
    yield bulk_request(index, deletions(hits), names, trial=True)
