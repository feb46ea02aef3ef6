"""Sample reports, from small ones to one with every outcome and hostile messages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, get_args

from chat_history_conformance.reports import RuleText, wording
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Finding,
    Kind,
    Level,
    Mode,
    Outcome,
    RunReport,
)
from chat_history_conformance.results.verdict import count, judge

NASTY = (
    "</script><script>alert(1)</script> ``` `` ` | a&b \"q\" 'q' <details> **bold** @someone #1 "
    "$x$ [l](javascript:x) \x00\x1b[31m\x7f \u202eevil\u2028 \udcff ]]> {{x}} 名前 é 🙂 \r\n# head"
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
    made = Finding(
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
    return dataclasses.replace(made, **changes)


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
    """Change the results whose label matches, and fail if none does, to find typos."""
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
    """Return five backends with every outcome, every kind of finding, and hostile messages."""
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
    for number, kind in enumerate(get_args(Kind)):
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
        reason="faults are not enabled (`--history-faults`)",
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
            notes=("`durable` is not supported, but works", NASTY),
        ),
        backend("kafka-consuming", cut),
        backend("nothing", []),
    )


def texts(report: RunReport) -> list[str]:
    """Return every text of a report that a reader has to see, as the formats show it."""
    found = []
    for column in report.backends:
        found += [column.name, *column.notes, *column.lacks, *column.lacks.values()]
        for group in (group for groups in wording.sections(column).values() for group in groups):
            found += [entry.reason or "" for entry in group.results]
            found += [entry.id for entry in group.results]
            if group.finding is not None:
                one = group.finding
                found += [one.summary, one.cause if group.shared else "", one.reproducer]
                found += [*one.steps, *one.expected, *one.returned, *one.notes]
    return [plain(text) for text in found]


def plain(text: str) -> str:
    """Return `text` as it is shown, without blanks, backticks and line ends, which may differ."""
    return re.sub(r"\\n|[\s`]+", "", wording.visible(text, keep="\n\t"))


class Page(HTMLParser):
    """The text, the elements and the links of a page, as a browser reads them."""

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
    bare = finding("hung", expected=(), returned=(), steps=(), reproducer="", notes=())
    return run(backend("slow", [result("reads.repeatable", "failed", finding=bare)]))


EDGES = {
    "nothing": RunReport({}, {}),
    "no contracts": run(backend("empty", [])),
    "hung": hung_run(),
    "no finding": run(backend("bare", [result("reads.repeatable", "failed")])),
    "no reason": run(backend("bare", [result("reads.repeatable", "not_applicable")])),
    "nasty names": run(backend(NASTY, [result(f"{NASTY}.{NASTY}", "failed")])),
    "everything": full_run(),
}


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
