"""A run as one HTML page that needs nothing beside itself: no network, no script to be read.

The page is what `page.css` and `page.js` of this package make of the markup written here. Its
content security policy lets nothing be loaded and no script run but that one, so that a message
in a finding stays text even where escaping it should fail.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources

from chat_history_conformance.reports import wording as telling
from chat_history_conformance.reports.wording import (
    QUIET,
    STATUSES,
    Group,
    Row,
    Status,
)
from chat_history_conformance.results.model import (
    MODES,
    BackendReport,
    ContractResult,
    Finding,
    Mode,
    Rules,
    RunReport,
    VerdictName,
)
from chat_history_conformance.results.verdict import headline

TITLE = "Chat history conformance"

_SYMBOLS: Mapping[VerdictName, str] = {
    "conformant": "✓",
    "conformant_with_deviations": "≈",
    "not_conformant": "✗",
    "incomplete": "…",
}
_LETTERS: Mapping[Mode, str] = {"sync": "S", "async": "A", "mixed": "M", "process": "P"}
_TOLD_BRIEFLY: frozenset[Status] = frozenset({"not_applicable", "not_run"})
_OPENED: frozenset[Status] = frozenset({"failed", "unexpected_pass"})
_MANY = 8
"""Findings of one backend beyond which they start closed, so that the list is seen first."""

_COLUMN_REM = 2.0
_NARROWEST_BACKEND_REM = 7.0
_FIRST_COLUMN_REM = 21.0
_PAGE_REM = 74.0


def render(report: RunReport, rules: Rules | None = None, *, title: str = TITLE) -> str:
    """`report` as an HTML page: verdicts, the matrix of contracts and backends, the findings.

    Args:
        report: One run, or several merged to one.
        rules: The catalogue's texts by contract id; without them, ids stand alone.
        title: The page's heading.
    """
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'"
    )
    rules = rules or {}
    body = [*_header(report, title), *_matrix(report.backends, rules), *_findings(report, rules)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_page_title(report, title)}</title>",
            # Otherwise browsers ask the server for an icon that is not there.
            '<link rel="icon" href="data:,">',
            f"<style>\n{_resource('page.css')}{_scrolling(report.backends)}</style>",
            "</head>",
            "<body>",
            *body,
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


@cache
def _resource(name: str) -> str:
    return (resources.files("chat_history_conformance.reports") / name).read_text(encoding="utf-8")


def _page_title(report: RunReport, title: str) -> str:
    if len(report.backends) != 1:
        return _text(title)
    [backend] = report.backends
    verdict, _ = _headline(backend)
    return _text(f"{backend.name}: {verdict.lower()} – {title}")


# -- Verdicts ---------------------------------------------------------------------------------


def _header(report: RunReport, title: str) -> Iterator[str]:
    yield f"<header>\n<h1>{_text(title)}</h1>"
    facts = [*telling.facts(report.suite), *telling.facts(report.environment)]
    if facts:
        pairs = (f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in facts)
        yield f'<dl class="facts">{"".join(pairs)}</dl>'
    yield "</header>\n<main>"
    if not report.backends:
        yield '<p class="clean">No backend was run.</p>'
        return
    yield '<div class="cards">'
    for index, backend in enumerate(report.backends):
        yield from _card(index, backend)
    yield "</div>"


def _card(index: int, backend: BackendReport) -> Iterator[str]:
    verdict, counts = _headline(backend)
    words, _, without = verdict.partition(" (")
    yield f'<section class="card v-{backend.verdict}">'
    yield f'<h2><a href="#b{index}">{_name(backend.name)}</a></h2>'
    without = f' <span class="without">({_text(without)}</span>' if without else ""
    symbol = f'<span aria-hidden="true">{_SYMBOLS[backend.verdict]}</span>'
    yield f'<p class="verdict">{symbol} {_text(words)}{without}</p>'
    yield f'<p class="exercised">{_text(counts.split(",")[0])}</p>'
    tally = {name: number for name, number in _counted(backend).items() if number}
    if tally:
        parts = (
            f'<i class="s-{name}" style="flex:{number}"></i>'
            for name, number in reversed(tally.items())
        )
        yield f'<div class="bar" aria-hidden="true">{"".join(parts)}</div>'
        items = (
            f'<li class="s-{name}"><b>{STATUSES[name].amount(number).replace(" ", "</b> ", 1)}</li>'
            for name, number in reversed(tally.items())
        )
        yield f'<ul class="tally">{"".join(items)}</ul>'
    if backend.lacks:
        lacks = (
            f"<div><dt><code>{_text(name)}</code></dt><dd>{_prose(why)}</dd></div>"
            for name, why in backend.lacks.items()
        )
        yield f'<p class="label">given up</p>\n<dl>{"".join(lacks)}</dl>'
    if backend.notes:
        notes = "".join(f"<li>{_prose(note)}</li>" for note in backend.notes)
        yield f'<p class="label">note</p>\n<ul class="notes">{notes}</ul>'
    yield "</section>"


def _headline(backend: BackendReport) -> tuple[str, str]:
    verdict, _, counts = headline(backend).rpartition(": ")
    return verdict, counts


def _counted(backend: BackendReport) -> dict[Status, int]:
    """The backend's own counts, which hold whatever results were kept."""
    counts = backend.counts
    return {
        "failed": counts.failed,
        "error": counts.errors,
        "deviation": counts.deviations,
        "informing": counts.informing,
        "not_run": counts.not_run,
        "not_applicable": counts.not_applicable,
        "passed": counts.passed,
    }


# -- The matrix -------------------------------------------------------------------------------


def _modes(backends: Sequence[BackendReport]) -> list[Mode]:
    ran = {result.mode for backend in backends for result in backend.contracts}
    return [mode for mode in MODES if mode in ran]


def _scrolling(backends: Sequence[BackendReport]) -> str:
    """The rule that lets the matrix scroll in a frame of its own where it is wider than the page.

    Only there: where it fits, its head sticks to the window and no frame scrolls in the page.
    """
    rem = _FIRST_COLUMN_REM + len(backends) * (_backend_rem(len(_modes(backends))) + 1)
    narrower = f"(max-width: {rem + 4:g}rem)" if rem <= _PAGE_REM else "all"
    return f"@media screen and {narrower} {{ .matrix {{ overflow: auto; max-height: 85vh; }} }}\n"


def _backend_rem(modes: int) -> float:
    return max(modes * _COLUMN_REM, _NARROWEST_BACKEND_REM)


def _matrix(backends: Sequence[BackendReport], rules: Rules) -> Iterator[str]:
    modes = _modes(backends)
    if not modes:
        return
    yield '<section id="contracts">\n<h2>Contracts</h2>'
    yield from _tools(backends)
    yield from _key(backends, modes)
    # A frame that scrolls must be reachable by keyboard.
    yield '<div class="matrix" tabindex="0" role="region" aria-label="contracts and backends">'
    yield "<table>\n<thead>"
    names = (
        f'<th scope="colgroup" colspan="{len(modes)}"><code>{_name(backend.name)}</code></th>'
        for backend in backends
    )
    yield f'<tr><th scope="col"><span class="aside">contract</span></th>{"".join(names)}</tr>'
    width = _backend_rem(len(modes)) / len(modes)
    letters = "".join(
        f'<th scope="col"{_first(mode, modes)}'
        # The first of a backend's columns begins with the gap to the one before.
        f' style="min-width:{width + (mode == modes[0]):g}rem">'
        f'<abbr title="{mode}">{_LETTERS[mode]}</abbr></th>'
        for mode in modes
    )
    yield f"<tr><th></th>{letters * len(backends)}</tr>\n</thead>"
    columns = [
        {(result.id, result.mode): result for result in backend.contracts} for backend in backends
    ]
    anchors = [_anchors(index, backend) for index, backend in enumerate(backends)]
    for family, ids in _by_family(backends).items():
        yield from _family(family, ids, modes, columns, anchors, rules)
    yield "</table>\n</div>"
    yield "</section>"


def _tools(backends: Sequence[BackendReport]) -> Iterator[str]:
    occurring = [name for name in STATUSES if any(name in _tally(b.contracts) for b in backends)]
    options = "".join(f'<option value="{name}">{STATUSES[name].one}</option>' for name in occurring)
    yield '<div class="tools">'
    # Shown by the script, without which it would do nothing.
    yield (
        '<span class="tools" id="filter" style="margin:0" hidden>'
        '<label class="search"><span class="aside">filter by text</span>'
        '<input type="search" id="filter-text" placeholder="Filter contracts and findings"></label>'
        '<label><span class="aside">filter by outcome</span><select id="filter-outcome">'
        f'<option value="">every outcome</option>{options}</select></label></span>'
    )
    yield '<label><input type="checkbox" id="every"> show what passed too</label>\n</div>'


def _key(backends: Sequence[BackendReport], modes: Sequence[Mode]) -> Iterator[str]:
    occurring = [name for name in STATUSES if any(name in _tally(b.contracts) for b in backends)]
    items = [
        f'<li class="s-{name}"><b>{STATUSES[name].symbol}</b> {STATUSES[name].one}</li>'
        for name in occurring
    ]
    items += [f"<li><b>{_LETTERS[mode]}</b> {_MODE_WORDS[mode]}</li>" for mode in modes]
    yield f'<ul class="key" aria-label="key">{"".join(items)}</ul>'


_MODE_WORDS: Mapping[Mode, str] = {
    "sync": "sync",
    "async": "async",
    "mixed": "sync and async in turn",
    "process": "second process",
}


def _by_family(backends: Sequence[BackendReport]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for contract in dict.fromkeys(r.id for backend in backends for r in backend.contracts):
        families.setdefault(telling.family(contract), []).append(contract)
    return families


_Column = Mapping[tuple[str, Mode], ContractResult]
_Anchors = Mapping[tuple[str, Mode], str]


def _family(
    family: str,
    ids: Sequence[str],
    modes: Sequence[Mode],
    columns: Sequence[_Column],
    anchors: Sequence[_Anchors],
    rules: Rules,
) -> Iterator[str]:
    calm = {
        contract
        for contract in ids
        if all(
            telling.status(column[contract, mode]) in QUIET
            for column in columns
            for mode in modes
            if (contract, mode) in column
        )
    }
    number = f"<small>{telling.contracts(len(ids))}</small>"
    if calm:
        head = (
            f'<label><input type="checkbox" class="fold aside" aria-label="show what passed in '
            f'{_text(family)}">{_text(family)} {number}</label>'
        )
    else:
        head = f'<span class="flat">{_text(family)} {number}</span>'
    cells = "".join(
        f'<td colspan="{len(modes)}">{_family_cell(family, column)}</td>' for column in columns
    )
    yield f'<tbody>\n<tr class="family"><th scope="rowgroup">{head}</th>{cells}</tr>'
    for contract in ids:
        row = [column.get((contract, mode)) for column in columns for mode in modes]
        ran = [result for result in row if result is not None]
        statuses = " ".join(_tally(ran))
        quiet = ' class="calm"' if contract in calm else ""
        cells = "".join(
            _cell(column.get((contract, mode)), anchor, _first(mode, modes))
            for column, anchor in zip(columns, anchors, strict=True)
            for mode in modes
        )
        yield f'<tr{quiet} data-status="{statuses}">{_row_head(ran[0], rules)}{cells}</tr>'
    yield "</tbody>"


def _family_cell(family: str, column: _Column) -> str:
    tally = _tally(result for result in column.values() if telling.family(result.id) == family)
    told = {name: number for name, number in tally.items() if name not in QUIET} or tally
    if set(told) > {"passed"}:
        told.pop("not_applicable", None)
    return "".join(
        f'<b class="s-{name}" title="{STATUSES[name].amount(number)}">'
        f'<span aria-hidden="true">{STATUSES[name].symbol} {number}</span>'
        f'<span class="aside">{STATUSES[name].amount(number)}</span></b>'
        for name, number in told.items()
    )


def _row_head(result: ContractResult, rules: Rules) -> str:
    rule = rules.get(result.id)
    title = f' title="{_attribute(rule.title)}"' if rule else ""
    level = "" if result.level == "must" else f'<span class="level">{result.level}</span>'
    return f'<th scope="row"{title}><code>{_name(result.id)}</code>{level}</th>'


def _cell(result: ContractResult | None, anchors: _Anchors, first: str) -> str:
    if result is None:
        return f"<td{first}></td>"
    name = telling.status(result)
    word = STATUSES[name]
    told = f"{result.label}: {word.one}"
    if result.examples:
        told += f", {result.examples} example{'s'[: result.examples != 1]}"
    if result.duration_s:
        told += f" in {result.duration_s:.2g} s"
    because = result.finding.summary if result.finding else result.reason
    if because:
        told += f": {because}"
    inner = f'{word.symbol}<span class="aside"> {word.one}</span>'
    anchor = anchors.get((result.id, result.mode))
    inner = f'<a href="#{anchor}">{inner}</a>' if anchor else f"<b>{inner}</b>"
    classes = f"s-{name} first" if first else f"s-{name}"
    return f'<td class="{classes}" title="{_attribute(told)}">{inner}</td>'


def _first(mode: Mode, modes: Sequence[Mode]) -> str:
    return ' class="first"' if mode == modes[0] else ""


def _tally(results: Iterable[ContractResult]) -> dict[Status, int]:
    return telling.tally(results)


# -- Findings ---------------------------------------------------------------------------------


def _anchors(index: int, backend: BackendReport) -> dict[tuple[str, Mode], str]:
    return {
        (result.id, result.mode): f"{_anchor(index, name)}-{number}"
        for name, groups in telling.sections(backend).items()
        for number, group in enumerate(groups)
        for result in group.results
    }


def _anchor(index: int, name: Status) -> str:
    return f"b{index}-{name}"


def _findings(report: RunReport, rules: Rules) -> Iterator[str]:
    if report.backends:
        yield "<section>\n<h2>Findings</h2>"
    for index, backend in enumerate(report.backends):
        sections = telling.sections(backend)
        yield f'<section data-part id="b{index}"><h3><code>{_name(backend.name)}</code></h3>'
        if not set(sections) - QUIET:
            yield f'<p class="clean" data-status="passed">{_nothing(backend)}</p>'
        many = sum(len(groups) for name, groups in sections.items() if name in _OPENED) > _MANY
        for name, groups in sections.items():
            number = sum(len(group.results) for group in groups)
            yield f"<section data-part><h4>{STATUSES[name].heading} ({number})</h4>"
            if name in _TOLD_BRIEFLY:
                yield from _reasons(_anchor(index, name), name, groups)
            else:
                opened = " open" if name in _OPENED and not many else ""
                for place, group in enumerate(groups):
                    yield from _told(f"{_anchor(index, name)}-{place}", name, group, rules, opened)
            yield "</section>"
        yield "</section>"
    if report.backends:
        yield "</section>"
    version = report.suite.get("version")
    suite = f"chat-history-conformance {version}" if version else "chat-history-conformance"
    yield f"</main>\n<footer>{_text(suite)}</footer>"


def _nothing(backend: BackendReport) -> str:
    return "Nothing was found." if backend.counts.exercised else "Nothing was exercised."


def _reasons(anchor: str, name: Status, groups: Sequence[Group]) -> Iterator[str]:
    yield '<ul class="reasons">'
    for place, group in enumerate(groups):
        number = f'<span class="number">{telling.contracts(len(group.results))}</span>'
        yield (
            f'<li data-status="{name}"><details id="{anchor}-{place}"><summary>'
            f"{_prose(group.title)} {number}</summary>"
            f"<p>{_labels(group.results)}</p></details></li>"
        )
    yield "</ul>"


def _told(anchor: str, name: Status, group: Group, rules: Rules, opened: str) -> Iterator[str]:
    finding = group.finding
    several = group.shared or len({result.id for result in group.results}) > 1
    title = f"{telling.contracts(len(group.results))}: " * several + group.title
    kind = finding.kind.replace("_", " ") if finding else STATUSES[name].one
    yield f'<details class="told s-{name}" id="{anchor}" data-status="{name}"{opened}>'
    yield (
        f'<summary><span class="what">{_prose(title)}</span><span class="kind">{kind}</span>'
        f'<span class="where">{_labels(group.results[:3] if several else group.results)}'
        f"{_more(group) if several else ''}</span></summary>"
    )
    yield '<div class="body">'
    for reason in dict.fromkeys(r.reason for r in group.results if r.reason):
        if reason != group.title:
            yield f'<p class="why">{_prose(reason)}</p>'
    if finding is not None:
        yield from _finding(finding, group)
    if not group.shared:
        yield from _rule(group.results[0].id, rules)
    if finding is not None and finding.reproducer:
        snippet = escape(telling.visible(finding.reproducer.strip("\n"), keep="\n\t"))
        yield '<details class="snippet"><summary>Reproducer without this suite</summary>'
        yield f'<div class="sheet"><pre tabindex="0"><code>{snippet}</code></pre></div></details>'
    if several and len(group.results) > 3:
        yield f'<h5>Every contract</h5>\n<p class="where">{_labels(group.results)}</p>'
    yield "</div>\n</details>"


def _more(group: Group) -> str:
    return f"and {len(group.results) - 3} more" if len(group.results) > 3 else ""


def _finding(finding: Finding, group: Group) -> Iterator[str]:
    if group.shared:
        yield f'<p class="seen">{_labels(group.results[:1])}{_prose(finding.summary)}</p>'
    if finding.steps:
        steps = "".join(
            f'<li><span class="step">{_text(step)}</span></li>' for step in finding.steps
        )
        # A list without markers loses its role in some readers.
        yield f'<h5>Steps</h5>\n<ol class="steps" role="list">{steps}</ol>'
    if finding.expected or finding.returned:
        yield "<h5>Messages</h5>"
        yield '<table class="lines"><thead><tr><th scope="col">expected</th><th class="mark">'
        yield '<span class="aside">difference</span></th><th scope="col">returned</th></tr></thead>'
        yield "<tbody>"
        for row in telling.aligned(finding.expected, finding.returned):
            yield _pair(row)
        yield "</tbody></table>"
    if finding.notes:
        notes = "".join(f"<li>{_prose(note)}</li>" for note in finding.notes)
        yield f'<ul class="remarks">{notes}</ul>'


_MARK_WORDS = {" ": "same", "-": "missing", "+": "too many", "≠": "different"}


def _pair(row: Row) -> str:
    left, right = _told_apart(row.expected or "", row.returned or "")
    if row.mark != "≠":
        left, right = _text(row.expected or ""), _text(row.returned or "")
    expected = _side("expected", left if row.expected is not None else None)
    returned = _side("returned", right if row.returned is not None else None)
    shown = row.mark.replace("-", "−").strip()
    mark = f'<td class="mark">{shown}<span class="aside"> {_MARK_WORDS[row.mark]}</span></td>'
    kind = "same" if row.mark == " " else "differs"
    return f'<tr class="{kind}">{expected}{mark}{returned}</tr>'


def _side(label: str, shown: str | None) -> str:
    if shown is None:
        return f'<td class="none" data-label="{label}">nothing</td>'
    return f'<td data-label="{label}">{shown}</td>'


def _told_apart(expected: str, returned: str) -> tuple[str, str]:
    """Both lines as markup, what lies between their common start and common end marked."""
    left, right = telling.visible(expected), telling.visible(returned)
    shortest = min(len(left), len(right))
    start = next((i for i in range(shortest) if left[i] != right[i]), shortest)
    end = next(
        (i for i in range(shortest - start) if left[-1 - i] != right[-1 - i]), shortest - start
    )
    return _marked(left, start, end), _marked(right, start, end)


def _marked(line: str, start: int, end: int) -> str:
    stop = len(line) - end
    middle = f"<mark>{escape(line[start:stop])}</mark>" if stop > start else ""
    return f"{escape(line[:start])}{middle}{escape(line[stop:])}"


def _rule(contract: str, rules: Rules) -> Iterator[str]:
    rule = rules.get(contract)
    if rule is None:
        return
    yield '<blockquote class="rule">'
    yield f"<p><b>{_prose(rule.title)}</b></p>" if rule.title else ""
    yield f"<p>{_prose(' '.join(rule.rule.split()))}</p>"
    if rule.source:
        yield f'<p class="source">{_prose(rule.source)}</p>'
    if rule.cause:
        yield f"<p><b>Usual cause.</b> {_prose(' '.join(rule.cause.split()))}</p>"
    if rule.remedy:
        yield f"<p><b>What to do.</b> {_prose(' '.join(rule.remedy.split()))}</p>"
    yield "</blockquote>"


def _labels(results: Iterable[ContractResult]) -> str:
    return " ".join(f"<code>{_text(label)}</code>" for label in telling.labels(results)) + " "


def _text(text: str) -> str:
    """`text` as markup that shows every character of it."""
    return escape(telling.visible(text))


def _name(name: str) -> str:
    """A dotted name as markup that may break after its punctuation."""
    pieces = re.split(r"(?<=[.:_/-])(?=[^.:_/-])", telling.visible(name))
    return "<wbr>".join(map(escape, pieces))


def _attribute(text: str) -> str:
    shown = telling.visible(text)
    return escape(shown if len(shown) <= 300 else f"{shown[:300]} …")


def _prose(text: str) -> str:
    """`text` as markup: its lines stay lines, and what stands between backticks is code."""
    lines = (
        "".join(
            f"<code>{escape(piece[1:-1])}</code>" if index % 2 else escape(piece)
            for index, piece in enumerate(re.split(r"((?<!`)`[^`]+`(?!`))", line))
        )
        for line in telling.visible(text.strip("\n"), keep="\n").split("\n")
    )
    return "<br>".join(lines)
