"""Ordering: messages come back in the order in which they were added."""

from __future__ import annotations

import time

from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage

from conformance import strategies
from conformance.catalogue import HANDLES, ONE_HANDLE, contract
from conformance.session import Session

Batches = list[list[BaseMessage]]

_ADD_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.add_messages"
_MESSAGES = "langchain_core/chat_history.py, BaseChatMessageHistory.messages"


@contract(
    "ordering.within_batch",
    rule="The messages of one `add_messages` call come back in the order of the sequence passed.",
    source=f"{_ADD_MESSAGES}: takes a sequence, and a conversation is its order",
    cause="every message of a batch gets the same timestamp or score, and reading sorts by it; or "
    "the batch is spread over partitions",
    remedy="order by a counter that the store keeps (an identity column, an offset, a list index), "
    "not by time",
    seen="langchain-community KafkaChatMessageHistory: a batch is spread over three partitions",
    program=strategies.batches(max_batches=1, max_size=12),
)
def the_messages_of_one_batch_come_back_in_order(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()


@contract(
    "ordering.across_calls",
    rule="Messages come back in the order in which the calls that added them returned.",
    source=f"{_MESSAGES}: the history of the message interactions",
    cause="reading sorts by something else than the order of acceptance, newest first perhaps",
    remedy="order by what the store assigned on acceptance, ascending",
    seen="convention: every chat prompt built from a history rests on it",
    program=strategies.batches(max_size=2),
)
def messages_come_back_in_the_order_of_the_calls(s: Session, batches: Batches) -> None:
    a = s.open()
    for batch in batches:
        a.add(batch)
    a.reads_back()
