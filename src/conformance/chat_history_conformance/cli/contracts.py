"""The commands `contracts` and `explain`: list the contracts, and explain one of them."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chat_history_conformance.cli.refusal import Refusal

if TYPE_CHECKING:
    # Loading the catalogue imports Hypothesis, which `--help` does not need.
    from chat_history_conformance.contracts.catalogue import Contract

__all__ = ["add_parsers"]

_COLUMN = 13
_WIDTH = 92


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `contracts` and `explain` to the commands."""
    listing = commands.add_parser(
        "contracts",
        help="list the contracts",
        description="List the contracts with their levels and titles.",
        epilog="example: history-conformance contracts ordering",
    )
    listing.add_argument(
        "family", nargs="?", help="list only the contracts of this family, such as ordering"
    )
    form = listing.add_mutually_exclusive_group()
    form.add_argument(
        "--md", action="store_true", help="print all texts of the contracts as Markdown"
    )
    form.add_argument(
        "--json", action="store_true", help="print all texts of the contracts as JSON"
    )
    listing.set_defaults(run=_contracts)

    explain = commands.add_parser(
        "explain",
        help="explain one contract",
        description="Explain one contract: its rule, the source of the rule, the usual cause of a "
        "failure, and what to do.",
        epilog="example: history-conformance explain ordering.across_calls",
    )
    explain.add_argument("contract", help="the id of the contract, such as ordering.across_calls")
    explain.add_argument("--json", action="store_true", help="print the contract as JSON")
    explain.set_defaults(run=_explain)


def _contracts(options: argparse.Namespace) -> int:
    from chat_history_conformance.contracts import catalogue
    from chat_history_conformance.declaration.errors import did_you_mean

    contracts = list(catalogue.load().values())
    families = list(dict.fromkeys(contract.family for contract in contracts))
    if options.family and options.family not in families:
        raise Refusal(
            f"No family named {options.family!r}.{did_you_mean(options.family, families)} "
            f"Families: {', '.join(families)}"
        )
    if options.family:
        contracts = [contract for contract in contracts if contract.family == options.family]
    if options.json:
        print(_json(contracts), end="")
    else:
        print(_page(contracts) if options.md else _listing(contracts), end="")
    return 0


def _json(contracts: Sequence[Contract]) -> str:
    from chat_history_conformance.reports import listing

    return listing.render(contracts)


def _listing(contracts: Sequence[Contract]) -> str:
    """Return the contracts as text, a paragraph for each family."""
    width = max(len(contract.id) for contract in contracts)
    lines: list[str] = []
    family = ""
    for contract in contracts:
        if contract.family != family:
            lines += ["", contract.family] if family else [contract.family]
            family = contract.family
        lines.append(f"  {contract.id:<{width}}  {contract.level:<6}  {contract.title}")
    lines += ["", f"{_counted(contracts)} Explain one with: history-conformance explain ID"]
    return "\n".join(lines) + "\n"


def _counted(contracts: Sequence[Contract]) -> str:
    modes = sum(len(contract.modes) for contract in contracts)
    return f"{len(contracts)} contracts, {modes} with each mode counted."


def _page(contracts: Sequence[Contract]) -> str:
    """Return the contracts as a Markdown page, a section for each family."""
    lines = [
        "# The contracts",
        "",
        f"{_counted(contracts)} `history-conformance contracts --md` writes this page.",
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
        raise Refusal(
            f"No contract named {options.contract!r}.{did_you_mean(options.contract, known)} "
            "`history-conformance contracts` lists them."
        )
    if options.json:
        print(_json([contract]), end="")
        return 0
    made_for = [item for item in faulty.load().values() if item.breaks == contract.id]
    texts = [
        ("Rule", contract.rule),
        ("From", contract.source),
        ("Usual cause", contract.cause),
        ("What to do", contract.remedy),
        ("Seen in", contract.seen),
        ("Needs", ", ".join(contract.needs) or "only the interface"),
        ("Modes", ", ".join(contract.modes)),
        *(("Broken by", f"{item.defect} [{item.id}]") for item in made_for),
        *([("Page", contract.url)] if contract.url else []),
    ]
    print(f"{contract.id}  ({contract.level}, since {contract.since})\n{contract.title}\n")
    for name, text in texts:
        first = f"{name + ':':<{_COLUMN}}"
        print(
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=" " * _COLUMN,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return 0
