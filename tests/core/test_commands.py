"""The commands of `history-conformance`, except `bench` and `server`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chat_history_conformance import __version__, faulty, project
from chat_history_conformance.cli.main import main, parser
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.faulty import proof as proofs
from chat_history_conformance.faulty import selftest
from chat_history_conformance.faulty.proof import Row
from chat_history_conformance.reports import listing

ROOT = Path(__file__).parents[2]
WRITTEN_BY_0_1_0 = ROOT / "tests" / "reports" / "report-0.1.0.json"
COMMANDS = [
    "init",
    "contracts",
    "explain",
    "report",
    "server",
    "selftest",
    "campaign",
    "completion",
]


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "chat_history_conformance", "--version"]
    assert subprocess.check_output(command, text=True).strip() == __version__


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_starts_with_a_sentence_and_ends_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    paragraphs = text.split("\n\n")
    assert re.match(r"[A-Z][a-z]+ .*\.", paragraphs[1], re.DOTALL)
    assert paragraphs[-1].startswith(f"example: history-conformance {command} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_in_the_help_of_a_command_is_accepted(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    example = capsys.readouterr().out.split("example: history-conformance ")[1].split()
    assert parser().parse_args(example).run


def test_contracts_lists_one_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "clear"]) == 0
    listed = re.findall(r"^  (\S+)", capsys.readouterr().out, re.MULTILINE)
    assert listed == [name for name in catalogue.load() if name.startswith("clear.")]


def test_contracts_and_explain_print_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "clear", "--json"]) == 0
    family = json.loads(capsys.readouterr().out)
    assert main(["explain", "clear.empties[sync]", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main(["contracts", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    for document in (family, one, whole):
        jsonschema.Draft202012Validator(contracts_schema()).validate(document)
    assert [item["id"] for item in whole["contracts"]] == list(catalogue.load())
    assert family["contracts"] == [c for c in whole["contracts"] if c["family"] == "clear"]
    assert one["contracts"] == [c for c in family["contracts"] if c["id"] == "clear.empties"]
    contract = catalogue.load()["clear.empties"]
    [printed] = one["contracts"]
    for name in ("rule", "level", "since", "source", "cause", "remedy", "seen", "title"):
        assert printed[name] == getattr(contract, name)
    assert printed["url"].endswith("/contracts/clear.empties/")
    assert {item["id"] for item in printed["broken_by"]} == {
        item.id for item in faulty.load().values() if item.breaks == "clear.empties"
    }


def test_the_published_schema_of_contracts_follows_from_the_dataclasses() -> None:
    assert contracts_schema() == json.loads(listing.generated_schema())
    for part in contracts_schema()["$defs"].values():
        assert part["required"] == list(part["properties"])


def contracts_schema() -> dict[str, Any]:
    """Return the published schema of `contracts --json`."""
    file = resources.files("chat_history_conformance.reports") / "contracts-1.schema.json"
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


def test_explain_names_the_page_of_a_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "clear.empties"]) == 0
    page = project.page_of("clear.empties")
    assert capsys.readouterr().out.endswith(f"\nPage:        {page}\n")


def test_report_prints_a_verdict_for_each_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(WRITTEN_BY_0_1_0)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["memory", "upstream", "upstream-kafka"]


def test_report_writes_a_script_for_each_finding(tmp_path: Path) -> None:
    assert main(["report", str(WRITTEN_BY_0_1_0), "--scripts", str(tmp_path / "scripts")]) == 0
    names = sorted(path.name for path in (tmp_path / "scripts").iterdir())
    assert names == [
        "upstream-concurrency.contiguous_batches-sync.py",
        "upstream-kafka-faults.killed_server_keeps_acknowledged-sync.py",
        "upstream-ordering.clock_stands_still-sync.py",
    ]


def test_report_refuses_a_wrong_file_and_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.json"
    text = WRITTEN_BY_0_1_0.read_text("utf-8")
    path.write_text(text.replace('"verdict": "conformant"', '"verdict": "fine"'), encoding="utf-8")
    assert main(["report", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"history-conformance: {path}: does not follow its schema. ")
    assert "backends[0].verdict: " in error
    assert "Fix this field" in error


@pytest.fixture
def _nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `selftest` have the rows of before only."""
    monkeypatch.setattr(selftest, "kill_matrix", lambda *_, **__: iter(()))


@pytest.mark.usefixtures("_nothing_measured")
def test_selftest_writes_the_files_again_if_nothing_is_measured(tmp_path: Path) -> None:
    shutil.copy(ROOT / "reports" / "kill-matrix.jsonl", tmp_path)
    assert main(["selftest", "--only", "", "--output", str(tmp_path)]) == 0
    for name in ("kill-matrix.jsonl", "kill-matrix.md", "kill-matrix.svg"):
        assert (tmp_path / name).read_text("utf-8") == (ROOT / "reports" / name).read_text("utf-8")


def test_selftest_refuses_a_prefix_that_fits_no_history(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["selftest", "--only", "clear.", "cleer."]) == 2
    assert "--only cleer.: no broken history has an id that begins so" in capsys.readouterr().err


@pytest.mark.usefixtures("_nothing_measured")
def test_selftest_judges_only_what_was_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", "--only", "model.short_index", "--output", str(tmp_path)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first == "model.short_index was not run"
    assert last.endswith("broken histories: 1, faults: 1")


def test_selftest_refuses_a_damaged_kill_matrix_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "kill_matrix", lambda *_, **__: pytest.fail("it measured"))
    (tmp_path / "kill-matrix.jsonl").write_text('{"history": 3}\n', encoding="utf-8")
    assert main(["selftest", "--only", "clear.", "--output", str(tmp_path)]) == 2
    assert "kill-matrix.jsonl, line 1: history: " in capsys.readouterr().err


def test_an_interrupted_selftest_keeps_the_rows_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[Row]:
        yield Row("memory", ())
        raise KeyboardInterrupt

    monkeypatch.setattr(selftest, "kill_matrix", interrupted)
    assert main(["selftest", "--output", str(tmp_path)]) == 130
    assert (
        f"stopped; the rows so far are in {tmp_path}/kill-matrix.jsonl" in capsys.readouterr().err
    )
    assert set(proofs.load(tmp_path / "kill-matrix.jsonl").rows) == {"memory"}


@pytest.mark.usefixtures("_nothing_measured")
def test_selftest_drops_histories_that_are_gone_even_if_nothing_is_measured(
    tmp_path: Path,
) -> None:
    proof = proofs.Proof({name: Row(name, ()) for name in ("memory", "clear.no_longer_there")})
    (tmp_path / "kill-matrix.jsonl").write_text(proofs.dump(proof), encoding="utf-8")
    main(["selftest", "--only", "model.short_index", "--output", str(tmp_path)])
    assert set(proofs.load(tmp_path / "kill-matrix.jsonl").rows) == {"memory"}


@pytest.mark.usefixtures("_nothing_measured")
def test_selftest_fails_if_the_proof_has_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (ROOT / "reports" / "kill-matrix.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "kill-matrix.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    assert main(["selftest", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("the control memory was not run\n")
