"""Tests of the page with the verdicts on a busy machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance import faulty
from tools import busy_reports
from tools.busy_reports import BUSY, CONTROLS, IDLE


def _run(verdict: str, *failed: str) -> dict[str, Any]:
    return {"verdict": verdict, "exercised": 3, "failed": list(failed), "errors": []}


def test_the_broken_histories_are_of_all_large_families() -> None:
    names = busy_reports.chosen()
    assert len(names) == 20
    families = {faulty.load()[name].breaks.partition(".")[0] for name in names}
    assert families > {"ordering", "fidelity", "isolation", "concurrency", "model"}


def test_the_page_names_what_differs() -> None:
    same = {IDLE: _run("conformant"), BUSY: _run("conformant")}
    page = busy_reports.page({"memory": same, "sqlite": same})
    assert "- Verdicts that differ: none." in page
    assert "- Histories for which other contracts failed: none." in page
    other = {IDLE: _run("conformant"), BUSY: _run("not_conformant", "a.b")}
    page = busy_reports.page({"memory": same, "sqlite": other})
    assert "- Verdicts that differ: `sqlite`." in page
    assert "- Histories for which other contracts failed: `sqlite`." in page
    assert "| `sqlite` | CONFORMANT (3 exercised) | NOT CONFORMANT (3 exercised), `a.b` |" in page


def test_runs_that_are_there_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged: list[str] = []

    def judge(name: str) -> dict[str, Any]:
        if len(judged) == 3:
            raise KeyboardInterrupt
        judged.append(name)
        return _run("conformant")

    monkeypatch.setattr(busy_reports, "RESULTS", tmp_path / "busy.jsonl")
    monkeypatch.setattr(busy_reports, "PAGE", tmp_path / "busy.md")
    monkeypatch.setattr(busy_reports, "_judged", judge)
    monkeypatch.setattr(busy_reports, "BURNERS", 0)
    with pytest.raises(KeyboardInterrupt):
        busy_reports.build()
    assert len((tmp_path / "busy.jsonl").read_text("utf-8").splitlines()) == 3
    first, judged[:] = list(judged), []
    with pytest.raises(KeyboardInterrupt):
        busy_reports.build()
    assert not set(first) & set(judged)
    assert not (tmp_path / "busy.md").exists()


def test_no_verdict_changes_on_a_busy_machine() -> None:
    runs = busy_reports.load()
    assert [*runs] == [*CONTROLS, *busy_reports.chosen()]
    for name, kept in runs.items():
        assert kept[IDLE]["verdict"] == kept[BUSY]["verdict"]
        if name in CONTROLS:
            assert not any(kept[state][what] for state in kept for what in ("failed", "errors"))
        else:
            breaks = faulty.load()[name].breaks
            assert breaks in kept[IDLE]["failed"]
            assert breaks in kept[BUSY]["failed"]
    assert busy_reports.PAGE.read_text("utf-8") == busy_reports.page(runs)
