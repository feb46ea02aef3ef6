"""One session in one index: what is asked for each operation, and what the answers mean. No I/O.

Documents. One for each message, with the fields of langchain-elasticsearch: `session_id`,
`created_at` in milliseconds, and `history`, the message as JSON text. Its `_id` is a random one for
the batch and the position in it, fixed before the first attempt: what is sent twice is stored once.
`expires_at` is there where the message has a time to live. Documents are never changed.

Order. A session's documents are routed to one shard, and `_seq_no` is the order in which that
shard accepted them. Documents of langchain-elasticsearch are routed by their `_id`; in an index of
one shard, the default, they are in that order too. In one of several, they are merged in by
`created_at`.

Clearing. A clear first writes a *marker*, and deletes it last. A read ignores what lies before a
marker, so it sees the conversation as it was or cleared, however long the deleting takes, and what
others add meanwhile is behind the marker and stays.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from elastic_transport import ApiResponseMeta
from elasticsearch import ApiError, BadRequestError, NotFoundError, TransportError
from langchain_core.messages import BaseMessage

from ..codec import decode_batch, encode_batch
from ..session_ids import ENCODED_PREFIX, encoded_id
from .errors import DeliveryError, ElasticsearchHistoryError, RefusedError, reason
from .index import UNMAPPED, Index, Known, is_missing_mapping
from .requests import Request, Steps, Work

T = TypeVar("T")

Hit = Mapping[str, Any]

LARGEST_REQUEST = 95 * 1024 * 1024
"""Bytes of messages in one request: `http.max_content_length` is 100 MB, on most servers."""

_LARGE_REQUEST = 1024 * 1024
_KEEP_ALIVE = "1m"
_LONGEST_KEYWORD = 32_766
"""Bytes of the longest term that Lucene takes."""
_ATTEMPTS = 5
_MAPPED = {"dynamic_templates": {"session_id": UNMAPPED}}
"""What keeps a document out of an index without a mapping."""


class Conversation:
    """The operations of a history, each a generator of what it wants done.

    Args:
        index: Where the session is kept.
        session_id: Any string.
        ttl_ms: Milliseconds until a message added here expires; None for never.
        ensure_ascii: Whether the text of messages is stored as ASCII alone.
    """

    def __init__(
        self, index: Index, session_id: str, *, ttl_ms: int | None, ensure_ascii: bool
    ) -> None:
        self.index = index
        self._ttl_ms = ttl_ms
        self._ensure_ascii = ensure_ascii
        self._key = _key(session_id)
        digest = hashlib.sha256(self._key.encode()).hexdigest()
        self._marker_key = f"{ENCODED_PREFIX}c{digest}"
        # Any string, but short, and nothing that a list of routings would be split at.
        self._routing = digest[:32]
        self._here = {"term": {"_routing": self._routing}}

    def create_if_missing(self) -> Steps[None]:
        """Make the index, or what is missing in its mapping."""
        yield from self.index.ready(expiring=self._ttl_ms is not None)

    # Adding.

    def add(self, messages: Iterable[BaseMessage]) -> Steps[None]:
        """Store a batch: one request, and another only where it is too large for one."""
        batch = uuid.uuid4().hex
        operations: list[str] = yield Work(lambda: self._operations(batch, messages))
        if not operations:
            return
        known = yield from self.index.ready(expiring=self._ttl_ms is not None)
        stored: list[str] = []
        for part in _parts(operations):
            try:
                refused = yield from self._store(part, known, stored)
            except ApiError as error:
                if error.status_code >= 500:  # of a gateway, say: what became of it is not known
                    raise
                refused = _Refused(error.meta, error.body, reason(error))
            if refused is not None:
                left = (yield from self._take_back(stored)) if stored else 0
                raise refused.told(len(operations) // 2, left)

    def _operations(self, batch: str, messages: Iterable[BaseMessage]) -> list[str]:
        """The lines of a bulk request, two for each message."""
        texts = encode_batch(messages)
        first = _take_times((self.index.name, self._key), len(texts))
        expires = {} if self._ttl_ms is None else {"expires_at": _now_ms() + self._ttl_ms}
        lines = []
        for number, text in enumerate(texts):
            create = {"_id": f"{batch}-{number}", **_MAPPED}
            document = {
                "session_id": self._key,
                "created_at": first + number,
                "history": text if self._ensure_ascii else _unescaped(text),
                **expires,
            }
            lines += [json.dumps({"create": create}), json.dumps(document)]
        return lines

    def _store(
        self, lines: Sequence[str], known: Known, stored: list[str], attempts: int = 2
    ) -> Steps[_Refused | None]:
        """Send a part of a batch, and note in `stored` the `_id` of each message that is there."""
        arguments: dict[str, Any] = {
            "index": self.index.name,
            "routing": self._routing,
            "operations": lines,
        }
        if not known.refreshable:
            arguments["refresh"] = True
        try:
            answer = yield Request("bulk", arguments)
        except ApiError as error:
            half = len(lines) // 4 * 2
            large = error.status_code == 429 and sum(map(len, lines)) > _LARGE_REQUEST
            if not half or not (large or error.status_code == 413):
                raise
            # Nothing of it was stored: the server has no room for a request of that size.
            return (yield from self._store(lines[:half], known, stored)) or (
                yield from self._store(lines[half:], known, stored)
            )
        items = [item["create"] for item in answer.body["items"]]
        # 409: an earlier attempt, whose answer was lost, has stored it.
        stored += [item["_id"] for item in items if item["status"] in (201, 409)]
        refused = {
            n: item["error"] for n, item in enumerate(items) if item["status"] not in (201, 409)
        }
        if not refused:
            return None
        if attempts > 1 and all(map(is_missing_mapping, refused.values())):
            self.index.forget()
            known = yield from self.index.ready(expiring=self._ttl_ms is not None, unmapped=True)
            again = [line for n in refused for line in lines[2 * n : 2 * n + 2]]
            return (yield from self._store(again, known, stored, attempts - 1))
        first, told = next(iter(refused.items()))
        place = int(items[first]["_id"].rpartition("-")[2])
        text = f"message {place} of the batch: {_item_reason(told)}"
        return _Refused(answer.meta, answer.body, text)

    def _take_back(self, stored: Sequence[str]) -> Steps[int]:
        """Remove what was stored of a batch of which other messages were refused.

        Returns:
            How many of these messages are stored all the same.
        """
        try:
            hits = [{"_id": name, "_routing": self._routing} for name in stored]
            yield from self._write(_deletions(hits))
        except (ApiError, TransportError):
            return len(stored)
        return 0

    # Reading.

    def read(self, last: int | None = None) -> Steps[list[BaseMessage]]:
        """Decode the conversation, or the last so many messages of it, oldest first."""
        hits = yield from self._seen(lambda known: self._conversation(known, last))
        if not hits:
            return []
        records = [(hit["_id"], hit["_source"].get("history") or "") for hit in hits]
        messages: list[BaseMessage] = yield Work(lambda: decode_batch(records)[0])
        return messages

    def _seen(self, look: Callable[[Known], Steps[T]]) -> Steps[T | None]:
        """Look at the index as it is after all that was acknowledged; None where there is none."""
        for last_attempt in (False, True):
            known = yield from self.index.find()
            if known is None:
                return None
            try:
                known = yield from self.index.refresh(known)
                return (yield from look(known))
            except (NotFoundError, BadRequestError, _OutdatedError) as error:
                # It was deleted, or made anew in another way, since we have looked at it.
                self.index.forget()
                if last_attempt:
                    if isinstance(error, NotFoundError):
                        return None
                    raise
        return None

    def _conversation(self, known: Known, last: int | None) -> Steps[list[Hit]]:
        """The documents behind the last marker that have not expired, oldest first."""
        for _ in range(_ATTEMPTS):
            if known.spread:
                hits, complete = yield from self._merged(known, last)
            else:
                query = self._keys(must_not=[_expired()])
                hits, complete = yield from self._ordered(known, query, last)
            if complete:
                return hits
            # Something was removed between two pages.
        raise ElasticsearchHistoryError(
            f"the conversation was cleared {_ATTEMPTS} times while it was read"
        )

    def _keys(self, *, filter: Sequence[Any] = (), must_not: Sequence[Any] = ()) -> dict[str, Any]:
        """A query for documents of the session, and its markers."""
        keys = {"terms": {"session_id": [self._key, self._marker_key]}}
        return {"bool": {"filter": [keys, *filter], "must_not": [*must_not]}}

    def _ordered(
        self, known: Known, query: Mapping[str, Any], last: int | None
    ) -> Steps[tuple[list[Hit], bool]]:
        """Documents of one shard, in order, and whether they were all there at one time."""
        newest_first = last is not None
        total = None
        hits: list[Hit] = []
        search = {
            "query": query,
            "sort": [{"_seq_no": "desc" if newest_first else "asc"}],
            "track_total_hits": not newest_first,
        }
        if known.spread:
            search["routing"] = self._routing
        pages = _Pages(self.index, known, search)
        while last is None or len(hits) < last:
            page = yield from pages.next(None if last is None else last - len(hits))
            total = pages.total if total is None else total
            hits += page
            if pages.ended or len(hits) == total:
                break
            if newest_first and any(map(self._is_marker, page)):
                break
        if newest_first:
            hits.reverse()
        markers = [n for n, hit in enumerate(hits) if self._is_marker(hit)]
        alive = hits[markers[-1] + 1 :] if markers else hits
        return alive, newest_first or bool(markers) or len(hits) >= (total or 0)

    def _is_marker(self, hit: Hit) -> bool:
        return bool(hit["_source"]["session_id"] == self._marker_key)

    def _merged(self, known: Known, last: int | None) -> Steps[tuple[list[Hit], bool]]:
        """What was written here, and what others have left on any shard, merged by time."""
        expired = _expired()
        ours, complete = yield from self._ordered(
            known, self._keys(filter=[self._here], must_not=[expired]), last
        )
        foreign = yield from self._foreign(known, self._keys(must_not=[self._here, expired]), last)
        return _merge(ours, foreign, last), complete

    def _foreign(
        self, known: Known, query: Mapping[str, Any], last: int | None
    ) -> Steps[list[Hit]]:
        """Documents that are not routed by session, by their time; at one point in time."""
        opened = yield Request(
            "open_point_in_time", {"index": self.index.name, "keep_alive": _KEEP_ALIVE}
        )
        order = "asc" if last is None else "desc"
        hits: list[Hit] = []
        search = {"query": query, "sort": [{"created_at": order}]}
        pages = _Pages(self.index, known, search, pit=opened.body["id"])
        while not pages.ended and (last is None or len(hits) < last):
            hits += yield from pages.next(None if last is None else last - len(hits))
        yield Request("close_point_in_time", {"id": pages.pit})
        return hits if last is None else hits[::-1]

    # Removing.

    def clear(self) -> Steps[None]:
        """Remove the session's documents."""
        yield from self._seen(self._clear)

    def _clear(self, known: Known) -> Steps[None]:
        if known.spread:
            foreign = self._keys(must_not=[self._here])
            while hits := (yield from _Pages(self.index, known, _ids_of(foreign)).next()):
                yield from self._write(_deletions(hits))
        pages = self._to_clear(known)
        hits = yield from pages.next()
        if not hits:
            return
        end = yield from self._mark(hits)
        more = True
        while more:
            # What did not fit on the page before, what came before the marker, and at last the
            # marker. What is behind it stays.
            page = yield from pages.next()
            before = [hit for hit in page if hit["sort"][0] <= end]
            more = not pages.ended and len(before) == len(page)
            # That the marker goes makes no difference to any search, and a refresh takes time.
            visible = any(hit["sort"][0] < end for hit in before)
            if before:
                yield from self._write(_deletions(before), refresh=visible)

    def _to_clear(self, known: Known) -> _Pages:
        query = self._keys(filter=[self._here]) if known.spread else self._keys()
        search = {**_ids_of(query), "sort": [{"_seq_no": "asc"}]}
        if known.spread:
            search["routing"] = self._routing
        return _Pages(self.index, known, search)

    def _mark(self, hits: Sequence[Hit]) -> Steps[int]:
        """Write a marker, delete what lies before it, and say where it stands in the order."""
        marker = uuid.uuid4().hex
        create = {"_id": marker, "routing": self._routing, **_MAPPED}
        document = {"session_id": self._marker_key, "created_at": _now_ms()}
        made, *_ = yield from self._write([{"create": create}, document, *_deletions(hits)])
        if "_seq_no" not in made:  # it was there already: sent twice by the client
            arguments = {"index": self.index.name, "id": marker, "routing": self._routing}
            made = (yield Request("get", arguments)).body
        return int(made["_seq_no"])

    def _write(
        self, operations: Sequence[Mapping[str, Any]], *, refresh: bool = True
    ) -> Steps[list[Mapping[str, Any]]]:
        """Carry out operations in the order given, in one request; all readers see it then."""
        answer = yield Request(
            "bulk", {"index": self.index.name, "operations": operations, "refresh": refresh}
        )
        results = [next(iter(item.values())) for item in answer.body["items"]]
        for result in results:
            if result["status"] not in (200, 201, 404, 409):
                if is_missing_mapping(result["error"]):  # deleted, and now made by this
                    raise _OutdatedError("the index is gone")
                raise RefusedError(_item_reason(result["error"]), answer.meta, answer.body)
        return results

    def discard(self, position: str) -> Steps[None]:
        """Remove the document of this `_id`, if it is one of the session."""

        def remove(known: Known) -> Steps[None]:
            query = self._keys(filter=[{"ids": {"values": [position]}}])
            hits = yield from _Pages(self.index, known, _ids_of(query)).next()
            if hits:
                yield from self._write(_deletions(hits))

        yield from self._seen(remove)

    def delete_expired(self) -> Steps[int]:
        """Remove what has expired in all sessions of the index."""

        def remove(known: Known) -> Steps[int]:
            removed = 0
            search = _ids_of(_expired())
            while hits := (yield from _Pages(self.index, known, search).next()):
                yield from self._write(_deletions(hits))
                removed += len(hits)
            return removed

        return (yield from self._seen(remove)) or 0


class _OutdatedError(ElasticsearchHistoryError):
    """What is known of the index does not fit the answer."""


class _Pages:
    """A search, page by page; each as large as the index allows and the server can carry."""

    def __init__(
        self, index: Index, known: Known, search: Mapping[str, Any], pit: str | None = None
    ) -> None:
        self._search: dict[str, Any] = {"track_total_hits": False, **search}
        self.pit = pit
        self._index = index
        self._known = known
        self._size = known.page
        self.ended = False
        self.total: int | None = None

    def next(self, limit: int | None = None) -> Steps[list[Hit]]:
        """The next documents, at most `limit`."""
        while True:
            size = self._size if limit is None else min(limit, self._size)
            where: dict[str, Any] = {"index": self._index.name}
            if self.pit is not None:
                where = {"pit": {"id": self.pit, "keep_alive": _KEEP_ALIVE}}
            try:
                answer = yield Request("search", {**self._search, **where, "size": size})
            except ApiError as error:
                # The answer would be too large for the server: a circuit breaker.
                if error.status_code != 429 or size == 1:
                    raise
                self._size = size // 2
                continue
            body = answer.body
            shards = body["_shards"]
            # A shard that is not assigned counts neither as successful nor as failed.
            if shards["successful"] < shards["total"] or body["timed_out"]:
                text = f"{shards['successful']} of {shards['total']} shards answered in time"
                raise RefusedError(text, answer.meta, body)
            if shards["total"] > 1 and not self._known.spread:
                raise _OutdatedError("the index has got several shards")
            hits: list[Hit] = body["hits"]["hits"]
            self.ended = len(hits) < size
            self.pit = body.get("pit_id", self.pit)
            if hits and "sort" in hits[-1]:
                self._search["search_after"] = hits[-1]["sort"]
            if self.total is None:
                self.total = body["hits"].get("total", {}).get("value")
            return hits


@dataclass(frozen=True)
class _Refused:
    """Why the server did not store a message."""

    meta: ApiResponseMeta
    body: Any
    reason: str

    def told(self, total: int, left: int) -> DeliveryError:
        text = f"{self.reason}. Nothing of the batch of {total} is stored"
        if left:
            text = (
                f"{self.reason}. {left} of the {total} messages of the batch are stored all the "
                "same: they could not be removed again"
            )
        return DeliveryError(text, self.meta, self.body, left)


def _item_reason(error: Mapping[str, Any]) -> str:
    """Why the server did not do one thing of many, without what it quotes of a message."""
    told = str(error.get("reason")).partition(" Preview of field's value")[0]
    return f"{error.get('type')}: {told}"


def _deletions(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [
        {"delete": {"_id": hit["_id"], "routing": hit.get("_routing", hit["_id"])}} for hit in hits
    ]


def _expired() -> dict[str, Any]:
    return {"range": {"expires_at": {"lte": _now_ms()}}}


def _ids_of(query: Mapping[str, Any]) -> dict[str, Any]:
    """A search for documents to delete."""
    return {"query": query, "source": False}


def _parts(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut the lines of a bulk request into requests that servers take."""
    start = size = 0
    for place in range(0, len(lines), 2):
        more = len(lines[place]) + len(lines[place + 1]) + 2
        if size and size + more > LARGEST_REQUEST:
            yield lines[start:place]
            start, size = place, 0
        size += more
    yield lines[start:]


def _merge(ours: list[Hit], foreign: list[Hit], last: int | None) -> list[Hit]:
    """Two ordered lists as one, by time, from the end; each keeps its own order."""
    merged: list[Hit] = []
    ours, foreign = list(ours), list(foreign)
    while (ours or foreign) and (last is None or len(merged) < last):
        if not foreign or (ours and _time(ours[-1]) >= _time(foreign[-1])):
            merged.append(ours.pop())
        else:
            merged.append(foreign.pop())
    return merged[::-1]


def _time(hit: Hit) -> int:
    return int(hit["_source"]["created_at"])


def _key(session_id: str) -> str:
    """What stands in `session_id`: the id itself, unless it cannot be a keyword or is like ours."""
    try:
        short = len(session_id.encode()) <= _LONGEST_KEYWORD
    except UnicodeEncodeError:  # half a surrogate pair
        short = False
    if short and not session_id.startswith(ENCODED_PREFIX):
        return session_id
    return encoded_id(session_id, 512)


def _unescaped(text: str) -> str:
    """The same JSON without escapes of what is not ASCII, where UTF-8 has a form for it."""
    plain = json.dumps(json.loads(text), ensure_ascii=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return text
    return plain


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_last_times: OrderedDict[tuple[str, str], int] = OrderedDict()
_times_lock = threading.Lock()


def _take_times(session: tuple[str, str], count: int) -> int:
    """The first of so many milliseconds that nobody in this process has used in the session.

    langchain-elasticsearch sorts by them, and loses messages that share one.
    """
    with _times_lock:
        first = max(_now_ms(), _last_times.pop(session, 0) + 1)
        _last_times[session] = first + count - 1
        while len(_last_times) > 4096:
            _last_times.popitem(last=False)
    return first
