"""A run as an SVG badge: `chat history | conformant`.

If a run has several backends, each has its own named row. The worst verdict alone would not show
which backend it is about, and would hide the good ones. A badge loads no font, image or script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chat_history_conformance.reports.templating import render as render_template
from chat_history_conformance.reports.wording import visible
from chat_history_conformance.results.model import BackendReport, RunReport, VerdictName
from chat_history_conformance.results.verdict import headline

__all__ = ["COLOURS", "LABEL", "render"]

LABEL = "chat history"

COLOURS: dict[VerdictName, str] = {
    "conformant": "#2a7a4b",
    "conformant_with_deviations": "#8a6100",
    "not_conformant": "#b3312c",
    "incomplete": "#5d6470",
}
"""The colour of each verdict. White text on it has a contrast of 5 to 1 or better."""

_LABEL_COLOUR = "#3a3f47"
_HEIGHT = 20
_GAP = 2
_PADDING = 6
_LONGEST = 60
_NARROW = frozenset("fijlrtI.,:;'|!()[]{} -")
_BROAD = frozenset("mwMW@%—")


@dataclass(frozen=True)
class _Text:
    """A text with its centre and its width in pixels. A stated width fits in any font."""

    text: str
    centre: float
    width: int


@dataclass(frozen=True)
class _Row:
    """One backend: the distance from the top in pixels, the colour, and the texts."""

    top: int
    colour: str
    texts: Sequence[_Text]


@dataclass(frozen=True)
class _Badge:
    """The values that `templates/badge.svg` shows. Sizes are in pixels.

    `left` is the width of the labels, `spoken` the text for a screen reader, and `headlines` the
    text that appears under the mouse pointer.
    """

    width: int
    left: int
    height: int
    row_height: int
    label_colour: str
    spoken: str
    headlines: str
    rows: Sequence[_Row]


def render(report: RunReport, label: str = LABEL) -> str:
    """Return `report` as an SVG image with one row for each backend.

    Args:
        report: The run.
        label: The left text if the run has a single backend. With several, each row has the name of
            its backend there.
    """
    if not report.backends:
        rows = [(label, "nothing run", COLOURS["incomplete"])]
    else:
        rows = [
            (
                backend.name if len(report.backends) > 1 else label,
                _verdict(backend),
                COLOURS[backend.verdict],
            )
            for backend in report.backends
        ]
    rows = [(_short(name), _short(verdict), colour) for name, verdict, colour in rows]
    left = max(_width(name) for name, _, _ in rows) + 2 * _PADDING
    right = max(_width(verdict) for _, verdict, _ in rows) + 2 * _PADDING
    spoken = "; ".join(f"{name}: {verdict}" for name, verdict, _ in rows)
    headlines = "\n".join(f"{backend.name}: {headline(backend)}" for backend in report.backends)
    badge = _Badge(
        width=left + right,
        left=left,
        height=len(rows) * (_HEIGHT + _GAP) - _GAP,
        row_height=_HEIGHT,
        label_colour=_LABEL_COLOUR,
        spoken=spoken,
        headlines=visible(headlines or spoken, keep="\n"),
        rows=[
            _Row(
                number * (_HEIGHT + _GAP),
                colour,
                [
                    _Text(name, left / 2, _width(name)),
                    _Text(verdict, left + right / 2, _width(verdict)),
                ],
            )
            for number, (name, verdict, colour) in enumerate(rows)
        ],
    )
    return render_template("reports/badge.svg", badge=badge)


def _verdict(backend: BackendReport) -> str:
    verdict, _, _ = headline(backend).rpartition(": ")
    # Only the words are in capitals; the names of capabilities stay as they are.
    words, parenthesis, qualification = verdict.partition(" (")
    return words.lower() + parenthesis + qualification


def _width(text: str) -> int:
    """Return about how many pixels `text` takes in Verdana of 11 pixels."""
    return round(
        sum(
            4.2 if character in _NARROW else 10.2 if character in _BROAD else 7.0
            for character in text
        )
    )


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
