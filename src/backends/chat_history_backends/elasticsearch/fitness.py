"""Check the aliases, settings and mapping of an index: it must keep sessions.

An index is refused if one of them hides, drops, changes or filters messages. What this module
does not know is found by a trial: see `trial`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import UnfitIndexError

__all__ = ["check_fit", "unfit"]

_FIELDS = ("session_id", "created_at", "history", "expires_at")
_LONGEST_KEYWORD = 32_766


def check_fit(name: str, concrete: str, index: Mapping[str, Any]) -> None:
    """Check the properties of an index.

    Args:
        name: The name that the history was given: of the index or of an alias.
        concrete: The name of the index.
        index: Its aliases, mapping and flat settings.

    Raises:
        UnfitIndexError: The index cannot keep sessions apart, in order, or at all.
    """
    if "data_stream" in index:
        raise unfit(name, "it is a data stream, which cannot be cleared", "name an index")
    if name != concrete:
        for problem in _alias_problems(index["aliases"].get(name, {})):
            raise unfit(name, f"it is an alias that {problem}", "name the index itself")
    for problem in _settings_problems(index["settings"]):
        raise unfit(name, problem, "change this setting, or name another index")
    mapping = index["mappings"]
    for problem in _mapping_problems(mapping):
        raise unfit(name, problem, "name an index that does not exist yet")
    if key_problem := _key_problem(mapping.get("properties", {}).get("session_id")):
        raise unfit(
            name,
            f"its field session_id {key_problem}, so sessions cannot be kept apart",
            "reindex it in the order of its conversations with "
            "chat_history_backends.elasticsearch.copy_index(client, source, target), or name an "
            "index that does not exist yet",
        )


def unfit(name: str, problem: str, remedy: str) -> UnfitIndexError:
    """Return the error for an index that cannot keep sessions."""
    return UnfitIndexError(
        f"index {name!r} cannot keep chat histories: {problem}. Remedy: {remedy}"
    )


def _is_false(value: object) -> bool:
    return str(value).lower() in ("false", "0", "no", "off")


def _alias_problems(alias: Mapping[str, Any]) -> Iterator[str]:
    if alias.get("filter"):
        yield "has a filter, which hides messages"
    if any(alias.get(key) for key in ("routing", "index_routing", "search_routing")):
        yield "has a routing, which hides messages of other sessions"
    if _is_false(alias.get("is_write_index")):
        yield "may not be written to"


_DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "mode": ("standard", "lookup"),
    "final_pipeline": ("_none",),
    "mapping.source.mode": ("stored",),
    "translog.durability": ("request",),
}
"""Settings, and the values of each that keep everything that is stored. An index that does not have
one of these settings has such a value."""

_REASONS: Mapping[str, str] = {
    "mode": "an index of this mode changes or hides documents",
    "final_pipeline": "a pipeline may change or drop documents",
    "mapping.source.mode": "the index does not keep the _source as it was written",
    "translog.durability": "a crash of the server loses messages that it has acknowledged",
}

_FORBIDDEN: Mapping[str, str] = {
    "search.throttled": "searches leave the index out",
    "frozen": "searches leave the index out",
    "time_series.start_time": "the index keeps only documents of a certain time",
    "time_series.end_time": "the index keeps only documents of a certain time",
}


def _settings_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    flat = {key.removeprefix("index."): value for key, value in settings.items()}
    if int(flat.get("routing_partition_size", 1)) > 1:
        yield (
            "index.routing_partition_size spreads one session over several shards, which have no "
            "common order"
        )
    for key, allowed in _DEFAULTS.items():
        value = str(flat.get(key, allowed[0])).lower()
        if value not in allowed:
            yield f"index.{key} is {flat[key]!r}: {_REASONS[key]}"
    for key, why in _FORBIDDEN.items():
        if key in flat and not _is_false(flat[key]):
            yield f"index.{key} is {flat[key]!r}: {why}"


def _mapping_problems(mapping: Mapping[str, Any]) -> Iterator[str]:
    if _is_false(mapping.get("enabled")):
        yield "its mapping has enabled: false, so searches find nothing in it"
    source = mapping.get("_source", {})
    kept = not _is_false(source.get("enabled")) and source.get("mode", "stored") == "stored"
    if not kept or source.get("excludes") or source.get("includes"):
        yield "its mapping does not keep the whole _source"
    fields = mapping.get("properties", {})
    for name, runtime in mapping.get("runtime", {}).items():
        # With "dynamic": "runtime", the server itself makes runtime fields of unmapped ones.
        if name in _FIELDS and (name in fields or name == "session_id" or "script" in runtime):
            yield f"its mapping has a runtime field {name}, which hides the stored field"
    yield from _field_problems(fields)


def _field_problems(fields: Mapping[str, Any]) -> Iterator[str]:
    for path, field in _all_fields(fields):
        copies = field.get("copy_to", [])
        copies = [copies] if isinstance(copies, str) else copies
        for target in set(copies) & {"session_id", "created_at", "expires_at"}:
            yield f"its field {path} is copied to {target}"
    for name in ("created_at", "expires_at"):
        if name in fields and (problem := _time_problem(fields[name])):
            yield f"its field {name} {problem}"
    if "history" in fields and (problem := _text_problem(fields["history"])):
        yield f"its field history {problem}"


def _all_fields(
    fields: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, field in fields.items():
        yield path + name, field
        yield from _all_fields(field.get("properties", {}), f"{path}{name}.")


def _time_problem(field: Mapping[str, Any]) -> str | None:
    kind = field.get("type", "object")
    if kind == "long":
        formats = ["epoch_millis"]
    elif kind in ("date", "date_nanos"):
        formats = str(field.get("format", "epoch_millis")).split("||")
    else:
        return f"is of the type {kind}, and not a date"
    if "epoch_millis" not in formats or "epoch_second" in formats:
        return "does not accept milliseconds"
    if _is_false(field.get("index")) and _is_false(field.get("doc_values")):
        return "cannot be searched"
    return "has a script" if "script" in field else None


def _text_problem(field: Mapping[str, Any]) -> str | None:
    """Return why a field does not accept the text of a message.

    The text is read from the `_source`, so it does not matter how the field is indexed.
    """
    kind = field.get("type", "object")
    if kind == "object" and _is_false(field.get("enabled")):
        return None
    accepted = ("text", "keyword", "match_only_text", "wildcard", "binary", "search_as_you_type")
    return None if kind in accepted else f"is of the type {kind}, which does not accept text"


def _key_problem(field: Mapping[str, Any] | None) -> str | None:
    if field is None:
        return None
    if field.get("type") != "keyword":
        return f"is of the type {field.get('type', 'object')}"
    if field.get("normalizer"):
        return f"has the normalizer {field['normalizer']}"
    if _is_false(field.get("index")):
        return "is not indexed"
    if int(field.get("ignore_above", 2**31)) < _LONGEST_KEYWORD:
        return f"ignores ids of more than {field['ignore_above']} characters"
    if "null_value" in field:
        return "has a null_value, which gives documents without a session to one"
    for key in ("script", "time_series_dimension"):
        if field.get(key) and not _is_false(field[key]):
            return f"has the setting {key}"
    return None
