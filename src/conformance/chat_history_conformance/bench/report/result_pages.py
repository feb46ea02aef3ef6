"""Results as Markdown and as a page: for each backend a table, pictures, what grows too fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.measure.results import Measured, Result
from chat_history_conformance.bench.measure.statistics import fewest
from chat_history_conformance.bench.report import page
from chat_history_conformance.bench.report import plot as plotting
from chat_history_conformance.bench.report import result_charts as result_pictures
from chat_history_conformance.bench.report import wording as telling

TITLE = "Benchmarks of chat histories"

_LEGEND = (
    "Times are medians. A ratio is our time divided by that of the other, measured by turns in the "
    "same run: below 1 ours is faster; the floor is a raw client that does the least that could be "
    "correct. Growth is the power of the length of the conversation that the time grows with: 0 "
    "not at all, 1 in proportion. Every interval has a confidence of 99 %, but of fewer than "
    f"{fewest()} samples it is the range of what was seen."
)


def markdown(results: Sequence[Result]) -> str:
    """The results as Markdown (GitHub's), what grows too fast first."""
    lines = [f"# {TITLE}", ""]
    for result in results:
        lines.append(f"- {telling.code(result.backend)}: {_text(telling.headline(result))}")
        lines += [f"  - {telling.prose(line)}" for line in telling.callouts(result.operations)]
    for result in results:
        lines += ["", f"## {telling.code(result.backend)}", ""]
        told = (f"{_text(name)} {_text(value)}" for name, value in telling.facts(result))
        lines += [", ".join(told), ""]
        lines += _table(result)
        notes = list(_notes(result))
        lines += ["", *(f"- {telling.prose(note)}" for note in notes)] if notes else []
    return "\n".join([*lines, "", _LEGEND, ""])


def html(results: Sequence[Result]) -> str:
    """The results as a page of its own."""
    body = [f"<header>\n<h1>{TITLE}</h1>"]
    if len(results) > 1:
        links = (
            f'<li><a href="#b{number}">{page.text(result.backend)}</a></li>'
            for number, result in enumerate(results)
        )
        body.append(f'<ul class="contents">{"".join(links)}</ul>')
    said = [line for result in results for line in _callouts(result, len(results) > 1)]
    if said:
        items = "".join(f"<li>{line}</li>" for line in said)
        body.append(f'<ul class="callouts">{items}</ul>')
    body.append("</header>\n<main>")
    for number, result in enumerate(results):
        body += _section(number, result)
    body.append(f'</main>\n<footer><p class="text">{page.text(_LEGEND)}</p></footer>')
    return page.page(TITLE if len(results) != 1 else f"{TITLE}: {results[0].backend}", body)


def svg(results: Sequence[Result]) -> str:
    """The pictures of the results, as a file of its own."""
    return result_pictures.picture(results)


def _callouts(result: Result, named: bool) -> Iterator[str]:
    name = f"<code>{page.text(result.backend)}</code>: " if named else ""
    for line in telling.callouts(result.operations):
        yield f"{name}{page.prose(line)}"


def _section(number: int, result: Result) -> Iterator[str]:
    yield f'<section id="b{number}">\n<h2><code>{page.text(result.backend)}</code></h2>'
    yield page.facts(telling.facts(result))
    kind = "said bad" if any(telling.callouts(result.operations)) else "said"
    yield f'<p class="{kind}">{page.text(telling.headline(result))}</p>'
    for label, draw in (
        ("our time divided by that of the others", result_pictures.ratios),
        ("time over the length of the conversation", result_pictures.growth),
    ):
        wide, narrow = draw(result), draw(result, plotting.NARROW)
        if wide and narrow:
            yield page.drawn(f"{result.backend}: {label}", wide, narrow)
    head, rows = _columns(result), [_cells(one, result) for one in result.operations]
    yield page.table(f"the numbers of {result.backend}", head, map(_markup, rows))
    if notes := list(_notes(result)):
        items = "".join(f"<li>{page.prose(note)}</li>" for note in notes)
        yield f'<ul class="asides">{items}</ul>'
    yield "</section>"


def _notes(result: Result) -> Iterator[str]:
    for line in telling.missing(result.operations):
        yield f"Not measured: {line}"
    for reason in telling.uncounted(result):
        yield f"Round trips not counted: {reason}"


Cell = tuple[str, str, bool]
"""What stands large, what stands small beside it, and whether it is bad."""


def _columns(result: Result) -> list[str]:
    names = telling.rivals([result])
    columns = ["operation", "ours"]
    for name in names:
        columns += [name, f"ours / {name}"]
    if any(one.growth for one in result.operations):
        columns.append("growth")
    if any(one.round_trips is not None for one in result.operations):
        columns.append("round trips")
    return columns


def _cells(one: Measured, result: Result) -> list[Cell]:
    names = telling.rivals([result])
    cells: list[Cell] = [
        (one.title, one.mode, False),
        (telling.duration(one.median_s.value), "", False),
    ]
    for name in names:
        rival = one.rivals.get(name)
        if rival is None:
            cells += [("", "", False)] * 2
            continue
        cells.append((telling.duration(rival.median_s), "", False))
        cells.append((telling.digits(rival.ratio.value), telling.interval(rival.ratio), False))
    if any(other.growth for other in result.operations):
        grows = one.growth
        cells.append(
            ("", "", False)
            if grows is None
            else (
                telling.power(grows.exponent.value),
                telling.powers(grows.exponent),
                grows.too_fast,
            )
        )
    if any(other.round_trips is not None for other in result.operations):
        others = (
            f"{name} {telling.round_trips(rival)}"
            for name, rival in one.rivals.items()
            if rival.round_trips is not None
        )
        cells.append((telling.round_trips(one), ", ".join(others), False))
    return cells


def _markup(cells: Sequence[Cell]) -> list[str]:
    (title, mode, _), *others = cells
    marked = [f'{page.text(title)} <span class="mode">{page.text(mode)}</span>']
    for large, small, bad in others:
        shown = f'<b class="bad">{page.text(large)}, too fast</b>' if bad else page.text(large)
        marked.append(f"{shown}<small>{page.text(small)}</small>" if small else shown)
    return marked


def _table(result: Result) -> Iterator[str]:
    columns = _columns(result)
    yield telling.row(*map(_text, columns))
    yield f"|---|{'--:|' * (len(columns) - 1)}"
    for one in result.operations:
        (title, mode, _), *others = _cells(one, result)
        cells = [f"{_text(title)} ({_text(mode)})"]
        for large, small, bad in others:
            shown = f"**{large}, too fast**" if bad else large
            cells.append(f"{shown} ({small})" if small else shown)
        yield telling.row(*cells)


def _text(content: str) -> str:
    return telling.prose(content)
