"""Reports in every format: exact where small, complete and safe whatever a message says."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import jsonschema
import pytest

from chat_history_conformance import reports
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.reports import RuleText, badge, document, html, markdown, matrix
from chat_history_conformance.reports import wording as telling
from chat_history_conformance.results.model import (
    MODES,
    BackendReport,
    ContractResult,
    Counts,
    Finding,
    Kind,
    Level,
    Mode,
    Outcome,
    RunReport,
    VerdictName,
)
from chat_history_conformance.results.verdict import count, judge

NASTY = (
    "</script><script>alert(1)</script> ``` `` ` | a&b \"q\" 'q' <details> **bold** @someone #1 "
    "$x$ [l](javascript:x) \x00\x1b[31m\x7f \u202eevil\u2028 \udcff ]]> {{x}} 名前 é 🙂 \r\n# head"
)

KINDS: tuple[Kind, ...] = (
    "lost",
    "duplicated",
    "reordered",
    "altered",
    "foreign",
    "stale",
    "resurrected",
    "mutated_input",
    "aliased",
    "wrong_bound",
    "hung",
    "swallowed_error",
    "wrong_error",
    "blocked_loop",
    "other",
)

SNIPPET = """\
from langchain_core.messages import AIMessage, HumanMessage
from mypackage.histories import open_history

history = open_history("session-1")
history.add_messages([HumanMessage("one"), AIMessage("two")])
print(history.messages)  # expected 2 messages, returned 1
"""

FAMILIES = {
    "ordering": (
        "one_batch",
        "across_calls",
        "mixed_adds",
        "across_handles",
        "clock_stands_still",
        "equal_contents",
        "prefix_stability",
        "long_history",
    ),
    "fidelity": (
        "message_types",
        "unicode",
        "control_characters",
        "tool_calls",
        "usage_metadata",
        "additional_kwargs",
        "equal_messages",
        "refused_whole",
    ),
    "clear": ("empties", "idempotent", "leaves_others", "no_resurrection"),
    "isolation": ("distinct_ids", "common_prefix", "path_like_ids"),
    "cursor": ("once_and_in_order", "survives_reopening"),
    "ttl": ("past_its_time", "never"),
    "parity": ("agrees", "does_not_block", "cancelled"),
    "errors": ("surfaced", "dead_server"),
}

RULES = {
    "ordering.one_batch": RuleText(
        title="The messages of one batch come back in the order of the batch",
        rule="`add_messages([a, b])` on an empty history makes `messages` equal to `[a, b]`,\n"
        "whatever the contents, the ids and the wall clock are.",
        source="langchain_core/chat_history.py, BaseChatMessageHistory.add_messages",
        cause="rows are sorted by a time stamp that two messages share",
        remedy="sort by a number that the store hands out in order of arrival",
    )
}


def finding(kind: Kind, number: int = 0, **changes: Any) -> Finding:
    told = Finding(
        kind=kind,
        summary=f"{kind.replace('_', ' ')}: 1 of 3 messages ({number})",
        steps=(
            'open handle A on session "s1"',
            "A adds Human 'one'",
            "A adds AI 'two' id='m2' and Human 'three'",
            "A reads",
        ),
        expected=("Human 'one'", "AI 'two' id='m2'", "Human 'three  '"),
        returned=("Human 'one'", "Human 'three'"),
        reproducer=SNIPPET,
        notes=("not minimal: the time for shrinking was used up",),
    )
    return dataclasses.replace(told, **changes)


def result(contract: str, outcome: Outcome = "passed", **changes: Any) -> ContractResult:
    level: Level = "should" if contract.startswith("parity") else "must"
    made = ContractResult(contract, level, "0.1", "sync", outcome, examples=40, duration_s=0.4)
    return dataclasses.replace(made, **changes)


def every(*modes: Mode) -> list[ContractResult]:
    return [
        result(f"{family}.{name}", mode=mode)
        for family, names in FAMILIES.items()
        for name in names
        for mode in modes
    ]


def changed(
    results: Sequence[ContractResult], pattern: str, **changes: Any
) -> list[ContractResult]:
    """`results` with `changes` where the label matches, or fail: a typo must not go unseen."""
    assert any(re.search(pattern, entry.label) for entry in results), pattern
    return [
        dataclasses.replace(entry, **changes) if re.search(pattern, entry.label) else entry
        for entry in results
    ]


def backend(
    name: str,
    results: Sequence[ContractResult],
    lacks: dict[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> BackendReport:
    return BackendReport(
        name, judge(results), lacks or {}, count(results), tuple(results), notes=notes
    )


def run(*backends: BackendReport, version: str = "0.1.0") -> RunReport:
    return RunReport(
        suite={"version": version, "profile": "ci", "seed": 0},
        environment={
            "python": "3.11.7",
            "langchain-core": "1.8.1",
            "server": {"kafka": "4.1.1 (jvm)"},
        },
        backends=backends,
    )


def full_run() -> RunReport:
    """Five backends with every outcome, every kind of finding, and messages that bite."""
    good = backend("sqlite", every("sync", "async", "mixed", "process"))

    kafka = every("sync", "async", "mixed", "process")
    kafka = changed(kafka, r"^ttl", outcome="not_applicable", reason="`with_ttl` is not there")
    kafka = changed(
        kafka,
        r"^isolation.distinct_ids",
        outcome="deviation",
        reason="ids are lower-cased: example.org/issues/12",
        finding=finding("foreign"),
    )

    broken = every("sync", "async", "mixed", "process")
    missing = "`aadd_messages` raises NotImplementedError"
    broken = changed(
        broken, r"\[(async|mixed)\]", outcome="failed", finding=finding("other", cause=missing)
    )
    names = [entry.id for entry in broken if entry.mode == "sync"]
    for number, kind in enumerate(KINDS):
        broken = changed(
            broken,
            rf"^{re.escape(names[number])}\[sync\]",
            outcome="failed",
            finding=finding(kind, number),
        )
    broken = changed(
        broken,
        r"^fidelity.unicode\[sync\]",
        finding=finding(
            "altered",
            summary="altered 1 of 3 messages: " + NASTY,
            steps=("A adds Human " + NASTY, "A reads"),
            expected=("Human 'naïve café'", NASTY, "AI " + "long " * 30),
            returned=("Human 'naive café'", NASTY[5:], "AI " + "long " * 29),
            notes=(NASTY,),
            reproducer=SNIPPET + NASTY,
        ),
    )
    broken = changed(
        broken,
        r"^ordering.long_history\[sync\]",
        finding=finding("hung", 10, expected=(), returned=(), reproducer="", notes=()),
    )
    broken = changed(
        broken,
        r"^errors.surfaced\[sync\]",
        outcome="error",
        reason="ConnectionError: refused\nwhile the history was opened",
    )
    broken = changed(
        broken,
        r"^errors.dead_server",
        outcome="not_run",
        finding=None,
        reason="faults are not asked for (`--history-faults`)",
    )
    broken = changed(
        broken,
        r"^clear.empties\[process\]",
        outcome="unexpected_pass",
        reason="passes: delete this line",
    )
    broken = changed(
        broken,
        r"^parity.does_not_block\[process\]",
        outcome="failed",
        informs=True,
        finding=finding("blocked_loop"),
    )

    cut = changed(every("sync"), r"^(?!ordering)", outcome="not_run", reason="left out by -k")
    return run(
        good,
        backend("kafka", kafka, {"whole_reads": 'reads consume: `reads="consume"`'}),
        backend(
            "mypackage.histories:open_history",
            broken,
            {"durable": "kept in process memory by design", "threads": NASTY},
            notes=("`durable` is given up, but works", NASTY),
        ),
        backend("kafka-consuming", cut),
        backend("nothing", []),
    )


def texts(report: RunReport) -> list[str]:
    """Every text of a report that a reader has to see, as the formats show it."""
    found = []
    for column in report.backends:
        found += [column.name, *column.notes, *column.lacks, *column.lacks.values()]
        for group in (group for groups in telling.sections(column).values() for group in groups):
            found += [entry.reason or "" for entry in group.results]
            found += [entry.id for entry in group.results]
            if group.finding is not None:
                told = group.finding
                found += [told.summary, told.cause if group.shared else "", told.reproducer]
                found += [*told.steps, *told.expected, *told.returned, *told.notes]
    return [plain(text) for text in found]


def plain(text: str) -> str:
    """`text` as it is to be seen, without the blanks, backticks and line ends that may go."""
    return re.sub(r"\\n|[\s`]+", "", telling.visible(text, keep="\n\t"))


class Page(HTMLParser):
    """What a browser would make of a page: its text, its elements, and where they lead."""

    VOID = frozenset({"meta", "link", "input", "br", "wbr", "col", "img", "hr"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def all(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]


def hung_run() -> RunReport:
    told = finding("hung", expected=(), returned=(), steps=(), reproducer="", notes=())
    return run(backend("slow", [result("reads.repeatable", "failed", finding=told)]))


EDGES = {
    "nothing": RunReport({}, {}),
    "no contracts": run(backend("empty", [])),
    "hung": hung_run(),
    "no finding": run(backend("bare", [result("reads.repeatable", "failed")])),
    "no reason": run(backend("bare", [result("reads.repeatable", "not_applicable")])),
    "nasty names": run(backend(NASTY, [result(f"{NASTY}.{NASTY}", "failed")])),
    "everything": full_run(),
}


# -- JSON ---------------------------------------------------------------------------------------


def test_the_published_schema_is_a_valid_one_and_describes_every_field() -> None:
    published = reports.schema()
    jsonschema.Draft202012Validator.check_schema(published)
    for where in (published, *published["$defs"].values()):
        for name, field in where.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name


def test_a_full_report_follows_the_published_schema() -> None:
    data = json.loads(document.render(full_run()))
    jsonschema.Draft202012Validator(reports.schema()).validate(data)
    assert {entry["verdict"] for entry in data["backends"]} == {
        "conformant",
        "conformant_with_deviations",
        "not_conformant",
        "incomplete",
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["backends", 2, "verdict"], "fine", "backends[2].verdict: input should be 'conformant',"),
        (["backends", 2, "verdict"], "fine", "but it is 'fine'. Fix this field"),
        (["backends", 2, "contracts", 0, "outcome"], "skipped", "but it is 'skipped'"),
        (["backends", 2, "contracts", 0, "examples"], -1, "examples: input should be greater"),
        (["backends", 2, "contracts", 0, "examples"], True, "should be a valid integer, but it is"),
        (["backends", 2, "contracts", 0, "informs"], 1, "informs: input should be a valid boolean"),
        (
            ["backends", 2, "contracts", 0, "finding", "kind"],
            "eaten",
            "contracts[0].finding.kind: ",
        ),
        (["backends", 2, "contracts", 0, "finding", "steps"], "one", "finding.steps: input should"),
        (
            ["backends", 0, "counts", "declared"],
            "80",
            "counts.declared: input should be a valid int",
        ),
        (["environment"], [], "environment: input should be a valid dict"),
        (["environment", "python"], [3], "environment.python: input should be"),
        (["suite", "seed"], [0], "suite.seed: input should be"),
        (["backends", 0, "lacks"], {"durable": None}, "backends[0].lacks.durable: input should be"),
    ],
)
def test_a_broken_report_is_refused_with_the_place_of_the_mistake(
    path: list[Any], value: object, message: str
) -> None:
    data = json.loads(document.render(full_run()))
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value

    assert not jsonschema.Draft202012Validator(reports.schema()).is_valid(data)
    with pytest.raises(ValueError, match="does not follow its schema") as refused:
        document.parse(json.dumps(data))
    assert message in str(refused.value)


def test_the_number_of_further_mistakes_is_reported() -> None:
    data = json.loads(document.render(full_run()))
    data["backends"][0]["verdict"] = data["backends"][1]["verdict"] = "fine"
    with pytest.raises(ValueError, match=r"backends\[0\]\.verdict: .* \(and 1 more\)"):
        document.parse(json.dumps(data))


def _mappings(data: Any) -> list[tuple[dict[str, Any], type]]:
    column = data["backends"][2]
    entry = column["contracts"][0]
    return [
        (data, document._Document),
        (data["suite"], document._Suite),
        (column, BackendReport),
        (column["counts"], Counts),
        (entry, ContractResult),
        (entry["finding"], Finding),
    ]


def test_the_schema_requires_every_field() -> None:
    whole = json.loads(document.render(full_run()))
    validator = jsonschema.Draft202012Validator(reports.schema())
    for place, (fields, _) in enumerate(_mappings(whole)):
        for name in fields:
            broken = copy.deepcopy(whole)
            del _mappings(broken)[place][0][name]
            assert not validator.is_valid(broken), name


def test_a_missing_field_is_reported_unless_it_has_a_default() -> None:
    whole = json.loads(document.render(full_run()))
    for place, (_, kind) in enumerate(_mappings(whole)):
        for field in dataclasses.fields(kind):
            broken = copy.deepcopy(whole)
            del _mappings(broken)[place][0][field.name]
            if field.default is dataclasses.MISSING:
                with pytest.raises(ValueError, match=field.name):
                    document.parse(json.dumps(broken))
            else:
                document.parse(json.dumps(broken))


def test_unknown_fields_are_ignored() -> None:
    data = json.loads(document.render(full_run()))
    for fields, _ in _mappings(data):
        fields["added_later"] = {"of": ["a", "newer", "version"]}
    jsonschema.Draft202012Validator(reports.schema()).validate(data)
    assert document.parse(json.dumps(data)) == full_run()


def test_the_published_schema_is_generated_from_the_dataclasses() -> None:
    published = (Path(reports.__file__).parent / "report-1.schema.json").read_text("utf-8")
    assert published == document.generated_schema(), "run: python tools/report_schema.py"


def test_the_schema_names_exactly_the_values_that_the_types_allow() -> None:
    definitions = reports.schema()["$defs"]
    contract = definitions["contract"]["properties"]
    for field, allowed in (
        (definitions["backend"]["properties"]["verdict"], VerdictName),
        (contract["outcome"], Outcome),
        (contract["level"], Level),
        (contract["mode"], Mode),
        (definitions["finding"]["properties"]["kind"], Kind),
    ):
        assert tuple(field["enum"]) == get_args(allowed)
    assert get_args(Kind) == KINDS
    assert set(telling.STATUSES) == {*get_args(Outcome), "informing"}


def test_the_counts_are_as_consistent_as_the_schema_says() -> None:
    for column in full_run().backends:
        counts = column.counts
        judged = counts.passed + counts.failed + counts.deviations + counts.informing
        rest = counts.not_applicable + counts.errors + counts.not_run
        assert (counts.exercised, counts.declared) == (judged, judged + rest)


@pytest.mark.parametrize("name", [name for name in EDGES if name != "nothing"])
def test_a_report_comes_back_from_json_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    reports.write_report(EDGES[name], path)
    assert reports.load_report(path) == EDGES[name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"[" * 100_000, "not a report|not JSON"),
        (b"[]", "not a report of the schema"),
        (b'{"schema": "chat-history-conformance/report/2"}', "report/2"),
        (b'{"schema": "chat-history-conformance/report/1"}', "suite: this field is missing"),
    ],
)
def test_what_is_no_report_is_refused_with_the_name_of_the_file(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "given.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        reports.load_report(path)
    assert str(path) in str(refused.value)


def test_a_report_that_is_not_there_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read"):
        reports.load_report(tmp_path / "gone.json")


def test_half_a_character_is_escaped_in_json_and_comes_back() -> None:
    report = run(backend("half \udcff", []))
    text = document.render(report)
    assert "half \\udcff" in text
    assert document.parse(text.encode("utf-8")) == report


# -- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", reports.ENDINGS)
@pytest.mark.parametrize("name", EDGES)
def test_every_report_can_be_written_in_every_format_as_utf_8(
    name: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / f"report{ending.upper()}"
    reports.write_report(EDGES[name], path, RULES)
    assert path.read_bytes().decode("utf-8").endswith("\n")


@pytest.mark.parametrize("name", ["report.txt", "report", "report.json.gz", ".json"])
def test_an_unknown_ending_is_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.json, \.md, \.html, \.svg") as refused:
        reports.write_report(run(), tmp_path / name)
    assert name in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_refused_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a directory"):
        reports.check_path(tmp_path / "folder.json")
    with pytest.raises(ValueError, match="is not a directory"):
        reports.check_path(tmp_path / "file" / "deeper" / "report.json")
    reports.check_path(tmp_path / "not" / "there" / "yet.json")
    reports.check_path(Path("report.md"))
    assert not (tmp_path / "not").exists()


# -- Markdown -----------------------------------------------------------------------------------

SMALL = run(
    backend(
        "mine",
        [
            result(
                "ordering.one_batch",
                "failed",
                finding=Finding(
                    "lost",
                    "lost 1 of 2 messages",
                    steps=("A adds Human 'a|b'", "A reads"),
                    expected=("Human 'a|b'", "AI '名'"),
                    returned=("AI '名'",),
                    reproducer="print('```')\n",
                ),
            ),
            result("ordering.across_calls"),
            result("ttl.never", "not_applicable", reason="`with_ttl` is not there"),
        ],
        {"durable": "kept in memory"},
    )
)

SMALL_MARKDOWN = """\
# Chat history conformance

- `mine`: ❌ **NOT CONFORMANT (without durable)**: 2 of 3 contracts exercised, 1 failed, \
1 not applicable

version 0.1.0, profile ci, seed 0, python 3.11.7, langchain-core 1.8.1, server kafka 4.1.1 (jvm)

| family | `mine` |
|---|---|
| `ordering` | ✗ 1, ✓ 1 |
| `ttl` | – 1 |

✗ failed, – not applicable, ✓ passed

## `mine`

❌ **NOT CONFORMANT (without durable)**: 2 of 3 contracts exercised, 1 failed, 1 not applicable

Given up:

- `durable`: kept in memory

### Failures

#### lost 1 of 2 messages

`ordering.one_batch[sync]`

1. `A adds Human 'a|b'`
2. `A reads`

```
expected        returned
Human 'a|b'  -
AI '名'         AI '名'
```

<details><summary>Reproducer</summary>

````python
print('```')
````

</details>

> **Rule:** `add_messages([a, b])` on an empty history makes `messages` equal to `[a, b]`, \
whatever the contents, the ids and the wall clock are. \
(langchain\\_core/chat\\_history.py, BaseChatMessageHistory.add\\_messages)

Usual cause: rows are sorted by a time stamp that two messages share

What to do: sort by a number that the store hands out in order of arrival


### Not applicable

- 1 contract: `with_ttl` is not there<br>
  `ttl.never[sync]`
"""


def test_a_small_run_in_markdown_reads_like_this() -> None:
    assert markdown.render(SMALL, RULES) == SMALL_MARKDOWN


def test_failures_with_one_cause_are_told_once_in_markdown() -> None:
    text = markdown.render(full_run())
    assert text.count("#### 62 contracts: `aadd_messages` raises NotImplementedError (other)") == 1
    assert "`clear.empties[async,mixed]`" in text


def test_wide_messages_stand_one_below_the_other_in_markdown() -> None:
    wide = finding("altered", expected=("x" * 90, "same"), returned=("y" * 90, "same"))
    text = markdown.render(run(backend("mine", [result("a.b", "failed", finding=wide)])))
    stacked = f"```diff\n--- expected\n+++ returned\n- {'x' * 90}\n+ {'y' * 90}\n  same\n```"
    assert stacked in text


def test_markdown_is_cut_to_what_a_comment_can_hold_and_says_so() -> None:
    many = [
        result(f"family.contract_{number}", "failed", finding=finding("lost", number))
        for number in range(2_000)
    ]
    report = run(backend("mine", many))
    text = markdown.render(report)
    assert len(text) < 65_536
    assert "cut here; other formats tell it all" in text
    assert re.search(r"^- \d+ more, cut here$", text, re.MULTILINE)
    assert "contract_1999" in markdown.render(report, limit=None)


def test_no_message_breaks_out_of_its_place_in_markdown() -> None:
    """Outside code nothing of a message is markup; blocks end where they should."""
    text = markdown.render(full_run(), RULES)
    fence, prose = "", []
    for line in text.splitlines():
        opening = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opening:
            fence = opening[0]
        else:
            prose.append(re.sub(r"(`+)(?!`).*?[^`]\1(?!`)", "", line.replace(r"\`", "")))
    assert not fence
    outside = "\n".join(prose)
    assert not re.search(r"(?<!\\)<(?!!-- -->|br>|/?details>|/?summary>)", outside)
    assert not re.search(r"@\w|(?<!^)#\d", outside)
    assert outside.count("<details>") == outside.count("</details>") == text.count("</details>\n")


def test_markdown_tells_every_text_of_the_run() -> None:
    def words(text: str) -> str:
        """`text` without what Markdown escapes or escapes with."""
        return re.sub(r"[^\w<>]|_", "", plain(re.sub("<!-- -->|<br>", "", text)))

    shown = words(markdown.render(full_run(), limit=None))
    missing = [text for text in texts(full_run()) if words(text) not in shown]
    assert not missing


# -- Badge --------------------------------------------------------------------------------------

BADGE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="159" height="20" role="img" \
aria-label="chat history: conformant">
  <title>sqlite: CONFORMANT: 1 of 1 contracts exercised</title>
  <g font-family="Verdana, Geneva, DejaVu Sans, sans-serif" font-size="11" fill="#fff" \
text-anchor="middle">
    <rect y="0" width="159" height="20" rx="3" fill="#2a7a4b"/>
    <path d="M3 0H82v20H3a3 3 0 0 1 -3 -3v-14a3 3 0 0 1 3 -3z" fill="#3a3f47"/>
    <text x="41" y="14" textLength="70">chat history</text>
    <text x="120.5" y="14" textLength="65">conformant</text>
  </g>
</svg>
"""


def test_the_badge_of_one_conformant_backend_is_this() -> None:
    assert badge.render(run(backend("sqlite", [result("ordering.one_batch")]))) == BADGE


def test_several_backends_are_as_many_named_rows_of_one_badge() -> None:
    image = ElementTree.fromstring(badge.render(full_run()))
    shown = [element.text for element in image.iter("{http://www.w3.org/2000/svg}text")]
    assert shown == [
        "sqlite",
        "conformant",
        "kafka",
        "conformant with 4 deviations (without whole_reads)",
        "mypackage.histories:open_history",
        "not conformant (without durable, threads)",
        "kafka-consuming",
        "incomplete",
        "nothing",
        "incomplete",
    ]
    assert image.get("height") == "108"


@pytest.mark.parametrize("name", EDGES)
def test_a_badge_is_well_formed_and_speaks_whatever_names_it_holds(name: str) -> None:
    image = ElementTree.fromstring(badge.render(EDGES[name]))
    assert image.get("role") == "img"
    assert image.get("aria-label")
    assert image.findtext("{http://www.w3.org/2000/svg}title")


def test_an_empty_run_has_a_badge_that_says_so() -> None:
    assert "nothing run" in badge.render(RunReport({}, {}))


# -- HTML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EDGES)
def test_a_page_closes_what_it_opens_and_names_nothing_twice(name: str) -> None:
    page = Page(html.render(EDGES[name], RULES))
    assert not page.open
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.all("href") if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", EDGES)
def test_a_page_loads_nothing_from_anywhere(name: str) -> None:
    source = html.render(EDGES[name], RULES)
    page = Page(source)
    assert not page.all("src")
    assert all(link.startswith("#") or link == "data:," for link in page.all("href"))
    assert "url(" not in source
    assert "@import" not in source
    assert "http://" not in source
    assert "https://" not in source
    [policy] = [attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("name", EDGES)
def test_a_page_has_one_script_and_it_is_the_one_that_its_policy_lets_run(name: str) -> None:
    source = html.render(EDGES[name], RULES)
    page = Page(source)
    assert [tag for tag, _ in page.elements].count("script") == 1
    [script] = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs]
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [key for _, attrs in page.elements for key in attrs if key.startswith("on")]


@pytest.mark.parametrize("name", EDGES)
def test_a_page_shows_every_text_of_the_run_as_text(name: str) -> None:
    shown = plain(Page(html.render(EDGES[name])).text)
    missing = [text for text in texts(EDGES[name]) if text not in shown]
    assert not missing


def test_failures_with_one_cause_are_told_once_on_a_page_and_all_are_listed() -> None:
    source = html.render(full_run())
    told = source.partition('id="b2-failed-0"')[2].partition('<details class="told')[0]
    shown = Page(f"<details{told}").text.strip()
    assert shown.startswith("62 contracts: aadd_messages raises NotImplementedError")
    listed = shown.partition("Every contract")[2]
    for family, names in FAMILIES.items():
        for name in names:
            assert (f"{family}.{name}[async,mixed]" in listed) == (name != "dead_server")


def test_a_page_shows_the_rule_with_its_source_where_the_catalogue_is_given() -> None:
    rule = RULES["ordering.one_batch"]
    with_rules, without = (Page(html.render(SMALL, given)).text for given in (RULES, None))
    for text in (rule.title, rule.rule, rule.source, rule.cause, rule.remedy):
        assert plain(text) in plain(with_rules)
        assert plain(text) not in plain(without)


def test_every_cell_of_the_matrix_says_its_outcome_in_words_and_in_its_title() -> None:
    source = html.render(full_run())
    cells = re.findall(r'<td class="s-(\w+)[^"]*" title="([^"]*)">(.*?)</td>', source)
    assert len(cells) == sum(len(column.contracts) for column in full_run().backends)
    assert {name for name, _, _ in cells} == set(telling.STATUSES)
    for name, title, inner in cells:
        word = telling.STATUSES[name]
        assert f": {word.one}" in title
        assert f'{word.symbol}<span class="aside"> {word.one}</span>' in inner


def test_contracts_that_passed_everywhere_are_folded_and_no_others() -> None:
    source = html.render(
        run(
            backend("a", [result("x.good"), result("x.bad")]),
            backend("b", [result("x.good"), result("x.bad", "error", reason="down")]),
        )
    )
    rows = re.findall(r'<tr( class="calm")? data-status="([^"]*)"><th[^>]*><code>(.*?)</', source)
    assert rows == [(' class="calm"', "passed", "x.<wbr>good"), ("", "error passed", "x.<wbr>bad")]


def test_lines_that_differ_are_marked_and_so_is_the_part_that_does() -> None:
    told = finding("altered", expected=("same", "AI 'one'"), returned=("same", "AI 'two'"))
    source = html.render(run(backend("mine", [result("a.b", "failed", finding=told)])))
    assert '<tr class="same"><td data-label="expected">same</td>' in source
    assert "AI &#39;<mark>one</mark>&#39;" in source
    assert "AI &#39;<mark>two</mark>&#39;" in source
    assert '<td class="mark">≠<span class="aside"> different</span></td>' in source


def test_text_stands_out_from_its_ground_in_light_and_in_dark() -> None:
    """The contrast that WCAG asks of text: 4.5 to 1."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", html.resource("page.css"), re.DOTALL)[:2]
    )
    for palette in (light, dark):
        pairs = [
            *(
                (ink, ground)
                for ink in ("ink", "quiet")
                for ground in ("paper", "raised", "sunken")
            ),
            *(
                (tone, ground)
                for tone in ("good", "bad", "warn", "info")
                for ground in ("paper", "raised", f"{tone}-tint")
            ),
            ("ink", "good-mark"),
            ("ink", "bad-mark"),
            ("accent", "raised"),
        ]
        low = [pair for pair in pairs if contrast(palette[pair[0]], palette[pair[1]]) < 4.5]
        assert not low
    assert all(contrast("#ffffff", colour) >= 4.5 for colour in badge.COLOURS.values())


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_page_of_two_hundred_contracts_and_six_backends_stays_below_two_megabytes() -> None:
    results = [
        result(f"family{number // 17}.contract_{number}", mode=mode)
        for number in range(200)
        for mode in MODES
    ]
    report = run(*(backend(f"backend-{number}", results) for number in range(6)))
    assert len(html.render(report)) < 2_000_000


# -- Telling ------------------------------------------------------------------------------------


def test_a_message_that_was_altered_stands_beside_what_became_of_it() -> None:
    rows = telling.aligned(
        ["Human 'one'", "AI 'two'", "Human 'three '"], ["Human 'one'", "Human 'three'"]
    )
    assert [(row.mark, row.expected, row.returned) for row in rows] == [
        (" ", "Human 'one'", "Human 'one'"),
        ("-", "AI 'two'", None),
        ("≠", "Human 'three '", "Human 'three'"),
    ]


@pytest.mark.parametrize(("expected", "returned"), [(3, 0), (0, 3), (30, 31), (2_000, 1_999)])
def test_aligning_drops_no_line_however_many_there_are(expected: int, returned: int) -> None:
    left = [f"line {number}" for number in range(expected)]
    right = [f"LINE {number * 7}" for number in range(returned)]
    rows = telling.aligned(left, right)
    assert [row.expected for row in rows if row.expected is not None] == left
    assert [row.returned for row in rows if row.returned is not None] == right


def test_the_same_finding_in_several_modes_of_a_contract_is_one() -> None:
    results = [
        result("a.b", "failed", mode=mode, finding=finding("lost", reproducer=mode))
        for mode in MODES
    ]
    [group] = telling.sections(backend("mine", results))["failed"]
    assert telling.labels(group.results) == ["a.b[sync,async,mixed,process]"]


def test_findings_without_a_cause_stay_apart_though_their_summaries_agree() -> None:
    results = [
        result(contract, "failed", finding=finding("lost")) for contract in ("a.one", "a.two")
    ]
    groups = telling.sections(backend("mine", results))["failed"]
    assert [group.results[0].id for group in groups] == ["a.one", "a.two"]


def test_the_shortest_finding_tells_for_all_of_one_cause() -> None:
    long = finding("other", cause="gone")
    short = finding("other", cause="gone", steps=("A reads",))
    results = [result("a.one", "failed", finding=long), result("a.two", "failed", finding=short)]
    [group] = telling.sections(backend("mine", results))["failed"]
    assert group.finding is short
    assert (group.title, group.shared) == ("gone", True)


# -- Many runs ----------------------------------------------------------------------------------


def test_runs_side_by_side_keep_their_names_where_these_differ() -> None:
    merged = matrix.merge([run(backend("a", [])), run(backend("b", []))])
    assert [(column.name, column.notes) for column in merged.backends] == [("a", ()), ("b", ())]
    assert merged.suite == run().suite
    assert merged.environment == run().environment


@pytest.mark.parametrize(
    ("versions", "labels", "names"),
    [
        (("0.1.0", "0.2.0"), ("x", "y"), ["kafka (0.1.0)", "kafka (0.2.0)"]),
        (("0.1.0", "0.1.0"), ("x", "y"), ["kafka (x)", "kafka (y)"]),
        (("0.1.0", "0.1.0"), ("x", "x"), ["kafka (run 1)", "kafka (run 2)"]),
        (("0.1.0", "0.1.0"), (), ["kafka (run 1)", "kafka (run 2)"]),
        (("0.1.0", "0.1.0", "0.2.0"), ("x", "y", "z"), ["kafka (x)", "kafka (y)", "kafka (z)"]),
    ],
)
def test_names_that_clash_are_told_apart_by_version_then_by_label_then_by_number(
    versions: tuple[str, ...], labels: tuple[str, ...], names: list[str]
) -> None:
    runs = [run(backend("kafka", []), version=version) for version in versions]
    assert [column.name for column in matrix.merge(runs, labels).backends] == names


def test_a_name_that_another_was_given_stays_its_own() -> None:
    first = run(backend("kafka", []), backend("kafka (y)", []))
    merged = matrix.merge([first, run(backend("kafka", []))], ["x", "y"])
    names = [column.name for column in merged.backends]
    assert len(set(names)) == 3


def test_what_runs_differ_in_is_named_for_the_whole_and_noted_in_each_column() -> None:
    merged = matrix.merge(
        [run(backend("a", [])), run(backend("b", []), version="0.2.0")], ["x", "y"]
    )
    assert merged.suite == {"version": "0.1.0, 0.2.0", "profile": "ci", "seed": 0}
    assert [column.notes for column in merged.backends] == [
        ("Ran with suite version 0.1.0.",),
        ("Ran with suite version 0.2.0.",),
    ]


def test_merged_runs_are_a_report_like_any_other() -> None:
    merged = matrix.merge([full_run(), SMALL, full_run()], ["x", "y", "z"])
    data = json.loads(document.render(merged))
    jsonschema.Draft202012Validator(reports.schema()).validate(data)
    page = Page(html.render(merged))
    assert not page.open
    assert all(plain(column.name) in plain(page.text) for column in merged.backends)


def test_runs_by_file_are_labelled_by_their_files() -> None:
    loaded = {
        Path("mac/r.json"): run(backend("a", [])),
        Path("linux/r.json"): run(backend("a", [])),
    }
    names = [column.name for column in matrix.merge(loaded).backends]
    assert names == ["a (mac/r)", "a (linux/r)"]


def test_the_texts_of_the_catalogue_are_at_hand_for_a_report() -> None:
    texts_by_id = catalogue.rule_texts()
    assert texts_by_id.keys() == catalogue.load().keys()
    some = catalogue.load()["ordering.across_calls"]
    assert texts_by_id[some.id] == RuleText(
        some.title, some.rule, some.source, some.cause, some.remedy
    )


def test_labels_that_are_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="1 labels for 2 reports"):
        matrix.merge([run(), run()], ["x"])


def test_files_are_labelled_by_the_shortest_ends_of_their_paths_that_differ() -> None:
    assert matrix.labels_of(["out/a.json", "out/b.json"]) == ["a", "b"]
    assert matrix.labels_of(["linux/report.json", "mac/report.json"]) == [
        "linux/report",
        "mac/report",
    ]
    assert matrix.labels_of(["a.json", "a.json"]) == ["a.json", "a.json"]
