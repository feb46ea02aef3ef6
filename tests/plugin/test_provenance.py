"""The date, the commit and the places of backends that a report shows."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

_SOURCE = """
from langchain_core.chat_history import InMemoryChatMessageHistory
from chat_history_conformance import history_backend

@history_backend("mine", lacks={"durable": "in memory", "shared": "in memory"})
def open_history(session_id):
    return InMemoryChatMessageHistory()
"""


def _report(pytester: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    path = pytester.path / "report.json"
    pytester.runpytest_subprocess(
        "-q", f"--history-report={path}", *arguments, "mine::ordering.within_batch"
    )
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_report_has_the_date_and_the_file_that_declares_a_backend(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(_SOURCE)
    report = _report(pytester, "--history-backend=mine")
    environment = report["environment"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", environment["date"])
    assert "commit" not in environment
    [backend] = report["backends"]
    assert backend["origin"] == "conftest.py:open_history"


def test_a_report_has_the_commit_and_says_if_a_file_was_changed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_SOURCE)
    _git(pytester.path, "init", "-q")
    _git(pytester.path, "add", "conftest.py")
    _git(pytester.path, "commit", "-q", "-m", "Declare a backend")
    commit = _git(pytester.path, "rev-parse", "--short=12", "HEAD")
    for suffix in ("", "-dirty"):
        environment = _report(pytester, "--history-backend=mine")["environment"]
        assert environment["commit"] == commit + suffix
        (pytester.path / "conftest.py").write_text(_SOURCE + "# changed\n", "utf-8")
