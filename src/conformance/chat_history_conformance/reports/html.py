"""A run as one HTML page that needs no other file and loads nothing from the network.

The templates hold the markup; `page.css` and `page.js` hold the style and the script. The content
security policy of the page allows no other script, so that a message in a finding stays text even
if it is not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from chat_history_conformance.reports import wording
from chat_history_conformance.reports.html_cards import Card, cards, headline_parts
from chat_history_conformance.reports.html_findings import Part, on_one_line, parts
from chat_history_conformance.reports.html_matrix import Matrix, matrix
from chat_history_conformance.reports.templating import render as render_template
from chat_history_conformance.results.model import Rules, RuleText, RunReport

__all__ = ["TITLE", "render", "resource"]

TITLE = "Chat history conformance"


@dataclass(frozen=True)
class _Page:
    """The values that `templates/page.html` shows.

    Attributes:
        title: The title of the window.
        heading: The heading of the page.
        policy: The content security policy.
        style: The style sheet.
        script: The script.
        suite: The name and version of the suite.
        facts: Names and values about the suite and the environment.
        cards: The verdict on each backend.
        matrix: The matrix of contracts and backends, or None if no contract was run.
        parts: The findings of each backend.
        texts: The id and the text of each rule, if they are known.
    """

    title: str
    heading: str
    policy: str
    style: str
    script: str
    suite: str
    facts: Sequence[tuple[str, str]]
    cards: Sequence[Card]
    matrix: Matrix | None
    parts: Sequence[Part]
    texts: Sequence[tuple[str, RuleText]]


def render(report: RunReport, rules: Rules | None = None, *, title: str = TITLE) -> str:
    """Return `report` as an HTML page: verdicts, the matrix of contracts and backends, findings.

    Args:
        report: One run, or several that are merged into one.
        rules: The texts of the catalogue by contract id. Without them, only ids are shown.
        title: The heading of the page.
    """
    script = resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    version = report.suite.get("version")
    page = _Page(
        title=_window_title(report, title),
        heading=title,
        policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'",
        style=resource("page.css"),
        script=script,
        suite=f"chat-history-conformance {version}" if version else "chat-history-conformance",
        facts=[*wording.facts(report.suite), *wording.facts(report.environment)],
        cards=cards(report.backends),
        matrix=matrix(report.backends, rules or {}),
        parts=parts(report.backends, rules or {}),
        texts=_texts(report, rules or {}),
    )
    return render_template("reports/page.html", page=page)


@cache
def resource(name: str) -> str:
    """Return the text of a file of this package, such as `page.css`."""
    return (resources.files("chat_history_conformance.reports") / name).read_text(encoding="utf-8")


def _texts(report: RunReport, rules: Rules) -> list[tuple[str, RuleText]]:
    """Return the rules of all contracts of the report, in its order."""
    ids = dict.fromkeys(one.id for backend in report.backends for one in backend.contracts)
    return [(contract, on_one_line(rules[contract])) for contract in ids if contract in rules]


def _window_title(report: RunReport, title: str) -> str:
    if len(report.backends) != 1:
        return title
    [backend] = report.backends
    verdict, _ = headline_parts(backend)
    return f"{backend.name}: {verdict.lower()} – {title}"
