"""Short campaigns on the control `served`: the checker finds each class of defect, and no other.

Each one starts a server and client processes, and disturbs the server for a moment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.campaign import run
from chat_history_conformance.campaign.checking.checker import Verdict, check
from chat_history_conformance.campaign.plan import Event, Traffic
from chat_history_conformance.campaign.recording import Recording
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.declaration.parameters import VARIABLE
from chat_history_conformance.declaration.registry import load_again
from tests.campaign import broken

KILL = Event("kill", {"down_seconds": 2.0}, 1.5)
PAUSE = Event("short-pause", {"pause_seconds": 2.2}, 0.8)
LONG_PAUSE = Event("pause-over-limit", {"more_seconds": 3.0}, 0.8)


def campaign(name: str, events: Sequence[Event], **options: Any) -> tuple[Recording, Verdict]:
    """Run a campaign with one of the histories in `broken`, and check its recording."""
    return campaign_of(load_again(name, Origin(broken.__name__, "")), events, **options)


def campaign_of(
    backend: Backend, events: Sequence[Event], **options: Any
) -> tuple[Recording, Verdict]:
    """Run a campaign with a backend, and check its recording."""
    settings = {"limit_seconds": 10.0, "sample_seconds": 1.0, **options}
    lines: list[str] = []
    outcome = run.run(
        run.Options(backend, planned=tuple(events), calm=0.3, traffic=Traffic(2, 3, 2), **settings),
        lines.append,
    )
    assert outcome.trouble == "", lines
    return outcome.recording, check(outcome.recording)


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("control", {"sync", "async"}),
        ("control-sync", {"sync"}),
        ("control-async", {"async"}),
    ],
)
def test_history_without_a_defect_is_clean(name: str, modes: set[str]) -> None:
    recording, verdict = campaign(name, [KILL, PAUSE])
    assert verdict.clean, verdict.defects
    assert {one.mode for one in recording.operations} == modes
    assert any(one.error for one in recording.operations), "the faults reached no call"
    assert verdict.figures.acknowledged_messages > 50
    assert [fault.name for fault in recording.faults] == [
        "kill the server",
        "pause the server for a moment",
    ]
    assert all(end.status == 0 for end in recording.exits)
    assert len(recording.final) == 5  # 2 sessions that grow, the mixed one, 2 with clears


def test_a_lifespan_runs_once_and_gives_its_values_to_all_clients() -> None:
    broken.STARTS.clear()
    backend = registry._found_again("control-lifespan", Origin(broken.__name__, ""))
    recording, verdict = campaign_of(backend, [KILL])
    assert broken.STARTS == ["start", "end"]
    assert verdict.clean, verdict.defects
    assert verdict.figures.acknowledged_messages > 50
    assert all(end.status == 0 for end in recording.exits)
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("control-broken-lifespan", "lifespan=_no_store raised RuntimeError: no docker"),
        ("control-fixture", "nothing gives 'redis_url', a parameter of the factory, a value here"),
    ],
)
def test_a_campaign_without_a_value_is_refused(name: str, text: str) -> None:
    backend = registry._found_again(name, Origin(broken.__name__, ""))
    with pytest.raises(run.Refused, match=re.escape(text)):
        run.run(run.Options(backend), print)


@pytest.mark.parametrize(
    ("name", "event", "kinds", "options"),
    [
        ("lost", KILL, {"lost"}, {}),
        ("doubled", PAUSE, {"doubled"}, {}),
        ("order", KILL, {"order_in_batch"}, {}),
        ("empty-read", KILL, {"wrong_read"}, {}),
        ("stale-read", KILL, {"wrong_read"}, {}),
        ("came-back", KILL, {"came_back"}, {}),
        ("skipped", KILL, {"skipped"}, {}),
        ("wrong-claim", PAUSE, {"wrong_claim"}, {}),
        ("over-limit", LONG_PAUSE, {"over_limit"}, {"limit_seconds": 1.0}),
        ("client-died", KILL, {"client_died"}, {}),
        ("client-crashed", KILL, {"client_died"}, {}),
        ("growth", Event("kill", {"down_seconds": 0.5}, 24.0), {"growth"}, {"sample_seconds": 0.2}),
    ],
)
def test_defect_is_found(name: str, event: Event, kinds: set[str], options: dict[str, Any]) -> None:
    _, verdict = campaign(name, [event], **options)
    assert kinds <= {defect.kind for defect in verdict.defects}, verdict.counts


def test_ctrl_c_reports_what_was_recorded_so_far(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "chat_history_conformance", "campaign", "--backend", "control"),
        *("--import", broken.__file__, "--faults", "short-pause", "--sessions", "1"),
        *("--output", str(tmp_path), "--keep"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("1 of 30: pause the server for a moment, ")
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, output + errors
    assert "stopped after 1 of 30 events" in output
    assert "no defect" in output
    assert json.loads((tmp_path / "campaign.json").read_text("utf-8"))["acknowledged_messages"] > 0
    assert "<html" in (tmp_path / "campaign.html").read_text("utf-8")
    assert (tmp_path / "campaign.md").exists()

    checked = [*command[:4], "--check", str(tmp_path / "campaign.jsonl")]
    again = subprocess.run(checked, capture_output=True, text=True, check=True)
    assert again.stdout == output.replace("stopped after 1 of 30 events\n", "")
