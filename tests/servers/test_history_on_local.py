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

FAULTS = 16
"""The number of fault contracts for a history without bounded reads, but one of level `may`."""


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
        contract["id"]: contract["outcome"]
        for contract in backend["contracts"]
        if contract["id"].startswith("faults.") and contract["outcome"] != "not_applicable"
    }
    # A connection that is refused is not tried again, as usual for clients of these servers.
    assert outcomes.pop("faults.quick_restart_is_waited_for") in ("passed", "failed")
    assert len(outcomes) == FAULTS
    assert set(outcomes.values()) == {"passed"}
