"""One session in one index: the key, routing and queries that find its documents.

Documents: there is one for each message, with the fields of langchain-elasticsearch: `session_id`,
`created_at` in milliseconds, and `history`, the message as JSON text. A message with a time to live
also has `expires_at`. The `_id` consists of a random name for the batch and the position in it. It
is fixed before the first attempt, so a request that is sent twice stores its messages once.
Documents are never changed. They have external versions: see `storing` and `deletions`.

Order: all documents of a session are routed to one shard. Its `_seq_no` is the order in which it
accepted them. Documents of langchain-elasticsearch are routed by their `_id`. In an index of one
shard, the default, they follow the same order. In an index of several shards, they are merged by
`created_at`.

Clearing: a clear first writes a *marker*, and deletes it last. A read ignores all documents before
a marker. So it sees the conversation either as it was or cleared, however long the deletion takes.
Messages that are added during a clear come after the marker and stay.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from elasticsearch import BadRequestError, NotFoundError

from ..session_ids import ENCODED_PREFIX, encoded_id
from .errors import NodeFailedError, OutdatedError, is_missing_index
from .fitness import unfit
from .index import Index, IndexProperties
from .requests import Pause, Steps

__all__ = ["Hit", "Session", "expired", "now_ms", "on_current_index"]

T = TypeVar("T")

Hit = Mapping[str, Any]
"""A document as a search returns it."""

_ATTEMPTS = 5
_NODE_PAUSE_SECONDS = 0.1
_LONGEST_KEYWORD_BYTES = 32_766
"""The longest term that Lucene accepts."""


class Session:
    """One session in one index.

    Args:
        index: The index that keeps the session.
        session_id: Any string.

    Attributes:
        key: The value of the field `session_id` in documents of the session.
        marker_key: The value of that field in the markers of its clears.
        routing: The routing of its documents.
    """

    def __init__(self, index: Index, session_id: str) -> None:
        self.index = index
        self._set_key(_key(session_id))

    @classmethod
    def of_key(cls, index: Index, key: str) -> Session:
        """Return the session whose documents have this `session_id`."""
        session = cls(index, "")
        session._set_key(key)
        return session

    def _set_key(self, key: str) -> None:
        self.key = key
        digest = hashlib.sha256(self.key.encode()).hexdigest()
        self.marker_key = f"{ENCODED_PREFIX}c{digest}"
        # A routing may be any string. This one is short and has no comma, which would split it.
        self.routing = digest[:32]

    @property
    def routed(self) -> Mapping[str, Any]:
        """The query for documents with the routing of the session."""
        return {"term": {"_routing": self.routing}}

    def query(self, *, filter: Sequence[Any] = (), must_not: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a query for documents of the session, including its markers."""
        keys = {"terms": {"session_id": [self.key, self.marker_key]}}
        return {"bool": {"filter": [keys, *filter], "must_not": [*must_not]}}

    def is_marker(self, hit: Hit) -> bool:
        """Return whether a document is the marker of a clear."""
        return bool(hit["_source"]["session_id"] == self.marker_key)

    def after_last_marker(self, hits: Sequence[Hit]) -> tuple[list[Hit], bool]:
        """Return the documents after the last marker, and whether there was a marker."""
        markers = [number for number, hit in enumerate(hits) if self.is_marker(hit)]
        return list(hits[markers[-1] + 1 :] if markers else hits), bool(markers)

    def check_owner(self, hits: Iterable[Hit]) -> None:
        """Check that documents belong to the session.

        Raises:
            UnfitIndexError: One does not, for example because a runtime field hides `session_id`.
        """
        for hit in hits:
            found = hit["_source"].get("session_id")
            keys = {self.key, self.marker_key}
            if not keys.intersection(found if isinstance(found, list) else [found]):
                raise unfit(
                    self.index.name,
                    "a search for a session has returned a document of another session",
                    "look for runtime fields and other changes of its mapping",
                )

    def has_marker(self, hits: Iterable[Hit]) -> bool:
        """Return whether one of the documents is a marker."""
        return any(map(self.is_marker, hits))


def on_current_index(
    index: Index, look: Callable[[IndexProperties], Steps[T]], *, refreshes: bool = True
) -> Steps[T | None]:
    """Refresh the index, then run `look` on it. Return None if the index does not exist.

    After the refresh, searches see everything that was acknowledged before. This holds only for
    searches by the node that has refreshed the index, on all copies that it knows. Another node may
    know other copies, for example if it was cut off from the cluster.

    Args:
        index: The index.
        look: The operation.
        refreshes: Whether to refresh the index. Otherwise `look` searches on a node that has done
            so. If this node fails, the index is refreshed here.
    """
    attempt = 0
    while True:
        known = yield from index.find()
        if known is None:
            return None
        try:
            if refreshes:
                known = yield from index.refresh(known, searches=True)
            return (yield from look(known))
        except NodeFailedError as failure:
            if not (yield Pause(_NODE_PAUSE_SECONDS)):
                raise failure.error from failure
            refreshes = True
        except (NotFoundError, BadRequestError, OutdatedError) as error:
            # The index was deleted, or created again in another form, since it was examined. A
            # node that has just started says so too, so only a new examination decides.
            index.forget()
            if isinstance(error, NotFoundError) and not known.certain and is_missing_index(error):
                return None  # this client may not examine it
            last = attempt == _ATTEMPTS - 1 or (attempt and isinstance(error, BadRequestError))
            if last or not (yield Pause(0.1 * attempt)):
                raise
            attempt += 1


def expired() -> dict[str, Any]:
    """Return the query for documents that have expired by now."""
    return {"range": {"expires_at": {"lte": now_ms()}}}


def now_ms() -> int:
    """Return the time of this machine's clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _key(session_id: str) -> str:
    """Return the session id itself, or an encoding if it cannot be a keyword or is reserved."""
    try:
        short = len(session_id.encode()) <= _LONGEST_KEYWORD_BYTES
    except UnicodeEncodeError:  # half a surrogate pair
        short = False
    if short and not session_id.startswith(ENCODED_PREFIX):
        return session_id
    return encoded_id(session_id, 512)
