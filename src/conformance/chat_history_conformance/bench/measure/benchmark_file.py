"""Read the files that pytest-benchmark writes of `--history-benchmark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from chat_history_conformance.bench.measure import json_files, statistics
from chat_history_conformance.bench.measure.checks import (
    check_count,
    check_positive,
    check_text,
    check_time,
)
from chat_history_conformance.bench.measure.json_files import FormatError
from chat_history_conformance.bench.measure.results import (
    Commit,
    Environment,
    Measured,
    OperationFacts,
    Result,
)
from chat_history_conformance.bench.measure.statistics import Estimate

__all__ = ["load", "measured", "parse"]

_SUITE = "chat-history-conformance"
_NO_COMMIT = ("unversioned", "unknown")
_HOW_TO = (
    "Write the file with: pytest --history-backend=NAME --history-benchmark "
    "--benchmark-json=RESULT.json"
)


@dataclass(frozen=True, kw_only=True)
class _ExtraInfo(OperationFacts):
    """The `extra_info` of a benchmark, which `--history-benchmark` writes."""

    backend: str
    payload: str = "plain"
    server: str | None = None
    environment: Mapping[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text(backend=self.backend, payload=self.payload, server=self.server)
        for name in ("python", "implementation", "platform", "machine"):
            if name not in self.environment:
                raise ValueError(f"environment has no {name!r}")
            check_text(**{f"environment.{name}": str(self.environment[name])})


@dataclass(frozen=True)
class _Stats:
    median: float
    rounds: int
    data: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_positive(median=self.median)
        check_positive(**{f"data[{n}]": each for n, each in enumerate(self.data)})
        check_count(rounds=self.rounds)


@dataclass(frozen=True)
class _Benchmark:
    extra_info: _ExtraInfo
    stats: _Stats


@dataclass(frozen=True)
class _Machine:
    cpu: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Run:
    machine_info: _Machine
    commit_info: Commit | None = None
    datetime: str
    benchmarks: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        check_time(datetime=self.datetime)


def load(path: Path) -> list[Result]:
    """Return the results in a file of pytest-benchmark, one for each backend.

    Other benchmarks in the file are ignored.

    Args:
        path: The file that `--benchmark-json` or `--benchmark-save` wrote.

    Raises:
        FormatError: The file cannot be read, has another format or holds no benchmark of a
            history. The text names the file and the place.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse(text, str(path))


def parse(text: str | bytes, file: str) -> list[Result]:
    """Return the results in a text that pytest-benchmark wrote.

    Args:
        text: The text.
        file: The name of the file in errors.

    Raises:
        FormatError: As for `load`.
    """
    value = json_files.loads(text, file, _HOW_TO)
    if not isinstance(value, dict) or not {"benchmarks", "machine_info"} <= value.keys():
        raise FormatError(f"{file}: not a file of pytest-benchmark. {_HOW_TO}")
    run = json_files.convert(_Run, value, file, _HOW_TO)
    by_backend: dict[str, list[_Benchmark]] = {}
    for index, one in enumerate(run.benchmarks):
        info = one.get("extra_info")
        if isinstance(info, dict) and {"backend", "operation"} <= info.keys():
            found = json_files.convert(_Benchmark, one, file, _HOW_TO, f"benchmarks[{index}]")
            by_backend.setdefault(found.extra_info.backend, []).append(found)
    if not by_backend:
        raise FormatError(f"{file}: holds no benchmark of a chat history. {_HOW_TO}")
    return [_result(run, file, found) for found in by_backend.values()]


def measured(extra_info: Mapping[str, Any], times: Sequence[float]) -> Measured:
    """Return an operation that was measured in this run.

    Args:
        extra_info: The facts that are written to the file.
        times: The times in seconds, two at least.

    Raises:
        FormatError: The facts are not complete.
    """
    info = json_files.convert(_ExtraInfo, extra_info, "this run", "Report this as a bug")
    return _measured(info, statistics.median(times), len(times))


def _result(run: _Run, file: str, found: Sequence[_Benchmark]) -> Result:
    operations: dict[str, Measured] = {}
    for one in found:
        info, stats = one.extra_info, one.stats
        if info.label in operations:
            raise FormatError(
                f"{file}: {info.label} of {info.backend} is in the file twice. {_HOW_TO}"
            )
        median = Estimate(stats.median, stats.median, stats.median)
        # A file of --benchmark-save has no samples unless --benchmark-save-data asked for them.
        if stats.data and stats.rounds > 1:
            median = statistics.median(stats.data)
        operations[info.label] = _measured(info, median, stats.rounds)
    first, commit = found[0].extra_info, run.commit_info
    return Result(
        backend=first.backend,
        server=first.server,
        measured_at=run.datetime,
        commit=None if commit is None or commit.id in _NO_COMMIT else commit,
        environment=_environment(first.environment, run.machine_info.cpu or {}),
        operations=tuple(operations.values()),
        payload=first.payload,
    )


def _measured(info: _ExtraInfo, median: Estimate, rounds: int) -> Measured:
    shared = {each.name: getattr(info, each.name) for each in fields(OperationFacts)}
    interval = (median.low, median.high)
    return Measured(median_s=median.value, interval=interval, rounds=rounds, **shared)


def _environment(values: Mapping[str, Any], cpu: Mapping[str, Any]) -> Environment:
    facts = {name: "" if value is None else str(value) for name, value in values.items()}
    python = f"{facts.pop('implementation')} {facts.pop('python')}"
    machine = [f"{facts.pop('platform')} {facts.pop('machine')}"]
    if brand := cpu.get("brand_raw"):
        machine.append(" ".join(str(brand).split()))
    if cores := facts.pop("cores", ""):
        machine.append("1 core" if cores == "1" else f"{cores} cores")
    suite = facts.pop("suite", "")
    packages = {_SUITE: suite, **facts} if suite else facts
    return Environment(python, ", ".join(machine), packages)
