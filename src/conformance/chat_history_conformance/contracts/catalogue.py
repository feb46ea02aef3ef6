"""The registry of all contracts."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from chat_history_conformance.execution.contract import Body, Company, Contract
from chat_history_conformance.results.model import Level, Mode, Rules, RuleText

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "ASYNC",
    "ENUMERATED",
    "FAMILIES",
    "HANDLES",
    "MIXED",
    "ONE_HANDLE",
    "PROCESS",
    "SYNC",
    "CatalogueError",
    "Contract",
    "Family",
    "contract",
    "find",
    "load",
    "rule_text",
    "rule_texts",
]

SYNC: Mode = "sync"
ASYNC: Mode = "async"
MIXED: Mode = "mixed"
PROCESS: Mode = "process"

ONE_HANDLE: tuple[Mode, ...] = (SYNC, ASYNC, MIXED)
"""The modes of a contract that needs one handle at a time."""
HANDLES: tuple[Mode, ...] = (SYNC, ASYNC, MIXED, PROCESS)
"""The modes of a contract about several handles; in `process`, every other is elsewhere."""

ENUMERATED = 4
"""Examples of a contract whose examples have nearly all values of a list; the first has one."""

Family = Literal[
    "ordering",
    "fidelity",
    "clear",
    "isolation",
    "reads",
    "bounded",
    "iteration",
    "cursor",
    "ttl",
    "concurrency",
    "parity",
    "durability",
    "aliasing",
    "inputs",
    "errors",
    "faults",
    "cluster",
    "interference",
    "integration",
    "model",
]
"""The modules with contracts, in the order in which reports list them."""

FAMILIES: tuple[Family, ...] = get_args(Family)


class CatalogueError(Exception):
    """A mistake in the registration of contracts."""


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
    company: Company = "any",
    is_long: bool = False,
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
            company=company,
            is_long=is_long,
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


def find(identifier: str) -> Contract:
    """Return the contract with this id, without the modules of other families.

    Raises:
        KeyError: There is no such contract.
    """
    family = identifier.partition(".")[0]
    if family not in FAMILIES:
        raise KeyError(identifier)
    importlib.import_module(f"{__package__}.{family}")
    return _contracts[identifier]


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
    return {item.id: rule_text(item) for item in load().values()}


def rule_text(item: Contract) -> RuleText:
    """Return the texts of a contract that reports show next to findings."""
    return RuleText(
        title=item.title,
        rule=item.rule,
        source=item.source,
        cause=item.cause,
        remedy=item.remedy,
        needs=item.needs,
        url=item.url,
    )
