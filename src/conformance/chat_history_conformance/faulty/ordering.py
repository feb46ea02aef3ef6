"""Histories that return messages in a wrong order, or not all of them."""

from __future__ import annotations

import hashlib
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
    """Returns the newest message first."""

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
    """Pushes a batch onto the head of a list in one command, which reverses the batch."""

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
    """Spreads messages over three partitions, and reads the partitions one after the other."""

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
    """Queries without ORDER BY, so that an index on the message decides the order."""

    def _fetch(self, last: int | None = None) -> list[Any]:
        return sorted(super()._fetch(last), key=lambda record: bytes(record[1]))


@faulty(
    "ordering.users_last",
    breaks="ordering.mixed_adds",
    kind="reordered",
    seen="langchain-ai/langchainjs#7255 https://github.com/langchain-ai/langchainjs/issues/7255",
)
class UsersLast(MemoryChatMessageHistory):
    """Holds a message of `add_user_message` back until the next other add or read."""

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
    """Stores a key with each message, and reads messages in the order of their keys."""

    def key(self, place: int) -> Any:
        """Return the key of the message at this place of a batch."""
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
        """Return the messages that a read returns, given all messages in order."""
        return found


@faulty(
    "ordering.counted_by_handle",
    breaks="ordering.across_handles",
    kind="reordered",
    seen=INVENTED,
    control="sqlite",
)
class CountedByHandle(_Numbered):
    """Numbers the messages of each handle separately, starting with 1."""

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
    """Sorts by a time that grows by 1 µs per message of a batch, and then by a random id."""

    _count = 0

    def key(self, place: int) -> Any:
        self._count += 1
        # The digest of a counter is as good as a random id, and a script shows the same order.
        identifier = hashlib.blake2b(str(self._count).encode(), digest_size=8).hexdigest()
        return time.time_ns() + place * 1_000, identifier


@faulty(
    "ordering.wall_clock",
    breaks="ordering.clock_steps_back",
    kind="reordered",
    seen="langchain-couchbase 1.1.1 and langchain-astradb 1.0.0, chat_message_histories.py",
    control="sqlite",
)
class WallClock(_Numbered):
    """Sorts by the writer's wall clock."""

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
    """Reads pages of 100 messages, each beginning after the time of the last message."""

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
    """Sorts by a time in whole seconds, and by the text within one second."""

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
    """Counts a repeated message, and returns all its copies at the place of the first."""

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
    """Does not store a message whose id is already in the history."""

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
    """Rewrites the whole conversation on each add, and reverses the older messages."""

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
    """Reads only the first page of the store's answer."""

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
    """Sorts by counters that are compared as text, padded to two digits."""

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
    """Returns the last message of each page of 100 again at the start of the next page."""

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
    """Sends only the first 500 messages of a batch."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(list(messages)[:500])


@faulty(
    "ordering.overtaking_requests",
    breaks="ordering.long_batch",
    kind="reordered",
    seen=INVENTED,
)
class OvertakingRequests(MemoryChatMessageHistory):
    """Sends a long batch in requests of 25 messages, the last of which arrives first."""

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        for start in reversed(range(0, len(messages), 25)):
            super().add_messages(messages[start : start + 25])


@faulty(
    "ordering.first_megabyte",
    breaks="ordering.many_bytes",
    kind="lost",
    seen="aws-samples/bedrock-chat#80: a query answers with at most 1 MB",
)
class FirstMegabyte(MemoryChatMessageHistory):
    """Reads the first page of the store's answer, which has at most 1 MB."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        page: list[BaseMessage] = []
        size = 0
        for message in super().messages:
            size += len(str(message.content))
            if size > 1_000_000 and page:
                break
            page.append(message)
        return page


class _Once(MemoryChatMessageHistory):
    """Leaves out a message whose key the session has already."""

    @staticmethod
    def key(message: BaseMessage) -> str | None:
        """Return what must be unique; None for nothing."""
        raise NotImplementedError

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        known = {self.key(message) for message in self.messages}
        fresh = []
        for message in messages:
            key = self.key(message)
            if key is None or key not in known:
                fresh.append(message)
                known.add(key)
        super().add_messages(fresh)


@faulty(
    "ordering.one_ai_message_per_id",
    breaks="ordering.equal_messages",
    kind="lost",
    seen=INVENTED,
)
class OneAIMessagePerId(_Once):
    """Leaves out an AI message whose id the session has already."""

    @staticmethod
    def key(message: BaseMessage) -> str | None:
        return message.id if message.type == "ai" else None


@faulty(
    "ordering.one_result_per_call",
    breaks="ordering.equal_messages",
    kind="lost",
    seen=INVENTED,
)
class OneResultPerCall(_Once):
    """Leaves out a tool message whose tool call has a result already."""

    @staticmethod
    def key(message: BaseMessage) -> str | None:
        return getattr(message, "tool_call_id", None)
