"""The documentation agrees with the code."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chat_history_conformance import faulty
from chat_history_conformance.cli.main import main
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import capabilities

ROOT = Path(__file__).parents[2]


def test_the_page_of_contracts_is_generated_from_the_catalogue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["contracts", "--md"]) == 0
    assert (ROOT / "docs" / "contracts.md").read_text("utf-8") == capsys.readouterr().out


def test_the_readme_counts_contracts_and_broken_histories() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    contracts = catalogue.load().values()
    modes = sum(len(contract.modes) for contract in contracts)
    assert f"against {len(contracts)} rules" in readme
    assert f"against {len(contracts)} rules" in (ROOT / "docs" / "index.md").read_text("utf-8")
    assert f"{len(contracts)} contracts in all, {modes} with each mode counted" in readme
    assert f"one of {len(faulty.load())} broken histories" in readme
    for family in {contract.family for contract in contracts}:
        number = sum(contract.family == family for contract in contracts)
        assert f"| {family} | {number} |" in readme


def test_the_readme_shows_a_failure_as_a_run_prints_it(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## Read a failure")[2]
    [history, shown] = re.findall(r"^```\w*\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "mine.py").write_text(history, "utf-8")
    contract = "mine:SystemFirst::ordering.across_calls[sync]"
    ignored = ("CI", "PYTEST_", "COV_", "HISTORY_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ignored)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--history-backend=mine:SystemFirst", contract],
        cwd=tmp_path,
        env={**environment, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown in done.stdout, done.stdout


def test_every_capability_is_explained() -> None:
    page = (ROOT / "docs" / "adopting.md").read_text("utf-8")
    for name in capabilities.catalogue():
        assert f"`{name}" in page, name


def test_the_page_on_running_shows_a_contract_as_it_is() -> None:
    page = (ROOT / "docs" / "running.md").read_text("utf-8")
    source = inspect.getsource(catalogue.load()["clear.empties"].body)
    assert f"```python\ndef {source.partition('def ')[2]}```" in page


def test_explain_prints_a_contract_with_its_broken_histories(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "clear.empties"]) == 0
    expected = capsys.readouterr().out
    assert catalogue.load()["clear.empties"].title in expected
    for part in ("Rule:", "From:", "Usual cause:", "What to do:", "Seen in:", "Broken by:"):
        assert part in expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["explain", "clear.emptys"], "Did you mean 'clear.empties'?"),
        (["contracts", "orderin"], "Did you mean 'ordering'?"),
        (["report", "missing.json"], "missing.json"),
    ],
)
def test_wrong_arguments_are_reported_with_the_next_step(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_no_file_contains_a_path_of_this_machine() -> None:
    places = [re.escape(f"{one}/") for one in (ROOT, Path.home()) if one != Path(one.anchor)]
    named = re.compile(rf"(?<![\w.~*-])(?:{'|'.join(places)})")
    for folder in ("src", "docs", "reports", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in (".py", ".md", ".json", ".jsonl", ".html", ".svg")
                and path.name != Path(__file__).name
            ):
                assert not named.search(path.read_text("utf-8")), path
