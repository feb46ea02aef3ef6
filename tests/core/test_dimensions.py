"""Tests of the values that contracts choose, and of how they show the one that changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import find, given, settings

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import faulty, strategies
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.script import script
from chat_history_conformance.execution.engine import PROFILES, run
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult

VALUES = list(range(40))


def judged(history: str, contract: str) -> ContractResult:
    """Run a contract on a broken history, synchronously."""
    subject = Subject(faulty.load()[history].backend, limit=15.0, destructive=True)
    return run(catalogue.load()[contract], subject, "sync", PROFILES["quick"], seed=0)


def test_two_selections_miss_no_value() -> None:
    drawn: list[list[int]] = []

    @settings(max_examples=8, database=None)
    @given(strategies.some_of(VALUES))
    def draw(chosen: list[int]) -> None:
        drawn.append(chosen)

    draw()
    larger = [chosen for chosen in drawn if len(chosen) > 1]
    assert min(map(len, larger)) > len(VALUES) / 2
    assert {value for chosen in larger[:3] for value in chosen} == set(VALUES)


def test_a_selection_shrinks_to_the_value_that_matters() -> None:
    found = find(
        strategies.some_of(VALUES), lambda chosen: 17 in chosen, settings=settings(database=None)
    )
    assert found == [17]


@pytest.mark.parametrize(
    ("history", "contract"),
    [
        ("fidelity.names_normalised", "fidelity.texts_in_places"),
        ("fidelity.numbered_keys", "fidelity.values_in_places"),
        ("fidelity.long_metadata_cut", "fidelity.long_content"),
    ],
)
def test_a_changed_message_is_shown_alone(history: str, contract: str) -> None:
    finding = judged(history, contract).finding
    assert finding is not None
    assert finding.kind == "altered"
    assert len(finding.steps) == 3  # open, add one message, read


def test_a_message_that_changes_only_next_to_others_is_shown_with_them() -> None:
    finding = judged("ordering.one_result_per_call", "fidelity.tool_results").finding
    assert finding is not None
    assert finding.summary == "lost 2 of 5 messages"
    assert finding.steps[1].count("Tool") > 1


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the scripts that stories write from now on."""
    written: list[str] = []

    def kept(*arguments: Any, **named: Any) -> str:
        written.append(script(*arguments, **named))
        return written[-1]

    monkeypatch.setattr("chat_history_conformance.execution.story.script", kept)
    return written


@pytest.mark.parametrize(
    "contract", ["inputs.not_a_message", "errors.usable_after_refusal", "bounded.nonsense_refused"]
)
def test_a_refusal_writes_no_script(contract: str, scripts: list[str]) -> None:
    backend = Backend("mine", MemoryChatMessageHistory, disposable=True)
    subject = Subject(backend, limit=15.0)
    result = run(catalogue.load()[contract], subject, "sync", PROFILES["quick"], seed=0)
    assert result.outcome == "passed"
    assert scripts == []


def test_a_finding_writes_its_script(scripts: list[str]) -> None:
    assert judged("fidelity.names_normalised", "fidelity.texts_in_places").finding is not None
    assert scripts
