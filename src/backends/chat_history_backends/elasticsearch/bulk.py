"""Bulk requests that delete documents and write markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import OutdatedError, RefusedError
from .index import UNMAPPED, Index, is_missing_mapping
from .requests import Request, Steps
from .session import Hit

__all__ = ["MAPPED_ONLY", "deletions", "item_reason", "write"]

MAPPED_ONLY = {"dynamic_templates": {"session_id": UNMAPPED}}
"""An argument that keeps a document out of an index without a mapping."""


def write(
    index: Index, operations: Sequence[Mapping[str, Any]], *, refresh: bool = True
) -> Steps[list[Mapping[str, Any]]]:
    """Carry out operations in the given order, in one request, and return their results.

    Args:
        index: The index.
        operations: The lines of the request.
        refresh: Whether all searches have to see the result.

    Raises:
        RefusedError: The server refused one of them.
        OutdatedError: The index was deleted and has no mapping now.
    """
    answer = yield Request(
        "bulk", {"index": index.name, "operations": operations, "refresh": refresh}
    )
    results = [next(iter(item.values())) for item in answer.body["items"]]
    for result in results:
        if result["status"] not in (200, 201, 404, 409):
            if is_missing_mapping(result["error"]):  # deleted, and created again by this request
                raise OutdatedError("the index is gone")
            raise RefusedError(item_reason(result["error"]), answer.meta, answer.body)
    return results


def deletions(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return the operations that delete documents."""
    return [
        {"delete": {"_id": hit["_id"], "routing": hit.get("_routing", hit["_id"])}} for hit in hits
    ]


def item_reason(error: Mapping[str, Any]) -> str:
    """Return why the server refused one operation, without the part that quotes a message."""
    text = str(error.get("reason")).partition(" Preview of field's value")[0]
    return f"{error.get('type')}: {text}"
