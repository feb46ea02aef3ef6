"""Clients whose `delete_by_query` is made of other requests, for a node without that module.

`Elasticsearch.options` makes further clients of the same class, so the histories under judgement
call this from code of their own that is not touched.
"""

from typing import Any

from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.helpers import async_bulk, async_scan, bulk, scan

Found = dict[str, Any]


class Deleting(Elasticsearch):
    """As the server does it: a snapshot is searched, and what changed since is a conflict.

    That is a `BulkIndexError` here and a `ConflictError` there; both have status 409.
    """

    def delete_by_query(self, *, index: str, query: Found, refresh: bool) -> None:
        found = scan(self, index=index, query=_searched(query), _source=False)
        bulk(self, map(_deletion, found), refresh=refresh)


class AsyncDeleting(AsyncElasticsearch):
    """The same, asynchronously."""

    async def delete_by_query(self, *, index: str, query: Found, refresh: bool) -> None:
        found = async_scan(self, index=index, query=_searched(query), _source=False)
        deletions = (_deletion(document) async for document in found)
        await async_bulk(self, deletions, refresh=refresh)


def _searched(query: Found) -> Found:
    return {"query": query, "seq_no_primary_term": True}


def _deletion(document: Found) -> Found:
    return {
        "_op_type": "delete",
        "_index": document["_index"],
        "_id": document["_id"],
        "if_seq_no": document["_seq_no"],
        "if_primary_term": document["_primary_term"],
    }
