"""Measure how reliably broken histories are found at three speeds, and write `reports/power.md`.

The numbers are kept in `reports/power.jsonl`, one history in a line. A number that is there is not
measured again: delete its line, or the file, for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from chat_history_conformance import faulty
from chat_history_conformance.faulty import selftest
from chat_history_conformance.faulty.selftest import SEEDS

__all__ = ["DELAYS_MS", "build", "load", "measured", "page"]

REPORTS = Path(__file__).parents[1] / "reports"
RESULTS = REPORTS / "power.jsonl"
PAGE = REPORTS / "power.md"

DELAYS_MS = (0, 50, 300)
"""The milliseconds by which each operation takes longer."""

_JOBS = {0: 2, 50: 8, 300: 24}
"""The number of processes for each delay. Slow histories wait more than they work."""

Found = Mapping[str, Mapping[int, int]]
"""The number of seeds that found each history, by its id and the delay."""


def measured(name: str) -> bool:
    """Return whether a broken history is measured: its control needs no server.

    The limits of the small server fit its own speed.
    """
    return faulty.load()[name].control in ("memory", "sqlite")


def load() -> dict[str, dict[int, int]]:
    """Return the kept numbers."""
    if not RESULTS.exists():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()]
    return {row["history"]: {int(ms): n for ms, n in row["found"].items()} for row in rows}


def page(found: Found) -> str:
    """Return the page with the total for each speed, and the histories that are hard to find."""
    missing = [f"`{name}`" for name, row in found.items() if set(row) != set(DELAYS_MS)]
    found = {name: row for name, row in found.items() if set(row) == set(DELAYS_MS)}
    searches = len(found) * SEEDS
    hard = {name: row for name, row in found.items() if min(row.values()) < SEEDS}
    lines = [
        "# Discovery power at three speeds",
        "",
        f"The contract that each of {len(found)} broken histories was made to break judged it in",
        f"profile `quick` with {SEEDS} seeds, in all modes of the contract. The first column has",
        "the time by which each operation takes longer. Histories that need a server are left out:",
        "its time limits fit its own speed. What a history does next to a call, or after it, takes",
        "longer by the same time. `tox -e reports -- power` repeats the measurement;",
        "[power.jsonl](power.jsonl) has the numbers of each history.",
        "",
        "| delay of each operation | searches | found | histories found with every seed |",
        "|---|---|---|---|",
        *(_total(found, delay, searches) for delay in DELAYS_MS),
        "",
    ]
    if missing:
        lines += [f"Not measured at each speed yet: {', '.join(missing)}.", ""]
    if hard:
        lines += [
            f"These were not found with every seed. Each cell has the number of {SEEDS} seeds:",
            "",
            "| history | " + " | ".join(f"{delay} ms" for delay in DELAYS_MS) + " |",
            "|---|" + "---|" * len(DELAYS_MS),
            *(_cells(name, [row[delay] for delay in DELAYS_MS]) for name, row in hard.items()),
            "",
        ]
    return "\n".join(lines)


def _total(found: Found, delay: int, searches: int) -> str:
    number = sum(row[delay] for row in found.values())
    always = sum(row[delay] == SEEDS for row in found.values())
    return f"| {delay} ms | {searches} | {number} | {always} of {len(found)} |"


def _cells(name: str, numbers: Sequence[int]) -> str:
    return f"| `{name}` | " + " | ".join(map(str, numbers)) + " |"


def build() -> None:
    """Measure what is missing at each speed, and write the numbers and the page."""
    names = [name for name in faulty.load() if measured(name)]
    kept = load()
    found = {name: kept.get(name, {}) for name in names}
    for delay in DELAYS_MS:
        missing = {name for name in names if delay not in found[name]}
        print(f"{delay} ms: {len(missing)} of {len(names)} histories", flush=True)
        measurement = selftest.discovery(
            print, delay_ms=delay, jobs=_JOBS[delay], only=missing.__contains__
        )
        for name, number in measurement:
            found[name][delay] = number
            _save(found)
    _save(found)
    PAGE.write_text(page(found), encoding="utf-8")


def _save(found: Found) -> None:
    rows = [json.dumps({"history": name, "found": row}) for name, row in found.items() if row]
    RESULTS.write_text("\n".join(rows) + "\n", encoding="utf-8")
