"""A run as GitHub's Markdown, for a comment on a pull request or a committed report."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from chat_history_conformance.reports import wording
from chat_history_conformance.reports.advice import advised, capability_hint
from chat_history_conformance.reports.wording import BRIEF, Group, Status
from chat_history_conformance.results.model import (
    BackendReport,
    ContractResult,
    Finding,
    Rules,
    RunReport,
    VerdictName,
)
from chat_history_conformance.results.verdict import headline

__all__ = ["LIMIT", "render"]

LIMIT = 60_000
"""The number of characters after which a finding gets one line. GitHub refuses more than 65,536."""

_WIDE = 110
_LONG_LINE = 2_000
_MARKS: dict[VerdictName, str] = {
    "conformant": "✅",
    "conformant_with_deviations": "🟡",
    "not_conformant": "❌",
    "incomplete": "⚪",
}


def render(report: RunReport, rules: Rules | None = None, *, limit: int | None = LIMIT) -> str:
    """Return `report` as Markdown.

    Args:
        report: The run.
        rules: The texts of the catalogue by contract id. Without them, only ids are shown.
        limit: The number of characters after which only the first line of a finding is shown, so
            that the text fits into a comment. None shows everything.
    """
    text = "\n".join([*_opening(report), *_families(report.backends)])
    for backend in report.backends:
        text += f"\n## {_code(backend.name)}\n\n{_verdict(backend)}\n"
        for paragraph in _stated(backend):
            text += f"\n{paragraph}\n"
        for status, groups in wording.sections(backend).items():
            text += f"\n### {wording.STATUSES[status].heading}\n\n"
            if status == "failed" and (ranks := wording.ranked(groups)):
                text += f"{_text(ranks)}\n\n"
            left_out = 0
            for group in groups:
                full = _reason(group) if status in BRIEF else _entry(group, rules or {})
                brief = _one_line(group)
                if limit is None or len(text) + len(full) <= limit:
                    text += full
                elif len(text) + len(brief) <= limit + limit // 20:
                    text += brief
                else:
                    left_out += 1
            if left_out:
                text += f"- {left_out} more, left out here\n"
    return text


def _opening(report: RunReport) -> Iterator[str]:
    yield "# Chat history conformance\n"
    for backend in report.backends:
        yield f"- {_code(backend.name)}: {_verdict(backend)}"
    if not report.backends:
        yield "No backend was run."
    facts = [*wording.facts(report.suite), *wording.facts(report.environment)]
    if facts:
        yield f"\n{_text(', '.join(f'{name} {value}' for name, value in facts))}"


def _verdict(backend: BackendReport) -> str:
    line = headline(backend)
    verdict, _, counts = line.rpartition(": ")
    return f"{_MARKS[backend.verdict]} **{_text(verdict)}**: {counts}"


def _families(backends: Sequence[BackendReport]) -> Iterator[str]:
    families = list(
        dict.fromkeys(wording.family(result.id) for b in backends for result in b.contracts)
    )
    if not families:
        yield ""
        return
    yield f"\n| family | {' | '.join(_in_table(_code(b.name)) for b in backends)} |"
    yield "|---" * (len(backends) + 1) + "|"
    seen: set[Status] = set()
    for name in families:
        tallies = [
            wording.tally(r for r in backend.contracts if wording.family(r.id) == name)
            for backend in backends
        ]
        seen.update(*tallies)
        yield f"| {_in_table(_code(name))} | {' | '.join(map(_cell, tallies))} |"
    words = (f"{word.symbol} {word.one}" for name, word in wording.STATUSES.items() if name in seen)
    yield f"\n{', '.join(words)}\n"


def _cell(tally: dict[Status, int]) -> str:
    return ", ".join(f"{wording.STATUSES[name].symbol} {number}" for name, number in tally.items())


def _stated(backend: BackendReport) -> Iterator[str]:
    if backend.lacks:
        lacks = (f"- {_code(name)}: {_text(why)}" for name, why in backend.lacks.items())
        yield "Not supported:\n\n" + "\n".join(lacks)
    if backend.notes:
        yield "\n".join(f"- {_text(note)}" for note in backend.notes)


def _reason(group: Group) -> str:
    return (
        f"- {wording.contracts(len(group.results))}: {_text(group.title)}<br>\n"
        f"  {_labels(group.results)}\n"
    )


def _entry(group: Group, rules: Rules) -> str:
    parts = [f"#### {_title(group)}"]
    if not group.shared:
        parts.append(_labels(group.results))
    parts += [f"Reason: {_text(why)}" for why in wording.other_reasons(group)]
    if group.finding is not None:
        parts += _finding(group.finding, group)
        parts += _rule(group.example, rules)
    if group.shared:
        parts.append(_others(group))
    if hint := capability_hint(group.results, rules):
        parts.append(_text(hint))
    return "\n\n".join(parts) + "\n\n"


def _title(group: Group) -> str:
    kind = group.finding.kind.replace("_", " ") if group.finding else ""
    # Most summaries begin with the kind: lost 1 of 3 messages.
    kind = f" ({kind})" if kind and kind not in group.title else ""
    if len({result.id for result in group.results}) > 1:
        return f"{group.size}: {_text(group.title)}{kind}"
    return f"{_text(group.title)}{kind}"


def _one_line(group: Group) -> str:
    labels = _labels(group.results[:3])
    return f"- {_title(group)}: {labels} (shortened; the other formats show all of it)\n"


def _finding(finding: Finding, group: Group) -> Iterator[str]:
    if group.shared:
        yield f"Seen in {_labels([group.example])}: {_text(finding.summary)}"
    if finding.steps:
        yield "\n".join(f"{number}. {_step(step)}" for number, step in enumerate(finding.steps, 1))
    if finding.expected or finding.returned:
        yield _side_by_side(finding)
    if finding.notes:
        yield "\n".join(f"- {_text(note)}" for note in finding.notes)
    if finding.reproducer:
        snippet = wording.visible(finding.reproducer.strip("\n"), keep="\n\t")
        yield "<details><summary>Script that reproduces this</summary>"
        yield _block(snippet, "python")
        yield "</details>"


def _others(group: Group) -> str:
    """Return one line for each other contract with the same cause."""
    lines = []
    for result in group.others:
        text = group.own_text(result)
        lines.append(f"- {_code(group.labels_of(result))}" + (f": {_text(text)}" if text else ""))
    return "\n".join([f"The same cause in {wording.contracts(len(lines), 'more ')}:", "", *lines])


def _rule(example: ContractResult, rules: Rules) -> Iterator[str]:
    text = advised(example, rules)
    if text is None:
        return
    source = f" ({_text(text.source)})" if text.source else ""
    page = f" [{_code(example.id)}]({text.url})" if text.url else ""
    yield f"> **Rule{page}:** {_prose(text.rule)}{source}"
    if text.cause:
        yield f"Usual cause: {_prose(text.cause)}"
    if text.remedy:
        yield f"What to do: {_prose(text.remedy)}"


def _prose(text: str) -> str:
    """Return a text of the catalogue without the line breaks of its source file."""
    return _text(" ".join(text.split()))


def _side_by_side(finding: Finding) -> str:
    """Return two columns with a mark between, or one below the other if they are too wide."""
    rows = [
        (row.mark, _line(row.expected or ""), _line(row.returned or ""))
        for row in wording.aligned(finding.expected, finding.returned)
    ]
    left = max(_width("expected"), *(_width(expected) for _, expected, _ in rows))
    right = max(_width("returned"), *(_width(returned) for _, _, returned in rows))
    if left + right <= _WIDE:
        columns = [(" ", "expected", "returned"), *rows]
        lines = (f"{a}{' ' * (left - _width(a))}  {mark}  {b}".rstrip() for mark, a, b in columns)
        return _block("\n".join(lines))
    stacked = ["--- expected", "+++ returned"]
    for mark, expected, returned in rows:
        if mark == " ":
            stacked.append(f"  {expected}")
        stacked += [f"- {expected}"] * (mark in "-≠") + [f"+ {returned}"] * (mark in "+≠")
    return _block("\n".join(stacked), "diff")


def _step(text: str) -> str:
    """Return a step as code. A step of several lines, such as concurrent calls, keeps them."""
    return "<br>".join(_code(_line(line)) for line in text.split("\n"))


def _line(text: str) -> str:
    shown = wording.visible(text)
    return shown if len(shown) <= _LONG_LINE else f"{shown[:_LONG_LINE]} …"


def _width(text: str) -> int:
    """Return the number of columns that `text` takes in a font of fixed width."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _labels(results: Iterable[ContractResult]) -> str:
    return ", ".join(_code(label) for label in wording.labels(results))


def _block(text: str, language: str = "") -> str:
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    shown = wording.visible(text) or " "
    fence = "`" * (1 + _longest_run(shown))
    blank = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def _in_table(markdown: str) -> str:
    # A pipe separates cells even inside code.
    return re.sub(r"(?<!\\)\|", r"\|", markdown)


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _text(text: str) -> str:
    """Return Markdown on one line that shows `text` as it is and mentions no user.

    Text between single backticks stays code, because the texts of the suite use it.
    """
    return "<br>".join(map(_one_line_of_text, text.strip("\n").split("\n")))


def _one_line_of_text(text: str) -> str:
    pieces = re.split(r"((?<!`)`[^`]+`(?!`))", _line(text).strip(" "))
    return "".join(
        _code(piece[1:-1]) if index % 2 else _escaped(piece) for index, piece in enumerate(pieces)
    )


def _escaped(text: str) -> str:
    text = re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", text)
    # Text at the start of a line could begin a list or a heading.
    text = re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", text)
    # A message that says @name or #1 must not notify a person or link an issue.
    return re.sub(r"(@|#)(?=\w)", r"\1<!-- -->", text)
