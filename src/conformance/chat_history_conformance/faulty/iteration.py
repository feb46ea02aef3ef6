"""Broken histories whose iterations skip, repeat, follow, keep or lose something."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Generator, Iterator, Sequence

from langchain_core.messages import BaseMessage

from chat_history_backends.codec import UndecodableRecordError, decode, decode_batch
from chat_history_backends.iteration import PageGenerator
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.registered import _corrupt_sqlite
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

Messages = list[BaseMessage]


def _cut(messages: Messages, size: int) -> Iterator[Messages]:
    """Cut a conversation into pages."""
    for first in range(0, len(messages), size):
        yield messages[first : first + size]


@faulty(
    "iteration.last_page_dropped",
    breaks="iteration.every_batch_size",
    kind="lost",
    seen="maciejmiklas/cyclop#129 Iterable-pager drops last page, "
    "https://github.com/maciejmiklas/cyclop/issues/129",
)
class LastPageDropped(MemoryChatMessageHistory):
    """Drops the last page if it is not full and not the only one."""

    def _pages(self, batch_size: int) -> PageGenerator:
        for number, page in enumerate(super()._pages(batch_size)):
            if not number or len(page) == batch_size:
                yield page


@faulty(
    "iteration.last_page_filled",
    breaks="iteration.every_batch_size",
    kind="duplicated",
    seen="deltaepsilon/firebase-paginator#11 Repeated items in last page, "
    "https://github.com/deltaepsilon/firebase-paginator/issues/11",
)
class LastPageFilled(MemoryChatMessageHistory):
    """Fills the last page with messages of the page before."""

    def _pages(self, batch_size: int) -> PageGenerator:
        before: Messages = []
        for page in super()._pages(batch_size):
            missing = batch_size - len(page)
            yield [*(before[-missing:] if missing and page else []), *page]
            before = page


@faulty(
    "iteration.never_ends",
    breaks="iteration.every_batch_size",
    kind="duplicated",
    seen="apache/seatunnel#10929 HTTP cursor pagination polls forever if the cursor stays the "
    "same, https://github.com/apache/seatunnel/pull/11098",
)
class BeginsAgain(MemoryChatMessageHistory):
    """Goes back to the first page after a last page that is full, and so never ends."""

    def _pages(self, batch_size: int) -> PageGenerator:
        is_full = True
        while is_full:
            is_full = False
            for page in super()._pages(batch_size):
                yield page
                is_full = len(page) == batch_size or (is_full and not page)


@faulty(
    "iteration.needs_a_record",
    breaks="iteration.unused_session",
    kind="other",
    seen="langchain-ai/langchain#6141 DynamoDB without any chat history raised, "
    "https://github.com/langchain-ai/langchain/issues/6141",
)
class NeedsARecord(MemoryChatMessageHistory):
    """Looks up the session that only the first write creates."""

    def _pages(self, batch_size: int) -> PageGenerator:
        self._store._sessions[self.session_id]
        yield from super()._pages(batch_size)


@faulty("iteration.slim_messages", breaks="iteration.same_messages", kind="altered", seen=INVENTED)
class SlimMessages(MemoryChatMessageHistory):
    """Leaves out `additional_kwargs` when iterating, to save memory."""

    def _pages(self, batch_size: int) -> PageGenerator:
        for page in super()._pages(batch_size):
            for message in page:
                message.additional_kwargs.clear()
            yield page


@faulty(
    "iteration.hundred_pages",
    breaks="iteration.many_pages",
    kind="lost",
    seen="Significant-Gravitas/AutoGPT#13070: a hard cap on the pages of an export, "
    "https://github.com/Significant-Gravitas/AutoGPT/pull/13070",
)
class HundredPages(MemoryChatMessageHistory):
    """Ends after 100 pages."""

    def _pages(self, batch_size: int) -> PageGenerator:
        yield from itertools.islice(super()._pages(batch_size), 100)


@faulty(
    "iteration.offset_from_newest",
    breaks="iteration.added_meanwhile",
    kind="lost",
    seen="ohdearquant/lionagi#1730 Tail-offset session pagination drifts under concurrent message "
    "writes, https://github.com/ohdearquant/lionagi/issues/1730",
)
class OffsetFromNewest(MemoryChatMessageHistory):
    """Counts the offset of each page from the newest message."""

    def _pages(self, batch_size: int) -> PageGenerator:
        left = len(self.messages)
        while left > 0:
            yield self.last_messages(left)[:batch_size]
            left -= batch_size


@faulty(
    "iteration.follows_new_messages",
    breaks="iteration.snapshot",
    kind="wrong_bound",
    seen=INVENTED,
)
class FollowsNewMessages(MemoryChatMessageHistory):
    """Asks for the messages after the last one until no more come."""

    def _pages(self, batch_size: int) -> PageGenerator:
        read = 0
        while page := self.messages[read : read + batch_size]:
            yield page
            read += len(page)


@faulty(
    "iteration.enters_next_conversation",
    breaks="iteration.cleared_meanwhile",
    kind="foreign",
    seen=INVENTED,
)
class EntersNextConversation(MemoryChatMessageHistory):
    """Ends at the length that it has seen first, and pages by numbers that begin at 0 again."""

    def _pages(self, batch_size: int) -> PageGenerator:
        length = len(self.messages)
        for first in range(0, length, batch_size):
            yield self.messages[first : min(first + batch_size, length)]


@faulty(
    "iteration.keeps_writers_out",
    breaks="iteration.others_work_meanwhile",
    kind="other",
    seen="lemon24/reader#10 DB cannot be written to for the whole time update_feeds runs, "
    "https://github.com/lemon24/reader/issues/10",
)
class KeepsWritersOut(MemoryChatMessageHistory):
    """Keeps a cursor open between two messages, and refuses writes meanwhile."""

    _cursors = 0

    def _pages(self, batch_size: int) -> PageGenerator:
        self._cursors += 1
        try:
            yield from super()._pages(batch_size)
        finally:
            self._cursors -= 1

    def _append(self, texts: Sequence[str]) -> None:
        if self._cursors:
            raise RuntimeError("database is locked")
        super()._append(texts)


@faulty(
    "iteration.busy_for_ever",
    breaks="iteration.left_early",
    kind="other",
    seen="datachain-ai/datachain#377 `database is locked` if collect is used and not consumed, "
    "https://github.com/datachain-ai/datachain/issues/377",
)
class BusyForEver(MemoryChatMessageHistory):
    """Gives the connection back after the last message, and not if the iteration is left early."""

    _is_busy = False

    def _pages(self, batch_size: int) -> PageGenerator:
        self._is_busy = True
        yield from super()._pages(batch_size)
        self._is_busy = False

    def _append(self, texts: Sequence[str]) -> None:
        if self._is_busy:
            raise RuntimeError("database is locked")
        super()._append(texts)


@faulty(
    "iteration.thread_waits",
    breaks="iteration.leaves_nothing_open",
    kind="other",
    seen="TimonKK/clickhouse#73 break inside a for await doesn't close the connection, "
    "https://github.com/TimonKK/clickhouse/issues/73",
)
class ThreadWaits(MemoryChatMessageHistory):
    """Fetches pages in a thread, which waits until somebody takes them."""

    def _pages(self, batch_size: int) -> PageGenerator:
        pages: queue.Queue[Messages | None] = queue.Queue(1)

        def fetch() -> None:
            for page in _cut(self.messages, batch_size):
                pages.put(page)
            pages.put(None)

        threading.Thread(target=fetch, daemon=True).start()
        while (page := pages.get()) is not None:
            yield page


@faulty(
    "iteration.one_cursor",
    breaks="iteration.several_at_once",
    kind="lost",
    seen="IBM/nzpy#54 Cursor should clear unconsumed resultset when executing next query, "
    "https://github.com/IBM/nzpy/issues/54",
)
class OneCursor(MemoryChatMessageHistory):
    """Keeps the position of the iteration with the handle."""

    _next = 0

    def _pages(self, batch_size: int) -> PageGenerator:
        self._next = 0
        messages = [message for page in super()._pages(1000) for message in page]
        while page := messages[self._next : self._next + batch_size]:
            self._next += len(page)
            yield page


@faulty(
    "iteration.by_consuming",
    breaks="iteration.moves_nothing",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: each read continues from "
    "the committed offset",
)
class ByConsuming(MemoryChatMessageHistory):
    """Reads pages with the consuming reader, from the beginning."""

    def _pages(self, batch_size: int) -> PageGenerator:
        page = self.messages_from_beginning(batch_size, None)
        while page:
            yield page
            page = self.messages_from_last_consumed(batch_size, None)


@faulty(
    "iteration.over_the_list",
    breaks="iteration.holds_a_part",
    kind="other",
    seen="coleifer/peewee#431 Iterating over big dataset, "
    "https://github.com/coleifer/peewee/issues/431",
)
class OverTheList(MemoryChatMessageHistory):
    """Iterates over the list of all messages."""

    def _pages(self, batch_size: int) -> PageGenerator:
        yield from _cut(self.messages, batch_size)


@faulty(
    "iteration.negative_is_all",
    breaks="iteration.nonsense_refused",
    kind="wrong_bound",
    seen="huggingface/datasets#8556: `batch(0)` and `batch(-1)` return the whole dataset, "
    "https://github.com/huggingface/datasets/pull/8556",
)
class NegativeIsAll(MemoryChatMessageHistory):
    """Takes a batch size below 1 for one page with all messages."""

    def iter_messages(self, batch_size: int = 1000) -> Generator[BaseMessage, None, None]:
        all_of_them = isinstance(batch_size, int) and batch_size < 1
        return super().iter_messages(10**6 if all_of_them else batch_size)


@faulty(
    "iteration.corrupt_row_skipped",
    breaks="iteration.undecodable_record",
    kind="swallowed_error",
    seen="openai-agents 0.24.0, memory/sqlite_session.py _decode_rows: except JSONDecodeError: "
    "continue",
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class CorruptRowSkipped(SQLiteChatMessageHistory):
    """Skips rows that cannot be decoded when iterating."""

    def _pages(self, batch_size: int) -> PageGenerator:
        for record in self._fetch():
            try:
                yield [decode(record[1], record[0])]
            except UndecodableRecordError:
                continue


@faulty(
    "iteration.corrupt_row_hides_page",
    breaks="iteration.before_an_undecodable_record",
    kind="lost",
    seen=INVENTED,
    control="sqlite",
    corrupt=_corrupt_sqlite,
)
class CorruptRowHidesPage(SQLiteChatMessageHistory):
    """Decodes a page as a whole, so an error hides the messages of the page that come before."""

    def _pages(self, batch_size: int) -> PageGenerator:
        records = self._fetch()
        for first in range(0, len(records), batch_size):
            yield decode_batch(records[first : first + batch_size])[0]
