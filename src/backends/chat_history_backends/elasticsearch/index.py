"""The index that keeps sessions: its properties, and its creation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from elasticsearch import AuthorizationException, BadRequestError, NotFoundError

from .errors import UnfitIndexError
from .requests import Request, Steps

__all__ = [
    "MAPPING",
    "UNMAPPED",
    "ClientIdentity",
    "Index",
    "IndexProperties",
    "is_missing_mapping",
]

logger = logging.getLogger(__name__)

MAPPING: Mapping[str, Mapping[str, Any]] = {
    "session_id": {"type": "keyword"},
    "created_at": {"type": "date"},
    "history": {"type": "text", "index": False},
    "expires_at": {"type": "date", "format": "epoch_millis"},
}
"""The fields of langchain-elasticsearch, so that each package reads the documents of the other. The
text of a message is stored but not indexed, because no search looks for words in it."""
UNMAPPED = "chat-history-index-without-mapping"
"""The name of a dynamic template that no index has: see `is_missing_mapping`."""

_PAGE = 10_000
"""The default of `index.max_result_window`."""


@dataclass(frozen=True)
class IndexProperties:
    """The known properties of an index.

    Attributes:
        page: How many documents one search may return.
        mapped: Whether its mapping has the field for session ids.
        expiring: Whether its mapping has the field for expiry times.
        several_shards: Whether it has more than one shard.
        refreshable: Whether this client may refresh it; None if that was not tried yet.
        certain: Whether it exists for sure. False if this client may not look, and has not tried to
            create it.
    """

    page: int = _PAGE
    mapped: bool = True
    expiring: bool = True
    several_shards: bool = False
    refreshable: bool | None = None
    certain: bool = True


class ClientIdentity:
    """The identity of clients with the same servers and credentials.

    Properties of an index are kept for each identity, because they depend on its privileges.
    """


_PROPERTIES: WeakKeyDictionary[object, dict[str, IndexProperties]] = WeakKeyDictionary()
"""The properties of indices, by client identity and name, for all histories of the process. An
application opens a history for each turn of a chat, and must not examine the same index each time.
Outdated properties are noticed in use."""


class Index:
    """One index, as one handle sees it.

    Args:
        name: Its name, or the name of an alias for one index.
        identity: The identity of the client. Handles with the same one share the properties of the
            index.
    """

    def __init__(self, name: str, identity: object) -> None:
        self.name = name
        self._known = _PROPERTIES.setdefault(identity, {})
        self._identity = identity  # keeps the weak key of `_PROPERTIES` alive

    @property
    def seen(self) -> bool:
        """True if it was found or created in this process."""
        return self.name in self._known

    def forget(self) -> None:
        """Examine the index again before it is next used."""
        self._known.pop(self.name, None)

    def note(self, known: IndexProperties, **changed: Any) -> IndexProperties:
        """Store the properties with some of them changed, and return them."""
        self._known[self.name] = known = replace(known, **changed)
        return known

    def find(self) -> Steps[IndexProperties | None]:
        """Return its properties, or None if the index does not exist or has no mapping.

        Raises:
            UnfitIndexError: The index cannot keep sessions.
        """
        known = self._known.get(self.name) or (yield from self._examine())
        return known if known is not None and known.mapped else None

    def ready(self, *, expiring: bool, unmapped: bool = False) -> Steps[IndexProperties]:
        """Create the index or complete its mapping, if necessary, and return its properties.

        Args:
            expiring: Whether the caller will write documents with a time of expiry.
            unmapped: Whether a refused document has shown that the index has no mapping.

        Raises:
            UnfitIndexError: The index cannot keep sessions.
        """
        known = self._known.get(self.name) or (yield from self._examine())
        if known is None or not known.mapped or unmapped:
            yield from self._create_or_map()
            known = (yield from self._examine()) or IndexProperties()
        if not known.certain:
            with suppress(AuthorizationException):
                yield from self._create()
            known = self.note(known, certain=True)
        if expiring and not known.expiring:
            field = {"expires_at": MAPPING["expires_at"]}
            yield Request("indices.put_mapping", {"index": self.name, "properties": field})
            known = self.note(known, expiring=True)
        if known.refreshable is None:
            known = yield from self.refresh(known)
        return known

    def refresh(self, known: IndexProperties) -> Steps[IndexProperties]:
        """Let searches see everything that was acknowledged, if this client has the privilege."""
        if known.refreshable is False:
            return known
        try:
            yield Request("indices.refresh", {"index": self.name})
        except AuthorizationException:
            logger.warning(
                "index %r may not be refreshed, so each add refreshes it, which is slower. "
                "Ask for the privilege maintenance",
                self.name,
            )
            return self.note(known, refreshable=False)
        return known if known.refreshable else self.note(known, refreshable=True)

    def _examine(self) -> Steps[IndexProperties | None]:
        try:
            found = yield Request("indices.get", {"index": self.name})
        except NotFoundError:
            return None
        except AuthorizationException:
            logger.warning(
                "index %r may not be examined, so it is not checked that it keeps sessions apart. "
                "Ask for the privilege view_index_metadata",
                self.name,
            )
            # The number of shards is not known either, so expect several.
            return self.note(IndexProperties(several_shards=True, certain=False))
        known = _fit(self.name, found.body)
        return self.note(known) if known.mapped else known

    def _create_or_map(self) -> Steps[None]:
        """Create the index. If it exists without a mapping, give it one."""
        if not (yield from self._create()):
            with suppress(BadRequestError):  # it has a mapping now, which is examined next
                yield Request(
                    "indices.put_mapping", {"index": self.name, "properties": dict(MAPPING)}
                )

    def _create(self) -> Steps[bool]:
        """Create the index, and return whether that was necessary."""
        try:
            yield Request(
                "indices.create", {"index": self.name, "mappings": {"properties": dict(MAPPING)}}
            )
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
            return False  # another handle was faster, or the server created it for a document
        return True


def is_missing_mapping(error: Mapping[str, Any]) -> bool:
    """Return whether a document was refused because the server had just created an unmapped index.

    Documents name a dynamic template that no index has. If `session_id` is mapped, Elasticsearch
    does not look for the template. If it is not mapped, the missing template keeps Elasticsearch
    from inventing a mapping.
    """
    reason = str(error.get("reason", ""))
    return error.get("type") == "index_not_found_exception" or f"[{UNMAPPED}]" in reason


def _fit(name: str, found: Mapping[str, Any]) -> IndexProperties:
    """Return the properties of an index from its description.

    Raises:
        UnfitIndexError: The index cannot keep sessions apart, in order, or at all.
    """
    if len(found) != 1:
        raise _unfit(name, f"the name matches {len(found)} indices", "name one index")
    ((_, index),) = found.items()
    if "data_stream" in index:
        raise _unfit(name, "it is a data stream, which cannot be cleared", "name an index")
    settings = index.get("settings", {}).get("index", {})
    if int(settings.get("routing_partition_size", 1)) > 1:
        raise _unfit(
            name,
            "index.routing_partition_size spreads one session over several shards, which have no "
            "common order",
            "create an index without it",
        )
    mapping = index.get("mappings", {})
    source = mapping.get("_source", {})
    if source.get("enabled") is False or source.get("excludes") or source.get("includes"):
        raise _unfit(
            name, "its mapping does not keep the whole _source", "create an index that does"
        )
    fields = mapping.get("properties", {})
    session = fields.get("session_id")
    key_problem = _key_problem(session) if session is not None else None
    if key_problem:
        raise _unfit(
            name,
            f"its field session_id {key_problem}, so sessions cannot be kept apart",
            'reindex it into one whose mapping has "session_id": {"type": "keyword"}, or name '
            "an index that does not exist yet",
        )
    return IndexProperties(
        page=int(settings.get("max_result_window", _PAGE)),
        mapped=session is not None,
        expiring="expires_at" in fields,
        several_shards=int(settings.get("number_of_shards", 1)) > 1,
    )


def _key_problem(field: Mapping[str, Any]) -> str | None:
    if field.get("type") != "keyword":
        return f"is of the type {field.get('type', 'object')}"
    if "normalizer" in field:
        return f"has the normalizer {field['normalizer']}"
    if field.get("index") is False:
        return "is not indexed"
    if int(field.get("ignore_above", 2**31)) < 32_766:
        return f"ignores ids of more than {field['ignore_above']} characters"
    return None


def _unfit(name: str, problem: str, remedy: str) -> UnfitIndexError:
    return UnfitIndexError(
        f"index {name!r} cannot keep chat histories: {problem}. Remedy: {remedy}"
    )
