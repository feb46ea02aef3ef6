"""How many round trips each operation may take: read from a file, or written for one."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from chat_history_conformance.declaration.errors import did_you_mean

Budget = Mapping[str, Mapping[str, int]]
"""By backend and operation: `{"kafka": {"add_1[sync]": 1}}`."""


class BudgetError(Exception):
    """A budget that cannot be read or makes no sense; the text says what to do."""


def load(path: Path, backends: Collection[str], operations: Collection[str]) -> Budget:
    """Read a budget: a TOML table for each backend, `"add_1[sync]" = 1` for each operation.

    Args:
        path: The file.
        backends: Those of the run. Tables of others are left alone, so that one file serves all.
        operations: All that there are; a name that is none of them is an error.

    Raises:
        BudgetError: The file cannot be read, a table names no operation, or a number is none.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BudgetError(f"the round trips in {path} cannot be read: {error}") from error
    for backend, table in tables.items():
        if not isinstance(table, dict):
            raise BudgetError(
                f"{path}: {backend} = {table!r}: a budget has a table for each backend, "
                '[sqlite], and in it a line for each operation, "add_1[sync]" = 1'
            )
        for name, allowed in table.items():
            if name not in operations:
                raise BudgetError(
                    f"{path}: [{backend}] has no operation named {name!r}."
                    f"{did_you_mean(name, operations)} Operations: {', '.join(operations)}."
                )
            if type(allowed) is not int or allowed < 0:
                raise BudgetError(
                    f"{path}: [{backend}] {name} = {allowed!r}: it is a whole number, 0 or more"
                )
    missing = [backend for backend in backends if backend not in tables]
    if missing:
        raise BudgetError(
            f"{path} has no table for {', '.join(missing)}: nothing would be held against it. "
            "--history-write-round-trips prints one."
        )
    return tables


def block(backend: str, counted: Mapping[str, int]) -> list[str]:
    """The lines of a budget that allow what was counted."""
    return [f"[{_quoted(backend)}]", *(f'"{name}" = {count}' for name, count in counted.items())]


def _quoted(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isascii() and plain.isalnum() else f'"{name}"'
