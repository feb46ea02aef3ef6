"""A baseline: a TOML file with the deviations of backends, for histories without a declaration."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError

__all__ = ["format_baseline", "load_baseline", "with_baseline"]

Baseline = Mapping[str, Mapping[str, str]]
"""The reasons of deviations by backend and contract id."""


def load_baseline(path: Path) -> Baseline:
    """Read a baseline: a table for each backend, with a line `"CONTRACT" = "REASON"` for each id.

    Args:
        path: The file.

    Raises:
        DeclarationError: The file cannot be read, or has something other than tables.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(f"the deviations in {path} cannot be read: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise DeclarationError(
                f"{path}: {name} = {table!r} is not a table. Write a table for each backend, "
                '["NAME"], with a line for each contract, "ordering.within_batch" = "REASON".'
            )
    return tables


def with_baseline(backend: Backend, baseline: Baseline) -> Backend:
    """Return a backend with the deviations that a baseline adds to its own.

    `Backend.check` judges them like those of a declaration.

    Raises:
        DeclarationError: A contract is a deviation in both.
    """
    added = baseline.get(backend.name, {})
    if twice := sorted(set(added) & set(backend.deviations)):
        raise DeclarationError(
            f"Backend {backend.name!r}: {twice[0]!r} is in the file of deviations and in "
            "deviations= of its declaration. Delete one of the two."
        )
    return replace(backend, deviations={**backend.deviations, **added})


def format_baseline(name: str, reasons: Mapping[str, str]) -> list[str]:
    """Return the lines of one table of a baseline.

    Args:
        name: The name of the backend.
        reasons: The reason for each contract id.
    """
    lines = [f"{_quoted(contract)} = {_quoted(reason)}" for contract, reason in reasons.items()]
    return [f"[{_quoted(name)}]", *lines]


def _quoted(text: str) -> str:
    """Return a TOML string. A JSON string without surrogates is one."""
    return json.dumps(text.encode("utf-8", "replace").decode("utf-8"), ensure_ascii=False)
