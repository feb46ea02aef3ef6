"""Results of benchmarks: read from pytest-benchmark's JSON, refused where wrong, and shown."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

from chat_history_conformance.bench.measure import results
from chat_history_conformance.bench.measure.results import Result, Rival
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.bench.report import result_pages
from chat_history_conformance.bench.report import wording as telling
from chat_history_conformance.bench.report.places import NotSuch, Place
from chat_history_conformance.cli.main import main
from tests.bench.benchmark_run import COMMIT, MEASURED, grown, real_run, rival, run_of, save

NASTY = '<script>alert("&")</script>|`*'


def read(run: Any) -> list[Result]:
    return results.parse(json.dumps(run), "result.json")


def refusal(run: Any) -> str:
    with pytest.raises(NotSuch) as caught:
        read(run)
    return str(caught.value)


# What a real run says


def test_a_real_run_becomes_values() -> None:
    run = real_run()
    [result] = read(run)
    assert (result.backend, result.server) == ("sqlite", None)
    assert [one.label for one in result.operations] == list(MEASURED)
    add, read_100 = result.operations
    assert add.round_trips is not None
    assert add.round_trips > 0
    assert (add.growth is None, read_100.growth is None) == (False, True)
    for one, written in zip(result.operations, run["benchmarks"], strict=True):
        assert one.median_s.value == written["stats"]["median"]
        assert one.median_s.low < one.median_s.value < one.median_s.high
        assert one.rounds == written["stats"]["rounds"]
        assert isinstance(one.floor, Rival)
        assert one.floor.ratio.low <= one.floor.ratio.value <= one.floor.ratio.high
    assert result.environment.python.startswith("CPython ")
    assert result.environment.packages["langchain-core"]


def test_a_real_run_tells_nothing_of_whose_machine_it_is(tmp_path: Path) -> None:
    run = run_of()
    run["machine_info"]["node"] = "name-of-this-machine"
    page, markdown, picture = (tmp_path / name for name in ("a.html", "a.md", "a.svg"))
    wanted = ("--html", str(page), "--md", str(markdown), "--svg", str(picture))
    result = save(tmp_path / "result.json", run)
    assert main(["bench", "report", str(result), *wanted]) == 0
    for file in (page, markdown, picture):
        shown = file.read_text("utf-8")
        assert "name-of-this-machine" not in shown
        assert str(tmp_path) not in shown


def test_values_survive_the_way_through_json() -> None:
    run = run_of(
        server="4.1.1 (jvm)",
        peers={"langchain-community": rival(0.1, version="0.4.2"), "gone": {"missing": "why"}},
        growth=grown(1.0, 1.0),
    )
    for result in read(run):
        again = Result.read(Place.parse(json.dumps(result.to_json()), "line"))
        assert again == result


def test_a_file_without_samples_has_medians_without_intervals() -> None:
    run = run_of()
    for one in run["benchmarks"]:
        del one["stats"]["data"]
    for measured in read(run)[0].operations:
        assert measured.median_s.low == measured.median_s.value == measured.median_s.high


def test_several_backends_of_one_file_are_results_of_their_own() -> None:
    run = run_of()
    run["benchmarks"] += run_of("kafka", server="4.1.1 (jvm)")["benchmarks"]
    assert [(one.backend, one.server) for one in read(run)] == [
        ("sqlite", None),
        ("kafka", "4.1.1 (jvm)"),
    ]


def test_benchmarks_of_something_else_are_passed_over() -> None:
    run = run_of()
    before = read(run)
    run["benchmarks"].insert(0, {**run["benchmarks"][0], "extra_info": {}})
    assert read(run) == before


def test_a_run_outside_of_a_repository_has_no_commit() -> None:
    run = run_of(commit="unversioned")
    assert read(run)[0].commit is None
    commit = read(run_of())[0].commit
    assert commit is not None
    assert commit.id == COMMIT


# What is no such file


def _drop(*keys: Any) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        for key in keys[:-1]:
            run = run[key]
        del run[keys[-1]]

    return change


def _put(value: Any, *keys: Any) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        for key in keys[:-1]:
            run = run[key]
        run[keys[-1]] = value

    return change


ABOUT = ("benchmarks", 1, "extra_info")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_drop("benchmarks"), "result.json: is not what pytest-benchmark writes"),
        (_put([], "benchmarks"), "holds no benchmark of a chat history.*--history-benchmark"),
        (_put({}, "benchmarks"), "benchmarks: is an object where an array is wanted"),
        (_drop("datetime"), "result.json: lacks 'datetime'"),
        (_put("yesterday", "datetime"), "datetime: 'yesterday' is not a date and time"),
        (_drop("benchmarks", 1, "stats", "median"), r"benchmarks\[1\].stats: lacks 'median'"),
        (_put(0, "benchmarks", 1, "stats", "median"), r"\[1\].stats.median: 0 is not above 0"),
        (_put([1, None], "benchmarks", 1, "stats", "data"), r"stats.data\[1\]: is null"),
        (_put("5", *ABOUT, "size"), r"benchmarks\[1\].extra_info.size: \"5\" is not a whole"),
        (_put(True, *ABOUT, "size"), "extra_info.size: true is not a whole number"),
        (_put(-1, *ABOUT, "round_trips"), "extra_info.round_trips: -1 is not a whole number"),
        (_put("", *ABOUT, "title"), "extra_info.title: is empty"),
        (_put(3, *ABOUT, "floor"), "extra_info.floor: is a number where an object is wanted"),
        (_drop(*ABOUT, "floor", "ratio"), "extra_info.floor: lacks 'ratio'"),
        (_put(float("nan"), *ABOUT, "floor", "ratio"), "floor.ratio: NaN is not a finite number"),
        (_put("1", *ABOUT, "floor", "ratio"), "floor.ratio: is a string where a number is wanted"),
        (_put([1e6, 1e7], *ABOUT, "floor", "interval"), "floor.interval: .* is no interval around"),
        (_put([1], *ABOUT, "floor", "interval"), "floor.interval: .* is no interval around"),
        (_put({"x": {}}, *ABOUT, "peers"), "extra_info.peers.x: lacks 'median_s'"),
        (_put({"lengths": [1]}, *ABOUT, "growth"), "extra_info.growth: lacks 'median_s'"),
        (
            _put({**grown(1.0), "median_s": [1]}, *ABOUT, "growth"),
            r"growth: 1 times for the lengths \[10, 100, 1000, 10000\]",
        ),
        (_drop("benchmarks", 0, "extra_info", "environment", "python"), "environment: lacks"),
        (lambda run: run["benchmarks"].append(run["benchmarks"][0]), "is there a second time"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    change: Callable[[Any], None], told: str
) -> None:
    run = run_of()
    change(run)
    assert re.search(told, refusal(run))
    assert refusal(run).startswith("result.json: ")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", b"\xff\xfe"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotSuch, match=r"^result\.json: not JSON"):
        results.parse(text, "result.json")


def test_a_refused_file_ends_the_command_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, page = save(tmp_path / "good.json", run_of()), tmp_path / "page.html"
    for bad in (save(tmp_path / "bad.json", []), tmp_path / "missing.json"):
        assert main(["bench", "report", str(good), str(bad), "--html", str(page)]) == 2
        assert str(bad) in capsys.readouterr().err
    assert main(["bench", "report", str(good), "--html", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
    assert not page.exists()


# What is shown


def test_without_a_path_the_table_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "report", str(save(tmp_path / "result.json", run_of()))]) == 0
    shown = capsys.readouterr().out
    assert "| add 1 (sync) |" in shown
    assert "| read 100 (async) |" in shown


def test_the_table_sets_ours_beside_the_floor_and_each_peer() -> None:
    peers = {
        "langchain-community": rival(0.03, 2.0, version="0.4.2", round_trips=9),
        "other": {"missing": "not installed"},
    }
    run = run_of(floor=rival(1.08, round_trips=4), peers=peers, growth=grown(0.0), round_trips=5)
    shown = result_pages.markdown(read(run))
    assert "| ours / floor | langchain-community | ours / langchain-community |" in shown
    assert "| 1.00 ms | 1.08 (0.982 to 1.19) |" in shown
    assert "| 1.00 ms | 0.0300 (0.0150 to 0.0600) |" in shown
    assert "| 0.00 (-0.10 to 0.10) | 5 (floor 4, langchain-community 9) |" in shown
    assert "Not measured: other: not installed" in shown


def test_what_grows_too_fast_is_told_before_everything_else() -> None:
    run = run_of(growth=grown(1.4, 1.0, too_fast=True))
    found = read(run)
    markdown = result_pages.markdown(found)
    assert markdown.index("`add_1[sync]` grows faster than its length") < markdown.index("## ")
    page = result_pages.html(found)
    assert page.index("grows faster than its length") < page.index("<main>")
    assert "the power of 1.40 (1.30 to 1.50) where 1 is allowed" in page
    calm = result_pages.html(read(run_of(growth=grown(1.0, 1.0))))
    assert "callouts" not in calm.partition("</style>")[2]


def test_an_operation_that_may_not_grow_at_all_is_told_in_other_words() -> None:
    [result] = read(run_of(growth=grown(0.5, too_fast=True)))
    assert all(
        "grows with the conversation" in line for line in telling.callouts(result.operations)
    )
    assert telling.headline(result).startswith("2 of 2 operations grow faster")


def test_round_trips_that_nobody_counts_are_told_with_the_reason() -> None:
    run = run_of(round_trips=None, round_trips_unknown="the client is not to be seen")
    run["benchmarks"][0]["extra_info"].update(round_trips=2, round_trips_unknown=None)
    shown = result_pages.markdown(read(run))
    assert "Round trips not counted: the client is not to be seen" in shown
    assert re.search(r"add 1 .*\| 2 ", shown)
    assert re.search(r"read 100 .*\| \? ", shown)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    page = result_pages.html(read(run_of()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert "<script" not in page
    outside = re.findall(r"(?:https?:)?//[^\s\"']+", page.replace("http://www.w3.org/2000/svg", ""))
    assert outside == []


def test_a_page_and_a_picture_follow_light_and_dark() -> None:
    found = read(run_of())
    assert "prefers-color-scheme: dark" in result_pages.html(found)
    assert "prefers-color-scheme:dark" in result_pages.svg(found)


def test_names_that_look_like_markup_stay_text() -> None:
    run = run_of(
        NASTY,
        server=NASTY,
        title=NASTY,
        round_trips=None,
        round_trips_unknown=NASTY,
        peers={NASTY: rival(2.0), "other": {"missing": NASTY}},
        growth=grown(0.7, too_fast=True),
    )
    found = read(run)
    page = result_pages.html(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    ElementTree.fromstring(result_pages.svg(found))
    table = [line for line in result_pages.markdown(found).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


@pytest.mark.parametrize("rivals", ["floor and peers", "floor", "peers", "nobody"])
@pytest.mark.parametrize("growth", [grown(1.0, 1.0), None])
def test_every_kind_of_result_can_be_drawn(rivals: str, growth: Any) -> None:
    peers = {f"peer-{number}": rival(10.0**number) for number in range(-4, 3)}
    run = run_of(
        floor=rival(1.0) if "floor" in rivals else None,
        peers=peers if "peers" in rivals else {},
        growth=growth,
    )
    found = read(run)
    root = ElementTree.fromstring(result_pages.svg(found))
    circles = root.findall(".//{*}circle/{*}title")
    told = [title.text or "" for title in circles]
    assert any("times floor" in one for one in told) == ("floor" in rivals)
    assert any("10,000 messages" in one for one in told) == (growth is not None)
    width = float(root.attrib["width"])
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
    assert result_pages.html(found)


def test_marks_stand_where_their_ratios_are() -> None:
    run = run_of(floor=rival(0.1), growth=None, peers={"peer": rival(10.0)})
    run["benchmarks"][1]["extra_info"]["floor"] = rival(1.0)
    root = ElementTree.fromstring(result_pages.svg(read(run)))
    places = [
        float(mark.attrib["cx"])
        for mark in root.findall(".//{*}circle")
        if mark.find("{*}title") is not None
    ]
    others = [
        float(mark.attrib["x"]) + float(mark.attrib["width"]) / 2
        for mark in root.findall(".//{*}rect")
        if mark.find("{*}title") is not None
    ]
    tenth, one, ten = places[0], places[1], others[0]
    assert one - tenth == pytest.approx(ten - one, abs=0.2)
    assert ten > one > tenth


# Words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.5e-9, "1.50 ns"),
        (9.9996e-7, "1.00 µs"),
        (1.234e-5, "12.3 µs"),
        (9.996e-4, "1.00 ms"),
        (0.1234, "123 ms"),
        (0.99951, "1.00 s"),
        (12.34, "12.3 s"),
        (12_345.0, "12,300 s"),
    ],
)
def test_a_time_has_three_digits_and_the_unit_that_suits_it(seconds: float, told: str) -> None:
    assert telling.duration(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (0.012345, "0.0123"), (0.9996, "1.00"), (9.999, "10.0"), (1234.5, "1,230")],
)
def test_a_ratio_has_three_digits(value: float, told: str) -> None:
    assert telling.digits(value) == told


def test_an_exponent_of_nearly_nothing_has_no_sign() -> None:
    assert telling.power(-0.001) == "0.00"
    assert telling.powers(Estimate(0.0, -0.012, 0.996)) == "-0.01 to 1.00"
