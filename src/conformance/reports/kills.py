"""The kill matrix as Markdown: which broken history turned which contract red."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.catalogue import Contract
    from conformance.faulty import Faulty
    from conformance.selftest import Proof


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
            "reference backend with one defect, in profile `quick` with seed 0. The controls, "
            "`memory` and `sqlite` without a defect, are green. A broken history counts as caught "
            "when the contract it was made to break reports a finding of the expected kind; a "
            "crash, a time-out or a skip does not count. "
            "`history-conformance selftest --output reports` writes this file.",
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
        row = proof.rows[identifier]
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
