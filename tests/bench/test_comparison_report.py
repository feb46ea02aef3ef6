"""Comparisons as Markdown, JSON, HTML and text for a terminal."""

from __future__ import annotations

import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema

from chat_history_conformance.bench.compare import document as documents
from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measured,
    Operation,
    Settings,
    VersionSummary,
)
from chat_history_conformance.bench.measure.statistics import Estimate, ratio
from chat_history_conformance.bench.report import comparison as words
from chat_history_conformance.bench.report import html as pages
from chat_history_conformance.bench.report import markdown, terminal


def compared(**changes: Any) -> Comparison:
    """Return a comparison that has one of everything."""
    settings = Settings(pairs=8)

    def measured(middle: float) -> Measured:
        pairs = tuple((0.001, 0.001 * middle * (1 + 0.004 * n)) for n in range(-4, 4))
        return Measured(pairs, ratio(pairs))

    def operation(name: str, first: float, second: float | None = None, head: int = 4) -> Operation:
        again = None if second is None else measured(second)
        return Operation(name, settings, measured(first), again, 4, head)

    return replace(
        Comparison(
            base=VersionSummary("HEAD~1 (0123456789)", "git", "0123456789abcd", "tinyhist", "1.0"),
            head=VersionSummary(".", "path", "", "tinyhist", "1.1"),
            settings=settings,
            environment={"python": "3.11.7", "implementation": "CPython", "cores": 2},
            differing={"other": ("1", None)},
            backends=[
                Backend(
                    "tiny",
                    [
                        operation("add_1[sync]", 1.25, 1.2),
                        operation("add_100[sync]", 1.25, 1.0),
                        operation("read_10[sync]", 0.7, 0.8),
                        operation("clear[sync]", 1.0, head=5),
                        operation("open[sync]", 1.0),
                        replace(
                            operation("read_100[sync]", 1.0),
                            first=Measured(((1.0, 30.0), (30.0, 1.0)), Estimate(1.0, 0.03, 30.0)),
                        ),
                    ],
                    "4.1.1 (jvm)",
                    ["last_10[sync]"],
                )
            ],
            created="2026-01-01T00:00:00+00:00",
            suite="0.1.0",
        ),
        **changes,
    )


def test_markdown_begins_with_the_operations_that_got_worse() -> None:
    text = markdown.comparison(compared())
    shown, _, _ = text.partition("<details>")
    assert text.startswith("## ❌ 2 of 6 operations got worse; 1 is unclear\n")
    rows = [line for line in shown.splitlines() if line.startswith("| `")]
    assert [re.findall("`(.*?)`", row) for row in rows] == [
        ["tiny", "add_1[sync]"],
        ["tiny", "clear[sync]"],
        ["tiny", "read_10[sync]"],
    ]
    assert "| **slower** | 1.198 |" in rows[0]
    assert "| **more round trips; time unchanged** |" in rows[1]
    assert "| 4 → 5 |" in rows[1]
    assert "Other packages differ too: `other 1 → missing`." in shown
    assert "`tiny`: only base has last_10[sync]: nothing to compare." in shown
    folded = [line for line in text.splitlines() if line.startswith("| `") and line not in rows]
    assert len(folded) == 3
    assert text.count("<details>") == text.count("</details>") == 2


def test_markdown_without_a_change_is_folded() -> None:
    calm = compared().backends[0].operations[4]
    text = markdown.comparison(compared(backends=[Backend("tiny", [calm])], differing={}))
    assert text.startswith("## ✅ None of 1 operation got worse\n")
    assert "|" not in text.partition("<details>")[0]


def test_noise_is_not_reported_as_no_change() -> None:
    hidden = compared(backends=[Backend("tiny", [compared().backends[0].operations[5]])])
    assert hidden.outcome == "unclear"
    headline = "No result for 1 operation: the noise is too large"
    assert markdown.comparison(hidden).startswith(f"## ⚪ {headline}\n")
    assert f'<h1 class="t-unclear">{headline}</h1>' in pages.comparison(hidden)


def test_markdown_shows_names_unchanged() -> None:
    calm = compared().backends[0].operations[4]
    text = markdown.comparison(
        compared(backends=[Backend("a`b|<script>\n@someone", [calm])], differing={})
    )
    assert "``` a`b" in text or "`` a`b" in text
    assert "\n@someone" not in text
    [row] = [line for line in text.splitlines() if "<script>" in line and line.startswith("|")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 9


def written(comparison: Comparison) -> str:
    return documents.render(comparison, words.headline(comparison))


def test_the_published_schema_follows_from_the_dataclasses() -> None:
    file = Path(documents.__file__).with_name("comparison-1.schema.json")
    # Run tools/comparison_schema.py if this fails.
    assert file.read_text("utf-8") == documents.generated_schema()


def test_json_follows_its_schema_and_holds_every_pair() -> None:
    document = json.loads(written(compared()))
    schema = documents.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    [backend] = document["backends"]
    assert [each["verdict"] for each in backend["operations"]] == [
        "slower",
        "unchanged",
        "faster",
        "unchanged",
        "unchanged",
        "unclear",
    ]
    assert len(backend["operations"][0]["second"]["pairs"]) == 8
    assert document["regression"] is True


def test_the_schema_requires_every_field_and_allows_no_other() -> None:
    document = json.loads(written(compared()))
    validator = jsonschema.Draft202012Validator(documents.schema())

    def places(node: object) -> Iterator[dict[str, object]]:
        if isinstance(node, dict):
            yield node
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from places(item)

    for place in list(places(document)):
        if place is document["environment"] or place is document["differing"]:
            continue
        place["surplus"] = 1
        assert not validator.is_valid(document), place
        del place["surplus"]
        for name in list(place):
            value = place.pop(name)
            assert not validator.is_valid(document), name
            place[name] = value
    assert validator.is_valid(document)


class Page(html.parser.HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = pages.comparison(compared())
    page = Page(text)
    assert not page.all("script")
    assert "default-src 'none'" in next(
        meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv")
    )
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert "url(" not in text
    assert "http" not in re.sub('http-equiv="', "", text)
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_a_plot_of_every_operation_with_a_dot_for_every_pair() -> None:
    page = Page(pages.comparison(compared()))
    plots = re.findall(r"<svg.*?</svg>", pages.comparison(compared()), re.DOTALL)
    operations = compared().backends[0].operations
    assert len(plots) == len(operations)
    for plot, operation in zip(plots, operations, strict=True):
        drawn = ElementTree.fromstring(plot)
        pairs = [*operation.first.pairs, *(operation.second.pairs if operation.second else ())]
        assert len(drawn.findall(".//circle")) == len(pairs)
        assert operation.name in drawn.attrib["aria-label"]
        for circle in drawn.iter("circle"):
            assert 0 <= float(circle.attrib["cx"].removesuffix("%")) <= 100
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {link["href"] for link in page.all("a")}
    assert len(ids) == len(set(ids)) == 6
    assert links == {f"#{name}" for name in ids}


def test_slower_operations_are_right_of_one() -> None:
    text = pages.comparison(compared())
    by_name = dict(
        zip(
            [each.name for each in compared().backends[0].operations],
            re.findall(r"<svg.*?</svg>", text, re.DOTALL),
            strict=True,
        )
    )

    def medians(name: str) -> list[float]:
        drawn = ElementTree.fromstring(by_name[name])
        lines = [line for line in drawn.iter("line") if line.attrib["class"] == "median"]
        return [float(line.attrib["x1"].removesuffix("%")) for line in lines]

    assert all(place > 50 for place in medians("add_1[sync]"))
    assert all(place < 50 for place in medians("read_10[sync]"))
    assert medians("add_100[sync]")[0] > 52 > 51 > medians("add_100[sync]")[1]


def test_a_name_with_markup_is_shown_as_text_in_the_page() -> None:
    evil = '"><img src=x onerror=alert(1)>'
    calm = compared().backends[0].operations[4]
    page = Page(pages.comparison(compared(backends=[Backend(evil, [replace(calm, name=evil)])])))
    assert not page.all("img")
    assert evil in page.words


def test_the_terminal_lists_every_operation_and_ends_with_the_outcome() -> None:
    lines = terminal.comparison(compared()).splitlines()
    assert lines[0] == "base: HEAD~1 (0123456789): tinyhist 1.0"
    assert "another difference: other 1 → missing" in lines
    assert "tiny on 4.1.1 (jvm)" in lines
    table = [line for line in lines if ("[sync]" in line and "µs" in line) or " ms " in line]
    assert len(table) == 5
    assert any(line.endswith("✗ slower") for line in table)
    assert any(line.endswith("✗ more round trips; time unchanged") for line in table)
    assert lines[-3:] == [
        "2 of 6 operations got worse; 1 is unclear",
        "  tiny add_1[sync] takes 1.198 times as long (1.181 to 1.214)",
        "  tiny clear[sync] makes 5 round trips, before 4",
    ]
