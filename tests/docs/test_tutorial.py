"""The tutorial works: its commands print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SCRIPT = re.compile(r"run this script:\n\n((?:    .*\n|\n)+)")


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of each block of code."""
    return _BLOCK.findall(PAGE.read_text("utf-8"))


def groups(shown: str) -> Iterator[str]:
    """Yield the rows of lines that the page shows without a gap."""
    for left_out, lines in groupby(shown.splitlines(), lambda line: line == "..."):
        if not left_out:
            yield "\n".join(lines)


def stable(text: str) -> str:
    """Return an output without its times."""
    return re.sub(r"\d+\.\d+ ?s\b", "N s", text)


def missing(shown: str, output: str) -> list[str]:
    """Return what a page shows and a command did not print."""
    return [group for group in groups(shown) if f"\n{stable(group)}\n" not in f"\n{stable(output)}"]


def run(command: str, directory: Path) -> str:
    """Run a command of the tutorial and return what it printed."""
    program, _, arguments = command.partition(" ")
    words = {"pytest": ["-m", "pytest"], "python": []}[program] + arguments.split()
    ignored = ("CI", "PYTEST_", "COV_", "HISTORY_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ignored)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        env={**environment, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def test_each_command_prints_what_the_tutorial_shows(tmp_path: Path) -> None:
    script, commands = "", 0
    for language, text in blocks():
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(text, "utf-8")
        if language != "console":
            continue
        command, _, shown = text.removeprefix("$ ").partition("\n")
        if command == "python failure.py":
            (tmp_path / "failure.py").write_text(script, "utf-8")
        output = run(command, tmp_path)
        for group in missing(shown, output):
            pytest.fail(f"{command} did not print:\n{group}\n\nIt printed:\n{output}")
        if found := _SCRIPT.search(output):
            script = textwrap.dedent(found.group(1))
        commands += 1
    assert commands == 8


def test_each_run_of_the_tutorial_shows_its_verdict() -> None:
    runs = [text for language, text in blocks() if text.startswith("$ pytest ")]
    verdicts = [text.splitlines()[-1].partition(": ")[2] for text in runs]
    assert all("CONFORMANT" in verdict for verdict in verdicts)
    assert verdicts[-1].startswith("CONFORMANT (without durable)")
    assert sum(verdict.startswith("CONFORMANT") for verdict in verdicts) == 2


@pytest.mark.parametrize(
    ("shown", "output", "expected"),
    [
        ("...\na\nb\n...\nc", "x\na\nb\ny\nc\n", []),
        ("a\nb", "a\nx\nb\n", ["a\nb"]),
        ("passed in 1.20s", "passed in 9.01s\n", []),
        ("verdict: 1", "verdict: 12\n", ["verdict: 1"]),
    ],
)
def test_a_line_that_a_command_does_not_print_is_found(
    shown: str, output: str, expected: list[str]
) -> None:
    assert missing(shown, output) == expected
