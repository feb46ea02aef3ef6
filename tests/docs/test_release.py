"""The files for a code host and for releases are valid and agree with the project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import chat_history_conformance
from chat_history_conformance.cli.main import parser
from chat_history_conformance.reports import listing

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]-*.yml"))
POLICY = (ROOT / "docs" / "policy.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-workflows", "docs/recipes/github-actions.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[0-9]-*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("gitlab-ci", "docs/recipes/gitlab-ci.yml"),
        ("readthedocs", ".readthedocs.yaml"),
    ],
)
def test_a_file_for_a_service_follows_the_schema_of_the_service(schema: str, pattern: str) -> None:
    paths = [str(path) for path in ROOT.glob(pattern)]
    assert paths
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_false_alarm_is_the_first_form_for_an_issue() -> None:
    assert [path.stem for path in FORMS] == ["1-false-alarm", "2-missed-defect", "3-bug"]


def test_ci_runs_what_anybody_can_run() -> None:
    assert "bash .ci/run" in steps(".github/workflows/ci.yml", "ci")


def test_a_release_is_published_after_both_distributions_were_tested() -> None:
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    publish = release["jobs"]["publish"]
    assert sorted(publish["needs"]) == ["sdist", "wheel"]
    used = [step["uses"].partition("@")[0] for step in publish["steps"]]
    assert used == [
        "actions/download-artifact",
        "actions/attest-build-provenance",
        "pypa/gh-action-pypi-publish",
    ]
    writes = {name for name, right in publish["permissions"].items() if right == "write"}
    assert writes == {"id-token", "attestations"}
    assert release["permissions"] == {"contents": "read"}
    assert "twine check --strict dist/*" in steps(".github/workflows/release.yml", "build")


def steps(workflow: str, job: str) -> list[str]:
    """Return the commands of a job."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / workflow).read_text("utf-8"))
    return [step["run"] for step in loaded["jobs"][job]["steps"] if "run" in step]


def test_the_changelog_has_one_open_version_and_closes_the_others() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+) \((.*)\)$", text, re.MULTILINE)
    assert len(versions) == len(re.findall(r"^## ", text, re.MULTILINE))
    (newest, state), *older = versions
    current = chat_history_conformance.__version__
    assert current.partition(".dev")[0] == newest
    assert (state == "unreleased") == (".dev" in current)
    assert older
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in older)


def test_the_policy_names_the_bounds_of_the_dependencies() -> None:
    rows = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+) \|", POLICY, re.MULTILINE))
    shown = {name.lower(): text.strip() for name, text in rows.items()}
    checked = 0
    for requirement in PROJECT["dependencies"]:
        name, low, high = re.fullmatch(r"([\w-]+)>=([\d.]+),<(\d+)", requirement).groups()  # type: ignore[union-attr]
        if name in shown:
            assert shown[name] == f"{low} to {int(high) - 1}"
            checked += 1
    assert checked == 4
    assert PROJECT["requires-python"] == ">=3.11"


def test_tox_checks_exactly_the_lowest_versions() -> None:
    section = (ROOT / "tox.ini").read_text("utf-8").partition("[testenv:lowest]")[2]
    pinned = dict(re.findall(r"^    ([\w-]+)==([\d.]+)$", section, re.MULTILINE))
    for requirement in PROJECT["dependencies"]:
        name, low = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        assert pinned[name].startswith(low), requirement


def test_the_page_of_commands_describes_every_field_and_command() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    schema = json.loads(listing.generated_schema())
    fields = [*schema["properties"], *schema["$defs"]["contract"]["properties"]]
    assert re.findall(r"^\| `(\w+)` \| (?:string|list)", page, re.MULTILINE) == fields
    [commands] = [a for a in parser()._actions if a.choices and not a.option_strings]
    for name in commands.choices or ():
        assert f"| `{name}" in page, name
