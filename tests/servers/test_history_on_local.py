"""Whole runs of small histories on Redis and PostgreSQL, on servers that the runs start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.servers import ServerError, variable
from chat_history_conformance.servers.kind import load
from tests.servers import small_histories

KINDS = ("redis", "postgresql")

FAULTS = 30
"""Fault contracts of a history without asynchronous methods and bounded reads, on one server."""


@pytest.fixture(params=KINDS)
def kind(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Declare the histories for a run; skip the test if the program is not installed."""
    name: str = request.param
    try:
        load(name).obtain(print, offline=True)
    except ServerError as error:
        pytest.skip(str(error))
    monkeypatch.delenv(variable(name), raising=False)
    pytester.makeconftest(Path(small_histories.__file__).read_text(encoding="utf-8"))
    return name


def judged(pytester: pytest.Pytester, kind: str, *options: str) -> dict[str, Any]:
    """Run contracts on a server of an installed program; return the backend of the report."""
    result = pytester.runpytest_subprocess(
        f"--history-backend=small-{kind}",
        f"--history-server={kind}=local",
        *("--history-report=report.json", "--history-profile=quick", "-p", "no:cacheprovider"),
        *options,
        timeout=1200,
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"{kind} * (local) is ready at {kind}://*"])
    report = json.loads(pytester.path.joinpath("report.json").read_text(encoding="utf-8"))
    (backend,) = report["backends"]
    assert isinstance(backend, dict)
    return backend


def test_a_history_conforms_with_several_workers(pytester: pytest.Pytester, kind: str) -> None:
    backend = judged(pytester, kind, "-n2", "--history-require-verdict")
    assert backend["verdict"] == "conformant"
    assert list(backend["lacks"]) == ["async"]
    assert backend["counts"]["exercised"] > 100


def test_a_history_survives_the_faults_of_its_server(pytester: pytest.Pytester, kind: str) -> None:
    backend = judged(pytester, kind, "--history-faults", f"small-{kind}::faults")
    outcomes = {
        f"{contract['id']}[{contract['mode']}]": contract["outcome"]
        for contract in backend["contracts"]
        if contract["id"].startswith("faults.")
    }
    passed = [one for one, outcome in outcomes.items() if outcome == "passed"]
    others = set(outcomes) - set(passed)
    assert others
    for id in ("killed_server_keeps_acknowledged", "paused_server", "clear_survives_kill"):
        assert f"faults.{id}[sync]" in passed
    assert backend["counts"]["exercised"] >= len(passed)
