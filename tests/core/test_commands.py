"""The commands of `history-conformance`, except `bench` and `server`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chat_history_conformance import __version__
from chat_history_conformance.cli.main import main, parser
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.faulty import selftest

ROOT = Path(__file__).parents[2]
WRITTEN_BY_0_1_0 = ROOT / "tests" / "reports" / "report-0.1.0.json"
COMMANDS = ["contracts", "explain", "report", "server", "selftest", "campaign"]


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


@pytest.mark.xfail(reason="the kill matrix has no rows for the contracts of 0.2 yet", strict=True)
def test_selftest_writes_the_files_again_if_nothing_is_measured(tmp_path: Path) -> None:
    shutil.copy(ROOT / "reports" / "kill-matrix.jsonl", tmp_path)
    arguments = ["selftest", "--only", "no-such-history", "--no-power", "--output", str(tmp_path)]
    assert main(arguments) == 0
    for name in ("kill-matrix.jsonl", "kill-matrix.md", "kill-matrix.svg"):
        assert (tmp_path / name).read_text("utf-8") == (ROOT / "reports" / name).read_text("utf-8")


def test_selftest_refuses_a_damaged_kill_matrix_before_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "kill_matrix", lambda *_, **__: pytest.fail("it measured"))
    (tmp_path / "kill-matrix.jsonl").write_text('{"history": 3}\n', encoding="utf-8")
    assert main(["selftest", "--only", "clear.", "--output", str(tmp_path)]) == 2
    assert "kill-matrix.jsonl, line 1: history: " in capsys.readouterr().err


def test_selftest_fails_if_the_proof_has_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (ROOT / "reports" / "kill-matrix.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "kill-matrix.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    arguments = ["selftest", "--only", "no-such-history", "--no-power", "--output", str(tmp_path)]
    assert main(arguments) == 1
    assert capsys.readouterr().out.startswith("the control memory was not run\n")
