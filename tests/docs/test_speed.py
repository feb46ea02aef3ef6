"""The page with the speed of the suite, and how its numbers are computed."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from pathlib import Path

import pytest

from tools import suite_speed

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
SUITE = "/lib/chat_history_conformance"


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        (f"run ({SUITE}/execution/engine.py:1);draw (/lib/hypothesis/core.py:2)", "drawing"),
        (f"draw (/lib/hypothesis/core.py:2);add ({SUITE}/execution/handle.py:1)", "the functions"),
        ("add (/lib/chat_history_backends/memory.py:3);dumps (/lib/json/encoder.py:4)", "the hist"),
        (f"dump ({SUITE}/diagnosis/canonical.py:3);get (/lib/pydantic/main.py:4)", "comparing"),
        (f"call ({SUITE}/drivers/local.py:3);send (/lib/socket.py:4)", "calling"),
        (f"show ({SUITE}/reports/html.py:3)", "the rest"),
        ("call (/lib/_pytest/python.py:3)", "pytest"),
        (f"load ({SUITE}/x.py:3);_load (<frozen importlib._bootstrap>:4)", "imports"),
        ("main (/bin/other.py:1)", suite_speed.OTHER),
    ],
)
def test_a_sample_counts_for_the_innermost_known_frame(stack: str, part: str) -> None:
    assert suite_speed.share(stack).startswith(part)


def test_the_page_has_the_seconds_and_the_share_of_each_part() -> None:
    runs = {
        "memory": suite_speed.Run(4.0, Counter({"a": 3.0, "b": 1.0}), unit=0.5),
        "sqlite": suite_speed.Run(9.0, Counter({"a": 2.0, "c": 6.0}), unit=0.62),
    }
    text = suite_speed.page(
        runs, {"sync": (61.4, 50.0), "async": (120.0, 90.0)}, datetime.date(2026, 1, 2)
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| c | 0.0 (0%) | 6.0 (75%) |" in rows
    assert "| a | 3.0 (75%) | 2.0 (25%) |" in rows
    assert "| all work | 4.0 | 8.0 |" in rows
    assert "| from start to end | 4.0 | 9.0 |" in rows
    assert "| an import | 0.50 | 0.62 |" in rows
    assert "| `sync` | 61 | 50 |" in rows


def test_the_suite_adds_at_most_100_microseconds_to_a_synchronous_operation() -> None:
    costs = dict(
        re.findall(r"^\| `(\w+)` \| \d+ \| (\d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    )
    assert int(costs["sync"]) <= 100
    assert int(costs["async"]) <= 200


def test_the_overhead_of_an_operation_is_measured() -> None:
    assert 0 < suite_speed.overhead("sync", stories=2, operations=8) < 100_000
