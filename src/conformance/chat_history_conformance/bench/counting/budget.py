"""The budget of round trips: a file with the allowed number for each operation."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from chat_history_conformance.declaration.errors import did_you_mean

__all__ = ["Budget", "BudgetError", "format_table", "load"]

Budget = Mapping[str, Mapping[str, int]]
"""The allowed round trips by backend and operation: `{"kafka": {"add_1[sync]": 1}}`."""


class BudgetError(Exception):
    """A budget that cannot be read or is wrong. The text says what to do."""


def load(path: Path, backends: Collection[str], operations: Collection[str]) -> Budget:
    """Read a budget: a TOML table for each backend, with `"add_1[sync]" = 1` for an operation.

    Args:
        path: The file.
        backends: The backends of the run. Tables of other backends are ignored.
        operations: The labels of all operations. Another name is an error.

    Raises:
        BudgetError: The file cannot be read, or has an unknown name or a wrong number.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BudgetError(f"the round trips in {path} cannot be read: {error}") from error
    for backend, table in tables.items():
        if not isinstance(table, dict):
            raise BudgetError(
                f"{path}: {backend} = {table!r}: write a table for each backend, "
                '[sqlite], with a line for each operation, "add_1[sync]" = 1'
            )
        for name, allowed in table.items():
            if name not in operations:
                raise BudgetError(
                    f"{path}: [{backend}] has no operation named {name!r}."
                    f"{did_you_mean(name, operations)} Operations: {', '.join(operations)}."
                )
            if type(allowed) is not int or allowed < 0:
                raise BudgetError(
                    f"{path}: [{backend}] {name} = {allowed!r}: write a whole number, 0 or more"
                )
    missing = [backend for backend in backends if backend not in tables]
    if missing:
        raise BudgetError(
            f"{path} has no table for {', '.join(missing)}, so nothing would be checked. "
            "--history-write-round-trips prints one."
        )
    return tables


def format_table(backend: str, counted: Mapping[str, int]) -> list[str]:
    """Return the lines of a table that allows exactly these counts."""
    return [f"[{_quoted(backend)}]", *(f'"{name}" = {count}' for name, count in counted.items())]


def _quoted(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isascii() and plain.isalnum() else f'"{name}"'
