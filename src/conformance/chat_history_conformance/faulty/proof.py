"""The kill matrix as values: which contract found which broken history.

`kill-matrix.jsonl` holds one line for each history, the controls first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chat_history_conformance.faulty import Faulty
from chat_history_conformance.results.model import Kind
from chat_history_conformance.results.validation import validator

__all__ = ["CONTROLS", "Kill", "Proof", "Row", "dump", "load"]

CONTROLS = ("memory", "sqlite", "stoppable", "served", "served-cluster")
"""The histories without a defect, which no contract may find broken."""


@dataclass(frozen=True)
class Kill:
    """A contract that failed on a broken history, and the kinds of its findings."""

    contract: str
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Row:
    """The results of the whole catalogue on one history.

    Attributes:
        history: The id of the history, a control or a broken one.
        kills: The contracts that failed.
        errors: The contracts that ended in an error, each with its text.
    """

    history: str
    kills: tuple[Kill, ...]
    errors: tuple[str, ...] = ()

    def kill_of(self, contract: str) -> Kill | None:
        """Return the kill by `contract`, or None if the contract did not fail."""
        return next((kill for kill in self.kills if kill.contract == contract), None)


@dataclass(frozen=True)
class Proof:
    """The whole matrix: a row for each history, by its id."""

    rows: Mapping[str, Row]

    def updated(self, other: Proof, broken: Iterable[str]) -> Proof:
        """Return this proof with the rows of `other`, without histories that no longer exist.

        Args:
            other: The newer measurement.
            broken: The ids of all broken histories.
        """
        rows = {**self.rows, **other.rows}
        return Proof({name: rows[name] for name in (*CONTROLS, *broken) if name in rows})

    def killers(self, contract: str) -> list[str]:
        """Return the broken histories on which a contract failed."""
        return [
            name
            for name, row in self.rows.items()
            if name not in CONTROLS and row.kill_of(contract) is not None
        ]

    def faults(
        self,
        contracts: Iterable[str],
        broken: Mapping[str, Faulty],
        only: Callable[[str], bool] = lambda name: True,
    ) -> list[str]:
        """Return a sentence for each thing that is wrong with the proof.

        A broken history counts as caught only if the controls pass and the contract made for it
        reports a finding of the expected kind. A crash of the suite or a server error does not
        count.

        Args:
            contracts: The ids of all contracts. Each has to fail on a history.
            broken: The broken histories by id.
            only: Chooses the controls and the histories to look at, by id.
        """
        return [
            *(text for name in CONTROLS if only(name) for text in self._wrong_control(name)),
            *(
                f"{name}: an error instead of a finding: {error}"
                for name, row in self.rows.items()
                if only(name)
                for error in row.errors
            ),
            *(
                text
                for history in broken.values()
                if only(history.id)
                for text in self._wrong_with(history)
            ),
            *(
                f"no broken history made {contract} fail"
                for contract in contracts
                if not self.killers(contract)
            ),
        ]

    def _wrong_control(self, name: str) -> Iterator[str]:
        row = self.rows.get(name)
        if row is None:
            yield f"the control {name} was not run"
        elif row.kills:
            failed = ", ".join(kill.contract for kill in row.kills)
            yield f"the control {name} failed: {failed}"

    def _wrong_with(self, history: Faulty) -> Iterator[str]:
        row = self.rows.get(history.id)
        if row is None:
            yield f"{history.id} was not run"
            return
        kill = row.kill_of(history.breaks)
        if kill is None:
            yield f"{history.id} is not caught: {history.breaks} passes"
        elif history.kind not in kill.kinds:
            yield (
                f"{history.id} is not caught: {history.breaks} reports {', '.join(kill.kinds)} "
                f"instead of {history.kind}"
            )


def dump(proof: Proof) -> str:
    """Return a proof as JSON Lines, one line for each history."""
    return "".join(
        json.dumps(asdict(row), separators=(",", ":")) + "\n" for row in proof.rows.values()
    )


def load(path: Path) -> Proof:
    """Read the proof that `dump` wrote to a file.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not JSON or does not fit. The message names the file, the line and the
            field.
    """
    read = validator(Row)
    rows: dict[str, Row] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = read(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {error}. Fix it, or write the file again with "
                "history-conformance selftest --output DIR."
            ) from None
        rows[row.history] = row
    return Proof(rows)
