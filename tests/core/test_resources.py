"""Tests of the count of threads and files that calls leave open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution.engine import PROFILES, run
from chat_history_conformance.execution.subject import Subject


class Pooled(MemoryChatMessageHistory):
    """Opens more files with some of its adds."""

    pool: ClassVar[list[int]] = []
    adds: ClassVar[int] = 0
    growing: ClassVar[range]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        super().add_messages(messages)
        type(self).adds += 1
        if self.adds in self.growing:
            self.pool.extend(os.dup(2) for _ in range(12))


@pytest.mark.parametrize(
    ("growing", "outcome"),
    [(range(10, 11), "passed"), (range(10, 1000, 10), "failed")],
    ids=["once", "again and again"],
)
def test_a_pool_may_grow_once(growing: range, outcome: str) -> None:
    Pooled.adds, Pooled.growing = 0, growing
    subject = Subject(Backend("pooled", Pooled), limit=15.0, destructive=True)
    tested = catalogue.load()["durability.calls_free_resources"]
    try:
        result = run(tested, subject, "sync", PROFILES["quick"], seed=0)
    finally:
        for file in Pooled.pool:
            os.close(file)
        Pooled.pool.clear()
    assert result.outcome == outcome
