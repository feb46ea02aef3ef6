"""A line as Markdown and as a page: what changed at the newest commit, and all commits drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chat_history_conformance.bench.measure.results import Measured
from chat_history_conformance.bench.report import page
from chat_history_conformance.bench.report import plot as plotting
from chat_history_conformance.bench.report import timeline_charts as line_pictures
from chat_history_conformance.bench.report import wording as telling
from chat_history_conformance.bench.report.timeline import (
    Change,
    Series,
    Track,
    apart,
    changes,
    commit_of,
)

TITLE = "Benchmarks over commits"

_LEGEND = (
    "A ratio is our time divided by that of the floor, a raw client that does the least that could "
    "be correct, measured by turns in the same run: it can be compared between days on which a "
    "machine is not equally fast, which the median times can not. A change is told where the "
    "intervals of both commits, with a confidence of 99 % each, do not meet. Lines join what was "
    "measured on one kind of machine, with one server and one Python."
)


def markdown(tracks: Sequence[Track]) -> str:
    """The line as Markdown (GitHub's): what changed, then the newest commit and the one before."""
    lines = [f"# {TITLE}", ""]
    for track in tracks:
        lines.append(f"- {telling.code(track.backend)}: {telling.prose(headline(track))}")
        lines += [f"  - {telling.prose(line)}" for line in told(track)]
    for track in tracks:
        lines += ["", f"## {telling.code(track.backend)}", ""]
        lines += [f"{telling.prose(sentence)}.\n" for sentence in apart(track)]
        head, *rows = _rows(track.series[0])
        lines += [telling.row(*map(telling.prose, head)), f"|---|{'--:|' * (len(head) - 1)}"]
        lines += [telling.row(*map(telling.prose, row)) for row in rows]
    return "\n".join([*lines, "", _LEGEND, ""])


def html(tracks: Sequence[Track]) -> str:
    """The line as a page of its own."""
    body = [f"<header>\n<h1>{TITLE}</h1>"]
    if len(tracks) > 1:
        links = (
            f'<li><a href="#b{number}">{page.text(track.backend)}</a></li>'
            for number, track in enumerate(tracks)
        )
        body.append(f'<ul class="contents">{"".join(links)}</ul>')
    body.append("</header>\n<main>")
    for number, track in enumerate(tracks):
        body += _section(number, track)
    body.append(f'</main>\n<footer><p class="text">{page.text(_LEGEND)}</p></footer>')
    return page.page(TITLE, body)


def svg(tracks: Sequence[Track]) -> str:
    """The pictures of the line, as a file of its own."""
    return line_pictures.picture(tracks)


def headline(track: Track) -> str:
    """How many commits, and what became of the newest."""
    newest = track.series[0]
    number = telling.count(len(track.commits), "commit")
    at = commit_of(newest.latest).short
    if len(newest.results) < 2:
        return f"{number}; nothing to compare {at} with"
    before = commit_of(newest.results[-2]).short
    worse = sum(is_worse(change) for change in changes(newest))
    if worse:
        return f"{number}; {telling.count(worse, 'operation')} got worse at {at} since {before}"
    return f"{number}; nothing got worse at {at} since {before}"


def told(track: Track) -> list[str]:
    """A sentence for each operation that changed at the newest commit."""
    return [_sentence(change) for change in changes(track.series[0])]


def is_worse(change: Change) -> bool:
    """Whether it got slower or takes more round trips."""
    return bool(change.is_slower) or change.more_round_trips > 0


def _sentence(change: Change) -> str:
    parts = []
    now, before = change.now, change.before
    if change.is_slower is not None and now.floor and before.floor:
        verb = "got slower" if change.is_slower else "got faster"
        parts.append(
            f"{verb}, {telling.digits(now.floor.ratio.value)} times its floor "
            f"({telling.interval(now.floor.ratio)}), before "
            f"{telling.digits(before.floor.ratio.value)} ({telling.interval(before.floor.ratio)})"
        )
    if change.more_round_trips:
        trips = telling.count(now.round_trips or 0, "round trip")
        parts.append(f"takes {trips}, before {before.round_trips}")
    return f"`{now.label}` {' and '.join(parts)}"


def _section(number: int, track: Track) -> Iterator[str]:
    newest = track.series[0]
    yield f'<section id="b{number}">\n<h2><code>{page.text(track.backend)}</code></h2>'
    yield page.facts(telling.facts(newest.latest))
    found = changes(newest)
    kind = "said bad" if any(map(is_worse, found)) else "said"
    yield f'<p class="{kind}">{page.text(headline(track))}</p>'
    for name, group in (
        ("callouts", [one for one in found if is_worse(one)]),
        ("asides", [one for one in found if not is_worse(one)]),
    ):
        if group:
            items = "".join(f"<li>{page.prose(_sentence(one))}</li>" for one in group)
            yield f'<ul class="{name}">{items}</ul>'
    if sentences := apart(track):
        items = "".join(f"<li>{page.text(sentence)}</li>" for sentence in sentences)
        yield f'<ul class="asides">{items}</ul>'
    wide, narrow = line_pictures.draw(track), line_pictures.draw(track, plotting.NARROW)
    yield page.drawn(f"{track.backend} over commits", wide, narrow)
    head, *rows = _rows(newest)
    cells = ([page.text(cell) for cell in row] for row in rows)
    yield page.table(f"the newest numbers of {track.backend}", head, cells)
    yield "</section>"


def _rows(series: Series) -> Iterator[list[str]]:
    """The newest commit beside the one before it; the first row names the columns."""
    now = series.latest
    before = series.results[-2] if len(series.results) > 1 else None
    at = [commit_of(one).short for one in (now, before) if one is not None]
    known = {one.label: one for one in before.operations} if before else {}
    yield ["operation", *(f"{name}, {id}" for name in _COLUMNS for id in at)]
    for one in now.operations:
        sides = [one, known.get(one.label)][: len(at)]
        yield [
            f"{one.title} ({one.mode})",
            *(tell(side) if side else "" for tell in _COLUMNS.values() for side in sides),
        ]


def _ratio(one: Measured) -> str:
    if one.floor is None:
        return ""
    return f"{telling.digits(one.floor.ratio.value)} ({telling.interval(one.floor.ratio)})"


def _time(one: Measured) -> str:
    return telling.duration(one.median_s.value)


_COLUMNS = {"ours / floor": _ratio, "round trips": telling.round_trips, "median": _time}
