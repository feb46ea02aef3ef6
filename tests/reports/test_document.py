"""Reports as JSON: read, written, validated, and described by a schema."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from chat_history_conformance import reports
from chat_history_conformance.reports import document, wording
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Counts,
    Finding,
    Kind,
    Level,
    Mode,
    Outcome,
    VerdictName,
)
from tests.reports.samples import (
    EDGES,
    backend,
    full_run,
    run,
)


def test_the_published_schema_is_valid_and_describes_every_field() -> None:
    published = reports.schema()
    jsonschema.Draft202012Validator.check_schema(published)
    for part in (published, *published["$defs"].values()):
        for name, field in part.get("properties", {}).items():
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
        (["backends", 2, "contracts", 0, "informs"], 1, "input should be a valid boolean"),
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


def test_a_report_that_0_1_0_wrote_is_read() -> None:
    path = Path(__file__).with_name("report-0.1.0.json")
    report = reports.load_report(path)
    assert [(one.name, one.verdict, len(one.contracts)) for one in report.backends] == [
        ("memory", "conformant", 6),
        ("upstream", "not_conformant", 6),
        ("upstream-kafka", "not_conformant", 3),
    ]
    # Nothing is lost: written again, the report is the same, and later fields have defaults.
    before = json.loads(path.read_text("utf-8"))
    for one in before["backends"]:
        one["origin"] = ""
        for contract in one["contracts"]:
            contract["cut"] = False
            contract["url"] = ""
            if contract["finding"]:
                contract["finding"]["raised_at"] = ""
                contract["finding"]["plain"] = None
    assert json.loads(document.render(report)) == before


def test_reading_results_imports_pydantic_only_when_a_report_is_read() -> None:
    script = (
        "import sys\n"
        "from chat_history_conformance import reports\n"
        "from chat_history_conformance.results import validation, verdict\n"
        "print([name for name in ('pydantic', 'jinja2') if name in sys.modules])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


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


def test_the_schema_lists_the_values_that_the_types_allow() -> None:
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
    assert set(wording.STATUSES) == {*get_args(Outcome), "informing"}


def test_the_counts_add_up_as_the_schema_says() -> None:
    for column in full_run().backends:
        counts = column.counts
        judged = counts.passed + counts.failed + counts.deviations + counts.informing
        rest = counts.not_applicable + counts.errors + counts.not_run
        assert (counts.exercised, counts.declared) == (judged, judged + rest)


@pytest.mark.parametrize("name", [name for name in EDGES if name != "nothing"])
def test_a_report_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
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
def test_a_file_that_is_not_a_report_is_refused_by_name(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "given.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        reports.load_report(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read"):
        reports.load_report(tmp_path / "gone.json")


def test_a_lone_surrogate_is_escaped_in_json_and_read_again() -> None:
    report = run(backend("half \udcff", []))
    text = document.render(report)
    assert "half \\udcff" in text
    assert document.parse(text.encode("utf-8")) == report
