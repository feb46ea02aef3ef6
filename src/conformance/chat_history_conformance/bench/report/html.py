"""Benchmarks, timelines and comparisons as HTML pages and SVG pictures.

A page needs no network and runs no script; its content security policy allows neither. This module
prepares the values, and the templates hold the markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Operation,
    VersionSummary,
)
from chat_history_conformance.bench.measure.results import Result
from chat_history_conformance.bench.report import charts, tables, timeline_chart
from chat_history_conformance.bench.report import comparison as words
from chat_history_conformance.bench.report.pair_plot import PairPlot, plot
from chat_history_conformance.bench.report.shapes import NARROW, WIDE, Chart
from chat_history_conformance.bench.report.timeline import Track, changes, separate
from chat_history_conformance.bench.report.wording import (
    Piece,
    callouts,
    duration,
    facts,
    headline,
    pieces,
)
from chat_history_conformance.reports.templating import render
from chat_history_conformance.reports.wording import visible

__all__ = ["comparison", "results", "results_picture", "timeline", "timeline_picture"]

_Facts = Sequence[tuple[str, str]]
_Text = tuple[Piece, ...]


@dataclass(frozen=True)
class _Notes:
    """A list of sentences; `kind` is its class in the style sheet."""

    kind: str
    sentences: tuple[_Text, ...]


@dataclass(frozen=True)
class _Figure:
    """A chart in two sizes, of which the reader sees one."""

    wide: Chart
    narrow: Chart


@dataclass(frozen=True)
class _Section:
    """One backend on a page of results."""

    name: str
    facts: _Facts
    headline: str
    is_bad: bool
    before: tuple[_Notes, ...]
    figures: tuple[_Figure, ...]
    table: tables.Table
    after: tuple[_Notes, ...]


@dataclass(frozen=True)
class _Page:
    """A page of results; `callouts` are pairs of a backend's name, or nothing, and a sentence."""

    title: str
    heading: str
    callouts: tuple[tuple[str, _Text], ...]
    sections: tuple[_Section, ...]
    legend: str


def results(results: Sequence[Result]) -> str:
    """Return a page with the results of one or several runs."""
    title = tables.RESULTS_TITLE
    several = len(results) > 1
    return _rendered(
        "bench/results.html",
        page=_Page(
            title=title if len(results) != 1 else f"{title}: {results[0].backend}",
            heading=title,
            callouts=tuple(
                (result.backend if several else "", pieces(line))
                for result in results
                for line in callouts(result.operations)
            ),
            sections=tuple(map(_result_section, results)),
            legend=tables.RESULTS_LEGEND,
        ),
    )


def results_picture(results: Sequence[Result]) -> str:
    """Return the charts of results as an SVG file."""
    return _rendered("bench/picture.svg", chart=charts.picture(results))


def _result_section(result: Result) -> _Section:
    figures = []
    drawings: Sequence[tuple[str, Callable[[Result, float], charts.Drawn | None]]] = (
        ("our time divided by the time of the others", charts.ratios),
        ("time over the length of the conversation", charts.growth),
        ("peak memory over the length of the conversation", charts.memory),
    )
    for label, draw in drawings:
        wide, narrow = draw(result, WIDE), draw(result, NARROW)
        if wide and narrow:
            figures.append(_figure(f"{result.backend}: {label}", wide, narrow))
    return _Section(
        name=result.backend,
        facts=facts(result),
        headline=headline(result),
        is_bad=any(callouts(result.operations)),
        before=(),
        figures=tuple(figures),
        table=tables.of_result(result),
        after=_notes("asides", tables.notes(result)),
    )


def timeline(tracks: Sequence[Track]) -> str:
    """Return a page with the changes of the newest commit, and all commits as charts."""
    return _rendered(
        "bench/results.html",
        page=_Page(
            title=tables.TIMELINE_TITLE,
            heading=tables.TIMELINE_TITLE,
            callouts=(),
            sections=tuple(map(_track_section, tracks)),
            legend=tables.TIMELINE_LEGEND,
        ),
    )


def timeline_picture(tracks: Sequence[Track]) -> str:
    """Return the charts of a timeline as an SVG file."""
    return _rendered("bench/picture.svg", chart=timeline_chart.picture(tracks))


def _track_section(track: Track) -> _Section:
    newest = track.series[0]
    found = changes(newest)
    worse = [tables.change_sentence(one) for one in found if one.is_worse]
    others = [tables.change_sentence(one) for one in found if not one.is_worse]
    wide, narrow = timeline_chart.draw(track), timeline_chart.draw(track, NARROW)
    return _Section(
        name=track.backend,
        facts=facts(newest.latest),
        headline=tables.timeline_headline(track),
        is_bad=bool(worse),
        before=(
            *_notes("callouts", worse),
            *_notes("asides", others),
            *_notes("asides", separate(track)),
        ),
        figures=(_figure(f"{track.backend} over commits", wide, narrow),),
        table=tables.of_series(newest),
        after=(),
    )


def _notes(kind: str, sentences: Sequence[str]) -> tuple[_Notes, ...]:
    return (_Notes(kind, tuple(map(pieces, sentences))),) if sentences else ()


def _figure(label: str, wide: charts.Drawn, narrow: charts.Drawn) -> _Figure:
    return _Figure(Chart(WIDE, wide[0], label, wide[1]), Chart(NARROW, narrow[0], label, narrow[1]))


# Comparisons -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """One of the two versions."""

    name: str
    asked: str
    version: str


@dataclass(frozen=True)
class _Change:
    """An operation that got worse."""

    anchor: str
    backend: str
    operation: str
    sentence: str


@dataclass(frozen=True)
class _Compared:
    """An operation on the page of a comparison."""

    anchor: str
    tone: str
    name: str
    mark: str
    verdict: str
    cells: tuple[str, ...]
    times: str
    plot: PairPlot


@dataclass(frozen=True)
class _ComparedBackend:
    """A backend on the page of a comparison."""

    name: str
    server: str
    operations: tuple[_Compared, ...]


@dataclass(frozen=True)
class _ComparisonPage:
    """The page of a comparison."""

    headline: str
    tone: str
    sides: tuple[_Side, ...]
    worse: tuple[_Change, ...]
    warnings: tuple[str, ...]
    confidence: str
    threshold: str
    backends: tuple[_ComparedBackend, ...]
    facts: _Facts
    legend: str
    differing: tuple[tuple[str, str, str], ...]


_TONES = {"worse": "slower", "unclear": "unclear", "no worse": "faster"}


def comparison(comparison: Comparison) -> str:
    """Return a page with a plot for every operation."""
    settings = comparison.settings
    return _rendered(
        "bench/comparison.html",
        page=_ComparisonPage(
            headline=words.headline(comparison),
            tone=_TONES[comparison.outcome],
            sides=(_side("base", comparison.base), _side("head", comparison.head)),
            worse=tuple(
                _Change(_anchor(backend, one), backend.name, one.name, words.sentence(one))
                for backend, one in comparison.regressions
            ),
            warnings=tuple(_warnings(comparison)),
            confidence=words.percent(settings.confidence),
            threshold=words.percent(settings.threshold),
            backends=tuple(map(_compared_backend, comparison.backends)),
            facts=words.facts(comparison),
            legend=words.legend(comparison),
            differing=tuple(
                (name, base or "missing", head or "missing")
                for name, (base, head) in comparison.differing.items()
            ),
        ),
    )


def _side(name: str, side: VersionSummary) -> _Side:
    return _Side(name, side.asked, words.version(side))


def _warnings(comparison: Comparison) -> Iterator[str]:
    if comparison.differing:
        yield "other packages differ too, see the end of the page"
    for backend, line in words.skipped(comparison):
        yield f"{backend.name}: {line}"


def _compared_backend(backend: Backend) -> _ComparedBackend:
    return _ComparedBackend(
        name=backend.name,
        server=f"on {backend.server}" if backend.server else "",
        operations=tuple(_compared(backend, operation) for operation in backend.operations),
    )


def _compared(backend: Backend, operation: Operation) -> _Compared:
    counted = operation.counted
    base, head = map(duration, words.median_seconds(counted))
    return _Compared(
        anchor=_anchor(backend, operation),
        tone=_tone(operation),
        name=operation.name,
        mark=words.mark(operation),
        verdict=words.verdict(operation),
        cells=(
            words.ratio(counted.estimate.value),
            words.interval(counted),
            words.round_trips(operation),
            base,
            head,
        ),
        times=f"{base} → {head}",
        plot=plot(operation),
    )


def _tone(operation: Operation) -> str:
    if operation.is_regression:
        return "slower"
    return "faster" if operation.is_improvement else operation.verdict


def _anchor(backend: Backend, operation: Operation) -> str:
    return f"{backend.name}-{operation.name}".replace(" ", "_")


# Rendering ---------------------------------------------------------------------------------------


def _rendered(template: str, **values: object) -> str:
    shown = {name: _printable(value) for name, value in values.items()}
    return render(template, page_css=_page_css(), **shown)


def _printable(value: Any) -> Any:
    """Return a value with every text made printable."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, tuple | list):
        return type(value)(map(_printable, value))
    if is_dataclass(value) and not isinstance(value, type):
        found = {each.name: _printable(getattr(value, each.name)) for each in fields(value)}
        return replace(value, **found)
    return value


@cache
def _page_css() -> str:
    return (resources.files("chat_history_conformance.reports") / "page.css").read_text("utf-8")
