"""Timelines: results over commits are added, kept, compared and drawn."""

from __future__ import annotations

import json
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

from chat_history_conformance.bench.measure import benchmark_file
from chat_history_conformance.bench.measure.results import Result
from chat_history_conformance.bench.report import html, markdown, tables, timeline
from chat_history_conformance.bench.report.timeline import Track
from chat_history_conformance.cli.main import main
from tests.bench.benchmark_run import COMMIT, real_run, rival, run_of, save

OTHER = "f" * 40


def results_of(*runs: Any) -> list[Result]:
    return [one for run in runs for one in benchmark_file.parse(json.dumps(run), "result.json")]


def track_of(*runs: Any) -> Track:
    [track] = timeline.tracks(results_of(*runs))
    return track


def commits(path: Path) -> list[str]:
    return [one.commit.id for one in timeline.load(path) if one.commit is not None]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the file of a test's timeline."""
    return tmp_path / "line.jsonl"


@pytest.fixture
def add(tmp_path: Path, kept: Path) -> Any:
    """Return a function that adds runs with the command and returns its exit status."""

    def add(*runs: Any, options: tuple[str, ...] = ()) -> int:
        paths = [save(tmp_path / f"{n}.json", run) for n, run in enumerate(runs)]
        return main(["bench", "history", str(kept), *map(str, paths), *options])

    return add


# The file


def test_each_commit_and_backend_is_a_line_of_json(add: Any, kept: Path) -> None:
    assert add(run_of(), run_of("kafka")) == 0
    assert add(run_of(commit=OTHER, day=2)) == 0
    lines = [json.loads(one) for one in kept.read_text("utf-8").splitlines()]
    assert [(one["format"], one["backend"], one["commit"]["id"]) for one in lines] == [
        (1, "sqlite", COMMIT),
        (1, "kafka", COMMIT),
        (1, "sqlite", OTHER),
    ]
    assert "node" not in kept.read_text("utf-8")


def test_results_are_equal_after_saving_and_loading(add: Any, kept: Path) -> None:
    runs = run_of(peers={"peer": rival(2.0)}, server="1 | 2"), run_of(commit=OTHER, day=2)
    assert add(*runs) == 0
    assert timeline.load(kept) == results_of(*runs)


def test_commits_are_sorted_by_their_time(add: Any, kept: Path) -> None:
    for commit, day in (("c" * 40, 3), ("a" * 40, 1), ("b" * 40, 2)):
        assert add(run_of(commit=commit, day=day)) == 0
    assert [one[0] for one in commits(kept)] == ["a", "b", "c"]


def test_the_same_commit_added_again_replaces_the_first(
    add: Any, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run_of(floor=rival(1.0)), run_of(commit=OTHER, day=2)) == 0
    assert add(run_of(floor=rival(3.0))) == 0
    assert "2 results, 1 new, 1 replaced" in capsys.readouterr().out
    first, _ = timeline.load(kept)
    assert first.operations[0].floor is not None
    assert first.operations[0].floor.ratio == 3.0


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"server": "9.1 (container)"},
        {"environment": {"cores": 64}},
        {"environment": {"machine": "arm64"}},
        {"environment": {"python": "3.99.0"}},
        {"payload": "plain"},
        {"backend": "kafka"},
    ],
)
def test_the_same_commit_from_another_environment_is_kept_too(
    add: Any, kept: Path, elsewhere: Any
) -> None:
    assert add(run_of()) == 0
    assert add(run_of(**elsewhere)) == 0
    assert commits(kept) == [COMMIT, COMMIT]


def test_a_newer_patch_release_of_python_is_the_same_environment(add: Any, kept: Path) -> None:
    python = real_run()["benchmarks"][0]["extra_info"]["environment"]["python"]
    series = python.rpartition(".")[0]
    assert add(run_of(environment={"python": f"{series}.98"})) == 0
    assert add(run_of(environment={"python": f"{series}.99"})) == 0
    assert commits(kept) == [COMMIT]


def test_a_commit_with_changes_does_not_replace_the_commit(add: Any, kept: Path) -> None:
    dirty = run_of()
    dirty["commit_info"]["dirty"] = True
    assert add(run_of()) == 0
    assert add(dirty) == 0
    assert [one.commit and one.commit.short for one in timeline.load(kept)] == [
        COMMIT[:9],
        f"{COMMIT[:9]}+",
    ]


def test_the_option_commit_names_the_commit(add: Any, kept: Path) -> None:
    assert add(run_of(commit="unversioned"), options=("--commit", "1.2.3")) == 0
    assert add(run_of(), options=("--commit", "release-1.2.3")) == 0
    assert [one.commit and one.commit.short for one in timeline.load(kept)] == [
        "1.2.3",
        "release-1.2.3",
    ]


def test_a_named_commit_can_be_an_abbreviation(add: Any, kept: Path) -> None:
    assert add(run_of(), options=("--commit", COMMIT[:8])) == 0
    [one] = timeline.load(kept)
    assert one.commit is not None
    assert (one.commit.id, one.commit.time) == (COMMIT, "2026-11-01T10:00:00+00:00")


def test_showing_a_timeline_does_not_write_it(add: Any, kept: Path, tmp_path: Path) -> None:
    assert add(run_of()) == 0
    before = kept.stat().st_ino, kept.stat().st_mtime_ns
    page = tmp_path / "new" / "page.html"
    assert main(["bench", "history", str(kept), "--html", str(page)]) == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == before


# Refusing


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("{", ":2: not JSON"),
        ("[]", ":2: not a line that `bench history` wrote"),
        ('{"format": 2}', ":2: has format 2, and this version reads 1"),
        ('{"format": 1}', ":2: has no 'backend'"),
    ],
)
def test_a_broken_line_is_refused_with_its_number_and_left_alone(
    add: Any, kept: Path, capsys: pytest.CaptureFixture[str], broken: str, reason: str
) -> None:
    assert add(run_of()) == 0
    text = f"{kept.read_text('utf-8')}{broken}\n"
    kept.write_text(text, encoding="utf-8")
    assert add(run_of(commit=OTHER, day=2)) == 2
    assert f"{kept}{reason}" in capsys.readouterr().err
    assert kept.read_text("utf-8") == text


def test_a_refused_result_leaves_the_file_alone(
    add: Any, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run_of()) == 0
    before = kept.read_bytes()
    bad = run_of(commit=OTHER, day=2)
    del bad["benchmarks"][1]["stats"]["median"]
    assert add(run_of(commit="a" * 40), bad) == 2
    assert "1.json: benchmarks[1].stats has no 'median'" in capsys.readouterr().err
    assert add(run_of(commit="unversioned")) == 2
    assert "name the commit with --commit ID" in capsys.readouterr().err
    assert add(run_of(commit=OTHER), run_of(commit=OTHER)) == 2
    assert "is given twice" in capsys.readouterr().err
    assert add(run_of(commit=OTHER), options=("--html", str(tmp_path))) == 2
    assert "is a directory" in capsys.readouterr().err
    assert kept.read_bytes() == before


def test_an_empty_timeline_without_results_is_refused(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "history", str(kept)]) == 2
    assert "has no results: name a RESULT.json" in capsys.readouterr().err
    assert not kept.exists()


def test_a_failed_write_leaves_the_old_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline.save(kept, results_of(run_of()))
    before = kept.read_bytes()

    def fail(number: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        timeline.save(kept, results_of(run_of(), run_of(commit=OTHER)))
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_file_behind_a_link_is_replaced(tmp_path: Path, kept: Path) -> None:
    kept.symlink_to(tmp_path / "real.jsonl")
    timeline.save(kept, results_of(run_of()))
    assert kept.is_symlink()
    assert commits(tmp_path / "real.jsonl") == [COMMIT]


# Comparing


def test_results_that_can_be_compared_are_one_series() -> None:
    track = track_of(run_of(), run_of(commit=OTHER, day=2))
    [series] = track.series
    assert [one.commit and one.commit.id for one in series.results] == [COMMIT, OTHER]
    assert timeline.separate(track) == []


@pytest.mark.parametrize(
    ("elsewhere", "reason"),
    [
        ({"server": "9.1 (container)"}, r"another server \(9.1 \(container\); now none\)"),
        ({"environment": {"cores": 64}}, r"another machine \(.*64 cores; now .*\)"),
        ({"environment": {"python": "3.99.0"}}, r"another Python \(CPython 3.99; now CPython"),
        ({"payload": "plain"}, r"another payload \(plain; now mixed\)"),
    ],
)
def test_results_that_cannot_be_compared_have_a_reason(elsewhere: Any, reason: str) -> None:
    track = track_of(run_of(**elsewhere), run_of(commit=OTHER, day=2))
    [sentence] = timeline.separate(track)
    assert f"The results at {COMMIT[:9]} cannot be compared" in sentence
    assert re.search(reason, sentence)
    assert sentence in markdown.timeline([track]).replace("\\", "")
    assert timeline.changes(track.series[0]) == []


def test_many_commits_that_cannot_be_compared_are_counted() -> None:
    older = [run_of(commit=f"{n:08}{COMMIT}", day=n, server="old") for n in range(1, 9)]
    [sentence] = timeline.separate(track_of(*older, run_of(commit=OTHER, day=20)))
    assert "at 8 commits from 000000010 to 000000080 cannot" in sentence


def test_a_slowdown_relative_to_the_floor_is_reported() -> None:
    track = track_of(
        run_of(floor=rival(1.0, 1.1)), run_of(commit=OTHER, day=2, floor=rival(1.5, 1.1))
    )
    assert all(change.is_slower for change in timeline.changes(track.series[0]))
    assert f"2 operations got worse at {OTHER[:9]} since {COMMIT[:9]}" in tables.timeline_headline(
        track
    )
    assert tables.change_sentences(track)[0] == (
        "`add_1[sync]` got slower, 1.50 times its floor (1.36 to 1.65), before 1.00 (0.909 to 1.10)"
    )


def test_a_slower_machine_is_not_a_slowdown() -> None:
    slow_day = run_of(commit=OTHER, day=2)
    for one in slow_day["benchmarks"]:
        one["stats"]["median"] *= 5
        one["stats"]["data"] = [5 * seconds for seconds in one["stats"]["data"]]
    track = track_of(run_of(), slow_day)
    assert timeline.changes(track.series[0]) == []


def test_intervals_that_overlap_are_not_a_change() -> None:
    track = track_of(
        run_of(floor=rival(1.0, 1.2)), run_of(commit=OTHER, day=2, floor=rival(1.2, 1.2))
    )
    assert timeline.changes(track.series[0]) == []
    assert "nothing got worse" in tables.timeline_headline(track)


def test_a_speedup_is_reported_and_is_not_worse() -> None:
    track = track_of(
        run_of(floor=rival(2.0)), run_of(commit=OTHER, day=2, floor=rival(1.0), round_trips=1)
    )
    assert all("got faster" in one for one in tables.change_sentences(track))
    assert "nothing got worse" in tables.timeline_headline(track)


def test_one_more_round_trip_is_reported_for_any_times() -> None:
    now = run_of(commit=OTHER, day=2, round_trips=6)
    track = track_of(run_of(round_trips=5), now)
    assert "`add_1[sync]` takes 6 round trips, before 5" in tables.change_sentences(track)
    assert all(change.is_worse for change in timeline.changes(track.series[0]))


def test_round_trips_that_were_not_counted_are_not_a_change() -> None:
    unknown = run_of(commit=OTHER, day=2, round_trips=None, round_trips_unknown="why")
    assert timeline.changes(track_of(run_of(round_trips=5), unknown).series[0]) == []


def test_a_new_operation_is_not_compared() -> None:
    before = run_of(floor=rival(1.0))
    del before["benchmarks"][0]
    track = track_of(before, run_of(commit=OTHER, day=2, floor=rival(9.0)))
    assert [change.now.label for change in timeline.changes(track.series[0])] == ["read_100[async]"]
    assert html.timeline([track])


# Drawing


def _lines(picture: str) -> list[int]:
    """Return the number of points of each line in a picture."""
    root = ElementTree.fromstring(picture)
    paths = [path.attrib for path in root.iter("{http://www.w3.org/2000/svg}path")]
    return [path["d"].count("L") + 1 for path in paths if path["class"].startswith("line ")]


def test_lines_connect_only_results_that_can_be_compared() -> None:
    here = [run_of(commit=f"{n}" * 40, day=n) for n in (1, 2, 3)]
    there = [run_of(commit=f"{n}" * 40, day=n, server="other") for n in (4, 5)]
    joined = _lines(html.timeline_picture([track_of(*here)]))
    # There are two operations, each with the ratio, the round trips and the time.
    assert joined == [3] * 6
    assert sorted(_lines(html.timeline_picture([track_of(*here, *there)]))) == [2] * 6 + [3] * 6


def test_the_tip_of_a_mark_has_the_commit_and_the_interval() -> None:
    track = track_of(run_of(floor=rival(1.5, 1.1)), run_of(commit=OTHER, day=2))
    root = ElementTree.fromstring(html.timeline_picture([track]))
    tips = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(re.fullmatch(rf"{COMMIT[:9]}, .*: 1\.50 \(1\.36 to 1\.65\)", one) for one in tips)
    assert any("round trips" in one for one in tips)


@pytest.mark.parametrize("count", [1, 2, 60])
def test_any_number_of_commits_can_be_drawn(count: int) -> None:
    runs = [
        run_of(commit=f"{n:x}".rjust(40, "0"), day=1 + n % 28, floor=None, round_trips=None)
        for n in range(count)
    ]
    for run in runs:
        for one in run["benchmarks"]:
            one["extra_info"]["round_trips_unknown"] = "not counted"
    track = track_of(*runs)
    root = ElementTree.fromstring(html.timeline_picture([track]))
    width = float(root.attrib["width"])
    places = [float(one.attrib["cx"]) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(places) >= count
    assert all(0 <= place <= width for place in places)


def test_a_page_of_a_timeline_loads_nothing_and_shows_markup_as_text() -> None:
    nasty = '<img src="//example.test">'
    tracks = timeline.tracks(
        results_of(
            run_of(nasty, title=nasty, server=nasty),
            run_of(nasty, title=nasty, commit=nasty, day=2),
            run_of("sqlite"),
        )
    )
    page = html.timeline(tracks)
    assert "<img" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    ElementTree.fromstring(html.timeline_picture(tracks))


def test_the_markdown_has_the_newest_commit_next_to_the_one_before() -> None:
    track = track_of(
        run_of(floor=rival(1.0)), run_of(commit=OTHER, day=2, floor=rival(1.5), round_trips=6)
    )
    shown = markdown.timeline([track])
    assert f"| operation | ours / floor, {OTHER[:9]} | ours / floor, {COMMIT[:9]} |" in shown
    assert "| add 1 (sync) | 1.50 (1.36 to 1.65) | 1.00 (0.909 to 1.10) | 6 |" in shown
