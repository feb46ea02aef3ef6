"""The result of a campaign as JSON, HTML, Markdown and on the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chat_history_conformance.campaign import report
from chat_history_conformance.campaign.checking.checker import KINDS, MEANINGS
from chat_history_conformance.campaign.recording import (
    Exit,
    Fault,
    Meta,
    OperationError,
    Recording,
    Sample,
)
from chat_history_conformance.campaign.report import result, summary
from chat_history_conformance.campaign.report.summing import sentence
from chat_history_conformance.campaign.report.timeline import NARROW, timeline_chart
from tests.campaign.recordings import UNKNOWN, add, clear, consume, last, read, recorded

META = Meta(
    backend="kafka",
    server="Kafka 4.1.1",
    nodes=3,
    seed=7,
    events=2,
    command="history-conformance campaign --backend kafka --nodes 3 --events 2 --seed 7",
    date="2026-11-26T01:00:00+00:00",
    seconds=60.0,
    lacks={"durable_clear": "the checkpoint comes later"},
    versions={"confluent-kafka": "2.12"},
)


def _recording() -> Recording:
    return replace(
        recorded(
            add(1, 2, "a b"),
            add(3, 3.5, "c", mode="async"),
            add(5, 8, "d", error=UNKNOWN),
            clear(9, 9.1, error=OperationError("TimeoutError", "late"), session="t"),
            read(20, 20.01, ""),
            read(30, 30.01, "a b c"),
            final="b c",
            faults=(
                Fault("kill the leader", "1", 4, 12, "port 9092"),
                Fault("pause", "2", 15, 22),
            ),
            samples=tuple(
                Sample(name, at, 10, 20, 100 * 2**20) for name in ("p", "q") for at in range(60)
            ),
            exits=(Exit("p", 60, 0), Exit("q", 60, -11)),
        ),
        meta=META,
    )


RESULT = report.judge(_recording())
CLEAN = report.judge(recorded(add(1, 2, "a"), final="a"))


def test_the_published_schema_is_the_one_of_the_dataclasses() -> None:
    assert json.dumps(result.schema(), indent=2) + "\n" == result.generated_schema(), (
        "Run python tools/report_schema.py."
    )


def test_the_schema_is_valid_and_describes_every_field() -> None:
    published = result.schema()
    jsonschema.Draft202012Validator.check_schema(published)
    for part in (published, *published["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name


@pytest.mark.parametrize("one", [RESULT, CLEAN], ids=["defects", "clean"])
def test_the_json_follows_the_schema_and_comes_back(one: result.Result, tmp_path: Path) -> None:
    path = tmp_path / "campaign.json"
    report.write(one, path)
    jsonschema.Draft202012Validator(result.schema()).validate(json.loads(path.read_text()))
    assert report.load(path) == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other/1"}, "not a result of the schema 'chat-history-conformance/campaign/1'"),
        ({"clean": "perhaps"}, "does not follow its schema. clean: input should be a valid boole"),
        ({"calls": [{"kind": "add"}]}, "does not follow its schema. calls[0].mode: this field is "),
    ],
)
def test_a_mistake_in_the_json_is_named(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps({**json.loads(result.render(RESULT)), **change}))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        report.load(path)


def test_the_ending_of_a_file_chooses_the_format(tmp_path: Path) -> None:
    for name, start in (("a.json", "{"), ("a.HTML", "<!doctype html>"), ("a.md", "| backend")):
        report.write(RESULT, tmp_path / "new" / name)
        assert (tmp_path / "new" / name).read_text().startswith(start), name
    with pytest.raises(ValueError, match=r"a\.txt: the ending chooses no format\. Use one of \.j"):
        report.write(RESULT, tmp_path / "a.txt")


def test_every_kind_is_listed_and_zero_is_zero() -> None:
    counts = {one.kind: one.count for one in RESULT.classes}
    assert counts == {**dict.fromkeys(KINDS, 0), "lost": 1, "wrong_read": 1, "client_died": 1}
    assert [one.name for one in RESULT.classes] == [MEANINGS[kind][0] for kind in KINDS]


def test_at_most_twenty_examples_are_kept_and_all_are_counted() -> None:
    reads = [read(10 + number, 10.5 + number) for number in range(50)]
    one = report.judge(recorded(add(1, 2, "a"), *reads, final="a"))
    [wrong] = [one for one in one.classes if one.count]
    assert (wrong.kind, wrong.count, len(wrong.examples)) == ("wrong_read", 50, 20)


def test_the_faults_are_those_that_were_done_and_not_those_that_were_planned() -> None:
    ended_early = replace(_recording(), meta=replace(META, events=30))
    assert report.judge(ended_early).campaign.events == 2


def test_times_of_calls_are_kept_apart_by_kind_mode_and_outcome() -> None:
    adds = {one.mode: one for one in RESULT.calls if one.kind == "add"}
    assert adds["sync"].returned == result.Latency(1, 1.0, 1.0, 1.0)
    assert adds["sync"].raised == result.Latency(1, 3.0, 3.0, 3.0)
    assert adds["async"].returned == result.Latency(1, 0.5, 0.5, 0.5)
    assert adds["async"].raised is None
    many = report.judge(recorded(*(read(0, float(number)) for number in range(1, 101)), final=""))
    assert many.calls[0].returned == result.Latency(100, 50.0, 99.0, 100.0)


def test_the_timeline_counts_calls_errors_and_defects_in_their_parts() -> None:
    line = RESULT.timeline
    assert (line.seconds, line.part_seconds) == (60.0, 0.25)
    errors = {lane.name: lane.counts for lane in line.errors}
    assert errors["ConnectionError"][32] == 1
    assert sum(errors["ConnectionError"]) == 1
    assert {lane.name for lane in line.defects} == {"lost", "wrong_read", "client_died"}
    assert {lane.name: sum(lane.counts) for lane in line.calls} == {"add": 3, "read": 2, "clear": 1}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (add(1, 2, "a b"), "add 'a' and 'b' → returned"),
        (read(1, 2), "read → nothing"),
        (last(1, 2, "a", 5), "last 5 → 'a'"),
        (consume(1, 2, "a", count=3), "consume at most 3 → 'a'"),
        (read(1, 2, "a b c d e f g"), "read → 7 messages, 'a' to 'g'"),
        (
            add(1, 2, "a", error=OperationError("E", "", False, (0,))),
            "add 'a' → raised E (not done; not confirmed: 0)",
        ),
        (
            consume(1, 2, error=OperationError("E", "", True, None, ("a",))),
            "consume → raised E (outcome unknown; perhaps delivered: 'a')",
        ),
    ],
)
def test_a_call_is_one_readable_line(call: Any, text: str) -> None:
    assert sentence(call) == text


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" else []

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Leave out elements without content."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _parsed(one: result.Result, tmp_path: Path) -> tuple[str, _Page]:
    report.write(one, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = _Page()
    page.feed(text)
    return text, page


def test_the_page_shows_everything_without_script_or_network(tmp_path: Path) -> None:
    text, page = _parsed(RESULT, tmp_path)
    assert page.open == []
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    words = " ".join(page.words)
    for fact in (META.command, "Kafka 4.1.1", "the checkpoint comes later", "2 faults, 6 calls, 3"):
        assert fact in words, fact
    for name, _ in MEANINGS.values():
        assert name in words, name
    assert [link for link in page.links if link[1:] not in page.ids] == []
    assert "1 kill the leader" in words
    assert "'a' was acknowledged and is not stored" in words
    assert "add 'a' and 'b' → returned" in words


def test_the_page_of_a_clean_campaign_says_so(tmp_path: Path) -> None:
    _, page = _parsed(CLEAN, tmp_path)
    words = " ".join(page.words)
    assert "no defect" in words
    assert "What was found" not in words
    assert "Errors none" in re.sub(r"\s+", " ", words)


def test_names_that_look_like_markup_are_shown_as_text(tmp_path: Path) -> None:
    strange = "<b>&x\x1b[31m"
    recording = recorded(
        add(1, 2, "a", error=OperationError(strange), by=strange),
        read(2, 3, strange),
        final="",
        faults=(Fault(strange, strange, 1, 2, strange),),
    )
    one = report.judge(replace(recording, meta=replace(META, backend=strange, server=strange)))
    text, _ = _parsed(one, tmp_path)
    report.write(one, tmp_path / "a.md")
    for shown in (text, (tmp_path / "a.md").read_text(), summary.terminal(one)):
        assert "\x1b" not in shown
    assert "<b>" not in text


def test_the_labels_of_the_timeline_stay_inside_its_width() -> None:
    for width in (NARROW, 1100):
        chart = timeline_chart(RESULT, width)
        assert chart.width == width
        for shape in chart.shapes:
            x = getattr(shape, "x", 0.0)
            assert 0 <= x <= width
            for corner, _ in getattr(shape, "points", ()):
                assert 0 <= corner <= width


def test_rare_errors_share_a_lane() -> None:
    adds = [
        add(number, number + 0.5, f"m{number}", error=OperationError(f"E{number // 2}"))
        for number in range(40)
    ]
    chart = timeline_chart(report.judge(recorded(*adds, final="")))
    labels = [getattr(shape, "content", "") for shape in chart.shapes]
    assert "13 other types  26" in labels


def test_the_terminal_has_colours_only_if_asked() -> None:
    plain, coloured = summary.terminal(RESULT), summary.terminal(RESULT, colours=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    lines = plain.splitlines()
    assert lines[0] == "kafka on Kafka 4.1.1, 3 nodes, seed 7: 2 faults in 60 s"
    assert lines[1] == "6 calls, 3 acknowledged messages, 2 calls raised"
    assert lines[2] == "      1  lost"
    assert lines[3] == "      0  stored twice"
    assert lines[-1] == "3 defects"
    assert summary.terminal(CLEAN).splitlines()[-1] == "no defect"


def test_a_campaign_is_one_row_of_a_markdown_table() -> None:
    heading, rule, row, clean = summary.table([RESULT, CLEAN]).splitlines()
    assert heading.startswith("| backend | nodes | seed | faults | acknowledged | lost | stored tw")
    assert row.startswith("| kafka | 3 | 7 | 2 | 3 | **1** | 0 | 0 |")
    assert {line.count("|") for line in (heading, rule, row, clean)} == {len(KINDS) + 6}


def test_the_markdown_names_the_command_and_the_defects(tmp_path: Path) -> None:
    report.write(RESULT, tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text()
    assert f"`{META.command}`" in text
    assert "**lost** (1): An acknowledged message is not stored at the end" in text
    assert "- 'a' was acknowledged and is not stored" in text
