"""A search that is read page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticsearch import ApiError

from .errors import OutdatedError
from .index import Index, IndexProperties
from .requests import Request, Steps
from .session import Hit

__all__ = ["KEEP_ALIVE", "Pages", "ids_only"]

KEEP_ALIVE = "1m"
"""The time for which the server keeps a point in time between two pages."""


class Pages:
    """A search, page by page. Each page is as large as the index and the server allow.

    Args:
        index: The index to search.
        known: Its properties.
        search: The arguments of the search.
        pit: The id of a point in time to search instead of the current state.

    Attributes:
        pit: The id of the point in time, which may change with each page.
        ended: Whether the last page was reached.
        total: The number of all documents, if the search counts them.
    """

    def __init__(
        self,
        index: Index,
        known: IndexProperties,
        search: Mapping[str, Any],
        pit: str | None = None,
    ) -> None:
        self._search: dict[str, Any] = {"track_total_hits": False, **search}
        self.pit = pit
        self._index = index
        self._known = known
        self._size = known.page
        self.ended = False
        self.total: int | None = None

    def next(self, limit: int | None = None) -> Steps[list[Hit]]:
        """Return the next documents, at most `limit`.

        Raises:
            UnavailableError: A shard did not answer.
            OutdatedError: The index has other shards than its properties say.
        """
        size, answer = yield from self._ask(limit)
        body = answer.body
        shards = body["_shards"]
        if shards["total"] > 1 and not self._known.several_shards:
            raise OutdatedError("the index has got several shards")
        hits: list[Hit] = body["hits"]["hits"]
        if self._index.moved(self._known, hits):
            raise OutdatedError("the name stands for another index now")
        self.ended = len(hits) < size
        self.pit = body.get("pit_id", self.pit)
        if hits and "sort" in hits[-1]:
            self._search["search_after"] = hits[-1]["sort"]
        if self.total is None:
            self.total = body["hits"].get("total", {}).get("value")
        return hits

    def _ask(self, limit: int | None) -> Steps[tuple[int, Any]]:
        """Return the size of the next page, and the answer of the server."""
        while True:
            size = self._size if limit is None else min(limit, self._size)
            target: dict[str, Any] = {"index": self._index.name}
            if self.pit is not None:
                target = {"pit": {"id": self.pit, "keep_alive": KEEP_ALIVE}}
            try:
                arguments = {**self._search, **target, "size": size}
                answer = yield Request("search", arguments, node=self._known.node)
            except ApiError as error:
                # A circuit breaker: the answer would be too large for the server.
                if "circuit_breaking" not in str(error.body) or size == 1:
                    raise
                self._size = size // 2
            else:
                return size, answer


def ids_only(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search for documents that are about to be deleted."""
    return {"query": query, "source": False}
