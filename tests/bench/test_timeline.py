"""A line of results over commits: added to, kept whole, parted where none can compare, drawn."""

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

from chat_history_conformance.bench.measure import results
from chat_history_conformance.bench.measure.results import Result
from chat_history_conformance.bench.report import timeline as line
from chat_history_conformance.bench.report import timeline_pages as line_pages
from chat_history_conformance.bench.report.timeline import Track
from chat_history_conformance.cli.main import main
from tests.bench.benchmark_run import COMMIT, real_run, rival, run_of, save

OTHER = "f" * 40


def results_of(*runs: Any) -> list[Result]:
    return [one for run in runs for one in results.parse(json.dumps(run), "result.json")]


def track_of(*runs: Any) -> Track:
    [track] = line.tracks(results_of(*runs))
    return track


def commits(path: Path) -> list[str]:
    return [one.commit.id for one in line.load(path) if one.commit is not None]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the line of a test is."""
    return tmp_path / "line.jsonl"


@pytest.fixture
def add(tmp_path: Path, kept: Path) -> Any:
    """Add runs to the line by the command, and return its exit status."""

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


def test_a_line_gives_back_what_was_put_into_it(add: Any, kept: Path) -> None:
    runs = run_of(peers={"peer": rival(2.0)}, server="1 | 2"), run_of(commit=OTHER, day=2)
    assert add(*runs) == 0
    assert line.load(kept) == results_of(*runs)


def test_commits_are_in_the_order_in_which_they_were_made(add: Any, kept: Path) -> None:
    for commit, day in (("c" * 40, 3), ("a" * 40, 1), ("b" * 40, 2)):
        assert add(run_of(commit=commit, day=day)) == 0
    assert [one[0] for one in commits(kept)] == ["a", "b", "c"]


def test_the_same_commit_added_again_takes_the_place_of_the_first(
    add: Any, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run_of(floor=rival(1.0)), run_of(commit=OTHER, day=2)) == 0
    assert add(run_of(floor=rival(3.0))) == 0
    assert "2 results, 1 new, 1 replaced" in capsys.readouterr().out
    first, _ = line.load(kept)
    assert first.operations[0].floor is not None
    assert first.operations[0].floor.ratio.value == 3.0


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"server": "9.1 (container)"},
        {"environment": {"cores": 64}},
        {"environment": {"machine": "arm64"}},
        {"environment": {"python": "3.99.0"}},
        {"backend": "kafka"},
    ],
)
def test_the_same_commit_from_elsewhere_stands_beside_it(
    add: Any, kept: Path, elsewhere: Any
) -> None:
    assert add(run_of()) == 0
    assert add(run_of(**elsewhere)) == 0
    assert commits(kept) == [COMMIT, COMMIT]


def test_a_newer_patch_release_of_python_is_no_other_place(add: Any, kept: Path) -> None:
    python = real_run()["benchmarks"][0]["extra_info"]["environment"]["python"]
    series = python.rpartition(".")[0]
    assert add(run_of(environment={"python": f"{series}.98"})) == 0
    assert add(run_of(environment={"python": f"{series}.99"})) == 0
    assert commits(kept) == [COMMIT]


def test_what_is_more_than_its_commit_does_not_take_the_place_of_the_commit(
    add: Any, kept: Path
) -> None:
    dirty = run_of()
    dirty["commit_info"]["dirty"] = True
    assert add(run_of()) == 0
    assert add(dirty) == 0
    assert [one.commit and one.commit.short for one in line.load(kept)] == [
        COMMIT[:9],
        f"{COMMIT[:9]}+",
    ]


def test_a_commit_can_be_named(add: Any, kept: Path) -> None:
    assert add(run_of(commit="unversioned"), options=("--commit", "1.2.3")) == 0
    assert add(run_of(), options=("--commit", "release-1.2.3")) == 0
    assert [one.commit and one.commit.short for one in line.load(kept)] == [
        "1.2.3",
        "release-1.2.3",
    ]


def test_a_named_commit_may_be_the_beginning_of_the_known_one(add: Any, kept: Path) -> None:
    assert add(run_of(), options=("--commit", COMMIT[:8])) == 0
    [one] = line.load(kept)
    assert one.commit is not None
    assert (one.commit.id, one.commit.time) == (COMMIT, "2026-11-01T10:00:00+00:00")


def test_a_line_is_shown_without_being_written(add: Any, kept: Path, tmp_path: Path) -> None:
    assert add(run_of()) == 0
    before = kept.stat()
    page = tmp_path / "new" / "page.html"
    assert main(["bench", "history", str(kept), "--html", str(page)]) == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert kept.stat() == before


# What is refused


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("{", ":2: not JSON"),
        ("[]", ":2: is not a line that `bench history` wrote"),
        ('{"format": 2}', ":2: is of format 2, and this version reads 1"),
        ('{"format": 1}', ":2: lacks 'backend'"),
    ],
)
def test_a_broken_line_is_told_by_its_number_and_left_alone(
    add: Any, kept: Path, capsys: pytest.CaptureFixture[str], broken: str, told: str
) -> None:
    assert add(run_of()) == 0
    text = f"{kept.read_text('utf-8')}{broken}\n"
    kept.write_text(text, encoding="utf-8")
    assert add(run_of(commit=OTHER, day=2)) == 2
    assert f"{kept}{told}" in capsys.readouterr().err
    assert kept.read_text("utf-8") == text


def test_a_refused_result_leaves_the_line_alone(
    add: Any, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run_of()) == 0
    before = kept.read_bytes()
    bad = run_of(commit=OTHER, day=2)
    del bad["benchmarks"][1]["stats"]["median"]
    assert add(run_of(commit="a" * 40), bad) == 2
    assert "1.json: benchmarks[1].stats: lacks 'median'" in capsys.readouterr().err
    assert add(run_of(commit="unversioned")) == 2
    assert "name the commit by --commit ID" in capsys.readouterr().err
    assert add(run_of(commit=OTHER), run_of(commit=OTHER)) == 2
    assert "is given twice" in capsys.readouterr().err
    assert add(run_of(commit=OTHER), options=("--html", str(tmp_path))) == 2
    assert "is a directory" in capsys.readouterr().err
    assert kept.read_bytes() == before


def test_an_empty_line_without_results_is_refused(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "history", str(kept)]) == 2
    assert "has no results: name a RESULT.json" in capsys.readouterr().err
    assert not kept.exists()


def test_a_write_that_breaks_off_leaves_the_old_line(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.save(kept, results_of(run_of()))
    before = kept.read_bytes()

    def fail(number: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        line.save(kept, results_of(run_of(), run_of(commit=OTHER)))
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_line_behind_a_link_is_written_where_it_is(tmp_path: Path, kept: Path) -> None:
    kept.symlink_to(tmp_path / "real.jsonl")
    line.save(kept, results_of(run_of()))
    assert kept.is_symlink()
    assert commits(tmp_path / "real.jsonl") == [COMMIT]


# What can be compared


def test_what_can_be_compared_is_one_series() -> None:
    track = track_of(run_of(), run_of(commit=OTHER, day=2))
    [series] = track.series
    assert [one.commit and one.commit.id for one in series.results] == [COMMIT, OTHER]
    assert line.apart(track) == []


@pytest.mark.parametrize(
    ("elsewhere", "told"),
    [
        ({"server": "9.1 (container)"}, r"another server \(9.1 \(container\); now none\)"),
        ({"environment": {"cores": 64}}, r"another machine \(.*64 cores; now .*\)"),
        ({"environment": {"python": "3.99.0"}}, r"another Python \(CPython 3.99; now CPython"),
    ],
)
def test_what_cannot_be_compared_is_told_with_the_reason(elsewhere: Any, told: str) -> None:
    track = track_of(run_of(**elsewhere), run_of(commit=OTHER, day=2))
    [sentence] = line.apart(track)
    assert f"What was measured at {COMMIT[:9]} cannot be compared" in sentence
    assert re.search(told, sentence)
    assert sentence in line_pages.markdown([track]).replace("\\", "")
    assert line.changes(track.series[0]) == []


def test_many_commits_that_cannot_be_compared_are_counted() -> None:
    older = [run_of(commit=f"{n:08}{COMMIT}", day=n, server="old") for n in range(1, 9)]
    [sentence] = line.apart(track_of(*older, run_of(commit=OTHER, day=20)))
    assert "at 8 commits from 000000010 to 000000080 cannot" in sentence


def test_a_slowdown_against_the_floor_is_told() -> None:
    track = track_of(
        run_of(floor=rival(1.0, 1.1)), run_of(commit=OTHER, day=2, floor=rival(1.5, 1.1))
    )
    assert all(change.is_slower for change in line.changes(track.series[0]))
    assert f"2 operations got worse at {OTHER[:9]} since {COMMIT[:9]}" in line_pages.headline(track)
    assert line_pages.told(track)[0] == (
        "`add_1[sync]` got slower, 1.50 times its floor (1.36 to 1.65), before 1.00 (0.909 to 1.10)"
    )


def test_a_day_on_which_the_machine_is_slower_is_no_slowdown() -> None:
    slow_day = run_of(commit=OTHER, day=2)
    for one in slow_day["benchmarks"]:
        one["stats"]["median"] *= 5
        one["stats"]["data"] = [5 * seconds for seconds in one["stats"]["data"]]
    track = track_of(run_of(), slow_day)
    assert line.changes(track.series[0]) == []


def test_intervals_that_meet_are_no_change() -> None:
    track = track_of(
        run_of(floor=rival(1.0, 1.2)), run_of(commit=OTHER, day=2, floor=rival(1.2, 1.2))
    )
    assert line.changes(track.series[0]) == []
    assert "nothing got worse" in line_pages.headline(track)


def test_a_gain_is_told_and_is_not_worse() -> None:
    track = track_of(
        run_of(floor=rival(2.0)), run_of(commit=OTHER, day=2, floor=rival(1.0), round_trips=1)
    )
    assert all("got faster" in one for one in line_pages.told(track))
    assert "nothing got worse" in line_pages.headline(track)


def test_one_more_round_trip_is_told_whatever_the_times_say() -> None:
    now = run_of(commit=OTHER, day=2, round_trips=6)
    track = track_of(run_of(round_trips=5), now)
    assert "`add_1[sync]` takes 6 round trips, before 5" in line_pages.told(track)
    assert all(line_pages.is_worse(change) for change in line.changes(track.series[0]))


def test_round_trips_that_were_not_counted_are_no_change() -> None:
    unknown = run_of(commit=OTHER, day=2, round_trips=None, round_trips_unknown="why")
    assert line.changes(track_of(run_of(round_trips=5), unknown).series[0]) == []


def test_a_new_operation_has_nothing_to_be_compared_with() -> None:
    before = run_of(floor=rival(1.0))
    del before["benchmarks"][0]
    track = track_of(before, run_of(commit=OTHER, day=2, floor=rival(9.0)))
    assert [change.now.label for change in line.changes(track.series[0])] == ["read_100[async]"]
    assert line_pages.html([track])


# The picture


def _lines(picture: str) -> list[int]:
    """How many points each line of a picture joins."""
    root = ElementTree.fromstring(picture)
    paths = [path.attrib for path in root.iter("{http://www.w3.org/2000/svg}path")]
    return [path["d"].count("L") + 1 for path in paths if path["class"].startswith("line ")]


def test_lines_join_only_what_can_be_compared() -> None:
    here = [run_of(commit=f"{n}" * 40, day=n) for n in (1, 2, 3)]
    there = [run_of(commit=f"{n}" * 40, day=n, server="other") for n in (4, 5)]
    joined = _lines(line_pages.svg([track_of(*here)]))
    # Two operations, and of each the ratio, the round trips and the time.
    assert joined == [3] * 6
    assert sorted(_lines(line_pages.svg([track_of(*here, *there)]))) == [2] * 6 + [3] * 6


def test_marks_tell_their_commit_and_their_interval() -> None:
    track = track_of(run_of(floor=rival(1.5, 1.1)), run_of(commit=OTHER, day=2))
    root = ElementTree.fromstring(line_pages.svg([track]))
    told = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(re.fullmatch(rf"{COMMIT[:9]}, .*: 1\.50 \(1\.36 to 1\.65\)", one) for one in told)
    assert any("round trips" in one for one in told)


@pytest.mark.parametrize("count", [1, 2, 60])
def test_any_number_of_commits_can_be_drawn(count: int) -> None:
    runs = [
        run_of(commit=f"{n:x}".rjust(40, "0"), day=1 + n % 28, floor=None, round_trips=None)
        for n in range(count)
    ]
    for run in runs:
        for one in run["benchmarks"]:
            one["extra_info"]["round_trips_unknown"] = "nobody counts"
    track = track_of(*runs)
    root = ElementTree.fromstring(line_pages.svg([track]))
    width = float(root.attrib["width"])
    places = [float(one.attrib["cx"]) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(places) >= count
    assert all(0 <= place <= width for place in places)


def test_a_page_of_a_line_loads_nothing_and_keeps_markup_as_text() -> None:
    nasty = '<img src="//example.test">'
    tracks = line.tracks(
        results_of(
            run_of(nasty, title=nasty, server=nasty),
            run_of(nasty, title=nasty, commit=nasty, day=2),
            run_of("sqlite"),
        )
    )
    page = line_pages.html(tracks)
    assert "<img" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    ElementTree.fromstring(line_pages.svg(tracks))


def test_the_markdown_has_the_newest_commit_beside_the_one_before() -> None:
    track = track_of(
        run_of(floor=rival(1.0)), run_of(commit=OTHER, day=2, floor=rival(1.5), round_trips=6)
    )
    shown = line_pages.markdown([track])
    assert f"| operation | ours / floor, {OTHER[:9]} | ours / floor, {COMMIT[:9]} |" in shown
    assert "| add 1 (sync) | 1.50 (1.36 to 1.65) | 1.00 (0.909 to 1.10) | 6 |" in shown
