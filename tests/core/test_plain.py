"""Findings that follow from a plain add and read of the same messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.causes import causes
from chat_history_conformance.results.model import ContractResult, Finding

Make = Callable[[type], Subject]
QUICK = replace(PROFILES["quick"], shrink_seconds=0.5)


class DropsTools(MemoryChatMessageHistory):
    """Loses tool messages."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        super().add_messages([message for message in messages if message.type != "tool"])


class ForgetsToClear(MemoryChatMessageHistory):
    """Does not clear."""

    def clear(self) -> None:
        """Do nothing."""


@pytest.fixture
def subject() -> Iterator[Make]:
    """Return a function that makes subjects, and stop them at the end."""
    made: list[Subject] = []

    def make(factory: type) -> Subject:
        backend = Backend("mine", factory, lacks={"durable": "in memory"})
        made.append(Subject(backend, limit=15.0, owned=True))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def judged(subject: Subject, name: str) -> ContractResult:
    return engine.run(catalogue.load()[name], subject, "sync", QUICK, 0)


def found(result: ContractResult) -> Finding:
    assert result.finding is not None
    return result.finding


def test_a_failure_of_another_rule_names_the_plain_round_trip_that_fails(subject: Make) -> None:
    finding = found(judged(subject(DropsTools), "integration.trimming"))
    assert finding.plain is not None
    assert finding.plain.summary.startswith("lost ")
    text = "a plain add and read of the same messages fails too: lost"
    assert any(note.startswith(text) for note in finding.notes)


def test_a_failure_that_a_plain_round_trip_does_not_have_stays_alone(subject: Make) -> None:
    finding = found(judged(subject(ForgetsToClear), "clear.nothing_returns"))
    assert finding.plain is None


def test_a_plain_story_follows_from_nothing(subject: Make) -> None:
    finding = found(judged(subject(DropsTools), "fidelity.message_types"))
    assert finding.plain is None
    assert len(finding.steps) == 3


def test_findings_that_follow_from_one_plain_round_trip_have_one_cause(subject: Make) -> None:
    mine = subject(DropsTools)
    names = ("fidelity.message_types", "integration.trimming", "errors.write_failure_raises")
    results = [judged(mine, name) for name in names]
    assert [result.outcome for result in results] == ["failed"] * 3
    assert [cause.title for cause in causes(results)] == ["Tool messages are lost"]


def test_a_finding_with_a_plain_one_survives_the_report(subject: Make) -> None:
    result = judged(subject(DropsTools), "integration.trimming")
    assert found(result).plain is not None
    assert ContractResult.from_json(result.to_json()) == result


class StoresNothing(MemoryChatMessageHistory):
    """Stores nothing."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        """Do nothing."""


def test_a_failure_of_a_contract_that_runs_alone_names_the_plain_round_trip(subject: Make) -> None:
    finding = found(judged(subject(StoresNothing), "reads.another_day"))
    assert finding.plain is not None
