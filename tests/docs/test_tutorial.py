"""The tutorial works: its commands print what the page shows."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.docs import shown

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
_SCRIPT = re.compile(r"run this script:\n\n((?:    .*\n|\n)+)")


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of each block of code."""
    return shown.blocks(PAGE.read_text("utf-8"))


def test_each_command_prints_what_the_tutorial_shows(tmp_path: Path) -> None:
    script, commands = "", 0
    for language, text in blocks():
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(text, "utf-8")
        if language != "console":
            continue
        command, _, expected = text.removeprefix("$ ").partition("\n")
        if command == "python failure.py":
            (tmp_path / "failure.py").write_text(script, "utf-8")
        output = shown.run(command, tmp_path).stdout
        for group in shown.missing(expected, output):
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
    ("text", "output", "expected"),
    [
        ("...\na\nb\n...\nc", "x\na\nb\ny\nc\n", []),
        ("a\nb", "a\nx\nb\n", ["a\nb"]),
        ("passed in 1.20s", "passed in 9.01s\n", []),
        ("verdict: 1", "verdict: 12\n", ["verdict: 1"]),
    ],
)
def test_a_line_that_a_command_does_not_print_is_found(
    text: str, output: str, expected: list[str]
) -> None:
    assert shown.missing(text, output) == expected
