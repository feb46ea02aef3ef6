"""Clients with a substitute for `delete_by_query`, for a node without that module.

`Elasticsearch.options` returns clients of the same class. So the unchanged code of the histories
calls the substitute.
"""

from typing import Any

from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.helpers import async_bulk, async_scan, bulk, scan

Query = dict[str, Any]


class Deleting(Elasticsearch):
    """A client that deletes by query as the server does.

    It searches a snapshot. A document that was changed since is a conflict: a `BulkIndexError`
    here, and a `ConflictError` from the server. Both have status 409.
    """

    def delete_by_query(self, *, index: str, query: Query, refresh: bool) -> None:
        """Delete the documents that match a query."""
        found = scan(self, index=index, query=_searched(query), _source=False)
        bulk(self, map(_deletion, found), refresh=refresh)


class AsyncDeleting(AsyncElasticsearch):
    """The asynchronous twin of `Deleting`."""

    async def delete_by_query(self, *, index: str, query: Query, refresh: bool) -> None:
        """Delete the documents that match a query."""
        found = async_scan(self, index=index, query=_searched(query), _source=False)
        deletions = (_deletion(document) async for document in found)
        await async_bulk(self, deletions, refresh=refresh)


def _searched(query: Query) -> Query:
    return {"query": query, "seq_no_primary_term": True}


def _deletion(document: Query) -> Query:
    return {
        "_op_type": "delete",
        "_index": document["_index"],
        "_id": document["_id"],
        "if_seq_no": document["_seq_no"],
        "if_primary_term": document["_primary_term"],
    }
