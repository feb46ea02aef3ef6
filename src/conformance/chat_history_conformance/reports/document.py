"""The JSON document of a run: written, read, and checked against the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from chat_history_conformance.results.model import RunReport

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def schema() -> dict[str, Any]:
    """The published JSON schema of a report (draft 2020-12), a fresh copy for each caller."""
    loaded: dict[str, Any] = json.loads(_schema_text())
    return loaded


@cache
def _schema_text() -> str:
    file = resources.files("chat_history_conformance.reports") / "report-1.schema.json"
    return file.read_text(encoding="utf-8")


def render(report: RunReport) -> str:
    """`report` as a JSON document that the published schema accepts.

    Lone surrogates are escaped, so that the text can be written as UTF-8. Two halves of a pair
    that stand side by side come back as the one character they make: JSON cannot tell them apart.
    """
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    # They can only stand inside strings, where Python's escape of them is JSON's.
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def parse(text: str | bytes) -> RunReport:
    """The report that `render` wrote as `text`.

    Raises:
        ValueError: `text` is not JSON, is of another schema version, or does not follow its
            schema; the message says where.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("not a report: its JSON is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if isinstance(data, dict) and data.get("schema") == schema()["properties"]["schema"]["const"]:
        found = list(violations(data))
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise ValueError(f"does not follow its schema: {found[0]}{more}")
    return RunReport.from_json(data)


def violations(data: Any) -> Iterator[str]:
    """Where and how `data` departs from the schema: `backends[0].verdict: 'fine' is none of ...`.

    Knows the keywords that the published schema uses, so that a report can be read without a
    dependency on a validator.
    """
    whole = schema()
    yield from _violations(data, whole, whole, "")


def _violations(
    data: Any, rule: Mapping[str, Any], whole: Mapping[str, Any], where: str
) -> Iterator[str]:
    place = where or "the document"
    if "$ref" in rule:
        yield from _violations(data, whole["$defs"][rule["$ref"].split("/")[-1]], whole, where)
        return
    if "anyOf" in rule:
        tried = [list(_violations(data, choice, whole, where)) for choice in rule["anyOf"]]
        if all(tried):
            # The choice that fails inside the value explains more than one that fails at it.
            inside = (found for found in tried if not found[0].startswith(f"{place}:"))
            yield from next(inside, tried[-1])
        return
    if "const" in rule and data != rule["const"]:
        yield f"{place}: {data!r} is not {rule['const']!r}"
        return
    if "enum" in rule and data not in rule["enum"]:
        yield f"{place}: {data!r} is none of {', '.join(map(str, rule['enum']))}"
        return
    if "type" in rule:
        names = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        if not any(_is(data, name) for name in names):
            yield f"{place}: {type(data).__name__} where the schema wants {' or '.join(names)}"
            return
    if "minimum" in rule and _is(data, "number") and not data >= rule["minimum"]:
        yield f"{place}: {data!r} is below {rule['minimum']}"
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _violations(item, rule.get("items", {}), whole, f"{where}[{index}]")
    if isinstance(data, dict):
        yield from (
            f"{place}: lacks {key!r}" for key in rule.get("required", ()) if key not in data
        )
        known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        for key, item in data.items():
            inner = f"{where}.{key}" if where else key
            if key in known:
                yield from _violations(item, known[key], whole, inner)
            elif others is False:
                yield f"{place}: {key!r} is not a field of the schema"
            else:
                yield from _violations(item, others, whole, inner)


def _is(data: Any, name: str) -> bool:
    if isinstance(data, bool):
        return name == "boolean"
    if name == "integer" and isinstance(data, float):
        return data.is_integer()
    return isinstance(data, _TYPES[name])
