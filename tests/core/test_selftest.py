"""The self-test: broken histories are caught, and their scripts show the defects."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.faulty import proof as proofs
from chat_history_conformance.faulty import selftest, served
from chat_history_conformance.faulty.proof import CONTROLS, Kill, Proof, Row
from chat_history_conformance.faulty.served.member import Journal
from chat_history_conformance.reports import kills
from chat_history_conformance.results.model import Finding
from chat_history_conformance.servers import variable
from chat_history_conformance.servers.server import Server

REPORTS = Path(__file__).parents[2] / "reports"
BROKEN = faulty.load()
SERVER_RUNS = 3
"""The runs of a script with server faults, one of which has to show the defect."""
ENVIRONMENT = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}


def finding_of(identifier: str) -> Finding:
    """Return the finding with which the expected contract catches a broken history, shrunk."""
    history = BROKEN[identifier]
    contract = catalogue.load()[history.breaks]
    seen = []
    for result in selftest.results_on(
        history.backend,
        [contract],
        profile=PROFILES["quick"],
        seed=0,
        clustered=history.control == served.CLUSTERED,
    ):
        seen.append(f"{result.label}: {result.outcome}, {result.reason}")
        if result.finding is not None and result.finding.kind == history.kind:
            return result.finding
    pytest.fail(f"{identifier} is not caught as {history.kind}:\n" + "\n".join(seen))


def grant(request: str, server: Server) -> None:
    """Do to a server what a script asks for."""
    if request == "heal the server":
        for member in server.members:
            server.reconnect(member)
            if member.state == "paused":
                member.resume()
            elif member.state == "down":
                member.restart()
        server.wait_until_healthy(60)
    elif whole := re.fullmatch(r"(.+) the server", request):
        getattr(server, whole[1].replace(" ", "_"))()
    else:
        asked = re.fullmatch(r"(.+?) (?:the (\w+) of (\S+)|member (\w+) of the cluster)", request)
        assert asked, request
        if asked[2]:
            member = server.holder(asked[2], asked[3])
        else:
            member = next(one for one in server.members if one.name == asked[4])
        if asked[1] == "cut off":
            server.cut_off(member)
        else:
            getattr(member, asked[1].replace(" ", "_"))()


def run_with_a_server(script: Path, server: Server) -> tuple[int, str]:
    """Run a script, and pause or kill the server when the script asks for it.

    Returns:
        The exit status of the script, and its output on stderr.
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
    output = ""
    while character := process.stdout.read(1):
        output += character
        asked = re.search(r"Please (.+) at (\S+), then press Enter: $", output)
        if asked:
            assert asked[2] == server.address
            grant(asked[1], server)
            print(file=process.stdin, flush=True)
            output = ""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("identifier", BROKEN)
def test_a_broken_history_is_caught_and_its_script_shows_the_defect(
    identifier: str, tmp_path: Path
) -> None:
    finding = finding_of(identifier)
    script = tmp_path / "reproducer.py"
    script.write_text(finding.reproducer, encoding="utf-8")
    control = BROKEN[identifier].control
    if control in (served.SERVED, served.CLUSTERED):
        # A fault hits concurrent calls at another moment in each run, as it does for a person.
        for _ in range(SERVER_RUNS):
            with served.serving(clustered=control == served.CLUSTERED) as server:
                status, errors = run_with_a_server(script, server)
            if status != 0:
                break
    else:
        run = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env=ENVIRONMENT,
        )
        status, errors = run.returncode, run.stderr
    assert status != 0, f"the script found no defect:\n{finding.reproducer}"
    assert "SyntaxError" not in errors
    claim = finding.summary.split(":")[0].split(" raises ")[0].strip("`")
    raised = finding.summary.partition(" raises ")[2].partition(":")[0]
    assert (raised and raised in errors) or claim in errors, f"{errors[-2000:]}\n{finding.summary}"


def test_each_contract_has_a_broken_history() -> None:
    made_for = {history.breaks for history in BROKEN.values()}
    assert sorted(set(catalogue.load()) - made_for) == []
    assert sorted(made_for - set(catalogue.load())) == []


def test_the_published_kill_matrix_is_complete_and_holds() -> None:
    proof = proofs.load(REPORTS / "kill-matrix.jsonl")
    assert set(proof.rows) == {*BROKEN, *CONTROLS}
    assert proof.faults(catalogue.load(), BROKEN) == []
    page = (REPORTS / "kill-matrix.md").read_text("utf-8")
    assert page == kills.markdown(proof, catalogue.load(), BROKEN)


def test_a_member_leaves_out_a_line_that_a_kill_has_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(str(file))
    journal.append(term=1, leader=2)
    with file.open("ab") as cut:
        cut.write(b'\n{"term": 1, "chan')
    journal.append(term=2, leader=3)
    journal.catch_up()
    assert (journal.term, journal.leader) == (2, 3)


def test_a_proof_is_read_as_it_was_written(tmp_path: Path) -> None:
    proof, _ = sound_proof()
    path = tmp_path / "kill-matrix.jsonl"
    path.write_text(proofs.dump(proof), encoding="utf-8")
    assert proofs.load(path) == proof
    assert len(path.read_text("utf-8").splitlines()) == len(proof.rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"history": "memory"}', "line 2: kills: this field is missing"),
        ('{"history": "memory", "kills": [{"contract": "a", "kinds": ["eaten"]}]}', "'eaten'"),
        ('{"history": "memory", "kills": [], "errors": 3}', "errors: input should be a valid"),
        ("{", "line 2: Expecting property name"),
    ],
)
def test_a_wrong_line_of_a_proof_is_reported_with_its_number(
    line: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "kill-matrix.jsonl"
    path.write_text(f'{{"history": "sqlite", "kills": []}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"kill-matrix\.jsonl, line 2") as refused:
        proofs.load(path)
    assert message in str(refused.value)


def test_a_partial_measurement_keeps_the_other_rows() -> None:
    proof, broken = sound_proof()
    identifier = next(iter(broken))
    gone = Row("clear.no_longer_there", ())
    before = Proof({**proof.rows, gone.history: gone})
    measured = Row(identifier, (Kill("clear.empties", ("stale",)),))
    after = before.updated(Proof({identifier: measured}), broken)
    assert list(after.rows) == [*CONTROLS, identifier]
    assert after.rows[identifier] == measured


def sound_proof() -> tuple[Proof, dict[str, faulty.Faulty]]:
    """Return a proof about one broken history, without a fault."""
    identifier, history = next(iter(BROKEN.items()))
    rows = {name: Row(name, ()) for name in CONTROLS}
    kill = Kill(history.breaks, (history.kind,))
    rows[identifier] = Row(identifier, (kill,))
    return Proof(rows), {identifier: history}


def test_the_page_names_the_histories_that_are_not_measured() -> None:
    proof, broken = sound_proof()
    (absent, history) = next(item for item in BROKEN.items() if item[0] not in broken)
    contracts = catalogue.load()
    whole = kills.markdown(proof, contracts, broken)
    assert f"{len(contracts)} contracts were run on 1 broken histories" in whole
    assert "Not measured yet" not in whole
    part = kills.markdown(proof, contracts, {**broken, absent: history})
    assert f"{len(contracts)} contracts were run on 1 broken histories" in part
    assert f"\nNot measured yet: `{absent}`.\n" in part


def changed(proof: Proof, row: Row) -> Proof:
    """Return `proof` with another row for one history."""
    return Proof({**proof.rows, row.history: row})


def test_a_sound_proof_has_no_faults() -> None:
    proof, broken = sound_proof()
    assert proof.faults([next(iter(broken.values())).breaks], broken) == []


def test_a_failing_control_is_a_fault() -> None:
    proof, broken = sound_proof()
    failing = Row("memory", (Kill("clear.empties", ("lost",)),))
    assert changed(proof, failing).faults([], broken) == [
        "the control memory failed: clear.empties"
    ]


def test_a_missing_control_is_a_fault() -> None:
    proof, broken = sound_proof()
    rows = {name: row for name, row in proof.rows.items() if name != "served"}
    assert Proof(rows).faults([], broken) == ["the control served was not run"]


def test_a_missing_history_is_a_fault() -> None:
    proof, broken = sound_proof()
    identifier = next(iter(broken))
    rows = {name: row for name, row in proof.rows.items() if name != identifier}
    assert Proof(rows).faults([], broken) == [f"{identifier} was not run"]


def test_an_error_is_not_a_kill() -> None:
    proof, broken = sound_proof()
    identifier = next(iter(broken))
    crashed = Row(identifier, (), ("a contract: server: gone",))
    wrong = changed(proof, crashed).faults([], broken)
    assert any("an error instead of a finding" in sentence for sentence in wrong)
    assert any("is not caught" in sentence for sentence in wrong)


def test_a_finding_of_another_kind_is_not_a_kill() -> None:
    proof, broken = sound_proof()
    identifier, history = next(iter(broken.items()))
    other = Row(identifier, (Kill(history.breaks, ("hung",)),))
    assert changed(proof, other).faults([], broken) == [
        f"{identifier} is not caught: {history.breaks} reports hung instead of {history.kind}"
    ]


def test_a_contract_that_never_fails_is_a_fault() -> None:
    proof, broken = sound_proof()
    wrong = proof.faults(["some.contract"], broken)
    assert wrong == ["no broken history made some.contract fail"]


def test_a_history_that_empties_its_input_is_a_finding_of_any_contract() -> None:
    contract = catalogue.load()["concurrency.contiguous_batches"]
    history = BROKEN["aliasing.input_emptied"]
    for result in selftest.results_on(
        history.backend, [contract], profile=PROFILES["quick"], seed=0
    ):
        assert result.outcome == "failed", result.reason
        assert result.reason == "the history emptied a batch that was added"


def children_of(pid: int) -> list[int]:
    """Return the child processes of the main thread of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in text.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_its_processes(
    tmp_path: Path, number: signal.Signals
) -> None:
    words = ["selftest", "--jobs", "1", "--only", "ordering.", "--output", tmp_path]
    with subprocess.Popen(
        [sys.executable, "-m", "chat_history_conformance", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell in the background, which may run these tests, ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        try:
            until = time.monotonic() + 60
            while len(children_of(running.pid)) < 2:  # one works, another tracks resources
                assert time.monotonic() < until
                time.sleep(0.1)
            children = children_of(running.pid)
            running.send_signal(number)
            _, text = running.communicate(timeout=60)  # the rows would take many minutes
        finally:
            running.kill()
    assert running.returncode == 130
    assert text == "history-conformance: stopped\n"  # no row is finished
    until = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until
        time.sleep(0.1)
