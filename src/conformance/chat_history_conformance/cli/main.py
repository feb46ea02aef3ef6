"""`history-conformance`: contracts listed and explained, reports compared, a server, the proof."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import chat_history_conformance
from chat_history_conformance.cli import bench_compare as compare_cli
from chat_history_conformance.cli import bench_results as result_cli
from chat_history_conformance.servers import KINDS

if TYPE_CHECKING:
    from chat_history_conformance.contracts.catalogue import Contract
    from chat_history_conformance.results.model import RunReport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 where a proof fails, 2 on wrong use."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except _Refusal as refusal:
        print(f"history-conformance: {refusal}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        sys.stderr.close()
        return 0
    return status


class _Refusal(Exception):
    """Wrong use; the text says what to do."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="history-conformance",
        description="The contracts of chat-history-conformance and the reports of its runs. "
        "Contracts are run with: pytest --history-backend=NAME",
    )
    parser.add_argument("--version", action="version", version=chat_history_conformance.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    contracts = commands.add_parser("contracts", help="list every contract")
    contracts.add_argument("family", nargs="?", help="only this family, such as ordering")
    contracts.add_argument("--md", action="store_true", help="with all texts, as Markdown")
    contracts.set_defaults(run=_contracts)

    explain = commands.add_parser("explain", help="a contract's rule, where it is from, its cause")
    explain.add_argument("contract", help="its id, such as ordering.across_calls")
    explain.set_defaults(run=_explain)

    report = commands.add_parser("report", help="several runs side by side: backends by contracts")
    report.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    report.add_argument("--html", type=Path, metavar="PATH", help="write the matrix as a page")
    report.add_argument("--md", type=Path, metavar="PATH", help="write it as Markdown")
    report.add_argument(
        "--scripts", type=Path, metavar="DIRECTORY", help="write each finding's script, to be run"
    )
    report.set_defaults(run=_report)

    server = commands.add_parser("server", help="run a server in the foreground")
    server.add_argument("kind", choices=KINDS, help="what to run")
    server.add_argument("--way", default="auto", help="auto (default), container, jvm or mock")
    server.add_argument("--port", type=int, default=0, metavar="N", help="default: any free port")
    server.add_argument("--image", default="", metavar="NAME", help="for the container way")
    server.add_argument("--offline", action="store_true", help="download nothing")
    server.set_defaults(run=_server)

    bench = commands.add_parser("bench", help="speed: measured, compared, kept over commits")
    benches = bench.add_subparsers(required=True, metavar="COMMAND")
    compare_cli.add_parser(benches)
    result_cli.add_parser(benches)

    selftest = commands.add_parser(
        "selftest", help="run every contract on every broken history and write the kill matrix"
    )
    selftest.add_argument(
        "--output", type=Path, metavar="DIRECTORY", help="write kill-matrix.* here"
    )
    selftest.add_argument(
        "--no-power", action="store_true", help="leave out the discovery power over 20 seeds"
    )
    selftest.add_argument(
        "--only",
        metavar="PREFIX",
        nargs="+",
        help="measure only histories whose id begins so, and keep the rest of what --output holds",
    )
    selftest.add_argument("--jobs", type=int, metavar="N", help="processes (default: processors)")
    selftest.set_defaults(run=_selftest)
    return parser


def _contracts(options: argparse.Namespace) -> int:
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.declaration.errors import did_you_mean

    contracts = catalogue.load().values()
    families = list(dict.fromkeys(contract.family for contract in contracts))
    if options.family and options.family not in families:
        raise _Refusal(
            f"No family named {options.family!r}.{did_you_mean(options.family, families)} "
            f"Families: {', '.join(families)}"
        )
    if options.family:
        families = [options.family]
    if options.md:
        print(_catalogue_page([item for item in contracts if item.family in families]), end="")
        return 0
    width = max(len(contract.id) for contract in contracts)
    number = modes = 0
    for family in families:
        print(f"{family}")
        for contract in contracts:
            if contract.family == family:
                number, modes = number + 1, modes + len(contract.modes)
                print(f"  {contract.id:<{width}}  {contract.level:<6}  {contract.title}")
        print()
    print(f"{number} contracts, {modes} with each mode counted. `history-conformance explain ID`")
    return 0


def _catalogue_page(contracts: Sequence[Contract]) -> str:
    """The catalogue as Markdown, a section a family."""
    lines = [
        "# The contracts",
        "",
        f"{len(contracts)} contracts, {sum(len(item.modes) for item in contracts)} with each mode "
        "counted. `history-conformance contracts --md` writes this page.",
    ]
    family = ""
    for contract in contracts:
        if contract.family != family:
            family = contract.family
            lines += ["", f"## {family}"]
        needs = (
            f"; needs {', '.join(f'`{name}`' for name in contract.needs)}" if contract.needs else ""
        )
        lines += [
            "",
            f"### {contract.id}",
            "",
            f"**{contract.level}** since {contract.since}; {', '.join(contract.modes)}{needs}",
            "",
            contract.rule,
            "",
            f"- From: {contract.source}",
            f"- Usual cause: {contract.cause}",
            f"- What to do: {contract.remedy}",
            f"- Seen in: {contract.seen}",
        ]
    return "\n".join(lines) + "\n"


def _explain(options: argparse.Namespace) -> int:
    from chat_history_conformance import faulty
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.declaration.errors import did_you_mean

    known = catalogue.load()
    contract = known.get(options.contract.partition("[")[0])
    if contract is None:
        raise _Refusal(
            f"No contract named {options.contract!r}.{did_you_mean(options.contract, known)} "
            "`history-conformance contracts` lists them."
        )
    made_for = [item for item in faulty.load().values() if item.breaks == contract.id]
    needs = ", ".join(contract.needs) or "nothing but the interface"
    print(f"{contract.id}  ({contract.level}, since {contract.since})\n{contract.title}\n")
    for name, text in (
        ("Rule", contract.rule),
        ("From", contract.source),
        ("Usual cause", contract.cause),
        ("What to do", contract.remedy),
        ("Seen in", contract.seen),
        ("Needs", needs),
        ("Modes", ", ".join(contract.modes)),
        *(("Broken by", f"{item.defect} [{item.id}]") for item in made_for),
    ):
        print(
            textwrap.fill(text, 92, initial_indent=f"{name + ':':<13}", subsequent_indent=" " * 13)
        )
    return 0


def _report(options: argparse.Namespace) -> int:
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.reports import load_report, matrix, terminal, write_report

    try:
        loaded = [load_report(path) for path in options.results]
        merged = matrix.merge(loaded, matrix.labels_of(options.results))
        for path in (options.html, options.md):
            if path is not None:
                write_report(merged, path, catalogue.rule_texts())
        if options.scripts is not None:
            _write_scripts(merged, options.scripts)
    except (OSError, ValueError) as error:
        raise _Refusal(str(error)) from error
    for backend in merged.backends:
        print(terminal.verdict_line(backend))
    return 0


def _write_scripts(report: RunReport, directory: Path) -> None:
    """A file for each finding, one for findings with one cause: `sql-clear.empties-sync.py`."""
    directory.mkdir(parents=True, exist_ok=True)
    for backend in report.backends:
        told: set[str] = set()
        for result in backend.contracts:
            finding = result.finding
            if finding is None or finding.cause in told:
                continue
            told |= {finding.cause} - {""}
            name = re.sub(r"[^\w.-]+", "_", f"{backend.name}-{result.id}-{result.mode}")
            (directory / f"{name}.py").write_text(finding.reproducer, encoding="utf-8")


def _server(options: argparse.Namespace) -> int:
    from chat_history_conformance.servers import ServerError, foreground

    try:
        return foreground.run(
            options.kind,
            options.way,
            port=options.port,
            image=options.image,
            offline=options.offline,
        )
    except ServerError as error:
        raise _Refusal(str(error)) from None


def _selftest(options: argparse.Namespace) -> int:
    from chat_history_conformance import faulty
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.faulty import selftest
    from chat_history_conformance.reports import kills

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    broken = faulty.load()
    wanted = tuple(options.only or [""])
    proof = selftest.kill_matrix(
        progress, jobs=options.jobs, only=lambda name: name.startswith(wanted)
    )
    if not options.no_power:
        power = selftest.discovery(
            progress, jobs=options.jobs, only=lambda name: name.startswith(wanted)
        )
        proof = selftest.Proof(proof.rows, power)
    if options.only and options.output and (options.output / "kill-matrix.json").exists():
        before = json.loads((options.output / "kill-matrix.json").read_text("utf-8"))
        proof = selftest.Proof.from_json(before).updated(proof, broken)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        page = kills.markdown(proof, catalogue.load(), broken)
        (options.output / "kill-matrix.md").write_text(page, encoding="utf-8")
        drawn = kills.picture(proof, catalogue.load(), broken)
        (options.output / "kill-matrix.svg").write_text(drawn, encoding="utf-8")
        data = json.dumps(proof.to_json(), indent=1)
        (options.output / "kill-matrix.json").write_text(data + "\n", encoding="utf-8")
    wrong = proof.faults(catalogue.load(), broken)
    for sentence in wrong:
        print(sentence)
    print(
        f"{len(catalogue.load())} contracts, {len(broken)} broken histories: "
        + (f"{len(wrong)} faults" if wrong else "each contract was seen red, each history caught")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
