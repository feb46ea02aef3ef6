"""Ordering: messages come back in the order in which they were added."""

from __future__ import annotations

import time
from collections.abc import Iterable

from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, MIXED, SYNC, contract
from chat_history_conformance.diagnosis.compare import Snapshot
from chat_history_conformance.execution.session import Handle, Ref, Session

Batches = list[list[BaseMessage]]

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"

LENGTHS = (10, 25, 50, 100, 101, 500, 1000, 1001)
"""At and just past what stores return or take at once when nobody asks for more."""
_AT_ONCE = 77
_OF_ONE_TIME = 13 * _AT_ONCE
"""Past a page of 1,000."""


@contract(
    "ordering.within_batch",
    rule="The messages of one `add_messages` call come back in the order of the sequence passed.",
    source=f"{_ADD_MESSAGES}: takes a sequence, and a conversation is its order",
    cause="every message of a batch gets the same timestamp or score, and reading sorts by it; or "
    "the batch is spread over partitions",
    remedy="order by a counter that the store keeps (an identity column, an offset, a list index), "
    "not by time",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: a batch is spread over three "
    "partitions, as its messages are produced without a key",
    program=strategies.batches(max_batches=1, max_size=12),
)
def the_messages_of_one_batch_come_back_in_order(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()


@contract(
    "ordering.across_calls",
    rule="Messages come back in the order in which the calls that added them returned, "
    "synchronous and asynchronous calls alike.",
    source=f"{_MESSAGES}: the history of the message interactions",
    cause="reading sorts by something else than the order of acceptance, newest first perhaps",
    remedy="order by what the store assigned on acceptance, ascending",
    seen="langchain-ai/langchain#2167 https://github.com/langchain-ai/langchain/pull/2167 and "
    "langchain-arangodb 2.1.0, chat_message_histories/arangodb.py: newest first; "
    "langchain-ai/langchain#6829 https://github.com/langchain-ai/langchain/issues/6829: no order",
    program=strategies.batches(max_size=2),
)
def messages_come_back_in_the_order_of_the_calls(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()


@contract(
    "ordering.mixed_adds",
    rule="`add_message`, `add_messages`, `add_user_message` and `add_ai_message` write to one "
    "conversation: whichever way messages were added, they come back in the order of the calls.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.add_user_message: a convenience "
    "for the bulk interface",
    cause="the ways of adding do not share one path: one of them buffers, keeps a counter of its "
    "own, or writes to another place",
    remedy="implement `add_messages` alone, and let the inherited methods call it",
    seen="langchain-ai/langchainjs#7255 https://github.com/langchain-ai/langchainjs/issues/7255: "
    "the message of the user is added after what followed it",
    modes=(SYNC, MIXED),
    program=st.lists(st.sampled_from(["one", "batch", "user", "ai"]), min_size=1, max_size=8),
)
def all_ways_of_adding_write_to_one_conversation(s: Session, ways: list[str]) -> None:
    a = s.open()
    for number, way in enumerate(ways):
        content = f"m{number}"
        if way == "one":
            a.add_one(HumanMessage(content))
        elif way == "batch":
            a.add([HumanMessage(content), AIMessage(f"{content}, answered")])
        elif way == "user":
            a.add_user(content)
        else:
            a.add_ai(content)
    a.reads_back()


@contract(
    "ordering.across_handles",
    rule="Where one handle adds after another handle's add has returned, its messages stand behind "
    "the other's, for every reader.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: a conversation is "
    "served by whichever worker is free",
    cause="each handle counts its own messages, or stamps them with a clock of its own, or writes "
    "back a copy that it loaded before",
    remedy="let the store assign the order, per session and not per handle",
    seen="langchain-couchbase 1.1.1, chat_message_histories.py: the order is that of the writers' "
    "wall clocks",
    needs=("shared",),
    modes=HANDLES,
    program=strategies.batches(min_batches=2, max_batches=6, max_size=2),
)
def handles_that_take_turns_write_one_order(s: Session, batches: Batches) -> None:
    handles = [s.open(), s.open()]
    for number, batch in enumerate(batches):
        handles[number % 2].add(batch)
    for handle in handles:
        handle.reads_back()


@contract(
    "ordering.clock_stands_still",
    rule="Messages added while the client's wall clock does not move come back in the order of "
    "their calls: the order of a conversation is not the resolution of a clock.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: clocks tick every "
    "16 ms on some systems, and databases round times to seconds",
    cause="reading sorts by a timestamp alone, or by a timestamp and then something random (an "
    "UUID, an ULID)",
    remedy="order by a counter that the store keeps; where it must be a time, break ties by one",
    seen="openai/openai-agents-python#1900 "
    "https://github.com/openai/openai-agents-python/issues/1900; langchain-google-spanner 0.10.0, "
    "chat_message_history.py: ties fall to a random UUID",
    modes=(SYNC, ASYNC),
    program=strategies.batches(min_batches=3, max_batches=8, max_size=3),
)
def the_order_does_not_need_a_clock_that_moves(s: Session, batches: Batches) -> None:
    a = s.open()
    with s.clock(a, float(int(time.time()))):
        for batch in batches:
            a.add(batch)
    a.reads_back()


@contract(
    "ordering.clock_steps_back",
    rule="Messages added after the client's wall clock was set back stand behind those that were "
    "added before.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: time "
    "synchronisation sets clocks back, and the clocks of two machines differ",
    cause="reading sorts by the writer's wall clock",
    remedy="order by what the store assigned on acceptance; keep the time as information",
    seen="langchain-couchbase 1.1.1 and langchain-astradb 1.0.0, chat_message_histories.py: sorted "
    "by time.time() of the writer",
    modes=(SYNC, ASYNC),
    program=strategies.batches(min_batches=2, max_batches=4, max_size=2),
)
def the_order_does_not_follow_a_clock_that_steps_back(s: Session, batches: Batches) -> None:
    a = s.open()
    now = float(int(time.time()))
    for number, batch in enumerate(batches):
        with s.clock(a, now - 5 * number):
            a.add(batch)
    a.reads_back()


@contract(
    "ordering.equal_messages",
    rule="Messages that are equal in all fields, ids included, are kept each in its own place "
    "among the others, as often as they were added.",
    source=f"{_ADD_MESSAGES}: adds what it is given; nothing says that messages are a set",
    cause="a key, or the place of a message, is made from its content or id, so that the second "
    "one replaces or joins the first",
    remedy="give each stored message a key of its own, made from nothing in the message",
    seen="haystack-experimental 0.19.0.post1, in_memory.py write_messages: what has a known id is "
    "left out; microsoft/agent-framework#7242 "
    "https://github.com/microsoft/agent-framework/pull/7242: equal contents are left out",
    program=st.lists(
        st.lists(st.sampled_from(["yes", "no", "why?"]), min_size=1, max_size=4),
        min_size=2,
        max_size=4,
    ),
)
def equal_messages_keep_their_places(s: Session, words: list[list[str]]) -> None:
    a = s.open()
    for batch in words:
        a.add([HumanMessage(word, id=f"id of {word}") for word in batch])
    a.reads_back()


@contract(
    "ordering.prefix_stability",
    rule="What a read returned is the beginning of what every later read returns, until the "
    "session is cleared or messages expire: a later add changes nothing before it.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: prompt caches and "
    "summaries rest on what was said before staying as it was",
    cause="each add writes the whole conversation again, with fresh keys or times; or the order "
    "is left to the store",
    remedy="append; never touch what is stored",
    seen="spring-projects/spring-ai#3149 "
    "https://github.com/spring-projects/spring-ai/issues/3149: every save restamps all messages",
    program=strategies.batches(min_batches=2, max_batches=5, max_size=3),
)
def a_later_read_extends_an_earlier_one(s: Session, batches: Batches) -> None:
    a = s.open()
    earlier: list[Snapshot] = []
    for batch in batches:
        a.add(batch)
        later = a.read()
        a.expect(later[: len(earlier)], earlier, variable=f"{a.last_variable}[:{len(earlier)}]")
        earlier = [Snapshot(message) for message in later]


@contract(
    "ordering.long_history",
    rule="A conversation comes back whole and in order however long it is: its length is no "
    "multiple of, and not bounded by, what a store returns at once.",
    source=f"{_MESSAGES}: a list of messages, without a limit",
    cause="the read asks for one page (10, 25, 100, 1,000 items by default) and never for the "
    "next; or the border of two pages is lost, repeated or sorted by text (`m10` before `m9`)",
    remedy="read page after page until the store says that there is no more, by a position that "
    "does not shift",
    seen="langchain-ai/langchain-elastic#48 "
    "https://github.com/langchain-ai/langchain-elastic/issues/48: the 10 hits of a default page; "
    "openchamber/openchamber#2904 https://github.com/openchamber/openchamber/issues/2904: the "
    "order breaks where a textual id rolls over",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_long_history_comes_back_whole(s: Session, program: None) -> None:
    a = s.open()
    reached = 0
    for length in LENGTHS:
        _add_numbered(s, a, range(reached, length))
        a.reads_back()
        reached = length


@contract(
    "ordering.pages_of_one_time",
    rule="A long conversation comes back whole and in order when the client's wall clock did not "
    f"move while it was written: {_OF_ONE_TIME:,} messages of one time are tried.",
    source=f"{_MESSAGES}: a list of messages, without a limit; convention: several handles of a "
    "conversation, or a fast import, write many messages in one tick of a clock",
    cause="a read goes on, page after page, behind the time of the last message of a page: what "
    "has the same time and was not on that page is skipped",
    remedy="go on from a position that no two messages share",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py, get_messages: `search_after` with "
    "`created_at` alone, in pages of 100",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_page_may_end_between_messages_of_one_time(s: Session, program: None) -> None:
    a = s.open()
    with s.clock(a, float(int(time.time()))):
        for start in range(0, _OF_ONE_TIME, _AT_ONCE):
            _add_numbered(s, a, range(start, start + _AT_ONCE))
    a.reads_back()


@contract(
    "ordering.long_batch",
    rule="A batch is stored whole and in order however many messages it has, or refused whole.",
    source=f"{_ADD_MESSAGES}: takes a sequence, without a limit",
    cause="a store takes 25, 100 or 500 items in one request, and what is beyond is cut off, or "
    "its error is not looked at; or the requests of one batch overtake each other",
    remedy="send a long batch in parts, one after the other, and check the result of each; refuse "
    "what cannot be sent before sending any of it",
    seen="convention: batch writes are bounded in most services; langchain-couchbase 1.1.1, "
    "add_messages: requests of 100",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_long_batch_is_stored_whole(s: Session, program: None) -> None:
    for size in (26, 101, 1001):
        a = s.open(f"{{nonce}}-{size}")
        _add_numbered(s, a, range(size), may_refuse=True)
        a.reads_back()


def _add_numbered(s: Session, a: Handle, numbers: range, *, may_refuse: bool = False) -> None:
    """Add messages of these numbers in one call, written down in one short line."""
    name = s.variable("batch")
    code = f"HumanMessage(f'm{{n}}') for n in range({numbers.start}, {numbers.stop})"
    s.do(f"{name} = [{code}]", lambda: None)
    batch = Ref(name, _messages(numbers))
    if may_refuse:
        a.try_add(batch)
    else:
        a.add(batch)


def _messages(numbers: Iterable[int]) -> list[BaseMessage]:
    return [HumanMessage(f"m{number}") for number in numbers]
