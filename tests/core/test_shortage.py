"""Shortages of the machine, and how often a run looks for one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from langchain_core.messages import BaseMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution import engine, story
from chat_history_conformance.execution.shortage import shortage
from chat_history_conformance.execution.subject import Subject

ASK = """
import resource
from chat_history_conformance.execution.shortage import shortage
resource.setrlimit(resource.{limit}, ({value}, {value}))
print(shortage())
"""


class Forgetful(MemoryChatMessageHistory):
    """Loses the last message of each batch."""

    def add_messages(self, messages: list[BaseMessage]) -> None:  # type: ignore[override]
        super().add_messages(messages[:-1])


def shortage_with(limit: str, value: int) -> str:
    """Return what a process with a limit says."""
    code = ASK.format(limit=limit, value=value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_machine_that_has_enough_of_everything_has_no_shortage() -> None:
    assert shortage() is None


def test_a_process_that_cannot_open_another_file_says_so() -> None:
    assert shortage_with("RLIMIT_NOFILE", 3).startswith("this process cannot open another file: ")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit the address space")
def test_a_process_without_memory_says_so() -> None:
    assert shortage_with("RLIMIT_AS", 1 << 20) == "this process cannot get 64 MiB of memory"


def test_a_full_disk_is_named_with_its_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert shortage() == f"the disk is full: less than 1 MiB is free in {tmp_path}"


def test_a_working_directory_that_is_gone_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shortage() is None
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["ordering.across_calls", "concurrency.tasks", "clear.empties"])
def test_a_run_looks_for_a_shortage_once_for_each_finding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(story, "shortage", lambda: asked.append(None))
    lacks = {"durable": "in memory"}
    subject = Subject(Backend("mine", Forgetful, lacks=lacks), limit=15.0, owned=True)
    profile = replace(engine.PROFILES["quick"], shrink_seconds=1.0)
    try:
        contract = catalogue.load()[name]
        result = engine.run(contract, subject, contract.modes[0], profile, 0)
    finally:
        subject.stop()
    assert len(asked) == (result.outcome == "failed")
