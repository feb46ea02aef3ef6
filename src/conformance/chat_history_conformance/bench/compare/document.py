"""The JSON document of a comparison, and its schema, which is generated from the dataclasses here.

This module imports pydantic, so import it only to write a document or the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from chat_history_conformance.bench.compare import decision
from chat_history_conformance.bench.compare.decision import Comparison, Verdict

__all__ = ["SCHEMA", "document", "generated_schema", "render", "schema"]

SCHEMA: Literal["chat-history-conformance/comparison/1"] = "chat-history-conformance/comparison/1"
"""The name and version of the schema."""

_FILE = "comparison-1.schema.json"
_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Side:
    """A version that was compared."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    asked: str
    """The version as it was asked for, and its meaning."""
    kind: Literal["git", "path", "pip"]
    """The kind of source."""
    commit: str
    """The full hash of the commit, or of the commit that the repository of a path had checked out.
    Empty without a commit."""
    package: str
    """The distribution that is compared."""
    version: str
    """The version of the distribution."""


@dataclass(frozen=True)
class _Settings:
    """The settings of the measurement and the decision."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    pairs: Annotated[int, Field(ge=2)]
    """The number of processes of each side in one measurement."""
    threshold: _Positive
    """The change that matters, as a share: 0.05 for 5 %."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)]
    """The confidence of the intervals, as a share."""
    seconds: _Positive
    """The time for which each operation was measured in each process, in seconds."""


@dataclass(frozen=True)
class _Versions:
    """The version of a package on both sides. Null if a side does not have it."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    base: str | None
    head: str | None


@dataclass(frozen=True)
class _RoundTrips:
    """The fewest round trips to the server that a process of a side made. Null if not counted."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    base: _Count | None
    head: _Count | None


@dataclass(frozen=True)
class _Measured:
    """One measurement of an operation on both sides."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    ratio: _Positive
    """exp of the median of log(head / base)."""
    interval: tuple[_Positive, _Positive]
    """The interval of the ratio, with the confidence of the settings."""
    pairs: tuple[tuple[_Positive, _Positive], ...]
    """Base and head of each pair in seconds, in the order in which they were measured."""


@dataclass(frozen=True)
class _Operation:
    """One operation, compared."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: str
    """The name, such as add_1[sync]."""
    verdict: Verdict
    """The verdict about time alone. slower, faster: both measurements are beyond the threshold,
    with intervals that exclude 1. unchanged: the interval is within the threshold. unclear: it is
    not."""
    regression: bool
    """True if it got slower, or makes more round trips."""
    first: _Measured
    """The first measurement."""
    second: _Measured | None
    """The second measurement, made if the first looked like a change. Only the second counts. Null
    if it was not made."""
    round_trips: _RoundTrips


@dataclass(frozen=True)
class _Backend:
    """One backend, compared."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: str
    """The name of the backend."""
    server: str | None
    """The server that both sides used. Null if none is needed."""
    only_base: tuple[str, ...]
    """Operations that only base has. They are not compared."""
    only_head: tuple[str, ...]
    """Operations that only head has. They are not compared."""
    operations: tuple[_Operation, ...]
    """Operations that both sides have."""


@dataclass(frozen=True)
class _Document:
    """The measurements and the decision of `history-conformance bench compare`. Times are in
    seconds. A ratio is head / base: above 1, head takes longer. The number in the schema's name
    changes whenever a field is added, removed or changes its meaning."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    schema: Literal["chat-history-conformance/comparison/1"]
    """The name and version of this schema."""
    suite: str
    """The version of the suite that measured both sides."""
    created: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """The time of the end of the comparison, in UTC."""
    headline: str
    """The outcome in a sentence."""
    regression: bool
    """True if an operation got worse."""
    base: _Side
    head: _Side
    settings: _Settings
    environment: Mapping[str, str | int]
    """The environment, the same for both sides."""
    differing: Mapping[str, _Versions]
    """Installed packages, other than the compared one, that differ between the sides."""
    backends: tuple[_Backend, ...]
    """The backends, in the order in which they were measured."""


def render(comparison: Comparison, headline: str) -> str:
    """Return a comparison as JSON that follows `schema`.

    Args:
        comparison: The comparison.
        headline: The outcome in a sentence.
    """
    return json.dumps(document(comparison, headline), indent=1, ensure_ascii=False) + "\n"


def document(comparison: Comparison, headline: str) -> dict[str, Any]:
    """Return a comparison as plain values; the arguments are those of `render`."""
    whole = _Document(
        schema=SCHEMA,
        suite=comparison.suite,
        created=comparison.created,
        headline=headline,
        regression=bool(comparison.regressions),
        base=_Side(**asdict(comparison.base)),
        head=_Side(**asdict(comparison.head)),
        settings=_Settings(**asdict(comparison.settings)),
        environment=dict(comparison.environment),
        differing={name: _Versions(*both) for name, both in comparison.differing.items()},
        backends=tuple(map(_backend, comparison.backends)),
    )
    return asdict(whole)


def _backend(backend: decision.Backend) -> _Backend:
    return _Backend(
        name=backend.name,
        server=backend.server,
        only_base=tuple(backend.only_base),
        only_head=tuple(backend.only_head),
        operations=tuple(map(_operation, backend.operations)),
    )


def _operation(operation: decision.Operation) -> _Operation:
    return _Operation(
        name=operation.name,
        verdict=operation.verdict,
        regression=operation.is_regression,
        first=_measured(operation.first),
        second=None if operation.second is None else _measured(operation.second),
        round_trips=_RoundTrips(operation.base_round_trips, operation.head_round_trips),
    )


def _measured(measured: decision.Measured) -> _Measured:
    found = measured.estimate
    return _Measured(found.value, (found.low, found.high), measured.pairs)


def schema() -> dict[str, Any]:
    """Return a new copy of the published JSON schema of `render` (draft 2020-12)."""
    file = resources.files("chat_history_conformance.bench.compare") / _FILE
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def generated_schema() -> str:
    """Return the text of the schema that follows from the dataclasses.

    `tools/comparison_schema.py` writes it to the file that `schema` reads.
    """
    found = TypeAdapter(_Document).json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:chat-history-conformance:comparison:1",
        "title": "Two versions of a package, compared by chat-history-conformance",
    }
    return json.dumps({**head, **_cleaned(found)}, indent=2) + "\n"


def _cleaned(node: Any) -> Any:
    """Return a schema without pydantic's titles and without line breaks in descriptions."""
    if isinstance(node, list):
        return [_cleaned(item) for item in node]
    if isinstance(node, str):
        return " ".join(node.replace("#/$defs/_", "#/$defs/").split())
    if not isinstance(node, dict):
        return node
    return {
        key.lstrip("_"): _cleaned(value)
        for key, value in node.items()
        if key != "title" or not isinstance(value, str)
    }
