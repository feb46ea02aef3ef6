"""The CI recipes use existing options and commands, and files that an earlier step wrote."""

from __future__ import annotations

import argparse
import configparser
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_history_conformance.cli.main import parser

pytest.importorskip("pytest_benchmark", reason="the recipes use its options")

DOCS = Path(__file__).parents[2] / "docs"
GITHUB = DOCS / "recipes" / "github-actions.yml"
GITLAB = DOCS / "recipes" / "gitlab-ci.yml"
TOX = DOCS / "recipes" / "tox.ini"
PAGE = DOCS / "ci.md"

Command = list[str]

# The arguments in a recipe that write a file, and the files that it uses.
_WRITTEN = re.compile(r"(?:--(?:history-report|junit-xml|benchmark-json|md|html|json)[= ]|> )(\S+)")
_FILE = re.compile(r"(?<![\w/.-])(?:history|speed|timeline|comment)\.(?:md|html|json|xml|\*)(?!\w)")


def github_jobs() -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = yaml.safe_load(GITHUB.read_text("utf-8"))["jobs"]
    return jobs


def gitlab_jobs() -> dict[str, dict[str, Any]]:
    recipe = yaml.safe_load(GITLAB.read_text("utf-8"))
    return {name: job for name, job in recipe.items() if "script" in job}


def tox_environments() -> dict[str, list[str]]:
    recipe = configparser.ConfigParser(interpolation=None)
    recipe.read(TOX, "utf-8")
    return {
        name.removeprefix("testenv:"): recipe[name]["commands"].replace("\\\n", " ").split("\n")
        for name in recipe.sections()
        if name.startswith("testenv:")
    }


def steps_of_jobs() -> dict[str, list[str]]:
    """Return the texts of the steps of each job in order, including steps that keep files."""
    jobs = {
        f"GitHub {name}": [
            f"{step.get('if', '')}\n{step.get('run', '')}\n{step.get('with', {}).get('path', '')}"
            for step in job["steps"]
        ]
        for name, job in github_jobs().items()
    }
    for name, job in gitlab_jobs().items():
        kept = job.get("artifacts", {})
        jobs[f"GitLab {name}"] = [
            *job["script"],
            *job.get("after_script", []),
            " ".join([*kept.get("paths", []), *kept.get("reports", {}).values()]),
        ]
    jobs.update((f"tox {name}", commands) for name, commands in tox_environments().items())
    return jobs


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of pytest and of this suite in a text, as lists of words."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        words = shlex.split(line) if re.match(r"\s*(pytest|history-conformance) ", line) else []
        if words:
            yield words


def all_commands() -> list[Command]:
    texts = [text for steps in steps_of_jobs().values() for text in steps]
    blocks = re.findall(r"^```\w*\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [command for text in [*texts, *blocks] for command in commands(text)]


def offered_by(parser: argparse.ArgumentParser, words: Command) -> tuple[Command, set[str]]:
    """Return the name of the command in `words`, and its options."""
    name: Command = []
    while found := [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]:
        word = words[len(name)] if len(words) > len(name) else ""
        if word not in found[0].choices:
            raise AssertionError(f"{' '.join(words)}: there is no command {word!r}")
        parser = found[0].choices[word]
        name.append(word)
    return name, set(parser._option_string_actions)


def test_every_recipe_has_the_four_jobs() -> None:
    jobs = {"conformance", "round-trips", "speed", "timeline"}
    assert set(github_jobs()) == jobs
    assert set(gitlab_jobs()) == jobs
    assert set(tox_environments()) == {*jobs, "write-round-trips"}
    for name, steps in steps_of_jobs().items():
        assert [command for text in steps for command in commands(text)], name


def test_every_option_of_pytest_exists() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    offered = set(re.findall(r"(?<![\w-])--[\w-]+", listed))
    everything = "".join(path.read_text("utf-8") for path in (GITHUB, GITLAB, TOX, PAGE))
    used = set(re.findall(r"(?<![\w-])--(?:history|benchmark|junit)[\w-]*", everything))
    used |= {
        word.partition("=")[0]
        for command in all_commands()
        if command[0] == "pytest"
        for word in command
        if word.startswith("--")
    }
    assert "--history-max-round-trips" in used
    assert used <= offered


def test_every_command_and_option_of_the_suite_exists() -> None:
    seen = set()
    for program, *words in all_commands():
        if program == "history-conformance":
            name, offered = offered_by(parser(), words)
            seen.add(" ".join(name))
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert used <= offered, words
    assert {"bench compare", "bench history"} <= seen


def test_options_in_comments_exist() -> None:
    _, offered = offered_by(parser(), ["bench", "compare"])
    for path in (GITHUB, GITLAB, TOX):
        advised = re.findall(r"(--\S+) kafka=", path.read_text("utf-8"))
        assert advised, path.name
        assert set(advised) <= offered


@pytest.mark.parametrize("name", steps_of_jobs())
def test_every_file_that_a_step_uses_was_written_by_an_earlier_step(name: str) -> None:
    written: set[str] = set()
    used: set[str] = set()
    for text in steps_of_jobs()[name]:
        written |= set(_WRITTEN.findall(text))
        for file in _FILE.findall(text):
            stem, _, ending = file.rpartition(".")
            known = [one for one in written if one == file or ending == "*"]
            assert any(one.startswith(f"{stem}.") for one in known), f"{file} in: {text}"
            used.add(file)
    assert used or name.endswith("round-trips"), "no file was recognized"


def test_commands_contain_no_values_that_an_outsider_can_choose() -> None:
    for name, job in github_jobs().items():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{name}: a value belongs into env"
            assert re.fullmatch(r"[\w./-]+@v\d+", step.get("uses", "none@v0"))


def test_each_token_has_only_the_permissions_that_its_job_needs() -> None:
    recipe = yaml.safe_load(GITHUB.read_text("utf-8"))
    assert recipe["permissions"] == {"contents": "read"}
    assert {
        name: job["permissions"] for name, job in recipe["jobs"].items() if "permissions" in job
    } == {
        "speed": {"contents": "read", "pull-requests": "write"},
        "timeline": {"contents": "write"},
    }
    # Only the job that pushes keeps the token in the checkout.
    for name, job in recipe["jobs"].items():
        [checkout] = [one for one in job["steps"] if "checkout@" in one.get("uses", "")]
        assert checkout.get("with", {}).get("persist-credentials", True) == (name == "timeline")
