"""A comparison as one HTML page that needs nothing beside itself: a plot for every operation.

It shares colours and fonts with the reports of a run, in `reports`. It has no
script, and the page's content security policy lets none run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from chat_history_conformance.bench.compare.decision import (
    Backend,
    Comparison,
    Measured,
    Operation,
    VersionSummary,
)
from chat_history_conformance.bench.report import comparison_pages as pages
from chat_history_conformance.bench.report.page import page, sheet, text
from chat_history_conformance.bench.report.wording import duration

_SCALES: tuple[tuple[float, ...], ...] = (
    (1.05, 1.1),
    (1.1, 1.25),
    (1.25, 1.5),
    (1.5, 2),
    (2, 5),
    (5, 20),
    (10, 100),
    (30, 1000),
)
"""What an axis is labelled with on each side of 1; the last is where it ends, but for a margin."""

_Place = Callable[[float], float]

_MARGIN = 1.12
_LANE_PX = 62
_AXIS_PX = 22
_DOTS_FROM_PX, _DOTS_TO_PX, _MEDIAN_PX = 8, 40, 51


def html(comparison: Comparison) -> str:
    """`comparison` as a page."""
    body = [
        *_header(comparison),
        "<main>",
        *_key(comparison),
        *(line for backend in comparison.backends for line in _backend(backend)),
        *_method(comparison),
        "</main>",
    ]
    style = sheet("chat_history_conformance.bench.report", "comparison.css")
    return page(pages.headline(comparison), body, style=style)


def _header(comparison: Comparison) -> Iterator[str]:
    tone = {"worse": "slower", "unclear": "unclear", "no worse": "faster"}[comparison.outcome]
    yield f'<header>\n<h1 class="t-{tone}">{text(pages.headline(comparison))}</h1>'
    yield '<dl class="sides">'
    for name, side in (("base", comparison.base), ("head", comparison.head)):
        yield f"<div><dt>{name}</dt><dd>{_side(side)}</dd></div>"
    yield "</dl>"
    if comparison.regressions:
        yield '<ul class="worse">'
        for backend, operation in comparison.regressions:
            yield (
                f'<li><a href="#{_anchor(backend, operation)}"><code>{text(backend.name)}</code> '
                f"<code>{text(operation.name)}</code></a> {text(pages.sentence(operation))}</li>"
            )
        yield "</ul>"
    yield from _warnings(comparison)
    yield "</header>"


def _side(side: VersionSummary) -> str:
    return f"<code>{text(side.asked)}</code> {text(f'{side.package} {side.version}')}"


def _warnings(comparison: Comparison) -> Iterator[str]:
    told = [f"{text(backend.name)}: {text(line)}" for backend, line in pages.left_out(comparison)]
    if comparison.differing:
        told.insert(0, "not only what is compared differs, see the end of the page")
    if told:
        yield f'<ul class="warnings">{"".join(f"<li>{line}</li>" for line in told)}</ul>'


def _key(comparison: Comparison) -> Iterator[str]:
    settings = comparison.settings
    yield (
        '<p class="reading">Each dot is a pair of processes, one of base and one of head, in the '
        "order in which they ran, from top to bottom. Right of 1 head took longer. The bar "
        f"below is the median with its {text(pages.percent(settings.confidence))} interval, the "
        f"band is the threshold of {text(pages.percent(settings.threshold))}. Where a first "
        "measurement pointed some way there is a second below it, and it is the second that "
        "counts.</p>"
    )


def _backend(backend: Backend) -> Iterator[str]:
    server = f" <small>{text(f'on {backend.server}')}</small>" if backend.server else ""
    yield f"<section>\n<h2><code>{text(backend.name)}</code>{server}</h2>"
    # A frame that scrolls must be reachable by keyboard.
    yield (
        f'<div class="ratios" tabindex="0" role="region" aria-label="{text(backend.name)}, all '
        'operations"><table>'
    )
    columns = ("operation", "verdict", "ratio", "interval", "round trips", "base", "head")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    yield f"<thead><tr>{heads}</tr></thead>"
    yield "<tbody>"
    for operation in backend.operations:
        base, head = map(duration, pages.seconds_of(operation.counted))
        cells = (
            pages.ratio(operation.counted.estimate.value),
            pages.interval(operation.counted),
            pages.round_trips(operation),
            base,
            head,
        )
        yield (
            f'<tr class="t-{_tone(operation)}"><th scope="row">'
            f'<a href="#{_anchor(backend, operation)}"><code>{text(operation.name)}</code></a>'
            f"</th><td>{_verdict(operation)}</td>"
            f"{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"
        )
    yield "</tbody></table></div>"
    yield '<div class="plots">'
    for operation in backend.operations:
        yield from _figure(backend, operation)
    yield "</div>\n</section>"


def _figure(backend: Backend, operation: Operation) -> Iterator[str]:
    yield f'<figure id="{_anchor(backend, operation)}" class="t-{_tone(operation)}">'
    base, head = map(duration, pages.seconds_of(operation.counted))
    yield (
        f"<figcaption><code>{text(operation.name)}</code>{_verdict(operation)}"
        f'<span class="times">{text(f"{base} → {head}")}</span></figcaption>'
    )
    yield _plot(operation)
    yield "</figure>"


def _plot(operation: Operation) -> str:
    """Lengths along the axis are shares of the width, so that it fits every window unscaled."""
    lanes = [operation.first, *([operation.second] if operation.second else [])]
    ticks = _scale(operation, lanes)
    end = math.log(ticks[-1]) * _MARGIN

    def at(ratio: float) -> float:
        """Where a ratio is, in percent of the width."""
        return 50 + 50 * max(-1.0, min(1.0, math.log(ratio) / end))

    height = _LANE_PX * len(lanes)
    fastest, slowest = map(at, operation.settings.band)
    parts = [
        f'<rect class="band" x="{fastest:.2f}%" y="0" width="{slowest - fastest:.2f}%" '
        f'height="{height}"/>'
    ]
    for tick in sorted([1.0, *ticks, *(1 / tick for tick in ticks)]):
        name = "one" if tick == 1 else "tick"
        parts.append(
            f'<line class="{name}" x1="{at(tick):.2f}%" x2="{at(tick):.2f}%" y1="0" '
            f'y2="{height}"/>'
            f'<text x="{at(tick):.2f}%" y="{height + 16}">{tick:.3g}</text>'
        )
    for number, lane in enumerate(lanes):
        top = number * _LANE_PX
        counted = " counted" if lane is operation.counted else ""
        parts.append(f'<g class="lane{counted}">')
        if number:
            parts.append(f'<line class="between" x1="0" x2="100%" y1="{top}" y2="{top}"/>')
        parts += _dots(lane, top, at, end)
        low, middle, high = (
            at(value) for value in (lane.estimate.low, lane.estimate.value, lane.estimate.high)
        )
        y = top + _MEDIAN_PX
        parts.append(
            f'<line class="interval" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>'
            f'<line class="median" x1="{middle:.2f}%" x2="{middle:.2f}%" y1="{y - 6}" '
            f'y2="{y + 6}"/></g>'
        )
    return (
        f'<svg role="img" aria-label="{text(_spoken(operation, lanes))}" width="100%" '
        f'height="{height + _AXIS_PX}">{"".join(parts)}</svg>'
    )


def _dots(lane: Measured, top: int, at: _Place, end: float) -> Iterator[str]:
    step = (_DOTS_TO_PX - _DOTS_FROM_PX) / max(1, len(lane.pairs) - 1)
    for number, (base, head) in enumerate(lane.pairs):
        outside = " outside" if abs(math.log(head / base)) > end else ""
        told = (
            f"pair {number + 1}: {duration(base)}, {duration(head)}, "
            f"ratio {pages.ratio(head / base)}"
        )
        yield (
            f'<circle class="dot{outside}" cx="{at(head / base):.2f}%" '
            f'cy="{top + _DOTS_FROM_PX + step * number:.1f}" r="3"><title>{told}</title></circle>'
        )


def _scale(operation: Operation, lanes: Sequence[Measured]) -> tuple[float, ...]:
    """The narrowest that shows every interval, the threshold, and nine of ten dots."""
    needed = [operation.settings.band[1]]
    for lane in lanes:
        needed += [1 / lane.estimate.low, lane.estimate.high]
        distances = sorted(abs(math.log(head / base)) for base, head in lane.pairs)
        needed.append(math.exp(distances[int(0.9 * (len(distances) - 1))]))
    fitting = (ticks for ticks in _SCALES if ticks[-1] * 1.05 >= max(needed))
    return next(fitting, _SCALES[-1])


def _spoken(operation: Operation, lanes: Sequence[Measured]) -> str:
    told = []
    for name, lane in zip(("first", "second"), lanes, strict=False):
        found = lane.estimate
        told.append(
            f"{name} measurement, {len(lane.pairs)} pairs: median {pages.ratio(found.value)}, "
            f"interval {pages.ratio(found.low)} to {pages.ratio(found.high)}"
        )
    return f"{operation.name}, {pages.verdict(operation)}; {'; '.join(told)}"


def _method(comparison: Comparison) -> Iterator[str]:
    yield "<section>\n<h2>How it was measured</h2>"
    pairs = (
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in pages.facts(comparison)
    )
    yield f'<dl class="facts">{"".join(pairs)}</dl>'
    yield f'<p class="reading">{text(pages.legend(comparison))}.</p>'
    if comparison.differing:
        yield "<h3>What differs beside the compared package</h3>"
        rows = "".join(
            f'<tr><th scope="row"><code>{text(name)}</code></th>'
            f"<td>{text(base or 'missing')}</td><td>{text(head or 'missing')}</td></tr>"
            for name, (base, head) in comparison.differing.items()
        )
        yield (
            '<div class="ratios" tabindex="0" role="region" aria-label="packages that differ">'
            '<table><thead><tr><th scope="col">package</th><th scope="col">base</th>'
            f'<th scope="col">head</th></tr></thead><tbody>{rows}</tbody></table></div>'
        )
    yield "</section>"


def _verdict(operation: Operation) -> str:
    return (
        f'<b class="verdict-word"><span aria-hidden="true">{pages.mark(operation)}</span> '
        f"{text(pages.verdict(operation))}</b>"
    )


def _tone(operation: Operation) -> str:
    if operation.is_regression:
        return "slower"
    return "faster" if operation.is_improvement else operation.verdict


def _anchor(backend: Backend, operation: Operation) -> str:
    return text(f"{backend.name}-{operation.name}".replace(" ", "_"))
