"""Add messages to a session: one bulk request for a batch, stored as a whole or not at all."""

from __future__ import annotations

import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from elastic_transport import ApiResponseMeta
from elasticsearch import ApiError, TransportError
from langchain_core.messages import BaseMessage

from ..codec import encode_batch
from .bulk import (
    bulk_request,
    deletions,
    is_temporary,
    item_reason,
    storing,
    was_removed,
    write,
)
from .calls import Call
from .confirming import Findings, confirm
from .errors import (
    DeliveryError,
    ForeignAnswerError,
    OutdatedError,
    UnavailableDeliveryError,
    UnavailableError,
    UnfitIndexError,
    reason,
)
from .index import IndexProperties, is_missing_mapping
from .requests import Pause, Steps, Work
from .session import Session, now_ms
from .trial import prove

__all__ = ["LARGEST_REQUEST_BYTES", "add"]

LARGEST_REQUEST_BYTES = 95 * 1024 * 1024
"""The most bytes of messages in one request. Most servers limit a request to 100 MB, by
`http.max_content_length`."""
_LARGE_REQUEST_BYTES = 1024 * 1024
_PAUSE_SECONDS = 0.2

Item = Mapping[str, Any]
"""The result of one operation of a bulk request."""


class Line(NamedTuple):
    """One message of a bulk request.

    Attributes:
        name: The `_id` of its document.
        operation: The operation that stores it, as JSON.
        document: The document as JSON.
    """

    name: str
    operation: str
    document: str

    @property
    def size(self) -> int:
        """The number of characters of the request that it takes."""
        return len(self.operation) + len(self.document) + 2


def add(
    session: Session,
    messages: Iterable[BaseMessage],
    call: Call,
    *,
    ttl_ms: int | None,
    ensure_ascii: bool,
) -> Steps[None]:
    """Store a batch in one request, or in several if it is too large for one.

    Args:
        session: The session.
        messages: The batch.
        call: The call, which learns which messages may not be stored.
        ttl_ms: Milliseconds until the messages expire; None for never.
        ensure_ascii: Whether the text of messages is stored as pure ASCII.

    Raises:
        DeliveryError: The server refused a message. The others were removed again.
    """
    batch = uuid.uuid4().hex
    lines: list[Line] = yield Work(lambda: _lines(session, batch, messages, ttl_ms, ensure_ascii))
    if not lines:
        return
    total = len(lines)
    call.unconfirmed = tuple(range(total))
    store = _Store(session, call, expiring=ttl_ms is not None)
    known = yield from session.index.ready(expiring=store.expiring)
    for part in _parts(lines):
        try:
            if not known.proven:
                known = yield from prove(session.index, known)
            refused = yield from store.send(part, known)
        except (ApiError, TransportError) as error:
            foreign = isinstance(error, ForeignAnswerError)
            if call.uncertain or foreign or not isinstance(error, ApiError):
                if store.stored and not call.uncertain:
                    yield from store.take_back()
                call.unconfirmed = store.unconfirmed(total)
                raise
            refused = Refusal(
                error.meta, error.body, reason(error), isinstance(error, UnavailableError)
            )
        if refused is not None:
            left = yield from store.take_back()
            call.unconfirmed = store.unconfirmed(total)
            raise refused.error(total, left, call)


class _Store:
    """A batch that is being stored.

    Attributes:
        expiring: Whether its messages have a time of expiry.
        stored: The `_id` of each message that is stored so far.
    """

    def __init__(self, session: Session, call: Call, *, expiring: bool) -> None:
        self._session = session
        self._call = call
        self._attempt = 0
        self.expiring = expiring
        self.stored: list[str] = []

    def unconfirmed(self, total: int) -> tuple[int, ...]:
        """Return the positions of the messages that are not known to be stored."""
        stored = {position(name) for name in self.stored}
        return tuple(number for number in range(total) if number not in stored)

    def send(self, lines: Sequence[Line], known: IndexProperties) -> Steps[Refusal | None]:
        """Send a part of the batch, and return why the server refused some of it, if it did."""
        names = [("index", line.name) for line in lines]
        texts = [text for line in lines for text in (line.operation, line.document)]
        more = {} if known.refreshable else {"refresh": True}
        request = bulk_request(
            self._session.index, texts, names, routing=self._session.routing, **more
        )
        try:
            answer = yield request
        except ApiError as error:
            half = len(lines) // 2
            if not half or not _is_too_large(error, lines):
                raise
            # The server has no room for a request of that size and stored nothing of it.
            return (yield from self.send(lines[:half], known)) or (
                yield from self.send(lines[half:], known)
            )
        return (yield from self._examine(answer, lines, known))

    def _examine(
        self, answer: Any, lines: Sequence[Line], known: IndexProperties
    ) -> Steps[Refusal | None]:
        """Note which messages are stored, and return why the server refused others, if it did."""
        items = [item["index"] for item in answer.body["items"]]
        found = yield from self._verify(items, lines, known)
        stored, again, final = _sorted_out(items, found)
        self.stored += stored
        if self._session.index.moved(known, items):
            yield from self._examine_again()
        if final:
            return _refusal_of(final[0], answer)
        if not again:
            return None
        refused = [items[number] for number in again if _is_refused(items[number])]
        unmapped = any(is_missing_mapping(item["error"]) for item in refused)
        if not (yield Pause(0.0 if unmapped else _PAUSE_SECONDS)):
            return _refusal_of(items[again[0]], answer)
        return (yield from self._send_again(lines, again[0], unmapped))

    def _verify(
        self, items: Sequence[Mapping[str, Any]], lines: Sequence[Line], known: IndexProperties
    ) -> Steps[Findings]:
        """Verify messages that an earlier attempt may have stored, whose answer was lost."""
        doubtful = [number for number, item in enumerate(items) if _is_doubtful(item)]
        if not doubtful:
            return Findings((), ())
        documents = {items[n]["_id"]: json.loads(lines[n].document) for n in doubtful}
        return (yield from confirm(self._session, known, documents, self._call))

    def _examine_again(self) -> Steps[None]:
        """Examine the index to which the name points now, and in which messages are stored."""
        index = self._session.index
        index.forget()
        try:
            known = yield from index.ready(expiring=self.expiring)
            if not known.proven:
                yield from prove(index, known)
        except UnfitIndexError:
            yield from self.take_back()
            raise

    def _send_again(
        self, lines: Sequence[Line], first: int, unmapped: bool
    ) -> Steps[Refusal | None]:
        """Send the messages from the first that was refused, in order."""
        names = {line.name for line in lines[first:]}
        later = [name for name in self.stored if name in names]
        if later:  # a message that was stored before an earlier one would stay before it
            yield from write(self._session.index, self._deletions(later, self._attempt))
            self.stored = [name for name in self.stored if name not in names]
        self._attempt += 1
        index = self._session.index
        if unmapped:
            index.forget()
        known = yield from index.ready(expiring=self.expiring, unmapped=unmapped)
        if not known.proven:
            known = yield from prove(index, known)
        again = [
            line._replace(operation=json.dumps(storing(line.name, attempt=self._attempt)))
            for line in lines[first:]
        ]
        return (yield from self.send(again, known))

    def _deletions(self, names: Sequence[str], attempt: int | None = None) -> list[dict[str, Any]]:
        hits = [{"_id": name, "_routing": self._session.routing} for name in names]
        return deletions(hits, attempt=attempt)

    def take_back(self) -> Steps[int]:
        """Remove the messages that were stored, because others of the batch were refused.

        Returns:
            How many of these messages are stored all the same.
        """
        if not self.stored:
            return 0
        try:
            yield from write(self._session.index, self._deletions(self.stored))
        except (ApiError, TransportError, OutdatedError):
            return len(self.stored)
        self.stored = []
        self._call.wrote = False
        return 0


@dataclass(frozen=True)
class Refusal:
    """The reason why the server did not store a message.

    Attributes:
        meta: The answer of the server.
        body: Its content.
        reason: The reason.
        temporary: Whether the message may be accepted later.
    """

    meta: ApiResponseMeta
    body: Any
    reason: str
    temporary: bool

    def error(self, total: int, left: int, call: Call) -> DeliveryError:
        """Return the error for a batch of `total` messages, of which `left` are still stored."""
        text = f"{self.reason}. Nothing of the batch of {total} is stored"
        if left:
            text = (
                f"{self.reason}. {left} of the {total} messages of the batch are stored all the "
                "same: they could not be removed again"
            )
        elif call.uncertain:
            text = self.reason
        kind = UnavailableDeliveryError if self.temporary else DeliveryError
        error = kind(text, self.meta, self.body, left)
        error.outcome_unknown = bool(left) or call.uncertain
        return error


def position(name: str) -> int:
    """Return the position in the batch of a message, from its `_id`."""
    return int(name.rpartition("-")[2])


def _is_doubtful(item: Mapping[str, Any]) -> bool:
    """Return whether it must be verified that a message is stored on all copies of its shard."""
    if item["status"] == 409:
        return not was_removed(item)  # if it was, it had been stored before
    return "error" not in item and bool(item["_shards"]["failed"])


def _is_refused(item: Mapping[str, Any]) -> bool:
    return "error" in item and item["status"] != 409


def _sorted_out(items: Sequence[Item], found: Findings) -> tuple[list[str], list[int], list[Item]]:
    """Sort the results of a request.

    Returns:
        The `_id` of each message that is stored, the positions in the request of those to send
        again, and the results of those that will not be accepted.
    """
    stored: list[str] = []
    again: list[int] = []
    final: list[Item] = []
    for number, item in enumerate(items):
        if item["_id"] in found.foreign or (_is_refused(item) and not _may_succeed(item)):
            final.append(item)
        elif item["_id"] in found.missing or _is_refused(item):
            again.append(number)
        else:
            stored.append(item["_id"])
    return stored, again, final


def _may_succeed(item: Mapping[str, Any]) -> bool:
    return is_missing_mapping(item["error"]) or is_temporary(item)


def _refusal_of(item: Mapping[str, Any], answer: Any) -> Refusal:
    """Return the refusal of one message, from its result in the answer to a bulk request."""
    text = f"message {position(item['_id'])} of the batch: {item_reason(item['error'])}"
    return Refusal(answer.meta, answer.body, text, "error" in item and is_temporary(item))


def _is_too_large(error: ApiError, lines: Sequence[Line]) -> bool:
    """Return whether the server refused a request for its size."""
    busy = error.status_code == 429
    return error.status_code == 413 or (
        busy and sum(line.size for line in lines) > _LARGE_REQUEST_BYTES
    )


def _lines(
    session: Session,
    batch: str,
    messages: Iterable[BaseMessage],
    ttl_ms: int | None,
    ensure_ascii: bool,
) -> list[Line]:
    """Return the messages of a bulk request."""
    texts = encode_batch(messages)
    first = _reserve_times((session.index.name, session.key), len(texts))
    expires: Mapping[str, int] = {} if ttl_ms is None else {"expires_at": now_ms() + ttl_ms}
    lines = []
    for number, text in enumerate(texts):
        name = f"{batch}-{number}"
        document = {
            "session_id": session.key,
            "created_at": first + number,
            "history": text if ensure_ascii else _unescaped(text),
            **expires,
        }
        lines.append(Line(name, json.dumps(storing(name)), json.dumps(document)))
    return lines


def _parts(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Split the messages of a batch into requests of a size that servers accept."""
    start = size = 0
    for number, line in enumerate(lines):
        if size and size + line.size > LARGEST_REQUEST_BYTES:
            yield lines[start:number]
            start, size = number, 0
        size += line.size
    yield lines[start:]


def _unescaped(text: str) -> str:
    """Return the same JSON without escapes for the characters that UTF-8 can encode."""
    plain = json.dumps(json.loads(text), ensure_ascii=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return text
    return plain


_last_times: OrderedDict[tuple[str, str], int] = OrderedDict()
_times_lock = threading.Lock()
_REMEMBERED_SESSIONS = 4096


def _reserve_times(session: tuple[str, str], count: int) -> int:
    """Return the first of `count` milliseconds that no message of the session has in this process.

    langchain-elasticsearch sorts by these times, and loses messages that share one.
    """
    with _times_lock:
        first = max(now_ms(), _last_times.pop(session, 0) + 1)
        _last_times[session] = first + count - 1
        while len(_last_times) > _REMEMBERED_SESSIONS:
            _last_times.popitem(last=False)
    return first
