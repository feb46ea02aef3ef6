"""The index that sessions are kept in: what has to be known of it, and how it is made."""

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

logger = logging.getLogger(__name__)

SESSION = {"type": "keyword"}
MAPPING: Mapping[str, Mapping[str, Any]] = {
    "session_id": SESSION,
    "created_at": {"type": "date"},
    "history": {"type": "text", "index": False},
    "expires_at": {"type": "date", "format": "epoch_millis"},
}
"""The fields that langchain-elasticsearch has, so that each reads what the other has written. The
text of a message is stored, and nobody looks for words in it."""

_PAGE = 10_000
"""`index.max_result_window` where the index does not set it."""


@dataclass(frozen=True)
class Known:
    """What somebody found out about an index.

    Attributes:
        page: How many documents one search may return.
        mapped: Whether the field of session ids is there.
        expiring: Whether the field of expiry times is there.
        spread: Whether it has several shards.
        refreshable: Whether we may refresh it; None while that was not tried.
        certain: Whether it is there; False where we may not look, and have not tried to make it.
    """

    page: int = _PAGE
    mapped: bool = True
    expiring: bool = True
    spread: bool = False
    refreshable: bool | None = None
    certain: bool = True


class Asker:
    """Somebody who asks certain servers. What they may see and do is theirs, and nobody else's."""


_KNOWN: WeakKeyDictionary[object, dict[str, Known]] = WeakKeyDictionary()
"""By who asks and the name of the index, for all histories of the process: an application opens one
for each turn, and must not pay for looking at the same index again. What is outdated is noticed in
use."""


class Index:
    """One index, as one handle sees it.

    Args:
        name: Its name, or that of an alias for one index.
        asker: Who asks: handles that share it share what they know of the index.
    """

    def __init__(self, name: str, asker: object) -> None:
        self.name = name
        self._known = _KNOWN.setdefault(asker, {})
        self._asker = asker  # or it would be forgotten

    @property
    def seen(self) -> bool:
        """Whether it was found, or made, in this process."""
        return self.name in self._known

    def forget(self) -> None:
        """Look at the index again before it is next used."""
        self._known.pop(self.name, None)

    def note(self, known: Known, **changed: Any) -> Known:
        """Keep something else that has shown about it."""
        self._known[self.name] = known = replace(known, **changed)
        return known

    def find(self) -> Steps[Known | None]:
        """What is known of it; None where there is no index, or one without any mapping.

        Raises:
            UnfitIndexError: It cannot keep sessions.
        """
        known = self._known.get(self.name) or (yield from self._examine())
        return known if known is not None and known.mapped else None

    def ready(self, *, expiring: bool, unmapped: bool = False) -> Steps[Known]:
        """Make it, or complete its mapping, where that is needed.

        Args:
            expiring: Whether documents with a time of expiry are to be written.
            unmapped: Whether it has shown that there is no mapping, whatever is known of it.

        Raises:
            UnfitIndexError: It cannot keep sessions.
        """
        known = self._known.get(self.name) or (yield from self._examine())
        if known is None or not known.mapped or unmapped:
            yield from self._make()
            known = (yield from self._examine()) or Known()
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

    def refresh(self, known: Known) -> Steps[Known]:
        """Let searches see all that was acknowledged, as far as we may do that."""
        if known.refreshable is False:
            return known
        try:
            yield Request("indices.refresh", {"index": self.name})
        except AuthorizationException:
            logger.warning(
                "index %r may not be refreshed: each add does so itself, which is slower. "
                "The privilege is maintenance",
                self.name,
            )
            return self.note(known, refreshable=False)
        return known if known.refreshable else self.note(known, refreshable=True)

    def _examine(self) -> Steps[Known | None]:
        try:
            found = yield Request("indices.get", {"index": self.name})
        except NotFoundError:
            return None
        except AuthorizationException:
            logger.warning(
                "index %r may not be looked at: that it keeps sessions apart is not checked. "
                "The privilege is view_index_metadata",
                self.name,
            )
            # How many shards it has is not known either.
            return self.note(Known(spread=True, certain=False))
        known = _fit(self.name, found.body)
        return self.note(known) if known.mapped else known

    def _make(self) -> Steps[None]:
        """Make the index; where it is there without a mapping, give it one."""
        if not (yield from self._create()):
            with suppress(BadRequestError):  # it has a mapping now: whether it will do is seen next
                yield Request(
                    "indices.put_mapping", {"index": self.name, "properties": dict(MAPPING)}
                )

    def _create(self) -> Steps[bool]:
        """Make the index, and say whether that was needed."""
        try:
            yield Request(
                "indices.create", {"index": self.name, "mappings": {"properties": dict(MAPPING)}}
            )
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
            return False  # another handle was faster, or the server has made it for a document
        return True


def is_missing_mapping(error: Mapping[str, Any]) -> bool:
    """Whether a document was refused because the index, just made by it, has no mapping.

    Documents name a dynamic template that no index has. Where `session_id` is mapped nobody asks
    for it; where it is not, it keeps Elasticsearch from making up a mapping of its own.
    """
    reason = str(error.get("reason", ""))
    return error.get("type") == "index_not_found_exception" or f"[{UNMAPPED}]" in reason


UNMAPPED = "chat-history-index-without-mapping"


def _fit(name: str, found: Mapping[str, Any]) -> Known:
    """What can be used of an index's description.

    Raises:
        UnfitIndexError: It cannot keep sessions apart, in order, or at all.
    """
    if len(found) != 1:
        raise _unfit(name, f"the name stands for {len(found)} indices", "name one index")
    ((_, index),) = found.items()
    if "data_stream" in index:
        raise _unfit(
            name, "it is a data stream, from which nothing can be cleared", "name an index"
        )
    settings = index.get("settings", {}).get("index", {})
    if int(settings.get("routing_partition_size", 1)) > 1:
        raise _unfit(
            name,
            "index.routing_partition_size spreads one session over several shards, which have no "
            "common order",
            "make an index without it",
        )
    mapping = index.get("mappings", {})
    source = mapping.get("_source", {})
    if source.get("enabled") is False or source.get("excludes") or source.get("includes"):
        raise _unfit(name, "its mapping does not keep the whole _source", "make an index that does")
    fields = mapping.get("properties", {})
    session = fields.get("session_id")
    problem = _problem(session) if session is not None else None
    if problem:
        raise _unfit(
            name,
            f"its field session_id {problem}, so that sessions cannot be kept apart",
            'reindex it into one whose mapping has "session_id": {"type": "keyword"}, or name '
            "an index that does not exist yet",
        )
    return Known(
        page=int(settings.get("max_result_window", _PAGE)),
        mapped=session is not None,
        expiring="expires_at" in fields,
        spread=int(settings.get("number_of_shards", 1)) > 1,
    )


def _problem(field: Mapping[str, Any]) -> str | None:
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
