"""Broken histories whose bounded reads do not keep their bounds."""

from __future__ import annotations

import asyncio
import math
import time

from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.faulty import INVENTED, faulty

Messages = list[BaseMessage]


@faulty(
    "bounded.one_too_many",
    breaks="bounded.count_from_beginning",
    kind="wrong_bound",
    seen="neo4j-graphrag 1.22.0, message_history.py, GET_MESSAGES_QUERY: 0..2k hops are 2k+1 nodes",
)
class OneTooMany(MemoryChatMessageHistory):
    """Returns n + 1 messages for a read of the n oldest."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        more = max_message_count + 1 if max_message_count else max_message_count
        return super().messages_from_beginning(more, max_time_sec)


@faulty(
    "bounded.newest_from_beginning",
    breaks="bounded.count_from_beginning",
    kind="wrong_bound",
    seen=INVENTED,
)
class NewestFromBeginning(MemoryChatMessageHistory):
    """Returns the newest messages for a bounded read from the beginning."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_beginning(None, max_time_sec)
        return messages[-max_message_count:] if max_message_count else messages[:max_message_count]


@faulty(
    "bounded.limit_keeps_oldest",
    breaks="bounded.count_of_last",
    kind="wrong_bound",
    seen="yaalalabs/agent-kernel#739 [BUG] OpenAISession.get_items(limit) returns oldest items "
    "instead of latest, https://github.com/yaalalabs/agent-kernel/issues/739",
)
class LimitKeepsOldest(MemoryChatMessageHistory):
    """Returns the oldest messages from `last_messages`."""

    def last_messages(self, max_message_count: int) -> Messages:
        super().last_messages(max_message_count)
        return self.messages[:max_message_count]


@faulty(
    "bounded.last_newest_first", breaks="bounded.count_of_last", kind="reordered", seen=INVENTED
)
class LastNewestFirst(MemoryChatMessageHistory):
    """Returns the newest message first from `last_messages`."""

    def last_messages(self, max_message_count: int) -> Messages:
        return super().last_messages(max_message_count)[::-1]


@faulty(
    "bounded.whole_pages",
    breaks="bounded.count_of_consumed",
    kind="wrong_bound",
    seen=INVENTED,
)
class WholePages(MemoryChatMessageHistory):
    """Returns whole pages of two messages from a consuming read."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        odd = 0 if max_message_count is None else max_message_count % 2
        return super().messages_from_last_consumed(
            max_message_count and max_message_count + odd, max_time_sec
        )


@faulty(
    "bounded.zero_is_unlimited",
    breaks="bounded.zero",
    kind="wrong_bound",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py: `if self.history_size:`",
)
class ZeroIsUnlimited(MemoryChatMessageHistory):
    """Takes a count of 0 for no bound."""

    def last_messages(self, max_message_count: int) -> Messages:
        return super().last_messages(max_message_count) if max_message_count else self.messages


@faulty(
    "bounded.zero_is_one",
    breaks="bounded.zero",
    kind="wrong_bound",
    seen="openai/openai-agents-python#3244 fix(sessions): return [] for non-positive limits, "
    "https://github.com/openai/openai-agents-python/pull/3244",
)
class ZeroIsOne(MemoryChatMessageHistory):
    """Checks the count after taking a message, so a count of 0 returns one message."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        return super().messages_from_beginning(
            1 if max_message_count == 0 else max_message_count, max_time_sec
        )


@faulty(
    "bounded.zero_consumes",
    breaks="bounded.zero_consumes_nothing",
    kind="lost",
    seen=INVENTED,
)
class ZeroConsumes(MemoryChatMessageHistory):
    """Fetches one message on a consuming read of 0, drops it and moves past it."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        if max_message_count == 0:
            super().messages_from_last_consumed(1, max_time_sec)
        return super().messages_from_last_consumed(max_message_count, max_time_sec)


@faulty(
    "bounded.negative_is_all",
    breaks="bounded.nonsense_refused",
    kind="wrong_bound",
    seen="openai/openai-agents-python#4997 fix(memory): reject negative get_items limit, "
    "https://github.com/openai/openai-agents-python/pull/4997",
)
class NegativeIsAll(MemoryChatMessageHistory):
    """Takes a negative count for all messages, as LIMIT -1 does in SQLite."""

    def last_messages(self, max_message_count: int) -> Messages:
        if isinstance(max_message_count, int) and max_message_count < 0:
            return self.messages
        return super().last_messages(max_message_count)


@faulty("bounded.nan_seconds", breaks="bounded.nonsense_refused", kind="wrong_bound", seen=INVENTED)
class NaNSeconds(MemoryChatMessageHistory):
    """Takes a time of NaN for no bound."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        if isinstance(max_time_sec, float) and math.isnan(max_time_sec):
            max_time_sec = None
        return super().messages_from_beginning(max_message_count, max_time_sec)


@faulty(
    "bounded.own_time_out_when_empty",
    breaks="bounded.time_on_empty",
    kind="wrong_bound",
    seen=INVENTED,
)
class OwnTimeOutWhenEmpty(MemoryChatMessageHistory):
    """Polls an empty history once, with its own timeout instead of the caller's."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        if not self.messages:
            time.sleep(1.8)
        return super().messages_from_beginning(max_message_count, max_time_sec)


@faulty(
    "bounded.in_time_the_newest",
    breaks="bounded.time_on_long",
    kind="wrong_bound",
    seen=INVENTED,
)
class InTimeTheNewest(MemoryChatMessageHistory):
    """Reads pages from the newest back, so a short time bound loses the oldest messages."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_beginning(max_message_count, None)
        in_time = 10**9 if max_time_sec is None else int(max_time_sec * 100_000)
        return messages[-in_time:] if in_time else []


@faulty(
    "bounded.deadline_between_pages",
    breaks="bounded.time_on_long",
    kind="wrong_bound",
    seen=INVENTED,
)
class DeadlineBetweenPages(MemoryChatMessageHistory):
    """Decodes a slow page of hundreds of messages to its end without checking the time."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_beginning(max_message_count, max_time_sec)
        time.sleep(1.8 if len(self.last_messages(200)) == 200 else 0)
        return messages


@faulty(
    "bounded.consumes_what_it_fetched",
    breaks="bounded.time_consumes_what_it_gives",
    kind="lost",
    seen=INVENTED,
)
class ConsumesWhatItFetched(MemoryChatMessageHistory):
    """Moves the position past all fetched messages when the time of a read is up."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_last_consumed(max_message_count, None)
        in_time = 10**9 if max_time_sec is None else int(max_time_sec * 10_000)
        return messages[:in_time]


@faulty(
    "bounded.waits_for_silence",
    breaks="bounded.no_wait",
    kind="wrong_bound",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py, __read_messages: keeps "
    "polling until the count or the time is reached",
)
class WaitsForSilence(MemoryChatMessageHistory):
    """Waits for the whole time of a consuming read if fewer messages are left than asked for."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 0.0
    ) -> Messages:
        messages = super().messages_from_last_consumed(max_message_count, max_time_sec or None)
        if max_time_sec and max_message_count and len(messages) < max_message_count:
            time.sleep(max_time_sec)
        return messages


@faulty(
    "bounded.page_of_a_hundred", breaks="bounded.count_of_many", kind="wrong_bound", seen=INVENTED
)
class PageOfAHundred(MemoryChatMessageHistory):
    """Cuts a count of over 100 to one page of 100."""

    def last_messages(self, max_message_count: int) -> Messages:
        return super().last_messages(min(max_message_count, 100))


@faulty("bounded.time_hides_count", breaks="bounded.both_bounds", kind="wrong_bound", seen=INVENTED)
class TimeHidesCount(MemoryChatMessageHistory):
    """Ignores the count if a time is given."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = None
    ) -> Messages:
        if max_time_sec and max_time_sec > 5:
            max_message_count = None
        return super().messages_from_beginning(max_message_count, max_time_sec)


@faulty("bounded.count_of_31_bits", breaks="bounded.unhit_bound", kind="wrong_bound", seen=INVENTED)
class CountOf31Bits(MemoryChatMessageHistory):
    """Overflows the 32-bit integer of the store with a large count."""

    def last_messages(self, max_message_count: int) -> Messages:
        return super().last_messages(max_message_count % 2**31)


@faulty(
    "bounded.full_pages_only",
    breaks="bounded.unhit_bound",
    kind="wrong_bound",
    seen=INVENTED,
)
class FullPagesOnly(MemoryChatMessageHistory):
    """Returns only full pages of 100 messages for a large count."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_beginning(max_message_count, max_time_sec)
        if (max_message_count or 0) > 1000:
            return messages[: len(messages) // 100 * 100]
        return messages


@faulty(
    "bounded.small_default_window",
    breaks="bounded.no_bound",
    kind="wrong_bound",
    seen="langchain-neo4j 0.11.0: window=3 by default; haystack-experimental 0.19.0.post1: "
    "last_k=10",
)
class SmallDefaultWindow(MemoryChatMessageHistory):
    """Replaces a count of None by a default count."""

    def messages_from_beginning(
        self, max_message_count: int | None = None, max_time_sec: float | None = 5.0
    ) -> Messages:
        return super().messages_from_beginning(
            5 if max_message_count is None else max_message_count, max_time_sec
        )


@faulty("bounded.end_after_the_wait", breaks="bounded.latest_waits", kind="lost", seen=INVENTED)
class EndAfterTheWait(MemoryChatMessageHistory):
    """Waits first in `messages_from_latest`, and then looks up the end of the history."""

    def messages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        time.sleep(min(max_time_sec or 0, 0.5))
        return super().messages_from_latest(max_message_count, 0.0)

    async def amessages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        await asyncio.sleep(min(max_time_sec or 0, 0.5))
        return await super().amessages_from_latest(max_message_count, 0.0)


@faulty(
    "bounded.latest_from_position",
    breaks="bounded.latest_skips_the_past",
    kind="wrong_bound",
    seen=INVENTED,
)
class LatestFromPosition(MemoryChatMessageHistory):
    """Continues from the last consumed message in `messages_from_latest`."""

    def messages_from_latest(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        unread = self.messages_from_last_consumed(max_message_count, None)
        return unread or super().messages_from_latest(max_message_count, max_time_sec)


@faulty(
    "bounded.last_by_consuming",
    breaks="bounded.last_moves_nothing",
    kind="lost",
    seen=INVENTED,
)
class LastByConsuming(MemoryChatMessageHistory):
    """Reads all messages with the consuming reader in `last_messages`."""

    def last_messages(self, max_message_count: int) -> Messages:
        last = super().last_messages(max_message_count)
        self.messages_from_beginning(None, None)
        return last


@faulty(
    "bounded.bound_on_storage",
    breaks="bounded.removes_nothing",
    kind="lost",
    seen="langchain-community 0.4.2, chat_message_histories/dynamodb.py add_messages: stores only "
    "existing_messages[-self.history_size:]",
)
class BoundOnStorage(MemoryChatMessageHistory):
    """Cuts the stored messages to those that `last_messages` returns."""

    def last_messages(self, max_message_count: int) -> Messages:
        last = super().last_messages(max_message_count)
        del self._store._sessions[self.session_id].records[: -len(last) or None]
        return last


@faulty(
    "bounded.delivered_is_deleted",
    breaks="bounded.removes_nothing",
    kind="lost",
    seen=INVENTED,
)
class DeliveredIsDeleted(MemoryChatMessageHistory):
    """Deletes the messages that a consuming read returns, as a queue does."""

    def messages_from_last_consumed(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        messages = super().messages_from_last_consumed(max_message_count, max_time_sec)
        session = self._store._sessions.get(self.session_id)
        if session:
            session.records[:] = [r for r in session.records if r.position > session.position]
        return messages


@faulty(
    "bounded.window_counts_all_sessions",
    breaks="bounded.other_sessions",
    kind="wrong_bound",
    seen="langchain-ai/langchain-mongodb#12 Bug in MongoDBChatMessageHistory, "
    "https://github.com/langchain-ai/langchain-mongodb/issues/12",
)
class WindowCountsAllSessions(MemoryChatMessageHistory):
    """Computes the number to skip in `last_messages` from the messages of all sessions."""

    def last_messages(self, max_message_count: int) -> Messages:
        super().last_messages(max_message_count)
        total = sum(len(session.records) for session in self._store._sessions.values())
        return self.messages[max(0, total - max_message_count) :][:max_message_count]


@faulty(
    "bounded.one_short_of_a_page",
    breaks="bounded.count_of_many",
    kind="wrong_bound",
    seen=INVENTED,
)
class OneShortOfAPage(MemoryChatMessageHistory):
    """Returns one message too few from `last_messages` if the count is a multiple of 64."""

    def last_messages(self, max_message_count: int) -> Messages:
        found = super().last_messages(max_message_count)
        return (
            found[1:]
            if found and len(found) == max_message_count and not len(found) % 64
            else found
        )


@faulty(
    "bounded.whole_seconds",
    breaks="bounded.both_bounds",
    kind="wrong_bound",
    seen=INVENTED,
)
class WholeSeconds(MemoryChatMessageHistory):
    """Cuts the time bound to whole seconds, and then has no time for a read."""

    def messages_from_beginning(
        self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
    ) -> Messages:
        found = super().messages_from_beginning(max_message_count, max_time_sec)
        return [] if max_time_sec is not None and max_time_sec < 1 else found


@faulty(
    "bounded.pages_by_offset",
    breaks="bounded.while_messages_arrive",
    kind="wrong_bound",
    seen="Shivayan09/Vector#538: offset pages repeat messages when new ones arrive between them",
)
class PagesByOffset(MemoryChatMessageHistory):
    """Reads `last_messages` in pages of 20 by offset from the newest message."""

    def last_messages(self, max_message_count: int) -> Messages:
        found: Messages = []
        super().last_messages(max_message_count)
        while len(found) < max_message_count:
            newest_first = super().last_messages(len(found) + 20)[::-1]
            page = newest_first[len(found) :]
            found += page
            if len(page) < 20:
                break
            time.sleep(0.001)
        return found[:max_message_count][::-1]
