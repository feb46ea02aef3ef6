"""The command `selftest`: run the contracts on the broken histories."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chat_history_conformance.cli.ending import terminated_as_interrupted
from chat_history_conformance.cli.refusal import Refusal

if TYPE_CHECKING:
    from chat_history_conformance.faulty.proof import Proof

__all__ = ["add_parser"]

_LINES = "kill-matrix.jsonl"
_PAGE = "kill-matrix.md"
_PICTURE = "kill-matrix.svg"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `selftest` to the commands."""
    parser = commands.add_parser(
        "selftest",
        help="check that every contract fails on the histories that break it",
        description="Run every contract on every broken history, and check that each contract "
        "fails on the histories that break it. This takes long; --only measures a part.",
        epilog="example: history-conformance selftest --only clear. --output reports",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIRECTORY",
        help=f"write {_LINES}, {_PAGE} and {_PICTURE} here",
    )
    parser.add_argument(
        "--only",
        metavar="PREFIX",
        nargs="+",
        help="measure only the histories whose id begins with PREFIX, and keep the other rows of "
        "--output",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="use N processes (default: the number of processors)",
    )
    parser.set_defaults(run=_selftest)


def _selftest(options: argparse.Namespace) -> int:
    from chat_history_conformance import faulty
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.faulty import proof as proofs
    from chat_history_conformance.faulty import selftest

    broken, contracts = faulty.load(), catalogue.load()
    kept = options.output / _LINES if options.only and options.output else None
    try:
        # A file that cannot be read must stop the command before hours of work.
        before = proofs.load(kept) if kept is not None and kept.exists() else None
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error
    wanted = tuple(options.only or [""])

    def chosen(name: str) -> bool:
        return name.startswith(wanted)

    for prefix in options.only or []:
        if not any(name.startswith(prefix) for name in (*proofs.CONTROLS, *broken)):
            raise Refusal(
                f"--only {prefix}: no broken history has an id that begins so. The ids are in the "
                f"first column of {_PAGE}, such as {next(iter(broken))}."
            )
    nothing = proofs.Proof({})
    proof = (before or nothing).updated(nothing, broken)  # without histories that are gone
    try:
        with terminated_as_interrupted():
            for row in selftest.kill_matrix(_progress, jobs=options.jobs, only=chosen):
                proof = proof.updated(proofs.Proof({row.history: row}), broken)
                _keep(proof, options.output)
    except KeyboardInterrupt:
        kept_in = options.output / _LINES if options.output else None
        has_rows = kept_in is not None and kept_in.exists()
        rows = f"; the rows so far are in {kept_in}" if has_rows else ""
        print(f"history-conformance: stopped{rows}", file=sys.stderr)
        return 130
    if options.output:
        _write(proof, options.output)
    # A part says nothing about the contracts that other histories break.
    wrong = proof.faults([] if options.only else contracts, broken, chosen)
    for sentence in wrong:
        print(sentence)
    fine = "each history was caught" if options.only else "each contract failed, each was caught"
    result = f"faults: {len(wrong)}" if wrong else fine
    print(f"contracts: {len(contracts)}, broken histories: {sum(map(chosen, broken))}, {result}")
    return 1 if wrong else 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _keep(proof: Proof, directory: Path | None) -> None:
    """Write the rows so far. The rest may take hours, and may be interrupted."""
    from chat_history_conformance.faulty import proof as proofs
    from chat_history_conformance.reports import write_text

    if directory is not None:
        write_text(directory / _LINES, proofs.dump(proof))


def _write(proof: Proof, directory: Path) -> None:
    from chat_history_conformance import faulty
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.reports import kills, write_text

    broken, contracts = faulty.load(), catalogue.load()
    _keep(proof, directory)
    write_text(directory / _PAGE, kills.markdown(proof, contracts, broken))
    write_text(directory / _PICTURE, kills.picture(proof, contracts, broken))
