"""Histories whose asynchronous methods are missing, disagree, or disturb others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty(
    "parity.async_not_implemented",
    breaks="parity.async_methods",
    kind="other",
    seen="langchain-postgres 0.0.19: aadd_messages raises ValueError without async_connection",
)
class AsyncNotImplemented(MemoryChatMessageHistory):
    """Overrides `aadd_messages` with a method that raises, although the default works."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        raise ValueError("made without async_connection")


@faulty(
    "parity.coroutine_returned",
    breaks="parity.async_methods",
    kind="resurrected",
    seen="llama-index-storage-chat-store-dynamodb 0.6.0, base.py adelete_last_message: returns a "
    "coroutine without awaiting it",
)
class CoroutineReturned(MemoryChatMessageHistory):
    """Does not await the coroutine that clears in `aclear`."""

    async def aclear(self) -> None:
        super().aclear().close()


@faulty(
    "parity.raw_records",
    breaks="parity.agree",
    kind="altered",
    seen="llama-index-storage-chat-store-redis 0.8.0, base.py: siblings return raw items",
)
class RawRecords(MemoryChatMessageHistory):
    """Returns dicts from `aget_messages`, but messages from `messages`."""

    async def aget_messages(self) -> Any:
        return [message_to_dict(message) for message in self.messages]


@faulty(
    "parity.two_buffers",
    breaks="parity.agree",
    kind="stale",
    seen="microsoft/semantic-kernel#14017: add_message skips what add_message_async does",
)
class TwoBuffers(MemoryChatMessageHistory):
    """Keeps messages of `aadd_messages` in a buffer that `messages` does not read."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        other = MemoryChatMessageHistory(f"{self.session_id}-async")
        other.add_messages([*(self.messages if not other.messages else []), *messages])

    async def aget_messages(self) -> list[BaseMessage]:
        return MemoryChatMessageHistory(f"{self.session_id}-async").messages or self.messages


@faulty(
    "parity.blocks_the_loop",
    breaks="parity.loop_not_blocked",
    kind="blocked_loop",
    seen="langchain-ai/langchain#16728: a review notes that reading may block the event loop",
)
class BlocksTheLoop(MemoryChatMessageHistory):
    """Waits for its store with a blocking call in `aadd_messages`."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        time.sleep(0.08)
        self.add_messages(messages)


@faulty(
    "parity.blocking_read",
    breaks="parity.loop_not_blocked",
    kind="blocked_loop",
    seen=INVENTED,
)
class BlockingRead(MemoryChatMessageHistory):
    """Reads a long history page by page with a blocking client in `aget_messages`."""

    async def aget_messages(self) -> list[BaseMessage]:
        messages = self.messages
        for _ in range(0, len(messages), 10):
            time.sleep(0.05)
        return messages


@faulty(
    "parity.cancel_keeps_lock",
    breaks="parity.cancellation",
    kind="other",
    seen="openai/openai-agents-python#1658: add_items is cancelled before the state is saved",
)
class CancelKeepsLock(MemoryChatMessageHistory):
    """Marks the handle as busy for ever after a cancelled add, and refuses later adds."""

    _busy = False

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        if self._busy:
            raise RuntimeError("another operation is in progress")
        self._busy = True
        await asyncio.to_thread(self.add_messages, messages)
        self._busy = False


@faulty(
    "parity.cancel_keeps_transaction",
    breaks="parity.cancellation",
    kind="other",
    seen="convention: a transaction that is begun with one await and ended with another",
)
class CancelKeepsTransaction(MemoryChatMessageHistory):
    """Does not end the transaction that it has begun if it is cancelled."""

    _begun = False

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await asyncio.sleep(0.005)
        if self._begun:
            raise RuntimeError("a transaction is already in progress")
        self._begun = True
        try:
            await asyncio.sleep(0.005)
            self.add_messages(messages)
        except Exception:
            self._begun = False
            raise
        self._begun = False


@faulty(
    "parity.cancel_keeps_writes",
    breaks="parity.cancellation",
    kind="lost",
    seen="convention: after a cancelled statement a connection is still inside its transaction",
)
class CancelKeepsWrites(MemoryChatMessageHistory):
    """Keeps the later messages of a handle in an open transaction after a cancelled add."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._uncommitted: list[BaseMessage] = []
        self._is_open = False

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [*super().messages, *self._uncommitted]

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        if self._is_open:
            self._uncommitted += messages
            return
        self._is_open = True
        await asyncio.sleep(0.001)
        self.add_messages(messages)
        self._is_open = False


@faulty("parity.cancel_repeats", breaks="parity.cancellation", kind="duplicated", seen=INVENTED)
class CancelRepeats(MemoryChatMessageHistory):
    """Treats a cancelled add as a failed one, and repeats it."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        self.add_messages(messages)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.add_messages(messages)
            raise


@faulty(
    "parity.client_of_first_loop",
    breaks="parity.handle_per_loop",
    kind="other",
    seen="langchain-ai/langgraph#6693: RuntimeError: Event loop is closed",
)
class ClientOfFirstLoop(MemoryChatMessageHistory):
    """Binds the client of a session to the first event loop that used it."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        loop = asyncio.get_running_loop()
        if _loops.setdefault(self.session_id, loop) is not loop:
            raise RuntimeError("attached to a different loop")
        await super().aadd_messages(messages)


_loops: dict[str, asyncio.AbstractEventLoop] = {}


@faulty(
    "parity.handle_of_first_loop",
    breaks="parity.one_handle_over_loops",
    kind="other",
    seen="bytedance/deer-flow#2302: a client is used on another loop than its own",
)
class HandleOfFirstLoop(MemoryChatMessageHistory):
    """Binds a handle to the first event loop that used it."""

    _loop: asyncio.AbstractEventLoop | None = None

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        await super().aadd_messages(messages)


@faulty(
    "parity.sync_by_asyncio_run",
    breaks="parity.sync_inside_loop",
    kind="other",
    seen="langchain-ai/langchain#22933: add_messages in async mode raises RuntimeError",
)
class SyncByAsyncioRun(MemoryChatMessageHistory):
    """Runs `aadd_messages` with `asyncio.run` in `add_messages`."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        coroutine = self.aadd_messages(messages)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)


@faulty(
    "parity.slot_lost",
    breaks="parity.cancelled_calls",
    kind="hung",
    seen="psycopg/psycopg#1208; MagicStack/asyncpg#464",
)
class SlotLost(MemoryChatMessageHistory):
    """Does not give a slot of its pool back if a read is cancelled."""

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self._slots = 5

    async def aget_messages(self) -> list[BaseMessage]:
        while not self._slots:
            await asyncio.sleep(0.01)
        self._slots -= 1
        try:
            await asyncio.sleep(0.001)
            found = self.messages
        except Exception:
            self._slots += 1
            raise
        self._slots += 1
        return found


@faulty(
    "parity.cancel_translated",
    breaks="parity.cancelled_error",
    kind="wrong_error",
    seen="langflow-ai/langflow#13827",
)
class CancelTranslated(MemoryChatMessageHistory):
    """Raises ConnectionError instead of CancelledError if `aclear` is cancelled."""

    async def aclear(self) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            raise ConnectionError("could not clear the session") from None
        self.clear()


@faulty(
    "parity.lock_of_first_loop",
    breaks="parity.tasks_on_each_loop",
    kind="other",
    seen="DeytaHQ/khora#1160",
)
class LockOfFirstLoop(MemoryChatMessageHistory):
    """Waits for a semaphore of a user, which belongs to the loop that first waited for it."""

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        messages = list(messages)
        # One for each user, so that an example does not depend on those before it.
        async with _turns.setdefault(self.session_id.partition("-")[0], asyncio.Semaphore(2)):
            await asyncio.sleep(0.001)
            self.add_messages(messages)


_turns: dict[str, asyncio.Semaphore] = {}
