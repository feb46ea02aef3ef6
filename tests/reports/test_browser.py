"""Reports in a real browser: their width, their frames, the keyboard and the filter."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.reports import html
from chat_history_conformance.results.model import RunReport
from tests.reports.samples import RULES, full_run

sync_api = pytest.importorskip("playwright.sync_api")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_TEN = "ten backends"
_PAGES = ("one backend", "six backends", _TEN)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write pages for runs with one, six and ten backends."""
    run = full_run()
    found = run.backends
    many = [replace(found[n % len(found)], name=f"my-history-number-{n}") for n in range(10)]
    runs: dict[str, RunReport] = {
        "one backend": replace(run, backends=found[:1]),
        "six backends": replace(run, backends=tuple(many[:6])),
        _TEN: replace(run, backends=tuple(many)),
    }
    directory = tmp_path_factory.mktemp("pages")
    paths = {}
    for name, one in runs.items():
        paths[name] = directory / f"{name}.html"
        paths[name].write_text(html.render(one, RULES), encoding="utf-8", errors="replace")
    return paths


Show = Callable[..., Any]


def _wait_until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait until an expression is true in a page.

    `Page.wait_for_function` cannot be used: if the first answer is false, it calls `eval` in the
    page, and the pages forbid that with their Content-Security-Policy.
    """
    deadline = time.monotonic() + 30
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"{expression} did not become true within 30 s"
        time.sleep(0.02)


@pytest.fixture
def show(browser: Any, files: dict[str, Path]) -> Iterator[Show]:
    """Open a page in a window of a width, and fail if the browser reports a problem with it."""
    problems: list[str] = []
    contexts = []

    def open_page(name: str = _TEN, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.goto(files[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("name", _PAGES)
def test_a_page_never_scrolls_sideways(show: Show, name: str, width: int, scheme: str) -> None:
    page = show(name, width, scheme)
    for closed in page.query_selector_all("details:not([open])"):
        closed.evaluate("one => one.open = true")
    page.check("#every")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_the_colours_of_the_system(show: Show, scheme: str) -> None:
    page = show("one backend", 1280, scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in colour.strip("rgb()").split(",")]
    assert (sum(channels) > 384) is (scheme == "light")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_matrix_of_ten_backends_scrolls_in_its_own_frame(show: Show, width: int) -> None:
    frame = show(_TEN, width).locator(".matrix")
    assert frame.evaluate("one => getComputedStyle(one).overflowX") == "auto"
    assert frame.evaluate("one => one.scrollWidth > one.clientWidth")
    assert frame.evaluate("one => one.clientWidth <= innerWidth")


def test_the_keyboard_reaches_the_first_finding_in_three_steps(show: Show) -> None:
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    assert page.evaluate("document.activeElement.getBoundingClientRect().width") > 50
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('details')?.className").startswith("entry")


def test_the_arrow_keys_move_between_the_links_of_the_matrix(show: Show) -> None:
    page = show()
    page.focus(".matrix")
    visited = []
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
        visited.append(
            page.evaluate(
                "[document.activeElement.closest('tr')?.rowIndex,"
                " document.activeElement.closest('td, th')?.cellIndex]"
            )
        )
    places = list(map(tuple, visited))
    assert all(row is not None for row, _ in places)
    assert places[0][1] <= places[1][1] <= places[2][1]
    assert places[3][0] > places[2][0] or places[3] == places[2]
    assert len(set(places)) >= 3
    assert page.evaluate("document.activeElement.tabIndex") == -1


def test_the_filter_shows_what_contains_all_words_and_everything_if_it_is_empty(show: Show) -> None:
    page = show()
    shown = "document.querySelectorAll('.matrix tr[data-status]:not([hidden])').length"
    before = page.evaluate(shown)
    page.fill("#filter-text", "clear. idem")
    _wait_until(page, f"{shown} === 1")
    page.fill("#filter-text", "no contract has this text")
    _wait_until(page, f"{shown} === 0")
    page.fill("#filter-text", "")
    _wait_until(page, f"{shown} === {before}")


def test_a_link_to_a_finding_or_a_rule_opens_it(show: Show) -> None:
    page = show()
    for selector in (".matrix td a", ".matrix th a[href^='#rule-']"):
        target = page.locator(selector).first.get_attribute("href")
        page.evaluate("hash => { location.hash = hash; }", target)
        _wait_until(page, "id => document.getElementById(id).open", target[1:])
