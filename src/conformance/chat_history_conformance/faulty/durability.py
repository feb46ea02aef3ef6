"""Broken histories that lose messages or leak resources when a handle or a process ends."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

SQLite = SQLiteChatMessageHistory


class _Buffered(SQLiteChatMessageHistory):
    """A base class that keeps the newest batch in a buffer of the process."""

    def _buffer(self) -> list[BaseMessage]:
        return _buffers.setdefault(self.session_id, [])

    def _flush(self) -> None:
        super().add_messages(self._buffer())
        self._buffer().clear()

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [*super().messages, *self._buffer()]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self._flush()
        self._buffer().extend(messages)

    def clear(self) -> None:
        super().clear()
        self._buffer().clear()


_buffers: dict[str, list[BaseMessage]] = {}


@faulty(
    "durability.flush_timeout_warns",
    breaks="durability.new_handle",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py add_messages: only warns "
    "about messages that are still in flight",
    control="sqlite",
)
class FlushTimeoutWarns(_Buffered):
    """Keeps the newest batch in a buffer that `close` throws away."""

    def close(self) -> None:
        super().close()
        self._buffer().clear()


@faulty(
    "durability.kept_by_process",
    breaks="durability.new_process",
    kind="lost",
    seen="haystack-experimental 0.19.0.post1, chat_message_stores/in_memory.py: a module-level "
    "dict",
    control="sqlite",
)
def kept_by_process(session_id: str) -> SQLite:
    """Each process keeps its histories in a separate file."""
    return SQLite(session_id, f"chat_history_{os.getpid()}.sqlite3")


@faulty(
    "durability.flushed_at_the_end",
    breaks="durability.writer_killed",
    kind="lost",
    seen="devoxx/DevoxxGenieIDEAPlugin#1177: only a clean exit persists messages",
    control="sqlite",
)
class FlushedAtTheEnd(_Buffered):
    """Writes the newest batch to the file only when a handle is closed."""

    def close(self) -> None:
        self._flush() if self._closer.alive else None
        super().close()


@faulty(
    "durability.close_twice_raises",
    breaks="durability.close_idempotent",
    kind="other",
    seen=INVENTED,
    control="sqlite",
)
class CloseTwiceRaises(SQLiteChatMessageHistory):
    """Raises from `close` if the handle is already closed."""

    def close(self) -> None:
        self._check_usable()
        super().close()


@faulty(
    "durability.close_closes_shared",
    breaks="durability.close_leaves_others",
    kind="other",
    seen="googleapis/langchain-google-memorystore-redis-python#10: closes its caller's client",
    control="sqlite",
)
class CloseClosesShared(SQLiteChatMessageHistory):
    """Closes the clients of all other handles when one handle is closed."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        _handles.append(self)

    def close(self) -> None:
        while _handles:
            SQLite.close(_handles.pop())
        super().close()


_handles: list[SQLite] = []


@faulty(
    "durability.close_clears",
    breaks="durability.close_leaves_others",
    kind="lost",
    seen=INVENTED,
    control="sqlite",
)
class CloseEndsSession(SQLiteChatMessageHistory):
    """Deletes the messages of the session when one handle is closed."""

    def close(self) -> None:
        if self._closer.alive:
            self.clear()
        super().close()


@faulty(
    "durability.close_drops_buffer",
    breaks="durability.close_loses_nothing",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: close does not wait for "
    "messages in flight",
    control="sqlite",
)
class CloseDropsBuffer(FlushTimeoutWarns):
    """Throws away messages on `close` that other handles could read until then."""


@faulty(
    "durability.connection_leak",
    breaks="durability.resources_freed",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/sql.py: an engine for each instance, "
    "never closed",
    control="sqlite",
)
class ConnectionLeak(SQLiteChatMessageHistory):
    """Opens a second connection for each handle, which `close` does not close."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        _leaked.append(sqlite3.connect(self.path, check_same_thread=False))
        _leaked[-1].execute("SELECT count(*) FROM chat_messages").fetchone()


_leaked: list[sqlite3.Connection] = []


@faulty(
    "durability.close_passes",
    breaks="durability.resources_freed",
    kind="other",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py, close: `pass`, with seven "
    "threads for each instance",
    control="sqlite",
)
class ClosePasses(SQLiteChatMessageHistory):
    """Does nothing on `close`; the connection stays open until the object is garbage-collected."""

    def close(self) -> None:
        """Do nothing."""


@faulty(
    "durability.thread_leak",
    breaks="durability.resources_freed",
    kind="other",
    seen=INVENTED,
    control="sqlite",
)
class ThreadLeak(SQLiteChatMessageHistory):
    """Starts a thread for each handle that waits for work for ever."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        threading.Thread(target=threading.Event().wait, daemon=True).start()


@faulty(
    "durability.file_per_call",
    breaks="durability.calls_free_resources",
    kind="other",
    seen="robotics-4-all/commlib-py#23; FlowiseAI/Flowise#4256",
)
class FilePerCall(MemoryChatMessageHistory):
    """Opens a file for each read, and closes them all when it is closed."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._files: list[int] = []

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self._files.append(os.open(os.devnull, os.O_RDONLY))
        return super().messages

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.pop())


@faulty(
    "durability.file_per_refusal",
    breaks="durability.calls_free_resources",
    kind="other",
    seen=INVENTED,
)
class FilePerRefusal(MemoryChatMessageHistory):
    """Leaves a file open when an add is refused."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        file = os.open(os.devnull, os.O_RDONLY)
        super().add_messages(messages)
        os.close(file)


@faulty(
    "durability.closed_buffer",
    breaks="durability.use_after_close",
    kind="lost",
    seen=INVENTED,
)
class ClosedBuffer(MemoryChatMessageHistory):
    """Writes nothing after `close`, and raises nothing."""

    _closed = False

    def close(self) -> None:
        """Close the history."""
        self._closed = True

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        if not self._closed:
            super().add_messages(messages)


@faulty(
    "durability.key_from_hash",
    breaks="durability.another_environment",
    kind="lost",
    seen="langchain-ai/langchain#3677: the keys of a cache are made with hash()",
    control="sqlite",
)
class KeyFromHash(SQLiteChatMessageHistory):
    """Uses `hash(session_id)` as the key, which differs from process to process."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"{hash(session_id):x}")


@faulty(
    "durability.local_times",
    breaks="durability.another_environment",
    kind="reordered",
    seen="TryQuiet/zbay#664: messages are sorted by local times",
    control="sqlite",
)
class LocalTimes(SQLiteChatMessageHistory):
    """Sorts messages by the local time at which they were added, without a time zone."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        stamped = [message.model_copy(deep=True) for message in messages]
        for message in stamped:
            now = datetime.datetime.now().isoformat()
            message.additional_kwargs = {**message.additional_kwargs, "_at": now}
        super().add_messages(stamped)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        stored = sorted(super().messages, key=lambda one: str(one.additional_kwargs.get("_at")))
        for message in stored:
            message.additional_kwargs.pop("_at", None)
        return stored


class _Lines(BaseChatMessageHistory):
    """A base class that keeps the messages of a session in a file, one in each line."""

    encoding: str | None = "utf-8"

    def __init__(self, session_id: str) -> None:
        self._path = Path(f"{session_id.encode().hex()[-200:]}.jsonl").absolute()

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        if not self._path.exists():
            return []
        lines = self._path.read_text(self.encoding).splitlines()
        return messages_from_dict([json.loads(line) for line in lines])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        lines = [json.dumps(message_to_dict(one), ensure_ascii=False) for one in messages]
        with self._path.open("a", encoding=self.encoding) as file:
            file.writelines(f"{line}\n" for line in lines)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


@faulty(
    "durability.default_encoding",
    breaks="durability.another_encoding",
    kind="other",
    seen="langchain-ai/langchain#24258: FileChatMessageHistory opened its file without an encoding",
    control="sqlite",
)
class DefaultEncoding(_Lines):
    """Opens its file with the default encoding of the process."""

    encoding = None


@faulty(
    "durability.relative_path",
    breaks="durability.another_directory",
    kind="lost",
    seen=INVENTED,
    control="sqlite",
)
class RelativePath(_Lines):
    """Uses a relative path at each call."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._path = Path(self._path.name)
