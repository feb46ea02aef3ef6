"""What a contract is, and the registry of them all."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from chat_history_conformance.results.model import Level, Mode, Rules, RuleText

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from chat_history_conformance.execution.session import Session

SYNC: Mode = "sync"
ASYNC: Mode = "async"
MIXED: Mode = "mixed"
PROCESS: Mode = "process"

ONE_HANDLE: tuple[Mode, ...] = (SYNC, ASYNC, MIXED)
"""The modes of a contract that needs one handle at a time."""
HANDLES: tuple[Mode, ...] = (SYNC, ASYNC, MIXED, PROCESS)
"""The modes of a contract about several handles; every other one is in a second process."""

NEEDS_OF_MODE: Mapping[Mode, tuple[str, ...]] = {
    "sync": ("sync",),
    "async": ("async",),
    "mixed": ("sync", "async"),
    "process": ("durable",),
}

FAMILIES = (
    "ordering",
    "fidelity",
    "clear",
    "isolation",
    "reads",
    "bounded",
    "cursor",
    "ttl",
    "concurrency",
    "parity",
    "durability",
    "aliasing",
    "inputs",
    "errors",
    "faults",
    "integration",
    "model",
)

Body = Callable[["Session", Any], None]


@dataclass(frozen=True)
class Contract:
    """One rule that a history keeps or breaks.

    Attributes:
        id: `family.name`, stable for ever.
        level: `must`, `should` or `may`.
        since: The suite version whose catalogue had it first.
        title: The rule in a sentence, for lists.
        rule: The rule in full, worded so that a backend's author can argue with it.
        source: Where langchain-core says so (`langchain_core/chat_history.py, MEMBER`), or
            `convention: ` and what it rests on.
        cause: The usual cause of a failure.
        remedy: What to do about it.
        seen: Where the defect was seen, as a citation.
        needs: Capabilities without which it is not applicable.
        modes: The ways in which its body is run.
        body: The contract itself, written once for all modes.
        program: What its examples are drawn from; None where there is but one example.
        examples: At most so many examples, whatever the profile.
        racy: It depends on timing: it is not shrunk, and its reproducer tries many times.
    """

    id: str
    level: Level
    since: str
    title: str
    rule: str
    source: str
    cause: str
    remedy: str
    seen: str
    needs: tuple[str, ...]
    modes: tuple[Mode, ...]
    body: Body
    program: SearchStrategy[Any] | None
    examples: int | None
    racy: bool

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


_contracts: dict[str, Contract] = {}


def contract(
    id: str,
    *,
    level: Level = "must",
    since: str = "0.1",
    rule: str,
    source: str,
    cause: str,
    remedy: str,
    seen: str,
    needs: tuple[str, ...] = (),
    modes: tuple[Mode, ...] = ONE_HANDLE,
    program: SearchStrategy[Any] | None = None,
    examples: int | None = None,
    racy: bool = False,
) -> Callable[[Body], Body]:
    """Register a function as the body of a contract; its name is the rule as a sentence.

    The arguments are the attributes of `Contract`. The body takes a `Session` and what was drawn
    from `program`, None where there is none.
    """

    def register(body: Body) -> Body:
        if id in _contracts and _contracts[id].body.__module__ != body.__module__:
            raise ValueError(f"two contracts are called {id!r}")
        sentence = body.__name__.replace("_", " ")
        _contracts[id] = Contract(
            id=id,
            level=level,
            since=since,
            title=f"{sentence[0].upper()}{sentence[1:]}.",
            rule=" ".join(rule.split()),
            source=" ".join(source.split()),
            cause=" ".join(cause.split()),
            remedy=" ".join(remedy.split()),
            seen=" ".join(seen.split()),
            needs=needs,
            modes=modes,
            body=body,
            program=program,
            examples=examples,
            racy=racy,
        )
        return body

    return register


@cache
def load() -> Mapping[str, Contract]:
    """Every contract by id, family by family in the order of `FAMILIES`."""
    from chat_history_conformance import contracts

    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"{contracts.__name__}.{module.name}")
    place = {family: number for number, family in enumerate(FAMILIES)}
    return dict(sorted(_contracts.items(), key=lambda item: place[item[1].family]))


def rule_texts() -> Rules:
    """What reports show beside findings, by contract id."""
    return {
        item.id: RuleText(item.title, item.rule, item.source, item.cause, item.remedy)
        for item in load().values()
    }


def version(text: str) -> tuple[int, ...]:
    """A version of the catalogue as a tuple that compares: `"0.1"` is `(0, 1)`.

    Raises:
        ValueError: It is no dotted row of numbers.
    """
    return tuple(int(part) for part in text.split("."))
