"""The index that keeps sessions: its properties, and its creation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from elastic_transport import NodeConfig
from elasticsearch import AuthorizationException, BadRequestError, NotFoundError

from .errors import error_type, is_forbidden, is_missing_index
from .fitness import check_fit, unfit
from .requests import Request, Steps

__all__ = [
    "MAPPING",
    "UNMAPPED",
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
        concrete: The name of the index itself, if the history was given an alias; empty if this
            client may not look.
        proven: Whether a trial has shown that it returns its documents.
        refreshable: Whether this client may refresh it; None if that was not tried yet.
        certain: Whether it exists for sure. False if this client may not look, and has not tried to
            create it.
        node: The node that has refreshed it for this call; None if there was none.
    """

    page: int = _PAGE
    mapped: bool = True
    expiring: bool = True
    several_shards: bool = False
    refreshable: bool | None = None
    certain: bool = True
    concrete: str = ""
    proven: bool = False
    node: NodeConfig | None = None


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

    def moved(self, known: IndexProperties, results: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether results come from another index, to which the alias points now."""
        return bool(known.concrete) and any(r["_index"] != known.concrete for r in results)

    @property
    def known(self) -> IndexProperties | None:
        """Its properties, if it was found or created in this process."""
        return self._known.get(self.name)

    @property
    def seen(self) -> bool:
        """True if it was found or created in this process."""
        return self.name in self._known

    def forget(self) -> None:
        """Examine the index again before it is next used."""
        self._known.pop(self.name, None)

    def note(self, known: IndexProperties, **changed: Any) -> IndexProperties:
        """Store the properties with some of them changed, and return them."""
        self._known[self.name] = known = replace(known, node=None, **changed)
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
            created = known is None and (yield from self._create())
            if not created:
                yield from self._map()
            known = (yield from self._examine()) or IndexProperties()
            if created and known.certain:
                known = self.note(known, proven=True)  # its mapping is ours
        if not known.certain:
            yield from self._create_if_permitted()
            known = self.note(known, certain=True)
        if expiring and not known.expiring:
            field = {"expires_at": MAPPING["expires_at"]}
            yield Request("indices.put_mapping", {"index": self.name, "properties": field})
            known = self.note(known, expiring=True)
        if known.refreshable is None:
            known = yield from self.refresh(known)
        return known

    def refresh(self, known: IndexProperties, *, searches: bool = False) -> Steps[IndexProperties]:
        """Let searches see everything that was acknowledged, if this client has the privilege.

        Args:
            known: The properties of the index.
            searches: Whether the result is for searches, which only the node that has refreshed the
                index may carry out.
        """
        if known.refreshable is False:
            return known
        try:
            answer = yield Request("indices.refresh", {"index": self.name})
        except AuthorizationException as error:
            if not is_forbidden(error):
                raise
            logger.warning(
                "index %r may not be refreshed, so each add refreshes it, which is slower. "
                "Ask for the privilege maintenance",
                self.name,
            )
            return self.note(known, refreshable=False)
        if not known.refreshable:
            known = self.note(known, refreshable=True)
        return replace(known, node=answer.meta.node) if searches else known

    def uuid(self, known: IndexProperties) -> Steps[str]:
        """Return the identity of the index, which no other index ever has.

        It is empty if this client may not examine the index.
        """
        if not known.concrete:
            return ""
        found = yield Request("indices.get", {"index": self.name, "flat_settings": True})
        return " ".join(index["settings"]["index.uuid"] for index in found.body.values())

    def _examine(self) -> Steps[IndexProperties | None]:
        try:
            found = yield Request("indices.get", {"index": self.name, "flat_settings": True})
        except NotFoundError as error:
            if not is_missing_index(error):
                raise
            return None
        except AuthorizationException as error:
            if not is_forbidden(error):
                raise
            logger.warning(
                "index %r may not be examined, so it is not checked that it keeps sessions apart. "
                "Ask for the privilege view_index_metadata",
                self.name,
            )
            # The number of shards is not known either, so expect several.
            return self.note(IndexProperties(several_shards=True, certain=False))
        known = _properties(self.name, found.body)
        return self.note(known) if known.mapped else known

    def _map(self) -> Steps[None]:
        """Give the index its mapping, if it has none."""
        try:
            yield Request("indices.put_mapping", {"index": self.name, "properties": dict(MAPPING)})
        except BadRequestError as error:
            # It has a mapping now, which is examined next.
            if error_type(error) not in ("illegal_argument_exception", "mapper_exception"):
                raise

    def _create_if_permitted(self) -> Steps[None]:
        try:
            yield from self._create()
        except AuthorizationException as error:
            if not is_forbidden(error):
                raise

    def _create(self) -> Steps[bool]:
        """Create the index, and return whether that was necessary."""
        try:
            yield Request(
                "indices.create", {"index": self.name, "mappings": {"properties": dict(MAPPING)}}
            )
        except BadRequestError as error:
            # Another handle was faster, the server created it for a document, or it is an alias.
            is_alias = "already exists as alias" in str(error.body)
            if error_type(error) != "resource_already_exists_exception" and not is_alias:
                raise
            return False
        return True


def is_missing_mapping(error: Mapping[str, Any]) -> bool:
    """Return whether a document was refused because the server had just created an unmapped index.

    Documents name a dynamic template that no index has. If `session_id` is mapped, Elasticsearch
    does not look for the template. If it is not mapped, the missing template keeps Elasticsearch
    from inventing a mapping.
    """
    reason = str(error.get("reason", ""))
    return error.get("type") == "index_not_found_exception" or f"[{UNMAPPED}]" in reason


def _properties(name: str, found: Mapping[str, Any]) -> IndexProperties:
    """Return the properties of an index from its description.

    Raises:
        UnfitIndexError: The index cannot keep sessions apart, in order, or at all.
    """
    if len(found) != 1:
        raise unfit(name, f"the name matches {len(found)} indices", "name one index")
    ((concrete, index),) = found.items()
    check_fit(name, concrete, index)
    settings, fields = index["settings"], index["mappings"].get("properties", {})
    return IndexProperties(
        page=int(settings.get("index.max_result_window", _PAGE)),
        mapped="session_id" in fields,
        expiring="expires_at" in fields,
        several_shards=int(settings.get("index.number_of_shards", 1)) > 1,
        concrete=concrete,
    )
