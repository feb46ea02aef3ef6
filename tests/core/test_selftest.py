"""The proof that the suite bites: broken histories are caught, and scripts show the defects."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.faulty import selftest, served
from chat_history_conformance.faulty.selftest import Kill, Proof, Row
from chat_history_conformance.reports import kills
from chat_history_conformance.results.model import Finding
from chat_history_conformance.servers import variable
from chat_history_conformance.servers.handle import Server

REPORTS = Path(__file__).parents[2] / "reports"
BROKEN = faulty.load()
ENVIRONMENT = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}


def finding_of(identifier: str) -> Finding:
    """The finding by which the expected contract catches a broken history, shrunk."""
    history = BROKEN[identifier]
    contract = catalogue.load()[history.breaks]
    seen = []
    for result in selftest.results_on(
        history.backend, [contract], profile=PROFILES["quick"], seed=0
    ):
        seen.append(f"{result.label}: {result.outcome}, {result.reason}")
        if result.finding is not None and result.finding.kind == history.kind:
            return result.finding
    pytest.fail(f"{identifier} is not caught as {history.kind}:\n" + "\n".join(seen))


def run_with_a_server(script: Path, server: Server) -> tuple[int, str]:
    """Run a script and do to the server what it asks its reader to do.

    Returns:
        Its exit status, and what it wrote on stderr.
    """
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=script.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, variable(served.SERVED): server.address},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    while character := process.stdout.read(1):
        said += character
        asked = re.search(r"Please (\w+) the server at (\S+), then press Enter: $", said)
        if asked:
            assert asked[2] == server.address
            getattr(server, asked[1])()
            print(file=process.stdin, flush=True)
            said = ""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("identifier", BROKEN)
def test_a_broken_history_is_caught_and_its_script_shows_the_defect(
    identifier: str, tmp_path: Path
) -> None:
    finding = finding_of(identifier)
    script = tmp_path / "reproducer.py"
    script.write_text(finding.reproducer, encoding="utf-8")
    if BROKEN[identifier].control == served.SERVED:
        with served.serving() as server:
            status, told_at_the_end = run_with_a_server(script, server)
    else:
        run = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env=ENVIRONMENT,
        )
        status, told_at_the_end = run.returncode, run.stderr
    assert status != 0, f"the script ended well:\n{finding.reproducer}"
    assert "SyntaxError" not in told_at_the_end
    told = finding.summary.split(":")[0].split(" raises ")[0].strip("`")
    raised = finding.summary.partition(" raises ")[2].partition(":")[0]
    assert (raised and raised in told_at_the_end) or told in told_at_the_end, (
        f"{told_at_the_end[-2000:]}\n{finding.summary}"
    )


def test_each_contract_has_a_broken_history_made_for_it() -> None:
    made_for = {history.breaks for history in BROKEN.values()}
    assert sorted(set(catalogue.load()) - made_for) == []
    assert sorted(made_for - set(catalogue.load())) == []


def test_the_published_kill_matrix_is_complete_and_holds() -> None:
    proof = Proof.from_json(json.loads((REPORTS / "kill-matrix.json").read_text("utf-8")))
    assert set(proof.rows) == {*BROKEN, *selftest.CONTROLS}
    assert set(proof.power) == set(BROKEN)
    assert proof.faults(catalogue.load(), BROKEN) == []
    page = (REPORTS / "kill-matrix.md").read_text("utf-8")
    assert page == kills.markdown(proof, catalogue.load(), BROKEN)


def sound_proof() -> tuple[Proof, dict[str, faulty.Faulty]]:
    identifier, history = next(iter(BROKEN.items()))
    rows = {name: Row(name, ()) for name in selftest.CONTROLS}
    rows[identifier] = Row(identifier, (Kill(history.breaks, (history.kind,)),))
    return Proof(rows, {identifier: 20}), {identifier: history}


def test_a_sound_proof_has_no_faults() -> None:
    proof, broken = sound_proof()
    assert proof.faults([next(iter(broken.values())).breaks], broken) == []


def test_a_red_control_is_a_fault() -> None:
    proof, broken = sound_proof()
    red = Row("memory", (Kill("clear.empties", ("lost",)),))
    wrong = replace(proof, rows={**proof.rows, "memory": red}).faults([], broken)
    assert wrong == ["the control memory is red: clear.empties"]


def test_a_crash_in_place_of_a_finding_is_no_kill() -> None:
    proof, broken = sound_proof()
    identifier = next(iter(broken))
    crashed = Row(identifier, (), ("a contract: server: gone",))
    wrong = replace(proof, rows={**proof.rows, identifier: crashed}).faults([], broken)
    assert any("no finding but an error" in sentence for sentence in wrong)
    assert any("is not caught" in sentence for sentence in wrong)


def test_a_finding_of_another_kind_is_no_kill() -> None:
    proof, broken = sound_proof()
    identifier, history = next(iter(broken.items()))
    other = Row(identifier, (Kill(history.breaks, ("hung",)),))
    wrong = replace(proof, rows={**proof.rows, identifier: other}).faults([], broken)
    assert wrong == [
        f"{identifier} is not caught: {history.breaks} reports hung in place of {history.kind}"
    ]


def test_a_contract_that_nothing_turned_red_is_a_fault() -> None:
    proof, broken = sound_proof()
    assert proof.faults(["some.contract"], broken) == ["some.contract was never seen red"]


def test_too_little_discovery_power_is_a_fault() -> None:
    proof, broken = sound_proof()
    identifier = next(iter(broken))
    wrong = replace(proof, power={identifier: 18}).faults([], broken)
    assert wrong == [f"{identifier} is found in 18 of 20 seeds"]
