"""Forty broken chat histories, each with one defect from a public bug report, and six correct ones.

Each broken class names its defect in its docstring. `source` is the report. `must` is True if the
defect breaks what every chat history has to do. `show` returns True if the class has the defect.
`python histories.py` runs all of them, and `python histories.py NAME` runs one.
"""

from __future__ import annotations

import asyncio
import copy
import fcntl
import hashlib
import heapq
import itertools
import json
import os
import queue
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
)

from chat_history_backends.arguments import check_count, check_ttl
from chat_history_backends.codec import decode_batch, encode_batch
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.session_ids import encoded_id
from chat_history_conformance import history_backend

RAM: dict[str, Any] = {
    "lacks": {"durable": "kept in process memory by design"},
    "disposable": True,
}
DISK: dict[str, Any] = {"disposable": True}


# Correct bases. A broken history overrides only the part that is wrong.


class Base(BaseChatMessageHistory):
    """A history over two operations on texts, `_append` and `_texts`, and `clear`."""

    source = ""
    must = False

    def __init__(self, session_id: str, ttl_ms: int | None = None) -> None:
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a string, not {type(session_id).__name__}")
        self.session_id = session_id
        self.ttl_ms = check_ttl(ttl_ms)

    def _append(self, texts: Sequence[str]) -> None:
        raise NotImplementedError

    def _texts(self) -> Sequence[str | bytes]:
        raise NotImplementedError

    @property
    def messages(self) -> list[BaseMessage]:
        return decode_batch(enumerate(self._texts()))[0]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if texts := encode_batch(messages):
            self._append(texts)

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        count = check_count(max_message_count)
        return self.messages[-count:] if count else []

    async def alast_messages(self, max_message_count: int) -> list[BaseMessage]:
        return await asyncio.to_thread(self.last_messages, max_message_count)


class Ram(Base):
    """A correct history in the memory of this process."""

    sessions: ClassVar[dict[str, list[str]]] = {}
    lock = threading.RLock()

    def __init_subclass__(cls) -> None:
        cls.sessions = {}

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            self.sessions.setdefault(self.session_id, []).extend(texts)

    def _texts(self) -> Sequence[str | bytes]:
        with self.lock:
            return list(self.sessions.get(self.session_id, []))

    def clear(self) -> None:
        with self.lock:
            self.sessions.pop(self.session_id, None)


class Sql(Base):
    """A correct history in an SQLite file, with a connection for each operation."""

    schema = (
        "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session BLOB NOT NULL, text TEXT NOT NULL, expires INTEGER)"
    )

    def __init__(self, session_id: str, ttl_ms: int | None = None) -> None:
        super().__init__(session_id, ttl_ms)
        self.key = session_id.encode("utf-8", "surrogatepass")
        self.path = os.path.abspath("held-out.sqlite3")
        with self._transaction() as db:
            db.execute(self.schema)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as db:
            db.execute(f"BEGIN {kind}")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _expires(self) -> int | None:
        if self.ttl_ms is None:
            return None
        return min(time.time_ns() + self.ttl_ms * 1_000_000, 2**63 - 1)

    def _append(self, texts: Sequence[str]) -> None:
        with self._transaction() as db:
            self._insert(db, texts)

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        rows = [(self.key, text, self._expires()) for text in texts]
        db.executemany("INSERT INTO message (session, text, expires) VALUES (?, ?, ?)", rows)

    def _texts(self) -> Sequence[str | bytes]:
        query = (
            "SELECT text FROM message WHERE session = ? AND (expires IS NULL OR expires > ?) "
            "ORDER BY id"
        )
        with self._transaction("DEFERRED") as db:
            rows = db.execute(query, (self.key, time.time_ns())).fetchall()
        return [text for (text,) in rows]

    def clear(self) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM message WHERE session = ?", (self.key,))


class Files(Base):
    """A correct history with a file of JSON lines for each session, which each write replaces."""

    def __init__(self, session_id: str, ttl_ms: int | None = None) -> None:
        super().__init__(session_id, ttl_ms)
        folder = Path("held-out-files").absolute()
        folder.mkdir(exist_ok=True)
        self.path = folder / f"{encoded_id(session_id, 200)}.jsonl"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _append(self, texts: Sequence[str]) -> None:
        with self._locked():
            content = self._content() + "".join(f"{text}\n" for text in texts).encode()
            handle, name = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)

    def _texts(self) -> Sequence[str | bytes]:
        return self._content().split(b"\n")[:-1]

    def clear(self) -> None:
        with self._locked():
            self.path.unlink(missing_ok=True)


# Helpers of the `show` functions.


def texts_of(messages: Sequence[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]


def humans(count: int, prefix: str = "m") -> list[BaseMessage]:
    return [HumanMessage(f"{prefix}{number}") for number in range(count)]


def elsewhere(code: str, **environment: str) -> str:
    """Run code in another process and return what it prints."""
    here = str(Path(__file__).resolve().parent)
    done = subprocess.run(
        [sys.executable, "-c", f"from histories import *\n{code}"],
        env={**os.environ, "PYTHONPATH": here, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr}"


# Order.


@history_backend("tied-seconds", **DISK)
class TiedSeconds(Sql):
    """Messages are ordered by the second of their arrival, and within a second by a random id."""

    source = "run-llama/llama_index#19389, langchain-ai/langchain-redis#178"
    must = True
    schema = "CREATE TABLE IF NOT EXISTS tied (id TEXT, second INTEGER, session BLOB, text TEXT)"

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        rows = [(os.urandom(8).hex(), int(time.time()), self.key, text) for text in texts]
        db.executemany("INSERT INTO tied VALUES (?, ?, ?, ?)", rows)

    def _texts(self) -> Sequence[str | bytes]:
        query = "SELECT text FROM tied WHERE session = ? ORDER BY second, id"
        with self._transaction("DEFERRED") as db:
            return [text for (text,) in db.execute(query, (self.key,)).fetchall()]

    def clear(self) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM tied WHERE session = ?", (self.key,))

    @staticmethod
    def show() -> bool:
        history = TiedSeconds("a")
        history.add_messages(humans(20))
        return history.messages != humans(20)


@history_backend("rebuilt-reversed", **RAM)
class RebuiltReversed(Ram):
    """If a write finds expired messages, it rebuilds the list and reverses the others."""

    source = "run-llama/llama_index#22963"
    must = True

    @classmethod
    def with_ttl(cls, session_id: str, ttl_ms: int | None) -> RebuiltReversed:
        return cls(session_id, ttl_ms)

    records: ClassVar[dict[str, list[tuple[str, float]]]] = {}

    def _append(self, texts: Sequence[str]) -> None:
        now = time.monotonic()
        expires = float("inf") if self.ttl_ms is None else now + self.ttl_ms / 1000
        with self.lock:
            stored = self.records.setdefault(self.session_id, [])
            if any(expiry <= now for _, expiry in stored):
                alive = [record for record in stored if record[1] > now]
                stored.clear()
                for record in alive:
                    stored.insert(0, record)
            stored.extend((text, expires) for text in texts)

    def _texts(self) -> Sequence[str | bytes]:
        with self.lock:
            stored = self.records.get(self.session_id, [])
            return [text for text, expiry in stored if expiry > time.monotonic()]

    def clear(self) -> None:
        with self.lock:
            self.records.pop(self.session_id, None)

    @staticmethod
    def show() -> bool:
        RebuiltReversed("a", 20).add_messages(humans(1, "old"))
        history = RebuiltReversed("a")
        history.add_messages(humans(2))
        time.sleep(0.05)
        history.add_messages(humans(1, "new"))
        return texts_of(history.messages) == ["m1", "m0", "new0"]


@history_backend("reused-slots", **RAM)
class ReusedSlots(Ram):
    """Reads return messages in the order of their places, and a freed place is used again."""

    source = "langchain-ai/langchain#6829"
    must = True
    slots: ClassVar[list[tuple[str, str] | None]] = []
    free: ClassVar[list[int]] = []

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            for text in texts:
                if self.free:
                    self.slots[heapq.heappop(self.free)] = (self.session_id, text)
                else:
                    self.slots.append((self.session_id, text))

    def _texts(self) -> Sequence[str | bytes]:
        with self.lock:
            return [slot[1] for slot in self.slots if slot and slot[0] == self.session_id]

    def clear(self) -> None:
        with self.lock:
            for index, slot in enumerate(self.slots):
                if slot and slot[0] == self.session_id:
                    self.slots[index] = None
                    heapq.heappush(self.free, index)

    @staticmethod
    def show() -> bool:
        other, history = ReusedSlots("b"), ReusedSlots("a")
        other.add_messages(humans(1))
        history.add_messages(humans(1, "first"))
        other.clear()
        history.add_messages(humans(1, "second"))
        return texts_of(history.messages) == ["second0", "first0"]


# Limits.


@history_backend("first-megabyte", **DISK)
class FirstMegabyte(Sql):
    """Reads return only the first page of a megabyte, without the newest messages."""

    source = "mastra-ai/mastra#19562"
    must = True

    def _texts(self) -> Sequence[str | bytes]:
        texts = super()._texts()
        sizes = itertools.accumulate(len(text) for text in texts)
        return [text for text, size in zip(texts, sizes, strict=True) if size <= 1_000_000]

    @staticmethod
    def show() -> bool:
        history = FirstMegabyte("a")
        history.add_messages([HumanMessage("x" * 600_000), HumanMessage("y" * 600_000)])
        return len(history.messages) == 1


@history_backend("text-column", **DISK)
class TextColumn(Sql):
    """A text of more than 65,535 bytes is cut without an error."""

    source = "humhub/wiki#37, FlowiseAI/Flowise#2159"
    must = True

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = []
        for text in encode_batch(messages):
            document = json.loads(text)
            content = document["data"]["content"]
            if isinstance(content, str) and len(content.encode("utf-8", "surrogatepass")) > 65_535:
                raw = content.encode("utf-8", "surrogatepass")[:65_535]
                document["data"]["content"] = raw.decode("utf-8", "ignore")
            texts.append(json.dumps(document))
        if texts:
            self._append(texts)

    @staticmethod
    def show() -> bool:
        history = TextColumn("a")
        history.add_messages([HumanMessage("x" * 70_000)])
        return len(history.messages[0].content) == 65_535


@history_backend("batch-of-25", **DISK)
class BatchOf25(Sql):
    """The store takes 25 messages of a batch, and the history ignores that it left the rest."""

    source = "sensedeep/dynamodb-onetable#486, boto/boto#1714"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts[:25])

    @staticmethod
    def show() -> bool:
        history = BatchOf25("a")
        history.add_messages(humans(30))
        return len(history.messages) == 25


# Clear.


@history_backend("deep-clear", **DISK)
class DeepClear(Sql):
    """A clear of more than a thousand messages fails, because they are a chain of references."""

    source = "CherryHQ/cherry-studio#18479"
    must = True
    schema = (
        "CREATE TABLE IF NOT EXISTS chain (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session BLOB, text TEXT, parent INTEGER REFERENCES chain (id) ON DELETE CASCADE)"
    )

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        last = "SELECT max(id) FROM chain WHERE session = ?"
        for text in texts:
            db.execute(
                f"INSERT INTO chain (session, text, parent) VALUES (?, ?, ({last}))",
                (self.key, text, self.key),
            )

    def _texts(self) -> Sequence[str | bytes]:
        query = "SELECT text FROM chain WHERE session = ? ORDER BY id"
        with self._transaction("DEFERRED") as db:
            return [text for (text,) in db.execute(query, (self.key,)).fetchall()]

    def clear(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("DELETE FROM chain WHERE session = ? AND parent IS NULL", (self.key,))

    @staticmethod
    def show() -> bool:
        history = DeepClear("a")
        history.add_messages(humans(900))
        history.clear()
        if history.messages:
            return False
        history.add_messages(humans(1200))
        try:
            history.clear()
        except sqlite3.Error:
            return len(history.messages) == 1200
        return False


@history_backend("clear-key-gone", **RAM)
class ClearKeyGone(Ram):
    """A clear deletes the key of the session, and reads of other open handles raise KeyError."""

    source = "langchain-ai/langchain#18790"
    must = True

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._open()

    def _open(self) -> None:
        self.cleared = False
        with self.lock:
            self.sessions.setdefault(self.session_id, [])

    def _append(self, texts: Sequence[str]) -> None:
        self._open()
        super()._append(texts)

    def _texts(self) -> Sequence[str | bytes]:
        if self.cleared:
            self._open()
        with self.lock:
            return list(self.sessions[self.session_id])

    def clear(self) -> None:
        super().clear()
        self.cleared = True

    @staticmethod
    def show() -> bool:
        first, second = ClearKeyGone("a"), ClearKeyGone("a")
        first.clear()
        try:
            return bool(second.messages)
        except KeyError:
            return first.messages == []


# Lost messages.


@history_backend("pruned-sessions", **DISK)
class PrunedSessions(Files):
    """If there are more than 500 sessions, a write removes every third of the others."""

    source = "pallets-eco/flask-caching#312"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        files = sorted(self.path.parent.glob("*.jsonl"))
        if len(files) > 500:
            for file in files[::3]:
                if file != self.path:
                    file.unlink(missing_ok=True)

    @staticmethod
    def show() -> bool:
        for number in range(510):
            PrunedSessions(f"a{number}").add_messages(humans(1))
        return sum(not PrunedSessions(f"a{number}").messages for number in range(510)) > 100


@history_backend("same-instant", **RAM)
class SameInstant(Ram):
    """Of two messages at the same place of two batches in one millisecond, the second is lost."""

    source = "miranda-ng/miranda-ng#1830"
    must = True
    records: ClassVar[dict[str, dict[tuple[int, int], str]]] = {}

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            stored = self.records.setdefault(self.session_id, {})
            instant = time.time_ns() // 1_000_000
            for index, text in enumerate(texts):
                stored.setdefault((instant, index), text)

    def _texts(self) -> Sequence[str | bytes]:
        with self.lock:
            return list(self.records.get(self.session_id, {}).values())

    def clear(self) -> None:
        with self.lock:
            self.records.pop(self.session_id, None)

    @staticmethod
    def show() -> bool:
        history = SameInstant("a")
        for message in humans(50):
            history.add_message(message)
        return len(history.messages) < 50


# Ids.


@history_backend("global-message-id", **DISK)
class GlobalMessageId(Sql):
    """A message with the id of a message in another session takes that one away."""

    source = "mastra-ai/mastra#5286, wireapp/kalium#1253"
    must = True
    schema = (
        "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session BLOB NOT NULL, text TEXT NOT NULL, expires INTEGER, name TEXT)"
    )

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        for text in texts:
            name = json.loads(text)["data"].get("id")
            name = None if name is None else json.dumps(name)
            db.execute("DELETE FROM message WHERE name = ? AND session <> ?", (name, self.key))
            db.execute(
                "INSERT INTO message (session, text, name) VALUES (?, ?, ?)",
                (self.key, text, name),
            )

    @staticmethod
    def show() -> bool:
        first, second = GlobalMessageId("a"), GlobalMessageId("b")
        first.add_messages([HumanMessage("m", id="x")])
        second.add_messages([HumanMessage("n", id="x")])
        return first.messages == []


@history_backend("trailing-space", **RAM)
class TrailingSpace(Ram):
    """Session ids that differ only in spaces at their end are the same session."""

    source = "openai/openai-agents-python#4741"
    must = True

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id.rstrip(" ")

    @staticmethod
    def show() -> bool:
        TrailingSpace("a").add_messages(humans(1))
        return len(TrailingSpace("a ").messages) == 1


@history_backend("joined-key", **RAM)
class JoinedKey(Ram):
    """The key of a message joins session id and number, so that "a" 11 and "a1" 1 are one key."""

    source = "dotCMS/core#35874"
    must = True
    records: ClassVar[dict[str, str]] = {}
    counts: ClassVar[dict[str, int]] = {}

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            for text in texts:
                number = self.counts.get(self.session_id, 0)
                self.records[f"{self.session_id}{number}"] = text
                self.counts[self.session_id] = number + 1

    def _texts(self) -> Sequence[str | bytes]:
        with self.lock:
            numbers = range(self.counts.get(self.session_id, 0))
            keys = (f"{self.session_id}{number}" for number in numbers)
            return [self.records[key] for key in keys if key in self.records]

    def clear(self) -> None:
        with self.lock:
            for number in range(self.counts.pop(self.session_id, 0)):
                self.records.pop(f"{self.session_id}{number}", None)

    @staticmethod
    def show() -> bool:
        first, second = JoinedKey("a"), JoinedKey("a1")
        first.add_messages(humans(12))
        second.add_messages(humans(2, "other"))
        return texts_of(first.messages)[10:] == ["other0", "other1"]


@history_backend("prefix-clear", **DISK)
class PrefixClear(Sql):
    """A clear also removes the sessions whose id begins with this one."""

    source = "vinikjkkj/zapo#21"
    must = True

    def clear(self) -> None:
        with self._transaction() as db:
            query = "DELETE FROM message WHERE substr(session, 1, ?) = ?"
            db.execute(query, (len(self.key), self.key))

    @staticmethod
    def show() -> bool:
        PrefixClear("foobar").add_messages(humans(1))
        PrefixClear("foo").clear()
        return PrefixClear("foobar").messages == []


# Changed messages.


def changed(texts: Sequence[str], change: Any) -> list[str]:
    """Apply a change to the data of each message."""
    documents = [json.loads(text) for text in texts]
    for document in documents:
        change(document["data"])
    return [json.dumps(document) for document in documents]


@history_backend("invalid-tool-calls", **RAM)
class InvalidToolCalls(Ram):
    """Tool calls that could not be parsed are not stored."""

    source = "langchain-ai/langchain-redis#185"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        def change(data: dict[str, Any]) -> None:
            if data.get("invalid_tool_calls"):
                data["invalid_tool_calls"] = []

        super()._append(changed(texts, change))

    @staticmethod
    def show() -> bool:
        call = InvalidToolCall(name="f", args="{", id="1", error="e", type="invalid_tool_call")
        history = InvalidToolCalls("a")
        history.add_messages([AIMessage("", invalid_tool_calls=[call])])
        message = history.messages[0]
        return isinstance(message, AIMessage) and message.invalid_tool_calls == []


@history_backend("nine-decimals", **RAM)
class NineDecimals(Ram):
    """Numbers are rounded to nine decimals."""

    source = "RasaHQ/rasa#5092"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        def rounded(number: str) -> float:
            return round(float(number), 9)

        super()._append([json.dumps(json.loads(text, parse_float=rounded)) for text in texts])

    @staticmethod
    def show() -> bool:
        history = NineDecimals("a")
        history.add_messages([HumanMessage("m", additional_kwargs={"p": 0.12345678901})])
        return history.messages[0].additional_kwargs["p"] == 0.123456789


@history_backend("four-bytes", **DISK)
class FourBytes(Sql):
    """A text is cut at its first character of four bytes, such as an emoji."""

    source = "keybase/keybase-issues#2317"
    must = True

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        def change(data: dict[str, Any]) -> None:
            if isinstance(data["content"], str):
                short = itertools.takewhile(lambda letter: letter <= "\uffff", data["content"])
                data["content"] = "".join(short)

        super()._insert(db, changed(texts, change))

    @staticmethod
    def show() -> bool:
        history = FourBytes("a")
        history.add_messages([HumanMessage("an \U0001f418 walks")])
        return texts_of(history.messages) == ["an "]


@history_backend("line-separators", **DISK)
class LineSeparators(Files):
    """A message that holds U+2028, U+2029 or U+0085 disappears: it counts as several lines."""

    source = "volcengine/OpenViking#3984, bytedance/deer-flow#5420"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        lines = [json.dumps(json.loads(text), ensure_ascii=False) for text in texts]
        with self._locked():
            handle, name = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(self._content())
                file.write("".join(f"{x}\n" for x in lines).encode("utf-8", "surrogatepass"))
            os.replace(name, self.path)

    def _texts(self) -> Sequence[str | bytes]:
        texts = []
        for line in self._content().decode("utf-8", "surrogatepass").splitlines():
            with suppress(ValueError):
                json.loads(line)
                texts.append(line)
        return texts

    @staticmethod
    def show() -> bool:
        history = LineSeparators("a")
        history.add_messages([HumanMessage("one\u2028two"), HumanMessage("three")])
        return texts_of(history.messages) == ["three"]


@history_backend("locale-file", **DISK)
class LocaleFile(Files):
    """Files are written and read in the encoding of the locale, so that another one cannot read."""

    source = "langchain-ai/langchain#24258, microsoft/semantic-kernel#14445"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        lines = [json.dumps(json.loads(text), ensure_ascii=False) for text in texts]
        with self._locked():
            old = self._texts()
            handle, name = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(handle, "w", errors="surrogatepass") as file:
                file.writelines(f"{line}\n" for line in [*old, *lines])
            os.replace(name, self.path)

    def _texts(self) -> Sequence[str | bytes]:
        try:
            return self.path.read_text(errors="surrogatepass").split("\n")[:-1]
        except FileNotFoundError:
            return []

    @staticmethod
    def show() -> bool:
        LocaleFile("a").add_messages([HumanMessage("Grüße")])
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        code = "print(LocaleFile('a').messages[0].content == 'Gr\\u00fc\\u00dfe')"
        return elsewhere(code, PYTHONUTF8="1") == "True" != elsewhere(code, **plain)


# What belongs to the caller.


@history_backend("stamped", **DISK)
class Stamped(Sql):
    """An add writes the time of storage into `additional_kwargs` of the caller's message."""

    source = "langchain-ai/langchain#17593"
    must = True

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        messages = list(messages)
        encode_batch(messages)
        for message in messages:
            message.additional_kwargs["timestamp"] = time.time()
        super().add_messages(messages)

    @staticmethod
    def show() -> bool:
        message = HumanMessage("m")
        Stamped("a").add_messages([message])
        return "timestamp" in message.additional_kwargs


@history_backend("last-by-reference", **RAM)
class LastByReference(Ram):
    """`last_messages` returns the stored objects themselves: changing them changes the store."""

    source = "run-llama/llama_index#22345"
    must = True
    stored: ClassVar[dict[str, list[BaseMessage]]] = {}

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            decoded = decode_batch(enumerate(texts))[0]
            self.stored.setdefault(self.session_id, []).extend(decoded)

    @property
    def messages(self) -> list[BaseMessage]:
        with self.lock:
            return copy.deepcopy(self.stored.get(self.session_id, []))

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        count = check_count(max_message_count)
        with self.lock:
            return self.stored.get(self.session_id, [])[-count:] if count else []

    def clear(self) -> None:
        with self.lock:
            self.stored.pop(self.session_id, None)

    @staticmethod
    def show() -> bool:
        history = LastByReference("a")
        history.add_messages(humans(1))
        history.messages[0].content = "changed"
        unchanged = texts_of(history.messages) == ["m0"]
        history.last_messages(1)[0].content = "changed"
        return unchanged and texts_of(history.messages) == ["changed"]


# Concurrency.


@history_backend("one-temp-file", **DISK)
class OneTempFile(Files):
    """All writers of a session write to one temporary file, and publish what others half wrote."""

    source = "modelcontextprotocol/php-sdk#500"
    must = True

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.lock = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            temporary = self.path.with_suffix(".tmp")
            content = self._content() + "".join(f"{text}\n" for text in texts).encode()
            temporary.write_bytes(content)
            os.replace(temporary, self.path)

    @staticmethod
    def show() -> bool:
        def add(writer: int) -> None:
            history = OneTempFile("a")
            for message in humans(50, f"{writer}-"):
                history.add_message(message)

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(add, writer) for writer in range(4)]
        return any(x.exception() for x in done) or len(OneTempFile("a").messages) < 200


@history_backend("blob-per-process", **DISK)
class BlobPerProcess(Sql):
    """A write reads all messages, appends and writes all, with a lock for this process only."""

    source = "langchain-ai/langchain#22397, open-webui/open-webui#28742"
    must = True
    schema = "CREATE TABLE IF NOT EXISTS blob (session BLOB PRIMARY KEY, texts TEXT)"
    lock = threading.Lock()

    def _append(self, texts: Sequence[str]) -> None:
        with self.lock:
            everything = json.dumps([*self._texts(), *texts])
            with self._transaction() as db:
                query = "INSERT OR REPLACE INTO blob (session, texts) VALUES (?, ?)"
                db.execute(query, (self.key, everything))

    def _texts(self) -> Sequence[str | bytes]:
        with self._transaction("DEFERRED") as db:
            query = "SELECT texts FROM blob WHERE session = ?"
            row = db.execute(query, (self.key,)).fetchone()
        return json.loads(row[0]) if row else []

    def clear(self) -> None:
        with self.lock, self._transaction() as db:
            db.execute("DELETE FROM blob WHERE session = ?", (self.key,))

    @staticmethod
    def show() -> bool:
        wait = f"while time.time() < {time.time() + 10}: pass"
        code = f"{wait}\nfor x in humans(100): BlobPerProcess('a').add_message(x)"
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(elsewhere, [code, code]))
        return len(BlobPerProcess("a").messages) < 200


@history_backend("retry-both-steps", **DISK)
class RetryBothSteps(Sql):
    """If the second step of an add finds the store locked, both steps are done again."""

    source = "BrighterCommand/Brighter#44"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        while True:
            super()._append(texts)
            try:
                self._touch()
            except sqlite3.OperationalError:
                time.sleep(0.001)
            else:
                return

    def _touch(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS used (session BLOB PRIMARY KEY, at REAL)")
            db.execute("INSERT OR REPLACE INTO used VALUES (?, ?)", (self.key, time.time()))

    @staticmethod
    def show() -> bool:
        def add(writer: int) -> None:
            history = RetryBothSteps("a")
            for message in humans(25, f"{writer}-"):
                history.add_message(message)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
        return len(RetryBothSteps("a").messages) > 100


# Reads from a stored position.


@history_backend("double-take", **RAM)
class DoubleTake(MemoryChatMessageHistory):
    """A consuming read finds its messages and moves the position in two separate steps."""

    source = "openai/openai-agents-python#4205"
    must = True

    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: int = 0
    ) -> list[BaseMessage]:
        with self._store._lock:
            session = self._session()
            start = 0 if rewind else max(session.position, after)
            records = list(itertools.islice(session.after(start), count))
        messages, reached = decode_batch(records, deadline)
        time.sleep(0.001)  # the round trip to the store
        with self._store._lock:
            session.position = start if reached is None else reached
        return messages

    @staticmethod
    def show() -> bool:
        DoubleTake("a").add_messages(humans(40))

        def take(_: int) -> list[BaseMessage]:
            return DoubleTake("a").messages_from_last_consumed(1, 1.0)

        with ThreadPoolExecutor(4) as pool:
            taken = [x for part in pool.map(take, range(40)) for x in texts_of(part)]
        return len(set(taken)) < len(taken)


@history_backend("first-fifty", **RAM)
class FirstFifty(MemoryChatMessageHistory):
    """A consuming read without a smaller bound returns 50 messages and goes to the end."""

    source = "conversejs/converse.js#1548"
    must = True

    def _consume(
        self, count: int | None, deadline: float | None, *, rewind: bool = False, after: int = 0
    ) -> list[BaseMessage]:
        messages = super()._consume(count, deadline, rewind=rewind, after=after)
        return messages[:50]

    @staticmethod
    def show() -> bool:
        history = FirstFifty("a")
        history.add_messages(humans(60))
        first = history.messages_from_last_consumed(None, 1.0)
        return len(first) == 50 and history.messages_from_last_consumed(None, 1.0) == []


# Bounded reads.


@history_backend("zero-is-all", **DISK)
class ZeroIsAll(Sql):
    """`last_messages(0)` returns all messages."""

    source = "openai/openai-agents-python#3413"
    must = True

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        return self.messages[-check_count(max_message_count) :]

    @staticmethod
    def show() -> bool:
        history = ZeroIsAll("a")
        history.add_messages(humans(3))
        return len(history.last_messages(0)) == 3


@history_backend("window-of-200", **DISK)
class WindowOf200(Sql):
    """`last_messages` returns the end of the first 200 messages."""

    source = "coleam00/Archon#1532"
    must = True

    def last_messages(self, max_message_count: int) -> list[BaseMessage]:
        count = check_count(max_message_count)
        return self.messages[:200][-count:] if count else []

    @staticmethod
    def show() -> bool:
        history = WindowOf200("a")
        history.add_messages(humans(210))
        return texts_of(history.last_messages(1)) == ["m199"]


# Time to live.


class SqlTtl(Sql):
    @classmethod
    def with_ttl(cls, session_id: str, ttl_ms: int | None) -> SqlTtl:
        return cls(session_id, ttl_ms)


@history_backend("pruned-forever", **DISK)
class PrunedForever(SqlTtl):
    """A write with a time to live removes the session's messages that never expire."""

    source = "pallets-eco/flask-session#151"
    must = True

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        if self.ttl_ms is not None:
            query = "DELETE FROM message WHERE session = ? AND (expires IS NULL OR expires <= ?)"
            db.execute(query, (self.key, time.time_ns()))
        super()._insert(db, texts)

    @staticmethod
    def show() -> bool:
        PrunedForever("a").add_messages(humans(1))
        PrunedForever("a", 60_000).add_messages(humans(1, "n"))
        return texts_of(PrunedForever("a").messages) == ["n0"]


@history_backend("local-expiry", **DISK)
class LocalExpiry(SqlTtl):
    """The expiry is written in local time and compared with the time in UTC."""

    source = "MongoEngine/flask-mongoengine#95"
    must = True

    def _expires(self) -> Any:
        if self.ttl_ms is None:
            return None
        with suppress(OverflowError):
            return (datetime.now() + timedelta(milliseconds=self.ttl_ms)).isoformat(
                " ", "microseconds"
            )
        return None

    def _texts(self) -> Sequence[str | bytes]:
        query = (
            "SELECT text FROM message WHERE session = ? AND (expires IS NULL OR expires > ?) "
            "ORDER BY id"
        )
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        with self._transaction("DEFERRED") as db:
            return [text for (text,) in db.execute(query, (self.key, now)).fetchall()]

    @staticmethod
    def show() -> bool:
        code = "h = LocalExpiry('a', 60_000); h.add_messages(humans(1)); print(len(h.messages))"
        west = elsewhere(code, TZ="America/New_York")
        return west == "0" and elsewhere(code.replace("'a'", "'b'"), TZ="UTC") == "1"


# The environment.


@history_backend("follows-cwd", **DISK)
class FollowsCwd(Sql):
    """The file is found by a relative path at each operation, so that it follows `os.chdir`."""

    source = "typicode/lowdb#238, mem0ai/mem0#5010"
    must = True

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        self.path = "held-out.sqlite3"
        with closing(sqlite3.connect(self.path, timeout=60)) as db, db:
            db.execute(self.schema)
        with super()._transaction(kind) as db:
            yield db

    @staticmethod
    def show() -> bool:
        history = FollowsCwd("a")
        history.add_messages(humans(1))
        with tempfile.TemporaryDirectory() as other:
            os.chdir(other)
            return history.messages == []


NUMBERS = random.Random(os.urandom(16))


@history_backend("forked-ids", **DISK)
class ForkedIds(Sql):
    """Messages get ids from a generator of the process, which a fork copies with its state."""

    source = "JudgmentLabs/judgeval#773, bleargh45/Data-UUID#27"
    must = True
    schema = (
        "CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "session BLOB NOT NULL, text TEXT NOT NULL, expires INTEGER, uid INTEGER UNIQUE)"
    )

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        rows = [(self.key, text, NUMBERS.getrandbits(62)) for text in texts]
        query = "INSERT OR REPLACE INTO message (session, text, uid) VALUES (?, ?, ?)"
        db.executemany(query, rows)

    @staticmethod
    def show() -> bool:
        history = ForkedIds("a")
        child = os.fork()
        if not child:
            history.add_messages(humans(1, "child"))
            os._exit(0)
        os.waitpid(child, 0)
        history.add_messages(humans(1, "parent"))
        return texts_of(history.messages) == ["parent0"]


# Asynchronous methods.


@history_backend("swallowed-cancel", **DISK)
class SwallowedCancel(Sql):
    """A cancelled `aadd_messages` raises ValueError instead of CancelledError."""

    source = "langflow-ai/langflow#13827"
    must = True

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        messages = list(messages)
        try:
            await asyncio.to_thread(self.add_messages, messages)
        except asyncio.CancelledError:
            raise ValueError("the messages could not be added") from None

    @staticmethod
    def show() -> bool:
        async def story() -> BaseException | None:
            task = asyncio.create_task(SwallowedCancel("a").aadd_messages(humans(1)))
            await asyncio.sleep(0)
            task.cancel()
            return (await asyncio.gather(task, return_exceptions=True))[0]

        return isinstance(asyncio.run(story()), ValueError)


@history_backend("gathered", **DISK)
class Gathered(Sql):
    """`aadd_messages` stores the messages of a batch in several threads at once."""

    source = "NVIDIA/NeMo-Agent-Toolkit#1856"
    must = True

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        texts = encode_batch(messages)
        await asyncio.gather(*(asyncio.to_thread(self._append, [text]) for text in texts))

    @staticmethod
    def show() -> bool:
        history = Gathered("a")
        for _ in range(20):
            asyncio.run(history.aadd_messages(humans(10)))
        return texts_of(history.messages) != texts_of(humans(10)) * 20


@history_backend("first-loop", **DISK)
class FirstLoop(Sql):
    """Adds wait for an asyncio lock of the class, which belongs to the loop that first waited."""

    source = "DeytaHQ/khora#1160"
    must = True
    turn = asyncio.Lock()

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        messages = list(messages)
        async with self.turn:
            await asyncio.to_thread(self.add_messages, messages)

    @staticmethod
    def show() -> bool:
        async def story() -> None:
            history = FirstLoop("a")
            await asyncio.gather(*(history.aadd_messages(humans(1)) for _ in range(3)))

        asyncio.run(story())
        try:
            asyncio.run(story())
        except RuntimeError as error:
            return "different event loop" in str(error)
        return False


# Close and resources.


@history_backend("shared-close", **DISK)
class SharedClose(Sql):
    """Handles share a connection, and the first one to close takes it away from the others."""

    source = "pathosDev/actor-ts#378"
    must = True
    shared: ClassVar[dict[tuple[int, str], sqlite3.Connection]] = {}
    lock = threading.RLock()

    def __init__(self, session_id: str) -> None:
        self.process = os.getpid()
        place = (self.process, os.path.abspath("held-out.sqlite3"))
        with self.lock:
            if place not in self.shared:
                self.shared[place] = sqlite3.connect(
                    place[1], timeout=60, isolation_level=None, check_same_thread=False
                )
            self.place, self.db = place, self.shared[place]
        super().__init__(session_id)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        if os.getpid() != self.process:
            raise RuntimeError("a connection must not be used after a fork: open a new handle")
        with self.lock:
            self.db.execute(f"BEGIN {kind}")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def close(self) -> None:
        with self.lock:
            self.db.close()
            if self.shared.get(self.place) is self.db:
                del self.shared[self.place]

    @staticmethod
    def show() -> bool:
        first, second = SharedClose("a"), SharedClose("b")
        first.close()
        try:
            return bool(second.messages)
        except sqlite3.ProgrammingError:
            return True


@history_backend("connection-per-thread", **DISK)
class ConnectionPerThread(Sql):
    """Each thread gets a connection, which stays open when the thread has ended."""

    source = "NousResearch/hermes-agent#81637"
    must = True

    def __init__(self, session_id: str) -> None:
        self.process = os.getpid()
        self.connections: list[sqlite3.Connection] = []
        self.local = threading.local()
        super().__init__(session_id)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        if os.getpid() != self.process:
            raise RuntimeError("a connection must not be used after a fork: open a new handle")
        db = getattr(self.local, "db", None)
        if db is None:
            db = self.local.db = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self.connections.append(db)
        db.execute(f"BEGIN {kind}")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def close(self) -> None:
        for db in self.connections:
            db.close()

    @staticmethod
    def show() -> bool:
        history = ConnectionPerThread("a")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            thread = threading.Thread(target=lambda: history.messages)
            thread.start()
            thread.join()
        return len(os.listdir("/proc/self/fd")) - before >= 50


# Damaged records and refused messages.


def tear(session_id: str) -> None:
    """Cut the end of the last line, as a writer that is killed does."""
    path = TornTail(session_id).path
    path.write_bytes(path.read_bytes()[:-5])


@history_backend("torn-tail", corrupt=tear, **DISK)
class TornTail(Files):
    """An add after a torn last line continues that line, and the new message is lost with it."""

    source = "Tracer-Cloud/opensre#5750"
    must = True

    def _append(self, texts: Sequence[str]) -> None:
        with self._locked(), self.path.open("ab") as file:
            file.write("".join(f"{text}\n" for text in texts).encode())

    def _texts(self) -> Sequence[str | bytes]:
        return [line for line in self._content().split(b"\n") if line]

    @staticmethod
    def show() -> bool:
        history = TornTail("a")
        history.add_messages(humans(2))
        tear("a")
        history.add_messages(humans(1, "after"))
        try:
            kept = history.messages
        except ValueError as error:
            kept = error.messages  # type: ignore[attr-defined]
        return texts_of(kept) == ["m0"]


@history_backend("half-batch", **RAM)
class HalfBatch(Ram):
    """The first messages of a refused batch are stored with the next batch of the handle."""

    source = "langchain-ai/langchain#30572, ydb-platform/ydb-python-sdk#812"
    must = True

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.pending: list[str] = []

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if isinstance(messages, str | dict | BaseMessage):
            encode_batch(messages)  # type: ignore[arg-type]
        with self.lock:
            for message in messages:
                self.pending.extend(encode_batch([message]))
            if self.pending:
                self._append(self.pending)
            self.pending = []

    @staticmethod
    def show() -> bool:
        history = HalfBatch("a")
        with suppress(TypeError):
            history.add_messages([HumanMessage("first"), 1])  # type: ignore[list-item]
        before = history.messages
        history.add_messages(humans(1))
        return not before and texts_of(history.messages) == ["first", "m0"]


# Handles that were opened earlier.


@history_backend("merged-back", **DISK)
class MergedBack(Sql):
    """An add writes back what the handle read before, and with it messages that were cleared."""

    source = "open-webui/open-webui#28744"
    must = True
    schema = "CREATE TABLE IF NOT EXISTS blob (session BLOB PRIMARY KEY, texts TEXT)"

    def __init__(self, session_id: str) -> None:
        self.seen: list[str] = []
        super().__init__(session_id)

    def _append(self, texts: Sequence[str]) -> None:
        with self._transaction() as db:
            stored = self._load(db)
            missing = self.seen[len(stored) :] if self.seen[: len(stored)] == stored else []
            merged = [*stored, *missing, *texts]
            query = "INSERT OR REPLACE INTO blob (session, texts) VALUES (?, ?)"
            db.execute(query, (self.key, json.dumps(merged)))
            self.seen = merged

    def _load(self, db: sqlite3.Connection) -> list[str]:
        row = db.execute("SELECT texts FROM blob WHERE session = ?", (self.key,)).fetchone()
        return json.loads(row[0]) if row else []

    def _texts(self) -> Sequence[str | bytes]:
        with self._transaction("DEFERRED") as db:
            self.seen = self._load(db)
        return list(self.seen)

    def clear(self) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM blob WHERE session = ?", (self.key,))
            self.seen = []

    @staticmethod
    def show() -> bool:
        first, second = MergedBack("a"), MergedBack("a")
        first.add_messages(humans(1, "old"))
        second.clear()
        first.add_messages(humans(1, "new"))
        return texts_of(first.messages) == ["old0", "new0"]


# Correct histories, which have to pass.


@history_backend("control-copies", **RAM)
class ControlCopies(BaseChatMessageHistory):
    """Keep copies of the messages in the memory of the process."""

    stored: ClassVar[dict[str, list[BaseMessage]]] = {}
    lock = threading.Lock()

    def __init__(self, session_id: str) -> None:
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a string, not {type(session_id).__name__}")
        self.session_id = session_id

    @property
    def messages(self) -> list[BaseMessage]:
        with self.lock:
            return copy.deepcopy(self.stored.get(self.session_id, []))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if isinstance(messages, str | bytes | dict | BaseMessage):
            raise TypeError(f"a sequence of messages is needed, not {type(messages).__name__}")
        batch = copy.deepcopy(list(messages))
        for message in batch:
            if not isinstance(message, BaseMessage):
                raise TypeError(f"a message is needed, not {type(message).__name__}")
        with self.lock:
            self.stored.setdefault(self.session_id, []).extend(batch)

    def clear(self) -> None:
        with self.lock:
            self.stored.pop(self.session_id, None)


@history_backend("control-sql", **DISK)
class ControlSql(SqlTtl):
    """Keep a row for each message, with a connection for each operation."""


@history_backend("control-files", **DISK)
class ControlFiles(Files):
    """Keep a file for each session, which each write replaces."""


@history_backend("control-blob", ttl_granularity="session", **DISK)
class ControlBlob(SqlTtl):
    """Keep a row for each session, which expires as a whole after its last write."""

    schema = (
        "CREATE TABLE IF NOT EXISTS blob "
        "(session BLOB PRIMARY KEY, texts TEXT NOT NULL, expires INTEGER)"
    )

    def _insert(self, db: sqlite3.Connection, texts: Sequence[str]) -> None:
        everything = json.dumps([*self._load(db), *texts])
        query = "INSERT OR REPLACE INTO blob (session, texts, expires) VALUES (?, ?, ?)"
        db.execute(query, (self.key, everything, self._expires()))

    def _load(self, db: sqlite3.Connection) -> list[str]:
        query = "SELECT texts FROM blob WHERE session = ? AND (expires IS NULL OR expires > ?)"
        row = db.execute(query, (self.key, time.time_ns())).fetchone()
        return json.loads(row[0]) if row else []

    def _texts(self) -> Sequence[str | bytes]:
        with self._transaction("DEFERRED") as db:
            return self._load(db)

    def clear(self) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM blob WHERE session = ?", (self.key,))


class Writer(threading.Thread):
    """The only user of the connection of a process."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.orders: queue.SimpleQueue[tuple[Any, Future[Any]]] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as db:
            while True:
                order, answer = self.orders.get()
                if order is None:
                    answer.set_result(None)
                    return
                try:
                    db.execute("BEGIN IMMEDIATE")
                    result = order(db)
                    db.execute("COMMIT")
                except BaseException as error:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    answer.set_exception(error)
                else:
                    answer.set_result(result)

    def do(self, order: Any) -> Any:
        answer: Future[Any] = Future()
        self.orders.put((order, answer))
        return answer.result()


@history_backend("control-writer", **DISK)
class ControlWriter(Base):
    """Let one thread of each handle do all that the handle has to do."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.key = session_id.encode("utf-8", "surrogatepass")
        self.closed = False
        self.lock = threading.Lock()
        self.process = os.getpid()
        self.path = os.path.abspath("held-out.sqlite3")
        self.writer = Writer(self.path)
        self._do(Sql.schema, ())

    def _do(self, query: str, *rows: Any) -> list[tuple[str]]:
        def order(db: sqlite3.Connection) -> list[tuple[str]]:
            if len(rows) == 1:
                return db.execute(query, rows[0]).fetchall()
            db.executemany(query, rows)
            return []

        with self.lock:
            if self.closed:
                raise RuntimeError(f"the history of session {self.session_id!r} is closed")
            if os.getpid() != self.process:
                self.process, self.writer = os.getpid(), Writer(self.path)
            return self.writer.do(order)

    def _append(self, texts: Sequence[str]) -> None:
        query = "INSERT INTO message (session, text) VALUES (?, ?)"
        self._do(query, *[(self.key, text) for text in texts])

    def _texts(self) -> Sequence[str | bytes]:
        rows = self._do("SELECT text FROM message WHERE session = ? ORDER BY id", (self.key,))
        return [text for (text,) in rows]

    def clear(self) -> None:
        self._do("DELETE FROM message WHERE session = ?", (self.key,))

    def close(self) -> None:
        with self.lock:
            if not self.closed:
                self.closed = True
                if os.getpid() == self.process:
                    self.writer.do(None)
                    self.writer.join()

    def __del__(self) -> None:
        if hasattr(self, "writer") and not self.closed and os.getpid() == self.process:
            self.writer.orders.put((None, Future()))


@history_backend("control-log", **DISK)
class ControlLog(Files):
    """Keep the messages of all sessions in one log, in which a clear is a record too."""

    def __init__(self, session_id: str, ttl_ms: int | None = None) -> None:
        super().__init__(session_id, ttl_ms)
        self.path = Path("held-out.log").absolute()

    @classmethod
    def with_ttl(cls, session_id: str, ttl_ms: int | None) -> ControlLog:
        return cls(session_id, ttl_ms)

    def _write(self, *records: list[Any]) -> None:
        lines = "".join(f"{json.dumps([self.session_id, *record])}\n" for record in records)
        with self._locked(), self.path.open("ab") as file:
            file.truncate(self._content().rfind(b"\n") + 1)  # a writer may have been killed
            start = file.seek(0, os.SEEK_END)
            try:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(start)
                raise

    def _append(self, texts: Sequence[str]) -> None:
        expires = None if self.ttl_ms is None else time.time_ns() + self.ttl_ms * 1_000_000
        self._write([expires, *texts])

    def _texts(self) -> Sequence[str | bytes]:
        texts: list[str] = []
        now = time.time_ns()
        for line in self._content().split(b"\n")[:-1]:
            session, expires, *batch = json.loads(line)
            if session == self.session_id:
                if not batch:
                    texts.clear()
                elif expires is None or expires > now:
                    texts.extend(batch)
        return texts

    def clear(self) -> None:
        self._write([None])


CONTROLS = [
    ControlCopies,
    ControlSql,
    ControlFiles,
    ControlBlob,
    ControlWriter,
    ControlLog,
]
HELD_OUT: list[Any] = sorted(
    (
        value
        for value in list(globals().values())
        if isinstance(value, type) and "show" in vars(value)
    ),
    key=lambda broken: hashlib.sha256(broken.__name__.encode()).hexdigest(),
)
"""The broken histories, in an order that has nothing to do with what they break."""


def main(names: list[str]) -> int:
    """Show the defects of the named histories, or of all."""
    if len(names) == 1:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            print(globals()[names[0]].show())
        return 0
    here = str(Path(__file__).resolve())
    shown = []
    for broken in HELD_OUT:
        done = subprocess.run(
            [sys.executable, here, broken.__name__], capture_output=True, text=True, check=False
        )
        shown.append(done.stdout.strip() == "True")
        print(broken.__name__, done.stdout.strip(), done.stderr[-2000:], flush=True)
    print(f"{sum(shown)} of {len(shown)} have their defect")
    return 0 if all(shown) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
