"""A run as an SVG badge: `chat history | conformant`.

Several backends are as many rows, each named: the worst alone would hide which one it is, and a
good one would vanish behind it. No font, image or script is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

from chat_history_conformance.reports.wording import visible
from chat_history_conformance.results.model import BackendReport, RunReport, VerdictName
from chat_history_conformance.results.verdict import headline

LABEL = "chat history"

# White text on each of these has a contrast of 5 to 1 or better.
_COLOURS: dict[VerdictName, str] = {
    "conformant": "#2a7a4b",
    "conformant_with_deviations": "#8a6100",
    "not_conformant": "#b3312c",
    "incomplete": "#5d6470",
}
_LABEL_COLOUR = "#3a3f47"
_HEIGHT = 20
_GAP = 2
_PADDING = 6
_LONGEST = 60
_NARROW = frozenset("fijlrtI.,:;'|!()[]{} -")
_BROAD = frozenset("mwMW@%—")


def render(report: RunReport, label: str = LABEL) -> str:
    """`report` as an SVG image with one row for each backend.

    Args:
        report: What to show.
        label: The left text where the run has a single backend; with several, each row has the
            backend's name there.
    """
    if not report.backends:
        rows = [(label, "nothing run", _COLOURS["incomplete"])]
    else:
        rows = [
            (
                backend.name if len(report.backends) > 1 else label,
                _verdict(backend),
                _COLOURS[backend.verdict],
            )
            for backend in report.backends
        ]
    return _svg([(_short(left), _short(right), colour) for left, right, colour in rows], report)


def _verdict(backend: BackendReport) -> str:
    line = headline(backend)
    verdict, _, _ = line.rpartition(": ")
    # Only the words are in capitals; the names of capabilities stay as they are.
    words, parenthesis, lacks = verdict.partition(" (")
    return words.lower() + parenthesis + lacks


def _svg(rows: list[tuple[str, str, str]], report: RunReport) -> str:
    left = max(_width(text) for text, _, _ in rows) + 2 * _PADDING
    right = max(_width(text) for _, text, _ in rows) + 2 * _PADDING
    height = len(rows) * (_HEIGHT + _GAP) - _GAP
    spoken = _xml("; ".join(f"{name}: {verdict}" for name, verdict, _ in rows))
    told = [f"{backend.name}: {headline(backend)}" for backend in report.backends]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{height}"'
        f' role="img" aria-label="{spoken}">',
        f"  <title>{_xml(chr(10).join(told)) or spoken}</title>",
        '  <g font-family="Verdana, Geneva, DejaVu Sans, sans-serif" font-size="11"'
        ' fill="#fff" text-anchor="middle">',
    ]
    for index, row in enumerate(rows):
        lines += _row(row, left, right, index * (_HEIGHT + _GAP))
    return "\n".join([*lines, "  </g>", "</svg>", ""])


def _row(row: tuple[str, str, str], left: int, right: int, top: int) -> Iterable[str]:
    name, verdict, colour = row
    middle = top + 14
    # One rounded shape in the verdict's colour, the label drawn over its left end.
    yield f'    <rect y="{top}" width="{left + right}" height="{_HEIGHT}" rx="3" fill="{colour}"/>'
    yield (
        f'    <path d="M3 {top}H{left}v{_HEIGHT}H3a3 3 0 0 1 -3 -3v-{_HEIGHT - 6}a3 3 0 0 1 3 -3z"'
        f' fill="{_LABEL_COLOUR}"/>'
    )
    for text, centre in ((name, left / 2), (verdict, left + right / 2)):
        # The length is stated so that the text fits whatever font is found.
        yield (
            f'    <text x="{centre:g}" y="{middle}" textLength="{_width(text)}">{_xml(text)}</text>'
        )


def _width(text: str) -> int:
    """About how many pixels `text` takes in Verdana of 11 pixels."""
    return round(
        sum(
            4.2 if character in _NARROW else 10.2 if character in _BROAD else 7.0
            for character in text
        )
    )


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _xml(text: str) -> str:
    return escape(visible(text, keep="\n"), {'"': "&quot;"})
