"""Histories whose messages stay longer than their time to live, or expire too early."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from langchain_core.messages import BaseMessage

from chat_history_backends.base import Record
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

Messages = list[BaseMessage]


class _WithTTL(MemoryChatMessageHistory):
    @classmethod
    def with_ttl(cls, session_id: str, ttl_ms: int | None) -> Self:
        return cls(session_id, ttl_ms=ttl_ms)

    def _until(self, seconds: float) -> None:
        """Make the stored messages of this session expire in this many seconds."""
        session, expires_at = self._session(), time.monotonic() + seconds
        session.records[:] = [record._replace(expires_at=expires_at) for record in session.records]


@faulty(
    "ttl.left_to_a_sweeper",
    breaks="ttl.expires",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py, `messages`: get_item with "
    "no check of expireAt",
)
class LeftToASweeper(_WithTTL):
    """Returns expired messages until the next write removes them."""

    def _fetch(self, last: int | None = None) -> list[Record]:
        records: list[Record] = [(item.position, item.text) for item in self._session().records]
        return records if last is None else records[max(0, len(records) - last) :]


@faulty(
    "ttl.ignored",
    breaks="ttl.expires",
    kind="stale",
    seen="FlowiseAI/Flowise#2131 Bugfix/Add missing TTL implementation for Redis, "
    "https://github.com/FlowiseAI/Flowise/pull/2131",
)
class Ignored(_WithTTL):
    """Accepts a time to live and ignores it."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        self._until(1000.0)


@faulty("ttl.renewed_by_reading", breaks="ttl.reading_renews_nothing", kind="stale", seen=INVENTED)
class RenewedByReading(_WithTTL):
    """Restarts the time to live at each read."""

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        found = super().messages
        if self.ttl_ms and found:
            self._until(self.ttl_ms / 1000)
        return found


@faulty("ttl.known_to_the_writer", breaks="ttl.expires_elsewhere", kind="stale", seen=INVENTED)
class KnownToTheWriter(_WithTTL):
    """Keeps the time of expiry only in the handle that wrote the messages."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        self._until(1000.0)
        self._gone_at = time.monotonic() + (self.ttl_ms or 1e9) / 1000

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        gone = getattr(self, "_gone_at", time.monotonic() + 1) <= time.monotonic()
        return [] if gone else super().messages


@faulty("ttl.microseconds", breaks="ttl.kept_until", kind="lost", seen=INVENTED)
class Microseconds(_WithTTL):
    """Uses milliseconds as microseconds."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        if self.ttl_ms:
            self._until(self.ttl_ms / 1_000_000)


@faulty("ttl.last_digits", breaks="ttl.kept_until", kind="lost", seen=INVENTED)
class LastDigits(_WithTTL):
    """Uses only the fraction of a second in a time to live, like `timedelta.microseconds`."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        if self.ttl_ms:
            self._until(self.ttl_ms % 1000 / 1000)


@faulty(
    "ttl.session_though_message",
    breaks="ttl.by_granularity",
    kind="stale",
    seen="langchain-community 0.4.2, chat_message_histories/redis.py: expire() on each add",
)
class SessionThoughMessage(_WithTTL):
    """Restarts the time of the whole session at each write, but declares `message`."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        if self.ttl_ms:
            self._until(self.ttl_ms / 1000)


@faulty(
    "ttl.message_though_session",
    breaks="ttl.by_granularity",
    kind="lost",
    seen="langchain-redis 0.2.6: index.load(..., ttl=self.ttl) for each document",
    ttl_granularity="session",
)
class MessageThoughSession(_WithTTL):
    """Lets each message expire by its own age, but declares `session`."""


@faulty(
    "ttl.whole_store_expires",
    breaks="ttl.sessions_independent",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/cosmos_db.py: default_ttl of the "
    "container",
)
class WholeStoreExpires(_WithTTL):
    """Uses one time to live for the whole store: the shortest that was requested."""

    shortest: ClassVar[dict[str, int]] = {}

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        run = self.session_id.partition("-")[0]  # a store for each example
        known = (self.shortest.get(run), self.ttl_ms)
        asked = [ttl_ms for ttl_ms in known if ttl_ms]
        if asked:
            self.shortest[run] = min(asked)
            self._until(self.shortest[run] / 1000)


@faulty(
    "ttl.none_is_the_last_given",
    breaks="ttl.none_means_never",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/momento.py: ttl=None means the cache's "
    "default ttl",
)
class NoneIsTheLastGiven(_WithTTL):
    """Uses the time to live of another handle if none was requested."""

    default: ClassVar[list[int]] = []

    def add_messages(self, messages: Any) -> None:
        super().add_messages(messages)
        if self.ttl_ms:
            self.default[:] = [self.ttl_ms]
        elif self.default:
            self._until(self.default[0] / 1000)


@faulty("ttl.negative_is_past", breaks="ttl.nonsense_refused", kind="wrong_bound", seen=INVENTED)
class NegativeIsPast(_WithTTL):
    """Accepts a negative time to live, and deletes messages as soon as they are written."""

    def __init__(self, session_id: str, *, ttl_ms: int | None = None) -> None:
        negative = isinstance(ttl_ms, int) and ttl_ms < 0
        super().__init__(session_id, ttl_ms=1 if negative else ttl_ms)


@faulty("ttl.text_is_converted", breaks="ttl.nonsense_refused", kind="wrong_bound", seen=INVENTED)
class TextIsConverted(_WithTTL):
    """Accepts a text as the time to live, and then keeps messages for ever."""

    def __init__(self, session_id: str, *, ttl_ms: int | None = None) -> None:
        super().__init__(session_id, ttl_ms=None if isinstance(ttl_ms, str) else ttl_ms)


@faulty("ttl.cached_by_handle", breaks="ttl.reads_agree", kind="resurrected", seen=INVENTED)
class CachedByHandle(_WithTTL):
    """Returns messages from a cache for one second, on every second handle."""

    opened: ClassVar[dict[str, int]] = {}

    def __init__(self, session_id: str, *, ttl_ms: int | None = None) -> None:
        super().__init__(session_id, ttl_ms=ttl_ms)
        self.opened[session_id] = self.opened.get(session_id, 0) + 1
        self._second = self.opened[session_id] % 2 == 0
        self._cached: tuple[float, Messages] = (0.0, [])

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        now = time.monotonic()
        if self._second and now < self._cached[0] + 1.0 and self._cached[1]:
            return self._cached[1]
        self._cached = (now, super().messages)
        return self._cached[1]


@faulty(
    "ttl.write_revives",
    breaks="ttl.usable_after_expiry",
    kind="resurrected",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py, add_messages: "
    "expireAt = now + ttl for the item with all its messages",
)
class WriteRevives(_WithTTL):
    """Restarts the time to live of all messages at each write, even of expired ones."""

    def _append(self, texts: Any) -> None:
        self._until(1000.0)
        self._store._expiries.clear()
        super()._append(texts)
        if self.ttl_ms:
            self._until(self.ttl_ms / 1000)


@faulty("ttl.stays_expired", breaks="ttl.usable_after_expiry", kind="lost", seen=INVENTED)
class StaysExpired(_WithTTL):
    """Returns nothing from a session after its messages have expired once."""

    expired: ClassVar[set[str]] = set()

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        records = self._session().records
        if records and records[0].expires_at <= time.monotonic():
            self.expired.add(self.session_id)
        return [] if self.session_id in self.expired else super().messages


@faulty(
    "ttl.only_whole_reads",
    breaks="ttl.bounded_reads_honour_it",
    kind="stale",
    seen=INVENTED,
)
class OnlyWholeReads(_WithTTL):
    """Returns expired messages from `last_messages`."""

    def last_messages(self, max_message_count: int) -> Messages:
        records = list(self._session().records)
        self._until(1000.0)
        found = super().last_messages(max_message_count)
        self._session().records[:] = records
        return found


@faulty(
    "ttl.limit_before_filter",
    breaks="ttl.bounds_count_the_living",
    kind="wrong_bound",
    seen="openai/openai-agents-python#3174 EncryptedSession limit can return fewer valid items, "
    "https://github.com/openai/openai-agents-python/issues/3174",
)
class LimitBeforeFilter(_WithTTL):
    """Takes the n oldest records in a bounded read, and then leaves out expired ones."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        found = super().messages_from_beginning(max_message_count, max_time_sec)
        oldest = self._session().records[:max_message_count]
        return found[: sum(record.expires_at > time.monotonic() for record in oldest)]


@faulty(
    "ttl.newest_expiry_first", breaks="ttl.changes_nothing_else", kind="reordered", seen=INVENTED
)
class NewestExpiryFirst(_WithTTL):
    """Sorts messages with a time to live by a key, newest first."""

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        return super().messages[:: -1 if self.ttl_ms else 1]


@faulty("ttl.whole_seconds", breaks="ttl.not_early", kind="lost", seen=INVENTED)
class WholeSeconds(_WithTTL):
    """Cuts the time to live to whole seconds."""

    def _append(self, texts: Any) -> None:
        whole, self.ttl_ms = self.ttl_ms, max(1000, (self.ttl_ms or 0) // 1000 * 1000)
        super()._append(texts)
        self.ttl_ms = whole


_ends: dict[str, float] = {}


@faulty("ttl.whole_minutes", breaks="ttl.kept_until", kind="lost", seen=INVENTED)
class WholeMinutes(_WithTTL):
    """Cuts the time to live to whole minutes of the wall clock, if it is longer than one."""

    def _append(self, texts: Any) -> None:
        super()._append(texts)
        if self.ttl_ms is not None and self.ttl_ms > 60_000:
            _ends[self.session_id] = time.time() + self.ttl_ms // 60_000 * 60

    def _fetch(self, last: int | None = None) -> list[Record]:
        ended = time.time() >= _ends.get(self.session_id, math.inf)
        return [] if ended else super()._fetch(last)


_expiries: dict[str, int] = {}


@faulty("ttl.survives_clear", breaks="ttl.ends_with_clear", kind="lost", seen=INVENTED)
class SurvivesClear(_WithTTL):
    """Keeps the time to live of a session when the session is cleared."""

    def _append(self, texts: Any) -> None:
        if self.ttl_ms is not None:
            _expiries[self.session_id] = self.ttl_ms
        own, self.ttl_ms = self.ttl_ms, _expiries.get(self.session_id)
        super()._append(texts)
        self.ttl_ms = own


@faulty(
    "ttl.local_expiry",
    breaks="ttl.another_time_zone",
    kind="lost",
    seen="chatwoot/chatwoot#11010: the stored times of some messages are off by the time zone",
    control="sqlite",
)
class LocalExpiry(SQLiteChatMessageHistory):
    """Stores the time of expiry as a local time without a time zone."""

    _lifetime: datetime.timedelta | None = None

    @classmethod
    def with_ttl(cls, session_id: str, ttl_ms: int | None) -> Self:
        history = cls(session_id)
        if ttl_ms is not None:
            history._lifetime = datetime.timedelta(milliseconds=ttl_ms)
        return history

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        stamped = [message.model_copy(deep=True) for message in messages]
        for message in stamped:
            if self._lifetime is not None:
                until = (datetime.datetime.now() + self._lifetime).isoformat()
                message.additional_kwargs = {**message.additional_kwargs, "_until": until}
        super().add_messages(stamped)

    @property
    def messages(self) -> Messages:  # type: ignore[override]
        stored, now = super().messages, datetime.datetime.now().isoformat()
        return [
            message
            for message in stored
            if (until := message.additional_kwargs.pop("_until", None)) is None or until > now
        ]


@faulty(
    "ttl.living_written_again",
    breaks="ttl.living_messages_stay",
    kind="reordered",
    seen="run-llama/llama_index#22963: a list that is written again is reversed",
)
class LivingWrittenAgain(_WithTTL):
    """Takes the living messages out and in again, one by one, when it removes expired ones."""

    def _append(self, texts: Any) -> None:
        session = self._session()
        living = self._fetch()
        if 0 < len(living) < len(session.records):
            records = [one for one in session.records if one.expires_at > time.monotonic()]
            swapped = zip(records, reversed(records), strict=True)
            session.records[:] = [
                place._replace(text=other.text, expires_at=other.expires_at)
                for place, other in swapped
            ]
        super()._append(texts)
