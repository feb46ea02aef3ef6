"""The JSON document of a run: written, read, and checked against its published schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar, Literal

from chat_history_conformance.results.model import SCHEMA, BackendReport, RunReport
from chat_history_conformance.results.validation import json_schema, validator

__all__ = ["generated_schema", "parse", "render", "schema", "schema_text"]

Fact = str | int | float | bool | None
"""A version or a setting."""

_CONFIG: Mapping[str, bool] = {"use_attribute_docstrings": True}
_NAMES = {
    "BackendReport": "backend",
    "ContractResult": "contract",
    "Counts": "counts",
    "Finding": "finding",
    "_Suite": "suite",
}


@dataclass(frozen=True)
class _Suite:
    """The suite that judged, and its settings."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    version: str
    """The version of the suite. If merged runs differ, all versions, separated by commas. The same
    is true for the profile and the seed."""
    profile: str
    """The profile, which sets the number of examples and the time for a contract: quick, ci or
    thorough."""
    seed: int | str | None
    """The seed of everything drawn at random. Null if no seed was set."""


@dataclass(frozen=True)
class _Document:
    """The results of a run of chat-history-conformance: a verdict for each backend, and the result
    of every contract. Later versions of the suite may add fields, but never remove one."""

    __pydantic_config__: ClassVar[Mapping[str, bool]] = _CONFIG

    schema: Literal["chat-history-conformance/report/1"]
    """The name and version of this schema."""
    suite: _Suite
    """The suite that judged, and its settings."""
    environment: Mapping[str, Fact | Mapping[str, Fact]]
    """The environment of the run: the `date`, the `commit` if the project is in a Git repository,
    the version of each package, `python` among them, and under `server` the server of each kind."""
    backends: tuple[BackendReport, ...]
    """One report for each backend, in the order in which the backends were named."""


def schema() -> dict[str, Any]:
    """Return a new copy of the published JSON schema of a report (draft 2020-12)."""
    loaded: dict[str, Any] = json.loads(_schema_text())
    return loaded


@cache
def _schema_text() -> str:
    file = resources.files("chat_history_conformance.reports") / "report-1.schema.json"
    return file.read_text(encoding="utf-8")


def generated_schema() -> str:
    """Return the text of the JSON schema that follows from the dataclasses.

    `tools/report_schema.py` writes it to the file that `schema` reads.
    """
    return schema_text(
        _Document,
        _NAMES,
        "urn:chat-history-conformance:report:1",
        "Report of a chat-history-conformance run",
    )


def schema_text(kind: type[Any], names: Mapping[str, str], identifier: str, title: str) -> str:
    """Return the text of the JSON schema of a dataclass.

    Args:
        kind: The dataclass of the whole document.
        names: The name in the schema of each other dataclass that it uses.
        identifier: The URN of the schema.
        title: The title of the schema.
    """
    made = json.dumps(json_schema(kind))
    for original, name in names.items():
        made = made.replace(f'"#/$defs/{original}"', f'"#/$defs/{name}"')
    body = json.loads(made)
    body["$defs"] = {names[original]: value for original, value in body["$defs"].items()}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": identifier,
        **body,
        "title": title,
    }
    return json.dumps(_with_whole_lines(whole), indent=2) + "\n"


def _with_whole_lines(data: Any) -> Any:
    """Return `data` with the line breaks of docstrings removed from descriptions."""
    if isinstance(data, list):
        return [_with_whole_lines(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        key: " ".join(value.split())
        if key == "description" and isinstance(value, str)
        else _with_whole_lines(value)
        for key, value in data.items()
    }


def render(report: RunReport) -> str:
    """Return `report` as a JSON document that follows the published schema.

    Lone surrogates are escaped, so that the text can be written as UTF-8. Two halves of a pair that
    follow each other are read as the one character they make, because JSON cannot distinguish them.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(report)}, indent=2, ensure_ascii=False)
    # Lone surrogates occur only inside strings, and there Python's escape is also JSON's.
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def parse(text: str | bytes) -> RunReport:
    """Return the report that `render` wrote as `text`. Unknown fields are ignored.

    Raises:
        ValueError: `text` is not JSON, has another schema version, or does not follow its schema.
            The message names the field and what to do.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("not a report: its JSON is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        raise ValueError(
            f"not a report of the schema {SCHEMA!r}: its 'schema' is {found!r}. "
            "Name a file that --history-report=PATH.json wrote."
        )
    try:
        document = validator(_Document)(data)
    except ValueError as error:
        raise ValueError(
            f"does not follow its schema. {error}. Fix this field, or write the report again with "
            "--history-report=PATH.json."
        ) from None
    return RunReport(
        suite=asdict(document.suite),
        environment=dict(document.environment),
        backends=document.backends,
    )
