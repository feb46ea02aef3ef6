"""Contracts as a JSON document, and the schema of that document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal

import chat_history_conformance
from chat_history_conformance import faulty
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.reports.document import schema_text
from chat_history_conformance.results.model import Level, Mode

__all__ = ["SCHEMA", "generated_schema", "render"]

SCHEMA: Final = "chat-history-conformance/contracts/1"

_CONFIG: Mapping[str, bool] = {"use_attribute_docstrings": True}
_NAMES = {"_Broken": "broken", "_Listed": "contract"}


@dataclass(frozen=True)
class _Broken:
    """A history of the suite with a defect that the contract catches."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    id: str
    """The id of the history."""
    defect: str
    """The defect in one sentence."""
    seen: str
    """A citation of the defect in other software, or `invented`."""


@dataclass(frozen=True)
class _Listed:
    """One contract."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    id: str
    """The contract, as family.name. Ids are stable."""
    family: str
    """The family of the contract."""
    level: Level
    """The level of the contract: must, should or may."""
    since: str
    """The version of the catalogue that introduced the contract."""
    title: str
    """The rule in one sentence."""
    rule: str
    """The whole rule."""
    source: str
    """The place in langchain-core that states the rule, or `convention: ` and its reason."""
    cause: str
    """The usual cause of a failure."""
    remedy: str
    """The usual fix."""
    seen: str
    """A citation of the defect in other software."""
    needs: tuple[str, ...]
    """The capabilities that the contract needs, in addition to those of its modes."""
    modes: tuple[Mode, ...]
    """The modes in which the contract runs."""
    url: str
    """The address of the page about the contract. Empty if the suite does not know one."""
    broken_by: tuple[_Broken, ...]
    """The histories of the suite that prove that the contract can fail."""


@dataclass(frozen=True)
class _Listing:
    """Contracts of the catalogue. Later versions of the suite may add fields, but never remove
    one."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    schema: Literal["chat-history-conformance/contracts/1"]
    """The name and version of this schema."""
    version: str
    """The version of the suite."""
    contracts: tuple[_Listed, ...]
    """The contracts, in the order of the catalogue."""


def render(contracts: Iterable[Contract]) -> str:
    """Return contracts as a JSON document that follows the published schema."""
    broken = list(faulty.load().values())
    listing = _Listing(
        schema=SCHEMA,
        version=chat_history_conformance.__version__,
        contracts=tuple(
            _Listed(
                id=item.id,
                family=item.family,
                level=item.level,
                since=item.since,
                title=item.title,
                rule=item.rule,
                source=item.source,
                cause=item.cause,
                remedy=item.remedy,
                seen=item.seen,
                needs=item.needs,
                modes=item.modes,
                url=item.url,
                broken_by=tuple(
                    _Broken(one.id, one.defect, one.seen) for one in broken if one.breaks == item.id
                ),
            )
            for item in contracts
        ),
    )
    return json.dumps(asdict(listing), indent=2, ensure_ascii=False) + "\n"


def generated_schema() -> str:
    """Return the text of the JSON schema, which is kept as `contracts-1.schema.json`."""
    return schema_text(
        _Listing,
        _NAMES,
        "urn:chat-history-conformance:contracts:1",
        "Contracts of chat-history-conformance",
    )
