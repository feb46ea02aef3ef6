"""Files of reports: every format can be written, and wrong paths are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_history_conformance import reports
from tests.reports.samples import (
    EDGES,
    RULES,
    run,
)


@pytest.mark.parametrize("ending", reports.ENDINGS)
@pytest.mark.parametrize("name", EDGES)
def test_every_report_is_written_in_every_format_as_utf_8(
    name: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / f"report{ending.upper()}"
    reports.write_report(EDGES[name], path, RULES)
    assert path.read_bytes().decode("utf-8").endswith("\n")


@pytest.mark.parametrize("name", ["report.txt", "report", "report.json.gz", ".json"])
def test_an_unknown_ending_is_refused_with_a_list_of_all(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.json, \.md, \.html, \.svg") as refused:
        reports.write_report(run(), tmp_path / name)
    assert name in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a directory"):
        reports.check_path(tmp_path / "folder.json")
    with pytest.raises(ValueError, match="is not a directory"):
        reports.check_path(tmp_path / "file" / "deeper" / "report.json")
    reports.check_path(tmp_path / "not" / "there" / "yet.json")
    reports.check_path(Path("report.md"))
    assert not (tmp_path / "not").exists()
