"""The command `completion`: the scripts are valid, and complete what the suite knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chat_history_conformance.cli.completion import SHELLS
from chat_history_conformance.cli.main import main
from chat_history_conformance.contracts import catalogue

# Bash completes the word at index COMP_CWORD and returns the answers in COMPREPLY.
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
function="$(complete -p history-conformance | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
"$function" history-conformance "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write the script of a shell into a directory."""
    assert main(["completion", shell]) == 0
    path = directory / f"history-conformance.{shell}"
    path.write_text(capsys.readouterr().out, "utf-8")
    return path


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_accepts_the_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(shell, tmp_path, capsys)
    for name in ("clear.empties", "explain", "kafka-consuming"):
        assert name in path.read_text("utf-8")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["expl"], ["explain"]),
        (["explain", "clear."], [name for name in catalogue.load() if name.startswith("clear.")]),
        (["contracts", "fid"], ["fidelity"]),
        (["campaign", "--backend", "kaf"], ["kafka", "kafka-consuming"]),
        (["bench", "compare", "--backend", "sql"], ["sqlite"]),
    ],
)
def test_bash_completes_what_the_suite_knows(
    words: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script("bash", tmp_path, capsys)
    command = ["bash", "--norc", "-c", COMPLETE, "bash", str(path), "history-conformance", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == sorted(expected)


def test_completion_without_shtab_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    expected = "pip install 'chat-history-conformance[completion]'"
    assert expected in capsys.readouterr().err
