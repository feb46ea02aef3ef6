"""The class of contracts, and the registry of all contracts."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from chat_history_conformance.results.model import Level, Mode, Rules, RuleText

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from chat_history_conformance.execution.session import Session

__all__ = [
    "ASYNC",
    "FAMILIES",
    "HANDLES",
    "MIXED",
    "NEEDS_OF_MODE",
    "ONE_HANDLE",
    "PROCESS",
    "SYNC",
    "Body",
    "CatalogueError",
    "Contract",
    "Family",
    "contract",
    "load",
    "rule_texts",
    "version",
]

SYNC: Mode = "sync"
ASYNC: Mode = "async"
MIXED: Mode = "mixed"
PROCESS: Mode = "process"

ONE_HANDLE: tuple[Mode, ...] = (SYNC, ASYNC, MIXED)
"""The modes of a contract that needs one handle at a time."""
HANDLES: tuple[Mode, ...] = (SYNC, ASYNC, MIXED, PROCESS)
"""The modes of a contract about several handles; in `process`, every other is elsewhere."""

NEEDS_OF_MODE: Mapping[Mode, tuple[str, ...]] = {
    "sync": ("sync",),
    "async": ("async",),
    "mixed": ("sync", "async"),
    "process": ("durable",),
}

Family = Literal[
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
]
"""The modules with contracts, in the order in which reports list them."""

FAMILIES: tuple[Family, ...] = get_args(Family)

Body = Callable[["Session", Any], None]
"""The body of a contract: it takes the session, and a value drawn from the program."""


class CatalogueError(Exception):
    """A mistake in the registration of contracts."""


@dataclass(frozen=True)
class Contract:
    """One rule that a history keeps or breaks.

    Attributes:
        id: `family.name`; it never changes.
        level: `must`, `should` or `may`.
        since: The first version of the suite that has the contract.
        title: The rule in one sentence, for lists.
        rule: The full rule, so precise that the author of a backend can argue with it.
        source: The place in langchain-core that states the rule (`langchain_core/chat_history.py,
            MEMBER`), or `convention: ` and its reason.
        cause: The usual cause of a failure.
        remedy: The usual fix.
        seen: A citation of the defect in other software.
        needs: Capabilities without which the contract does not apply.
        modes: The modes in which the body runs.
        body: The code of the contract, the same for all modes.
        program: The strategy that draws the examples, None if there is only one.
        examples: Maximum number of examples in every profile.
        racy: Whether a failure depends on timing. It is then not shrunk, and its script repeats
            the steps many times.
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

    @property
    def place(self) -> str:
        """The file and the line of the body."""
        code = self.body.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


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
    """Register a function as the body of a contract; its name is the title of the rule.

    The arguments are the attributes of `Contract`.

    Raises:
        CatalogueError: A contract in another place has this id.
    """

    def register(body: Body) -> Body:
        sentence = body.__name__.replace("_", " ")
        added = Contract(
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
        known = _contracts.get(id)
        if known is not None and known.place != added.place:
            raise CatalogueError(
                f"Two contracts have the id {id!r}: {known.place} and {added.place}. "
                "Rename one of them."
            )
        _contracts[id] = added
        return body

    return register


@cache
def load() -> Mapping[str, Contract]:
    """Return every contract by its id, family by family.

    Raises:
        CatalogueError: A module or a contract does not belong to a known family.
    """
    from chat_history_conformance import contracts

    names = {module.name for module in pkgutil.iter_modules(contracts.__path__)} - {"catalogue"}
    check_families(names, FAMILIES)
    for name in FAMILIES:
        importlib.import_module(f"{contracts.__name__}.{name}")
    return in_order(_contracts)


def check_families(modules: Collection[str], families: Collection[str]) -> None:
    """Compare the modules of this package with the declared families.

    Raises:
        CatalogueError: A module is not declared, or a family has no module.
    """
    for name in sorted(set(modules) - set(families)):
        raise CatalogueError(f"contracts/{name}.py is not a family. Add {name!r} to `Family`.")
    for name in sorted(set(families) - set(modules)):
        raise CatalogueError(f"The family {name!r} has no module contracts/{name}.py.")


def in_order(contracts: Mapping[str, Contract]) -> Mapping[str, Contract]:
    """Return contracts in the order of their families.

    Raises:
        CatalogueError: The id of a contract does not begin with the name of a family.
    """
    families: list[str] = list(FAMILIES)
    for item in contracts.values():
        if item.family not in families:
            raise CatalogueError(
                f"The contract {item.id!r} in {item.place} belongs to no family. "
                f"Begin its id with one of: {', '.join(families)}."
            )
    return dict(sorted(contracts.items(), key=lambda pair: families.index(pair[1].family)))


def rule_texts() -> Rules:
    """Return the texts that reports show next to findings, by contract id."""
    return {
        item.id: RuleText(item.title, item.rule, item.source, item.cause, item.remedy)
        for item in load().values()
    }


def version(text: str) -> tuple[int, ...]:
    """Return a version of the catalogue as a tuple that compares: `"0.1"` is `(0, 1)`.

    Raises:
        ValueError: The text is not a row of numbers with dots between them.
    """
    return tuple(int(part) for part in text.split("."))
