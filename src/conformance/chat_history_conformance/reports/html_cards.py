"""The verdict on each backend, as values for the template `cards.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chat_history_conformance.reports.wording import STATUSES, Status
from chat_history_conformance.results.model import BackendReport, VerdictName
from chat_history_conformance.results.verdict import headline

__all__ = ["Amount", "Card", "amounts", "cards", "headline_parts"]

_SYMBOLS: Mapping[VerdictName, str] = {
    "conformant": "✓",
    "conformant_with_deviations": "≈",
    "not_conformant": "✗",
    "incomplete": "…",
}


@dataclass(frozen=True)
class Amount:
    """The number of contracts with one status, and how it is shown."""

    status: Status
    number: int
    symbol: str
    words: str


def amounts(tally: Mapping[Status, int]) -> list[Amount]:
    """Return the amounts of a tally that are not zero."""
    return [
        Amount(status, number, STATUSES[status].symbol, STATUSES[status].words(number))
        for status, number in tally.items()
        if number
    ]


@dataclass(frozen=True)
class Card:
    """One backend.

    Attributes:
        anchor: The id of its findings on the page.
        name: The name of the backend.
        verdict: The verdict, which sets the colour.
        symbol: A symbol for the verdict.
        words: The verdict in words.
        qualification: The text in parentheses after the verdict, or an empty text.
        exercised: A sentence with the number of contracts that were judged.
        origin: The place of the factory, or an empty text.
        tally: The number of contracts with each status, the mildest status first.
        lacks: The capabilities that the backend does not support, with reasons.
        notes: Further sentences.
    """

    anchor: str
    name: str
    verdict: VerdictName
    symbol: str
    words: str
    qualification: str
    exercised: str
    origin: str
    tally: Sequence[Amount]
    lacks: Sequence[tuple[str, str]]
    notes: Sequence[str]


def cards(backends: Sequence[BackendReport]) -> list[Card]:
    """Return a card for each backend."""
    return [_card(index, backend) for index, backend in enumerate(backends)]


def headline_parts(backend: BackendReport) -> tuple[str, str]:
    """Return the verdict and the counts of a headline: `CONFORMANT`, `78 of 80 contracts ...`."""
    verdict, _, counts = headline(backend).rpartition(": ")
    return verdict, counts


def _card(index: int, backend: BackendReport) -> Card:
    verdict, counts = headline_parts(backend)
    words, parenthesis, qualification = verdict.partition(" (")
    return Card(
        anchor=f"b{index}",
        name=backend.name,
        verdict=backend.verdict,
        symbol=_SYMBOLS[backend.verdict],
        words=words,
        qualification=parenthesis.strip() + qualification,
        exercised=counts.split(",")[0],
        origin=backend.origin,
        tally=amounts(_counted(backend))[::-1],
        lacks=list(backend.lacks.items()),
        notes=backend.notes,
    )


def _counted(backend: BackendReport) -> dict[Status, int]:
    """Return the backend's own counts, which are right even if some results were left out."""
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
