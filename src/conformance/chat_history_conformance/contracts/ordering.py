"""Ordering: messages come back in the order in which they were added."""

from __future__ import annotations

import time

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from chat_history_conformance import strategies
from chat_history_conformance.contracts.catalogue import ASYNC, HANDLES, MIXED, SYNC, contract
from chat_history_conformance.diagnosis.compare import Snapshot
from chat_history_conformance.diagnosis.script_helpers import numbered_messages
from chat_history_conformance.execution.session import Handle, Session

Batches = list[list[BaseMessage]]

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"

LENGTHS = (10, 25, 50, 100, 101, 500, 1000, 1001)
"""Page sizes and batch limits that stores have by default, and lengths just above them."""
_MANY = 140
_LENGTH_OF_MANY = 32_000
_BYTES_OF_MANY = _MANY * _LENGTH_OF_MANY
"""More bytes than common limits of one answer: 1 MB, and 4 MiB."""
_AT_ONCE = 77
_OF_ONE_TIME = 13 * _AT_ONCE
"""One message more than a page of 1,000."""


@contract(
    "ordering.within_batch",
    rule="The messages of one `add_messages` call come back in the order of the sequence that was "
    "passed.",
    source=f"{_ADD_MESSAGES}: takes a sequence, and a conversation depends on its order",
    cause="Every message of a batch gets the same timestamp or score, and reads sort by it. Or "
    "the batch is spread over partitions.",
    remedy="Order by a counter that the store keeps (an identity column, an offset, a list "
    "index), not by time.",
    seen="langchain-community 0.4.2, chat_message_histories/kafka.py: a batch is spread over "
    "three partitions, because its messages are produced without a key",
    program=strategies.batches(max_batches=1, max_size=12),
)
def the_messages_of_one_batch_come_back_in_order(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()


@contract(
    "ordering.across_calls",
    rule="Messages come back in the order in which the calls that added them returned, for "
    "synchronous and asynchronous calls alike.",
    source=f"{_MESSAGES}: the history of the message interactions",
    cause="Reads sort by something other than the order of acceptance, or return the newest "
    "message first.",
    remedy="Order by a value that the store assigns on acceptance, ascending.",
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
    "conversation. Messages come back in the order of the calls, no matter which method added "
    "them.",
    source="langchain_core/chat_history.py, BaseChatMessageHistory.add_user_message: a convenience "
    "for the bulk interface",
    cause="The methods do not share one path: one of them buffers, keeps its own counter, or "
    "writes to another place.",
    remedy="Implement only `add_messages`, and let the inherited methods call it.",
    seen="langchain-ai/langchainjs#7255 https://github.com/langchain-ai/langchainjs/issues/7255: "
    "the user's message is added after the messages that followed it",
    modes=(SYNC, MIXED),
    program=st.lists(st.sampled_from(["one", "batch", "user", "ai"]), min_size=1, max_size=8),
)
def all_methods_for_adding_write_to_one_conversation(s: Session, ways: list[str]) -> None:
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
    rule="If one handle's add returned before another handle's add began, every reader sees the "
    "first handle's messages first. This does not depend on earlier reads of a handle.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: any free worker "
    "serves the next turn of a conversation",
    cause="Each handle counts its own messages, stamps them with its own clock, or writes back a "
    "copy that it loaded earlier.",
    remedy="Let the store assign the order, per session and not per handle.",
    seen="langchain-couchbase 1.1.1, chat_message_histories.py: the order follows the writers' "
    "wall clocks",
    needs=("shared",),
    modes=HANDLES,
    program=strategies.batches(min_batches=2, max_batches=6, max_size=2),
)
def handles_that_add_alternately_share_one_order(s: Session, batches: Batches) -> None:
    handles = [s.open(), s.open()]
    for number, batch in enumerate(batches):
        handles[number % 2].add(batch)
    for handle in handles:
        handle.reads_back()
    for number, handle in enumerate(handles):  # the second has not read the add of the first
        handle.add([HumanMessage(f"later{number}")])
    for handle in handles:
        handle.reads_back()


@contract(
    "ordering.clock_stands_still",
    rule="Messages that are added while the client's wall clock does not move come back in the "
    "order of their calls. The order of a conversation does not depend on the resolution of a "
    "clock.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: clocks tick every "
    "16 ms on some systems, and databases round times to seconds",
    cause="Reads sort only by a timestamp, or by a timestamp and then by a random value (a UUID, "
    "a ULID).",
    remedy="Order by a counter that the store keeps. If the order must follow a time, break ties "
    "with a counter.",
    seen="openai/openai-agents-python#1900 "
    "https://github.com/openai/openai-agents-python/issues/1900; langchain-google-spanner 0.10.0, "
    "chat_message_history.py: a random UUID breaks ties",
    modes=(SYNC, ASYNC),
    program=strategies.batches(min_batches=3, max_batches=8, max_size=3),
    company="alone_in_process",
)
def the_order_does_not_depend_on_a_moving_clock(s: Session, batches: Batches) -> None:
    a = s.open()
    with s.clock(a, float(int(time.time()))):
        for batch in batches:
            a.add(batch)
    a.reads_back()


@contract(
    "ordering.clock_steps_back",
    rule="Messages that are added after the client's wall clock was set back come after the "
    "messages that were added earlier.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: time "
    "synchronisation sets clocks back, and the clocks of two machines differ",
    cause="Reads sort by the writer's wall clock.",
    remedy="Order by a value that the store assigns on acceptance. Keep the time only as "
    "information.",
    seen="langchain-couchbase 1.1.1 and langchain-astradb 1.0.0, chat_message_histories.py: sorted "
    "by time.time() of the writer",
    modes=(SYNC, ASYNC),
    program=strategies.batches(min_batches=2, max_batches=4, max_size=2),
    company="alone_in_process",
)
def the_order_does_not_follow_a_clock_that_is_set_back(s: Session, batches: Batches) -> None:
    a = s.open()
    now = float(int(time.time()))
    for number, batch in enumerate(batches):
        with s.clock(a, now - 5 * number):
            a.add(batch)
    a.reads_back()


FAMILIAR: list[BaseMessage] = [
    HumanMessage("yes", id="1"),
    AIMessage("yes", id="1"),
    HumanMessage("no", id="1"),
    HumanMessage("yes"),
    AIMessage("yes"),
    AIMessage("", id="2", tool_calls=[{"name": "f", "args": {}, "id": "c", "type": "tool_call"}]),
    ToolMessage("yes", tool_call_id="c"),
    ToolMessage("no", tool_call_id="c", id="2"),
    SystemMessage("yes"),
    ChatMessage(content="yes", role="critic"),
    FunctionMessage(content="yes", name="f"),
]
"""Messages of every type that share their texts, their ids and the ids of their tool calls."""


def of_this_example(s: Session, message: BaseMessage) -> BaseMessage:
    """Return a copy whose ids belong to this example, so that no earlier one had them."""
    fresh = message.model_copy(deep=True)
    if fresh.id is not None:
        fresh.id = f"{s.nonce}-{fresh.id}"
    if isinstance(fresh, ToolMessage):
        fresh.tool_call_id = f"{s.nonce}-{fresh.tool_call_id}"
    return fresh


@contract(
    "ordering.equal_messages",
    rule="Messages that are equal in all fields, including their ids, are all kept, each at its "
    "own position, as many times as they were added.",
    source=f"{_ADD_MESSAGES}: adds the messages it receives; nothing says that they form a set",
    cause="The key or the position of a message is derived from its content or id, so that the "
    "second message replaces the first or is merged with it.",
    remedy="Give each stored message its own key, and do not derive the key from the message.",
    seen="haystack-experimental 0.19.0.post1, in_memory.py write_messages: messages with a known "
    "id are left out; microsoft/agent-framework#7242 "
    "https://github.com/microsoft/agent-framework/pull/7242: messages with equal contents are "
    "left out",
    program=st.tuples(
        st.lists(
            st.lists(st.sampled_from(["yes", "no", "why?"]), min_size=1, max_size=4),
            min_size=2,
            max_size=4,
        ),
        strategies.some_of(FAMILIAR),
    ),
)
def equal_messages_keep_their_positions(
    s: Session, program: tuple[list[list[str]], list[BaseMessage]]
) -> None:
    words, messages = program
    a = s.open()
    for batch in words:
        a.add([HumanMessage(word, id=f"{s.nonce}-{word}") for word in batch])
    for times in (1, 2):  # in two calls, and then one directly after the other
        pairs = [message for message in messages for _ in range(times)]
        a.add([of_this_example(s, message) for message in pairs])
    a.reads_back()


@contract(
    "ordering.many_bytes",
    since="0.2",
    rule=f"A conversation comes back whole however many bytes it has (tested with "
    f"{_BYTES_OF_MANY / 1_000_000:.1f} MB in {_MANY} messages), unless an add is refused with an "
    f"error because the session is full.",
    source=f"{_MESSAGES}: a list of messages, without a limit",
    cause="One answer of the store has at most 1, 4 or 10 MB. What the session has beyond that is "
    "on further pages, which the history does not request, or the read raises.",
    remedy="Read page after page until the store reports that there are no more.",
    seen="aws-samples/bedrock-chat#80: a query of DynamoDB answers with at most 1 MB",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_conversation_of_many_bytes_comes_back_complete(s: Session, program: None) -> None:
    a = s.open()
    for first in range(0, _MANY, 10):
        batch = s.do(numbered_messages, first, first + 10, _LENGTH_OF_MANY, as_=s.variable("batch"))
        a.try_add(batch)
    a.reads_back()


@contract(
    "ordering.prefix_stability",
    rule="Every later read begins with the messages that an earlier read returned, until the "
    "session is cleared or messages expire. A later add changes nothing before it.",
    source=f"{_MESSAGES}: the history of the message interactions; convention: prompt caches and "
    "summaries require that earlier messages do not change",
    cause="Each add rewrites the whole conversation with new keys or times. Or the order is left "
    "to the store.",
    remedy="Append, and never change stored records.",
    seen="spring-projects/spring-ai#3149 "
    "https://github.com/spring-projects/spring-ai/issues/3149: every save gives all messages a "
    "new time",
    program=strategies.batches(min_batches=2, max_batches=5, max_size=3),
)
def a_later_read_extends_an_earlier_one(s: Session, batches: Batches) -> None:
    a = s.open()
    earlier: list[Snapshot] = []
    for batch in batches:
        a.add(batch)
        later = a.read()
        a.expect(a.result[: len(earlier)], earlier)
        earlier = [Snapshot(message) for message in later]


@contract(
    "ordering.long_history",
    rule="A conversation comes back whole and in order, however long it is. The page size of the "
    "store does not limit its length, and its length need not be a multiple of the page size. A "
    "handle that is opened then adds at its end.",
    source=f"{_MESSAGES}: a list of messages, without a limit",
    cause="Reads request one page (10, 25, 100 or 1,000 items by default) and never the next one. "
    "Or messages at the border of two pages are lost, repeated or sorted as text (`m10` before "
    "`m9`).",
    remedy="Read page after page until the store reports that there are no more. Continue from a "
    "position that does not shift.",
    seen="langchain-ai/langchain-elastic#48 "
    "https://github.com/langchain-ai/langchain-elastic/issues/48: only the 10 hits of a default "
    "page; openchamber/openchamber#2904 https://github.com/openchamber/openchamber/issues/2904: "
    "the order breaks when a textual id rolls over",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_long_history_comes_back_complete(s: Session, program: None) -> None:
    a = s.open()
    reached = 0
    for length in LENGTHS:
        _add_numbered(s, a, range(reached, length))
        a.reads_back()
        reached = length
    if "shared" not in s.subject.backend.lacks:
        b = s.open()
        b.add([HumanMessage("later")])
        a.reads_back()
        b.reads_back()


@contract(
    "ordering.pages_of_one_time",
    rule="A long conversation comes back whole and in order even if the client's wall clock did "
    f"not move while it was written (tested with {_OF_ONE_TIME:,} messages of one time).",
    source=f"{_MESSAGES}: a list of messages, without a limit; convention: several handles of a "
    "conversation, or a fast import, write many messages in one tick of a clock",
    cause="A read requests each next page by the time of the last message of a page, so that it "
    "skips messages with the same time that were not on that page.",
    remedy="Continue from a position that no two messages share.",
    seen="langchain-elasticsearch 1.0.0, _sync/chat_history.py, get_messages: `search_after` with "
    "`created_at` alone, in pages of 100",
    modes=(SYNC, ASYNC),
    examples=1,
    company="alone_in_process",
)
def many_messages_of_one_time_come_back_complete(s: Session, program: None) -> None:
    a = s.open()
    with s.clock(a, float(int(time.time()))):
        for start in range(0, _OF_ONE_TIME, _AT_ONCE):
            _add_numbered(s, a, range(start, start + _AT_ONCE))
    a.reads_back()


@contract(
    "ordering.long_batch",
    rule="A batch is stored whole and in order, however many messages it has, or refused whole.",
    source=f"{_ADD_MESSAGES}: takes a sequence, without a limit",
    cause="The store accepts 25, 100 or 500 items in one request, and the rest is cut off or an "
    "error is ignored. Or the requests of one batch overtake each other.",
    remedy="Send a long batch in parts, one after the other, and check the result of each. If "
    "some part cannot be sent, refuse the batch before sending any of it.",
    seen="convention: most services limit batch writes; langchain-couchbase 1.1.1, add_messages: "
    "requests of 100",
    modes=(SYNC, ASYNC),
    examples=1,
)
def a_long_batch_is_stored_whole_or_refused(s: Session, program: None) -> None:
    for size in (26, 101, 1001):
        a = s.open(f"{{nonce}}-{size}")
        _add_numbered(s, a, range(size), may_refuse=True)
        a.reads_back()


def _add_numbered(s: Session, a: Handle, numbers: range, *, may_refuse: bool = False) -> None:
    """Add messages with these numbers in one call, which the steps show in one short line."""
    batch = s.do(numbered_messages, numbers.start, numbers.stop, as_=s.variable("batch"))
    if may_refuse:
        a.try_add(batch)
    else:
        a.add(batch)
