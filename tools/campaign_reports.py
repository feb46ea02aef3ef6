"""Run the published campaigns, and write `reports/campaigns.md` from their results.

The results are kept in `reports/campaigns/results.jsonl`, one campaign in a line, so that running
one campaign again changes one line.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from chat_history_conformance.campaign import report
from chat_history_conformance.campaign.report import result, summary
from chat_history_conformance.campaign.report.result import Result

__all__ = ["PLANNED", "Planned", "build", "keep", "load", "page"]

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
RESULTS = REPORTS / "campaigns" / "results.jsonl"
PAGE = REPORTS / "campaigns.md"
PICTURE = REPORTS / "campaigns" / "timeline.svg"


class Planned(NamedTuple):
    """One published campaign."""

    backend: str
    nodes: int
    seed: int
    declared_in: str = ""
    """The file that declares the backend. Empty for a backend of this project."""
    events: int = 30

    @property
    def command(self) -> str:
        """The command that runs it, in the root of the repository."""
        words = ["history-conformance", "campaign"]
        if self.declared_in:
            words += ["--import", self.declared_in]
        words += ["--backend", self.backend, "--nodes", str(self.nodes)]
        return shlex.join([*words, "--events", str(self.events), "--seed", str(self.seed)])


_OURS = [
    Planned(backend, nodes, seed)
    for backend in ("kafka", "elasticsearch")
    for nodes in (1, 3)
    for seed in (1, 2, 3)
]
_OTHERS = [
    Planned(backend, nodes, 1, f"reports/{kind}/histories.py")
    for kind, backend in (("kafka", "upstream-one-partition"), ("elasticsearch", "upstream"))
    for nodes in (1, 3)
]
PLANNED = (*_OURS, *_OTHERS)
"""The campaigns of the page, in its order."""


def load() -> list[Result]:
    """Return the kept results in the order of the plan."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.exists() else []
    return list(map(result.parse, lines))


def keep(found: Result) -> None:
    """Add one result to the kept ones, or replace that of the same campaign, and write the page."""
    named = dataclasses.replace(found.campaign, command=_planned(found).command)
    by_key = {_key(one): one for one in load()}
    by_key[_key(found)] = dataclasses.replace(found, campaign=named)
    kept = [by_key[one[:3]] for one in PLANNED if one[:3] in by_key]
    lines = [json.dumps(json.loads(result.render(one)), ensure_ascii=False) for one in kept]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")
    report.write(_pictured(kept), PICTURE)


def _pictured(results: Sequence[Result]) -> Result:
    """Return the campaign whose timeline is shown."""
    return next((one for one in results if _key(one) == ("kafka", 3, 1)), results[0])


def page(results: Iterable[Result]) -> str:
    """Return the page with a table of all results, and the command of each of them."""
    results = list(results)
    shown = _pictured(results)
    ours = [one for one in results if one.campaign.backend in _REFERENCES]
    others = [one for one in results if one.campaign.backend not in _REFERENCES]
    versions = {one.campaign.versions["chat-history-conformance"] for one in results}
    parts = [
        "# Campaigns",
        "Client processes use a history while its server is killed, paused, shut down or cut off. "
        "Every call is recorded, and the record is checked. "
        "[docs/campaigns.md](../docs/campaigns.md) says what the clients do and what each column "
        "means. Every number after `acknowledged` counts defects.",
        "## The reference histories",
        "Their declarations lack `fresh_reads`: on a cluster, a read may ask a member that is "
        "behind the others. "
        "[What the checker promises](../docs/campaigns.md#what-the-checker-promises) says what it "
        "then allows.",
        summary.table(ours).strip(),
        *(_about_others(others) if others else ()),
        "## One campaign over time",
        f"`{shown.campaign.backend}` on {shown.campaign.nodes} nodes, seed {shown.campaign.seed}:",
        "![Faults, calls and errors over time](campaigns/timeline.svg)",
        "## Run them again",
        f"Measured with version {', '.join(sorted(versions))}. `tox -e reports -- campaigns` runs "
        "all of them, one after another, and writes this page and `campaigns/results.jsonl`. These "
        "are the commands:",
        "```\n" + "\n".join(one.campaign.command for one in results) + "\n```",
    ]
    known = set(map(_key, results))
    if missing := [one.command for one in PLANNED if one[:3] not in known]:
        parts += [
            "These have no published result yet:",
            "```\n" + "\n".join(missing) + "\n```",
        ]
    return "\n\n".join(parts) + "\n"


def _about_others(others: Sequence[Result]) -> list[str]:
    return [
        "## Histories of langchain-community and langchain-elasticsearch",
        "`upstream-one-partition` is `KafkaChatMessageHistory` with one partition. `upstream` is "
        "`ElasticsearchChatMessageHistory`. The declarations are in `kafka/histories.py` and "
        "`elasticsearch/histories.py` of this folder.",
        summary.table(others).strip(),
        *(_about_end(one) for one in others if one.campaign.events < _planned(one).events),
    ]


def _about_end(found: Result) -> str:
    campaign, last = found.campaign, found.timeline.faults[-1]
    reason = last.detail.rpartition("; ")[2]
    return (
        f"`{campaign.backend}` on {campaign.nodes} nodes ended early: {reason}. That fault was: "
        f"{last.name} (member {last.member})."
    )


def _planned(found: Result) -> Planned:
    return next(one for one in PLANNED if one[:3] == _key(found))


_REFERENCES = {one.backend for one in _OURS}


def build() -> None:
    """Run all campaigns one after another, and keep the result of each of them."""
    for planned in PLANNED:
        print(f"$ {planned.command}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            written = Path(directory) / "campaign.json"
            words = [*shlex.split(planned.command)[1:], "--json", str(written)]
            command = [sys.executable, "-m", "chat_history_conformance", *words]
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode == 2:
                sys.exit(f"{planned.command} could not be run")
            keep(report.load(written))


def _key(found: Result) -> tuple[str, int, int]:
    campaign = found.campaign
    return campaign.backend, campaign.nodes, campaign.seed
