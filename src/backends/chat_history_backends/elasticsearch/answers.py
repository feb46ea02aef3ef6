"""Check that an answer comes from Elasticsearch, and that it is whole.

A proxy or a gateway can answer any request with any status. So each answer must have the header
that Elasticsearch sends with every answer, and the content that this request needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, SerializationError
from elasticsearch import ApiError

from .errors import ForeignAnswerError, UnavailableError, error_of
from .requests import Request

__all__ = ["check_answer", "checked_error", "has_header"]

_REMEDY = "Check the address, and the proxies and gateways between this machine and Elasticsearch"


def check_answer(request: Request, answer: Any) -> None:
    """Check the answer to a request.

    Raises:
        ForeignAnswerError: It does not come from Elasticsearch, or answers another request.
        UnavailableError: Elasticsearch has answered only in part.
    """
    meta, body = answer.meta, answer.body
    if not has_header(meta):
        raise _foreign(meta, body, "without the header X-Elastic-Product")
    problem = None if meta.status == 200 else "with a status that Elasticsearch does not use here"
    if problem is None and not isinstance(body, Mapping):
        problem = "without a JSON object"
    if problem is None:
        problem = _CHECKS[request.api](request, body)
    if problem is not None:
        raise _foreign(meta, body, problem)
    if partial := _missing_part(request, body):
        raise UnavailableError(partial, meta, body)


def checked_error(request: Request, error: Exception) -> Exception:
    """Return the error of a request, or another one if Elasticsearch did not give the answer."""
    if isinstance(error, SerializationError):
        node = NodeConfig("http", "unknown", 0)
        meta = ApiResponseMeta(0, "1.1", HttpHeaders(), 0.0, node)
        return _foreign(meta, None, "that the client cannot read")
    if not isinstance(error, ApiError) or isinstance(error, (ForeignAnswerError, UnavailableError)):
        return error
    meta, body = error.meta, error.body
    if meta.status == 413 and not body and "content-type" not in meta.headers:
        # Elasticsearch refuses a large request before it reads it, and sends nothing else.
        return error
    why = error_of(body)
    if problem := _error_problem(request, meta, body, why):
        return _foreign(meta, body, problem)
    if meta.status == 429 or meta.status >= 500:
        text = f"{why['type']}: {why.get('reason')}"
        return UnavailableError(text, meta, body)
    return error


def _error_problem(
    request: Request, meta: ApiResponseMeta, body: Any, why: Mapping[str, Any]
) -> str | None:
    """Return why Elasticsearch does not describe an error in this way, or None."""
    whole = isinstance(why.get("type"), str) and isinstance(why.get("root_cause"), list)
    if not whole or body.get("status") != meta.status:
        return "without the description of an error of Elasticsearch"
    # Elasticsearch leaves the header out of some errors, such as those of missing privileges. An
    # answer that says that something is missing must have it.
    if not has_header(meta) and meta.status == 404:
        return "without the header X-Elastic-Product"
    if why["type"] == "index_not_found_exception" and not _names_index(request, why):
        return "that names another index"
    return None


def _names_index(request: Request, why: Mapping[str, Any]) -> bool:
    asked = request.arguments.get("index")
    return asked is None or asked in (why.get("index"), why.get("resource.id"))


def has_header(meta: ApiResponseMeta) -> bool:
    """Return whether an answer has the header of Elasticsearch."""
    return bool(meta.headers.get("x-elastic-product") == "Elasticsearch")


def _foreign(meta: ApiResponseMeta, body: object, problem: str) -> ForeignAnswerError:
    status = f"status {meta.status}" if meta.status else "an unknown status"
    text = f"an answer came that is not from Elasticsearch: {status}, {problem}"
    if meta.status == 401:
        text += ". It does not accept the credentials: check them"
    return ForeignAnswerError(f"{text}. {_REMEDY}", meta, body)


# What each answer must contain. Each check returns the problem, or None.

Check = Callable[[Request, Mapping[str, Any]], str | None]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shards_problem(body: Mapping[str, Any]) -> str | None:
    shards = body.get("_shards")
    if not isinstance(shards, Mapping) or not all(
        _is_count(shards.get(name)) for name in ("total", "successful", "failed")
    ):
        return "without the counts of shards"
    if not shards["total"] or shards["successful"] > shards["total"]:
        return "with counts of shards that make no sense"
    return None


def _bulk(request: Request, body: Mapping[str, Any]) -> str | None:
    items = body.get("items")
    if not isinstance(items, list) or not _is_count(body.get("took")):
        return "without results"
    if len(items) != len(request.operations):
        return f"with {len(items)} results for {len(request.operations)} operations"
    failed = False
    for item, (action, name) in zip(items, request.operations, strict=True):
        result = item.get(action) if isinstance(item, Mapping) else None
        if not isinstance(result, Mapping) or result.get("_id") != name:
            return "with the results of other operations"
        if problem := _result_problem(result):
            return problem
        failed = failed or "error" in result
    return None if body.get("errors") is failed else "with results that contradict each other"


def _result_problem(result: Mapping[str, Any]) -> str | None:
    status = result.get("status")
    if not _is_count(status) or not isinstance(result.get("_index"), str):
        return "with results without a status or an index"
    if status in (200, 201, 404) and "error" not in result:
        if not _is_count(result.get("_seq_no")):
            return "with results without sequence numbers"
        problem = _shards_problem(result)
        return problem or (None if result["_shards"]["successful"] else "with an impossible result")
    error = result.get("error")
    if not isinstance(error, Mapping) or not isinstance(error.get("type"), str):
        return "with results without the description of an error"
    return None


def _search(request: Request, body: Mapping[str, Any]) -> str | None:
    found = body.get("hits")
    hits = found.get("hits") if isinstance(found, Mapping) else None
    if not isinstance(hits, list) or not _is_count(body.get("took")):
        return "without search results"
    if not isinstance(body.get("timed_out"), bool):
        return "without the information whether it timed out"
    return _shards_problem(body) or _hits_problem(request, body, hits)


def _hits_problem(request: Request, body: Mapping[str, Any], hits: list[Any]) -> str | None:
    arguments = request.arguments
    for hit in hits:
        if problem := _hit_problem(arguments, hit):
            return problem
    if len(hits) > arguments["size"]:
        return "with more results than asked for"
    if arguments.get("track_total_hits") is True:
        total = body["hits"].get("total")
        if not isinstance(total, Mapping) or total.get("relation") != "eq":
            return "without the number of all results"
        first_page = "search_after" not in arguments
        if first_page and len(hits) != min(arguments["size"], total.get("value", -1)):
            return "with another number of results than it says"
    if "pit" in arguments and not isinstance(body.get("pit_id"), str):
        return "without a point in time"
    return None


def _hit_problem(arguments: Mapping[str, Any], hit: Any) -> str | None:
    names = ("_id", "_index")
    if not isinstance(hit, Mapping) or not all(isinstance(hit.get(name), str) for name in names):
        return "with results without an id"
    if "sort" in arguments and not isinstance(hit.get("sort"), list):
        return "with results that are not sorted"
    if arguments.get("source") is not False and not isinstance(hit.get("_source"), Mapping):
        return "with results without a document"
    return None


def _refresh(request: Request, body: Mapping[str, Any]) -> str | None:
    return _shards_problem(body)


def _indices(request: Request, body: Mapping[str, Any]) -> str | None:
    for index in body.values():
        parts = (
            [index.get(name) for name in ("aliases", "mappings", "settings")]
            if (isinstance(index, Mapping))
            else [None]
        )
        if not all(isinstance(part, Mapping) for part in parts):
            return "without the properties of an index"
        if not isinstance(index["settings"].get("index.uuid"), str):
            return "without the settings of an index"
    return None if body else "without an index"


def _acknowledged(request: Request, body: Mapping[str, Any]) -> str | None:
    return None if isinstance(body.get("acknowledged"), bool) else "without an acknowledgement"


def _point_in_time(request: Request, body: Mapping[str, Any]) -> str | None:
    return None if isinstance(body.get("id"), str) and body["id"] else "without a point in time"


def _closed(request: Request, body: Mapping[str, Any]) -> str | None:
    return None if isinstance(body.get("succeeded"), bool) else "without a result"


def _documents(request: Request, body: Mapping[str, Any]) -> str | None:
    asked, docs = request.arguments["docs"], body.get("docs")
    if not isinstance(docs, list) or len(docs) != len(asked):
        return "without the documents"
    for doc, wanted in zip(docs, asked, strict=True):
        if not isinstance(doc, Mapping) or doc.get("_id") != wanted["_id"]:
            return "with other documents"
        if not isinstance(doc.get("found"), bool) and "error" not in doc:
            return "with documents of an unknown state"
    return None


def _stats(request: Request, body: Mapping[str, Any]) -> str | None:
    indices = body.get("indices")
    return _shards_problem(body) or (None if isinstance(indices, Mapping) else "without indices")


def _search_shards(request: Request, body: Mapping[str, Any]) -> str | None:
    return None if isinstance(body.get("shards"), list) and body["shards"] else "without shards"


_CHECKS: Mapping[str, Check] = {
    "bulk": _bulk,
    "search": _search,
    "indices.refresh": _refresh,
    "indices.get": _indices,
    "indices.create": _acknowledged,
    "indices.put_mapping": _acknowledged,
    "indices.stats": _stats,
    "open_point_in_time": _point_in_time,
    "close_point_in_time": _closed,
    "mget": _documents,
    "search_shards": _search_shards,
}


def _missing_part(request: Request, body: Mapping[str, Any]) -> str | None:
    """Return the part that is missing in an answer of Elasticsearch, or None if it is whole."""
    if body.get("acknowledged") is False:
        return "the cluster did not acknowledge the change in time"
    if request.api == "mget":
        broken = next((doc["error"] for doc in body["docs"] if "error" in doc), None)
        return None if broken is None else f"a document cannot be read: {broken}"
    if request.api not in ("search", "indices.refresh", "open_point_in_time", "indices.stats"):
        return None
    shards = body.get("_shards", {})
    total, successful = shards.get("total", 1), shards.get("successful", 1)
    # A shard that is not assigned counts neither as successful nor as failed. A refresh and
    # statistics count the copies of a shard, of which some may be missing; a search does not.
    every = request.api in ("search", "open_point_in_time")
    if shards.get("failed") or not successful or (every and successful < total):
        return f"{successful} of {total} shards answered in time"
    if body.get("timed_out") or body.get("terminated_early"):
        return f"the search ended early, with {successful} of {total} shards"
    return None
