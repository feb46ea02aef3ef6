"""The result of a campaign on a terminal, and as a row of a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable

from chat_history_conformance.campaign.checking.verdict import KINDS, MEANINGS
from chat_history_conformance.campaign.report.result import Class, Result
from chat_history_conformance.reports.wording import visible

__all__ = ["markdown", "row", "table", "terminal"]

_SHOWN = 3
_RED, _GREEN, _BOLD, _QUIET = "31", "32", "1", "2"


def terminal(result: Result, *, colours: bool = False) -> str:
    """Return a short summary for a terminal.

    Args:
        result: The result.
        colours: Whether to use escape sequences for colours.
    """

    def paint(text: str, *codes: str) -> str:
        return f"\033[{';'.join(codes)}m{text}\033[0m" if colours else text

    campaign = result.campaign
    lines = [
        f"{visible(campaign.backend)} on {visible(campaign.server)}, {_nodes(campaign.nodes)}, "
        f"seed {campaign.seed}: {campaign.events} faults in {campaign.seconds:.0f} s",
        f"{sum(result.operations.values()):,} calls, {result.acknowledged_messages:,} acknowledged "
        f"messages, {sum(sum(types.values()) for types in result.raised.values()):,} calls raised",
    ]
    for one in result.classes:
        count = f"{one.count:>7,}  {one.name}"
        lines.append(paint(count, _RED, _BOLD) if one.count else paint(count, _QUIET))
    for one in result.classes:
        lines += _examples(one)
    total = sum(one.count for one in result.classes)
    verdict = "no defect" if result.clean else f"{total:,} defect{'s' * (total != 1)}"
    lines.append(paint(verdict, _GREEN if result.clean else _RED, _BOLD))
    return "\n".join(lines) + "\n"


def _examples(one: Class) -> Iterable[str]:
    for example in one.examples[:_SHOWN]:
        session = f" in {visible(example.session)}" if example.session else ""
        yield f"{one.name} at {example.at:.3f} s{session}: {visible(example.text)}"
        for step in example.steps:
            yield (
                f"    {step.began:9.3f} to {step.ended:9.3f}  {visible(step.client)}: "
                f"{visible(step.text)}"
            )
    if one.count > _SHOWN:
        yield f"    and {one.count - _SHOWN:,} more"


def _nodes(number: int) -> str:
    return "1 node" if number == 1 else f"{number} nodes"


_COLUMNS = ("backend", "nodes", "seed", "faults", "acknowledged")


def table(results: Iterable[Result]) -> str:
    """Return a Markdown table with one row for each campaign."""
    names = [*_COLUMNS, *(MEANINGS[kind][0] for kind in KINDS)]
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join([_line(names), _line(rule), *map(row, results)]) + "\n"


def row(result: Result) -> str:
    """Return the row of one campaign for `table`."""
    campaign = result.campaign
    counts = {one.kind: one.count for one in result.classes}
    return _line(
        [
            campaign.backend,
            str(campaign.nodes),
            str(campaign.seed),
            str(campaign.events),
            f"{result.acknowledged_messages:,}",
            *(f"**{counts[kind]:,}**" if counts[kind] else "0" for kind in KINDS),
        ]
    )


def markdown(result: Result) -> str:
    """Return one campaign as Markdown: the table with one row, and the first defects."""
    parts = [table([result])]
    if result.campaign.command:
        parts.append(f"`{visible(result.campaign.command)}`\n")
    for one in result.classes:
        if one.count:
            lines = [f"**{one.name}** ({one.count:,}): {one.meaning}", ""]
            for example in one.examples[:_SHOWN]:
                lines.append(f"- {visible(example.text)}")
                lines += [f"  - `{_cell(step.client)}`: {step.text}" for step in example.steps]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return visible(text).replace("|", r"\|").replace("\n", " ")
