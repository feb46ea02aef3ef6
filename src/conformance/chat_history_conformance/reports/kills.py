"""The kill matrix as Markdown and as a picture: which broken history made which contract fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.faulty import Faulty
from chat_history_conformance.faulty.proof import Proof
from chat_history_conformance.reports.templating import render

__all__ = ["markdown", "picture"]


def markdown(proof: Proof, contracts: Mapping[str, Contract], broken: Mapping[str, Faulty]) -> str:
    """Return the whole proof as a Markdown page: the broken histories, then the contracts.

    Args:
        proof: The measurement.
        contracts: The catalogue.
        broken: The broken histories by id.
    """
    measured = [identifier for identifier in broken if identifier in proof.rows]
    return "\n".join(
        [
            "# Kill matrix",
            "",
            f"{len(contracts)} contracts were run on {len(measured)} broken histories in profile "
            "`quick` with seed 0. Each broken history is one of the controls with one defect. The "
            "controls themselves pass: `memory`, `sqlite` and `served` (a small server of this "
            "suite, which is paused and killed). A broken history counts as caught if the contract "
            "that it was made to break reports a finding of the expected kind. A crash, a time-out "
            "or a skip does not count. `history-conformance selftest --output reports` writes this "
            "file.",
            "",
            "![Broken histories by contracts](kill-matrix.svg)",
            "",
            *_missing(proof, broken),
            "## Broken histories",
            "",
            *_broken(proof, broken),
            "## Contracts, and the histories that made them fail",
            "",
            *_contracts(proof, contracts),
        ]
    )


def _missing(proof: Proof, broken: Mapping[str, Faulty]) -> Iterable[str]:
    missing = [f"`{identifier}`" for identifier in broken if identifier not in proof.rows]
    if missing:
        yield f"Not measured yet: {', '.join(missing)}."
        yield ""


def _broken(proof: Proof, broken: Mapping[str, Faulty]) -> Iterable[str]:
    yield "| history | defect | caught by | kind | contracts that fail | seen in |"
    yield "|---|---|---|---|---|---|"
    for identifier, history in broken.items():
        row = proof.rows.get(identifier)
        if row is None:
            continue
        cells = [
            f"`{identifier}`",
            history.defect,
            f"`{history.breaks}`",
            history.kind,
            str(len(row.kills)),
            history.seen,
        ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _contracts(proof: Proof, contracts: Mapping[str, Contract]) -> Iterable[str]:
    yield "| contract | level | fails on | for example |"
    yield "|---|---|---|---|"
    for identifier, contract in contracts.items():
        killers = proof.killers(identifier)
        shown = ", ".join(f"`{killer}`" for killer in killers[:4])
        yield f"| `{identifier}` | {contract.level} | {len(killers)} | {shown} |"
    yield ""


_CELL = 11
_LEFT, _TOP = 330, 250
_RIGHT = 150
"""The space for the last labels, which are slanted, in pixels."""


@dataclass(frozen=True)
class _Column:
    """A contract and the left edge of its column. `starts_family` draws a line before it."""

    contract: str
    left: int
    starts_family: bool


@dataclass(frozen=True)
class _Square:
    """A contract that failed on the history of the row. `made` if the history was made for it."""

    contract: str
    kinds: str
    left: int
    made: bool


@dataclass(frozen=True)
class _Row:
    """A broken history and the upper edge of its row."""

    history: str
    top: int
    squares: Sequence[_Square]


@dataclass(frozen=True)
class _Picture:
    """The values that `templates/kills.svg` shows. Sizes are in pixels."""

    width: int
    height: int
    left: int
    top: int
    cell: int
    columns: Sequence[_Column]
    rows: Sequence[_Row]


def picture(proof: Proof, contracts: Mapping[str, Contract], broken: Mapping[str, Faulty]) -> str:
    """Return the matrix as an SVG image that follows the reader's light or dark setting.

    A row is a broken history, a column a contract. A strong square shows that the contract that the
    history was made for failed on it, and a pale square shows that another contract failed too.

    Args:
        proof: The measurement.
        contracts: The catalogue.
        broken: The broken histories by id.
    """
    left_of = {identifier: _LEFT + _CELL * index for index, identifier in enumerate(contracts)}
    families = [identifier.partition(".")[0] for identifier in contracts]
    shown = _Picture(
        width=_LEFT + _CELL * len(contracts) + _RIGHT,
        height=_TOP + _CELL * len(broken) + 20,
        left=_LEFT,
        top=_TOP,
        cell=_CELL,
        columns=[
            _Column(identifier, left, before != family)
            for (identifier, left), before, family in zip(
                left_of.items(), ["", *families], families, strict=False
            )
        ],
        rows=[
            _Row(
                identifier,
                _TOP + _CELL * index,
                [
                    _Square(
                        kill.contract,
                        ", ".join(kill.kinds),
                        left_of[kill.contract],
                        kill.contract == history.breaks,
                    )
                    for kill in (proof.rows[identifier].kills if identifier in proof.rows else ())
                ],
            )
            for index, (identifier, history) in enumerate(broken.items())
        ],
    )
    return render("reports/kills.svg", picture=shown)
