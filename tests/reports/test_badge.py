"""Reports as a badge."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from chat_history_conformance.reports import badge
from chat_history_conformance.results.model import (
    RunReport,
)
from tests.reports.samples import (
    EDGES,
    backend,
    full_run,
    result,
    run,
)

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


def test_the_badge_of_one_conformant_backend() -> None:
    assert badge.render(run(backend("sqlite", [result("ordering.one_batch")]))) == BADGE


def test_each_of_several_backends_has_a_named_row() -> None:
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
def test_a_badge_is_well_formed_and_has_text_for_screen_readers(name: str) -> None:
    image = ElementTree.fromstring(badge.render(EDGES[name]))
    assert image.get("role") == "img"
    assert image.get("aria-label")
    assert image.findtext("{http://www.w3.org/2000/svg}title")


def test_the_badge_of_an_empty_run_says_nothing_run() -> None:
    assert "nothing run" in badge.render(RunReport({}, {}))
