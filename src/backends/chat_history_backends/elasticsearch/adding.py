"""Add messages to a session: one bulk request for a batch, stored as a whole or not at all."""

from __future__ import annotations

import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_transport import ApiResponseMeta
from elasticsearch import ApiError, TransportError
from langchain_core.messages import BaseMessage

from ..codec import encode_batch
from .bulk import MAPPED_ONLY, deletions, item_reason, write
from .errors import DeliveryError, reason
from .index import IndexProperties, is_missing_mapping
from .requests import Request, Steps, Work
from .session import Session, now_ms

__all__ = ["LARGEST_REQUEST_BYTES", "add"]

LARGEST_REQUEST_BYTES = 95 * 1024 * 1024
"""The most bytes of messages in one request. Most servers limit a request to 100 MB, by
`http.max_content_length`."""
_LARGE_REQUEST_BYTES = 1024 * 1024
_STORED = (201, 409)
"""Statuses of a stored message. 409: an earlier attempt stored it, and its answer was lost."""


def add(
    session: Session, messages: Iterable[BaseMessage], *, ttl_ms: int | None, ensure_ascii: bool
) -> Steps[None]:
    """Store a batch in one request, or in several if it is too large for one.

    Args:
        session: The session.
        messages: The batch.
        ttl_ms: Milliseconds until the messages expire; None for never.
        ensure_ascii: Whether the text of messages is stored as pure ASCII.

    Raises:
        DeliveryError: The server refused a message. The others were removed again.
    """
    batch = uuid.uuid4().hex
    lines: list[str] = yield Work(lambda: _lines(session, batch, messages, ttl_ms, ensure_ascii))
    if not lines:
        return
    store = _Store(session, expiring=ttl_ms is not None)
    known = yield from session.index.ready(expiring=store.expiring)
    for part in _parts(lines):
        try:
            refusal = yield from store.send(part, known)
        except ApiError as error:
            if error.status_code >= 500:  # of a gateway, for example: the outcome is unknown
                raise
            refusal = _Refusal(error.meta, error.body, reason(error))
        if refusal is not None:
            left = yield from store.take_back()
            raise refusal.error(len(lines) // 2, left)


class _Store:
    """A batch that is being stored.

    Attributes:
        expiring: Whether its messages have a time of expiry.
        stored: The `_id` of each message that is stored so far.
    """

    def __init__(self, session: Session, *, expiring: bool) -> None:
        self._session = session
        self.expiring = expiring
        self.stored: list[str] = []

    def send(
        self, lines: Sequence[str], known: IndexProperties, attempts: int = 2
    ) -> Steps[_Refusal | None]:
        """Send a part of the batch, and return why the server refused some of it, if it did."""
        arguments: dict[str, Any] = {
            "index": self._session.index.name,
            "routing": self._session.routing,
            "operations": lines,
        }
        if not known.refreshable:
            arguments["refresh"] = True
        try:
            answer = yield Request("bulk", arguments)
        except ApiError as error:
            half = len(lines) // 4 * 2
            if not half or not _is_too_large(error, lines):
                raise
            # The server has no room for a request of that size and stored nothing of it.
            return (yield from self.send(lines[:half], known)) or (
                yield from self.send(lines[half:], known)
            )
        return (yield from self._examine(answer, lines, attempts))

    def _examine(self, answer: Any, lines: Sequence[str], attempts: int) -> Steps[_Refusal | None]:
        """Note which messages are stored, and return why the server refused others, if it did."""
        items = [item["create"] for item in answer.body["items"]]
        self.stored += [item["_id"] for item in items if item["status"] in _STORED]
        refused = {
            number: item for number, item in enumerate(items) if item["status"] not in _STORED
        }
        if not refused:
            return None
        if attempts > 1 and _is_unmapped(refused.values()):
            again = [line for number in refused for line in lines[2 * number : 2 * number + 2]]
            return (yield from self._send_again(again, attempts - 1))
        return _refusal_of(next(iter(refused.values())), answer)

    def _send_again(self, lines: Sequence[str], attempts: int) -> Steps[_Refusal | None]:
        """Give the index its mapping, then send the messages that were refused without one."""
        index = self._session.index
        index.forget()
        known = yield from index.ready(expiring=self.expiring, unmapped=True)
        return (yield from self.send(lines, known, attempts))

    def take_back(self) -> Steps[int]:
        """Remove the messages that were stored, because others of the batch were refused.

        Returns:
            How many of these messages are stored all the same.
        """
        if not self.stored:
            return 0
        try:
            hits = [{"_id": name, "_routing": self._session.routing} for name in self.stored]
            yield from write(self._session.index, deletions(hits))
        except (ApiError, TransportError):
            return len(self.stored)
        return 0


@dataclass(frozen=True)
class _Refusal:
    """The reason why the server did not store a message."""

    meta: ApiResponseMeta
    body: Any
    reason: str

    def error(self, total: int, left: int) -> DeliveryError:
        """Return the error for a batch of `total` messages, of which `left` are still stored."""
        text = f"{self.reason}. Nothing of the batch of {total} is stored"
        if left:
            text = (
                f"{self.reason}. {left} of the {total} messages of the batch are stored all the "
                "same: they could not be removed again"
            )
        return DeliveryError(text, self.meta, self.body, left)


def _is_unmapped(refused: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether all messages were refused because the index has no mapping."""
    return all(is_missing_mapping(item["error"]) for item in refused)


def _refusal_of(item: Mapping[str, Any], answer: Any) -> _Refusal:
    """Return the refusal of one message, from its result in the answer to a bulk request."""
    position = int(item["_id"].rpartition("-")[2])
    text = f"message {position} of the batch: {item_reason(item['error'])}"
    return _Refusal(answer.meta, answer.body, text)


def _is_too_large(error: ApiError, lines: Sequence[str]) -> bool:
    """Return whether the server refused a request for its size."""
    busy = error.status_code == 429
    return error.status_code == 413 or (busy and sum(map(len, lines)) > _LARGE_REQUEST_BYTES)


def _lines(
    session: Session,
    batch: str,
    messages: Iterable[BaseMessage],
    ttl_ms: int | None,
    ensure_ascii: bool,
) -> list[str]:
    """Return the lines of a bulk request, two for each message."""
    texts = encode_batch(messages)
    first = _reserve_times((session.index.name, session.key), len(texts))
    expires: Mapping[str, int] = {} if ttl_ms is None else {"expires_at": now_ms() + ttl_ms}
    lines = []
    for number, text in enumerate(texts):
        create = {"_id": f"{batch}-{number}", **MAPPED_ONLY}
        document = {
            "session_id": session.key,
            "created_at": first + number,
            "history": text if ensure_ascii else _unescaped(text),
            **expires,
        }
        lines += [json.dumps({"create": create}), json.dumps(document)]
    return lines


def _parts(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split the lines of a bulk request into requests of a size that servers accept."""
    start = size = 0
    for place in range(0, len(lines), 2):
        more = len(lines[place]) + len(lines[place + 1]) + 2
        if size and size + more > LARGEST_REQUEST_BYTES:
            yield lines[start:place]
            start, size = place, 0
        size += more
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
