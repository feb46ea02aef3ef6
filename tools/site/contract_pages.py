"""Write a page for each contract, and the list of all contracts, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.execution.contract import NEEDS_OF_MODE
from tools.site.examples import Example
from tools.site.links import linked

__all__ = ["listing", "page", "write"]


def write(directory: Path, examples: Mapping[str, Example]) -> None:
    """Write the page of each contract into a directory, and remove the pages of others.

    A page that has not changed is not written, so that Sphinx does not read it again.
    """
    directory.mkdir(exist_ok=True)
    pages = {f"{item.id}.md": item for item in catalogue.load().values()}
    for old in directory.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, item in pages.items():
        path, text = directory / name, page(item, examples[item.id])
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def page(item: Contract, example: Example) -> str:
    """Return the page of a contract.

    Args:
        item: The contract.
        example: A failure of it.
    """
    broken = [one for one in faulty.load().values() if one.breaks == item.id]
    shown = faulty.load()[example.history]
    lines = [
        "---",
        "orphan: true",
        "---",
        "",
        f"# {item.id}",
        "",
        f"**{item.title}**",
        "",
        *_facts(item),
        "",
        "## The rule",
        "",
        item.rule,
        "",
        f"From: {linked(item.source)}",
        "",
        "## Usual cause",
        "",
        item.cause,
        "",
        "## What to do",
        "",
        item.remedy,
        "",
        "## A failure",
        "",
        f"This is how the run shows the failure of a history with this defect: {shown.defect} "
        f"The mode is `{example.mode}`.",
        "",
        *_block("text", example.text),
        "",
        "## Who broke it",
        "",
        f"Seen in: {linked(item.seen)}",
        "",
        "The suite has these broken histories for the contract, which prove that it can fail:",
        "",
        *(f"- `{one.id}`: {one.defect}{_citation(one)}" for one in broken),
        "",
        "## Run it alone",
        "",
        *_block("sh", f"pytest --history-backend=NAME 'NAME::{item.id}'"),
        "",
        "## If your history cannot follow it",
        "",
        *_without(item),
        "To accept the failure for now, list the contract in the "
        "[declaration](../declaration.md), with a reason:",
        "",
        *_block("python", f'deviations={{"{item.id}": "why, and since when"}}'),
    ]
    return "\n".join(lines) + "\n"


def _facts(item: Contract) -> Iterator[str]:
    """Yield a list of the level, the version, the modes and the needs of a contract."""
    modes = ", ".join(f"`{mode}`" for mode in item.modes)
    needs = ", ".join(f"`{name}`" for name in item.needs) or "nothing beyond the interface"
    of_modes = sorted({name for mode in item.modes for name in NEEDS_OF_MODE[mode]} & {"durable"})
    more = f"; the mode `process` needs `{of_modes[0]}`" if of_modes else ""
    yield f"- Level: [`{item.level}`](../verdicts.md#levels), since version {item.since}"
    yield f"- [Modes](../running.md#modes): {modes}"
    yield f"- Needs: {needs}{more}"
    yield f"- Family: [{item.family}](../contracts.md#{item.family})"


def _without(item: Contract) -> Iterator[str]:
    """Yield how to declare that a history lacks what a contract needs."""
    for name in item.needs:
        if name in assumed():
            yield f"If it does not have `{name}` by design, declare that, with a reason. Then the"
            yield "contract is not applicable:"
            yield ""
            yield from _block("python", f'lacks={{"{name}": "why"}}')
            yield ""


def _citation(one: faulty.Faulty) -> str:
    return " (invented)" if one.seen == faulty.INVENTED else f" Seen in: {linked(one.seen)}"


def _block(language: str, text: str) -> list[str]:
    """Return a block of code whose fence is longer than each row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text.rstrip("\n"), fence]


def listing() -> str:
    """Return the list of all contracts with links to their pages, a section for each family."""
    contracts = list(catalogue.load().values())
    modes = sum(len(item.modes) for item in contracts)
    lines = [
        "# The contracts",
        "",
        f"{len(contracts)} contracts, {modes} with each mode counted. A page about each contract "
        "has its rule with the source, a failure as a run prints it, the usual cause and what to "
        "do. "
        "`history-conformance explain ID` prints the same texts in a terminal.",
    ]
    for family, members in groupby(contracts, lambda item: item.family):
        lines += ["", f"## {family}", "", "| contract | level | |", "|---|---|---|"]
        for item in members:
            name = item.id.partition(".")[2]
            lines.append(f"| [{name}](contracts/{item.id}.md) | {item.level} | {item.title} |")
    return "\n".join(lines) + "\n"
