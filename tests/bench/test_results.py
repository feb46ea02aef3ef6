"""Results of benchmarks: files of pytest-benchmark are read, checked and shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

from chat_history_conformance.bench.measure import benchmark_file, json_files
from chat_history_conformance.bench.measure.json_files import FormatError
from chat_history_conformance.bench.measure.results import Result, Rival
from chat_history_conformance.bench.measure.statistics import Estimate
from chat_history_conformance.bench.report import html, markdown, timeline, wording
from chat_history_conformance.cli.main import main
from tests.bench.benchmark_run import (
    COMMIT,
    MEASURED,
    grown,
    real_run,
    remembered,
    rival,
    run_of,
    save,
)

ROOT = Path(__file__).parents[2]
NASTY = '<script>alert("&")</script>|`*'


def read(run: Any) -> list[Result]:
    return benchmark_file.parse(json.dumps(run), "result.json")


def refusal(run: Any) -> str:
    with pytest.raises(FormatError) as caught:
        read(run)
    return str(caught.value)


# Reading


def test_a_real_run_is_read() -> None:
    run = real_run()
    [result] = read(run)
    assert (result.backend, result.server) == ("sqlite", None)
    assert [one.label for one in result.operations] == list(MEASURED)
    add, read_100 = result.operations
    assert add.round_trips is not None
    assert add.round_trips > 0
    assert (add.growth is None, read_100.growth is None) == (False, True)
    assert result.payload == "mixed"
    assert add.memory is None
    assert read_100.peak_bytes is not None
    assert read_100.floor is not None
    assert read_100.peak_bytes > 100_000 < (read_100.floor.peak_bytes or 0)
    for one, written in zip(result.operations, run["benchmarks"], strict=True):
        assert one.median_s == written["stats"]["median"]
        assert one.interval[0] < one.median_s < one.interval[1]
        assert one.rounds == written["stats"]["rounds"]
        assert isinstance(one.floor, Rival)
        assert one.floor.interval[0] <= one.floor.ratio <= one.floor.interval[1]
    assert result.environment.python.startswith("CPython ")
    assert result.environment.packages["langchain-core"]


def test_pages_do_not_identify_the_machine(tmp_path: Path) -> None:
    run = run_of()
    run["machine_info"]["node"] = "name-of-this-machine"
    page, table, picture = (tmp_path / name for name in ("a.html", "a.md", "a.svg"))
    wanted = ("--html", str(page), "--md", str(table), "--svg", str(picture))
    result = save(tmp_path / "result.json", run)
    assert main(["bench", "report", str(result), *wanted]) == 0
    for file in (page, table, picture):
        shown = file.read_text("utf-8")
        assert "name-of-this-machine" not in shown
        assert str(tmp_path) not in shown


def test_results_are_equal_after_writing_and_reading_json() -> None:
    run = run_of(
        server="4.1.1 (jvm)",
        peers={"langchain-community": rival(0.1, version="0.4.2"), "gone": {"missing": "why"}},
        growth=grown(1.0, 1.0),
        memory=remembered(1, 2, 3),
        payload="plain",
    )
    for result in read(run):
        written = json.loads(json.dumps(asdict(result)))
        assert json_files.convert(Result, written, "line", "") == result


def test_a_file_without_samples_has_medians_without_intervals() -> None:
    run = run_of()
    for one in run["benchmarks"]:
        del one["stats"]["data"]
    for measured in read(run)[0].operations:
        assert measured.interval == (measured.median_s, measured.median_s)


def test_each_backend_in_a_file_is_a_result() -> None:
    run = run_of()
    run["benchmarks"] += run_of("kafka", server="4.1.1 (jvm)")["benchmarks"]
    assert [(one.backend, one.server) for one in read(run)] == [
        ("sqlite", None),
        ("kafka", "4.1.1 (jvm)"),
    ]


def test_other_benchmarks_in_a_file_are_ignored() -> None:
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


def test_the_results_of_version_0_1_0_are_read_and_keep_their_values_when_they_are_written() -> (
    None
):
    path = ROOT / "reports" / "benchmarks" / "line.jsonl"
    found = timeline.load(path)
    assert [one.backend for one in found] == ["memory", "sqlite", "kafka", "elasticsearch"]
    assert {one.payload for one in found} == {"plain"}
    written = timeline.render(found)
    for old, new in zip(path.read_text("utf-8").splitlines(), written.splitlines(), strict=True):
        assert _has_all_of(json.loads(new), json.loads(old))
    assert timeline.parse(written, "again") == found


def _has_all_of(new: Any, old: Any) -> bool:
    """Return whether a value has everything of an older one. An object may have more fields."""
    if isinstance(old, dict):
        return old.keys() <= new.keys() and all(_has_all_of(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_has_all_of, new, old))
    return bool(new == old)


def test_pydantic_is_imported_only_when_a_file_is_read() -> None:
    modules = (
        "measure.json_files, measure.benchmark_file, report.timeline, report.html, report.markdown"
    )
    imports = "\n".join(
        f"import chat_history_conformance.bench.{name}" for name in modules.split(", ")
    )
    code = f"import sys\n{imports}\nprint('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Refusing


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
    ("change", "reason"),
    [
        (_drop("benchmarks"), "result.json: not a file of pytest-benchmark"),
        (_put([], "benchmarks"), "holds no benchmark of a chat history.*--history-benchmark"),
        (_put({}, "benchmarks"), "benchmarks must be an array, not {}"),
        (_drop("datetime"), "result.json: has no 'datetime'"),
        (_put("yesterday", "datetime"), "datetime must be a date and time .*, not 'yesterday'"),
        (_drop("benchmarks", 1, "stats", "median"), r"benchmarks\[1\].stats has no 'median'"),
        (
            _put(0, "benchmarks", 1, "stats", "median"),
            r"\[1\].stats: median must be above 0",
        ),
        (
            _put([1, None], "benchmarks", 1, "stats", "data"),
            r"stats.data\[1\] must be a number, not null",
        ),
        (_put([1, -2], "benchmarks", 1, "stats", "data"), r"stats: data\[1\] must be above 0"),
        (
            _put("5", *ABOUT, "size"),
            r"benchmarks\[1\].extra_info.size must be a whole number, not \"5\"",
        ),
        (_put(True, *ABOUT, "size"), "extra_info.size must be a whole number, not true"),
        (_put(-1, *ABOUT, "round_trips"), "extra_info: round_trips must be 0 or more, not -1"),
        (_put(1.5, *ABOUT, "round_trips"), "extra_info.round_trips must be a whole number"),
        (_put("", *ABOUT, "title"), "extra_info: title is empty"),
        (_put(3, *ABOUT, "floor"), "extra_info.floor must be an object, not 3"),
        (_drop(*ABOUT, "floor", "ratio"), "extra_info.floor has no 'ratio'"),
        (_put(float("nan"), *ABOUT, "floor", "ratio"), "floor: ratio must be a finite number"),
        (_put("1", *ABOUT, "floor", "ratio"), 'floor.ratio must be a number, not "1"'),
        (_put([1e6, 1e7], *ABOUT, "floor", "interval"), "floor: interval .* does not contain"),
        (_put([1], *ABOUT, "floor", "interval"), "floor.interval has too few values: 1"),
        (_put([1, 2, 3], *ABOUT, "floor", "interval"), "floor.interval: "),
        (_put({"x": {}}, *ABOUT, "peers"), "extra_info.peers.x has no 'median_s'"),
        (_put({"lengths": [1]}, *ABOUT, "growth"), "extra_info.growth has no 'median_s'"),
        (
            _put({**grown(1.0), "median_s": [1]}, *ABOUT, "growth"),
            r"growth: 1 times for the lengths \[10, 100, 1000, 10000\]",
        ),
        (_put("", "benchmarks", 0, "extra_info", "payload"), "payload is empty"),
        (_put({"lengths": [1]}, *ABOUT, "memory"), "extra_info.memory has no 'peak_bytes'"),
        (
            _put({"lengths": [1], "peak_bytes": []}, *ABOUT, "memory"),
            r"memory: 0 numbers of bytes for the lengths \[1\]",
        ),
        (_put(remembered(-5), *ABOUT, "memory"), r"memory: peak_bytes\[0\] must be 0 or more"),
        (
            _put(-1, *ABOUT, "floor", "peak_bytes"),
            "extra_info.floor: peak_bytes must be 0 or more, not -1",
        ),
        (
            _drop("benchmarks", 0, "extra_info", "environment", "python"),
            "environment has no",
        ),
        (
            lambda run: run["benchmarks"].append(run["benchmarks"][0]),
            "is in the file twice",
        ),
    ],
)
def test_an_error_in_a_file_names_the_place(change: Callable[[Any], None], reason: str) -> None:
    run = run_of()
    change(run)
    assert re.search(reason, refusal(run))
    assert refusal(run).startswith("result.json: ")
    assert "--benchmark-json=RESULT.json" in refusal(run)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", b"\xff\xfe"])
def test_a_file_that_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(FormatError, match=r"^result\.json: not JSON"):
        benchmark_file.parse(text, "result.json")


def test_a_refused_file_ends_the_command_before_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, page = save(tmp_path / "good.json", run_of()), tmp_path / "page.html"
    for bad in (save(tmp_path / "bad.json", []), tmp_path / "missing.json"):
        assert main(["bench", "report", str(good), str(bad), "--html", str(page)]) == 2
        assert str(bad) in capsys.readouterr().err
    assert main(["bench", "report", str(good), "--html", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
    assert not page.exists()


# Showing


def test_without_a_path_the_table_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "report", str(save(tmp_path / "result.json", run_of()))]) == 0
    shown = capsys.readouterr().out
    assert "| add 1 (sync) |" in shown
    assert "| read 100 (async) |" in shown


def test_the_table_has_the_floor_and_each_peer() -> None:
    peers = {
        "langchain-community": rival(0.03, 2.0, version="0.4.2", round_trips=9),
        "other": {"missing": "not installed"},
    }
    run = run_of(floor=rival(1.08, round_trips=4), peers=peers, growth=grown(0.0), round_trips=5)
    run["benchmarks"][0]["extra_info"]["memory"] = None
    shown = markdown.results(read(run))
    assert "| ours / floor | langchain-community | ours / langchain-community |" in shown
    assert "| 1.00 ms | 1.08 (0.982 to 1.19) |" in shown
    assert "| 1.00 ms | 0.0300 (0.0150 to 0.0600) |" in shown
    assert "| 0.00 (-0.10 to 0.10) |  | 5 (floor 4, langchain-community 9) |" in shown
    assert "Not measured: other: not installed" in shown


def test_the_table_has_the_peak_memory_and_that_of_the_floor() -> None:
    run = run_of(memory=None)
    assert "| memory |" not in markdown.results(read(run))
    run["benchmarks"][1]["extra_info"]["memory"] = remembered(900, 12_345_678)
    run["benchmarks"][1]["extra_info"]["floor"]["peak_bytes"] = 9_999_999
    shown = markdown.results(read(run))
    assert "| memory |" in shown
    assert re.search(r"read 100 .*\| 12.3 MB \(floor 10.0 MB\) \|", shown)
    assert re.search(r"add 1 .*\|  \| \d", shown)
    assert "payload mixed" in shown


def test_the_memory_is_drawn_over_the_length() -> None:
    run = run_of(growth=None, memory=None)
    assert "Peak memory" not in html.results_picture(read(run))
    # A line needs two lengths, and a logarithmic scale has no 0.
    for peaks in ((5_000,), (0, 5_000)):
        run["benchmarks"][1]["extra_info"]["memory"] = remembered(*peaks)
        assert "Peak memory" not in html.results_picture(read(run))
    run["benchmarks"][1]["extra_info"]["memory"] = remembered(10_000, 100_000, 1_000_000)
    picture = html.results_picture(read(run))
    root = ElementTree.fromstring(picture)
    assert "at most 1.00 MB" in picture
    marks = [
        mark
        for mark in root.findall(".//{*}rect")
        if "messages: " in (mark.findtext("{*}title") or "")
    ]
    assert [mark.findtext("{*}title") for mark in marks] == [
        "read 100, async, 10 messages: 10.0 kB",
        "read 100, async, 100 messages: 100 kB",
        "read 100, async, 1,000 messages: 1.00 MB",
    ]
    first, second, third = (float(mark.attrib["y"]) for mark in marks)
    assert first - second == pytest.approx(second - third, abs=0.2)
    assert first > second
    assert "peak memory over the length of the conversation" in html.results(read(run))


def test_operations_that_grow_too_fast_come_first() -> None:
    run = run_of(growth=grown(1.4, 1.0, too_fast=True))
    found = read(run)
    text = markdown.results(found)
    assert text.index("`add_1[sync]` grows faster than its length") < text.index("## ")
    page = html.results(found)
    assert page.index("grows faster than its length") < page.index("<main>")
    assert "the power of 1.40 (1.30 to 1.50), more than the allowed 1" in page
    calm = html.results(read(run_of(growth=grown(1.0, 1.0))))
    assert "callouts" not in calm.partition("</style>")[2]


def test_growth_that_is_not_allowed_at_all_has_another_sentence() -> None:
    [result] = read(run_of(growth=grown(0.5, too_fast=True)))
    assert all(
        "grows with the conversation" in line for line in wording.callouts(result.operations)
    )
    assert wording.headline(result).startswith("2 of 2 operations grow faster")


def test_round_trips_that_are_not_counted_have_a_reason() -> None:
    run = run_of(round_trips=None, round_trips_unknown="the client cannot be observed")
    run["benchmarks"][0]["extra_info"].update(round_trips=2, round_trips_unknown=None)
    shown = markdown.results(read(run))
    assert "Round trips not counted: the client cannot be observed" in shown
    assert re.search(r"add 1 .*\| 2 ", shown)
    assert re.search(r"read 100 .*\| \? ", shown)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    page = html.results(read(run_of()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert "<script" not in page
    outside = re.findall(r"(?:https?:)?//[^\s\"']+", page.replace("http://www.w3.org/2000/svg", ""))
    assert outside == []


def test_a_page_and_a_picture_follow_light_and_dark() -> None:
    found = read(run_of())
    assert "prefers-color-scheme: dark" in html.results(found)
    assert "prefers-color-scheme:dark" in html.results_picture(found)


def test_a_name_with_markup_is_shown_as_text() -> None:
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
    page = html.results(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    ElementTree.fromstring(html.results_picture(found))
    table = [line for line in markdown.results(found).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


@pytest.mark.parametrize("rivals", ["floor and peers", "floor", "peers", "none"])
@pytest.mark.parametrize("growth", [grown(1.0, 1.0), None])
def test_every_kind_of_result_can_be_drawn(rivals: str, growth: Any) -> None:
    peers = {f"peer-{number}": rival(10.0**number) for number in range(-4, 3)}
    run = run_of(
        floor=rival(1.0) if "floor" in rivals else None,
        peers=peers if "peers" in rivals else {},
        growth=growth,
    )
    found = read(run)
    root = ElementTree.fromstring(html.results_picture(found))
    circles = root.findall(".//{*}circle/{*}title")
    tips = [title.text or "" for title in circles]
    assert any("times floor" in one for one in tips) == ("floor" in rivals)
    assert any("10,000 messages" in one for one in tips) == (growth is not None)
    width = float(root.attrib["width"])
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
    assert html.results(found)


def test_marks_are_at_their_ratios() -> None:
    run = run_of(floor=rival(0.1), growth=None, peers={"peer": rival(10.0)})
    run["benchmarks"][1]["extra_info"]["floor"] = rival(1.0)
    root = ElementTree.fromstring(html.results_picture(read(run)))
    positions = [
        float(mark.attrib["cx"])
        for mark in root.findall(".//{*}circle")
        if mark.find("{*}title") is not None
    ]
    others = [
        float(mark.attrib["x"]) + float(mark.attrib["width"]) / 2
        for mark in root.findall(".//{*}rect")
        if mark.find("{*}title") is not None
    ]
    tenth, one, ten = positions[0], positions[1], others[0]
    assert one - tenth == pytest.approx(ten - one, abs=0.2)
    assert ten > one > tenth


# Words


@pytest.mark.parametrize(
    ("seconds", "text"),
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
def test_a_time_has_three_digits_and_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (33_912_345, "33.9 MB"),
        (12_300_000_000, "12.3 GB"),
    ],
)
def test_a_number_of_bytes_has_three_digits_and_the_unit_that_suits_it(
    count: int | None, text: str
) -> None:
    assert wording.size(count) == text


def test_a_label_of_an_axis_has_a_round_number_of_bytes() -> None:
    assert list(map(wording.tick_of_size, (5, 1_000, 20_000, 3e6))) == [
        "5 B",
        "1 kB",
        "20 kB",
        "3 MB",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.012345, "0.0123"), (0.9996, "1.00"), (9.999, "10.0"), (1234.5, "1,230")],
)
def test_a_ratio_has_three_digits(value: float, text: str) -> None:
    assert wording.digits(value) == text


def test_an_exponent_that_rounds_to_zero_has_no_sign() -> None:
    assert wording.power(-0.001) == "0.00"
    assert wording.powers(Estimate(0.0, -0.012, 0.996)) == "-0.01 to 1.00"
