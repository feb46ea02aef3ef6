"""The values of this plugin's options. `chat_history_conformance.plugin` defines the options."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.execution.contract import version
from chat_history_conformance.reports import check_path

__all__ = [
    "chosen",
    "invocation_directory",
    "is_worker",
    "only_lists",
    "report_paths",
    "seed_of",
    "setting",
    "since_of",
]


def setting(config: pytest.Config, name: str) -> Any:
    """Return the value of `--history-NAME`, or else of its ini twin `history_NAME`.

    Raises:
        pytest.UsageError: The ini twin is a flag, and its value is neither true nor false.
    """
    given = config.getoption(f"--history-{name}")
    if given is not None:
        return given
    twin = f"history_{name.replace('-', '_')}"
    try:
        return config.getini(twin)
    except (ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"{twin}: {error}. Use true or false.") from error


def chosen(config: pytest.Config, name: str, default: str, among: Sequence[str]) -> Any:
    """Return the value of an option that must be one of a few words.

    Raises:
        pytest.UsageError: It is not one of `among`.
    """
    value = str(setting(config, name) or default)
    if value not in among:
        *first, last = among
        raise pytest.UsageError(
            f"history_{name} = {value} is not known. Use {', '.join(first)} or {last}."
        )
    return value


def invocation_directory(config: pytest.Config) -> Path:
    """Return the directory in which pytest was started."""
    return Path(config.invocation_params.dir)


def only_lists(config: pytest.Config) -> bool:
    """Return whether pytest lists items or fixtures, and runs nothing."""
    names = ("collectonly", "showfixtures", "show_fixtures_per_test")
    return any(getattr(config.option, name, False) for name in names)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def seed_of(config: pytest.Config) -> int:
    """Return the value of `--hypothesis-seed`, or else 0, so that failures repeat."""
    given = config.getoption("hypothesis_seed", None)
    if given is None:
        return 0
    return random.getrandbits(32) if given == "random" else int(given)


def since_of(config: pytest.Config) -> str | None:
    """Return the catalogue that a run is pinned to, or None.

    Raises:
        pytest.UsageError: It is not a version.
    """
    since = str(setting(config, "since") or "")
    if not since:
        return None
    try:
        version(since)
    except ValueError:
        raise pytest.UsageError(
            f"history_since = {since} is not a version. Use one of the catalogue, such as 0.1."
        ) from None
    return since


def report_paths(config: pytest.Config) -> list[Path]:
    """Return the files of `--history-report`.

    Raises:
        pytest.UsageError: A report cannot be written there.
    """
    given = setting(config, "report")
    paths = [
        invocation_directory(config) / str(path)
        for path in (given if isinstance(given, list) else [])
    ]
    for path in paths:
        try:
            check_path(path)
        except ValueError as error:
            raise pytest.UsageError(f"--history-report: {error}") from error
    return paths
