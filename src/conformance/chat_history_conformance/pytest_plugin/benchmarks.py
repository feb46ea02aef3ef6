"""The benchmarks as items on pytest-benchmark, and the run that collects and reports them."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

import chat_history_conformance
from chat_history_conformance.bench.counting import budget
from chat_history_conformance.bench.measure import operations, statistics
from chat_history_conformance.bench.measure.contenders import CannotDo
from chat_history_conformance.bench.measure.operations import OPERATIONS, Operation
from chat_history_conformance.bench.measure.results import Measured
from chat_history_conformance.bench.measure.run import Field, Match, round_trips
from chat_history_conformance.bench.report import result_terminal
from chat_history_conformance.bench.report import wording as telling
from chat_history_conformance.bench.report.places import Place
from chat_history_conformance.declaration.backend import MODES, Backend
from chat_history_conformance.drivers.calls import How
from chat_history_conformance.pytest_plugin.options import invocation_directory, is_worker, setting
from chat_history_conformance.pytest_plugin.run import BackendCollector, HistoryRun

_PREFIX = "benchmark."
_SAVED_AS = "history"
_CLIENTS = {"kafka": "confluent-kafka", "elasticsearch": "elasticsearch"}


class BenchmarkRun(HistoryRun):
    """The plugin object of a run that measures.

    Args:
        config: pytest's.
        specs: What `--history-backend` named.

    Raises:
        pytest.UsageError: As `HistoryRun`; or pytest-benchmark is not there, or pytest-xdist is
            used, or the budget of round trips cannot be read.
    """

    judges = "benchmark"

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        if not config.pluginmanager.hasplugin("benchmark"):
            raise pytest.UsageError(
                "--history-benchmark needs pytest-benchmark, which is not installed or switched "
                "off: pip install 'chat-history-conformance[benchmark]'"
            )
        if is_worker(config) or config.getoption("numprocesses", None):
            raise pytest.UsageError(
                "--history-benchmark cannot be combined with pytest-xdist's -n: processes that "
                "measure side by side measure each other. Leave out one of them."
            )
        super().__init__(config, specs)
        self.measured: dict[str, list[Measured]] = {}
        self.counted: dict[str, dict[str, int | None]] = {}
        self.left: list[str] = []
        self._fields: dict[tuple[str, How], Field] = {}
        self.budget = self._budget()
        config.add_cleanup(self._stop_fields)

    def _budget(self) -> budget.Budget:
        given = setting(self.config, "max-round-trips")
        if not given:
            return {}
        path = invocation_directory(self.config) / str(given)
        known = [operation.label(mode) for operation in OPERATIONS.values() for mode in MODES]
        try:
            return budget.load(path, self.backends, known)
        except budget.BudgetError as error:
            raise pytest.UsageError(f"--history-max-round-trips: {error}") from error

    def headline(self) -> str:
        """What is measured, and beside what."""
        return f"chat history benchmark: {', '.join(self.backends)}; {len(OPERATIONS)} operations"

    def items(self, collector: BackendCollector) -> Iterable[pytest.Item]:
        """An item for each operation, in each mode that the backend keeps."""
        for operation in OPERATIONS.values():
            for mode in collector.backend.modes:
                yield BenchmarkItem.from_parent(collector, run=self, operation=operation, mode=mode)

    def field(self, backend: Backend, mode: How) -> Field:
        """All who take part in the measurements of a backend in a mode, for the whole run."""
        key = backend.name, mode
        if key not in self._fields:
            self._fields[key] = Field(backend, mode)
        return self._fields[key]

    def _stop_fields(self) -> None:
        while self._fields:
            self._fields.popitem()[1].stop()

    def _remove_sessions(self) -> Iterable[str]:
        """Remove what was stored where it would stay; gives what could not be removed."""
        with self.workspace.inside():
            for (name, _), contenders in self._fields.items():
                backend = self.backends[name]
                if not (backend.disposable or backend.server in self.servers.owned):
                    yield from contenders.remove()

    def measure(self, backend: Backend, operation: Operation, mode: How, benchmark: Any) -> None:
        """Measure one operation, and hold its round trips against the budget."""
        benchmark.group = operation.title
        if len(self.backends) > 1:
            benchmark.name = benchmark.fullname
        with self.workspace.inside():
            contenders = self.field(backend, mode)
            with ExitStack() as stack, operations.collector_off():
                try:
                    match = Match(operation, contenders, stack, **self._extent(benchmark))
                except CannotDo as reason:
                    pytest.skip(f"not applicable: {reason}")
                _time(match, benchmark)
            counted, unknown = round_trips(operation, contenders.ours)
            about = self._about(match, counted, unknown)
        benchmark.extra_info.update(about)
        self.counted.setdefault(backend.name, {})[operation.label(mode)] = counted
        if match.times[1:]:
            found = Measured.read(
                Place(about, "this run"), statistics.median(match.times), len(match.times)
            )
            self.measured.setdefault(backend.name, []).append(found)
        self._hold(backend, operation.label(mode), counted, unknown)

    def _extent(self, benchmark: Any) -> dict[str, Any]:
        """How much to measure: what the options of pytest-benchmark say."""
        if benchmark.disabled:
            return {"seconds": None}
        return {
            "seconds": float(self.config.getoption("benchmark_max_time")),
            "least": int(self.config.getoption("benchmark_min_rounds")),
        }

    def _about(self, match: Match, counted: int | None, unknown: str | None) -> dict[str, Any]:
        operation, contenders = match.operation, match.field
        floor = match.against("floor")
        if floor is not None and contenders.floor is not None:
            floor = {**floor, "round_trips": round_trips(operation, contenders.floor)[0]}
        peers: dict[str, Any] = {name: {"missing": why} for name, why in contenders.missing.items()}
        for name, peer in contenders.peers.items():
            against = dict(match.against(name) or {})
            if "ratio" in against:
                with match.if_it_can(name):
                    against["round_trips"] = round_trips(operation, peer, times=1)[0]
            peers[name] = {"version": contenders.version_of(name), **against}
        return {
            "backend": contenders.backend.name,
            "server": self.servers.described().get(contenders.backend.server or ""),
            "operation": operation.name,
            "title": operation.title,
            "mode": contenders.ours.how,
            "size": operation.size,
            "round_trips": counted,
            "round_trips_unknown": unknown,
            "floor": floor,
            "peers": peers,
            "growth": match.growth(),
            "environment": _environment(contenders),
        }

    def _hold(self, backend: Backend, label: str, counted: int | None, unknown: str | None) -> None:
        allowed = self.budget.get(backend.name, {}).get(label)
        if allowed is None:
            return
        given = f"{setting(self.config, 'max-round-trips')} allows {allowed}"
        if counted is None:
            pytest.fail(f"{given} round trips, and they cannot be counted: {unknown}", False)
        if counted > allowed:
            pytest.fail(
                f"{label} takes {_many(counted)}, and {given}. Find the request that is new; or, "
                "if it has to be, raise the number in that file.",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Clean up, and save the run where pytest-benchmark saves, if no option says where."""
        self.left = list(self._remove_sessions())
        benchmarks: Any = self.config.pluginmanager.get_plugin("pytest-benchmark")
        said = benchmarks.save or benchmarks.autosave or benchmarks.json
        if benchmarks.benchmarks and not said:
            benchmarks.save = _SAVED_AS
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what pytest-benchmark's table does not tell: ratios, round trips, growth."""
        for line in self.left:
            terminalreporter.write_line(line, yellow=True)
        if self.measured:
            terminalreporter.section("chat history benchmark")
        for backend, found in self.measured.items():
            for line in result_terminal.table(backend, found):
                terminalreporter.write_line(line)
            for line in telling.missing(found):
                terminalreporter.write_line(f"not measured: {line}")
            terminalreporter.write_line("")
        if self.measured:
            terminalreporter.write_line(result_terminal.LEGEND)
            self._tell_growth(terminalreporter)
        if setting(self.config, "write-round-trips"):
            terminalreporter.section("round trips, for --history-max-round-trips")
            for backend, counts in self.counted.items():
                known = {name: count for name, count in counts.items() if count is not None}
                for line in budget.block(backend, known):
                    terminalreporter.write_line(line)

    def _tell_growth(self, terminalreporter: pytest.TerminalReporter) -> None:
        for backend, found in self.measured.items():
            for line in telling.callouts(found):
                terminalreporter.write_line(f"{backend}: {line}", yellow=True)


def _environment(contenders: Field) -> dict[str, Any]:
    """On what is measured; nothing that tells whose machine it is."""
    packages = {"langchain-core": version("langchain-core"), "pytest": pytest.__version__}
    packages |= {name: contenders.version_of(name) for name in contenders.peers}
    if client := _CLIENTS.get(contenders.backend.server or ""):
        with suppress(PackageNotFoundError):  # a backend may have a client of its own
            packages[client] = version(client)
    return {
        "suite": chat_history_conformance.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **packages,
    }


def _time(match: Match, benchmark: Any) -> None:
    """Let pytest-benchmark time ours, the others having their turns between its rounds."""
    trial, result, took = match.trial, None, 0.0

    def setup() -> None:
        match.let_others()
        trial.ready()

    def act() -> None:
        nonlocal result, took
        began = perf_counter()
        result = trial.act()
        took = perf_counter() - began

    def teardown() -> None:
        nonlocal result
        match.take(took)
        trial.finish(result)
        result = None

    benchmark.pedantic(act, setup=setup, teardown=teardown, rounds=match.rounds)


class BenchmarkItem(pytest.Function):
    """One operation in one mode on one backend."""

    def __init__(
        self, *, run: BenchmarkRun, operation: Operation, mode: How, parent: Any, **kwargs: Any
    ) -> None:
        backend: Backend = parent.backend

        def measure(benchmark: Any) -> None:
            run.measure(backend, operation, mode, benchmark)

        name = f"{_PREFIX}{operation.label(mode)}"
        super().__init__(parent=parent, name=name, callobj=measure, **kwargs)
        self._told = f"{backend.name} {name}: {operation.title}"
        self.add_marker(
            pytest.mark.history(backend=backend.name, family="benchmark", level="may", mode=mode)
        )

    def reportinfo(self) -> tuple[Path, int, str]:
        """The operations' module, and the headline of a failure."""
        return Path(operations.__file__), 0, self._told


def _many(round_trips: int) -> str:
    return "1 round trip" if round_trips == 1 else f"{round_trips} round trips"
