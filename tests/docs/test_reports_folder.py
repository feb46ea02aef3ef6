"""The files in `reports/`: short, and from runs of the current catalogue."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import chat_history_conformance
from chat_history_conformance.contracts import catalogue
from tools import build_reports, campaign_reports

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "reports").glob("*/results*.json"))


def test_reports_have_at_most_15000_lines() -> None:
    paths = [path for path in (ROOT / "reports").rglob("*") if path.is_file()]
    ignored = {"__pycache__", ".hypothesis", ".pytest_cache"}
    kept = [path for path in paths if not ignored & set(path.parts)]
    assert kept
    assert sum(path.read_bytes().count(b"\n") for path in kept) <= 15_000


@pytest.mark.parametrize("path", RESULTS, ids=[path.parent.name for path in RESULTS])
def test_results_are_from_the_current_catalogue_and_version(path: Path) -> None:
    report = json.loads(path.read_text("utf-8"))
    modes = sum(len(contract.modes) for contract in catalogue.load().values())
    assert {backend["counts"]["declared"] for backend in report["backends"]} == {modes}
    assert report["suite"]["version"] == chat_history_conformance.__version__


@pytest.mark.parametrize("path", RESULTS, ids=[path.parent.name for path in RESULTS])
def test_results_have_one_contract_in_a_line(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == build_reports.compact(json.loads(text))


def test_compact_json_is_the_same_report() -> None:
    report = {
        "schema": "x",
        "suite": {"version": "1"},
        "backends": [
            {"name": "a", "contracts": [{"id": "b"}, {"id": "c"}]},
            {"name": "d", "contracts": []},
        ],
    }
    text = build_reports.compact(report)
    assert json.loads(text) == report
    assert '{"id": "b"},\n' in text


def test_the_matrix_is_made_from_the_results() -> None:
    reports = {path.parent.name: json.loads(path.read_text("utf-8")) for path in RESULTS}
    page = (ROOT / "reports" / "matrix.md").read_text("utf-8")
    assert page == build_reports.matrix_page(reports)
    assert "| ordering |" in page


def test_campaigns_of_our_backends_found_no_defect() -> None:
    planned = {one[:3]: one for one in campaign_reports.PLANNED}
    results = campaign_reports.load()
    assert results
    for one in results:
        campaign = one.campaign
        wanted = planned[campaign.backend, campaign.nodes, campaign.seed]
        assert campaign.events == len(one.timeline.faults)
        assert campaign.command == wanted.command
        ours = not wanted.declared_in
        assert (campaign.events >= 30 and one.clean) or not ours, wanted


def test_the_page_of_campaigns_is_made_from_their_results() -> None:
    page = (ROOT / "reports" / "campaigns.md").read_text("utf-8")
    assert page == campaign_reports.page(campaign_reports.load())


def test_an_unknown_part_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        build_reports.main(["kafak"])
    assert "there is no part 'kafak'; the parts are contracts" in capsys.readouterr().err


def test_tox_has_an_environment_that_builds_the_reports() -> None:
    tox = (ROOT / "tox.ini").read_text("utf-8")
    assert "[testenv:reports]" in tox
    assert "tools.build_reports" in tox


def test_every_result_is_tracked_by_git() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "reports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    assert {str(path.relative_to(ROOT)) for path in RESULTS} <= set(listed.stdout.split())
