"""The result of a campaign as frozen values, and as a JSON document with a published schema.

`result_of` takes what a reader wants to know from a recording and its verdict. Pages, tables and
summaries are made from the result only, so that they can be made again from its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar, Literal

from chat_history_conformance.campaign.checking.verdict import DefectKind
from chat_history_conformance.reports.document import schema_text
from chat_history_conformance.results.validation import validator

__all__ = [
    "SCHEMA",
    "Call",
    "Campaign",
    "Class",
    "Curve",
    "Example",
    "Lane",
    "Latency",
    "Result",
    "Shown",
    "Step",
    "Timeline",
    "generated_schema",
    "parse",
    "render",
    "schema",
]

SCHEMA: Literal["chat-history-conformance/campaign/1"] = "chat-history-conformance/campaign/1"

_CONFIG: Mapping[str, bool] = {
    "use_attribute_docstrings": True,
    "json_schema_serialization_defaults_required": True,
}


@dataclass(frozen=True)
class Campaign:
    """The backend and its server, and the command that runs the campaign again."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    backend: str
    """The name of the backend."""
    server: str
    """The kind of server and its version."""
    nodes: int
    """The number of server nodes."""
    seed: int
    """The seed of the plan."""
    events: int
    """The number of faults that were done."""
    command: str
    """The command that runs this campaign again."""
    date: str
    """When it started, in ISO 8601."""
    seconds: float
    """The duration in seconds."""
    lacks: Mapping[str, str]
    """The capabilities that the declaration says the backend lacks, with the reasons."""
    versions: Mapping[str, str]
    """The versions of the packages that matter."""


@dataclass(frozen=True)
class Step:
    """One call of the conversation that proves a defect."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    began: float
    """When it began, in seconds since the start of the campaign. All times are counted so."""
    ended: float
    """When it ended."""
    client: str
    """The client that called."""
    process: str
    """The process of the client. Empty for the final read."""
    text: str
    """The call and what came of it, such as: add 'a' → returned."""


@dataclass(frozen=True)
class Example:
    """One defect, with the calls that prove it in the order of their beginnings."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    session: str
    """The session. Empty if the defect is about a process."""
    text: str
    """The defect in one sentence."""
    at: float
    """When it showed."""
    steps: tuple[Step, ...]
    """The calls that prove it."""


@dataclass(frozen=True)
class Class:
    """All defects of one kind. Every kind is listed, also without a defect."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    kind: DefectKind
    """The kind."""
    name: str
    """A short name of the kind for a reader."""
    meaning: str
    """The meaning of this kind."""
    count: int
    """The number of defects."""
    examples: tuple[Example, ...]
    """The first of them, at most 20."""


@dataclass(frozen=True)
class Latency:
    """The durations of calls in seconds."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    count: int
    """The number of calls."""
    p50: float
    """The time that half of them kept."""
    p99: float
    """The time that 99 of 100 kept."""
    max: float
    """The longest time."""


@dataclass(frozen=True)
class Call:
    """The calls of one kind in one mode."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    kind: Literal["add", "clear", "read", "last", "consume"]
    """The kind of calls."""
    mode: Literal["sync", "async"]
    """The mode of the calls."""
    returned: Latency | None
    """The calls that returned. Null if none did."""
    raised: Latency | None
    """The calls that raised. Null if none did."""


@dataclass(frozen=True)
class Shown:
    """A fault on the timeline."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    name: str
    """The name of the fault."""
    member: str
    """The member of the server that it was done to."""
    began: float
    """When it began."""
    ended: float
    """When all was well again."""
    detail: str
    """More about it."""


@dataclass(frozen=True)
class Lane:
    """The number of events in each part of the campaign."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    name: str
    """The kind of call, the type of error, or the kind of defect."""
    counts: tuple[int, ...]
    """The number in each part."""


@dataclass(frozen=True)
class Timeline:
    """The campaign over time."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    seconds: float
    """The length of the whole timeline."""
    part_seconds: float
    """The length of the parts that calls, errors and defects are counted in."""
    faults: tuple[Shown, ...]
    """The faults, in the order of their beginnings."""
    calls: tuple[Lane, ...]
    """The calls by kind, counted where they began."""
    errors: tuple[Lane, ...]
    """The errors by type, counted where they were raised; the most frequent type first."""
    defects: tuple[Lane, ...]
    """The defects by kind, counted where they showed."""


@dataclass(frozen=True)
class Curve:
    """A resource of a process over time."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    process: str
    """The process."""
    what: Literal["threads", "descriptors", "memory"]
    """The resource; memory is in bytes."""
    points: tuple[tuple[float, float], ...]
    """Times and values."""


@dataclass(frozen=True)
class Result:
    """The result of a campaign of chat-history-conformance: faults, calls and defects. Later
    versions may add fields, but never remove one."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    schema: Literal["chat-history-conformance/campaign/1"]
    """The name and version of this schema."""
    campaign: Campaign
    """The backend, its server and the command."""
    clean: bool
    """True if no defect was found."""
    operations: Mapping[str, int]
    """The number of calls by kind."""
    acknowledged_calls: int
    """The number of adds that returned."""
    acknowledged_messages: int
    """The number of messages in them."""
    raised: Mapping[str, Mapping[str, int]]
    """The number of calls that raised, by kind and then by the type of the error."""
    classes: tuple[Class, ...]
    """The defects by kind."""
    calls: tuple[Call, ...]
    """The durations of the calls."""
    timeline: Timeline
    """The campaign over time."""
    growth: tuple[Curve, ...]
    """The resources of the processes over time."""


_NAMES = {
    kind.__name__: kind.__name__.lower()
    for kind in (Call, Campaign, Class, Curve, Example, Lane, Latency, Shown, Step, Timeline)
}


def schema() -> dict[str, Any]:
    """Return a new copy of the published JSON schema of a result (draft 2020-12)."""
    loaded: dict[str, Any] = json.loads(_published())
    return loaded


@cache
def _published() -> str:
    file = resources.files(__package__) / "campaign-1.schema.json"
    return file.read_text(encoding="utf-8")


def generated_schema() -> str:
    """Return the text of the JSON schema that follows from the dataclasses.

    `tools/report_schema.py` writes it to the file that `schema` reads.
    """
    return schema_text(
        Result,
        _NAMES,
        "urn:chat-history-conformance:campaign:1",
        "Result of a chat-history-conformance campaign",
    )


def render(result: Result) -> str:
    """Return a result as a JSON document that follows the published schema."""
    text = json.dumps(asdict(result), indent=1, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def parse(text: str | bytes) -> Result:
    """Return the result that `render` wrote as `text`. Unknown fields are ignored.

    Raises:
        ValueError: `text` is not JSON, or does not follow the schema. The message names the field.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("not a campaign: its JSON is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise ValueError(
            f"not a result of the schema {SCHEMA!r}: its 'schema' is {found!r}. Name a file that "
            "history-conformance campaign --json wrote."
        )
    try:
        return validator(Result)(data)
    except ValueError as error:
        raise ValueError(
            f"does not follow its schema. {error}. Fix this field, or make the result again from "
            "the record with history-conformance campaign --check."
        ) from None
