"""Histories that mix sessions up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.base import Record
from chat_history_backends.codec import decode, encode_batch
from chat_history_backends.memory import MemoryChatMessageHistory, MemoryStore
from chat_history_conformance.faulty import INVENTED, faulty

Memory = MemoryChatMessageHistory


@faulty(
    "isolation.one_session_for_all",
    breaks="isolation.distinct_ids",
    kind="foreign",
    seen="dapr/dapr-agents#196: concurrent runs all write one shared session",
)
def one_session_for_all(session_id: str) -> Memory:
    """Every session id leads to the same conversation."""
    return Memory(session_id.partition("-")[0])


@faulty(
    "isolation.few_buckets",
    breaks="isolation.distinct_ids",
    kind="foreign",
    seen=INVENTED,
)
def few_buckets(session_id: str) -> Memory:
    """Only the first character after the last dash distinguishes two session ids."""
    head, _, tail = session_id.rpartition("-")
    return Memory(f"{head}-{ord(tail[:1] or '-') % 8}")


@faulty(
    "isolation.ids_lower_cased",
    breaks="isolation.case",
    kind="foreign",
    seen="alexedwards/scs#226: a case-insensitive column",
)
def ids_lower_cased(session_id: str) -> Memory:
    """Session ids that differ only in case share a conversation."""
    return Memory(session_id.lower())


@faulty("isolation.ids_normalised", breaks="isolation.normalisation", kind="foreign", seen=INVENTED)
def ids_normalised(session_id: str) -> Memory:
    """Session ids are converted to the Unicode normal form NFKC."""
    return Memory(unicodedata.normalize("NFKC", session_id))


@faulty(
    "isolation.accents_ignored", breaks="isolation.normalisation", kind="foreign", seen=INVENTED
)
def accents_ignored(session_id: str) -> Memory:
    """Session ids are compared without their accents, as in some collations."""
    decomposed = unicodedata.normalize("NFD", session_id)
    return Memory("".join(c for c in decomposed if not unicodedata.combining(c)))


@faulty(
    "isolation.ids_stripped",
    breaks="isolation.surrounding_blanks",
    kind="foreign",
    seen="openai/openai-agents-python#4741: trailing spaces under PAD SPACE",
)
def ids_stripped(session_id: str) -> Memory:
    """Spaces at the end of a session id are ignored."""
    return Memory(session_id.rstrip(" "))


@faulty(
    "isolation.id_sanitised",
    breaks="isolation.punctuation",
    kind="foreign",
    seen="langchain-singlestore 1.7.0, chat_message_history.py: _sanitize_input(session_id)",
)
def id_sanitised(session_id: str) -> Memory:
    """Only ASCII letters, digits and underscores of a session id are kept."""
    return Memory(re.sub(r"[^a-zA-Z0-9_]", "", session_id))


@faulty(
    "isolation.like_wildcards",
    breaks="isolation.patterns",
    kind="foreign",
    seen="NousResearch/hermes-agent#79722: LIKE wildcards that are not escaped",
)
class LikeWildcards(MemoryChatMessageHistory):
    """Reads with the id as a LIKE pattern, in which `%` and `_` match anything."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        pattern = re.escape(self.session_id).replace("%", ".*").replace("_", ".")
        return _read_where(self, lambda session: re.fullmatch(pattern, session) is not None)


@faulty(
    "isolation.regular_expression",
    breaks="isolation.patterns",
    kind="foreign",
    seen="langchain-ai/langchain-redis#67: ids are not escaped in the query",
)
class RegularExpression(MemoryChatMessageHistory):
    """Reads with the id as a regular expression, unless the id is not a valid one."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        with contextlib.suppress(re.error):
            pattern = re.compile(self.session_id)
            return _read_where(
                self, lambda session: session == self.session_id or bool(pattern.fullmatch(session))
            )
        return super().messages


@faulty(
    "isolation.separator_in_id",
    breaks="isolation.prefixes",
    kind="foreign",
    seen="langchain-google-bigtable 0.8.0: rows are read by '^' + escape(session_id) + '#.*'",
)
class SeparatorInId(MemoryChatMessageHistory):
    """Reads every key that begins with the id and a `#`."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return _read_where(self, lambda session: f"{session}#".startswith(f"{self.session_id}#"))


@faulty(
    "isolation.derived_key",
    breaks="isolation.prefixes",
    kind="foreign",
    seen="openai-agents 0.24.0, extensions/memory/redis_session.py: keys {id} and {id}:messages",
)
def derived_key(session_id: str) -> Memory:
    """Messages of `x` are stored under the key `x:messages`, which is another session's id."""
    return Memory(session_id if session_id.endswith(":messages") else f"{session_id}:messages")


@faulty(
    "isolation.long_id_cut",
    breaks="isolation.long_ids",
    kind="foreign",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: session_id VARCHAR(255)",
)
def long_id_cut(session_id: str) -> Memory:
    """Session ids are cut to the 255 characters of their column."""
    return Memory(session_id[:255])


@faulty("isolation.long_id_not_indexed", breaks="isolation.long_ids", kind="lost", seen=INVENTED)
class LongIdNotIndexed(MemoryChatMessageHistory):
    """Stores sessions with ids longer than 512 characters, but never finds them again."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages if len(self.session_id) <= 512 else []


@faulty("isolation.ids_are_numbers", breaks="isolation.digits", kind="foreign", seen=INVENTED)
def ids_are_numbers(session_id: str) -> Memory:
    """Session ids that look like numbers are compared as numbers."""
    with contextlib.suppress(ValueError):
        session_id = repr(float(session_id))
    return Memory(session_id)


@faulty(
    "isolation.ends_at_nul", breaks="isolation.control_characters", kind="foreign", seen=INVENTED
)
def ends_at_nul(session_id: str) -> Memory:
    """Session ids end at their first NUL."""
    return Memory(session_id.partition("\x00")[0])


@faulty(
    "isolation.unencodable_replaced",
    breaks="isolation.control_characters",
    kind="foreign",
    seen=INVENTED,
)
def unencodable_replaced(session_id: str) -> Memory:
    """Characters of an id that UTF-8 cannot encode become question marks."""
    return Memory(session_id.encode("utf-8", "replace").decode("utf-8"))


@faulty(
    "isolation.quote_injection",
    breaks="isolation.any_id_works",
    kind="other",
    seen="llama-index-storage-chat-store-azure 0.6.0, base.py: f\"PartitionKey eq '{key}'\"",
)
class QuoteInjection(MemoryChatMessageHistory):
    """Puts the id between quotes into the text of a query when reading."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(f"SELECT '{self.session_id}'").fetchall()
        return super().messages


@faulty("isolation.format_string", breaks="isolation.any_id_works", kind="lost", seen=INVENTED)
class FormatString(MemoryChatMessageHistory):
    """Applies `%` formatting to the id when adding, but not when reading."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        Memory(self.session_id.replace("%s", "").replace("%", "")).add_messages(messages)


class _Files(BaseChatMessageHistory):
    """One file per session in the working directory, like the example of langchain-core."""

    def __init__(self, session_id: str) -> None:
        self.path = Path(f"./{session_id}").resolve() / "messages.jsonl"

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if not self.path.exists():
            return []
        return [decode(line, 0) for line in self.path.read_text().splitlines()]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        lines = [f"{text}\n" for text in encode_batch(messages)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.writelines(lines)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


@faulty(
    "isolation.id_as_path",
    breaks="isolation.path_like",
    kind="foreign",
    seen="langchain-ai/langchain#36890: unsanitized session ids of FileChatMessageHistory",
    lacks={},
)
def id_as_path(session_id: str) -> BaseChatMessageHistory:
    """Session ids are used as paths of files, and a path has many spellings."""
    inside = os.path.relpath(os.path.join("/", session_id.strip("\x00")), "/")
    return _Files(inside.replace("\x00", "%00"))


@faulty(
    "isolation.path_traversal",
    breaks="isolation.stays_inside",
    kind="other",
    seen="langchain-ai/langchain#36890: path traversal in FileChatMessageHistory",
    lacks={},
)
def path_traversal(session_id: str) -> BaseChatMessageHistory:
    """Session ids are joined to the directory unchanged, even with `..` in them."""
    return _Files(session_id.replace("\x00", "%00"))


@faulty(
    "isolation.empty_id_is_all",
    breaks="isolation.empty_id",
    kind="foreign",
    seen=INVENTED,
)
class EmptyIdIsAll(MemoryChatMessageHistory):
    """Reads every session if the id is empty, because it filters by nothing."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages if self.session_id else _read_where(self, lambda session: True)


@faulty("isolation.empty_id_clears_all", breaks="isolation.empty_id", kind="lost", seen=INVENTED)
class EmptyIdClearsAll(MemoryChatMessageHistory):
    """Clears every session if the id is empty."""

    def clear(self) -> None:
        if not self.session_id:
            self._store._sessions.clear()
        super().clear()


@faulty(
    "isolation.clear_by_prefix",
    breaks="isolation.lookalike_clear",
    kind="lost",
    seen="langchain-google-bigtable 0.8.0, chat_message_history.py clear: drop_by_prefix",
)
class ClearByPrefix(MemoryChatMessageHistory):
    """Clears every session whose id begins with its own id."""

    def clear(self) -> None:
        for session in [*self._store._sessions]:
            if session.startswith(self.session_id):
                del self._store._sessions[session]


@faulty(
    "isolation.clear_by_pattern",
    breaks="isolation.lookalike_clear",
    kind="lost",
    seen="NousResearch/hermes-agent#79722: a filter by LIKE deleted other sessions",
)
class ClearByPattern(MemoryChatMessageHistory):
    """Clears every session whose id matches its own id as a LIKE pattern."""

    def clear(self) -> None:
        pattern = re.escape(self.session_id).replace("%", ".*").replace("_", ".")
        for session in [*self._store._sessions]:
            if re.fullmatch(pattern, session):
                del self._store._sessions[session]


def _read_where(history: Memory, matches: Callable[[str], bool]) -> list[BaseMessage]:
    """Return the messages of all sessions whose id matches, in the order of their adds."""
    sessions = [(name, session) for name, session in history._store._sessions.items()]
    records = [record for name, session in sessions if matches(name) for record in session.records]
    return [decode(record.text, record.position) for record in sorted(records)]


_owners: dict[str, str] = {}


@faulty(
    "isolation.one_owner_per_id",
    breaks="isolation.same_messages",
    kind="lost",
    seen="lobehub/lobehub#6385; vellum-ai/vellum-assistant#32407: ON CONFLICT DO NOTHING",
)
class OneOwnerPerId(MemoryChatMessageHistory):
    """Leaves out a message whose id another session has."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(
            [
                message
                for message in messages
                if not message.id
                or _owners.setdefault(message.id, self.session_id) == self.session_id
            ]
        )


_used: dict[str, None] = {}


@faulty(
    "isolation.sessions_evicted",
    breaks="isolation.many_sessions",
    kind="lost",
    seen="nesquena/hermes-webui#5357; ai-dynamo/aiperf#1325",
)
class SessionsEvicted(MemoryChatMessageHistory):
    """Drops the session that was written first when 100 sessions are used."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        _used.pop(self.session_id, None)
        _used[self.session_id] = None
        while len(_used) > 100:
            oldest = next(iter(_used), None)
            if oldest is not None and _used.pop(oldest, 0) is None:
                MemoryChatMessageHistory(oldest).clear()


@faulty(
    "isolation.checksum_as_key",
    breaks="isolation.distinct_ids",
    kind="foreign",
    seen=INVENTED,
)
class ChecksumAsKey(MemoryChatMessageHistory):
    """Uses the CRC-32 of the session id as the key."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"{zlib.crc32(session_id.encode(errors='surrogatepass')):08x}")


@faulty(
    "isolation.digest_of_lower_case",
    breaks="isolation.case",
    kind="foreign",
    seen=INVENTED,
)
class DigestOfLowerCase(MemoryChatMessageHistory):
    """Uses a digest of the lower-case id as the key if the id is long."""

    def __init__(self, session_id: str) -> None:
        if len(session_id) > 64:
            data = session_id.lower().encode(errors="surrogatepass")
            session_id = hashlib.sha256(data).hexdigest()
        super().__init__(session_id)


@faulty(
    "isolation.number_joined_to_the_id",
    breaks="isolation.numbered_keys",
    kind="foreign",
    seen="dotCMS/core#35874: keys without a delimiter",
)
class NumberJoinedToTheId(MemoryChatMessageHistory):
    """Keeps message n in a separate session, whose id is the session id with n behind it."""

    def _cell(self, number: int) -> MemoryChatMessageHistory:
        return MemoryChatMessageHistory(f"{self.session_id}{number}", store=_cells)

    def _append(self, texts: Sequence[str]) -> None:
        for text in texts:
            number = _counts[self.session_id] = _counts.get(self.session_id, 0) + 1
            self._cell(number).clear()
            self._cell(number)._append([text])

    def _fetch(self, last: int | None = None) -> list[Record]:
        numbers = range(1, _counts.get(self.session_id, 0) + 1)
        records = [record for number in numbers for record in self._cell(number)._fetch()]
        return records if last is None else records[len(records) - min(last, len(records)) :]

    def clear(self) -> None:
        for number in range(1, _counts.pop(self.session_id, 0) + 1):
            self._cell(number).clear()


_cells = MemoryStore()
_counts: dict[str, int] = {}
