"""Histories that return messages in another order than they were added in, or not all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.sqlite import SQLiteChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty


@faulty(
    "ordering.newest_first",
    breaks="ordering.across_calls",
    kind="reordered",
    seen="langchain-ai/langchain#2167 https://github.com/langchain-ai/langchain/pull/2167; "
    "langchain-arangodb 2.1.0, chat_message_histories/arangodb.py",
)
class NewestFirst(MemoryChatMessageHistory):
    """`messages` lists the newest message first."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages[::-1]


@faulty(
    "ordering.batch_reversed",
    breaks="ordering.within_batch",
    kind="reordered",
    seen="run-llama/llama_index#22963 https://github.com/run-llama/llama_index/pull/22963",
)
class BatchReversed(MemoryChatMessageHistory):
    """A batch is pushed at the head of a list in one command, which turns it round."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(list(messages)[::-1])


@faulty(
    "ordering.partitions",
    breaks="ordering.within_batch",
    kind="reordered",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: DEFAULT_PARTITION = 3, "
    "produced without a key",
)
class Partitioned(MemoryChatMessageHistory):
    """Messages are spread over three partitions, which are read one after the other."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        found = super().messages
        return [*found[0::3], *found[1::3], *found[2::3]]


@faulty(
    "ordering.by_content",
    breaks="ordering.across_calls",
    kind="reordered",
    seen="langchain-ai/langchain#6829 https://github.com/langchain-ai/langchain/issues/6829; "
    "langchain-community 0.4.2, chat_message_histories/singlestoredb.py",
    control="sqlite",
)
class NoOrderBy(SQLiteChatMessageHistory):
    """The query has no ORDER BY and is answered from an index on the message."""

    def _fetch(self, last: int | None = None) -> list[Any]:
        return sorted(super()._fetch(last), key=lambda record: bytes(record[1]))


@faulty(
    "ordering.users_last",
    breaks="ordering.mixed_adds",
    kind="reordered",
    seen="langchain-ai/langchainjs#7255 https://github.com/langchain-ai/langchainjs/issues/7255",
)
class UsersLast(MemoryChatMessageHistory):
    """`add_user_message` keeps its message back until something else was added, or is read."""

    _waiting: tuple[BaseMessage, ...] = ()

    def add_user_message(self, message: HumanMessage | str) -> None:
        text = message if isinstance(message, str) else message.content
        self._waiting += (HumanMessage(text),)

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        waiting, self._waiting = self._waiting, ()
        super().add_messages([*messages, *waiting])

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        self.add_messages([])
        return super().messages


class _Numbered(SQLiteChatMessageHistory):
    """Messages carry a key in the store; they are read in the order of the keys."""

    def key(self, place: int) -> Any:
        """What the message at this place of a batch is sorted by."""
        raise NotImplementedError

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(
            [
                message.model_copy(update={"sort_key": self.key(place)})
                for place, message in enumerate(messages)
            ]
        )

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        stored: list[Any] = super().messages
        found = self.pages(sorted(stored, key=lambda message: message.sort_key))
        for message in found:
            del message.sort_key
        return found

    def pages(self, found: list[Any]) -> list[Any]:
        """What a read gets to see of all messages in their order."""
        return found


@faulty(
    "ordering.counted_by_handle",
    breaks="ordering.across_handles",
    kind="reordered",
    seen=INVENTED,
    control="sqlite",
)
class CountedByHandle(_Numbered):
    """Each handle numbers the messages that it adds, beginning with 0."""

    _count = 0

    def key(self, place: int) -> Any:
        self._count += 1
        return self._count


@faulty(
    "ordering.timestamp_ties",
    breaks="ordering.clock_stands_still",
    kind="reordered",
    seen="langchain-google-spanner 0.10.0, chat_message_history.py; langchain-cockroachdb 0.5.0, "
    "chat_message_histories.py: equal times fall to the order of random ids",
    control="sqlite",
)
class TimestampTies(_Numbered):
    """The order is that of a time, one microsecond apart in a batch, and then of a random id."""

    def key(self, place: int) -> Any:
        return time.time_ns() + place * 1_000, random.random()


@faulty(
    "ordering.wall_clock",
    breaks="ordering.clock_steps_back",
    kind="reordered",
    seen="langchain-couchbase 1.1.1 and langchain-astradb 1.0.0, chat_message_histories.py",
    control="sqlite",
)
class WallClock(_Numbered):
    """The order is that of the writer's wall clock."""

    def key(self, place: int) -> Any:
        return time.time() * 1000


@faulty(
    "ordering.pages_by_time",
    breaks="ordering.pages_of_one_time",
    kind="lost",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py, get_messages: `search_after` with "
    "`created_at` alone",
    control="sqlite",
)
class PagesByTime(_Numbered):
    """Pages of 100 in the order of a time; the next one is what has a later time than the last."""

    def key(self, place: int) -> Any:
        return time.time_ns() // 1_000_000

    def pages(self, found: list[Any]) -> list[Any]:
        read: list[Any] = []
        while page := [m for m in found if not read or m.sort_key > read[-1].sort_key][:100]:
            read += page
        return read


@faulty(
    "ordering.whole_seconds",
    breaks="ordering.clock_stands_still",
    kind="reordered",
    seen="spring-projects/spring-ai#3442 https://github.com/spring-projects/spring-ai/issues/3442",
)
class WholeSeconds(MemoryChatMessageHistory):
    """The order is that of a time in whole seconds, and of the text within one second."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        found: list[Any] = sorted(super().messages, key=lambda m: (m.second, str(m.content)[::-1]))
        for message in found:
            del message.second
        return found

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        second = int(time.time())
        super().add_messages([m.model_copy(update={"second": second}) for m in messages])


@faulty(
    "ordering.joined_by_content",
    breaks="ordering.equal_messages",
    kind="reordered",
    seen=INVENTED,
)
class JoinedByContent(MemoryChatMessageHistory):
    """A message that was there already is counted up, and read as often at its first place."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        found = super().messages
        texts = [str(message.content) for message in found]
        return sorted(found, key=lambda message: texts.index(str(message.content)))


@faulty(
    "ordering.known_ids_left_out",
    breaks="ordering.equal_messages",
    kind="lost",
    seen="haystack-experimental 0.19.0.post1, in_memory.py, write_messages",
)
class KnownIdsLeftOut(MemoryChatMessageHistory):
    """A message whose id is in the history already is not stored."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for message in messages:
            if message.id is None or message.id not in [known.id for known in self.messages]:
                super().add_messages([message])


@faulty(
    "ordering.restamped",
    breaks="ordering.prefix_stability",
    kind="reordered",
    seen="spring-projects/spring-ai#3149 https://github.com/spring-projects/spring-ai/issues/3149",
)
class Restamped(MemoryChatMessageHistory):
    """Each add writes the whole conversation again, what was there in the wrong order."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        rewritten = [*self.messages[::-1], *messages]
        self.clear()
        super().add_messages(rewritten)


@faulty(
    "ordering.first_page",
    breaks="ordering.long_history",
    kind="lost",
    seen="langchain-ai/langchain-elastic#48 "
    "https://github.com/langchain-ai/langchain-elastic/issues/48 (10 messages); langchain-redis "
    "0.2.6 (10,000); here 1,000",
)
class FirstPage(MemoryChatMessageHistory):
    """Only the first page of the store's answer is read."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages[:1000]


@faulty(
    "ordering.sorted_as_text",
    breaks="ordering.long_history",
    kind="reordered",
    seen="openchamber/openchamber#2904 https://github.com/openchamber/openchamber/issues/2904",
    control="sqlite",
)
class SortedAsText(SQLiteChatMessageHistory):
    """The order is that of counters that are compared as text, padded to two digits."""

    def _fetch(self, last: int | None = None) -> list[Any]:
        numbered = [(f"{n:02}", record) for n, record in enumerate(super()._fetch(last))]
        return [record for _, record in sorted(numbered)]


@faulty(
    "ordering.page_border",
    breaks="ordering.long_history",
    kind="duplicated",
    seen=INVENTED,
)
class PageBorder(MemoryChatMessageHistory):
    """The last message of a page of 100 is the first of the next one, too."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        found = super().messages
        pages = [found[max(0, start - 1) : start + 100] for start in range(0, len(found), 100)]
        return [message for page in pages for message in page]


@faulty(
    "ordering.one_request",
    breaks="ordering.long_batch",
    kind="lost",
    seen=INVENTED,
)
class OneRequest(MemoryChatMessageHistory):
    """A request takes 500 messages, and what a batch has beyond that is not sent."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(list(messages)[:500])


@faulty(
    "ordering.overtaking_requests",
    breaks="ordering.long_batch",
    kind="reordered",
    seen=INVENTED,
)
class OvertakingRequests(MemoryChatMessageHistory):
    """A long batch is sent in requests of 25 messages at once, and the last one arrives first."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for start in reversed(range(0, len(messages), 25)):
            super().add_messages(messages[start : start + 25])
