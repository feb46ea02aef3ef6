"""Several runs merged into one report."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from chat_history_conformance import reports
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.project import page_of
from chat_history_conformance.reports import RuleText, document, html, matrix
from tests.reports.samples import (
    SMALL,
    Page,
    backend,
    full_run,
    plain,
    run,
)


def test_backends_keep_their_names_if_these_differ() -> None:
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
def test_equal_names_get_the_version_or_the_label_or_the_number_of_the_run(
    versions: tuple[str, ...], labels: tuple[str, ...], names: list[str]
) -> None:
    runs = [run(backend("kafka", []), version=version) for version in versions]
    assert [column.name for column in matrix.merge(runs, labels).backends] == names


def test_a_changed_name_does_not_repeat_an_existing_one() -> None:
    first = run(backend("kafka", []), backend("kafka (y)", []))
    merged = matrix.merge([first, run(backend("kafka", []))], ["x", "y"])
    names = [column.name for column in merged.backends]
    assert len(set(names)) == 3


def test_facts_that_differ_are_listed_for_the_report_and_noted_for_each_backend() -> None:
    merged = matrix.merge(
        [run(backend("a", [])), run(backend("b", []), version="0.2.0")], ["x", "y"]
    )
    assert merged.suite == {"version": "0.1.0, 0.2.0", "profile": "ci", "seed": 0}
    assert [column.notes for column in merged.backends] == [
        ("Ran with suite version 0.1.0.",),
        ("Ran with suite version 0.2.0.",),
    ]


def test_a_merged_report_is_valid_and_can_be_shown() -> None:
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


def test_the_catalogue_returns_the_texts_for_a_report() -> None:
    texts_by_id = catalogue.rule_texts()
    assert texts_by_id.keys() == catalogue.load().keys()
    some = catalogue.load()["ordering.across_calls"]
    assert texts_by_id[some.id] == RuleText(
        some.title, some.rule, some.source, some.cause, some.remedy, url=page_of(some.id)
    )


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="There are 1 labels for 2 reports"):
        matrix.merge([run(), run()], ["x"])


def test_files_are_labelled_by_the_shortest_ends_of_their_paths_that_differ() -> None:
    assert matrix.labels_of(["out/a.json", "out/b.json"]) == ["a", "b"]
    assert matrix.labels_of(["linux/report.json", "mac/report.json"]) == [
        "linux/report",
        "mac/report",
    ]
    assert matrix.labels_of(["a.json", "a.json"]) == ["a.json", "a.json"]
