"""Tests of the values that contracts choose, and of how they show the one that changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import find, settings
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import faulty, strategies
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.script import script
from chat_history_conformance.execution.engine import PROFILES, run
from chat_history_conformance.execution.enumeration import enumerating
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult

VALUES = list(range(40))


def judged(history: str, contract: str) -> ContractResult:
    """Run a contract on a broken history, synchronously."""
    subject = Subject(faulty.load()[history].backend, limit=15.0, destructive=True)
    return run(catalogue.load()[contract], subject, "sync", PROFILES["quick"], seed=0)


def test_a_selection_shrinks_to_the_value_that_matters() -> None:
    with enumerating(whole=False):
        found = find(
            strategies.some_of(VALUES),
            lambda chosen: 17 in chosen,
            settings=settings(database=None),
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


class _Weekly(BaseChatMessageHistory):
    """A history that hides messages by the clock of the reader, after a week by default."""

    stores: ClassVar[dict[str, list[tuple[float, BaseMessage]]]] = {}

    def __init__(self, session_id: str, ttl_ms: int | None = 7 * 86_400_000) -> None:
        self._stored = self.stores.setdefault(session_id, [])
        self._seconds = float("inf") if ttl_ms is None else ttl_ms / 1000

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        self._stored += [(time.time(), message) for message in messages]

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        oldest = time.time() - self._seconds
        return [message for added, message in self._stored if added >= oldest]

    def clear(self) -> None:
        self._stored.clear()


@pytest.mark.parametrize("with_ttl", [None, _Weekly], ids=["declared-without", "declared-with"])
def test_a_time_to_live_by_default_passes(with_ttl: Any) -> None:
    subject = Subject(Backend("mine", _Weekly, with_ttl=with_ttl, disposable=True), limit=15.0)
    contract = catalogue.load()["reads.another_day"]
    result = run(contract, subject, "sync", PROFILES["quick"], seed=0)
    assert result.outcome == "passed", result.finding


class _WithoutList(_Weekly):
    """A history whose reads return no list, as a mistaken mock does."""

    messages = 7  # type: ignore[assignment]


def test_a_read_that_may_be_refused_and_returns_no_list_is_a_finding() -> None:
    subject = Subject(Backend("mine", _WithoutList, disposable=True), limit=15.0)
    contract = catalogue.load()["reads.another_day"]
    finding = run(contract, subject, "sync", PROFILES["quick"], seed=0).finding
    assert finding is not None
    assert "instead of a list of messages" in finding.summary


_written: dict[str, None] = {}
_guard = threading.Lock()


class FullStore(MemoryChatMessageHistory):
    """Keeps 500 sessions."""

    def _append(self, texts: Sequence[str]) -> None:
        super()._append(texts)
        with _guard:  # several sessions are written at the same time
            _written[self.session_id] = None
            if len(_written) > 500:
                oldest = next(iter(_written))
                del _written[oldest]
                type(self)(oldest).clear()


def test_profile_ci_writes_to_more_sessions_and_the_story_has_one_step_for_them() -> None:
    _written.clear()
    subject = Subject(Backend("full-store", FullStore), limit=15.0)
    contract = catalogue.load()["isolation.many_sessions"]
    assert run(contract, subject, "sync", PROFILES["quick"], seed=0).outcome == "passed"
    finding = run(contract, subject, "sync", PROFILES["ci"], seed=0).finding
    assert finding is not None
    assert finding.kind == "lost"
    step = "in each of 640 sessions, one after another: other = open(session-NUMBER), "
    assert finding.steps[2].startswith(step)
    assert len(finding.steps) == 5
    assert finding.notes == ()
    assert "for number in range(640)]" in finding.reproducer
