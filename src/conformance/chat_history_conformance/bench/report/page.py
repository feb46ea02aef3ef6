"""The HTML page that benchmarks are shown on: nothing beside itself, no network, no script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources

from chat_history_conformance.bench.report import plot as plotting
from chat_history_conformance.reports.wording import visible

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """A page with that body; its policy lets nothing be loaded and no script be run.

    Args:
        title: Of the window.
        body: Markup.
        style: What the style is beside that of the conformance report; that of results if empty.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title>",
            # Otherwise browsers ask the server for an icon that is not there.
            '<link rel="icon" href="data:,">',
            f"<style>\n{sheet('chat_history_conformance.reports', 'page.css')}"
            f"{style or _of_results()}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


@cache
def sheet(package: str, name: str) -> str:
    """A style sheet that is part of a package."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def _of_results() -> str:
    return f"{sheet('chat_history_conformance.bench.report', 'benchmarks.css')}{plotting.STYLE}\n"


def text(content: str) -> str:
    """Text as markup that shows it as it is."""
    return escape(visible(content))


def prose(content: str) -> str:
    """The same, with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text(content))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and their values."""
    inner = (f"<div><dt>{text(key)}</dt><dd>{text(value)}</dd></div>" for key, value in pairs)
    return f'<dl class="facts">{"".join(inner)}</dl>'


def drawn(label: str, wide: tuple[float, list[str]], narrow: tuple[float, list[str]]) -> str:
    """A picture for wide windows and one for narrow ones, of which the reader sees one.

    Args:
        label: What it shows, for those who do not see it.
        wide, narrow: Height and parts.
    """
    sizes = (("wide", plotting.WIDE, wide), ("narrow", plotting.NARROW, narrow))
    figures = (
        f'<div class="{kind}">{plotting.svg(width, height, label, parts, alone=False)}</div>'
        for kind, width, (height, parts) in sizes
    )
    return f"<figure>{''.join(figures)}</figure>"


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls in a frame of its own where the window is narrower.

    Args:
        label: What it holds, for those who do not see it.
        head: Names of the columns, as text.
        rows: Cells, as markup; the first of each row names it.
    """
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    lines = (
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    # A frame that scrolls must be reachable by keyboard.
    return (
        f'<div class="numbers" tabindex="0" role="region" aria-label="{text(label)}">'
        f"<table><thead><tr>{names}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "</tbody></table></div>"
    )
