"""The kill matrix as Markdown and as a picture: which history turned which contract red."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from chat_history_conformance.contracts.catalogue import Contract
    from chat_history_conformance.faulty import Faulty
    from chat_history_conformance.faulty.selftest import Proof


def markdown(proof: Proof, contracts: Mapping[str, Contract], broken: Mapping[str, Faulty]) -> str:
    """The whole proof for reading: what each broken history shows, and what killed each contract.

    Args:
        proof: What was measured.
        contracts: The catalogue.
        broken: The broken histories by id.
    """
    return "\n".join(
        [
            "# Kill matrix",
            "",
            f"{len(contracts)} contracts were run on {len(broken)} broken histories, each a "
            "control with one defect, in profile `quick` with seed 0. The controls, `memory`, "
            "`sqlite` and `served` (a small server of the suite's own, which is paused and killed) "
            "without a defect, are green. A broken history counts as caught "
            "when the contract it was made to break reports a finding of the expected kind; a "
            "crash, a time-out or a skip does not count. "
            "`history-conformance selftest --output reports` writes this file.",
            "",
            "![Broken histories by contracts](kill-matrix.svg)",
            "",
            *_power(proof),
            "## Broken histories",
            "",
            *_broken(proof, broken),
            "## Contracts, and what turned them red",
            "",
            *_contracts(proof, contracts),
        ]
    )


def _power(proof: Proof) -> Iterable[str]:
    if not proof.power:
        return
    weakest = min(proof.power.values())
    total = sum(proof.power.values())
    yield (
        f"Discovery power: in profile `ci`, the expected contract alone, over 20 seeds: "
        f"{total} of {20 * len(proof.power)} searches found the defect; the weakest was found in "
        f"{weakest} of 20 seeds."
    )
    yield ""


def _broken(proof: Proof, broken: Mapping[str, Faulty]) -> Iterable[str]:
    yield "| history | defect | caught by | as | found, of 20 seeds | red in all | seen in |"
    yield "|---|---|---|---|---|---|---|"
    for identifier, history in broken.items():
        row = proof.rows.get(identifier)
        if row is None:
            continue
        power = proof.power.get(identifier)
        cells = [
            f"`{identifier}`",
            history.defect,
            f"`{history.breaks}`",
            history.kind,
            "" if power is None else str(power),
            str(len(row.kills)),
            history.seen,
        ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _contracts(proof: Proof, contracts: Mapping[str, Contract]) -> Iterable[str]:
    yield "| contract | level | red on | for example |"
    yield "|---|---|---|---|"
    for identifier, contract in contracts.items():
        killers = proof.killers(identifier)
        shown = ", ".join(f"`{killer}`" for killer in killers[:4])
        yield f"| `{identifier}` | {contract.level} | {len(killers)} | {shown} |"
    yield ""


_CELL = 11
_LEFT, _TOP = 330, 250


def picture(proof: Proof, contracts: Mapping[str, Contract], broken: Mapping[str, Faulty]) -> str:
    """The matrix as an SVG that follows the reader's light or dark setting.

    A row for each broken history, a column for each contract; a full square where the contract it
    was made for caught it, a pale one where another contract turned red too.

    Args:
        proof: What was measured.
        contracts: The catalogue.
        broken: The broken histories by id.
    """
    columns = {identifier: number for number, identifier in enumerate(contracts)}
    width = _LEFT + _CELL * len(columns) + 150  # the last labels lean out
    height = _TOP + _CELL * len(broken) + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="Kill matrix: '
        f'{len(broken)} broken histories by {len(contracts)} contracts">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    family = ""
    for identifier, column in columns.items():
        x = _LEFT + column * _CELL
        if identifier.partition(".")[0] != family:
            family = identifier.partition(".")[0]
            lines.append(f'<path class="rule" d="M{x - 0.5} {_TOP - 6}V{height - 20}"/>')
        place = f"translate({x + 8} {_TOP - 8}) rotate(-60)"
        lines.append(f'<text transform="{place}">{escape(identifier)}</text>')
    for number, (identifier, history) in enumerate(broken.items()):
        y = _TOP + number * _CELL
        lines.append(f'<text class="row" x="{_LEFT - 8}" y="{y + 9}">{escape(identifier)}</text>')
        for kill in proof.rows[identifier].kills if identifier in proof.rows else ():
            made_for = kill.contract == history.breaks
            lines.append(
                f'<rect class="{"made" if made_for else "also"}" rx="2" '
                f'x="{_LEFT + columns[kill.contract] * _CELL + 1}" y="{y + 1}" '
                f'width="{_CELL - 2}" height="{_CELL - 2}">'
                f"<title>{escape(identifier)} on {escape(kill.contract)}: "
                f"{escape(', '.join(kill.kinds))}</title></rect>"
            )
    return "\n".join([*lines, "</svg>", ""])


_STYLE = (
    "text{font:9px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#3c3a36}"
    ".row{text-anchor:end}.page{fill:#fdfcfa}.rule{stroke:#d8d4cc}"
    ".made{fill:#a8322a}.also{fill:#e3b7b1}"
    "@media(prefers-color-scheme:dark){text{fill:#d5d2cb}.page{fill:#1a1917}.rule{stroke:#45423c}"
    ".made{fill:#ef8278}.also{fill:#6d3a35}}"
)
