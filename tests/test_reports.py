"""Reports in every format: exact where small, complete and safe whatever a message says."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from conformance import reports
from conformance.reports import RuleText, badge, document, html, markdown, matrix, telling
from conformance.results import (
    BackendReport,
    ContractResult,
    Finding,
    Kind,
    Level,
    Mode,
    Outcome,
    RunReport,
    VerdictName,
)
from conformance.verdict import count, headline, judge

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
