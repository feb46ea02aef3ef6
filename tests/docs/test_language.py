"""The language of the project: see CONTRIBUTING.md for the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import plain_english

ROOT = Path(__file__).parents[2]
PATHS = [
    *(ROOT / name for name in ("src", "tests", "tools", "examples", "docs", "reports")),
    *sorted(ROOT.glob("*.md")),
]
FILES = [
    path
    for path in plain_english.files_below(PATHS)
    # The checker lists the words that it looks for.
    if path.name != "plain_english.py"
]


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_plain_english(path: Path) -> None:
    problems = [f"{one.line}: {one.advice}: {one.text[:80]}" for one in plain_english.check(path)]
    assert not problems


def test_docstrings_and_comments_rarely_hide_their_subject() -> None:
    code = [path for path in FILES if path.suffix == ".py" and (ROOT / "src") in path.parents]
    rates = plain_english.rates(code)
    # In 10,000 words pytest and Hypothesis have "where" 10 to 28 times and "what is" 1 to 2 times.
    assert rates["where"] <= 28
    assert rates["what is"] <= 4


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('"""What the history kept."""\n', "begin with a verb or a noun"),
        ('def f():\n    """Where it is."""\n', "begin with a verb or a noun"),
        ("x = 1  # told by nobody\n", "'told'"),  # plain: a sample
        ('print("it gives up at once")\n', "'gives up'"),  # plain: a sample
        ("def test_nobody_is_there(): ...\n", "'nobody'"),  # plain: a sample
        ('"""A class of its own."""\n', "'of its own'"),  # plain: a sample
        ('raise ValueError("this is no message")\n', "'is no message'"),  # plain: a sample
    ],
)
def test_the_check_finds_each_kind_of_problem(text: str, advice: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    [problem, *_] = plain_english.check(file)
    assert advice in problem.advice


def test_the_check_accepts_plain_text_code_and_allowed_lines(tmp_path: Path) -> None:
    module, page = tmp_path / "module.py", tmp_path / "page.md"
    word = "".join(["t", "old"])
    lines = ['"""Return the messages."""', f'TOLD = "{word}"', f"x = 1  # {word}  # plain: a name"]
    module.write_text("\n".join(lines))
    page.write_text(f"Plain text and `{word}` code.\n\n```\n{word}\n```\n")
    assert not [*plain_english.check(module), *plain_english.check(page)]
