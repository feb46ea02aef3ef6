"""Bulk requests: their arguments, and those that delete documents and write markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elastic_transport import ApiResponseMeta

from .errors import BLOCKED, OutdatedError, RefusedError, UnavailableError, is_full_disk
from .index import UNMAPPED, Index, is_missing_mapping
from .requests import Pause, Request, Steps
from .session import Hit

__all__ = [
    "bulk_request",
    "deletions",
    "is_temporary",
    "item_reason",
    "refusal",
    "storing",
    "was_removed",
    "write",
]

_MAPPED_ONLY = {"dynamic_templates": {"session_id": UNMAPPED}}
"""An argument that keeps a document out of an index without a mapping."""

_USED = ",".join(
    (
        "took,errors",
        *(f"items.*.{name}" for name in ("_id", "_index", "status", "_seq_no", "_shards", "error")),
    )
)
"""The parts of the answer that are used. The rest would be half of it."""

_PAUSE_SECONDS = 0.2

_REMOVED = 10**15
"""The version of a removed document, which is higher than that of any document. The server keeps it
for `index.gc_deletes`, 60 s by default. So it refuses an attempt whose client no longer waits, and
which it carries out only after a clear has removed the document."""


def bulk_request(
    index: Index,
    lines: Sequence[Any],
    operations: Sequence[tuple[str, str]],
    *,
    trial: bool = False,
    **more: Any,
) -> Request:
    """Return a bulk request.

    Args:
        index: The index.
        lines: The lines of the request.
        operations: The action and the `_id` of each operation.
        trial: Whether the documents belong to a trial, which no user sees.
        more: Further arguments.
    """
    # A default pipeline could change or drop documents.
    fixed = {"pipeline": "_none", "filter_path": _USED}
    arguments = {"index": index.name, "operations": lines, **fixed, **more}
    return Request("bulk", arguments, tuple(operations), counts=not trial)


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
    names = [
        (action, line[action]["_id"])
        for line in operations
        for action in ("index", "delete")
        if isinstance(line.get(action), Mapping)
    ]
    while True:
        answer = yield bulk_request(index, operations, names, refresh=refresh)
        results = [next(iter(item.values())) for item in answer.body["items"]]
        refused = [r for r in results if "error" in r and r["status"] != 409]
        if not refused:
            return results
        if any(is_missing_mapping(result["error"]) for result in refused):
            raise OutdatedError("the index is gone")  # and created again by this request
        # Nothing is done twice by a repetition: deletions change nothing then, and a marker that
        # exists is reported as a conflict.
        if not all(map(is_temporary, refused)) or not (yield Pause(_PAUSE_SECONDS)):
            raise refusal(refused[0], answer.meta, answer.body)


def is_temporary(result: Mapping[str, Any]) -> bool:
    """Return whether a refused operation may succeed later."""
    return result["status"] in (429, 500, 502, 503, 504) and not is_full_disk(result["error"])


def refusal(result: Mapping[str, Any], meta: ApiResponseMeta, body: object) -> RefusedError:
    """Return the error for one refused operation of a bulk request."""
    kind = UnavailableError if is_temporary(result) else RefusedError
    return kind(item_reason(result["error"]), meta, body)


def storing(name: str, *, attempt: int = 0, **more: Any) -> dict[str, Any]:
    """Return the operation that stores a document, unless it is there or was removed.

    Args:
        name: Its `_id`.
        attempt: How often the same document was sent, and taken back, before.
        more: Further metadata, such as its routing.
    """
    version = {"version": 2 * attempt + 1, "version_type": "external"}
    return {"index": {"_id": name, **version, **_MAPPED_ONLY, **more}}


def deletions(hits: Sequence[Hit], *, attempt: int | None = None) -> list[dict[str, Any]]:
    """Return the operations that delete documents.

    Args:
        hits: The documents.
        attempt: The attempt whose documents are taken back, to be sent again; None to remove them
            for good.
    """
    version = _REMOVED if attempt is None else 2 * attempt + 2
    return [
        {
            "delete": {
                "_id": hit["_id"],
                "routing": hit.get("_routing", hit["_id"]),
                "version": version,
                "version_type": "external_gte",
            }
        }
        for hit in hits
    ]


def was_removed(result: Mapping[str, Any]) -> bool:
    """Return whether a document was refused because it was stored before, and then removed."""
    reason = str(result["error"].get("reason")) if "error" in result else ""
    return result["status"] == 409 and f"current version [{_REMOVED}]" in reason


def item_reason(error: Mapping[str, Any]) -> str:
    """Return why the server refused one operation, without the part that quotes a message."""
    text = str(error.get("reason")).partition(" Preview of field's value")[0]
    if is_full_disk(error):
        text += ". Free space on the disk, or remove index.blocks.read_only_allow_delete"
    elif error.get("type") == "cluster_block_exception" and "FORBIDDEN" in text:
        text += f" {BLOCKED}"
    if "Not enough active copies" in text:
        text += (
            ". The index waits for more copies of a shard than there are now: start the missing "
            "nodes, or lower index.write.wait_for_active_shards"
        )
    return f"{error.get('type')}: {text}"
