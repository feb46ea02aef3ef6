"""Run each contract on a history that breaks it, and keep the failure as the terminal prints it.

    python -m tools.site.examples [CONTRACT ...]

This writes `reports/examples.jsonl`, one contract in a line. All contracts together take some
minutes, so the file is kept, and `tests/docs/test_site.py` makes a few of the examples again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from chat_history_conformance import faulty
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.faulty import selftest
from chat_history_conformance.faulty.processes import spread
from chat_history_conformance.reports import terminal

__all__ = ["PATH", "WIDTH", "Example", "build", "history_of", "load", "make", "write"]

PATH = Path(__file__).parents[2] / "reports" / "examples.jsonl"

WIDTH = 100
"""The width of the terminal in characters."""

_CONTROLS = ("memory", "sqlite", "stoppable", "served", "served-cluster")
"""The correct histories that broken ones are made of; the simplest is the first."""


@dataclass(frozen=True)
class Example:
    """A failure of a contract on a broken history.

    Attributes:
        contract: The id of the contract.
        history: The id of the broken history.
        mode: The mode in which the contract failed.
        text: The failure as the terminal prints it with `--tb=short`: without the rule, which the
            page has, and without the script, which needs the suite because the history is in it.
    """

    contract: str
    history: str
    mode: str
    text: str


def history_of(contract: str) -> faulty.Faulty:
    """Return the broken history to show for a contract.

    A defect of a real history comes before an invented one, and a simple history before one that
    needs a server.
    """
    made_for = [item for item in faulty.load().values() if item.breaks == contract]
    return min(
        made_for,
        key=lambda item: (item.seen == faulty.INVENTED, _CONTROLS.index(item.control)),
    )


def make(contract_id: str) -> Example:
    """Run a contract on the broken history that is shown for it, in profile `quick`.

    Raises:
        LookupError: The contract found nothing.
    """
    contract, history = catalogue.load()[contract_id], history_of(contract_id)
    results = selftest.results_on(
        history.backend,
        [contract],
        profile=PROFILES["quick"],
        seed=0,
        clustered=history.control == "served-cluster",
    )
    with closing(results):
        for result in results:
            if result.finding is not None:
                text = terminal.failure(contract, result, style="short", width=WIDTH)
                return Example(contract_id, history.id, result.mode, text)
    raise LookupError(f"{contract_id} found nothing on {history.id}")


def build(
    contracts: Iterable[str], report: Callable[[str], None] = lambda line: None
) -> list[Example]:
    """Make the example of each contract, each in its own process."""
    return [example for _, example in spread(make, [(one,) for one in contracts], report)]


@cache
def load() -> Mapping[str, Example]:
    """Return the kept examples by the id of their contract."""
    lines = PATH.read_text("utf-8").splitlines()
    return {example.contract: example for example in (Example(**json.loads(one)) for one in lines)}


def write(contracts: Iterable[str] = ()) -> None:
    """Make the examples of these contracts, or of all, and keep them with the other kept ones."""
    named = list(contracts)
    kept = dict(load()) if named else {}
    for example in build(named or catalogue.load(), lambda line: print(line, flush=True)):
        kept[example.contract] = example
    lines = [
        json.dumps(asdict(kept[identifier]), ensure_ascii=False) + "\n"
        for identifier in catalogue.load()
        if identifier in kept
    ]
    PATH.write_text("".join(lines), "utf-8")
    load.cache_clear()


def main(arguments: list[str] | None = None) -> None:
    """Write the examples of the named contracts, or of all."""
    parser = argparse.ArgumentParser(description="Keep a failure of each contract.")
    parser.add_argument("contracts", nargs="*", metavar="CONTRACT", help="by default all")
    write(parser.parse_args(arguments).contracts)


if __name__ == "__main__":
    main()
