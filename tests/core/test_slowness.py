"""Tests of broken histories whose operations take longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import faulty
from chat_history_conformance.faulty import selftest, slowness
from tools import power_reports


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make operations 50 ms longer, and return the waits from now on."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setenv(slowness.VARIABLE, "50")
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(asyncio, "sleep", wait)
    return waits


def _history() -> type[MemoryChatMessageHistory]:
    class Twice(MemoryChatMessageHistory):
        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            for message in messages:
                super().add_messages([message])

    return Twice


def test_an_operation_that_calls_another_is_longer_once(slow: list[float]) -> None:
    history = slowness.slowed(_history())("1")
    history.add_messages([HumanMessage("a"), HumanMessage("b")])
    assert slow == [0.05]
    assert len(history.messages) == 2
    assert slow == [0.05, 0.05]


def test_asynchronous_operations_are_longer_too(slow: list[float]) -> None:
    history = slowness.slowed(_history())("1")
    asyncio.run(history.aadd_messages([HumanMessage("a")]))
    assert slow == [0.05]


def test_a_history_that_a_function_opens_is_longer_too(slow: list[float]) -> None:
    broken = _history()

    def opened(session_id: str) -> MemoryChatMessageHistory:
        return broken(session_id)

    slowness.slowed(opened)("1").clear()
    assert slow == [0.05]


def test_histories_stay_as_they_are_without_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(slowness.VARIABLE, raising=False)
    broken = _history()
    before = dict(vars(broken))
    assert slowness.slowed(broken) is broken
    assert dict(vars(broken)) == before


def test_what_a_history_does_in_the_background_lasts_longer_by_the_delay(
    slow: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slowness.lasting(0.01) == pytest.approx(0.06)
    monkeypatch.delenv(slowness.VARIABLE)
    assert slowness.lasting(0.01) == 0.01


@pytest.mark.parametrize(
    "name",
    [
        "ordering.batch_reversed",
        "parity.cancel_keeps_lock",
        "parity.blocks_the_loop",
        "concurrency.clear_goes_on",
        "ttl.whole_seconds",
    ],
)
def test_a_slower_broken_history_is_found_too(name: str) -> None:
    found = selftest.discovery(
        seeds=(1,), profile="quick", delay_ms=50, jobs=1, only=lambda one: one == name
    )
    assert dict(found) == {name: 1}


def test_the_page_of_power_lists_what_is_hard_to_find() -> None:
    found = {"a.b": {0: 20, 50: 20, 300: 20}, "c.d": {0: 20, 50: 19, 300: 18}}
    page = power_reports.page(found)
    assert "| 50 ms | 40 | 39 | 1 of 2 |" in page
    assert "| `c.d` | 20 | 19 | 18 |" in page
    assert "a.b" not in page
    assert "Not measured" not in page
    part = power_reports.page({**found, "e.f": {0: 20}})
    assert "Not measured at each speed yet: `e.f`." in part
    assert "| 50 ms | 40 | 39 | 1 of 2 |" in part


def test_every_broken_history_was_searched_for_at_three_speeds() -> None:
    found = power_reports.load()
    assert set(found) == {name for name in faulty.load() if power_reports.measured(name)}
    assert {tuple(row) for row in found.values()} == {power_reports.DELAYS_MS}
    assert power_reports.PAGE.read_text("utf-8") == power_reports.page(found)


def test_numbers_that_are_there_are_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[int, str]] = []

    def discovery(report: Any, *, delay_ms: int, only: Any, **_: Any) -> Iterator[tuple[str, int]]:
        for name in filter(only, faulty.load()):
            if len(asked) == 5:
                raise KeyboardInterrupt
            asked.append((delay_ms, name))
            yield name, 20

    monkeypatch.setattr(selftest, "discovery", discovery)
    monkeypatch.setattr(power_reports, "RESULTS", tmp_path / "power.jsonl")
    monkeypatch.setattr(power_reports, "PAGE", tmp_path / "power.md")
    monkeypatch.setattr(power_reports, "measured", lambda name: name.startswith("model."))
    with pytest.raises(KeyboardInterrupt):
        power_reports.build()
    kept = power_reports.load()
    assert [(0, name) for name in kept] == asked
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        power_reports.build()
    assert {delay for delay, _ in asked} == {50}
