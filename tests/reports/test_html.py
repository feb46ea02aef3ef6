"""Reports as a page."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from chat_history_conformance.reports import badge, html, wording
from chat_history_conformance.reports.advice import advised
from chat_history_conformance.results.model import (
    MODES,
)
from tests.reports.samples import (
    EDGES,
    FAMILIES,
    RULES,
    SMALL,
    Page,
    backend,
    finding,
    full_run,
    plain,
    result,
    run,
    texts,
)


@pytest.mark.parametrize("name", EDGES)
def test_a_page_closes_every_element_and_has_no_duplicate_id(name: str) -> None:
    page = Page(html.render(EDGES[name], RULES))
    assert not page.open
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.all("href") if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", EDGES)
def test_a_page_loads_nothing_from_the_network(name: str) -> None:
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
def test_the_policy_of_a_page_allows_only_its_own_script(name: str) -> None:
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
def test_a_page_shows_every_text_of_the_run(name: str) -> None:
    shown = plain(Page(html.render(EDGES[name])).text)
    missing = [text for text in texts(EDGES[name]) if text not in shown]
    assert not missing


def test_failures_with_one_cause_appear_once_on_a_page_and_are_all_listed() -> None:
    source = html.render(full_run())
    entry = source.partition('id="b2-failed-0"')[2].partition('<details class="entry')[0]
    shown = Page(f"<details{entry}").text.strip()
    assert shown.startswith("62 failures: aadd_messages raises NotImplementedError")
    listed = shown.partition("The same cause in other contracts")[2]
    unlisted = {
        f"{family}.{name}"
        for family, names in FAMILIES.items()
        for name in names
        if f"{family}.{name}[async,mixed]" not in listed
    }
    assert unlisted == {"ordering.one_batch", "errors.dead_server"}
    assert "ordering.one_batch[async]" in shown
    assert listed.count("[async,mixed]") == 30


def test_a_step_of_several_lines_keeps_them_on_a_page() -> None:
    found = finding("lost", steps=("at the same time:\nlane 1: a.messages",))
    source = html.render(run(backend("mine", [result("a.b", "failed", finding=found)])))
    assert "at the same time:<br>lane 1: a.messages" in source


def test_a_page_links_a_finding_and_a_rule_to_the_page_of_the_contract() -> None:
    address = "https://example.org/contracts/ordering.one_batch/"
    rules = {name: replace(rule, url=address) for name, rule in RULES.items()}
    assert Page(html.render(SMALL, rules)).all("href").count(address) == 2
    assert address not in html.render(SMALL, RULES)


def test_a_page_shows_the_rule_and_its_source_if_the_catalogue_is_given() -> None:
    rule = RULES["ordering.one_batch"]
    with_rules, without = (Page(html.render(SMALL, given)).text for given in (RULES, None))
    advice = advised(SMALL.backends[0].contracts[0], RULES)
    assert advice is not None
    for text in (rule.title, rule.rule, rule.source, advice.cause, advice.remedy):
        assert plain(text) in plain(with_rules)
        assert plain(text) not in plain(without)


def test_every_cell_of_the_matrix_has_its_outcome_in_words_and_in_its_title() -> None:
    source = html.render(full_run())
    cells = re.findall(r'<td class="s-(\w+)[^"]*" title="([^"]*)">(.*?)</td>', source)
    assert len(cells) == sum(len(column.contracts) for column in full_run().backends)
    assert {name for name, _, _ in cells} == set(wording.STATUSES)
    for name, title, inner in cells:
        word = wording.STATUSES[name]
        assert f": {word.one}" in title
        assert f'{word.symbol}<span class="aside"> {word.one}</span>' in inner


def test_only_contracts_that_passed_everywhere_are_folded() -> None:
    source = html.render(
        run(
            backend("a", [result("x.good"), result("x.bad")]),
            backend("b", [result("x.good"), result("x.bad", "error", reason="down")]),
        )
    )
    rows = re.findall(r'<tr( class="calm")? data-status="([^"]*)"><th[^>]*><code>(.*?)</', source)
    assert rows == [(' class="calm"', "passed", "x.<wbr>good"), ("", "error passed", "x.<wbr>bad")]


def test_lines_that_differ_are_marked_with_the_part_that_differs() -> None:
    altered = finding("altered", expected=("same", "AI 'one'"), returned=("same", "AI 'two'"))
    source = html.render(run(backend("mine", [result("a.b", "failed", finding=altered)])))
    assert '<tr class="same"><td data-label="expected">same</td>' in source
    assert "AI &#39;<mark>one</mark>&#39;" in source
    assert "AI &#39;<mark>two</mark>&#39;" in source
    assert '<td class="mark">≠<span class="aside"> different</span></td>' in source


def test_text_has_enough_contrast_in_light_and_in_dark() -> None:
    # WCAG asks for a contrast of 4.5 to 1.
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


def test_a_page_of_200_contracts_and_6_backends_is_smaller_than_2_megabytes() -> None:
    results = [
        result(f"family{number // 17}.contract_{number}", mode=mode)
        for number in range(200)
        for mode in MODES
    ]
    report = run(*(backend(f"backend-{number}", results) for number in range(6)))
    assert len(html.render(report)) < 2_000_000


def test_a_page_links_each_known_contract_to_its_rule_and_each_finding_to_itself() -> None:
    page = Page(html.render(full_run(), RULES))
    assert "rule-ordering.one_batch" in page.all("id")
    assert "#rule-ordering.one_batch" in page.all("href")
    anchors = {one for one in page.all("id") if re.fullmatch(r"b\d+-failed-\d+", one)}
    assert anchors
    assert {f"#{one}" for one in anchors} <= set(page.all("href"))


def test_a_page_shows_the_date_the_commit_and_the_origin_of_a_backend() -> None:
    report = run(replace(backend("mine", []), origin="mypackage.histories:open_history"))
    facts = {"date": "2026-11-26 09:00 UTC", "commit": "0123456789ab-dirty"}
    report = replace(report, environment={**facts, **report.environment})
    source = html.render(report, RULES)
    shown = Page(source).text
    for text in ("2026-11-26 09:00 UTC", "0123456789ab-dirty"):
        assert text in shown
    assert "mypackage" in source
